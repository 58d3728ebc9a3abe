// Files that come by dropping, choosing or pasting: photos and folders of them, and the answers that `geo batch` wrote.

import { $ } from "/static/dom.js";

const PHOTO = /\.(jpe?g|png|webp|tiff?)$/i;
const ANSWERS = /\.(jsonl|ndjson|geojson|json)$/i;

/** Sort files ({file, name}) into photos, by name, and files of answers; count the others. */
export function sortFiles(files) {
  const photos = files.filter(({ name }) => PHOTO.test(name));
  photos.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  const answers = files.filter(({ name }) => ANSWERS.test(name));
  return { photos, answers, others: files.length - photos.length - answers.length };
}

/** Call `opened(files)` with what is chosen, dropped on the page or pasted. */
export function bindFiles(opened) {
  for (const [input, buttons] of Object.entries({ files: ["open", "choose"], folder: ["open-folder", "choose-folder"] })) {
    buttons.forEach((id) => $(id).addEventListener("click", () => $(input).click()));
    $(input).addEventListener("change", () => {
      opened(chosen($(input)));
      $(input).value = "";
    });
  }
  let inside = 0; // elements that the drag has entered and not left
  const over = (event, by) => {
    if (!event.dataTransfer?.types.includes("Files")) return false;
    event.preventDefault();
    inside = Math.max(inside + by, 0);
    $("drop").hidden = inside === 0;
    return true;
  };
  addEventListener("dragenter", (event) => over(event, 1));
  addEventListener("dragover", (event) => over(event, 0));
  addEventListener("dragleave", (event) => over(event, -1));
  addEventListener("drop", async (event) => {
    if (over(event, -Infinity)) opened(await dropped(event.dataTransfer));
  });
  addEventListener("paste", async (event) => {
    if (event.clipboardData?.files.length) opened(await dropped(event.clipboardData));
  });
}

/** The files of an input; those of a folder are named by their path below it. */
function chosen(input) {
  return [...input.files].map((file) => ({ file, name: below(file.webkitRelativePath) || file.name }));
}

/** Drop the folder's own name from a path, as `geo batch FOLDER` names photos. */
function below(path) {
  return path.split("/").slice(1).join("/");
}

/** All files of a drop or a paste, those in folders too. */
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => ({ file, name: file.name }));
  const found = [];
  const alone = entries.length === 1 && entries[0].isDirectory; // one folder: names are paths below it
  for (const entry of entries) await walk(entry, alone ? "" : entry.name, found);
  return found;
}

async function walk(entry, name, found) {
  if (entry.isFile) return void found.push({ file: await new Promise((ok, no) => entry.file(ok, no)), name: name || entry.name });
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((ok, no) => reader.readEntries(ok, no)); // a hundred at a time
    if (!some.length) return;
    for (const one of some) if (!one.name.startsWith(".")) await walk(one, name ? `${name}/${one.name}` : one.name, found);
  }
}

/** Read the answers in a file of `geo batch` (.jsonl, .geojson); raises an Error that says what is wrong with it. */
export async function readAnswers({ file, name }) {
  const text = await file.text();
  let records;
  try {
    if (/\.(jsonl|ndjson)$/i.test(name))
      records = text
        .split("\n")
        .filter((line) => line.trim())
        .map((line) => JSON.parse(line));
    else {
      const data = JSON.parse(text);
      records = data.features ? data.features.map(({ properties }) => properties) : [data];
    }
  } catch {
    throw new Error(`${name} is damaged, or no file of answers: it is not JSON. Open what geo batch wrote as .jsonl or .geojson.`);
  }
  const wrong = records.findIndex(
    (record) => typeof record?.photo !== "string" || !(record.error || (record.status && Array.isArray(record.places))),
  );
  if (wrong >= 0 || !records.length)
    throw new Error(
      `${name} holds no answers of geo batch${wrong >= 0 ? ` (row ${wrong + 1} is none)` : ""}. Open what it wrote as .jsonl or .geojson.`,
    );
  return records;
}
