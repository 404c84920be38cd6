// One clip: play it, see what was read in it and where it comes from, and go on from it.

import { finished, get, model, post, remove, view as path } from "/static/api.js";
import { notes } from "/static/create.js";
import { ago, deleteDialog, dialog, field, fill, form, h, icon, tell } from "/static/dom.js";
import { facts } from "/static/facts.js";
import { followButton } from "/static/feed.js";
import { lineage } from "/static/lineage.js";
import { enlarge, placeholder, sides } from "/static/pixels.js";
import { player } from "/static/player.js";
import { provenanceDialog } from "/static/provenance.js";

const KINDS = { create: "Generated", remix: "Remix", edit: "Edit", extend: "Extension" };

export async function view({ id, query, signal }) {
  const box = h("div.clip");
  async function load(first) {
    const clip = await get(`/api/clips/${encodeURIComponent(id)}`);
    const loaded = await model().catch(() => null);
    if (signal.aborted) return;
    fill(box, content(clip, loaded, () => load(false)));
    if (!["completed", "failed"].includes(clip.video.status)) await wait(clip);
    else if (first && query.get("do") === "remix" && clip.video.status === "completed") remixDialog(clip, loaded);
  }
  async function wait(clip) {
    const { element, update } = placeholder(clip.video.size);
    fill(box.querySelector(".stage"), element);
    update(clip.video);
    finished(id, signal, update).then(() => load(false)).catch((error) => {
      if (!signal.aborted) tell(error.message, true);
    });
  }
  await load(true);
  return box;
}

function content(clip, loaded, again) {
  const { video, post: published } = clip;
  const done = video.status === "completed";
  const title = published?.title || video.prompt;
  const made = clip.lineage.find((node) => node.id === video.id);
  const parent = made && clip.lineage.find((node) => node.key === made.parent);
  const from = parent && [" of ", parent.id ? h("a", { href: path("clip", parent.id) }, parent.title || parent.prompt) : parent.deleted ? "a deleted clip" : "a clip that is not shown"];
  const who = [clip.mine ? "you" : h("span.name", {}, made?.account ?? ""), published && !clip.mine && [" · ", followButton(published)]];
  return [
    h("div.stage", {}, done ? player(video.content_urls, video.size, title, clip.readings) : h("div.mat.failed", {}, video.status === "failed" ? "No clip" : "")),
    h("div.narrow", {},
      h("h1", {}, title),
      title !== video.prompt && h("p.lead", {}, video.prompt),
      h("p.hint", {}, KINDS[clip.kind], " by ", who, from, ` · ${ago(video.created_at)} · seed ${video.seed} · `, h("span", { class: published ? "public" : "" }, published ? "published" : "private")),
      video.status === "failed" && h("p.problem", {}, video.error.message),
      done && actions(clip, loaded, again)),
    h("div.columns", {}, done && h("div", {}, h("h2", {}, "What the oracles read"), facts(clip.readings), notes(video.notes)),
      h("div", {}, h("h2", {}, "Lineage"), lineage(clip.lineage, video.id), done && sheet(video))),
  ];
}

function sheet(video) {
  const [width, height] = sides(video.size);
  const picture = h("img.pixels", { src: video.content_urls.spritesheet, alt: `Frames of the clip, in reading order: ${video.prompt}`, loading: "lazy" });
  const mat = h("div.mat", {}, picture);
  picture.addEventListener("load", () => enlarge(picture, [picture.naturalWidth, picture.naturalHeight], mat, 9 * Math.max(width, height)));
  return [h("h2", {}, "Contact sheet"), mat];
}

