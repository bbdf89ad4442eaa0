"""How much memory one meta-iteration needs besides its inputs and outputs, as the compiler itself reports it."""

from typing import Any

import jax

from metarl.types import MetaLearner


def temporary_bytes(learner: MetaLearner) -> int:
    """Temporary memory of one compiled meta-iteration in bytes: what lives between its inputs and its outputs."""
    key = jax.random.key(0)
    state: Any = jax.eval_shape(learner.init, key)
    analysis: Any = jax.jit(learner.step).lower(state, key).compile().memory_analysis()
    return int(analysis.temp_size_in_bytes)
