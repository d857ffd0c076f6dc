/**
 * @file The images that a job begins with: kept in the browser over a reload, shown, and sent with the job. Those of
 * the server stay there, and are named by their ids.
 */

import { address, call } from "../app/api.js";
import { h, keep } from "../app/dom.js";
import { dropImage, keepImage, keptImage } from "../app/drafts.js";
import { ApiError } from "../app/errors.js";
import { complain, notify } from "../app/notices.js";
import { t, word } from "../app/texts.js";

/** @typedef {import("./field_table.js").Role} Role */
/** @typedef {import("../app/drafts.js").DraftImage} DraftImage */
/**
 * @typedef {{role: Role, source: DraftImage, blob: Blob | null, url: string, picture: string, width: number,
 *   height: number}} Input blob: null for an image of the server; picture: as it is shown in the list
 */

const ROLES = /** @type {Role[]} */ (["reference", "mask", "pose"]);
/** Images are sent for a check while somebody types only if they are smaller; else small ones in their place. */
const CHECKED_BYTES = 1_000_000;

/** Dispatches `change` when there is another image. */
export class InputImages extends EventTarget {
  /** @type {Map<Role, Input>} */
  #inputs = new Map();
  #list = h("ul", { class: "inputs" });

  /**
   * @param {{onPaint: (reference: Input, mask: Input | null) => void, onSize: (width: number, height: number) => void,
   *   onChoose: (file: File) => void}} acts
   */
  constructor({ onPaint, onSize, onChoose }) {
    super();
    this.acts = { onPaint, onSize };
    const file = h("input", {
      type: "file",
      accept: "image/png,image/jpeg,image/webp",
      hidden: true,
      onchange: () => {
        const [chosen] = file.files ?? [];
        if (chosen) onChoose(chosen);
        file.value = "";
      },
    });
    this.element = h(
      "section",
      { class: "images", "aria-label": t("create.images") },
      h(
        "div",
        { class: "row apart" },
        h("button", { type: "button", onclick: () => file.click() }, t("create.add_image")),
        h("span", { class: "hint" }, t("create.add_image_hint")),
        file,
      ),
      this.#list,
      ...ROLES.map((role) => h("p", { class: "fault", "data-fault": `${role}_image_blob` })),
    );
  }

