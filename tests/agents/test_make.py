"""`make` and `build`: settings reach the agent, and what would have no effect is refused in one line."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import agents
from agents.agent import Agent, InnerLoop
from envs.families.regression import sinusoid
from metarl import rules
from metarl.inner_loop import collect
from metarl.surrogates import loaded_dice
from tests.agents.probe import Guess, GuessDiscrete
from tests.few import few

GUESS, SINES = Guess(), sinusoid()


@pytest.mark.parametrize(
    ("name", "family", "settings", "message"),
    [
        (
            "maml",
            GUESS,
            {"clip": 0.2},
            "maml has no setting 'clip'; promp, multitask, task-embedding, rl2, varibad, oracle have it.",
        ),
        ("maml", GUESS, {"max_kl": 0.2}, "maml has no setting 'max_kl'; maml-trpo has it."),
        ("maml", GUESS, {"iner_lr": 0.2}, "maml has no setting 'iner_lr'. Did you mean 'inner_lr'?"),
        ("maml", GUESS, {"num_episode": 2}, "maml has no setting 'num_episode'. Did you mean 'num_episodes'?"),
        ("maml", GUESS, {"xyzzy": 2}, "maml has no setting 'xyzzy'."),
        ("maml", GUESS, {"num_shots": 2}, "maml has no setting 'num_shots'."),
        ("maml", SINES, {"baseline": "time"}, "maml has no setting 'baseline'."),
        ("maml", SINES, {"gamma": 0.9}, "maml has no setting 'gamma'."),
        ("promp", GUESS, {"dice_lambda": 0.5}, "promp has no setting 'dice_lambda'; maml, "),
        ("oracle", SINES, {"clip": 0.5}, "oracle has no setting 'clip'."),
        ("maml", GUESS, {"inner_lr": -1}, "maml: inner_lr is -1, but must be at least 0."),
        ("maml", GUESS, {"optimizer": optax.sgd(1.0), "outer_lr": 0.1}, "optimizer and outer_lr are both given, but an optim"),
        (
            "maml-trpo",
            GUESS,
            {"outer_lr": 0.1},
            "outer_lr is given, but maml-trpo has no use for it: its outer update",
        ),
        ("maml-trpo", GUESS, {"optimizer": optax.sgd(1.0)}, "optimizer is given, but maml-trpo has no use for it"),
        ("rl2", GUESS, {"remat": True}, "remat is given, but rl2 has no use for it: it stores no inner steps"),
        (
            "cavia",
            GUESS,
            {"inner_rule": rules.sgd(0.1)},
            "inner_rule is given, but cavia has no use for it: it sets",
        ),
        ("promp", GUESS, {"inner_surrogate": loaded_dice(), "remat": False}, None),
        ("imaml", GUESS, {"inner_surrogate": loaded_dice()}, "inner_surrogate is given, but imaml has no use for it: it sets"),
        ("reptile", GUESS, {"inner_rule": rules.meta_sgd(0.1)}, "reptile: the inner rule must move all meta-parameters"),
        (
            "maml",
            GUESS,
            {"inner_rule": rules.sgd(0.1), "inner_lr": 0.2},
            "inner_rule and inner_lr are both given",
        ),
        ("maml", GUESS, {"inner_surrogate": loaded_dice(), "dice_lambda": 1}, "inner_surrogate and dice_lambda are both given"),
        ("maml", GUESS, {"num_tasks": 0}, "num_tasks is 0, but must be a whole number, at least 1."),
        ("maml", GUESS, {"num_tasks": 2.5}, "num_tasks is 2.5, but must be a whole number, at least 1."),
        ("maml", GUESS, {"num_iterations": -1}, "num_iterations is -1, but must be a whole number, at least 0."),
        ("maml", GUESS, {"outer_lr": float("nan")}, "outer_lr is nan, but must be at least 0."),
        ("maml", GUESS, {"num_episodes": 0}, "num_episodes is 0, but must be at least 1."),
        ("maml", GUESS, {"num_episodes": 2.5}, "num_episodes is 2.5, but must be a whole number."),
        ("maml", SINES, {"num_shots": 2.5}, "num_shots is 2.5, but must be a whole number."),
        ("maml", GUESS, {"gamma": 1.5}, "gamma is 1.5, but must be at least 0 and at most 1."),
        ("maml", GUESS, {"hidden_sizes": 16}, "hidden_sizes is 16, but must be a tuple of whole numbers"),
        ("maml", GUESS, {"hidden_sizes": (16, 0)}, r"hidden_sizes is (16, 0), but must be a tuple of whole numbers"),
        ("maml", GUESS, {"activation": "relu6"}, "activation is 'relu6'; known: relu, tanh."),
        ("maml", GuessDiscrete(), {"initial_std": 0.5}, "initial_std is 0.5, but actions are discrete"),
        ("rl2", SINES, {}, "rl2 serves reinforcement learning only."),
        ("promp", SINES, {}, "promp serves reinforcement learning only."),
        ("mann", GUESS, {}, "mann serves regression and classification only."),
        ("maml", 3, {}, "3 is no task family: neither environments (horizon, transition) nor functions (sample)."),
        ("mamll", GUESS, {}, "No agent 'mamll'. Did you mean 'maml' or 'imaml'?"),
        (None, GUESS, {}, "agent is NoneType None, but must be an agents.Agent."),
        ("multitask", SINES, {"num_tasks": 101}, "multitask draws num_tasks 101 of its train_tasks 100; lower the first or"),
        ("e-maml", GUESS, {"num_tasks": 1}, "e-maml compares tasks with one another, but num_tasks is 1; give at least 2."),
        ("pretrained", GUESS, {"recipe": "cross-validated"}, "recipe 'cross-validated' holds back points of one support set"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(name, family, settings, message):
    if message is None:
        agents.make(name, family, **settings)
        return
    with pytest.raises(ValueError) as refusal:
        agents.make(name, family, **settings)
    assert str(refusal.value).startswith(message) and "\n" not in str(refusal.value)


def test_build_refuses_what_it_is_given_beside_training():
    world = agents.regression_world(SINES, agents.RegressionSettings())
    with pytest.raises(ValueError, match=r"maml has no setting 'clip'"):
        agents.build("maml", world, agents.Training(2, 0.1), clip=0.2)
    with pytest.raises(ValueError, match=r"maml: num_inner_steps is 1.5, but must be a whole number"):
        agents.build("maml", world, agents.Training(2, 0.1), num_inner_steps=1.5)
    with pytest.raises(ValueError, match="inner_rule is given, but mann has no use for it"):
        agents.build("mann", world, agents.Training(2, 0.1, inner_rule=rules.sgd(0.1)))
    with pytest.raises(ValueError, match="maml-trpo serves reinforcement learning only"):
        agents.build("maml-trpo", world, agents.Training(2, 0.1))


def test_an_agent_of_ones_own_gets_what_it_asks_for():
    seen = []

    def mine(world, training, own):
        seen.append((world, training, own))
        return agents.find("maml").make(world, training, agents.maml.Maml())

    declared = Agent(mine, InnerLoop, uses=("optimizer", "remat", "inner_rule"))
    rule, adam = rules.sgd(0.3), optax.adam(0.5)
    settings = {"num_tasks": 3, "num_iterations": 7, "remat": True, "num_inner_steps": 2.0, "test_step_scale": 0.5}
    agents.make(declared, SINES, num_shots=4, optimizer=adam, inner_rule=rule, **settings)
    [(world, training, own)] = seen
    assert world.kind == "regression" and own == InnerLoop(num_inner_steps=2, test_step_scale=(0.5,))
    assert training[:1] + training[2:3] == (3, 7) and training.remat and training.inner_rule is rule
    assert training.optimizer(0.1) is adam
    batch = world.make_problem(world.make_network(0)).sample_batch((), world.sample_task(jax.random.key(0)), jax.random.key(1))
    assert batch[0].shape == (4, 1)
    with pytest.raises(ValueError, match=r"mine has no setting 'num_iner_steps'. Did you mean 'num_inner_steps'"):
        agents.make(declared, SINES, num_iner_steps=3)


@functools.cache
def made(name, family, **settings):
    """The agent, with small numbers."""
    sizes = {"num_episodes": 4} if family is GUESS else {"num_shots": 4}
    return agents.make(name, family, num_tasks=2, hidden_sizes=(3,), **sizes, **settings)


def adapted(learner, family, num_steps=2):
    """The path from an untrained start."""
    task, state = family.sample_task(jax.random.key(3)), jax.jit(learner.init)(jax.random.key(0))
    return jax.jit(learner.adapt, static_argnums=3)(state, task, jax.random.key(4), num_steps).path


@functools.cache
def trained(learner):
    """Parameters after two iterations."""
    state, step = jax.jit(learner.init)(jax.random.key(0)), jax.jit(learner.step)
    for i in range(2):
        state, _ = step(state, jax.random.key(i))
    return jax.tree.leaves(state.theta)


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("name", "family", "given", "equals", "differs"),
    [
        ("maml", SINES, {"inner_rule": rules.sgd(0.1)}, {}, {"inner_rule": rules.sgd(0.2)}),
        ("anil", SINES, {"inner_rule": rules.sgd(0.02)}, {"inner_lr": 0.02}, {}),
        ("maml", SINES, {"optimizer": optax.adam(1e-3)}, {}, {"optimizer": optax.adam(2e-3)}),
        ("maml", SINES, {"outer_lr": lambda count: 1e-3}, {}, {"outer_lr": lambda count: 1e-3 * (count < 1)}),
        ("maml", SINES, {"remat": True}, {}, {"num_inner_steps": 2}),
        ("maml", GUESS, {"inner_surrogate": loaded_dice(0.0)}, {}, {"dice_lambda": 1.0}),
        ("maml", GUESS, {"inner_surrogate": loaded_dice(1.0)}, {"dice_lambda": 1.0}, {}),
    ],
)
def test_parts_that_are_given_equal_the_built_in_ones(name, family, given, equals, differs):
    found, expected, other = (trained(made(name, family, **settings)) for settings in (given, equals, differs))
    if given == {"remat": True}:  # computed again, so equal to rounding
        assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(found, expected, strict=True))
    else:
        assert same(found, expected)
    assert not same(found, other)


def test_a_schedule_and_clipping_of_ones_own_against_the_loop_by_hand():
    """Two updates of SGD along the clipped meta-gradient, the second with another rate."""
    rates = [0.5, 0.125]
    own = optax.chain(optax.clip_by_global_norm(0.01), optax.sgd(lambda count: jnp.asarray(rates)[count]))
    world = {"num_tasks": 2, "num_shots": 4, "hidden_sizes": (3,)}
    clipped, plain = (agents.make("maml", SINES, optimizer=optimizer, **world) for optimizer in (own, optax.sgd(1.0)))
    state = jax.jit(clipped.init)(jax.random.key(0))
    step, raw, at_start = jax.jit(clipped.step), jax.jit(plain.step), jax.jit(plain.init)(jax.random.key(0))
    for i, rate in enumerate(rates):
        end, _ = raw(at_start._replace(theta=state.theta), jax.random.key(i))
        gradient = jax.tree.map(jnp.subtract, state.theta, end.theta)
        norm = np.sqrt(sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(gradient)))
        assert norm > 0.02
        expected = jax.tree.map(lambda p, g, rate=rate, norm=norm: p - rate * g * 0.01 / norm, state.theta, gradient)
        state, _ = step(state, jax.random.key(i))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), state.theta, expected)


def momentum(rate, decay):
    """SGD that remembers where it was going: the velocity moves along in ``fast``."""

    def begin(theta):
        return {"params": theta, "velocity": jax.tree.map(jnp.zeros_like, theta)}

    def step(theta, fast, grads, k):
        velocity = jax.tree.map(lambda v, g: decay * v + g, fast["velocity"], grads["params"])
        return {"params": jax.tree.map(lambda p, v: p - rate * v, fast["params"], velocity), "velocity": velocity}

    return rules.sgd(0.0)._replace(begin=begin, step=step, read=lambda theta, fast: fast["params"], whole=False)


def test_momentum_as_an_inner_rule_against_a_loop_by_hand():
    world = agents.regression_world(SINES, agents.RegressionSettings(5, (4,), "tanh"))
    training = agents.Training(2, 1.0, optimizer=optax.sgd, inner_rule=momentum(0.05, 0.9))
    learner = agents.build("maml", world, training, num_inner_steps=3)
    problem, start = world.make_problem(world.make_network(0)), jax.jit(learner.init)(jax.random.key(0))
    curve = jax.jit(learner.adapt, static_argnums=3)(start, SINES.sample_task(jax.random.key(1)), jax.random.key(2), 3)

    def by_hand(theta, support):
        params, velocity, path = theta, jax.tree.map(jnp.zeros_like, theta), [theta]
        for _ in range(3):
            grads = jax.grad(lambda p: problem.inner_loss(p, support)[0])(params)
            velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, grads)
            params = jax.tree.map(lambda p, v: p - 0.05 * v, params, velocity)
            path.append(params)
        return path

    path = by_hand(start.theta, jax.tree.map(lambda x: x[0], curve.experience.support))
    jax.tree.map(lambda a, *b: np.testing.assert_allclose(a, jnp.stack(b), atol=1e-5), curve.path, *path)

    def objective(theta, index):
        key_task, key_data = jax.random.split(jax.random.fold_in(jax.random.key(3), index))
        task = world.sample_task(key_task)
        experience = collect(problem, training.inner_rule, start.theta, task, key_data, 3, resample=False)
        end = by_hand(theta, jax.tree.map(lambda x: x[0], experience.support))[-1]
        return problem.inner_loss(end, experience.query)[0]

    end, _ = jax.jit(learner.step)(start, jax.random.key(3))
    gradient = jax.jit(jax.grad(lambda theta: (objective(theta, 0) + objective(theta, 1)) / 2))(start.theta)
    followed = jax.tree.map(jnp.subtract, start.theta, end.theta)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), followed, gradient)


@pytest.mark.parametrize("name", few(["anil", "imaml", "promp"], "anil"))
def test_momentum_serves_other_agents(name):
    """It moves further than plain steps where those would be the same at first."""
    family = GUESS if name == "promp" else SINES
    ends = {}
    for decay in (0.0, 0.9):
        learner = made(name, family, inner_rule=momentum(0.01, decay))
        ends[decay] = jax.tree.leaves(adapted(learner, family))
    state = jax.eval_shape(learner.init, jax.random.key(0))
    after, _ = jax.eval_shape(learner.step, state, jax.random.key(0))
    assert jax.tree.structure(after) == jax.tree.structure(state)
    for plain, heavy in zip(ends[0.0], ends[0.9], strict=True):
        np.testing.assert_allclose(plain[:2], heavy[:2], atol=1e-6)
    assert not same(ends[0.0], ends[0.9])


def test_an_inner_surrogate_of_ones_own_is_what_inner_steps_follow():
    """Following nothing leaves the policy where it was; following twice as much is twice the step size."""

    def nothing(log_prob, behaviour_log_prob, advantage, mask):
        return 0.0 * jnp.sum(log_prob)

    def twice(*given):
        return 2.0 * loaded_dice()(*given)

    for leaf in jax.tree.leaves(adapted(made("maml", GUESS, inner_surrogate=nothing), GUESS)):
        np.testing.assert_array_equal(leaf, jnp.broadcast_to(leaf[0], leaf.shape))
    followed = adapted(made("maml", GUESS, inner_surrogate=twice, inner_rule=rules.sgd(0.05)), GUESS)
    expected = adapted(made("maml", GUESS), GUESS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), followed, expected)
