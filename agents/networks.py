"""Policies and regressors as pairs of functions. The one file that imports flax and distrax."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

with warnings.catch_warnings():
    # distrax 0.1.9 touches names that jax has deprecated, at import only.
    warnings.simplefilter("ignore", DeprecationWarning)
    import distrax

ACTIVATIONS: dict[str, Callable] = {"relu": nn.relu, "tanh": nn.tanh}
MIN_LOG_STD = float(np.log(1e-6))


class Network(NamedTuple):
    """A function with parameters: ``init(key) -> params``, ``apply(params, x) -> y``."""

    init: Callable[[jax.Array], Any]
    apply: Callable[[Any, jax.Array], Any]


class Policy(NamedTuple):
    """A network that names an action distribution.

    Attributes:
        init: key -> params.
        apply: (params, observation [..., O]) -> parameters of the distribution, a pytree of arrays that batches can store.
        distribution: those parameters -> distrax.Distribution over actions.
    """

    init: Callable[[jax.Array], Any]
    apply: Callable[[Any, jax.Array], Any]
    distribution: Callable[[Any], distrax.Distribution]


class MLP(nn.Module):
    """Dense layers of the given sizes with an activation between them and a linear output."""

    hidden_sizes: Sequence[int]
    num_outputs: int
    activation: Callable
    kernel_init: Callable = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x):
        """Map [..., inputs] to [..., num_outputs]."""
        for size in self.hidden_sizes:
            x = self.activation(nn.Dense(size, kernel_init=self.kernel_init)(x))
        return nn.Dense(self.num_outputs, kernel_init=self.kernel_init)(x)


def regressor(hidden_sizes: Sequence[int], activation: str, kernel_init: Callable) -> Network:
    """A network from x [..., 1] to y [..., 1]."""
    module = MLP(hidden_sizes, 1, ACTIVATIONS[activation], kernel_init)
    return Network(init=lambda key: module.init(key, jnp.zeros((1, 1))), apply=module.apply)


def policy(
    observation_space: gymnasium.Space,
    action_space: gymnasium.Space,
    *,
    hidden_sizes: Sequence[int],
    activation: str,
    initial_std: float,
) -> Policy:
    """A Gaussian policy for Box actions, a categorical one for Discrete actions.

    The Gaussian's mean is a network; its log standard deviation is a parameter of its own, the same in every state, learned
    and adapted with the rest. Networks start with Glorot-uniform weights, as in rllab.

    Raises:
        ValueError: for spaces without a policy.
    """
    if not isinstance(observation_space, gymnasium.spaces.Box):
        raise ValueError(f"observation_space is {observation_space}, but policies read Box observations.")
    shape = observation_space.shape

    def flat(observation):
        return observation.reshape(*observation.shape[: observation.ndim - len(shape)], -1)

    def network(num_outputs):
        module = MLP(hidden_sizes, num_outputs, ACTIVATIONS[activation], nn.initializers.glorot_uniform())
        return Network(lambda key: module.init(key, flat(jnp.zeros(shape))), lambda p, x: module.apply(p, flat(x)))

    if isinstance(action_space, gymnasium.spaces.Discrete):
        if action_space.start != 0:
            raise ValueError(f"action_space starts at {action_space.start}, but categorical policies number actions from 0.")
        logits = network(int(action_space.n))
        return Policy(logits.init, logits.apply, lambda x: distrax.Categorical(logits=x))
    if isinstance(action_space, gymnasium.spaces.Box) and len(action_space.shape) == 1:
        return _gaussian(network(action_space.shape[0]), action_space.shape[0], initial_std)
    raise ValueError(f"action_space is {action_space}, but policies act in Discrete or one-dimensional Box spaces.")


def _gaussian(mean: Network, num_actions: int, initial_std: float) -> Policy:
    def init(key):
        return {"mean": mean.init(key), "log_std": jnp.full(num_actions, np.log(initial_std), jnp.float32)}

    def apply(params, observation):
        loc = mean.apply(params["mean"], observation)
        # Inner steps may drive the standard deviation towards 0; below 1e-6 log-probabilities overflow.
        log_std = jnp.maximum(params["log_std"], MIN_LOG_STD)
        return {"mean": loc, "log_std": jnp.broadcast_to(log_std, loc.shape)}

    return Policy(init, apply, lambda p: distrax.MultivariateNormalDiag(p["mean"], jnp.exp(p["log_std"])))
