"""Trained agents, for use from Python: from a run folder, or from a state that a program has trained itself."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import envs
from envs.forks import refuse_fork
from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError, host_errors
from experiments.cli.flags import at_least
from experiments.evaluation.actor import Actor, Standing, compiled, recorded_step
from experiments.evaluation.episodes import Episode, as_batch
from experiments.evaluation.observed import in_space, read_observation
from experiments.runs import checkpoint
from experiments.runs.folder import CONFIG, read_config
from experiments.runs.seed_folders import seed_folders
from experiments.runs.strangers import admit
from experiments.training.config import KIND, Built, TrainConfig, build, named_family
from experiments.training.settings import changed, stored_as
from metarl.interfaces import AdaptationCurve, MetaLearner, MetaState, Task, Trajectory

CHANGEABLE = ("num_episodes", "test_step_scale", "horizon", "held_out_tasks")


class Adapted(NamedTuple):
    """An agent adapted to recorded episodes, as `Trained.adapt_from` gives it.

    Attributes:
        num_steps: adaptation steps taken: inner steps, or episodes read by agents with memory.
        params: what it acts with; see `metarl.interfaces.Acting`.
        memory: what it carries from step to step.
        actor: (greedy=True, seed=0, batch=None, record=False) -> Actor, as `Trained.actor`.
        adapt_from: episodes -> Adapted, one step further: episodes that an actor of this one has played.
    """

    num_steps: int
    params: Any
    memory: Any
    actor: Callable[..., Actor]
    adapt_from: Callable[..., "Adapted"]


class Trained(NamedTuple):
    """What `load` and `trained` give.

    Attributes:
        family: the environments it plays.
        learner: the agent as pure functions; ``learner.acting`` are those that `actor` calls.
        state: what it learned: ``learner.adapt(state, task, key, num_steps)``.
        iteration: meta-iterations it was trained for.
        env_steps: environment steps it was trained on.
        adapt: (task, num_steps=1, seed=0) -> AdaptationCurve; compiled once per number of steps. ``curve.score[k]`` is the mean
            return after k inner steps (or episodes, for agents with memory), ``curve.used[k]`` the episodes used by then.
        act: (curve, observation, step=-1) -> greedy action after that inner step, NumPy, in the environment's action space. For
            agents without memory; others are to be stepped by an actor.
        actor: (curve=None, step=-1, *, task=None, greedy=True, seed=0, batch=None, record=False) -> Actor, to be stepped in an
            environment: where the curve was after that step, or without a curve before any adaptation. ``task`` is for agents
            that see it, and checked for others; ``batch`` the number of copies; ``record`` keeps the episodes.
        adapt_from: episodes -> Adapted: one step on episodes that an actor of the unadapted agent has played, recorded with
            sampled actions, in whatever environment. Agents that take all inner steps on one batch take as many as in training,
            and those with memory read the episodes one after another.
        config: the run's settings; None without a run.
    """

    family: envs.TaskFamily
    learner: MetaLearner
    state: MetaState
    iteration: int
    env_steps: int
    adapt: Callable[..., AdaptationCurve]
    act: Callable[..., Any]
    actor: Callable[..., Actor]
    adapt_from: Callable[..., Adapted]
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
    adapted = jax.jit(learner.adapt, static_argnums=3)
    acting = learner.acting

    def adapt(task: Task, num_steps: int = 1, seed: int = 0) -> AdaptationCurve:
        if num_steps < 0:
            raise UserError(f"num_steps is {num_steps}, but must be at least 0.")
        task = envs.check_task(family, task)
        with host_errors():
            return jax.block_until_ready(adapted(state, task, jax.random.key(seed), num_steps))

    def act(curve: AdaptationCurve, observation: Any, step: int = -1) -> Any:
        refuse_fork()
        functions = compiled(learner)
        if acting is not None and acting.remembers:
            raise UserError("this agent acts by what it remembers; step it with an actor: agent.actor(curve), see Actor.")
        if not isinstance(curve, AdaptationCurve):
            raise UserError(
                f"act takes a curve, as agent.adapt(task) gives, and an observation; got {type(curve).__name__} first."
            )
        seen = read_observation(family, observation, read=functions.read)
        action = functions.act_at(curve.path, index_of(curve, step), seen)
        return in_space(family.action_space, action)

    def actor(curve: AdaptationCurve | None = None, step: int = -1, *, task: Task = None, **how: Any) -> Actor:
        return started(standing(family, learner, state, curve, step, task), **how)

    def started(
        start: Standing, *, greedy: bool = True, seed: int = 0, batch: int | None = None, record: bool = False
    ) -> Actor:
        assert acting is not None
        return Actor(family, compiled(learner), acting, start, greedy=greedy, seed=seed, batch=batch, record=record)

    def adapt_from(episodes: Sequence[Episode], *, before: tuple[Trajectory, ...] = ()) -> Adapted:
        refuse_fork()
        functions = compiled(learner)
        if functions.learn is None or acting is None:
            raise UserError("this agent does not adapt, so there is nothing to learn from episodes.")
        if before and acting.one_batch:
            raise UserError("this agent takes all inner steps on one batch of episodes and has taken them; begin anew.")
        like = recorded_step(family, functions, state)
        batches = (*before, as_batch(episodes, len(before), family.horizon, acting.remembers, like))
        params, memory = jax.block_until_ready(functions.learn(state, batches))
        num_steps = sum(len(batch.reward) for batch in batches) if acting.remembers else len(batches)
        start = Standing(params, memory, num_steps)
        go_on = functools.partial(adapt_from, before=batches)
        return Adapted(num_steps, params, memory, functools.partial(started, start), go_on)

    return Trained(family, learner, state, int(state.iteration), env_steps, adapt, act, actor, adapt_from, config)


def standing(
    family: envs.TaskFamily, learner: MetaLearner, state: MetaState, curve: AdaptationCurve | None, step: int, task: Task
) -> Standing:
    """Where an agent stands after a step of a curve, or without a curve before any adaptation; see `Trained.actor`."""
    refuse_fork()
    functions, acting = compiled(learner), learner.acting
    task = None if task is None else envs.check_task(family, task)
    if curve is not None:
        if not isinstance(curve, AdaptationCurve):
            raise UserError(f"curve is {' '.join(repr(curve).split())[:80]}, but must be what agent.adapt(task) gives.")
        k = index_of(curve, step)
        params, memory = functions.after(curve.path, k)
        return Standing(params, memory, int(k), on_curve=True)
    if acting is not None and acting.sees_task and task is None:
        raise UserError("this agent sees the task, and acts in none without; give task=, or a curve of adapt(task).")
    params, memory = functions.begin(state, task)
    return Standing(params, memory, 0)


def index_of(curve: AdaptationCurve, step: int) -> np.int32:
    """A step of a curve, counted from 0; negative ones count from the end."""
    count = len(curve.used)
    if isinstance(step, bool) or not isinstance(step, int | np.integer) or not -count <= step < count:
        raise UserError(f"step is {step!r}, but the curve has {count}: 0 to {count - 1}, or -1 for the last.")
    return np.int32(step % count)


def load(
    run_dir: str | Path, *, family: envs.TaskFamily | str | None = None, trust: Sequence[str] = (), **changes: Any
) -> Trained:
    """The newest checkpoint of a run of `experiments.train`.

    Args:
        run_dir: the run's folder.
        family: another task family, or its id, for it to adapt in, of the same spaces; the run's own if None.
        trust: modules that the run may have imported though they lie neither in the current folder nor are imported already.
        **changes: settings other than in training: ``num_episodes`` (per inner step), ``test_step_scale``, ``horizon`` or
            ``held_out_tasks``, a file as of `envs.read_tasks`.

    Raises:
        UserError: not such a run, or a family whose spaces differ.
    """
    refuse_fork()
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
        refuse_other_spaces(built.family, family)
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
    refuse_fork()
    _, state, env_steps = checkpoint.load(Path(folder), learner)
    return trained(family, learner, state, env_steps=env_steps)


def refuse_other_spaces(trained: envs.TaskFamily, other: envs.TaskFamily) -> None:
    """Numbers of another range, or of other fields, would mean something else to the agent.

    A family and one derived from it mean the same by their observations, whose bounds may follow from options: where one can
    get to depends on the horizon.
    """
    related = not trained.on_host and (isinstance(other, type(trained)) or isinstance(trained, type(other)))
    for space in ("observation_space", "observed_space", "action_space"):
        expected, found = getattr(trained, space), getattr(other, space)
        alike = type(expected) is type(found) and (expected.shape, expected.dtype) == (found.shape, found.dtype)
        if expected == found or (alike and related and space != "action_space"):
            continue
        theirs, name = f"{space} {_told(expected, found)}", type(other).__name__
        raise UserError(f"the agent was trained with {theirs}, but {name} has {_told(found, expected)}.")
    if trained.unit_actions != other.unit_actions:
        says = "has [-1, 1] in the place of the range of actions (unit_actions), but"
        one, not_the_other = (
            ("the agent", type(other).__name__) if trained.unit_actions else (type(other).__name__, "the agent")
        )
        raise UserError(f"{one} {says} {not_the_other} has not.")


def _told(space: Any, other: Any) -> str:
    """A space in one line, with the bounds that tell it from another."""
    bounds = ("low", "high")
    if str(space) != str(other) or not all(hasattr(each, bound) for each in (space, other) for bound in bounds):
        return str(space)
    return f"{space} ({', '.join(f'{bound} {np.ravel(getattr(space, bound)).tolist()}' for bound in bounds)})"
