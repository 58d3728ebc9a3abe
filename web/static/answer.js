// The answer in words and numbers: status, place, objects, rivals, notes, timings.

import { copy, h, latLon, metres, number } from "/static/dom.js";
import { distance } from "/static/geo.js";
import { objectsOf } from "/static/session.js";

const SAYS = {
  located: ["Located", "This place can be relied on."],
  ambiguous: ["Ambiguous", "Several places fit about equally well: compare the rivals before you use the first."],
  low_confidence: ["Low confidence", "The best place is doubtful and not to be relied on."],
  outside_coverage: ["Outside coverage", "Nothing in this index looks like the photo."],
};
const PARTIAL = "Not all of the ground that was asked about could be looked at: ask again.";
const NO_OBJECT = {
  low_confidence:
    "Not looked for, since the place is too uncertain. \u201cLook for the object even at a doubtful place\u201d does so all the same.",
  outside_coverage: "Not looked for: there is no place to look at.",
};
const NOTHING = "None found: there is no imagery under the point, it is out of reach, or it shows nothing that was recognised.";
const COMPASS = ["north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west"];

/** A heading in words, as "south-west". */
const towards = (heading) => COMPASS[Math.round(heading / 45) % 8];

function copied(place) {
  const button = h("button", { type: "button", class: "quiet small", "aria-label": `Copy coordinates ${latLon(place)}` }, "Copy");
  button.addEventListener("click", () => copy(latLon(place), button));
  return button;
}

const fact = (name, ...value) => [h("dt", {}, name), h("dd", {}, ...value)];

function likely(place) {
  const known = Object.entries(place.probability ?? {});
  return known.length ? fact("Right within", known.map(([far, share]) => `${far} m: ${number(share * 100)} %`).join(", ")) : [];
}

function placeCard(record, place, byHand) {
  const covers = place.probability ? "nine of ten" : "two of three";
  return h(
    "section",
    { class: "card" },
    h("h2", {}, byHand ? "Place set by hand" : "Place"),
    h("p", { class: "where" }, h("span", { class: "mono" }, latLon(place)), copied(place)),
    h(
      "dl",
      { class: "facts" },
      byHand ? [] : fact("Radius", metres(place.radius_m), h("small", {}, ` holds ${covers}`)),
      fact("Heading", `${number(place.heading_deg, 1)}\u00b0 `, h("small", {}, towards(place.heading_deg))),
      byHand
        ? []
        : [
            ...fact("Score", place.score.toFixed(3)),
            ...likely(place),
            ...fact("Imagery", place.source ?? "unknown", place.vintage ? h("small", {}, ` of ${place.vintage}`) : null),
          ],
    ),
  );
}

function objectCard(record, asked) {
  const rows = record.objects ?? [{ object: record.object, notes: [] }];
  return h(
    "section",
    { class: "card" },
    h("h2", {}, rows.length > 1 ? "Objects" : "Object"),
    ...rows.map(({ object, notes, error }, i) =>
      h(
        "div",
        { class: "object" },
        object
          ? [
              h(
                "p",
                { class: "where" },
                rows.length > 1 ? h("b", { class: "number" }, String(i + 1)) : null,
                h("span", { class: "mono" }, latLon(object)),
                copied(object),
              ),
              h(
                "dl",
                { class: "facts" },
                fact(
                  "Box",
                  `${number(object.width_m, 1)} \u00d7 ${number(object.height_m, 1)} m`,
                  h("small", {}, " west to east, south to north"),
                ),
                fact("Confidence", `${number(object.confidence * 100)} %`),
                object.bearing_deg === null || object.bearing_deg === undefined
                  ? []
                  : fact("Bearing", `${number(object.bearing_deg, 1)}\u00b0`, h("small", {}, " from the camera")),
              ),
            ]
          : h(
              "p",
              { class: "fine" },
              rows.length > 1 ? h("b", { class: "number" }, String(i + 1)) : null,
              error?.message ?? (asked.anyway && record.places.length ? NOTHING : (NO_OBJECT[record.status] ?? NOTHING)),
            ),
        ...(notes ?? []).map((note) => h("p", { class: "fine" }, note)),
      ),
    ),
  );
}

