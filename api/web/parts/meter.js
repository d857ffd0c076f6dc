/** @file How much of something is used, and how far something is: a bar, with the same in words. */

import { fill, h, set } from "../app/dom.js";
import { bytes, duration } from "../app/format.js";
import { t } from "../app/texts.js";

/** @typedef {{kind: string, amount: number, text: string}} Share */

/**
 * A bar of shares; what they do not fill is free.
 * @param {string} name of what
 * @param {number} total
 * @param {Share[]} shares
 * @param {string} rest how the free part is called
 * @returns {HTMLElement}
 */
export function meter(name, total, shares, rest) {
  const used = shares.reduce((sum, share) => sum + share.amount, 0);
  const all = [...shares, { kind: "free", amount: Math.max(0, total - used), text: rest }];
  const words = all.map(({ amount, text }) => `${text} ${bytes(amount)}`);
  return h(
    "div",
    { class: "meter" },
    h("div", { class: "row apart" }, h("strong", {}, name), h("span", { class: "muted small" }, bytes(total))),
    h(
      "div",
      { class: "bar", role: "img", "aria-label": `${name}: ${words.join(", ")}` },
      ...shares.map(({ kind, amount }) =>
        h("span", { class: kind, style: { "inline-size": `${total > 0 ? (100 * amount) / total : 0}%` } }),
      ),
    ),
    h(
      "ul",
      { class: "legend", "aria-hidden": "true" },
      ...all.map(({ kind }, index) => h("li", { class: kind }, words[index])),
    ),
  );
}

/** @typedef {{bytes: number, total_bytes: number | null, bytes_per_s: number | null}} BytesProgress */

/**
 * An element that shows how many bytes are done; `showProgress` fills it.
 * @returns {HTMLElement}
 */
export function progressOf() {
  return h("div", { class: "progress", hidden: true }, h("progress", {}), h("p", { class: "small muted" }));
}

/**
 * @param {Element} element made by `progressOf`
 * @param {BytesProgress | null} progress null: nothing is to be shown
 * @param {string} label
 */
export function showProgress(element, progress, label) {
  set(element, { hidden: progress === null });
  const bar = element.querySelector("progress");
  const text = element.querySelector("p");
  if (progress === null || bar === null || text === null) return;
  const { bytes: done, total_bytes: total, bytes_per_s: speed } = progress;
  set(bar, { "aria-label": label, max: total || null, value: total ? done : null });
  const parts = [total ? t("meter.of", { done: bytes(done), total: bytes(total) }) : bytes(done)];
  if (speed) parts.push(t("meter.speed", { speed: bytes(speed) }));
  if (speed && total) parts.push(t("meter.left", { time: duration((total - done) / speed) }));
  fill(text, parts.join(" · "));
}
