/**
 * @file What somebody has begun and not sent: kept in this browser, so that a reload loses nothing.
 *
 * Values are JSON in `localStorage`; images, which are large, are in IndexedDB.
 */

/**
 * What Create begins with: values of a job by the names of the API, and images by role.
 * @typedef {object} JobDraft
 * @property {Record<string, any>} [fields]
 * @property {Partial<Record<"reference" | "mask" | "pose" | "ip_adapter", DraftImage | null>>} [images]
 */

/**
 * An image that is kept here (by `keepImage`), or one of the server.
 * @typedef {{kept: string} | {image_id: string}} DraftImage
 */

const PREFIX = "spoon.draft.";
const STORE = "images";

/**
 * @param {string} name
 * @returns {any} null if there is none
 */
export function readDraft(name) {
  const text = localStorage.getItem(PREFIX + name);
  try {
    return text === null ? null : JSON.parse(text);
  } catch {
    return null; // somebody else's text: as good as none
  }
}

/**
 * @param {string} name
 * @param {unknown} value null: forget it
 */
export function writeDraft(name, value) {
  if (value === null) localStorage.removeItem(PREFIX + name);
  else localStorage.setItem(PREFIX + name, JSON.stringify(value));
}

/**
 * The door to Create: begin there with these values in place of what was there.
 * @param {JobDraft} draft
 */
export function openInCreate(draft) {
  writeDraft("create", draft);
  window.dispatchEvent(new CustomEvent("spoon-draft"));
  location.hash = "#/create";
}

/**
 * Keep an image under a name, in place of what was there.
 * @param {string} name
 * @param {Blob} image
 */
export async function keepImage(name, image) {
  await inStore("readwrite", (store) => store.put(image, name));
}

/**
 * @param {string} name
 * @returns {Promise<Blob | null>}
 */
export async function keptImage(name) {
  return (await inStore("readonly", (store) => store.get(name))) ?? null;
}

/** @param {string} name */
export async function dropImage(name) {
  await inStore("readwrite", (store) => store.delete(name));
}

/**
 * @template T
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest<T>} act
 * @returns {Promise<T>}
 */
async function inStore(mode, act) {
  const opening = indexedDB.open("spoon", 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
  const database = await settled(opening);
  try {
    return await settled(act(database.transaction(STORE, mode).objectStore(STORE)));
  } finally {
    database.close();
  }
}

/**
 * @template T
 * @param {IDBRequest<T>} request
 * @returns {Promise<T>}
 */
function settled(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
