"""Several runs as one program: each seed sees the random numbers of a run of its own, and each may have numbers of its own."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.forks import refuse_fork
from experiments.runs.checkpoint_format import keys_of
from experiments.runs.strangers import MAX_REKEYED
from metarl.interfaces import MetaLearner, MetaState, Metrics


class Swept(NamedTuple):
    """Settings in which the runs of one program differ: numbers that are inputs of the program.

    Attributes:
        make: {name: scalar} -> the learner with these settings; traced.
        numbers: {name: [S]}, those of each run.
    """

    make: Callable[[dict[str, Any]], MetaLearner]
    numbers: dict[str, np.ndarray]


class SeedBatch(NamedTuple):
    """A learner for S seeds. Every leaf of its states and metrics has a leading axis [S].

    Attributes:
        init: () -> states.
        step: (streams, states, iteration) -> (states, metrics). Random keys are ``fold_in(key of the seed, iteration)``, but
            for seeds that had to change their stream.
        streams: of random numbers, and what differs besides: NumPy leaves [S, ...]. An argument, so that other seeds and
            other numbers find the same compiled program.
    """

    init: Callable[[], Any]
    step: Callable[[Any, Any, jax.Array], tuple[Any, Metrics]]
    streams: Any


NEVER = np.iinfo(np.int32).max  # an iteration
OTHER_STREAM = np.uint32(0xFFFF0000)  # folded into a seed's key, beyond any iteration


def changes_of(rekeyed: Sequence[Sequence[int]]) -> np.ndarray:
    """[S, MAX_REKEYED] int32: the iterations from which on each seed draws from another stream; `NEVER` fills up."""
    return np.stack(
        [np.pad(np.asarray(each, np.int32), (0, MAX_REKEYED - len(each)), constant_values=NEVER) for each in rekeyed]
    )


def key_of_iteration(key: jax.Array, iteration: jax.Array | int, changes: np.ndarray | jax.Array) -> jax.Array:
    """The key of an iteration: of the seed's own stream or, from the n-th of ``changes`` on, of its n-th other one."""
    passed = jnp.sum(iteration >= jnp.asarray(changes)).astype(jnp.uint32)
    other = jax.random.fold_in(key, OTHER_STREAM + passed)
    return jax.random.fold_in(jnp.where(passed > 0, other, key), iteration)


def batch_seeds(
    learner: MetaLearner, seeds: Sequence[int], changes: np.ndarray | None = None, swept: Swept | None = None
) -> SeedBatch:
    """Batch ``learner`` over ``seeds`` by vmap; a single seed keeps the learner's own program, bit for bit.

    Args:
        learner: of one seed.
        seeds: S of them, one for each run.
        changes: of `changes_of`; None if all seeds keep to their own streams.
        swept: settings in which the runs differ; None if they are all ``learner``'s.
    """
    refuse_fork()
    if len(seeds) == 1 or swept is None:
        swept = Swept(lambda numbers: learner, {})
    key_init, key_steps = (jnp.stack(column) for column in zip(*map(keys_of, seeds), strict=True))
    streams: dict[str, Any] = {"words": np.asarray(jax.random.key_data(key_steps)), "numbers": swept.numbers}
    if changes is not None and np.any(changes != NEVER):
        streams["changes"] = np.asarray(changes)

    def advance(state: Any, stream: dict[str, Any], iteration: jax.Array) -> tuple[Any, Metrics]:
        key, learner = jax.random.wrap_key_data(stream["words"]), swept.make(stream["numbers"])
        if "changes" in stream:
            return learner.step(state, key_of_iteration(key, iteration, stream["changes"]))
        return learner.step(state, jax.random.fold_in(key, iteration))

    def step_one(streams: Any, states: Any, iteration: jax.Array) -> tuple[Any, Metrics]:
        return stack([advance(of_seed(states, 0), of_seed(streams, 0), iteration)])

    def step_all(streams: Any, states: MetaState, iteration: jax.Array) -> tuple[MetaState, Metrics]:
        # The seeds share their iteration; a value of its own for each would turn what is annealed by `cond` into a
        # `select` that computes both branches.
        axes = MetaState(theta=0, opt_state=0, iteration=None)  # type: ignore[arg-type]
        shared = states._replace(iteration=states.iteration[0])
        states, metrics = jax.vmap(advance, (axes, 0, None), (axes, 0))(shared, streams, iteration)
        return states._replace(iteration=jnp.broadcast_to(states.iteration, len(seeds))), metrics

    if len(seeds) == 1:
        return SeedBatch(lambda: stack([jax.jit(learner.init)(key_init[0])]), step_one, streams)
    # Not by vmap: jaxlib 0.10 factorises batches of matrices, such as orthogonal starts, in threads that wait for one another,
    # and on two busy cores about one start in four of `rl2` hung for ever.
    init = jax.jit(lambda numbers, key: swept.make(numbers).init(key))
    return SeedBatch(lambda: stack([init(of_seed(swept.numbers, i), key) for i, key in enumerate(key_init)]), step_all, streams)


def of_seed(tree: Any, index: int, *, axis: int = 0) -> Any:
    """What belongs to one seed: leaves [S, ...] -> [...]; or with S at another axis."""
    return jax.tree.map(lambda leaf: leaf[(slice(None),) * axis + (index,)], tree)


def stack(trees: Sequence[Any]) -> Any:
    """The trees of S seeds as one, with leaves [S, ...]."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
