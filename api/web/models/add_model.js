/** @file Adding a model: by its address, or as a file of this computer. */

import { call } from "../app/api.js";
import { openDialog } from "../app/dialogs.js";
import { h, set } from "../app/dom.js";
import { complain, notify } from "../app/notices.js";
import { t, word } from "../app/texts.js";
import { choice, field, formFault, showFaults, valuesOf } from "../parts/field.js";
import { uploads } from "./uploads.js";

const REPOSITORY = /^[\w.-]+\/[\w.-]+$/;

/** What may be said of a model besides its source; the server finds out the rest. */
const OPTIONAL = /** @type {const} */ (["model_base", "variant", "tags", "trigger_words", "sha256", "control_type"]);

/**
 * @param {{model_types: string[], model_bases: string[], variants: string[], control_types: string[]}} capabilities
 * @param {{isUpload?: boolean}} [options]
 */
export async function addModel(capabilities, { isUpload = false } = {}) {
  const title = isUpload ? t("models.upload") : t("models.add");
  await openDialog(title, (close) => [formOf(capabilities, isUpload, close)]);
}

/**
 * @param {Parameters<typeof addModel>[0]} capabilities
 * @param {boolean} isUpload
 * @param {() => void} close
 */
function formOf(capabilities, isUpload, close) {
  const source = isUpload
    ? h("input", { type: "file", name: "file", required: true })
    : h("input", { name: "path", required: true, autocomplete: "off", spellcheck: "false", autofocus: true });
  const form = h(
    "form",
    { novalidate: true },
    isUpload ? field(t("models.file"), source) : field(t("models.address"), source, t("models.address_hint")),
    field(t("models.type_field"), choice("model_type", optionsOf("models.type", capabilities.model_types))),
    field(t("models.name"), h("input", { name: "name", maxlength: 200, autocomplete: "off" }), t("models.name_hint")),
    h("details", {}, h("summary", {}, t("models.more")), h("div", { class: "stack" }, ...moreFields(capabilities))),
    formFault(),
    h(
      "div",
      { class: "buttons" },
      h("button", { type: "button", onclick: () => close() }, t("dialog.cancel")),
      h("button", { class: "primary" }, isUpload ? t("models.upload_now") : t("models.add_now")),
    ),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void (isUpload ? upload(form, source, close) : register(form, close));
  });
  return form;
}

/** @param {Parameters<typeof addModel>[0]} capabilities */
function moreFields({ model_bases: bases, variants, control_types: controls }) {
  /** @type {[string, string]} */
  const found = ["", t("models.detected")];
  return [
    field(t("models.base"), choice("model_base", [found, ...optionsOf("models.base_name", bases)])),
    field(t("models.precision"), choice("variant", [found, ...optionsOf("models.variant", variants)])),
    field(t("models.tags"), h("input", { name: "tags", "data-kind": "list" }), t("models.commas")),
    field(t("models.trigger_words"), h("input", { name: "trigger_words", "data-kind": "list" }), t("models.commas")),
    field(t("models.sha256"), h("input", { name: "sha256", autocomplete: "off" }), t("models.sha256_hint")),
    field(t("models.control_type"), choice("control_type", [found, ...optionsOf("models.control", controls)])),
  ];
}

/**
 * @param {string} group
 * @param {string[]} values
 * @returns {[string, string][]}
 */
function optionsOf(group, values) {
  return values.map((value) => [value, word(group, value)]);
}

/**
 * @param {HTMLFormElement} form
 * @param {() => void} close
 */
async function register(form, close) {
  const { path, name, model_type, ...others } = valuesOf(form);
  const source = String(path ?? "");
  const body = {
    path: REPOSITORY.test(source) ? `hf://${source}` : source,
    name: name ?? nameIn(source),
    model_type,
    ...given(others),
  };
  showFaults(form);
  busy(form, true);
  try {
    const model = await call("POST", "v1/models", { body });
    notify(t("models.is_added", { name: model.name }));
    close();
  } catch (error) {
    showFaults(form, error);
  } finally {
    busy(form, false);
  }
}

/**
 * Begin an upload, and go on with the page: its progress is in the list.
 * @param {HTMLFormElement} form
 * @param {HTMLInputElement} source
 * @param {() => void} close
 */
async function upload(form, source, close) {
  const file = source.files?.[0];
  if (!file) {
    set(source, { "aria-invalid": "true" });
    return source.focus();
  }
  const { name, model_type, ...others } = valuesOf(form);
  const fields = { model_type, ...(name ? { name } : {}), ...given(others) };
  close();
  try {
    const model = await uploads.send(file, /** @type {Record<string, string | string[]>} */ (fields));
    notify(t("models.is_uploaded", { name: model.name }));
  } catch (error) {
    complain(error);
  }
}

/** @param {Record<string, any>} values */
function given(values) {
  return Object.fromEntries(
    OPTIONAL.map((name) => [name, values[name]]).filter(([, value]) => value && value.length > 0),
  );
}

/**
 * The name of a model nobody has named: the last part of its address.
 * @param {string} source
 * @returns {string}
 */
function nameIn(source) {
  const last = source.split(/[?#]/)[0]?.replace(/\/+$/, "").split("/").pop() ?? "";
  return last.replace(/\.(safetensors|ckpt|pt|pth|bin|onnx)$/i, "").slice(0, 200) || source.slice(0, 200);
}

/**
 * @param {HTMLFormElement} form
 * @param {boolean} isBusy
 */
function busy(form, isBusy) {
  set(form, { "aria-busy": isBusy ? "true" : null });
  for (const button of form.querySelectorAll("button.primary")) set(button, { disabled: isBusy });
}
