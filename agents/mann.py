"""Black-box adaptation: a recurrent network reads the support set and predicts; no gradient at test time."""

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
from flax import linen as nn

from agents.agent import Agent, Bounds, Training
from agents.parts.support_reader import support_reader
from agents.parts.world import World
from metarl.interfaces import MetaLearner


@dataclass(frozen=True)
class Mann:
    """A memory of the support set."""

    memory_size: Annotated[int, Bounds(1)] = 64  # ours
    """Size of the GRU's state."""


def mann(world: World, training: Training, own: Mann) -> MetaLearner:
    """Memory instead of gradient steps: a GRU reads the support set, and its state joins the input of a small network.

    After Santoro et al. 2016, with a plain recurrent state as the memory, which reads (x, y) pairs one after another. Its curve
    has the untouched state at step 0 and the state after reading the whole support set from step 1 on.
    """
    if isinstance(world.network, nn.RNNCellBase):
        raise ValueError("mann has a GRU as its memory; give it a network that maps inputs to features, for its predictions.")
    untouched = jnp.zeros(own.memory_size)
    cell, head = nn.GRUCell(own.memory_size), world.make_network(own.memory_size)
    network = head._replace(apply=lambda params, x: head.apply(params["head"], x, params["memory"]))

    def init(key, data):
        key_cell, key_head = jax.random.split(key)
        pair = jnp.zeros(sum(part.shape[1] for part in data.support))
        return {"cell": cell.init(key_cell, untouched, pair), "head": head.init(key_head)}

    def read(theta, support):
        pairs = jnp.concatenate(support, axis=1)
        memory, _ = jax.lax.scan(lambda carry, pair: cell.apply(theta["cell"], carry, pair), untouched, pairs)
        return {"head": theta["head"], "memory": untouched}, {"head": theta["head"], "memory": memory}

    return support_reader(world, training, network, init, read)


MANN = Agent(mann, Mann, serves=("regression", "classification"), adapts_by="one batch")