function actions(clip, loaded, again) {
  const { video, post: published } = clip;
  const act = (name, text, run, extra = {}) => h("button", { type: "button", onclick: run, ...extra }, icon(name), text);
  const seal = act("seal", "Provenance", () => provenanceDialog(video.content_urls.video));
  const onePiece = clip.shots === 1;
  const gone = async () => {
    await remove(`/v1/videos/${encodeURIComponent(video.id)}`);
    location.hash = "#/jobs";
  };
  const list = [
    act("remix", "Remix", () => remixDialog(clip, loaded), { class: "primary" }),
    act("extend", "Extend", () => extendDialog(clip, loaded), { disabled: !onePiece, title: onePiece ? null : "Only clips of one shot grow" }),
    act("shot", "Edit a shot", () => shotDialog(clip, loaded), { disabled: onePiece, title: onePiece ? "This clip has one shot; remix it to change it" : null }),
  ];
  if (clip.mine) {
    list.push(published
      ? act("hide", "Unpublish", () => change(() => remove(`/api/posts/${encodeURIComponent(published.id)}`), "The clip is private again.", again))
      : act("publish", "Publish", () => publishDialog(clip, again)));
  }
  list.push(seal,
    h("a.button", { href: video.content_urls.video, download: `${video.id}.mp4` }, icon("download"), "Download"),
    published && h("a.button", { href: `#/feed?like=${encodeURIComponent(video.id)}` }, icon("feed"), "Like this one"));
  if (clip.mine) list.push(act("trash", "Delete", () => deleteDialog(gone), { class: "quiet" }));
  return h("div.toolbar", { role: "group", "aria-label": "Go on from this clip" }, list);
}

async function change(run, text, again) {
  try {
    await run();
    tell(text);
    await again();
  } catch (error) {
    tell(error.message, true);
  }
}

/** Opens a form that sends a request for a new clip, and goes to it. */
function ask(title, button, send, ...content) {
  const box = dialog(title, form(button, async () => {
    const made = await send();
    box.close();
    location.hash = path("clip", made.id);
  }, ...content));
  box.querySelector("textarea")?.focus();
}

const promptOf = (clip) => h("textarea.prompt", { rows: 3, required: true, value: clip.video.prompt });

function sampler(loaded) {
  const steps = h("input", { type: "number", min: 1, max: loaded?.most_steps ?? 1000, value: loaded?.steps ?? 30 });
  const seed = h("input", { type: "number", min: 0, max: 4294967295, placeholder: "random" });
  const values = () => ({ steps: Number(steps.value), ...(seed.value ? { seed: Number(seed.value) } : {}) });
  return { values, element: h("div.grid", {}, field("Steps", steps), field("Seed", seed)) };
}

function remixDialog(clip, loaded) {
  const prompt = promptOf(clip);
  const shown = h("output", {}, "0.6");
  const strength = h("input", { type: "range", min: 0.05, max: 1, step: 0.05, value: 0.6, oninput: () => { shown.textContent = strength.value; } });
  const more = sampler(loaded);
  ask("Remix", "Remix", () => post(`/v1/videos/${encodeURIComponent(clip.video.id)}/remix`, { prompt: prompt.value, strength: Number(strength.value), ...more.values() }),
    field("New prompt", prompt), h("div.strength", {}, field("Strength", strength, "Left keeps the clip, right makes it anew."), shown), more.element);
}

function extendDialog(clip, loaded) {
  const prompt = promptOf(clip);
  const seconds = h("input", { type: "number", min: 0.5, max: loaded?.extension_seconds ?? 60, step: 0.5, value: 2, required: true });
  const more = sampler(loaded);
  ask("Extend", "Extend", () => post("/v1/videos/extensions", { prompt: prompt.value, video: { id: clip.video.id }, seconds: seconds.value, ...more.values() }),
    field("What happens next", prompt), field("Seconds to add", seconds), more.element);
}

function shotDialog(clip, loaded) {
  const prompt = promptOf(clip);
  const shot = h("input", { type: "number", min: 1, max: clip.shots, value: 1, required: true });
  const more = sampler(loaded);
  ask("Edit a shot", "Make the shot anew", () => post("/v1/videos/edits", { prompt: prompt.value, video: { id: clip.video.id }, shot: Number(shot.value), ...more.values() }),
    field("Prompt of the whole clip", prompt, "Change what the shot does, and leave the others."), field(`Shot, from 1 to ${clip.shots}`, shot), more.element);
}

function publishDialog(clip, again) {
  const title = h("input", { maxlength: 120, placeholder: clip.video.prompt });
  const box = dialog("Publish", form("Publish", async () => {
    const text = title.value.trim();
    await post("/api/posts", { video: clip.video.id, ...(text ? { title: text } : {}) });
    box.close();
    tell("The clip is in the feed.");
    await again();
  }, h("p.lead", {}, "Every account of this server can then see and remix the clip."), field("Title", title, "Without one, the prompt stands there.")));
}
