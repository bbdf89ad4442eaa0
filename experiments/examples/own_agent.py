"""An agent of one's own, to be copied: MAML whose inner steps have momentum, and a network to go with any agent.

cp experiments/examples/own_agent.py my_agent.py
python -m experiments.train --agent my_agent:mine/momentum --momentum 0.9 --run-dir runs/momentum
python -m experiments.train --agent promp --network my_agent:mine/swish --run-dir runs/swish
"""

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
from flax import linen as nn

import agents
from agents.parts.gradient_learner import gradient_learner, inner, through_inner_steps
from metarl import InnerRule, MetaLearner, rules


@dataclass(frozen=True)
class Momentum(agents.OnPolicy, agents.InnerLoop):
    """Gradient steps that keep some of their speed."""

    momentum: Annotated[float, agents.Bounds(0, 1)] = 0.5
    """How much of the last step is repeated."""


def heavy_ball(learning_rate: float, momentum: float) -> InnerRule:
    """SGD with momentum (Polyak 1964): what moves are parameters and their velocity, which is zero at the start."""

    def begin(theta):
        return {"params": theta, "velocity": jax.tree.map(jnp.zeros_like, theta)}

    def step(theta, fast, grads, k):
        velocity = jax.tree.map(lambda v, g: momentum * v - learning_rate * g, fast["velocity"], grads["params"])
        return {"params": jax.tree.map(jnp.add, fast["params"], velocity), "velocity": velocity}

    return rules.sgd(0.0)._replace(begin=begin, step=step, read=lambda theta, fast: fast["params"], whole=False)


def momentum(world: agents.World, training: agents.Training, own: Momentum) -> MetaLearner:
    """MAML with momentum in its inner steps."""
    loop = inner(world, training, own, rule=heavy_ball(own.inner_lr, own.momentum))
    return gradient_learner(world, training, own, loop, through_inner_steps(training))


agents.register("mine/momentum", agents.Agent(momentum, Momentum, uses=("optimizer", "remat")))


class Swish(nn.Module):
    """Features of an observation; a linear head for the actions is put on top."""

    @nn.compact
    def __call__(self, x):
        """[B, ...] -> [B, 32]."""
        return nn.swish(nn.Dense(32)(nn.swish(nn.Dense(32)(x))))


agents.register_network("mine/swish", Swish())
