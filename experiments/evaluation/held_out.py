"""Held-out evaluation of agents that act: return after 0..K inner steps or episodes, with intervals."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import envs
from agents.agent import hyperparameters
from envs.keys import numbers
from experiments.cli.errors import UserError
from experiments.cli.family_errors import NotFinite, explained
from experiments.cli.flags import at_least, between, with_paths
from experiments.cli.luxuries import luxury
from experiments.evaluation import film, rollout_video, wandb_evaluation
from experiments.evaluation.trained import Trained, load
from experiments.reporting import figures
from experiments.reporting.intervals import bootstrap_ci95, hurt_over_seeds, iqm, share_by_chance, task_hash
from experiments.reporting.measures import SHARES, mean_intervals, share_intervals
from experiments.reporting.tables import Table, number, show, tasks_of
from experiments.reporting.tails import tails
from experiments.runs import checkpoint
from experiments.runs.folder import write_json
from experiments.runs.strangers import modules_of
from experiments.training.config import KIND, build
from experiments.training.settings import declared
from metarl.interfaces import MetaLearner

TASKS_AT_ONCE = 20  # bounds memory; results do not depend on it
TASKS_DRAWN = 4  # paths shown in the picture


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Evaluate a trained run on held-out tasks: return after 0..K inner steps, with 95 % intervals.

    A supervised run is evaluated as its own settings say.
    """

    run_dir: Path | None = None
    """A run made by experiments.train, or a folder that holds those of several seeds. With --pretrained: where to write, else
    runs/pretrained/NAME."""
    pretrained: str | None = None
    """A trained agent that comes with metarl, such as HalfCheetahDir/promp, in the place of a run."""
    env: str | None = None
    """If given, checked against the run's."""
    trust: tuple[str, ...] = ()
    """Modules of others that the run may have imported, if they do not lie in the folder where you are."""
    num_tasks: int = 100
    """M: held-out tasks; the first M of the family's fixed list. Where it has fewer, each is evaluated as often as the
    others."""
    num_steps: int = 3
    """K: inner steps, more than trained if you like."""
    num_episodes: int | None = None
    """N: episodes per inner step (for agents with memory: trials to average over); as in training if not given."""
    horizon: int | None = None
    """T: steps per episode; as in training if not given."""
    step_scale: tuple[float, ...] | None = None
    """How far each inner step goes, relative to training; as the run was set if not given. 1 0.5 halves it after the first."""
    held_out_tasks: str | None = None
    """A .csv or .json file of the tasks to evaluate on, in order, in the place of the family's or the run's."""

    def __post_init__(self) -> None:
        """Take a folder's name as text."""
        with_paths(self, "run_dir")


def evaluate(agent: Trained, *, num_tasks: int = 100, num_steps: int = 3) -> dict[str, Any]:
    """An agent on held-out tasks.

    Args:
        agent: from `load` or `trained`.
        num_tasks: M, the first of the family's fixed list, whatever the seed of the training.
        num_steps: K, inner steps, or episodes of agents with memory.

    Returns:
        What evaluation.json holds: "episodes" [K+1] used by then, "return_mean", "return_ci95", "return_iqm" and "greedy_mean"
        [K+1], "returns" and "gain_se" [M][K+1], "hurt" beside "hurt_by_chance", "task_hash" and so on; see `summarise`. Tasks
        with a return that is not finite are left out of all of them and of "num_tasks"; "not_finite" lists which of the fixed
        list they are, if there are any.

    Raises:
        UserError: numbers below 0 or 1, or no task has finite returns.
    """
    return _evaluated(agent, num_tasks, num_steps)[0]


