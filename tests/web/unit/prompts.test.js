import assert from "node:assert/strict";
import test from "node:test";

import { begunAt, written } from "../../../api/web/parts/prompt_completion.js";
import { marksOf, unitsOf } from "../../../api/web/parts/prompt_syntax.js";
import { weighted } from "../../../api/web/parts/prompt_weights.js";

/** @param {string} text @param {string[]} [words] */
const shown = (text, words) => marksOf(text, words).map(({ begin, end, kind }) => [text.slice(begin, end), kind]);

test("weights, tags, words and keywords are marked", () => {
  assert.deepEqual(shown("a (red:1.2) [old] <lora:x:0.8> BREAK dusk \\(", ["dusk"]), [
    ["(red:1.2)", "weight"],
    ["[old]", "weaker"],
    ["<lora:x:0.8>", "tag"],
    ["BREAK", "keyword"],
    ["dusk", "word"],
    ["\\(", "escape"],
  ]);
});

test("marks within brackets divide them, and never overlap", () => {
  const text = "((a) <lora:b> dusk:1.3) break";
  const marks = marksOf(text, ["dusk"]);
  assert.ok(marks.every((mark, index) => mark.begin < mark.end && mark.begin >= (marks[index - 1]?.end ?? 0)));
  assert.equal(marks.at(-1)?.end, text.length - " break".length);
});

test("a bracket that nothing opened is text, and one that nothing closes goes on to the end", () => {
  assert.deepEqual(shown("a) b"), []);
  assert.deepEqual(shown("a (b"), [["(b", "weight"]]);
});

test("a word stands alone, in any case", () => {
  assert.deepEqual(shown("Dusk duskless <lora:dusk> bad-hands-5, (a+b)", ["dusk", "bad-hands-5", "(a+b)"]), [
    ["Dusk", "word"],
    ["<lora:dusk>", "tag"],
    ["bad-hands-5", "word"],
    ["(a+b)", "word"],
  ]);
});

test("places count characters, not halves of them", () => {
  assert.deepEqual(unitsOf("👩a👩b", [0, 1, 2, 4, 9]), [0, 2, 3, 6, 6]);
});

/** @param {string} text with | at both ends of the selection, or at the caret @param {1 | -1} direction */
function after(text, direction) {
  const [begin, last] = [text.indexOf("|"), text.lastIndexOf("|")];
  const plain = text.replaceAll("|", "");
  const found = weighted(plain, begin, begin === last ? begin : last - 1, direction);
  if (found === null) return null;
  const changed = plain.slice(0, found.begin) + found.text + plain.slice(found.end);
  return [changed, changed.slice(...found.select)];
}

test("a word or a selection gets a weight, which changes, and goes at 1", () => {
  assert.deepEqual(after("a re|d fox", 1), ["a (red:1.1) fox", "red"]);
  assert.deepEqual(after("a (|red|:1.1) fox", 1), ["a (red:1.2) fox", "red"]);
  assert.deepEqual(after("a (re|d:1.1) fox", -1), ["a red fox", "red"]);
  assert.deepEqual(after("a |red fox |", -1), ["a (red fox:0.9) ", "red fox"]);
  assert.equal(after("a , | b", 1), null);
});

test("a tag's weight changes wherever in it the caret is", () => {
  assert.deepEqual(after("<lora:wa|ter:0.8>", 1), ["<lora:water:0.85>", "<lora:water:0.85>"]);
  assert.deepEqual(after("x <lora:water|>", -1), ["x <lora:water:0.95>", "<lora:water:0.95>"]);
});

test("choices are marked where the server makes them", () => {
  const text = "a __animals/big cats__ {red|__x__} \\{ __ a";
  assert.deepEqual(shown(text), []);
  const marks = marksOf(text, [], true).map(({ begin, end, kind }) => [text.slice(begin, end), kind]);
  assert.deepEqual(marks, [
    ["__animals/big cats__", "wildcard"],
    ["{", "choice"],
    ["__x__", "wildcard"],
    ["}", "choice"],
    ["\\{", "escape"],
  ]);
});

test("the name of a list is completed between two underscores and the next", () => {
  const begun = (/** @type {string} */ text) => begunAt(text, text.length);
  assert.deepEqual(begun("a __ani"), { begin: 2, typed: "ani", isTag: true, isList: true });
  assert.deepEqual(begun("__a__ __")?.typed, "");
  assert.equal(begun("__a__ of")?.isList, undefined);
  assert.equal(begun("\\__ani")?.isList, undefined);
  const list = { kind: /** @type {const} */ ("wildcard"), model_id: "a/b", name: "a/b", word: "a/b", base: null };
  assert.equal(written(list), "__a/b__");
});
