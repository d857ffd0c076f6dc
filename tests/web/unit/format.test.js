import assert from "node:assert/strict";
import { test } from "node:test";

import { bytes, duration, fromNow } from "../../../api/web/app/format.js";

test("sizes have at most two digits that matter", () => {
  assert.deepEqual([0, 999, 1_400, 14_200, 2_000_000_000].map(bytes), ["0 B", "999 B", "1.4 KB", "14 KB", "2.0 GB"]);
});

test("durations are as people say them", () => {
  assert.deepEqual([-1, 0.4, 59.6, 65, 120, 3_600 + 25 * 60].map(duration), [
    "0 s",
    "0 s",
    "1 min",
    "1 min 5 s",
    "2 min",
    "1 h 25 min",
  ]);
});

test("moments are told from now", () => {
  const at = (seconds) => new Date(Date.now() + seconds * 1000).toISOString();
  assert.deepEqual([at(-180), at(2 * 86_400)].map(fromNow), ["3 minutes ago", "in 2 days"]);
});
