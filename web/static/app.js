// The page: what is open, asked, answered and judged, and which part of the page shows what.

import * as api from "/static/api.js";
import { sentence, showAnswer, showStatus } from "/static/answer.js";
import { $, count, h, number, say } from "/static/dom.js";
import { bindFiles, readAnswers, sortFiles } from "/static/files.js";
import { Batch } from "/static/batch.js";
import { Drives } from "/static/drives.js";
import { Judgements, signOf } from "/static/judgement.js";
import { bindKeys } from "/static/keys.js";
import { PhotoList } from "/static/list.js";
import { MapView } from "/static/map-view.js";
import { PhotoView } from "/static/photo-view.js";
import { FieldError, Question } from "/static/question.js";
import { Review } from "/static/review.js";
import { saveAnswers, saveExplanation, saveJudgements, saveOne } from "/static/save-box.js";
import { objectsOf, Session } from "/static/session.js";
import { setTheme } from "/static/theme.js";

const judgements = new Judgements();
const session = new Session((item) => judgements.of(item));
let index = null;
let rival = 0; // which place of the answer is looked at
let seen = null; // the answer that the map went to
let asking = null; // the AbortController of the question under way
let url = null;

const map = new MapView(
  {
    onrival: (i) => chooseRival(i),
    onmoved: (place) => review.moved(place),
    onphoto: (id) => session.select(session.items.find((item) => item.id === id)),
    onview: () => turned(),
  },
  api.headers,
);
const photo = new PhotoView(
  { box: $("photo"), image: $("photo-image"), marks: $("photo-marks"), cursor: $("photo-cursor"), at: $("photo-at") },
  (points) => {
    if (!session.current) return;
    session.current.points = points;
    session.touch(session.current);
  },
);
const question = new Question($("question"), {
  onlimits: (bounds, near, radius) => map.limit(bounds, near, radius),
  pick: (picked) => map.pick(picked),
  view: () => map.view(),
});
const review = new Review($("review"), judgements, map, {
  onjudged: (item) => session.touch(item),
  onfailed: showProblem,
  onagain: (place) => {
    question.lookNear(place, 50);
    locate();
  },
});
const drives = new Drives(session, map);
new PhotoList($("list"), session, (item) => signOf(judgements.of(item)));
const batch = new Batch(session, question, {
  index: () => index,
  onstart: clearProblem,
  onfailed: showProblem,
  onend: () => drawHint(),
});

// Problems

function showProblem(error) {
  if (error.name === "AbortError") return;
  const request = error.request ? h("p", { class: "fine" }, `Request ${error.request}`) : null;
  const title = error.title && error.title !== error.message ? h("b", {}, error.title) : null;
  $("problem").replaceChildren(
    h(
      "div",
      { class: "card problem" },
      h("p", {}, title, title ? h("br") : null, error.message),
      request,
      h("button", { type: "button", class: "quiet small", "aria-label": "Dismiss", onclick: clearProblem }, "\u2715"),
    ),
  );
  $("problem").scrollIntoView({ block: "nearest" });
}

function clearProblem() {
  $("problem").replaceChildren();
}

// Files

let opening = Promise.resolve();

/** Open files, one lot after the other. */
function openFiles(files) {
  opening = opening.then(() => openNow(files));
}

async function openNow(files) {
  clearProblem();
  const { photos, answers, others } = sortFiles(files);
  try {
    if (batch.running && (answers.length || !session.awaits(photos)))
      throw new Error("A batch is running; stop it before you open something else.");
    for (const file of answers) session.addRecords(await readAnswers(file));
    if (photos.length) session.addPhotos(photos);
    if (!photos.length && !answers.length && files.length)
      throw new Error(`${files[0].name} is no photo that can be located. Photos end in .jpg, .png, .webp or .tif.`);
    say(`${count(photos.length, "photo")} opened${others ? `, ${count(others, "other file")} left out` : ""}`);
  } catch (error) {
    showProblem(error);
  }
}

// One photo

