// Elements, pictures in SVG, and what all figures share.

const SVG = "http://www.w3.org/2000/svg";
const AGENTS = {
  pretrained: "pretrained", maml: "MAML", fomaml: "FOMAML", reptile: "Reptile", imaml: "iMAML", cavia: "CAVIA",
  "meta-sgd": "Meta-SGD", random: "random start",
};
const colour = (name) => `var(--${name})`;
const find = (id) => document.getElementById(id);
const shown = (x, digits = 3) => (!Number.isFinite(x) || Math.abs(x) >= 1e4 ? "far off" : Number(x.toPrecision(digits)).toString().replace("-", "\u2212"));

function element(name, attributes = {}, ...children) {
  const svg = "svg g path line circle rect text image polygon title ellipse".split(" ").includes(name);
  const made = svg ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== null) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// A picture with axes: x and y map numbers to places, and back. Its parts are drawn anew into `inside`.
function plot(id, { height = 330, xRange, yRange, xLabel, yLabel, xTicks, yTicks, left = 50, log = false }) {
  const host = find(id), width = 480, bottom = 46, right = 10, top = 10;
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, class: "plot" });
  const scale = log ? Math.log10 : (v) => v, [y0, y1] = yRange.map(scale);
  const x = (v) => left + ((v - xRange[0]) / (xRange[1] - xRange[0])) * (width - left - right);
  const y = (v) => height - bottom - ((scale(v) - y0) / (y1 - y0)) * (height - top - bottom);
  const axes = element("g", { class: "axes" });
  for (const v of xTicks) {
    axes.append(element("line", { x1: x(v), x2: x(v), y1: top, y2: height - bottom, class: "grid" }));
    axes.append(element("text", { x: x(v), y: height - bottom + 19, "text-anchor": "middle" }, `${v}`.replace("-", "\u2212")));
  }
  for (const v of yTicks) {
    axes.append(element("line", { x1: left, x2: width - right, y1: y(v), y2: y(v), class: "grid" }));
    axes.append(element("text", { x: left - 7, y: y(v) + 5, "text-anchor": "end" }, `${v}`.replace("-", "\u2212")));
  }
  axes.append(element("text", { x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle", class: "label" }, xLabel));
  axes.append(element("text", { transform: `translate(15 ${(top + height - bottom) / 2}) rotate(-90)`, "text-anchor": "middle", class: "label" }, yLabel));
  const behind = element("g"), inside = element("g");
  const pane = element("svg", { x: left, y: top, width: width - left - right, height: height - top - bottom, viewBox: `${left} ${top} ${width - left - right} ${height - top - bottom}`, overflow: "hidden" });
  pane.append(behind, inside);
  svg.append(axes, pane);
  host.append(svg);
  const place = (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const u = (at.x - left) / (width - left - right), v = (height - bottom - at.y) / (height - top - bottom);
    return [xRange[0] + u * (xRange[1] - xRange[0]), y0 + v * (y1 - y0)];
  };
  return { svg, host, behind, inside, x, y, place, xRange, yRange, clear: () => inside.replaceChildren() };
}

function line(picture, points, attributes) {
  const d = points.map(([a, b], i) => `${i ? "L" : "M"}${picture.x(a).toFixed(1)} ${picture.y(b).toFixed(1)}`).join("");
  const made = element("path", { d, fill: "none", "stroke-width": 2.2, "stroke-linejoin": "round", ...attributes });
  picture.inside.append(made);
  return made;
}

function mark(picture, [a, b], attributes) {
  const made = element("circle", { cx: picture.x(a), cy: picture.y(b), r: 5, ...attributes });
  picture.inside.append(made);
  return made;
}

function cross(picture, [a, b], stroke, size = 7) {
  const [u, v] = [picture.x(a), picture.y(b)];
  const d = `M${u - size} ${v - size}L${u + size} ${v + size}M${u - size} ${v + size}L${u + size} ${v - size}`;
  picture.inside.append(element("path", { d, stroke, "stroke-width": 3, fill: "none" }));
}

function star(picture, [a, b], fill, size = 11) {
  const [u, v] = [picture.x(a), picture.y(b)];
  const tips = Array.from({ length: 10 }, (_, i) => {
    const r = i % 2 ? size * 0.42 : size, angle = (Math.PI * i) / 5 - Math.PI / 2;
    return `${u + r * Math.cos(angle)},${v + r * Math.sin(angle)}`;
  });
  picture.inside.append(element("polygon", { points: tips.join(" "), fill, stroke: "var(--ink)", "stroke-width": 1.2 }));
}

function arrow(picture, from, to, stroke, attributes = {}) {
  const [a, b, c, d] = [picture.x(from[0]), picture.y(from[1]), picture.x(to[0]), picture.y(to[1])];
  const length = Math.hypot(c - a, d - b), g = element("g", { stroke, fill: stroke, ...attributes });
  if (length > 1) {
    const [u, v] = [(c - a) / length, (d - b) / length], head = Math.min(11, length);
    const [p, q] = [c - head * u, d - head * v], w = head * 0.45;
    g.append(element("line", { x1: a, y1: b, x2: p, y2: q, "stroke-width": 2.8 }));
    g.append(element("polygon", { points: `${c},${d} ${p - w * v},${q + w * u} ${p + w * v},${q - w * u}`, "stroke-width": 0 }));
  }
  picture.inside.append(g);
}

function write(picture, [a, b], words, attributes = {}) {
  picture.inside.append(element("text", { x: picture.x(a), y: picture.y(b), class: "note", ...attributes }, words));
}

// Keys and pointers on a picture. Arrow keys ask for a move by a step, Enter and space for `press`.
function operate(picture, { drag, press, arrows, remove }) {
  const { host, svg } = picture;
  host.tabIndex = 0;
  let held = false;
  svg.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    host.focus({ preventScroll: true });
    if (!drag) return;
    held = true;
    svg.setPointerCapture(event.pointerId);
    drag(picture.place(event));
  });
  svg.addEventListener("pointermove", (event) => { if (held) drag(picture.place(event)); });
  for (const name of ["pointerup", "pointercancel"]) svg.addEventListener(name, () => { held = false; });
  if (press) svg.addEventListener("click", (event) => press(picture.place(event)));
  if (drag) svg.style.touchAction = "none"; // or a finger would scroll the page
  host.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (way && arrows) arrows(way[0] * (event.shiftKey ? 5 : 1), way[1] * (event.shiftKey ? 5 : 1));
    else if ((event.key === "Enter" || event.key === " ") && press) press(null);
    else if ((event.key === "Backspace" || event.key === "Delete") && remove) remove();
    else return;
    event.preventDefault();
  });
}