def _evaluated(agent: Trained, num_tasks: int, num_steps: int) -> tuple[dict[str, Any], Any, dict[str, Any]]:
    """What `evaluate` gives, the tasks, and the curves of `adapt_all`."""
    for name, value, least in (("num_tasks", num_tasks, 1), ("num_steps", num_steps, 0)):
        if value < least:
            raise UserError(f"{name} is {value}, but must be at least {least}.")
    tasks, of_task = held_out(agent.family, num_tasks)
    num_tasks = len(jax.tree.leaves(tasks)[0])
    curves = adapt_all(agent, tasks, num_steps)
    digest = task_hash(tasks)  # of all that were asked for, or runs that lost others could not be compared
    sound = np.all([np.isfinite(curves[name]).all(axis=1) for name in ("returns", "greedy_returns")], axis=0)
    if not sound.any():
        raise NotFinite(
            f"all {num_tasks} held-out tasks give returns that are not finite.",
            "The agent's adaptation diverges: try a smaller --inner-lr.",
            lambda learner: jax.block_until_ready(adapter(learner, num_steps)(agent.state, tasks)),
        )
    left_out = {"not_finite": np.flatnonzero(~sound).tolist()} if not sound.all() else {}
    tasks, curves = jax.tree.map(lambda leaf: leaf[sound], (tasks, curves)) if left_out else (tasks, curves)
    num_tasks, of_task = int(sound.sum()), None if of_task is None else of_task[sound]
    returns, greedy, error = (curves[name].astype(np.float64) for name in ("returns", "greedy_returns", "gain_error"))
    summary = summarise(returns, greedy, error, of_task, freedom=float(np.min(curves["gain_freedom"])))
    measures = summarise_measures(agent.family, curves["measures"], curves["greedy_measures"], of_task)
    result = {"iteration": agent.iteration, "num_tasks": num_tasks, "episodes": curves["used"][0].tolist()}
    result |= {} if of_task is None else {"of_task": of_task.tolist()}
    classes = summarise_classes(agent.family, tasks, returns, measures.get("measures", {}))
    return result | left_out | summary | measures | classes | {"task_hash": digest}, tasks, curves


def repeats(family: Any, num_tasks: int) -> np.ndarray | None:
    """Where more evaluations are asked for than a family lists held-out tasks: the number of the task of each, [M].

    M is ``num_tasks``, or less, so that every task is evaluated as often as the others. None where all tasks differ.
    """
    listed = None if family.held_out_list is None else len(jax.tree.leaves(family.held_out_list)[0])
    return None if listed is None or listed >= num_tasks else np.arange(num_tasks - num_tasks % listed) % listed


def held_out(family: Any, num_tasks: int) -> tuple[Any, np.ndarray | None]:
    """Held-out tasks to evaluate, leaves [M, ...], and the number of the task of each, [M]; None where all differ.

    M is ``num_tasks``, or less: where some are the same, since the family lists fewer, or lists or draws one twice, those that
    differ are all there are, and each is evaluated as often as the others.
    """
    of_task = repeats(family, num_tasks)
    tasks = envs.held_out_tasks(family, num_tasks if of_task is None else min(num_tasks, len(np.unique(of_task))))
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(numbers(tasks))]
    seen: dict[bytes, int] = {}
    for i in range(len(leaves[0])):
        seen.setdefault(b"".join(leaf[i].tobytes() for leaf in leaves), i)
    first = list(seen.values())
    if of_task is None and len(first) == num_tasks:
        return tasks, None
    of_task = np.arange(num_tasks - num_tasks % len(first)) % len(first)
    which = np.asarray(first)[of_task]
    return jax.tree.map(lambda leaf: leaf[which], tasks), of_task


def evaluate_run(config: EvaluateConfig, run_config: dict[str, Any]) -> None:
    """Evaluate the newest checkpoint; print the table, write evaluation.json, adaptation.png, rollout.gif and wandb.

    Args:
        config: which run and how; the caller holds the run's lock.
        run_config: the run's config.json.
    """
    assert config.run_dir is not None
    changes = changes_of(config, run_config["settings"])
    agent = load(config.run_dir, trust=tuple(modules_of(run_config)), **changes)  # admitted by the command
    result = evaluate_into(config.run_dir, agent, config, run_config["settings"])
    with luxury("the evaluation in wandb"):
        wandb_evaluation.log(config.run_dir, run_config, result, agent.env_steps)


def changes_of(config: EvaluateConfig, settings: dict[str, Any]) -> dict[str, Any]:
    """What an evaluation sets otherwise than its run did, for `load`."""
    at_least(config, num_tasks=1, num_steps=0, num_episodes=1, horizon=1)
    between(config, step_scale=(1e-9, float("inf")))
    if config.step_scale and "test_step_scale" not in hyperparameters(declared(settings["agent"], KIND), KIND):
        raise UserError(f"--step-scale is {config.step_scale}, but {settings['agent']} takes no inner steps; leave it out.")
    changes: dict[str, Any] = {"num_episodes": config.num_episodes, "test_step_scale": config.step_scale}
    changes |= {"held_out_tasks": config.held_out_tasks, "horizon": config.horizon}
    return {name: value for name, value in changes.items() if value is not None}


