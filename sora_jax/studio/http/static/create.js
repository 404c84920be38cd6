// Create: a prompt or a storyboard becomes a clip, with what the oracles read beside it.

import { finished, get, model, post, view as path } from "/static/api.js";
import { choice, empty, field, fill, h, icon, select } from "/static/dom.js";
import { facts } from "/static/facts.js";
import { placeholder, sides } from "/static/pixels.js";
import { player } from "/static/player.js";
import { storyboard } from "/static/storyboard.js";
import { styled } from "/static/style_words.js";

const RECENT = 5; // results of before that are shown
let draft = ""; // of the prompt, while the page is open

export async function view({ query, signal }) {
  const results = h("div.results");
  const loaded = await model().catch((error) => ({ error }));
  const [recent, own, granted] = await Promise.all([
    get(`/v1/videos?limit=${RECENT}`),
    ...["/v1/characters", "/api/characters"].map((list) => get(list).catch(() => ({ data: [] }))),
  ]);
  const people = [...own.data, ...granted.data].filter((one) => one.status === "verified");
  const show = (video, first = false) => {
    const card = result(video, signal);
    if (first) results.prepend(card);
    else results.append(card);
    results.querySelector(".empty")?.remove();
  };
  recent.data.filter((video) => video.status !== "failed" || video.error?.code !== "cancelled").forEach((video) => show(video));
  if (!results.children.length) {
    results.append(empty("Your clips appear here", "Each stands beside what the oracles read in its pixels and its sound."));
  }
  const head = h("h1.unseen", {}, "Create");
  if (loaded.error) return [head, waiting(loaded.error, signal)];
  return [head, composer(loaded, people, query, (video) => show(video, true)), h("h2.unseen", {}, "Results"), results];
}

/** Says that no worker is ready, and loads the view again when one is. */
function waiting(error, signal) {
  const timer = setInterval(() => {
    model().then(() => dispatchEvent(new Event("hashchange")), () => {});
  }, 2000);
  signal.addEventListener("abort", () => clearInterval(timer));
  return empty("The model is loading", error.message);
}

function composer(loaded, people, query, made) {
  const problem = h("p.problem", { role: "alert", hidden: true });
  const button = h("button.primary", { type: "submit" }, "Generate");
  const prompt = h("textarea.prompt", { rows: 2, "aria-label": "Prompt", placeholder: "Describe a clip…", maxlength: 32000, value: query.get("prompt") ?? draft, oninput: grow });
  const board = storyboard(loaded, people);
  const area = h("div", {}, prompt);
  const options = settings(loaded, people);
  let mode = "prompt";
  let next = 0;
  const suggest = loaded.examples.length > 0 && h("button.plain", { type: "button", onclick() {
    prompt.value = loaded.examples[next++ % loaded.examples.length];
    grow();
    prompt.focus();
  } }, icon("spark"), "Suggest");
  const modes = choice("Written as", [["prompt", "Prompt"], ["storyboard", "Storyboard"]], mode, (value) => {
    mode = value;
    fill(area, mode === "prompt" ? prompt : board.element);
    if (suggest) suggest.hidden = mode !== "prompt";
    options.style.hidden = mode !== "prompt"; // a storyboard states its own
  });
  function grow() {
    draft = prompt.value;
    prompt.style.height = "auto";
    prompt.style.height = `${Math.max(prompt.scrollHeight, 76)}px`;
  }
  requestAnimationFrame(grow);
  async function send(event) {
    event.preventDefault();
    button.disabled = true;
    problem.hidden = true;
    try {
      const text = mode === "prompt" ? options.styled(prompt.value.trim()) : board.text();
      made(await post("/v1/videos", await options.body(text, mode === "storyboard")));
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
    } finally {
      button.disabled = false;
    }
  }
  const box = h("form.composer", { onsubmit: send }, h("div.bar", {}, modes, suggest), area, options.element, problem, h("div.actions", {}, h("span.keys", {}, "Ctrl + Enter"), button));
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) box.requestSubmit();
  });
  return box;
}

