/** @file Which fields of a job stand where in the form; what the API has and this table lacks stands in the last group. */

/** @typedef {"reference" | "mask" | "pose"} Role */

/**
 * @typedef {object} Group
 * @property {string} name
 * @property {string[]} fields
 * @property {Role[]} [needs] images of which one is needed: without any the group is not shown, and not sent
 */

/** Fields that have elements of their own. */
export const SPECIAL = [
  "prompt",
  "negative_prompt",
  "engine_id",
  "engine",
  "checkpoint",
  "width",
  "height",
  "seed",
  "loras",
  "like",
];

/** What stands in the open, below the prompts. */
export const MAIN = ["steps", "cfg", "scheduler", "count"];

/** @type {Group[]} */
export const GROUPS = [
  { name: "reference", fields: ["strength"], needs: ["reference"] },
  {
    name: "inpaint",
    fields: ["mask_blur", "inpaint_area", "inpaint_padding", "inpaint_fill", "mask_mode"],
    needs: ["mask"],
  },
  {
    name: "control",
    fields: ["type_pose", "control_scale", "control_start", "control_end", "control_models", "preprocessed"],
    needs: ["pose"],
  },
  { name: "fit", fields: ["image_fit"], needs: ["reference", "pose"] },
  { name: "words", fields: ["long_prompt_technique", "clip_skip", "embeddings", "lora_tags", "wildcards"] },
  { name: "sampling", fields: ["vae", "guidance_rescale", "eta", "scheduler_config"] },
  { name: "background", fields: ["remove_background_models", "background_color"] },
  { name: "file", fields: ["image_file_type", "quality", "expire_after", "delete_after_downloads"] },
  { name: "queue", fields: ["previews", "priority", "give_up_after", "callback_url", "callback_events"] },
];

/** Fields that are sent beside another one only: the name, and the value that it must have. */
export const BESIDE = /** @type {Record<string, [string, any]>} */ ({
  inpaint_padding: ["inpaint_area", "masked"],
});

/** What the page asks for unless somebody says otherwise. */
export const OURS = { previews: true };

/** The type of the models that a field names. */
export const MODEL_TYPES = /** @type {Record<string, string>} */ ({
  loras: "lora",
  embeddings: "embedding",
  control_models: "controlnet",
  remove_background_models: "background",
  vae: "vae",
});

/**
 * All groups: those of the table with the fields that the API has, and one for the rest.
 * @param {Iterable<string>} known names of the API's fields
 * @returns {Group[]}
 */
export function groupsOf(known) {
  const names = new Set(known);
  const placed = new Set([...SPECIAL, ...MAIN, ...GROUPS.flatMap((group) => group.fields)]);
  const rest = [...names].filter((name) => !placed.has(name));
  return [...GROUPS, { name: "other", fields: rest }]
    .map((group) => ({ ...group, fields: group.fields.filter((name) => names.has(name)) }))
    .filter((group) => group.fields.length > 0);
}
