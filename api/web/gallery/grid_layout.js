/** @file The arithmetic of the grid: which tiles are in sight, and where. No element is touched here. */

export const GAP = 8;
/** The least width of a tile, on narrow screens and on others. */
const LEAST_PX = 104;
const USUAL_PX = 168;
const NARROW_PX = 600;
/** No browser shows an element that is much higher: then scrolling goes faster than the tiles. */
export const MOST_HEIGHT_PX = 15_000_000;
/** Rows above and below those in sight. */
const SPARE_ROWS = 2;

/** Where the tiles of a list are in a window of some size. */
export class GridLayout {
  /**
   * @param {number} total tiles
   * @param {number} width of the window, in pixels
   * @param {number} height
   */
  constructor(total, width, height) {
    const least = width < NARROW_PX ? LEAST_PX : USUAL_PX;
    this.total = total;
    this.window = height;
    this.columns = Math.max(1, Math.floor((width + GAP) / (least + GAP)));
    this.side = Math.max(1, Math.floor((width - GAP * (this.columns - 1)) / this.columns));
    this.rows = Math.ceil(total / this.columns);
    this.step = this.side + GAP;
    /** Of all rows. */
    this.fullHeight = Math.max(0, this.rows * this.step - GAP);
    /** Of the element that scrolls. */
    this.height = Math.min(this.fullHeight, MOST_HEIGHT_PX);
  }

  /**
   * How far down the rows are when the element is scrolled so far.
   * @param {number} scrollTop
   */
  offset(scrollTop) {
    const range = this.height - this.window;
    return this.height === this.fullHeight || range <= 0
      ? scrollTop
      : (scrollTop / range) * (this.fullHeight - this.window);
  }

  /**
   * How far the element is scrolled when the rows are so far down.
   * @param {number} offset
   */
  scrollTop(offset) {
    const full = this.fullHeight - this.window;
    return this.height === this.fullHeight || full <= 0 ? offset : (offset / full) * (this.height - this.window);
  }

  /**
   * The first and the last tile to show.
   * @param {number} scrollTop
   * @returns {[number, number]} the last is less than the first if there are none
   */
  range(scrollTop) {
    const top = this.offset(scrollTop);
    const first = Math.max(0, Math.floor(top / this.step) - SPARE_ROWS);
    const last = Math.floor((top + this.window) / this.step) + SPARE_ROWS;
    return [first * this.columns, Math.min(this.total, (last + 1) * this.columns) - 1];
  }

  /**
   * Where a tile is in the element.
   * @param {number} index
   * @param {number} scrollTop
   * @returns {[number, number]} from the start, and from the top
   */
  place(index, scrollTop) {
    const row = Math.floor(index / this.columns);
    return [(index % this.columns) * this.step, row * this.step - this.offset(scrollTop) + scrollTop];
  }

  /**
   * How far to scroll so that a tile is in sight.
   * @param {number} index
   * @param {number} scrollTop
   */
  toSee(index, scrollTop) {
    const top = Math.floor(index / this.columns) * this.step;
    const offset = this.offset(scrollTop);
    if (top < offset) return this.scrollTop(top);
    if (top + this.side > offset + this.window) return this.scrollTop(top + this.side - this.window);
    return scrollTop;
  }

  /**
   * The tile that a key leads to.
   * @param {number} index
   * @param {string} key
   * @returns {number | null} null: the key leads nowhere
   */
  moved(index, key) {
    const page = Math.max(1, Math.floor(this.window / this.step)) * this.columns;
    const by = /** @type {Record<string, number>} */ ({
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -this.columns,
      ArrowDown: this.columns,
      PageUp: -page,
      PageDown: page,
      Home: -this.total,
      End: this.total,
    })[key];
    if (by === undefined || this.total === 0) return null;
    const to = index + by;
    if ((key === "ArrowUp" && to < 0) || (key === "ArrowDown" && to >= this.total)) return index;
    return Math.min(this.total - 1, Math.max(0, to));
  }
}
