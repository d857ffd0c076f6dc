/** @file Short messages at the edge of the page, which screen readers read aloud. */

import { ApiError } from "./errors.js";
import { h } from "./dom.js";
import { t } from "./texts.js";

const SHOWN_MS = 6_000;

/** Where messages appear; `main.js` puts it into the page. */
export const notices = h("div", {
  class: "notices",
  role: "status",
  "aria-live": "polite",
});

/**
 * Show a message for a while.
 * @param {string} text
 * @param {{kind?: "info" | "error", action?: {text: string, run: () => void}}} [options]
 */
export function notify(text, { kind = "info", action } = {}) {
  const close = () => notice.remove();
  const notice = h(
    "div",
    { class: `notice ${kind}` },
    h("p", {}, text),
    action
      ? h(
          "button",
          {
            type: "button",
            class: "quiet",
            onclick: () => (close(), action.run()),
          },
          action.text,
        )
      : null,
    h(
      "button",
      {
        type: "button",
        class: "quiet",
        "aria-label": t("notice.close"),
        onclick: close,
      },
      "×",
    ),
  );
  notices.append(notice);
  if (kind === "info") setTimeout(close, SHOWN_MS);
}

/**
 * Say in words what went wrong in a request.
 * @param {unknown} error
 */
export function complain(error) {
  if (error instanceof DOMException && error.name === "AbortError") return;
  notify(textOf(error), { kind: "error" });
}

/**
 * @param {unknown} error
 * @returns {string}
 */
export function textOf(error) {
  if (!(error instanceof ApiError)) return t("error.unexpected", { text: String(error) });
  if (error.status === 0) return t("error.unreachable");
  const fields = error.fields.map(({ field, problem }) => `${field}: ${problem}`);
  return fields.length > 0 ? fields.join("\n") : error.message;
}
