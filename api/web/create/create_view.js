/** @file The view Create: the form of a job, and beside it the jobs that were made with it. */

import "../parts/preset_bar.js";
import { call } from "../app/api.js";
import { fill, h, set } from "../app/dom.js";
import { readDraft, writeDraft } from "../app/drafts.js";
import { ApiError } from "../app/errors.js";
import { complain, notify, textOf } from "../app/notices.js";
import { addressOf, replaceQuery } from "../app/router.js";
import { session } from "../app/session.js";
import { t } from "../app/texts.js";
import { View } from "../app/view.js";
import { jobFields } from "./field_schema.js";
import { askWhatFor, notTakenOver } from "./image_dialog.js";
import { InputImages } from "./input_images.js";
import { JobForm } from "./job_form.js";
import { eachByItself, fieldsLike, presetOf, sentOf } from "./job_request.js";
import { describedApi, ModelLists } from "./model_lists.js";
import { Results } from "./results.js";
import { Validation } from "./validation.js";

/** @typedef {import("../app/drafts.js").JobDraft} JobDraft */
/** @typedef {import("./field_table.js").Role} Role */

const DRAFT = "create";

class CreateView extends View {
  /** @type {Promise<void>} ends when the form stands */
  #standing = Promise.resolve();
  /** Ends when the painter is closed, and its mask is there. */
  #painting = Promise.resolve();
  /** @type {string | null} the engine that the job would go to */
  #engineId = null;
  /** While a draft is read, nothing is kept in its place. */
  #reading = 0;

