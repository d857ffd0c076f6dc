/** @file What may be completed in a prompt, and by which names. */

/** @typedef {import("./prompt_names.js").Named} Named */

/**
 * What stands before the caret and may be completed: a tag that was begun, or a word.
 * @param {string} text
 * @param {number} caret
 * @returns {{begin: number, typed: string, isTag: boolean, isList?: boolean} | null}
 */
export function begunAt(text, caret) {
  const before = text.slice(Math.max(0, caret - 200), caret);
  const list = /(?:^|[^\\_])__(?![ _])((?:(?!__)[\p{L}\p{N}_./ -])*)$/u.exec(before);
  if (list !== null && before.split("__").length % 2 === 0) {
    const typed = /** @type {string} */ (list[1]);
    return { begin: caret - typed.length - 2, typed, isTag: true, isList: true };
  }
  const tag = /<(?:l(?:o(?:r(?:a:?)?)?)?)?([^<>:\n]*)$/i.exec(before);
  if (tag !== null) return { begin: caret - tag[0].length, typed: tag[0].split(":")[1] ?? "", isTag: true };
  const word = /[\p{L}\p{N}_-]{2,}$/u.exec(before);
  return word === null ? null : { begin: caret - word[0].length, typed: word[0], isTag: false };
}

/**
 * The names that fit what was begun: those that begin with it first.
 * @param {Named[]} names
 * @param {{typed: string, isTag: boolean}} begun
 * @param {number} most
 * @returns {Named[]}
 */
export function fitting(names, { typed, isTag }, most) {
  const wanted = typed.toLocaleLowerCase();
  const rank = (/** @type {Named} */ one) => {
    const at = one.word.toLocaleLowerCase().indexOf(wanted);
    return at < 0 && one.name.toLocaleLowerCase().includes(wanted) ? 2 : Math.min(at, 1);
  };
  return names
    .filter((one) => (one.kind === "lora") === isTag || (!isTag && typed.length > 2 && one.kind === "lora"))
    .map((one) => ({ one, rank: rank(one) }))
    .filter(({ rank }) => rank >= 0)
    .sort((a, b) => a.rank - b.rank)
    .slice(0, most)
    .map(({ one }) => one);
}

/**
 * What a name is written as: a tag, the word of an embedding, or the name of a list between underscores.
 * @param {Named} named
 * @returns {string}
 */
export function written({ kind, name, word, model_id: id }) {
  if (kind === "wildcard") return `__${name}__`;
  return kind === "lora" ? `<lora:${/[<>:]/.test(name) ? id : name}:1>` : word;
}
