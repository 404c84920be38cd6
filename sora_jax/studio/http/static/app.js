// The shell: navigation, signing in, and the view that the address names.

import { get, post, remove, useToken } from "/static/api.js";
import { empty, field, fill, form, h, icon } from "/static/dom.js";
import * as characters from "/static/characters.js";
import * as clip from "/static/clip.js";
import * as create from "/static/create.js";
import * as feed from "/static/feed.js";
import * as jobs from "/static/jobs.js";
import { verifyDialog } from "/static/provenance.js";

const TABS = [
  ["create", "Create", "create"],
  ["feed", "Feed", "feed"],
  ["characters", "Characters", "people"],
  ["jobs", "Jobs", "jobs"],
];
const VIEWS = { create, feed, clip, characters, jobs };
const top = document.getElementById("top");
const main = document.getElementById("main");
let session = null;
let leave = new AbortController();

function place() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, id] = path.split("/").map(decodeURIComponent);
  return { name: name in VIEWS ? name : "create", id, query: new URLSearchParams(query) };
}

function showTop() {
  const here = place().name;
  const tabs = TABS.map(([name, text, picture]) =>
    h("a", { href: `#/${name}`, "aria-current": name === here ? "page" : null }, icon(picture), h("span", {}, text)));
  const account = session && h("div.account", {},
    h("button.plain", { type: "button", onclick: verifyDialog }, icon("seal"), h("span", {}, "Verify a file")),
    session.signed_in
      ? [h("span.who", {}, session.account), h("button.plain", { type: "button", onclick: signOut }, "Sign out")]
      : h("span.who", { title: "This server has no key, so every program of this machine may use it" }, "this machine"));
  fill(top,
    h("a.mark", { href: "#/create", "aria-label": "Studio, start" }, h("img", { src: "/static/icon.svg", alt: "", width: 26, height: 26 }), h("b", {}, "Studio")),
    session && h("nav", { "aria-label": "Views" }, tabs), account);
}

async function signOut() {
  await remove("/api/session").catch(() => {});
  await begin();
}

function showSignIn() {
  session = null;
  showTop();
  const key = h("input", { type: "password", autocomplete: "current-password", required: true, spellcheck: "false" });
  const send = async () => {
    await post("/api/session", { key: key.value });
    await begin(true);
  };
  document.title = "Sign in · Studio";
  fill(main, h("section.narrow.sign-in", {}, h("h1", {}, "Sign in"),
    h("p.lead", {}, "Use the key that the operator of this server gave you."),
    form("Sign in", send, field("Key", key, "It begins with sk-sora-. The page keeps a cookie, not the key."))));
  key.focus();
}

async function show(focus = true) {
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  const { name, id, query } = place();
  showTop();
  fill(main, h("p.loading", { role: "status" }, "Loading…"));
  let content;
  let title = TABS.find(([tab]) => tab === name)?.[1] ?? "Clip";
  try {
    content = await VIEWS[name].view({ id, query, signal, session });
  } catch (error) {
    if (signal.aborted) return;
    content = empty(error.status === 404 ? "There is nothing here" : "That did not work", error.message,
      h("p", {}, h("button", { type: "button", onclick: () => show() }, "Try again")));
  }
  if (signal.aborted) return;
  fill(main, content);
  title = main.querySelector("h1")?.textContent || title;
  document.title = `${title.slice(0, 60)} · Studio`;
  scrollTo(0, 0);
  if (focus) main.focus({ preventScroll: true });
}

async function begin(focus = false) {
  try {
    session = await get("/api/session");
    useToken(session.csrf);
    await show(focus);
  } catch (error) {
    if (error.status === 401) showSignIn();
    else fill(main, empty("That did not work", error.message));
  }
}

addEventListener("hashchange", () => session && show());
addEventListener("signed-out", showSignIn);
begin();
