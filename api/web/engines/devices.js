/** @file The memory of each device: what engines have been promised, what others use, what is left. */

import { call } from "../app/api.js";
import { fill, h } from "../app/dom.js";
import { live } from "../app/live.js";
import { complain } from "../app/notices.js";
import { t } from "../app/texts.js";
import { meter } from "../parts/meter.js";

const AGAIN_MS = 10_000;

/** @typedef {{device: string, name: string, total_bytes: number, free_bytes: number, promised_bytes: number, available_bytes: number}} Device */

/**
 * An element with the devices, which follows them while `signal` lasts.
 * @param {AbortSignal} signal
 * @returns {HTMLElement}
 */
export function devicesOf(signal) {
  const element = h("div", { class: "devices" });
  const read = async () => {
    try {
      const { items } = await call("GET", "v1/devices", { signal });
      fill(element, ...items.map(deviceOf));
    } catch (error) {
      complain(error);
    }
  };
  live.on(["engine", "reset"], () => void read(), signal);
  readAgain(read, signal);
  return element;
}

/**
 * Read now, and again while somebody looks: nobody tells when other programs take memory or disk.
 * @param {() => Promise<void>} read
 * @param {AbortSignal} signal
 */
export function readAgain(read, signal) {
  const timer = setInterval(() => document.hidden || void read(), AGAIN_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
  void read();
}

/** @param {Device} device */
function deviceOf(device) {
  const { total_bytes: total, promised_bytes: promised, available_bytes: available } = device;
  const other = Math.max(0, total - promised - available);
  return meter(
    `${device.device} · ${device.name}`,
    total,
    [
      { kind: "promised", amount: promised, text: t("engines.promised") },
      { kind: "other", amount: other, text: t("engines.other") },
    ],
    t("engines.available"),
  );
}
