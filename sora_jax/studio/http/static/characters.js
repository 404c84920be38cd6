// Characters: who may be shown, by whom, and in which clips.

import { get, put, post, remove, view as path } from "/static/api.js";
import { captureDialog } from "/static/capture.js";
import { ago, dialog, empty, field, fill, form, h, icon, tell } from "/static/dom.js";
import { playWhileNear, preview } from "/static/pixels.js";

const STATUS = { verified: "Verified", unverified: "Not verified", rejected: "Refused" };
const handle = (one) => (one.handle ? `@${one.handle}` : one.name);
const place = (one) => `/v1/characters/${encodeURIComponent(one.id)}`;

export async function view({ id, signal }) {
  if (id) return detail(await get(`/v1/characters/${encodeURIComponent(id)}`), signal);
  const { data } = await get("/v1/characters");
  const record = () => captureDialog((made) => { location.hash = path("characters", made.id); });
  const button = h("button.primary", { type: "button", onclick: record }, icon("create"), "Record a character");
  if (!data.length) {
    return h("div.narrow", {}, h("h1", {}, "Characters"), empty("Nobody is recorded yet",
      "A recorded character appears in clips of yours, and of those whom you grant it. You can take it back at any time.", h("p", {}, button)));
  }
  return h("div.narrow", {}, h("div.heading", {}, h("h1", {}, "Characters"), button),
    h("ul.people", {}, data.map((one) => h("li", {}, h("a", { href: path("characters", one.id) }, h("b", {}, handle(one)), badge(one), h("span.hint", {}, ago(one.created_at)))))));
}

const badge = (one) => h("span", { class: `status ${one.status}` }, STATUS[one.status] ?? one.status);

async function detail(one, signal) {
  const { reason } = one;
  const sections = h("div");
  if (one.status === "verified") {
    const parts = await Promise.all([grants(one), restrictions(one), clips(one)]);
    if (!signal.aborted) fill(sections, parts);
  }
  return h("div.narrow", {},
    h("p", {}, h("a", { href: "#/characters" }, "Characters")),
    h("div.heading", {}, h("h1", {}, handle(one)), badge(one)),
    h("p.hint", {}, `Recorded ${ago(one.created_at)}.`, one.status === "verified" && ` Write ${handle(one)} in a prompt to show it.`),
    reason && h("p.problem", {}, reason),
    one.notices?.length > 0 && h("ul.notes", {}, one.notices.map((line) => h("li", {}, `${line.message}, ${ago(line.created_at)}`))), sections,
    one.status === "verified"
      ? h("section", {}, h("h2", {}, "Take it back"), h("p", {}, "Revoking ends every grant, stops running jobs, and hides the clips that show this character from everybody but its owner."),
        h("button.danger", { type: "button", onclick: () => revokeDialog(one) }, "Revoke this character"))
      : h("p.actions", {}, h("button", { type: "button", onclick: () => revokeDialog(one) }, icon("trash"), "Delete")));
}

async function grants(one) {
  const list = h("ul.rows");
  const name = h("input", { required: true, maxlength: 40, autocomplete: "off", autocapitalize: "off", spellcheck: "false" });
  const show = async () => {
    const { data } = await get(`${place(one)}/grants`);
    fill(list, data.length ? data.map((grant) => h("li", {}, h("b", {}, grant.account), h("button.plain", { type: "button", "aria-label": `Revoke the grant of ${grant.account}`, onclick: () => withdraw(grant.account) }, "Revoke"))) : h("li.hint", {}, "Nobody but you may show this character."));
  };
  const withdraw = async (account) => {
    try {
      await remove(`${place(one)}/grants/${encodeURIComponent(account)}`);
      tell(`${account} may not show ${handle(one)} any more.`);
      await show();
    } catch (error) {
      tell(error.message, true);
    }
  };
  await show();
  return h("section", {}, h("h2", {}, "Who may show it"), list, form("Grant", async () => {
    await post(`${place(one)}/grants`, { account: name.value.trim() });
    name.value = "";
    await show();
  }, field("Account", name, "The name of an account of this server, or mutuals, or everyone.")));
}

async function restrictions(one) {
  const found = await get(`${place(one)}/restrictions`);
  const rules = h("textarea", { rows: 3, spellcheck: "false", placeholder: "no cinematic\nnot with @rolo\nnever says seven", value: found.data.map((rule) => rule.text).join("\n") });
  const notes = h("ul.rows");
  const show = (answer) => fill(notes, answer.data.map((rule) => h("li", {}, h("span", {}, rule.text), h("span.hint", {}, rule.enforced ? "enforced" : "kept, but not enforced"))));
  show(found);
  return h("section", {}, h("h2", {}, "Restrictions"), notes, form("Save", async () => {
    const lines = rules.value.split("\n").map((line) => line.trim()).filter(Boolean);
    show(await put(`${place(one)}/restrictions`, { restrictions: lines }));
    tell("The restrictions are saved.");
  }, field("One a line", rules, "“no …” and “only …” take a style or a place; “not with @x” and “never says WORD” are understood too.")));
}

async function clips(one) {
  const { data } = await get(`${place(one)}/clips`);
  return h("section", {}, h("h2", {}, "Clips that show me"), data.length
    ? h("div.feed", {}, data.map((video) => face(video)))
    : h("p.hint", {}, "No clip shows this character."));
}

function face(video) {
  const who = h("p.hint", {}, video.account ?? "", video.status && video.status !== "completed" ? ` ${video.status.replace("_", " ")}` : "");
  if (!video.content_urls) return h("article.post", {}, h("div.about", {}, h("span.title", {}, video.prompt), who));
  return playWhileNear(h("article.post", { "aria-label": video.prompt },
    h("a.face", { href: path("clip", video.id), "aria-label": video.prompt }, preview(video.content_urls, video.size, video.prompt, 192)),
    h("div.about", {}, h("a.title", { href: path("clip", video.id) }, video.prompt), who)));
}

function revokeDialog(one) {
  const verb = one.status === "verified" ? "Revoke" : "Delete";
  const box = dialog(`${verb} ${handle(one)}?`, form(verb, async () => {
    await remove(place(one));
    box.close();
    tell(`${handle(one)} is ${verb === "Revoke" ? "revoked" : "deleted"}.`);
    location.hash = "#/characters";
  }, h("p.lead", {}, one.status === "verified"
    ? "This cannot be undone. Whoever was granted the character cannot show it any more."
    : "Nothing was generated with it.")));
}
