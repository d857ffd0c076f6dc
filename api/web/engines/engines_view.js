/** @file The view Engines: what is loaded, how much memory it takes, and starting, stopping, changing it. */

import { all } from "../app/api.js";
import { h, keep, set } from "../app/dom.js";
import { live } from "../app/live.js";
import { complain } from "../app/notices.js";
import { replaceQuery } from "../app/router.js";
import { session } from "../app/session.js";
import { t } from "../app/texts.js";
import { View } from "../app/view.js";
import { devicesOf } from "./devices.js";
import { cardOf, showEngineProgress, updateCard } from "./engine_card.js";
import { createEngine } from "./engine_form.js";

/** @typedef {import("./engine_card.js").Engine} Engine */

const SOON_MS = 150;
const JOBS_MS = 1_000;

class EnginesView extends View {
  /** @type {Map<string, Engine>} */
  #engines = new Map();
  #list = h("ul", { class: "cards", "aria-label": t("nav.engines") });
  #none = h("p", { class: "empty", hidden: true }, t("engines.none"));
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  soon;
  dueAt = 0;

  start() {
    const create = h(
      "button",
      { type: "button", class: "primary", onclick: () => void createEngine() },
      t("engines.create"),
    );
    const showCreate = () => {
      set(create, { hidden: !session.isAdmin });
      this.#show();
    };
    session.addEventListener("change", showCreate, { signal: this.signal });
    this.replaceChildren(
      h("div", { class: "row apart head" }, h("h1", {}, t("nav.engines")), create),
      devicesOf(this.signal),
      this.#list,
      this.#none,
    );
    showCreate();
    live.on(["reset"], () => void this.#read(), this.signal);
    live.on(["engine", "queue"], () => this.#readIn(SOON_MS), this.signal);
    live.on(["job"], () => this.#readIn(JOBS_MS), this.signal);
    live.on(["engine_progress"], (progress) => this.#showProgress(progress), this.signal);
    void this.#read();
  }

  /** @param {URLSearchParams} query `new`: a checkpoint to create an engine from */
  show(query) {
    const checkpoint = query.get("new");
    if (checkpoint === null) return;
    replaceQuery({});
    void createEngine(checkpoint);
  }

  async #read() {
    try {
      /** @type {Map<string, Engine>} */
      const engines = new Map();
      for await (const engine of all("v1/engines", {}, this.signal)) engines.set(engine.engine_id, engine);
      this.#engines = engines;
      set(this.#none, { hidden: engines.size > 0 });
      this.#show();
    } catch (error) {
      complain(error);
    }
  }

  /**
   * Jobs come and go by the second: their numbers are read once for many.
   * @param {number} ms
   */
  #readIn(ms) {
    const at = performance.now() + ms;
    if (this.soon !== undefined && at >= this.dueAt) return;
    clearTimeout(this.soon);
    this.dueAt = at;
    this.soon = setTimeout(() => {
      this.soon = undefined;
      if (!this.signal.aborted) void this.#read();
    }, ms);
  }

  #show() {
    keep(this.#list, this.#engines.values(), {
      key: (engine) => engine.engine_id,
      create: cardOf,
      update: updateCard,
    });
  }

  /** @param {import("../parts/meter.js").BytesProgress & {engine_id: string}} progress */
  #showProgress(progress) {
    const engine = this.#engines.get(progress.engine_id);
    const card = this.#list.querySelector(`[data-key="${CSS.escape(progress.engine_id)}"]`);
    if (card && engine?.status === "starting") showEngineProgress(card, progress, engine);
  }
}

customElements.define("engines-view", EnginesView);
