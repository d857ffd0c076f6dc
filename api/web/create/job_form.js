/** @file The form of a job: a control for each field, what stands in it, and what is wrong with it. */

import { h, set } from "../app/dom.js";
import { t, word } from "../app/texts.js";
import { controlFor, labelOf } from "./field_controls.js";
import { groupsOf, MAIN, MODEL_TYPES } from "./field_table.js";
import { isGiven } from "./job_request.js";
import { modelChips, oneModel } from "./model_chips.js";
import { modelChoice } from "./model_choice.js";
import { promptBox } from "./prompt_box.js";
import { seedField, sizeFields } from "./size_and_seed.js";

/** @typedef {import("./field_controls.js").Control} Control */
/** @typedef {import("./field_schema.js").FieldSpec} FieldSpec */
/** @typedef {import("./field_table.js").Role} Role */
/** @typedef {{name: string, fields: string[], needs?: Role[], element: HTMLDetailsElement, count: HTMLElement}} Folded */

/** Where the server names a field otherwise than the form does. */
const SHOWN_AT = /** @type {Record<string, string>} */ ({ engine_id: "checkpoint", engine: "checkpoint" });

/** Dispatches `change` whenever somebody has changed a field. */
export class JobForm extends EventTarget {
  /** @type {Record<string, any>} what is given, by the names of the API */
  fields = {};
  /** @type {Map<string, Control>} */
  #controls = new Map();
  /** @type {Folded[]} */
  #groups = [];
  /** @type {Set<Role>} */
  #roles = new Set();

