/**
 * @file Server-sent events by `fetch` (HTML Living Standard, section 9.2).
 *
 * `EventSource` does not tell why a stream was refused, and forgets the last id when it gives up; the page needs
 * both: at 429 it polls, at 401 somebody signs in, and after a sleep it goes on where it was.
 */

import { send } from "./api.js";

/** @typedef {{name: string, data: any, id: string | null}} ServerEvent */

/** The server says something every 5 s: after four silences the connection is dead, whatever the system says. */
const SILENCE_MS = 20_000;

/**
 * The events of a stream until it ends: because the server has ended it, or `signal` says so.
 * @param {string} path
 * @param {{lastEventId?: string | null, signal: AbortSignal, onOpen?: () => void}} options
 * @returns {AsyncGenerator<ServerEvent, void, void>}
 * @throws {ApiError} if the stream is refused, also with status 0 if the connection fails
 */
export async function* eventsOf(path, { lastEventId = null, signal, onOpen }) {
  const silence = new AbortController();
  const ended = AbortSignal.any([signal, silence.signal]);
  const headers = {
    Accept: "text/event-stream",
    ...(lastEventId === null ? {} : { "Last-Event-ID": lastEventId }),
  };
  const response = await send("GET", path, { headers, signal: ended });
  onOpen?.();
  if (response.status === 204 || response.body === null) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const parser = new EventParser();
  try {
    for (;;) {
      const timer = setTimeout(() => silence.abort(), SILENCE_MS);
      const { done, value } = await reader.read().finally(() => clearTimeout(timer));
      if (done) return;
      yield* parser.feed(value);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Text in, events out, however the text was cut. */
export class EventParser {
  #rest = "";
  /** @type {string | null} */
  #id = null;

  /**
   * @param {string} text
   * @returns {ServerEvent[]}
   */
  feed(text) {
    const blocks = (this.#rest + text.replaceAll("\r\n", "\n")).split("\n\n");
    this.#rest = blocks.pop() ?? "";
    return blocks.map((block) => this.#read(block)).filter((event) => event !== null);
  }

  /**
   * @param {string} block
   * @returns {ServerEvent | null}
   */
  #read(block) {
    let name = "message";
    const data = [];
    for (const line of block.split("\n")) {
      const colon = line.indexOf(":");
      if (colon <= 0) continue; // a comment
      const value = line.slice(colon + 1).replace(/^ /, "");
      const field = line.slice(0, colon);
      if (field === "event") name = value;
      else if (field === "id") this.#id = value;
      else if (field === "data") data.push(value);
    }
    return data.length === 0 ? null : { name, data: JSON.parse(data.join("\n")), id: this.#id };
  }
}
