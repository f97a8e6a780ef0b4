// Sliders for the parameters of each rule: they move every trial's point along its curve.
const ruleSelect = document.getElementById("rule");
const sliders = document.getElementById("sliders");

function placeSliders() {
  sliders.replaceChildren();
  if (state.rule === null) return;
  report.rules[state.rule].parameters.forEach((parameter, index) => {
    const output = html("output", {}, shortText(state.values[index]));
    const at = parameter.values.findIndex((value) => Math.abs(value - state.values[index]) < 1e-9);
    const slider = html("input", {
      type: "range", min: 0, max: parameter.values.length - 1, step: 1, value: at, name: parameter.name,
      "aria-valuetext": shortText(state.values[index]),
    });
    slider.addEventListener("input", () => {
      const value = parameter.values[Number(slider.value)];
      output.textContent = shortText(value);
      slider.setAttribute("aria-valuetext", shortText(value));
      moveTo(state.values.map((old, place) => (place === index ? value : old)));
    });
    sliders.append(html("label", {}, parameter.title, slider, output));
  });
}

// The choice is another one; the selected trial stays, at its new point.
function moveTo(values) {
  const moved = report.points.find(
    (point) => point.trial === state.selected?.trial && point.rule === state.rule && isSame(point.values, values),
  );
  change({ values, ...(moved ? { selected: moved } : {}) });
}

ruleSelect.append(html("option", { value: "" }, "every choice"));
report.rules.forEach((rule, index) => {
  if (rule.parameters.every(({ values }) => values.length > 0)) ruleSelect.append(html("option", { value: index }, rule.title));
});
ruleSelect.addEventListener("change", () => {
  if (ruleSelect.value === "") {
    change({ rule: null, values: [] });
  } else {
    state.rule = Number(ruleSelect.value);
    const middle = report.rules[state.rule].parameters.map(({ values }) => values[Math.floor((values.length - 1) / 2)]);
    moveTo(state.selected?.rule === state.rule ? state.selected.values : middle);
  }
  placeSliders();
});
whenChanged((changes) => {
  if ("rule" in changes && changes.rule !== null && changes.selected) { // a point of another rule was selected
    ruleSelect.value = String(changes.rule);
    placeSliders();
  }
});
