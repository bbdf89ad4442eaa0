"""``python -m experiments.studies.approximations``: how much of two approximate meta-gradients is what they stand for.

Of e-maml's credit: how large it is on average beside MAML's gradient, and how far that of one meta-iteration is from it. Of
imaml's gradient: how far it is from the implicit derivative, which it solves for with damping and a few iterations, where
adaptation ended and where it would have ended if the inner problem were solved.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
import scipy.sparse.linalg
from jax.flatten_util import ravel_pytree

import agents
import envs
from agents.agent import ReinforcementSettings, Training, hyperparameters
from agents.e_maml import CREDITS, EMaml, returns_of, sampling_term, unscaled_problem
from agents.imaml import Imaml, gradient_of, unpulled
from agents.parts.gradient_learner import Inner, inner
from agents.parts.world import World, regression_world
from envs.families import regression
from experiments.cli.command_line import command_line
from experiments.cli.errors import one_line_errors
from experiments.cli.flags import MAX_SEED, at_least, between, parse
from experiments.reporting.tables import Table, show
from experiments.supervised import protocols
from experiments.training.suggested import suggested
from metarl import meta, rules
from metarl.inner_loop import adapt, collect
from metarl.interfaces import Experience, Problem, Theta

NAVIGATION, SINUSOID = "metarl/Navigation2D-v0", "maml"  # a family and a protocol
# What imaml had when the tables of README, docs/navigation.md and docs/sinusoid_table.md were made.
OF_THE_TABLES: dict[str, dict[str, Any]] = {
    NAVIGATION: {"num_inner_steps": 5, "inner_lr": 0.1, "proximal": 1.0, "cg_damping": 1.0},
    SINUSOID: {"num_inner_steps": 20, "inner_lr": 0.003, "proximal": 0.5, "cg_damping": 20.0, "curvature": "hessian"},
}
# The same inner steps, with a proximal of one over the time that they take; the Gauss-Newton curvature needs no damping.
GAUSS_NEWTON: dict[str, dict[str, Any]] = {
    SINUSOID: OF_THE_TABLES[SINUSOID] | {"proximal": 16.0, "cg_damping": 0.0, "curvature": "gauss-newton"}
}


@dataclasses.dataclass(frozen=True)
class ApproximationsConfig:
    """Signal and spread of e-maml's credit on 2D navigation; error of imaml's gradient there and on sinusoids."""

    num_iterations: int = 0
    """Meta-iterations of training before measuring: of maml for the credit, of imaml for its gradient."""
    num_batches: int = 16
    """Meta-iterations whose credit is compared."""
    num_tasks: int = 4
    """Tasks on which imaml's gradient is compared; sinusoids are cheap and have four times as many."""
    seed: int = 0
    """Of the start, the training and the data."""


class Spread(NamedTuple):
    """A credit beside MAML's meta-gradient, all in units of the size of that gradient's mean.

    Attributes:
        signal: size of the mean credit, without what noise adds to it.
        noise: the signal that noise alone would show once in forty times.
        spread: root mean square distance of one meta-iteration's credit from the mean.
    """

    signal: float
    noise: float
    spread: float


def navigation_world() -> tuple[World, dict[str, Any]]:
    """2D navigation as `experiments.train` has it, and what the family suggests for imaml."""
    of_imaml = suggested(NAVIGATION, "imaml")
    of_world = {field.name for field in dataclasses.fields(ReinforcementSettings)}
    settings = ReinforcementSettings(**{name: value for name, value in of_imaml.items() if name in of_world})
    return agents.policy_gradient_world(envs.make(NAVIGATION), settings), of_imaml


def trained(name: str, world: World, training: Training, own: dict[str, Any], config: ApproximationsConfig) -> Theta:
    """An agent's meta-parameters, as exact as numbers are."""
    learner = agents.build(name, world, training, **own)
    state, step = jax.jit(learner.init)(jax.random.key(config.seed)), jax.jit(learner.step)
    for index in range(config.num_iterations):
        state, _ = step(state, jax.random.fold_in(jax.random.key(config.seed + 1), index))
    return jax.tree.map(lambda x: x.astype(jnp.result_type(float)), state.theta)


