/** @file What every view says of a job: its state, how far it is, and what it waits for. */

import { duration } from "../app/format.js";
import { t, word } from "../app/texts.js";

/** @typedef {{stage: string, step: number, steps: number, fraction: number, eta_s: number | null}} Progress */

const BADGES = /** @type {Record<string, string>} */ ({ processing: "busy", finished: "good", failed: "bad" });

/** @param {{status: string}} job */
export const isOver = ({ status }) => status !== "waiting" && status !== "processing";

/** @param {string} status */
export const badgeOf = (status) => `badge ${BADGES[status] ?? ""}`.trim();

/** @param {string} status */
export const stateText = (status) => word("job.status", status);

/** @param {Record<string, any>} job one, or an image */
export const promptOf = ({ prompt }) => prompt || t("job.no_prompt");

/**
 * @param {Progress} progress
 * @returns {string}
 */
export function progressText({ stage, step, steps, eta_s: etaS }) {
  const parts = [word("job.stage", stage)];
  if (stage === "denoising") parts.push(t("job.step", { step, steps }));
  if (etaS !== null) parts.push(t("job.eta", { time: duration(etaS) }));
  return parts.join(" · ");
}

/**
 * @param {{status: string, queue_position?: number | null, queue_eta_s?: number | null, waits_for?: string | null}} job
 * @returns {string} empty, unless it waits
 */
export function waitText({ status, queue_position: place, queue_eta_s: etaS, waits_for: reason }) {
  if (status !== "waiting") return "";
  const parts = [];
  if (place) parts.push(t("job.position", { position: place }));
  if (etaS !== null && etaS !== undefined) parts.push(t("job.turn_in", { time: duration(etaS) }));
  if (reason) parts.push(word("job.waits_for", reason));
  return parts.join(" · ");
}
