/**
 * @file The events of one job, with its previews. A browser has six connections to a server for all its tabs, so two
 * jobs at a time are followed this way; the others have the stream of everything.
 */

import { eventsOf } from "../app/event_stream.js";

const MOST = 2;
let open = 0;
/** @type {(() => void)[]} */
const waiting = [];

/**
 * Tell of a job until it ends, `signal` ends it, or the stream fails: then what the view hears of all jobs has to do.
 * @param {string} jobId
 * @param {(event: import("../app/event_stream.js").ServerEvent) => void} heard
 * @param {AbortSignal} signal
 */
export async function followJob(jobId, heard, signal) {
  if (open >= MOST && !(await turn(signal))) return;
  open += 1;
  try {
    for await (const event of eventsOf(`v1/jobs/${jobId}/events`, { signal })) heard(event);
  } catch {
    // Too many streams, or a lost connection.
  } finally {
    open -= 1;
    if (open < MOST) waiting.shift()?.();
  }
}

/**
 * Wait until a stream has ended.
 * @param {AbortSignal} signal
 * @returns {Promise<boolean>} false: `signal` came first
 */
function turn(signal) {
  return new Promise((resolve) => {
    const begin = () => resolve(true);
    waiting.push(begin);
    const leave = () => {
      waiting.splice(waiting.indexOf(begin), 1);
      resolve(false);
    };
    signal.addEventListener("abort", () => (waiting.includes(begin) ? leave() : undefined), { once: true });
  });
}
