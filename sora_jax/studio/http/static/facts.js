// What the oracles read in a clip, fact by fact.

import { h } from "/static/dom.js";

function word(value) {
  if (value === null || value === undefined) return "none";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value)) return value.map(word).join(", ") || "none";
  return String(value);
}

function mark(line) {
  if (line.met === null) return h("span.unread", {}, "not read");
  return h(line.met ? "span.met" : "span.unmet", {}, line.met ? "✓ met" : "✗ not met");
}

function rows(facts) {
  let ball = null;
  return facts.flatMap((line) => {
    const found = [];
    if (line.ball !== null && line.ball !== ball) {
      found.push(h("tr.group", {}, h("th", { colspan: 4, scope: "rowgroup" }, `${line.ball} ball`)));
    }
    ball = line.ball;
    const asked = line.asked === null ? "not asked" : word(line.asked);
    found.push(h("tr", { class: line.met === false ? "off" : "" },
      h("th", { scope: "row" }, line.fact), h("td", {}, asked),
      h("td", {}, line.met === null ? "–" : word(line.seen)),
      h("td", { title: line.reason ?? "" }, mark(line))));
    return found;
  });
}

/** Returns the section of a clip's readings. */
export function facts(readings) {
  if (!readings) return null;
  const { verdict } = readings;
  const lines = verdict.facts ?? [];
  const read = lines.filter((line) => line.met !== null);
  const met = read.filter((line) => line.met).length;
  const judged = verdict.met !== null && verdict.met !== undefined;
  return h("section.facts", { "aria-label": "What the oracles read" },
    h("p.score", {}, judged
      ? [h("b", {}, `${met} of ${read.length}`), ` facts of the prompt ${read.length === 1 ? "is" : "are"} met`]
      : [h("b", {}, "Not judged"), h("span.reason", {}, verdict.reason ?? "")]),
    lines.length > 0 && h("table", {},
      h("thead", {}, h("tr", {}, ["fact", "asked", "seen", "result"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, rows(lines))),
    details(readings.oracles ?? {}));
}

function ball(one) {
  const bounces = { 0: "no bounce", 1: "1 bounce" }[one.bounces] ?? `${one.bounces} bounces`;
  return [one.size, one.colour, one.launch, one.direction].filter(Boolean).join(" ") + `, ${bounces}`;
}

/** Returns the other readings as a list of terms. */
function details(oracles) {
  const sync = oracles.sync ?? {};
  const offset = sync.offset_ms === null || sync.offset_ms === undefined ? "" : `, offset ${sync.offset_ms} ms`;
  const pairs = [
    ["Balls seen", oracles.balls?.length ? oracles.balls.map(ball).join("; ") : oracles.balls && "none"],
    ["Sync of sound and picture", sync.unscored ? `not scored: ${sync.unscored}` : sync.f1_100ms !== undefined && `F1 ${sync.f1_100ms} of impacts within 100 ms${offset}`],
    ["Materials heard", oracles.heard_materials?.length ? word(oracles.heard_materials) : null],
    ["Ambience", oracles.ambience === undefined ? null : (oracles.ambience ?? "none of the world's")],
    ["Cuts", oracles.cuts?.length ? oracles.cuts.map((t) => `${t} s`).join(", ") : null],
    ["Faces", oracles.faces?.length ? `${oracles.faces.length}` : null],
  ].filter(([, value]) => value);
  if (!pairs.length) return null;
  return h("dl", {}, pairs.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}
