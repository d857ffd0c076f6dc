/** @file One tile: the small image, how long it will be there, and a box to choose it. */

import { h, set } from "../app/dom.js";
import { fromNow } from "../app/format.js";
import { addressOf } from "../app/router.js";
import { t, word } from "../app/texts.js";
import { thumbnailOf } from "./image_list.js";

/** @typedef {import("./image_list.js").GalleryImage} GalleryImage */
/** @typedef {{index: number, total: number, side: number, isCurrent: boolean, isChosen: boolean, isChoosing: boolean}} Standing */

const NAMES = /** @type {const} */ (["index", "total", "side", "isCurrent", "isChosen", "isChoosing"]);
/** An image that goes within this time says so in the grid; opened, each does. */
const SOON_MS = 2 * 86_400_000;
/** A side from which on the larger thumbnail is shown, in pixels of the screen. */
const LARGE_PX = 320;
const MOST_TRIES = 3;
const RETRY_MS = 2_000;

/** What each tile shows, so that a frame touches only what has changed. @type {WeakMap<HTMLElement, Standing & {image: GalleryImage | undefined}>} */
const shown = new WeakMap();

/** An empty tile. */
export function tile() {
  const picture = h("img", { alt: "", decoding: "async", draggable: "false" });
  picture.addEventListener("error", () => tryAgain(picture));
  picture.addEventListener("load", () => picture.closest("li")?.classList.remove("unseen"));
  return h(
    "li",
    { class: "tile" },
    h("a", {}, picture, h("span", { class: "reason" })),
    h("input", { type: "checkbox", tabindex: -1 }),
    h("span", { class: "marks small" }),
  );
}

/**
 * Ask for an image again, a few times: the server may be busy, or just starting.
 * @param {HTMLImageElement} picture
 */
function tryAgain(picture) {
  const item = picture.closest("li");
  const { src } = picture;
  const tries = Number(item?.dataset.tries ?? 0);
  item?.classList.add("unseen");
  if (item === null || tries >= MOST_TRIES) return;
  item.dataset.tries = String(tries + 1);
  setTimeout(() => {
    if (picture.src !== src) return;
    picture.removeAttribute("src");
    picture.src = src;
  }, RETRY_MS);
}

/**
 * Stop showing anything, also what is still on the way.
 * @param {HTMLElement} item
 */
export function clearTile(item) {
  shown.delete(item);
  item.querySelector("img")?.removeAttribute("src");
}

/**
 * Show an image in a tile; undefined: one that is not read yet.
 * @param {HTMLElement} item
 * @param {GalleryImage | undefined} image
 * @param {Standing} standing
 */
export function showTile(item, image, standing) {
  const before = shown.get(item);
  if (before !== undefined && before.image === image && NAMES.every((name) => before[name] === standing[name])) return;
  shown.set(item, { ...standing, image });
  const { index, total, isCurrent, isChosen, isChoosing } = standing;
  set(item, { "data-index": index, "aria-setsize": total, "aria-posinset": index + 1 });
  const [link, box, marks] = /** @type {[HTMLAnchorElement, HTMLInputElement, HTMLElement]} */ ([...item.children]);
  link.tabIndex = isCurrent ? 0 : -1;
  box.checked = isChosen;
  item.classList.toggle("chosen", isChosen);
  item.classList.toggle("choosing", isChoosing);
  item.classList.toggle("pending", image === undefined);
  box.hidden = image === undefined;
  set(item, { "aria-busy": image === undefined ? "true" : null });
  const [picture, reason] = /** @type {[HTMLImageElement, HTMLElement]} */ ([...link.children]);
  if (image === undefined) {
    picture.removeAttribute("src");
    set(link, { "aria-label": null, href: null });
    reason.textContent = marks.textContent = "";
    item.dataset.id = "";
    return;
  }
  if (item.dataset.id !== image.image_id) {
    item.classList.remove("unseen");
    item.dataset.tries = "0";
  }
  item.dataset.id = image.image_id;
  set(link, { href: addressOf("gallery", { image: image.image_id }), "aria-label": labelOf(image) });
  set(box, { "aria-label": t("gallery.choose", { prompt: image.prompt || t("job.no_prompt") }) });
  reason.textContent = image.gone === null ? "" : word("gallery.gone", image.gone.reason);
  marks.textContent = marksOf(image).join(" · ");
  item.classList.toggle("gone", image.gone !== null);
  showPicture(picture, image, standing.side);
}

/**
 * @param {HTMLImageElement} picture
 * @param {GalleryImage} image
 * @param {number} side
 */
function showPicture(picture, image, side) {
  if (image.gone !== null) {
    picture.removeAttribute("src");
    return;
  }
  const source = thumbnailOf(image.image_id, side * devicePixelRatio > LARGE_PX ? 512 : 256);
  if (picture.src !== source) picture.src = source;
}

/**
 * @param {GalleryImage} image
 * @returns {string}
 */
function labelOf(image) {
  const gone = image.gone === null ? [] : [word("gallery.gone", image.gone.reason)];
  return [image.prompt || t("job.no_prompt"), ...gone, ...marksOf(image)].join(", ");
}

/**
 * What is worth knowing of an image before it is opened: it is a favorite, or will not stay.
 * @param {GalleryImage} image
 * @returns {string[]}
 */
function marksOf(image) {
  const marks = [];
  if (image.favorite) marks.push(t("gallery.star"));
  if (image.gone === null && image.expires_at !== null && Date.parse(image.expires_at) - Date.now() < SOON_MS)
    marks.push(t("gallery.expires", { when: fromNow(image.expires_at) }));
  if (image.gone === null && image.download_limit !== null) {
    marks.push(t("gallery.downloads_left", { count: image.download_limit - image.downloads }));
  }
  return marks;
}
