"""``python -m experiments.studies.explain``: three pictures of what meta-learning optimises."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import envs
from experiments import sinusoid
from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError, one_line_errors
from experiments.cli.flags import MAX_SEED, at_least, between, parse
from experiments.runs import checkpoint
from experiments.sinusoid import SinusoidConfig
from experiments.studies.explain import pictures
from experiments.studies.explain.world import TwoTasks
from metarl import meta, rules
from metarl.interfaces import Experience, Problem

AGENTS = ("pretrained", "maml", "fomaml", "reptile", "imaml", "oracle")
TEST_SHOTS, TEST_STEPS = 5, 10
SURFACE_STEPS = (0, 1, 2, 5)
SURFACE_TASKS = 100


@dataclasses.dataclass(frozen=True)
class ExplainConfig:
    """Two tasks in the plane, the loss surface after some inner steps, and six agents on one held-out sinusoid."""

    out: Path
    """Folder for two_tasks.png, loss_surface.png and fits.png."""
    num_iterations: int = 20_000
    """Meta-iterations of each agent on sinusoids."""
    seed: int = 0
    """Of training."""
    task: int = 0
    """Which held-out sinusoid to fit, with the five points of its evaluation."""
    surface_points: int = 41
    """Points of the loss surface along each axis."""


class Plane(NamedTuple):
    """What there is to draw about the two tasks.

    Attributes:
        axes: (x [P], y [P]) of the grid.
        task_losses: [2, P, P], [task, y, x].
        objectives: name -> [P, P], the mean loss of the two tasks after 0 or 1 inner steps.
        optima: name -> [2], where gradient descent on the objective ends.
        landings: name -> [2, 2], one inner step from there, per task.
        losses: name -> mean loss there, and after one inner step.
    """

    axes: tuple[np.ndarray, np.ndarray]
    task_losses: np.ndarray
    objectives: dict[str, np.ndarray]
    optima: dict[str, np.ndarray]
    landings: dict[str, np.ndarray]
    losses: dict[str, tuple[float, float]]


def two_tasks(world: TwoTasks, num_points: int = 121) -> Plane:
    """Optimise both objectives through the core: no inner step is pretraining, one is MAML."""

    def loss(theta, task):
        delta = theta - task[0]
        return 0.5 * delta @ task[1] @ delta, {}

    problem, rule = Problem(lambda params, task, key: task, loss, meta.final(loss)), rules.sgd(world.inner_lr)
    tasks = (jnp.asarray(world.centre, jnp.float32), jnp.asarray(world.curvature, jnp.float32))

    def mean_objective(theta, num_steps):
        def one(task):
            support = jax.tree.map(lambda x: jnp.broadcast_to(x, (num_steps, *x.shape)), task)
            return meta.objective(problem, rule)(theta, Experience(support, task))[0]

        return jnp.mean(jax.vmap(one)(tasks))

    def descend(num_steps):
        gradient = jax.grad(lambda theta: mean_objective(theta, num_steps))
        return jax.lax.fori_loop(0, 3000, lambda i, theta: theta - 0.3 * gradient(theta), jnp.zeros(2))

    def landing(theta):
        return jax.vmap(lambda task: theta - world.inner_lr * jax.grad(loss, has_aux=True)(theta, task)[0])(tasks)

    axes = (np.linspace(-2.2, 2.2, num_points), np.linspace(-2.0, 2.0, num_points))
    grid = jnp.stack(jnp.meshgrid(*map(jnp.asarray, axes)), axis=-1)
    over_grid = lambda f: np.asarray(jax.vmap(jax.vmap(f))(grid))
    steps = {"pretrained": 0, "MAML": 1}
    optima = {name: jax.jit(descend, static_argnums=0)(k) for name, k in steps.items()}
    return Plane(
        axes,
        np.stack([over_grid(lambda p, i=i: loss(p, (tasks[0][i], tasks[1][i]))[0]) for i in range(2)]),
        {name: over_grid(lambda p, k=k: mean_objective(p, k)) for name, k in steps.items()},
        {name: np.asarray(theta) for name, theta in optima.items()},
        {name: np.asarray(landing(theta)) for name, theta in optima.items()},
        {name: (float(mean_objective(theta, 0)), float(mean_objective(theta, 1))) for name, theta in optima.items()},
    )


class Trained(NamedTuple):
    """One agent of the sinusoid benchmark after training: learner for five test points, state, protocol's settings."""

    learner: Any
    state: Any
    config: SinusoidConfig


def train(config: ExplainConfig, agent: str) -> Trained:
    """Meta-train one agent under the protocol of Finn et al. 2017, shortened: hence an outer rate annealed to zero."""
    settings = sinusoid.resolve(
        sinusoid.sinusoid_config(
            run_dir=config.out,
            agent=agent,
            seed=config.seed,
            outer_schedule="cosine",
            num_iterations=config.num_iterations,
        )
    )
    states = sinusoid.train_seeds(settings, [config.seed], agent)
    state = jax.tree.map(lambda x: x[0], states)
    return Trained(sinusoid.build(settings, TEST_SHOTS).learner, state, settings)


