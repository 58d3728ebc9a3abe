// Many photos: located together, with progress, and sifted by what became of them.

import { $, count, h, number, say } from "/static/dom.js";
import { runJobs } from "/static/job.js";
import { FILTERS } from "/static/session.js";

const ENDS = ["located", "ambiguous", "low_confidence", "outside_coverage", "failed"];

/** What stands above the list of a session. `index()` is the index that is open; `onstart`, `onfailed(error)` and `onend` frame a run. */
export class Batch {
  #run = null;

  constructor(session, question, { index, onstart, onfailed, onend }) {
    Object.assign(this, { session, question, index, onstart, onfailed, onend });
    $("locate-all").addEventListener("click", () => this.locateAll());
    $("stop-job").addEventListener("click", () => this.#run?.abort());
    $("close-batch").addEventListener("click", () => {
      this.#run?.abort();
      session.close();
    });
    $("filter").append(...Object.entries(FILTERS).map(([name, [words]]) => h("option", { value: name }, words)));
    $("filter").addEventListener("change", () => session.sift($("filter").value));
  }

  /** Whether photos are being located. */
  get running() {
    return this.#run !== null;
  }

  /** Locate what has no answer yet or failed; where all have one, all again. */
  async locateAll() {
    const { session } = this;
    const left = session.items.filter((item) => item.file && (!item.record || item.record.error));
    const items = left.length ? left : session.items.filter((item) => item.file);
    if (this.running || !items.length || !this.index()) return;
    this.onstart();
    this.#run = new AbortController();
    this.draw({ done: 0, total: items.length, sending: true });
    const began = performance.now();
    try {
      const ids = await runJobs(items, { ...this.question.read(), index: this.index().name }, this.#run.signal, {
        onitem: (item) => session.touch(item),
        onprogress: (progress) => this.draw(progress),
      });
      session.job = ids.length === 1 && items.length === session.items.length ? ids[0] : null;
      say(`${count(items.length, "photo")} done in ${number((performance.now() - began) / 1000)} s`);
    } catch (error) {
      this.onfailed(error);
    }
    this.#run = null;
    this.draw();
    this.onend();
  }

  /** Draw the counts, the progress and what can be done. */
  draw(progress = null) {
    const { session, running } = this;
    const counts = session.counts();
    $("batch-title").textContent = count(session.items.length, "photo");
    $("locate-all").hidden = running;
    $("locate-all").disabled = !this.index() || !session.items.some((item) => item.file);
    $("locate-all").textContent = this.#offer(counts);
    $("stop-job").hidden = !running;
    $("job-bar").hidden = !running;
    if (progress) $("job-bar").value = progress.total ? progress.done / progress.total : 0;
    const found = ENDS.filter((state) => counts[state]).map((state) => `${number(counts[state])} ${FILTERS[state][0].toLowerCase()}`);
    const how = progress ? [far(progress)] : [];
    $("job-text").textContent =
      [...how, found.join(", ")].filter(Boolean).join(": ") || "Set points in any of them, or none, then locate all.";
    for (const option of $("filter").options) option.textContent = `${FILTERS[option.value][0]} (${number(counts[option.value])})`;
    $("filter").value = session.filter;
  }

  #offer(counts) {
    if (counts.new === this.session.items.length) return "Locate all";
    if (counts.new) return `Locate the other ${number(counts.new + counts.failed)}`;
    return counts.failed ? `Try ${number(counts.failed)} again` : "Locate all again";
  }
}

function far({ done, total, eta_s: left, sending }) {
  if (sending) return "sending photos";
  const when = !left ? "" : left > 90 ? `, ${number(Math.ceil(left / 60))} min left` : `, ${number(Math.ceil(left))} s left`;
  return `${number(done)} of ${number(total)}${when}`;
}
