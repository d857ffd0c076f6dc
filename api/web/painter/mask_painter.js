/** @file The mask painter: a dialog over the reference image, in which somebody says what is to change. */

import { openDialog } from "../app/dialogs.js";
import { h, set } from "../app/dom.js";
import { complain } from "../app/notices.js";
import { t } from "../app/texts.js";
import { MaskStage } from "./stage.js";
import { MaskSurface } from "./surface.js";

const SIZES = { least: 4, most: 400, first: 48 };
const QUIET_MS = 400;

/**
 * @typedef {object} Painting
 * @property {string} url of the reference image
 * @property {number} width of the reference image
 * @property {number} height
 * @property {Blob | null} mask what the mask is now
 * @property {number | null} blur the feather, in pixels; null: that of the server
 * @property {(mask: Blob | null) => Promise<void>} onMask is told the mask soon after each stroke; null: nothing is
 *   painted
 * @property {(blur: number) => void} onBlur
 */

/**
 * Open the painter, and wait until it is closed.
 * @param {Painting} painting
 */
export async function paintMask(painting) {
  const painter = new MaskPainter(painting);
  if (painting.mask !== null) await painter.surface.begin(painting.mask);
  await openDialog(t("mask.title"), (close) => painter.content(close), { class: "painter" });
  await painter.keep();
}

class MaskPainter {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {HTMLButtonElement[]} */
  #tools = [];

