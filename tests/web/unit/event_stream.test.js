import assert from "node:assert/strict";
import { test } from "node:test";

import { EventParser } from "../../../api/web/app/event_stream.js";

const STREAM = ': hello\n\nid: 7\nevent: job\ndata: {"id":"a"}\n\nevent: job_progress\ndata: {"step":\ndata: 3}\n\n';

test("events are the same however the text is cut", () => {
  const whole = new EventParser().feed(STREAM);
  assert.deepEqual(whole, [
    { name: "job", data: { id: "a" }, id: "7" },
    { name: "job_progress", data: { step: 3 }, id: "7" },
  ]);
  for (let cut = 0; cut <= STREAM.length; cut += 1) {
    const parser = new EventParser();
    const parts = [...parser.feed(STREAM.slice(0, cut)), ...parser.feed(STREAM.slice(cut))];
    assert.deepEqual(parts, whole);
  }
});

test("what has not ended is no event yet", () => {
  assert.deepEqual(new EventParser().feed("event: job\ndata: {}\n"), []);
});
