/** @file Weights by the keyboard: Ctrl with the arrow up or down, as in A1111's page. */

/** @typedef {{begin: number, end: number, text: string, select: [number, number]}} Replacement */

const STEP = 0.1;
const TAG_STEP = 0.05;
const TAG = /<(lora|lyco):([^<>:\n]+)(?::([+-]?[\d.]+))?>/gi;
const WEIGHT = /^:\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*\)/;
const WORD_END = /[\s.,;:()[\]<>|]/;

/**
 * What to write where, so that the selection, or the word or tag at the caret, becomes stronger or weaker.
 * @param {string} text
 * @param {number} begin of the selection
 * @param {number} end of the selection
 * @param {1 | -1} direction
 * @returns {Replacement | null} null: there is nothing to be weighted
 */
export function weighted(text, begin, end, direction) {
  for (const found of text.matchAll(TAG)) {
    const after = found.index + found[0].length;
    if (found.index < end + 1 && begin - 1 < after && begin >= found.index && end <= after) {
      return tagAt(found, after, direction);
    }
  }
  const [from, to] = begin === end ? wordAt(text, begin) : trimmed(text, begin, end);
  if (from >= to) return null;
  const weight = WEIGHT.exec(text.slice(to));
  const inner = text.slice(from, to);
  if (text[from - 1] === "(" && weight !== null) {
    const changed = rounded(Number(weight[1]) + direction * STEP);
    const after = to + weight[0].length;
    return replacement(from - 1, after, inner, changed);
  }
  return replacement(from, to, inner, rounded(1 + direction * STEP));
}

/**
 * @param {number} begin
 * @param {number} end
 * @param {string} inner
 * @param {number} weight
 * @returns {Replacement}
 */
function replacement(begin, end, inner, weight) {
  if (weight === 1) return { begin, end, text: inner, select: [begin, begin + inner.length] };
  return { begin, end, text: `(${inner}:${weight})`, select: [begin + 1, begin + 1 + inner.length] };
}

/**
 * @param {RegExpMatchArray} found
 * @param {number} after
 * @param {1 | -1} direction
 * @returns {Replacement}
 */
function tagAt(found, after, direction) {
  const begin = /** @type {number} */ (found.index);
  const weight = rounded(Number(found[3] ?? 1) + direction * TAG_STEP);
  const text = `<${found[1]}:${found[2]}:${weight}>`;
  return { begin, end: after, text, select: [begin, begin + text.length] };
}

/**
 * @param {string} text
 * @param {number} at
 * @returns {[number, number]}
 */
function wordAt(text, at) {
  let [begin, end] = [at, at];
  while (begin > 0 && !WORD_END.test(text.charAt(begin - 1))) begin -= 1;
  while (end < text.length && !WORD_END.test(text.charAt(end))) end += 1;
  return [begin, end];
}

/**
 * @param {string} text
 * @param {number} begin
 * @param {number} end
 * @returns {[number, number]}
 */
function trimmed(text, begin, end) {
  const part = text.slice(begin, end);
  return [begin + part.length - part.trimStart().length, end - (part.length - part.trimEnd().length)];
}

/** @param {number} weight */
function rounded(weight) {
  return Math.round(weight * 100) / 100;
}
