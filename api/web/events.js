// What happens to an experiment, as the service tells it: a stream of events, read with fetch so that the API key
// travels in a header and not in the address.

import { ApiError, request } from "./api.js";

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;
const POLL_MS = 2000;
const NO_STREAM = new Set([404, 405, 406, 501]);

/**
 * Follow an experiment until it is done. A broken stream is taken up again where it broke; a service that has none is
 * asked every two seconds instead.
 * @param {string} id
 * @param {{onEvent: (kind: string, data: any) => void, onPoll: () => Promise<boolean>, onConnection: (up: boolean) => void,
 *   signal: AbortSignal}} options `onPoll` says whether the experiment is done
 */
export async function follow(id, { onEvent, onPoll, onConnection, signal }) {
  let lastId = "";
  let pause = FIRST_PAUSE_MS;
  while (!signal.aborted) {
    try {
      const headers = { Accept: "text/event-stream", ...(lastId ? { "Last-Event-ID": lastId } : {}) };
      const response = await request(`experiments/${id}/events`, { headers, signal });
      onConnection(true);
      for await (const event of eventsOf(response.body)) {
        pause = FIRST_PAUSE_MS;
        if (event.id !== null) lastId = event.id;
        onEvent(event.kind, event.data);
        if (event.kind === "done") return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiError && NO_STREAM.has(error.status)) return poll(onPoll, signal);
      if (error instanceof ApiError && error.status === 401) throw error;
      onConnection(false);
    }
    await wait(pause, signal);
    pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
  }
}

async function poll(onPoll, signal) {
  while (!signal.aborted && !(await onPoll())) await wait(POLL_MS, signal);
}

/** Wait; an aborted signal ends it at once. */
function wait(milliseconds, signal) {
  return new Promise((done) => {
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), done()), { once: true });
  });
}

/** The events of a `text/event-stream` body. */
async function* eventsOf(body) {
  let event = newEvent();
  for await (const line of linesOf(body)) {
    if (line === "") {
      const parsed = parsedData(event.lines);
      if (parsed !== undefined) yield { id: event.id, kind: event.kind, data: parsed };
      event = newEvent();
      continue;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") event.kind = value;
    else if (field === "id") event.id = value;
    else if (field === "data") event.lines.push(value);
  }
}

function newEvent() {
  return { id: null, kind: "message", lines: [] };
}

function parsedData(lines) {
  if (!lines.length) return undefined;
  try {
    return JSON.parse(lines.join("\n"));
  } catch {
    return undefined;
  }
}

async function* linesOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      // A carriage return at the very end may be half of a line break.
      const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      yield* lines;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