def credits(config: ApproximationsConfig) -> dict[str, Spread]:
    """Choice of ``--credit-baseline`` -> what its credit is worth on 2D navigation."""
    world, _ = navigation_world()
    shared = {name: suggested(NAVIGATION, "e-maml")[name] for name in ("num_tasks", "outer_lr")}
    own, training = EMaml(), Training(**shared)
    theta = trained("maml", world, training, {}, config)
    network, problem, rule, _ = inner(world, training, own)
    unscaled = unscaled_problem(world, network, own)

    def mean_gradient(of_task, *given):
        return ravel_pytree(jax.tree.map(lambda x: jnp.mean(x, axis=0), jax.vmap(of_task)(*given)))[0]

    @jax.jit
    def one_batch(key):
        def draw(key):
            key_task, key_data = jax.random.split(key)
            return collect(problem, rule, theta, world.sample_task(key_task), key_data, own.num_inner_steps, resample=True)

        experience = jax.vmap(draw)(jax.random.split(key, training.num_tasks))
        returns = jax.vmap(lambda mine: returns_of(unscaled, mine, world.rollouts.gamma))(experience)

        def of_credit(mine, credit):
            def minus_term(theta):
                path = adapt(rule, problem.inner_loss, theta, mine.support)
                return -sampling_term(unscaled, path, mine.support, credit)

            return jax.grad(minus_term)(theta)

        of_maml = mean_gradient(lambda mine: meta.through_adaptation(problem, rule)(theta, mine)[0], experience)
        return of_maml, {name: mean_gradient(of_credit, experience, f(returns)) for name, f in CREDITS.items()}

    keys = jax.random.split(jax.random.key(config.seed + 2), config.num_batches)
    found = [jax.device_get(one_batch(key)) for key in keys]
    size = float(np.linalg.norm(np.mean([gradient for gradient, _ in found], axis=0)))
    return {name: spread_of(np.stack([each[name] for _, each in found]) / size) for name in CREDITS}


def spread_of(draws: np.ndarray) -> Spread:
    """Of independent draws [B, D] of a vector: products of two different draws have the squared mean for expectation."""
    products = draws @ draws.T
    apart = products[np.triu_indices(len(draws), k=1)]
    error = np.std(apart, ddof=1) / np.sqrt(len(apart))
    total = np.mean(np.diag(products))
    signal = max(float(np.mean(apart)), 0.0)
    return Spread(signal**0.5, float(1.96 * error) ** 0.5, max(float(total) - signal, 0.0) ** 0.5)


class Errors(NamedTuple):
    """How far imaml's meta-gradient is from what it approximates: medians over tasks.

    Attributes:
        here: from the implicit derivative where adaptation ended, relative to that derivative's size.
        cosine: with the same.
        solved: from that where the inner problem is solved.
        left: gradient of the inner problem where adaptation ended, over that where it began; 0 where it is solved.
        unsolved: the same where it counts as solved: not 0 at the kinks of relu.
    """

    here: float
    cosine: float
    solved: float
    left: float
    unsolved: float


def implicit_errors(loop: Inner, own: Imaml, theta: Theta, experience: Experience) -> Errors:
    """Compare `metarl.meta.implicit` with a linear system solved to the end, on tasks [M]; all parameters must move."""
    problem, rule = loop.problem, loop.rule
    follow = jax.jit(gradient_of(problem, rule, own))
    exact = Exact(problem, theta, own.proximal)
    replay = jax.jit(lambda mine: meta.last(adapt(rules.proximal(rule, own.proximal), problem.inner_loss, theta, mine.support)))
    rows = []
    for index in range(jax.tree.leaves(experience)[0].shape[0]):
        mine = jax.tree.map(lambda x, index=index: x[index], experience)
        found, end = (ravel_pytree(tree)[0] for tree in (follow(theta, mine)[0], replay(mine)))
        minimum = exact.solved(end, mine)
        here, there = exact.derivative(end, mine), exact.derivative(minimum, mine)
        cosine = found @ here / np.linalg.norm(found) / np.linalg.norm(here)
        began, ended, least = (np.linalg.norm(exact.pulled_gradient(x, mine)[1]) for x in (exact.start, end, minimum))
        rows.append((error_of(found, here), cosine, error_of(found, there), ended / began, least / began))
    return Errors(*map(float, np.median(np.asarray(rows, np.float64), axis=0)))


def error_of(found: Any, truth: Any) -> float:
    """Size of the error over the size of the truth."""
    return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))


class Exact:
    """The implicit derivative with respect to a start, by another route: a symmetric system, solved by MINRES to a millionth.

    Attributes:
        start: [D], where the proximal penalty pulls to.
    """

    def __init__(self, problem: Problem, theta: Theta, strength: float):
        self.start, unravel = ravel_pytree(theta)
        inner_loss = lambda flat, mine: problem.inner_loss(unravel(flat), jax.tree.map(lambda x: x[0], mine.support))[0]
        pulled = lambda flat, mine: inner_loss(flat, mine) + strength / 2 * jnp.sum((flat - self.start) ** 2)
        two = lambda flat: jax.tree.map(lambda a, b: jnp.stack([a, b]), theta, unravel(flat))
        outer_loss = lambda flat, mine: problem.outer_loss(two(flat), mine)[0]
        self.strength = strength
        self.pulled_gradient = jax.jit(jax.value_and_grad(pulled))
        self.outer_gradient = jax.jit(jax.grad(outer_loss))
        self.product = jax.jit(lambda flat, mine, v: jax.jvp(lambda x: jax.grad(pulled)(x, mine), (flat,), (v,))[1])

    def derivative(self, end: Any, mine: Experience) -> np.ndarray:
        """[D]: strength times the inverse of the curvature of the pulled loss at ``end``, times the outer gradient there."""
        system = scipy.sparse.linalg.LinearOperator(
            (end.size, end.size), matvec=lambda v: np.asarray(self.product(end, mine, jnp.asarray(v).ravel())), dtype=float
        )
        v, _ = scipy.sparse.linalg.minres(system, np.asarray(self.outer_gradient(end, mine)), rtol=1e-6, maxiter=1000)
        return self.strength * v

    def solved(self, begin: Any, mine: Experience) -> jax.Array:
        """[D]: a minimum of the pulled loss, by L-BFGS from ``begin``."""
        both = lambda x: tuple(np.asarray(each, float) for each in self.pulled_gradient(jnp.asarray(x), mine))
        options = {"maxiter": 500, "maxfun": 700, "gtol": 1e-9, "ftol": 0.0, "maxcor": 30}
        return jnp.asarray(scipy.optimize.minimize(both, np.asarray(begin), jac=True, method="L-BFGS-B", options=options).x)


