// What the user thinks of answers, kept in this browser, one entry a photo, so that closing the page loses nothing.

const PREFIX = "crossgeo.judged:";

/** The judgements of photos, in the browser's storage. */
export class Judgements {
  #entries = new Map();

  constructor(storage = localStorage) {
    this.storage = storage;
    for (let i = 0; i < storage.length; i += 1) {
      const key = storage.key(i);
      if (key.startsWith(PREFIX)) this.#read(key, storage.getItem(key));
    }
    addEventListener("storage", ({ key, newValue }) => {
      // another tab judged
      if (key?.startsWith(PREFIX)) this.#read(key, newValue);
    });
  }

  #read(key, text) {
    try {
      if (text === null) this.#entries.delete(key);
      else this.#entries.set(key, JSON.parse(text));
    } catch {
      this.#entries.delete(key); // nothing that this page wrote
    }
  }

  #key(item) {
    return `${PREFIX}${item.name}|${item.file?.size ?? ""}`;
  }

  #keyFound(item) {
    const keys = [this.#key(item), `${PREFIX}${item.name}|`];
    if (!item.file) {
      const same = [...this.#entries.keys()].filter((key) => key.startsWith(keys[1]));
      if (same.length === 1) keys.push(same[0]);
    }
    return keys.find((key) => this.#entries.has(key));
  }

  /** The judgement of an item, or null: {verdict: "right" | "moved" | "wrong", lat, lon, heading_deg, how, ...}. */
  of(item) {
    return this.#entries.get(this.#keyFound(item)) ?? null;
  }

  /** Keep a judgement; raises an Error where the browser has no room. */
  set(item, judged) {
    const old = this.#keyFound(item);
    const entry = { photo: item.name, bytes: item.file?.size ?? null, ...judged, at: new Date().toISOString() };
    try {
      this.storage.setItem(this.#key(item), JSON.stringify(entry));
    } catch {
      throw new Error("This browser has no room left for judgements; save those that are made, then take some back.");
    }
    if (old && old !== this.#key(item)) this.#drop(old);
    this.#entries.set(this.#key(item), entry);
  }

  /** Take a judgement back. */
  drop(item) {
    const key = this.#keyFound(item);
    if (key) this.#drop(key);
  }

  #drop(key) {
    this.storage.removeItem(key);
    this.#entries.delete(key);
  }
}

/** The sign of a judgement in lists: its class, its sign and its word. */
export function signOf(judged) {
  if (!judged) return null;
  return {
    right: ["right", "\u2713", "judged right"],
    moved: ["moved", "\u2192", "corrected"],
    wrong: ["wrong", "\u2715", "judged wrong"],
  }[judged.verdict];
}
