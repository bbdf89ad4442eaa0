"""How large a family's observations and rewards are: whether networks can read them as they are."""

import copy
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box

from envs.family import TaskFamily
from envs.stepping import first_step, next_step
from envs.values import arrays_of, parts, stacked

NUM_TASKS = 8
MAX_STEPS = 50
LARGE, SMALL = 10.0, 0.01  # root mean squares that networks and optimisers made for numbers near 1 cannot do with


class Scales(NamedTuple):
    """Root mean squares under random actions: the largest of an observation's entries, and of the rewards."""

    observation: float
    reward: float


def scales(family: TaskFamily) -> Scales:
    """Play one random episode, or its first `MAX_STEPS` steps, of each of `NUM_TASKS` training tasks.

    Args:
        family: any; numbers that are not finite are left out.

    >>> import envs
    >>> 0.0 < scales(envs.make("metarl/Navigation2D-v0")).observation < 1.0
    True
    """
    num_steps = min(family.horizon, MAX_STEPS)
    space = copy.deepcopy(family.action_space)
    space.seed(0)
    rows = [[space.sample() for _ in range(num_steps)] for _ in range(NUM_TASKS)]
    actions = stacked(space, [stacked(space, row) for row in rows])
    keys = jax.vmap(jax.random.key)(np.arange(NUM_TASKS))
    return scales_of(*jax.device_get(jax.jit(jax.vmap(functools.partial(episode, family)))(keys, actions)))


def scales_of(observation: np.ndarray, reward: np.ndarray, mask: np.ndarray) -> Scales:
    """Of steps [A, B] of episodes: observations [A, B, ...], rewards [A, B], and which of them count, [A, B]."""
    observation = observation.reshape(*mask.shape, -1).astype(np.float64)
    return Scales(float(np.max(root_mean_square(observation, mask[..., None]))), float(root_mean_square(reward, mask)))


def root_mean_square(x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Over the first two axes, of the finite numbers that count; 0 where there are none."""
    counted = np.broadcast_to(mask > 0, x.shape) & np.isfinite(x)
    total = np.sum(np.where(counted, x, 0.0) ** 2, axis=(0, 1), dtype=np.float64)
    return np.sqrt(total / np.maximum(np.sum(counted, axis=(0, 1)), 1))


def episode(family: TaskFamily, key: jax.Array, actions: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Observations [T, ...], rewards [T] and mask [T] of one task and T given actions."""
    key_task, key_episode = jax.random.split(key)
    task = family.sample_task(key_task)

    def step(carry: Any, given: Any) -> Any:
        state, alive = carry
        t, action = given
        following, seen, reward, terminated, _ = next_step(family, key_episode, t, state, action, task)
        kept = jax.tree.map(lambda new, old: jnp.where(alive, new, old), following, state)
        return (kept, alive & jnp.logical_not(terminated)), (measured(family.observation_space, seen), reward, alive)

    start, _ = first_step(family, key_episode, task)
    _, (observation, reward, mask) = jax.lax.scan(
        step, (start, jnp.asarray(True)), (jnp.arange(jax.tree.leaves(actions)[0].shape[0]), actions)
    )
    return observation, reward, mask


def measured(space: Any, observation: Any) -> jax.Array:
    """The numbers of an observation whose size depends on the family, not those of which agents read one-hots."""
    if isinstance(space, Box):
        return observation
    boxes = zip(parts(space), arrays_of(space, observation), strict=True)
    rows = [jnp.ravel(jnp.asarray(value, jnp.float32)) for (_, part), value in boxes if isinstance(part, Box)]
    return jnp.concatenate(rows) if rows else jnp.ones(1)


def far_from_one(size: float) -> bool:
    """Whether a root mean square asks for normalisation. 0, where nothing happened, does not."""
    return size > LARGE or 0.0 < size < SMALL


def bounded_near_one(space: Any) -> bool:
    """Whether bounds alone tell that observations are neither too large nor too small."""
    if not isinstance(space, Box):
        return all(bounded_near_one(part) for _, part in parts(space) if isinstance(part, Box))
    size = float(np.max(np.abs(np.stack([space.low, space.high]).astype(np.float64)), initial=0.0))
    return math.isfinite(size) and 0.1 <= size <= 2 * LARGE
