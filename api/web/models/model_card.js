/** @file One model as a card: what it is, what it needs, what is wrong with it, and what can be done about it. */

import { address, call } from "../app/api.js";
import { deleting } from "../app/dialogs.js";
import { fill, h } from "../app/dom.js";
import { bytes, date, number } from "../app/format.js";
import { complain, notify } from "../app/notices.js";
import { addressOf } from "../app/router.js";
import { session } from "../app/session.js";
import { t, word } from "../app/texts.js";
import { copyButton } from "../parts/copy.js";
import { progressOf, showProgress } from "../parts/meter.js";

/**
 * @typedef {{model_id: string, name: string, status: "downloading" | "ready" | "error", path: string, error:
 * {code: string, detail: string} | null, model_type: string, model_base: string | null, variant: string | null,
 * tags: string[], trigger_words: string[], control_type: string | null, sha256: string | null, size_bytes: number
 * | null, progress: import("../parts/meter.js").BytesProgress | null, prediction_type: string | null, parameters:
 * number | null, memory_bytes: number | null, native_size: number | null, revision: string | null, warnings:
 * string[], thumbnail: string | null, created_at: string}} Model
 */

const BADGES = { downloading: "busy", ready: "good", error: "bad" };

/**
 * @param {Model} model
 * @returns {HTMLLIElement}
 */
export function cardOf(model) {
  return h(
    "li",
    { class: "card model", "aria-labelledby": `model-${model.model_id}` },
    h("div", { class: "picture" }),
    h("div", { class: "body" }, h("div", { class: "about stack" }), progressOf()),
    h("div", { class: "deeds row" }),
  );
}

/**
 * @param {HTMLElement} card
 * @param {Model} model
 */
export function updateCard(card, model) {
  const text = JSON.stringify(model) + String(session.isAdmin);
  if (card.dataset.shown === text) return; // so that focus stays where it is
  card.dataset.shown = text;
  const isOpen = card.querySelector("details")?.open ?? false;
  fill(part(card, ".picture"), pictureOf(model));
  fill(part(card, ".about"), ...aboutOf(model, isOpen));
  showModelProgress(card, model.progress, model.name);
  const deeds = part(card, ".deeds");
  const isFocused = deeds.contains(document.activeElement);
  fill(deeds, ...deedsOf(model));
  if (isFocused) deeds.querySelector("button")?.focus();
}

/**
 * @param {Element} card
 * @param {Model["progress"]} progress
 * @param {string} name
 */
export function showModelProgress(card, progress, name) {
  showProgress(part(card, ".progress"), progress, t("models.progress_of", { name }));
}

/**
 * @param {Element} card
 * @param {string} selector
 * @returns {Element}
 */
function part(card, selector) {
  return card.querySelector(selector) ?? card;
}

/** @param {Model} model */
function pictureOf(model) {
  if (model.thumbnail === null) return h("span", { class: "none", "aria-hidden": "true" }, model.name.slice(0, 1));
  return h("img", { src: address(model.thumbnail.slice(1)), alt: "", loading: "lazy", decoding: "async" });
}

/**
 * @param {Model} model
 * @param {boolean} isOpen
 * @returns {HTMLElement[]}
 */
function aboutOf(model, isOpen) {
  const base = model.model_base === null ? null : word("models.base_name", model.model_base);
  const size = model.memory_bytes ?? model.size_bytes;
  const facts = [word("models.type", model.model_type), base, model.control_type, size === null ? null : bytes(size)];
  return [
    h(
      "div",
      { class: "row" },
      h("h2", { id: `model-${model.model_id}` }, model.name),
      h("span", { class: `badge ${BADGES[model.status]}` }, word("models.state", model.status)),
    ),
    h("p", { class: "muted small" }, facts.filter((one) => one).join(" · ")),
    ...(model.error ? [h("p", { class: "trouble" }, model.error.detail)] : []),
    ...model.warnings.map((warning) => h("p", { class: "warned small" }, warning)),
    ...(model.trigger_words.length > 0 ? [wordsOf(model)] : []),
    detailsOf(model, isOpen),
  ];
}

/** @param {Model} model */
function wordsOf(model) {
  const words = model.trigger_words;
  return h(
    "div",
    { class: "row words" },
    h("span", { class: "small muted" }, t("models.trigger_words")),
    ...words.map((one) => copyButton(one, t("models.copy_word", { word: one }), h("span", { class: "chip" }, one))),
    words.length > 1 ? copyButton(words.join(", "), t("models.copy_words"), t("models.copy_all")) : null,
  );
}

/**
 * @param {Model} model
 * @param {boolean} isOpen
 */
function detailsOf(model, isOpen) {
  /** @type {[string, string | null][]} */
  const rows = [
    [t("models.address"), model.path],
    [t("models.tags"), model.tags.join(", ") || null],
    [t("models.precision"), model.variant],
    [t("models.file_size"), model.size_bytes === null ? null : bytes(model.size_bytes)],
    [t("models.memory"), model.memory_bytes === null ? null : bytes(model.memory_bytes)],
    [t("models.parameters"), model.parameters === null ? null : number(model.parameters)],
    [t("models.native_size"), model.native_size === null ? null : `${model.native_size} px`],
    [t("models.prediction"), model.prediction_type],
    [t("models.revision"), model.revision],
    [t("models.sha256"), model.sha256],
    [t("models.id"), model.model_id],
    [t("models.added"), date(model.created_at)],
  ];
  const given = rows.filter(([, value]) => value !== null);
  return h(
    "details",
    { open: isOpen },
    h("summary", {}, t("models.details")),
    h("dl", { class: "facts" }, ...given.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
  );
}

/**
 * @param {Model} model
 * @returns {HTMLElement[]}
 */
function deedsOf(model) {
  /** @type {HTMLElement[]} */
  const deeds = [];
  if (!session.isAdmin) return deeds;
  if (model.status === "ready" && model.model_type === "checkpoint") {
    const href = addressOf("engines", { new: model.model_id });
    deeds.push(h("a", { class: "button", href }, t("models.create_engine")));
  }
  if (model.status === "error") deeds.push(button(t("models.retry"), () => retry(model)));
  if (model.status === "ready") deeds.push(button(t("models.inspect_again"), () => retry(model)));
  deeds.push(button(t("models.delete"), () => remove(model)));
  return deeds;
}

/**
 * @param {string} text
 * @param {() => Promise<void>} run
 */
function button(text, run) {
  return h("button", { type: "button", class: "quiet", onclick: () => void run() }, text);
}

/** @param {Model} model */
async function retry(model) {
  try {
    await call("POST", `v1/models/${model.model_id}/retry`);
  } catch (error) {
    complain(error);
  }
}

/** @param {Model} model */
function remove({ model_id: id, name }) {
  const texts = {
    title: t("models.delete_title", { name }),
    text: t("models.delete_text"),
    choice: t("models.delete_files"),
    yes: t("models.delete"),
  };
  return deleting(texts, async (files) => {
    await call("DELETE", `v1/models/${id}`, { query: { files: files || null } });
    notify(t("models.deleted", { name }));
  });
}
