/** @file What every view is: an element that lives while its page is shown. */

/**
 * A view builds itself in `start`, once; `show` follows, and comes again whenever the address changes while
 * the view stays. All that it listens to, or asks for, ends with `signal`.
 */
export class View extends HTMLElement {
  #life = new AbortController();

  /** Ends when the view is left. */
  get signal() {
    return this.#life.signal;
  }

  connectedCallback() {
    this.#life = new AbortController();
    this.start();
  }

  disconnectedCallback() {
    this.#life.abort();
  }

  /** Build what the view shows. */
  start() {}

  /**
   * Follow the address.
   * @param {URLSearchParams} _query what follows `?` in the address
   */
  show(_query) {}
}
