// The list of a batch: thousands of photos, of which only the rows in sight exist.

import { h } from "/static/dom.js";
import { STATES, stateOf } from "/static/session.js";

const ROW_PX = 56;
const SPARE = 4; // rows beyond the rim
const THUMB_PX = 96;
const KEPT = 400;
const AT_ONCE = 2;

/** Small pictures of photos, made two at a time, the newest wish first; the last few hundred are kept. */
class Thumbs {
  #made = new Map(); // null: this browser cannot show it
  #wanted = new Map();
  #busy = new Set();

  get(file, ready) {
    if (!this.#made.has(file) && !this.#busy.has(file)) {
      this.#wanted.delete(file); // to the end, where the next one is taken from
      this.#wanted.set(file, ready);
      this.#next();
    }
    return this.#made.get(file) ?? null;
  }

  #next() {
    while (this.#busy.size < AT_ONCE && this.#wanted.size) {
      const [file, ready] = [...this.#wanted].pop();
      this.#wanted.delete(file);
      this.#busy.add(file);
      createImageBitmap(file, { resizeWidth: THUMB_PX, resizeQuality: "medium" })
        .catch(() => null)
        .then((bitmap) => {
          this.#busy.delete(file);
          this.#made.set(file, bitmap);
          if (this.#made.size > KEPT) this.#made.delete(this.#made.keys().next().value);
          ready();
          this.#next();
        });
    }
    while (this.#wanted.size > 100) this.#wanted.delete(this.#wanted.keys().next().value); // scrolled past long ago
  }
}

/** Shows the visible items of a session in `box`, a listbox. `verdict(item)` gives the sign of its judgement and its word, or null. */
export class PhotoList {
  constructor(box, session, verdict) {
    Object.assign(this, { box, session, verdict, thumbs: new Thumbs() });
    this.rows = h("div", { class: "rows", role: "presentation" });
    box.append(this.rows);
    box.addEventListener("scroll", () => this.draw(), { passive: true });
    box.addEventListener("click", (event) => this.#clicked(event));
    box.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.draw()).observe(box);
    session.addEventListener("items", () => this.draw());
    session.addEventListener("item", () => this.draw());
    session.addEventListener("current", () => this.#reveal());
  }

  /** Draw the rows in sight; at most once a frame. */
  draw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.#draw();
    });
  }

  #draw() {
    const { visible, current } = this.session;
    const first = Math.max(Math.floor(this.box.scrollTop / ROW_PX) - SPARE, 0);
    const last = Math.min(Math.ceil((this.box.scrollTop + this.box.clientHeight) / ROW_PX) + SPARE, visible.length);
    this.rows.style.height = `${visible.length * ROW_PX}px`;
    this.rows.replaceChildren(...visible.slice(first, last).map((item, i) => this.#row(item, first + i)));
    const at = visible.indexOf(current);
    if (at >= first && at < last) this.box.setAttribute("aria-activedescendant", `row-${current.id}`);
    else this.box.removeAttribute("aria-activedescendant");
  }

  #row(item, at) {
    const state = stateOf(item);
    const judged = this.verdict(item);
    const thumb = h("canvas", { class: "thumb", width: "72", height: "54", "aria-hidden": "true" });
    const made = item.file && this.thumbs.get(item.file, () => this.draw());
    if (made) paint(thumb, made);
    return h(
      "div",
      {
        id: `row-${item.id}`,
        class: "item",
        role: "option",
        "aria-selected": String(item === this.session.current),
        "aria-posinset": String(at + 1),
        "aria-setsize": String(this.session.visible.length),
        style: { top: `${at * ROW_PX}px` },
        title: item.name,
      },
      thumb,
      h("span", { class: "item-name" }, item.name.split("/").pop()),
      h(
        "span",
        { class: `item-state ${state}` },
        item.record?.sequence?.changed
          ? h(
              "span",
              { class: "driven", title: "Changed by its drive" },
              h("span", { "aria-hidden": "true" }, "\u21c4 "),
              h("span", { class: "unseen" }, "Changed by its drive: "),
            )
          : null,
        STATES[state],
        item.points.length ? ` \u00b7 ${item.points.length === 1 ? "point" : `${item.points.length} points`}` : "",
      ),
      judged
        ? h(
            "span",
            { class: `verdict ${judged[0]}`, title: judged[2] },
            h("span", { "aria-hidden": "true" }, judged[1]),
            h("span", { class: "unseen" }, judged[2]),
          )
        : null,
    );
  }

  #reveal() {
    const at = this.session.visible.indexOf(this.session.current);
    if (at >= 0) {
      const { scrollTop, clientHeight } = this.box;
      if (at * ROW_PX < scrollTop) this.box.scrollTop = at * ROW_PX;
      else if ((at + 1) * ROW_PX > scrollTop + clientHeight) this.box.scrollTop = (at + 1) * ROW_PX - clientHeight;
    }
    this.draw();
  }

  /** Rows are drawn anew while answers come in, so a click goes by its place and not by its element. */
  #clicked(event) {
    const item = this.session.visible[Math.floor((event.clientY - this.rows.getBoundingClientRect().top) / ROW_PX)];
    if (item) this.session.select(item);
  }

  #key(event) {
    const page = Math.max(Math.floor(this.box.clientHeight / ROW_PX) - 1, 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (!(event.key in steps) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.session.step(steps[event.key]);
  }
}

/** Fill a canvas with the middle of a picture. */
function paint(canvas, bitmap) {
  const scale = Math.max(canvas.width / bitmap.width, canvas.height / bitmap.height);
  const [w, t] = [bitmap.width * scale, bitmap.height * scale];
  canvas.getContext("2d").drawImage(bitmap, (canvas.width - w) / 2, (canvas.height - t) / 2, w, t);
}
