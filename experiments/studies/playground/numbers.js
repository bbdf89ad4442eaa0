// The mathematics of the page, as pure functions of numbers and arrays. Networks are {sizes, weights}: for each layer the
// kernel [inputs, outputs] by rows, then the bias. Batches are arrays of rows.

function unpack(packed) {
  const bytes = Uint8Array.from(atob(packed.data), (letter) => letter.charCodeAt(0));
  return Float64Array.from(new Float32Array(bytes.buffer));
}

// Random numbers with a seed: mulberry32, and normal ones by Box and Muller.
function generator(seed) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  return { uniform, normal };
}

const RELU = { of: (x) => (x > 0 ? x : 0), slope: (y) => (y > 0 ? 1 : 0) }; // slopes are told from the output
const TANH = { of: Math.tanh, slope: (y) => 1 - y * y };

// What every layer gives for one row of inputs; the last entry is the output.
function forward(sizes, weights, row, activation) {
  const layers = [row];
  let at = 0;
  for (let k = 0; k + 1 < sizes.length; k++) {
    const [inputs, outputs] = [sizes[k], sizes[k + 1]];
    const x = layers[k], y = new Float64Array(outputs), bias = at + inputs * outputs;
    for (let j = 0; j < outputs; j++) y[j] = weights[bias + j];
    for (let i = 0; i < inputs; i++) {
      if (x[i] === 0) continue;
      for (let j = 0, w = at + i * outputs; j < outputs; j++) y[j] += x[i] * weights[w + j];
    }
    if (k + 2 < sizes.length) for (let j = 0; j < outputs; j++) y[j] = activation.of(y[j]);
    layers.push(y);
    at = bias + outputs;
  }
  return layers;
}

const output = (layers) => layers[layers.length - 1];

// Backpropagation: given the slope of a loss in the output, adds its gradient in the weights to `grad` and returns that in the
// inputs.
function backward(sizes, weights, layers, slope, activation, grad) {
  let at = weights.length, delta = slope;
  for (let k = sizes.length - 2; k >= 0; k--) {
    const [inputs, outputs] = [sizes[k], sizes[k + 1]];
    const x = layers[k], below = new Float64Array(inputs), bias = at - outputs, kernel = bias - inputs * outputs;
    for (let j = 0; j < outputs; j++) grad[bias + j] += delta[j];
    for (let i = 0; i < inputs; i++) {
      let sum = 0;
      for (let j = 0, w = kernel + i * outputs; j < outputs; j++) {
        grad[w + j] += x[i] * delta[j];
        sum += weights[w + j] * delta[j];
      }
      below[i] = k > 0 ? sum * activation.slope(x[i]) : sum;
    }
    delta = below;
    at = kernel;
  }
  return delta;
}

// ---- sinusoids -------------------------------------------------------------------------------------------------------------

const sinusoid = (task, x) => task.amplitude * Math.sin(x - task.phase);

// An agent as the data describes it, ready to adapt: its start, and the rate of each weight if they were learned.
function regressor(data) {
  return { ...data, weights: unpack(data.weights), rates: data.rates ? unpack(data.rates) : null, context: data.context || 0 };
}

const beginning = (agent) => ({ weights: agent.weights, context: new Float64Array(agent.context) });
const inputs = (state, x) => [x, ...state.context];
const predict = (agent, state, x) => output(forward(agent.sizes, state.weights, inputs(state, x), RELU))[0];
const squaredError = (agent, state, points) =>
  points.reduce((sum, [x, y]) => sum + (predict(agent, state, x) - y) ** 2, 0) / points.length;

// One inner step on points [[x, y], ...]: all weights, or for CAVIA the context alone; held near the start for iMAML; each weight
// at its own rate for Meta-SGD.
function innerStep(agent, state, points, factor) {
  const grad = new Float64Array(state.weights.length), contextGrad = new Float64Array(agent.context);
  for (const [x, y] of points) {
    const layers = forward(agent.sizes, state.weights, inputs(state, x), RELU);
    const below = backward(agent.sizes, state.weights, layers, [(2 * (output(layers)[0] - y)) / points.length], RELU, grad);
    for (let i = 0; i < agent.context; i++) contextGrad[i] += below[1 + i];
  }
  if (agent.context) return { ...state, context: state.context.map((c, i) => c - factor * agent.rate * contextGrad[i]) };
  const pull = agent.proximal || 0;
  const weights = state.weights.map((w, i) => {
    const rate = agent.rates ? agent.rates[i] : agent.rate;
    return w - factor * rate * (grad[i] + pull * (w - agent.weights[i]));
  });
  return { ...state, weights };
}

