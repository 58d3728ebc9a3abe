// The map: the index's own imagery with what was found drawn over it. Without WebGL it says so and everything else goes on.

import { $, h, latLon, metres } from "/static/dom.js";
import { arrow, away, boundsOf, circle, collection, cone, distance, feature, headingTo, rectangle, turn, unbroken } from "/static/geo.js";

const CONE_DEG = 60; // where the field of view is not known
const CONE_M = 45;
const DRAWN = ["coverage", "limits", "ways", "stops", "cone", "radius", "object"];
const BOX = "#ffc531";
const PLACE = "#35c7ff";
const CHANGED = "#ff8a3d"; // a photo whose answer its drive changed

const line = (id, source, colour, width, extra = {}) => ({
  id,
  type: "line",
  source,
  paint: { "line-color": colour, "line-width": width, ...extra },
});
const fill = (id, source, colour, opacity) => ({ id, type: "fill", source, paint: { "fill-color": colour, "fill-opacity": opacity } });

const LAYERS = [
  line("coverage-line", "coverage", "#8b97a3", 1.5, { "line-opacity": 0.9 }),
  line("limits-under", "limits", "#000", 4, { "line-opacity": 0.45 }),
  line("limits-line", "limits", "#ffffff", 1.8, { "line-dasharray": [3, 2] }),
  line("ways-under", "ways", "#00202e", 5, { "line-opacity": 0.55 }),
  line("ways-line", "ways", "#ffffff", 2),
  {
    id: "stops",
    type: "circle",
    source: "stops",
    paint: {
      "circle-radius": ["case", ["get", "here"], 8, ["get", "changed"], 6, 4],
      "circle-color": ["case", ["get", "changed"], CHANGED, "#ffffff"],
      "circle-stroke-color": "#00202e",
      "circle-stroke-width": ["case", ["get", "changed"], 2.5, 1.5],
    },
  },
  fill("cone-fill", "cone", PLACE, 0.2),
  line("cone-line", "cone", PLACE, 1, { "line-opacity": 0.8 }),
  fill("radius-fill", "radius", PLACE, 0.16),
  line("radius-under", "radius", "#00202e", 4, { "line-opacity": 0.6 }),
  line("radius-line", "radius", PLACE, 2),
  fill("object-fill", "object", BOX, 0.14),
  line("object-under", "object", "#1d1400", 5, { "line-opacity": 0.75 }),
  line("object-line", "object", BOX, 2.5),
];

/** Say whether this browser can draw the map. */
function hasWebGL() {
  try {
    return Boolean(document.createElement("canvas").getContext("webgl2"));
  } catch {
    return false;
  }
}

const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Draws an index and answers. Callbacks: `onrival(number)`, `onmoved(place)`, `onphoto(id)`, `onview()`. */
export class MapView {
  constructor(callbacks, headers) {
    Object.assign(this, { callbacks, headers, markers: [], boxes: [], map: null, home: null, shown: null, handles: null });
  }

  /** Load the map's library and show an index ({bounds, tiles_url, min_zoom, max_zoom}); gives false without WebGL. */
  async open(index) {
    const [west, south, east, north] = index.bounds;
    this.home = [west, south, east < west ? east + 360 : east, north]; // across the antimeridian
    if (!hasWebGL()) {
      this.#without("This browser has no WebGL, so there is no map. Answers stand as text beside it, coordinates and all.");
      return false;
    }
    this.library = await import("/static/maplibre-gl.mjs");
    const { Map: Chart, NavigationControl, ScaleControl } = this.library;
    try {
      this.map = new Chart({
        container: "map",
        bounds: this.home,
        fitBoundsOptions: { padding: 24 },
        attributionControl: false,
        style: this.#style(index),
        maxZoom: Math.min(index.max_zoom + 3, 24),
        maxPitch: 0,
        pitchWithRotate: false,
        fadeDuration: 0,
        locale: { "Map.Title": "Map of the index's imagery" },
        transformRequest: (url) => ({ url, headers: this.headers() }),
      });
    } catch (error) {
      this.#without(`The map cannot be drawn here (${error.message}). Answers stand as text beside it, coordinates and all.`);
      return false;
    }
    this.map.addControl(new NavigationControl({ visualizePitch: false }), "top-right");
    this.map.addControl(new ScaleControl({ maxWidth: 120 }), "bottom-left");
    this.map.on("mousemove", ({ lngLat }) => {
      $("map-at").textContent = latLon({ lat: lngLat.lat, lon: lngLat.lng });
    });
    this.map.on("mouseout", () => {
      $("map-at").textContent = "";
    });
    this.map.on("click", ({ lngLat, point }) => {
      if (this.picking) return this.picking({ lat: lngLat.lat, lon: lngLat.lng });
      const [stop] = this.map.queryRenderedFeatures(point, { layers: ["stops"] });
      if (stop) this.callbacks.onphoto(stop.properties.id);
    });
    this.map.on("error", ({ error }) => console.warn(`map: ${error?.message}`));
    this.map.on("rotateend", () => this.callbacks.onview());
    this.map.on("idle", () => {
      $("map").dataset.view = this.view().join(","); // what is drawn, all of it
    });
    this.map.on("movestart", () => delete $("map").dataset.view);
    await this.map.once("load");
    return true;
  }