  /** @returns {Set<Role>} */
  get roles() {
    return new Set(this.#inputs.keys());
  }

  /** @param {Role} role */
  of(role) {
    return this.#inputs.get(role) ?? null;
  }

  /** @returns {Record<string, DraftImage>} by their roles */
  get draft() {
    return Object.fromEntries([...this.#inputs].map(([role, { source }]) => [role, source]));
  }

  /**
   * Have these images, and no others.
   * @param {Partial<Record<string, DraftImage | null>>} draft
   */
  async read(draft) {
    for (const input of this.#inputs.values()) URL.revokeObjectURL(input.url);
    this.#inputs.clear();
    for (const role of ROLES) {
      const source = draft[role];
      try {
        if (source) this.#inputs.set(role, await inputOf(role, source));
      } catch (error) {
        complain(error);
      }
    }
    this.#changed();
  }

  /**
   * Use an image of this computer.
   * @param {Role} role
   * @param {Blob} blob
   */
  async put(role, blob) {
    const name = `create.${role}`;
    try {
      await keepImage(name, blob);
      await this.#take(await inputOf(role, { kept: name }));
    } catch {
      notify(t("create.unreadable_image"), { kind: "error" });
    }
  }

  /**
   * Use an image of the server.
   * @param {Role} role
   * @param {string} imageId
   */
  async putStored(role, imageId) {
    await this.#take(await inputOf(role, { image_id: imageId }));
  }

  /** @param {Role} role */
  async drop(role) {
    this.#forget(role);
    if (role === "reference") this.#forget("mask"); // it lies on the reference
    this.#changed();
    await dropImage(`create.${role}`);
  }

  /**
   * The fields of a job for these images.
   * @param {{isCheck: boolean}} options isCheck: what stands for large ones is enough
   * @returns {Promise<Record<string, string>>}
   */
  async fields({ isCheck }) {
    const inputs = [...this.#inputs.values()];
    const size = inputs.reduce((sum, { blob }) => sum + (blob?.size ?? 0), 0);
    const isShort = isCheck && size > CHECKED_BYTES && inputs.every(({ blob }) => blob !== null);
    /** @type {Record<string, string>} */
    const found = {};
    for (const { role, blob, source } of inputs) {
      if ("image_id" in source) found[`${role}_image_id`] = source.image_id;
      else if (blob !== null) found[`${role}_image_blob`] = isShort ? standIn() : await dataUrlOf(blob);
    }
    return found;
  }

  /**
   * Say what is wrong with an image.
   * @param {{field: string, problem: string}[]} faults
   */
  blame(faults) {
    for (const element of this.element.querySelectorAll("[data-fault]")) {
      const name = element.getAttribute("data-fault");
      const own = faults.filter(({ field }) => field.replace(/_id$/, "_blob") === name);
      element.textContent = own.map(({ problem }) => problem).join("\n");
    }
  }

  /** @param {Input} input */
  async #take(input) {
    const mask = this.of("mask");
    const isOther = mask !== null && (mask.width !== input.width || mask.height !== input.height);
    if (input.role === "reference" && isOther) {
      this.#forget("mask");
      notify(t("create.mask_gone"));
    }
    this.#forget(input.role);
    this.#inputs.set(input.role, input);
    this.#changed();
  }

  /** @param {Role} role */
  #forget(role) {
    URL.revokeObjectURL(this.of(role)?.url ?? "");
    this.#inputs.delete(role);
  }

  #changed() {
    keep(
      this.#list,
      ROLES.map((role) => this.#inputs.get(role)).filter((input) => input !== undefined),
      { key: (input) => `${input.role} ${input.url}`, create: (input) => this.#row(input) },
    );
    this.dispatchEvent(new Event("change"));
  }

  /** @param {Input} input */
  #row(input) {
    const { role, picture, width, height } = input;
    const isReference = role === "reference";
    const act = (/** @type {import("../app/texts.js").TextKey} */ key, /** @type {() => void} */ run) =>
      h("button", { type: "button", class: "quiet", onclick: run }, t(key));
    return h(
      "li",
      { class: "input", "data-role": role },
      h("img", { src: picture, alt: "" }),
      h("strong", {}, word("role", role)),
      h("span", { class: "muted small" }, `${width} × ${height}`),
      h(
        "div",
        { class: "row" },
        isReference ? act("create.paint_mask", () => this.acts.onPaint(input, this.of("mask"))) : null,
        isReference ? act("create.use_size", () => this.acts.onSize(width, height)) : null,
        h(
          "button",
          {
            type: "button",
            class: "quiet",
            "aria-label": t("create.remove_image", { role: word("role", role) }),
            onclick: () => void this.drop(role),
          },
          "×",
        ),
      ),
    );
  }
}

/**
 * An image that is kept here, or one of the server.
 * @param {Role} role
 * @param {DraftImage} source
 * @returns {Promise<Input>}
 */
async function inputOf(role, source) {
  if ("image_id" in source) return storedInput(role, source.image_id);
  const blob = await keptImage(source.kept);
  if (blob === null) throw new ApiError(410, { detail: t("create.image_not_kept") });
  const bitmap = await createImageBitmap(blob);
  const { width, height } = bitmap;
  bitmap.close();
  const url = URL.createObjectURL(blob);
  return { role, source, blob, url, picture: url, width, height };
}

/**
 * An image of the server. Whoever paints over it sees the file, or, where downloads are counted out, its small copy.
 * @param {Role} role
 * @param {string} imageId
 * @returns {Promise<Input>}
 */
async function storedInput(role, imageId) {
  const { width, height, download_limit: limit } = await call("GET", `v1/images/${imageId}`);
  const picture = pictureOf(imageId);
  const url = limit === null ? address(`v1/images/${imageId}/download`) : picture;
  return { role, source: { image_id: imageId }, blob: null, url, picture, width, height };
}

/**
 * Where a small copy of an image of the server is: looking at it is no download.
 * @param {string} imageId
 */
export const pictureOf = (imageId) => address(`v1/images/${imageId}/thumbnail`, { size: 512 });

/**
 * @param {Blob} blob
 * @returns {Promise<string>}
 */
function dataUrlOf(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

/** A small image that is as good as any reference, mask of any mode, or pose, as far as the fields are checked. */
function standIn() {
  const canvas = h("canvas", { width: 16, height: 16 });
  const pen = canvas.getContext("2d");
  if (pen !== null) {
    pen.fillStyle = "white";
    pen.fillRect(0, 0, 8, 16);
    pen.fillStyle = "black";
    pen.fillRect(8, 0, 4, 16);
  }
  return canvas.toDataURL("image/png");
}
