/** @file The words of the page: every text is in `text/en.js`, by its key; a translation is a file like it. */

import { EN } from "../text/en.js";

/** @typedef {keyof typeof EN} TextKey */

/** @type {Record<string, string | Record<string, string>>} */
const TEXTS = EN;

const rules = new Intl.PluralRules("en");

/**
 * A text; `{name}` in it is replaced by the value of that name. Where a text has several forms, `count`
 * chooses one.
 * @param {TextKey} key
 * @param {Record<string, string | number>} [values]
 * @returns {string}
 */
export function t(key, values = {}) {
  const found = TEXTS[key] ?? key;
  const text = typeof found === "string" ? found : (found[rules.select(Number(values.count))] ?? found["other"] ?? key);
  return text.replaceAll(/\{(\w+)\}/g, (all, name) => (name in values ? String(values[name]) : all));
}

/**
 * The text of a value of the API, such as a state; the value itself if there is none.
 * @param {string} group the beginning of the key
 * @param {string} value
 * @returns {string}
 */
export function word(group, value) {
  const key = `${group}.${value}`;
  return key in TEXTS ? t(/** @type {TextKey} */ (key)) : value.replaceAll("_", " ");
}