  /**
   * @param {Map<string, FieldSpec>} specs
   * @param {import("./model_lists.js").ModelLists} lists
   * @param {{images: HTMLElement, natives: Record<string, number>, lastSeed: () => number | null,
   *   signal: AbortSignal}} options images: what stands between the main fields and the folded ones; natives: as
   *   sizeFields takes them
   */
  constructor(specs, lists, { images, natives, lastSeed, signal }) {
    super();
    this.specs = specs;
    this.lists = lists;
    this.signal = signal;
    const box = (/** @type {string} */ name) =>
      promptBox(name, { onInput: (value) => this.#told(name, value), onPick: (id) => this.#need(id) });
    const [prompt, negative] = [box("prompt"), box("negative_prompt")];
    this.prompts = [prompt, negative];
    const model = modelChoice(lists, (value) => this.#toldAll(value), signal);
    this.size = sizeFields(this.#spec("width"), this.#spec("height"), {
      natives,
      onInput: (name, value) => this.#told(name, value),
    });
    const seed = seedField(this.#spec("seed"), { onInput: (value) => this.#told("seed", value), lastOf: lastSeed });
    const loras = this.#chips("loras", prompt.insert);
    const { width, height } = this.size;
    const special = { prompt, negative_prompt: negative, checkpoint: model, width, height, seed, loras };
    for (const [name, control] of Object.entries(special)) this.#controls.set(name, control);
    this.general = h("p", { class: "fault", role: "alert" });
    this.element = h(
      "div",
      { class: "stack fields" },
      prompt.element,
      negative.element,
      model.element,
      this.size.element,
      h("div", { class: "quad" }, ...MAIN.map((name) => this.#control(name).element)),
      seed.element,
      loras.element,
      images,
      this.#filter(),
      ...groupsOf(specs.keys()).map((group) => this.#fold(group)),
    );
    lists.addEventListener("change", () => this.#followModel(), { signal });
    this.show(new Set());
  }

  /**
   * Put these values into the form, in place of what was there.
   * @param {Record<string, any>} fields
   */
  write(fields) {
    this.fields = Object.fromEntries(
      Object.entries(fields).filter(([, value]) => value !== null && value !== undefined),
    );
    for (const [name, control] of this.#controls) {
      control.write(name === "checkpoint" ? this.fields : this.fields[name]);
    }
    this.#count();
    this.#followModel();
    this.#readPrompts();
  }

  /** An embedding that a prompt names is one of the job's. @param {string} id */
  #need(id) {
    const embeddings = this.fields["embeddings"] ?? [];
    if (embeddings.includes(id)) return;
    this.#controls.get("embeddings")?.write([...embeddings, id]);
    this.#told("embeddings", [...embeddings, id]);
  }

  /** Have the prompts read as the job's will be. */
  #readPrompts() {
    const { engine_id: id, engine, checkpoint = null, long_prompt_technique: technique = null } = this.fields;
    const { embeddings = [], wildcards = null } = this.fields;
    const reading = { engine: id ?? engine ?? null, checkpoint, technique, wildcards, embeddings };
    for (const one of this.prompts) one.readBy(reading);
  }

  /** Whether the server makes choices in a prompt, so that each image should have its own. */
  get isTemplate() {
    return this.prompts.some((one) => one.isTemplate());
  }

  /**
   * Show the groups for the images that are there.
   * @param {Set<Role>} roles
   */
  show(roles) {
    for (const group of this.#groups) {
      const isNew = group.needs?.some((role) => roles.has(role) && !this.#roles.has(role)) ?? false;
      if (isNew) group.element.open = true;
      group.element.hidden = !(group.needs?.some((role) => roles.has(role)) ?? true);
    }
    this.#roles = new Set(roles);
  }

  /**
   * Say beside each field what is wrong with it.
   * @param {{field: string, problem: string}[]} faults
   * @param {string} [general] what belongs to no field
   */
  blame(faults, general = "") {
    const rest = [general];
    /** @type {Map<string, string[]>} */
    const byName = new Map();
    for (const { field, problem } of faults) {
      const root = /^[^.[]*/.exec(field)?.[0] ?? "";
      const name = SHOWN_AT[root] ?? root;
      if (this.#controls.has(name)) byName.set(name, [...(byName.get(name) ?? []), problem]);
      else rest.push(`${labelOf(root)}: ${problem}`);
    }
    for (const [name, control] of this.#controls) control.fault((byName.get(name) ?? []).join("\n"));
    this.general.textContent = rest.filter((text) => text !== "").join("\n");
    return byName;
  }

  /** Lead to the first field that is wrong. */
  leadToFault() {
    const wrong = this.element.querySelector("[aria-invalid=true]");
    const group = wrong?.closest("details");
    if (group) set(group, { open: true, hidden: false });
    const name = wrong?.closest("[data-field]")?.getAttribute("data-field");
    if (name) this.#controls.get(name)?.focus?.();
  }

  /**
   * Say what counts where nothing is given.
   * @param {Record<string, any> | null} engine the one that the job would go to
   */
  otherwise(engine) {
    for (const [name, control] of this.#controls) {
      if (name in this.size || name === "seed") continue;
      control.otherwise?.(engine?.[name] ?? this.specs.get(name)?.initial ?? null);
    }
    const native = this.lists.checkpointOf(this.fields)?.native_size ?? null;
    this.size.otherwise({ width: engine?.["width"] ?? native, height: engine?.["height"] ?? native });
  }

  #followModel() {
    this.size.offer(this.lists.checkpointOf(this.fields));
  }

  /**
   * @param {string} name
   * @param {any} value
   */
  #told(name, value) {
    this.#toldAll({ [name]: value });
  }

  /** @param {Record<string, any>} values */
  #toldAll(values) {
    for (const [name, value] of Object.entries(values)) {
      if (isGiven(value)) this.fields[name] = value;
      else delete this.fields[name];
    }
    if ("checkpoint" in values) this.#followModel();
    this.#count();
    this.#readPrompts();
    this.dispatchEvent(new Event("change"));
  }

  /**
   * @param {string} name
   * @returns {FieldSpec}
   */
  #spec(name) {
    const spec = this.specs.get(name);
    if (spec === undefined) throw new Error(`the API has no field ${name}`);
    return spec;
  }

  /**
   * @param {string} name
   * @returns {Control}
   */
  #control(name) {
    const spec = this.#spec(name);
    const onInput = (/** @type {any} */ value) => this.#told(name, value);
    const baseOf = () => this.#base();
    const control =
      spec.kind === "models"
        ? this.#chips(name)
        : name in MODEL_TYPES
          ? oneModel(name, this.lists, { onInput, baseOf, signal: this.signal })
          : controlFor(spec, onInput);
    control.otherwise?.(spec.initial);
    this.#controls.set(name, control);
    return control;
  }

  /**
   * @param {string} name
   * @param {(word: string) => void} [onWord]
   */
  #chips(name, onWord) {
    const options = { baseOf: () => this.#base(), signal: this.signal, ...(onWord ? { onWord } : {}) };
    return modelChips(name, this.lists, { onInput: (value) => this.#told(name, value), ...options });
  }

  #base() {
    return this.lists.checkpointOf(this.fields)?.model_base ?? null;
  }

  /** @param {import("./field_table.js").Group} group */
  #fold(group) {
    const count = h("span", { class: "badge", hidden: true });
    const element = h(
      "details",
      { class: "group", "data-group": group.name },
      h("summary", {}, word("field_group", group.name), " ", count),
      h("div", { class: "stack" }, ...group.fields.map((name) => this.#control(name).element)),
    );
    this.#groups.push({ ...group, element, count });
    return element;
  }

  /** Tell of each group how much is set in it. */
  #count() {
    for (const { fields, count } of this.#groups) {
      const set = fields.filter((name) => isGiven(this.fields[name])).length;
      count.hidden = set === 0;
      count.textContent = t("create.fields_set", { count: set });
    }
  }

  /** A field that opens what it finds. */
  #filter() {
    const input = h("input", {
      type: "search",
      "aria-label": t("create.find_setting"),
      placeholder: t("create.find_setting"),
    });
    /** @type {Set<Element> | null} */
    let opened = null;
    input.addEventListener("input", () => {
      const wanted = input.value.trim().toLowerCase();
      opened ??= new Set(this.#groups.map(({ element }) => element).filter((element) => element.open));
      for (const { element } of this.#groups) {
        const fields = [...element.querySelectorAll("[data-field]")];
        for (const field of fields) set(field, { hidden: !isFound(field, wanted) });
        if (wanted === "") element.open = opened.has(element);
        else set(element, { open: fields.some((field) => isFound(field, wanted)) });
      }
      if (wanted === "") {
        opened = null;
        this.show(this.#roles);
      } else {
        for (const { element } of this.#groups) element.hidden = !element.open;
      }
    });
    return input;
  }
}

/**
 * @param {Element} field
 * @param {string} wanted
 */
function isFound(field, wanted) {
  return `${field.getAttribute("data-field")} ${field.textContent}`.toLowerCase().includes(wanted);
}
