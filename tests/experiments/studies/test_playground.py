"""The interactive introduction: that its file needs nothing else, and in a real browser that its numbers are those of JAX."""

import itertools
import json
import re
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import agents
import metarl
from agents.parts.actor_critic import recurrent
from agents.parts.networks import mlp
from agents.parts.world import policy_gradient_world
from experiments import sinusoid
from experiments.studies.bandits import planners
from experiments.studies.playground import __main__ as playground
from experiments.studies.playground import landscape, learned
from experiments.studies.playground.packing import flat_gru, flat_mlp, gru_of, mlp_of, pack, sizes_of, unpack
from experiments.studies.playground.page import PARAMETERS, page, read
from metarl import advantages, meta, rules
from metarl.interfaces import Experience, Problem
from metarl.sampler import rollout_with_memory
from metarl.trial import play_trial
from tests.browser import CHROMIUM, Browser

COMMITTED = Path(__file__).parents[3] / "docs/playground.html"
DATA = json.loads(read(PARAMETERS))
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here to open the page with")


def test_the_page_that_comes_with_metarl_is_that_of_its_parameters():
    """Write it anew with: python -m experiments.studies.playground --no-train --out docs."""
    assert COMMITTED.read_text(encoding="utf-8") == page(DATA)


def test_the_page_is_small_and_needs_nothing_from_elsewhere():
    text = page(DATA)
    assert len(text.encode()) < 500_000 and len(read(PARAMETERS)) < 300_000
    assert set(re.findall(r"https?://[^\"' ]*", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.findall(r"<(?:iframe|object|embed|img|base)\b|\bsrc=|@import|url\(|\bfetch\(|XMLHttpRequest|WebSocket", text)
    assert re.findall(r"<link [^>]*>", text) == ['<link rel="icon" href="data:,">']
    assert "{{" not in re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)


def test_what_is_packed_is_unpacked():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 2)).astype(np.float32)
    np.testing.assert_array_equal(unpack(json.loads(json.dumps(pack(values)))), values)
    for sizes in ([2, 3, 1], [1, 4, 5, 2]):
        flat = rng.normal(size=sum((a + 1) * b for a, b in itertools.pairwise(sizes)))
        assert sizes_of(mlp_of(flat, sizes)) == sizes
        np.testing.assert_allclose(flat_mlp(mlp_of(flat, sizes)), flat, rtol=1e-6)
    flat = rng.normal(size=3 * (4 * 5 + 5) + 3 * 5 * 5 + 5)
    np.testing.assert_allclose(flat_gru(gru_of(flat, 4, 5)), flat, rtol=1e-6)


def test_the_command_writes_the_page_without_training(tmp_path, error_of):
    playground.main(["--no-train", "--out", str(tmp_path / "site")])
    assert (tmp_path / "site/playground.html").read_text() == page(DATA)
    assert json.loads((tmp_path / "site/parameters.json").read_text()) == DATA
    (tmp_path / "file").write_text("")
    assert "is a file" in error_of(playground.main, "--out", tmp_path / "file")
    assert "--num-iterations is 0" in error_of(playground.main, "--out", tmp_path / "a", "--num-iterations", 0)


def test_everybody_of_the_page_can_be_trained():
    """Who is in the data is who the command trains."""
    assert {f"{part}/{name}" for part in ("sinusoid", "walk", "bandit") for name in DATA[part]} == set(learned.everybody())
    found = learned.everybody()["sinusoid/meta-sgd"](Path(), 0, 1)
    assert found["sizes"] == DATA["sinusoid"]["meta-sgd"]["sizes"] and set(found) == set(DATA["sinusoid"]["meta-sgd"])


