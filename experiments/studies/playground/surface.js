// Figure 3: the loss after some inner steps, as a landscape over two parameters.

const SHADES = [[68, 1, 84], [65, 68, 135], [42, 120, 142], [34, 168, 132], [122, 209, 81], [253, 231, 37]]; // low to high

function shade(u) {
  const v = clip(u, 0, 1) * (SHADES.length - 1), i = Math.min(Math.floor(v), SHADES.length - 2);
  return SHADES[i].map((c, j) => Math.round(c + (v - i) * (SHADES[i + 1][j] - c)));
}

// Losses [rows][columns], the lowest row first, as the picture behind a plot.
function heat(picture, losses, low, high) {
  const height = losses.length, width = losses[0].length, canvas = element("canvas", { width, height });
  const context = canvas.getContext("2d"), image = context.createImageData(width, height);
  losses.forEach((row, j) => row.forEach((loss, i) => {
    const u = Math.log((Number.isFinite(loss) ? Math.max(loss, low) : high) / low) / Math.log(high / low);
    image.data.set([...shade(u), 255], 4 * ((height - 1 - j) * width + i));
  }));
  context.putImageData(image, 0, 0);
  const { xRange, yRange, x, y } = picture, [du, dv] = [0, 1].map((k) => 0.5 * ([x(xRange[1]) - x(xRange[0]), y(yRange[0]) - y(yRange[1])][k] / ([width, height][k] - 1)));
  picture.behind.replaceChildren(element("image", {
    href: canvas.toDataURL(), x: x(xRange[0]) - du, y: y(yRange[1]) - dv, width: x(xRange[1]) - x(xRange[0]) + 2 * du,
    height: y(yRange[0]) - y(yRange[1]) + 2 * dv, preserveAspectRatio: "none",
  }));
}

function key(id, low, high) {
  const stops = Array.from({ length: 11 }, (_, i) => `rgb(${shade(i / 10)}) ${10 * i}%`);
  const middle = Math.sqrt(low * high);
  find(id).replaceChildren(
    element("span", { class: "bar", style: `background: linear-gradient(to right, ${stops})` }),
    ...[low, middle, high].map((v) => element("span", {}, shown(v, 1))),
  );
}

function startSurface({ tasks, rate }, network) {
  const most = 10, bowls = {
    low: 0.02, high: 8, columns: 67, rows: 61, xRange: [-2.2, 2.2], yRange: [-2, 2],
    loss: (x, y, m) => lossAfter(tasks, [x, y], rate, m),
    least: (m) => optimum(tasks, rate, m),
    spots: tasks.map((task, i) => [`task ${i + 1}`, task.centre]),
  };
  const values = unpack(network.loss), [, across, along] = network.loss.shape;
  const at = (m, j, i) => values[(m * across + j) * along + i];
  const slice = {
    low: 0.3, high: 30, columns: along, rows: across, xRange: network.along, yRange: network.across,
    loss(x, y, m) { // between grid points: a mean weighted by nearness
      const u = clip(((x - network.along[0]) / (network.along[1] - network.along[0])) * (along - 1), 0, along - 1.001);
      const v = clip(((y - network.across[0]) / (network.across[1] - network.across[0])) * (across - 1), 0, across - 1.001);
      const [i, j] = [Math.floor(u), Math.floor(v)], [a, b] = [u - i, v - j];
      const below = (1 - a) * at(m, j, i) + (a > 0 ? a * at(m, j, i + 1) : 0);
      return b > 0 ? (1 - b) * below + b * ((1 - a) * at(m, j + 1, i) + (a > 0 ? a * at(m, j + 1, i + 1) : 0)) : below;
    },
    least(m) {
      let best = 0;
      for (let k = 1; k < across * along; k++) if (values[m * across * along + k] < values[m * across * along + best]) best = k;
      return [network.along[0] + ((best % along) / (along - 1)) * (network.along[1] - network.along[0]),
        network.across[0] + (Math.floor(best / along) / (across - 1)) * (network.across[1] - network.across[0])];
    },
    spots: Object.entries(network.points),
  };
  const state = { world: "bowls", steps: 1, point: [0, 0], grids: {}, path: [], loss: null };
  const pictures = {
    bowls: plot("surface-bowls", { height: 420, ...bowls, xLabel: "\u03b8\u2081", yLabel: "\u03b8\u2082", xTicks: [-2, -1, 0, 1, 2], yTicks: [-2, -1, 0, 1, 2] }),
    slice: plot("surface-slice", { height: 420, ...slice, xLabel: "from MAML's weights (0) to the pretrained ones (1)", yLabel: "across, towards fresh weights", xTicks: [-0.5, 0, 0.5, 1, 1.5], yTicks: [-0.5, 0, 0.5, 1] }),
  };
  const worlds = { bowls, slice };

  function grid(name, m) {
    const w = worlds[name], id = `${name}-${m}`;
    const spaced = (range, n, i) => range[0] + ((range[1] - range[0]) * i) / (n - 1);
    return (state.grids[id] ||= Array.from({ length: w.rows }, (_, j) =>
      Array.from({ length: w.columns }, (_, i) => w.loss(spaced(w.xRange, w.columns, i), spaced(w.yRange, w.rows, j), m))));
  }

  function draw() {
    const world = worlds[state.world], picture = pictures[state.world];
    for (const name in pictures) pictures[name].host.hidden = name !== state.world;
    heat(picture, grid(state.world, state.steps), world.low, world.high);
    key("surface-key", world.low, world.high);
    picture.clear();
    state.path = Array.from({ length: most + 1 }, (_, m) => world.least(m));
    line(picture, state.path, { stroke: "#fff", "stroke-width": 2, opacity: 0.9 });
    const named = state.path.filter((place, m) => state.path.slice(0, m).every((other) => Math.hypot(...minus(place, other)) > 0.12));
    state.path.forEach((place, m) => {
      if (m === state.steps) return;
      mark(picture, place, { r: 3.5, fill: "#fff" });
      if (named.includes(place)) write(picture, place, `m = ${m}`, { class: "note on-heat", dx: -8, dy: 24 });
    });
    for (const [name, place] of world.spots) {
      cross(picture, place, "#fff", 6);
      picture.inside.append(element("text", { x: picture.x(place[0]) + 10, y: picture.y(place[1]) - 9, class: "note on-heat" }, name));
    }
    star(picture, state.path[state.steps], "gold", 12);
    state.loss = world.loss(...state.point, state.steps);
    mark(picture, state.point, { r: 8, fill: "none", stroke: "#fff", "stroke-width": 2.5 });
    const there = state.path[state.steps];
    rows("surface-table", ["mean loss", "before any step", `after ${state.steps}`], [
      ["at the ring", shown(world.loss(...state.point, 0)), shown(state.loss)],
      [`at the star (least after ${state.steps})`, shown(world.loss(...there, 0)), shown(world.loss(...there, state.steps))],
    ]);
  }

  const put = (to) => {
    const { xRange, yRange } = worlds[state.world];
    state.point = [clip(to[0], ...xRange), clip(to[1], ...yRange)];
    draw();
  };
  for (const name in pictures) operate(pictures[name], { drag: put, arrows: (dx, dy) => put(plus(state.point, [0.05 * dx, 0.05 * dy])) });
  toggles("surface-world", { bowls: "two bowls", slice: "sine network" }, new Set([state.world]), (name) => { state.world = name; put(state.point); }, { one: true, colours: false });
  slider("surface-steps", (v) => `${v}`, (v) => { state.steps = v; draw(); });
  draw();
  return { state, put, bowls, slice };
}
