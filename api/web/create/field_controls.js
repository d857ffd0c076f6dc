/** @file An element for each field of the form: its label, what one types or chooses, and what is wrong with it. */

import { h, set } from "../app/dom.js";
import { t, word } from "../app/texts.js";
import { isGiven } from "./job_request.js";
import { textOfValue, valueOf } from "./field_values.js";

/** @typedef {import("./field_schema.js").FieldSpec} FieldSpec */

/**
 * A field as the form sees it.
 * @typedef {object} Control
 * @property {HTMLElement} element
 * @property {(value: any) => void} write show a value, without telling it
 * @property {(text: string) => void} fault say what is wrong; "": nothing
 * @property {(value: any) => void} [otherwise] say what counts if nothing is given
 * @property {() => void} [focus]
 */

/**
 * @param {FieldSpec} spec
 * @param {(value: any) => void} onInput is told every change
 * @returns {Control}
 */
export function controlFor(spec, onInput) {
  if (spec.kind === "flag" && typeof spec.initial === "boolean") return checkbox(spec, onInput);
  if (spec.kind === "flag") return select(flagAsChoice(spec), onInput);
  if (spec.kind === "choice") return select(spec, onInput);
  if (spec.kind === "choices") return checkboxes(spec, onInput);
  return typed(spec, onInput);
}

/**
 * The label of a field, which a translation may have; else its name.
 * @param {string} name
 */
export const labelOf = (name) => word("field", name);

/**
 * A field with its label above and its fault below.
 * @param {string} name of the field
 * @param {HTMLElement} input what has the focus; it gets an id
 * @param {{label?: string, around?: HTMLElement}} [options] around: what is shown in place of the input alone
 */
export function framed(name, input, { label = labelOf(name), around = input } = {}) {
  const fault = h("p", { class: "fault", id: `fault-${name}` });
  const said = word("hint", name);
  const hint = said === name.replaceAll("_", " ") ? null : h("p", { class: "hint", id: `hint-${name}` }, said);
  set(input, { id: `field-${name}`, "aria-describedby": [fault.id, hint?.id].filter(Boolean).join(" ") });
  const element = h(
    "div",
    { class: "field", "data-field": name },
    h("label", { for: input.id }, label),
    around,
    hint,
    fault,
  );
  return { element, fault: (/** @type {string} */ text) => complainOf(input, fault, text) };
}

/**
 * @param {HTMLElement} input
 * @param {HTMLElement} fault
 * @param {string} text
 */
export function complainOf(input, fault, text) {
  set(input, { "aria-invalid": text === "" ? null : "true" });
  fault.textContent = text;
}

/**
 * @param {FieldSpec} spec
 * @param {(value: any) => void} onInput
 * @returns {Control}
 */
function typed(spec, onInput) {
  const isNumber = spec.kind === "integer" || spec.kind === "number";
  const input =
    spec.kind === "options" ? h("textarea", { rows: 2 }) : h("input", { type: isNumber ? "number" : "text" });
  if (isNumber) set(input, { min: spec.min, max: spec.max, step: spec.step, inputmode: "decimal" });
  const slider = spec.name === "strength" ? sliderFor(spec, input) : null;
  input.addEventListener("input", () => {
    // What is no number at all, a number field hides: the server shall say so.
    const isUnreadable = input instanceof HTMLInputElement && input.validity.badInput;
    onInput(isUnreadable ? "?" : valueOf(spec.kind, input.value));
  });
  const around =
    spec.kind === "color" ? withSwatch(input) : slider ? h("div", { class: "sliding" }, slider, input) : input;
  const frame = framed(spec.name, input, { around });
  return {
    element: frame.element,
    fault: frame.fault,
    focus: () => input.focus(),
    write: (value) => {
      input.value = textOfValue(value);
      input.dispatchEvent(new CustomEvent("written"));
    },
    otherwise: (value) => set(input, { placeholder: isGiven(value) ? textOfValue(value) : t("create.default") }),
  };
}

