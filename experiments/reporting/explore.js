// Draws the figures of a comparison anew: agents come and go, axes are linear or logarithmic, values are read under the pointer.
(() => {
  const data = JSON.parse(document.getElementById("explored").textContent);
  const WIDTH = 640, HEIGHT = 400, LEFT = 70, RIGHT = 14, TOP = 12, BOTTOM = 48, SETTLED = 0.05;
  const shown = new Set(data.agents.slice(0, data.at_first).map((agent) => agent.name));
  const charts = [];

  const make = (name, attributes = {}, ...children) => {
    const svg = ["svg", "g", "path", "line", "circle", "text", "clipPath", "rect"].includes(name);
    const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) if (value !== null) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };

  const sample = (agent) => make("svg", { viewBox: "0 0 22 8", class: "sample" },
    make("line", { x1: 0, x2: 22, y1: 4, y2: 4, stroke: agent.colour, "stroke-width": 4, "stroke-dasharray": agent.dash || null }));

  const short = (v) => {
    if (v === null) return "\u2013";
    for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
      if (Math.abs(v) >= size) return `${+(v / (unit === "k" ? 1e3 : size)).toPrecision(4)}${unit}`.replace("-", "\u2212");
    }
    return `${+v.toPrecision(4)}`.replace("-", "\u2212");
  };

  // Maps numbers to places in [0, 1] and back; "wide" is linear up to one and logarithmic beyond.
  const SCALES = { linear: (v) => v, log: Math.log10, wide: (v) => (v <= 1 ? v : 1 + Math.log10(v)) };

  function ticksOf(kind, low, high, count) {
    if (kind === "linear") {
      const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
      const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough) ?? 10 * power;
      const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
      return Array.from({ length: Math.max(last - first + 1, 0) }, (_, i) => +((first + i) * step).toPrecision(12));
    }
    const places = kind === "wide" ? [0] : [];
    const decades = Math.log10(high) - Math.log10(Math.max(low, 1e-300));
    for (let e = Math.floor(Math.log10(Math.max(low, 1e-12))); e <= Math.log10(high); e++) {
      for (const m of decades < 2 ? [1, 2, 5] : [1]) places.push(m * 10 ** e);
    }
    return places.filter((v) => v >= low * (1 - 1e-9) && v <= high * (1 + 1e-9));
  }

  const quantile = (values, q) => {
    const sorted = [...values].sort((a, b) => a - b);
    return sorted[Math.floor(q * (sorted.length - 1))];
  };

  function range(kind, values) {
    const usable = values.filter((v) => v !== null && (kind !== "log" || v > 0));
    let low = Math.min(...usable), high = Math.max(...usable);
    if (!usable.length) [low, high] = [1, 10];
    if (low === high) [low, high] = kind === "log" ? [low / 2, high * 2] : [low - 0.5, high + 0.5];
    return [low, high];
  }

  function draw(chart) {
    const { figure, svg, id } = chart;
    const inUse = data.agents.filter((agent) => shown.has(agent.name) && figure.curves[agent.name]);
    const curves = inUse.map((agent) => figure.curves[agent.name]);
    const [x0, x1] = range(chart.x, curves.flatMap((curve) => curve.x));
    const all = curves.flatMap((curve) => [...curve.low, ...curve.high, ...curve.y]);
    let [y0, y1] = range(chart.y, all);
    if (figure.settles && chart.y === "linear") {
      const kept = Math.min(...curves.map((curve) => quantile(curve.y.filter((v) => v !== null), SETTLED)));
      if (kept < y1) y0 = Math.max(y0, kept - 0.05 * (y1 - kept));
    }
    const sx = SCALES[chart.x], sy = SCALES[chart.y], pad = 0.03 * (sy(y1) - sy(y0));
    const X = (v) => LEFT + ((sx(v) - sx(x0)) / (sx(x1) - sx(x0))) * (WIDTH - LEFT - RIGHT);
    const Y = (v) => HEIGHT - BOTTOM - ((sy(v) - sy(y0) + pad) / (sy(y1) - sy(y0) + 2 * pad)) * (HEIGHT - TOP - BOTTOM);
    const parts = [];
    const places = [...new Set(curves.flatMap((curve) => curve.x))].sort((a, b) => b - a);
    let before = Infinity;  // from the last, which stays: numbers must not touch
    for (const v of places.length <= 10 ? places : ticksOf(chart.x, x0, x1, 6).reverse()) {
      if (before - X(v) < 34) continue;
      before = X(v);
      parts.push(make("line", { x1: X(v), x2: X(v), y1: TOP, y2: HEIGHT - BOTTOM, class: "grid" }));
      parts.push(make("text", { x: X(v), y: HEIGHT - BOTTOM + 18, "text-anchor": "middle" }, short(v)));
    }
    for (const v of ticksOf(chart.y, y0, y1, 6)) {
      parts.push(make("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: Y(v), y2: Y(v), class: "grid" }));
      parts.push(make("text", { x: LEFT - 7, y: Y(v) + 4, "text-anchor": "end" }, short(v)));
    }
    parts.push(make("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 8, "text-anchor": "middle" }, figure.x));
    const middle = (TOP + HEIGHT - BOTTOM) / 2;
    parts.push(make("text", { transform: `translate(14 ${middle}) rotate(-90)`, "text-anchor": "middle" }, figure.y));
    const clip = make("clipPath", { id: `${id}-inside` }, make("rect", { x: LEFT - 4, y: TOP, width: WIDTH - LEFT - RIGHT + 8, height: HEIGHT - TOP - BOTTOM }));
    const inside = make("g", { "clip-path": `url(#${id}-inside)` });
    const path = (points) => points.map(([a, b], i) => `${i ? "L" : "M"}${a.toFixed(1)} ${b.toFixed(1)}`).join("");
    chart.points = [];
    for (const agent of inUse) {
      const curve = figure.curves[agent.name];
      const flat = curve.x.length === 1 && inUse.length > 1;  // what does not change is a line across
      const rows = (flat ? [x0, x1] : curve.x).map((x, i) => [x, curve.y[flat ? 0 : i], curve.low[flat ? 0 : i], curve.high[flat ? 0 : i]]);
      const usable = rows.filter(([, y]) => y !== null && (chart.y !== "log" || y > 0));
      const floor = (low) => (chart.y === "log" ? Math.max(low, y0) : low);  // an interval may reach below what a logarithm has
      const band = [...usable.map(([x, , low]) => [X(x), Y(floor(low))]), ...usable.map(([x, , , high]) => [X(x), Y(high)]).reverse()];
      inside.append(make("path", { d: path(band) + (band.length ? "Z" : ""), fill: agent.colour, opacity: flat ? 0.1 : 0.2 }));
      const look = { stroke: agent.colour, "stroke-width": 2, "stroke-dasharray": agent.dash || null, fill: "none", "data-agent": agent.name };
      inside.append(make("path", { d: path(usable.map(([x, y]) => [X(x), Y(y)])), ...look }));
      if (!flat && usable.length < 30) for (const [x, y] of usable) inside.append(make("circle", { cx: X(x), cy: Y(y), r: 3, fill: agent.colour }));
      chart.points.push({ agent, curve, flat });
    }
    chart.pointer = make("g");
    chart.X = X;
    chart.Y = Y;
    svg.replaceChildren(clip, ...parts, inside, chart.pointer);
    chart.places = [...new Set(chart.points.filter(({ flat }) => !flat).flatMap(({ curve }) => curve.x))].sort((a, b) => a - b);
    read(chart, null);
  }

  // The values of every agent at its own place nearest to x; null to take them away.
  function read(chart, x) {
    chart.at = x;
    if (x === null || !chart.places.length) {
      chart.pointer.replaceChildren();
      chart.said.textContent = "Point at the figure, or focus it and use the arrow keys, to read values.";
      return;
    }
    const line = make("line", { x1: chart.X(x), x2: chart.X(x), y1: TOP, y2: HEIGHT - BOTTOM, class: "pointer" });
    const marks = [], said = [];
    for (const { agent, curve, flat } of chart.points) {
      const i = curve.x.reduce((best, at, j) => (Math.abs(at - x) < Math.abs(curve.x[best] - x) ? j : best), 0);
      if (curve.y[i] === null) continue;
      const place = flat ? chart.X(x) : chart.X(curve.x[i]), height = chart.Y(curve.y[i]);
      if (Number.isFinite(height)) marks.push(make("circle", { cx: place, cy: height, r: 4.5, fill: agent.colour, class: "mark" }));
      const where = flat ? "" : ` at ${short(curve.x[i])}`;
      said.push(make("span", { class: "value" }, sample(agent), `${agent.name} ${short(curve.y[i])} [${short(curve.low[i])}, ${short(curve.high[i])}]${where}`));
    }
    chart.pointer.replaceChildren(line, ...marks);
    chart.said.replaceChildren(...said);
  }

  function choice(chart, axis, label, other) {
    const button = make("button", { type: "button", "aria-pressed": `${chart[axis] !== "linear"}` }, label);
    button.addEventListener("click", () => {
      chart[axis] = chart[axis] === "linear" ? other : "linear";
      button.setAttribute("aria-pressed", `${chart[axis] !== "linear"}`);
      draw(chart);
    });
    return button;
  }

  for (const [id, figure] of Object.entries(data.figures)) {
    const host = document.querySelector(`figure[data-figure="${id}"]`);
    if (!host || !Object.keys(figure.curves).length) continue;
    const still = host.querySelector("svg"), curves = Object.values(figure.curves);
    const svg = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, tabindex: 0, role: "img", "aria-label": still.getAttribute("aria-label"), class: "explored" });
    const chart = { id, figure, svg, x: figure.wide ? "wide" : "linear", y: figure.log ? "log" : "linear", said: make("div", { class: "said", role: "status" }) };
    const bar = make("div", { class: "choices" });
    if (curves.every((curve) => curve.y.every((v) => v === null || v > 0))) bar.append(choice(chart, "y", "log y", "log"));
    if (Math.max(...curves.flatMap((curve) => curve.x)) > 1) bar.append(choice(chart, "x", "log x", curves.every((curve) => curve.x.every((v) => v > 1)) ? "log" : "wide"));
    svg.addEventListener("pointermove", (event) => {
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      if (chart.places.length) read(chart, chart.places.reduce((best, x) => (Math.abs(chart.X(x) - at.x) < Math.abs(chart.X(best) - at.x) ? x : best)));
    });
    svg.addEventListener("pointerleave", () => read(chart, null));
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (event.key === "Escape") read(chart, null);
      if (!step || !chart.places.length) return;
      event.preventDefault();
      const i = chart.at === null ? (step > 0 ? -1 : chart.places.length) : chart.places.indexOf(chart.at);
      read(chart, chart.places[Math.min(Math.max(i + step, 0), chart.places.length - 1)]);
    });
    still.replaceWith(svg);
    host.append(bar, chart.said);
    charts.push(chart);
  }

  const bar = make("fieldset", { class: "agents" }, make("legend", {}, `Agents, the best first: held-out mean after the last step`));
  const boxes = data.agents.map((agent) => {
    const box = make("input", { type: "checkbox", value: agent.name });
    box.checked = shown.has(agent.name);
    bar.append(make("label", {}, box, sample(agent), `${agent.name} ${short(agent.last)}`));
    return box;
  });
  const update = () => {
    for (const box of boxes) box.checked ? shown.add(box.value) : shown.delete(box.value);
    charts.forEach(draw);
  };
  bar.addEventListener("change", update);
  for (const [label, wanted] of [["all", () => true], [`first ${data.at_first}`, (i) => i < data.at_first], ["none", () => false]]) {
    const button = make("button", { type: "button" }, label);
    button.addEventListener("click", () => {
      boxes.forEach((box, i) => (box.checked = wanted(i)));
      update();
    });
    bar.append(button);
  }
  document.querySelector("main h2").before(bar);
  charts.forEach(draw);
})();
