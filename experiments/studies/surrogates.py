"""``python -m experiments.studies.surrogates``: how far the derivatives of each surrogate are from the truth, by enumeration.

The world has two states, two actions and three steps, so all 64 trajectories can be listed with their probabilities: biases and
spreads below are exact, not sampled. The truth comes from the expected return, a product of matrices.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.cli.command_line import command_line
from experiments.cli.errors import one_line_errors
from experiments.cli.flags import between, parse
from experiments.reporting.tables import Table, show
from metarl import meta, rules
from metarl.advantages import discounted_steps, equal_steps
from metarl.inner_loop import collect
from metarl.interfaces import Problem
from metarl.surrogates import Surrogate, loaded_dice, reinforce

WeighSteps = Callable[[jax.Array, float], jax.Array]  # advantage [B, T], gamma -> advantage
HORIZON = 3
START = np.array([0.8, 0.2])
MOVE = np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.4, 0.6], [0.7, 0.3]]])  # [state, action, next state]
REWARD = np.array([[1.0, -0.5], [0.3, 2.0]])  # [state, action]
END = np.array([0.0, 1.0])  # where episodes end early, they end on entering state 1
BASELINE = np.array([0.7, -1.3])  # [state]; any function of the state will do
THETA = np.array([[0.2, -0.4], [0.5, 0.1]])  # logits [state, action]
SURROGATES: dict[str, Surrogate] = {"reinforce": reinforce} | {f"lam={lam}": loaded_dice(lam) for lam in (0.0, 0.5, 1.0)}


class Trajectories(NamedTuple):
    """Every trajectory there is.

    Attributes:
        state: [B, T].
        action: [B, T].
        mask: [B, T], 1.0 until the end.
        advantage: [B, T], return to go minus `BASELINE`.
        world: [B], the factors of the probability that the policy has no part in.
    """

    state: jax.Array
    action: jax.Array
    mask: jax.Array
    advantage: jax.Array
    world: jax.Array


class Weighted(NamedTuple):
    """All trajectories as one batch, weighted by their probability under the parameters that drew it (``log_prob`` [B, T])."""

    log_prob: jax.Array
    weight: jax.Array


def expected_return(theta: jax.Array, ends: float, gamma: float = 1.0) -> jax.Array:
    """Discounted return over the horizon, exact: states are pushed through time. ``ends`` is 1.0 if episodes end early."""
    probs = jax.nn.softmax(theta)
    alive, total = jnp.asarray(START), jnp.zeros(())
    for t in range(HORIZON):
        total += gamma**t * jnp.sum(alive[:, None] * probs * REWARD)
        alive = jnp.einsum("s,sa,san->n", alive, probs, MOVE) * (1.0 - ends * END)
    return total / HORIZON


@jax.jit
def true_derivatives(theta: jax.Array, ends: float, gamma: float = 1.0) -> tuple[jax.Array, jax.Array]:
    """Gradient [S, A] and Hessian [S, A, S, A] of the expected return."""
    return jax.grad(expected_return)(theta, ends, gamma), jax.hessian(expected_return)(theta, ends, gamma)


def enumerate_all(ends: float, gamma: float = 1.0, weigh_steps: WeighSteps = equal_steps) -> Trajectories:
    """List every trajectory. After an end anything may follow: those copies share the weight equally.

    Args:
        ends: 1.0 if episodes end early.
        gamma: of the advantages.
        weigh_steps: how much each step counts; see `metarl.advantages.discounted_steps`.
    """
    rows = []
    for states in itertools.product((0, 1), repeat=HORIZON):
        for actions in itertools.product((0, 1), repeat=HORIZON):
            p, counts, alive = START[states[0]], [], 1.0
            for t in range(HORIZON):
                counts.append(alive)
                p *= 1.0 if alive else 0.5
                if t + 1 < HORIZON:
                    p *= MOVE[states[t], actions[t], states[t + 1]] if alive else 0.5
                    alive *= 1.0 - ends * END[states[t + 1]]
            rows.append((states, actions, counts, p))
    state, action, mask, world = (np.array(column) for column in zip(*rows, strict=True))
    to_go = REWARD[state, action] * mask
    for t in range(HORIZON - 1)[::-1]:
        to_go[:, t] += gamma * to_go[:, t + 1]
    advantage = weigh_steps(jnp.asarray(mask * (to_go - BASELINE[state])), gamma)
    return Trajectories(*map(jnp.asarray, (state, action, mask, advantage, world)))


def log_prob_of(theta: jax.Array, every: Trajectories) -> jax.Array:
    """[B, T]."""
    return jax.nn.log_softmax(theta)[every.state, every.action]


def probability(theta: jax.Array, every: Trajectories) -> jax.Array:
    """[B], summing to one."""
    return every.world * jnp.exp(jnp.sum(every.mask * log_prob_of(theta, every), axis=1))


@partial(jax.jit, static_argnums=0)
def per_trajectory(surrogate: Surrogate, theta: jax.Array, every: Trajectories) -> tuple[jax.Array, jax.Array]:
    """Gradient [B, D] and Hessian [B, D, D] that the surrogate gives for each trajectory as a batch of one."""
    behaviour = log_prob_of(theta, every)

    def one(flat, state, action, behaviour, advantage, mask):
        log_prob = jax.nn.log_softmax(flat.reshape(theta.shape))[state, action]
        return surrogate(log_prob[None], behaviour[None], advantage[None], mask[None])

    data = (every.state, every.action, behaviour, every.advantage, every.mask)
    over_all = (None, 0, 0, 0, 0, 0)
    flat = jnp.ravel(theta)
    return jax.vmap(jax.grad(one), over_all)(flat, *data), jax.vmap(jax.hessian(one), over_all)(flat, *data)


def weighted_problem(surrogate: Surrogate, every: Trajectories) -> Problem:
    """Policy-gradient adaptation whose batch is every trajectory, weighted by its probability under the drawing policy."""

    def sample_batch(theta, task, key):
        del task, key
        return Weighted(log_prob_of(theta, every), probability(theta, every))

    def loss(theta, batch):
        # Surrogates are linear in the advantage and take the mean over the batch, so a weight can enter there.
        weighted = every.advantage * batch.weight[:, None] * every.world.size
        return -surrogate(log_prob_of(theta, every), batch.log_prob, weighted, every.mask), {}

    return Problem(sample_batch, loss, meta.final(loss))


@partial(jax.jit, static_argnums=(0, 2))
def enumerated_meta_gradient(surrogate: Surrogate, every: Trajectories, num_steps: int, inner_lr: float) -> jax.Array:
    """[S, A]: what `meta.through_adaptation` expects to find with infinitely many episodes per batch."""
    problem, rule = weighted_problem(surrogate, every), rules.sgd(inner_lr)
    theta = jnp.asarray(THETA)
    experience = collect(problem, rule, theta, (), jax.random.key(0), num_steps, resample=True)
    return -meta.through_adaptation(problem, rule)(theta, experience)[0]


@partial(jax.jit, static_argnums=1)
def true_meta_gradient(ends: float, num_steps: int, inner_lr: float, gamma: float = 1.0) -> jax.Array:
    """[S, A]: derivative of the expected return after exact gradient steps, without any surrogate."""

    def after(theta):
        for _ in range(num_steps):
            theta = theta + inner_lr * jax.grad(expected_return)(theta, ends, gamma)
        return expected_return(theta, ends, gamma)

    return jax.grad(after)(jnp.asarray(THETA))


def relative(found: jax.Array, truth: jax.Array) -> float:
    """Size of the error over the size of the truth."""
    return float(jnp.linalg.norm(found - truth) / jnp.linalg.norm(truth))


def measure(
    surrogate: Surrogate, ends: float, inner_lr: float, gamma: float = 1.0, weigh_steps: WeighSteps = equal_steps
) -> dict[str, float]:
    """Biases and standard deviations, relative to the size of the true derivative.

    Returns:
        "gradient bias", "gradient std", "hessian bias", "hessian std" (for one trajectory; a batch of N has 1 / sqrt(N) of
        it), "meta-gradient bias, 1 step" and "meta-gradient bias, 2 steps" (for infinite batches).
    """
    theta, every = jnp.asarray(THETA), enumerate_all(ends, gamma, weigh_steps)
    weight = probability(theta, every)
    size = theta.size
    gradient, hessian = true_derivatives(theta, ends, gamma)
    truths = {"gradient": gradient.reshape(size), "hessian": hessian.reshape(size, size)}
    row = {}
    for (name, truth), values in zip(truths.items(), per_trajectory(surrogate, theta, every), strict=True):
        mean = jnp.einsum("b,b...->...", weight, values)
        spread = jnp.einsum("b,b...->...", weight, (values - mean) ** 2)
        row[f"{name} bias"] = relative(mean, truth)
        row[f"{name} std"] = float(jnp.sqrt(jnp.sum(spread)) / jnp.linalg.norm(truth))
    for steps, label in ((1, "meta-gradient bias, 1 step"), (2, "meta-gradient bias, 2 steps")):
        found = enumerated_meta_gradient(surrogate, every, steps, inner_lr)
        row[label] = relative(found, true_meta_gradient(ends, steps, inner_lr, gamma))
    return row


@dataclasses.dataclass(frozen=True)
class BiasVarianceConfig:
    """Bias and spread of the derivatives of every policy-gradient surrogate, enumerated in float64."""

    inner_lr: float = 1.0
    """Step size of the inner steps in the meta-gradient columns."""
    gamma: float = 1.0
    """Discount. Below 1 the truth is the discounted return, and every surrogate has a second row, weighted by gamma^t."""


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point: print two tables, for episodes of full length and for episodes that end in a state."""
    config = parse(BiasVarianceConfig, args, command_line("studies.surrogates"))
    between(config, inner_lr=(0, 100), gamma=(1e-9, 1))
    weights = {"": equal_steps} | ({", gamma^t": discounted_steps} if config.gamma < 1 else {})
    with jax.enable_x64(True):
        for ends, title in ((0.0, "episodes of full length"), (1.0, "episodes that end on entering a state")):
            rows = {
                name + weighted: measure(surrogate, ends, config.inner_lr, config.gamma, weigh_steps)
                for name, surrogate in SURROGATES.items()
                for weighted, weigh_steps in weights.items()
            }
            show(table_of(title, rows), least_width=120)


def table_of(title: str, rows: dict[str, dict[str, float]]) -> Table:
    """One row per surrogate, the columns of `measure`."""
    cells = [(name, *("0" if value < 1e-12 else f"{value:.3f}" for value in row.values())) for name, row in rows.items()]
    return Table(("surrogate", *next(iter(rows.values()))), cells, f"{title}; relative to the true derivative, exact")


if __name__ == "__main__":
    main()
