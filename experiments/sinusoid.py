"""``python -m experiments.sinusoid``: supervised meta-learning through the same core, under published protocols."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

import agents
from agents.parts.networks import ACTIVATIONS
from agents.parts.world import regression_world
from agents.pretrained import RECIPES
from envs.families.regression import RegressionFamily, sinusoid
from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError, one_line_errors
from experiments.cli.flags import MAX_SEED, at_least, between, multiple, parse
from experiments.runs import checkpoint
from experiments.runs.folder import to_resume
from experiments.supervised import evaluation, protocols, selection, tutorial
from experiments.supervised.protocols import ProtocolName
from experiments.training import loop, without_folders
from experiments.training.config import SCHEDULES
from experiments.training.devices import choose_devices, spread
from experiments.training.progress import Progress
from experiments.training.session import build_agent, train_and_evaluate
from metarl.interfaces import MetaLearner
from metarl.tasks import AT_ONCE, OverTasks

ENV = "sinusoid"
GRID_POINTS = 100


@dataclasses.dataclass(frozen=True)
class SinusoidConfig:
    """Meta-train on sinusoids; test with 5, 10 and 20 points and 0..10 inner steps on held-out ones.

    Settings without a value are the protocol's: see experiments/supervised/protocols.py.
    """

    run_dir: Path
    """Where the run is written."""
    protocol: ProtocolName = "maml"
    """Whose settings: Finn et al. 2017, Li et al. 2017, Zintgraf et al. 2019, or the tutorial MAML in JAX."""
    agent: str = "maml"
    """A name of agents.AGENTS."""
    seed: int = 0
    """Everything random in training follows from it; held-out tasks do not depend on it."""
    seeds: int | None = None
    """Train this many seeds together, from --seed on, each in a folder of its own: run_dir/seed-0 and so on."""
    num_iterations: int | None = None
    """Meta-iterations."""
    num_tasks: int | None = None
    """M: tasks per meta-iteration."""
    train_shots: int | None = None
    """Support points in training."""
    query_shots: int | None = None
    """Query points in training; as many as support points by default."""
    num_inner_steps: int | None = None
    """K: inner steps in training."""
    inner_lr: float | None = None
    """Step size of adaptation, or where learned step sizes start."""
    outer_lr: float | None = None
    """Step size of Adam on the meta-parameters."""
    outer_schedule: Literal["cosine", "constant"] | None = None
    """How outer_lr goes on: to zero along a cosine, or constant."""
    context_size: int = 5
    """Length of the context vector of cavia."""
    proximal: float | None = None
    """How strongly imaml holds adaptation near the start (its lambda)."""
    cg_steps: int = 5
    """Iterations of conjugate gradients of imaml."""
    cg_damping: float | None = None
    """Added to the curvature in the linear system of imaml."""
    remat: bool = False
    """Recompute inner steps in the backward pass instead of storing them."""
    recipe: str = "plain"
    """How pretrained is fine-tuned: plain, lower-early, frozen, gradual, new-head or cross-validated."""
    hidden_sizes: tuple[int, ...] = (40, 40)
    """Hidden layers."""
    activation: str = "relu"
    """tanh or relu."""
    eval_tasks: int = 2000
    """Held-out tasks at the end."""
    log_every: int = 100
    """Meta-iterations per line of metrics, which is their mean."""
    checkpoint_every: int = 2500
    """Meta-iterations between checkpoints; a multiple of log_every."""
    devices: int | None = None
    """Spread the tasks over this many devices; one if not given: the work is too small to share."""
    task_batch: int | None = None
    """Tasks worked on at once by each device; fewer need less memory. All if not given."""
    on_nonfinite: Literal["stop", "skip"] = "stop"
    """When numbers become non-finite: stop the run, or skip that outer update and count it (outer/skipped)."""
    profile: bool = False
    """Write a JAX profiler trace of one compiled call to profile/ in the run's folder."""
    resume: bool = False
    """Continue the run in run_dir; settings not given are the run's own."""
    overwrite: bool = False
    """Replace the run in run_dir."""


class Built(NamedTuple):
    """What a configuration describes."""

    family: RegressionFamily
    learner: MetaLearner


def resolve(config: SinusoidConfig) -> SinusoidConfig:
    """Fill in the protocol's settings and refuse bad flag values, before anything compiles."""
    fixed = protocols.settings_of(config.protocol, config.agent)
    names = [field.name for field in dataclasses.fields(config) if field.name in fixed]
    missing = {name: fixed[name] for name in names if getattr(config, name) is None}
    config = dataclasses.replace(config, **missing)
    at_least(config, num_iterations=0, num_tasks=1, train_shots=1, query_shots=1, num_inner_steps=0, hidden_sizes=1)
    between(config, seed=(0, MAX_SEED))
    at_least(config, devices=1, task_batch=1, eval_tasks=1, log_every=1, checkpoint_every=1, context_size=1, cg_steps=1)
    between(config, inner_lr=(0, float("inf")), outer_lr=(0, float("inf")), proximal=(1e-6, float("inf")))
    between(config, cg_damping=(0, float("inf")))
    if config.recipe not in RECIPES:
        raise UserError(f"--recipe is {config.recipe!r}; known: {', '.join(RECIPES)}.")
    if config.activation not in ACTIVATIONS:
        raise UserError(f"--activation is {config.activation!r}; known: {', '.join(ACTIVATIONS)}.")
    multiple(config, "checkpoint_every", "log_every")
    return config


