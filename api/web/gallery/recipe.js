/** @file How an image was made, field by field, as the API names them. */

import { h } from "../app/dom.js";
import { t } from "../app/texts.js";

/** @typedef {import("./image_list.js").GalleryImage} GalleryImage */

/** What is shown elsewhere, or says nothing to people. */
const HIDDEN = new Set([
  "names",
  "tags",
  "favorite",
  "note",
  "gone",
  "download",
  "downloads",
  "download_limit",
  "poses",
]);

/**
 * @param {GalleryImage} image
 * @returns {HTMLElement}
 */
export function recipe(image) {
  const rows = Object.entries(image)
    .filter(([name, value]) => !HIDDEN.has(name) && !isEmpty(value))
    .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, textOf(value, image.names))));
  return h("details", { class: "recipe", open: true }, h("summary", {}, t("gallery.recipe")), h("dl", {}, ...rows));
}

/** @param {unknown} value */
function isEmpty(value) {
  return value === null || value === "" || (typeof value === "object" && Object.keys(value).length === 0);
}

/**
 * A value as text; an id with the name that it stands for.
 * @param {unknown} value
 * @param {Record<string, string>} names
 * @returns {string}
 */
function textOf(value, names) {
  if (typeof value === "string") return value in names ? `${names[value]} (${value})` : value;
  if (Array.isArray(value)) return value.map((one) => textOf(one, names)).join(", ");
  if (typeof value !== "object" || value === null) return String(value);
  return Object.entries(value)
    .filter(([, one]) => !isEmpty(one))
    .map(([name, one]) => `${name} ${textOf(one, names)}`)
    .join(", ");
}
