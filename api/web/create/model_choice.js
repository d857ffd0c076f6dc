/** @file Which engine or checkpoint makes the images: one list of all. */

import { fill, h } from "../app/dom.js";
import { t, word } from "../app/texts.js";
import { framed } from "./field_controls.js";

/** @typedef {import("./model_lists.js").ModelLists} ModelLists */
/** @typedef {import("./field_controls.js").Control} Control */

const NAMES = /** @type {const} */ (["engine_id", "checkpoint", "engine"]);

/**
 * A field for `engine_id`, `checkpoint` and `engine`: its values are objects with one of them, or with none.
 * @param {ModelLists} lists
 * @param {(value: Record<string, any>) => void} onInput
 * @param {AbortSignal} signal
 * @returns {Control}
 */
export function modelChoice(lists, onInput, signal) {
  const select = h("select", {
    onchange: () => onInput((chosen = read(select.value))),
  });
  const frame = framed("checkpoint", select, { label: t("create.model") });
  /** @type {Record<string, any>} */
  let chosen = {};
  const show = () => {
    const value = write(lists, chosen);
    fill(select, ...options(lists, value));
    select.value = value;
  };
  lists.addEventListener("change", show, { signal });
  show();
  return {
    element: frame.element,
    fault: frame.fault,
    focus: () => select.focus(),
    write: (fields) => {
      chosen = fields;
      show();
    },
  };
}

/**
 * @param {string} value
 * @returns {Record<string, any>}
 */
function read(value) {
  const colon = value.indexOf(":");
  return {
    engine_id: null,
    checkpoint: null,
    engine: null,
    ...(colon < 0 ? {} : { [value.slice(0, colon)]: value.slice(colon + 1) }),
  };
}

/**
 * @param {ModelLists} lists
 * @param {Record<string, any>} fields
 */
function write(lists, fields) {
  const engine = lists.engineOf(fields);
  if (engine) return `engine_id:${engine.engine_id}`;
  const checkpoint = fields["checkpoint"] ? lists.checkpointOf(fields) : null;
  if (checkpoint) return `checkpoint:${checkpoint.model_id}`;
  const name = NAMES.find((one) => fields[one]);
  return name === undefined ? "" : `${name}:${fields[name]}`;
}

/**
 * @param {ModelLists} lists
 * @param {string} value what is chosen, which may be gone
 */
function options(lists, value) {
  const engines = lists.engines.map((engine) => {
    const checkpoint = engine.names[engine.checkpoint] ?? engine.checkpoint;
    const name = engine.name === null ? checkpoint : `${engine.name} · ${checkpoint}`;
    return h(
      "option",
      { value: `engine_id:${engine.engine_id}` },
      t("create.engine_option", { name, state: word("engine_state", engine.status) }),
    );
  });
  const checkpoints = lists.checkpoints.map((model) =>
    h(
      "option",
      { value: `checkpoint:${model.model_id}` },
      [model.name, model.model_base && word("base", model.model_base)].filter(Boolean).join(" · "),
    ),
  );
  const known = [...engines, ...checkpoints].some((option) => option.value === value);
  return [
    h("option", { value: "" }, t("create.any_model")),
    value === "" || known
      ? null
      : h("option", { value }, t("create.gone_model", { name: value.slice(value.indexOf(":") + 1) })),
    checkpoints.length > 0 ? h("optgroup", { label: t("create.checkpoints") }, ...checkpoints) : null,
    engines.length > 0 ? h("optgroup", { label: t("create.engines") }, ...engines) : null,
  ];
}
