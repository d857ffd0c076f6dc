/** @file The mask itself: a canvas of the size of the reference image, opaque where the image is to change. */

import { h } from "../app/dom.js";
import { MaskHistory } from "./history.js";

/** @typedef {import("./history.js").Deed} Deed */
/** @typedef {import("./history.js").Dab} Dab */

/** A pixel is white in the mask that is sent from this opacity on. */
const HALF = 128;

export class MaskSurface {
  history = new MaskHistory();
  #start;
  /** @type {string} */
  #color;

  /**
   * @param {number} width
   * @param {number} height
   * @param {string} color of what is painted, as it is shown
   */
  constructor(width, height, color) {
    this.canvas = h("canvas", { width, height });
    this.#start = h("canvas", { width, height });
    this.#color = color;
  }

  /**
   * Begin with a mask: white and light gray is painted.
   * @param {Blob} mask
   */
  async begin(mask) {
    const bitmap = await createImageBitmap(mask);
    const pen = penOf(this.#start);
    const { width, height } = this.#start;
    pen.drawImage(bitmap, 0, 0, width, height);
    bitmap.close();
    const pixels = pen.getImageData(0, 0, width, height);
    const { data } = pixels;
    for (let at = 0; at < data.length; at += 4) {
      const light = (data[at] ?? 0) * 0.299 + (data[at + 1] ?? 0) * 0.587 + (data[at + 2] ?? 0) * 0.114;
      data[at + 3] = light >= HALF && (data[at + 3] ?? 0) >= HALF ? 255 : 0;
    }
    pen.putImageData(pixels, 0, 0);
    pen.globalCompositeOperation = "source-in";
    pen.fillStyle = this.#color;
    pen.fillRect(0, 0, width, height);
    pen.globalCompositeOperation = "source-over";
    this.repaint();
  }

  /**
   * Do something, so that it can be undone. A stroke is on the canvas already.
   * @param {Deed} deed
   */
  add(deed) {
    if (deed.kind !== "stroke") this.draw(deed);
    const oldest = this.history.add(deed);
    if (oldest !== null) this.#act(penOf(this.#start), oldest);
  }

  undo() {
    this.history.undo();
    this.repaint();
  }

  redo() {
    this.history.redo();
    this.repaint();
  }

  /** @param {Deed} deed what is drawn without being remembered: a stroke that goes on */
  draw(deed) {
    this.#act(penOf(this.canvas), deed);
  }

  /**
   * White where the image is to change, black elsewhere.
   * @returns {Promise<Blob | null>} a PNG file; null: nothing is painted
   */
  async mask() {
    const { width, height } = this.canvas;
    const pixels = penOf(this.canvas).getImageData(0, 0, width, height);
    const { data } = pixels;
    let isEmpty = true;
    for (let at = 0; at < data.length; at += 4) {
      const value = (data[at + 3] ?? 0) >= HALF ? 255 : 0;
      if (value > 0) isEmpty = false;
      data[at] = data[at + 1] = data[at + 2] = value;
      data[at + 3] = 255;
    }
    if (isEmpty) return null;
    const sent = h("canvas", { width, height });
    penOf(sent).putImageData(pixels, 0, 0);
    return new Promise((resolve) => sent.toBlob(resolve, "image/png"));
  }

  /** Make the mask again from what was done. */
  repaint() {
    const pen = penOf(this.canvas);
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    pen.drawImage(this.#start, 0, 0);
    for (const deed of this.history.deeds) this.#act(pen, deed);
  }

  /**
   * @param {CanvasRenderingContext2D} pen
   * @param {Deed} deed
   */
  #act(pen, deed) {
    const { width, height } = this.canvas;
    const isEraser = deed.kind === "clear" || ("isEraser" in deed && deed.isEraser);
    pen.globalCompositeOperation = isEraser ? "destination-out" : deed.kind === "invert" ? "source-out" : "source-over";
    pen.fillStyle = pen.strokeStyle = this.#color;
    if (deed.kind === "stroke") strokeOf(pen, deed.dabs);
    else if (deed.kind === "rectangle") pen.fillRect(deed.x, deed.y, deed.width, deed.height);
    else pen.fillRect(0, 0, width, height);
    pen.globalCompositeOperation = "source-over";
  }
}

/**
 * A stroke through points, each with the radius of the brush there.
 * @param {CanvasRenderingContext2D} pen
 * @param {Dab[]} dabs
 */
function strokeOf(pen, dabs) {
  pen.lineCap = "round";
  dabs.forEach((dab, index) => {
    const last = dabs[index - 1];
    if (last === undefined) {
      pen.beginPath();
      pen.arc(dab.x, dab.y, dab.radius, 0, 2 * Math.PI);
      pen.fill();
      return;
    }
    pen.lineWidth = last.radius + dab.radius;
    pen.beginPath();
    pen.moveTo(last.x, last.y);
    pen.lineTo(dab.x, dab.y);
    pen.stroke();
  });
}

/** @param {HTMLCanvasElement} canvas */
function penOf(canvas) {
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  if (pen === null) throw new Error("the browser gives no canvas");
  return pen;
}
