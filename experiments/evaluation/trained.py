"""Trained agents, for use from Python: from a run folder, or from a state that a program has trained itself."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import envs
from agents.parts.networks import action_distribution
from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError, host_errors
from experiments.cli.flags import at_least
from experiments.runs import checkpoint
from experiments.runs.folder import CONFIG, read_config
from experiments.runs.seed_folders import seed_folders
from experiments.runs.strangers import admit
from experiments.training.config import KIND, Built, TrainConfig, build, named_family
from experiments.training.settings import changed, stored_as
from metarl.interfaces import AdaptationCurve, MetaLearner, MetaState, Task

CHANGEABLE = ("num_episodes", "test_step_scale", "horizon")


class Trained(NamedTuple):
    """What `load` and `trained` give.

    Attributes:
        family: the environments it plays.
        learner: the agent as pure functions.
        state: what it learned: ``learner.adapt(state, task, key, num_steps)``.
        iteration: meta-iterations it was trained for.
        env_steps: environment steps it was trained on.
        adapt: (task, num_steps=1, seed=0) -> AdaptationCurve; compiled once per number of steps. ``curve.score[k]`` is the mean
            return after k inner steps (or episodes, for agents with memory), ``curve.used[k]`` the episodes used by then.
        act: (curve, observation, step=-1) -> action, NumPy, as the family takes it: the greedy one after that inner
            step. Of an agent with memory, its first action in that episode.
        config: the run's settings; None without a run.
    """

    family: envs.TaskFamily
    learner: MetaLearner
    state: MetaState
    iteration: int
    env_steps: int
    adapt: Callable[..., AdaptationCurve]
    act: Callable[..., np.ndarray]
    config: TrainConfig | None = None


def trained(
    family: envs.TaskFamily,
    learner: MetaLearner,
    state: MetaState,
    *,
    env_steps: int = 0,
    config: TrainConfig | None = None,
) -> Trained:
    """An agent that has been trained, ready to adapt and act.

    Args:
        family: the environments it plays.
        learner: its pure functions.
        state: what it learned.
        env_steps: environment steps it was trained on.
        config: the settings of its run, if there is one.
    """
    compiled = jax.jit(learner.adapt, static_argnums=3)
    distribution = action_distribution(family.action_space)

    def adapt(task: Task, num_steps: int = 1, seed: int = 0) -> AdaptationCurve:
        if num_steps < 0:
            raise UserError(f"num_steps is {num_steps}, but must be at least 0.")
        task = envs.check_task(family, task)
        with host_errors():
            return jax.block_until_ready(compiled(state, task, jax.random.key(seed), num_steps))

    def act(curve: AdaptationCurve, observation: Any, step: int = -1) -> np.ndarray:
        parameters = learner.predict(curve.path, family.default_params, jax.numpy.asarray(observation)[None])
        return np.asarray(learner.to_action(distribution(jax.tree.map(lambda x: x[step, 0], parameters)).mode()))

    return Trained(family, learner, state, int(state.iteration), env_steps, adapt, act, config)


def load(
    run_dir: str | Path, *, family: envs.TaskFamily | str | None = None, trust: Sequence[str] = (), **changes: Any
) -> Trained:
    """The newest checkpoint of a run of `experiments.train`.

    Args:
        run_dir: the run's folder.
        family: another task family, or its id, for it to adapt in, of the same spaces; the run's own if None.
        trust: modules that the run may have imported though they lie neither in the current folder nor are imported already.
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
    run_config = read_config(run_dir)
    admit(run_dir, run_config, trust)
    if run_config["script"] != "train":
        raise UserError(
            f"{run_dir} was made by {command_line(run_config['script'])}; load takes runs of {command_line('train')}."
        )
    config = changed(stored_as(TrainConfig, KIND, run_config["settings"] | {"run_dir": run_dir}), KIND, **changes)
    at_least(config, num_episodes=1, horizon=1)
    neutral = dataclasses.replace(config, seed=0, seeds=None, run_dir=Path(), resume=False, overwrite=False)
    built = _build_once(neutral)
    if isinstance(family, str):
        family = named_family(family, {})
    if family is not None:
        _refuse_other_spaces(built.family, family)
        built = build(config, family=family)
    _, state, env_steps = checkpoint.load(run_dir, built.learner)
    return trained(built.family, built.learner, state, env_steps=env_steps, config=config)


@functools.lru_cache(maxsize=1)
def _build_once(config: TrainConfig) -> Built:
    """The seeds of a run share what is built, and so what is compiled."""
    return build(config)


def save(agent: Trained, folder: str | Path) -> None:
    """Write what an agent has learned to a folder, for `restore`: a checkpoint as runs have them, replaced if it exists.

    Args:
        agent: what to save.
        folder: made if it does not exist.

    Raises:
        UserError: the folder is a run, whose checkpoints are not to be mixed up with others.
    """
    folder = Path(folder)
    if (folder / CONFIG).exists():
        raise UserError(f"{folder} is a run; give another folder.")
    identity = checkpoint.RunIdentity("", type(agent.family).__name__, "", 0)
    with checkpoint.manager(folder, writing=True, keep=1) as checkpoints:
        for iteration in checkpoints.all_steps():
            checkpoints.delete(iteration)
        checkpoint.save(checkpoints, agent.iteration, agent.state, agent.env_steps, identity)


def restore(folder: str | Path, family: envs.TaskFamily, learner: MetaLearner) -> Trained:
    """What `save` wrote, for a family and learner built as they were then.

    Raises:
        UserError: there is nothing, or it does not fit the learner.
    """
    _, state, env_steps = checkpoint.load(Path(folder), learner)
    return trained(family, learner, state, env_steps=env_steps)


def _refuse_other_spaces(trained: envs.TaskFamily, other: envs.TaskFamily) -> None:
    for name in ("observation_space", "action_space"):
        expected, found = getattr(trained, name), getattr(other, name)
        same = type(expected) is type(found) and expected.shape == found.shape
        if not same or getattr(expected, "n", None) != getattr(found, "n", None):
            raise UserError(f"the agent was trained with {name} {expected}, but {type(other).__name__} has {found}.")