def evaluate_into(folder: Path, agent: Trained, config: EvaluateConfig, settings: dict[str, Any]) -> dict[str, Any]:
    """Evaluate an agent; print the table, write evaluation.json, adaptation.png and rollout.gif to ``folder``.

    Args:
        folder: there already.
        agent: which.
        config: how.
        settings: those it was trained with, by name.

    Returns:
        What evaluation.json holds.
    """
    declaration = declared(settings["agent"], KIND)
    trained_as = agent.config
    rebuild = None if trained_as is None else lambda watched: build(trained_as, family=watched).learner
    with explained(settings["env"], agent.family, rebuild):
        found, tasks, curves = _evaluated(agent, config.num_tasks, config.num_steps)
    result = {
        "env": settings["env"],
        "agent": settings["agent"],
        "seed": settings["seed"],
        "adapts_by": declaration.adapts_by,
        "num_episodes": config.num_episodes or settings["num_episodes"],
        "step_scale": list(config.step_scale or settings.get("test_step_scale") or (1.0,)),
        "horizon": int(agent.family.horizon),
        **found,
    }
    write_json(folder / "evaluation.json", result)
    if "not_finite" in found:
        which = found["not_finite"]
        total = len(which) + found["num_tasks"]
        checkpoint.warn(
            f"{len(which)} of {total} held-out tasks gave returns that are not finite and are left out: "
            f"{', '.join(map(str, which))} of the family's list."
        )
    with luxury("the table"):  # on a screen that nobody reads any more
        show(table_of(result))
        if "measures" in result:
            show(table_of_measures(result))
        if "classes" in result:
            show(table_of_classes(result))
    picture, video = folder / "adaptation.png", folder / "rollout.gif"
    with luxury(picture.name, picture):
        draw(picture, agent.family, tasks, result, curves)
    first = jax.tree.map(lambda x: x[0], curves | {"tasks": tasks})
    episodes = {name: (first[name][0], first["actions"][i], first[name][1]) for i, name in enumerate(("before", "after"))}
    with luxury(video.name, video):
        filmed_anew = declaration.adapts_by == "gradient"  # where chance decided how the episodes went
        keys = {name: jax.random.wrap_key_data(first["keys"][i]) for i, name in enumerate(episodes)}
        keys_of_episodes = None if filmed_anew else keys
        recorded = rollout_video.write(video, agent.family, first["tasks"], episodes, keys_of_episodes, agent.learner.read)
        if not recorded and filmed_anew:
            film.write(video, agent, tasks, num_steps=config.num_steps)
    return result


def adapt_all(agent: Trained, tasks: Any, num_steps: int) -> dict[str, Any]:
    """Adapt to every task. Task i's random numbers depend on i alone; compiled once for all seeds of a run.

    Returns:
        "returns" [M, K+1], mean over N episodes after 0..K inner steps; "greedy_returns" [M, K+1], the same without
        sampling; "gain_error" [M, K+1], the standard error of each return minus the first; "gain_freedom" [M], its
        degrees of freedom; "measures" and "greedy_measures", name -> [M, K+1], what else the family measures of both;
        "used" [M, K+1], episodes used by then; "before" and "after", the first episode with the unadapted and with the last
        parameters: (observation [M, T, ...], mask [M, T], last observation [M, ...]); "actions", those of both, as the family
        took them; "keys", the words of those that both were drawn with.
    """
    return jax.device_get(adapter(agent.learner, num_steps)(agent.state, tasks))