/** Returns the settings of a generation: their elements, and the body of a request. */
function settings(loaded, people) {
  const formats = loaded.formats.map((one, i) => [String(i), `${one.size.replace("x", " × ")} px, ${one.exact_seconds} s${one.shots > 1 ? `, ${one.shots} shots` : ""}`]);
  const format = select(formats, "0");
  const styles = Object.keys(loaded.styles);
  const style = select([["", styles.length ? "as the prompt says" : "the model has one style"], ...styles.map((one) => [one, one])], "", { disabled: styles.length === 0 });
  const styling = field("Style", style);
  const seed = h("input", { type: "number", min: 0, max: 4294967295, step: 1, placeholder: "random" });
  const steps = h("input", { type: "number", min: 1, max: loaded.most_steps, step: 1, value: loaded.steps });
  const chips = people.map((one) => h("label.chip", { title: one.account ? `granted by ${one.account}` : "yours" }, h("input", { type: "checkbox", value: one.id }), h("span", {}, handle(one))));
  const first = firstFrame();
  const summary = h("summary");
  const tell = () => {
    const chosen = chips.filter((chip) => chip.firstChild.checked).length;
    summary.textContent = [format.selectedOptions[0].textContent, style.value, `${steps.value || loaded.steps} steps`, seed.value ? `seed ${seed.value}` : "random seed", first.file() && "first frame", chosen && `${chosen} character${chosen > 1 ? "s" : ""}`].filter(Boolean).join(" · ");
  };
  const element = h("details.options", { oninput: tell, onchange: tell }, summary, h("div.grid", {},
    field("Format", format), styling, field("Steps", steps), field("Seed", seed),
    h("div.field", {}, h("span.label", {}, "First frame"), first.element),
    h("div.field", {}, h("span.label", {}, "Characters"), chips.length && loaded.references ? h("div.chips", {}, chips) : h("p.hint", {}, loaded.references ? ["None is verified or granted to you. ", h("a", { href: "#/characters" }, "Record one")] : "The loaded model shows no recorded characters."))));
  first.element.addEventListener("chosen", tell);
  tell();

  async function body(prompt, board) {
    const chosen = loaded.formats[Number(format.value)];
    const values = new FormData();
    values.set("prompt", prompt);
    values.set("size", chosen.size);
    if (!board) values.set("seconds", String(chosen.exact_seconds));
    if (steps.value) values.set("steps", steps.value);
    if (seed.value) values.set("seed", seed.value);
    for (const chip of chips) if (chip.firstChild.checked) values.append("characters[][id]", chip.firstChild.value);
    if (first.file()) values.set("input_reference", await cover(first.file(), chosen.size), "first.png");
    return values;
  }
  return { element, body, styled: (text) => styled(text, style.value, loaded.styles), style: styling };
}

const handle = (one) => (one.handle ? `@${one.handle}` : one.name);

/** Returns the choice of a picture as the first frame. */
function firstFrame() {
  let file = null;
  const name = h("span", {}, "Choose a picture");
  const input = h("input.unseen", { type: "file", accept: "image/png,image/jpeg,image/webp", "aria-label": "First frame", onchange() {
    choose(input.files[0] ?? null);
  } });
  const clear = h("button.plain.round", { type: "button", "aria-label": "Remove the first frame", hidden: true, onclick: () => { input.value = ""; choose(null); } }, icon("close"));
  const element = h("div.pick", {}, h("label.button", {}, input, icon("picture"), name), clear);
  function choose(value) {
    file = value;
    name.textContent = file ? file.name : "Choose a picture";
    clear.hidden = !file;
    element.dispatchEvent(new Event("chosen"));
  }
  return { element, file: () => file };
}

/** Returns a picture scaled and cropped to a size, as a PNG file. */
async function cover(file, size) {
  const [width, height] = sides(size);
  const picture = await createImageBitmap(file).catch(() => {
    throw new Error("The first frame is no picture that this browser can open.");
  });
  const canvas = h("canvas", { width, height });
  const scale = Math.max(width / picture.width, height / picture.height);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, (width - picture.width * scale) / 2, (height - picture.height * scale) / 2, picture.width * scale, picture.height * scale);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

/** Returns a clip beside what was read in it; before it is finished, its progress. */
function result(video, signal) {
  const stage = h("div.stage");
  const read = h("div.read");
  const link = h("a.title", { href: path("clip", video.id) }, video.prompt);
  const element = h("article.result", { "aria-label": video.prompt }, stage, h("div.side", {}, h("h3", {}, link), read));
  if (video.status !== "completed" && video.status !== "failed") {
    const wait = placeholder(video.size);
    fill(stage, wait.element);
    wait.update(video);
    finished(video.id, signal, wait.update).then(done, (error) => {
      if (!signal.aborted) fill(read, h("p.problem", { role: "alert" }, error.message));
    });
  } else {
    done(video);
  }
  async function done(made) {
    if (made.status === "failed") {
      fill(stage, h("div.mat.failed", {}, "No clip"));
      fill(read, h("p.problem", {}, made.error.message));
      return;
    }
    const clip = await get(`/api/clips/${encodeURIComponent(made.id)}`).catch(() => null);
    fill(stage, player(made.content_urls, made.size, made.prompt, clip?.readings, 448));
    fill(read, facts(clip?.readings ?? { verdict: made.verdict }), notes(made.notes), h("p.more", {}, h("a.button", { href: path("clip", made.id) }, "Open"), h("a.button", { href: `${path("clip", made.id)}?do=remix` }, icon("remix"), "Remix")));
  }
  return element;
}

/** Returns the notes of the model on a clip. */
export function notes(lines) {
  if (!lines?.length) return null;
  return h("ul.notes", {}, lines.map((line) => h("li", {}, line)));
}
