/** @file Asks the server, while somebody types, whether the job would be accepted. */

import { call } from "../app/api.js";
import { ApiError } from "../app/errors.js";

const QUIET_MS = 350;

/** Checks what is in the form when nobody has typed for a moment; only the last answer counts. */
export class Validation {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {AbortController | null} */
  #asking = null;

  /**
   * @param {() => Promise<Record<string, any>>} body of the job
   * @param {(error: ApiError | null, engineId: string | null) => void} onAnswer
   * @param {AbortSignal} signal
   */
  constructor(body, onAnswer, signal) {
    this.body = body;
    this.onAnswer = onAnswer;
    signal.addEventListener("abort", () => this.stop());
  }

  /** Ask in a moment, rather than what was to be asked. */
  later() {
    this.stop();
    this.#timer = setTimeout(() => void this.#ask(), QUIET_MS);
  }

  stop() {
    clearTimeout(this.#timer);
    this.#asking?.abort();
  }

  async #ask() {
    const asking = (this.#asking = new AbortController());
    try {
      const body = await this.body();
      const query = { validate_only: true };
      const found = await call("POST", "v1/jobs", { query, body, once: true, signal: asking.signal });
      if (!asking.signal.aborted) this.onAnswer(null, found.engine_id);
    } catch (error) {
      if (asking.signal.aborted || !(error instanceof ApiError)) return;
      if (!error.isTemporary) this.onAnswer(error, null);
    }
  }
}