async function showCurrent() {
  const item = session.current;
  rival = 0;
  clearProblem();
  $("empty").hidden = Boolean(item);
  $("photo-bar").hidden = !item;
  $("batch").hidden = session.items.length < 2;
  document.body.classList.toggle("many", session.items.length > 1);
  $("photo-name").textContent = item ? item.name : "";
  document.title = item ? `${item.name} \u2013 crossgeo` : "crossgeo";
  photo.clear();
  if (url) URL.revokeObjectURL(url);
  url = item?.file ? URL.createObjectURL(item.file) : null;
  drawAnswer();
  if (item && session.items.length > 1) say(`${item.name}. ${item.record ? sentence(item.record) : "Not asked yet."}`);
  if (!url) return item && noPicture(`Open the folder of ${item.name} to see the photo beside its answer.`);
  try {
    noPicture("");
    await photo.show(url, item.name, item.points);
  } catch {
    if (session.current === item) noPicture(`This browser cannot show ${item.name}. It can be located all the same, without a point.`);
  }
  drawHint();
}

function noPicture(why) {
  $("photo").dataset.says = why;
  drawHint();
}

function drawHint() {
  const item = session.current;
  const ready = Boolean(item?.file);
  $("locate").disabled = !ready || !index || batch.running;
  $("locate").textContent = asking ? "Stop" : "Locate";
  if (asking) return;
  $("point-hint").textContent = !item
    ? "Open a photo first."
    : !ready
      ? "The photo itself is not open."
      : item.points.length > 1
        ? `${item.points.length} objects`
        : item.points.length
          ? `Object at ${item.points[0].map(Math.round).join(", ")}`
          : "Click the object first, or locate the photo alone.";
}

function drawAnswer() {
  const item = session.current;
  const record = item?.record;
  const byHand = item && record && !record.error ? Review.byHand(judgements.of(item)) : null;
  const place = record && !record.error ? (byHand ?? record.places[rival]) : null;
  const first = !byHand && rival === 0;
  map.show(
    place
      ? {
          place,
          fov: item.asked.fov_deg,
          rivals: record.places,
          chosen: byHand ? null : rival,
          byHand,
          objects: first ? objectsOf(record) : [],
        }
      : null,
  );
  $("map-answer").disabled = !place;
  if (record !== seen && place) map.goToAnswer();
  seen = record;
  showStatus($("status"), record);
  const acts = { onrival: chooseRival, onsave: (kind) => saveOne(record, kind), onexplain: () => explain(item) };
  showAnswer($("answer"), item, { chosen: rival, byHand }, acts);
  review.show(item, rival);
  drawHint();
}

function chooseRival(i) {
  const item = session.current;
  if (!item?.record?.places?.[i]) return;
  const within = document.activeElement?.closest(".rivals");
  if (Review.byHand(judgements.of(item)))
    return showProblem(new Error("The place was set by hand. Undo that judgement to look at the places of the answer again."));
  rival = i;
  drawAnswer();
  map.goToAnswer();
  if (within) $("answer").querySelectorAll(".rival")[i].focus();
}

async function locate() {
  if (asking) return asking.abort();
  const item = session.current;
  if (!item?.file || !index || batch.running) return;
  clearProblem();
  let asked;
  try {
    asked = question.read();
  } catch (error) {
    $("options").open = true;
    error.field?.focus();
    return showProblem(error);
  }
  asking = new AbortController();
  item.waiting = true;
  session.touch(item);
  say("Locating");
  tick(performance.now());
  try {
    const record = await api.locate(item.file, item.name, item.points, { ...asked, index: index.name }, asking.signal, (seconds) =>
      say(`The service is busy; next try in ${seconds} s`),
    );
    Object.assign(item, { record: { ...record, photo: item.name }, asked });
    rival = 0;
    say(sentence(item.record));
  } catch (error) {
    showProblem(error);
  }
  item.waiting = false;
  asking = null;
  session.touch(item);
  if (matchMedia("(max-width: 760px)").matches && item.record) $("status").scrollIntoView({ block: "end" });
}

/** Count the seconds of a question on the button's side. */
function tick(began) {
  if (!asking) return;
  $("point-hint").textContent = `Locating, ${number((performance.now() - began) / 1000)} s`;
  setTimeout(tick, 1000, began);
}

/** Save the page that explains an answer: it is made anew, which takes longer than the answer did. */
async function explain(item) {
  clearProblem();
  $("explain").disabled = true;
  say("Explaining");
  try {
    const asked = { ...item.asked, index: index.name };
    saveExplanation(item.name, await api.explain(item.file, item.name, item.points.slice(0, 1), asked));
  } catch (error) {
    showProblem(error);
  }
  if ($("explain")) $("explain").disabled = false;
}

