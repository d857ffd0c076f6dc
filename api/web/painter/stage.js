/** @file The window of the mask painter: brush strokes by mouse, pen and touch, and where the image lies in it. */

import { h } from "../app/dom.js";
import { fitted, moved, pinched, pointAt, zoomed } from "./viewport.js";

/** @typedef {import("./surface.js").MaskSurface} MaskSurface */
/** @typedef {{x: number, y: number}} Point */

const ZOOM = 1.25;
const STEP_PX = 40;

/** Dispatches `painted` when a stroke has ended. */
export class MaskStage extends EventTarget {
  size = 48;
  isEraser = false;
  /** @type {import("./viewport.js").Viewport} */
  #view = { scale: 1, left: 0, top: 0 };
  /** @type {Map<number, Point>} fingers, pens and buttons that are down */
  #down = new Map();
  /** @type {import("./history.js").Dab[] | null} */
  #stroke = null;
  #isPanning = false;
  #isSpaceDown = false;

  /**
   * @param {MaskSurface} surface
   * @param {string} url of the reference image
   * @param {string} label
   */
  constructor(surface, url, label) {
    super();
    this.surface = surface;
    const { width, height } = surface.canvas;
    this.image = h("img", {
      src: url,
      alt: "",
      draggable: "false",
      style: { width: `${width}px`, height: `${height}px` },
    });
    this.sheet = h("div", { class: "sheet" }, this.image, surface.canvas);
    this.cursor = h("div", { class: "brush", hidden: true });
    this.element = h(
      "div",
      { class: "stage", tabindex: 0, role: "application", "aria-label": label },
      this.sheet,
      this.cursor,
    );
    const on = (/** @type {string} */ name, /** @type {(event: any) => void} */ act) =>
      this.element.addEventListener(name, act, { passive: false });
    on("pointerdown", (event) => this.#press(event));
    on("pointermove", (event) => this.#move(event));
    on("pointerup", (event) => this.#release(event));
    on("pointercancel", (event) => this.#release(event));
    on("pointerleave", () => (this.cursor.hidden = true));
    on("wheel", (event) => this.#wheel(event));
    on("keydown", (event) => this.#key(event));
    on("keyup", (event) => (this.#isSpaceDown &&= event.key !== " "));
    new ResizeObserver(() => this.fit()).observe(this.element);
  }

  /** Show the whole image. */
  fit() {
    const { width, height } = this.element.getBoundingClientRect();
    this.#show(fitted(this.surface.canvas, { width, height }));
  }

  /** @param {boolean} isNearer */
  zoom(isNearer) {
    const { width, height } = this.element.getBoundingClientRect();
    this.#show(zoomed(this.#view, isNearer ? ZOOM : 1 / ZOOM, { x: width / 2, y: height / 2 }));
  }

  /**
   * Show how far what is new will fade into the rest.
   * @param {number} blur in pixels of the image
   */
  feather(blur) {
    this.surface.canvas.style.setProperty("filter", blur > 0 ? `blur(${blur}px)` : "none");
  }

  /** @param {import("./viewport.js").Viewport} view */
  #show(view) {
    this.#view = view;
    this.sheet.style.setProperty("transform", `translate(${view.left}px, ${view.top}px) scale(${view.scale})`);
  }

  /** @param {PointerEvent} event */
  #press(event) {
    event.preventDefault();
    this.element.focus({ preventScroll: true });
    this.element.setPointerCapture(event.pointerId);
    this.#down.set(event.pointerId, this.#place(event));
    this.#isPanning = event.button === 1 || this.#isSpaceDown || this.#down.size > 1;
    if (this.#isPanning) {
      this.#drop();
    } else if (event.button === 0) {
      this.#stroke = [];
      this.#dab(event);
    }
  }

  /** @param {PointerEvent} event */
  #move(event) {
    const at = this.#place(event);
    this.#follow(event, at);
    const before = this.#down.get(event.pointerId);
    if (before === undefined) return;
    const fingers = [...this.#down.keys()];
    if (fingers.length === 2) {
      const pair = /** @type {[Point, Point]} */ ([...this.#down.values()]);
      this.#down.set(event.pointerId, at);
      this.#show(pinched(this.#view, pair, /** @type {[Point, Point]} */ ([...this.#down.values()])));
    } else if (this.#isPanning) {
      this.#down.set(event.pointerId, at);
      this.#show(moved(this.#view, at.x - before.x, at.y - before.y));
    } else if (this.#stroke !== null) {
      const all = event.getCoalescedEvents?.() ?? [];
      for (const one of all.length > 0 ? all : [event]) this.#dab(one);
    }
  }

  /** @param {PointerEvent} event */
  #release(event) {
    this.#down.delete(event.pointerId);
    if (this.#down.size > 0) return;
    this.#isPanning = false;
    const dabs = this.#stroke;
    this.#stroke = null;
    if (dabs === null || dabs.length === 0) return;
    this.surface.add({ kind: "stroke", isEraser: this.isEraser, dabs });
    this.dispatchEvent(new Event("painted"));
  }

  /** A second finger has come: what the first has begun was no stroke. */
  #drop() {
    if (this.#stroke === null) return;
    this.#stroke = null;
    this.surface.repaint();
  }

  /** @param {PointerEvent} event */
  #dab(event) {
    const { x, y } = pointAt(this.#view, this.#place(event));
    const force = event.pointerType === "pen" && event.pressure > 0 ? event.pressure : 1;
    const dab = { x, y, radius: Math.max(0.5, (this.size / 2) * force) };
    const last = this.#stroke?.at(-1);
    this.#stroke?.push(dab);
    this.surface.draw({ kind: "stroke", isEraser: this.isEraser, dabs: last ? [last, dab] : [dab] });
  }

  /** @param {PointerEvent} event */
  #place(event) {
    const { left, top } = this.element.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  }

  /**
   * @param {PointerEvent} event
   * @param {Point} at
   */
  #follow(event, at) {
    this.cursor.hidden = event.pointerType === "touch";
    const side = this.size * this.#view.scale;
    const style = {
      width: `${side}px`,
      height: `${side}px`,
      transform: `translate(${at.x - side / 2}px, ${at.y - side / 2}px)`,
    };
    for (const [name, value] of Object.entries(style)) this.cursor.style.setProperty(name, value);
  }

  /** @param {WheelEvent} event */
  #wheel(event) {
    event.preventDefault();
    if (event.shiftKey) {
      this.#show(moved(this.#view, -event.deltaY - event.deltaX, 0));
    } else {
      const { left, top } = this.element.getBoundingClientRect();
      const at = { x: event.clientX - left, y: event.clientY - top };
      this.#show(zoomed(this.#view, Math.exp(-event.deltaY / 400), at));
    }
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const acts = /** @type {Record<string, () => void>} */ ({
      "+": () => this.zoom(true),
      "=": () => this.zoom(true),
      "-": () => this.zoom(false),
      0: () => this.fit(),
      ArrowLeft: () => this.#show(moved(this.#view, STEP_PX, 0)),
      ArrowRight: () => this.#show(moved(this.#view, -STEP_PX, 0)),
      ArrowUp: () => this.#show(moved(this.#view, 0, STEP_PX)),
      ArrowDown: () => this.#show(moved(this.#view, 0, -STEP_PX)),
      " ": () => (this.#isSpaceDown = true),
    });
    const act = acts[event.key];
    if (act === undefined) return;
    event.preventDefault();
    act();
  }
}
