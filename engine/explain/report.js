"use strict";
(() => {
  const table = document.querySelector("table.answers");
  const tools = document.querySelector(".tools");
  if (!table || !tools) return;
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const counted = tools.querySelector("[role=status]");
  const search = tools.querySelector("input");
  const status = tools.querySelector("select");
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const filter = () => {
    const word = search.value.trim().toLowerCase();
    let shown = 0;
    rows.forEach((row, number) => {
      row.hidden = (status.value !== "" && row.dataset.status !== status.value) || !texts[number].includes(word);
      shown += row.hidden ? 0 : 1;
    });
    counted.textContent = shown === rows.length ? `all ${rows.length} rows` : `${shown} of ${rows.length} rows`;
  };
  const compare = (key, down) => (a, b) => {
    const x = a.dataset[key], y = b.dataset[key];
    if (x === "" || y === "") return x === y ? 0 : x === "" ? 1 : -1; // what has no value comes last, either way
    const numbers = [Number(x), Number(y)];
    const order = numbers.some(Number.isNaN) ? x.localeCompare(y, undefined, { numeric: true }) : numbers[0] - numbers[1];
    return down ? -order : order;
  };
  for (const head of table.tHead.rows[0].cells) {
    const key = head.dataset.sort;
    if (!key) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      body.append(...[...rows].sort(compare(key, down)));
    });
  }
  search.addEventListener("input", filter);
  status.addEventListener("change", filter);
  tools.hidden = false;
  filter();
})();
