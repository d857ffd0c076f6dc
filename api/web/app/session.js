/** @file Who uses the page: on a server with API keys, somebody who has signed in with one. */

import { call, onSignInNeeded } from "./api.js";
import { openDialog } from "./dialogs.js";
import { h } from "./dom.js";
import { textOf } from "./notices.js";
import { t } from "./texts.js";

/** @typedef {{key_id: string | null, name: string | null, role: "admin" | "user" | "viewer"}} Session */

class SessionOfPage extends EventTarget {
  /** @type {Session | null} null: not known yet */
  now = null;
  /** @type {Promise<void> | null} */
  #asking = null;

  /** Ask for a key whenever the server wants one. */
  begin() {
    onSignInNeeded(() => (this.#asking ??= this.#ask().finally(() => (this.#asking = null))));
  }

  /** Ask the server who this is. */
  async read() {
    try {
      this.#become(await call("GET", "v1/session"));
    } catch {
      // Nobody yet: the first request that needs a key asks for it.
    }
  }

  get isAdmin() {
    return this.now?.role === "admin";
  }

  /** Whether this one may submit jobs. */
  get mayWrite() {
    return this.now !== null && this.now.role !== "viewer";
  }

  async signOut() {
    await call("DELETE", "v1/session");
    location.reload();
  }

  /** @param {Session} session */
  #become(session) {
    this.now = session;
    this.dispatchEvent(new Event("change"));
  }

  async #ask() {
    const fault = h("p", {
      class: "fault",
      id: "sign-in-fault",
      role: "alert",
    });
    const field = h("input", {
      type: "password",
      autocomplete: "current-password",
      id: "sign-in-key",
      required: true,
      autofocus: true,
      "aria-describedby": "sign-in-fault",
    });
    await openDialog(
      t("session.title"),
      (close) => [
        h(
          "form",
          {
            method: "dialog",
            onsubmit: (/** @type {Event} */ event) => {
              event.preventDefault();
              void this.#signIn(field.value.trim(), fault, close);
            },
          },
          h("p", {}, t("session.explained")),
          h("label", { for: "sign-in-key" }, t("session.key")),
          field,
          fault,
          h("div", { class: "buttons" }, h("button", { class: "primary" }, t("session.sign_in"))),
        ),
      ],
      { isPlain: true },
    );
  }

  /**
   * @param {string} key
   * @param {HTMLElement} fault
   * @param {(result?: string) => void} close
   */
  async #signIn(key, fault, close) {
    try {
      this.#become(await call("POST", "v1/session", { body: { key }, once: true }));
      close();
    } catch (error) {
      fault.textContent = textOf(error);
    }
  }
}

/** Who uses this page. */
export const session = new SessionOfPage();
