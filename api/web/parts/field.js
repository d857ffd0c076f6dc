/** @file Fields of forms: a label, a hint, and a place for what the server finds wrong. A control's `name` is its field of the API. */

import { h, set } from "../app/dom.js";
import { ApiError } from "../app/errors.js";
import { textOf } from "../app/notices.js";

/** @typedef {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} Control */

let count = 0;

/**
 * A control with its label.
 * @param {string} label
 * @param {Control} control
 * @param {string} [hint]
 * @returns {HTMLElement}
 */
export function field(label, control, hint = "") {
  const id = `field-${(count += 1)}`;
  set(control, { id, "aria-describedby": `${id}-hint ${id}-fault` });
  const name = h("label", { for: id }, label);
  const isCheck = control instanceof HTMLInputElement && control.type === "checkbox";
  return h(
    "div",
    { class: "field" },
    ...(isCheck ? [h("div", { class: "row" }, control, name)] : [name, control]),
    h("p", { class: "hint", id: `${id}-hint`, hidden: !hint }, hint),
    h("p", { class: "fault", id: `${id}-fault` }),
  );
}

/**
 * A list to choose from.
 * @param {string} name
 * @param {[value: string, text: string][]} options
 * @param {Record<string, any>} [attributes]
 * @returns {HTMLSelectElement}
 */
export function choice(name, options, attributes = {}) {
  return h("select", { name, ...attributes }, ...options.map(([value, text]) => h("option", { value }, text)));
}

/**
 * A field of numbers.
 * @param {string} name
 * @param {Record<string, any>} [attributes]
 * @returns {HTMLInputElement}
 */
export function numberInput(name, attributes = {}) {
  return h("input", { type: "number", name, step: "any", inputmode: "decimal", "data-kind": "number", ...attributes });
}

/** A place for what is wrong with a form as a whole. */
export function formFault() {
  return h("p", { class: "fault whole", role: "alert" });
}

/**
 * What somebody has said in the controls of a form that have a name, by that name; null: nothing.
 * @param {HTMLFormElement} form
 * @returns {Record<string, string | number | boolean | string[] | {min: number, max: number} | null>}
 */
export function valuesOf(form) {
  return Object.fromEntries(controlsOf(form).map((control) => [control.name, valueOf(control)]));
}

/**
 * @param {Control} control
 * @returns {string | number | boolean | string[] | {min: number, max: number} | null}
 */
function valueOf(control) {
  if (control instanceof HTMLInputElement && control.type === "checkbox") return control.checked;
  if (control instanceof HTMLSelectElement && control.multiple) {
    return [...control.selectedOptions].map((option) => option.value);
  }
  const text = control.value.trim();
  if (control.dataset.kind === "range") return rangeOf(text);
  if (control.dataset.kind === "list") return text.split(",").flatMap((one) => one.trim() || []);
  if (text === "") return null;
  return control.dataset.kind === "number" ? Number(text) : text;
}

/**
 * @param {string} text a number such as `2`, or the least and the most, such as `1-4`
 * @returns {string | number | {min: number, max: number} | null}
 */
function rangeOf(text) {
  const found = /^(\d+)(?:\s*[-–]\s*(\d+))?$/.exec(text);
  if (found === null) return text === "" ? null : text;
  return found[2] === undefined ? Number(found[1]) : { min: Number(found[1]), max: Number(found[2]) };
}

/**
 * Show beside each field what the server has found wrong with it, and the rest below the form.
 * @param {HTMLFormElement} form
 * @param {unknown} [error] without one: nothing is wrong any more
 * @param {{isTyping?: boolean}} [options] isTyping: the focus stays where it is
 */
export function showFaults(form, error, { isTyping = false } = {}) {
  for (const control of controlsOf(form)) set(control, { "aria-invalid": null });
  for (const fault of form.querySelectorAll(".fault")) fault.textContent = "";
  if (error === undefined) return;
  const { wrong, rest } = placed(form, error);
  if (wrong.length === 0 && rest.length === 0) rest.push(textOf(error));
  const whole = form.querySelector(".fault.whole");
  if (whole) whole.textContent = rest.join("\n");
  if (isTyping) return;
  const details = wrong[0]?.closest("details");
  if (details) details.open = true;
  wrong[0]?.focus();
}

/**
 * The controls that an error names, marked with it, and what it says of fields that have no control here.
 * @param {HTMLFormElement} form
 * @param {unknown} error
 */
function placed(form, error) {
  const controls = controlsOf(form);
  /** @type {string[]} */
  const rest = [];
  /** @type {Control[]} */
  const wrong = [];
  for (const { field, problem } of error instanceof ApiError ? error.fields : []) {
    const control = controls.find((one) => one.name === field.split(/[.[]/)[0]);
    const fault = control?.closest(".field")?.querySelector(".fault");
    if (!control || !fault) {
      rest.push(`${field}: ${problem}`);
      continue;
    }
    set(control, { "aria-invalid": "true" });
    fault.textContent = problem;
    wrong.push(control);
  }
  return { wrong, rest };
}

/**
 * @param {HTMLFormElement} form
 * @returns {Control[]}
 */
function controlsOf(form) {
  return /** @type {Control[]} */ ([...form.elements].filter((one) => "name" in one && one.name !== ""));
}
