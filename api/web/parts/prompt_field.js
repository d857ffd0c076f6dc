/**
 * @file `<prompt-field>`: where a prompt is written.
 *
 * A real text area, so that undo, spelling, input methods and screen readers are the browser's. Behind it lies the
 * same text, unseen, with marks of what is syntax; under it the tokens of each chunk, as the server counts them.
 * Names of LoRAs, embeddings and wildcards are completed; Ctrl with the arrow up or down weighs a word or the
 * selection.
 *
 *     <prompt-field label="Prompt" checkpoint="dreams"></prompt-field>
 *
 * - `value`: the text. Event `change` whenever somebody has changed it; setting `value` tells nobody.
 * - Attributes: `label`; `negative` (the negative prompt); `engine` or `checkpoint` (an id or a name), `technique`
 *   (long_prompt_technique) and `wildcards` ("true" or "false"), by which tokens are counted.
 * - `embeddings`: ids or names of those that the job has. Event `pick` when a name was completed, with
 *   `detail: {kind: "lora" | "embedding" | "wildcard", model_id, name, word}`: an embedding must then be added to the
 *   job.
 * - `isTemplate`: whether the server makes choices in the text, as it said when it last counted.
 * - `fault`: why the server refused the text; "": it did not.
 * - `focus()`; `insert(text)` writes at the caret, and can be undone.
 */

import { call } from "../app/api.js";
import { fill, h } from "../app/dom.js";
import { complain } from "../app/notices.js";
import { t } from "../app/texts.js";
import { begunAt, fitting, written } from "./prompt_completion.js";
import { promptNames, wildcardNames } from "./prompt_names.js";
import { marksOf, unitsOf } from "./prompt_syntax.js";
import { weighted } from "./prompt_weights.js";

/** @typedef {import("./prompt_names.js").Named} Named */

const COUNT_AFTER_MS = 300;
const MOST_OPTIONS = 8;
const MOST_MARKED = 20_000; // characters: longer texts are written without marks

let made = 0;

class PromptField extends HTMLElement {
  static observedAttributes = ["engine", "checkpoint", "technique", "wildcards", "label", "negative"];

  #id = `prompt-${(made += 1)}`;
  #life = new AbortController();
  /** @type {string[]} */
  #embeddings = [];
  /** @type {Named[] | null} null: not read yet */
  #names = null;
  #isTyping = false;
  /** @type {Named[]} what may be chosen now */
  #options = [];
  #active = -1;
  /** @type {number[]} where chunks begin, beside the first */
  #breaks = [];
  #counting = 0;
  #counted = new AbortController();
  #searched = new AbortController();
  #isTemplate = false;

