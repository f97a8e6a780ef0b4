// The front: every trial's points, or the point of each trial at one choice; what dominates is joined by a line.
const figureOfFront = document.getElementById("front-figure");
const tip = html("div", { class: "tip", hidden: "" });
const reach = 22; // pixels around a point within which the pointer means it
let drawnFront = null;

function visiblePoints() {
  if (state.rule === null) return report.points;
  return report.points.filter((point) => point.rule === state.rule && isSame(point.values, state.values));
}

function currentFront() {
  return state.rule === null ? report.front.map((name) => pointOf.get(name)) : frontOf(visiblePoints());
}

// The accuracy of the whole network on the same draw of images, which a module is compared with.
function wholeAccuracy(point, onTest = false) {
  const baseline = report.metrics[state.vertical].baseline;
  return point && baseline && placeOf.has(baseline) ? valueOf(point, baseline, onTest) : null;
}

function axisOf(metric, points) {
  const { isLogarithmic, isPercentage, title } = report.metrics[metric];
  const values = points.map((point) => valueOf(point, metric));
  const ends = isPercentage ? [0, isLogarithmic ? 1 : 1.01] : [-Infinity, Infinity];
  const text = isPercentage ? (value) => `${Number((100 * value).toPrecision(3))} %` : shortText;
  return { ...around(values, { isLogarithmic, ends }), text, title };
}

// Points worse than the reference count for nothing and would stretch the axes, so they are shown on request.
function framed(points) {
  if (state.isWhole) return points;
  const worthy = points.filter((point) => !isBelowReference(point));
  return worthy.length > 1 ? worthy : points;
}

// The axes stay as they are while a slider moves, and so does what lies behind the points.
let frame = { key: "" };

function currentFrame() {
  const key = [figureOfFront.clientWidth, state.isWhole, state.horizontal, state.vertical].join();
  if (frame.key !== key) {
    const points = framed(report.points);
    const [x, y] = [state.horizontal, state.vertical].map((metric) => axisOf(metric, points));
    frame = { key, points: new Set(points), x, y, behind: null };
  }
  return frame;
}

function drawFront() {
  const shown = visiblePoints();
  const front = currentFront();
  const { points: inFrame, x, y } = currentFrame();
  const isInside = (point) => inFrame.has(point) || valueOf(point, state.vertical) >= y.low;
  const drawn = drawChart(figureOfFront, {
    height: Math.min(480, Math.max(320, figureOfFront.clientWidth * 0.7)),
    label: `Front: ${report.metrics[state.vertical].title} over ${report.metrics[state.horizontal].title}`,
    x,
    y,
    draw: (layer, scaleX, scaleY, box) => {
      const place = (point, onTest = false) => [
        scaleX(valueOf(point, state.horizontal, onTest)),
        scaleY(valueOf(point, state.vertical, onTest)),
      ];
      const labels = drawLevels(layer, scaleY, box);
      if (state.rule !== null) {
        frame.behind ??= dots(report.points.filter(isInside).map((point) => place(point)), { stroke: "var(--faint)" });
        layer.append(frame.behind);
        drawTrace(layer, place);
      }
      drawOthers(layer, shown.filter(isInside), front, place);
      drawMethodFronts(layer, place);
      drawDeviations(layer, front.filter(isInside), scaleX, scaleY);
      drawLine(layer, front.filter(isInside), place);
      for (const draw of labels) draw();
      drawMarks(layer, shown, place, box);
    },
  });
  drawnFront = { ...drawn, points: shown.filter(isInside) };
  figureOfFront.append(tip);
  sayWhatIsShown(shown, front);
}

function drawLevels(layer, scaleY, box) {
  const line = (value, text, attributes) => {
    const y = scaleY(value);
    layer.append(svg("line", { x1: box.left, x2: box.right, y1: y, y2: y, ...attributes }));
    return () => layer.append(svg("text", { x: box.right - 4, y: y + 14, "text-anchor": "end", class: "level" }, text));
  };
  const labels = [];
  const whole = wholeAccuracy(state.selected);
  const reference = report.objectives.find(({ name }) => name === state.vertical)?.reference ?? null;
  const text = `whole network of trial ${state.selected?.trial}`;
  if (whole !== null) labels.push(line(whole, text, { stroke: "var(--ink)", "stroke-dasharray": "7 4", id: "whole-network" }));
  if (reference !== null) labels.push(line(reference, "reference", { stroke: "var(--soft)", "stroke-dasharray": "2 4" }));
  return labels; // drawn after the points, so that they can be read
}

