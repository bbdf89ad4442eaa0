"""Episodes as an actor plays them, checked before an agent learns from them: they may have been in a file meanwhile."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.cli.errors import UserError, shown
from metarl.interfaces import Trajectory


class Episode(NamedTuple):
    """An episode as an `Actor` played it, in NumPy arrays: what ``Trained.adapt_from`` learns from. T is its own length.

    Attributes:
        observation: [T, ...], what the network read before each step.
        action: [T, ...], as the policy gave it: in its units, neither scaled nor clipped; a tuple where actions have parts.
        log_prob: [T], of ``action``.
        distribution: parameters of the action distribution, leaves [T, ...]; see `metarl.interfaces.Acting`.
        reward: [T].
        terminated: [T] bool, True where the episode ended before the horizon of training.
        num_steps: adaptation steps that the policy had taken.
        over: whether the episode ended or was cut off; False for the one that is being played.
    """

    observation: np.ndarray
    action: Any
    log_prob: np.ndarray
    distribution: Any
    reward: np.ndarray
    terminated: np.ndarray
    num_steps: int
    over: bool


def checked(i: int, episode: Episode, like: dict[str, Any]) -> Episode:
    """The i-th of some episodes in NumPy arrays; lists are welcome.

    Args:
        i: for messages.
        episode: as an actor recorded it, or as a file holds that.
        like: see `recorded_step`.

    Raises:
        UserError: it is not what an actor of this agent records.
    """
    if np.ndim(episode.reward) != 1:
        raise UserError(f"episode {i}: reward has shape {np.shape(episode.reward)}, but must have one number for each step.")
    steps, found = len(episode.reward), {}
    if not steps:
        raise UserError(f"episode {i} has no steps; leave it out.")
    for name, one_step in like.items():
        given = getattr(episode, name)
        try:
            leaves = [np.asarray(leaf) for leaf in jax.tree.structure(one_step).flatten_up_to(given)]  # type: ignore[attr-defined]
            kinds = {leaf.dtype.kind for leaf in leaves}
        except (TypeError, ValueError):
            kinds = {"O"}
        if not kinds <= set("biuf"):
            raise UserError(f"episode {i}: {name} is {shown(given)}, which no actor of this agent records.")
        for leaf, expected in zip(leaves, jax.tree.leaves(one_step), strict=True):
            if leaf.shape != (steps, *expected.shape):
                raise UserError(
                    f"episode {i}: {name} has shape {leaf.shape}, but actors of this agent record {(steps, *expected.shape)} "
                    f"in {steps} steps."
                )
            if np.isnan(leaf).any() or (name != "distribution" and not np.isfinite(leaf).all()):
                raise UserError(f"episode {i} has a {name} that is not finite.")
        arrays = [leaf.astype(expected.dtype) for leaf, expected in zip(leaves, jax.tree.leaves(one_step), strict=True)]
        found[name] = jax.tree.unflatten(jax.tree.structure(one_step), arrays)
    return episode._replace(**found)


def as_batch(episodes: Sequence[Episode], num_steps: int, horizon: int, remembers: bool, like: dict[str, Any]) -> Trajectory:
    """Episodes as one batch [N, T, ...], T being ``horizon`` or their greatest length, zero after their ends.

    Args:
        episodes: N of them.
        num_steps: adaptation steps that the agent has taken.
        horizon: of training.
        remembers: whether the agent has a memory, which reads what it played itself.
        like: see `recorded_step`.

    Raises:
        UserError: there are none, or they are not what an agent after ``num_steps`` adaptation steps plays.
    """
    several = isinstance(episodes, list | tuple) and not isinstance(episodes, Episode)
    if not several or not episodes or not all(isinstance(episode, Episode) for episode in episodes):
        raise UserError(f"episodes is {shown(episodes)}, but must be a list of what Actor.episodes() gives, at least one.")
    episodes = [checked(i, episode, like) for i, episode in enumerate(episodes)]
    for i, episode in enumerate(episodes):
        if episode.num_steps != num_steps and not remembers:
            raise UserError(
                f"episode {i} was played after {episode.num_steps} inner steps, but this agent has taken {num_steps}; play new "
                "ones with its own actor."
            )
    steps = max(horizon, *(len(episode.reward) for episode in episodes))

    def padded(leaf: np.ndarray, repeat: bool = False) -> Any:
        rest = [(0, steps - len(leaf)), *[(0, 0)] * (leaf.ndim - 1)]
        return np.pad(leaf, rest, mode="edge" if repeat else "constant")

    def one(episode: Episode) -> Trajectory:
        return Trajectory(
            observation=padded(episode.observation, repeat=True),
            action=jax.tree.map(functools.partial(padded, repeat=True), episode.action),
            log_prob=padded(episode.log_prob),
            distribution=jax.tree.map(functools.partial(padded, repeat=True), episode.distribution),
            reward=padded(episode.reward),
            mask=padded(np.ones_like(episode.reward)),
            terminated=padded(episode.terminated),
            last_observation=episode.observation[-1],
        )

    return jax.tree.map(lambda *leaves: np.stack(leaves), *map(one, episodes))
