"""MAML++."""

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
import optax

from agents.agent import Agent, Bounds, InnerLoop, OnPolicy, Training
from agents.parts.gradient_learner import gradient_learner, inner
from agents.parts.problems import needed
from agents.parts.world import World
from metarl import meta, outer, rules
from metarl.interfaces import MetaLearner

# MAML++ leaves the multi-step loss, and first order, behind after these shares of training. The first is 15 of 100 epochs in
# the released code (AntreasAntoniou/HowToTrainYourMAMLPytorch); the paper switches too (Antoniou et al. 2019, Section 4), after
# some tens of epochs: the share is our choice, as the released configurations leave the switch off.
ANNEAL_STEPS_UNTIL = 0.15
FIRST_ORDER_UNTIL = 0.3


@dataclass(frozen=True)
class MamlPlusPlus(OnPolicy, InnerLoop):
    """Gradient steps with learned step sizes."""

    num_inner_steps: Annotated[int, Bounds(1)] = 3  # ours; with one step there is no loss of several


def maml_plus_plus(world: World, training: Training, own: MamlPlusPlus) -> MetaLearner:
    """MAML++: learned step sizes per layer and step, multi-step loss, derivative order and outer rate annealed.

    Antoniou et al. 2019. Batch normalisation, its remaining part, has no place in these networks.
    """
    rule = rules.per_step(own.inner_lr, own.num_inner_steps)

    def make_update(problem, rule):
        step_losses = needed("maml++", problem.step_losses, "step_losses", "problem", "the loss after every inner step")

        def meta_gradient(iteration):
            progress = iteration / training.num_iterations
            weights = step_weights(own.num_inner_steps, progress / ANNEAL_STEPS_UNTIL)
            multi_step = problem._replace(outer_loss=meta.weighted_steps(step_losses, weights))
            second = meta.through_adaptation(multi_step, rule, remat=training.remat)
            first = meta.through_adaptation(multi_step, rules.first_order(rule), remat=training.remat)

            def annealed(theta, experience):
                return jax.lax.cond(progress < FIRST_ORDER_UNTIL, first, second, theta, experience)

            return annealed

        rate = training.outer_lr
        cosine = rate if callable(rate) else optax.cosine_decay_schedule(rate, training.num_iterations)
        return outer.follow(training.optimizer(cosine), meta_gradient, training.task_map)

    return gradient_learner(world, training, own, inner(world, training, own, rule=rule), make_update)


def step_weights(num_steps: int, progress: jax.Array) -> jax.Array:
    """[K] weights of the multi-step loss: equal at progress 0, all on the last step from 1 on; they sum to 1."""
    last = jnp.zeros(num_steps).at[-1].set(1.0)
    share = jnp.clip(progress, 0.0, 1.0)
    return (1.0 - share) / num_steps + share * last


MAML_PLUS_PLUS = Agent(maml_plus_plus, MamlPlusPlus, uses=("optimizer", "remat", "inner_surrogate"), extendable=False)
