/**
 * @file The grid: of a list of any length only the tiles in sight are elements. One of them is in the tab order
 * (roving tabindex); the arrow keys lead from one to the next.
 */

import { h, set } from "../app/dom.js";
import { t } from "../app/texts.js";
import { GridLayout } from "./grid_layout.js";
import { clearTile, showTile, tile } from "./tile.js";

/** @typedef {import("./image_list.js").GalleryImage} GalleryImage */
/** @typedef {import("./image_list.js").ImageList} ImageList */
/** @typedef {import("./selection.js").Selection} Selection */

const LONG_TOUCH_MS = 450;
/** How long after the end of a touch its click may come. */
const AFTER_TOUCH_MS = 300;
const TOUCH_SLOP_PX = 10;
/** After a jump images are asked for when it has come to rest. */
const REST_MS = 90;
/** The longest range that is chosen at once. */
export const MOST_CHOSEN = 500;

/**
 * Dispatches `open` with an image, `remove` when the key to delete is pressed, `moved` when it has been scrolled, and
 * `toomany` when a range is too long.
 */
export class ImageGrid extends EventTarget {
  #list;
  #selection;
  /** @type {Map<number, HTMLElement>} the tiles that are elements, by their numbers */
  #tiles = new Map();
  /** @type {HTMLElement[]} tiles that show nothing now */
  #spare = [];
  #items = h("ul", { class: "tiles", "aria-label": t("gallery.images") });
  element = h("div", { class: "scroller" }, this.#items);
  #layout = new GridLayout(0, 1, 1);
  #frame = 0;
  #rest = 0;
  #lastTop = 0;
  /** The tile in the tab order. */
  current = 0;
  #isTouching = false;
  /** Where somebody was when it was drawn last: once it has left the page, it is scrolled nowhere. */
  lastPlace = { fromEnd: 0, rest: 0, isAtTop: true };

  /**
   * @param {ImageList} list
   * @param {Selection} selection
   * @param {AbortSignal} signal
   */
  constructor(list, selection, signal) {
    super();
    this.#list = list;
    this.#selection = selection;
    const options = { signal };
    for (const name of ["change", "total"]) list.addEventListener(name, () => this.#soon(), options);
    selection.addEventListener("change", () => this.#soon(), options);
    this.element.addEventListener("scroll", () => this.#scrolled(), { ...options, passive: true });
    const observer = new ResizeObserver(() => this.#resized());
    observer.observe(this.element);
    signal.addEventListener("abort", () => observer.disconnect());
    this.#items.addEventListener("click", (event) => void this.#clicked(event), options);
    this.#items.addEventListener("keydown", (event) => void this.#pressed(event), options);
    this.#items.addEventListener(
      "focusin",
      (event) => (this.current = numberOf(event.target) ?? this.current),
      options,
    );
    this.#listenToTouch(options);
  }

  /** How many images are below the top of the window: it stays right when new ones come in front. */
  get place() {
    const offset = this.#layout.offset(this.element.scrollTop);
    const row = Math.floor(offset / this.#layout.step);
    return {
      fromEnd: this.#list.total - row * this.#layout.columns,
      rest: Math.round(offset - row * this.#layout.step),
    };
  }

  /** @param {{fromEnd: number, rest: number}} place */
  set place({ fromEnd, rest }) {
    this.#measure();
    const row = Math.floor(Math.max(0, this.#list.total - fromEnd) / this.#layout.columns);
    this.element.scrollTop = this.#layout.scrollTop(row * this.#layout.step + rest);
    this.current = Math.min(Math.max(0, this.#list.total - 1), row * this.#layout.columns);
    this.#draw();
  }

  get isAtTop() {
    return this.element.scrollTop < this.#layout.step / 2;
  }

  /**
   * Go to a tile, and give it the focus.
   * @param {number} index
   */
  focus(index) {
    this.current = index;
    this.element.scrollTop = this.#layout.toSee(index, this.element.scrollTop);
    this.#draw();
    this.#tiles.get(index)?.querySelector("a")?.focus({ preventScroll: true });
  }

  #soon() {
    if (this.#frame === 0) this.#frame = requestAnimationFrame(() => this.#draw());
  }

  #resized() {
    const { fromEnd } = this.place;
    const before = this.#layout.columns;
    this.#measure();
    if (before !== this.#layout.columns && !this.isAtTop) this.place = { fromEnd, rest: 0 };
    this.#draw();
  }

  #measure() {
    this.#layout = new GridLayout(this.#list.total, this.#items.clientWidth, this.element.clientHeight);
    set(this.#items, { style: { "block-size": `${this.#layout.height}px`, "--side": `${this.#layout.side}px` } });
  }

  #scrolled() {
    this.#soon();
    clearTimeout(this.#rest);
    this.#rest = setTimeout(() => {
      this.#draw();
      this.dispatchEvent(new Event("moved"));
    }, REST_MS);
  }

  /** Make elements of the tiles in sight, and of no others. */
  #draw() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    if (this.#layout.total !== this.#list.total || this.#layout.window === 0) this.#measure();
    const top = this.element.scrollTop;
    const isJump = Math.abs(top - this.#lastTop) > 2 * this.#layout.window;
    this.#lastTop = top;
    const [first, last] = this.#layout.range(top);
    const focused = this.#drop(first, last);
    this.lastPlace = { ...this.place, isAtTop: this.isAtTop };
    /** @type {Element | null} */
    let before = null;
    for (let index = first; index <= last; index += 1) {
      const item = this.#tiles.get(index) ?? this.#spare.pop() ?? tile();
      this.#tiles.set(index, item);
      this.#show(item, index, top);
      /** @type {Element | null} */
      let next = before === null ? this.#items.firstElementChild : before.nextElementSibling;
      if (next !== null && next === focused) next = next.nextElementSibling;
      if (next !== item) this.#items.insertBefore(item, next);
      before = item;
    }
    if (this.#tiles.size > 0 && !this.#tiles.has(this.current)) this.#reachable(first, last);
    if (!isJump && last >= first) this.#list.want(first, last);
  }

  /**
   * Drop all tiles but some, and the one that has the focus.
   * @param {number} first
   * @param {number} last
   * @returns {Element | null} the latter, if it is out of sight
   */
  #drop(first, last) {
    let focused = null;
    for (const [index, item] of this.#tiles) {
      if (index >= first && index <= last) continue;
      if (item.contains(document.activeElement)) {
        focused = item;
        continue;
      }
      item.remove();
      clearTile(item);
      this.#tiles.delete(index);
      this.#spare.push(item);
    }
    return focused;
  }

  /**
   * Have a tile in the tab order although the current one is out of sight.
   * @param {number} first
   * @param {number} last
   */
  #reachable(first, last) {
    this.current = Math.min(last, first + 2 * this.#layout.columns);
    const link = this.#tiles.get(this.current)?.querySelector("a");
    if (link) link.tabIndex = 0;
  }

  /**
   * @param {HTMLElement} item
   * @param {number} index
   * @param {number} top
   */
  #show(item, index, top) {
    const [x, y] = this.#layout.place(index, top);
    const image = this.#list.at(index);
    showTile(item, image, {
      index,
      total: this.#list.total,
      side: this.#layout.side,
      isCurrent: index === this.current,
      isChosen: image !== undefined && this.#selection.has(image.image_id),
      isChoosing: this.#selection.size > 0,
    });
    set(item, { style: { transform: `translate(${document.dir === "rtl" ? -x : x}px, ${y}px)` } });
  }

  /** @param {MouseEvent} event */
  async #clicked(event) {
    const index = numberOf(event.target);
    const image = index === null ? undefined : this.#list.at(index);
    if (index === null || image === undefined) return;
    const isBox = event.target instanceof HTMLInputElement;
    const isTap = this.#isTouching && this.#selection.size > 0;
    if (event.shiftKey) {
      event.preventDefault();
      await this.#choose(this.#selection.anchor, index);
    } else if (isBox || isTap || event.ctrlKey || event.metaKey) {
      if (!isBox) event.preventDefault();
      this.#selection.anchor = index;
      this.#selection.toggle(image);
    } else {
      event.preventDefault();
      this.dispatchEvent(new CustomEvent("open", { detail: image }));
    }
    this.current = index;
  }

  /** @param {KeyboardEvent} event */
  async #pressed(event) {
    const index = numberOf(event.target) ?? this.current;
    const image = this.#list.at(index);
    const to = this.#layout.moved(index, event.key);
    if (to !== null && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      if (event.shiftKey) await this.#choose(this.#selection.anchor, to);
      else this.#selection.anchor = to;
      this.focus(to);
    } else if (event.key === " " && image !== undefined && !(event.target instanceof HTMLInputElement)) {
      event.preventDefault();
      this.#selection.anchor = index;
      this.#selection.toggle(image);
    } else if (event.key === "Escape") {
      this.#selection.clear();
    } else if (event.key === "Delete") {
      if (this.#selection.size === 0 && image !== undefined) this.#selection.toggle(image);
      this.dispatchEvent(new Event("remove"));
    }
  }

  /**
   * Choose all images between two.
   * @param {number} one
   * @param {number} other
   */
  async #choose(one, other) {
    const [first, last] = [Math.min(one, other), Math.max(one, other)];
    if (last - first >= MOST_CHOSEN) {
      this.dispatchEvent(new Event("toomany"));
      return;
    }
    this.#selection.add(await this.#list.between(first, last));
  }

  /** @param {{signal: AbortSignal}} options */
  #listenToTouch(options) {
    let timer = 0;
    let [x, y] = [0, 0];
    const end = () => clearTimeout(timer);
    this.#items.addEventListener(
      "pointerdown",
      (event) => {
        this.#isTouching = event.pointerType === "touch";
        const index = numberOf(event.target);
        if (!this.#isTouching || index === null) return;
        [x, y] = [event.clientX, event.clientY];
        timer = setTimeout(() => this.#longTouched(index), LONG_TOUCH_MS);
      },
      options,
    );
    this.#items.addEventListener(
      "pointermove",
      (event) => {
        if (Math.hypot(event.clientX - x, event.clientY - y) > TOUCH_SLOP_PX) end();
      },
      options,
    );
    for (const name of ["pointerup", "pointercancel", "pointerleave"]) this.#items.addEventListener(name, end, options);
    this.#items.addEventListener(
      "contextmenu",
      (event) => {
        if (this.#isTouching) event.preventDefault();
      },
      options,
    );
  }

  /** @param {number} index */
  #longTouched(index) {
    const image = this.#list.at(index);
    if (image === undefined) return;
    this.#selection.anchor = index;
    this.#selection.toggle(image, true);
    // A click that ends the touch would undo it; mostly there is none.
    const swallow = (/** @type {Event} */ event) => {
      if (numberOf(event.target) !== index) return;
      event.preventDefault();
      event.stopImmediatePropagation();
    };
    this.#items.addEventListener("click", swallow, true);
    const forget = () => setTimeout(() => this.#items.removeEventListener("click", swallow, true), AFTER_TOUCH_MS);
    for (const name of ["pointerup", "pointercancel"]) this.#items.addEventListener(name, forget, { once: true });
  }
}

/**
 * The number of the tile that something is in.
 * @param {EventTarget | null} target
 * @returns {number | null}
 */
function numberOf(target) {
  const item = target instanceof Element ? target.closest("li") : null;
  return item === null ? null : Number(item.dataset.index);
}
