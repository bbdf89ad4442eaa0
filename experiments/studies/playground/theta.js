// Figure 2: two tasks in a plane, and one start for both, under the reader's hand.

// The points where a task's loss has a value: a closed curve.
function contour(task, level) {
  return Array.from({ length: 73 }, (_, i) => {
    const u = [Math.cos((Math.PI * i) / 36), Math.sin((Math.PI * i) / 36)];
    return plus(task.centre, times(Math.sqrt((2 * level) / dot(u, apply(task.curvature, u))), u));
  });
}

function startTheta({ tasks, rate }) {
  const names = { pretrained: AGENTS.pretrained, maml: AGENTS.maml, fomaml: AGENTS.fomaml, reptile: AGENTS.reptile, imaml: AGENTS.imaml };
  const state = { tasks, rate, theta: [0.1, 1.3], steps: 1, chosen: new Set(["pretrained", "maml"]), reveal: false, best: [Infinity, Infinity], landings: [], gradients: {}, losses: [] };
  const picture = plot("theta-plane", { height: 450, xRange: [-2.2, 2.2], yRange: [-2, 2], xLabel: "\u03b8\u2081", yLabel: "\u03b8\u2082", xTicks: [-2, -1, 0, 1, 2], yTicks: [-2, -1, 0, 1, 2] });
  const colours = ["var(--task-1)", "var(--task-2)"];

  function draw() {
    const { theta, steps } = state;
    state.landings = tasks.map((task) => land(task, theta, rate, steps));
    state.losses = [lossAfter(tasks, theta, rate, 0), lossAfter(tasks, theta, rate, steps)];
    state.best = state.best.map((best, i) => Math.min(best, state.losses[i]));
    state.gradients = Object.fromEntries(Object.keys(names).map((name) => [name, metaGradient(name, tasks, theta, rate, steps)]));
    picture.clear();
    tasks.forEach((task, i) => {
      for (const level of [0.05, 0.2, 0.5, 1, 2]) line(picture, contour(task, level), { stroke: colours[i], "stroke-width": 1.2, opacity: 0.65 });
      cross(picture, task.centre, colours[i]);
      write(picture, plus(task.centre, i ? [0.1, 0.1] : [0.1, -0.25]), `task ${i + 1}`, { fill: colours[i] });
    });
    if (state.reveal) {
      for (const [name, k] of [["pretrained", 0], ["maml", steps]]) {
        const at = optimum(tasks, rate, k);
        star(picture, at, colour(name));
        write(picture, plus(at, [0.1, k ? 0.12 : -0.22]), `${names[name]}'s optimum`);
      }
    }
    for (const name of state.chosen) {
      const per = name === "reptile" ? 1 / (steps * rate) : 1; // so that a way of several steps reads as a gradient
      arrow(picture, theta, minus(theta, times(0.45 * per, state.gradients[name])), colour(name), { "stroke-dasharray": "6 3", "data-name": name });
    }
    state.landings.forEach((at, i) => {
      let from = theta;
      for (let k = 1; k <= steps; k++) {
        const to = land(tasks[i], theta, rate, k);
        arrow(picture, from, to, colours[i]);
        from = to;
      }
      mark(picture, at, { fill: colours[i], stroke: "var(--paper)" });
    });
    mark(picture, theta, { r: 11, fill: "var(--paper)", stroke: "var(--ink)", "stroke-width": 3, class: "handle" });
    write(picture, plus(theta, [0.1, 0.1]), "\u03b8", { class: "note theta" });
    const least = [0, steps].map((k) => lossAfter(tasks, optimum(tasks, rate, k), rate, k));
    const words = ["before any step (pretraining's aim)", `after ${steps} step${steps > 1 ? "s" : ""} (MAML's aim)`];
    rows("theta-table", ["mean loss of both tasks", "here", "your best", "least there is", ""], words.map((label, i) => [
      label, state.losses[i].toFixed(3), state.best[i].toFixed(3), least[i].toFixed(3), state.best[i] < least[i] + 0.01 ? "found!" : "",
    ]));
  }

  const moveTo = (to) => { state.theta = [clip(to[0], -2.2, 2.2), clip(to[1], -2, 2)]; draw(); };
  operate(picture, { drag: moveTo, arrows: (dx, dy) => moveTo(plus(state.theta, [0.05 * dx, 0.05 * dy])) });
  toggles("theta-agents", names, state.chosen, draw);
  slider("theta-steps", (v) => `${v}`, (v) => { state.steps = v; state.best[1] = Infinity; draw(); });
  find("theta-reveal").addEventListener("click", (event) => {
    state.reveal = !state.reveal;
    event.target.setAttribute("aria-pressed", state.reveal);
    draw();
  });
  draw();
  return { state, move: moveTo };
}