  start() {
    this.replaceChildren(h("h1", { class: "visually-hidden" }, t("nav.create")));
    this.lists = new ModelLists(this.signal);
    this.images = new InputImages({
      onPaint: (reference) => void (this.#painting = this.#paint(reference).catch(complain)),
      onSize: (width, height) => this.#change({ width: roundToEight(width), height: roundToEight(height) }),
      onChoose: (file) => void this.#useImage(file),
    });
    this.results = new Results({
      onReference: (id) => void this.images?.putStored("reference", id).catch(complain),
      signal: this.signal,
    });
    this.#standing = this.#build();
    this.#standing.catch(complain);
  }

  /** @param {URLSearchParams} query `like`: the id of an image to make another one of */
  show(query) {
    const like = query.get("like");
    if (like === null) return;
    replaceQuery({});
    void this.#standing.then(() => this.#fillLike(like)).catch(complain);
  }

  async #build() {
    const [api, capabilities] = await describedApi();
    if (this.signal.aborted) return;
    const lists = /** @type {ModelLists} */ (this.lists);
    const images = /** @type {InputImages} */ (this.images);
    const results = /** @type {Results} */ (this.results);
    this.specs = jobFields(api, capabilities);
    this.form = new JobForm(this.specs, lists, {
      images: images.element,
      natives: capabilities.native_sizes,
      lastSeed: () => results.lastSeed,
      signal: this.signal,
    });
    this.notes = h("div", { class: "notes", hidden: true });
    const drafted = this.#readDraft(); // what was typed stands there at once
    this.append(
      h(
        "div",
        { class: "columns" },
        h(
          "form",
          { class: "job-form", novalidate: true, onsubmit: this.#submitted },
          this.notes,
          this.#noModels(lists),
          this.#presets(),
          this.form.element,
          this.#bar(),
        ),
        results.element,
      ),
    );
    this.validation = new Validation(
      () => this.#body({ isCheck: true }),
      (error, engineId) => this.#checked(error, engineId),
      this.signal,
    );
    lists.addEventListener("change", () => this.#tellDefaults(), { signal: this.signal });
    this.form.addEventListener("change", () => this.#changed(), { signal: this.signal });
    images.addEventListener("change", () => this.#changed(), { signal: this.signal });
    this.#listen();
    await Promise.all([lists.read().catch(complain), results.read(), drafted]);
  }

  #listen() {
    const signal = this.signal;
    window.addEventListener("spoon-draft", () => void this.#readDraft(), { signal });
    document.addEventListener("paste", (event) => this.#pasted(event), { signal });
    this.addEventListener("dragover", (event) => {
      if (event.dataTransfer?.types.includes("Files")) event.preventDefault();
      this.classList.toggle("dropping", event.dataTransfer?.types.includes("Files"));
    });
    this.addEventListener("dragleave", () => this.classList.remove("dropping"));
    this.addEventListener("drop", (event) => {
      this.classList.remove("dropping");
      const image = imageIn(event.dataTransfer);
      if (image === null) return;
      event.preventDefault();
      void this.#useImage(image);
    });
    const keyed = (/** @type {KeyboardEvent} */ event) => {
      const isMeant = event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.repeat;
      if (!isMeant || document.querySelector("dialog[open]") !== null) return;
      event.preventDefault();
      void this.#submit();
    };
    document.addEventListener("keydown", keyed, { signal });
  }

  /** What is at hand below the form: to generate, and to begin anew. */
  #bar() {
    const may = mayMake();
    return h(
      "div",
      { class: "generate" },
      this.form?.general,
      h(
        "div",
        { class: "row apart" },
        h("button", { type: "button", class: "quiet", onclick: () => this.#clear() }, t("create.clear")),
        may ? null : h("span", { class: "hint" }, t("create.may_not")),
        h("button", { class: "primary", disabled: !may, title: t("create.generate_keys") }, t("create.generate")),
      ),
    );
  }

  /** @param {ModelLists} lists */
  #noModels(lists) {
    const note = h(
      "p",
      { class: "notes", hidden: true },
      t("create.no_models"),
      " ",
      h("a", { href: addressOf("models") }, t("create.add_models")),
    );
    lists.addEventListener("change", () => (note.hidden = lists.checkpoints.length > 0), { signal: this.signal });
    return note;
  }

  async #readDraft() {
    /** @type {JobDraft} */
    const draft = readDraft(DRAFT) ?? {};
    const { like, ...fields } = draft.fields ?? {};
    this.#reading += 1;
    try {
      if (like) await this.#fillLike(like, fields);
      else this.form?.write(fields);
      if (!like || draft.images) await this.images?.read(draft.images ?? {});
    } finally {
      this.#reading -= 1;
      this.#changed();
    }
  }

  /** @returns {HTMLElement} sets of fields that the server keeps */
  #presets() {
    const bar = /** @type {HTMLElement & {read: () => Record<string, any>}} */ (document.createElement("preset-bar"));
    bar.read = () => presetOf(this.form?.fields ?? {});
    bar.addEventListener("load", (event) => {
      const { fields } = /** @type {CustomEvent} */ (event).detail;
      const isElsewhere = ["engine_id", "engine", "checkpoint"].some((name) => name in fields);
      this.#change({ ...(isElsewhere ? { engine_id: null, engine: null, checkpoint: null } : {}), ...fields });
    });
    return bar;
  }

  /** Keep what is there, and have it checked. */
  #changed() {
    const { form, images, validation } = this;
    if (!form || !images || this.#reading > 0) return;
    form.show(images.roles);
    writeDraft(DRAFT, { fields: form.fields, images: images.draft });
    const isEmpty = Object.keys(form.fields).length === 0 && images.roles.size === 0;
    if (!isEmpty) return validation?.later();
    validation?.stop(); // nobody has done anything wrong yet
    this.#checked(null, null);
  }

  /**
   * Give some fields other values.
   * @param {Record<string, any>} fields
   */
  #change(fields) {
    this.form?.write({ ...this.form.fields, ...fields });
    this.#changed();
  }

  /**
   * @param {{isCheck: boolean}} options
   * @returns {Promise<Record<string, any>>}
   */
  async #body({ isCheck }) {
    const { form, images } = this;
    if (!form || !images) return {};
    return { ...sentOf(form.fields, images.roles), ...(await images.fields({ isCheck })) };
  }

  /**
   * @param {ApiError | null} error
   * @param {string | null} engineId the engine that the job would go to
   */
  #checked(error, engineId) {
    const faults = error?.fields ?? [];
    this.images?.blame(faults);
    const others = faults.filter(({ field }) => !/_image_(blob|id)$/.test(field));
    this.form?.blame(others, error && faults.length === 0 ? textOf(error) : "");
    if (error === null) {
      this.#engineId = engineId;
      this.#tellDefaults();
    }
  }

  #tellDefaults() {
    this.form?.otherwise(this.lists?.engines.find((engine) => engine.engine_id === this.#engineId) ?? null);
  }

  /** @param {Event} event */
  #submitted = (event) => {
    event.preventDefault();
    void this.#submit();
  };

