"""MAML and its relatives: each a choice of what moves, how it moves, and how the outer derivative is taken."""

import jax
import jax.numpy as jnp
import optax

from agents.parts.gradient_learner import gradient_learner
from agents.parts.networks import with_context
from agents.parts.world import Settings, World
from metarl import meta, outer, rules
from metarl.interfaces import InnerRule, MetaLearner
from metarl.surrogates import loaded_dice

# MAML++ leaves the multi-step loss, and first order, behind after these shares of training. The first is 15 of 100 epochs in
# the released code (AntreasAntoniou/HowToTrainYourMAMLPytorch); the paper switches too (Antoniou et al. 2019, Section 4), after
# some tens of epochs: the share is our choice, as the released configurations leave the switch off.
ANNEAL_STEPS_UNTIL = 0.15
FIRST_ORDER_UNTIL = 0.3


def maml(world: World, settings: Settings) -> MetaLearner:
    """MAML: the exact meta-gradient through SGD inner steps (Finn et al. 2017, Algorithms 1-3)."""
    return _through(world, settings, rules.sgd(settings.inner_lr))


def fomaml(world: World, settings: Settings) -> MetaLearner:
    """First-order MAML: the gradient at the adapted parameters (Finn et al. 2017, Section 5.2)."""
    return _through(world, settings, rules.first_order(rules.sgd(settings.inner_lr)))


def meta_sgd(world: World, settings: Settings) -> MetaLearner:
    """Meta-SGD: MAML with a learned step size for every parameter (Li et al. 2017)."""
    return _through(world, settings, rules.meta_sgd(settings.inner_lr))


def anil(world: World, settings: Settings) -> MetaLearner:
    """ANIL: only the head adapts; the body is meta-learned (Raghu et al. 2020)."""
    network = world.make_network(0)
    return _through(world, settings, rules.only(rules.sgd(settings.inner_lr), network.split, network.merge))


def cavia(world: World, settings: Settings) -> MetaLearner:
    """CAVIA: only a context vector adapts, from zero on every task (Zintgraf et al. 2019)."""
    network = with_context(world.make_network(settings.context_size))
    problem, rule = world.make_problem(network), rules.context(settings.inner_lr, settings.context_size)
    meta_gradient = meta.through_adaptation(problem, rule, remat=settings.remat)
    return gradient_learner(world, settings, problem, network, rule, adam_along(settings, meta_gradient))


def reptile(world: World, settings: Settings) -> MetaLearner:
    """Reptile: follow the way adaptation went (Nichol et al. 2018)."""
    network, rule = world.make_network(0), rules.sgd(settings.inner_lr)
    problem = world.make_problem(network)
    return gradient_learner(world, settings, problem, network, rule, adam_along(settings, meta.reptile(problem, rule)))


def imaml(world: World, settings: Settings) -> MetaLearner:
    """Implicit MAML: differentiate the solution of a proximal inner problem (Rajeswaran et al. 2019).

    There is one inner problem, so one support batch serves all inner steps. In reinforcement learning its actions were drawn by
    the policy that adaptation starts from, and probability ratios account for that.
    """
    network = world.make_network(0)
    ratios = {} if world.play is None else {"inner_surrogate": loaded_dice(lam=0.0)}
    problem = world.make_problem(network, **ratios)
    plain = rules.sgd(settings.inner_lr)
    implicit = meta.implicit(problem, plain, settings.proximal, cg_steps=settings.cg_steps, damping=settings.cg_damping)

    def meta_gradient(theta, experience):
        grads, metrics = implicit(theta, experience)
        # The reused batch knows the return before adaptation, the query that after the last step; between them nobody played.
        metrics |= {"score": metrics["score"][jnp.array([0, -1])]}
        if world.play is not None:  # and it was drawn once, not once per step
            support, query = experience.support.trajectory.mask[0], experience.query.trajectory.mask
            metrics["num_samples"] = jnp.sum(support) + jnp.sum(query)
        return grads, metrics

    rule = rules.proximal(plain, settings.proximal)
    update = adam_along(settings, meta_gradient)
    return gradient_learner(world, settings, problem, network, rule, update, resample=False)


def mamlpp(world: World, settings: Settings) -> MetaLearner:
    """MAML++: learned step sizes per layer and step, multi-step loss, derivative order and outer rate annealed.

    Antoniou et al. 2019. Batch normalisation, its remaining part, has no place in these networks.
    """
    network = world.make_network(0)
    problem = world.make_problem(network)
    num_steps = max(settings.num_inner_steps, 1)
    rule = rules.per_step(settings.inner_lr, num_steps)

    def meta_gradient(iteration):
        progress = iteration / settings.num_iterations
        multi_step = problem._replace(
            outer_loss=meta.weighted_steps(problem.step_losses, step_weights(num_steps, progress / ANNEAL_STEPS_UNTIL))
        )
        second = meta.through_adaptation(multi_step, rule, remat=settings.remat)
        first = meta.through_adaptation(multi_step, rules.first_order(rule), remat=settings.remat)

        def annealed(theta, experience):
            return jax.lax.cond(progress < FIRST_ORDER_UNTIL, first, second, theta, experience)

        return annealed

    rate = settings.outer_lr
    cosine = rate if callable(rate) else optax.cosine_decay_schedule(rate, settings.num_iterations)
    update = outer.follow(settings.optimizer(cosine), meta_gradient, settings.over_tasks)
    return gradient_learner(world, settings, problem, network, rule, update)


def step_weights(num_steps: int, progress: jax.Array) -> jax.Array:
    """[K] weights of the multi-step loss: equal at progress 0, all on the last step from 1 on; they sum to 1."""
    last = jnp.zeros(num_steps).at[-1].set(1.0)
    share = jnp.clip(progress, 0.0, 1.0)
    return (1.0 - share) / num_steps + share * last


def random_start(world: World, settings: Settings) -> MetaLearner:
    """The same network and inner steps from an untrained start: what adaptation achieves without meta-learning."""
    network, rule = world.make_network(0), rules.sgd(settings.inner_lr)
    problem = world.make_problem(network)
    meta_gradient = meta.no_gradient(problem, rule)
    update = outer.follow(optax.set_to_zero(), lambda iteration: meta_gradient, settings.over_tasks)
    return gradient_learner(world, settings, problem, network, rule, update)


def adam_along(settings: Settings, meta_gradient: meta.MetaGradient) -> outer.OuterUpdate:
    """The outer optimiser of ``settings`` (Adam, usually) along one meta-gradient throughout training."""
    return outer.follow(settings.optimizer(settings.outer_lr), lambda iteration: meta_gradient, settings.over_tasks)


def _through(world: World, settings: Settings, rule: InnerRule) -> MetaLearner:
    network = world.make_network(0)
    problem = world.make_problem(network)
    meta_gradient = meta.through_adaptation(problem, rule, remat=settings.remat)
    return gradient_learner(world, settings, problem, network, rule, adam_along(settings, meta_gradient))