def build(config: SinusoidConfig, num_shots: int, *, test: bool = False, over_tasks: OverTasks = AT_ONCE) -> Built:
    """Family, network and learner for a number of shots; states of different shots fit one another.

    Args:
        config: resolved settings.
        num_shots: points in the support set.
        test: draw queries as the protocol tests; otherwise as the configuration trains.
        over_tasks: how training works on tasks: see `experiments.training.devices`.
    """
    protocol = protocols.PROTOCOLS[config.protocol]
    family = sinusoid(protocol.amplitude, protocol.phase)
    sample_query = None
    if test and protocol.grid:
        x = jnp.linspace(*family.x_range, GRID_POINTS)[:, None]
        sample_query = lambda task, key: (x, family.curve(task, x))
    elif not test and config.query_shots:
        sample_query = lambda task, key: family.sample(task, key, config.query_shots)
    network_options = {
        "hidden_sizes": config.hidden_sizes,
        "activation": config.activation,
        "init": nn.initializers.lecun_normal(),
    }
    world = regression_world(family, network_options, num_shots=num_shots, sample_query=sample_query)
    num_iterations = config.num_iterations or 1
    settings = agents.Settings(
        num_tasks=config.num_tasks or 1,
        num_inner_steps=config.num_inner_steps or 0,
        inner_lr=config.inner_lr or 0.0,
        outer_lr=SCHEDULES[config.outer_schedule or "constant"](config.outer_lr or 0.0, num_iterations),
        num_iterations=num_iterations,
        context_size=config.context_size,
        proximal=config.proximal or 1.0,
        cg_steps=config.cg_steps,
        cg_damping=config.cg_damping or 0.0,
        remat=config.remat,
        recipe=config.recipe,
        over_tasks=over_tasks,
    )
    return Built(family, build_agent(config.agent, world, settings))


def run(config: SinusoidConfig) -> None:
    """Meta-train, evaluate, and write the run folder."""
    config = resolve(config)
    config = dataclasses.replace(config, devices=choose_devices(config.devices or 1, config.num_tasks or 1))
    over_tasks = spread(config.devices, config.task_batch)
    built = build(config, config.train_shots or 1, over_tasks=over_tasks)
    keep = None if protocols.PROTOCOLS[config.protocol].select else checkpoint.KEEP
    schedule = loop.Schedule(config.num_iterations or 0, config.log_every, config.checkpoint_every, keep)
    train_and_evaluate(
        "sinusoid",
        config,
        built.learner,
        schedule,
        finish,
        env=ENV,
        extendable=config.outer_schedule == "constant" and config.agent not in agents.ANNEALED,
        execution=loop.execution_of(config, over_tasks),
    )


def finish(config: SinusoidConfig, described: dict[str, Any]) -> None:
    """What follows training: the tutorial's pictures under its protocol, and always the evaluation."""
    if config.protocol == "jang":
        built = build(config, config.train_shots or 1)
        tutorial.draw(config, built, checkpoint.load(config.run_dir, built.learner)[1], build)
    evaluate(config, described)


def selector(config: SinusoidConfig) -> Callable[[Any], jax.Array] | None:
    """State -> error on training tasks, for protocols that select among checkpoints."""
    protocol = protocols.PROTOCOLS[config.protocol]
    if not protocol.select:
        return None
    return selection.validation_error(protocol, lambda shots: build(config, shots, test=True))


def train_seeds(config: SinusoidConfig, seed_list: Sequence[int], label: str) -> Any:
    """States [S, ...] of several seeds of a resolved configuration, selected as its protocol does; without run folders."""
    num_iterations = config.num_iterations or 0
    with Progress(num_iterations, 0, label) as progress:
        states, _ = without_folders.train(
            build(config, config.train_shots or 1).learner,
            seed_list,
            num_iterations,
            select=selector(config),
            select_every=config.checkpoint_every,
            on_progress=progress.update,
        )
    return states


def evaluate(config: SinusoidConfig, described: dict[str, Any]) -> None:
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
    evaluation.evaluate(
        config.run_dir,
        labels,
        {shots: build(config, shots, test=True) for shots in evaluation.TEST_SHOTS},
        state,
        num_tasks=config.eval_tasks,
        described=described,
    )


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    run(parse(SinusoidConfig, args, command_line("sinusoid"), to_resume))


if __name__ == "__main__":
    main()