def test_the_surface_is_that_of_the_weights():
    """One point of it, from weights put together by hand."""
    stored = DATA["surface"]
    loss, row, column = unpack(stored["loss"]), 4, 9
    weights = {name: unpack(DATA["sinusoid"][name]["weights"]).astype(float) for name in ("maml", "pretrained", "random")}
    first = weights["pretrained"] - weights["maml"]
    second = weights["random"] - weights["maml"]
    second = second - (second @ first) / (first @ first) * first
    second *= np.linalg.norm(first) / np.linalg.norm(second)
    along, across = (np.linspace(*stored[name], loss.shape[1])[at] for name, at in (("along", column), ("across", row)))
    theta = mlp_of(weights["maml"] + along * first + across * second, [1, 40, 40, 1])
    built = sinusoid.build(learned.sinusoid_config("maml", Path()), 10)
    tasks = jax.vmap(built.family.sample_task)(jax.random.split(jax.random.key(1), landscape.NUM_TASKS))
    state = built.learner.init(jax.random.key(0))._replace(theta=jax.tree.map(lambda x: x.astype(jnp.float32), theta))
    keys = jax.random.split(jax.random.key(2), landscape.NUM_TASKS)
    curve = jax.jit(jax.vmap(lambda task, key: built.learner.adapt(state, task, key, landscape.STEPS).score))(tasks, keys)
    np.testing.assert_allclose(loss[:, row, column], -np.mean(curve, axis=0), rtol=1e-3)


# ---- in a browser ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    folder = tmp_path_factory.mktemp("playground")
    (folder / "playground.html").write_text(page(DATA), encoding="utf-8")
    browser = Browser(folder / "profile")
    try:
        browser.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
        browser.open(f"file://{folder}/playground.html")
        browser.wait("window.playground !== undefined")
        yield browser
        assert not browser.complaints
        assert {url.partition(":")[0] for url in browser.requests} <= {"file", "data"}
        assert {url for url in browser.requests if url.startswith("file:")} == {f"file://{folder}/playground.html"}
    finally:
        browser.close()


def regressor(name):
    """An agent of figure 1 in JAX: (network, rule, theta)."""
    data = DATA["sinusoid"][name]
    context, rate = data.get("context", 0), data["rate"]
    network = mlp((1,), data["sizes"][1:-1], 1, "relu", jax.nn.initializers.zeros, context)
    theta = mlp_of(unpack(data["weights"]), data["sizes"])
    if context:
        extended = network._replace(apply=lambda params, x: network.apply(params["network"], x, params["context"]))
        return extended, rules.context(rate, context), theta
    if "rates" in data:
        log_lr = jax.tree.map(jnp.log, mlp_of(unpack(data["rates"]), data["sizes"]))
        return network, rules.meta_sgd(rate), {"params": theta, "log_lr": log_lr}
    rule = rules.sgd(rate)
    return network, rules.proximal(rule, data["proximal"]) if "proximal" in data else rule, theta


def fits(name, x, y, steps, grid):
    """Predictions [steps + 1, grid] of an agent in JAX."""
    network, rule, theta = regressor(name)
    batch = jnp.asarray(x, jnp.float32)[:, None], jnp.asarray(y, jnp.float32)[:, None]
    support = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (steps, *leaf.shape)), batch)

    def loss(params, batch):
        return jnp.mean((network.apply(params, batch[0]) - batch[1]) ** 2), {}

    inputs = jnp.asarray(grid, jnp.float32)[:, None]

    @jax.jit
    def predictions():
        path = metarl.adapt(rule, loss, theta, support)
        return jax.vmap(lambda params: network.apply(params, inputs)[:, 0])(path)

    return np.asarray(predictions())


def slide(browser, slider, value):
    """Put a slider to a value, as a hand does."""
    browser.run(f"(el => {{ el.value = {value}; el.dispatchEvent(new Event('input')); }})(document.getElementById('{slider}'))")


@needs_chromium
@pytest.mark.parametrize("name", list(learned.SINUSOID_ITERATIONS))
def test_fits_are_those_of_jax(browser, name):
    x, grid = [-4.2, -2.5, 0.3, 1.1, 2.9, 3.1, 4.4], np.linspace(-5, 5, 11)
    y = [2.5 * np.sin(each - 0.8) for each in x]
    points = json.dumps(list(zip(x, y, strict=True)))
    found = browser.run(
        f"(({{adapt, predict, regressor}}) => {{ const agent = regressor(playground.data.sinusoid['{name}']);"
        f"const path = adapt(agent, {points}, 10);"
        f"return [0, 1, 5, 10].map((k) => {grid.tolist()}.map((x) => predict(agent, path[k], x))); }})(playground.numbers)"
    )
    np.testing.assert_allclose(found, fits(name, x, y, 10, grid)[[0, 1, 5, 10]], **CLOSE)


