/** @file Follows open jobs: two by their own streams, with previews; the others by what the page's stream says. */

import { call } from "../app/api.js";
import { ApiError } from "../app/errors.js";
import { live } from "../app/live.js";
import { followJob } from "../parts/job_stream.js";
import { isOver } from "../parts/job_words.js";

/** @typedef {Record<string, any> & {job_id: string, status: string}} Job */
/** @typedef {{onJob: (job: Job) => void, onProgress: (data: any) => void, onPreview: (data: any) => void,
 *   onGone: () => void}} Follower */

const BURST_MS = 300;

export class JobStreams {
  /** @type {Map<string, Follower>} open jobs, the oldest first */
  #open = new Map();
  /** @type {Map<string, AbortController>} */
  #streams = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {AbortSignal} signal */
  constructor(signal) {
    this.signal = signal;
    live.on(["job_progress"], (data) => this.#open.get(data.job_id)?.onProgress(data), signal);
    live.on(["job"], (data) => void this.#read(data.id), signal);
    live.on(["image"], () => this.#soon(), signal);
    live.on(["reset"], () => this.#again(), signal);
    document.addEventListener("visibilitychange", () => this.#again(), { signal });
    signal.addEventListener("abort", () => this.#again());
  }

  /**
   * Tell of a job until it has ended.
   * @param {string} jobId
   * @param {Follower} follower
   */
  follow(jobId, follower) {
    this.#open.set(jobId, follower);
    void this.#stream(jobId);
  }

  /** @param {string} jobId */
  leave(jobId) {
    this.#open.delete(jobId);
    this.#streams.get(jobId)?.abort();
    this.#streams.delete(jobId);
  }

  /** @param {string} jobId */
  async #stream(jobId) {
    if (document.hidden || this.signal.aborted) return; // connections are for those who look
    const stream = new AbortController();
    this.#streams.set(jobId, stream);
    await followJob(jobId, (event) => this.#hear(jobId, event), stream.signal);
    if (!stream.signal.aborted) await this.#read(jobId);
  }

  /**
   * @param {string} jobId
   * @param {import("../app/event_stream.js").ServerEvent} event
   */
  #hear(jobId, { name, data }) {
    const follower = this.#open.get(jobId);
    if (name === "progress") follower?.onProgress(data);
    else if (name === "preview") follower?.onPreview(data);
    else if (name !== "engine_progress") void this.#read(jobId);
  }

  /** Open the streams anew, and look at every job. */
  #again() {
    for (const stream of this.#streams.values()) stream.abort();
    this.#streams.clear();
    for (const jobId of this.#open.keys()) void this.#stream(jobId);
    this.#soon();
  }

  /** Look at every open job, once for a burst of news. */
  #soon() {
    clearTimeout(this.#timer);
    if (this.signal.aborted || this.#open.size === 0) return;
    this.#timer = setTimeout(() => [...this.#open.keys()].forEach((jobId) => void this.#read(jobId)), BURST_MS);
  }

  /** @param {string} jobId */
  async #read(jobId) {
    const follower = this.#open.get(jobId);
    if (follower === undefined || this.signal.aborted) return;
    try {
      const job = await call("GET", `v1/jobs/${jobId}`, { signal: this.signal });
      if (!this.#open.has(jobId)) return; // another answer has come first: it has ended
      follower.onJob(job);
      if (isOver(job)) this.leave(jobId);
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) {
        follower.onGone();
        this.leave(jobId);
      }
    }
  }
}
