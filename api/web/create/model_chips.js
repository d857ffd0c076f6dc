/** @file A list of models as chips: LoRAs with their weights and trigger words, embeddings, ControlNets and so on. */

import { h, keep } from "../app/dom.js";
import { notify } from "../app/notices.js";
import { t } from "../app/texts.js";
import { framed } from "./field_controls.js";
import { MODEL_TYPES } from "./field_table.js";

/** @typedef {import("./model_lists.js").Model} Model */
/** @typedef {import("./model_lists.js").ModelLists} ModelLists */
/** @typedef {{model_id: string, weight: number}} Use */

/**
 * A field whose value is a list of models, by ids or names; of LoRAs a list of objects with weights.
 * @param {string} name of the field
 * @param {ModelLists} lists
 * @param {{onInput: (value: any) => void, baseOf?: () => string | null, onWord?: (word: string) => void,
 *   signal: AbortSignal}} options baseOf: the base that models must fit, if known
 * @returns {import("./field_controls.js").Control}
 */
export function modelChips(name, lists, { onInput, baseOf = () => null, onWord, signal }) {
  /** @type {Use[]} */
  let uses = [];
  /** @type {Model[]} */
  let models = [];
  const isWeighted = name === "loras";
  const options = h("datalist", { id: `models-${name}` });
  const input = h("input", { type: "text", list: options.id, autocomplete: "off", placeholder: t("create.add_model") });
  const chips = h("ul", { class: "uses" });
  const frame = framed(name, input, { around: h("div", { class: "stack tight" }, input, options, chips) });

  const offered = () => models.filter((model) => fits(model, baseOf()) && !uses.some((use) => isIt(model, use)));
  const show = () => {
    keep(options, offered(), {
      key: (model) => model.model_id,
      create: (model) => h("option", { value: nameIn(models, model) }),
    });
    keep(chips, uses, {
      key: (use) => use.model_id,
      create: (use) => chip(use, models.find((model) => isIt(model, use)) ?? null),
    });
  };
  const tell = () => {
    show();
    onInput(uses.length === 0 ? null : isWeighted ? uses : uses.map((use) => use.model_id));
  };
  const read = async () => {
    models = await lists.of(MODEL_TYPES[name] ?? "");
    chips.replaceChildren(); // their names may be known now
    show();
  };
  const add = (/** @type {boolean} */ isFinal) => {
    const model = offered().find((one) => nameIn(models, one) === input.value.trim());
    if (model !== undefined) {
      uses = [...uses, { model_id: model.model_id, weight: 1 }];
      input.value = "";
      tell();
    } else if (isFinal && input.value.trim() !== "") {
      notify(t("create.no_such_model", { name: input.value.trim() }), { kind: "error" });
    }
  };
  /**
   * @param {Use} use
   * @param {Model | null} model
   */
  const chip = (use, model) => {
    const label = model?.name ?? use.model_id;
    return h(
      "li",
      { class: "use" },
      h("span", { class: "label" }, label),
      h(
        "button",
        {
          type: "button",
          class: "quiet",
          "aria-label": t("create.remove_model", { name: label }),
          onclick: () => {
            uses = uses.filter((one) => one !== use);
            tell();
            input.focus();
          },
        },
        "×",
      ),
      isWeighted ? weightOf(use, label, tell) : null,
      onWord && model ? words(model, onWord) : null,
    );
  };
  input.addEventListener("focus", () => void read().catch(() => {}));
  input.addEventListener("input", (event) => {
    // A choice in the list replaces the text; typing letters does not choose yet.
    if (!(event instanceof InputEvent) || event.inputType === "insertReplacementText") add(false);
  });
  input.addEventListener("change", () => add(true));
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      add(true);
    }
  });
  lists.addEventListener("change", () => void read().catch(() => {}), { signal });
  return {
    element: frame.element,
    fault: frame.fault,
    focus: () => input.focus(),
    write: (value) => {
      uses = (value ?? []).map((/** @type {any} */ one) =>
        typeof one === "string" ? { model_id: one, weight: 1 } : { model_id: one.model_id, weight: one.weight ?? 1 },
      );
      chips.replaceChildren();
      show();
      if (uses.length > 0) void read().catch(() => {});
    },
  };
}

/**
 * A field for one model.
 * @param {string} name of the field
 * @param {ModelLists} lists
 * @param {{onInput: (value: any) => void, baseOf: () => string | null, signal: AbortSignal}} options
 * @returns {import("./field_controls.js").Control}
 */
export function oneModel(name, lists, { onInput, baseOf, signal }) {
  const select = h("select", { onchange: () => onInput(select.value || null) });
  const frame = framed(name, select);
  let chosen = "";
  const show = async () => {
    const models = await lists.of(MODEL_TYPES[name] ?? "");
    const offered = models.filter((model) => fits(model, baseOf()) || model.model_id === chosen);
    const isKnown = ["", "checkpoint"].includes(chosen) || offered.some((model) => model.model_id === chosen);
    select.replaceChildren(
      h("option", { value: "" }, t("create.default")),
      h("option", { value: "checkpoint" }, t("create.own_vae")),
      ...(isKnown ? [] : [h("option", { value: chosen }, chosen)]),
      ...offered.map((model) => h("option", { value: model.model_id }, model.name)),
    );
    select.value = chosen;
  };
  const follow = () => void show().catch(() => {});
  lists.addEventListener("change", follow, { signal });
  select.addEventListener("change", () => (chosen = select.value));
  return {
    element: frame.element,
    fault: frame.fault,
    focus: () => select.focus(),
    write: (value) => {
      chosen = value ?? "";
      follow();
    },
  };
}

/**
 * @param {Model} model
 * @param {string | null} base
 */
const fits = (model, base) => base === null || model.model_base === null || model.model_base === base;

/**
 * @param {Model} model
 * @param {Use} use which names it by its id, or by its name
 */
const isIt = (model, use) => model.model_id === use.model_id || model.name === use.model_id;

/**
 * Its name; with its id where another one is called like it.
 * @param {Model[]} models
 * @param {Model} model
 */
function nameIn(models, model) {
  const isShared = models.some((one) => one !== model && one.name === model.name);
  return isShared ? `${model.name} (${model.model_id})` : model.name;
}

/**
 * @param {Use} use
 * @param {string} label
 * @param {() => void} tell
 */
function weightOf(use, label, tell) {
  const range = h("input", {
    type: "range",
    min: -2,
    max: 2,
    step: 0.05,
    "aria-label": t("create.slider", { name: label }),
  });
  const number = h("input", { type: "number", step: 0.05, "aria-label": t("create.weight", { name: label }) });
  const follow = () => {
    range.value = String(use.weight);
    number.value = String(use.weight);
  };
  for (const input of [range, number]) {
    input.addEventListener("input", () => {
      use.weight = Number(input.value || 1);
      (input === range ? number : range).value = String(use.weight);
      tell();
    });
  }
  follow();
  return h("div", { class: "sliding" }, range, number);
}

/**
 * @param {Model} model
 * @param {(word: string) => void} onWord
 */
function words(model, onWord) {
  if (model.trigger_words.length === 0) return null;
  return h(
    "div",
    { class: "row words", role: "group", "aria-label": t("create.trigger_words", { name: model.name }) },
    ...model.trigger_words.map((text) =>
      h("button", { type: "button", class: "chip", title: t("create.insert_word"), onclick: () => onWord(text) }, text),
    ),
  );
}
