"""Observations and rewards in units of what was seen: the statistics are right, stand still in adaptation, and are used."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import agents
from agents.agent import InnerLoop
from agents.parts.gradient_learner import inner
from agents.parts.normalization import Seen, merged, normalized, nothing_seen, seen_in
from agents.parts.world import policy_gradient_world
from envs.families.navigation import Navigation2D
from metarl.inner_loop import collect
from tests.agents.probe import GuessDiscrete
from tests.few import few

NAMES = [name for name in agents.registered() if "reinforcement" in agents.find(name).serves]
SMALL = {"num_tasks": 3, "num_episodes": 4, "hidden_sizes": (8,)}


class InOtherUnits(Navigation2D):
    """The same world; positions are told a thousand times as large and shifted."""

    def observation(self, state, rng, params):
        return 1000.0 * super().observation(state, rng, params) + 50.0


def test_statistics_of_parts_are_those_of_the_whole():
    x = np.random.default_rng(0).normal(3.0, 2.0, (5, 7, 2)).astype(np.float32)
    mask = (np.arange(7) < np.array([7, 3, 1, 5, 0])[:, None]).astype(np.float32)
    kept = x[mask > 0]
    start = seen_in(jnp.asarray(x[0]), jnp.asarray(mask[0]))
    seen = merged(start, jax.vmap(seen_in)(jnp.asarray(x[1:]), jnp.asarray(mask[1:])))
    np.testing.assert_allclose(seen.number, len(kept))
    np.testing.assert_allclose(seen.mean, kept.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(seen.variance, kept.var(axis=0), rtol=1e-5)
    z = normalized(jnp.asarray(kept), seen)
    np.testing.assert_allclose(np.mean(z, axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(np.std(z, axis=0), 1, rtol=1e-4)
    first = merged(nothing_seen((2,)), jax.tree.map(lambda s: s[None], start))
    np.testing.assert_allclose(first.variance, kept[:7].var(axis=0), rtol=1e-5)


def test_before_the_first_observation_they_pass_and_far_ones_are_clipped():
    x = jnp.array([[0.5, -2.0]])
    np.testing.assert_allclose(normalized(x, nothing_seen((2,))), x, rtol=1e-6)
    assert normalized(jnp.array([1e6, -1e6]), nothing_seen((2,))).tolist() == [10.0, -10.0]
    gradient = jax.grad(lambda seen: jnp.sum(normalized(x, seen)))(nothing_seen((2,)))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient)), "measured, not learned"


def trained(name, family, steps=2, **settings):
    learner = agents.make(name, family, **SMALL, **settings)
    state = jax.jit(learner.init)(jax.random.key(0))
    step, states = jax.jit(learner.step), [state]
    for index in range(steps):
        state, metrics = step(state, jax.random.key(index))
        states.append(state)
    assert all(np.all(np.isfinite(value)) for value in metrics.values())
    return learner, states


def adapted(learner, state, task, key):
    return jax.jit(learner.adapt, static_argnums=3)(state, task, key, 2)


@pytest.mark.parametrize("name", few(NAMES, "maml", "rl2"))
def test_every_agent_counts_what_it_draws_and_nothing_else_moves_the_statistics(name):
    learner, states = trained(name, Navigation2D(horizon=6), normalize_observations=True)
    seen = [state.theta["seen"] for state in states]
    drawn = [float(s.number) for s in seen]
    assert drawn[0] == 0 and 0 < drawn[1] < drawn[2], drawn
    assert np.all(np.asarray(seen[2].variance) < 1), "positions within half a metre"
    curve = adapted(learner, states[-1], Navigation2D().default_params, jax.random.key(1))
    stands_still = curve.path["theta"]["seen"] if "theta" in curve.path else curve.path["seen"]
    for leaf, learned in zip(jax.tree.leaves(stands_still), jax.tree.leaves(seen[-1]), strict=True):
        np.testing.assert_array_equal(leaf, np.broadcast_to(learned, leaf.shape))
    assert learner.predict(curve.path, Navigation2D().default_params, jnp.zeros((1, 2))) is not None


@pytest.mark.parametrize("name", few(["maml", "promp", "maml-trpo", "pretrained", "rl2", "oracle"], "maml", "oracle"))
def test_units_of_the_observation_do_not_matter(name):
    """Networks see the same numbers once the statistics are those of the same positions."""
    curves, by_ppo = [], name in ("rl2", "oracle")
    own = {} if by_ppo else {"baseline": "time"}  # the linear one reads observations as they are
    for family in (Navigation2D(horizon=6), InOtherUnits(horizon=6)):
        learner = agents.make(name, family, **SMALL, **own, normalize_observations=True)
        state = jax.jit(learner.init)(jax.random.key(0))
        task, x = family.default_params, jax.random.uniform(jax.random.key(9), (500, 2), minval=-0.5, maxval=0.5)
        shown = jax.vmap(lambda s, family=family: family.observation(s, None, None))(x)
        state = state._replace(theta=state.theta | {"seen": seen_in(shown, jnp.ones(500))})
        curves.append(adapted(learner, state, task, jax.random.key(1)))
    np.testing.assert_allclose(curves[0].score, curves[1].score, rtol=1e-3)


def test_replay_is_what_acted():
    """The log-probabilities that are differentiated are those of the policy that drew the actions."""
    world = policy_gradient_world(
        Navigation2D(horizon=6), agents.ReinforcementSettings(num_episodes=3, normalize_observations=True)
    )
    loop = inner(world, agents.Training(2, 1e-3), InnerLoop())
    theta = loop.rule.init(
        {"network": loop.network.init(jax.random.key(0)), "seen": seen_in(jnp.ones((4, 2)) * 3, jnp.ones(4))}
    )
    experience = collect(
        loop.problem, loop.rule, theta, world.sample_task(jax.random.key(1)), jax.random.key(2), 1, resample=True
    )
    params = loop.rule.read(theta, loop.rule.begin(theta))
    kl = loop.problem.divergence(jax.tree.map(lambda x: jnp.stack([x, x]), params), experience)
    np.testing.assert_allclose(kl[0], 0.0, atol=1e-6)


def test_the_memory_reads_rewards_in_units_of_rewards():
    """However large they are, and however many an episode has."""

    class Rich(GuessDiscrete):
        def reward(self, *args):
            return 500.0 * super().reward(*args)

    learner, states = trained("rl2", Rich(), normalize_rewards=True)
    plain, others = trained("rl2", GuessDiscrete(), normalize_rewards=True)
    start, rich, poor = states[0].theta["paid"], states[-1].theta["paid"], others[-1].theta["paid"]
    assert (float(start.number), float(start.mean), float(start.variance)) == (0, 0, 1)
    assert rich.number == poor.number > 0
    assert 10 < float(rich.variance) ** 0.5 < 2000
    task, key, score = GuessDiscrete().default_params, jax.random.key(3), {}
    for name, taught, scale in (("plain", plain, 1.0), ("rich", learner, 500.0)):
        paid = Seen(rich.number, jnp.asarray(-0.3 * scale), jnp.asarray((0.7 * scale) ** 2))
        state = others[-1]._replace(theta=others[-1].theta | {"paid": paid})
        score[name] = adapted(taught, state, task, key).score / scale
    np.testing.assert_allclose(score["rich"], score["plain"], rtol=1e-4)


def test_it_is_off_unless_asked_for():
    _, states = trained("maml", Navigation2D(horizon=6), steps=1)
    assert "seen" not in states[-1].theta
    with pytest.raises(ValueError, match="maml has no setting 'normalize_rewards'; rl2, varibad have it"):
        agents.make("maml", Navigation2D(), normalize_rewards=True)
