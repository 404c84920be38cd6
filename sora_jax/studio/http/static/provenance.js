// Provenance: who signed a file, whether it is whole, which mark it carries, and its parents.

import { api, view as path } from "/static/api.js";
import { dialog, fill, form, h } from "/static/dom.js";

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

const STATES = {
  trusted: ["met", "✓ Signed by this server's authority, and whole"],
  valid: ["met", "✓ Whole, signed by another authority"],
  invalid: ["unmet", "✗ Changed after it was signed"],
  not_present: ["unread", "No manifest"],
};

/** Returns the answer of a check in words, with the whole of it below. */
export function report(answer) {
  const found = Object.fromEntries(answer.results.map((one) => [one.type, one]));
  const manifest = found.c2pa ?? {};
  const mark = found.sora_jax_mark ?? {};
  const [tone, state] = STATES[manifest.validation_state] ?? ["unread", manifest.validation_state];
  const pairs = [
    ["Manifest", h("span", { class: tone }, state)],
    ["Signed by", manifest.issuer],
    ["Generated", manifest.generated_at && new Date(1000 * manifest.generated_at).toLocaleString()],
    ["Model", manifest.model],
    ["Action", manifest.action?.replace("c2pa.", "")],
    ["Clip", clip(manifest.video_id)],
    ["Made from", manifest.parents?.length ? parents(manifest.parents) : null],
    ["Consent", manifest.consent?.length ? h("ul", {}, manifest.consent.map((one) => h("li", {}, Object.values(one).join(", ")))) : null],
    ["Problems", manifest.problems?.join("; ")],
    ["Invisible mark", marked(mark)],
    ["Clip of the mark", clip(mark.video_id)],
  ].filter(([, value]) => value);
  return [h("dl.report", {}, pairs.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
    h("details.raw", {}, h("summary", {}, "The whole answer"), h("pre", { tabindex: 0 }, JSON.stringify(answer, null, 2)))];
}

function marked(mark) {
  if (mark.outcome !== "detected") return h("span.unread", {}, "not found");
  if (mark.contradicts_manifest) return h("span.unmet", {}, "✗ contradicts the manifest");
  return h("span.met", {}, `✓ found in ${mark.media.join(" and ")}`);
}

const clip = (id) => id && h("a.id", { href: path("clip", id), onclick: (event) => event.target.closest("dialog").close() }, id);

function parents(found) {
  return h("ul", {}, found.map((one) => h("li", {}, clip(one.video_id) ?? one.title, one.parents.length > 0 && parents(one.parents))));
}
