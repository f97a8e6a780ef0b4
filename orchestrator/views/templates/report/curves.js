// Every rule's curves: a metric over the rule's first parameter, for the trials on the front and the selected one. Points
// worse than the reference count for nothing, and their trials would stretch the axes.
const colours = [1, 2, 3, 4, 5, 6].map((place) => `var(--hue-${place})`);
const dashes = ["", "6 3", "2 3", "9 3 2 3"];
const curveSelect = document.getElementById("curve-metric");
const trialsOnFront = [...new Set(framed(report.front.map((name) => pointOf.get(name))).map(({ trial }) => trial))].sort((one, other) => one - other);

function styleOf(trial) {
  const at = trialsOnFront.indexOf(trial);
  if (at < 0) return { stroke: "var(--chosen)" };
  return { stroke: colours[at % colours.length], "stroke-dasharray": dashes[Math.floor(at / colours.length) % dashes.length] };
}

function drawCurves(host, rule, index, fixed) {
  const metric = state.curve;
  const [over] = rule.parameters;
  const points = report.points.filter(
    (point) => point.rule === index && isSame(point.values.slice(1), fixed) && valueOf(point, metric) !== null,
  );
  const trials = [...new Set([...trialsOnFront, state.selected?.trial])].filter((trial) => trial !== undefined);
  const shown = points.filter((point) => trials.includes(point.trial));
  const x = { ...around(over.values, { isLogarithmic: over.isLogarithmic }), text: shortText, title: over.title };
  drawChart(host, {
    height: 260,
    label: `${report.metrics[metric].title} over ${over.title}`,
    x,
    y: axisOf(metric, shown),
    draw: (layer, scaleX, scaleY) => {
      for (const trial of trials) {
        const own = shown.filter((point) => point.trial === trial).sort((one, other) => one.values[0] - other.values[0]);
        const places = own.map((point) => [scaleX(point.values[0]), scaleY(valueOf(point, metric))]);
        const isSelected = trial === state.selected?.trial;
        layer.append(lineThrough(places, { ...styleOf(trial), "stroke-width": isSelected ? 3.5 : 1.8 }));
        const here = own.find((point) => point === state.selected);
        if (here) layer.append(symbol("circle", scaleX(here.values[0]), scaleY(valueOf(here, metric)), { fill: "var(--chosen)" }));
      }
    },
  });
}

function legendOfTrials() {
  const entry = (trial) => html(
    "li", {},
    svg("svg", { width: 26, height: 10 }, svg("path", { d: "M0 5H26", ...styleOf(trial), "stroke-width": 2.5 })),
    `trial ${trial}${trial === state.selected?.trial ? " (selected)" : ""}`,
  );
  const extra = trialsOnFront.includes(state.selected?.trial) || !state.selected ? [] : [state.selected.trial];
  for (const list of document.querySelectorAll(".trial-legend")) list.replaceChildren(...[...trialsOnFront, ...extra].map(entry));
}

function placeCurves() {
  for (const host of document.querySelectorAll("[data-rule]")) {
    const index = Number(host.dataset.rule);
    const rule = report.rules[index];
    const others = rule.parameters.slice(1);
    const fixed = others.map(({ values }) => values[0]);
    const figure = html("div", { class: "figure" });
    const controls = others.map((parameter, place) => {
      const choose = html("select", {}, ...parameter.values.map((value) => html("option", { value }, shortText(value))));
      choose.addEventListener("change", () => {
        fixed[place] = Number(choose.value);
        drawCurves(figure, rule, index, fixed);
      });
      return html("label", {}, parameter.title, choose);
    });
    const rows = () => [
      ["point", "trial", ...rule.parameters.map(({ name }) => name), ...metricNames],
      ...report.points.filter((point) => point.rule === index).map((point) => [point.name, point.trial, ...point.values, ...point.metrics]),
    ];
    const bar = html("div", { class: "controls" }, ...controls, downloadButton(`curves-${rule.short}`, rows));
    host.append(bar, figure);
    keepDrawn(figure, () => drawCurves(figure, rule, index, fixed));
  }
}

for (const name of metricNames.filter((each) => report.metrics[each].direction)) {
  curveSelect.append(html("option", { value: name }, report.metrics[name].title));
}
curveSelect.addEventListener("change", () => change({ curve: curveSelect.value }));
placeCurves();
whenChanged(legendOfTrials);
