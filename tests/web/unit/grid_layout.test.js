import assert from "node:assert/strict";
import test from "node:test";

import { GAP, GridLayout, MOST_HEIGHT_PX } from "../../../api/web/gallery/grid_layout.js";

test("tiles fill the width, and all that are in sight are in the range", () => {
  const layout = new GridLayout(1000, 1000, 600);
  assert.equal(layout.columns * layout.step - GAP <= 1000, true);
  for (const scrollTop of [0, 1, 500, layout.height - 600]) {
    const [first, last] = layout.range(scrollTop);
    for (let index = 0; index < 1000; index += 1) {
      const top = layout.place(index, scrollTop)[1] - scrollTop;
      const isInSight = top < 600 && top + layout.side > 0;
      if (isInSight) assert.equal(index >= first && index <= last, true, `${index} at ${scrollTop}`);
    }
    assert.equal(last - first < 100, true);
  }
});

test("a list that no browser could show whole is scrolled to its last row all the same", () => {
  const layout = new GridLayout(2_000_000, 360, 600);
  assert.equal(layout.height, MOST_HEIGHT_PX);
  const end = layout.height - 600;
  assert.equal(layout.range(end)[1], 1_999_999);
  assert.equal(layout.range(0)[0], 0);
  const [, y] = layout.place(1_999_999, end);
  assert.equal(Math.round(y + layout.side - end), 600);
  for (const offset of [0, 12_345, 9_999_999])
    assert.equal(Math.round(layout.offset(layout.scrollTop(offset))), offset);
});

test("an empty list has no tiles", () => {
  const layout = new GridLayout(0, 500, 500);
  const [first, last] = layout.range(0);
  assert.equal(last < first, true);
  assert.equal(layout.moved(0, "ArrowDown"), null);
});

test("keys lead to the next tile, row, page and end", () => {
  const layout = new GridLayout(100, 1000, 600);
  const { columns } = layout;
  assert.equal(layout.moved(0, "ArrowRight"), 1);
  assert.equal(layout.moved(0, "ArrowLeft"), 0);
  assert.equal(layout.moved(0, "ArrowDown"), columns);
  assert.equal(layout.moved(1, "ArrowUp"), 1);
  assert.equal(layout.moved(99, "ArrowDown"), 99);
  assert.equal(layout.moved(50, "Home"), 0);
  assert.equal(layout.moved(50, "End"), 99);
  assert.equal(layout.moved(0, "a"), null);
});

test("a tile out of sight is scrolled to, one in sight is not", () => {
  const layout = new GridLayout(1000, 1000, 600);
  assert.equal(layout.toSee(0, 0), 0);
  const below = layout.toSee(500, 0);
  const [, y] = layout.place(500, below);
  assert.equal(y + layout.side - below <= 600, true);
  assert.equal(layout.toSee(500, below), below);
  assert.equal(layout.toSee(0, below), 0);
});
