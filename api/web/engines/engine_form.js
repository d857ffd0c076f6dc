/** @file Creating an engine, with the answer whether its memory is there before it is made; and changing one. */

import { all, call } from "../app/api.js";
import { openDialog } from "../app/dialogs.js";
import { fill, h, set } from "../app/dom.js";
import { ApiError } from "../app/errors.js";
import { bytes } from "../app/format.js";
import { complain, notify } from "../app/notices.js";
import { t, word } from "../app/texts.js";
import { choice, field, formFault, numberInput, showFaults, valuesOf } from "../parts/field.js";
import { meter } from "../parts/meter.js";

const TYPING_MS = 350;

/**
 * What a form of an engine can be made of.
 * @typedef {{models: Record<string, {model_id: string, name: string}[]>, devices: string[], capabilities: any}}
 * Choices
 */

/**
 * @typedef {{device: string, name: string, total_bytes: number, promised_bytes: number, free_bytes: number,
 * needed_bytes: number, fits: boolean, images: number | null, taken_bytes: number | null}} DeviceFit
 */

/** @param {string | null} [checkpoint] chosen in advance */
export async function createEngine(checkpoint = null) {
  const choices = await readChoices();
  if (!choices) return;
  await openDialog(t("engines.create"), (close) => [formOf(choices, { checkpoint }, close, null)], { class: "wide" });
}

/** @param {Record<string, any>} engine */
export async function editEngine(engine) {
  const choices = await readChoices();
  if (!choices) return;
  const title = t("engines.edit_title", { name: engine.name ?? engine.engine_id });
  await openDialog(title, (close) => [formOf(choices, asSaid(engine), close, engine)], { class: "wide" });
}

/** @returns {Promise<Choices | null>} */
async function readChoices() {
  /** @type {Choices["models"]} */
  const models = { checkpoint: [], vae: [], lora: [], embedding: [], controlnet: [] };
  try {
    const [devices, capabilities] = await Promise.all([call("GET", "v1/devices"), call("GET", "v1/capabilities")]);
    for await (const model of all("v1/models", { status: "ready" })) models[model.model_type]?.push(model);
    const names = devices.items.map((/** @type {{device: string}} */ one) => one.device);
    return { models, devices: names, capabilities };
  } catch (error) {
    complain(error);
    return null;
  }
}

/**
 * An engine in the words of the form.
 * @param {Record<string, any>} engine
 */
function asSaid(engine) {
  return {
    ...engine,
    loras: engine.loras.map((/** @type {{model_id: string}} */ use) => use.model_id),
  };
}

/**
 * @param {Choices} choices
 * @param {Record<string, any>} values what the fields begin with
 * @param {() => void} close
 * @param {Record<string, any> | null} engine the one that is changed
 */
function formOf(choices, values, close, engine) {
  const memory = h("section", { class: "memory stack", "aria-live": "polite", "aria-label": t("engines.memory") });
  const form = h(
    "form",
    { class: "engine-form", novalidate: true },
    ...mainFields(choices),
    h("details", {}, h("summary", {}, t("engines.models")), h("div", { class: "grid" }, ...modelFields(choices))),
    h("details", {}, h("summary", {}, t("engines.defaults")), h("div", { class: "grid" }, ...defaultFields(choices))),
    h(
      "details",
      {},
      h("summary", {}, t("engines.running")),
      h("div", { class: "grid" }, ...runFields(engine === null)),
    ),
    memory,
    formFault(),
    h(
      "div",
      { class: "buttons" },
      h("button", { type: "button", onclick: () => close() }, t("dialog.cancel")),
      h("button", { class: "primary" }, engine ? t("engines.save") : t("engines.create_now")),
    ),
  );
  setValues(form, values);
  const before = valuesOf(form);
  const body = () => (engine ? changed(before, valuesOf(form)) : given(valuesOf(form)));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void send(form, body(), close, engine);
  });
  if (engine === null) followMemory(form, memory);
  else set(memory, { hidden: true });
  return form;
}

