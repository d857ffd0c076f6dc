/**
 * @file `<preset-bar>`: the presets of the server: load, save, rename, delete.
 *
 * - `read`: a function that returns the fields of a job that a preset is to keep; whoever uses the bar sets it.
 * - Event `load` when a preset is chosen, with `detail: {name, fields}`: fields that it does not have stay as they are.
 * - `chosen`: the name of the preset that was loaded or saved last; "": none.
 */

import { all, call } from "../app/api.js";
import { confirmed, openDialog } from "../app/dialogs.js";
import { fill, h } from "../app/dom.js";
import { complain, notify, textOf } from "../app/notices.js";
import { session } from "../app/session.js";
import { t } from "../app/texts.js";

/** @typedef {{name: string, fields: Record<string, any>, shared: boolean}} Preset */

class PresetBar extends HTMLElement {
  /** @type {() => Record<string, any>} */
  read = () => ({});
  #life = new AbortController();
  /** @type {Preset[]} */
  #presets = [];
  chosen = "";

  #select = h("select", {
    "aria-label": t("preset.title"),
    onchange: (/** @type {Event} */ event) => this.#load(event),
  });
  #save = button("preset.save", () => this.#overwrite());
  #saveAs = button("preset.save_as", () => this.#ask("preset.save_as", this.chosen, (name) => this.#write(name)));
  #rename = button("preset.rename", () => this.#ask("preset.rename", this.chosen, (name) => this.#move(name)));
  #delete = button("preset.delete", () => this.#remove());

  connectedCallback() {
    this.#life = new AbortController();
    this.classList.add("row");
    this.replaceChildren(this.#select, this.#save, this.#saveAs, this.#rename, this.#delete);
    session.addEventListener("change", () => this.#draw(), { signal: this.#life.signal });
    void this.refresh();
  }

  disconnectedCallback() {
    this.#life.abort();
  }

  /** Read the presets again. */
  async refresh() {
    try {
      const found = [];
      for await (const one of all("v1/presets", {}, this.#life.signal)) found.push(one);
      this.#presets = found.sort((a, b) => a.name.localeCompare(b.name));
      this.#draw();
    } catch (error) {
      complain(error);
    }
  }

  #draw() {
    const chosen = this.#presets.find((one) => one.name === this.chosen);
    if (chosen === undefined) this.chosen = "";
    fill(
      this.#select,
      h("option", { value: "" }, this.#presets.length > 0 ? t("preset.choose") : t("preset.none")),
      ...this.#presets.map((one) =>
        h(
          "option",
          { value: one.name },
          one.shared && session.now?.key_id ? t("preset.shared", { name: one.name }) : one.name,
        ),
      ),
    );
    this.#select.value = this.chosen;
    const mayChange = session.mayWrite && chosen !== undefined && (!chosen.shared || session.isAdmin);
    for (const one of [this.#save, this.#rename, this.#delete]) one.hidden = !mayChange;
    this.#saveAs.hidden = !session.mayWrite;
  }

  /** @param {Event} event */
  #load(event) {
    event.stopPropagation(); // whoever listens hears `load`
    const found = this.#presets.find((one) => one.name === this.#select.value);
    this.chosen = found?.name ?? "";
    this.#draw();
    if (found === undefined) return;
    const detail = { name: found.name, fields: structuredClone(found.fields) };
    this.dispatchEvent(new CustomEvent("load", { detail }));
  }

  async #overwrite() {
    const { chosen } = this;
    if (await confirmed(t("preset.save"), t("preset.replaces", { name: chosen }), t("preset.save"))) {
      await this.#write(chosen);
    }
  }

  /**
   * @param {string} name
   * @param {Record<string, any>} [fields]
   * @param {boolean | null} [shared]
   */
  async #write(name, fields = this.read(), shared = null) {
    await call("PUT", pathOf(name), { body: fields, query: { shared } });
    this.chosen = name;
    await this.refresh();
    notify(t("preset.saved", { name }));
  }

  /** @param {string} name */
  async #move(name) {
    const before = /** @type {Preset} */ (this.#presets.find((one) => one.name === this.chosen));
    if (name === before.name) return;
    await this.#write(name, before.fields, session.isAdmin && session.now?.key_id ? before.shared : null);
    await call("DELETE", pathOf(before.name));
    await this.refresh();
  }

  async #remove() {
    const { chosen } = this;
    if (!(await confirmed(t("preset.delete"), t("preset.goes", { name: chosen }), t("preset.delete")))) return;
    await call("DELETE", pathOf(chosen));
    await this.refresh();
  }

  /**
   * Ask for a name, and do something with it; what the server refuses is said there.
   * @param {import("../app/texts.js").TextKey} title
   * @param {string} name
   * @param {(name: string) => Promise<void>} act
   */
  async #ask(title, name, act) {
    const fault = h("p", { class: "fault", id: "preset-fault", role: "alert" });
    const field = h("input", {
      id: "preset-name",
      maxlength: 100,
      pattern: "(?!\\s*\\.{1,2}\\s*$).*\\S.*", // dots alone lead elsewhere in a path
      title: t("preset.no_name"),
      required: true,
      autofocus: true,
      ".value": name,
      "aria-describedby": "preset-fault",
    });
    await openDialog(t(title), (close) => [
      h(
        "form",
        {
          method: "dialog",
          onsubmit: (/** @type {Event} */ event) => {
            event.preventDefault();
            const wanted = field.value.trim();
            const isTaken = wanted !== name && this.#presets.some((one) => one.name === wanted);
            if (isTaken && fault.dataset.name !== wanted) {
              fault.textContent = t("preset.taken");
              fault.dataset.name = wanted; // once more means it
              return;
            }
            act(wanted).then(
              () => close(),
              (error) => (fault.textContent = textOf(error)),
            );
          },
        },
        h("label", { for: "preset-name" }, t("preset.name")),
        field,
        fault,
        h("div", { class: "buttons" }, h("button", { class: "primary" }, t(title))),
      ),
    ]);
  }
}

/**
 * @param {import("../app/texts.js").TextKey} text
 * @param {() => Promise<void>} act
 * @returns {HTMLButtonElement}
 */
function button(text, act) {
  return h("button", { type: "button", class: "quiet", onclick: () => void act().catch(complain) }, t(text));
}

/** @param {string} name */
function pathOf(name) {
  return `v1/presets/${encodeURIComponent(name)}`;
}

customElements.define("preset-bar", PresetBar);
