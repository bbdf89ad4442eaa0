"""Prototypical networks: the nearest class mean in a learned space."""

from dataclasses import dataclass
from typing import Annotated

import jax.numpy as jnp

from agents.agent import Agent, Bounds, Training
from agents.parts.problems import needed
from agents.parts.support_reader import support_reader
from agents.parts.world import World
from metarl.interfaces import MetaLearner


@dataclass(frozen=True)
class Protonet:
    """A learned space."""

    embedding_size: Annotated[int, Bounds(1)] = 64  # Snell et al. 2017 have that on Omniglot
    """Numbers that an example is embedded in."""


def protonet(world: World, training: Training, own: Protonet) -> MetaLearner:
    """Prototypical networks: a class is the mean of its embedded support examples (Snell et al. 2017, Equations 1 and 2).

    A logit is minus the squared Euclidean distance from the class's prototype. No gradient steps: its curve has equal logits at
    step 0, when all prototypes are 0, and those of the support set from step 1 on.
    """
    embedding = needed("protonet", world.embed, "embed", "world", "a network of embeddings")(own.embedding_size)

    def logits(params, x):
        difference = embedding.apply(params["network"], x)[:, None] - params["prototypes"]
        return -jnp.sum(difference**2, axis=-1)

    def init(key, data):
        del data
        return embedding.init(key)

    def read(theta, support):
        x, y = support
        # A class without an example, where a family draws so, has its prototype at 0.
        means = y.T @ embedding.apply(theta, x) / jnp.maximum(jnp.sum(y, axis=0), 1)[:, None]
        return {"network": theta, "prototypes": jnp.zeros_like(means)}, {"network": theta, "prototypes": means}

    return support_reader(world, training, embedding._replace(apply=logits), init, read)


PROTONET = Agent(protonet, Protonet, serves=("classification",), adapts_by="one batch")
