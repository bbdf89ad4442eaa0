"""A trained agent from its run folder, for use from Python."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import envs
from agents.parts.networks import policy
from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError, host_errors
from experiments.cli.flags import at_least, between, from_settings
from experiments.runs import checkpoint
from experiments.runs.folder import CONFIG, read_config
from experiments.runs.seed_folders import seed_folders
from experiments.training.config import TrainConfig, build, named_family
from metarl.interfaces import AdaptationCurve, MetaLearner, Task

CHANGEABLE = ("num_episodes", "test_step_scale", "horizon")


class Trained(NamedTuple):
    """What `load` gives.

    Attributes:
        config: the run's settings.
        family: the environments it plays.
        learner: the agent as pure functions.
        state: what it learned: ``learner.adapt(state, task, key, num_steps)``.
        iteration: meta-iterations it was trained for.
        env_steps: environment steps it was trained on.
        adapt: (task, num_steps=1, seed=0) -> AdaptationCurve; compiled once per number of steps. ``curve.score[k]`` is the mean
            return after k inner steps (or episodes, for agents with memory), ``curve.used[k]`` the episodes used by then.
        act: (curve, observation, step=-1) -> action, NumPy: the mode of the policy after that inner step. Of an agent with
            memory, its first action in that episode.
    """

    config: TrainConfig
    family: envs.TaskFamily
    learner: MetaLearner
    state: Any
    iteration: int
    env_steps: int
    adapt: Callable[..., AdaptationCurve]
    act: Callable[..., np.ndarray]


def load(run_dir: str | Path, *, family: envs.TaskFamily | str | None = None, **changes: Any) -> Trained:
    """The newest checkpoint of a run of `experiments.train`.

    Args:
        run_dir: the run's folder.
        family: another task family, or its id, for it to adapt in, of the same spaces; the run's own if None.
        **changes: settings other than in training: ``num_episodes`` (per inner step), ``test_step_scale`` or ``horizon``.

    Raises:
        UserError: not such a run, or a family whose spaces differ.
    """
    run_dir = Path(run_dir)
    inside = seed_folders(run_dir)
    if inside and not (run_dir / CONFIG).is_file():
        raise UserError(f"{run_dir} holds the runs of several seeds; give one of them, such as {next(iter(inside.values()))}.")
    for name in changes:
        if name not in CHANGEABLE:
            raise UserError(f"load: {name} cannot differ from training; {', '.join(CHANGEABLE)} can.")
    described = read_config(run_dir)
    if described["script"] != "train":
        raise UserError(
            f"{run_dir} was made by {command_line(described['script'])}; load takes runs of {command_line('train')}."
        )
    config = dataclasses.replace(from_settings(TrainConfig, described["settings"] | {"run_dir": run_dir}), **changes)
    at_least(config, num_episodes=1, horizon=1)
    between(config, test_step_scale=(1e-9, float("inf")))
    built = build(config)
    if isinstance(family, str):
        family = named_family(family, {})
    if family is not None:
        _refuse_other_spaces(built.family, family)
        built = build(config, family=family)
    iteration, state, env_steps = checkpoint.load(run_dir, built.learner)
    compiled = jax.jit(built.learner.adapt, static_argnums=3)

    def adapt(task: Task, num_steps: int = 1, seed: int = 0) -> AdaptationCurve:
        if num_steps < 0:
            raise UserError(f"num_steps is {num_steps}, but must be at least 0.")
        task = envs.check_task(built.family, task)
        with host_errors():
            return jax.block_until_ready(compiled(state, task, jax.random.key(seed), num_steps))

    act = functools.partial(_act, built.learner, built.family, config)
    return Trained(config, built.family, built.learner, state, iteration, env_steps, adapt, act)


def _act(
    learner: MetaLearner, family: Any, config: TrainConfig, curve: AdaptationCurve, observation: Any, step: int = -1
) -> np.ndarray:
    options: dict[str, Any] = {"hidden_sizes": config.hidden_sizes, "activation": config.activation, "initial_std": 1.0}
    distribution = policy(family.observation_space, family.action_space, **options).distribution
    parameters = learner.predict(curve.path, family.default_params, jax.numpy.asarray(observation)[None])
    return np.asarray(distribution(jax.tree.map(lambda x: x[step, 0], parameters)).mode())


def _refuse_other_spaces(trained: envs.TaskFamily, other: envs.TaskFamily) -> None:
    for name in ("observation_space", "action_space"):
        expected, found = getattr(trained, name), getattr(other, name)
        same = type(expected) is type(found) and expected.shape == found.shape
        if not same or getattr(expected, "n", None) != getattr(found, "n", None):
            raise UserError(f"the agent was trained with {name} {expected}, but {type(other).__name__} has {found}.")
