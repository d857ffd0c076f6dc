/** @file Copying a text with a button, also where the page comes without TLS and has no clipboard of its own. */

import { h } from "../app/dom.js";
import { notify } from "../app/notices.js";
import { t } from "../app/texts.js";

/**
 * A button that copies a text.
 * @param {string} text
 * @param {string} label what a screen reader says
 * @param {...(Node | string)} content what is on it
 * @returns {HTMLButtonElement}
 */
export function copyButton(text, label, ...content) {
  return h(
    "button",
    { type: "button", class: "quiet copy", "aria-label": label, title: label, onclick: () => void copy(text) },
    ...(content.length > 0 ? content : [t("copy.copy")]),
  );
}

/** @param {string} text */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    if (!copySelected(text)) return notify(t("copy.failed"), { kind: "error" });
  }
  notify(t("copy.copied"));
}

/**
 * @param {string} text
 * @returns {boolean}
 */
function copySelected(text) {
  const area = h("textarea", { class: "visually-hidden", readonly: true, ".value": text });
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  try {
    return document.execCommand("copy");
  } finally {
    area.remove();
  }
}
