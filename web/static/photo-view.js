// The photo: zoomed and panned by mouse, fingers and keys; a click or the cursor sets points in its own upright pixels.

import { h, say } from "/static/dom.js";

const LARGEST = 16; // screen pixels for a pixel of the photo
const SLACK_PX = 5; // a press that moves less is a click
const STEP_PX = 16; // on the screen, for an arrow key

/** Shows one photo in `box`. `onpoints(points)` is called when the user sets or takes away points. */
export class PhotoView {
  constructor({ box, image, marks, cursor, at }, onpoints) {
    Object.assign(this, { box, image, marks, cursor, at, onpoints });
    this.points = [];
    this.several = false;
    this.clear();
    this.pointers = new Map();
    box.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    for (const kind of ["pointerdown", "pointermove", "pointerup", "pointercancel", "pointerleave"])
      box.addEventListener(kind, (event) => this.#pointer(event));
    box.addEventListener("keydown", (event) => this.#key(event));
    box.addEventListener("focus", () => this.#showCursor(box.matches(":focus-visible")));
    box.addEventListener("blur", () => this.#showCursor(false));
    new ResizeObserver(() => this.#resized()).observe(box);
  }

  /** Whether a photo is shown and may be clicked. */
  get ready() {
    return this.width > 0;
  }

  /** Show no photo. */
  clear() {
    Object.assign(this, { width: 0, height: 0, scale: 1, left: 0, top: 0, spot: [0, 0], fitted: true, url: null });
    this.image.hidden = true;
    this.image.removeAttribute("src");
    this.setPoints([]);
    this.#showCursor(false);
  }

  /** Show a photo by its URL; rejects where the browser cannot. */
  async show(url, name, points) {
    if (this.url !== url) {
      this.clear();
      this.url = url;
      this.image.src = url;
      await this.image.decode();
      if (this.url !== url) return;
      this.width = this.image.naturalWidth;
      this.height = this.image.naturalHeight;
      this.spot = [this.width / 2, this.height / 2];
      this.image.hidden = false;
      this.image.alt = name;
      this.box.setAttribute(
        "aria-label",
        `Photo ${name}. Arrow keys move the cursor, Enter sets the point, plus and minus zoom, 0 shows all, Escape takes points away.`,
      );
      this.fit();
    }
    this.setPoints(points);
  }

  /** Show all of the photo. */
  fit() {
    if (!this.ready) return;
    const { clientWidth: w, clientHeight: t } = this.box;
    this.scale = Math.min(w / this.width, t / this.height) || 1;
    this.left = (w - this.width * this.scale) / 2;
    this.top = (t - this.height * this.scale) / 2;
    this.fitted = true;
    this.#place();
  }

  /** Zoom by a factor about a point on the screen, in the box's pixels; about its middle unless told. */
  zoom(factor, x = this.box.clientWidth / 2, y = this.box.clientHeight / 2) {
    if (!this.ready) return;
    const least = Math.min(this.box.clientWidth / this.width, this.box.clientHeight / this.height, 1);
    const scale = Math.min(Math.max(this.scale * factor, least), LARGEST);
    this.left = x - ((x - this.left) * scale) / this.scale;
    this.top = y - ((y - this.top) * scale) / this.scale;
    this.scale = scale;
    this.fitted = false;
    this.#place();
  }

  /** Mark points without telling anybody. */
  setPoints(points) {
    this.points = points;
    this.marks.replaceChildren(
      ...points.map((_, i) => h("span", { class: "mark", "aria-hidden": "true" }, points.length > 1 ? h("b", {}, String(i + 1)) : null)),
    );
    this.#place();
  }

  /** Take all points away. */
  dropPoints() {
    if (!this.points.length) return;
    this.#tell([]);
    say("No point set");
  }

  #tell(points) {
    this.setPoints(points);
    this.onpoints(points);
  }

  #set(x, y, add) {
    const point = [Math.min(Math.max(x, 0), this.width), Math.min(Math.max(y, 0), this.height)].map((value) => Math.round(value * 10) / 10);
    this.#tell(add || this.several ? [...this.points, point] : [point]);
    say(`Point set at ${Math.round(point[0])}, ${Math.round(point[1])}${this.points.length > 1 ? `, ${this.points.length} points` : ""}`);
  }

  #place() {
    if (!this.ready) return;
    const { clientWidth: w, clientHeight: t } = this.box;
    const keep = 40; // of the photo that always stays in sight
    this.left = Math.min(Math.max(this.left, keep - this.width * this.scale), w - keep);
    this.top = Math.min(Math.max(this.top, keep - this.height * this.scale), t - keep);
    this.image.style.width = `${this.width}px`;
    this.image.style.height = `${this.height}px`;
    this.image.style.transform = `translate(${this.left}px, ${this.top}px) scale(${this.scale})`;
    this.image.style.imageRendering = this.scale >= 3 ? "pixelated" : "auto";
    [...this.marks.children].forEach((mark, i) => this.#move(mark, this.points[i]));
    this.#move(this.cursor, this.spot);
  }

  #move(element, [x, y]) {
    element.style.transform = `translate(${this.left + x * this.scale}px, ${this.top + y * this.scale}px)`;
  }

  #resized() {
    if (this.fitted) this.fit();
    else this.#place();
  }

  #showCursor(shown) {
    this.cursor.hidden = !shown || !this.ready;
    if (!shown) this.at.textContent = "";
  }

