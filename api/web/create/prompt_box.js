/** @file The fields for prompts: `<prompt-field>` as a control of the form. */

import "../parts/prompt_field.js";
import { set } from "../app/dom.js";
import { labelOf } from "./field_controls.js";

/**
 * @typedef {HTMLElement & {value: string, fault: string, embeddings: string[], isTemplate: boolean,
 *   insert: (text: string) => void}} PromptField
 */

/**
 * What a prompt is read by.
 * @typedef {{engine: string | null, checkpoint: string | null, technique: string | null, wildcards: boolean | null,
 *   embeddings: string[]}} Reading
 */

/**
 * @param {string} name of the field
 * @param {{onInput: (value: string) => void, onPick: (embedding: string) => void}} options onPick: an embedding was
 *   completed, which the job needs
 * @returns {import("./field_controls.js").Control & {insert: (text: string) => void,
 *   readBy: (reading: Reading) => void, isTemplate: () => boolean}}
 */
export function promptBox(name, { onInput, onPick }) {
  const field = /** @type {PromptField} */ (document.createElement("prompt-field"));
  set(field, { label: labelOf(name), negative: name === "negative_prompt", "data-field": name });
  field.addEventListener("change", () => onInput(field.value));
  field.addEventListener("pick", (event) => {
    const { kind, model_id: id } = /** @type {CustomEvent} */ (event).detail;
    if (kind === "embedding") onPick(id);
  });
  return {
    element: field,
    fault: (text) => {
      if (text !== field.fault) field.fault = text;
    },
    focus: () => field.focus(),
    write: (value) => (field.value = value ?? ""),
    insert: (text) => field.insert(field.value.trim() === "" ? text : `, ${text}`),
    isTemplate: () => field.isTemplate,
    readBy: ({ engine, checkpoint, technique, wildcards, embeddings }) => {
      set(field, { engine, checkpoint, technique, wildcards: wildcards === null ? null : String(wildcards) });
      if (String(field.embeddings) !== String(embeddings)) field.embeddings = embeddings;
    },
  };
}
