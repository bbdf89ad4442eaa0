"""One learner and several seeds as one program: each seed sees the random numbers of a run of its own."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.runs.checkpoint_format import keys_of
from metarl.interfaces import MetaLearner, MetaState, Metrics


class SeedBatch(NamedTuple):
    """A learner for S seeds. Every leaf of its states and metrics has a leading axis [S].

    Attributes:
        init: () -> states.
        step: (states, iteration) -> (states, metrics). Random keys are ``fold_in(key of the seed, iteration)``.
    """

    init: Callable[[], Any]
    step: Callable[[Any, jax.Array], tuple[Any, Metrics]]


def batch_seeds(learner: MetaLearner, seeds: Sequence[int]) -> SeedBatch:
    """Batch ``learner`` over ``seeds`` by vmap; a single seed keeps the learner's own program, bit for bit."""
    key_init, key_steps = (jnp.stack(column) for column in zip(*map(keys_of, seeds), strict=True))

    def advance(state: Any, key: jax.Array, iteration: jax.Array) -> tuple[Any, Metrics]:
        return learner.step(state, jax.random.fold_in(key, iteration))

    def step_one(states: Any, iteration: jax.Array) -> tuple[Any, Metrics]:
        return stack([advance(of_seed(states, 0), key_steps[0], iteration)])

    def step_all(states: MetaState, iteration: jax.Array) -> tuple[MetaState, Metrics]:
        # The seeds share their iteration; a value of its own for each would turn what is annealed by `cond` into a
        # `select` that computes both branches.
        axes = MetaState(theta=0, opt_state=0, iteration=None)  # type: ignore[arg-type]
        shared = states._replace(iteration=states.iteration[0])
        states, metrics = jax.vmap(advance, (axes, 0, None), (axes, 0))(shared, key_steps, iteration)
        return states._replace(iteration=jnp.broadcast_to(states.iteration, len(seeds))), metrics

    if len(seeds) == 1:
        return SeedBatch(lambda: stack([jax.jit(learner.init)(key_init[0])]), step_one)
    # Not by vmap: jaxlib 0.10 factorises batches of matrices, such as orthogonal starts, in threads that wait for one another,
    # and on two busy cores about one start in four of `rl2` hung for ever.
    init = jax.jit(learner.init)
    return SeedBatch(lambda: stack([init(key) for key in key_init]), step_all)


def of_seed(tree: Any, index: int, *, axis: int = 0) -> Any:
    """What belongs to one seed: leaves [S, ...] -> [...]; or with S at another axis."""
    return jax.tree.map(lambda leaf: leaf[(slice(None),) * axis + (index,)], tree)


def stack(trees: Sequence[Any]) -> Any:
    """The trees of S seeds as one, with leaves [S, ...]."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