// The states after 0..steps inner steps.
function adapt(agent, points, steps, factor = 1) {
  const path = [beginning(agent)];
  for (let k = 0; k < steps; k++) path.push(points.length ? innerStep(agent, path[k], points, factor) : path[k]);
  return path;
}

// ---- two tasks in the plane ------------------------------------------------------------------------------------------------
// A task's loss is half of (theta - centre)' curvature (theta - centre).

const minus = (a, b) => [a[0] - b[0], a[1] - b[1]];
const plus = (a, b) => [a[0] + b[0], a[1] + b[1]];
const times = (s, a) => [s * a[0], s * a[1]];
const apply = (m, a) => [m[0][0] * a[0] + m[0][1] * a[1], m[1][0] * a[0] + m[1][1] * a[1]];
const product = (m, n) => [0, 1].map((i) => [0, 1].map((j) => m[i][0] * n[0][j] + m[i][1] * n[1][j]));
const dot = (a, b) => a[0] * b[0] + a[1] * b[1];

function solve(m, a) {
  const det = m[0][0] * m[1][1] - m[0][1] * m[1][0];
  return [(m[1][1] * a[0] - m[0][1] * a[1]) / det, (m[0][0] * a[1] - m[1][0] * a[0]) / det];
}

const taskLoss = (task, theta) => 0.5 * dot(minus(theta, task.centre), apply(task.curvature, minus(theta, task.centre)));
const taskGradient = (task, theta) => apply(task.curvature, minus(theta, task.centre));

function land(task, theta, rate, steps) {
  for (let k = 0; k < steps; k++) theta = minus(theta, times(rate, taskGradient(task, theta)));
  return theta;
}

const meanOver = (tasks, f) => tasks.reduce((sum, task) => sum + f(task), 0) / tasks.length;
const lossAfter = (tasks, theta, rate, steps) => meanOver(tasks, (task) => taskLoss(task, land(task, theta, rate, steps)));

// How far from its optimum a step leaves theta: I - rate * curvature, and its power.
function shrink(task, rate, steps) {
  const one = [0, 1].map((i) => [0, 1].map((j) => (i === j ? 1 : 0) - rate * task.curvature[i][j]));
  let power = [[1, 0], [0, 1]];
  for (let k = 0; k < steps; k++) power = product(one, power);
  return power;
}

// Where the mean loss after some steps is least: all of it is quadratic.
function optimum(tasks, rate, steps) {
  let matrix = [[0, 0], [0, 0]], right = [0, 0];
  for (const task of tasks) {
    const p = shrink(task, rate, steps), w = product(p, product(task.curvature, p));
    matrix = matrix.map((row, i) => row.map((x, j) => x + w[i][j]));
    right = plus(right, apply(w, task.centre));
  }
  return solve(matrix, right);
}

const META_GRADIENTS = {
  pretrained: (task, theta) => taskGradient(task, theta),
  // Through the steps: each has the derivative I - rate * curvature.
  maml: (task, theta, rate, steps) => apply(shrink(task, rate, steps), taskGradient(task, land(task, theta, rate, steps))),
  // The gradient where the steps end, as if they did not depend on the start.
  fomaml: (task, theta, rate, steps) => taskGradient(task, land(task, theta, rate, steps)),
  // The way the steps went.
  reptile: (task, theta, rate, steps) => minus(theta, land(task, theta, rate, steps)),
  // The solution of the loss plus pull/2 * |phi - theta|^2, found by many steps and differentiated as a solution.
  imaml: (task, theta, rate, steps, pull = 1, innerSteps = 100) => {
    let phi = theta;
    for (let k = 0; k < innerSteps; k++) {
      phi = minus(phi, times(rate, plus(taskGradient(task, phi), times(pull, minus(phi, theta)))));
    }
    const held = task.curvature.map((row, i) => row.map((x, j) => x + (i === j ? pull : 0)));
    return times(pull, solve(held, taskGradient(task, phi)));
  },
};

function metaGradient(name, tasks, theta, rate, steps) {
  const each = tasks.map((task) => META_GRADIENTS[name](task, theta, rate, steps));
  return times(1 / tasks.length, each.reduce(plus));
}

// ---- walking to a goal -----------------------------------------------------------------------------------------------------

const MAX_STEP = 0.1, TOLERANCE = 0.01, MIN_LOG_STD = Math.log(1e-6);
const clip = (x, low, high) => Math.min(high, Math.max(low, x));

