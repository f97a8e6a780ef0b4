// Tables: a click on a head sorts, a click on a point selects it, a text filters the rows.
function sortKey(row, column) {
  const text = row.cells[column].textContent.trim();
  const number = parseFloat(text);
  return Number.isNaN(number) ? text : number;
}

function sortBy(table, column) {
  const head = table.tHead.rows[0].cells[column];
  const isAscending = head.getAttribute("aria-sort") !== "ascending";
  for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", isAscending ? "ascending" : "descending");
  const rows = [...table.tBodies[0].rows];
  const compare = (one, other) => {
    const [left, right] = [sortKey(one, column), sortKey(other, column)];
    const order = typeof left === "number" && typeof right === "number" ? left - right : String(left).localeCompare(String(right));
    return isAscending ? order : -order;
  };
  table.tBodies[0].append(...rows.sort(compare));
}

function makeFilter(table) {
  const input = html("input", { type: "search", placeholder: "filter rows", "aria-label": "filter rows" });
  input.addEventListener("input", () => {
    for (const row of table.tBodies[0].rows) {
      row.hidden = !row.textContent.toLowerCase().includes(input.value.toLowerCase());
    }
  });
  return input;
}

for (const table of document.querySelectorAll("table")) {
  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    if (!cell.textContent.trim()) return;
    const button = html("button", { type: "button" }, cell.textContent);
    button.addEventListener("click", () => sortBy(table, column));
    cell.replaceChildren(button);
  });
  const rows = () => [...table.rows].map((row) => [...row.cells].map((cell) => cell.dataset.value ?? cell.textContent));
  const filter = table.tBodies[0].rows.length > 12 ? [makeFilter(table)] : [];
  table.parentElement.before(html("div", { class: "controls" }, ...filter, downloadButton(table.dataset.name, rows)));
}

for (const row of document.querySelectorAll("tr[data-point]")) {
  const choose = () => select(pointOf.get(row.dataset.point));
  row.tabIndex = 0;
  row.addEventListener("click", choose);
  row.addEventListener("keydown", (event) => event.key === "Enter" && choose());
}
for (const command of document.querySelectorAll("pre[data-copied]")) {
  command.before(html("div", { class: "controls" }, copyButton(command.textContent)));
}
const everything = html("button", { class: "download", type: "button" }, "Download all data (JSON)");
everything.addEventListener("click", () => offer(`${report.sweep}.json`, JSON.stringify(report)));
document.getElementById("all-data").append(everything);
markRows();
