// Figure 1: place points on a sinusoid that no agent has seen, and watch agents fit it.

function startPoints(data) {
  const agents = Object.fromEntries(Object.entries(data).map(([name, value]) => [name, regressor(value)]));
  const grid = Array.from({ length: 100 }, (_, i) => -5 + (10 * i) / 99);
  const curve = Array.from({ length: 161 }, (_, i) => -5 + i / 16);
  const state = {
    agents, task: { amplitude: 3.2, phase: 1.1 }, points: [], steps: 1, most: 10, factor: 1, cursor: 0, seed: 1, spacing: "random",
    count: 5, chosen: new Set(["pretrained", "maml"]), paths: {}, errors: {},
  };
  const ticks = [-4, -2, 0, 2, 4];
  const fit = plot("points-fit", { xRange: [-5, 5], yRange: [-6, 6], xLabel: "x", yLabel: "y", xTicks: ticks, yTicks: [-6, -4, -2, 0, 2, 4, 6] });
  const error = plot("points-error", { height: 260, xRange: [0, 10], yRange: [0.001, 100], log: true, xLabel: "inner steps", yLabel: "mean squared error", xTicks: [0, 2, 4, 6, 8, 10], yTicks: [0.001, 0.01, 0.1, 1, 10, 100], left: 66 });

  function place() {
    const { uniform } = generator(state.seed), n = state.count;
    const where = {
      random: () => -5 + 10 * uniform(),
      even: (i) => (n === 1 ? 0 : -4.6 + (9.2 * i) / (n - 1)),
      crowded: () => 2.5 + 2 * uniform(),
    }[state.spacing];
    state.points = Array.from({ length: n }, (_, i) => where(i));
    adaptAll();
  }

  function adaptAll() {
    const points = state.points.map((x) => [x, sinusoid(state.task, x)]), truth = grid.map((x) => [x, sinusoid(state.task, x)]);
    for (const name of state.chosen) {
      state.paths[name] = adapt(agents[name], points, state.most, state.factor);
      state.errors[name] = state.paths[name].map((s) => squaredError(agents[name], s, truth));
    }
    draw();
  }

  function draw() {
    fit.clear();
    error.clear();
    line(fit, curve.map((x) => [x, sinusoid(state.task, x)]), { stroke: "var(--ink)", "stroke-width": 2, "stroke-dasharray": "2 5" });
    const order = Object.keys(AGENTS).filter((name) => state.chosen.has(name));
    for (const name of order) {
      const now = state.paths[name][state.steps], values = curve.map((x) => [x, clip(predict(agents[name], now, x), -50, 50)]);
      if (values.every(([, y]) => Number.isFinite(y))) line(fit, values, { stroke: colour(name), "data-name": name });
      line(error, state.errors[name].map((e, k) => [k, clip(Number.isFinite(e) ? e : 1e9, 1e-4, 1e9)]), { stroke: colour(name) });
      mark(error, [state.steps, clip(state.errors[name][state.steps], 0.001, 100)], { fill: colour(name), stroke: "var(--paper)" });
    }
    for (const x of state.points) mark(fit, [x, sinusoid(state.task, x)], { fill: "var(--ink)", stroke: "var(--paper)", "stroke-width": 2, r: 6 });
    if (document.activeElement === fit.host) line(fit, [[state.cursor, -6], [state.cursor, 6]], { stroke: "var(--soft)", "stroke-width": 1 });
    line(error, [[state.steps, 0.001], [state.steps, 100]], { stroke: "var(--soft)", "stroke-width": 1 });
    rows("points-table", ["start", "error before", `after ${state.steps}`, "after 10"], order.map((name) => {
      const e = state.errors[name];
      return [[swatch(name), AGENTS[name]], shown(e[0]), shown(e[state.steps]), shown(e[state.most])];
    }));
    find("points-count-now").textContent = `${state.points.length} of at most 20 points`;
  }

  function add(x) {
    if (state.points.length >= 20) return;
    state.points.push(clip(x, -5, 5));
    adaptAll();
  }

  operate(fit, {
    press: (at) => add(at ? at[0] : state.cursor),
    arrows: (dx) => { state.cursor = clip(state.cursor + 0.25 * dx, -5, 5); draw(); },
    remove: () => { state.points.pop(); adaptAll(); },
  });
  for (const name of ["focus", "blur"]) fit.host.addEventListener(name, draw);
  toggles("points-agents", AGENTS, state.chosen, adaptAll);
  const spacings = new Set([state.spacing]);
  toggles("points-spacing", { random: "random", even: "even", crowded: "crowded" }, spacings, (name) => { state.spacing = name; place(); }, { one: true, colours: false });
  const sliders = {
    steps: slider("points-steps", (v) => `${v}`, (v) => { state.steps = v; draw(); }),
    count: slider("points-count", (v) => `${v}`, (v) => { state.count = v; place(); }),
    rate: slider("points-rate", (v) => `${shown(10 ** v, 2)} \u00d7 its own`, (v) => { state.factor = 10 ** v; adaptAll(); }),
    amplitude: slider("points-amplitude", (v) => v.toFixed(1), (v) => { state.task.amplitude = v; adaptAll(); }),
    phase: slider("points-phase", (v) => v.toFixed(2), (v) => { state.task.phase = v; adaptAll(); }),
  };
  find("points-new").addEventListener("click", () => {
    state.seed++;
    const { uniform } = generator(1000 + state.seed);
    state.task.amplitude = sliders.amplitude.put(0.1 + 4.9 * uniform());
    state.task.phase = sliders.phase.put(Math.PI * uniform());
    place();
  });
  find("points-clear").addEventListener("click", () => { state.points = []; adaptAll(); });
  sliders.amplitude.put(state.task.amplitude);
  sliders.phase.put(state.task.phase);
  place();
  return { state, add, adaptAll };
}