@needs_chromium
def test_points_are_placed_and_sliders_moved(browser):
    """By mouse and keys; the errors in the table are those of JAX for the points that the page then has."""
    browser.click("#points-clear")
    assert browser.run("playground.points.state.points.length") == 0
    for u, v in ((0.3, 0.4), (0.5, 0.5), (0.85, 0.2)):
        browser.click("#points-fit svg", u, v)
    browser.key("ArrowRight")
    browser.key("Enter")
    x = browser.run("playground.points.state.points")
    np.testing.assert_allclose(x[:3], [-5 + 10 * (480 * u - 50) / 420 for u in (0.3, 0.5, 0.85)], atol=0.03)
    assert x[3] == 0.25
    browser.key("Backspace")
    x = browser.run("playground.points.state.points")
    assert len(x) == 3
    browser.click("#points-agents [data-name='meta-sgd']")
    browser.run("document.getElementById('points-steps').focus()")
    browser.key("ArrowRight", 39)
    browser.key("ArrowRight", 39)
    assert browser.run("playground.points.state.steps") == 3
    task = browser.run("playground.points.state.task")
    curve = lambda x: task["amplitude"] * np.sin(np.asarray(x) - task["phase"])
    grid = np.linspace(-5, 5, 100)
    errors = browser.run("playground.points.state.errors")
    for name in ("pretrained", "maml", "meta-sgd"):
        expected = np.mean((fits(name, x, curve(x), 10, grid) - curve(grid)) ** 2, axis=1)
        np.testing.assert_allclose(errors[name], expected, **CLOSE)
    shown = browser.run("[...document.querySelectorAll('#points-table tbody tr')].map((row) => row.children[2].textContent)")
    for text, name in zip(shown, ("pretrained", "maml", "meta-sgd"), strict=True):
        np.testing.assert_allclose(float(text), errors[name][3], rtol=1e-2)
    for spacing, count in (("even", 20), ("crowded", 1)):
        slide(browser, "points-count", count)
        browser.click(f"#points-spacing [data-name='{spacing}']")
        placed = browser.run("playground.points.state.points")
        assert len(placed) == count and (min(placed) < -4.5) == (spacing == "even")


PLANE = landscape.plane()
TASKS = tuple(jnp.array([task[name] for task in PLANE["tasks"]]) for name in ("centre", "curvature"))


def plane_loss(theta, task):
    delta = theta - task[0]
    return 0.5 * delta @ task[1] @ delta, {}


def over_tasks(gradient, theta, steps):
    """Mean of a meta-gradient of our library over both tasks."""

    def one(task):
        support = jax.tree.map(lambda x: jnp.broadcast_to(x, (steps, *x.shape)), task)
        return gradient(jnp.asarray(theta), Experience(support, task))[0]

    return np.asarray(jnp.mean(jax.vmap(one)(TASKS), axis=0))