@functools.lru_cache(maxsize=1)
def adapter(learner: MetaLearner, num_steps: int) -> Callable[[Any, Any], dict[str, Any]]:
    """The compiled (state, tasks) -> curves of `adapt_all`."""

    def one(state: Any, index: jax.Array, task: Any) -> dict[str, Any]:
        key = jax.random.fold_in(jax.random.key(checkpoint.KEY_OF_EVALUATION), index)
        curve = learner.adapt(state, task, key, num_steps)
        support, query = curve.experience
        first = query if num_steps == 0 else jax.tree.map(lambda x: x[0], support)
        episodes = {"before": first_episode(first), "after": first_episode(query)}
        of_first = lambda batch: jax.tree.map(lambda x: x[0], batch.trajectory.action)
        episodes["actions"] = tuple(learner.to_action(of_first(batch)) for batch in (first, query))
        episodes["keys"] = tuple(batch.trajectory.key[0] for batch in (first, query))
        measured = {"measures": curve.measures, "greedy_measures": curve.greedy_measures}
        error = jnp.zeros_like(curve.score) if curve.gain_error is None else curve.gain_error
        found = {"returns": curve.score, "greedy_returns": curve.greedy_score, "gain_error": error}
        freedom = jnp.asarray(jnp.inf if curve.gain_freedom is None else curve.gain_freedom, float)
        return found | {"used": curve.used, "gain_freedom": freedom} | measured | episodes

    def first_episode(batch: Any) -> tuple[jax.Array, ...]:
        trajectory = batch.trajectory
        return trajectory.observation[0], trajectory.mask[0], trajectory.last_observation[0]

    @jax.jit
    def all_tasks(state, tasks):
        num_tasks = jax.tree.leaves(tasks)[0].shape[0]
        batch = min(TASKS_AT_ONCE, num_tasks)
        return jax.lax.map(lambda pair: one(state, *pair), (jnp.arange(num_tasks), tasks), batch_size=batch)

    return all_tasks


def summarise(
    returns: np.ndarray,
    greedy_returns: np.ndarray,
    gain_error: np.ndarray,
    of_task: np.ndarray | None = None,
    freedom: float = np.inf,
) -> dict[str, Any]:
    """Means, intervals and the share of tasks hurt, under the names of evaluation.json.

    A task is hurt where its gain, the last return minus the first, lies 1.96 standard errors below zero. Where adaptation does
    nothing that is a share of "hurt_by_chance", more where episodes are few. None where
    a task's single episode does not tell a standard error.

    Args:
        returns: [M, K+1], of sampled actions.
        greedy_returns: [M, K+1], of the policy's mode.
        gain_error: [M, K+1], standard errors of each return minus the first, over episodes.
        of_task: see `held_out`.
        freedom: degrees of freedom of each standard error.
    """
    times = 1 if of_task is None else int(np.min(np.unique(of_task, return_counts=True)[1]))  # a task is one with its repeats
    return {
        "return_mean": returns.mean(axis=0).tolist(),
        "return_ci95": bootstrap_ci95([returns], of_task).tolist(),
        "return_iqm": iqm(returns).tolist(),
        **tails([returns], of_task),
        "greedy_mean": greedy_returns.mean(axis=0).tolist(),
        "greedy_ci95": bootstrap_ci95([greedy_returns], of_task).tolist(),
        **{name: value for name, value in hurt_over_seeds([returns], [gain_error], of_task).items() if name != "hurt_by_step"},
        "hurt_by_chance": share_by_chance(times * freedom),
        "returns": returns.tolist(),
        "greedy_returns": greedy_returns.tolist(),
        "gain_se": gain_error.tolist() if np.all(np.isfinite(gain_error)) else None,
    }


def summarise_measures(
    family: Any, sampled: dict[str, np.ndarray], greedy: dict[str, np.ndarray], of_task: np.ndarray | None
) -> dict[str, Any]:
    """What evaluation.json holds of a family's measures, given name -> [M, K+1] of both kinds of episodes; {} without any."""
    if not sampled:
        return {}
    found = {}
    for name, reduction in family.measures.items():
        unsound = ~np.isfinite(np.concatenate([sampled[name], greedy[name]], axis=1)).all(axis=1)
        if unsound.any():
            checkpoint.warn(f"{name} is left out of the evaluation: it is not finite on {unsound.sum()} held-out tasks.")
            continue
        values, modes = sampled[name].astype(np.float64), greedy[name].astype(np.float64)
        ci95 = share_intervals if reduction in SHARES else mean_intervals
        found[name] = {
            "reduction": reduction,
            "mean": values.mean(axis=0).tolist(),
            "ci95": ci95(values, of_task=of_task),
            "greedy_mean": modes.mean(axis=0).tolist(),
            "greedy_ci95": ci95(modes, of_task=of_task),
            "values": values.tolist(),
            "greedy_values": modes.tolist(),
        }
    return {"measures": found} if found else {}