function turned() {
  const heading = currentHeading();
  const up = heading !== null && map.map && Math.abs(((map.map.getBearing() - heading + 540) % 360) - 180) < 1;
  $("map-photo-up").setAttribute("aria-pressed", String(Boolean(up)));
}

function currentHeading() {
  return map.shown?.place?.heading_deg ?? null;
}

function turnMap() {
  const up = $("map-photo-up").getAttribute("aria-pressed") === "true";
  map.turnTo(up ? 0 : (currentHeading() ?? 0));
}

// The page as a whole

session.addEventListener("items", () => batch.draw());
session.addEventListener("current", showCurrent);
session.addEventListener("item", ({ detail }) => {
  if (!batch.running) batch.draw();
  if (detail === session.current) drawAnswer();
});

function bindButtons() {
  $("question").addEventListener("submit", (event) => {
    event.preventDefault();
    locate();
  });
  $("save-results").addEventListener("click", () => saveAnswers(session, showProblem));
  $("save-review").addEventListener("click", () => saveJudgements(session, judgements));
  $("photo-in").addEventListener("click", () => photo.zoom(1.5));
  $("photo-out").addEventListener("click", () => photo.zoom(1 / 1.5));
  $("photo-fit").addEventListener("click", () => photo.fit());
  $("clear-points").addEventListener("click", () => photo.dropPoints());
  $("more-points").addEventListener("click", () => {
    photo.several = !photo.several;
    $("more-points").setAttribute("aria-pressed", String(photo.several));
  });
  $("map-all").addEventListener("click", () => map.goHome());
  $("map-answer").addEventListener("click", () => map.goToAnswer());
  $("map-photo-up").addEventListener("click", turnMap);
  $("help").addEventListener("click", () => $("help-box").showModal());
  setTheme($("theme"));
  addEventListener("beforeunload", (event) => {
    if (batch.unsent) event.preventDefault();
  });
  bindKeys([
    ["o", "open photos", () => $("files").click()],
    ["p", "go to the photo", () => $("photo").focus()],
    ["l", "locate, or stop", locate],
    ["j", "next photo", () => session.step(1)],
    ["k", "previous photo", () => session.step(-1)],
    ["1 2 3 4 5 6 7 8 9", "look at that place of the answer", (key) => chooseRival(Number(key) - 1)],
    ["y", "right: the place looked at", () => review.right()],
    ["n", "wrong", () => review.wrong()],
    ["m", "move the place", () => review.move()],
    ["u", "take the judgement back", () => review.undo()],
    ["a", "show the answer on the map", () => map.goToAnswer()],
    ["w", "show the whole index", () => map.goHome()],
    ["r", "turn the map as the photo looks, or north up", turnMap],
    ["?", "this list", () => $("help-box").showModal()],
  ]);
}

function askKey() {
  const box = $("key-box");
  $("api-key").value = "";
  box.returnValue = "cancel";
  box.showModal();
  return new Promise((done) =>
    box.addEventListener("close", () => done(box.returnValue === "use" ? $("api-key").value : null), { once: true }),
  );
}

async function openIndex(name) {
  const all = await api.indexes();
  index = all.find((one) => one.name === name) ?? all[0];
  if (!index) throw new Error("This service has no index open.");
  const facts = ` ${number(index.tiles)} tiles, generation ${index.generation}`;
  const named =
    all.length > 1
      ? h(
          "select",
          {
            "aria-label": "Index",
            onchange: ({ target }) => {
              location.search = `?index=${encodeURIComponent(target.value)}`;
            },
          },
          ...all.map((one) => h("option", { value: one.name, selected: one === index }, one.name)),
        )
      : h("b", {}, index.name);
  $("index").replaceChildren(named, h("span", { class: "wide-only" }, facts));
  $("map-credit").textContent = [
    ...new Set((index.sources ?? []).map((source) => [source.name, source.vintage, source.licence].filter(Boolean).join(", "))),
  ].join("; ");
  drawHint();
  batch.draw();
  if (await map.open(index)) {
    map.cover(await api.coverage(index.name));
    drives.draw();
    drawAnswer();
  }
}

bindFiles(openFiles);
bindButtons();
api.onKeyWanted(askKey);
openIndex(new URLSearchParams(location.search).get("index"))
  .then(() => void batch.pickUp())
  .catch((error) => {
    $("index").textContent = "No index";
    showProblem(error);
  })
  .finally(() => {
    document.body.dataset.ready = "yes";
  });