/**
 * @param {{model_id: string, name: string}[]} models
 * @returns {[string, string][]}
 */
const named = (models) => models.map(({ model_id: id, name }) => [id, name]);

/**
 * @param {string[]} values
 * @returns {[string, string][]}
 */
const same = (values) => values.map((value) => [value, value]);

/** @param {Choices} choices */
function mainFields({ models, devices, capabilities }) {
  return [
    field(
      t("engines.checkpoint"),
      choice("checkpoint", named(models.checkpoint ?? []), { required: true }),
      models.checkpoint?.length ? "" : t("engines.no_checkpoint"),
    ),
    h(
      "div",
      { class: "grid" },
      field(
        t("engines.name"),
        h("input", { name: "name", maxlength: 200, autocomplete: "off" }),
        t("engines.name_hint"),
      ),
      field(t("engines.device"), choice("device", [["auto", t("engines.auto")], ...same(devices)])),
      field(t("engines.dtype"), choice("dtype", [["", t("engines.chosen")], ...same(capabilities.variants)])),
      field(
        t("engines.max_batch"),
        numberInput("max_batch", { min: 1, max: 1024, step: 1 }),
        t("engines.max_batch_hint"),
      ),
    ),
  ];
}

/** @param {Choices} choices */
function modelFields({ models }) {
  const several = { multiple: true, size: 4 };
  return [
    field(t("engines.vae"), choice("vae", [["", t("engines.own_vae")], ...named(models.vae ?? [])])),
    field(t("engines.loras"), choice("loras", named(models.lora ?? []), several), t("engines.several")),
    field(t("engines.embeddings"), choice("embeddings", named(models.embedding ?? []), several)),
    field(t("engines.controls"), choice("control_models", named(models.controlnet ?? []), several)),
  ];
}

/** @param {Choices} choices */
function defaultFields({ capabilities }) {
  const { schedulers, scheduler_labels: labels, limits } = capabilities;
  /** @type {[string, string][]} */
  const listed = schedulers.map((/** @type {string} */ one) => [one, labels[one] ?? one]);
  const side = { min: 64, max: limits.max_side, step: 8 };
  return [
    field(t("engines.scheduler"), choice("scheduler", [["", t("engines.default")], ...listed])),
    field(t("engines.steps"), numberInput("steps", { min: 1, max: limits.max_steps, step: 1 })),
    field(t("engines.cfg"), numberInput("cfg", { min: 0 })),
    field(t("engines.width"), numberInput("width", side)),
    field(t("engines.height"), numberInput("height", side)),
    field(t("engines.clip_skip"), numberInput("clip_skip", { min: 1, max: 12, step: 1 })),
  ];
}

/** @param {boolean} isNew */
function runFields(isNew) {
  return [
    field(t("engines.keep_alive"), numberInput("keep_alive_s", { min: 0 }), t("engines.keep_alive_hint")),
    field(
      t("engines.replicas"),
      h("input", { name: "replicas", "data-kind": "range", inputmode: "numeric", autocomplete: "off" }),
      t("engines.replicas_hint"),
    ),
    field(t("engines.autostart"), h("input", { type: "checkbox", name: "autostart", ".checked": true })),
    ...(isNew
      ? [field(t("engines.start_now"), h("input", { type: "checkbox", name: "start", ".checked": true }))]
      : []),
  ];
}

/**
 * @param {HTMLFormElement} form
 * @param {Record<string, any>} values
 */
function setValues(form, values) {
  for (const [name, value] of Object.entries(values)) {
    const control = form.elements.namedItem(name);
    if (value === null || value === undefined) continue;
    if (control instanceof HTMLInputElement && control.type === "checkbox") control.checked = Boolean(value);
    else if (control instanceof HTMLSelectElement && control.multiple) {
      for (const option of control.options) option.selected = value.includes(option.value);
    } else if (control instanceof HTMLInputElement || control instanceof HTMLSelectElement) {
      control.value = typeof value === "object" ? `${value.min}-${value.max}` : String(value);
    }
  }
}

/**
 * What was said, without what was not.
 * @param {Record<string, any>} values
 */