// A slider with its value beside it: `set` is called with each new value.
function slider(id, format, set) {
  const input = find(id), out = input.parentElement.querySelector("output");
  const show = () => { out.textContent = format(Number(input.value)); };
  input.addEventListener("input", () => { show(); set(Number(input.value)); });
  show();
  return { input, put: (value) => { input.value = value; show(); return Number(input.value); } };
}

// Buttons of which one is pressed, or any number of them.
function toggles(id, names, pressed, change, { one = false, colours = true } = {}) {
  const host = find(id), buttons = {};
  const show = () => { for (const name in buttons) buttons[name].setAttribute("aria-pressed", pressed.has(name)); };
  for (const [name, words] of Object.entries(names)) {
    const button = element("button", { type: "button", class: "chip", "data-name": name, style: colours ? `--own: ${colour(name)}` : null }, words);
    button.addEventListener("click", () => {
      if (one) { pressed.clear(); pressed.add(name); }
      else if (!pressed.delete(name)) pressed.add(name);
      show();
      change(name);
    });
    host.append(buttons[name] = button);
  }
  show();
  return { show };
}

function rows(id, headings, cells) {
  const cell = (tag) => (value) => element(tag, {}, ...[value].flat());
  const head = element("tr", {}, ...headings.map(cell("th")));
  find(id).replaceChildren(element("thead", {}, head), element("tbody", {}, ...cells.map((row) => element("tr", {}, ...row.map(cell("td"))))));
}

const swatch = (name) => element("span", { class: "swatch", style: `background: ${colour(name)}` });