@needs_chromium
def test_theta_is_dragged_and_arrows_are_those_of_jax(browser):
    x, y = browser.place("#theta-plane svg", 0.5, 0.5)
    browser.mouse("mousePressed", x, y)
    browser.mouse("mouseMoved", x + 60, y + 25)
    browser.mouse("mouseReleased", x + 60, y + 25)
    browser.key("ArrowUp")
    problem = Problem(lambda params, task, key: task, plane_loss, meta.final(plane_loss))
    rule = rules.sgd(PLANE["rate"])
    for steps in (1, 3):
        slide(browser, "theta-steps", steps)
        state = browser.run(
            "(({theta, gradients, losses, landings}) => ({theta, gradients, losses, landings}))(playground.theta.state)"
        )
        theta = state["theta"]
        assert theta[0] > 0.15 and abs(theta[1]) < 1
        expected = {
            "pretrained": over_tasks(meta.through_adaptation(problem, rule), theta, 0),
            "maml": over_tasks(meta.through_adaptation(problem, rule), theta, steps),
            "fomaml": over_tasks(meta.through_adaptation(problem, rules.first_order(rule)), theta, steps),
            "reptile": over_tasks(meta.reptile(problem, rule), theta, steps),
            "imaml": over_tasks(meta.implicit(problem, rule, 1.0, cg_steps=2), theta, 100),
        }
        for name, gradient in expected.items():
            np.testing.assert_allclose(state["gradients"][name], gradient, **CLOSE)
        objective = meta.objective(problem, rule)
        np.testing.assert_allclose(state["losses"], [over_tasks(objective, theta, k) for k in (0, steps)], **CLOSE)


@needs_chromium
def test_surfaces_are_those_of_jax(browser):
    problem = Problem(lambda params, task, key: task, plane_loss, meta.final(plane_loss))
    objective, gradient = (make(problem, rules.sgd(PLANE["rate"])) for make in (meta.objective, meta.through_adaptation))
    for steps in (0, 1, 2, 5, 10):
        for theta in ([0.3, -1.2], [-2.0, 1.5]):
            found = browser.run(f"playground.surface.bowls.loss(...{theta}, {steps})")
            np.testing.assert_allclose(found, over_tasks(objective, theta, steps), **CLOSE)
        least = browser.run(f"playground.surface.bowls.least({steps})")
        np.testing.assert_allclose(over_tasks(gradient, least, steps), 0, atol=1e-4)
    slide(browser, "surface-steps", 5)
    browser.click("#surface-world [data-name='slice']")
    browser.click("#surface-slice svg", 0.4, 0.6)
    loss, stored = unpack(DATA["surface"]["loss"]), DATA["surface"]
    assert browser.run("playground.surface.state.steps") == 5
    points = loss.shape[1]
    for row, column in ((0, 0), (3, 17), (points - 1, points - 1)):
        along, across = (np.linspace(*stored[n], points)[i] for n, i in (("along", column), ("across", row)))
        found = browser.run(f"playground.surface.slice.loss({along}, {across}, 5)")
        np.testing.assert_allclose(found, loss[5, row, column], rtol=0.02)  # the last row and column are read just inside
    least = browser.run("playground.surface.slice.least(5)")
    np.testing.assert_allclose(
        browser.run(f"playground.surface.slice.loss({least[0]}, {least[1]}, 5)"), loss[5].min(), rtol=0.01
    )
    assert browser.run("playground.surface.state.loss") >= loss[5].min() * 0.99


