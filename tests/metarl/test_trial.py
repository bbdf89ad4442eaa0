"""Trials: memory across episodes, what the actor is told, and advantages across ends, against loops by hand."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from metarl.trial import play_trial, trial_advantage


class Counting(NamedTuple):
    """Counts steps; an episode ends when the count reaches ``length``; step t rewards t + 1 times the action."""

    length: int

    def initial(self, rng, params):
        return jnp.float32(0)

    def transition(self, state, action, rng, params):
        return state + 1.0

    def observation(self, state, rng, params):
        return state

    def reward(self, state, action, next_state, rng, params):
        return next_state * action

    def terminal(self, state, rng, params):
        return state >= self.length


def play(length, num_episodes=3, horizon=4):
    def actor(memory, observation, feedback, key):
        memory = memory + 1.0
        return memory, 10.0 * memory, -memory, {"memory": memory}

    return play_trial(
        Counting(length),
        actor,
        jnp.float32(0),
        jnp.float32(-7),
        (),
        jax.random.key(0),
        num_episodes=num_episodes,
        horizon=horizon,
    )


@pytest.mark.parametrize("length", [2, 9], ids=["ends early", "runs to the horizon"])
def test_memory_and_feedback_against_a_loop(length):
    found, horizon = play(length), 4
    memory, last = 0, (-7.0, 0.0, False)
    for e in range(3):
        assert found.memory[e] == memory, "memory is carried into the next episode"
        for t in range(horizon):
            if t >= length:
                assert found.trajectory.mask[e, t] == 0 and found.trajectory.reward[e, t] == 0
                continue
            told = found.feedback
            assert (told.action[e, t], told.reward[e, t], told.terminated[e, t]) == last
            assert told.first[e, t] == (t == 0)
            assert found.trajectory.observation[e, t] == t, "the world starts anew in every episode"
            memory += 1
            last = (10.0 * memory, (t + 1) * 10.0 * memory, t + 1 == length)
            assert found.trajectory.mask[e, t] == 1
            assert (found.trajectory.action[e, t], found.trajectory.reward[e, t], found.trajectory.terminated[e, t]) == last


def by_hand(reward, value, mask, gamma, lam):
    advantage, next_value, next_advantage = np.zeros(len(reward)), 0.0, 0.0
    for t in reversed(range(len(reward))):
        if mask[t]:
            advantage[t] = reward[t] + gamma * next_value - value[t] + gamma * lam * next_advantage
            next_value, next_advantage = value[t], advantage[t]
    return advantage


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])
def test_advantage_across_early_ends(lam):
    """Episodes of 3, 1 and 4 steps in a trial of three times 4: padding costs no discount, and the last step has no future."""
    mask = jnp.array([1, 1, 1, 0, 1, 0, 0, 0, 1, 1, 1, 1.0])
    reward = jax.random.normal(jax.random.key(0), (12,)) * mask
    value = jax.random.normal(jax.random.key(1), (12,))  # also where nothing happened, as a network gives it
    found = trial_advantage(reward, value, mask, 0.9, lam)
    np.testing.assert_allclose(found, by_hand(reward, value, mask, 0.9, lam), atol=1e-12)
    kept = np.asarray(mask) > 0
    discount = jnp.full(8, 0.9).at[-1].set(0.0)
    values = jnp.append(value[kept], 100.0)
    expected = rlax.truncated_generalized_advantage_estimation(reward[kept], discount, lam, values)
    np.testing.assert_allclose(found[kept], expected, atol=1e-12)


def test_finding_out_early_pays():
    """A reward in the second episode is credited to the first episode's last step, one discount away."""
    reward, mask = jnp.array([0, 0, 0, 1.0]), jnp.array([1, 0, 1, 1.0])
    np.testing.assert_allclose(trial_advantage(reward, jnp.zeros(4), mask, 0.5, 1.0), [0.25, 0, 0.5, 1.0])
