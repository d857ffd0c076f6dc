/** @file The fields with buttons of their own: width and height with usual sizes, and the seed. */

import { h, set } from "../app/dom.js";
import { t } from "../app/texts.js";
import { controlFor } from "./field_controls.js";
import { isGiven, sizesFor } from "./job_request.js";

/** @typedef {import("./field_controls.js").Control} Control */
/** @typedef {import("./field_schema.js").FieldSpec} FieldSpec */

/**
 * @param {FieldSpec} widthSpec
 * @param {FieldSpec} heightSpec
 * @param {{natives: Record<string, number>, onInput: (name: "width" | "height", value: any) => void}} options natives:
 *   the sides of the squares that bases were trained with, for checkpoints that do not tell
 */
export function sizeFields(widthSpec, heightSpec, { natives, onInput }) {
  /** @type {{width: any, height: any}} */
  const now = { width: null, height: null };
  let others = { width: /** @type {any} */ (null), height: /** @type {any} */ (null) };
  const width = controlFor(widthSpec, (value) => change(value, now.height, false));
  const height = controlFor(heightSpec, (value) => change(now.width, value, false));
  const presets = h("select", { "aria-label": t("create.size_presets"), onchange: choose });
  const swap = h(
    "button",
    {
      type: "button",
      "aria-label": t("create.swap_sides"),
      title: t("create.swap_sides"),
      onclick: () => change(now.height ?? others.height, now.width ?? others.width, true),
    },
    "⇄",
  );
  /**
   * @param {any} wide
   * @param {any} high
   * @param {boolean} isWritten
   */
  function change(wide, high, isWritten) {
    if (isWritten) {
      width.write(wide);
      height.write(high);
    }
    if (now.width !== wide) onInput("width", (now.width = wide));
    if (now.height !== high) onInput("height", (now.height = high));
    follow();
  }
  function choose() {
    const [wide, high] = presets.value.split("x").map(Number);
    change(wide || null, high || null, true);
  }
  function follow() {
    const value = isGiven(now.width) || isGiven(now.height) ? `${now.width}x${now.height}` : "";
    presets.value = value;
    if (presets.value !== value) presets.value = "other";
  }
  /** @param {import("./model_lists.js").Model | null} model */
  function offer(model) {
    const native = model?.native_size ?? natives[model?.model_base ?? "sd"] ?? 512;
    presets.replaceChildren(
      h("option", { value: "" }, t("create.size_of_model")),
      ...sizesFor(native).map(([wide, high]) =>
        h("option", { value: `${wide}x${high}` }, t(shapeOf(wide, high), { size: `${wide} × ${high}` })),
      ),
      h("option", { value: "other", disabled: true }, t("create.size_other")),
    );
    follow();
  }
  offer(null);
  return {
    element: h(
      "div",
      { class: "size" },
      h("div", { class: "row" }, presets, swap),
      h("div", { class: "pair" }, width.element, height.element),
    ),
    width: { ...width, write: (/** @type {any} */ value) => (width.write((now.width = value ?? null)), follow()) },
    height: { ...height, write: (/** @type {any} */ value) => (height.write((now.height = value ?? null)), follow()) },
    offer,
    /** @param {{width: any, height: any}} sides */
    otherwise: (sides) => {
      others = sides;
      width.otherwise?.(sides.width);
      height.otherwise?.(sides.height);
    },
  };
}

/**
 * @param {number} wide
 * @param {number} high
 */
function shapeOf(wide, high) {
  if (wide === high) return "create.size_square";
  return wide > high ? "create.size_landscape" : "create.size_portrait";
}

/**
 * @param {FieldSpec} spec
 * @param {{onInput: (value: any) => void, lastOf: () => number | null}} options lastOf: the seed of the last job
 * @returns {Control}
 */
export function seedField(spec, { onInput, lastOf }) {
  const control = controlFor(spec, onInput);
  control.otherwise?.(t("create.random"));
  const give = (/** @type {any} */ value) => {
    control.write(value);
    onInput(value);
  };
  const last = h("button", { type: "button", class: "quiet", onclick: () => give(lastOf()) }, t("create.last_seed"));
  const random = h("button", { type: "button", class: "quiet", onclick: () => give(null) }, t("create.random_seed"));
  set(control.element.querySelector("input") ?? control.element, { min: null, step: 1 });
  return {
    ...control,
    element: h("div", { class: "seed" }, control.element, h("div", { class: "row" }, random, last)),
  };
}
