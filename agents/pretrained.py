"""Pretraining on all tasks and fine-tuning on a new one: the baseline of transfer learning, and its recipes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

from agents.agent import Adaptation, Agent, InnerLoop, OnPolicy, Training
from agents.parts.acting import starting_from
from agents.parts.gradient_learner import Inner, acting, adaptation, along, gradient_learner, inner
from agents.parts.networks import Network, with_head
from agents.parts.normalization import carry
from agents.parts.world import World
from metarl import meta, rules
from metarl.interfaces import InnerRule, MetaLearner

LOWER_BY = 0.3  # each earlier layer's rate, relative to the next
RATES = (0.001, 0.003, 0.01, 0.03, 0.1)  # tried by cross-validation
FOLDS = 5
KINDS = ("Conv_", "Dense_")  # how the names of layers begin


@dataclass(frozen=True)
class Pretrained(OnPolicy, Adaptation):
    """Fine-tuning by gradient steps."""

    recipe: Literal["plain", "lower-early", "frozen", "gradual", "new-head", "cross-validated"] = "plain"
    """How it is fine-tuned; cross-validated holds back points of a support set, not in RL."""


def pretrained(world: World, training: Training, own: Pretrained) -> MetaLearner:
    """Transfer learning: one network trained on all tasks at once, without an inner loop, then fine-tuned by a recipe.

    Raises:
        ValueError: for a recipe that needs a fixed support set where there is none, or layers or a head that a network of the
            user's own does not have.
    """
    if world.network is not None and own.recipe in ("lower-early", "gradual"):
        raise ValueError(f"recipe {own.recipe!r} counts the layers of the built-in network; a network of your own has none.")
    loop = inner(world, training, own, rule=rules.sgd(own.inner_lr))
    in_training = InnerLoop(num_inner_steps=0)
    make_update = lambda problem, rule: along(training, meta.through_adaptation(problem, rule))
    learner = gradient_learner(world, training, in_training, loop, make_update)
    if own.recipe == "cross-validated":
        return learner._replace(adapt=_cross_validated(world, loop, own.test_step_scale))
    tuned = rules.scaled(carry(RECIPES[own.recipe](loop.network, own), world.seen), own.test_step_scale)

    fine_tuned = loop._replace(rule=tuned)

    def adapt(state, task, key, num_steps):
        return adaptation(fine_tuned, tuned.init(state.theta), task, key, num_steps)

    acts = acting(world, fine_tuned, 0)
    return learner._replace(adapt=adapt, acting=None if acts is None else starting_from(tuned.init, acts))


def layer_rates(rates: Callable) -> InnerRule:
    """SGD with a given step size per parameter array and step.

    Args:
        rates: (path of the array in the tree, step index) -> step size.
    """

    def step(theta, fast, grads, k):
        del theta
        return jax.tree_util.tree_map_with_path(lambda path, p, g: p - rates(path, k) * g, fast, grads)

    return rules.sgd(0.0)._replace(step=step)


def depth_from_head(path, layers: list[str]) -> int:
    """0 for the last of the ``layers`` (and what belongs to no layer), 1 for the one before, ..."""
    names = [str(getattr(entry, "key", "")) for entry in path]
    found = [layers.index(name) for name in names if name in layers]
    return len(layers) - 1 - found[0] if found else 0


def layers_of(network: Network) -> list[str]:
    """The names of a network's layers in their order: convolutions, if it has any, before dense ones."""
    params = jax.eval_shape(network.init, jax.random.key(0))
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    names = {str(getattr(entry, "key", "")) for path in paths for entry in path}
    kinds = [sorted((int(name.removeprefix(kind)), name) for name in names if _is(name, kind)) for kind in KINDS]
    return [name for kind in kinds for _, name in kind]


def _is(name: str, kind: str) -> bool:
    return name.startswith(kind) and name.removeprefix(kind).isdigit()  # a layer of a user's may be called Dense_out


def _plain(network: Network, own: Pretrained) -> InnerRule:
    return rules.sgd(own.inner_lr)


def _lower_early(network: Network, own: Pretrained) -> InnerRule:
    layers = layers_of(network)
    return layer_rates(lambda path, k: own.inner_lr * LOWER_BY ** depth_from_head(path, layers))


def _frozen(network: Network, own: Pretrained) -> InnerRule:
    return rules.only(rules.sgd(own.inner_lr), with_head(network).split, network.merge)


def _gradual(network: Network, own: Pretrained) -> InnerRule:
    layers = layers_of(network)
    return layer_rates(lambda path, k: jnp.where(depth_from_head(path, layers) <= k, own.inner_lr, 0.0))


def _new_head(network: Network, own: Pretrained) -> InnerRule:
    with_head(network)

    def init(params):
        fresh, _ = network.split(network.init(jax.random.key(0)))
        return network.merge(fresh, network.split(params)[1])

    return rules.sgd(own.inner_lr)._replace(init=init)


def _cross_validated(world: World, loop: Inner, scale: tuple[float, ...]):
    """Adapt with the rate of `RATES` that predicts held-back points of the support set best."""
    if world.resample:
        raise ValueError("recipe 'cross-validated' holds back points of one support set; reinforcement learning has none.")

    def adapt(state, task, key, num_steps):
        support = loop.problem.sample_batch(state.theta, task, jax.random.split(key)[0])
        best = choose_rate(loop.problem.inner_loss, state.theta, support, num_steps)
        return adaptation(loop._replace(rule=rules.scaled(rules.sgd(best), scale)), state.theta, task, key, num_steps)

    return adapt


def choose_rate(inner_loss, params, support, num_steps: int) -> jax.Array:
    """The rate of `RATES` with the least held-back loss after ``num_steps``, over at most `FOLDS` folds of the support set.

    Args:
        inner_loss: (params, batch) -> (loss, metrics), a mean over points.
        params: where fine-tuning starts.
        support: leaves [N, ...], N at least 2 to hold something back; with 1 the smallest rate is chosen.
        num_steps: fine-tuning steps.
    """
    num_points = jax.tree.leaves(support)[0].shape[0]
    folds = min(FOLDS, num_points)
    if folds < 2:
        return jnp.asarray(RATES[0])

    def held_back(rate):
        losses = []
        for fold in range(folds):
            inside = [i for i in range(num_points) if i % folds != fold]
            outside = [i for i in range(num_points) if i % folds == fold]
            train, test = (jax.tree.map(lambda x, rows=rows: x[jnp.array(rows)], support) for rows in (inside, outside))

            def step(k, fast, train=train):
                grads, _ = jax.grad(inner_loss, has_aux=True)(fast, train)
                return jax.tree.map(lambda p, g: p - rate * g, fast, grads)

            losses.append(inner_loss(jax.lax.fori_loop(0, num_steps, step, params), test)[0])
        return jnp.nan_to_num(jnp.mean(jnp.stack(losses)), nan=jnp.inf)

    return jnp.asarray(RATES)[jnp.argmin(jax.vmap(held_back)(jnp.asarray(RATES)))]


RECIPES: dict[str, Callable[[Network, Pretrained], InnerRule]] = {
    "plain": _plain,
    "lower-early": _lower_early,
    "frozen": _frozen,
    "gradual": _gradual,
    "new-head": _new_head,
}

PRETRAINED = Agent(pretrained, Pretrained, uses=("optimizer", "inner_surrogate"))
