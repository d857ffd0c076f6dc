/** @file Follows open jobs: two by their own streams, with previews; the others by what the page's stream says. */

import { call } from "../app/api.js";
import { ApiError } from "../app/errors.js";
import { eventsOf } from "../app/event_stream.js";
import { live } from "../app/live.js";

/** @typedef {Record<string, any> & {job_id: string, status: string}} Job */
/** @typedef {{onJob: (job: Job) => void, onProgress: (data: any) => void, onPreview: (data: any) => void,
 *   onGone: () => void}} Follower */

/** A browser has six connections to a server; one is the page's stream, and requests need some. */
const MOST = 2;
const ENDED = ["finished", "failed", "cancelled"];

/** @param {Job} job */
export const isOver = (job) => ENDED.includes(job.status);

export class JobStreams {
  /** @type {Map<string, Follower>} open jobs, the oldest first */
  #open = new Map();
  /** @type {Map<string, AbortController>} */
  #streams = new Map();

  /** @param {AbortSignal} signal */
  constructor(signal) {
    this.signal = signal;
    live.on(["job_progress"], (data) => this.#open.get(data.job_id)?.onProgress(data), signal);
    live.on(["job"], (data) => void (this.#open.has(data.id) && this.#read(data.id)), signal);
    live.on(["image"], () => this.#readAll(true), signal);
    live.on(["reset"], () => this.#readAll(false), signal);
    document.addEventListener("visibilitychange", () => this.#assign(), { signal });
    signal.addEventListener("abort", () => this.#assign());
  }

  /**
   * Tell of a job until it has ended.
   * @param {string} jobId
   * @param {Follower} follower
   */
  follow(jobId, follower) {
    this.#open.set(jobId, follower);
    this.#assign();
  }

  /** @param {string} jobId */
  leave(jobId) {
    this.#open.delete(jobId);
    this.#assign();
  }

  /** Open the streams that are wanted, and close the others. */
  #assign() {
    const isIdle = this.signal.aborted || document.hidden;
    const wanted = isIdle ? [] : [...this.#open.keys()].slice(0, MOST);
    for (const [jobId, stream] of this.#streams) {
      if (wanted.includes(jobId)) continue;
      stream.abort();
      this.#streams.delete(jobId);
    }
    for (const jobId of wanted) {
      if (!this.#streams.has(jobId)) void this.#run(jobId);
    }
  }

  /** @param {string} jobId */
  async #run(jobId) {
    const stream = new AbortController();
    this.#streams.set(jobId, stream);
    try {
      for await (const { name, data } of eventsOf(`v1/jobs/${jobId}/events`, { signal: stream.signal })) {
        const follower = this.#open.get(jobId);
        if (name === "progress") follower?.onProgress(data);
        else if (name === "preview") follower?.onPreview(data);
        else if (name === "image" || name === "state" || name === "waiting") await this.#read(jobId);
      }
    } catch {
      // Refused, or the connection has failed: the page's stream tells what matters.
    }
    if (!stream.signal.aborted) await this.#read(jobId);
  }

  /** @param {boolean} isLocal only those without a stream */
  #readAll(isLocal) {
    for (const jobId of this.#open.keys()) {
      if (!(isLocal && this.#streams.has(jobId))) void this.#read(jobId);
    }
    if (!isLocal) {
      for (const stream of this.#streams.values()) stream.abort();
      this.#streams.clear();
      this.#assign();
    }
  }

  /** @param {string} jobId */
  async #read(jobId) {
    const follower = this.#open.get(jobId);
    if (follower === undefined) return;
    try {
      const job = await call("GET", `v1/jobs/${jobId}`, { signal: this.signal });
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
