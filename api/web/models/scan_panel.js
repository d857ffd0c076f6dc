/** @file The scan of the folders with models that are there already: how far it is, and what could not be used. */

import { all, call } from "../app/api.js";
import { openDialog } from "../app/dialogs.js";
import { fill, h, set } from "../app/dom.js";
import { fromNow } from "../app/format.js";
import { live } from "../app/live.js";
import { complain } from "../app/notices.js";
import { session } from "../app/session.js";
import { t } from "../app/texts.js";

const LOOK_MS = 1_000;

/**
 * @typedef {{running: boolean, ended_at: string | null, folders: string[], absent: string[], to_read: number,
 *   read: number, added: number, changed: number, gone: number, unusable: number, error: string | null}} Scan
 */

export class ScanPanel {
  element = h("div", { class: "scan row", role: "status" });
  button = h("button", { type: "button", onclick: () => void this.#begin() }, t("models.scan"));
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {AbortSignal} signal */
  constructor(signal) {
    this.signal = signal;
    live.on(["scan", "reset"], () => void this.read(), signal);
    signal.addEventListener("abort", () => clearTimeout(this.#timer));
    void this.read();
  }

  async read() {
    clearTimeout(this.#timer);
    try {
      const scan = /** @type {Scan} */ (await call("GET", "v1/models/scan", { signal: this.signal }));
      this.#show(scan);
      if (scan.running) this.#timer = setTimeout(() => void this.read(), LOOK_MS);
    } catch (error) {
      complain(error);
    }
  }

  /** @param {Scan} scan */
  #show(scan) {
    set(this.button, { disabled: scan.running, hidden: !session.isAdmin });
    fill(
      this.element,
      h("span", { class: "small muted" }, scan.folders.length === 0 ? "" : textOf(scan)),
      ...(scan.absent.length > 0
        ? [h("span", { class: "small warned" }, t("models.absent", { folders: scan.absent.join(", ") }))]
        : []),
      scan.unusable > 0
        ? h(
            "button",
            { type: "button", class: "quiet", onclick: () => void showUnusable() },
            t("models.unusable", { count: scan.unusable }),
          )
        : null,
    );
  }

  async #begin() {
    try {
      this.#show(await call("POST", "v1/models/scan", { once: true }));
      await this.read();
    } catch (error) {
      complain(error);
    }
  }
}

/** @param {Scan} scan */
function textOf(scan) {
  if (scan.running) return t("models.scanning", { read: scan.read, total: scan.to_read });
  if (scan.error !== null) return scan.error;
  if (scan.ended_at === null) return t("models.never_scanned");
  const { added, changed, gone } = scan;
  return t("models.scanned", { when: fromNow(scan.ended_at), added, changed, gone });
}

async function showUnusable() {
  const list = h("ul", { class: "stack" });
  const shown = openDialog(t("models.unusable_title"), () => [list], { class: "wide" });
  try {
    for await (const { path, reason } of all("v1/models/scan/unusable")) {
      list.append(h("li", {}, h("code", {}, path), h("p", { class: "small muted" }, reason)));
    }
  } catch (error) {
    complain(error);
  }
  await shown;
}
