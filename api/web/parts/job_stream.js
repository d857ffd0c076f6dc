/**
 * @file The events of one job, with its previews. A browser has six connections to a server for all its tabs, so two
 * jobs at a time are followed this way; the others have the stream of everything.
 */

import { eventsOf } from "../app/event_stream.js";

let free = 2;
/** @type {(() => void)[]} those who take the next places, in their order */
const waiting = [];

/**
 * Tell of a job until it ends, `signal` ends it, or the stream fails: then what the view hears of all jobs has to do.
 * @param {string} jobId
 * @param {(event: import("../app/event_stream.js").ServerEvent) => void} heard
 * @param {AbortSignal} signal
 */
export async function followJob(jobId, heard, signal) {
  if (!(await place(signal))) return;
  try {
    for await (const event of eventsOf(`v1/jobs/${jobId}/events`, { signal })) heard(event);
  } catch {
    // Too many streams, or a lost connection.
  } finally {
    const next = waiting.shift();
    if (next === undefined) free += 1;
    else next(); // the place is its
  }
}

/**
 * Take a place, as soon as there is one.
 * @param {AbortSignal} signal
 * @returns {Promise<boolean>} false: `signal` came first
 */
async function place(signal) {
  if (free > 0) {
    free -= 1;
    return true;
  }
  return new Promise((resolve) => {
    const take = () => resolve(true);
    waiting.push(take);
    signal.addEventListener(
      "abort",
      () => {
        const at = waiting.indexOf(take);
        if (at >= 0) waiting.splice(at, 1);
        resolve(false); // without effect once it has its place
      },
      { once: true },
    );
  });
}
