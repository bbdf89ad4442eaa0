"""A network whose weights another network gives (Beck et al. 2022, 2023)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents.parts.networks import Network

LOG_STD = "log_std"  # of a Gaussian, beside its network


def generated(network: Network, num_inputs: int) -> Network:
    """The same network, whose weights are a linear function of what a memory gives: ``apply(params, x, y [num_inputs])``.

    At the start the function is constant: its matrix is zero and its bias holds weights as the network draws them, so that
    untrained it is that network (Bias-HyperInit, Beck et al. 2022). A Gaussian's log standard deviation stays a parameter.

    Args:
        network: of the policy, or of the value.
        num_inputs: of the linear function.
    """
    drawn = jax.eval_shape(network.init, jax.random.key(0))
    like = jax.tree.map(np.shape, _parts(drawn)[0])
    [name] = [name for name in drawn if name != LOG_STD] if LOG_STD in drawn else [None]
    shapes, structure = jax.tree.flatten(like, is_leaf=lambda leaf: isinstance(leaf, tuple))
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])

    def init(key):
        weights, kept = _parts(network.init(key))
        flat = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(weights)])
        return {"kernel": jnp.zeros((num_inputs, flat.size), flat.dtype), "bias": flat} | kept

    def apply(params, x, y):
        pieces = jnp.split(y @ params["kernel"] + params["bias"], ends[:-1])
        weights = jax.tree.unflatten(structure, [piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)])
        kept = {name: params[name] for name in params if name not in ("kernel", "bias")}
        return network.apply({name: weights} | kept if kept else weights, x, ())

    def whole(params):
        raise ValueError("the weights of a generated network are no parameters, so that it has no head to adapt.")

    return Network(init, apply, whole, lambda head, body: whole(head))


def _parts(params: Any) -> tuple[Any, dict[str, Any]]:
    """What is generated, and what stays a parameter."""
    if LOG_STD not in params:
        return params, {}
    [weights] = [part for name, part in params.items() if name != LOG_STD]
    return weights, {LOG_STD: params[LOG_STD]}