  #label = h("label", { for: this.#id });
  #marks = h("div", { class: "marks", "aria-hidden": "true" });
  #area = h("textarea", {
    id: this.#id,
    rows: 3,
    spellcheck: "true",
    autocomplete: "off",
    "aria-autocomplete": "list",
    "aria-describedby": `${this.#id}-tokens ${this.#id}-fault`,
    "aria-keyshortcuts": "Control+ArrowUp Control+ArrowDown",
  });
  #list = h("ul", {
    class: "completions",
    role: "listbox",
    id: `${this.#id}-list`,
    "aria-label": t("prompt.names"),
    hidden: true,
  });
  #said = h("p", { class: "visually-hidden", role: "status" });
  #tokens = h("p", { class: "hint tokens", id: `${this.#id}-tokens` });
  #fault = h("p", { class: "fault", id: `${this.#id}-fault` });

  constructor() {
    super();
    this.#area.addEventListener("input", () => this.#edited());
    this.#area.addEventListener("change", (event) => event.stopPropagation()); // ours is the one that counts
    this.#area.addEventListener("keydown", (event) => this.#key(event));
    this.#area.addEventListener("scroll", () => (this.#marks.scrollTop = this.#area.scrollTop));
    this.#area.addEventListener("focus", () => void this.#readNames());
    this.#area.addEventListener("blur", () => {
      this.#searched.abort();
      this.#isTyping = false;
      this.#offer([]);
    });
    this.#list.addEventListener("pointerdown", (event) => event.preventDefault()); // the focus stays
  }

  connectedCallback() {
    this.#life = new AbortController();
    this.classList.add("field");
    this.#label.textContent = this.getAttribute("label") ?? "";
    const editor = h("div", { class: "editor" }, this.#marks, this.#area, this.#list);
    this.replaceChildren(this.#label, editor, this.#tokens, this.#fault, this.#said);
    this.#draw();
    this.#count();
  }

  disconnectedCallback() {
    this.#life.abort();
    this.#counted.abort();
    this.#searched.abort();
    clearTimeout(this.#counting);
  }

  /** @param {string} name @param {string | null} _old @param {string | null} value */
  attributeChangedCallback(name, _old, value) {
    if (name === "label") this.#label.textContent = value ?? "";
    else if (this.isConnected) this.#count();
  }

  get value() {
    return this.#area.value;
  }

  set value(text) {
    if (text === this.#area.value) return;
    this.#area.value = text;
    this.#breaks = [];
    this.#draw();
    this.#count();
  }

  get embeddings() {
    return this.#embeddings;
  }

  set embeddings(ids) {
    this.#embeddings = [...ids];
    if (ids.length > 0) void this.#readNames();
    this.#draw();
    this.#count();
  }

  get isTemplate() {
    return this.#isTemplate;
  }

  get fault() {
    return this.#fault.textContent ?? "";
  }

  set fault(text) {
    this.#fault.textContent = text;
    this.#area.setAttribute("aria-invalid", String(text !== ""));
  }

  focus() {
    this.#area.focus();
  }

  /** @param {string} text */
  insert(text) {
    const { selectionStart: begin, selectionEnd: end } = this.#area;
    this.#replace({ begin, end, text, select: [begin + text.length, begin + text.length] });
  }

  #edited() {
    this.fault = "";
    this.#breaks = []; // until they are counted again
    this.#draw();
    this.#count();
    this.#complete();
    this.dispatchEvent(new Event("change", { bubbles: true }));
  }

  /** @param {import("./prompt_weights.js").Replacement} change */
  #replace({ begin, end, text, select }) {
    this.#area.focus();
    this.#area.setSelectionRange(begin, end);
    // The one way that can be undone, in every browser; it is followed by an event `input`.
    if (!document.execCommand("insertText", false, text)) {
      this.#area.setRangeText(text);
      this.#edited();
    }
    this.#area.setSelectionRange(...select);
  }

  // What is drawn behind the text.

  #draw() {
    const text = this.#area.value;
    const words = (this.#names ?? []).filter((one) => this.#has(one)).flatMap((one) => [one.word, one.name]);
    const marks = text.length > MOST_MARKED ? [] : marksOf(text, words, this.#isTemplate);
    const parts = [];
    let at = 0;
    for (const { begin, end, kind, depth = 0 } of marks) {
      parts.push(...this.#plain(text, at, begin));
      parts.push(h("span", { class: kind, style: { "--depth": depth } }, ...this.#plain(text, begin, end)));
      at = end;
    }
    fill(this.#marks, ...parts, ...this.#plain(text, at, text.length), "\u200b");
    this.#marks.scrollTop = this.#area.scrollTop;
  }

  /**
   * A part of the text, with a mark where a chunk begins.
   * @param {string} text
   * @param {number} begin
   * @param {number} end
   * @returns {(string | HTMLElement)[]}
   */
  #plain(text, begin, end) {
    const parts = [];
    let at = begin;
    for (const place of this.#breaks.filter((one) => one >= begin && one < end)) {
      parts.push(text.slice(at, place), h("i", { class: "break" }));
      at = place;
    }
    return [...parts, text.slice(at, end)];
  }

  /** @param {Named} named */
  #has({ kind, model_id: id, name }) {
    return kind === "embedding" && (this.#embeddings.includes(id) || this.#embeddings.includes(name));
  }

  // Tokens.

  #count() {
    clearTimeout(this.#counting);
    this.#counted.abort();
    if (!this.isConnected) return;
    this.#counted = new AbortController();
    const { signal } = this.#counted;
    this.#counting = setTimeout(() => void this.#askTokens(signal), COUNT_AFTER_MS);
  }

  /** @param {AbortSignal} signal */
  async #askTokens(signal) {
    const text = this.#area.value;
    const field = this.hasAttribute("negative") ? "negative_prompt" : "prompt";
    const engine = this.getAttribute("engine") || null;
    const body = {
      [field]: text,
      engine,
      checkpoint: engine === null ? this.getAttribute("checkpoint") || null : null,
      long_prompt_technique: this.getAttribute("technique") || null,
      wildcards: this.hasAttribute("wildcards") ? this.getAttribute("wildcards") === "true" : null,
      embeddings: this.#embeddings.length > 0 ? this.#embeddings : null,
    };
    try {
      const counts = await call("POST", "v1/prompts/tokens", { body, signal, once: true });
      this.#showTokens(text, counts[field], counts.chunk_tokens);
    } catch {
      if (!signal.aborted) this.#tokens.textContent = ""; // a convenience: whoever submits hears what is wrong
    }
  }

  /**
   * @param {string} text
   * @param {{encoders: {tokens: number, dropped: string,
   *   chunks: {tokens: number, begin: number | null}[]}[] | null, reason: string | null, is_template: boolean}} found
   * @param {number} most
   */
  #showTokens(text, { encoders, reason, is_template: isTemplate }, most) {
    this.#isTemplate = isTemplate;
    const [worst] = (encoders ?? []).toSorted((a, b) => b.chunks.length - a.chunks.length || b.tokens - a.tokens);
    this.#tokens.classList.toggle("cut", worst !== undefined && worst.dropped !== "");
    if (worst === undefined) {
      this.#draw();
      this.#tokens.textContent = t("prompt.not_counted", { reason: reason ?? "" });
      return;
    }
    const each = worst.chunks.map((chunk) => chunk.tokens).join(" + ");
    const places = worst.chunks.slice(1).map((chunk) => chunk.begin);
    this.#breaks = unitsOf(text, /** @type {number[]} */ (places.filter((place) => place !== null)));
    this.#tokens.textContent = [
      worst.chunks.length === 1
        ? t("prompt.tokens", { tokens: worst.tokens, most })
        : t("prompt.chunks", { tokens: worst.tokens, chunks: worst.chunks.length, each }),
      worst.dropped === "" ? "" : t("prompt.dropped", { text: worst.dropped }),
      isTemplate ? t("prompt.of_template") : "",
    ].join(" ");
    this.#draw();
  }

  // Completion.

  async #readNames() {
    try {
      this.#names = await promptNames();
    } catch (error) {
      complain(error);
      return;
    }
    this.#draw();
    if (this.#isTyping) this.#complete();
  }

  #complete() {
    this.#searched.abort();
    this.#isTyping = this.#names === null;
    if (this.#names === null) return;
    const { selectionStart: caret, selectionEnd: end, value } = this.#area;
    const begun = caret === end ? begunAt(value, caret) : null;
    if (begun?.isList) return void this.#completeList(begun.typed);
    this.#offer(begun === null ? [] : fitting(this.#names, begun, MOST_OPTIONS), begun?.isTag ? 0 : -1);
  }

  /** @param {string} typed of the name of a list */
  async #completeList(typed) {
    const { signal } = (this.#searched = new AbortController());
    try {
      const found = await wildcardNames(typed, MOST_OPTIONS, signal);
      if (!signal.aborted) this.#offer(found, 0);
    } catch {
      if (!signal.aborted) this.#offer([]); // a convenience, too
    }
  }

  /**
   * @param {Named[]} options
   * @param {number} [active]
   */
  #offer(options, active = -1) {
    const isNew = options.length > 0 && options.length !== this.#options.length;
    this.#options = options;
    this.#list.hidden = options.length === 0;
    fill(
      this.#list,
      ...options.map((one, index) =>
        h(
          "li",
          { role: "option", id: `${this.#id}-${index}`, onclick: () => this.#choose(index) },
          h("span", { class: "name" }, one.word),
          h("span", { class: "hint" }, t(`prompt.${one.kind}`), one.base === null ? "" : ` · ${one.base}`),
        ),
      ),
    );
    if (options.length > 0) this.#area.setAttribute("aria-controls", this.#list.id);
    else this.#area.removeAttribute("aria-controls");
    if (isNew) this.#said.textContent = t("prompt.options", { count: options.length });
    this.#activate(options.length === 0 ? -1 : active);
  }

  /** @param {number} index */
  #activate(index) {
    this.#active = index;
    for (const [at, option] of [...this.#list.children].entries()) {
      option.setAttribute("aria-selected", String(at === index));
      if (at === index) option.scrollIntoView({ block: "nearest" });
    }
    if (index < 0) this.#area.removeAttribute("aria-activedescendant");
    else this.#area.setAttribute("aria-activedescendant", `${this.#id}-${index}`);
  }

  /** @param {number} index */
  #choose(index) {
    const named = /** @type {Named} */ (this.#options[index]);
    const { selectionStart: caret, value } = this.#area;
    const begin = begunAt(value, caret)?.begin ?? caret;
    const text = written(named);
    const end = begin + text.length;
    this.#replace({ begin, end: caret, text, select: [end, end] });
    this.#offer([]);
    const detail = { kind: named.kind, model_id: named.model_id, name: named.name, word: named.word };
    this.dispatchEvent(new CustomEvent("pick", { bubbles: true, detail }));
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.isComposing) return;
    const isArrow = event.key === "ArrowUp" || event.key === "ArrowDown";
    if (isArrow && (event.ctrlKey || event.metaKey)) {
      const { value, selectionStart: begin, selectionEnd: end } = this.#area;
      const change = weighted(value, begin, end, event.key === "ArrowUp" ? 1 : -1);
      event.preventDefault();
      if (change !== null) {
        this.#replace(change);
        this.#offer([]);
      }
      return;
    }
    if (this.#options.length > 0) this.#keyInList(event, isArrow);
  }

  /**
   * @param {KeyboardEvent} event
   * @param {boolean} isArrow
   */
  #keyInList(event, isArrow) {
    const count = this.#options.length;
    if (isArrow) {
      const next = this.#active + (event.key === "ArrowDown" ? 1 : -1);
      this.#activate(next < -1 ? count - 1 : next >= count ? -1 : next);
    } else if ((event.key === "Enter" || event.key === "Tab") && this.#active >= 0) {
      this.#choose(this.#active);
    } else if (event.key === "Escape") {
      this.#offer([]);
      event.stopPropagation();
    } else {
      return;
    }
    event.preventDefault();
  }
}

customElements.define("prompt-field", PromptField);
