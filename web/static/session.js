// What is open: the photos with their points and answers, which one is looked at, and which of them the list shows.

import { Problem } from "/static/api.js";

/** Words for what an item is, in the order of the filter. */
export const STATES = {
  new: "Not asked yet",
  waiting: "Waiting",
  located: "Located",
  ambiguous: "Ambiguous",
  low_confidence: "Low confidence",
  outside_coverage: "Outside coverage",
  failed: "Failed",
};

/** Filters of the list: what it says, and which items it keeps, given their judgement. */
export const FILTERS = {
  all: ["All", () => true],
  doubtful: ["Doubtful: all but located", (item) => item.record && stateOf(item) !== "located"],
  unjudged: ["Answered, not judged yet", (item, judged) => item.record && !item.record.error && !judged],
  judged: ["Judged", (_, judged) => Boolean(judged)],
  driven: ["Changed by its drive", (item) => item.record?.sequence?.changed],
  ...Object.fromEntries(Object.entries(STATES).map(([state, words]) => [state, [words, (item) => stateOf(item) === state]])),
};

/** The state of an item: that of its answer, or how far it is. */
export function stateOf(item) {
  if (item.waiting) return "waiting";
  if (!item.record) return "new";
  return item.record.error ? "failed" : item.record.status;
}

/** The objects of an answer, in the order of the points. */
export function objectsOf(record) {
  const found = record?.objects ? record.objects.map(({ object }) => object) : [record?.object];
  return found.filter(Boolean);
}

/** A record for a photo that could not be asked about, as the service writes it. */
export function failure(name, error) {
  return { photo: name, error: { type: error instanceof Problem ? error.code || error.title : error.name, message: error.message } };
}

/** The open photos. Events: "items" (which there are), "item" (one changed, `detail`), "current" (another is looked at). */
export class Session extends EventTarget {
  constructor(judgement) {
    super();
    Object.assign(this, { items: [], visible: [], current: null, filter: "all", judgement, next: 1 });
  }

  #emit(kind, detail) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }

  /** Open photos ({file, name}); a photo whose answer is open already, from a file, is put to its answer. */
  addPhotos(photos) {
    const bare = new Map(this.items.filter((item) => !item.file).map((item) => [item.name, item]));
    const fresh = [];
    let first = null;
    for (const { file, name } of photos) {
      const item = bare.get(name) ?? bare.get(name.split("/").slice(1).join("/")) ?? bare.get(name.split("/").pop());
      if (item && !item.file) Object.assign(item, { file });
      else fresh.push(this.#item(name, file));
      first ??= item ?? fresh[0];
    }
    if (fresh.length && !bare.size)
      this.items = fresh; // other photos: the ones before are done with
    else this.items.push(...fresh);
    this.#changed(first);
  }

  /** Open answers that were written to a file before; photos that are open stay with their answers. */
  addRecords(records) {
    const files = new Map(this.items.map((item) => [item.name, item.file]));
    this.items = records.map((record) => ({ ...this.#item(record.photo, files.get(record.photo) ?? null), record }));
    this.#changed(this.items[0] ?? null);
  }

  /** Whether all of these photos ({name}) belong to open items that have none yet. */
  awaits(photos) {
    const bare = new Set(this.items.filter((item) => !item.file).map((item) => item.name));
    return photos.length > 0 && photos.every(({ name }) => bare.has(name));
  }

  /** Open photos of which the names are known, and the rest is on its way. */
  expect(names) {
    this.items = names.map((name) => this.#item(name, null));
    this.#changed(this.items[0] ?? null);
  }

  #item(name, file) {
    return { id: this.next++, name, file, points: [], record: null, waiting: false, asked: {} };
  }

  #changed(current) {
    this.filter = "all";
    this.#sift();
    this.#emit("items");
    this.select(current ?? null, true);
  }

  /** Close everything. */
  close() {
    this.items = [];
    this.#changed(null);
  }

  /** Look at an item. */
  select(item, always = false) {
    if (item === this.current && !always) return;
    this.current = item;
    this.#emit("current");
  }

  /** Go so many items on in the list. */
  step(by) {
    const shown = this.visible;
    if (!shown.length) return;
    const at = shown.indexOf(this.current);
    const to = at < 0 ? (by > 0 ? 0 : shown.length - 1) : Math.min(Math.max(at + by, 0), shown.length - 1);
    this.select(shown[to]);
  }

  /** Say that an item changed: its answer, its points, its judgement. */
  touch(item) {
    this.#emit("item", item);
  }

  /** Show only some in the list. The list then stays as it is, whatever is judged, until it is asked for again. */
  sift(filter = this.filter) {
    this.filter = filter;
    this.#sift();
    this.#emit("items");
    if (this.visible.length && !this.visible.includes(this.current)) this.select(this.visible[0]);
  }

  #sift() {
    const keeps = FILTERS[this.filter][1];
    this.visible = this.items.filter((item) => keeps(item, this.judgement(item)));
  }

  /** How many items each filter keeps. */
  counts() {
    return Object.fromEntries(
      Object.entries(FILTERS).map(([name, [, keeps]]) => [name, this.items.filter((item) => keeps(item, this.judgement(item))).length]),
    );
  }
}
