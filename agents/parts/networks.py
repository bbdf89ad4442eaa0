"""Policies and regressors as pairs of functions. The one file that imports distrax."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
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
    """A function with parameters, and where its head is.

    Attributes:
        init: key -> params.
        apply: (params, x, extra) -> y. ``extra`` [E] joins every input; E is fixed when the network is made, often 0.
        split: params -> (head, body); the head is the last layer and what belongs to it.
        merge: (head, body) -> params.
    """

    init: Callable[[jax.Array], Any]
    apply: Callable[..., Any]
    split: Callable[[Any], tuple[Any, Any]]
    merge: Callable[[Any, Any], Any]


class Policy(NamedTuple):
    """A network that names an action distribution.

    Attributes:
        network: maps observations [..., O] to the distribution's parameters, a pytree of arrays that batches can store.
        distribution: those parameters -> distrax.Distribution over actions.
    """

    network: Network
    distribution: Callable[[Any], distrax.Distribution]


@jax.custom_jvp
def rows_times(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Multiply x [N, inputs] with kernel [inputs, outputs], x being transposed once for the kernel's gradient.

    Left to itself the compiler transposes inside that product, which takes a CPU twice as long where rows are few: a tenth of
    a sinusoid meta-iteration.
    """
    return x @ kernel


@rows_times.defjvp
def _rows_times_jvp(primals, tangents):
    (x, kernel), (x_dot, kernel_dot) = primals, tangents
    columns = jax.lax.optimization_barrier(x.T)  # or it would be merged into the product again
    return rows_times(x, kernel), rows_times(x_dot, kernel) + jnp.einsum("in,io->no", columns, kernel_dot)


def product(x: jax.Array, kernel: jax.Array, dimension_numbers, **options) -> jax.Array:
    """What `nn.Dense` multiplies with: x [..., inputs], kernel [inputs, outputs]."""
    few_rows = x.ndim == 2 and min(kernel.shape) > 1
    return rows_times(x, kernel) if few_rows else jax.lax.dot_general(x, kernel, dimension_numbers, **options)


class MLP(nn.Module):
    """Dense layers of the given sizes with an activation between them and a linear output."""

    hidden_sizes: Sequence[int]
    num_outputs: int
    activation: Callable
    kernel_init: Callable
    bias_init: Callable

    @nn.compact
    def __call__(self, x):
        """Map [..., inputs] to [..., num_outputs]."""
        dense = partial(nn.Dense, kernel_init=self.kernel_init, bias_init=self.bias_init, dot_general=product)
        for size in self.hidden_sizes:
            x = self.activation(dense(size)(x))
        return dense(self.num_outputs)(x)


def mlp(
    input_shape: tuple[int, ...],
    hidden_sizes: Sequence[int],
    num_outputs: int,
    activation: str,
    init: Callable,
    num_extra: int,
    bias_init: Callable = nn.initializers.zeros,
) -> Network:
    """A network from x [..., *input_shape] and ``num_extra`` further inputs to [..., num_outputs]."""
    module = MLP(hidden_sizes, num_outputs, ACTIVATIONS[activation], init, bias_init)
    head = f"Dense_{len(hidden_sizes)}"

    def flat(x, extra):
        x = x.reshape(*x.shape[: x.ndim - len(input_shape)], -1)
        return x if num_extra == 0 else jnp.concatenate([x, jnp.broadcast_to(extra, (*x.shape[:-1], num_extra))], axis=-1)

    def split(params):
        body = {name: layer for name, layer in params["params"].items() if name != head}
        return params["params"][head], body

    return Network(
        init=lambda key: module.init(key, flat(jnp.zeros(input_shape), jnp.zeros(num_extra))),
        apply=lambda params, x, extra=(): module.apply(params, flat(x, extra)),
        split=split,
        merge=lambda layer, body: {"params": body | {head: layer}},
    )


def with_context(network: Network) -> Network:
    """A network made for extra inputs, reading them from its parameters: ``{"network": ..., "context": [E]}``."""
    return network._replace(apply=lambda params, x: network.apply(params["network"], x, params["context"]))


def observation_shape(space: gymnasium.Space) -> tuple[int, ...]:
    """The shape of observations from ``space``; ValueError unless policies can read them."""
    if not isinstance(space, gymnasium.spaces.Box):
        raise ValueError(f"observation_space is {space}, but policies read Box observations.")
    return space.shape


def policy(
    observation_space: gymnasium.Space,
    action_space: gymnasium.Space,
    *,
    hidden_sizes: Sequence[int],
    activation: str,
    initial_std: float,
    num_extra: int = 0,
) -> Policy:
    """A Gaussian policy for Box actions, a categorical one for Discrete actions.

    The Gaussian's mean is a network; its log standard deviation is a parameter of its own, the same in every state, learned
    and adapted with the rest. Networks start with Glorot-uniform weights, as in rllab.

    Raises:
        ValueError: for spaces without a policy.
    """
    shape = observation_shape(observation_space)

    def network(num_outputs):
        init = nn.initializers.glorot_uniform()
        return mlp(shape, hidden_sizes, num_outputs, activation, init, num_extra)

    if isinstance(action_space, gymnasium.spaces.Discrete):
        if action_space.start != 0:
            raise ValueError(f"action_space starts at {action_space.start}, but categorical policies number actions from 0.")
        return Policy(network(int(action_space.n)), lambda x: distrax.Categorical(logits=x))
    if isinstance(action_space, gymnasium.spaces.Box) and len(action_space.shape) == 1:
        return _gaussian(network(action_space.shape[0]), action_space.shape[0], initial_std)
    raise ValueError(f"action_space is {action_space}, but policies act in Discrete or one-dimensional Box spaces.")


def _gaussian(mean: Network, num_actions: int, initial_std: float) -> Policy:
    def init(key):
        return {"mean": mean.init(key), "log_std": jnp.full(num_actions, np.log(initial_std), jnp.float32)}

    def apply(params, observation, extra=()):
        loc = mean.apply(params["mean"], observation, extra)
        # Inner steps may drive the standard deviation towards 0; below 1e-6 log-probabilities overflow.
        log_std = jnp.maximum(params["log_std"], MIN_LOG_STD)
        return {"mean": loc, "log_std": jnp.broadcast_to(log_std, loc.shape)}

    def split(params):
        head, body = mean.split(params["mean"])
        return {"mean": head, "log_std": params["log_std"]}, body

    def merge(head, body):
        return {"mean": mean.merge(head["mean"], body), "log_std": head["log_std"]}

    network = Network(init, apply, split, merge)
    return Policy(network, lambda p: distrax.MultivariateNormalDiag(p["mean"], jnp.exp(p["log_std"])))
