// The data of the page, what is selected, and how numbers are written.
const report = JSON.parse(document.getElementById("report-data").textContent);
const metricNames = Object.keys(report.metrics);
const placeOf = new Map(metricNames.map((name, place) => [name, place]));
const pointOf = new Map(report.points.map((point) => [point.name, point]));
const trialOf = new Map(report.trials.map((trial) => [trial.number, trial]));
const objectives = report.objectives.map((objective) => objective.name);
const named = report.points.find((point) => point.role.includes("best"));

// What people choose. A rule is an index into report.rules, or null for the front over every choice.
const state = {
  vertical: objectives[0],
  horizontal: objectives[1],
  rule: null,
  values: [],
  isWhole: false,
  selected: pointOf.get(decodeURIComponent(location.hash.slice(1))) ?? named ?? report.points[0] ?? null,
  curve: objectives[0],
};
const watchers = [];

function whenChanged(draw) {
  watchers.push(draw);
  draw({});
}

function change(changes) {
  Object.assign(state, changes);
  for (const draw of watchers) draw(changes);
}

function select(point) {
  if (!point) return;
  history.replaceState(null, "", `#${encodeURIComponent(point.name)}`); // which a page that is loaded again keeps
  const choice = state.rule === null ? {} : { rule: point.rule, values: point.values };
  change({ selected: point, ...choice });
}

function valueOf(point, metric, onTest = false) {
  const row = onTest ? point.test : point.metrics;
  return row ? (row[placeOf.get(metric)] ?? null) : null;
}

function isSame(left, right) {
  return left.length === right.length && left.every((value, place) => Math.abs(value - right[place]) < 1e-9);
}

// Whether the first point is at least as good in every objective, and better in one.
function dominates(one, other) {
  let isBetter = false;
  for (const { name, direction } of report.objectives) {
    const sign = direction === "max" ? 1 : -1;
    const gain = sign * (valueOf(one, name) - valueOf(other, name));
    if (gain < 0) return false;
    if (gain > 0) isBetter = true;
  }
  return isBetter;
}

function frontOf(points) {
  const feasible = points.filter((point) => point.isFeasible);
  const last = objectives[objectives.length - 1];
  return feasible
    .filter((point) => !feasible.some((other) => dominates(other, point)))
    .sort((one, other) => valueOf(one, last) - valueOf(other, last));
}

// Whether a point is worse than the reference in an objective; found once for each.
const below = new Set(report.points.filter((point) => {
  return report.objectives.some(({ name, direction, reference }) => {
    if (reference === null) return false;
    const value = valueOf(point, name);
    return direction === "max" ? value < reference : value > reference;
  });
}));

function isBelowReference(point) {
  return below.has(point);
}

// How many decimals a share has in per cent: one, and of less than 1 % two digits that count.
function percentDigits(share) {
  const size = Number(Math.abs(100 * share).toPrecision(2));
  return size >= 1 || size === 0 ? 1 : 1 - Math.floor(Math.log10(size));
}

// A number with so many decimals, rounded as Python does: where both are as near, to the even digit.
function fixedText(value, digits) {
  const exact = value.toFixed(60);
  const end = exact.indexOf(".") + 1 + digits;
  const isTie = /^50*$/.test(exact.slice(end)) && Number(exact[end - 1]) % 2 === 0;
  return isTie ? exact.slice(0, end) : value.toFixed(digits);
}

// A metric with its unit and what it may be off by, as in the tables.
function numberText(metric, value, spread = null) {
  if (value === null || value === undefined) return "";
  if (report.metrics[metric].isPercentage) {
    const digits = percentDigits(value);
    return [value, spread].filter((each) => each !== null).map((each) => fixedText(100 * each, digits)).join("±") + " %";
  }
  const text = String(Number(value.toPrecision(4)));
  return spread === null ? text : `${text}±${Number(spread.toPrecision(2))}`;
}

function counted(number, name) {
  return `${number} ${name}${number === 1 ? "" : "s"}`;
}

function shortText(value) {
  if (typeof value !== "number") return String(value ?? "");
  const rounded = Number(value.toPrecision(3));
  return Math.abs(rounded) >= 1e6 ? rounded.toExponential() : String(rounded);
}

// Elements. Text is always set as text: nothing that a sweep recorded is read as HTML.
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function html(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function copyButton(text) {
  const button = html("button", { class: "copy", type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = html("textarea", {}, text); // where the browser gives a file no clipboard
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  return button;
}

function csvText(rows) {
  const cell = (value) => {
    const text = String(value ?? "");
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return rows.map((row) => row.map(cell).join(",")).join("\n") + "\n";
}

function offer(name, text) {
  const link = html("a", { href: URL.createObjectURL(new Blob([text])), download: name });
  link.click();
  URL.revokeObjectURL(link.href);
}

function downloadButton(name, rows) {
  const button = html("button", { class: "download", type: "button" }, "Download CSV");
  button.addEventListener("click", () => offer(`${report.sweep}-${name}.csv`, csvText(rows())));
  return button;
}
