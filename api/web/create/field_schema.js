/** @file What `/openapi.json` and `/v1/capabilities` say about the fields of a job: kinds, bounds, choices, defaults. */

/**
 * @typedef {"text" | "integer" | "number" | "numbers" | "flag" | "choice" | "choices" | "color" | "duration" | "words"
 *   | "models" | "model" | "options"} Kind
 */

/**
 * A field of a job, as the API declares it.
 * @typedef {object} FieldSpec
 * @property {string} name
 * @property {Kind} kind `numbers`: one number or a list of them; `options`: names with values; `words`: a list of texts
 * @property {number | null} min
 * @property {number | null} max
 * @property {number | "any"} step
 * @property {string[]} choices
 * @property {Record<string, string>} labels of choices that have names of their own
 * @property {any} initial what counts if nothing is given; null: unknown, or that of the engine
 */

/** The list of `/v1/capabilities` with the values of a field. */
const CHOICES = /** @type {Record<string, string>} */ ({
  scheduler: "schedulers",
  long_prompt_technique: "prompt_techniques",
  image_fit: "image_fits",
  mask_mode: "mask_modes",
  inpaint_area: "inpaint_areas",
  inpaint_fill: "inpaint_fills",
  image_file_type: "image_file_types",
  type_pose: "control_types",
});

/** The limit of this installation that narrows a field's own. */
const LIMITS = /** @type {Record<string, string>} */ ({
  steps: "max_steps",
  count: "max_count",
  width: "max_side",
  height: "max_side",
});

/**
 * Every field of a job, by its name.
 * @param {any} openapi
 * @param {any} capabilities
 * @returns {Map<string, FieldSpec>}
 */
export function jobFields(openapi, capabilities) {
  const properties = openapi.components.schemas.JobInput.properties;
  return new Map(
    Object.entries(properties)
      .filter(([name]) => !/_image_(blob|id)$/.test(name)) // those of the images have elements of their own
      .map(([name, schema]) => [name, specOf(name, schema, capabilities)]),
  );
}

/**
 * @param {string} name
 * @param {any} schema
 * @param {any} capabilities
 * @returns {FieldSpec}
 */
function specOf(name, schema, capabilities) {
  const forms = (schema.anyOf ?? [schema]).filter((/** @type {any} */ one) => one.type !== "null");
  const first = forms[0] ?? {};
  const types = forms
    .flatMap((/** @type {any} */ one) => one.type ?? [])
    .filter((/** @type {string} */ one) => one !== "null");
  const choices = capabilities[CHOICES[name] ?? ""] ?? [];
  const limit = capabilities.limits[LIMITS[name] ?? ""] ?? Infinity;
  const most = Math.min(first.maximum ?? Infinity, limit);
  return {
    name,
    kind: kindOf(name, types, first, choices),
    min: first.minimum ?? null,
    max: Number.isFinite(most) ? most : null,
    step: first.multipleOf ?? (types[0] === "integer" ? 1 : "any"),
    choices,
    labels: name === "scheduler" ? (capabilities.scheduler_labels ?? {}) : {},
    initial: initialOf(schema.description ?? ""),
  };
}

/**
 * @param {string} name
 * @param {string[]} types
 * @param {any} first
 * @param {string[]} choices
 * @returns {Kind}
 */
function kindOf(name, types, first, choices) {
  const [type] = types;
  if (choices.length > 0) return types.includes("array") ? "choices" : "choice";
  if (type === "boolean") return "flag";
  if (type === "object") return "options";
  if (type === "integer") return "integer";
  if (type === "number") return types.includes("array") ? "numbers" : "number";
  if (type === "array") return /Model id/.test(JSON.stringify(first.items)) ? "models" : "words";
  if (types.includes("number")) return "duration";
  if (first.pattern?.startsWith("^#")) return "color";
  return name === "vae" ? "model" : "text";
}

/**
 * The default in a description.
 * @param {string} description
 */
function initialOf(description) {
  const found = /Default: (.+)\.$/.exec(description)?.[1];
  try {
    return found === undefined ? null : JSON.parse(found);
  } catch {
    return null;
  }
}