def drawn(world: World, loop: Inner, own: Imaml, theta: Theta, num_tasks: int, seed: int) -> Experience:
    """What imaml draws on some training tasks, leaves [M, ...]."""
    held = rules.proximal(loop.rule, own.proximal)

    def one(key):
        key_task, key_data = jax.random.split(key)
        return collect(loop.problem, held, theta, world.sample_task(key_task), key_data, own.num_inner_steps, resample=False)

    return jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(seed), num_tasks))


def imaml_errors(config: ApproximationsConfig, settings: dict[str, dict[str, Any]]) -> dict[str, Errors]:
    """Place -> errors of imaml with the settings given for it."""
    found = {}
    for place, given in settings.items():
        if place == NAVIGATION:
            world, of_run = navigation_world()
            num_tasks, kind = config.num_tasks, "reinforcement"
        else:
            protocol = protocols.PROTOCOLS[place]
            family = regression.sinusoid(protocol.amplitude, protocol.phase)
            world = regression_world(family, agents.RegressionSettings(protocol.train_shots))
            of_run = protocols.settings_of(place, "imaml")
            num_tasks, kind = 4 * config.num_tasks, "regression"
        training = Training(num_tasks=of_run["num_tasks"], outer_lr=of_run["outer_lr"])
        known = hyperparameters(agents.find("imaml"), kind)
        chosen = {name: value for name, value in (of_run | given).items() if name in known}
        theta, own = trained("imaml", world, training, chosen, config), Imaml(**chosen)
        loop = unpulled(world, training, own)
        found[place] = implicit_errors(loop, own, theta, drawn(world, loop, own, theta, num_tasks, config.seed + 2))
    return found


def note_on_imaml(settings: dict[str, Any]) -> str:
    """What stands beside its rows in tables: that its gradient is approximate, and by what.

    Args:
        settings: of the runs; a curvature that is not among them is the Hessian.
    """
    curvature = settings.get("curvature", "hessian").replace("gauss-newton", "Gauss-Newton").replace("hessian", "Hessian")
    damped = (
        f"{settings['cg_damping']:g} added to the {curvature} curvature" if settings["cg_damping"] else f"{curvature} curvature"
    )
    return (
        f"imaml does not follow the exact implicit derivative: {settings['num_inner_steps']} steps of {settings['inner_lr']:g} "
        f"do not solve its inner problem (proximal {settings['proximal']:g}), and its linear system has {damped} and "
        f"{settings['cg_steps']} iterations. How far off it is: `{command_line('studies.approximations')}`."
    )


def credit_table(rows: dict[str, Spread]) -> Table:
    """One row per choice of ``--credit-baseline``."""
    cells = [(name, *(f"{100 * value:.2f} %" for value in row)) for name, row in rows.items()]
    title = "e-maml on 2D navigation: its credit beside MAML's meta-gradient"
    return Table(("--credit-baseline", "signal", "of noise alone", "spread of one"), cells, title)


def error_table(rows: dict[str, Errors]) -> Table:
    """One row per place and settings."""
    cells = [
        (name, f"{row.here:.0%}", f"{row.cosine:.2f}", f"{row.solved:.0%}", f"{row.left:.3f}", f"{row.unsolved:.0e}")
        for name, row in rows.items()
    ]
    heads = ("", "error where it ended", "cosine", "error if solved", "gradient left", "of solved")
    return Table(heads, cells, "imaml: its meta-gradient beside the implicit derivative")


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point: print two tables."""
    config = parse(ApproximationsConfig, args, command_line("studies.approximations"))
    at_least(config, num_iterations=0, num_batches=3, num_tasks=1)
    between(config, seed=(0, MAX_SEED - 2))
    show(credit_table(credits(config)), least_width=120)
    with jax.enable_x64(True):
        rows = {f"{place}, as in the tables": each for place, each in imaml_errors(config, OF_THE_TABLES).items()}
        rows |= {f"{place}, Gauss-Newton": each for place, each in imaml_errors(config, GAUSS_NEWTON).items()}
    show(error_table(rows), least_width=120)


if __name__ == "__main__":
    main()
