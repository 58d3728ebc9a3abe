// Files that the user takes away: answers in the formats of `geo batch`, and judgements as training pairs (docs/formats.md).

import { collection, feature } from "/static/geo.js";

/** An answer's feature, as `geo batch` writes it: the object's box, else the best place, else nothing. */
export function featureOf(record) {
  const object = record.object ?? record.objects?.map((row) => row.object).find(Boolean);
  const best = record.places?.[0];
  return feature(object ? object.polygon : best ? { type: "Point", coordinates: [best.lon, best.lat] } : null, record);
}

const oneALine = (features) =>
  `{"type": "FeatureCollection", "features": [\n${features.map((row) => JSON.stringify(row)).join(",\n")}\n]}\n`;

/** Answers as GeoJSON, a feature a line. */
export const answersGeoJSON = (records) => oneALine(collection(records.map(featureOf)).features);

/** Answers as JSON lines. */
export const answersLines = (records) => records.map((record) => `${JSON.stringify(record)}\n`).join("");

/** Photos whose place is known now, as a `truth.geojson`: a Point each. `rows`: judgements. */
export function truth(rows) {
  return oneALine(
    rows
      .filter((row) => row.verdict !== "wrong")
      .map((row) =>
        feature(
          { type: "Point", coordinates: [row.lon, row.lat] },
          {
            file: row.photo,
            lat: row.lat,
            lon: row.lon,
            heading_deg: row.heading_deg,
            ...(row.fov_deg ? { hfov_deg: row.fov_deg } : {}),
            ...(row.kind ? { kind_of_photo: row.kind } : {}),
            judged: row.verdict,
            how: row.how,
          },
        ),
      ),
  );
}

/** Clicks whose box was judged right, as an `objects.geojson`: a Polygon each. */
export function objects(rows) {
  return oneALine(
    rows
      .filter((row) => row.verdict === "right" && row.object && row.points.length)
      .map((row) =>
        feature(row.object.polygon, {
          file: row.photo,
          kind: "object",
          point_px: row.points[0],
          lat: row.object.lat,
          lon: row.object.lon,
        }),
      ),
  );
}

const COLUMNS = ["photo", "verdict", "how", "lat", "lon", "heading_deg", "off_m", "status", "at"];

/** All judgements, the wrong ones too, as CSV. */
export function csv(rows) {
  const cell = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const line = (values) => `${values.map((value) => cell(value === null || value === undefined ? "" : String(value))).join(",")}\r\n`;
  return line(COLUMNS) + rows.map((row) => line(COLUMNS.map((name) => row[name]))).join("");
}