  async #submit() {
    const { results, validation } = this;
    if (!results || !validation || !mayMake()) return;
    validation.stop();
    try {
      await this.#painting;
      const body = await this.#body({ isCheck: false });
      for (const one of this.form?.isTemplate ? eachByItself(body) : [body]) {
        const job = await results.submit(one);
        this.#checked(null, job["engine_id"]);
      }
      this.#tellSubmitted();
    } catch (error) {
      if (!(error instanceof ApiError) || error.isTemporary) return complain(error);
      this.#checked(error, null);
      this.form?.leadToFault();
    }
  }

  /** On a narrow screen the job is below the form. */
  #tellSubmitted() {
    const results = /** @type {HTMLElement} */ (this.results?.element);
    const isSeen = results.getBoundingClientRect().top < window.innerHeight / 2;
    const show = { text: t("create.show_job"), run: () => results.scrollIntoView() };
    notify(t("create.submitted"), isSeen ? {} : { action: show });
  }

  /** Begin with nothing; what was there can be had back. */
  #clear() {
    const before = structuredClone({ fields: this.form?.fields ?? {}, images: this.images?.draft ?? {} });
    const write = (/** @type {JobDraft} */ draft) => {
      writeDraft(DRAFT, draft);
      void this.#readDraft();
    };
    write({});
    set(/** @type {HTMLElement} */ (this.notes), { hidden: true });
    notify(t("create.cleared"), { action: { text: t("create.undo"), run: () => write(before) } });
  }

  /** @param {ClipboardEvent} event */
  #pasted(event) {
    const image = imageIn(event.clipboardData);
    if (image === null || document.querySelector("dialog[open]") !== null) return;
    event.preventDefault();
    void this.#useImage(image);
  }

  /**
   * Have a mask painted over the reference image.
   * @param {import("./input_images.js").Input} reference
   */
  async #paint({ url, width, height }) {
    const images = /** @type {InputImages} */ (this.images);
    const { paintMask } = await import("../painter/mask_painter.js");
    await paintMask({
      url,
      width,
      height,
      mask: images.of("mask")?.blob ?? null,
      blur: this.form?.fields["mask_blur"] ?? null,
      onMask: async (mask) => {
        if (mask === null) return images.drop("mask");
        if (this.form?.fields["mask_mode"]) this.#change({ mask_mode: null }); // it is white where it was painted
        await images.put("mask", mask);
      },
      onBlur: (blur) => this.#change({ mask_blur: blur }),
    });
  }

  /**
   * Ask what an image is for, and use it so.
   * @param {Blob} image
   */
  async #useImage(image) {
    const images = /** @type {InputImages} */ (this.images);
    const { use, infotext } = await askWhatFor(image, { hasReference: images.roles.has("reference") });
    if (use === "settings" && infotext !== null) {
      this.form?.write(infotext.job);
      const rest = notTakenOver(infotext);
      this.#note(rest && [h("p", {}, t("create.not_taken_over")), rest]);
      this.#changed();
      notify(t("create.taken_over"));
    } else if (use !== "") {
      await images.put(/** @type {Role} */ (use), image);
    }
  }

  /**
   * The values of an image of the server, and its input images.
   * @param {string} imageId
   * @param {Record<string, any>} [others] what counts more than that
   */
  async #fillLike(imageId, others = {}) {
    const image = await call("GET", `v1/images/${imageId}`);
    const lists = /** @type {ModelLists} */ (this.lists);
    if (!lists.isRead) await lists.read();
    const engine = lists.engineOf({ engine_id: image.engine_id });
    const hasEngine = engine !== null && engine.checkpoint === image.checkpoint;
    this.form?.write({ ...fieldsLike(image, this.specs?.keys() ?? [], hasEngine), ...others });
    await this.images?.read({});
    const gone = [];
    for (const role of /** @type {Role[]} */ (image.inputs)) {
      try {
        await this.images?.put(role, await call("GET", `v1/images/${imageId}/${role}`));
      } catch (error) {
        gone.push(h("li", {}, textOf(error)));
      }
    }
    this.#note(gone.length > 0 ? [h("p", {}, t("create.not_taken_over")), h("ul", {}, ...gone)] : null);
    this.#changed();
  }

  /** @param {HTMLElement[] | null} content null: take away what was said */
  #note(content) {
    const notes = /** @type {HTMLElement} */ (this.notes);
    const close = h("button", { type: "button", class: "quiet", "aria-label": t("notice.close") }, "×");
    close.addEventListener("click", () => (notes.hidden = true));
    fill(notes, ...(content ?? []), close);
    set(notes, { hidden: content === null, role: "status" });
  }
}

/**
 * @param {DataTransfer | null} data
 * @returns {File | null}
 */
function imageIn(data) {
  return [...(data?.files ?? [])].find((file) => file.type.startsWith("image/")) ?? null;
}

/** Whether this one may submit jobs, as far as the page knows. */
const mayMake = () => session.now === null || session.mayWrite;

/** @param {number} side */
const roundToEight = (side) => Math.max(64, Math.round(side / 8) * 8);

customElements.define("create-view", CreateView);
