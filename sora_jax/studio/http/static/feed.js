// Feed: published clips, in an order that the reader chooses.

import { get, post as send, remove, view as path } from "/static/api.js";
import { choice, empty, fill, h, tell } from "/static/dom.js";
import { playWhileNear, preview } from "/static/pixels.js";

const ORDERS = [["newest", "Newest"], ["remixed", "Most remixed"], ["followed", "Followed"]];
const PAGE = 24;
const EMPTY = {
  newest: ["Nothing is published yet", "A finished clip is private until its account publishes it."],
  followed: ["You follow nobody yet", "Follow an account at one of its clips, and its clips appear here."],
  like: ["Nothing else is published yet", "Clips with similar prompts appear here."],
};

export async function view({ query, signal }) {
  const like = query.get("like");
  let order = like ? "like" : (query.get("order") ?? "newest");
  const grid = h("div.feed");
  const more = h("button", { type: "button", hidden: true, onclick: () => load() }, "More");
  const seen = new Set();
  let start = 0;
  const orders = like ? [["like", "Like this one"], ...ORDERS] : ORDERS;
  const picker = choice("Order", orders, order, (value) => {
    order = value;
    history.replaceState(null, "", value === "like" ? `#/feed?like=${encodeURIComponent(like)}` : `#/feed?order=${value}`);
    reset().catch((error) => tell(error.message, true));
  });
  async function load() {
    const extra = order === "like" ? `&like=${encodeURIComponent(like)}` : "";
    const asked = order;
    const found = await get(`/api/feed?order=${order}&start=${start}&limit=${PAGE}${extra}`);
    if (asked !== order || signal.aborted) return;
    if (start === 0) fill(grid);
    start += found.data.length;
    for (const post of found.data) {
      if (!seen.has(post.id)) grid.append(card(post));
      seen.add(post.id);
    }
    more.hidden = !found.has_more;
    if (!seen.size) fill(grid, empty(...(EMPTY[order] ?? EMPTY.newest)));
  }
  async function reset() {
    seen.clear();
    start = 0;
    await load();
  }
  await reset();
  return [h("div.heading", {}, h("h1", {}, "Feed"), picker), grid, h("div.actions.centre", {}, more)];
}

/** Returns the card of a post. */
export function card(post) {
  const name = post.title || post.prompt;
  const made = post.remixes === 1 ? "1 remix" : `${post.remixes} remixes`;
  const follow = !post.mine && followButton(post);
  return playWhileNear(h("article.post", { "aria-label": name },
    h("a.face", { href: path("clip", post.video), "aria-label": name }, preview(post.content_urls, post.size, name)),
    h("div.about", {}, h("a.title", { href: path("clip", post.video) }, name),
      h("p.hint", {}, h("span.name", {}, post.account), post.remixes > 0 && ` · ${made}`, follow && [" · ", follow]))));
}

/** Returns a button that follows the account of a post, or stops. */
export function followButton(post) {
  let followed = post.followed;
  const button = h("button.link", { type: "button", "aria-pressed": String(followed) }, followed ? "Following" : "Follow");
  button.addEventListener("click", async () => {
    try {
      if (followed) await remove(`/v1/follows/${encodeURIComponent(post.account)}`);
      else await send("/v1/follows", { account: post.account });
      followed = !followed;
      button.textContent = followed ? "Following" : "Follow";
      button.setAttribute("aria-pressed", String(followed));
    } catch (error) {
      tell(error.message, true);
    }
  });
  return button;
}