/**
 * A slider beside a number, for those who look for a value by eye. The keyboard has the number.
 * @param {FieldSpec} spec
 * @param {HTMLInputElement | HTMLTextAreaElement} input
 */
function sliderFor(spec, input) {
  const slider = h("input", {
    type: "range",
    min: spec.min ?? 0,
    max: spec.max ?? 1,
    step: 0.01,
    tabindex: -1,
    "aria-label": t("create.slider", { name: labelOf(spec.name) }),
  });
  const follow = () => (slider.value = input.value || input.placeholder || "0.75");
  slider.addEventListener("input", () => {
    input.value = slider.value;
    input.dispatchEvent(new Event("input"));
  });
  input.addEventListener("input", follow);
  input.addEventListener("written", follow);
  follow();
  return slider;
}

/** @param {HTMLInputElement | HTMLTextAreaElement} input */
function withSwatch(input) {
  const swatch = h("input", { type: "color", "aria-label": t("create.pick_color"), tabindex: -1 });
  swatch.addEventListener("input", () => {
    input.value = swatch.value;
    input.dispatchEvent(new Event("input"));
  });
  input.addEventListener(
    "written",
    () => (swatch.value = /^#[0-9a-f]{6}$/i.test(input.value) ? input.value : "#ffffff"),
  );
  return h("div", { class: "sliding" }, swatch, input);
}

/**
 * @param {FieldSpec} spec
 * @param {(value: any) => void} onInput
 * @returns {Control}
 */
function select(spec, onInput) {
  const other = h("option", { value: "" }, t("create.default"));
  const input = h(
    "select",
    {},
    other,
    ...spec.choices.map((value) => h("option", { value }, spec.labels[value] ?? word("choice", value))),
  );
  const read = () => (spec.kind === "flag" && input.value !== "" ? input.value === "yes" : input.value || null);
  input.addEventListener("change", () => onInput(read()));
  const frame = framed(spec.name, input);
  return {
    element: frame.element,
    fault: frame.fault,
    focus: () => input.focus(),
    write: (value) => (input.value = typeof value === "boolean" ? (value ? "yes" : "no") : textOfValue(value)),
    otherwise: (value) => {
      const text = spec.labels[value] ?? word("choice", textOfValue(value));
      other.textContent = isGiven(value) ? t("create.default_is", { value: text }) : t("create.default");
    },
  };
}

/** @param {FieldSpec} spec */
const flagAsChoice = (spec) => ({ ...spec, choices: ["yes", "no"] });

/**
 * @param {FieldSpec} spec
 * @param {(value: any) => void} onInput
 * @returns {Control}
 */
function checkbox(spec, onInput) {
  const input = h("input", { type: "checkbox" });
  input.addEventListener("change", () => onInput(input.checked));
  const frame = framed(spec.name, input);
  frame.element.classList.add("checked");
  return {
    element: frame.element,
    fault: frame.fault,
    focus: () => input.focus(),
    write: (value) => (input.checked = value ?? spec.initial),
  };
}

/**
 * @param {FieldSpec} spec
 * @param {(value: any) => void} onInput
 * @returns {Control}
 */
function checkboxes(spec, onInput) {
  const boxes = spec.choices.map((value) => h("input", { type: "checkbox", value }));
  const fault = h("p", { class: "fault", id: `fault-${spec.name}` });
  const read = () => boxes.filter((box) => box.checked).map((box) => box.value);
  const element = h(
    "fieldset",
    { class: "field", "data-field": spec.name, "aria-describedby": fault.id },
    h("legend", {}, labelOf(spec.name)),
    h("div", { class: "row" }, ...boxes.map((box) => h("label", { class: "option" }, box, word("choice", box.value)))),
    fault,
  );
  element.addEventListener("change", () => onInput(read().length > 0 ? read() : null));
  return {
    element,
    fault: (text) => complainOf(element, fault, text),
    focus: () => boxes[0]?.focus(),
    write: (value) => {
      const chosen = [value ?? []].flat();
      for (const box of boxes) box.checked = chosen.includes(box.value);
    },
  };
}