function walkPolicy(data) {
  return { ...data, weights: unpack(data.weights), logStd: unpack(data.log_std) };
}

const spread = (policy) => policy.logStd.map((x) => Math.exp(Math.max(x, MIN_LOG_STD)));

function move(position, action, goal) {
  const next = position.map((p, i) => p + MAX_STEP * clip(action[i], -1, 1));
  const reward = -Math.hypot(next[0] - goal[0], next[1] - goal[1]);
  return { next, reward, over: next.every((p, i) => Math.abs(p - goal[i]) < TOLERANCE) };
}

// One episode; noise(t) gives two normal numbers. Steps end with the episode.
function walk(policy, goal, noise) {
  const std = spread(policy), steps = [];
  let position = [0, 0];
  for (let t = 0; t < policy.horizon; t++) {
    const layers = forward(policy.sizes, policy.weights, position, TANH), z = noise(t);
    const action = [...output(layers)].map((mean, i) => mean + std[i] * z[i]);
    const { next, reward, over } = move(position, action, goal);
    steps.push({ position, action, z, layers, reward, next });
    position = next;
    if (over) break;
  }
  return steps;
}

const totalReward = (steps) => steps.reduce((sum, step) => sum + step.reward, 0);
const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

// How much better each step went than at that time in the other episodes: centred, and divided by their spread.
function advantages(episodes, gamma) {
  const returns = episodes.map((steps) => {
    const sums = new Float64Array(steps.length);
    for (let t = steps.length - 1, sum = 0; t >= 0; t--) sums[t] = sum = steps[t].reward + gamma * sum;
    return sums;
  });
  const found = returns.map((sums) => sums.map((value, t) => {
    const others = returns.filter((other) => other !== sums && t < other.length);
    return value - (others.length ? mean(others.map((other) => other[t])) : 0);
  }));
  const all = found.flatMap((row) => [...row]), centre = mean(all);
  const scale = Math.sqrt(mean(all.map((x) => (x - centre) ** 2))) + 1e-8;
  return found.map((row) => row.map((x) => (x - centre) / scale));
}

// One policy-gradient step: every action becomes likelier by as much as it went better than the others.
function policyStep(policy, episodes, scale) {
  const gain = advantages(episodes, policy.gamma), std = spread(policy);
  const grad = new Float64Array(policy.weights.length), stdGrad = new Float64Array(policy.logStd.length);
  const count = episodes.length * policy.horizon;
  episodes.forEach((steps, n) => steps.forEach(({ layers, z }, t) => {
    const share = gain[n][t] / count;
    backward(policy.sizes, policy.weights, layers, z.map((x, i) => (share * x) / std[i]), TANH, grad);
    z.forEach((x, i) => { if (policy.logStd[i] > MIN_LOG_STD) stdGrad[i] += share * (x * x - 1); });
  }));
  const rate = scale * policy.rate;
  return { ...policy, weights: policy.weights.map((w, i) => w + rate * grad[i]), logStd: policy.logStd.map((s, i) => s + rate * stdGrad[i]) };
}

// ---- agents with a memory --------------------------------------------------------------------------------------------------

const GATES = [["ir", 1], ["iz", 1], ["in", 1], ["hr", 0], ["hz", 0], ["hn", 1]]; // whether they have a bias

function memoryAgent(data) {
  const flat = unpack(data.gru), gates = {};
  let at = 0;
  for (const [name, biased] of GATES) {
    const rows = name[0] === "i" ? data.inputs : data.size, end = at + rows * data.size;
    const bias = biased ? flat.slice(end, end + data.size) : new Float64Array(data.size);
    gates[name] = { kernel: flat.slice(at, end), bias };
    at = end + (biased ? data.size : 0);
  }
  return { ...data, gates, weights: unpack(data.weights), logStd: data.log_std ? unpack(data.log_std) : null };
}

function dense({ kernel, bias }, x) {
  const y = Float64Array.from(bias);
  for (let i = 0; i < x.length; i++) for (let j = 0; j < y.length; j++) y[j] += x[i] * kernel[i * y.length + j];
  return y;
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));

// The memory after reading one row, by a gated recurrent unit.
function remember(agent, memory, row) {
  const g = agent.gates, hn = dense(g.hn, memory), [hr, hz] = [dense(g.hr, memory), dense(g.hz, memory)];
  const r = dense(g.ir, row).map((x, j) => sigmoid(x + hr[j])), z = dense(g.iz, row).map((x, j) => sigmoid(x + hz[j]));
  return dense(g.in, row).map((x, j) => (1 - z[j]) * Math.tanh(x + r[j] * hn[j]) + z[j] * memory[j]);
}

