/**
 * @file A list of images that may be very long: any of them by its number, read page by page when it is looked at.
 *
 * `v1/images/pages` tells how many there are and where each page begins. What is made meanwhile comes in front, in
 * `fresh`, so that no page moves; what goes stays in its place, marked as gone, until the list is read anew.
 */

import { address, call } from "../app/api.js";
import { live } from "../app/live.js";
import { complain } from "../app/notices.js";

/**
 * An image as the API shows it; the rest of its fields are shown as they are.
 * @typedef {{image_id: string, job_id: string, prompt: string, negative_prompt: string, width: number, height: number,
 *   seed: number, favorite: boolean, tags: string[], note: string | null, mime: string, size_bytes: number,
 *   engine_id: string, names: Record<string, string>, downloads: number, download_limit: number | null,
 *   gone: {reason: string, at: string} | null, created_at: string, expires_at: string | null,
 *   [field: string]: any}} GalleryImage
 */

/** @typedef {Record<string, string | null | undefined>} Filters by the names of the API */

export const PAGE = 100;
/** Pages that are kept; others are read again. */
const MOST_PAGES = 40;
const MOST_AT_ONCE = 2;
const GATHER_MS = 300;
const NEWEST = 50;

/**
 * Dispatches `change` when what is shown may have changed, `fresh` when new images wait, `total` when the number of
 * images is another one, `stale` when more have come than can be told apart: then the list is to be read anew.
 */
export class ImageList extends EventTarget {
  /** @type {Filters} */
  filters = {};
  /** @type {GalleryImage[]} new ones, newest first, in front of the pages */
  #shownFresh = [];
  /** @type {GalleryImage[]} those that are not shown yet */
  waiting = [];
  /** @type {string | null} the id of the newest image that is known */
  #newest = null;
  #total = 0;
  /** @type {(string | null)[]} the cursor of each page */
  #after = [];
  /** @type {Map<number, GalleryImage[]>} the least recently used first */
  #pages = new Map();
  /** @type {number[]} pages to read, the most wanted last */
  #wanted = [];
  /** @type {Set<number>} */
  #reading = new Set();
  #turn = 0;
  #timer = 0;