  #without(why) {
    $("no-map").textContent = why;
    $("no-map").hidden = false;
    $("map").hidden = true;
  }

  #style(index) {
    const tiles = [new URL(index.tiles_url.replace(".jpg", ".webp"), location.href).href.replaceAll("%7B", "{").replaceAll("%7D", "}")];
    const [west, , east] = index.bounds;
    const within = west <= east ? { bounds: index.bounds } : {}; // a source has no bounds across the antimeridian
    const empty = { type: "geojson", data: collection([]) };
    return {
      version: 8,
      sources: {
        imagery: { type: "raster", tiles, tileSize: 256, minzoom: index.min_zoom, maxzoom: index.max_zoom, ...within },
        ...Object.fromEntries(DRAWN.map((name) => [name, empty])),
      },
      layers: [
        { id: "ground", type: "background", paint: { "background-color": "#20272e" } },
        { id: "imagery", type: "raster", source: "imagery", paint: { "raster-fade-duration": 0 } },
        ...LAYERS,
      ],
    };
  }

  #draw(name, ...features) {
    this.map?.getSource(name)?.setData(collection(features.filter(Boolean)));
  }

  /** Outline what the index covers. */
  cover(shape) {
    this.map?.getSource("coverage").setData(shape);
  }

  /** Show where is looked: a box, a circle about a place, or neither. */
  limit(box, near, radius) {
    this.#draw("limits", box && feature(rectangle(box)), near && feature(circle(near, radius)));
  }

  /** Draw the ways of drives (`waysOf`), a point for each photo, the one of `current` larger. */
  showWays(ways, current) {
    const at = ({ place }) => [place.lon, place.lat];
    this.#draw("ways", ...ways.map(({ stops }) => stops.length > 1 && feature({ type: "LineString", coordinates: unbroken(stops.map(at)) })));
    const stops = ways.flatMap((way) => way.stops);
    this.#draw(
      "stops",
      ...stops.map((stop) =>
        feature({ type: "Point", coordinates: at(stop) }, { id: stop.item.id, changed: stop.changed, here: stop.item === current }),
      ),
    );
    $("map").dataset.stops = `${stops.length} ${stops.filter(({ changed }) => changed).length}`;
  }

  /** Draw an answer: the chosen place with its cone and radius, the rivals, the objects' boxes. null draws nothing. */
  show(answer) {
    this.shown = answer;
    if (!this.map) return;
    this.markers.splice(0).forEach((marker) => marker.remove());
    this.stopMoving();
    this.#outline(answer?.place, answer?.fov);
    this.#draw("object", ...(answer?.objects ?? []).map((object) => feature(object.polygon)));
    if (!answer) return;
    const many = answer.objects.length > 1;
    answer.objects.forEach((object, i) => many && this.#pin(object, h("span", { class: "pin box", "aria-hidden": "true" }, String(i + 1))));
    answer.rivals.forEach((rival, i) => this.#rival(rival, i, answer));
    if (answer.byHand)
      this.#pin(answer.place, h("span", { class: "pin chosen", role: "img", "aria-label": "The place set by hand" }, "\u270e"));
  }

  #rival(rival, i, answer) {
    const chosen = answer.chosen === i;
    const far = i ? `, ${metres(distance(answer.rivals[0], rival))} from the first` : "";
    const label = `Place ${i + 1}, score ${rival.score.toFixed(2)}${far}`;
    const pin = h(
      "button",
      { type: "button", class: chosen ? "pin chosen" : "pin", "aria-label": label, "aria-pressed": String(chosen), title: label },
      String(i + 1),
    );
    pin.addEventListener("click", (event) => {
      event.stopPropagation();
      this.callbacks.onrival(i);
    });
    this.#pin(rival, pin);
  }

  #pin(place, element, options = {}) {
    const marker = new this.library.Marker({ element, ...options }).setLngLat([place.lon, place.lat]).addTo(this.map);
    this.markers.push(marker);
    return marker;
  }

  /** Of a known camera the sector that it sees, of a place alone an arrow the way the photo looks. */
  #outline(place, fov) {
    const camera = place?.camera;
    const sight = !place
      ? null
      : camera
        ? cone(camera, Math.max(CONE_M, distance(camera, place) * 1.4), place.heading_deg, Math.min(fov || CONE_DEG, 170))
        : arrow(place, Math.max(CONE_M, place.radius_m * 2), place.heading_deg);
    this.#draw("cone", sight && feature(sight));
    this.#draw("radius", place && feature(circle(place, place.radius_m)));
  }

  /** Let the user drag the place and its heading. */
  startMoving(place, fov) {
    this.stopMoving();
    if (!this.map) return;
    let now = { ...place };
    const { Marker } = this.library;
    const body = new Marker({ element: h("span", { class: "handle", title: "Drag the place" }), draggable: true })
      .setLngLat([now.lon, now.lat])
      .addTo(this.map);
    const nose = new Marker({ element: h("span", { class: "handle nose", title: "Drag the heading" }), draggable: true });
    const ahead = () => away(now, CONE_M, now.heading_deg);
    nose.setLngLat([ahead().lon, ahead().lat]).addTo(this.map);
    // The fields beside the map do the same by keys.
    for (const marker of [body, nose]) marker.getElement().setAttribute("aria-hidden", "true");
    const placeAll = () => {
      body.setLngLat([now.lon, now.lat]);
      nose.setLngLat([ahead().lon, ahead().lat]);
      this.#outline(now, fov);
    };
    body.on("drag", () => {
      const { lng, lat } = body.getLngLat();
      now = { ...now, lat, lon: lng };
      placeAll();
    });
    nose.on("drag", () => {
      const { lng, lat } = nose.getLngLat();
      now = { ...now, heading_deg: turn(headingTo(now, { lat, lon: lng })) };
      this.#outline(now, fov);
    });
    body.on("dragend", () => this.callbacks.onmoved(now));
    nose.on("dragend", () => {
      placeAll();
      this.callbacks.onmoved(now);
    });
    this.handles = {
      remove: () => {
        body.remove();
        nose.remove();
      },
      set: (to) => {
        now = { ...now, ...to };
        placeAll();
      },
    };
  }

  /** Put what is dragged somewhere else. */
  moveTo(place) {
    this.handles?.set(place);
  }

  /** Stop dragging. */
  stopMoving() {
    this.handles?.remove();
    this.handles = null;
  }

  /** Call `picked(place)` with the next click on the map; null stops that. */
  pick(picked) {
    this.picking = picked;
    this.map?.getCanvas().classList.toggle("picking", Boolean(picked));
  }

  /** The map's view as [west, south, east, north]; null without a map. */
  view() {
    const box = this.map?.getBounds();
    return box ? [box.getWest(), box.getSouth(), box.getEast(), box.getNorth()] : null;
  }

  /** Show all of the index. */
  goHome() {
    this.map?.fitBounds(this.home, { padding: 24, animate: !calm(), duration: 500 });
  }

  /** Show the answer: place, radius and boxes. */
  goToAnswer(bearing = this.map?.getBearing()) {
    const shown = this.shown;
    if (!this.map || !shown?.place) return;
    this.map.resize(); // the list of a batch may just have come up
    const boxes = shown.objects.map((object) => object.polygon);
    this.map.fitBounds(boundsOf(circle(shown.place, Math.max(shown.place.radius_m * 1.5, CONE_M)), ...boxes), {
      padding: 36,
      bearing,
      maxZoom: this.map.getMaxZoom() - 1.5,
      animate: !calm(),
      duration: 600,
    });
  }

  /** Turn the map so that a heading is up; 0 is north. */
  turnTo(heading) {
    this.map?.easeTo({ bearing: heading, animate: !calm(), duration: 400 });
  }
}
