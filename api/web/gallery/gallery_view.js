/** @file The view Gallery: find images among very many, look at them, compare them, go on from one. */

import { call } from "../app/api.js";
import { fill, h } from "../app/dom.js";
import { number } from "../app/format.js";
import { live } from "../app/live.js";
import { complain, notify } from "../app/notices.js";
import { addressOf, replaceQuery } from "../app/router.js";
import { session } from "../app/session.js";
import { t } from "../app/texts.js";
import { View } from "../app/view.js";
import { remove, zipOf } from "./actions.js";
import { compare } from "./compare.js";
import { FilterBar } from "./filter_bar.js";
import { ImageGrid, MOST_CHOSEN } from "./image_grid.js";
import { ImageList } from "./image_list.js";
import { Lightbox } from "./lightbox.js";
import { Selection } from "./selection.js";

/** @typedef {import("./image_list.js").GalleryImage} GalleryImage */

const PLACE = "spoon.gallery";

class GalleryView extends View {
  #count = h("p", { class: "muted", role: "status" });
  #fresh = h("button", { type: "button", class: "primary fresh", hidden: true });
  #chosen = h("div", { class: "row chosen", role: "group", "aria-label": t("gallery.chosen"), hidden: true });
  #empty = h("p", { class: "empty", hidden: true });
  /** The filters that were read last, as the address has them. */
  #shown = "";
  /** The image that was shown large last. */
  #lastShown = "";

