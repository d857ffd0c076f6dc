/** @file Two images in one place: a slider shows more of the one or of the other. */

import { openDialog } from "../app/dialogs.js";
import { h, set } from "../app/dom.js";
import { t } from "../app/texts.js";
import { picture } from "./picture.js";

/** @typedef {import("./image_list.js").GalleryImage} GalleryImage */

const MIDDLE = 50;

/**
 * @param {GalleryImage} left
 * @param {GalleryImage} right
 * @returns {Promise<string>}
 */
export function compare(left, right) {
  return openDialog(t("gallery.compare"), () => [content(left, right)], { class: "wide compare" });
}

/**
 * @param {GalleryImage} left
 * @param {GalleryImage} right
 */
function content(left, right) {
  const stage = h(
    "div",
    { class: "both", style: { "aspect-ratio": `${right.width} / ${right.height}`, "--shown": `${MIDDLE}%` } },
    h("div", {}, picture(right)),
    h("div", { class: "over" }, picture(left)),
  );
  const slider = h("input", {
    type: "range",
    min: 0,
    max: 100,
    value: MIDDLE,
    autofocus: true,
    "aria-label": t("gallery.compare_slider"),
    oninput: () => set(stage, { style: { "--shown": `${slider.value}%` } }),
  });
  return h(
    "div",
    { class: "stack" },
    stage,
    slider,
    h("div", { class: "row apart small" }, h("p", {}, captionOf(left)), h("p", {}, captionOf(right))),
    differences(left, right),
  );
}

/** @param {GalleryImage} image */
const captionOf = (image) => `${image.width} × ${image.height} · ${t("gallery.seed", { seed: image.seed })}`;

/**
 * What differs in how they were made.
 * @param {GalleryImage} left
 * @param {GalleryImage} right
 */
function differences(left, right) {
  const names = Object.keys(left).filter((name) => !OWN.has(name) && text(left[name]) !== text(right[name]));
  if (names.length === 0) return h("p", { class: "muted" }, t("gallery.same_recipe"));
  const rows = names.map((name) =>
    h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, text(left[name])), h("td", {}, text(right[name]))),
  );
  const head = h(
    "tr",
    {},
    h("th", {}, t("gallery.field")),
    h("th", {}, t("gallery.left")),
    h("th", {}, t("gallery.right")),
  );
  return h("table", { class: "small" }, h("thead", {}, head), h("tbody", {}, ...rows));
}

/** What every two images differ in. */
const OWN = new Set(
  "image_id job_id index sha256 size_bytes download downloads created_at expires_at gone names tags favorite note".split(
    " ",
  ),
);

/** @param {unknown} value */
const text = (value) => (typeof value === "string" ? value : JSON.stringify(value ?? null));
