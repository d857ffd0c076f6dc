/** @file The view Models: what there is, what it is, and adding more. */

import { call } from "../app/api.js";
import { h, keep, set } from "../app/dom.js";
import { live } from "../app/live.js";
import { complain } from "../app/notices.js";
import { replaceQuery } from "../app/router.js";
import { session } from "../app/session.js";
import { t, word } from "../app/texts.js";
import { View } from "../app/view.js";
import { choice } from "../parts/field.js";
import { progressOf, showProgress } from "../parts/meter.js";
import { addModel } from "./add_model.js";
import { cardOf, showModelProgress, updateCard } from "./model_card.js";
import { ScanPanel } from "./scan_panel.js";
import { uploads } from "./uploads.js";

/** @typedef {import("./model_card.js").Model} Model */

const PAGE = 60;
const TYPING_MS = 250;
const STATES = ["ready", "downloading", "error"];

class ModelsView extends View {
  /** @type {Map<string, Model>} */
  #models = new Map();
  /** @type {string | null} */
  #next = null;
  #turn = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  soon;
  #isBuilt = false;

  start() {
    this.replaceChildren(h("h1", {}, t("nav.models")));
    void this.#build();
  }

  async #build() {
    const capabilities = await call("GET", "v1/capabilities", { signal: this.signal });
    const scan = new ScanPanel(this.signal);
    this.list = h("ul", { class: "cards", "aria-label": t("nav.models") });
    this.uploads = h("ul", { class: "uploads stack", "aria-label": t("models.uploads") });
    this.state = h("p", { class: "empty", role: "status" });
    this.more = h("button", { type: "button", hidden: true, onclick: () => void this.#readMore() }, t("models.next"));
    this.filters = this.#filtersOf(capabilities);
    const deeds = h(
      "div",
      { class: "row" },
      h("button", { type: "button", class: "primary", onclick: () => void addModel(capabilities) }, t("models.add")),
      h(
        "button",
        { type: "button", onclick: () => void addModel(capabilities, { isUpload: true }) },
        t("models.upload"),
      ),
      scan.button,
    );
    const showDeeds = () => set(deeds, { hidden: !session.isAdmin });
    showDeeds();
    session.addEventListener("change", showDeeds, { signal: this.signal });
    this.replaceChildren(
      h("div", { class: "row apart head" }, h("h1", {}, t("nav.models")), deeds),
      this.filters,
      scan.element,
      this.uploads,
      this.list,
      this.state,
      h("div", { class: "row" }, this.more),
    );
    this.#isBuilt = true;
    this.#follow();
    this.show(new URLSearchParams(location.hash.split("?")[1] ?? ""));
  }

  #follow() {
    live.on(["reset"], () => void this.#read(), this.signal);
    live.on(["model"], (change) => void this.#readOne(change.id), this.signal);
    live.on(["model_progress"], (progress) => this.#showProgress(progress), this.signal);
    uploads.addEventListener("change", () => this.#showUploads(), { signal: this.signal });
    this.#showUploads();
  }

  /** @param {{model_types: string[], model_bases: string[]}} capabilities */
  #filtersOf({ model_types: types, model_bases: bases }) {
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    const apply = () => {
      clearTimeout(timer);
      replaceQuery(this.#query());
      void this.#read();
    };
    const typed = () => {
      clearTimeout(timer);
      timer = setTimeout(apply, TYPING_MS);
    };
    const search = t("models.search");
    /** @param {string} name @param {string} group @param {string[]} values @param {string} any @param {string} label */
    const filter = (name, group, values, any, label) =>
      choice(name, [["", any], ...values.map((one) => /** @type {[string, string]} */ ([one, word(group, one)]))], {
        "aria-label": label,
        onchange: apply,
      });
    return h(
      "form",
      { class: "filters", role: "search", onsubmit: (/** @type {Event} */ event) => (event.preventDefault(), apply()) },
      h("input", { type: "search", name: "search", placeholder: search, "aria-label": search, oninput: typed }),
      filter("type", "models.type", types, t("models.any_type"), t("models.type_field")),
      filter("base", "models.base_name", bases, t("models.any_base"), t("models.base")),
      filter("status", "models.state", STATES, t("models.any_state"), t("models.state_field")),
    );
  }

  /** @returns {Record<string, string>} */
  #query() {
    const form = /** @type {HTMLFormElement} */ (this.filters);
    return Object.fromEntries(/** @type {[string, string][]} */ ([...new FormData(form)]));
  }

  /** @param {URLSearchParams} query */
  show(query) {
    if (!this.#isBuilt || !this.filters) return;
    for (const control of this.filters.elements) {
      if ("name" in control && "value" in control) Reflect.set(control, "value", query.get(String(control.name)) ?? "");
    }
    void this.#read();
  }

  /** @param {string | null} after */
  #page(after) {
    const { search, type, base, status } = this.#query();
    const query = { search, model_type: type, model_base: base, status, after, limit: PAGE };
    return call("GET", "v1/models", { query, signal: this.signal });
  }

  async #read() {
    const turn = (this.#turn += 1);
    try {
      const page = await this.#page(null);
      if (turn !== this.#turn) return;
      this.#models = new Map(page.items.map((/** @type {Model} */ model) => [model.model_id, model]));
      this.#next = page.next;
      this.#show();
    } catch (error) {
      complain(error);
    }
  }

  async #readMore() {
    const turn = this.#turn;
    try {
      const page = await this.#page(this.#next);
      if (turn !== this.#turn) return;
      for (const model of page.items) this.#models.set(model.model_id, model);
      this.#next = page.next;
      this.#show();
    } catch (error) {
      complain(error);
    }
  }

  /** @param {string} modelId */
  async #readOne(modelId) {
    if (!this.#models.has(modelId)) return this.#readSoon(); // a new one, or one that the filters now let in
    try {
      this.#models.set(modelId, await call("GET", `v1/models/${modelId}`, { signal: this.signal }));
      this.#show();
    } catch {
      this.#readSoon(); // it is gone
    }
  }

  /** A scan may find thousands of models: they are not asked for one by one. */
  #readSoon() {
    this.soon ??= setTimeout(() => {
      this.soon = undefined;
      if (!this.signal.aborted) void this.#read();
    }, TYPING_MS);
  }

  #show() {
    if (!this.list || !this.state || !this.more) return;
    keep(this.list, this.#models.values(), { key: (model) => model.model_id, create: cardOf, update: updateCard });
    const isFiltered = Object.values(this.#query()).some((value) => value !== "");
    const none = isFiltered ? t("models.none_found") : t("models.none");
    this.state.textContent = this.#models.size === 0 ? none : "";
    set(this.state, { hidden: this.#models.size > 0 });
    set(this.more, { hidden: this.#next === null });
  }

  /** @param {import("../parts/meter.js").BytesProgress & {model_id: string}} progress */
  #showProgress(progress) {
    const card = this.list?.querySelector(`[data-key="${CSS.escape(progress.model_id)}"]`);
    const model = this.#models.get(progress.model_id);
    if (card && model) showModelProgress(card, progress, model.name);
  }

  #showUploads() {
    if (!this.uploads) return;
    keep(this.uploads, uploads.running.values(), {
      key: (upload) => upload.id,
      create: (upload) =>
        h(
          "li",
          { class: "card row apart" },
          h("div", { class: "grow" }, h("strong", {}, upload.name), progressOf()),
          h("button", { type: "button", class: "quiet", onclick: upload.cancel }, t("dialog.cancel")),
        ),
      update: (element, upload) => {
        const bar = element.querySelector(".progress");
        if (bar) showProgress(bar, upload.progress, t("models.uploading", { name: upload.name }));
      },
    });
  }
}

customElements.define("models-view", ModelsView);
