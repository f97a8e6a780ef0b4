// What is known of the selected point, and how to get it.
const panel = document.getElementById("selection");

function comparison(point, onTest) {
  const whole = wholeAccuracy(point, onTest);
  const value = valueOf(point, state.vertical, onTest);
  if (whole === null || value === null) return "";
  const points = 100 * (value - whole);
  if (Math.abs(points) < 0.05) return " (as the whole network)";
  return ` (${points < 0 ? "−" : "+"}${Math.abs(points).toFixed(1)} points to the whole network)`;
}

function describe(point) {
  const trial = trialOf.get(point.trial);
  const list = html("dl");
  const add = (term, text) => text && list.append(html("dt", {}, term), html("dd", {}, text));
  const baseline = trial.baseline.startsWith("standard") ? "standard training" : "a baseline";
  add("trial", trial.baseline ? `${trial.number}, ${baseline}` : String(trial.number));
  add("coefficients", trial.text);
  add("choice", point.choice);
  for (const metric of metricNames) {
    const value = valueOf(point, metric);
    const isKey = objectives.includes(metric) || ["accuracy", "cut_size", "cut_overlap", "flops", "reuse_baseline"].includes(metric);
    if (value === null || !isKey) continue;
    const compared = metric === state.vertical ? comparison(point, false) : "";
    add(report.metrics[metric].title, numberText(metric, value, point.errors[metric] ?? null) + compared);
  }
  for (const metric of [state.vertical, "accuracy"]) {
    if (point.test && placeOf.has(metric)) {
      const compared = metric === state.vertical ? comparison(point, true) : "";
      const spread = point.testErrors[metric] ?? null;
      add(`test ${report.metrics[metric].title}`, numberText(metric, valueOf(point, metric, true), spread) + compared);
    }
  }
  for (const note of point.notes) add("note", note);
  if (report.address) {
    const address = `${report.address.slice(0, report.address.lastIndexOf("/"))}/${trial.id}`;
    list.append(html("dt", {}, "W&B"), html("dd", {}, html("a", { href: address }, trial.id)));
  }
  return list;
}

// The words of a command, each in one piece where lines are broken.
function wordsOf(text) {
  return text.split(/([ \n])/).map((part) => (part.trim() ? html("span", { class: "word" }, part) : part));
}

function codeBlock(title, text) {
  return [html("div", { class: "controls" }, html("b", {}, title), copyButton(text)), html("pre", {}, ...wordsOf(text))];
}

function drawSelection() {
  const point = state.selected;
  if (!point) return;
  const command = `moda pull sweep:${report.sweep}/${point.name} --to modules`;
  const code = `from moda_core import load_modules\nnetwork = load_modules("modules")`;
  panel.replaceChildren(
    html("h3", {}, `Point ${point.name}${point.role ? ` (${point.role})` : ""}`),
    describe(point),
    ...codeBlock("Pull its modules", command),
    ...codeBlock("Use them in Python", code),
    ...codeBlock("Train the trial again", `moda rerun ${report.sweep}/${point.trial}`),
  );
}

function markRows() {
  for (const row of document.querySelectorAll("tr[data-point], tr[data-trial]")) {
    const { point, trial } = row.dataset;
    row.classList.toggle("selected", point ? point === state.selected?.name : Number(trial) === state.selected?.trial);
  }
}

function openClasses(changes) {
  const isNew = "selected" in changes || Object.keys(changes).length === 0;
  if (!isNew) return;
  for (const details of document.querySelectorAll("details[data-classes]")) {
    details.open = details.dataset.classes === state.selected?.name;
  }
}

whenChanged(drawSelection);
whenChanged(openClasses);
whenChanged(markRows);
