// The search: what the hypervolume has come to, and which coefficients matter for it.
const measured = report.trials.filter((trial) => trial.hypervolume !== null);

// Numbers on a scale of their own, texts in the order of their names.
function scaleOfCoefficient({ name, isLogarithmic }) {
  const values = measured.map((trial) => trial.coefficients[name]).filter((value) => value !== undefined);
  if (values.some((value) => typeof value === "string")) {
    const names = [...new Set(values.map(String))].sort();
    const number = (value) => names.indexOf(String(value));
    return { number, low: -0.5, high: names.length - 0.5, isLogarithmic: false, text: (tick) => names[tick] ?? "" };
  }
  return { number: (value) => value, ...around(values, { isLogarithmic }), text: shortText };
}

function ranks(values) {
  const order = [...values].sort((one, other) => one - other);
  return values.map((value) => (order.indexOf(value) + order.lastIndexOf(value)) / 2);
}

// Spearman's correlation: 1 where larger coefficients always come with larger hypervolumes, -1 where with smaller ones.
function rankCorrelation(left, right) {
  const [one, other] = [ranks(left), ranks(right)];
  const middle = (left.length - 1) / 2;
  const sum = (map) => one.reduce((total, _, place) => total + map(one[place] - middle, other[place] - middle), 0);
  const spread = Math.sqrt(sum((x) => x * x) * sum((x, y) => y * y));
  return spread === 0 ? 0 : sum((x, y) => x * y) / spread;
}

function pointOfTrial(number) {
  const own = report.points.filter((point) => point.trial === number);
  return own.find((point) => report.front.includes(point.name)) ?? own.find((point) => !isBelowReference(point)) ?? own[0];
}

function drawCourse() {
  const values = report.course.map(({ hypervolume }) => hypervolume);
  drawChart(document.getElementById("hypervolume"), {
    height: 230,
    label: "Hypervolume over trials",
    x: { ...around(report.course.map(({ trial }) => trial), { room: 0.02 }), text: shortText, title: "trial" },
    y: { ...around(values), text: shortText, title: "hypervolume" },
    draw: (layer, scaleX, scaleY) => {
      const places = report.course.map(({ trial, hypervolume }) => [scaleX(trial), scaleY(hypervolume)]);
      const steps = places.map(([x, y], place) => (place ? `H${x}V${y}` : `M${x} ${y}`)).join("");
      layer.append(svg("path", { d: steps || "M0 0", fill: "none", stroke: "var(--front)", "stroke-width": 2 }));
      layer.append(dots(places, { stroke: "var(--front)" }));
    },
  });
}

// What the model expects along a coefficient, where its values have a place on the axis; nothing without a model.
function sliceOf(name, scale) {
  const { values, means, lows, highs } = report.expected[name] ?? { values: [], means: [], lows: [], highs: [] };
  const rows = values.map((value, place) => ({ x: scale.number(value), mean: means[place], low: lows[place], high: highs[place] }));
  const placed = rows.filter(({ x }) => x >= scale.low && x <= scale.high);
  return { rows: placed, lows: placed.map(({ low }) => low), highs: placed.map(({ high }) => high) };
}

function drawExpected(layer, scaleX, scaleY, { rows }) {
  if (rows.length < 2) return;
  const upper = rows.map(({ x, high }) => [scaleX(x), scaleY(high)]);
  const lower = rows.map(({ x, low }) => [scaleX(x), scaleY(low)]).reverse();
  layer.append(lineThrough([...upper, ...lower], { fill: "var(--baseline)", "fill-opacity": 0.15, class: "band" }));
  layer.append(lineThrough(rows.map(({ x, mean }) => [scaleX(x), scaleY(mean)]), { stroke: "var(--baseline)", class: "expected" }));
}

