// Requests to the server. A failed one is an ApiError with one line.

let token = "";

export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** Sets the token that requests which change something carry. */
export function useToken(value) {
  token = value;
}

/**
 * Sends a request and returns the JSON of its answer.
 * @param {string} method of HTTP
 * @param {string} path with its query
 * @param {object|FormData} [body] sent as JSON, or as a form with files
 */
export async function api(method, path, body) {
  const headers = { accept: "application/json" };
  if (method !== "GET") headers["x-csrf-token"] = token;
  if (body && !(body instanceof FormData)) {
    headers["content-type"] = "application/json";
    body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(path, { method, headers, body, credentials: "same-origin" });
  } catch {
    throw new ApiError(0, "offline", "The server cannot be reached; is it still running?");
  }
  const values = await answer.json().catch(() => null);
  if (answer.ok && values) return values;
  const error = values?.error ?? {};
  if (answer.status === 401 && path !== "/api/session") dispatchEvent(new Event("signed-out"));
  throw new ApiError(answer.status, error.code ?? "", error.message ?? `The server answered ${answer.status}.`);
}

export const get = (path) => api("GET", path);
export const post = (path, body = {}) => api("POST", path, body);
export const put = (path, body) => api("PUT", path, body);
export const remove = (path) => api("DELETE", path);

let loaded = null;

/** Returns the loaded model; it is asked once, unless no worker was ready. */
export async function model() {
  loaded ??= get("/api/model").catch((error) => {
    loaded = null;
    throw error;
  });
  return loaded;
}

/** Waits; rejects if the signal ends it. */
export function sleep(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

/** Asks for a video until it is finished; `each` gets every answer. */
export async function finished(id, signal, each) {
  for (;;) {
    signal?.throwIfAborted();
    const video = await get(`/v1/videos/${encodeURIComponent(id)}`);
    each?.(video);
    if (video.status === "completed" || video.status === "failed") return video;
    await sleep(document.hidden ? 3000 : 700, signal);
  }
}

/** Path of a view, with an id. */
export const view = (name, id) => `#/${name}/${encodeURIComponent(id)}`;