// The curve along which the slider moves the selected trial.
function drawTrace(layer, place) {
  const trace = report.points.filter(
    (point) => point.trial === state.selected?.trial && point.rule === state.rule &&
      point.values.slice(1).every((value, index) => Math.abs(value - state.values[index + 1]) < 1e-9),
  );
  trace.sort((one, other) => one.values[0] - other.values[0]);
  layer.append(lineThrough(trace.map((point) => place(point)), { stroke: "var(--soft)", "stroke-width": 1.5 }));
}

function drawOthers(layer, shown, front, place) {
  const onFront = new Set(front);
  const infeasible = [];
  const searched = new Map();
  const baselines = [];
  for (const point of shown) {
    const { method, baseline } = trialOf.get(point.trial);
    if (!point.isFeasible) infeasible.push(place(point));
    else if (baseline) baselines.push(point);
    else if (!onFront.has(point)) {
      if (!searched.has(method)) searched.set(method, []);
      searched.get(method).push(place(point));
    }
  }
  layer.append(dots(infeasible, { stroke: "var(--faint)", class: "infeasible" }));
  for (const [method, places] of searched) {
    const stroke = report.methods.find(({ name }) => name === method)?.colour ?? "var(--other)";
    layer.append(dots(places, { stroke, "stroke-opacity": 0.65, class: "searched" }));
  }
  for (const point of baselines) {
    const kind = trialOf.get(point.trial).baseline.startsWith("standard") ? "cross" : "diamond";
    layer.append(symbol(kind, ...place(point), { stroke: "var(--baseline)" }));
  }
}

// What a front attains, as steps between its points.
function stepsThrough(front, place) {
  const isMaximised = report.metrics[state.horizontal].direction === "max";
  const places = front.map((point) => place(point)).sort((one, other) => one[0] - other[0]);
  const steps = places.map(([x, y], index) => (index === 0 ? `M${x} ${y}` : isMaximised ? `V${y}H${x}` : `H${x}V${y}`));
  return steps.join("") || "M0 0";
}

function drawMethodFronts(layer, place) {
  if (objectives.length !== 2 || state.rule !== null) return;
  for (const { colour, front } of report.methods) {
    const points = front.map((name) => pointOf.get(name));
    const attributes = { fill: "none", stroke: colour, "stroke-width": 1.5, "stroke-dasharray": "2 3" };
    layer.append(svg("path", { d: stepsThrough(points, place), ...attributes }));
  }
}

// The standard deviations over seeds, of a sweep that repeats its trainings.
function drawDeviations(layer, front, scaleX, scaleY) {
  for (const point of front.filter(() => report.isRepeated)) {
    const [x, y] = [valueOf(point, state.horizontal), valueOf(point, state.vertical)];
    const [across, up] = [state.horizontal, state.vertical].map((metric) => point.errors[metric] ?? 0);
    const path = `M${scaleX(x - across)} ${scaleY(y)}H${scaleX(x + across)}M${scaleX(x)} ${scaleY(y - up)}V${scaleY(y + up)}`;
    layer.append(svg("path", { d: path, fill: "none", stroke: "var(--front)", class: "deviation" }));
  }
}

function drawLine(layer, front, place) {
  if (objectives.length === 2) {
    const attributes = { fill: "none", stroke: "var(--front)", "stroke-width": 2 };
    layer.append(svg("path", { id: "front-line", d: stepsThrough(front, place), ...attributes }));
  }
  for (const [x, y] of front.map((point) => place(point))) {
    layer.append(symbol("circle", x, y, { fill: "var(--front)", class: "on-front" }));
  }
  for (const point of front.filter((each) => each.test)) {
    const [x, y] = place(point, true);
    layer.append(symbol("circle", x, y, { fill: "none", stroke: "var(--test)", "stroke-width": 1.5, r: 4 }));
  }
}

