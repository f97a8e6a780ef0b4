// How the trainings went: the loss and its terms over the epochs.
const courses = document.getElementById("courses");

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
      y: { ...around(values), text: shortText, title: term.replaceAll("_", " ") },
      draw: (layer, scaleX, scaleY) => {
        for (const trial of trials) {
          const places = trial.course.filter((epoch) => term in epoch).map((epoch) => [scaleX(epoch.epoch), scaleY(epoch[term])]);
          layer.append(lineThrough(places, { ...styleOf(trial.number), "stroke-width": trial.number === state.selected?.trial ? 3 : 1.6 }));
        }
      },
    });
  }
}

if (courses) keepDrawn(courses, drawCourses);
