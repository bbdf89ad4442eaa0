"""Checks of random episodes, played under jit and vmap. Each raises ValueError, or returns a note or nothing."""

import itertools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.check.evidence import SEEDS, Episodes, Evidence, entry, same
from envs.family import told
from envs.scales import far_from_one, scales_of
from envs.stepping import first_step, next_step
from envs.values import is_image, mapped

MORE_ROUNDS = 5  # of random episodes, before tasks that seem equal are called so
STEPS_ALONE = 8  # compared with and without vmap: chaotic dynamics drift apart in more
TOLERANCE = 1e-3  # relative, of that comparison


def episodes_under_jit_and_vmap(evidence: Evidence) -> None:
    """Random episodes can be played at all."""
    _ = evidence.episodes


def everything_is_finite(evidence: Evidence) -> None:
    """Observations, rewards and measures are finite; states hold no NaN."""
    episodes = evidence.episodes
    values = {"observation": episodes.observation, "reward": episodes.reward}
    series = {method: ~np.isfinite(value) for method, value in values.items()}
    for name, value in episodes.info.items():
        method = f"transition_info, {name!r},"
        values[method], series[method] = value, ~np.isfinite(value) & ~episodes.fresh()[1:]
    for path, leaf in jax.tree_util.tree_leaves_with_path(episodes.state):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            series[f"transition (state{jax.tree_util.keystr(path)})"] = np.asarray(jnp.isnan(leaf))[None]
    for method, bad in series.items():
        if bad.any():
            t, task, seed = np.argwhere(bad)[0][:3]
            at = f"at step {t}" if method in values else "in the last state"
            found = values[method][tuple(np.argwhere(bad)[0])] if method in values else "nan"
            raise ValueError(
                f"{told(evidence.family, method)} gives {found} {at} of task {evidence.task(task)}, seed {SEEDS[seed]}, under "
                "random actions; keep it finite."
            )


def numbers_are_near_one(evidence: Evidence) -> str | None:
    """Observations and rewards have a size that networks can read as it is."""
    episodes = evidence.episodes
    steps = lambda array: array.reshape(len(array), -1, *array.shape[3:])  # [T, M, S, ...] -> [T, M * S, ...]
    size = scales_of(steps(episodes.observation[1:]), steps(episodes.reward), steps(~episodes.fresh()[1:]))
    if is_image(evidence.family.observation_space):
        size = size._replace(observation=1.0)  # agents divide bytes by 255
    far = [f"{name}s are about {value:.3g} in size" for name, value in size._asdict().items() if far_from_one(value)]
    return f"{' and '.join(far)}; train normalises what agents read, or scale it yourself" if far else None


def observations_in_their_space(evidence: Evidence) -> None:
    """Every observation lies in ``observation_space``; floats are float32."""
    space, observations, native = evidence.family.observation_space, evidence.episodes.observation, evidence.episodes.native
    if np.issubdtype(observations.dtype, np.floating) and observations.dtype != np.float32:
        raise ValueError(f"{evidence.name}.observation returns {observations.dtype}; make it and its space float32.")
    for index in np.ndindex(observations.shape[:3]):
        seen = mapped(lambda _, leaf, index=index: leaf[index], space, native)
        if not space.contains(seen):
            t, task, _ = index
            raise ValueError(
                f"{evidence.name}.observation returns {seen} at step {t} of task {evidence.task(task)}, "
                f"outside observation_space {space}; clip it, or widen the space."
            )


def same_seed_same_episode(evidence: Evidence) -> None:
    """Two episodes with the same seed and actions are bitwise equal."""
    first, second = evidence.episodes, evidence.play(0)
    for what in ("observation", "reward", "terminated", "truncated"):
        a, b = getattr(first, what), getattr(second, what)
        if not np.array_equal(a, b, equal_nan=True):
            index = tuple(np.argwhere(a != b)[0])
            raise ValueError(
                f"{evidence.name}: played twice with the same seed and actions, {what} is {a[index]} and then {b[index]} at "
                f"step {index[0]}; use no state or random numbers but the key's."
            )


def stepping_alone_equals_vmap(evidence: Evidence) -> None:
    """An episode is the same in a batch as step by step in an environment of its own."""
    together = evidence.episodes
    for index in range(min(2, len(evidence.chosen))):
        actions = [entry(together.action, t, 0) for t in range(min(STEPS_ALONE, len(together.reward)))]
        observations, steps = evidence.play_alone(index, SEEDS[0], actions)
        for t, (observation, (reward, terminated, _)) in enumerate(zip(observations[1:], steps, strict=True)):
            pairs: dict[str, tuple[Any, Any]] = {
                "observation": (observation, together.observation[t + 1, index, 0]),
                "reward": (reward, together.reward[t, index, 0]),
                "terminal": (terminated, together.terminated[t, index, 0]),
            }
            for what, (alone, inside) in pairs.items():
                scale = max(1.0, float(np.abs(np.nan_to_num(observation, posinf=0.0, neginf=0.0)).max()))
                if not np.allclose(alone, inside, rtol=TOLERANCE, atol=TOLERANCE * scale, equal_nan=True):
                    raise ValueError(
                        f"{evidence.name}.{what} is {alone} at step {t} of an episode played alone, but {inside} under vmap, "
                        f"with the same seed and actions; {_why(evidence)}"
                    )


def _why(evidence: Evidence) -> str:
    """What makes an episode depend on how it was compiled: Python state shows when the functions are traced again."""
    env, episodes, family = evidence.env, evidence.episodes, evidence.family
    arguments = (env.key, 0, env.state, entry(episodes.action, 0, 0), env.task)

    def trace():
        step = lambda key, t, state, action, task: (
            first_step(family, key, task),
            next_step(family, key, t, state, action, task),
        )
        return jax.make_jaxpr(step)(*arguments)

    def text(traced):
        return re.sub("0x[0-9a-f]+", "", str(traced))  # jax 0.10.0 prints where functions on the host lie in memory

    first, second = trace(), trace()
    if text(first) != text(second) or not same(first.consts, second.consts, 0.0):
        return "a function of the family gives something else each time it is called: use no Python state, only its arguments."
    return "its functions must treat each episode of a batch by itself."


def tasks_differ(evidence: Evidence) -> str | None:
    """Different tasks give different observations, rewards or ends under the same seed and actions."""
    pairs, reward_seen = list(itertools.combinations(range(len(evidence.chosen)), 2)), False
    for played in range(1 + MORE_ROUNDS):
        episodes = evidence.play(played * len(SEEDS)) if played else evidence.episodes
        differ = [_differ(episodes, a, b) for a, b in pairs]
        if any(differ):
            return None if all(differ) else f"{sum(differ)} of {len(pairs)} pairs of sampled tasks differed"
        reward_seen |= bool(np.ptp(episodes.reward[~episodes.fresh()[1:]]) > 0 or episodes.terminated.any())
    if not reward_seen:
        return "random actions met no reward and no end, so whether tasks differ was not seen"
    raise ValueError(
        f"{evidence.name}: {len(evidence.chosen)} different tasks give the same observations and rewards in "
        f"{len(SEEDS) * (1 + MORE_ROUNDS)} random episodes each; let reward, transition or observation use params."
    )


def _differ(episodes: Episodes, a: int, b: int) -> bool:
    series = (episodes.observation, episodes.reward, episodes.terminated)
    return any(not np.array_equal(x[:, a], x[:, b]) for x in series)