function drawSlice(figure, coefficient) {
  const scale = scaleOfCoefficient(coefficient);
  const trials = measured.filter((trial) => coefficient.name in trial.coefficients);
  const numbers = trials.map((trial) => scale.number(trial.coefficients[coefficient.name]));
  const volumes = trials.map((trial) => trial.hypervolume);
  const correlation = rankCorrelation(numbers, volumes);
  const slice = sliceOf(coefficient.name, scale);
  drawChart(figure, {
    height: 210,
    label: `Hypervolume of a trial over ${coefficient.name}`,
    x: { ...scale, title: `${coefficient.name} (rank correlation ${correlation.toFixed(2)})` },
    y: { ...around([...volumes, ...slice.lows, ...slice.highs]), text: shortText, title: "hypervolume of the trial" },
    draw: (layer, scaleX, scaleY) => {
      drawExpected(layer, scaleX, scaleY, slice);
      trials.forEach((trial, place) => {
        const isSelected = trial.number === state.selected?.trial;
        const colours = { fill: isSelected ? "var(--front)" : "var(--other)", stroke: "var(--paper)", r: isSelected ? 7 : 5 };
        const kind = trial.baseline ? "diamond" : "circle";
        const shape = trial.baseline ? { stroke: isSelected ? "var(--front)" : "var(--baseline)" } : colours;
        const mark = symbol(kind, scaleX(numbers[place]), scaleY(volumes[place]), { ...shape, cursor: "pointer" });
        mark.append(svg("title", {}, `trial ${trial.number}: ${trial.text}`));
        mark.addEventListener("click", () => select(pointOfTrial(trial.number)));
        layer.append(mark);
      });
    },
  });
}

// A coefficient with one value in every trial that has it, as one that a baseline alone states, explains nothing.
const compared = report.coefficients.filter(({ name }) => {
  const values = measured.map((trial) => trial.coefficients[name]).filter((value) => value !== undefined);
  return new Set(values).size > 1;
});

function drawParallel() {
  const host = document.getElementById("parallel");
  const width = Math.max(host.clientWidth, 240);
  const [height, top, bottom] = [300, 44, 270];
  const volume = { number: (value) => value, ...around(measured.map((trial) => trial.hypervolume)), text: shortText };
  const axes = compared.map((coefficient) => ({ name: coefficient.name, ...scaleOfCoefficient(coefficient) }));
  axes.push({ name: "hypervolume", ...volume });
  const gap = (width - 90) / (axes.length - 1 || 1);
  const picture = svg("svg", { height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Parallel coordinates" });
  axes.forEach((axis, place) => {
    axis.x = 45 + place * gap;
    axis.scale = makeScale(axis, bottom, top, 4);
  });
  const order = [...measured].sort((one, other) => one.hypervolume - other.hypervolume);
  const isSelected = (trial) => trial.number === state.selected?.trial;
  for (const trial of [...order.filter((each) => !isSelected(each)), ...order.filter(isSelected)]) {
    const share = order.indexOf(trial) / (order.length - 1 || 1);
    const places = axes
      .map((axis) => [axis, axis.name === "hypervolume" ? trial.hypervolume : trial.coefficients[axis.name]])
      .filter(([, value]) => value !== undefined)
      .map(([axis, value]) => [axis.x, axis.scale(axis.number(value))]);
    const line = lineThrough(places, {
      stroke: isSelected(trial) ? "var(--chosen)" : `color-mix(in srgb, var(--front) ${Math.round(100 * share)}%, var(--other))`,
      "stroke-width": isSelected(trial) ? 4 : 1 + 1.5 * share,
      cursor: "pointer",
    });
    line.append(svg("title", {}, `trial ${trial.number}: ${trial.text}, hypervolume ${shortText(trial.hypervolume)}`));
    line.addEventListener("click", () => select(pointOfTrial(trial.number)));
    picture.append(line);
  }
  axes.forEach((axis, place) => {
    picture.append(svg("line", { class: "axis", x1: axis.x, x2: axis.x, y1: top, y2: bottom }));
    const isLow = gap < 95 && place % 2 === 1; // names of neighbours that would touch stand on two lines
    picture.append(svg("text", { x: axis.x, y: isLow ? 30 : 14, "text-anchor": "middle" }, axis.name));
    for (const tick of axis.scale.ticks) {
      picture.append(svg("text", { x: axis.x + 4, y: axis.scale(tick) + 4, class: "soft" }, axis.text(tick)));
    }
  });
  host.replaceChildren(picture);
}

if (measured.length > 1) {
  const slices = document.getElementById("slices");
  const figures = compared.map(() => html("div", { class: "figure" }));
  slices.append(...figures.map((figure) => html("div", {}, figure)));
  keepTrialsDrawn(slices, () => compared.forEach((coefficient, place) => drawSlice(figures[place], coefficient)));
  keepTrialsDrawn(document.getElementById("parallel"), drawParallel);
  keepTrialsDrawn(document.getElementById("hypervolume"), drawCourse);
  const names = report.coefficients.map(({ name }) => name);
  const rows = () => [
    ["trial", "status", "baseline", ...names, "hypervolume"],
    ...report.trials.map((trial) => [trial.number, trial.status, trial.baseline, ...names.map((name) => trial.coefficients[name]), trial.hypervolume]),
  ];
  document.getElementById("search-data").append(downloadButton("search", rows));
}
