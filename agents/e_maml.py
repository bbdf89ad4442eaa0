"""MAML that also credits the episodes adapted on for what they led to."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from agents.agent import Agent, Bounds, InnerLoop, OnPolicy, Training
from agents.parts.gradient_learner import along, gradient_learner, inner
from agents.parts.networks import Network
from agents.parts.problems import needed
from agents.parts.world import BASELINES, World
from metarl import meta
from metarl.advantages import common_scale, discounted_sum
from metarl.interfaces import Experience, MetaLearner, Path, Problem
from metarl.outer import OuterUpdate, recorded
from metarl.surrogates import reinforce


@dataclass(frozen=True)
class EMaml(OnPolicy, InnerLoop):
    """Gradient steps, and credit to the episodes they were taken on."""

    credit: Annotated[float, Bounds(0)] = 1.0  # ours
    """Weight of the credit to support episodes."""
    credit_baseline: Literal["tasks", "episodes"] = "tasks"  # much as in ProMP's code; episodes: ours
    """What credit is compared with: other tasks, or other support episodes (the exact term, for --surrogate reinforce)."""


class Returns(NamedTuple):
    """Discounted returns of M tasks.

    Attributes:
        before: [M, K, N], of each support episode.
        after: [M], mean of the query episodes.
        unit: [M], what the outer loss divides returns by.
    """

    before: jax.Array
    after: jax.Array
    unit: jax.Array


def e_maml(world: World, training: Training, own: EMaml) -> MetaLearner:
    """E-MAML: MAML plus the sampling term of the support episodes (Stadie et al. 2018, Eq. 5; Al-Shedivat et al. 2018).

    MAML takes the support episodes as given; but the start chose them. The published term is the sum over support episodes of
    the gradient of their log-probabilities times what the adapted policy earned; a baseline changes nothing but its spread.
    `CREDITS` has two: one much as in the code of Rothfuss et al. 2019, and the term itself with baselines.

    With the term and inner steps that follow `metarl.surrogates.reinforce` the meta-gradient is that of what adaptation to N
    episodes earns. Curvature by DiCE has all but a small part of the term in it already, at a fraction of the spread: with both
    it counts twice.

    Raises:
        ValueError: with a single task per meta-iteration.
    """
    if training.num_tasks < 2:
        raise ValueError(f"e-maml compares tasks with one another, but num_tasks is {training.num_tasks}; give at least 2.")
    needed("e-maml", world.rollouts, "rollouts", "world", "the discount of episodes")
    loop, gamma, credit_of = inner(world, training, own), world.rollouts.gamma, CREDITS[own.credit_baseline]
    unscaled = unscaled_problem(world, loop.network, own)
    if own.credit_baseline == "episodes":
        needed("e-maml", unscaled.batch_of, "batch_of", "problem", "the advantages of episodes")

    def make_update(problem, rule):
        def credited(credit):
            def outer_loss(path, experience):
                loss, metrics = problem.outer_loss(path, experience)
                return loss - sampling_term(unscaled, path, experience.support, credit), metrics

            return outer_loss

        def meta_gradient(theta, given):
            experience, credit = given
            with_credit = problem._replace(outer_loss=credited(credit))
            return meta.through_adaptation(with_credit, rule, remat=training.remat)(theta, experience)

        follow = along(training, meta_gradient)

        def step(state, draw, sources):
            experience = training.task_map(draw)(state.theta, sources)
            returns = training.task_map(lambda theta, mine: returns_of(unscaled, mine, gamma))(state.theta, experience)
            credit = own.credit * credit_of(returns)
            return follow.step(state, recorded, (experience, credit))

        return OuterUpdate(follow.init, step)

    return gradient_learner(world, training, own, loop, make_update)


def unscaled_problem(world: World, network: Network, own: EMaml) -> Problem:
    """The world's problem with log-probabilities for an inner loss and advantages that are divided by 1."""
    return world.make_problem(network, inner_surrogate=reinforce, baseline=BASELINES[own.baseline], scale=common_scale(1.0))