function drawMarks(layer, shown, place, box) {
  const marks = shown.filter((point) => point.role || point === state.selected);
  for (const point of marks) {
    const [x, y] = place(point);
    const isSelected = point === state.selected;
    if (isSelected) {
      layer.append(symbol("circle", x, y, { r: 9, fill: "none", stroke: "var(--chosen)", "stroke-width": 2, id: "selected-mark" }));
    }
    const text = point.role || point.name;
    const isRight = x + 16 + 7 * text.length < box.right;
    const at = { x: isRight ? x + 12 : x - 12, y: y + 20, "text-anchor": isRight ? "start" : "end", "font-weight": "bold" };
    layer.append(svg("text", at, text));
  }
}

function sayWhatIsShown(shown, front) {
  const where = state.rule === null ? "Over every choice" : `At ${shown[0]?.choice ?? "this choice"}`;
  const hidden = state.isWhole ? [] : shown.filter((point) => isBelowReference(point));
  const left = hidden.filter((point) => front.includes(point)).length;
  const onFront = hidden.length === 1 ? "it is on the front" : `${left} of them are on the front`;
  const words = [`${where}: ${counted(front.length, "point")} on the front.`];
  if (hidden.length > 0) {
    const [verb, counts] = hidden.length === 1 ? ["is", "counts"] : ["are", "count"];
    const worse = `${counted(hidden.length, "point")} ${verb} worse than the reference and ${counts} for nothing`;
    words.push(`${worse}${left ? `; ${onFront}` : ""}. “Show all” widens the axes.`);
  }
  document.getElementById("front-says").textContent = words.join(" ");
}

function nearest(event) {
  const area = drawnFront.picture.getBoundingClientRect();
  const [x, y] = [event.clientX - area.left, event.clientY - area.top];
  let [found, least] = [null, reach];
  for (const point of drawnFront.points) {
    const across = drawnFront.scaleX(valueOf(point, state.horizontal)) - x;
    const distance = Math.hypot(across, drawnFront.scaleY(valueOf(point, state.vertical)) - y);
    if (distance < least) [found, least] = [point, distance];
  }
  return found;
}

function showTip(event) {
  const point = nearest(event);
  tip.hidden = point === null;
  if (point === null) return;
  const lines = [point.name, trialOf.get(point.trial).text, point.choice];
  for (const metric of new Set([...objectives, "cut_size", "accuracy"])) {
    if (placeOf.has(metric)) lines.push(`${report.metrics[metric].title}: ${numberText(metric, valueOf(point, metric))}`);
  }
  tip.textContent = [...lines, ...point.notes].join("\n");
  const area = figureOfFront.getBoundingClientRect();
  const left = event.clientX - area.left;
  tip.style.left = `${left > area.width / 2 ? left - tip.offsetWidth - 14 : left + 14}px`;
  tip.style.top = `${event.clientY - area.top + 12}px`;
}

function stepAlongFront(step) {
  const front = currentFront();
  const at = front.indexOf(state.selected);
  select(front[Math.min(front.length - 1, Math.max(0, at + step))]);
}

figureOfFront.addEventListener("pointermove", showTip);
figureOfFront.addEventListener("pointerleave", () => (tip.hidden = true));
figureOfFront.addEventListener("click", (event) => select(nearest(event)));
figureOfFront.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
  if (step === undefined) return;
  event.preventDefault();
  stepAlongFront(step);
});
document.getElementById("show-all").addEventListener("change", (event) => change({ isWhole: event.target.checked }));
const rowsOfFront = () => [
  ["point", "trial", "choice", "on_front", ...metricNames, ...metricNames.map((name) => `test_${name}`)],
  ...visiblePoints().map((point) => [
    ...[point.name, point.trial, point.choice, currentFront().includes(point)],
    ...[...point.metrics, ...(point.test ?? [])],
  ]),
];
document.getElementById("front-data").append(downloadButton("points", rowsOfFront));
for (const axis of ["vertical", "horizontal"]) {
  const choose = document.getElementById(axis);
  choose.parentElement.hidden = objectives.length === 2;
  choose.append(...objectives.map((name) => html("option", { value: name }, report.metrics[name].title)));
  choose.value = state[axis];
  choose.addEventListener("change", () => change({ [axis]: choose.value }));
}
keepDrawn(figureOfFront, drawFront);
