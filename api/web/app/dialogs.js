/** @file Dialogs on the browser's own <dialog>: focus stays inside, Escape closes, focus returns. */

import { h } from "./dom.js";
import { textOf } from "./notices.js";
import { t } from "./texts.js";

let count = 0;

/**
 * Open a dialog, and wait until it is closed.
 * @param {string} title
 * @param {(close: (result?: string) => void) => (Node | null)[]} content what is in it, from the function that
 *   closes it
 * @param {{class?: string, isPlain?: boolean}} [options] isPlain: without a button to close it
 * @returns {Promise<string>} what it was closed with; "": nothing
 */
export function openDialog(title, content, { class: name = "", isPlain = false } = {}) {
  const id = `dialog-title-${(count += 1)}`;
  const dialog = h("dialog", { class: name, "aria-labelledby": id });
  const close = (result = "") => dialog.close(result);
  const button = h(
    "button",
    {
      type: "button",
      class: "quiet close",
      "aria-label": t("dialog.close"),
      onclick: () => close(),
    },
    "×",
  );
  dialog.append(
    h("header", {}, h("h2", { id }, title), isPlain ? null : button),
    h("div", { class: "content" }, ...content(close)),
  );
  if (isPlain) dialog.addEventListener("cancel", (event) => event.preventDefault());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog && !isPlain) close(); // beside it
  });
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue);
    });
  });
}

/**
 * Ask before something is deleted, with one thing to choose, and do it: what the server says against it stays in view.
 * @param {{title: string, text: string, choice: string, isChosen?: boolean, yes: string}} texts
 * @param {(isChosen: boolean) => Promise<unknown>} remove
 */
export async function deleting({ title, text, choice, isChosen = false, yes }, remove) {
  const box = h("input", { type: "checkbox", id: "deleting-choice", ".checked": isChosen });
  const fault = h("p", { class: "fault", role: "alert" });
  await openDialog(title, (close) => [
    h("p", {}, text),
    h("div", { class: "row" }, box, h("label", { for: box.id }, choice)),
    fault,
    h(
      "div",
      { class: "buttons" },
      h("button", { type: "button", onclick: () => close() }, t("dialog.cancel")),
      h(
        "button",
        {
          type: "button",
          class: "danger",
          onclick: () =>
            remove(box.checked).then(
              () => close(),
              (error) => (fault.textContent = textOf(error)),
            ),
        },
        yes,
      ),
    ),
  ]);
}

/**
 * Ask before something that cannot be undone.
 * @param {string} title
 * @param {string} text
 * @param {string} yes what the button says: the deed, not "OK"
 * @returns {Promise<boolean>}
 */
export async function confirmed(title, text, yes) {
  const answer = await openDialog(title, (close) => [
    h("p", {}, text),
    h(
      "div",
      { class: "buttons" },
      h("button", { type: "button", onclick: () => close() }, t("dialog.cancel")),
      h(
        "button",
        {
          type: "button",
          class: "danger",
          onclick: () => close("yes"),
        },
        yes,
      ),
    ),
  ]);
  return answer === "yes";
}
