"""``python -m experiments.few_shot``: few-shot regression or N-way classification on tasks of one's own."""

import dataclasses
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

import envs
from agents import RegressionSettings, classification_world, regression_world
from agents.agent import Kind, Training
from envs.few_shot import FewShotFamily
from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError, one_line_errors
from experiments.cli.flags import at_least, between, given_flags
from experiments.reporting import figures
from experiments.reporting.intervals import task_hash
from experiments.runs import checkpoint
from experiments.runs.folder import to_resume
from experiments.supervised import evaluation, experiment
from experiments.supervised.experiment import Built, SupervisedConfig, learner_of, refuse_bad_values
from experiments.supervised.few_shot_data import DIGITS, QUERY_SHOTS, family_of, refuse_sources
from experiments.training.config import network_of, schedule
from experiments.training.experiment import Experiment
from experiments.training.settings import from_flat, parse_run
from metarl.tasks import ONE_BATCH, TaskMap

NAME = "few_shot"
MEASURES = {
    "regression": (evaluation.MSE,),
    "classification": (evaluation.ACCURACY, evaluation.CROSS_ENTROPY),
}
MOST_TASKS = 10_000  # held-out ones


@dataclass(frozen=True, kw_only=True)
class FewShotConfig(SupervisedConfig):
    """Meta-train on tasks of your own, and test on some that are held out; README, "Few-shot learning on your own data".

    Regression of the tasks in a file, or with --ways N-way classification: then a task is N classes in random order. Errors are
    mean squared errors; with --ways cross-entropies, and accuracy is measured.
    """

    data: str | None = None
    """An .npz or .csv of examples; or digits, the images that scikit-learn ships."""
    problem: str | None = None
    """In its place a function, my_module:name, that draws support and query sets; see envs.few_shot.from_function."""
    ways: int | None = None
    """N: classes per task. Regression if not given."""
    shots: int = 5
    """K: support examples in training, of each class."""
    query_shots: int | None = None
    """Query examples, of each class; 15 if not given."""
    held_out: tuple[str, ...] = ()
    """Names of the tasks or classes to test on, never trained on; those that the data names, or one in four, if not given."""
    task_column: str = "task"
    """What the column of tasks is called in a .csv."""
    label_column: str = "label"
    """The same of classes."""
    targets: tuple[str, ...] = ()
    """The columns to predict in a .csv; y or y1, y2, ... if not given."""
    test_shots: tuple[int, ...] = ()
    """Support examples at test, one number or several; as in training if not given."""
    num_iterations: int = 2000
    """Meta-iterations."""
    num_tasks: int = 8
    """M: tasks per meta-iteration."""
    outer_lr: float = 1e-3
    """Step size of Adam on the meta-parameters."""
    outer_schedule: Literal["cosine", "constant"] = "constant"
    """How outer_lr goes on: to zero along a cosine, or constant."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Hidden layers."""
    activation: Literal["tanh", "relu"] = "relu"
    """Between hidden layers."""
    network: str | None = None
    """conv, for images, or my_module:mine/network, registered there by agents.register_network; an MLP of --hidden-sizes if not
    given."""
    eval_tasks: int = 600
    """Held-out tasks at the end; where they are finitely many, each as often as the others."""
    trust: tuple[str, ...] = ()
    """Modules of others that the run to go on with may have imported; see evaluate --help."""


def few_shot_config(**given: Any) -> FewShotConfig:
    """A configuration from settings by name, those of the agent among them.

    Raises:
        UserError: no such agent or setting, or a value out of bounds.
    """
    return from_flat(FewShotConfig, kind_of(given.get("ways")), given)


def kind_of(ways: int | None) -> Kind:
    """What kind of world a number of ways makes."""
    return "regression" if ways is None else "classification"


def resolve(config: FewShotConfig) -> FewShotConfig:
    """Refuse bad values before anything compiles, and fill in what depends on the source of tasks."""
    refuse_bad_values(config)
    at_least(config, shots=1, query_shots=1, ways=2, test_shots=1)
    between(config, eval_tasks=(1, MOST_TASKS))
    refuse_sources(config)
    if config.problem is not None and len(config.test_shots) > 1:
        raise UserError(f"--test-shots has several numbers, but tasks of {config.problem} have one; give one of them.")
    data, query_shots = config.data, config.query_shots
    if data is not None:
        data = data if data == DIGITS else str(Path(data).resolve())
        query_shots = query_shots or QUERY_SHOTS
    return dataclasses.replace(config, data=data, query_shots=query_shots, test_shots=config.test_shots or (config.shots,))


