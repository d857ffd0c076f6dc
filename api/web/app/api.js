/** @file Requests to the REST API: the page uses nothing that a script could not use. */

import { ApiError } from "./errors.js";

/**
 * @typedef {object} Options
 * @property {Record<string, string | number | boolean | (string | number)[] | null | undefined>} [query] null,
 *   undefined and "": not given; a list: once for each
 * @property {unknown} [body] sent as JSON
 * @property {FormData | Blob} [form] sent as it is
 * @property {AbortSignal | null} [signal]
 * @property {boolean} [once] for calls that take no Idempotency-Key: then nothing is sent twice
 * @property {Record<string, string>} [headers]
 */

const RETRIES = 3;
const RETRY_MS = 400;

/** @type {(() => Promise<void>) | null} */
let signIn = null;

/**
 * Say what to do when the server wants a key: a promise that ends when somebody has signed in.
 * @param {() => Promise<void>} ask
 */
export function onSignInNeeded(ask) {
  signIn = ask;
}

/**
 * The address of a path of the server, wherever the page itself lies.
 * @param {string} path such as v1/jobs
 * @param {Options["query"]} [query]
 * @returns {string}
 */
export function address(path, query = {}) {
  const url = new URL(path, document.baseURI.split("#")[0]);
  for (const [name, value] of Object.entries(query)) {
    if (value === null || value === undefined || value === "") continue;
    for (const one of Array.isArray(value) ? value : [value]) url.searchParams.append(name, String(one));
  }
  return url.href;
}

/**
 * Send a request, and read its answer. A POST has an Idempotency-Key, so that it is sent again when the
 * network fails, and done once. Where a key is needed it waits until somebody has signed in.
 * @param {string} method
 * @param {string} path
 * @param {Options} [options]
 * @returns {Promise<any>} the JSON of the answer; null without one
 * @throws {ApiError}
 */
export async function call(method, path, options = {}) {
  const response = await send(method, path, options);
  if (response.status === 204) return null;
  const type = response.headers.get("Content-Type") ?? "";
  return type.includes("json") ? response.json() : response.blob();
}

/**
 * The same, for answers that are not JSON: the response itself, which is a success.
 * @param {string} method
 * @param {string} path
 * @param {Options} [options]
 * @returns {Promise<Response>}
 * @throws {ApiError}
 */
export async function send(method, path, options = {}) {
  for (;;) {
    const response = await reach(method, address(path, options.query), options);
    if (response.ok) return response;
    const error = await problemOf(response);
    if (error.status !== 401 || signIn === null || path === "v1/session") throw error;
    await signIn();
  }
}

/**
 * A request until it is answered, whatever the answer.
 * @param {string} method
 * @param {string} url
 * @param {Options} options
 * @returns {Promise<Response>}
 */
async function reach(method, url, { body, form, headers, once = false, signal = null }) {
  const all = new Headers(headers);
  if (body !== undefined) all.set("Content-Type", "application/json");
  if (method === "POST" && !once) all.set("Idempotency-Key", randomId());
  const content = form ?? (body === undefined ? null : JSON.stringify(body));
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await fetch(url, { method, headers: all, body: content, signal });
    } catch (error) {
      if (signal?.aborted) throw error;
      if (once || attempt >= RETRIES) throw new ApiError(0, { code: "unreachable" });
      await new Promise((resume) => setTimeout(resume, RETRY_MS * 2 ** attempt));
    }
  }
}

/**
 * All items of a list, page by page.
 * @param {string} path
 * @param {Options["query"]} [query]
 * @param {AbortSignal | null} [signal]
 * @returns {AsyncGenerator<any, void, void>}
 */
export async function* all(path, query = {}, signal = null) {
  for (let after = null; ;) {
    const page = await call("GET", path, {
      query: { limit: 200, ...query, after },
      signal,
    });
    yield* page.items;
    if (page.next === null) return;
    after = page.next;
  }
}

/** A random name. `crypto.randomUUID` is missing where the page comes from another machine without TLS. */
export function randomId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * @param {Response} response
 * @returns {Promise<ApiError>}
 */
export async function problemOf(response) {
  const retryAfter = Number(response.headers.get("Retry-After") ?? NaN);
  let problem = {};
  try {
    problem = await response.json();
  } catch {
    // Something between the page and the server has answered: its status is all there is to say.
  }
  return new ApiError(response.status, problem, Number.isNaN(retryAfter) ? null : retryAfter);
}
