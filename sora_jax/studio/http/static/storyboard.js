// A storyboard of cards, written as the text that the model reads.

import { field, fill, h, icon, select } from "/static/dom.js";

const ACTS = [
  ["", "Add an act…"],
  ["{a} waits.", "waits"],
  ["{a} looks left.", "looks left"],
  ["{a} walks right.", "walks right"],
  ["{a} goes to room b.", "goes to a room"],
  ["{a} throws the ball to {b}.", "throws the ball"],
  ["{a} switches the lamp on.", "switches the lamp"],
  ["{a} opens the door.", "opens the door"],
  ["{a} puts on a hat.", "puts on a hat"],
  ['{a} says "two".', "says a word"],
];

/** Returns the editor of a storyboard: its element, and `text()`. */
export function storyboard(loaded, people) {
  const words = loaded.storyboard;
  const most = Math.max(...loaded.formats.map((one) => one.shots));
  const known = people.filter((one) => one.handle).map((one) => `@${one.handle}`);
  const style = select(words.styles, words.styles[0]);
  const sound = select(words.soundscapes, words.soundscapes[0]);
  const cast = h("input", { value: (known.length ? known : ["@mika", "@rolo"]).slice(0, 2).join(", "), autocapitalize: "off", spellcheck: "false" });
  const ball = select([["", "none"], ...words.colours.map((one) => [one, one])], words.colours[0]);
  const cards = [card({})];
  if (most > 1) while (cards.length < most) cards.push(card({}));
  const list = h("ol.cards");
  const add = h("button", { type: "button", onclick: () => { cards.push(card(cards.at(-1)?.values() ?? {})); show(); } }, icon("create"), "Add a shot");
  const element = h("div.storyboard", {},
    most === 1 && h("p.notice", {}, "The loaded model learned clips of one shot. A storyboard of several needs weights that were trained on stories."),
    h("div.grid", {}, field("Style", style), field("Ambience", sound), field("Cast", cast, loaded.references ? "One or two recorded characters." : "One or two handles."), field("Ball", ball)),
    list, add);

  function handles() {
    return cast.value.split(/[\s,]+/).filter(Boolean);
  }
  function card(values) {
    const seconds = h("input", { type: "number", min: 0.5, max: 60, step: 0.25, value: values.seconds ?? 2 });
    const frames = [...words.frames.filter((one) => one !== "close-up"), "close-up on the first", "close-up on the second"];
    const frame = select(frames, values.frame ?? "wide");
    const move = select(words.moves, values.move ?? "static");
    const place = select(words.places, values.place ?? words.places[0]);
    const acts = h("textarea", { rows: 2, placeholder: "What happens, such as @mika opens the door.", value: values.acts ?? "" });
    const insert = select(ACTS, "", { "aria-label": "Add an act", onchange() {
      const [a, b] = [handles()[0] ?? "@mika", handles()[1] ?? handles()[0] ?? "@rolo"];
      acts.value = `${acts.value} ${insert.value.replace("{a}", a).replace("{b}", b)}`.trim();
      insert.value = "";
      acts.focus();
    } });
    return { seconds, frame, move, place, acts, insert, values: () => ({ seconds: seconds.value, frame: frame.value, move: move.value, place: place.value }) };
  }
  function move(from, to) {
    cards.splice(to, 0, ...cards.splice(from, 1));
    show();
  }
  function show() {
    fill(list, cards.map((one, i) => h("li.card", {},
      h("header", {}, h("b", {}, `Shot ${i + 1}`),
        h("button.plain.round", { type: "button", "aria-label": `Move shot ${i + 1} up`, disabled: i === 0, onclick: () => move(i, i - 1) }, icon("up")),
        h("button.plain.round", { type: "button", "aria-label": `Move shot ${i + 1} down`, disabled: i === cards.length - 1, onclick: () => move(i, i + 1) }, icon("down")),
        h("button.plain.round", { type: "button", "aria-label": `Remove shot ${i + 1}`, disabled: cards.length === 1, onclick: () => { cards.splice(i, 1); show(); } }, icon("close"))),
      h("div.grid", {}, field("Seconds", one.seconds), field("Frame", one.frame), field("Camera", one.move), field("Place", one.place)),
      field("Acts", one.acts), one.insert)));
  }
  function text() {
    const cast = handles();
    const head = [`STYLE ${style.value}`, `AMBIENCE ${sound.value}`, `CAST ${cast.join(", ")}`];
    if (ball.value) head.push(`BALL ${ball.value}`);
    const shots = cards.map((one, i) => {
      const frame = one.frame.value.replace("the first", cast[0]).replace("the second", cast[1] ?? cast[0]);
      return `[SHOT ${i + 1} | ${Number(one.seconds.value)} s | ${frame} | ${one.move.value} | ${one.place.value}] ${one.acts.value.trim()}`.trim();
    });
    return [`[${head.join(" | ")}]`, ...shots].join(" ");
  }
  show();
  return { element, text };
}
