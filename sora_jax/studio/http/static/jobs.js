// Jobs: what is queued, at work, finished and failed.

import { get, post, remove, sleep, view as path } from "/static/api.js";
import { ago, deleteDialog, empty, fill, h, icon, tell } from "/static/dom.js";

const PAGE = 20;
const OPEN = new Set(["queued", "in_progress"]);
const WORDS = { queued: "Queued", in_progress: "Generating", completed: "Finished", failed: "Failed" };

export async function view({ signal }) {
  const list = h("ol.jobs");
  const rows = new Map();
  let last = null;
  const more = h("button", { type: "button", hidden: true, onclick: () => load(last) }, "Older jobs");
  const note = h("div");
  async function load(after) {
    const found = await get(`/v1/videos?limit=${PAGE}${after ? `&after=${encodeURIComponent(after)}` : ""}`);
    show(found.data, !after);
    if (after || last === null) {
      last = found.last_id;
      more.hidden = !found.has_more;
    }
    fill(note, rows.size === 0 && empty("No jobs", "A clip that you ask for appears here until it is finished, and after.", h("p", {}, h("a.button", { href: "#/create" }, "Create a clip"))));
    return found.data.some((video) => OPEN.has(video.status));
  }
  function show(videos, first) {
    const fresh = [];
    for (const video of videos) {
      const known = rows.get(video.id);
      if (known) known.update(video);
      else {
        const made = row(video, () => { rows.delete(video.id); });
        rows.set(video.id, made);
        fresh.push(made.element);
      }
    }
    if (first) list.prepend(...fresh);
    else list.append(...fresh);
  }
  let open = await load(null);
  (async () => {
    while (!signal.aborted) {
      await sleep(open && !document.hidden ? 700 : 4000, signal);
      open = await load(null).catch(() => false);
    }
  })().catch(() => {});
  return [h("div.narrow", {}, h("h1", {}, "Jobs"), note, list, more)];
}

function row(video, gone) {
  const status = h("span.status");
  const bar = h("progress", { max: 100, "aria-label": "Progress" });
  const line = h("p.hint");
  const stop = h("button.plain", { type: "button" });
  const picture = h("div.thumb");
  const element = h("li.job", {}, picture, h("div", {}, h("a.title", { href: path("clip", video.id) }, video.prompt), line, bar), status, stop);
  const place = `/v1/videos/${encodeURIComponent(video.id)}`;
  async function end() {
    await remove(place);
    element.remove();
    gone();
  }
  stop.addEventListener("click", async () => {
    if (video.status === "completed") return deleteDialog(end);
    stop.disabled = true;
    try {
      if (OPEN.has(video.status)) {
        update(await post(`${place}/cancel`));
        tell("The job is cancelled.");
      } else {
        await end();
        tell("The job is deleted.");
      }
    } catch (error) {
      tell(error.message, true);
    }
    stop.disabled = false;
  });
  function update(now) {
    const changed = now.status !== video.status || !status.textContent;
    video = now;
    status.className = `status ${now.status}`;
    status.textContent = now.error?.code === "cancelled" ? "Cancelled" : WORDS[now.status];
    bar.hidden = !OPEN.has(now.status);
    bar.value = now.progress;
    line.textContent = now.status === "failed" ? now.error.message : `${now.size.replace("x", " × ")} px · ${now.seconds} s · seed ${now.seed} · ${ago(now.created_at)}`;
    fill(stop, icon(OPEN.has(now.status) ? "close" : "trash"), h("span", {}, OPEN.has(now.status) ? "Cancel" : "Delete"));
    if (changed) fill(picture, now.content_urls ? h("img.pixels", { src: now.content_urls.thumbnail, alt: "", width: 64, height: 64 }) : null);
  }
  update(video);
  return { element, update };
}