  start() {
    this.selection = new Selection();
    this.list = new ImageList(this.signal);
    this.filters = new FilterBar(this.signal);
    this.grid = new ImageGrid(this.list, this.selection, this.signal);
    this.lightbox = new Lightbox(this.list, (image) => {
      this.#lastShown = image.image_id;
      this.#showAddress(image.image_id);
    });
    this.#shown = "";
    this.replaceChildren(
      h("h1", { class: "visually-hidden" }, t("nav.gallery")),
      this.filters.element,
      h("div", { class: "row apart state" }, this.#count, this.#fresh),
      this.#chosen,
      this.#empty,
      this.grid.element,
    );
    this.#listen();
  }

  disconnectedCallback() {
    this.#keepPlace();
    this.lightbox?.close();
    super.disconnectedCallback();
  }

  /** @param {URLSearchParams} query */
  show(query) {
    const { list, filters, lightbox } = this.#parts;
    const image = query.get("image");
    const wanted = new URLSearchParams(query);
    wanted.delete("image");
    if (this.#shown !== `?${wanted}`) {
      this.#shown = `?${wanted}`;
      filters.follow(wanted);
      void this.#read(true).catch(complain);
    }
    if (image === null) lightbox.close();
    else if (image !== lightbox.image?.image_id) {
      const found = list.at(list.indexOf(image));
      if (found !== undefined) this.#open(found);
      else void call("GET", `v1/images/${image}`, { signal: this.signal }).then((one) => this.#open(one), complain);
    }
  }

  get #parts() {
    const { list, filters, grid, lightbox, selection } = this;
    if (!list || !filters || !grid || !lightbox || !selection) throw new Error("the view has not begun");
    return { list, filters, grid, lightbox, selection };
  }

  #listen() {
    const { list, filters, grid, selection } = this.#parts;
    filters.addEventListener("change", () => {
      this.#showAddress(null);
      this.#shown = `?${new URLSearchParams(location.hash.split("?")[1] ?? "")}`;
      void this.#read(false).catch(complain);
    });
    list.addEventListener("total", () => this.#showCount());
    list.addEventListener("stale", () => void this.#read(true).catch(complain));
    list.addEventListener("fresh", () => this.#offerFresh());
    grid.addEventListener("open", (event) => this.#open(/** @type {CustomEvent} */ (event).detail, true));
    grid.addEventListener("moved", () => (this.#keepPlace(), grid.isAtTop && list.showWaiting()));
    grid.addEventListener("remove", () => void this.#remove());
    grid.addEventListener("toomany", () => notify(t("gallery.too_many", { count: MOST_CHOSEN })));
    selection.addEventListener("change", () => this.#showChosen());
    this.#fresh.onclick = () => {
      list.showWaiting();
      grid.focus(0);
    };
    let isFirst = live.state !== "live";
    live.on(
      ["reset"],
      () => {
        if (!isFirst) void this.#read(true).catch(complain);
        isFirst = false;
      },
      this.signal,
    );
    window.addEventListener("pagehide", () => this.#keepPlace(), { signal: this.signal });
  }

  /**
   * Read what the filters say.
   * @param {boolean} isSame whether the place in the list is to be the same as before
   */
  async #read(isSame) {
    const { list, filters, grid } = this.#parts;
    this.classList.add("reading");
    try {
      await list.read(filters.filters);
      const place = isSame ? this.#keptPlace() : null;
      if (place === null) grid.element.scrollTop = 0;
      else grid.place = place;
    } finally {
      this.classList.remove("reading");
    }
  }

  #showCount() {
    const { list, filters } = this.#parts;
    const count = list.total;
    this.#count.textContent = t("gallery.count", { count: count === 1 ? 1 : number(count) });
    this.#empty.hidden = count > 0;
    this.#empty.textContent = t(filters.isNarrowed ? "gallery.none_found" : "gallery.none");
  }

  /** Images that have come meanwhile: at once where somebody looks at the newest, else when asked for. */
  #offerFresh() {
    const { list, grid } = this.#parts;
    const count = list.waiting.length;
    if (count > 0 && grid.isAtTop) {
      list.showWaiting();
      return;
    }
    this.#fresh.hidden = count === 0;
    this.#fresh.textContent = t("gallery.fresh", { count });
  }

  /**
   * Show an image large; a step back in the browser's history closes it, as its own button does.
   * @param {GalleryImage} image
   * @param {boolean} [isStep] whether this is a step in the history
   */
  #open(image, isStep = false) {
    const { list, filters, grid, lightbox } = this.#parts;
    if (isStep) {
      history.pushState(history.state, "", addressOf("gallery", { ...filters.query, image: image.image_id }));
    }
    void lightbox.open(image).then(() => {
      if (this.signal.aborted) return;
      const hasAddress = location.hash.includes("image=");
      if (hasAddress && isStep) history.back();
      else if (hasAddress) this.#showAddress(null);
      const index = list.indexOf(this.#lastShown);
      if (index >= 0) grid.focus(index);
    });
  }

  /** @param {string | null} image the one that is shown large */
  #showAddress(image) {
    replaceQuery({ ...this.#parts.filters.query, image });
  }

  #showChosen() {
    const { selection } = this.#parts;
    const { size } = selection;
    this.#chosen.hidden = size === 0;
    if (size === 0) return;
    const act = (/** @type {import("../app/texts.js").TextKey} */ text, /** @type {() => unknown} */ run, kind = "") =>
      h("button", { type: "button", class: kind, onclick: () => void Promise.resolve(run()).catch(complain) }, t(text));
    const zip = zipOf(selection.ids);
    const may = session.now === null || session.mayWrite;
    const [left, right] = selection.images;
    fill(
      this.#chosen,
      h("p", { role: "status" }, t("gallery.chosen_count", { count: size })),
      zip === null ? null : h("a", { class: "button", href: zip, download: "" }, t("gallery.zip")),
      size === 2 && left && right ? act("gallery.compare", () => compare(left, right)) : null,
      may ? act("gallery.favorite", () => this.#like()) : null,
      may ? act("gallery.delete", () => this.#remove(), "danger") : null,
      act("gallery.choose_none", () => selection.clear(), "quiet"),
    );
  }

  /** Mark what is chosen as favorites. */
  async #like() {
    const { list, selection } = this.#parts;
    for (const id of selection.ids) list.replace(await call("PATCH", `v1/images/${id}`, { body: { favorite: true } }));
    selection.clear();
  }

  async #remove() {
    const { list, grid, selection } = this.#parts;
    try {
      const gone = await remove(selection.images);
      if (gone.length === 0) return;
      selection.clear();
      this.#keepPlace();
      await list.read();
      grid.place = this.#keptPlace() ?? grid.place;
      grid.focus(Math.min(grid.current, Math.max(0, list.total - 1)));
    } catch (error) {
      complain(error);
    }
  }

  #keepPlace() {
    const { grid, list } = this.#parts;
    if (list.total === 0) return;
    sessionStorage.setItem(PLACE, JSON.stringify({ shown: this.#shown, ...grid.lastPlace }));
  }

  /** @returns {{fromEnd: number, rest: number} | null} where somebody was when this list was shown last */
  #keptPlace() {
    const kept = JSON.parse(sessionStorage.getItem(PLACE) ?? "null");
    return kept !== null && kept.shown === this.#shown && !kept.isAtTop ? kept : null;
  }
}

customElements.define("gallery-view", GalleryView);
