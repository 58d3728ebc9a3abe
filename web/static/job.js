// Many photos at once: handed to the service as jobs of a size that it takes, their answers taken as they come.

import * as api from "/static/api.js";
import { failure } from "/static/session.js";

const PHOTOS = 500; // of one job; the service takes 1000
const PHOTOS_OF_DRIVES = 1000; // are cut as late as can be, since only the photos of one job are looked at together
const BYTES = 256 * 2 ** 20;
const KEPT = "crossgeo.jobs"; // in this tab, so that a page that is loaded again finds what it asked for

/** Cut items into parts that one job takes. */
export function parts(items, together = false) {
  const out = [];
  let bytes = Infinity;
  for (const item of items) {
    if (together ? !out.length || out.at(-1).length >= PHOTOS_OF_DRIVES : bytes + item.file.size > BYTES || out.at(-1).length >= PHOTOS) {
      out.push([]);
      bytes = 0;
    }
    out.at(-1).push(item);
    bytes += item.file.size;
  }
  return out;
}

/** What was under way when the page was left: {index, asked, names, jobs: [{id, from, count}]}, `from` counting names; else null. */
export function jobsLeft() {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT));
  } catch {
    return null;
  }
}

function keep(left) {
  try {
    if (left) sessionStorage.setItem(KEPT, JSON.stringify(left));
    else sessionStorage.removeItem(KEPT);
  } catch {
    sessionStorage.removeItem(KEPT); // no room: the jobs go on, and are not found again
  }
}

/**
 * Locate items, one job after the other: `onitem(item)` as answers come, `onprogress({done, total, eta_s, sending, unsent})`; gives
 * the jobs' ids. * `asked` is asked of each photo, `drives` of those of a drive together.
 */
export async function runJobs(items, asked, drives, signal, { onitem, onprogress }) {
  const left = { index: asked.index, asked, names: items.map(({ name }) => name), jobs: [] };
  let from = 0;
  try {
    for (const part of parts(items, drives.sequence)) {
      await waiting(part, onitem, async () => {
        onprogress({ done: from, total: items.length, sending: true });
        const id = await api.startJob(part, { ...asked, ...drives }, signal);
        left.jobs.push({ id, from, count: part.length });
        keep(left);
        const unsent = from + part.length < items.length;
        await follow(left.jobs.at(-1), items, asked, signal, { onitem, onprogress: (how) => onprogress({ ...how, unsent }) });
      });
      from += part.length;
    }
  } finally {
    keep(null);
  }
  return left.jobs.map(({ id }) => id);
}

/** Take up again what `jobsLeft` gave, for items of these names; as `runJobs`. */
export async function resumeJobs(left, items, signal, { onitem, onprogress }) {
  try {
    for (const job of left.jobs) {
      await waiting(items.slice(job.from, job.from + job.count), onitem, () =>
        follow(job, items, left.asked, signal, { onitem, onprogress }),
      );
    }
  } finally {
    keep(null);
  }
  return left.jobs.map(({ id }) => id);
}

/** Mark items as waiting while something is done about them; those that are too much for the service have that as their answer. */
async function waiting(part, onitem, act) {
  const mark = (on) => {
    part.forEach((item) => {
      item.waiting = on;
    });
    part.forEach(onitem);
  };
  mark(true);
  try {
    await act();
  } catch (error) {
    if (error.name === "AbortError" || error.status !== 413) throw error;
    part
      .filter((item) => item.waiting)
      .forEach((item) => {
        item.record = failure(item.name, error);
      });
  } finally {
    mark(false);
  }
}

async function follow({ id, from, count }, items, asked, signal, { onitem, onprogress }) {
  const stop = () => api.endJob(id).catch(() => {});
  signal.addEventListener("abort", stop, { once: true });
  for await (const { event, data } of api.jobEvents(id, signal)) {
    if (event === "record" && data.number < count) {
      const item = items[from + data.number];
      Object.assign(item, { waiting: false, record: data.record, asked });
      onitem(item);
    } else if (event === "progress") onprogress({ ...data, done: from + data.done, total: items.length });
    else if (event === "end" && data.state === "failed")
      throw new api.Problem({
        title: "The job failed",
        detail: data.why || "The job failed; the service's own log says why.",
      });
  }
  signal.removeEventListener("abort", stop);
}
