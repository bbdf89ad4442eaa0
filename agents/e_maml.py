"""MAML that also credits the episodes adapted on for what they led to."""

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp

from agents.agent import Agent, Bounds, InnerLoop, OnPolicy, Training
from agents.parts.gradient_learner import along, gradient_learner, inner
from agents.parts.problems import needed
from agents.parts.world import World
from metarl import meta
from metarl.advantages import discounted_sum
from metarl.interfaces import MetaLearner
from metarl.outer import OuterUpdate, recorded
from metarl.surrogates import reinforce


@dataclass(frozen=True)
class EMaml(OnPolicy, InnerLoop):
    """Gradient steps, and credit to the episodes they were taken on."""

    credit: Annotated[float, Bounds(0)] = 1.0  # ours
    """Weight of the credit to support episodes."""


def e_maml(world: World, training: Training, own: EMaml) -> MetaLearner:
    """E-MAML: MAML plus the sampling term of the support episodes (Stadie et al. 2018, Eq. 5; Al-Shedivat et al. 2018).

    MAML takes the support episodes as given; but the start chose them. Each is credited with how much better than on other
    tasks the adapted policy did, in standard deviations over tasks. The credit is a mean over support episodes and steps: the
    exact term, whose spread is large, divided by their number.

    Raises:
        ValueError: with a single task per meta-iteration.
    """
    if training.num_tasks < 2:
        raise ValueError(f"e-maml compares tasks with one another, but num_tasks is {training.num_tasks}; give at least 2.")
    needed("e-maml", world.rollouts, "rollouts", "world", "the discount of episodes")
    loop, gamma = inner(world, training, own), world.rollouts.gamma
    log_probs = world.make_problem(loop.network, inner_surrogate=reinforce)

    def make_update(problem, rule):
        def credited(credit):
            def outer_loss(path, experience):
                loss, metrics = problem.outer_loss(path, experience)

                def minus_log_prob(params, batch):
                    return log_probs.inner_loss(params, batch._replace(advantage=batch.trajectory.mask))[0]

                drew = jax.tree.map(lambda x: x[:-1], path)
                return loss + credit * jnp.sum(jax.vmap(minus_log_prob)(drew, experience.support)), metrics

            return outer_loss

        def meta_gradient(theta, given):
            experience, credit = given
            with_credit = problem._replace(outer_loss=credited(credit))
            return meta.through_adaptation(with_credit, rule, remat=training.remat)(theta, experience)

        follow = along(training, meta_gradient)

        def step(state, draw, sources):
            experience = training.task_map(draw)(state.theta, sources)
            first_step = discounted_sum(experience.query.trajectory.reward, gamma)[..., 0]
            credit = own.credit * better_than_others(jnp.mean(first_step, axis=1))
            return follow.step(state, recorded, (experience, credit))

        return OuterUpdate(follow.init, step)

    return gradient_learner(world, training, own, loop, make_update)


def better_than_others(earned: jax.Array) -> jax.Array:
    """What each task earned [M] minus the mean of the *other* tasks, in standard deviations over all.

    Others are independent of a task's actions, so they are a baseline without bias. Zero for a single task.
    """
    num_tasks = earned.shape[0]
    if num_tasks == 1:
        return jnp.zeros_like(earned)
    spread = jnp.std(earned)
    return (earned - jnp.mean(earned)) * num_tasks / (num_tasks - 1) / jnp.where(spread > 0, spread, 1.0)


E_MAML = Agent(e_maml, EMaml, serves=("reinforcement",), uses=("optimizer", "remat", "inner_rule", "inner_surrogate"))