const respond = (agent, memory) => output(forward(agent.sizes, agent.weights, memory, TANH));

// A trial: episodes in a row with one memory. noise(episode, t) gives two normal numbers.
function walkTrial(agent, goal, noise) {
  const std = agent.logStd.map((x) => Math.exp(Math.max(x, MIN_LOG_STD))), episodes = [];
  let memory = new Float64Array(agent.size), feedback = [0, 0, 0, 0];
  for (let e = 0; e < agent.episodes; e++) {
    const steps = [];
    let position = [0, 0];
    for (let t = 0; t < agent.horizon; t++) {
      memory = remember(agent, memory, [...position, ...feedback, t === 0 ? 1 : 0]);
      const z = noise(e, t), action = [...respond(agent, memory)].map((m, i) => m + std[i] * z[i]);
      const { next, reward, over } = move(position, action, goal);
      steps.push({ position, action, reward, next });
      feedback = [...action, reward, over ? 1 : 0];
      position = next;
      if (over) break;
    }
    episodes.push(steps);
  }
  return episodes;
}

// ---- bandits ---------------------------------------------------------------------------------------------------------------

// The probabilities with which RL2 pulls each arm after a history of [arm, reward].
function pullProbabilities(agent, history) {
  let memory = new Float64Array(agent.size);
  for (let t = 0; t <= history.length; t++) {
    const arms = new Float64Array(agent.arms), last = t ? history[t - 1] : null;
    if (last) arms[last[0]] = 1;
    memory = remember(agent, memory, [1, ...arms, last ? last[1] : 0, last ? 1 : 0, 1]);
  }
  const logits = respond(agent, memory), top = Math.max(...logits), each = logits.map((x) => Math.exp(x - top));
  const sum = each.reduce((a, b) => a + b, 0);
  return each.map((x) => x / sum);
}

function drawn(probabilities, u) {
  let arm = 0;
  for (let sum = probabilities[0]; arm + 1 < probabilities.length && u >= sum; sum += probabilities[++arm]);
  return arm;
}

function counts(history, arms) {
  const found = Array.from({ length: arms }, () => [0, 0]);
  for (const [arm, reward] of history) found[arm][reward ? 0 : 1]++;
  return found;
}

// Beta(a, b) of whole a and b: the a-th smallest of a + b - 1 uniform numbers.
function beta(a, b, uniform) {
  const draws = Array.from({ length: a + b - 1 }, uniform).sort((x, y) => x - y);
  return draws[a - 1];
}

function thompson(history, arms, uniform) {
  const draws = counts(history, arms).map(([won, lost]) => beta(won + 1, lost + 1, uniform));
  return draws.indexOf(Math.max(...draws));
}

// The exact optimum by dynamic programming over what the arms have shown. Arms are alike before they are pulled, so what is
// remembered are the pulled ones' wins and losses, sorted.
function banditOptimum(arms) {
  const known = new Map();
  const code = ([won, lost]) => won * 64 + lost;
  const outcome = (seen, index, win) => {
    const next = seen.slice();
    const was = index < 0 ? 0 : next.splice(index, 1)[0];
    next.push(was + (win ? 64 : 1));
    return next.sort((a, b) => a - b);
  };
  const worth = (seen, index, left) => {
    const won = index < 0 ? 0 : seen[index] >> 6, lost = index < 0 ? 0 : seen[index] & 63, p = (won + 1) / (won + lost + 2);
    return p * (1 + value(outcome(seen, index, true), left - 1)) + (1 - p) * value(outcome(seen, index, false), left - 1);
  };
  function value(seen, left) {
    if (left <= 0) return 0;
    const key = `${left}:${seen}`;
    if (!known.has(key)) {
      let best = seen.length < arms ? worth(seen, -1, left) : 0;
      seen.forEach((arm, i) => { if (i === 0 || seen[i - 1] !== arm) best = Math.max(best, worth(seen, i, left)); });
      known.set(key, best);
    }
    return known.get(key);
  }
  // What each arm is worth, with all pulls that are left played at best.
  const worths = (history, left) => {
    const each = counts(history, arms).map(code), seen = each.filter((arm) => arm).sort((a, b) => a - b);
    return each.map((arm) => worth(seen, arm ? seen.indexOf(arm) : -1, left));
  };
  return { worths, value: (left) => value([], left) };
}
