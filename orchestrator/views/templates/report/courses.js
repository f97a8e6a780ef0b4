// How the trainings went: the loss and its terms over the epochs. One that rose out of all proportion has a logarithmic
// axis, on which the others can be read.
const outOfProportion = 1000;
const courses = document.getElementById("courses");

function isOutOfProportion(values) {
  const positive = values.filter((value) => value > 0).sort((one, other) => one - other);
  return positive.length > 0 && positive[positive.length - 1] > outOfProportion * positive[Math.floor(positive.length / 2)];
}

function drawCourses() {
  const trials = [...new Set([...trialsOnFront, state.selected?.trial])].map((number) => trialOf.get(number)).filter((trial) => trial?.course.length);
  const terms = [...new Set(trials.flatMap((trial) => trial.course.flatMap((epoch) => Object.keys(epoch))))].filter((name) => name !== "epoch");
  const figures = terms.map(() => html("div", { class: "figure" }));
  courses.replaceChildren(...figures.map((figure) => html("div", {}, figure)));
  for (const [place, term] of terms.entries()) {
    const figure = figures[place];
    const epochs = trials.flatMap((trial) => trial.course.map(({ epoch }) => epoch));
    const values = trials.flatMap((trial) => trial.course.map((epoch) => epoch[term]));
    drawChart(figure, {
      height: 210,
      label: `${term} over the epochs`,
      x: { ...around(epochs, { room: 0.02 }), text: shortText, title: "epoch" },
      y: { ...around(values, { isLogarithmic: isOutOfProportion(values) }), text: shortText, title: term.replaceAll("_", " ") },
      draw: (layer, scaleX, scaleY) => {
        for (const trial of trials) {
          const places = trial.course.filter((epoch) => term in epoch).map((epoch) => [scaleX(epoch.epoch), scaleY(epoch[term])]);
          layer.append(lineThrough(places, { ...styleOf(trial.number), "stroke-width": trial.number === state.selected?.trial ? 3 : 1.6 }));
        }
      },
    });
  }
}

if (courses) keepTrialsDrawn(courses, drawCourses);
