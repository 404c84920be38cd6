// Elements without HTML strings: text stays text, whatever it holds.

const PATHS = {
  play: "M7 5v14l12-7z",
  pause: "M7 5h3.5v14H7zM13.5 5H17v14h-3.5z",
  sound: "M4 9.5v5h3.5L12 19V5L7.5 9.5zM15.5 9a4.2 4.2 0 0 1 0 6M18 6.5a7.8 7.8 0 0 1 0 11",
  mute: "M4 9.5v5h3.5L12 19V5L7.5 9.5zM16 9.5l5 5M21 9.5l-5 5",
  create: "M12 5v14M5 12h14",
  feed: "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
  people: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4.5 20.5c.8-4 3.7-6 7.5-6s6.7 2 7.5 6",
  jobs: "M4 6h16M4 12h16M4 18h9",
  remix: "M4 8h4c5 0 4 8 9 8h3M17 13l3 3-3 3M4 16h4c1.4 0 2.3-.6 3-1.5M13.5 9.5c.7-.9 1.6-1.5 3-1.5H20M17 5l3 3-3 3",
  extend: "M3 7h9v10H3zM15 12h6M18 9l3 3-3 3",
  shot: "M4 6h16v12H4zM9.3 6v12M14.7 6v12",
  publish: "M12 16V4M7.5 8.5 12 4l4.5 4.5M5 15v5h14v-5",
  hide: "M4 4l16 16M9.5 5.5A9.6 9.6 0 0 1 12 5.2c4.5 0 7.5 3.3 9 6.8a13 13 0 0 1-2.3 3.5M6.3 7.8A13 13 0 0 0 3 12c1.5 3.5 4.5 6.8 9 6.8a9 9 0 0 0 4.2-1",
  seal: "M12 3l2.3 1.9 3-.2.7 2.9 2.5 1.6-1.1 2.8 1.1 2.8-2.5 1.6-.7 2.9-3-.2L12 21l-2.3-1.9-3 .2-.7-2.9-2.5-1.6L4.6 12 3.5 9.2 6 7.6l.7-2.9 3 .2zM8.8 12.2l2.3 2.3 4.2-4.6",
  close: "M6 6l12 12M18 6 6 18",
  trash: "M5 7h14M10 7V4.5h4V7M7 7l.8 12.5h8.4L17 7",
  camera: "M3 7h12v10H3zM15 10.5l6-3v9l-6-3z",
  up: "M12 19V5M6 11l6-6 6 6",
  down: "M12 5v14M6 13l6 6 6-6",
  copy: "M8 8h12v12H8zM4 16V4h12",
  picture: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9.5h.01",
  spark: "M12 3.5l1.9 5.6 5.6 1.9-5.6 1.9-1.9 5.6-1.9-5.6-5.6-1.9 5.6-1.9zM19 16v4M17 18h4",
  download: "M12 4v11M7.5 11 12 15.5 16.5 11M5 19.5h14",
  record: "M12 18a6 6 0 1 0 0-12 6 6 0 0 0 0 12z",
};

/**
 * Returns an element.
 * @param {string} tag name with classes, such as "button.primary"
 * @param {object} [props] attributes, `on...` listeners, and properties in PROPERTIES
 * @param {...any} children elements, texts, lists of them; null and false are left out
 */
export function h(tag, props = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(props)) set(element, key, value);
  add(element, children);
  return element;
}

const PROPERTIES = new Set(["value", "checked", "muted", "loop", "disabled", "hidden", "selected", "indeterminate"]);

function set(element, key, value) {
  if (value === null || value === undefined) return;
  if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
  else if (PROPERTIES.has(key)) element[key] = value;
  else if (value === true) element.setAttribute(key, "");
  else if (value !== false) element.setAttribute(key, String(value));
}

export function add(element, children) {
  for (const child of [children].flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

/** Replaces the children of an element. */
export function fill(element, ...children) {
  element.replaceChildren();
  return add(element, children);
}

/** Returns an icon; it says nothing to a screen reader, so give its button a name. */
export function icon(name, filled = false) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("icon");
  if (filled) svg.classList.add("filled");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

let count = 0;

/** Returns a label with its control; `hint` is a line below it. */
export function field(label, control, hint = null) {
  const id = control.id || `f${++count}`;
  control.id = id;
  const help = hint && h("p.hint", { id: `${id}-hint` }, hint);
  if (help) control.setAttribute("aria-describedby", help.id);
  return h("div.field", {}, h("label", { for: id }, label), control, help);
}

/** Returns a select element; options are texts, or pairs of value and text. */
export function select(options, value, props = {}) {
  const pairs = options.map((one) => (Array.isArray(one) ? one : [one, one]));
  const element = h("select", props, pairs.map(([key, text]) => h("option", { value: key }, text)));
  element.value = value;
  return element;
}

/** Returns a group of buttons of which one is chosen. */
export function choice(label, options, value, onchange) {
  const name = `c${++count}`;
  const items = options.map(([key, text]) =>
    h("label", {},
      h("input", { type: "radio", name, value: key, checked: key === value, onchange: () => onchange(key) }),
      h("span", {}, text)));
  return h("fieldset.choice", {}, h("legend.unseen", {}, label), items);
}

/** Opens a dialog with a heading, and returns it. Escape and its button close it. */
export function dialog(title, ...content) {
  const id = `d${++count}`;
  const close = h("button.plain.round", { type: "button", "aria-label": "Close", onclick: () => box.close() }, icon("close"));
  const box = h("dialog", { "aria-labelledby": id },
    h("header", {}, h("h2", { id }, title), close), h("div.body", {}, content));
  box.addEventListener("close", () => box.remove());
  box.addEventListener("click", (event) => { if (event.target === box) box.close(); });
  document.body.append(box);
  box.showModal();
  return box;
}

/** Says one line, which goes away. */
export function tell(text, bad = false) {
  const line = h("p", { class: bad ? "bad" : "" }, text);
  document.getElementById("told").append(line);
  setTimeout(() => line.remove(), 6000);
}

/** Returns a form whose errors stand in one line above its button. */
export function form(button, send, ...content) {
  const problem = h("p.problem", { role: "alert", hidden: true });
  const submit = h("button.primary", { type: "submit" }, button);
  return h("form", {
    async onsubmit(event) {
      event.preventDefault();
      submit.disabled = true;
      problem.hidden = true;
      try {
        await send(event.target);
      } catch (error) {
        problem.textContent = error.message;
        problem.hidden = false;
      } finally {
        submit.disabled = false;
      }
    },
  }, content, problem, h("div.actions", {}, submit));
}

/** Returns a text for an empty place. */
export function empty(title, text, ...more) {
  return h("div.empty", {}, h("h2", {}, title), h("p", {}, text), more);
}

/** Returns a duration as a text, such as "3 min ago". */
export function ago(seconds) {
  const age = Math.max(0, Date.now() / 1000 - seconds);
  if (age < 60) return "just now";
  if (age < 3600) return `${Math.floor(age / 60)} min ago`;
  if (age < 86400) return `${Math.floor(age / 3600)} h ago`;
  return new Date(seconds * 1000).toLocaleDateString(undefined, { dateStyle: "medium" });
}

/** Asks before a clip is deleted, and then deletes it. */
export function deleteDialog(run) {
  const box = dialog("Delete the clip?", form("Delete", async () => {
    await run();
    box.close();
    tell("The clip is deleted.");
  }, h("p.lead", {}, "Its files are deleted from the server. Clips that were made from it stay.")));
}
