"""Trials: several episodes of one task in a row, played by an actor whose memory lasts from the first to the last.

Between episodes the world starts anew and the actor does not; so what it found out in one episode can serve in the next
(Duan et al. 2016, RL2, Section 2.2).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metarl.advantages import generalized_advantage
from metarl.interfaces import Environment, Key, Task, Trajectory, Tree
from metarl.sampler import rollout_with_memory


class Feedback(NamedTuple):
    """What the world answered to the last step; with the observation, what an actor with memory reads.

    Attributes:
        action: [...], of the last step.
        reward: scalar, of the last step.
        terminated: bool, whether the last step ended its episode.
        first: bool, whether an episode starts here.
    """

    action: jax.Array
    reward: jax.Array
    terminated: jax.Array
    first: jax.Array


class Trial(NamedTuple):
    """E episodes in a row.

    Attributes:
        trajectory: leaves [E, T, ...].
        feedback: leaves [E, T, ...], what the actor read beside the observation. After an episode's end it stands still.
        memory: leaves [E, ...], the actor's memory at the start of each episode.
    """

    trajectory: Trajectory
    feedback: Feedback
    memory: Tree


# memory, observation, feedback, key -> memory, action, its log-probability, what to record as Trajectory.distribution
MemoryActor = Callable[[Tree, jax.Array, Feedback, Key], tuple[Tree, jax.Array, jax.Array, Any]]


def play_trial(
    environment: Environment,
    actor: MemoryActor,
    memory: Tree,
    no_action: jax.Array,
    task: Task,
    key: Key,
    *,
    num_episodes: int,
    horizon: int,
    unroll: int = 5,
) -> Trial:
    """Play one trial of one task. Episode e uses fold_in(key, e) as `metarl.sampler.rollout` uses its key.

    Args:
        environment: see `metarl.sampler.rollout`.
        actor: (memory, observation, feedback, key) -> (memory, action, log_prob, distribution), parameters closed over.
        memory: at the start of the trial.
        no_action: [...], the last action of the feedback at the very first step, of the dtype of actions.
        task: one task.
        key: typed key.
        num_episodes: E.
        horizon: T, of each episode.
        unroll: see `metarl.sampler.rollout`.
    """

    def act(carry, observation, key_action):
        memory, feedback = carry
        memory, action, log_prob, distribution = actor(memory, observation, feedback, key_action)
        return (memory, feedback), action, log_prob, (distribution, feedback)

    def remember(carry, action, reward, terminated):
        memory, _ = carry
        return memory, Feedback(action, reward, terminated, jnp.asarray(False))

    def episode(carry, index):
        memory, feedback = carry
        start = (memory, feedback._replace(first=jnp.asarray(True)))
        key_episode = jax.random.fold_in(key, index)
        carry, trajectory = rollout_with_memory(
            environment, act, remember, start, task, key_episode, horizon=horizon, unroll=unroll
        )
        distribution, feedback = trajectory.distribution
        return carry, Trial(trajectory._replace(distribution=distribution), feedback, memory)

    nothing = Feedback(no_action, jnp.zeros(()), jnp.asarray(False), jnp.asarray(True))
    _, trial = jax.lax.scan(episode, (memory, nothing), jnp.arange(num_episodes))
    return trial


def trial_advantage(reward: jax.Array, value: jax.Array, mask: jax.Array, gamma: float, lam: float) -> jax.Array:
    """Generalised advantages across a trial: the value of an episode's last step is that of the next episode's first.

    Ending an episode early costs no discount: steps after an end do not exist, for rewards, values and ``gamma`` alike. The
    trial's own end is final: nothing is bootstrapped there.

    Args:
        reward: [S], the steps of all episodes in a row, S = E * T.
        value: [S], of each observation.
        mask: [S], 1.0 for steps that were taken. The first is.
        gamma: discount per step taken.
        lam: see `metarl.advantages.generalized_advantage`.

    Returns:
        [S], zero where ``mask`` is zero.
    """
    # Steps taken move to the front, so that neighbours in time are neighbours in the array.
    place = jnp.cumsum(mask.astype(int)) - 1

    def pack(x):
        return jnp.zeros_like(x).at[place].add(mask * x)

    packed = generalized_advantage(pack(reward), jnp.append(pack(value), 0.0), gamma, lam)
    return mask * packed[place]
