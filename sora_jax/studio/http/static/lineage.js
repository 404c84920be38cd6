// The lineage of a clip as a tree.

import { view as path } from "/static/api.js";
import { h } from "/static/dom.js";

const KINDS = { create: "generated", remix: "remix", edit: "edit", extend: "extension" };

/** Returns the tree; `id` is the clip that is looked at. */
export function lineage(nodes, id) {
  const children = (parent) => nodes.filter((node) => node.parent === parent);
  const branch = (found) => found.length > 0 && h("ul", {}, found.map((node) => h("li", {}, entry(node, id), branch(children(node.key)))));
  return h("nav.tree", { "aria-label": "Lineage" }, branch(children(null)));
}

function entry(node, id) {
  if (!node.id) return h("span.hidden-clip", {}, node.deleted ? "a deleted clip" : "a private clip");
  const text = node.title || node.prompt;
  const kind = h("small", {}, `${KINDS[node.kind]}${node.mine ? "" : ` by ${node.account}`}`);
  if (node.id === id) return h("span.here", { "aria-current": "true" }, kind, h("span", {}, text));
  return h("a", { href: path("clip", node.id) }, kind, h("span", {}, text));
}