class Surface(NamedTuple):
    """The objective on a slice of parameter space.

    Attributes:
        along, across: [P], coordinates in units of the distance from MAML's parameters to the pretrained ones.
        loss: [len(SURFACE_STEPS), P, P], [steps, across, along].
        points: name -> (along, across).
    """

    along: np.ndarray
    across: np.ndarray
    loss: np.ndarray
    points: dict[str, tuple[float, float]]


def loss_surface(maml: Trained, pretrained: Trained, num_points: int) -> Surface:
    """Mean loss of training tasks after 0, 1, 2 and 5 steps, on the plane of MAML's, pretrained and fresh parameters."""
    built = sinusoid.build(maml.config, maml.config.train_shots or 1)
    flat, unflatten = ravel_pytree(maml.state.theta)
    towards = ravel_pytree(pretrained.state.theta)[0] - flat
    fresh = ravel_pytree(built.learner.init(jax.random.key(0)).theta)[0] - flat
    unit = jnp.linalg.norm(towards)
    first = towards / unit
    second = fresh - (fresh @ first) * first
    second /= jnp.linalg.norm(second)
    tasks = jax.vmap(built.family.sample_task)(jax.random.split(jax.random.key(1), SURFACE_TASKS))
    keys = jax.random.split(jax.random.key(2), SURFACE_TASKS)

    def losses(along, across):
        state = maml.state._replace(theta=unflatten(flat + unit * (along * first + across * second)))
        curve = jax.vmap(lambda task, key: built.learner.adapt(state, task, key, SURFACE_STEPS[-1]))(tasks, keys)
        return -jnp.mean(curve.score, axis=0)[jnp.asarray(SURFACE_STEPS)]

    axis = jnp.linspace(-0.6, 1.6, num_points), jnp.linspace(-0.6, 1.05, num_points)
    rows = jax.jit(lambda: jax.lax.map(lambda y: jax.lax.map(lambda x: losses(x, y), axis[0]), axis[1]))()
    return Surface(
        np.asarray(axis[0]),
        np.asarray(axis[1]),
        np.moveaxis(np.nan_to_num(np.asarray(rows), nan=np.inf), -1, 0),
        {"MAML": (0.0, 0.0), "pretrained": (1.0, 0.0)},
    )


def fits(trained: dict[str, Trained], index: int) -> dict[str, Any]:
    """Five points of one held-out sinusoid and every agent's predictions after 0, 1 and 10 inner steps."""
    family = sinusoid.build(trained["maml"].config, TEST_SHOTS).family
    task = jax.tree.map(lambda x: x[index], envs.held_out_tasks(family, index + 1))
    key = jax.random.fold_in(jax.random.key(checkpoint.KEY_OF_EVALUATION), index)
    low, high = family.x_range
    x = jnp.linspace(low, high, 200)
    panels: dict[str, Any] = {"x": np.asarray(x), "true": np.asarray(family.curve(task, x)), "agents": {}}
    for name, agent in trained.items():
        curve = jax.jit(agent.learner.adapt, static_argnums=3)(agent.state, task, key, TEST_STEPS)
        predictions = np.asarray(agent.learner.predict(curve.path, task, x[:, None])[..., 0])
        error = np.mean((predictions - panels["true"]) ** 2, axis=1)
        panels["agents"][name] = {"predictions": predictions[jnp.asarray((0, 1, TEST_STEPS))], "error": float(error[-1])}
        panels["support"] = [np.asarray(leaf[0, :, 0]) for leaf in curve.experience.support]
    return panels


def run(config: ExplainConfig) -> None:
    """Draw the picture that needs no training first."""
    at_least(config, num_iterations=1, task=0, surface_points=2)
    between(config, seed=(0, MAX_SEED))
    if config.out.exists() and not config.out.is_dir():
        raise UserError(f"--out {config.out} is a file; give a folder.")
    config.out.mkdir(parents=True, exist_ok=True)
    world = TwoTasks()
    pictures.two_tasks(config.out / "two_tasks.png", two_tasks(world), world.centre)
    trained = {name: train(config, name) for name in AGENTS}
    pictures.fits(config.out / "fits.png", fits(trained, config.task))
    surface = loss_surface(trained["maml"], trained["pretrained"], config.surface_points)
    pictures.loss_surface(config.out / "loss_surface.png", surface, SURFACE_STEPS)
    print(f"wrote two_tasks.png, fits.png and loss_surface.png to {config.out}")


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    run(parse(ExplainConfig, args, command_line("studies.explain")))


if __name__ == "__main__":
    main()
