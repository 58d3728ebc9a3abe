// Keys for the whole page, and the box that lists them. Single letters can be switched off, since some people's tools type them.

import { $, h } from "/static/dom.js";

const OFF = "crossgeo.no-letters";
const IN_PHOTO = [
  ["Arrows", "move the cursor (Shift: a pixel at a time)"],
  ["Enter", "set the point at the cursor (Shift: one more)"],
  ["+ \u2212 0", "zoom in, zoom out, show all"],
  ["Esc", "take the points away"],
];
const IN_LIST = [
  ["\u2193 \u2191", "next and previous photo"],
  ["PgDn PgUp Home End", "further"],
];

const typing = (element) => element.closest?.("input:not([type=checkbox]), select, textarea, dialog[open]");

/** Bind keys: rows of [key, what it does, function]. */
export function bindKeys(rows) {
  const acts = new Map(rows.flatMap(([keys, , act]) => keys.split(" ").map((key) => [key, () => act(key)])));
  const letters = $("single-keys");
  letters.checked = localStorage.getItem(OFF) === null;
  letters.addEventListener("change", () => (letters.checked ? localStorage.removeItem(OFF) : localStorage.setItem(OFF, "1")));
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    const act = acts.get(event.key);
    if (!act || !letters.checked) return;
    event.preventDefault();
    act();
  });
  const table = (title, lines) => [
    h("h3", {}, title),
    h(
      "dl",
      { class: "keys" },
      ...lines.flatMap(([key, what]) => [h("dt", {}, ...key.split(" ").map((one) => h("kbd", {}, one))), h("dd", {}, what)]),
    ),
  ];
  $("help-keys").replaceChildren(...table("Everywhere", rows), ...table("In the photo", IN_PHOTO), ...table("In the list", IN_LIST));
}
