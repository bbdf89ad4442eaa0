// Figure 5: the reader pulls arms, beside RL2, Thompson sampling and the exact optimum.

function startBandit(data) {
  const agent = memoryAgent(data.rl2), { arms, pulls } = agent, exact = banditOptimum(arms);
  const PLAYERS = { you: "you", rl2: "RL2", thompson: "Thompson sampling", optimum: "exact optimum" };
  const state = { agent, arms, pulls, seed: 1, means: [], histories: {}, hint: false, totals: Object.fromEntries(Object.keys(PLAYERS).map((p) => [p, []])), many: null };
  let luck = [], dice = null;

  const deal = (seed) => {
    const { uniform } = generator(6007 * seed + 11);
    return { means: Array.from({ length: arms }, uniform), luck: Array.from({ length: pulls }, uniform), dice: generator(9973 * seed) };
  };

  const choices = (own) => ({
    rl2: (history) => drawn(pullProbabilities(agent, history), own.uniform()),
    thompson: (history) => thompson(history, arms, own.uniform),
    optimum: (history) => {
      const worths = exact.worths(history, pulls - history.length), top = Math.max(...worths);
      return worths.findIndex((w) => w > top - 1e-9);
    },
  });

  function fresh() {
    ({ means: state.means, luck, dice } = deal(state.seed));
    for (const player in PLAYERS) state.histories[player] = [];
    draw();
  }

  // The t-th pull wins if the same number, drawn for all players alike, is below the arm's chance.
  function pull(arm) {
    const t = state.histories.you.length;
    if (t >= pulls) return;
    const everybody = { you: () => arm, ...choices(dice) };
    for (const player in everybody) {
      const chosen = everybody[player](state.histories[player]);
      state.histories[player].push([chosen, luck[t] < state.means[chosen] ? 1 : 0]);
    }
    if (t + 1 === pulls) for (const player in PLAYERS) state.totals[player].push(total(player));
    draw();
  }

  const total = (player) => state.histories[player].reduce((sum, [, r]) => sum + r, 0);

  function playMany(count) {
    const sums = { rl2: 0, thompson: 0, optimum: 0 };
    for (let i = 0; i < count; i++) {
      const bandit = deal(500000 + i), players = choices(bandit.dice);
      for (const player in sums) {
        const history = [];
        for (let t = 0; t < pulls; t++) {
          const arm = players[player](history);
          history.push([arm, bandit.luck[t] < bandit.means[arm] ? 1 : 0]);
          sums[player] += history[t][1];
        }
      }
    }
    state.many = Object.fromEntries(Object.entries(sums).map(([player, sum]) => [player, sum / count]));
    find("bandit-said").textContent = `Over ${count} new bandits: ` + Object.entries(state.many).map(([p, m]) => `${PLAYERS[p]} ${m.toFixed(2)}`).join(", ")
      + ` wins of ${pulls}. The best possible mean over all bandits is ${exact.value(pulls).toFixed(2)}.`;
    return state.many;
  }

  function draw() {
    const t = state.histories.you.length, over = t >= pulls, seen = counts(state.histories.you, arms);
    const worths = exact.worths(state.histories.you, pulls - t), likely = pullProbabilities(agent, state.histories.you);
    buttons.forEach((button, arm) => {
      const [won, lost] = seen[arm];
      button.disabled = over;
      const best = state.means[arm] === Math.max(...state.means);
      const lines = over ? [`chance ${state.means[arm].toFixed(2)}`, best ? "the best" : ""] : state.hint
        ? [`worth ${worths[arm].toFixed(2)}`, `RL2 ${Math.round(100 * likely[arm])} %`] : [`${won} won`, `${lost} lost`];
      button.replaceChildren(element("b", {}, `arm ${arm + 1}`), ...lines.map((words) => element("span", {}, words)));
    });
    const cells = (player) => element("span", { class: "pulls" }, ...state.histories[player].map(([arm, won]) =>
      element("span", { class: won ? "won" : "lost", style: `--own: ${colour(player)}`, title: won ? "won" : "lost" }, `${arm + 1}`)));
    rows("bandit-table", ["player", "arms pulled (filled: won)", "wins", "mean of yours so far"], Object.entries(PLAYERS).map(([player, words]) => [
      [swatch(player), words], cells(player), `${total(player)}`, state.totals[player].length ? mean(state.totals[player]).toFixed(2) : "\u2013",
    ]));
    find("bandit-left").textContent = over ? "All pulls are used. Deal a new bandit." : `${pulls - t} pull${pulls - t === 1 ? "" : "s"} left`;
  }

  const buttons = Array.from({ length: arms }, (_, arm) => {
    const button = element("button", { type: "button", class: "arm" });
    button.addEventListener("click", () => pull(arm));
    find("bandit-arms").append(button);
    return button;
  });
  find("bandit-new").addEventListener("click", () => { state.seed++; fresh(); });
  find("bandit-hint").addEventListener("click", (event) => {
    state.hint = !state.hint;
    event.target.setAttribute("aria-pressed", state.hint);
    draw();
  });
  find("bandit-many").addEventListener("click", () => playMany(300));
  fresh();
  return { state, pull, playMany, exact };
}
