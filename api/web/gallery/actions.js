/** @file What can be done with an image: make another, begin from it, keep, tell, delete. */

import { address, all, call } from "../app/api.js";
import { confirmed } from "../app/dialogs.js";
import { openInCreate } from "../app/drafts.js";
import { bytes } from "../app/format.js";
import { notify } from "../app/notices.js";
import { t } from "../app/texts.js";

/** @typedef {import("./image_list.js").GalleryImage} GalleryImage */
/** @typedef {import("../app/texts.js").TextKey} TextKey */

const VARIATIONS = 4;
/** How much of an image is made anew when it is made larger. */
const UPSCALE_STRENGTH = 0.35;
const UPSCALE_FACTOR = 2;
const INPAINT_STRENGTH = 0.75;
const SIDE_STEP = 8;
const MOST_DELETED = 200;
const MOST_ZIPPED = 500;

/**
 * Make the image again: as it is, or with other values.
 * @param {GalleryImage} image
 * @param {Record<string, unknown>} [other]
 */
async function submit(image, other = {}) {
  const job = await call("POST", "v1/jobs", { body: { like: image.image_id, ...other } });
  notify(t("gallery.submitted", { count: job.count }), {
    action: { text: t("gallery.to_queue"), run: () => (location.hash = "#/queue") },
  });
}

/**
 * Make more of an image with other seeds; with other choices, where its prompts were made by choices.
 * @param {GalleryImage} image
 */
async function vary(image) {
  const { prompt_template: prompt, negative_prompt_template: negative } = image;
  if (!prompt && !negative) return submit(image, { seed: -1, count: VARIATIONS });
  const templates = { ...(prompt ? { prompt } : {}), ...(negative ? { negative_prompt: negative } : {}) };
  for (let made = 0; made < VARIATIONS; made += 1) await submit(image, { seed: -1, wildcards: true, ...templates });
}

/**
 * What is done by a job, or begun in Create; by the keys of their texts.
 * @type {[TextKey, (image: GalleryImage) => Promise<void> | void][]}
 */
export const MAKING = [
  ["gallery.again", (image) => submit(image)],
  ["gallery.variations", vary],
  ["gallery.remove_background", removeBackground],
  ["gallery.change", ({ image_id: like }) => openInCreate({ fields: { like } })],
  ["gallery.reference", (image) => begin(image, {})],
  ["gallery.inpaint", (image) => begin(image, { strength: INPAINT_STRENGTH })],
  [
    "gallery.upscale",
    (image) =>
      begin(image, {
        width: larger(image.width),
        height: larger(image.height),
        strength: UPSCALE_STRENGTH,
        seed: image.seed,
      }),
  ],
];

/** Which of these need the file. */
export const FROM_FILE = new Set(["gallery.reference", "gallery.inpaint", "gallery.upscale"]);

/**
 * Open Create with the image as the reference.
 * @param {GalleryImage} image
 * @param {Record<string, unknown>} other
 */
function begin(image, other) {
  openInCreate({ fields: { like: image.image_id, ...other }, images: { reference: { image_id: image.image_id } } });
}

/** @param {number} side */
const larger = (side) => Math.round((side * UPSCALE_FACTOR) / SIDE_STEP) * SIDE_STEP;

/** @param {GalleryImage} image */
async function removeBackground(image) {
  for await (const model of all("v1/models", { model_type: "background", status: "ready" })) {
    await submit(image, { remove_background_models: [model.model_id] });
    return;
  }
  notify(t("gallery.no_remover"), {
    kind: "error",
    action: { text: t("nav.models"), run: () => (location.hash = "#/models") },
  });
}

/**
 * What can be copied, by the keys of their texts.
 * @type {[TextKey, (image: GalleryImage) => Promise<string> | string][]}
 */
export const COPYING = [
  ["gallery.copy_json", (image) => JSON.stringify(image, null, 2)],
  ["gallery.copy_curl", curlOf],
  ["gallery.copy_infotext", async ({ image_id: id }) => (await call("GET", `v1/images/${id}/infotext`)).infotext ?? ""],
];

/**
 * The command that makes the image again.
 * @param {GalleryImage} image
 */
function curlOf(image) {
  const body = JSON.stringify({ like: image.image_id }).replaceAll("'", "'\\''");
  return `curl -s '${address("v1/jobs", { wait: 60 })}' -H 'Content-Type: application/json' -d '${body}'`;
}

/**
 * Put a text into the clipboard; where the browser does not allow that, show it.
 * @param {string} text
 */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    notify(t("gallery.copied"));
  } catch {
    notify(text, { kind: "error" }); // the page came without TLS from another machine
  }
}

/**
 * Delete images, if somebody confirms it.
 * @param {GalleryImage[]} images
 * @returns {Promise<string[]>} the ids of those that are gone now
 */
export async function remove(images) {
  const size = images.filter((image) => image.gone === null).reduce((sum, image) => sum + image.size_bytes, 0);
  const count = images.length;
  const text = t("gallery.delete_text", { size: bytes(size), count });
  if (!(await confirmed(t("gallery.delete_title", { count }), text, t("gallery.delete")))) return [];
  const ids = images.map((image) => image.image_id);
  for (let first = 0; first < ids.length; first += MOST_DELETED) {
    const named = ids.slice(first, first + MOST_DELETED);
    await call("POST", "v1/images/delete", { body: { image_ids: named }, once: true });
  }
  notify(t("gallery.deleted", { count }));
  return ids;
}

/**
 * The address of a zip of images; null, if they are too many.
 * @param {string[]} ids
 */
export function zipOf(ids) {
  return ids.length > MOST_ZIPPED ? null : address("v1/images/zip", { image_ids: ids.join(",") });
}
