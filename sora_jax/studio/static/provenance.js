// Provenance: who signed a file, whether it is whole, which mark it carries, and its parents.

import { api } from "/static/api.js";
import { dialog, fill, form, h, icon } from "/static/dom.js";

/** Opens the check of a file of this server. */
export async function provenanceDialog(url) {
  const body = h("div", {}, h("p.loading", { role: "status" }, "Reading the manifest and the mark…"));
  dialog("Provenance", body);
  try {
    const answer = await fetch(url);
    if (!answer.ok) throw new Error(`The file cannot be read: status ${answer.status}.`);
    fill(body, report(await check(await answer.blob(), "clip.mp4")));
  } catch (error) {
    fill(body, h("p.problem", { role: "alert" }, error.message));
  }
}

/** Opens a form that checks any file. */
export function verifyDialog() {
  const found = h("div", { "aria-live": "polite" });
  const input = h("input", { type: "file", required: true, accept: "video/mp4,image/*,audio/*", "aria-label": "File" });
  dialog("Verify a file", form("Verify", async () => {
    fill(found, h("p.loading", {}, "Reading the manifest and the mark…"));
    try {
      fill(found, report(await check(input.files[0], input.files[0].name)));
    } catch (error) {
      fill(found);
      throw error;
    }
  }, h("p.lead", {}, "A file that this studio made says who signed it, whether it was changed, and from which job it comes."), input), found);
}

function check(file, name) {
  const values = new FormData();
  values.set("file", file, name);
  return api("POST", "/v1/content_provenance_checks", values);
}

/** Returns the answer of a check as a list of its terms, with the whole of it below. */
export function report(answer) {
  return [terms(answer), h("details.raw", {}, h("summary", {}, "The whole answer"), h("pre", { tabindex: 0 }, JSON.stringify(answer, null, 2)))];
}

function terms(values, depth = 0) {
  const pairs = Object.entries(values).filter(([name, value]) => name !== "object" && value !== null && value !== "");
  return h("dl.report", {}, pairs.map(([name, value]) => h("div", {}, h("dt", {}, name.replaceAll("_", " ")), h("dd", {}, term(value, depth)))));
}

function term(value, depth) {
  if (value === true) return [h("span.met", {}, "✓ "), "yes"];
  if (value === false) return [h("span.unmet", {}, "✗ "), "no"];
  if (Array.isArray(value)) return value.length ? h("ul", {}, value.map((one) => h("li", {}, term(one, depth + 1)))) : "none";
  if (typeof value === "object") return depth < 2 ? terms(value, depth + 1) : JSON.stringify(value);
  return String(value);
}

/** Returns a small seal. */
export const seal = () => icon("seal");
