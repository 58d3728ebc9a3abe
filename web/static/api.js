// The service's endpoints: requests with the key where there is one, problems as errors that people can read, events as they come.

const KEY = "crossgeo.key";
const TRIES = 5;

/** What the service said is wrong (RFC 9457), or that it did not answer. */
export class Problem extends Error {
  constructor({ title, detail, status = 0, code = "", request_id: request = "" }, retryAfter = null) {
    super(detail || title);
    Object.assign(this, { title, detail, status, code, request, retryAfter });
  }
}

async function problemOf(response) {
  const retryAfter = Number(response.headers.get("Retry-After")) || null;
  const type = response.headers.get("Content-Type") || "";
  const said = type.includes("json") ? await response.json().catch(() => ({})) : {};
  const title = said.title || `The service answered ${response.status} ${response.statusText}`.trim();
  return new Problem(
    { ...said, title, status: response.status, request_id: said.request_id || response.headers.get("X-Request-Id") || "" },
    retryAfter,
  );
}

/** The headers that every request carries. */
export function headers() {
  const key = sessionStorage.getItem(KEY);
  return key ? { Authorization: `Bearer ${key}` } : {};
}

let askForKey = async () => null;

/** Say how to ask the user for a key: a function that resolves to the key, or to null. */
export function onKeyWanted(ask) {
  askForKey = ask;
}

async function send(path, options = {}) {
  for (let asked = false; ; asked = true) {
    let response;
    try {
      response = await fetch(path, { ...options, headers: { ...options.headers, ...headers() } });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem({
        title: "The service does not answer",
        detail: "The service does not answer. Is geo serve still running? Start it again and try once more.",
      });
    }
    if (response.ok) return response;
    const problem = await problemOf(response);
    const key = response.status === 401 && !asked ? await askForKey() : null;
    if (!key) throw problem;
    sessionStorage.setItem(KEY, key);
  }
}

const json = async (path, options) => (await send(path, options)).json();
const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

/** The open indexes, first the one that answers when none is named. */
export const indexes = async () => (await json("/v1/indexes")).indexes;

/** What an index covers, as GeoJSON. */
export const coverage = (index) => json(`/v1/coverage?index=${encodeURIComponent(index)}`);

function form(asked, points = []) {
  const body = new FormData();
  for (const [name, value] of Object.entries(asked)) body.append(name, String(value));
  for (const point of points) body.append("point", point.join(","));
  return body;
}

/** Ask about one photo; `waiting` is told when the service is busy and how long until the next try. */
export async function locate(file, name, points, asked, signal, waiting) {
  for (let tried = 1; ; tried += 1) {
    const body = form(asked, points);
    body.append("photo", file, name);
    try {
      return await json("/v1/locate", { method: "POST", body, signal });
    } catch (error) {
      if (![429, 503].includes(error.status) || !error.retryAfter || tried >= TRIES) throw error;
      waiting(error.retryAfter);
      await pause(error.retryAfter);
      signal.throwIfAborted();
    }
  }
}

/** A page that explains the answer to such a question, as a Blob of HTML. */
export async function explain(file, name, points, asked) {
  const body = form(asked, points);
  body.append("photo", file, name);
  return (await send("/v1/explain", { method: "POST", body })).blob();
}

/** Hand in photos to be located one after the other; gives the job's id. `photos`: {file, name, points}. */
export async function startJob(photos, asked, signal) {
  const body = form(asked);
  for (const { file, name } of photos) body.append("photo", file, name);
  const clicked = photos.filter(({ points }) => points.length).map(({ name, points }) => ({ photo: name, points }));
  if (clicked.length) body.append("items", JSON.stringify(clicked));
  return (await json("/v1/jobs", { method: "POST", body, signal })).id;
}

/** How far a job is. */
export const job = (id) => json(`/v1/jobs/${id}`);

/** The events of a job as {event, data}, from the first to the last, over broken connections too. */
export async function* jobEvents(id, signal) {
  let last = "";
  for (let failed = 0; ;) {
    try {
      const response = await send(`/v1/jobs/${id}/events`, {
        signal,
        headers: { Accept: "text/event-stream", ...(last ? { "Last-Event-ID": last } : {}) },
      });
      for await (const event of eventsOf(response.body)) {
        failed = 0;
        if (event.id) last = event.id;
        yield event;
        if (event.event === "end") return;
      }
    } catch (error) {
      if (error.name === "AbortError" || (error.status >= 400 && error.status < 500)) throw error;
      if (failed >= TRIES) throw error;
    }
    failed += 1;
    if (failed > TRIES)
      throw new Problem({
        title: "The job's events ended early",
        detail: "The connection to the service broke off while the job ran. Load the page again to see what is done.",
      });
    await pause(Math.min(0.2 * 2 ** failed, 5));
    signal.throwIfAborted();
  }
}

async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      held += value;
      const blocks = held.split(/\r?\n\r?\n/);
      held = blocks.pop();
      for (const block of blocks) {
        const event = { event: "message", data: "", id: "" };
        for (const line of block.split(/\r?\n/)) {
          const [, field, text] = /^(\w+): ?(.*)$/.exec(line) || [];
          if (field === "data") event.data += event.data ? `\n${text}` : text;
          else if (field === "event" || field === "id") event[field] = text;
        }
        if (event.data) yield { ...event, data: JSON.parse(event.data) };
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** A finished job's answers ("results"), or the objects that they show ("objects"), in a format, as a Blob. */
export const jobFile = async (id, what, format) => (await send(`/v1/jobs/${id}/${what}?format=${format}`)).blob();

/** Stop a job and forget it. */
export const endJob = (id) => send(`/v1/jobs/${id}`, { method: "DELETE" });
