/** @file What somebody types, as values of the API, and the other way round. What cannot be read stays as it was typed. */

/** @typedef {import("./field_schema.js").Kind} Kind */

/**
 * @param {Kind} kind
 * @param {string} text
 * @returns {any} null: nothing was typed
 */
export function valueOf(kind, text) {
  const typed = text.trim();
  if (typed === "") return null;
  switch (kind) {
    case "integer":
    case "number":
    case "duration":
      return numberOf(typed);
    case "numbers": {
      const all = parts(typed).map(numberOf);
      return all.length === 1 ? all[0] : all;
    }
    case "words":
      return parts(typed);
    case "options":
      return optionsOf(text);
    default:
      return text;
  }
}

/**
 * @param {any} value
 * @returns {string} as it is typed
 */
export function textOfValue(value) {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value)) return value.map(textOfValue).join(", ");
  if (typeof value !== "object") return String(value);
  return Object.entries(value)
    .map(([name, one]) => `${name} = ${one}`)
    .join("\n");
}

/** @param {string} typed */
const parts = (typed) => typed.split(/[,\s]+/).filter((part) => part !== "");

/** @param {string} text */
function numberOf(text) {
  const number = Number(text.replace(/^(-?\d*),(\d+)$/, "$1.$2"));
  const isExact = Number.isFinite(number) && (!Number.isInteger(number) || Number.isSafeInteger(number));
  return isExact ? number : text;
}

/**
 * Lines such as `timestep_spacing = trailing`.
 * @param {string} text
 */
function optionsOf(text) {
  /** @type {[string, any][]} */
  const found = [];
  for (const line of text.split("\n").filter((one) => one.trim() !== "")) {
    const [, name, value] = /^\s*([^=:]+?)\s*[=:]\s*(.*?)\s*$/.exec(line) ?? [];
    if (name === undefined || value === undefined) return text; // the server says what is wrong with it
    found.push([name, simple(value)]);
  }
  return Object.fromEntries(found);
}

/** @param {string} value */
function simple(value) {
  if (value === "true" || value === "false") return value === "true";
  const number = Number(value);
  return value !== "" && Number.isFinite(number) ? number : value;
}
