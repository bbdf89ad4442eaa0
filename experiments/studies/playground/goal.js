// Figure 4: drop a goal. A policy that learns by gradient steps, and beside it one that learns by remembering.

function startGoal(data) {
  const start = walkPolicy(data.maml), rl2 = memoryAgent(data.rl2), quiet = matchMedia("(prefers-reduced-motion: reduce)");
  const state = { start, rl2, goal: [-0.35, 0.3], seed: 1, policy: start, steps: 0, episodes: [], trial: [], returns: [], trialReturns: [] };
  const room = { height: 475, xRange: [-0.9, 0.9], yRange: [-0.9, 0.9], xLabel: "x", yLabel: "y", xTicks: [-0.5, 0, 0.5], yTicks: [-0.5, 0, 0.5] };
  const left = plot("goal-maml", room), right = plot("goal-rl2", room);
  const chart = plot("goal-returns", { height: 260, xRange: [-0.3, 5.3], yRange: [-50, 0], xLabel: "gradient steps (MAML), episodes seen (RL2)", yLabel: "return", xTicks: [0, 1, 2, 3, 4, 5], yTicks: [-50, -40, -30, -20, -10, 0], left: 62 });
  let frame = 0;

  function play() {
    const { normal } = generator(7919 * state.seed + state.steps);
    state.episodes = Array.from({ length: state.policy.episodes }, () => walk(state.policy, state.goal, () => [normal(), normal()]));
    state.returns[state.steps] = state.episodes.map(totalReward);
  }

  function again() {
    Object.assign(state, { policy: start, steps: 0, returns: [] });
    const { normal } = generator(104729 * state.seed);
    state.trial = walkTrial(rl2, state.goal, () => [normal(), normal()]);
    state.trialReturns = state.trial.map(totalReward);
    play();
    show();
  }

  function adaptOnce() {
    if (state.steps >= 5) return;
    const { scales } = state.policy;
    state.policy = policyStep(state.policy, state.episodes, scales[Math.min(state.steps, scales.length - 1)]);
    state.steps++;
    play();
    show();
  }

  const trail = (steps, until) => [[0, 0], ...steps.slice(0, until).map((step) => step.next)];

  function draw(time) { // time: how many steps of every episode are to be seen, RL2's one after another
    for (const picture of [left, right]) {
      picture.clear();
      line(picture, [[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5], [-0.5, -0.5]], { stroke: "var(--soft)", "stroke-width": 1, "stroke-dasharray": "3 4" });
    }
    for (const steps of state.episodes) line(left, trail(steps, time), { stroke: colour("maml"), "stroke-width": 1.4, opacity: 0.55 });
    for (const steps of state.episodes) mark(left, trail(steps, time).at(-1), { r: 3, fill: colour("maml") });
    let rest = time * state.trial.length;
    state.trial.forEach((steps, e) => {
      if (rest <= 0) return;
      const way = trail(steps, rest);
      line(right, way, { stroke: colour("rl2"), "stroke-width": 1.4 + 0.5 * e, opacity: 0.4 + 0.2 * e });
      const end = way.at(-1);
      mark(right, end, { r: 8, fill: colour("rl2"), stroke: "var(--paper)" });
      write(right, end, `${e + 1}`, { class: "number", "text-anchor": "middle", dy: 4 });
      rest -= rl2.horizon;
    });
    for (const picture of [left, right]) {
      mark(picture, [0, 0], { r: 4, fill: "var(--ink)" });
      star(picture, state.goal, "gold");
    }
  }

  function drawReturns() {
    chart.clear();
    const means = state.returns.map(mean);
    state.returns.forEach((all, k) => all.forEach((r, i) => mark(chart, [k - 0.1 + 0.2 * (i / all.length), Math.max(r, -50)], { r: 2.5, fill: colour("maml"), opacity: 0.35 })));
    line(chart, means.map((m, k) => [k, Math.max(m, -50)]), { stroke: colour("maml") });
    means.forEach((m, k) => mark(chart, [k, Math.max(m, -50)], { r: 6, fill: colour("maml"), stroke: "var(--paper)" }));
    line(chart, state.trialReturns.map((r, k) => [k, Math.max(r, -50)]), { stroke: colour("rl2"), "stroke-dasharray": "7 4" });
    state.trialReturns.forEach((r, k) => mark(chart, [k, Math.max(r, -50)], { r: 6, fill: colour("rl2"), stroke: "var(--paper)" }));
    const last = means.length - 1;
    rows("goal-table", ["agent", "return at first", "return now", "episodes used"], [
      [[swatch("maml"), `MAML, ${last} gradient step${last === 1 ? "" : "s"}`], shown(means[0]), shown(means[last]), `${state.policy.episodes * last}`],
      [[swatch("rl2"), `RL2, episode ${state.trial.length}`], shown(state.trialReturns[0]), shown(state.trialReturns.at(-1)), `${state.trial.length - 1}`],
    ]);
    find("goal-adapt").disabled = state.steps >= 5;
    find("goal-title").textContent = last ? `MAML after ${last} gradient step${last === 1 ? "" : "s"}` : "MAML before adaptation";
  }

  function show() {
    cancelAnimationFrame(frame);
    drawReturns();
    if (quiet.matches) return draw(start.horizon);
    let time = 0;
    const tick = () => {
      draw(time += 1);
      if (time < start.horizon) frame = requestAnimationFrame(tick);
    };
    tick();
  }

  const drop = (to) => { state.goal = to.map((x) => clip(x, -0.85, 0.85)); state.seed++; again(); };
  for (const picture of [left, right]) operate(picture, { press: (at) => (at ? drop(at) : adaptOnce()), arrows: (dx, dy) => drop(plus(state.goal, [0.05 * dx, 0.05 * dy])) });
  find("goal-adapt").addEventListener("click", adaptOnce);
  find("goal-again").addEventListener("click", () => { state.seed++; again(); });
  find("goal-new").addEventListener("click", () => {
    const { uniform } = generator(31 * ++state.seed);
    drop([uniform() - 0.5, uniform() - 0.5]);
  });
  again();
  return { state, drop, adapt: adaptOnce };
}