function rivalsCard(record, chosen, onrival) {
  const best = record.places[0];
  const top = Math.max(...record.places.map((place) => place.score), 0.001);
  return h(
    "section",
    { class: "card" },
    h("h2", {}, `Places that fit `, h("span", { class: "count" }, String(record.places.length))),
    h(
      "ol",
      { class: "rivals" },
      ...record.places.map((place, i) =>
        h(
          "li",
          {},
          h(
            "button",
            {
              type: "button",
              class: "rival",
              "aria-pressed": String(chosen === i),
              onclick: () => onrival(i),
              "aria-label": `Place ${i + 1}: score ${place.score.toFixed(3)}${i ? `, ${metres(distance(best, place))} off` : ""}`,
            },
            h("b", { class: "number" }, String(i + 1)),
            h(
              "span",
              { class: "meter", "aria-hidden": "true" },
              h("i", { style: { width: `${Math.max((place.score / top) * 100, 0)}%` } }),
            ),
            h("span", { class: "mono" }, place.score.toFixed(3)),
            h("span", { class: "fine" }, i ? metres(distance(best, place)) : "first"),
          ),
        ),
      ),
    ),
  );
}

function timingsCard(record) {
  const { total, ...stages } = record.timings_ms ?? {};
  if (total === undefined) return null;
  return h(
    "details",
    { class: "card timings" },
    h("summary", {}, `Answered in ${number(total / 1000, 1)} s`),
    h(
      "dl",
      { class: "facts" },
      ...Object.entries(stages).flatMap(([stage, took]) => fact(stage.replaceAll("_", " "), `${number(took)} ms`)),
    ),
    h("p", { class: "fine" }, `${record.index.model}, generation ${record.index.generation}`),
  );
}

/** One sentence about an answer, for those who cannot see it. */
export function sentence(record) {
  if (record.error) return `Failed: ${record.error.message}`;
  const place = record.places[0];
  const objects = objectsOf(record).length;
  const where = place ? ` ${latLon(place, 5)}, within ${metres(place.radius_m)}.` : "";
  return `${SAYS[record.status][0]}.${where}${objects ? ` ${objects > 1 ? `${objects} objects` : "The object"} found.` : ""}`;
}

/** Fill `box` with the status of an answer and what is to be said about it. */
export function showStatus(box, record) {
  if (!record) return box.replaceChildren();
  const [name, words] = record.error ? ["Failed", record.error.message] : record.partial ? [SAYS[record.status][0], PARTIAL] : SAYS[record.status];
  const notes = (record.notes ?? []).map((note) => h("p", { class: "note" }, note));
  box.replaceChildren(
    h(
      "section",
      { class: "card" },
      h("p", { class: `status ${record.error ? "failed" : record.status}` }, h("b", {}, name)),
      h("p", {}, words),
      ...notes,
    ),
  );
}

/** Fill `box` with an item's answer. `chosen` is the place that is looked at, or null for `byHand`, one that was set by hand. */
export function showAnswer(box, item, { chosen, byHand }, { onrival, onsave, onexplain }) {
  const record = item?.record;
  if (!record || record.error) return box.replaceChildren();
  const place = byHand ?? record.places[chosen ?? 0];
  const asked = item.points.length > 0 || record.object || record.objects;
  box.replaceChildren(
    ...[
      place && placeCard(record, place, Boolean(byHand)),
      asked && objectCard(record, item.asked),
      record.places.length > 0 && rivalsCard(record, byHand ? null : chosen, onrival),
      timingsCard(record),
      h(
        "p",
        { class: "row fine" },
        "Download",
        h("button", { type: "button", class: "small", onclick: () => onsave("geojson") }, "GeoJSON"),
        h("button", { type: "button", class: "small", onclick: () => onsave("json") }, "JSON"),
        item.file && h("button", { id: "explain", type: "button", class: "small", onclick: onexplain }, "Explanation"),
      ),
    ].filter(Boolean),
  );
}
