// Photos of one drive: what may be said of them, their ways over the map, and what the ways changed.

import { $, count } from "/static/dom.js";
import { FieldError } from "/static/question.js";

/** What is to be asked of drives, by the service's names: nothing where photos stay by themselves. Raises FieldError. */
export function driveAsked() {
  if (!$("sequence").checked) return {};
  const asked = { sequence: true };
  for (const name of ["max_speed_m_s", "max_step_m"]) {
    const field = $(name);
    if (!field.validity.valid) throw new FieldError(field, `${field.dataset.say} is a number from ${field.min} to ${field.max}.`);
    if (field.value !== "") asked[name] = Number(field.value);
  }
  return asked;
}

/** The ways of the drives among items that were looked at together: `{group, stops: [{item, place, changed}], left}`, stops in order. */
export function waysOf(items) {
  const groups = new Map();
  for (const item of items) {
    const told = item.record?.sequence;
    if (!told) continue;
    if (!groups.has(told.group)) groups.set(told.group, []);
    groups.get(told.group).push(item);
  }
  return [...groups].map(([group, own]) => {
    const timed = own.every(({ record }) => record.taken);
    const order = timed ? [...own].sort((a, b) => Date.parse(a.record.taken) - Date.parse(b.record.taken)) : own;
    const on = order.filter(({ record }) => record.sequence.rank !== null && record.places.length);
    const stops = on.map((item) => ({
      item,
      place: item.record.places[0].camera ?? item.record.places[0],
      changed: item.record.sequence.changed,
    }));
    return { group, stops, left: own.length - on.length };
  });
}

/** Keeps the drives of a session on the map, and says in words what they came to; draws at most once a frame. */
export class Drives {
  constructor(session, map) {
    Object.assign(this, { session, map, frame: null });
    for (const event of ["items", "item", "current"]) session.addEventListener(event, () => this.draw());
  }

  draw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.#draw();
    });
  }

  #draw() {
    const ways = waysOf(this.session.items);
    this.map.showWays(ways, this.session.current);
    $("drive-text").hidden = !ways.length;
    if (!ways.length) return;
    const stops = ways.flatMap((way) => way.stops);
    const changed = this.session.items.filter(({ record }) => record?.sequence?.changed).length;
    const all = stops.length + ways.reduce((sum, way) => sum + way.left, 0);
    $("drive-text").textContent =
      `${count(ways.length, "drive")}: ${stops.length} of ${count(all, "photo")} on the way, ${count(changed, "answer")} changed by it.`;
  }
}
