/** @file What was done to a mask, in order: it can be undone and done again. */

/** @typedef {{x: number, y: number, radius: number}} Dab */

/**
 * A deed. The mask is made again from the first to the last, so that each takes little memory.
 * @typedef {{kind: "stroke", isEraser: boolean, dabs: Dab[]}
 *   | {kind: "rectangle", isEraser: boolean, x: number, y: number, width: number, height: number}
 *   | {kind: "whole"} | {kind: "clear"} | {kind: "invert"}} Deed
 */

const MOST = 300;

export class MaskHistory {
  /** @type {Deed[]} */
  #done = [];
  /** @type {Deed[]} */
  #undone = [];

  /** What makes the mask, on top of what it began with. */
  get deeds() {
    return this.#done;
  }

  get canUndo() {
    return this.#done.length > 0;
  }

  get canRedo() {
    return this.#undone.length > 0;
  }

  /**
   * @param {Deed} deed
   * @returns {Deed | null} the oldest one, which can no longer be undone: it belongs to the beginning now
   */
  add(deed) {
    this.#done.push(deed);
    this.#undone = [];
    return this.#done.length > MOST ? (this.#done.shift() ?? null) : null;
  }

  undo() {
    const deed = this.#done.pop();
    if (deed) this.#undone.push(deed);
  }

  redo() {
    const deed = this.#undone.pop();
    if (deed) this.#done.push(deed);
  }
}
