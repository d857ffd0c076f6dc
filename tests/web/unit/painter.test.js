import assert from "node:assert/strict";
import { test } from "node:test";

import { MaskHistory } from "../../../api/web/painter/history.js";
import { fitted, moved, pinched, pointAt, zoomed } from "../../../api/web/painter/viewport.js";

const IMAGE = { width: 400, height: 200 };
const WINDOW = { width: 800, height: 800 };

test("a fitted image is whole, and in the middle", () => {
  const view = fitted(IMAGE, WINDOW);
  assert.deepEqual(view, { scale: 2, left: 0, top: 200 });
  assert.deepEqual(pointAt(view, { x: 400, y: 400 }), { x: 200, y: 100 });
});

test("what is under the pointer stays there when it is zoomed, and moves with two fingers", () => {
  const view = moved(fitted(IMAGE, WINDOW), 30, -20);
  const at = { x: 123, y: 456 };
  for (const factor of [0.5, 3, 1e9, 1e-9]) {
    const { x, y } = pointAt(zoomed(view, factor, at), at);
    assert.ok(Math.abs(x - pointAt(view, at).x) < 1e-6 && Math.abs(y - pointAt(view, at).y) < 1e-6);
  }
  const before = [
    { x: 100, y: 100 },
    { x: 200, y: 100 },
  ];
  const after = [
    { x: 50, y: 150 },
    { x: 250, y: 150 },
  ];
  const pinchedView = pinched(view, before, after);
  assert.equal(pinchedView.scale, view.scale * 2);
  for (const finger of [0, 1]) {
    const [from, to] = [pointAt(view, before[finger]), pointAt(pinchedView, after[finger])];
    assert.ok(Math.abs(from.x - to.x) < 1e-6 && Math.abs(from.y - to.y) < 1e-6);
  }
});

test("deeds are undone and done again; a new one forgets what was undone", () => {
  const history = new MaskHistory();
  history.add({ kind: "whole" });
  history.add({ kind: "invert" });
  history.undo();
  assert.deepEqual([history.deeds, history.canRedo], [[{ kind: "whole" }], true]);
  history.redo();
  assert.deepEqual(history.deeds.at(-1), { kind: "invert" });
  history.undo();
  history.add({ kind: "clear" });
  assert.deepEqual([history.deeds.map(({ kind }) => kind), history.canRedo], [["whole", "clear"], false]);
});

test("the oldest deed is given back when there are too many", () => {
  const history = new MaskHistory();
  const given = [];
  for (let x = 0; x < 302; x += 1)
    given.push(history.add({ kind: "rectangle", isEraser: false, x, y: 0, width: 1, height: 1 }));
  assert.deepEqual(
    given.filter((deed) => deed !== null).map(({ x }) => x),
    [0, 1],
  );
});
