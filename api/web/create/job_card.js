/** @file A job beside the form: how far it is, what it looks like so far, and its images. */

import { call } from "../app/api.js";
import { fill, h, keep, set } from "../app/dom.js";
import { duration } from "../app/format.js";
import { complain } from "../app/notices.js";
import { addressOf } from "../app/router.js";
import { t } from "../app/texts.js";
import { badgeOf, isOver, progressText, promptOf, stateText, waitText } from "../parts/job_words.js";
import { pictureOf } from "./input_images.js";

/** @typedef {import("./job_streams.js").Job} Job */

/**
 * What can be done with a job from its card.
 * @typedef {object} CardActs
 * @property {(imageId: string) => void} again another one like it, with another seed
 * @property {(imageId: string) => void} reference
 * @property {(jobId: string) => void} retry
 * @property {(jobId: string) => void} hide take the card away
 */

export class JobCard {
  /** @type {Job} */
  job;
  #status = h("span", { role: "status" });
  #line = h("p", { class: "muted small" }); // not read aloud: it changes with every step
  #bar = h("progress", { max: 1 });
  #previews = h("div", { class: "pictures previews" });
  #pictures = h("ul", { class: "pictures" });
  #said = h("div", { class: "said" });
  #buttons = h("div", { class: "row" });

  /**
   * @param {Job} job
   * @param {CardActs} acts
   */
  constructor(job, acts) {
    this.acts = acts;
    this.job = job;
    set(this.#bar, { "aria-label": t("job.progress") });
    this.element = h(
      "li",
      { class: "card job", "data-job": job.job_id },
      h("div", { class: "row apart" }, this.#status, this.#buttons),
      h("p", { class: "prompt" }, promptOf(job)),
      this.#bar,
      this.#line,
      this.#said,
      this.#previews,
      this.#pictures,
    );
    this.update(job);
  }

  /** @param {Job} job */
  update(job) {
    this.job = job;
    const isDone = isOver(job);
    this.element.dataset["status"] = job.status;
    set(this.#status, { class: badgeOf(job.status) });
    const state = stateText(job.status);
    if (this.#status.textContent !== state) this.#status.textContent = state;
    this.#bar.hidden = job.status !== "processing";
    if (isDone) this.#previews.replaceChildren();
    if (job["progress"]) this.progress(job["progress"]);
    else this.#line.textContent = isDone ? timeOf(job) : waitText(job);
    const warnings = job["warnings"] ?? [];
    fill(
      this.#said,
      job["error"] ? h("p", { class: "fault" }, job["error"].detail) : null,
      ...warnings.map((/** @type {string} */ text) => h("p", { class: "small warning" }, text)),
    );
    fill(this.#buttons, ...this.#acts(isDone));
    if (isDone || job.status === "processing") void this.#showImages();
  }

  /** @param {import("../parts/job_words.js").Progress} progress */
  progress(progress) {
    if (isOver(this.job)) return;
    this.#bar.hidden = false;
    this.#bar.value = progress.fraction;
    this.#line.textContent = progressText(progress);
  }

  /** @param {any} preview */
  preview({ index, step, data_url: url }) {
    if (isOver(this.job) || !String(url).startsWith("data:image/")) return;
    const key = String(index);
    const there = [...this.#previews.children].find((one) => one.getAttribute("data-index") === key);
    const image = there ?? h("img", { "data-index": key });
    set(image, { src: url, alt: t("create.preview_alt", { number: index + 1, step }) });
    if (there === undefined) this.#previews.append(image);
  }

  /** @param {boolean} isDone */
  #acts(isDone) {
    const { job_id: id, status } = this.job;
    const act = (/** @type {string} */ text, /** @type {() => void} */ run) =>
      h("button", { type: "button", class: "quiet", onclick: run }, text);
    if (!isDone) return [act(t("job.cancel"), () => void this.#cancel())];
    return [
      status === "finished" ? null : act(t("job.retry"), () => this.acts.retry(id)),
      h(
        "button",
        { type: "button", class: "quiet", "aria-label": t("create.hide_job"), onclick: () => this.acts.hide(id) },
        "×",
      ),
    ];
  }

  async #cancel() {
    try {
      this.update(await call("POST", `v1/jobs/${this.job.job_id}/cancel`));
    } catch (error) {
      complain(error);
    }
  }

  /** Those that are stored: of a job with several, one after the other. */
  async #showImages() {
    if (!isOver(this.job) && this.job["count"] === 1) return;
    try {
      const page = await call("GET", "v1/images", { query: { job_id: this.job.job_id, limit: 200 } });
      const images = page.items.sort((/** @type {any} */ one, /** @type {any} */ other) => one.index - other.index);
      keep(this.#pictures, images, {
        key: (image) => image.image_id,
        create: (image) => this.#picture(image),
      });
      for (const image of images) this.#previews.querySelector(`[data-index="${image.index}"]`)?.remove();
    } catch (error) {
      complain(error);
    }
  }

  /** @param {any} image */
  #picture(image) {
    const act = (/** @type {import("../app/texts.js").TextKey} */ key, /** @type {() => void} */ run) =>
      h("button", { type: "button", class: "quiet small", onclick: run }, t(key));
    const href = addressOf("gallery", { image: image.image_id });
    if (image.gone) return h("li", {}, h("p", { class: "muted" }, t("create.image_gone")));
    return h(
      "li",
      {},
      h(
        "a",
        { href },
        h("img", {
          src: pictureOf(image.image_id),
          width: image.width,
          height: image.height,
          alt: promptOf(image),
        }),
      ),
      h(
        "div",
        { class: "row" },
        act("create.again", () => this.acts.again(image.image_id)),
        act("create.use_as_reference", () => this.acts.reference(image.image_id)),
        h("a", { class: "button quiet small", href }, t("create.open_in_gallery")),
      ),
      h("p", { class: "muted small" }, t("create.seed_was", { seed: image.seed })),
    );
  }
}

/** @param {Job} job */
function timeOf(job) {
  const { started_at: from, finished_at: to } = job;
  return from && to ? t("create.took", { time: duration((Date.parse(to) - Date.parse(from)) / 1000) }) : "";
}