function given(values) {
  const isGiven = (/** @type {any} */ value) => value !== null && !(Array.isArray(value) && value.length === 0);
  return Object.fromEntries(Object.entries(values).filter(([, value]) => isGiven(value)));
}

/**
 * What is said now, and was not before: what somebody did not touch stays as it is, also what the form cannot show.
 * @param {Record<string, any>} before
 * @param {Record<string, any>} now
 */
function changed(before, now) {
  return Object.fromEntries(
    Object.entries(now).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(before[name])),
  );
}

/**
 * @param {HTMLFormElement} form
 * @param {Record<string, any>} body
 * @param {() => void} close
 * @param {Record<string, any> | null} engine
 */
async function send(form, body, close, engine) {
  const button = form.querySelector("button.primary");
  if (button) set(button, { disabled: true });
  showFaults(form);
  try {
    if (engine === null) {
      const made = await call("POST", "v1/engines", { body });
      notify(t("engines.created", { name: made.name ?? made.engine_id }));
    } else {
      const { reloads } = await call("PATCH", `v1/engines/${engine.engine_id}`, { body });
      notify(reloads ? t("engines.reloads") : t("engines.saved"));
    }
    close();
  } catch (error) {
    showFaults(form, error);
  } finally {
    if (button) set(button, { disabled: false });
  }
}

/**
 * Ask, whenever something has changed, how the engine would fit.
 * @param {HTMLFormElement} form
 * @param {HTMLElement} memory
 */
function followMemory(form, memory) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let asking = new AbortController();
  const ask = async () => {
    asking.abort();
    asking = new AbortController();
    const body = { ...given(valuesOf(form)), start: false };
    if (!("checkpoint" in body)) return;
    const query = { validate_only: true };
    try {
      showFit(memory, await call("POST", "v1/engines", { body, query, once: true, signal: asking.signal }));
      showFaults(form);
    } catch (error) {
      if (!(error instanceof ApiError)) return;
      fill(memory);
      if (error.fields.length > 0) showFaults(form, error, { isTyping: true });
    }
  };
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => void ask(), TYPING_MS);
  });
  void ask();
}

/**
 * @param {HTMLElement} memory
 * @param {{fits: boolean, closes: string[], devices: DeviceFit[], detail: string | null, memory: any}} checked
 */
function showFit(memory, { fits, closes, devices, detail, memory: shortage }) {
  const says = fits ? t(closes.length > 0 ? "engines.fits_closing" : "engines.fits", { count: closes.length }) : detail;
  fill(
    memory,
    h("p", { class: fits ? "fits" : "trouble" }, says),
    ...devices.map(fitOf),
    ...(shortage?.remedies?.length
      ? [
          h(
            "ul",
            { class: "remedies", "aria-label": t("engines.remedies") },
            ...shortage.remedies.map((/** @type {{text: string, what: string}} */ one) =>
              h("li", {}, h("span", { class: "badge" }, word("engines.remedy", one.what)), " ", one.text),
            ),
          ),
        ]
      : []),
  );
}

/** @param {DeviceFit} fit */
function fitOf(fit) {
  const taken = fit.taken_bytes ?? fit.needed_bytes;
  const other = Math.max(0, fit.total_bytes - fit.promised_bytes - fit.free_bytes);
  const says = fit.fits
    ? t("engines.would_get", { size: bytes(taken), count: fit.images ?? 1 })
    : t("engines.needs", { size: bytes(fit.needed_bytes), free: bytes(fit.free_bytes) });
  return h(
    "div",
    { class: "fit" },
    meter(
      `${fit.device} · ${fit.name}`,
      fit.total_bytes,
      [
        { kind: "promised", amount: fit.promised_bytes, text: t("engines.promised") },
        { kind: "other", amount: other, text: t("engines.other") },
        { kind: fit.fits ? "new" : "lacking", amount: Math.min(taken, fit.free_bytes), text: t("engines.this_one") },
      ],
      t("engines.available"),
    ),
    h("p", { class: "small" }, says),
  );
}
