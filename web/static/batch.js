// Many photos: located together, with progress, and sifted by what became of them.

import { $, count, h, number, say } from "/static/dom.js";
import { driveAsked } from "/static/drives.js";
import { jobsLeft, resumeJobs, runJobs } from "/static/job.js";
import { FILTERS } from "/static/session.js";

const ENDS = ["located", "ambiguous", "low_confidence", "outside_coverage", "failed"];

/** What stands above the list of a session. `index()` is the index that is open; `onstart`, `onfailed(error)` and `onend` frame a run. */
export class Batch {
  #run = null;
  unsent = false; // photos of a run that the service does not have yet: they would be lost with the page

  constructor(session, question, { index, onstart, onfailed, onend }) {
    Object.assign(this, { session, question, index, onstart, onfailed, onend });
    $("locate-all").addEventListener("click", () => this.locateAll());
    $("stop-job").addEventListener("click", () => this.#run?.abort());
    $("close-batch").addEventListener("click", () => {
      this.#run?.abort();
      session.close();
    });
    $("sequence").addEventListener("change", () => this.draw());
    $("filter").append(...Object.entries(FILTERS).map(([name, [words]]) => h("option", { value: name }, words)));
    $("filter").addEventListener("change", () => session.sift($("filter").value));
  }

  /** Whether photos are being located. */
  get running() {
    return this.#run !== null;
  }

  /** Locate what has no answer yet or failed; where all have one, or drives are looked at as a whole, all again. */
  async locateAll() {
    const { session } = this;
    const all = session.items.filter((item) => item.file);
    const left = all.filter((item) => !item.record || item.record.error);
    if (this.running || !all.length || !this.index()) return;
    await this.#during((signal, watch) => {
      const [asked, drives] = [this.question.read(), driveAsked()];
      const items = left.length && !drives.sequence ? left : all;
      return runJobs(items, { ...asked, index: this.index().name }, drives, signal, watch);
    });
  }

  /** Take up again what was under way when the page was left, if it was. */
  async pickUp() {
    const left = jobsLeft();
    if (!left || left.index !== this.index()?.name || this.session.items.length) return;
    this.session.expect(left.names);
    await this.#during((signal, watch) => resumeJobs(left, this.session.items, signal, watch));
  }

  /** Do what locates photos, given a signal to stop and what is to be told, and show how far it is. */
  async #during(work) {
    const { session } = this;
    this.onstart();
    this.#run = new AbortController();
    this.draw({ done: 0, total: session.items.length, sending: true });
    const began = performance.now();
    let done = 0;
    try {
      const ids = await work(this.#run.signal, {
        onitem: (item) => session.touch(item),
        onprogress: (progress) => {
          done = progress.total;
          this.draw(progress);
        },
      });
      session.job = ids.length === 1 && done === session.items.length ? ids[0] : null;
      say(`${count(done, "photo")} done in ${number((performance.now() - began) / 1000)} s`);
    } catch (error) {
      error.field?.focus();
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
    this.unsent = running && (progress ? Boolean(progress.sending || progress.unsent) : this.unsent);
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
    if (counts.new === this.session.items.length || $("sequence").checked) return counts.new ? "Locate all" : "Locate all again";
    if (counts.new) return `Locate the other ${number(counts.new + counts.failed)}`;
    return counts.failed ? `Try ${number(counts.failed)} again` : "Locate all again";
  }
}

function far({ done, total, eta_s: left, sending }) {
  if (sending) return "sending photos";
  const when = !left ? "" : left > 90 ? `, ${number(Math.ceil(left / 60))} min left` : `, ${number(Math.ceil(left))} s left`;
  return `${number(done)} of ${number(total)}${when}`;
}