def summarise_classes(family: Any, tasks: Any, returns: np.ndarray, measures: dict[str, Any]) -> dict[str, Any]:
    """What evaluation.json holds of each class of tasks, for families that have such; {} for others.

    Args:
        family: tells the class of a task, see `envs.TaskFamily.class_of`.
        tasks: leaves [M, ...].
        returns: [M, K+1].
        measures: what `summarise_measures` found, by name.
    """
    host = jax.device_get(tasks)
    names = [family.class_of(jax.tree.map(lambda leaf: leaf[index], host)) for index in range(len(returns))]  # noqa: B023
    if None in names:
        return {}
    found = {}
    for name in sorted(set(names)):
        rows = np.array([each == name for each in names])
        mean = lambda values: np.asarray(values)[rows].mean(axis=0).tolist()  # noqa: B023
        found[name] = {
            "num_tasks": int(rows.sum()),
            "return_mean": mean(returns),
            **{f"{measure}_mean": mean(values["values"]) for measure, values in measures.items()},
        }
    return {"classes": found}


def draw(path: Path, family: Any, tasks: Any, result: dict[str, Any], curves: dict[str, Any]) -> None:
    """The adaptation curve and, where the family lies in a plane, paths before and after adaptation."""
    episodes = None
    if family.plane(np.zeros(curves["before"][0].shape[2:]), family.default_params) is not None:
        episodes = jax.tree.map(lambda x: x[:TASKS_DRAWN], (curves["before"], curves["after"]))
    figures.adaptation(path, result, family, jax.device_get(tasks), episodes)


def table_of(result: dict[str, Any]) -> Table:
    """The adaptation table, with intervals."""
    step = "episode" if result["adapts_by"] == "memory" else "inner step"
    columns = ("episodes", "return_mean", "return_ci95", "return_iqm", "greedy_mean")
    rows = [
        (str(k), str(episodes), f"{mean:.2f}", f"[{low:.2f}, {high:.2f}]", f"{middle:.2f}", f"{greedy:.2f}")
        for k, (episodes, mean, (low, high), middle, greedy) in enumerate(zip(*(result[name] for name in columns), strict=True))
    ]
    return Table(
        headings=(step, "episodes", "return", "95 % interval", "IQM", "greedy"),
        rows=rows,
        title=f"{result['agent']} on {tasks_of(result)} of {result['env']}",
        words=(),
        caption="episodes: used on the new task by then; IQM: interquartile mean; greedy: by the policy's mode, not sampled.\n"
        + f"{sentence_of_hurt(result)}\n{sentence_of_tails(result)}",
    )


def sentence_of_tails(result: dict[str, Any]) -> str:
    """What the table says of the worst tasks."""
    names = {"return_worst": "worst task", "return_cvar05": "worst 5 %", "return_cvar20": "worst 20 %"}
    names["return_p20"] = "20th percentile"
    return "after the last: " + ", ".join(f"{words} {number(result[name][-1])}" for name, words in names.items())


def sentence_of_hurt(result: dict[str, Any]) -> str:
    """What the table says of tasks that adaptation made worse."""
    if result["hurt"] is None:
        return "tasks made worse by adaptation: cannot be told from one episode per task"
    low, high = result["hurt_ci95"]
    return (
        f"clearly worse after the last than at first: {result['hurt']:.1%} of tasks [{low:.0%}, {high:.0%}]; "
        f"{result['hurt_by_chance']:.1%} by chance alone"
    )


def table_of_measures(result: dict[str, Any]) -> Table:
    """What the family measures beside the return, with intervals: a row per measure and adaptation step."""
    rows = [
        (name, measure["reduction"], str(k), f"{mean:.4g}", f"[{low:.4g}, {high:.4g}]", f"{greedy:.4g}")
        for name, measure in result["measures"].items()
        for k, (mean, (low, high), greedy) in enumerate(
            zip(measure["mean"], measure["ci95"], measure["greedy_mean"], strict=True)
        )
    ]
    step = "episode" if result["adapts_by"] == "memory" else "inner step"
    return Table(("measure", "of steps", step, "mean", "95 % interval", "greedy"), rows, words=(0, 1))


def table_of_classes(result: dict[str, Any]) -> Table:
    """Each class of tasks, before any adaptation and after the last step."""
    columns = ("return", *result.get("measures", {}))
    rows = [
        (name, str(each["num_tasks"]), *(f"{each[f'{column}_mean'][k]:.4g}" for column in columns for k in (0, -1)))
        for name, each in result["classes"].items()
    ]
    headings = [f"{column} {when}" for column in columns for when in ("before", "after")]
    return Table(("class", "tasks", *headings), rows, words=(0,))
