/** @file Which view an address means: `#/gallery?engine=studio` is the view `gallery` with a query. */

import { set } from "./dom.js";
import { t } from "./texts.js";
import { View } from "./view.js";

/** @typedef {import("./texts.js").TextKey} TextKey */

/**
 * Each view: its title, the module that defines the element `NAME-view`, and its style.
 * @type {Record<string, {title: TextKey, load: () => Promise<unknown>}>}
 */
export const VIEWS = {
  create: {
    title: "nav.create",
    load: () => import("../create/create_view.js"),
  },
  queue: { title: "nav.queue", load: () => import("../queue/queue_view.js") },
  gallery: {
    title: "nav.gallery",
    load: () => import("../gallery/gallery_view.js"),
  },
  models: {
    title: "nav.models",
    load: () => import("../models/models_view.js"),
  },
  engines: {
    title: "nav.engines",
    load: () => import("../engines/engines_view.js"),
  },
  system: {
    title: "nav.system",
    load: () => import("../system/system_view.js"),
  },
};
const FIRST = "create";

/**
 * @param {string} hash
 * @returns {{name: string, query: URLSearchParams}}
 */
export function placeOf(hash) {
  const [path = "", query = ""] = hash.replace(/^#?\/?/, "").split("?");
  return {
    name: path in VIEWS ? path : FIRST,
    query: new URLSearchParams(query),
  };
}

/**
 * The address of a view.
 * @param {string} name
 * @param {Record<string, string | null | undefined>} [query] null and "": not given
 * @returns {string}
 */
export function addressOf(name, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value);
  const text = new URLSearchParams(/** @type {[string, string][]} */ (given)).toString();
  return `#/${name}${text && `?${text}`}`;
}

/**
 * Change the query of the view that is shown, without a step in the browser's history.
 * @param {Record<string, string | null | undefined>} query
 */
export function replaceQuery(query) {
  history.replaceState(history.state, "", addressOf(placeOf(location.hash).name, query));
}

/** Shows in an element the view that the address means. */
export class Router {
  #shown = "";
  #turn = 0;

  /**
   * @param {HTMLElement} main
   * @param {(name: string) => void} onShown
   */
  constructor(main, onShown) {
    this.main = main;
    this.onShown = onShown;
  }

  /** Show what the address says now, and follow it. */
  begin() {
    window.addEventListener("hashchange", () => void this.follow());
    return this.follow();
  }

  async follow() {
    const { name, query } = placeOf(location.hash);
    const turn = (this.#turn += 1);
    if (name !== this.#shown) {
      const { title, load } = /** @type {(typeof VIEWS)[string]} */ (VIEWS[name]);
      await Promise.all([load(), styled(`web/styles/${name}.css`)]);
      if (turn !== this.#turn) return; // somebody has gone on meanwhile
      const isFirst = this.#shown === "";
      this.#shown = name;
      this.main.replaceChildren(document.createElement(`${name}-view`));
      document.title = `${t(title)} · automatic-spoon`;
      this.onShown(name);
      if (!isFirst) this.main.focus({ preventScroll: true });
      scrollTo(0, 0);
    }
    const view = this.main.firstElementChild;
    if (view instanceof View) view.show(query);
  }
}

/**
 * Load a style, once.
 * @param {string} href
 * @returns {Promise<void>}
 */
function styled(href) {
  if (document.querySelector(`link[href="${href}"]`) !== null) return Promise.resolve();
  const link = document.createElement("link");
  set(link, { rel: "stylesheet", href });
  return new Promise((resolve) => {
    link.onload = link.onerror = () => resolve();
    document.head.append(link);
  });
}
