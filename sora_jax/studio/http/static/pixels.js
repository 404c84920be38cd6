// Small videos and pictures, enlarged by whole numbers of device pixels.

import { h } from "/static/dom.js";

/**
 * Sizes an element to the largest whole multiple of its pixels that fits into a box.
 * @param {HTMLElement} element a video or a picture
 * @param {number[]} sides its width and height in pixels
 * @param {HTMLElement} box its container
 * @param {number} most largest width in CSS pixels
 */
export function enlarge(element, [width, height], box, most = 512) {
  const fit = () => {
    const style = getComputedStyle(box);
    const inside = box.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const ratio = window.devicePixelRatio || 1;
    const room = Math.min(inside, most, (innerHeight * 0.72 * width) / height);
    const factor = Math.max(1, Math.floor((room * ratio) / width)) / ratio;
    element.style.width = `${width * factor}px`;
    element.style.height = `${height * factor}px`;
  };
  new ResizeObserver(fit).observe(box);
  return element;
}

/** Returns [width, height] of a size such as "64x64". */
export const sides = (size) => size.split("x").map(Number);

const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Returns a small video that plays without sound while it is pointed at or has the focus. */
export function preview(urls, size, label, most = 256) {
  const video = h("video.pixels", { src: urls.video, poster: urls.thumbnail, muted: true, loop: true, playsinline: true, preload: "none", "aria-label": label, tabindex: -1 });
  const mat = h("div.mat", {}, video);
  enlarge(video, sides(size), mat, most);
  return mat;
}

/** Lets the previews of a card play while it is pointed at or has the focus. */
export function playWhileNear(card) {
  const video = card.querySelector("video");
  const start = () => { if (!calm()) video.play().catch(() => {}); };
  const stop = () => { video.pause(); video.currentTime = 0; };
  card.addEventListener("pointerenter", start);
  card.addEventListener("focusin", start);
  card.addEventListener("pointerleave", stop);
  card.addEventListener("focusout", stop);
  return card;
}

/** Returns a place for a clip that is not made yet, with its progress. */
export function placeholder(size) {
  const text = h("span", {}, "Queued");
  const bar = h("progress", { max: 100, "aria-label": "Progress" });
  bar.value = 0;
  const area = h("div.waiting.pixels", {}, h("div", {}, text, bar));
  const mat = h("div.mat", {}, area);
  enlarge(area, sides(size), mat);
  const update = (video) => {
    text.textContent = video.status === "queued" ? "Queued" : `Generating, ${video.progress} %`;
    bar.value = video.progress;
  };
  return { element: mat, update };
}

export { calm };
