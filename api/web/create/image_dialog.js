/** @file Asks what an image becomes that somebody has pasted, dropped or chosen. */

import { call } from "../app/api.js";
import { openDialog } from "../app/dialogs.js";
import { h } from "../app/dom.js";
import { t } from "../app/texts.js";

/** @typedef {{source: string, job: Record<string, any>, unmapped: {name: string, value: string, reason: string}[],
 *   more: number}} Infotext */

/**
 * @param {Blob} image
 * @param {{hasReference: boolean}} options
 * @returns {Promise<{use: string, infotext: Infotext | null}>} use: a role, `settings`, or "" for nothing
 */
export async function askWhatFor(image, { hasReference }) {
  const infotext = await infotextOf(image);
  const url = URL.createObjectURL(image);
  const choice = (
    /** @type {(result: string) => void} */ close,
    /** @type {string} */ use,
    /** @type {string} */ text,
  ) => h("button", { type: "button", onclick: () => close(use) }, text);
  const use = await openDialog(t("create.what_for"), (close) => [
    h("img", { src: url, alt: "", class: "asked" }),
    h(
      "div",
      { class: "choices" },
      infotext === null ? null : choice(close, "settings", t("create.as_settings")),
      choice(close, "reference", t("create.as_reference")),
      hasReference ? choice(close, "mask", t("create.as_mask")) : null,
      choice(close, "pose", t("create.as_pose")),
    ),
  ]);
  URL.revokeObjectURL(url);
  return { use, infotext };
}

/**
 * How the image was made, if it says so.
 * @param {Blob} image
 * @returns {Promise<Infotext | null>}
 */
async function infotextOf(image) {
  try {
    return await call("POST", "v1/infotext", { form: image, once: true });
  } catch {
    return null; // it says nothing, or is no image: that is found out by its use
  }
}

/**
 * What an image said that the form does not have.
 * @param {Infotext} infotext
 */
export function notTakenOver({ unmapped, more }) {
  const items = unmapped.map(({ name, value, reason }) =>
    h("li", {}, h("strong", {}, name), value ? `: ${value}` : "", ` — ${reason}`),
  );
  if (more > 0) items.push(h("li", {}, t("create.and_more", { count: more })));
  return items.length === 0 ? null : h("ul", {}, ...items);
}
