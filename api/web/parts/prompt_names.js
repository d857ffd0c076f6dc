/**
 * @file What prompts may name: LoRAs and embeddings of the server. Read when somebody first writes a prompt, and
 * again when models have changed; all fields of the page share it. Of lists of wildcards there may be thousands, and
 * nobody tells when they change: the server is asked for those that fit.
 */

import { all, call } from "../app/api.js";
import { live } from "../app/live.js";
import { t } from "../app/texts.js";

/**
 * @typedef {{kind: "lora" | "embedding" | "wildcard", model_id: string, name: string, word: string,
 *   base: string | null}} Named
 */

/** @type {Promise<Named[]> | null} */
let reading = null;

live.on(["reset", "model"], () => (reading = null), new AbortController().signal);

/**
 * All of them, by name.
 * @returns {Promise<Named[]>}
 */
export function promptNames() {
  reading ??= read().catch((error) => {
    reading = null;
    throw error;
  });
  return reading;
}

/**
 * The lists of wildcards with this in their names.
 * @param {string} search
 * @param {number} limit
 * @param {AbortSignal} signal
 * @returns {Promise<Named[]>}
 */
export async function wildcardNames(search, limit, signal) {
  const { items } = await call("GET", "v1/wildcards", { query: { search: search || null, limit }, signal });
  return items.map((/** @type {{name: string, lines: number}} */ { name, lines }) => ({
    kind: "wildcard",
    model_id: name,
    name,
    word: name,
    base: t("prompt.lines", { count: lines }),
  }));
}

/** @returns {Promise<Named[]>} */
async function read() {
  const found = [];
  for (const kind of /** @type {const} */ (["lora", "embedding"])) {
    for await (const model of all("v1/models", { model_type: kind, status: "ready" })) {
      const word = kind === "embedding" ? (model.trigger_words[0] ?? model.name) : model.name;
      found.push({ kind, model_id: model.model_id, name: model.name, word, base: model.model_base });
    }
  }
  return found.sort((a, b) => a.word.localeCompare(b.word));
}
