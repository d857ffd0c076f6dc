/**
 * @file The syntax of prompts as far as it is shown: weights, tags, words of embeddings, what begins a chunk.
 * The server reads prompts itself (docs/prompts.md); nothing here decides what they mean.
 */

/** @typedef {"weight" | "weaker" | "tag" | "word" | "keyword" | "escape" | "wildcard" | "choice"} Kind */

/** @typedef {{begin: number, end: number, kind: Kind, depth?: number}} Mark */

const SYMBOL =
  /\\[\\()[\]{}|]|<(?:lora|lyco):[^<>\n]{1,400}>|\b(?:BREAK|AND)\b|:\s*[+-]?(?:\d+\.?\d*|\.\d+)\s*\)|[()[\]{}]|\\__|__(?![ _])(?:(?!__)[\p{L}\p{N}_*./ -]){1,200}?(?<![ _])__/giu;
const MOST_DEPTH = 4;

/**
 * The marks of a prompt, in order and without overlap. A pair of brackets is marked as a whole, brackets within it
 * on their own.
 * @param {string} text
 * @param {string[]} [words] of embeddings
 * @param {boolean} [isTemplate] whether names of lists and braces are choices
 * @returns {Mark[]}
 */
export function marksOf(text, words = [], isTemplate = false) {
  /** @type {Mark[]} */
  const marks = [];
  /** @type {{kind: "weight" | "weaker", close: string}[]} */
  const open = [];
  let begin = 0;
  const upTo = (/** @type {number} */ end) => {
    const inner = open.at(-1);
    if (inner !== undefined && end > begin) marks.push({ begin, end, kind: inner.kind, depth: open.length });
    begin = end;
  };
  for (const found of text.matchAll(SYMBOL)) {
    const symbol = found[0];
    const [at, after] = [found.index, found.index + symbol.length];
    if (symbol === "(" || symbol === "[") {
      upTo(at);
      open.push(symbol === "(" ? { kind: "weight", close: ")" } : { kind: "weaker", close: "]" });
      if (open.length > MOST_DEPTH) open.shift();
      continue;
    }
    const close = symbol.at(-1);
    if ((close === ")" || close === "]") && !symbol.startsWith("\\")) {
      if (open.at(-1)?.close !== close) continue;
      upTo(after);
      open.pop();
      continue;
    }
    const kind = kindOf(symbol, isTemplate);
    if (kind === null) continue;
    upTo(at);
    marks.push({ begin: at, end: after, kind });
    begin = after;
  }
  upTo(text.length);
  return withWords(marks, text, words);
}

/**
 * @param {string} symbol
 * @param {boolean} isTemplate
 * @returns {Kind | null}
 */
function kindOf(symbol, isTemplate) {
  if (!isTemplate && /[{}|_]/.test(symbol) && !symbol.startsWith("<")) return null;
  if (symbol.startsWith("\\")) return "escape";
  if (symbol.startsWith("__")) return "wildcard";
  if (symbol === "{" || symbol === "}") return "choice";
  if (symbol.startsWith("<")) return "tag";
  return symbol === "BREAK" || symbol === "AND" ? "keyword" : null; // in capitals alone
}

/**
 * The same marks, and those of words where no tag stands.
 * @param {Mark[]} marks
 * @param {string} text
 * @param {string[]} words
 * @returns {Mark[]}
 */
function withWords(marks, text, words) {
  const named = words.filter((word) => word.trim() !== "").toSorted((a, b) => b.length - a.length);
  if (named.length === 0) return marks;
  const any = new RegExp(`(?<![\\p{L}\\p{N}_])(?:${named.map(escaped).join("|")})(?![\\p{L}\\p{N}_])`, "giu");
  const found = [...text.matchAll(any)].map(({ index, 0: word }) => ({ begin: index, end: index + word.length }));
  const free = found.filter(({ begin, end }) =>
    marks.every((mark) => mark.depth !== undefined || mark.end <= begin || end <= mark.begin),
  );
  /** @type {Mark[]} */
  const all = [];
  for (const mark of marks) {
    let at = mark.begin;
    for (const word of free.filter((one) => one.begin >= mark.begin && one.end <= mark.end)) {
      if (word.begin > at) all.push({ ...mark, begin: at, end: word.begin });
      at = word.end;
    }
    if (at < mark.end) all.push({ ...mark, begin: at });
  }
  const whole = free.filter(({ begin, end }) => all.every((mark) => mark.end <= begin || end <= mark.begin));
  all.push(...whole.map((one) => ({ ...one, kind: /** @type {Kind} */ ("word") })));
  return all.toSorted((a, b) => a.begin - b.begin);
}

/** @param {string} text */
function escaped(text) {
  return text.replaceAll(/[.*+?^${}()|[\]\\/]/g, "\\$&");
}

/**
 * Places in a text as the server counts them, by characters, for JavaScript, which counts those beyond the first
 * 65,536 twice.
 * @param {string} text
 * @param {number[]} places in order
 * @returns {number[]}
 */
export function unitsOf(text, places) {
  const found = [];
  let [unit, character] = [0, 0];
  for (const place of places) {
    for (; character < place && unit < text.length; character += 1) {
      unit += /** @type {number} */ (text.codePointAt(unit)) > 0xffff ? 2 : 1;
    }
    found.push(unit);
  }
  return found;
}
