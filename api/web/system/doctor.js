/** @file What the doctor finds about the installation: what is missing first, each with its remedy. */

import { call } from "../app/api.js";
import { fill, h, set } from "../app/dom.js";
import { complain } from "../app/notices.js";
import { t, word } from "../app/texts.js";
import { copyButton } from "../parts/copy.js";

/** @typedef {{subject: string, verdict: "ok" | "note" | "missing", found: string, remedy: string | null}} Finding */

const BADGES = { ok: "good", note: "warning", missing: "bad" };
const AGAIN_MS = 300;

/**
 * @param {AbortSignal} signal
 * @returns {HTMLElement[]}
 */
export function doctor(signal) {
  const findings = h("div", { class: "stack", role: "status" });
  const again = h("button", { type: "button", onclick: () => void examine() }, t("system.examine"));
  const examine = async () => {
    set(again, { disabled: true });
    try {
      for (;;) {
        const { items, is_complete: isComplete } = await call("GET", "v1/system/doctor", { signal });
        show(findings, items, isComplete);
        if (isComplete) break;
        await new Promise((resume) => setTimeout(resume, AGAIN_MS));
      }
    } catch (error) {
      complain(error);
    } finally {
      set(again, { disabled: false });
    }
  };
  void examine();
  return [findings, h("div", { class: "buttons" }, again)];
}

/**
 * @param {HTMLElement} element
 * @param {Finding[]} items
 * @param {boolean} isComplete
 */
function show(element, items, isComplete) {
  const missing = items.filter((one) => one.verdict === "missing");
  const notes = items.filter((one) => one.verdict === "note");
  const well = items.filter((one) => one.verdict === "ok");
  const isOpen = element.querySelector("details")?.open ?? false;
  const sum = missing.length > 0 ? t("system.missing", { count: missing.length }) : t("system.nothing_missing");
  fill(
    element,
    h("p", { class: missing.length > 0 ? "trouble" : "fits" }, isComplete ? sum : t("system.examining")),
    h("ul", { class: "stack" }, ...[...missing, ...notes].map(itemOf)),
    h(
      "details",
      { open: isOpen },
      h("summary", {}, t("system.well", { count: well.length })),
      h("ul", { class: "stack" }, ...well.map(itemOf)),
    ),
  );
}

/** @param {Finding} finding */
function itemOf({ subject, verdict, found, remedy }) {
  return h(
    "li",
    { class: "finding" },
    h("span", { class: `badge ${BADGES[verdict]}` }, word("system.verdict", verdict)),
    h(
      "div",
      {},
      h("strong", {}, subject),
      h("p", { class: "small" }, found),
      remedy === null
        ? null
        : h(
            "p",
            { class: "small remedy" },
            remedy,
            copyButton(remedy, t("system.copy_remedy", { subject }), t("copy.copy")),
          ),
    ),
  );
}
