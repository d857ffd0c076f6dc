/**
 * @file The one stream of all changes, for every view.
 *
 * It dispatches each event of `/v1/events` by its name (`job`, `image`, `job_progress` ...), with its data as
 * `detail`; `reset` when whatever is shown must be read again; `state` when `state` has changed. A hidden tab lets
 * go of its stream: a browser has six connections to a server, and they are for tabs that somebody looks at.
 */

import { eventsOf } from "./event_stream.js";
import { ApiError } from "./errors.js";

/** @typedef {"connecting" | "live" | "polling" | "lost"} LiveState */

const POLL_MS = 4_000;
const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 10_000;

class Live extends EventTarget {
  /** @type {LiveState} */
  state = "connecting";
  /** @type {string | null} */
  #lastEventId = null;
  /** @type {AbortController | null} */
  #running = null;

  /** Begin, and go on whenever the page is visible. */
  begin() {
    document.addEventListener("visibilitychange", () => this.#follow());
    window.addEventListener("online", () => this.restart());
    this.#follow();
  }

  /** Connect anew at once. */
  restart() {
    this.#running?.abort();
    this.#running = null;
    this.#follow();
  }

  /**
   * Listen to events of these names while `signal` lasts.
   * @param {string[]} names
   * @param {(data: any, name: string) => void} heard
   * @param {AbortSignal} signal
   */
  on(names, heard, signal) {
    for (const name of names) {
      this.addEventListener(name, (event) => heard(/** @type {CustomEvent} */ (event).detail, name), { signal });
    }
  }

  #follow() {
    if (document.hidden) {
      this.#running?.abort();
      this.#running = null;
    } else if (this.#running === null) {
      this.#running = new AbortController();
      void this.#run(this.#running.signal);
    }
  }

  /** @param {AbortSignal} signal */
  async #run(signal) {
    for (let retryMs = FIRST_RETRY_MS; !signal.aborted;) {
      try {
        const isNew = this.#lastEventId === null;
        const onOpen = () => {
          this.#become("live");
          retryMs = FIRST_RETRY_MS;
          if (isNew) this.#say("reset", null);
        };
        for await (const event of eventsOf("v1/events", {
          lastEventId: this.#lastEventId,
          signal,
          onOpen,
        })) {
          this.#lastEventId = event.id ?? this.#lastEventId;
          this.#say(event.name, event.data);
        }
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof ApiError && error.status >= 400 && error.status < 500) {
          // Too many streams, or an id of another database: as good, a little later.
          this.#lastEventId = null;
          this.#become("polling");
          this.#say("reset", null);
          await pause(POLL_MS, signal);
          continue;
        }
      }
      if (signal.aborted) return;
      this.#become("lost");
      await pause(retryMs, signal);
      retryMs = Math.min(LONGEST_RETRY_MS, retryMs * 2);
    }
  }

  /** @param {LiveState} state */
  #become(state) {
    if (this.state === state) return;
    this.state = state;
    this.#say("state", state);
  }

  /**
   * @param {string} name
   * @param {unknown} detail
   */
  #say(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

/**
 * @param {number} ms
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function pause(ms, signal) {
  return new Promise((resume) => {
    const timer = setTimeout(resume, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resume()), { once: true });
  });
}

/** The stream of this tab. */
export const live = new Live();
