// Many photos at once: handed to the service as jobs of a size that it takes, their answers taken as they come.

import * as api from "/static/api.js";
import { failure } from "/static/session.js";

const PHOTOS = 500; // of one job; the service takes 1000
const BYTES = 256 * 2 ** 20;

/** Cut items into parts that one job takes. */
export function parts(items) {
  const out = [];
  let bytes = Infinity;
  for (const item of items) {
    if (bytes + item.file.size > BYTES || out.at(-1).length >= PHOTOS) {
      out.push([]);
      bytes = 0;
    }
    out.at(-1).push(item);
    bytes += item.file.size;
  }
  return out;
}

/** Locate items, one job after the other: `onitem(item)` as answers come, `onprogress({done, total, eta_s, sending})`; gives the jobs' ids. */
export async function runJobs(items, asked, signal, { onitem, onprogress }) {
  const ids = [];
  let before = 0;
  for (const part of parts(items)) {
    part.forEach((item) => {
      item.waiting = true;
    });
    part.forEach(onitem);
    try {
      onprogress({ done: before, total: items.length, sending: true });
      const id = await api.startJob(part, asked, signal);
      ids.push(id);
      const stop = () => api.endJob(id).catch(() => {});
      signal.addEventListener("abort", stop, { once: true });
      await follow(id, part, asked, signal, onitem, (progress) =>
        onprogress({ ...progress, done: before + progress.done, total: items.length }),
      );
      signal.removeEventListener("abort", stop);
    } catch (error) {
      if (error.name !== "AbortError" && error.status === 413)
        part
          .filter((item) => item.waiting)
          .forEach((item) => {
            item.record = failure(item.name, error);
          });
      else throw error;
    } finally {
      part.forEach((item) => {
        item.waiting = false;
      });
      part.forEach(onitem);
    }
    before += part.length;
  }
  return ids;
}

async function follow(id, part, asked, signal, onitem, onprogress) {
  for await (const { event, data } of api.jobEvents(id, signal)) {
    if (event === "record") {
      const item = part[data.number];
      Object.assign(item, { waiting: false, record: data.record, asked });
      onitem(item);
    } else if (event === "progress") onprogress(data);
    else if (event === "end" && data.state === "failed")
      throw new api.Problem({
        title: "The job failed",
        detail: data.why || "The job failed; the service's own log says why.",
      });
  }
}
