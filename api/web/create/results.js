/** @file The jobs of this browser, newest first: they are here after a reload, too. */

import { call } from "../app/api.js";
import { h } from "../app/dom.js";
import { readDraft, writeDraft } from "../app/drafts.js";
import { ApiError } from "../app/errors.js";
import { live } from "../app/live.js";
import { complain } from "../app/notices.js";
import { t } from "../app/texts.js";
import { isOver } from "../parts/job_words.js";
import { JobCard } from "./job_card.js";
import { JobStreams } from "./job_streams.js";

/** @typedef {import("./job_streams.js").Job} Job */

const DRAFT = "create.jobs";
const SHOWN = 12;

export class Results {
  /** @type {Map<string, JobCard>} the newest last */
  #cards = new Map();
  /** @type {string[]} jobs that could not be read yet */
  #unread = [];
  #list = h("ul", { class: "jobs" });
  #empty = h("p", { class: "empty" }, t("create.no_jobs"));

  /**
   * @param {{onReference: (imageId: string) => void, signal: AbortSignal}} options
   */
  constructor({ onReference, signal }) {
    this.signal = signal;
    this.streams = new JobStreams(signal);
    this.acts = {
      again: (/** @type {string} */ like) => void this.submit({ like, seed: -1, previews: true }).catch(complain),
      reference: onReference,
      retry: (/** @type {string} */ id) => void this.#retry(id).catch(complain),
      hide: (/** @type {string} */ id) => this.#hide(id),
    };
    this.element = h("section", { class: "results", "aria-label": t("create.results") }, this.#empty, this.#list);
  }

  /** The seed of the newest job; null: there is none. */
  get lastSeed() {
    return [...this.#cards.values()].at(-1)?.job["seed"] ?? null;
  }

  /** Show the jobs that this browser remembers. */
  async read() {
    this.#unread = readDraft(DRAFT) ?? [];
    live.on(["reset"], () => void this.#readRest(), this.signal);
    await this.#readRest();
  }

  async #readRest() {
    const ids = this.#unread;
    this.#unread = [];
    const jobs = await Promise.all(ids.map((id) => this.#job(id)));
    for (const job of jobs) if (job !== null) this.#show(job);
    this.#remember();
  }

  /**
   * Submit a job, and show it.
   * @param {Record<string, any>} body
   * @returns {Promise<Job>}
   * @throws {ApiError}
   */
  async submit(body) {
    const job = await call("POST", "v1/jobs", { body });
    this.#show(job);
    this.#remember();
    return job;
  }

  /** @param {string} id */
  async #retry(id) {
    this.#show(await call("POST", `v1/jobs/${id}/retry`));
    this.#hide(id);
  }

  /**
   * @param {string} id
   * @returns {Promise<Job | null>} null: it is gone, or cannot be read now
   */
  async #job(id) {
    try {
      return await call("GET", `v1/jobs/${id}`, { signal: this.signal });
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 404)) this.#unread.push(id);
      return null;
    }
  }

  /** @param {Job} job */
  #show(job) {
    const card = new JobCard(job, this.acts);
    this.#cards.set(job.job_id, card);
    this.#list.prepend(card.element);
    this.#empty.hidden = true;
    if (isOver(job)) return;
    this.streams.follow(job.job_id, {
      onJob: (now) => card.update(now),
      onProgress: (data) => card.progress(data),
      onPreview: (data) => card.preview(data),
      onGone: () => this.#hide(job.job_id),
    });
  }

  /** @param {string} id */
  #hide(id) {
    this.#cards.get(id)?.element.remove();
    this.#cards.delete(id);
    this.streams.leave(id);
    this.#remember();
  }

  /** Keep the newest; open ones stay in any case. */
  #remember() {
    const ids = [...this.#cards.keys()];
    for (const id of ids.slice(0, -SHOWN)) {
      const card = this.#cards.get(id);
      if (card && isOver(card.job)) {
        card.element.remove();
        this.#cards.delete(id);
      }
    }
    this.#empty.hidden = this.#cards.size > 0;
    writeDraft(DRAFT, [...this.#unread, ...this.#cards.keys()]);
  }
}
