/** @file Where an image lies in the window that shows it: its scale, and where its corner is. */

const LEAST = 0.02;
const MOST = 40;

/**
 * A place in the window of `x`, `y` shows the point `(x - left) / scale`, `(y - top) / scale` of the image.
 * @typedef {{scale: number, left: number, top: number}} Viewport
 */

/**
 * The whole image, in the middle.
 * @param {{width: number, height: number}} image
 * @param {{width: number, height: number}} window
 * @returns {Viewport}
 */
export function fitted(image, window) {
  const scale = bounded(Math.min(window.width / image.width, window.height / image.height));
  return {
    scale,
    left: (window.width - image.width * scale) / 2,
    top: (window.height - image.height * scale) / 2,
  };
}

/**
 * Larger or smaller by a factor; what is at a point stays there.
 * @param {Viewport} view
 * @param {number} factor
 * @param {{x: number, y: number}} at
 * @returns {Viewport}
 */
export function zoomed(view, factor, at) {
  const scale = bounded(view.scale * factor);
  const grown = scale / view.scale;
  return { scale, left: at.x - (at.x - view.left) * grown, top: at.y - (at.y - view.top) * grown };
}

/**
 * @param {Viewport} view
 * @param {number} x
 * @param {number} y
 * @returns {Viewport}
 */
export const moved = (view, x, y) => ({ ...view, left: view.left + x, top: view.top + y });

/**
 * Two fingers that were at one pair of points and are at another.
 * @param {Viewport} view
 * @param {[{x: number, y: number}, {x: number, y: number}]} before
 * @param {[{x: number, y: number}, {x: number, y: number}]} after
 * @returns {Viewport}
 */
export function pinched(view, before, after) {
  const [from, to] = [middle(before), middle(after)];
  const factor = span(after) / Math.max(1, span(before));
  return zoomed(moved(view, to.x - from.x, to.y - from.y), factor, to);
}

/**
 * The point of the image at a place of the window.
 * @param {Viewport} view
 * @param {{x: number, y: number}} at
 */
export const pointAt = (view, { x, y }) => ({ x: (x - view.left) / view.scale, y: (y - view.top) / view.scale });

/** @param {number} scale */
const bounded = (scale) => Math.min(MOST, Math.max(LEAST, scale));

/** @param {[{x: number, y: number}, {x: number, y: number}]} points */
const middle = ([one, other]) => ({ x: (one.x + other.x) / 2, y: (one.y + other.y) / 2 });

/** @param {[{x: number, y: number}, {x: number, y: number}]} points */
const span = ([one, other]) => Math.hypot(one.x - other.x, one.y - other.y);