  /** @param {AbortSignal} signal */
  constructor(signal) {
    super();
    this.signal = signal;
    live.on(["image"], (change) => this.#heard(change), signal);
    signal.addEventListener("abort", () => clearTimeout(this.#timer));
  }

  get total() {
    return this.#shownFresh.length + this.#total;
  }

  /**
   * Read the list that these filters let through.
   * @param {Filters} filters
   * @returns {Promise<void>}
   */
  async read(filters = this.filters) {
    const turn = (this.#turn += 1);
    const before = JSON.stringify([this.filters, this.#after]);
    this.filters = filters;
    const query = { ...filters, limit: PAGE };
    const options = { query, signal: this.signal };
    let [{ total, after }, first] = [
      await call("GET", "v1/images/pages", options),
      await call("GET", "v1/images", options),
    ];
    for (let tries = 0; first.next !== (after[0] ?? null) && tries < 3; tries += 1) {
      ({ total, after } = await call("GET", "v1/images/pages", options)); // there is a new image meanwhile
      first = await call("GET", "v1/images", options);
    }
    if (turn !== this.#turn) return; // somebody asks for something else already
    this.#total = total;
    this.#after = [null, ...after];
    this.#shownFresh = [];
    this.waiting = [];
    this.#newest = first.items[0]?.image_id ?? null;
    const isSame = before === JSON.stringify([filters, this.#after]); // then nothing on the screen flickers
    this.#pages = new Map([...(isSame ? this.#pages : []), [0, first.items]]);
    this.#wanted = [];
    this.#reading.clear();
    this.#say("total");
    this.#say("fresh");
    this.#say("change");
  }

  /**
   * An image by its number; undefined: it is not read yet.
   * @param {number} index
   * @returns {GalleryImage | undefined}
   */
  at(index) {
    if (index < this.#shownFresh.length) return this.#shownFresh[index];
    const place = index - this.#shownFresh.length;
    return this.#pages.get(Math.floor(place / PAGE))?.[place % PAGE];
  }

  /**
   * Have these images read, if they are not: whoever asks last is served first.
   * @param {number} first
   * @param {number} last
   */
  want(first, last) {
    const pages = this.#pagesOf(first, last);
    for (const page of pages) {
      const items = this.#pages.get(page);
      if (items === undefined) continue;
      this.#pages.delete(page); // it is the most recently used now
      this.#pages.set(page, items);
    }
    this.#wanted = pages.filter((page) => !this.#pages.has(page) && !this.#reading.has(page)).reverse();
    this.#readNext();
  }

  /**
   * All images between two numbers, read if need be.
   * @param {number} first
   * @param {number} last
   * @returns {Promise<GalleryImage[]>}
   */
  async between(first, last) {
    for (const page of this.#pagesOf(first, last)) if (!this.#pages.has(page)) await this.#read(page);
    /** @type {GalleryImage[]} */
    const found = [];
    for (let index = first; index <= last; index += 1) {
      const image = this.at(index);
      if (image !== undefined) found.push(image);
    }
    return found;
  }

  /**
   * The number of an image that has been read; -1: of none.
   * @param {string} imageId
   * @returns {number}
   */
  indexOf(imageId) {
    const fresh = this.#shownFresh.findIndex((image) => image.image_id === imageId);
    if (fresh >= 0) return fresh;
    for (const [page, items] of this.#pages) {
      const place = items.findIndex((image) => image.image_id === imageId);
      if (place >= 0) return this.#shownFresh.length + page * PAGE + place;
    }
    return -1;
  }

  /** Put the images that wait in front. */
  showWaiting() {
    if (this.waiting.length === 0) return;
    this.#shownFresh = [...this.waiting, ...this.#shownFresh];
    this.waiting = [];
    this.#say("total");
    this.#say("fresh");
    this.#say("change");
  }

  /**
   * Show an image as it is now, if it has been read.
   * @param {GalleryImage} image
   */
  replace(image) {
    for (const items of [this.#shownFresh, this.waiting, ...this.#pages.values()]) {
      const place = items.findIndex((one) => one.image_id === image.image_id);
      if (place >= 0) items[place] = image;
    }
    this.#say("change");
  }

  /**
   * @param {number} first
   * @param {number} last
   * @returns {number[]}
   */
  #pagesOf(first, last) {
    const from = Math.max(0, Math.floor((first - this.#shownFresh.length) / PAGE));
    const to = Math.min(this.#after.length - 1, Math.floor((last - this.#shownFresh.length) / PAGE));
    return Array.from({ length: Math.max(0, to - from + 1) }, (_, number) => from + number);
  }

  #readNext() {
    while (this.#reading.size < MOST_AT_ONCE) {
      const page = this.#wanted.pop();
      if (page === undefined) return;
      void this.#read(page)
        .catch(complain)
        .finally(() => this.#readNext());
    }
  }

  /** @param {number} page */
  async #read(page) {
    const turn = this.#turn;
    this.#reading.add(page);
    try {
      const query = { ...this.filters, limit: PAGE, after: this.#after[page] };
      const { items } = await call("GET", "v1/images", { query, signal: this.signal });
      if (turn !== this.#turn) return;
      this.#pages.set(page, items);
      for (const old of this.#pages.keys()) {
        if (this.#pages.size <= MOST_PAGES) break;
        this.#pages.delete(old);
      }
      this.#say("change");
    } finally {
      if (turn === this.#turn) this.#reading.delete(page);
    }
  }

  /** @param {{id: string, state: string, at: string}} change */
  #heard({ id, state, at }) {
    if (state === "stored") {
      if (this.#timer === 0) this.#timer = setTimeout(() => void this.#readNewest().catch(complain), GATHER_MS);
      return;
    }
    const image = this.at(this.indexOf(id));
    if (image !== undefined) this.replace({ ...image, gone: { reason: state, at } });
  }

  /** Look which images have come in front. */
  async #readNewest() {
    this.#timer = 0;
    const turn = this.#turn;
    const query = { ...this.filters, limit: NEWEST };
    const { items } = await call("GET", "v1/images", { query, signal: this.signal });
    if (turn !== this.#turn) return;
    const known = items.findIndex((/** @type {GalleryImage} */ image) => image.image_id === this.#newest);
    if (known < 0 && this.#newest !== null) {
      this.#say("stale");
      return;
    }
    const added = known < 0 ? items : items.slice(0, known);
    if (added.length === 0) return;
    this.#newest = added[0].image_id;
    this.waiting = [...added, ...this.waiting];
    this.#say("fresh");
  }

  /** @param {string} name */
  #say(name) {
    this.dispatchEvent(new Event(name));
  }
}

/**
 * The address of a small copy of an image.
 * @param {string} imageId
 * @param {256 | 512} size
 */
export function thumbnailOf(imageId, size) {
  return address(`v1/images/${imageId}/thumbnail`, { size });
}

/**
 * What is shown of an image where it is large: the file itself, unless that uses up a download.
 * @param {GalleryImage} image
 */
export function largestOf(image) {
  return image.download_limit === null
    ? address(`v1/images/${image.image_id}/download`)
    : thumbnailOf(image.image_id, 512);
}