def returns_of(unscaled: Problem, experience: Experience, gamma: float) -> Returns:
    """Of one task: before [K, N], after [], unit []."""
    before, after = (discounted_sum(batch.trajectory.reward, gamma)[..., 0] for batch in (experience.support, experience.query))
    return Returns(before, jnp.mean(after), unit_of(unscaled, experience.query))


def sampling_term(problem: Problem, path: Path, support: Any, credit: jax.Array) -> jax.Array:
    """Sum over inner steps of the mean over episodes and steps of log-probability times ``credit`` [K, N]: to maximise.

    Args:
        problem: follows `metarl.surrogates.reinforce` inside, every step counting the same.
        path: the parameters after 0..K inner steps, the first K of which drew the episodes.
        support: `agents.parts.problems.Episodes`, leaves [K, N, ...].
        credit: data.
    """

    def minus_log_prob(params, batch, credit):
        mask = batch.trajectory.mask
        return problem.inner_loss(params, batch._replace(advantage=mask * credit[:, None]))[0]

    drew = jax.tree.map(lambda x: x[:-1], path)
    return -jnp.sum(jax.vmap(minus_log_prob)(drew, support, credit))


def unit_of(unscaled: Problem, query: Any) -> jax.Array:
    """What the advantages of a batch were divided by, given a problem that divides them by 1; 1 where that is not known."""
    size = jnp.vdot(query.advantage, query.advantage)
    if unscaled.batch_of is None:
        return jnp.ones_like(size)
    plain = unscaled.batch_of(query.trajectory).advantage
    return jnp.where(size > 0, jnp.vdot(plain, query.advantage) / jnp.where(size > 0, size, 1.0), 1.0)


def better_than_others(earned: jax.Array) -> jax.Array:
    """What each task earned [M] minus the mean of the *other* tasks, in standard deviations over all.

    Others are independent of a task's actions, so they are a baseline without bias. Zero for a single task.
    """
    num_tasks = earned.shape[0]
    if num_tasks == 1:
        return jnp.zeros_like(earned)
    spread = jnp.std(earned)
    return (earned - mean_of_others(earned)) / jnp.where(spread > 0, spread, 1.0)


def mean_of_others(value: jax.Array, axis: int = 0) -> jax.Array:
    """For each entry the mean of the *other* entries along an axis; 0 where there are none.

    >>> mean_of_others(jnp.array([1.0, 2.0, 6.0]))
    Array([4. , 3.5, 1.5], dtype=float32)
    """
    return (jnp.sum(value, axis, keepdims=True) - value) / max(value.shape[axis] - 1, 1)


def against_tasks(returns: Returns) -> jax.Array:
    """[M, K, N]: `better_than_others`, the same for every episode, as in the code of Rothfuss et al. 2019.

    Meant for the mean over episodes and steps of log-probabilities: the exact term divided by N, in other units. How hard a
    task is is most of what it holds, and no support episode can help that: it is noise.
    """
    credit = better_than_others(returns.after)
    return jnp.broadcast_to(credit[:, None, None], returns.before.shape)


def against_episodes(returns: Returns) -> jax.Array:
    """[M, K, N]: how much better the task went after adaptation than in the *other* episodes of the same batch.

    Given the parameters that drew it an episode is independent of those beside it, so their mean is a baseline without bias,
    which takes away how hard the task is. The mean over the other tasks of the same difference takes away what adaptation
    gains everywhere. Times N, so that the mean over episodes is the sum that the exact term is, and in the units of the outer
    loss. A batch of one episode has no others: there the other tasks are the whole baseline.

    Later inner steps' episodes would be no such baseline: what was drawn before changed the policy that plays them.
    """
    gained = returns.after[:, None, None] - mean_of_others(returns.before, axis=2)
    gained = gained - mean_of_others(jnp.mean(gained, axis=2, keepdims=True))
    return returns.before.shape[2] * gained / returns.unit[:, None, None]


CREDITS: dict[str, Callable[[Returns], jax.Array]] = {"tasks": against_tasks, "episodes": against_episodes}

E_MAML = Agent(e_maml, EMaml, serves=("reinforcement",), uses=("optimizer", "remat", "inner_rule", "inner_surrogate"))
