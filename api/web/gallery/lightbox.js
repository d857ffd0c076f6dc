/** @file One image, large: from one to the next by the arrow keys, with its recipe and all that can be done with it. */

import { address, call } from "../app/api.js";
import { openDialog } from "../app/dialogs.js";
import { fill, h, set } from "../app/dom.js";
import { bytes, date, fromNow, number } from "../app/format.js";
import { complain } from "../app/notices.js";
import { session } from "../app/session.js";
import { t } from "../app/texts.js";
import { COPYING, copy, FROM_FILE, MAKING, remove } from "./actions.js";
import { picture } from "./picture.js";
import { recipe } from "./recipe.js";

/** @typedef {import("./image_list.js").GalleryImage} GalleryImage */
/** @typedef {import("./image_list.js").ImageList} ImageList */
/** @typedef {import("../app/texts.js").TextKey} TextKey */

/** Shows images of a list in a dialog. */
export class Lightbox {
  /** @type {GalleryImage | null} the one that is shown */
  image = null;
  #stage = h("div", { class: "stage", tabindex: -1 });
  #details = h("div", { class: "details stack" });
  #position = h("p", { class: "small muted", role: "status" });
  /** @type {((result?: string) => void) | null} */
  #close = null;

  /**
   * @param {ImageList} list
   * @param {(image: GalleryImage) => void} onShown
   */
  constructor(list, onShown) {
    this.list = list;
    this.onShown = onShown;
    list.addEventListener("change", () => this.#follow());
  }

  /**
   * Show an image until somebody closes the dialog.
   * @param {GalleryImage} image
   */
  async open(image) {
    if (this.#close !== null) {
      this.#show(image);
      return;
    }
    const closed = openDialog(
      t("gallery.image"),
      (close) => {
        this.#close = close;
        const step = (/** @type {TextKey} */ text, /** @type {string} */ sign, /** @type {number} */ by) =>
          h("button", { type: "button", "aria-label": t(text), onclick: () => void this.#go(by) }, sign);
        const steps = h(
          "div",
          { class: "row apart steps" },
          step("gallery.previous", "‹", -1),
          this.#position,
          step("gallery.next", "›", 1),
        );
        return [h("div", { class: "shown" }, h("div", {}, this.#stage, steps), this.#details)];
      },
      { class: "wide lightbox" },
    );
    const dialog = this.#stage.closest("dialog");
    dialog?.addEventListener("keydown", (event) => this.#pressed(event));
    this.#show(image);
    await closed;
    this.#close = null;
    this.image = null;
  }

  close() {
    this.#close?.();
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    const by = /** @type {Record<string, number>} */ ({ ArrowLeft: -1, ArrowRight: 1 })[event.key];
    const isWriting = event.target instanceof HTMLInputElement || event.target instanceof HTMLTextAreaElement;
    if (by === undefined || isWriting || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    void this.#go(document.dir === "rtl" ? -by : by);
  }

  /** @param {number} by */
  async #go(by) {
    if (this.image === null) return;
    const index = this.list.indexOf(this.image.image_id);
    const to = index + by;
    if (index < 0 || to < 0 || to >= this.list.total) return;
    const [next] = await this.list.between(to, to);
    if (next !== undefined && this.#close !== null) this.#show(next);
  }

  /** The image may be another one now: gone, or with another note. */
  #follow() {
    if (this.image === null) return;
    const now = this.list.at(this.list.indexOf(this.image.image_id));
    if (now !== undefined && now !== this.image && !this.#details.contains(document.activeElement)) this.#show(now);
  }

  /** @param {GalleryImage} image */
  #show(image) {
    const isOther = this.image?.image_id !== image.image_id || this.image.gone?.reason !== image.gone?.reason;
    this.image = image;
    if (isOther) fill(this.#stage, picture(image));
    const index = this.list.indexOf(image.image_id);
    this.#position.textContent =
      index < 0 ? "" : t("gallery.position", { position: number(index + 1), total: number(this.list.total) });
    const hadFocus = this.#details.contains(document.activeElement);
    fill(this.#details, ...this.#about(image));
    if (hadFocus) this.#stage.focus(); // the keys go on working
    this.onShown(image);
  }

  /** @param {GalleryImage} image */
  #about(image) {
    const may = session.now === null || session.mayWrite;
    return [
      h("p", { class: "prompt" }, image.prompt || t("job.no_prompt")),
      h("p", { class: "small muted" }, factsOf(image).join(" · ")),
      may ? this.#making(image) : null,
      this.#keeping(image, may),
      may ? this.#saying(image) : null,
      recipe(image),
    ].filter((node) => node !== null);
  }

  /** @param {GalleryImage} image */
  #making(image) {
    const buttons = MAKING.map(([text, run]) => {
      const isOff = image.gone !== null && FROM_FILE.has(text);
      return button(
        text,
        async () => {
          await run(image);
          if (!location.hash.startsWith("#/gallery")) this.close();
        },
        { disabled: isOff },
      );
    });
    return h("div", { class: "row", role: "group", "aria-label": t("gallery.go_on") }, ...buttons);
  }

  /**
   * @param {GalleryImage} image
   * @param {boolean} may
   */
  #keeping(image, may) {
    const path = `v1/images/${image.image_id}`;
    const download = h(
      "a",
      { class: "button", href: address(`${path}/download`), download: "" },
      t("gallery.download"),
    );
    const deletion = button("gallery.delete", () => this.#remove(image), { class: "danger" });
    const copies = COPYING.filter(([text]) => image.gone === null || text !== "gallery.copy_infotext").map(
      ([text, make]) => button(text, async () => copy(await make(image)), { class: "quiet" }),
    );
    return h(
      "div",
      { class: "row" },
      image.gone === null ? download : null,
      ...copies,
      may && image.gone === null ? deletion : null,
    );
  }

  /** @param {GalleryImage} image */
  async #remove(image) {
    const gone = await remove([image]);
    if (gone.length > 0) this.list.replace(await call("GET", `v1/images/${image.image_id}`));
  }

  /** What people say of it. @param {GalleryImage} image */
  #saying(image) {
    const star = h("button", { type: "button", "aria-pressed": String(image.favorite) }, t("gallery.favorite"));
    star.addEventListener("click", () => void this.#say(image, { favorite: !image.favorite }));
    const tags = h("input", { type: "text", ".value": image.tags.join(", ") });
    tags.addEventListener("change", () => {
      const named = tags.value.split(",").map((tag) => tag.trim());
      void this.#say(image, { tags: named.filter((tag) => tag !== "") });
    });
    const note = h("textarea", { rows: 2, ".value": image.note ?? "" });
    note.addEventListener("change", () => void this.#say(image, { note: note.value }));
    return h(
      "div",
      { class: "stack saying" },
      star,
      h("label", { class: "field" }, h("span", {}, t("gallery.tags")), tags),
      h("label", { class: "field" }, h("span", {}, t("gallery.note")), note),
    );
  }

  /**
   * @param {GalleryImage} image
   * @param {Record<string, unknown>} said
   */
  async #say(image, said) {
    try {
      const now = await call("PATCH", `v1/images/${image.image_id}`, { body: said });
      if (this.image?.image_id === image.image_id) this.image = now;
      this.list.replace(now);
      const star = this.#details.querySelector("[aria-pressed]");
      if (star !== null && this.image === now && "favorite" in said) {
        const had = star === document.activeElement;
        fill(this.#details, ...this.#about(now));
        if (had) /** @type {HTMLElement | null} */ (this.#details.querySelector("[aria-pressed]"))?.focus();
      }
    } catch (error) {
      complain(error);
    }
  }
}

/**
 * @param {TextKey} text
 * @param {() => Promise<void> | void} run
 * @param {import("../app/dom.js").Attributes} [attributes]
 */
function button(text, run, attributes = {}) {
  const made = h("button", { type: "button", ...attributes }, t(text));
  made.addEventListener("click", async () => {
    set(made, { disabled: true });
    await Promise.resolve(run()).catch(complain);
    set(made, { disabled: false });
  });
  return made;
}

/** @param {GalleryImage} image */
function factsOf(image) {
  const facts = [`${image.width} × ${image.height}`, bytes(image.size_bytes), date(image.created_at)];
  const engine = image.names[image.engine_id];
  if (engine !== undefined) facts.unshift(engine);
  if (image.gone === null && image.expires_at !== null)
    facts.push(t("gallery.expires", { when: fromNow(image.expires_at) }));
  if (image.download_limit === null) facts.push(t("gallery.downloads", { count: image.downloads }));
  else facts.push(t("gallery.downloads_left", { count: Math.max(0, image.download_limit - image.downloads) }));
  return facts;
}
