/** @file An image as large as there is room: its small copy first, then the file, unless that uses up a download. */

import { h, set } from "../app/dom.js";
import { t, word } from "../app/texts.js";
import { largestOf, thumbnailOf } from "./image_list.js";

/** @typedef {import("./image_list.js").GalleryImage} GalleryImage */

/**
 * @param {GalleryImage} image
 * @returns {HTMLElement}
 */
export function picture(image) {
  const style = { "aspect-ratio": `${image.width} / ${image.height}` };
  if (image.gone !== null) {
    return h("p", { class: "empty", style }, word("gallery.gone", image.gone.reason));
  }
  const small = thumbnailOf(image.image_id, 512);
  const shown = h("img", {
    src: small,
    alt: image.prompt || t("job.no_prompt"),
    width: image.width,
    height: image.height,
    draggable: "false",
  });
  const large = largestOf(image);
  if (large !== small) {
    const whole = new Image();
    whole.onload = () => set(shown, { src: large });
    whole.src = large;
  }
  return shown;
}
