// Metres and degrees on the sphere: enough for what is drawn on the map, never for what is computed.

const RADIUS_M = 6_371_008.8;
const rad = (deg) => (deg * Math.PI) / 180;
const deg = (angle) => (angle * 180) / Math.PI;

/** Bring a heading into 0 to 360. */
export const turn = (heading) => ((heading % 360) + 360) % 360;

/** Go so many metres from a place along a heading. */
export function away({ lat, lon }, distance, heading) {
  const [d, b, p] = [distance / RADIUS_M, rad(heading), rad(lat)];
  const north = Math.asin(Math.sin(p) * Math.cos(d) + Math.cos(p) * Math.sin(d) * Math.cos(b));
  const east = Math.atan2(Math.sin(b) * Math.sin(d) * Math.cos(p), Math.cos(d) - Math.sin(p) * Math.sin(north));
  return { lat: deg(north), lon: lon + deg(east) };
}

/** Metres between two places. */
export function distance(a, b) {
  const [p, q] = [rad(a.lat), rad(b.lat)];
  const half = Math.sin((q - p) / 2) ** 2 + Math.cos(p) * Math.cos(q) * Math.sin(rad(b.lon - a.lon) / 2) ** 2;
  return 2 * RADIUS_M * Math.asin(Math.min(1, Math.sqrt(half)));
}

/** Heading from one place to another. */
export function headingTo(a, b) {
  const [p, q, l] = [rad(a.lat), rad(b.lat), rad(b.lon - a.lon)];
  return turn(deg(Math.atan2(Math.sin(l) * Math.cos(q), Math.cos(p) * Math.sin(q) - Math.sin(p) * Math.cos(q) * Math.cos(l))));
}

const at = (place) => [place.lon, place.lat];

/** A circle as a GeoJSON Polygon, counter-clockwise. */
export function circle(centre, radius, corners = 72) {
  const ring = Array.from({ length: corners }, (_, i) => at(away(centre, radius, -(i * 360) / corners)));
  return { type: "Polygon", coordinates: [[...ring, ring[0]]] };
}

/** The sector that looks from a place along a heading, `fov` wide, as a GeoJSON Polygon. */
export function cone(centre, radius, heading, fov) {
  const arc = Array.from({ length: 17 }, (_, i) => at(away(centre, radius, heading + fov / 2 - (i * fov) / 16)));
  return { type: "Polygon", coordinates: [[at(centre), ...arc, at(centre)]] };
}

/** An arrow from a place along a heading, as a GeoJSON Polygon. */
export function arrow(from, length, heading) {
  const [neck, half] = [length * 0.72, length * 0.035];
  const side = (along, across) => at(away(away(from, along, heading), Math.abs(across), heading + (across < 0 ? -90 : 90)));
  const tip = at(away(from, length, heading));
  const ring = [at(from), side(neck, half), side(neck, half * 3.5), tip, side(neck, -half * 3.5), side(neck, -half)];
  return { type: "Polygon", coordinates: [[...ring, ring[0]]] };
}

/** The box [west, south, east, north] around a GeoJSON geometry or features; null where they hold nothing. */
export function boundsOf(...shapes) {
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  const visit = (coordinates) => {
    if (typeof coordinates[0] === "number") {
      box[0] = Math.min(box[0], coordinates[0]);
      box[1] = Math.min(box[1], coordinates[1]);
      box[2] = Math.max(box[2], coordinates[0]);
      box[3] = Math.max(box[3], coordinates[1]);
    } else coordinates.forEach(visit);
  };
  const open = (shape) => {
    if (!shape) return;
    if (shape.features) shape.features.forEach(open);
    else if (shape.geometries) shape.geometries.forEach(open);
    else if ("geometry" in shape) open(shape.geometry);
    else visit(shape.coordinates);
  };
  shapes.forEach(open);
  return box[0] <= box[2] ? box : null;
}

/** A box [west, south, east, north] as a GeoJSON Polygon. */
export function rectangle([west, south, east, north]) {
  return {
    type: "Polygon",
    coordinates: [
      [
        [west, south],
        [east, south],
        [east, north],
        [west, north],
        [west, south],
      ],
    ],
  };
}

/** Positions with longitudes that go on beyond 180 degrees, so that a line across the antimeridian does not go round the earth. */
export function unbroken(positions) {
  let last = positions[0]?.[0];
  return positions.map(([lon, lat]) => {
    last += ((((lon - last + 180) % 360) + 360) % 360) - 180;
    return [last, lat];
  });
}

/** A feature of a geometry. */
export const feature = (geometry, properties = {}) => ({ type: "Feature", properties, geometry });

/** A collection of features. */
export const collection = (features) => ({ type: "FeatureCollection", features });
