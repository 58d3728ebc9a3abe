// The box that offers files to take away.

import { jobFile } from "/static/api.js";
import { $, count, download, h } from "/static/dom.js";
import * as save from "/static/save.js";

const GEOJSON = "application/geo+json";

const stemOf = (name) =>
  name
    .split("/")
    .pop()
    .replace(/\.[^.]*$/, "");

/** Save the page that explains an answer. */
export function saveExplanation(name, page) {
  download(`${stemOf(name)}.html`, page);
}

/** Save one answer, as "json" or "geojson". */
export function saveOne(record, kind) {
  const stem = stemOf(record.photo);
  if (kind === "json") download(`${stem}.json`, `${JSON.stringify(record, null, 2)}\n`);
  else download(`${stem}.geojson`, save.answersGeoJSON([record]), GEOJSON);
}

function offer(title, choices) {
  $("save-title").textContent = title;
  $("save-choices").replaceChildren(
    ...choices.map(([words, hint, act]) =>
      h("p", { class: "choice" }, h("button", { type: "button", class: "small", onclick: act }, words), h("span", { class: "fine" }, hint)),
    ),
  );
  $("save-box").showModal();
}

/** Offer the answers of a session; formats that only the service writes where it still has them as one job. */
export function saveAnswers(session, onfailed) {
  const records = session.items.map((item) => item.record).filter(Boolean);
  if (!records.length) return offer("There are no answers yet", []);
  offer(`Save ${count(records.length, "answer")}`, [
    ["GeoJSON", "for QGIS and other maps", () => download("answers.geojson", save.answersGeoJSON(records), GEOJSON)],
    ["JSON lines", "for programs; drop it here to go on another day", () => download("answers.jsonl", save.answersLines(records))],
    ...(session.job ? served(session.job, onfailed) : []),
  ]);
}

/** What the service writes of a job: other formats, and the objects of several photos made one. */
function served(job, onfailed) {
  const get = (what, name, format) => jobFile(job, what, format).then((blob) => download(`${name}.${format}`, blob), onfailed);
  const answers = [
    ["CSV", "csv", "for spreadsheets"],
    ["GeoPackage", "gpkg", "for QGIS and other GIS"],
    ["GeoParquet", "parquet", "for tables of many rows"],
    ["KML", "kml", "for Google Earth"],
    ["GPX", "gpx", "for satnavs"],
  ];
  const formats = [["GeoJSON", "geojson"], ["JSON lines", "jsonl"], ...answers];
  const format = h(
    "select",
    { id: "objects-format", "aria-label": "Format of the objects" },
    ...formats.map(([words, suffix]) => h("option", { value: suffix }, words)),
  );
  return [
    ...answers.map(([words, suffix, hint]) => [words, hint, () => get("results", "answers", suffix)]),
    ["Objects", ["what was clicked, each once, however many photos show it, as ", format], () => get("objects", "objects", format.value)],
  ];
}

/** Offer the judgements of a session's photos as training pairs. */
export function saveJudgements(session, judgements) {
  const rows = session.items.map((item) => judgements.of(item)).filter(Boolean);
  if (!rows.length) return offer("Nothing is judged yet", []);
  const known = rows.filter((row) => row.verdict !== "wrong").length;
  offer(`Save ${count(rows.length, "judgement")}`, [
    [
      "truth.geojson",
      `${count(known, "photo")} with their true place, as geo calibrate, geo train and geo eval places read it`,
      () => download("truth.geojson", save.truth(rows), GEOJSON),
    ],
    ["objects.geojson", "clicks whose box is right", () => download("objects.geojson", save.objects(rows), GEOJSON)],
    ["judgements.csv", "all of them, the wrong ones too", () => download("judgements.csv", save.csv(rows), "text/csv")],
  ]);
}
