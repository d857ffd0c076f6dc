/** @file The view Queue: what runs, what waits and in which order, and what has just ended. */

import { all, call } from "../app/api.js";
import { h, keep } from "../app/dom.js";
import { number } from "../app/format.js";
import { live } from "../app/live.js";
import { complain } from "../app/notices.js";
import { session } from "../app/session.js";
import { t } from "../app/texts.js";
import { View } from "../app/view.js";
import { jobCard } from "../parts/job_card.js";
import { isOver } from "../parts/job_words.js";

/** @typedef {import("../parts/job_card.js").Job} Job */

/** Of waiting jobs; the others are counted. */
const MOST_WAITING = 60;
/** Of waiting jobs whose place is asked for: those that somebody looks at. */
const PLACED = 15;
const MOST_ENDED = 30;
/** What has changed within this time is read together. */
const GATHER_MS = 250;

class QueueView extends View {
  /** @type {Map<string, Job>} */
  #jobs = new Map();
  /** @type {Set<string> | null} the jobs to read again; null: all */
  #stale = new Set();
  #timer = 0;

  #count = h("p", { class: "muted", role: "status" });
  #pause = h("button", { type: "button", onclick: () => void this.#turn() });
  #isPaused = false;
  /** @type {Record<string, HTMLElement>} */
  #lists = {};

  start() {
    const sections = /** @type {const} */ (["processing", "waiting", "ended"]).map((name) => {
      const list = h("div", { class: "jobs" });
      this.#lists[name] = list;
      return h(
        "section",
        { "aria-labelledby": `queue-${name}` },
        h("h2", { id: `queue-${name}` }, t(`queue.${name}`)),
        list,
      );
    });
    this.replaceChildren(
      h("div", { class: "row apart head" }, h("h1", {}, t("nav.queue")), this.#count, this.#pause),
      ...sections,
    );
    this.#pause.hidden = true;
    live.on(["reset"], () => this.#read(null), this.signal);
    live.on(["job"], ({ id }) => this.#read(id), this.signal);
    live.on(["queue"], () => void this.#readQueue().catch(complain), this.signal);
    live.on(["job_progress"], (progress) => this.#card(progress.job_id)?.advance(progress), this.signal);
    this.addEventListener("reordered", () => this.#read(null));
    this.#read(null);
  }

  disconnectedCallback() {
    clearTimeout(this.#timer);
    super.disconnectedCallback();
  }

  /** @param {string} jobId */
  #card(jobId) {
    return /** @type {ReturnType<typeof jobCard> | null} */ (this.querySelector(`[data-key="${CSS.escape(jobId)}"]`));
  }

  /**
   * Read a job again, or all of them, together with whatever else changes now.
   * @param {string | null} jobId
   */
  #read(jobId) {
    if (jobId === null) this.#stale = null;
    else this.#stale?.add(jobId);
    if (this.#timer !== 0) return;
    this.#timer = setTimeout(async () => {
      const stale = this.#stale;
      this.#stale = new Set();
      try {
        await (stale === null || stale.size > PLACED ? this.#readAll() : this.#readSome(stale));
        await this.#readQueue();
        this.#show();
        await this.#readPlaces();
      } catch (error) {
        if (!this.signal.aborted) complain(error);
      }
      this.#timer = 0;
      if (this.#stale === null || this.#stale.size > 0) this.#read([...(this.#stale ?? [])][0] ?? null);
    }, GATHER_MS);
  }

  async #readAll() {
    const found = new Map();
    /** @param {Record<string, string | number>} query @param {number} most */
    const take = async (query, most) => {
      let left = most;
      for await (const job of all("v1/jobs", { limit: Math.min(most, 100), ...query }, this.signal)) {
        if (left-- <= 0) break;
        found.set(job.job_id, job);
      }
    };
    await take({ status: "processing" }, 200);
    await take({ status: "waiting", order: "oldest" }, MOST_WAITING);
    await take({}, MOST_ENDED);
    this.#jobs = found;
  }

  /** @param {Set<string>} ids */
  async #readSome(ids) {
    await Promise.all(
      [...ids].map(async (id) => {
        try {
          this.#jobs.set(id, await call("GET", `v1/jobs/${id}`, { signal: this.signal }));
        } catch (error) {
          if (this.signal.aborted) throw error;
          this.#jobs.delete(id); // deleted meanwhile
        }
      }),
    );
  }

  /** Ask for the places of those that wait and can be seen: lists do not tell them. */
  async #readPlaces() {
    const next = this.#waiting().slice(0, PLACED);
    if (next.length === 0) return;
    await this.#readSome(new Set(next.map((job) => job.job_id)));
    this.#show();
  }

  async #readQueue() {
    const { waiting, processing, paused } = await call("GET", "v1/queue", { signal: this.signal });
    this.#count.textContent = t("queue.count", { waiting: number(waiting), processing: number(processing) });
    this.#isPaused = paused;
    this.#pause.textContent = t(paused ? "queue.resume" : "queue.pause");
    this.#pause.hidden = !session.isAdmin;
  }

  async #turn() {
    await call("PATCH", `v1/queue/${this.#isPaused ? "resume" : "pause"}`).catch(complain);
    await this.#readQueue().catch(complain);
  }

  /** @returns {Job[]} */
  #waiting() {
    return [...this.#jobs.values()]
      .filter((job) => job.status === "waiting")
      .sort((a, b) => (a.queue_position ?? Infinity) - (b.queue_position ?? Infinity) || order(a, b));
  }

  #show() {
    const jobs = [...this.#jobs.values()];
    const ended = jobs.filter(isOver).sort((a, b) => order(b, a));
    const shown = {
      processing: jobs.filter((job) => job.status === "processing").sort(order),
      waiting: this.#waiting().slice(0, MOST_WAITING),
      ended: ended.slice(0, MOST_ENDED),
    };
    for (const [name, some] of Object.entries(shown)) {
      const list = /** @type {HTMLElement} */ (this.#lists[name]);
      list.querySelector(":scope > .empty")?.remove();
      keep(list, some, { key: (job) => job.job_id, create: jobCard, update: (card, job) => card.update(job) });
      if (some.length === 0) list.append(h("p", { class: "empty" }, t(/** @type {any} */ (`queue.no_${name}`))));
    }
  }
}

customElements.define("queue-view", QueueView);

/**
 * Ids sort by the time of creation.
 * @param {Job} a
 * @param {Job} b
 */
function order(a, b) {
  return a.job_id < b.job_id ? -1 : 1;
}