  /** @param {Painting} painting */
  constructor(painting) {
    this.painting = painting;
    const color = getComputedStyle(document.documentElement).getPropertyValue("--mask").trim();
    this.surface = new MaskSurface(painting.width, painting.height, color);
    this.stage = new MaskStage(this.surface, painting.url, t("mask.stage"));
    this.stage.addEventListener("painted", () => this.#changed());
    this.undo = button("mask.undo", () => this.#again(() => this.surface.undo()), { "aria-keyshortcuts": "Control+Z" });
    this.redo = button("mask.redo", () => this.#again(() => this.surface.redo()), { "aria-keyshortcuts": "Control+Y" });
    this.size = slider("mask.size", SIZES.first, SIZES, (value) => (this.stage.size = value));
    this.blur = slider("mask.feather", painting.blur ?? 4, { least: 0, most: 64 }, (value) => {
      this.stage.feather(value);
      painting.onBlur(value);
    });
    this.stage.feather(painting.blur ?? 4);
  }

  /** @param {() => void} close */
  content(close) {
    this.#tools = [
      button("mask.brush", () => this.#choose(false), { "aria-keyshortcuts": "B" }),
      button("mask.eraser", () => this.#choose(true), { "aria-keyshortcuts": "E" }),
    ];
    this.#choose(false);
    this.#show();
    const content = h(
      "div",
      { class: "stack tight", onkeydown: (/** @type {KeyboardEvent} */ event) => this.#key(event) },
      h(
        "div",
        { class: "row tools", role: "toolbar", "aria-label": t("mask.tools") },
        ...this.#tools,
        this.undo,
        this.redo,
        button("mask.whole", () => this.#do({ kind: "whole" })),
        button("mask.clear", () => this.#do({ kind: "clear" })),
        button("mask.invert", () => this.#do({ kind: "invert" })),
        button("mask.fit", () => this.stage.fit()),
        button("mask.nearer", () => this.stage.zoom(true)),
        button("mask.farther", () => this.stage.zoom(false)),
      ),
      h("div", { class: "sliders" }, this.size.element, this.blur.element),
      this.stage.element,
      this.#rectangle(),
      h(
        "div",
        { class: "row apart" },
        h("p", { class: "hint" }, t("mask.keys")),
        h("button", { type: "button", class: "primary", onclick: () => close() }, t("mask.done")),
      ),
    );
    return [content];
  }

  /** Tell the mask as it is now. */
  async keep() {
    clearTimeout(this.#timer);
    await this.painting.onMask(await this.surface.mask());
  }

  /** @param {import("./history.js").Deed} deed */
  #do(deed) {
    this.surface.add(deed);
    this.#changed();
  }

  /** @param {() => void} act */
  #again(act) {
    act();
    this.#changed();
  }

  #changed() {
    this.#show();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.keep().catch(complain), QUIET_MS);
  }

  /** A button that has the focus and nothing to do stays: the focus would be lost. */
  #show() {
    set(this.undo, { "aria-disabled": this.surface.history.canUndo ? null : "true" });
    set(this.redo, { "aria-disabled": this.surface.history.canRedo ? null : "true" });
  }

  /** @param {boolean} isEraser */
  #choose(isEraser) {
    this.stage.isEraser = isEraser;
    this.#tools.forEach((tool, index) => set(tool, { "aria-pressed": String((index === 1) === isEraser) }));
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.target instanceof HTMLInputElement && event.target.type === "number") return;
    const name =
      (event.ctrlKey || event.metaKey ? "Ctrl+" : "") + (event.shiftKey ? "Shift+" : "") + event.key.toLowerCase();
    const size = (/** @type {number} */ factor) => this.size.write(Math.round(this.stage.size * factor));
    const acts = /** @type {Record<string, () => void>} */ ({
      "Ctrl+z": () => this.#again(() => this.surface.undo()),
      "Ctrl+y": () => this.#again(() => this.surface.redo()),
      "Ctrl+Shift+z": () => this.#again(() => this.surface.redo()),
      b: () => this.#choose(false),
      e: () => this.#choose(true),
      i: () => this.#do({ kind: "invert" }),
      "[": () => size(1 / 1.25),
      "]": () => size(1.25),
    });
    const act = acts[name];
    if (act === undefined) return;
    event.preventDefault();
    act();
  }

  /** What a brush does, by numbers. */
  #rectangle() {
    const { width, height } = this.painting;
    const sides = /** @type {const} */ ([
      ["mask.left", 0, width],
      ["mask.top", 0, height],
      ["mask.width", width, width],
      ["mask.height", height, height],
    ]);
    const fields = sides.map(([key, value, max]) => {
      const input = h("input", { type: "number", min: 0, max, value });
      return { input, element: h("label", { class: "field" }, t(key), input) };
    });
    const act = (/** @type {boolean} */ isEraser) => () => {
      const [x = 0, y = 0, wide = 0, high = 0] = fields.map(({ input }) => Number(input.value));
      this.#do({ kind: "rectangle", isEraser, x, y, width: wide, height: high });
    };
    return h(
      "details",
      { class: "rectangle" },
      h("summary", {}, t("mask.rectangle")),
      h("div", { class: "sides" }, ...fields.map(({ element }) => element)),
      h("div", { class: "row" }, button("mask.add_rectangle", act(false)), button("mask.erase_rectangle", act(true))),
    );
  }
}

/**
 * @param {import("../app/texts.js").TextKey} key
 * @param {() => void} run
 * @param {Record<string, string>} [attributes]
 */
function button(key, run, attributes = {}) {
  return h("button", { type: "button", onclick: run, ...attributes }, t(key));
}

/**
 * @param {import("../app/texts.js").TextKey} key
 * @param {number} value
 * @param {{least: number, most: number}} bounds
 * @param {(value: number) => void} onInput
 */
function slider(key, value, { least, most }, onInput) {
  const id = key.replace(".", "-");
  const range = h("input", { type: "range", id, min: least, max: most, value });
  const shown = h("span", { class: "muted small" }, `${value} px`);
  const tell = () => {
    shown.textContent = `${range.value} px`;
    onInput(Number(range.value));
  };
  range.addEventListener("input", tell);
  const write = (/** @type {number} */ now) => {
    range.value = String(now);
    tell();
  };
  const element = h(
    "div",
    { class: "field" },
    h("div", { class: "row" }, h("label", { for: id }, t(key)), shown),
    range,
  );
  return { element, write };
}