@needs_chromium
def test_the_policy_gradient_step_is_that_of_jax(browser):
    """Two steps, the second on episodes of the policy after the first, with the same noise."""
    data = DATA["walk"]["maml"]
    family, goal = learned.walk_family(), [0.31, -0.22]
    world = policy_gradient_world(
        family, agents.ReinforcementSettings(hidden_sizes=tuple(data["sizes"][1:-1]), num_episodes=data["episodes"])
    )
    problem = world.make_problem(world.make_network(0), baseline=advantages.time_baseline)
    rule = rules.scaled(rules.sgd(data["rate"]), data["scales"])
    noise = np.random.default_rng(0).normal(size=(2, data["episodes"], data["horizon"], 2)).astype(np.float32)
    task = jax.tree.map(lambda _: jnp.array(goal), family.default_params)
    theta = {"mean": mlp_of(unpack(data["weights"]), data["sizes"]), "log_std": jnp.asarray(unpack(data["log_std"]))}
    network = world.make_network(0)

    def episode(params, noise):
        def act(t, observation, key):
            parameters = network.apply(params, observation)
            action = parameters["mean"] + jnp.exp(parameters["log_std"]) * noise[t]
            return t + 1, action, world.distribution(parameters).log_prob(action), parameters

        remember = lambda t, *_: t
        return rollout_with_memory(family, act, remember, 0, task, jax.random.key(0), horizon=data["horizon"])[1]

    @partial(jax.jit, static_argnums=2)
    def step(params, noise, k):
        batch = problem.batch_of(jax.vmap(episode, (None, 0))(params, noise))
        return metarl.inner_loop.inner_step(rule, problem.inner_loss, theta, params, batch, k), batch.episode_return

    params, returns = theta, []
    for k in range(2):
        params, found = step(params, noise[k], k)
        returns.append(np.asarray(found))
    found = browser.run(
        "((noise, goal, {walk, walkPolicy, policyStep, totalReward}) => { let policy = walkPolicy(playground.data.walk.maml);"
        "const returns = noise.map((all, k) => { const episodes = all.map((each) => walk(policy, goal, (t) => each[t]));"
        "policy = policyStep(policy, episodes, policy.scales[k]); return episodes.map(totalReward); });"
        "return {returns, weights: [...policy.weights], logStd: [...policy.logStd]}; })"
        f"({json.dumps(noise.tolist())}, {goal}, playground.numbers)"
    )
    np.testing.assert_allclose(found["returns"], returns, **CLOSE)
    np.testing.assert_allclose(found["weights"], flat_mlp(params["mean"]), **CLOSE)
    np.testing.assert_allclose(found["logStd"], params["log_std"], **CLOSE)
    moved = np.abs(flat_mlp(params["mean"]) - flat_mlp(theta["mean"])).max()
    assert moved > 1e-2, "or the comparison says little"


def memory_of(data, family, **options):
    """An agent with a memory in JAX: its functions and parameters."""
    options = {"hidden_sizes": tuple(data["sizes"][1:-1]), "activation": "tanh", "initial_std": 1.0} | options
    actor_critic = recurrent(family, options, nn.GRUCell(data["size"]))
    params = actor_critic.init(jax.random.key(0))
    actor = mlp_of(unpack(data["weights"]), data["sizes"])
    if "log_std" in data:
        actor = {"mean": actor, "log_std": jnp.asarray(unpack(data["log_std"]))}
    memory = gru_of(unpack(data["gru"]), data["inputs"], data["size"])
    return actor_critic, {"memory": memory, "readers": params["readers"] | {"actor": actor}}


@needs_chromium
def test_a_trial_of_rl2_is_that_of_jax(browser):
    data, family, goal = DATA["walk"]["rl2"], learned.walk_family(), [-0.4, 0.15]
    actor_critic, params = memory_of(data, family)
    noise = np.random.default_rng(1).normal(size=(data["episodes"], data["horizon"], 2)).astype(np.float32)

    def actor(carry, observation, feedback, key):
        memory, t, e = carry
        e, t = jnp.where(feedback.first, e + 1, e), jnp.where(feedback.first, 0, t)
        memory, parameters, _ = actor_critic.act(params, memory, observation, feedback)
        action = parameters["mean"] + jnp.exp(parameters["log_std"]) * jnp.asarray(noise)[e, t]
        return (memory, t + 1, e), action, jnp.zeros(()), ()

    task = jax.tree.map(lambda _: jnp.array(goal), family.default_params)
    start = actor_critic.start(task), 0, -1
    lengths = {"num_episodes": data["episodes"], "horizon": data["horizon"]}
    play = lambda: play_trial(family, actor, start, actor_critic.no_action, task, jax.random.key(0), **lengths)
    trajectory = jax.jit(play)().trajectory
    found = browser.run(
        "((noise, goal, {walkTrial, memoryAgent, totalReward}) => { const agent = memoryAgent(playground.data.walk.rl2);"
        "const trial = walkTrial(agent, goal, (e, t) => noise[e][t]);"
        "return {returns: trial.map(totalReward), actions: trial.map((steps) => steps.map((s) => s.action))}; })"
        f"({json.dumps(noise.tolist())}, {goal}, playground.numbers)"
    )
    np.testing.assert_allclose(found["returns"], np.sum(trajectory.reward, axis=1), **CLOSE)
    for actions, expected, mask in zip(found["actions"], trajectory.action, trajectory.mask, strict=True):
        np.testing.assert_allclose(actions, expected[: int(mask.sum())], **CLOSE)


