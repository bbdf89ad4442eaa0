"""Checks of a family as Gymnasium environments. Each raises ValueError, or returns a note or nothing."""

import inspect
import warnings

import jax
import numpy as np
from gymnasium.utils.env_checker import check_env

from envs.check.evidence import MAX_STEPS, Evidence, entry, repeated, same
from envs.contract import explain
from envs.family import TaskFamily, can_render
from envs.to_gymnasium.task_env import TaskEnv

HARMLESS = ("infinity", "symmetric and normalized", "not equal although similar", "render")  # of Gymnasium's warnings
OTHER_KEY = 7


def reset_keeps_the_task(evidence: Evidence) -> None:
    """`reset` changes the task only if ``options`` gives one, which then stays."""
    backwards = repeated(jax.tree.map(lambda leaf: leaf[::-1], evidence.tasks))
    for env, given in ((evidence.env, evidence.task(1)), (evidence.vector, backwards)):
        for seed, options in ((0, {"task": given}), (1, None), (None, {}), (1, None)):
            env.reset(seed=seed, options=options)
            if not same(env.task, given, 1e-6):
                raise ValueError(
                    f"{evidence.name}: {type(env).__name__}.reset made the task {env.task}, but it was {given}; only options "
                    "may change it."
                )


def horizon_is_respected(evidence: Evidence) -> str | None:
    """Environments truncate at the horizon, and the constructor's ``horizon`` sets it."""
    family, env = evidence.family, evidence.env
    env.reset(seed=0)
    action = entry(evidence.episodes.action, 0, 0)
    for t, expected in ((family.horizon - 2, False), (family.horizon - 1, True)):
        if t >= 0:
            env.reset(seed=0)
            env.t = t  # as if so many steps had been taken: playing them out is what takes long
            _, _, terminated, truncated, _ = env.step(action)
            if truncated is not expected and not (terminated and expected):
                raise ValueError(f"{evidence.name}: horizon is {family.horizon}, but step {t + 1} truncates: {not expected}.")
    if not _needs_more(type(family)):  # as those of `from_gymnasium` do, where that function takes the horizon
        other = _with_horizon(family, family.horizon + 1)
        if isinstance(other, str):
            return f"{evidence.name}(horizon={family.horizon + 1}) fails, so --horizon cannot change it: {other}"
        if other.horizon != family.horizon + 1:
            raise ValueError(
                f"{evidence.name}(horizon={family.horizon + 1}) has horizon {other.horizon}; hand horizon to super().__init__."
            )
    return f"{MAX_STEPS} of {family.horizon} steps were played" if family.horizon > MAX_STEPS else None


def nothing_after_the_end(evidence: Evidence) -> str | None:
    """After an episode's end `TaskEnv` stands still and `TaskVectorEnv` resets, without a reward.

    Terminal states stay terminal.
    """
    env, episodes = evidence.env, evidence.episodes
    action = entry(episodes.action, 0, 0)
    env.reset(seed=0)
    env.t = evidence.family.horizon - 1
    last, _, *over, _ = env.step(action)
    after = [env.step(action) for _ in range(2)]
    if not all(
        all(map(np.array_equal, jax.tree.leaves(last), jax.tree.leaves(x[0]))) and x[1] == 0.0 and list(x[2:4]) == over
        for x in after
    ):
        raise ValueError(f"{evidence.name}: after the end an environment gives {after[0][:4]}, but nothing should happen.")
    ignored = episodes.fresh()[1:]
    if np.any(episodes.reward[ignored] != 0) or np.any(episodes.terminated[ignored]):
        raise ValueError(
            f"{evidence.name}: the step after the end gives reward {episodes.reward[ignored][0]} in a vector environment, "
            "where the next episode should begin with none."
        )
    for state, task in episodes.ends:
        if not bool(evidence.family.terminal(state, jax.random.key(OTHER_KEY), task)):
            return "terminal ends episodes by chance: asked again of the last state with another key, it says no"
    return None


def gymnasium_accepts_it(evidence: Evidence) -> str | None:
    """Gymnasium's `check_env` passes, without warnings but the `HARMLESS`. It needs two steps: a horizon of 1 becomes 2."""
    env = evidence.env
    if evidence.family.horizon == 1:
        longer = _with_horizon(evidence.family, 2)
        if isinstance(longer, str) or longer.horizon != 2:
            return "gymnasium's check_env takes no environment of one step"
        env = TaskEnv(longer)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            check_env(env, skip_render_check=True)
        except Exception as error:  # an assertion of Gymnasium's, or the family's own exception
            raise ValueError(f"{evidence.name} fails gymnasium's check_env: {explain(error)}") from error
    for warning in caught:
        if not any(word in str(warning.message) for word in HARMLESS):
            raise ValueError(f"{evidence.name}: gymnasium's check_env warns: {' '.join(str(warning.message).split())}")
    return None


def images_are_drawn(evidence: Evidence) -> str | None:
    """``render_image``, where there is one, returns uint8 [height, width, 3]."""
    if not can_render(evidence.family):
        return "the family has no render_image"
    env = evidence.env
    env.reset(seed=0)
    for _ in range(2):
        try:
            image = env.render()
        except Exception as error:  # whatever a user's function raises becomes one line
            raise ValueError(f"{evidence.name}.render_image fails: {explain(error)}") from error
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            raise ValueError(f"{evidence.name}.render_image gives {found}; make it an array of uint8 [height, width, 3].")
        env.step(entry(evidence.episodes.action, 0, 0))
    return None


def _with_horizon(family: TaskFamily, horizon: int) -> TaskFamily | str:
    """One of the same class, with its other options left out; in a line why not, if the constructor cannot make it."""
    try:
        return type(family)(horizon=horizon)
    except Exception as error:  # whatever a user's constructor raises: the check that asked is then left out
        return explain(error)


def _needs_more(constructor: type[TaskFamily]) -> bool:
    """Whether a horizon is welcome but other arguments are required too."""
    signature = inspect.signature(constructor)
    if "horizon" not in signature.parameters:
        return False
    try:
        signature.bind(horizon=1)
    except TypeError:
        return True
    return False
