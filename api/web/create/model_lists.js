/** @file The models and engines that a job can use, as the server knows them now. */

import { all, call } from "../app/api.js";
import { live } from "../app/live.js";

/** @typedef {{model_id: string, name: string, model_base: string | null, native_size: number | null,
 *   trigger_words: string[]}} Model */
/** @typedef {Record<string, any> & {engine_id: string, name: string | null, checkpoint: string, status: string,
 *   names: Record<string, string>}} Engine */

/** Dispatches `change` when a list that somebody has asked for may look different. */
export class ModelLists extends EventTarget {
  /** @type {Engine[]} */
  engines = [];
  /** @type {Model[]} */
  checkpoints = [];
  isRead = false;
  /** @type {Map<string, Promise<Model[]>>} */
  #byType = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {AbortSignal} signal */
  constructor(signal) {
    super();
    this.signal = signal;
    live.on(["reset", "model", "engine"], () => this.#later(), signal);
  }

  /** Read engines and checkpoints. */
  async read() {
    const [engines, checkpoints] = await Promise.all([
      everything("v1/engines", {}, this.signal),
      everything("v1/models", { model_type: "checkpoint", status: "ready" }, this.signal),
    ]);
    [this.engines, this.checkpoints, this.isRead] = [engines, checkpoints, true];
    this.dispatchEvent(new Event("change"));
  }

  /**
   * The ready models of a type, by name.
   * @param {string} type
   * @returns {Promise<Model[]>}
   */
  of(type) {
    let found = this.#byType.get(type);
    if (found === undefined) {
      found = everything("v1/models", { model_type: type, status: "ready" }, this.signal);
      this.#byType.set(type, found);
    }
    return found;
  }

  /**
   * The checkpoint of a job with these fields; null: the server will choose.
   * @param {Record<string, any>} fields
   * @returns {Model | null}
   */
  checkpointOf(fields) {
    const engine = this.engineOf(fields);
    const wanted = engine?.checkpoint ?? fields["checkpoint"];
    const only = this.checkpoints.length === 1 && !fields["engine_id"] && !fields["engine"] && !wanted;
    if (only) return this.checkpoints[0] ?? null;
    return this.checkpoints.find((model) => model.model_id === wanted || model.name === wanted) ?? null;
  }

  /**
   * @param {Record<string, any>} fields
   * @returns {Engine | null}
   */
  engineOf(fields) {
    const { engine_id: id, engine: name } = fields;
    return (
      this.engines.find((one) => (id ? one.engine_id === id : name && [one.name, one.engine_id].includes(name))) ?? null
    );
  }

  /** One reading for a burst of news. */
  #later() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#byType.clear();
      if (!this.signal.aborted) void this.read().catch(() => {});
    }, 300);
  }
}

/**
 * @param {string} path
 * @param {Record<string, string>} query
 * @param {AbortSignal} signal
 */
async function everything(path, query, signal) {
  const items = [];
  for await (const item of all(path, query, signal)) items.push(item);
  return items.sort((one, other) => (one.name ?? "").localeCompare(other.name ?? ""));
}

/** @type {Promise<[any, any]> | null} */
let description = null;

/** The description of the API, and what this installation can do: read once. */
export function describedApi() {
  description ??= Promise.all([call("GET", "openapi.json"), call("GET", "v1/capabilities")]);
  description.catch(() => (description = null));
  return description;
}
