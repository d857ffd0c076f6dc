/** @file Which images are chosen: by a click, a range, the keyboard, or a long touch. */

/** @typedef {import("./image_list.js").GalleryImage} GalleryImage */

/** Dispatches `change`. */
export class Selection extends EventTarget {
  /** @type {Map<string, GalleryImage>} */
  #chosen = new Map();
  /** The tile from which a range begins. */
  anchor = 0;

  get size() {
    return this.#chosen.size;
  }

  get images() {
    return [...this.#chosen.values()];
  }

  get ids() {
    return [...this.#chosen.keys()];
  }

  /** @param {string} imageId */
  has(imageId) {
    return this.#chosen.has(imageId);
  }

  /**
   * @param {GalleryImage} image
   * @param {boolean} [isChosen] undefined: the other way round
   */
  toggle(image, isChosen = !this.has(image.image_id)) {
    if (isChosen) this.#chosen.set(image.image_id, image);
    else this.#chosen.delete(image.image_id);
    this.dispatchEvent(new Event("change"));
  }

  /** @param {GalleryImage[]} images */
  add(images) {
    for (const image of images) this.#chosen.set(image.image_id, image);
    this.dispatchEvent(new Event("change"));
  }

  clear() {
    if (this.size === 0) return;
    this.#chosen.clear();
    this.dispatchEvent(new Event("change"));
  }
}
