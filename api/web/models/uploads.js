/** @file Files on their way to the server. They go on while other views are shown, and end with the page. */

import { address, randomId } from "../app/api.js";
import { ApiError } from "../app/errors.js";

/**
 * @typedef {{id: string, name: string, progress: import("../parts/meter.js").BytesProgress, cancel: () => void}}
 * Upload
 */

class Uploads extends EventTarget {
  /** @type {Map<string, Upload>} */
  running = new Map();

  /**
   * Send a file. `change` is dispatched as it goes on.
   * @param {File} file
   * @param {Record<string, string | string[]>} fields
   * @returns {Promise<any>} the model, which is inspected then
   * @throws {ApiError | DOMException}
   */
  send(file, fields) {
    const request = new XMLHttpRequest(); // fetch does not tell how much was sent
    const id = randomId();
    const began = performance.now();
    const progress = { bytes: 0, total_bytes: file.size, bytes_per_s: null };
    this.running.set(id, { id, name: file.name, progress, cancel: () => request.abort() });
    this.#say();
    request.upload.addEventListener("progress", ({ loaded, total }) => {
      const seconds = (performance.now() - began) / 1000;
      const speed = seconds > 1 ? Math.round(loaded / seconds) : null;
      Object.assign(progress, { bytes: loaded, total_bytes: total, bytes_per_s: speed });
      this.#say();
    });
    return new Promise((resolve, reject) => {
      request.addEventListener("loadend", () => {
        this.running.delete(id);
        this.#say();
        if (request.status >= 200 && request.status < 300) resolve(JSON.parse(request.responseText));
        else reject(problemOf(request));
      });
      request.addEventListener("abort", () => reject(new DOMException("cancelled", "AbortError")));
      request.open("POST", address("v1/models/upload"));
      request.setRequestHeader("Idempotency-Key", id);
      request.send(formOf(file, fields));
    });
  }

  #say() {
    this.dispatchEvent(new Event("change"));
  }
}

/**
 * The file comes last, so that what is said of it is known before it.
 * @param {File} file
 * @param {Record<string, string | string[]>} fields
 */
function formOf(file, fields) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    for (const one of Array.isArray(value) ? value : [value]) form.append(name, one);
  }
  form.append("file", file);
  return form;
}

/** @param {XMLHttpRequest} request */
function problemOf(request) {
  let problem = {};
  try {
    problem = JSON.parse(request.responseText);
  } catch {
    // Nothing, or something between the page and the server, has answered.
  }
  return new ApiError(request.status, problem);
}

/** The uploads of this page. */
export const uploads = new Uploads();
