/** @file How the server is: its state, its disks, its versions. */

import { call } from "../app/api.js";
import { fill, h } from "../app/dom.js";
import { bytes, duration, number } from "../app/format.js";
import { complain } from "../app/notices.js";
import { t, word } from "../app/texts.js";
import { readAgain } from "../engines/devices.js";
import { copyButton } from "../parts/copy.js";
import { meter } from "../parts/meter.js";

const FOLDERS = /** @type {const} */ (["images", "models", "inputs", "database", "logs"]);

/** @typedef {{path: string, total_bytes: number | null, free_bytes: number | null, files: number | null, used_bytes: number | null}} Folder */

/**
 * @typedef {object} System
 * @property {Record<string, any> | null} manager
 * @property {{code: string, detail: string} | null} error
 * @property {{automatic_spoon: string, protocol: string, schema_number: number, python: string, system: string,
 *   packages: Record<string, string | null>}} versions
 * @property {Record<string, any>} storage
 */

/**
 * The sections of the overview for admins, which are read again while `signal` lasts.
 * @param {AbortSignal} signal
 * @returns {HTMLElement[]}
 */
export function overview(signal) {
  const state = h("div", { class: "stack" });
  const disks = h("div", { class: "stack" });
  const versions = h("div", { class: "stack" });
  const read = async () => {
    try {
      const system = /** @type {System} */ (await call("GET", "v1/system", { signal }));
      fill(state, ...stateOf(system));
      fill(disks, ...disksOf(system));
      fill(versions, ...versionsOf(system));
    } catch (error) {
      complain(error);
    }
  };
  readAgain(read, signal);
  return [
    section(t("system.state"), state),
    section(t("system.disks"), disks),
    section(t("system.versions"), versions),
  ];
}

/**
 * @param {string} title
 * @param {...Node} content
 */
export function section(title, ...content) {
  return h("section", { class: "card stack" }, h("h2", {}, title), ...content);
}

/**
 * @param {[name: string, value: string | Node][]} rows
 * @returns {HTMLElement}
 */
export function facts(rows) {
  return h("dl", { class: "facts" }, ...rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

/** @param {System} system */
function stateOf({ manager, error }) {
  if (manager === null) return [h("p", { class: "trouble" }, error?.detail ?? t("system.no_manager"))];
  const troubles = [
    manager.is_disk_low ? t("system.disk_low") : null,
    manager.is_models_disk_low ? t("system.models_disk_low") : null,
    manager.internal_errors > 0
      ? t("system.internal_errors", { count: manager.internal_errors, id: manager.last_internal_error })
      : null,
    manager.api_restarts > 0
      ? t("system.api_restarts", { count: manager.api_restarts, why: manager.api_last_failure ?? "" })
      : null,
  ];
  const isWell = manager.phase === "running";
  return [
    h("p", {}, h("span", { class: `badge ${isWell ? "good" : "warning"}` }, word("system.phase", manager.phase))),
    ...troubles.filter((one) => one !== null).map((one) => h("p", { class: "trouble" }, one)),
    facts([
      [t("system.uptime"), duration(manager.uptime_s)],
      [t("system.jobs"), t("engines.jobs", { waiting: manager.jobs_waiting, processing: manager.jobs_processing })],
      [t("system.engines"), number(manager.engines_running)],
      [t("system.standbys"), number(manager.standby_workers)],
    ]),
  ];
}

/**
 * Folders on the same disk share a bar, as far as their numbers tell.
 * @param {System} system
 */
function disksOf({ storage }) {
  return [
    ...FOLDERS.map((name) => folderOf(name, storage[name])),
    h(
      "p",
      { class: "hint" },
      storage.min_free_bytes === 0 ? "" : t("system.limits", { free: bytes(storage.min_free_bytes) }),
      " ",
      storage.image_quota_bytes === null ? "" : t("system.quota", { size: bytes(storage.image_quota_bytes) }),
    ),
  ];
}

/**
 * @param {string} name
 * @param {Folder | null} folder
 */
function folderOf(name, folder) {
  if (folder === null) {
    return h("p", { class: "trouble" }, t("system.no_answer", { folder: word("system.folder", name) }));
  }
  const { total_bytes: total, free_bytes: free, used_bytes: used, files } = folder;
  const title = word("system.folder", name);
  const holds = files === null ? "" : t("system.files", { count: files, size: bytes(used ?? 0) });
  const below = h("p", { class: "small muted" }, h("code", {}, folder.path), holds ? ` · ${holds}` : "");
  if (total === null || free === null) {
    return h("div", {}, h("strong", {}, title), h("p", { class: "warned small" }, t("system.unreadable")), below);
  }
  const own = Math.min(used ?? 0, total - free);
  const shares = [
    { kind: "promised", amount: own, text: t("system.own") },
    { kind: "other", amount: total - free - own, text: t("system.other_files") },
  ];
  return h("div", {}, meter(title, total, shares, t("system.free")), below);
}

/** @param {System} system */
function versionsOf({ versions }) {
  const { packages, ...own } = versions;
  const rows = /** @type {[string, string][]} */ ([
    ...Object.entries(own).map(([name, value]) => [word("system.version", name), String(value)]),
    ...Object.entries(packages).map(([name, value]) => [name, value ?? t("system.not_installed")]),
  ]);
  const text = rows.map(([name, value]) => `${name}: ${value}`).join("\n");
  return [facts(rows), h("div", { class: "buttons" }, copyButton(text, t("system.copy_versions"), t("copy.copy")))];
}
