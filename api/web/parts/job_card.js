/** @file A job as a card: what it is to make, how far it is, what it has made, and what can be done about it. */

import { address, call } from "../app/api.js";
import { fill, h, keep, set } from "../app/dom.js";
import { openInCreate } from "../app/drafts.js";
import { date, fromNow } from "../app/format.js";
import { complain } from "../app/notices.js";
import { addressOf } from "../app/router.js";
import { session } from "../app/session.js";
import { t } from "../app/texts.js";
import { followJob } from "./job_stream.js";
import { badgeOf, isOver, progressText, promptOf, stateText, waitText } from "./job_words.js";

/**
 * A job as the API shows it; the rest of its fields are passed on.
 * @typedef {{job_id: string, status: string, prompt: string, engine_id: string, priority: number,
 *   image_ids: string[], steps: number, width: number, height: number, count: number, previews: boolean,
 *   queue_position: number | null, queue_eta_s: number | null, waits_for: string | null,
 *   progress: Progress | null, error: {code: string, detail: string} | null, warnings: string[],
 *   names: Record<string, string>, key_id: string | null, created_at: string, finished_at: string | null}} Job
 */

/** @typedef {import("./job_words.js").Progress} Progress */

const LEAST_PRIORITY = -1000;
const GREATEST_PRIORITY = 1000;

/** `<job-card>`: shows a job; what has changed is given to it by `update` and `advance`. */
class JobCard extends HTMLElement {
  #life = new AbortController();
  /** @type {Job | null} */
  job = null;
  /** @type {string | null} the job that is followed */
  #followed = null;

  #state = h("span", { class: "badge" });
  #prompt = h("p", { class: "prompt" });
  #facts = h("p", { class: "facts small muted" });
  #fault = h("p", { class: "fault" });
  #bar = h("progress", { max: 1, "aria-label": t("job.progress") });
  #stage = h("p", { class: "stage small" });
  #pictures = h("div", { class: "pictures" });
  #buttons = h("div", { class: "row actions" });

