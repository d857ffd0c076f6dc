/** @file A request for a job, from what stands in the form. */

import { BESIDE, GROUPS, OURS } from "./field_table.js";

/** @typedef {import("./field_table.js").Role} Role */
/** @typedef {Record<string, any>} Fields */

/**
 * What is sent of the fields: not those that need an image which is not there.
 * @param {Fields} fields
 * @param {Set<Role>} roles images that are there
 * @returns {Fields}
 */
export function sentOf(fields, roles) {
  const useless = GROUPS.filter((group) => group.needs && !group.needs.some((role) => roles.has(role)));
  const hidden = new Set(useless.flatMap((group) => group.fields));
  const isMasked = fields["inpaint_area"] === "masked" && roles.has("mask");
  if (isMasked) hidden.add("image_fit"); // the API refuses it: nothing is fitted
  const all = Object.entries({ ...OURS, ...fields });
  return Object.fromEntries(
    all.filter(([name, value]) => {
      const [other, needed] = BESIDE[name] ?? [];
      return isGiven(value) && !hidden.has(name) && (other === undefined || fields[other] === needed);
    }),
  );
}

/** What is no preset's: where the server tells of a job, and which image it is like. */
const NOT_KEPT = ["like", "callback_url", "callback_events"];

/**
 * What a preset keeps of the fields.
 * @param {Fields} fields
 * @returns {Fields}
 */
export const presetOf = (fields) =>
  Object.fromEntries(
    Object.entries(fields).filter(
      ([name, value]) => isGiven(value) && !NOT_KEPT.includes(name) && !/_image_/.test(name),
    ),
  );

/**
 * A job for each image of a job, with the seed that it would have there: choices in prompts are made once for a job.
 * @param {Fields} fields
 * @returns {Fields[]}
 */
export function eachByItself({ count = 1, seed = null, ...others }) {
  const isRandom = seed === null || seed < 0;
  return Array.from({ length: count }, (_, index) => ({ ...others, ...(isRandom ? {} : { seed: seed + index }) }));
}

/** @param {any} value */
export const isGiven = (value) => value !== undefined && value !== null && value !== "";

/** Names that a stored image has for fields of a job. */
const RENAMED = /** @type {Record<string, string>} */ ({
  remove_background: "remove_background_models",
  expire_after_s: "expire_after",
  give_up_after_s: "give_up_after",
});
/** What says nothing about how an image looks. */
const NOT_AGAIN = [
  "count",
  "previews",
  "priority",
  "engine",
  "expire_after",
  "give_up_after",
  "delete_after_downloads",
];

/**
 * The fields of a job that makes an image like a stored one.
 * @param {Fields} image the record of `/v1/images/{image_id}`
 * @param {Iterable<string>} known names of the fields of a job
 * @param {boolean} hasEngine whether the engine that made it is still there
 * @returns {Fields}
 */
export function fieldsLike(image, known, hasEngine) {
  const names = new Set(known);
  const named = Object.fromEntries(Object.entries(image).map(([name, value]) => [RENAMED[name] ?? name, value]));
  /** @type {Fields[]} */
  const uses = image["controls"] ?? [];
  if (uses.length > 0) {
    named["type_pose"] = uses.map((use) => use["type_pose"]);
    for (const name of ["control_scale", "control_start", "control_end"]) named[name] = uses.map((use) => use[name]);
    named["control_models"] = uses.map((use) => use["control_model"]);
    named["preprocessed"] = uses.some((use) => use["preprocessed"]);
  }
  delete named[hasEngine ? "checkpoint" : "engine_id"];
  return Object.fromEntries(
    Object.entries(named).filter(
      ([name, value]) => names.has(name) && !NOT_AGAIN.includes(name) && isGiven(value) && !isEmpty(value),
    ),
  );
}

/** @param {any} value */
function isEmpty(value) {
  return typeof value === "object" && Object.keys(value).length === 0;
}

/**
 * Sizes with about as many pixels as a model was trained at, in the usual shapes.
 * @param {number} native the side of a square, in pixels
 * @returns {[number, number][]} widths and heights
 */
export function sizesFor(native) {
  const step = native >= 256 ? 64 : 8;
  const round = (/** @type {number} */ side) => Math.max(64, Math.round(side / step) * step);
  const shapes = /** @type {[number, number][]} */ ([
    [1, 1],
    [3, 4],
    [4, 3],
    [9, 16],
    [16, 9],
  ]);
  return shapes.map(([wide, high]) => {
    const unit = native / Math.sqrt(wide * high);
    return [round(unit * wide), round(unit * high)];
  });
}
