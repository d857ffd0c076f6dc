/** @file What images are looked for by: a form whose values are the address's, and the API's parameters. */

import { all } from "../app/api.js";
import { fill, h } from "../app/dom.js";
import { complain } from "../app/notices.js";
import { t } from "../app/texts.js";

/** @typedef {import("./image_list.js").Filters} Filters */

const TYPING_MS = 350;
const DAY_MS = 86_400_000;
/** The fields, by their names in the address: the same as the API's, but for `model`, `since` and `until`. */
const NAMES = ["prompt", "gone", "favorite", "engine", "model", "tag", "since", "until", "width", "height"];
const MORE = NAMES.slice(3);

/** Dispatches `change`. */
export class FilterBar extends EventTarget {
  #timer = 0;
  /** What was looked for last. */
  #said = "";
  #models = h("select", { name: "model" });
  #engines = h("select", { name: "engine" });
  #more = h("details", { class: "more" });
  #count = h("span", { class: "badge busy", hidden: true });

  /** @param {AbortSignal} signal */
  constructor(signal) {
    super();
    this.signal = signal;
    this.#more.append(h("summary", {}, t("gallery.filters"), " ", this.#count), this.#moreFields());
    this.element = h(
      "form",
      { class: "filters", role: "search", "aria-label": t("gallery.filters") },
      field("gallery.prompt", h("input", { type: "search", name: "prompt", placeholder: t("gallery.prompt_hint") })),
      field(
        "gallery.shown",
        select("gone", [
          ["", "gallery.there"],
          ["true", "gallery.gone_only"],
          ["any", "gallery.all"],
        ]),
      ),
      field(
        "gallery.favorites",
        select("favorite", [
          ["", "gallery.any"],
          ["true", "gallery.only_favorites"],
        ]),
      ),
      this.#more,
    );
    this.element.addEventListener("submit", (event) => (event.preventDefault(), this.#changed()));
    this.element.addEventListener("change", () => this.#changed());
    this.element.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#changed(), TYPING_MS);
    });
    signal.addEventListener("abort", () => clearTimeout(this.#timer));
    this.#more.addEventListener("toggle", () => void this.#readChoices().catch(complain), { once: true });
  }

  #moreFields() {
    const clear = h("button", { type: "button", class: "quiet", onclick: () => this.#clear() }, t("gallery.clear"));
    fill(this.#engines, h("option", { value: "" }, t("gallery.any")));
    fill(this.#models, h("option", { value: "" }, t("gallery.any")));
    return h(
      "div",
      { class: "fields" },
      field("gallery.engine", this.#engines),
      field("gallery.model", this.#models),
      field("gallery.tag", h("input", { type: "text", name: "tag" })),
      field("gallery.since", h("input", { type: "date", name: "since" })),
      field("gallery.until", h("input", { type: "date", name: "until" })),
      field("gallery.width", h("input", { type: "number", name: "width", min: 1, step: 1 })),
      field("gallery.height", h("input", { type: "number", name: "height", min: 1, step: 1 })),
      clear,
    );
  }

  /** What is looked for, as the address says it. @returns {Filters} */
  get query() {
    return Object.fromEntries(NAMES.map((name) => [name, this.#input(name).value || null]));
  }

  /**
   * Look for what an address says.
   * @param {URLSearchParams} query
   */
  follow(query) {
    for (const name of NAMES) {
      const input = this.#input(name);
      const value = query.get(name) ?? "";
      if (input instanceof HTMLSelectElement && ![...input.options].some((option) => option.value === value)) {
        input.append(h("option", { value }, value)); // its choices are read later
      }
      input.value = value;
    }
    this.#said = JSON.stringify(this.query);
    this.#showCount();
    if (MORE.some((name) => this.#input(name).value)) this.#more.open = true;
  }

  /** The same, as the API says it. @returns {Filters} */
  get filters() {
    const { model, since, until, gone, ...same } = this.query;
    return {
      ...same,
      gone: gone === "any" ? null : (gone ?? "false"),
      ...modelFilter(model ?? null),
      created_after: since ? new Date(`${since}T00:00`).toISOString() : null,
      created_before: until ? new Date(new Date(`${until}T00:00`).getTime() + DAY_MS).toISOString() : null,
    };
  }

  /** Whether anything narrows the list. */
  get isNarrowed() {
    return NAMES.some((name) => this.#input(name).value);
  }

  /** @param {string} name */
  #input(name) {
    return /** @type {HTMLInputElement | HTMLSelectElement} */ (this.element.elements.namedItem(name));
  }

  #clear() {
    for (const name of NAMES) this.#input(name).value = "";
    this.#changed();
    this.#input("prompt").focus();
  }

  #changed() {
    clearTimeout(this.#timer);
    const said = JSON.stringify(this.query);
    if (said === this.#said || !this.element.reportValidity()) return;
    this.#said = said;
    this.#showCount();
    this.dispatchEvent(new Event("change"));
  }

  #showCount() {
    const count = MORE.filter((name) => this.#input(name).value).length;
    this.#count.hidden = count === 0;
    this.#count.textContent = String(count);
  }

  /** Offer the engines and models that there are. */
  async #readChoices() {
    await Promise.all([this.#offer(this.#engines, "v1/engines", {}), this.#offerModels()]);
  }

  async #offerModels() {
    await this.#offer(this.#models, "v1/models", { model_type: "checkpoint" });
    await this.#offer(this.#models, "v1/models", { model_type: "lora" }, "lora:");
  }

  /**
   * @param {HTMLSelectElement} select
   * @param {string} path
   * @param {Record<string, string>} query
   * @param {string} [prefix] of the values
   */
  async #offer(select, path, query, prefix = "") {
    const chosen = select.value;
    for await (const { name, engine_id: engineId } of all(path, query, this.signal)) {
      const value = `${prefix}${name ?? engineId}`;
      if (![...select.options].some((option) => option.value === value)) select.append(h("option", { value }, value));
    }
    select.value = chosen;
  }
}

/**
 * @param {string | null} model
 * @returns {Filters}
 */
function modelFilter(model) {
  if (model === null) return {};
  return model.startsWith("lora:") ? { lora: model.slice(5) } : { checkpoint: model };
}

/**
 * @param {import("../app/texts.js").TextKey} text
 * @param {HTMLElement} input
 */
function field(text, input) {
  return h("label", { class: "field" }, h("span", {}, t(text)), input);
}

/**
 * @param {string} name
 * @param {[string, import("../app/texts.js").TextKey][]} options
 */
function select(name, options) {
  return h("select", { name }, ...options.map(([value, text]) => h("option", { value }, t(text))));
}
