"""``python -m experiments.sinusoid``: supervised meta-learning through the same core, under published protocols."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp

import envs
from agents import RegressionSettings, regression_world
from agents.agent import Training
from envs.families.regression import sinusoid
from experiments.cli.command_line import command_line
from experiments.cli.errors import one_line_errors
from experiments.cli.flags import at_least
from experiments.runs import checkpoint
from experiments.supervised import evaluation, experiment, protocols, selection, tutorial
from experiments.supervised.experiment import KIND, Built, SupervisedConfig, learner_of, refuse_bad_values
from experiments.supervised.protocols import ProtocolName
from experiments.training import without_folders
from experiments.training.config import network_of, schedule
from experiments.training.experiment import Experiment
from experiments.training.progress import Progress
from experiments.training.settings import from_flat, parse_run
from metarl.tasks import ONE_BATCH, TaskMap

ENV = "sinusoid"
GRID_POINTS = 100


@dataclass(frozen=True, kw_only=True)
class SinusoidConfig(SupervisedConfig):
    """Meta-train on sinusoids; test with 5, 10 and 20 points and 0..10 inner steps on held-out ones.

    Defaults are those of the protocol, see experiments/supervised/protocols.py.
    """

    protocol: ProtocolName = "maml"
    """Whose settings: Finn et al. 2017, Li et al. 2017, Zintgraf et al. 2019, or the tutorial MAML in JAX."""
    train_shots: int = 10
    """Support points in training."""
    query_shots: int | None = None
    """Query points in training; as many as support points if not given."""
    outer_lr: float = 1e-3
    """Step size of Adam on the meta-parameters."""
    outer_schedule: Literal["cosine", "constant"] = "constant"
    """How outer_lr goes on: to zero along a cosine, or constant."""
    activation: Literal["tanh", "relu"] = "relu"
    """Between hidden layers."""
    eval_tasks: int = 2000
    """Held-out tasks at the end."""
    checkpoint_every: int = 2500
    """Meta-iterations between checkpoints; a multiple of log_every."""


def sinusoid_config(**given: Any) -> SinusoidConfig:
    """A configuration from settings by name, those of the agent among them; the protocol gives the others.

    Raises:
        UserError: no such agent or setting, or a value out of bounds.
    """
    protocol, agent = given.get("protocol", SinusoidConfig.protocol), given.get("agent", SinusoidConfig.agent)
    return from_flat(SinusoidConfig, KIND, protocols.settings_of(protocol, agent) | given)


def resolve(config: SinusoidConfig) -> SinusoidConfig:
    """Refuse bad flag values, before anything compiles."""
    refuse_bad_values(config)
    at_least(config, train_shots=1, query_shots=1, eval_tasks=1)
    return config


def build(config: SinusoidConfig, num_shots: int, *, test: bool = False, task_map: TaskMap = ONE_BATCH) -> Built:
    """Family, network and learner for a number of shots; states of different shots fit one another.

    Args:
        config: settings.
        num_shots: points in the support set.
        test: draw queries as the protocol tests; otherwise as the configuration trains.
        task_map: how training works on tasks: see `experiments.training.devices`.
    """
    protocol = protocols.PROTOCOLS[config.protocol]
    family = sinusoid(protocol.amplitude, protocol.phase)
    sample_query = None
    if test and protocol.grid:
        x = jnp.linspace(*family.x_range, GRID_POINTS)[:, None]
        sample_query = lambda task, key: (x, family.curve(task, x))
    elif not test and config.query_shots:
        sample_query = lambda task, key: family.sample(task, key, config.query_shots)
    numbers = RegressionSettings(num_shots, config.hidden_sizes, config.activation)
    world = regression_world(family, numbers, network=network_of(config), sample_query=sample_query)
    num_iterations = max(config.num_iterations, 1)
    training = Training(
        num_tasks=config.num_tasks,
        outer_lr=schedule(config.outer_schedule, config.outer_lr, num_iterations),
        num_iterations=num_iterations,
        remat=config.remat,
        task_map=task_map,
    )
    return Built(family, learner_of(config, world, training))


def run(config: SinusoidConfig) -> None:
    """Meta-train, evaluate, and write the run folder."""
    keep = None if protocols.PROTOCOLS[config.protocol].select else checkpoint.KEEP
    build_for_training = lambda config, task_map: build(config, config.train_shots, task_map=task_map)
    experiment.run(EXPERIMENT, config, build_for_training, finish, keep=keep, resolve=resolve)


def finish(config: SinusoidConfig, run_config: dict[str, Any]) -> None:
    """What follows training: always the evaluation, and under the tutorial's protocol its pictures."""
    evaluate(config, run_config)
    if config.protocol == "jang":
        built = build(config, config.train_shots)
        tutorial.draw(config, built, checkpoint.load(config.run_dir, built.learner)[1], build)


def selector(config: SinusoidConfig) -> Callable[[Any], jax.Array] | None:
    """State -> error on training tasks, for protocols that select among checkpoints."""
    protocol = protocols.PROTOCOLS[config.protocol]
    if not protocol.select:
        return None
    return selection.validation_error(protocol, lambda shots: build(config, shots, test=True))


def train_seeds(config: SinusoidConfig, seed_list: Sequence[int], label: str) -> Any:
    """States [S, ...] of several seeds of a configuration, selected as its protocol does; without run folders."""
    with Progress(config.num_iterations, 0, label) as progress:
        states, _ = without_folders.train(
            build(config, config.train_shots).learner,
            seed_list,
            config.num_iterations,
            select=selector(config),
            select_every=config.checkpoint_every,
            on_progress=progress.update,
        )
    return states


def evaluate(config: SinusoidConfig, run_config: dict[str, Any]) -> None:
    """Evaluate a run on held-out sinusoids: its newest checkpoint, or the one its protocol selects."""
    learner = build(config, 1).learner
    iteration, state, env_steps = checkpoint.load(config.run_dir, learner)
    labels: dict[str, Any] = {"env": ENV, "protocol": config.protocol, "agent": config.agent, "seed": config.seed}
    labels |= {"iteration": iteration, "train_shots": config.train_shots, "env_steps": env_steps}
    select = selector(config)
    if select is not None:
        error = jax.jit(select)
        kept = checkpoint.load_all(config.run_dir, learner)
        labels["selected_iteration"], state, _ = min(kept, key=lambda found: float(error(found[1])))
        print(f"evaluating iteration {labels['selected_iteration']}: of {len(kept)} checkpoints the best on training tasks.")
    built = {shots: build(config, shots, test=True) for shots in evaluation.TEST_SHOTS}
    tasks = envs.held_out_tasks(built[evaluation.SHOTS_DRAWN].family, config.eval_tasks)
    drawn = built[evaluation.SHOTS_DRAWN]
    evaluation.evaluate(
        config.run_dir,
        labels,
        built,
        state,
        tasks,
        run_config=run_config,
        measures=(evaluation.MSE,),
        draw=lambda path, result: evaluation.draw(path, drawn, state, tasks, config.agent),
    )


EXPERIMENT = Experiment("sinusoid", SinusoidConfig, KIND, lambda config, run_config, flags: evaluate(config, run_config))


def _protocol_defaults(given: dict[str, str], agent: str) -> dict[str, Any]:
    protocol = given.get("protocol", SinusoidConfig.protocol)
    return protocols.settings_of(protocol, agent) if protocol in protocols.PROTOCOLS else {}


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    words = sys.argv[1:] if args is None else args
    run(parse_run(SinusoidConfig, words, command_line("sinusoid"), KIND, _protocol_defaults))


if __name__ == "__main__":
    main()