def build(config: FewShotConfig, *, shots: int = 0, family: Any = None, task_map: TaskMap = ONE_BATCH) -> Built:
    """Family and learner of resolved settings.

    Args:
        config: settings.
        shots: K, in the place of the configuration's; states of different shots fit one another.
        family: in the place of the one made for these shots.
        task_map: how training works on tasks: see `experiments.training.devices`.
    """
    shots = shots or config.shots
    family = family or family_of(config, shots)
    of_kind = regression_world if config.ways is None else classification_world
    world = of_kind(family, RegressionSettings(shots, config.hidden_sizes, config.activation), network=network_of(config))
    num_iterations = max(config.num_iterations, 1)
    training = Training(
        num_tasks=config.num_tasks,
        outer_lr=schedule(config.outer_schedule, config.outer_lr, num_iterations),
        num_iterations=num_iterations,
        remat=config.remat,
        task_map=task_map,
    )
    return Built(family, learner_of(config, world, training))


def run(config: FewShotConfig) -> None:
    """Meta-train, evaluate, and write the run folder."""
    resolved = resolve(config)
    split = build_for_test(resolved)[resolved.test_shots[0]].family.split  # refuses what could not be tested, too
    lists = None if split is None else {"train": split.train_hash, "held_out": split.held_out_hash}
    if split is not None:
        print(f"trained on: {' '.join(split.train)}\nheld out: {' '.join(split.held_out)} (SHA-256 {split.held_out_hash[:12]})")
    build_for_training = lambda config, task_map: build(config, task_map=task_map)
    experiment.run(experiment_of(config), config, build_for_training, evaluate, task_lists=lists, resolve=resolve)


def build_for_test(config: FewShotConfig) -> dict[int, Built]:
    """Test shots -> family and learner. Tasks from arrays are the same for all shots, with more or fewer of their examples."""
    family = family_of(config, max(config.test_shots))
    return {shots: build(config, shots=shots, family=family) for shots in config.test_shots}


def evaluate(config: FewShotConfig, run_config: dict[str, Any]) -> None:
    """Evaluate the newest checkpoint of a run on tasks that were held out."""
    built = build_for_test(config)
    iteration, state, env_steps = checkpoint.load(config.run_dir, build(config).learner)
    tasks, of_task = held_out_tasks(built[config.test_shots[0]].family, config.eval_tasks)
    measures = MEASURES[kind_of(config.ways)]
    labels: dict[str, Any] = {"env": NAME.replace("_", "-"), "agent": config.agent, "seed": config.seed}
    labels |= {"data": Path(config.data).name if config.data else config.problem, "ways": config.ways}
    labels |= {"iteration": iteration, "train_shots": config.shots, "env_steps": env_steps}
    split = built[config.test_shots[0]].family.split
    evaluation.evaluate(
        config.run_dir,
        labels | ({} if split is None else {"held_out": list(split.held_out)}),
        built,
        state,
        tasks,
        run_config=run_config,
        measures=measures,
        draw=lambda path, result: draw(path, result, measures[0].name),
        of_task=of_task,
        digest=digest(built[config.test_shots[0]].family, tasks),
    )


def held_out_tasks(family: FewShotFamily, num_tasks: int) -> tuple[Any, np.ndarray | None]:
    """Tasks [M], and where they are finitely many the number of each [M]: each then comes as often as the others."""
    if family.held_out_list is None or family.split is None:
        return envs.held_out_tasks(family, num_tasks), None
    distinct = len(family.split.held_out)
    tasks = envs.held_out_tasks(family, max(num_tasks // distinct, 1) * distinct)
    return tasks, np.asarray(tasks.groups[:, 0])


def digest(family: FewShotFamily, tasks: Any) -> str:
    """What tells held-out tasks from others: rows mean nothing without the examples that they number."""
    rows = task_hash(tasks)
    return rows if family.split is None else hashlib.sha256((rows + family.split.held_out_hash).encode()).hexdigest()


def draw(path: Path, result: dict[str, Any], measure: str) -> None:
    """Error or accuracy against inner steps."""
    figures.error_comparison(path, {result["agent"]: result | {"seeds": [result["seed"]]}}, measure)


def experiment_of(config: FewShotConfig) -> Experiment:
    """Whose run a configuration is."""
    return REGRESSION if config.ways is None else CLASSIFICATION


def _experiment(kind: Kind, called: str) -> Experiment:
    evaluate_run = lambda config, run_config, flags: evaluate(config, run_config)
    return Experiment(NAME, FewShotConfig, kind, evaluate_run, place=f"experiments.{NAME}:{called}")


REGRESSION = _experiment("regression", "REGRESSION")
CLASSIFICATION = _experiment("classification", "CLASSIFICATION")


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    words = sys.argv[1:] if args is None else args
    given = given_flags(words)
    stored = to_resume(Path(given.get("run_dir", ""))) if "resume" in given else {}
    ways = given.get("ways", stored.get("ways"))
    kind = kind_of(None if ways in (None, "None") else 2)  # which flags there are depends on it
    run(parse_run(FewShotConfig, words, command_line(NAME), kind))


if __name__ == "__main__":
    main()
