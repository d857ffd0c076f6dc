/** @file One engine as a card: its state, what it runs, what is wrong, and what can be done. */

import { call } from "../app/api.js";
import { deleting } from "../app/dialogs.js";
import { fill, h, set } from "../app/dom.js";
import { bytes, duration, fromNow } from "../app/format.js";
import { complain, notify } from "../app/notices.js";
import { addressOf } from "../app/router.js";
import { session } from "../app/session.js";
import { t, word } from "../app/texts.js";
import { progressOf, showProgress } from "../parts/meter.js";
import { editEngine } from "./engine_form.js";
import { showLog } from "./engine_log.js";

/**
 * @typedef {{engine_id: string, name: string | null, status: "closed" | "starting" | "ready" | "working" |
 * "stopping" | "error", checkpoint: string, device: string, dtype: string | null, error: {code: string, detail:
 * string} | null, retry_at: string | null, memory_bytes: number | null, waiting_for_room: boolean,
 *   waiting_for_capacity: string | null, progress:
 * import("../parts/meter.js").BytesProgress | null, queue: {waiting: number, processing: number, paused: boolean},
 * names: Record<string, string>, keep_alive_s: number | null, autostart: boolean, started_at: string | null}}
 * Engine
 */

const BADGES = { closed: "", starting: "busy", ready: "good", working: "busy", stopping: "warning", error: "bad" };

/** @param {Engine} engine */
export const nameOf = (engine) => engine.name ?? engine.names[engine.checkpoint] ?? engine.engine_id;

/**
 * @param {Engine} engine
 * @returns {HTMLLIElement}
 */
export function cardOf(engine) {
  return h(
    "li",
    { class: "card engine", "aria-labelledby": `engine-${engine.engine_id}` },
    h("div", { class: "about stack" }),
    progressOf(),
    h("div", { class: "deeds row" }),
  );
}

/**
 * @param {HTMLElement} card
 * @param {Engine} engine
 */
export function updateCard(card, engine) {
  const about = card.querySelector(".about");
  const deeds = card.querySelector(".deeds");
  if (about) fill(about, ...aboutOf(engine));
  showEngineProgress(card, engine.progress, engine);
  const shown = `${engine.status} ${engine.queue.paused} ${engine.waiting_for_room} ${engine.waiting_for_capacity} ${nameOf(engine)} ${session.isAdmin}`;
  if (!deeds || card.dataset.shown === shown) return; // so that focus stays where it is
  card.dataset.shown = shown;
  const focused = deeds.contains(document.activeElement);
  fill(deeds, ...deedsOf(engine));
  if (focused) deeds.querySelector("button")?.focus();
}

/**
 * @param {Element} card
 * @param {Engine["progress"]} progress
 * @param {Engine} engine
 */
export function showEngineProgress(card, progress, engine) {
  const bar = card.querySelector(".progress");
  if (bar) showProgress(bar, progress, t("engines.progress_of", { name: nameOf(engine) }));
}

/**
 * @param {Engine} engine
 * @returns {HTMLElement[]}
 */
function aboutOf(engine) {
  const { queue } = engine;
  const facts = [
    engine.device,
    engine.dtype,
    engine.memory_bytes === null ? null : bytes(engine.memory_bytes),
    engine.started_at === null ? null : t("engines.since", { when: fromNow(engine.started_at) }),
  ];
  return [
    h(
      "div",
      { class: "row" },
      h("h2", { id: `engine-${engine.engine_id}` }, nameOf(engine)),
      h("span", { class: `badge ${BADGES[engine.status]}` }, word("engines.state", engine.status)),
      queue.paused ? h("span", { class: "badge warning" }, t("engines.paused")) : null,
    ),
    h("p", {}, engine.names[engine.checkpoint] ?? engine.checkpoint),
    h("p", { class: "muted small" }, facts.filter((fact) => fact).join(" · ")),
    h(
      "p",
      { class: "small" },
      h("a", { href: addressOf("queue", { engine: engine.engine_id }) }, t("engines.jobs", { ...numbers(queue) })),
    ),
    ...(engine.waiting_for_room ? [h("p", { class: "warned small" }, t("engines.waits_for_memory"))] : []),
    ...(engine.waiting_for_capacity ? [h("p", { class: "warned small" }, engine.waiting_for_capacity)] : []),
    ...(engine.error ? [h("p", { class: "trouble" }, engine.error.detail)] : []),
    ...(engine.status === "closed" && engine.autostart ? [h("p", { class: "hint" }, t("engines.autostarts"))] : []),
    ...(engine.status === "ready" && engine.keep_alive_s !== null
      ? [h("p", { class: "hint" }, t("engines.keeps", { time: duration(engine.keep_alive_s) }))]
      : []),
  ];
}

/** @param {Engine["queue"]} queue */
const numbers = ({ waiting, processing }) => ({ waiting, processing });

/**
 * @param {Engine} engine
 * @returns {HTMLElement[]}
 */
function deedsOf(engine) {
  if (!session.isAdmin) return [];
  const path = `v1/engines/${engine.engine_id}`;
  const isRunning =
    ["starting", "ready", "working", "stopping"].includes(engine.status) ||
    engine.waiting_for_room ||
    engine.waiting_for_capacity;
  /** @param {string} verb @param {Record<string, any>} [query] */
  const order = (verb, query) => run(() => call("PATCH", `${path}/${verb}`, query ? { query } : {}));
  return [
    ...(isRunning
      ? [
          button(t("engines.stop"), () => order("stop"), engine.status === "stopping"),
          engine.status === "working" || engine.status === "stopping"
            ? button(t("engines.stop_now"), () => order("stop", { now: true }))
            : null,
        ]
      : [button(t("engines.start"), () => order("start"))]),
    engine.queue.paused
      ? button(t("engines.resume"), () => order("resume"))
      : button(t("engines.pause"), () => order("pause")),
    button(t("engines.edit"), () => run(async () => editEngine(await call("GET", path)))),
    button(t("engines.log"), () => showLog(engine)),
    isRunning ? null : button(t("engines.delete"), () => remove(engine)),
  ].filter((deed) => deed !== null);
}

/**
 * @param {string} text
 * @param {() => Promise<void>} deed
 * @param {boolean} [isDisabled]
 */
function button(text, deed, isDisabled = false) {
  const made = h("button", { type: "button", disabled: isDisabled }, text);
  made.addEventListener("click", async () => {
    set(made, { "aria-disabled": "true" });
    await deed();
    set(made, { "aria-disabled": null });
  });
  return made;
}

/** @param {() => Promise<unknown>} deed */
async function run(deed) {
  try {
    await deed();
  } catch (error) {
    complain(error);
  }
}

/** @param {Engine} engine */
function remove(engine) {
  const name = nameOf(engine);
  const texts = {
    title: t("engines.delete_title", { name }),
    text: t("engines.delete_text", { ...numbers(engine.queue) }),
    choice: t("engines.keep_images"),
    isChosen: true,
    yes: t("engines.delete"),
  };
  return deleting(texts, async (keeps) => {
    await call("DELETE", `v1/engines/${engine.engine_id}`, { query: { images: keeps ? "keep" : "delete" } });
    notify(t("engines.deleted", { name }));
  });
}
