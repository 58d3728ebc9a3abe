// The user's judgement of an answer: right, wrong, or put somewhere else, by mouse on the map or by keys in fields.

import { h, metres, readLatLon, latLon, say } from "/static/dom.js";
import { distance, turn } from "/static/geo.js";
import { objectsOf } from "/static/session.js";

/** The panel of one item's judgement: `onjudged(item)` after every change, `onagain(place)` to ask around a place. */
export class Review {
  constructor(box, judgements, map, { onjudged, onagain, onfailed }) {
    Object.assign(this, { box, judgements, map, onjudged, onagain, onfailed, item: null, chosen: 0, moving: false });
  }

  /** Show the judgement of an item of which rival `chosen` is looked at. */
  show(item, chosen) {
    if (this.item !== item || !item?.record) this.moving = false;
    Object.assign(this, { item, chosen });
    this.draw();
  }

  /** The place that was set by hand, as a place to draw, or null. */
  static byHand(judged) {
    return judged?.how === "hand" ? { lat: judged.lat, lon: judged.lon, heading_deg: judged.heading_deg, radius_m: 2.5 } : null;
  }

  get #open() {
    return Boolean(this.item?.record && !this.item.record.error);
  }

  get #place() {
    const { record } = this.item;
    return Review.byHand(this.judgements.of(this.item)) ?? record.places[this.chosen] ?? record.places[0] ?? null;
  }

  /** Say that the place looked at is right. */
  right() {
    if (!this.#open) return;
    const place = this.item.record.places[this.chosen];
    const hand = Review.byHand(this.judgements.of(this.item));
    if (!place || hand) return; // a place by hand is one already
    const first = this.chosen === 0;
    this.#keep({
      verdict: first ? "right" : "moved",
      how: first ? "answer" : `place ${this.chosen + 1}`,
      ...at(place),
      object: first ? (objectsOf(this.item.record)[0] ?? null) : null,
    });
    say(first ? "Judged right" : `Place ${this.chosen + 1} is right`);
  }

  /** Say that no place of the answer is right. */
  wrong() {
    if (!this.#open) return;
    this.moving = false;
    this.#keep({ verdict: "wrong", how: "answer", lat: null, lon: null, heading_deg: null, object: null });
    say("Judged wrong");
  }

  /** Take the judgement back. */
  undo() {
    if (!this.#open || !this.judgements.of(this.item)) return;
    this.judgements.drop(this.item);
    this.moving = false;
    this.#changed();
    say("Judgement taken back");
  }

  /** Begin or end putting the place somewhere else. */
  move() {
    if (!this.#open) return;
    this.moving = !this.moving;
    this.draw();
    if (this.moving) this.box.querySelector("#move-at")?.focus();
  }

  /** The user put the place there. */
  moved(place) {
    this.#keep({ verdict: "moved", how: "hand", ...at(place), object: null });
    say(`Place set to ${latLon(place, 5)}`);
  }

  #keep(judged) {
    const { record, points, asked } = this.item;
    const best = record.places[0] ?? null;
    const off = best && judged.lat !== null ? Math.round(distance(best, judged) * 10) / 10 : null;
    const known = { status: record.status, off_m: off, points, kind: asked.kind ?? null, fov_deg: asked.fov_deg ?? null };
    try {
      this.judgements.set(this.item, { ...judged, ...known });
    } catch (error) {
      return this.onfailed(error);
    }
    this.#changed();
  }

  #changed() {
    this.onjudged(this.item);
  }

  #start() {
    const view = this.map.view();
    const middle = view ? { lat: (view[1] + view[3]) / 2, lon: (view[0] + view[2]) / 2 } : { lat: 0, lon: 0 };
    return { heading_deg: 0, radius_m: 2.5, ...(this.#place ?? middle) };
  }

  /** Draw the panel and what can be dragged; the focus stays where it was. */
  draw() {
    const focused = this.box.contains(document.activeElement) ? document.activeElement.id : null;
    this.#draw();
    if (focused) (document.getElementById(focused) ?? this.box.querySelector("button"))?.focus();
  }

  #draw() {
    this.map.stopMoving();
    if (!this.#open) return this.box.replaceChildren();
    const judged = this.judgements.of(this.item);
    const rival = this.chosen > 0 && !Review.byHand(judged);
    const button = (words, key, pressed, act) =>
      h(
        "button",
        {
          id: `judge-${key}`,
          type: "button",
          class: "small",
          "aria-pressed": pressed === null ? null : String(pressed),
          onclick: act,
          title: `${words} (${key})`,
        },
        words,
        h("kbd", { "aria-hidden": "true" }, key),
      );
    const any = this.item.record.places.length > 0;
    this.box.replaceChildren(
      h(
        "section",
        { class: "card" },
        h("h2", {}, "Your judgement"),
        h("p", { class: "fine", id: "judged" }, words(judged)),
        h(
          "p",
          { class: "row" },
          any &&
            button(
              rival ? `Place ${this.chosen + 1} is right` : "Right",
              "y",
              judged !== null && judged.how !== "hand" && judged.verdict !== "wrong",
              () => this.right(),
            ),
          button("Wrong", "n", judged?.verdict === "wrong", () => this.wrong()),
          button("Move", "m", this.moving, () => this.move()),
          judged ? button("Undo", "u", null, () => this.undo()) : null,
        ),
        this.moving ? this.#fields() : null,
      ),
    );
    if (this.moving) this.map.startMoving(this.#start(), this.item.asked.fov_deg);
  }

  #fields() {
    const start = this.#start();
    const where = h("input", { id: "move-at", type: "text", autocomplete: "off", spellcheck: "false", "aria-describedby": "move-hint" });
    where.value = latLon(start);
    const heading = h("input", { id: "move-heading", type: "number", step: "any", min: "-360", max: "360" });
    heading.value = String(Math.round(start.heading_deg * 10) / 10);
    const set = () => {
      const place = readLatLon(where.value);
      where.setCustomValidity(place ? "" : "A latitude and a longitude in degrees, such as 48.2082, 16.3738.");
      if (!place || heading.value === "") return void where.reportValidity();
      this.moved({ ...place, heading_deg: turn(Number(heading.value)) });
    };
    where.addEventListener("change", set);
    heading.addEventListener("change", set);
    return h(
      "div",
      { class: "fields" },
      h("label", { class: "two", for: "move-at" }, "True place, latitude and longitude ", where),
      h("label", { for: "move-heading" }, "True heading, \u00b0 ", heading),
      h("p", { class: "fine two", id: "move-hint" }, "Or drag the two handles on the map: the place, and where the photo looks."),
      h(
        "p",
        { class: "row two" },
        h(
          "button",
          { id: "judge-again", type: "button", class: "small", onclick: () => this.onagain(this.#start()) },
          "Ask again around this place",
        ),
      ),
    );
  }
}

const at = ({ lat, lon, heading_deg }) => ({ lat: round(lat, 7), lon: round(lon, 7), heading_deg: round(heading_deg, 1) });
const round = (value, decimals) => Number(value.toFixed(decimals));

function words(judged) {
  if (!judged) return "Not judged yet. What you say here can be saved as training pairs.";
  if (judged.verdict === "wrong") return "Wrong: no place of this answer is right.";
  if (judged.verdict === "right") return "Right, as it was answered.";
  const off = judged.off_m === null ? "" : `, ${metres(judged.off_m)} from the answer`;
  return judged.how === "hand" ? `Put there by hand${off}.` : `Another place is right: ${judged.how}${off}.`;
}
