// The player of a clip: the picture, its controls, and the impacts that the oracles saw and heard.

import { h, icon, fill } from "/static/dom.js";
import { calm, enlarge, sides } from "/static/pixels.js";

const time = (seconds) => seconds.toFixed(1);

/**
 * Returns the player of a clip.
 * @param {object} urls paths by variant
 * @param {string} size such as "64x64"
 * @param {string} label says what the clip is
 * @param {object} [readings] of the clip; their impacts stand below the position
 * @param {number} [most] largest width in CSS pixels
 */
export function player(urls, size, label, readings = null, most = 512) {
  const video = h("video.pixels", { src: urls.video, poster: urls.thumbnail, muted: true, loop: true, playsinline: true, preload: "auto", "aria-label": label });
  const mat = h("div.mat", {}, video);
  enlarge(video, sides(size), mat, most);
  const play = h("button.plain.round", { type: "button", onclick: toggle });
  const sound = h("button.plain.round", { type: "button", onclick: () => { video.muted = !video.muted; show(); } });
  const position = h("input", { type: "range", min: 0, max: 1000, value: 0, "aria-label": "Position", oninput: seek });
  const clock = h("span.clock");
  const head = h("div.head");
  const lanes = impacts(readings);
  const track = h("div.track", {}, position, lanes && [lanes, head]);
  const box = h("figure.player", { onkeydown: key }, mat, h("div.controls", {}, play, track, clock, sound));

  function toggle() {
    if (video.paused) video.play().catch(() => {});
    else video.pause();
  }
  function seek() {
    if (video.duration) video.currentTime = (position.value / 1000) * video.duration;
  }
  function key(event) {
    if (event.key === "m") sound.click();
    if (event.key === " " && event.target !== play && event.target !== sound) {
      event.preventDefault();
      toggle();
    }
  }
  function show() {
    fill(play, icon(video.paused ? "play" : "pause", true));
    play.setAttribute("aria-label", video.paused ? "Play" : "Pause");
    fill(sound, icon(video.muted ? "mute" : "sound"));
    sound.setAttribute("aria-label", video.muted ? "Turn the sound on" : "Turn the sound off");
  }
  function advance() {
    const whole = video.duration || readings?.seconds || 0;
    const share = whole ? Math.min(1, video.currentTime / whole) : 0;
    position.value = Math.round(1000 * share);
    position.setAttribute("aria-valuetext", `${time(video.currentTime)} of ${time(whole)} seconds`);
    position.style.setProperty("--share", `${100 * share}%`);
    head.style.setProperty("--share", `${100 * share}%`);
    clock.textContent = `${time(video.currentTime)} / ${time(whole)} s`;
    if (!video.paused && box.isConnected) requestAnimationFrame(advance);
  }
  for (const name of ["play", "pause"]) video.addEventListener(name, () => { show(); advance(); });
  for (const name of ["seeked", "loadedmetadata"]) video.addEventListener(name, advance);
  video.addEventListener("click", toggle);
  show();
  advance();
  if (!calm()) video.play?.().catch(() => {});
  return box;
}

/** Returns two rows of marks at the times of impacts; null if nothing was read. */
function impacts(readings) {
  const oracles = readings?.oracles ?? {};
  const rows = [["seen", oracles.seen_impacts], ["heard", oracles.heard_impacts]].filter(([, at]) => at);
  if (!rows.length || !readings.seconds) return null;
  return h("div.lanes", {}, rows.map(([name, at]) => {
    const marks = at.map((t) => {
      const mark = h("i");
      mark.style.left = `${Math.min(100, (100 * t) / readings.seconds)}%`;
      return mark;
    });
    const list = at.length ? at.map((t) => `${t.toFixed(2)} s`).join(", ") : "none";
    return h(`div.lane.${name}`, { role: "img", "aria-label": `Impacts ${name}: ${list}` }, h("b", {}, name), h("span", {}, marks));
  }));
}
