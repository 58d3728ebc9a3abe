// What is asked beside the photo: the options as the service takes them, and where on the map they say to look.

import { $, latLon, readLatLon } from "/static/dom.js";

const NUMBERS = ["heading_deg", "fov_deg", "height_m", "tilt_deg", "top", "radius_m"];
const RADIUS_M = 250; // what the service takes where only a place is given

/** What stands in a field is none of what it may be. */
export class FieldError extends Error {
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

/** The form of options. `onlimits(bounds, near, radius)` is told what to draw, `pick(picked)` has the user click the map. */
export class Question {
  constructor(form, { onlimits, pick, view }) {
    Object.assign(this, { form, onlimits, pick, bounds: null });
    form.addEventListener("input", () => this.#changed());
    $("pick-near").addEventListener("click", () => this.#pickNear());
    $("use-bounds").addEventListener("click", () => this.#setBounds(view()));
    $("clear-bounds").addEventListener("click", () => this.#setBounds(null));
    $("reset-options").addEventListener("click", () => {
      form.reset();
      this.#setBounds(null);
    });
  }

  /** The options that are set, by the service's names; raises FieldError for the first that is none. */
  read() {
    const asked = {};
    for (const name of NUMBERS) {
      const field = this.form.elements[name];
      if (field.validity.badInput || field.validity.rangeUnderflow || field.validity.rangeOverflow || field.validity.stepMismatch) {
        throw new FieldError(field, `${field.dataset.say} is ${this.#allowed(field)}.`);
      }
      if (field.value !== "") asked[name] = Number(field.value);
    }
    for (const name of ["kind", "vintage"]) if (this.form.elements[name].value.trim()) asked[name] = this.form.elements[name].value.trim();
    for (const name of ["use_exif_position", "anyway"]) if (this.form.elements[name].checked) asked[name] = true;
    const near = this.form.elements.near;
    const place = readLatLon(near.value);
    if (near.value.trim() && !place) throw new FieldError(near, "Near is a latitude and a longitude in degrees, such as 48.2082, 16.3738.");
    if (place) asked.near = `${place.lat},${place.lon}`;
    if (asked.radius_m && !place && !asked.use_exif_position)
      throw new FieldError(near, "A radius needs a place to be around: fill in Near, or take the position in the photo's EXIF.");
    if (this.bounds) asked.bounds = this.bounds.map((edge) => edge.toFixed(7)).join(",");
    return asked;
  }

  /** Ask around a place only. */
  lookNear(place, radius) {
    this.form.elements.near.value = latLon(place);
    this.form.elements.radius_m.value = String(radius);
    $("options").open = true;
    this.#changed();
  }

  #allowed(field) {
    const { min, max, step } = field;
    const kind = step === "1" ? "a whole number" : "a number";
    if (min && max) return `${kind} from ${min} to ${max}`;
    return min ? `${kind}, at least ${min}` : kind;
  }

  #pickNear() {
    const button = $("pick-near");
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    this.pick(
      on
        ? (place) => {
            button.setAttribute("aria-pressed", "false");
            this.pick(null);
            this.form.elements.near.value = latLon(place);
            this.#changed();
          }
        : null,
    );
  }

  #setBounds(bounds) {
    this.bounds = bounds;
    $("bounds-text").textContent = bounds ? bounds.map((edge) => edge.toFixed(4)).join(", ") : "";
    $("clear-bounds").hidden = !bounds;
    this.#changed();
  }

  #changed() {
    let asked = {};
    try {
      asked = this.read();
    } catch (error) {
      if (!(error instanceof FieldError)) throw error; // said when the question is asked
    }
    const set = Object.keys(asked).length;
    $("options-set").textContent = set ? `${set} set` : "";
    this.onlimits(this.bounds, readLatLon(this.form.elements.near.value), Number(this.form.elements.radius_m.value) || RADIUS_M);
  }
}
