/** @file The view System: how the server is, and what to do about it. */

import { call } from "../app/api.js";
import { fill, h } from "../app/dom.js";
import { live } from "../app/live.js";
import { complain } from "../app/notices.js";
import { session } from "../app/session.js";
import { t, word } from "../app/texts.js";
import { View } from "../app/view.js";
import { devicesOf } from "../engines/devices.js";
import { showLog } from "../engines/engine_log.js";
import { doctor } from "./doctor.js";
import { keys } from "./keys.js";
import { facts, overview, section } from "./overview.js";

/** @typedef {{ok: boolean, detail: string}} Check */

const CHECKS = /** @type {const} */ (["manager", "database", "disk"]);

class SystemView extends View {
  start() {
    let life = new AbortController();
    const build = () => {
      life.abort(); // what was shown to somebody else
      life = new AbortController();
      this.#build(AbortSignal.any([this.signal, life.signal]));
    };
    build();
    session.addEventListener("change", build, { signal: this.signal });
  }

  /** @param {AbortSignal} signal */
  #build(signal) {
    const failed = h("div", { class: "stack" });
    this.replaceChildren(h("h1", {}, t("nav.system")), h("div", { class: "sections" }, ...sectionsOf(failed, signal)));
    const read = () => void readFailed(failed, signal);
    live.on(["engine", "reset"], read, signal);
    read();
  }
}

/**
 * What needs a look comes first.
 * @param {HTMLElement} failed
 * @param {AbortSignal} signal
 */
function sectionsOf(failed, signal) {
  const errors = section(t("system.failed_engines"), failed);
  const devices = section(t("system.devices"), devicesOf(signal));
  if (!session.isAdmin) return [section(t("system.state"), readiness(signal)), errors, devices];
  const [state, ...others] = /** @type {[HTMLElement, ...HTMLElement[]]} */ (overview(signal));
  const checks = section(t("system.doctor"), ...doctor(signal));
  return [state, errors, devices, checks, ...others, section(t("system.keys"), ...keys(signal))];
}

/**
 * The engines that do not run because of an error, each with its reason and its log.
 * @param {HTMLElement} element
 * @param {AbortSignal} signal
 */
async function readFailed(element, signal) {
  try {
    const { items } = await call("GET", "v1/engines", { query: { status: "error" }, signal });
    fill(
      element,
      ...(items.length === 0
        ? [h("p", { class: "muted" }, t("system.none_failed"))]
        : items.map((/** @type {import("../engines/engine_card.js").Engine} */ engine) =>
            h(
              "div",
              { class: "failed" },
              h("strong", {}, engine.name ?? engine.engine_id),
              h("p", { class: "trouble" }, engine.error?.detail ?? ""),
              session.isAdmin
                ? h("button", { type: "button", onclick: () => void showLog(engine) }, t("engines.log"))
                : null,
            ),
          )),
    );
  } catch (error) {
    complain(error);
  }
}

/**
 * What everybody may know of the server.
 * @param {AbortSignal} signal
 */
function readiness(signal) {
  const element = h("div", { class: "stack" });
  const read = async () => {
    try {
      const ready = await call("GET", "v1/health/ready", { signal, headers: { Accept: "application/json" } });
      fill(element, facts(CHECKS.map((name) => [word("system.check", name), ready[name].detail])));
    } catch (error) {
      complain(error);
    }
  };
  void read();
  return element;
}

customElements.define("system-view", SystemView);
