import assert from "node:assert/strict";
import { test } from "node:test";

import { jobFields } from "../../../api/web/create/field_schema.js";
import { groupsOf } from "../../../api/web/create/field_table.js";
import { textOfValue, valueOf } from "../../../api/web/create/field_values.js";
import { eachByItself, fieldsLike, sentOf, sizesFor } from "../../../api/web/create/job_request.js";

const PROPERTIES = {
  steps: { anyOf: [{ type: "integer", minimum: 1, maximum: 10_000 }, { type: "null" }] },
  width: { anyOf: [{ type: "integer", minimum: 64, maximum: 8192, multipleOf: 8 }, { type: "null" }] },
  count: { type: ["integer", "null"], minimum: 1, maximum: 10_000, description: "Default: 1." },
  scheduler: { anyOf: [{ type: "string" }, { type: "null" }] },
  control_scale: {
    anyOf: [
      { type: "number", minimum: 0, maximum: 10 },
      { type: "array", items: { type: "number" } },
      { type: "null" },
    ],
  },
  embeddings: {
    anyOf: [{ type: "array", items: { description: "Model id or name.", type: "string" } }, { type: "null" }],
  },
  expire_after: { anyOf: [{ type: "string" }, { type: "number", exclusiveMinimum: 0 }, { type: "null" }] },
  previews: { type: ["boolean", "null"], description: "Default: false." },
  scheduler_config: { anyOf: [{ type: "object" }, { type: "null" }] },
  reference_image_blob: { anyOf: [{ type: "string" }, { type: "null" }] },
  new_one: { anyOf: [{ type: "number", minimum: 0, maximum: 1 }, { type: "null" }] },
};
const API = { components: { schemas: { JobInput: { properties: PROPERTIES } } } };
const CAPABILITIES = {
  limits: { max_steps: 200, max_count: 16, max_side: 4096 },
  schedulers: ["euler", "euler_a"],
  scheduler_labels: { euler: "Euler", euler_a: "Euler a" },
};

test("fields have the kinds, bounds and defaults that the API declares, and the limits of the installation", () => {
  const fields = jobFields(API, CAPABILITIES);
  const seen = Object.fromEntries([...fields].map(([name, { kind, max, step }]) => [name, [kind, max, step]]));
  assert.deepEqual(seen, {
    steps: ["integer", 200, 1],
    width: ["integer", 4096, 8],
    count: ["integer", 16, 1],
    scheduler: ["choice", null, "any"],
    control_scale: ["numbers", 10, "any"],
    embeddings: ["models", null, "any"],
    expire_after: ["duration", null, "any"],
    previews: ["flag", null, "any"],
    scheduler_config: ["options", null, "any"],
    new_one: ["number", 1, "any"],
  });
  assert.deepEqual(
    [fields.get("count").initial, fields.get("previews").initial, fields.get("steps").initial],
    [1, false, null],
  );
  assert.equal(fields.get("scheduler").labels.euler_a, "Euler a");
});

test("a field that nobody has placed stands in the last group", () => {
  const groups = groupsOf(jobFields(API, CAPABILITIES).keys());
  assert.deepEqual(groups.at(-1), { name: "other", fields: ["new_one"] });
  assert.equal(
    groups.some(({ fields }) => fields.length === 0),
    false,
  );
});

test("what is typed becomes a value, and a value what is typed", () => {
  const typed = [
    ["integer", "12", 12],
    ["number", "0.5", 0.5],
    ["number", " ", null],
    ["integer", "9223372036854775807", "9223372036854775807"],
    ["numbers", "1", 1],
    ["numbers", "1, 0.5", [1, 0.5]],
    ["duration", "7d", "7d"],
    ["duration", "90", 90],
    ["words", "job.finished, job.failed", ["job.finished", "job.failed"]],
    ["options", "timestep_spacing = trailing\nuse_it = true", { timestep_spacing: "trailing", use_it: true }],
    ["options", "nonsense", "nonsense"],
    ["text", " as it is ", " as it is "],
  ];
  for (const [kind, text, value] of typed) {
    assert.deepEqual(valueOf(kind, text), value);
    assert.deepEqual(valueOf(kind, textOfValue(value)), value);
  }
});

test("fields of images that are not there are not sent", () => {
  const fields = {
    prompt: "a fox",
    strength: 0.5,
    mask_blur: 4,
    inpaint_padding: 8,
    type_pose: ["canny"],
    image_fit: "pad",
  };
  assert.deepEqual(sentOf(fields, new Set()), { prompt: "a fox", previews: true });
  const masked = { ...fields, inpaint_area: "masked", previews: false, cfg: "" };
  assert.deepEqual(sentOf(masked, new Set(["reference", "mask"])), {
    prompt: "a fox",
    strength: 0.5,
    mask_blur: 4,
    inpaint_area: "masked",
    inpaint_padding: 8,
    previews: false,
  });
});

test("a stored image says which job makes another one", () => {
  const image = {
    prompt: "a fox",
    negative_prompt: "",
    seed: 3,
    count: 4,
    engine_id: "e",
    checkpoint: "c",
    loras: [],
    remove_background: ["r"],
    vae: "checkpoint",
    tags: ["best"],
    controls: [
      {
        type_pose: "canny",
        control_model: "m",
        control_scale: 0.5,
        control_start: 0,
        control_end: 1,
        preprocessed: false,
      },
    ],
  };
  const known = [
    "prompt",
    "negative_prompt",
    "seed",
    "count",
    "engine_id",
    "checkpoint",
    "loras",
    "remove_background_models",
  ];
  known.push("vae", "type_pose", "control_scale", "control_start", "control_end", "control_models", "preprocessed");
  assert.deepEqual(fieldsLike(image, known, false), {
    prompt: "a fox",
    seed: 3,
    checkpoint: "c",
    vae: "checkpoint",
    remove_background_models: ["r"],
    type_pose: ["canny"],
    control_scale: [0.5],
    control_start: [0],
    control_end: [1],
    control_models: ["m"],
    preprocessed: false,
  });
  assert.equal(fieldsLike(image, known, true).engine_id, "e");
});

test("sizes have the usual shapes, and about as many pixels as the model was made for", () => {
  assert.deepEqual(sizesFor(1024), [
    [1024, 1024],
    [896, 1152],
    [1152, 896],
    [768, 1344],
    [1344, 768],
  ]);
  assert.deepEqual(sizesFor(512)[0], [512, 512]);
  for (const [wide, high] of [...sizesFor(64), ...sizesFor(768)])
    assert.ok(wide % 8 === 0 && high % 8 === 0 && wide >= 64);
});

test("a job for each image has the seed that the image would have", () => {
  assert.deepEqual(eachByItself({ prompt: "{a|b}", count: 2, seed: 7 }), [
    { prompt: "{a|b}", seed: 7 },
    { prompt: "{a|b}", seed: 8 },
  ]);
  assert.deepEqual(eachByItself({ count: 2, seed: -1 }), [{}, {}]);
  assert.deepEqual(eachByItself({ prompt: "a" }), [{ prompt: "a" }]);
});
