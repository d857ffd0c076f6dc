// Draws an image through the types that openapi-typescript makes: node draw.js URL CHECKPOINT
// Prints a line of JSON: what became of the job, its events, a refusal, and the digest of the image.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

declare const process: { argv: string[] };
type JobEventData = components["schemas"]["JobEventData"];

const [, , baseUrl = "", checkpoint = ""] = process.argv;
const client = createClient<paths>({ baseUrl });

const model = await client.POST("/v1/models", {
  params: { query: { wait: 60 } },
  body: { name: "typescript", path: `file://${checkpoint}`, model_type: "checkpoint" },
});
if (model.error) throw new Error(model.error.detail);

const submitted = await client.POST("/v1/jobs", {
  params: { query: { wait: 60 } },
  body: { checkpoint: model.data.model_id, prompt: "a red fox", seed: 7, scheduler: "Euler a" },
});
if (submitted.error) throw new Error(submitted.error.detail);
if (!("job_id" in submitted.data)) throw new Error("it was only checked");
const job = await client.GET("/v1/jobs/{job_id}", {
  params: { path: { job_id: submitted.data.job_id } },
});
if (job.error) throw new Error(job.error.detail);

const stream = await client.GET("/v1/jobs/{job_id}/events", {
  params: { path: { job_id: job.data.job_id }, header: { "Last-Event-ID": "0" } },
  parseAs: "text",
});
const events = String(stream.data)
  .split("\n")
  .filter((line) => line.startsWith("data: "))
  .map((line) => JSON.parse(line.slice(6)) as JobEventData);
const states = events.flatMap((event) => ("status" in event ? [event.status] : []));

const refused = await client.POST("/v1/jobs", { body: { scheduler: "euler_b" } });
const image = await client.GET("/v1/images/{image_id}/download", {
  params: { path: { image_id: job.data.image_ids[0] ?? "" } },
  parseAs: "arrayBuffer",
});
if (image.error) throw new Error(image.error.detail);
const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", image.data));

console.log(
  JSON.stringify({
    status: job.data.status,
    states,
    refused: refused.error?.code,
    sha256: Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join(""),
  }),
);
