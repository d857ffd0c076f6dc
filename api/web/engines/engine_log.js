/** @file The last lines that the workers of an engine have written. */

import { call } from "../app/api.js";
import { openDialog } from "../app/dialogs.js";
import { h } from "../app/dom.js";
import { fromNow } from "../app/format.js";
import { complain } from "../app/notices.js";
import { t } from "../app/texts.js";
import { copyButton } from "../parts/copy.js";

/** @typedef {{worker_id: string, changed_at: string, lines: string[], is_cut: boolean}} WorkerLog */

/** @param {{engine_id: string, name: string | null}} engine */
export async function showLog(engine) {
  try {
    const { items } = await call("GET", `v1/engines/${engine.engine_id}/log`, { query: { lines: 200 } });
    await openDialog(
      t("engines.log_of", { name: engine.name ?? engine.engine_id }),
      () =>
        items.length === 0
          ? [h("p", { class: "empty" }, t("engines.no_log"))]
          : items.map((/** @type {WorkerLog} */ log, /** @type {number} */ index) => section(log, index === 0)),
      { class: "wide" },
    );
  } catch (error) {
    complain(error);
  }
}

/**
 * @param {WorkerLog} log
 * @param {boolean} isOpen
 */
function section(log, isOpen) {
  const text = log.lines.join("\n");
  const pre = h("pre", { class: "log", tabindex: 0, "aria-label": t("engines.log_lines", { worker: log.worker_id }) });
  pre.textContent = (log.is_cut ? "…\n" : "") + text;
  return h(
    "details",
    { open: isOpen },
    h("summary", {}, t("engines.worker", { worker: log.worker_id, when: fromNow(log.changed_at) })),
    pre,
    h("div", { class: "buttons" }, copyButton(text, t("engines.copy_log"))),
  );
}
