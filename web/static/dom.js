// Small helpers for elements, numbers and words that every part of the page shares.

/** Return the element of that id. */
export const $ = (id) => document.getElementById(id);

/** Make an element: `on...` are listeners, `data` and `style` objects, booleans properties, the rest attributes. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "style") for (const [key, set] of Object.entries(value)) element.style.setProperty(key, set);
    else if (typeof value === "boolean" && !name.startsWith("aria-")) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Say something to screen readers without moving the focus. */
export function say(text) {
  const live = $("live");
  live.textContent = live.textContent === text ? `${text}\u00a0` : text;
}

/** Write a number with so many decimals at most, in the page's English. */
export function number(value, decimals = 0) {
  return value.toLocaleString("en", { maximumFractionDigits: decimals });
}

/** Write a count with its noun, as "1 photo" or "2 photos". */
export function count(value, noun) {
  return `${number(value)} ${noun}${value === 1 ? "" : "s"}`;
}

/** Write metres as a person would. */
export function metres(value) {
  return value >= 9950
    ? `${number(value / 1000)} km`
    : value >= 995
      ? `${number(value / 1000, 1)} km`
      : `${number(value, value < 9.95 ? 1 : 0)} m`;
}

/** Write latitude and longitude, as every map takes them. */
export function latLon({ lat, lon }, decimals = 6) {
  return `${lat.toFixed(decimals)}, ${lon.toFixed(decimals)}`;
}

/** Read "lat, lon"; null where it is none. */
export function readLatLon(text) {
  const found = /^\s*(-?\d+(?:\.\d+)?)\s*[,;\s]\s*(-?\d+(?:\.\d+)?)\s*$/.exec(text);
  if (!found) return null;
  const [lat, lon] = [Number(found[1]), Number(found[2])];
  return Math.abs(lat) <= 90 && Math.abs(lon) <= 180 ? { lat, lon } : null;
}

/** Give the browser a file to save. */
export function download(name, text, type = "application/json") {
  const url = URL.createObjectURL(text instanceof Blob ? text : new Blob([text], { type }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Copy text and say so; where the clipboard is closed to the page, select it instead. */
export async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { class: "unseen" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  say(`Copied ${text}`);
  const before = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => {
    button.textContent = before;
  }, 1200);
}