  #on(event) {
    const frame = this.box.getBoundingClientRect();
    return [event.clientX - frame.left, event.clientY - frame.top];
  }

  #read([x, y]) {
    const spot = [(x - this.left) / this.scale, (y - this.top) / this.scale];
    const inside = spot[0] >= 0 && spot[1] >= 0 && spot[0] <= this.width && spot[1] <= this.height;
    this.at.textContent = inside ? `${Math.floor(spot[0])}, ${Math.floor(spot[1])} px` : "";
    return inside ? spot : null;
  }

  #wheel(event) {
    if (!this.ready) return;
    event.preventDefault();
    this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), ...this.#on(event));
  }

  #pointer(event) {
    if (!this.ready || (event.pointerType === "mouse" && event.button > 0)) return;
    const here = this.#on(event);
    if (event.type === "pointerdown") {
      this.box.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, { here, start: here });
      this.dragged = this.pointers.size > 1;
    } else if (event.type === "pointermove") {
      const pointer = this.pointers.get(event.pointerId);
      if (!pointer) return void this.#read(here);
      const far = Math.hypot(here[0] - pointer.start[0], here[1] - pointer.start[1]);
      this.dragged ||= far > SLACK_PX;
      if (this.dragged) this.#drag(event.pointerId, here);
      pointer.here = here;
    } else if (this.pointers.delete(event.pointerId) && event.type === "pointerup" && !this.dragged) {
      const spot = this.#read(here);
      if (spot) this.#set(...spot, event.shiftKey);
    }
  }

  #drag(id, here) {
    const { here: before } = this.pointers.get(id);
    const other = [...this.pointers].find(([key]) => key !== id)?.[1].here;
    this.left += (here[0] - before[0]) / (other ? 2 : 1);
    this.top += (here[1] - before[1]) / (other ? 2 : 1);
    this.fitted = false;
    if (!other) return this.#place();
    const span = (from) => Math.max(Math.hypot(from[0] - other[0], from[1] - other[1]), 1);
    this.zoom(span(here) / span(before), (here[0] + other[0]) / 2, (here[1] + other[1]) / 2);
  }

  #key(event) {
    if (!this.ready || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = event.shiftKey ? 1 : STEP_PX / this.scale;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (moves[event.key]) this.#step(moves[event.key]);
    else if (event.key === "Enter" || event.key === " ") this.#set(...this.spot, event.shiftKey);
    else if (event.key === "+" || event.key === "=") this.zoom(1.4, ...this.#spotOnScreen());
    else if (event.key === "-") this.zoom(1 / 1.4, ...this.#spotOnScreen());
    else if (event.key === "0") this.fit();
    else if (event.key === "Escape") this.dropPoints();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #spotOnScreen() {
    return [this.left + this.spot[0] * this.scale, this.top + this.spot[1] * this.scale];
  }

  #step([dx, dy]) {
    this.spot = [Math.min(Math.max(this.spot[0] + dx, 0), this.width), Math.min(Math.max(this.spot[1] + dy, 0), this.height)];
    const [x, y] = this.#spotOnScreen();
    const rim = 24;
    const over = (value, size) => Math.min(value - rim, 0) + Math.max(value - size + rim, 0);
    if (!this.fitted) {
      this.left -= over(x, this.box.clientWidth);
      this.top -= over(y, this.box.clientHeight);
    }
    this.#showCursor(true);
    this.#place();
    this.at.textContent = `${Math.floor(this.spot[0])}, ${Math.floor(this.spot[1])} px`;
    clearTimeout(this.saying);
    this.saying = setTimeout(() => say(`${Math.floor(this.spot[0])}, ${Math.floor(this.spot[1])}`), 400);
  }
}