@needs_chromium
def test_a_goal_is_dropped_and_adapted_to(browser):
    before = browser.run("playground.goal.state.goal")
    browser.click("#goal-maml svg", 0.7, 0.3)
    goal = browser.run("playground.goal.state.goal")
    assert goal != before and goal[0] > 0.2 and goal[1] > 0.2
    for _ in range(2):
        browser.click("#goal-adapt")
    returns = browser.run("playground.goal.state.returns")
    assert [len(each) for each in returns] == [20, 20, 20] and np.mean(returns[2]) > np.mean(returns[0]) + 2
    assert len(browser.run("playground.goal.state.trialReturns")) == 4
    assert "2 gradient steps" in browser.run("document.getElementById('goal-title').textContent")


@needs_chromium
def test_the_bandit_is_played(browser):
    data = DATA["bandit"]["rl2"]
    actor_critic, params = memory_of(data, learned.bandit_family())
    history = [[2, 0], [4, 1], [4, 1], [0, 0], [4, 0], [1, 1]]
    act = jax.jit(lambda memory, feedback: actor_critic.act(params, memory, jnp.ones(1), feedback))
    memory, feedback = actor_critic.start(None), (-1, 0.0, False)
    for t in range(len(history) + 1):
        arm, reward, over = feedback
        given = metarl.trial.Feedback(jnp.asarray(arm), jnp.asarray(float(reward)), jnp.asarray(over), jnp.asarray(True))
        memory, logits, _ = act(memory, given)
        found = browser.run(
            f"playground.numbers.pullProbabilities(playground.bandit.state.agent, {history[:t]}).map((x) => x) + ''"
        )
        np.testing.assert_allclose([float(x) for x in found.split(",")], jax.nn.softmax(logits), **CLOSE)
        feedback = (*history[t], True) if t < len(history) else feedback
    optimal, value = planners.bayes_optimal(data["arms"])
    np.testing.assert_allclose(browser.run("playground.bandit.exact.value(10)"), value(10), rtol=1e-9)
    worths = browser.run(f"playground.bandit.exact.worths({history}, 4)")
    won, lost = (np.array([[sum(r == w for a, r in history if a == arm) for arm in range(5)]]) for w in (1, 0))
    assert np.argmax(worths) == optimal(won, lost, 4, None)[0]
    for arm in (1, 2, 2, 3, 5, 1, 1, 4, 2, 2):
        browser.click(f"#bandit-arms button:nth-child({arm})")
    histories = browser.run("playground.bandit.state.histories")
    assert [arm + 1 for arm, _ in histories["you"]] == [1, 2, 2, 3, 5, 1, 1, 4, 2, 2]
    assert {len(each) for each in histories.values()} == {10}
    assert browser.run("document.querySelectorAll('#bandit-arms button:disabled').length") == 5
    many = browser.run("playground.bandit.playMany(100)")
    assert many["optimum"] > 5.8 and many["rl2"] > 5.5


@needs_chromium
def test_on_a_phone_nothing_is_cut_off_and_a_finger_works(browser):
    browser.send("Emulation.setDeviceMetricsOverride", width=375, height=700, deviceScaleFactor=2, mobile=True)
    browser.send("Emulation.setTouchEmulationEnabled", enabled=True)
    try:
        assert browser.run("document.documentElement.scrollWidth") <= 375
        # Of a label on its side the height is the width of its letters.
        small = browser.run(
            "[...document.querySelectorAll('svg text')].map((text) => [text, text.getBoundingClientRect()])"
            ".filter(([, box]) => box.height > 0 && Math.max(box.height, box.width) < 9).map(([text]) => text.textContent)"
        )
        assert not small
        browser.click("#points-clear")
        browser.tap("#points-fit svg", 0.6, 0.5)
        browser.wait("playground.points.state.points.length === 1")
    finally:
        browser.send("Emulation.setTouchEmulationEnabled", enabled=False)
        browser.send("Emulation.clearDeviceMetricsOverride")