  connectedCallback() {
    this.#life = new AbortController();
    this.className = "card job";
    const head = h("div", { class: "row apart" }, this.#state, this.#facts);
    this.replaceChildren(
      this.#pictures,
      h("div", { class: "about" }, head, this.#prompt, this.#bar, this.#stage, this.#fault, this.#buttons),
    );
    this.#follow();
  }

  disconnectedCallback() {
    this.#life.abort();
    this.#followed = null;
  }

  /**
   * Show the job as it is now.
   * @param {Job} job
   */
  update(job) {
    const before = this.job;
    this.job = job;
    this.dataset.status = job.status;
    this.#state.className = badgeOf(job.status);
    this.#state.textContent = stateText(job.status);
    this.#prompt.textContent = promptOf(job);
    this.#facts.textContent = factsOf(job);
    this.#fault.textContent = job.error?.detail ?? "";
    if (before?.status !== job.status) fill(this.#buttons, ...this.#actions(job));
    this.#showProgress(job.progress);
    this.#showPictures(job);
    this.#follow();
  }

  /**
   * Show how far it is.
   * @param {Progress} progress
   */
  advance(progress) {
    if (this.job === null || isOver(this.job)) return;
    this.#showProgress(progress);
  }

  /** @param {Progress | null} progress */
  #showProgress(progress) {
    const job = /** @type {Job} */ (this.job);
    this.#bar.hidden = job.status !== "processing";
    if (progress === null) this.#bar.removeAttribute("value");
    else this.#bar.value = progress.fraction;
    this.#stage.textContent = progress !== null && job.status === "processing" ? progressText(progress) : waitText(job);
  }

  /** @param {Job} job */
  #showPictures(job) {
    const made = job.status === "finished" ? job.image_ids : [];
    if (!isOver(job)) return; // previews come by the job's own stream
    keep(this.#pictures, made, { key: (imageId) => imageId, create: (imageId) => thumbnail(imageId, job.prompt) });
  }

  #follow() {
    const job = this.job;
    if (!this.isConnected || job === null || job.status !== "processing" || !job.previews) return;
    if (this.#followed === job.job_id) return;
    this.#followed = job.job_id;
    void followJob(job.job_id, (event) => this.#hear(event), this.#life.signal);
  }

  /** @param {import("../app/event_stream.js").ServerEvent} event */
  #hear({ name, data }) {
    if (name === "progress") this.advance(data);
    if (name !== "preview") return;
    const place = `preview-${data.index}`;
    let picture = /** @type {HTMLImageElement | null} */ (this.#pictures.querySelector(`[data-key="${place}"]`));
    if (picture === null) {
      picture = h("img", { alt: t("job.preview"), class: "preview", "data-key": place });
      this.#pictures.append(picture);
    }
    picture.src = data.data_url;
  }

  /**
   * @param {Job} job
   * @returns {HTMLElement[]}
   */
  #actions(job) {
    if (!session.mayWrite) return [];
    const path = `v1/jobs/${job.job_id}`;
    /** @type {[import("../app/texts.js").TextKey, () => unknown][]} */
    const actions = [];
    if (job.status === "waiting") {
      actions.push(["job.sooner", () => this.#prefer(1)], ["job.later", () => this.#prefer(-1)]);
    }
    if (!isOver(job)) actions.push(["job.cancel", () => call("POST", `${path}/cancel`)]);
    if (job.status === "failed" || job.status === "cancelled") {
      actions.push(["job.retry", () => call("POST", `${path}/retry`)]);
    }
    const [imageId] = job.image_ids;
    if (job.status === "finished" && imageId !== undefined) {
      actions.push(["job.change", () => openInCreate({ fields: { like: imageId } })]);
    }
    return actions.map(([text, run]) => {
      const button = h("button", { type: "button", class: "quiet" }, t(text));
      button.addEventListener("click", async () => {
        button.disabled = true;
        await Promise.resolve(run()).catch(complain);
        button.disabled = false;
      });
      return button;
    });
  }

  /**
   * @param {number} by
   * @returns {Promise<unknown>}
   */
  #prefer(by) {
    const job = /** @type {Job} */ (this.job);
    const priority = Math.min(GREATEST_PRIORITY, Math.max(LEAST_PRIORITY, job.priority + by));
    return call("PATCH", `v1/jobs/${job.job_id}`, { body: { priority } }).then((changed) => {
      this.update(changed);
      this.dispatchEvent(new CustomEvent("reordered", { bubbles: true }));
    });
  }
}

customElements.define("job-card", JobCard);

/**
 * A card for a job.
 * @param {Job} job
 * @returns {JobCard}
 */
export function jobCard(job) {
  const card = /** @type {JobCard} */ (document.createElement("job-card"));
  card.update(job);
  return card;
}

/**
 * @param {string} imageId
 * @param {string} alt
 * @returns {HTMLElement}
 */
function thumbnail(imageId, alt) {
  const picture = h("img", { src: address(`v1/images/${imageId}/thumbnail`), alt, loading: "lazy" });
  const link = h("a", { href: addressOf("gallery", { image: imageId }) }, picture);
  picture.addEventListener("error", () => set(link, { class: "gone" }), { once: true });
  return link;
}

/**
 * @param {Job} job
 * @returns {string}
 */
function factsOf(job) {
  const facts = [`${job.width} × ${job.height}`];
  const engine = job.names[job.engine_id];
  if (engine !== undefined) facts.unshift(engine);
  if (job.count > 1) facts.push(t("job.images", { count: job.count }));
  if (job.priority !== 0) facts.push(t("job.priority", { priority: job.priority }));
  if (job.key_id !== null && job.names[job.key_id]) facts.push(String(job.names[job.key_id]));
  facts.push(job.finished_at === null ? fromNow(job.created_at) : date(job.finished_at));
  return facts.join(" · ");
}
