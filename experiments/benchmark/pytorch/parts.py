"""What both peers are made of: a network, Adam, and parameters in the form of ours."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

Layers = list[tuple[torch.Tensor, torch.Tensor]]  # weight [inputs, outputs] and bias [outputs] of each layer


def mlp(layers: Layers, x: torch.Tensor, activation: Callable) -> torch.Tensor:
    """Map [..., inputs] to [..., outputs]; with weights [M, inputs, outputs], x [M, ..., inputs] task by task."""
    for weight, bias in layers[:-1]:
        x = activation(x @ weight + _row(bias))
    weight, bias = layers[-1]
    return x @ weight + _row(bias)


def _row(bias: torch.Tensor) -> torch.Tensor:
    return bias if bias.ndim == 1 else bias[:, None]


def layers_from(ours: Any) -> Layers:
    """The parameters of our network, ``{"params": {"Dense_0": {"kernel", "bias"}, ...}}``, layer by layer."""
    dense = ours["params"]
    return [(tensor(dense[name]["kernel"]), tensor(dense[name]["bias"])) for name in sorted(dense)]


def tensor(array: Any) -> torch.Tensor:
    """A JAX or NumPy array as a tensor of its own."""
    return torch.from_numpy(np.array(array))


def adam_begin(params: Any) -> tuple[Any, Any, torch.Tensor]:
    """First and second moments, and the number of steps taken."""
    zeros = torch.utils._pytree.tree_map(torch.zeros_like, params)
    return zeros, torch.utils._pytree.tree_map(torch.clone, zeros), torch.zeros(())


def adam(params: Any, grads: Any, state: Any, rate: float) -> tuple[Any, Any]:
    """One step of Adam as optax takes it (b1 0.9, b2 0.999, eps 1e-8), as a function so that it compiles with the gradient."""
    tree_map = torch.utils._pytree.tree_map
    first, second, count = state
    count = count + 1
    first = tree_map(lambda m, g: 0.9 * m + 0.1 * g, first, grads)
    second = tree_map(lambda v, g: 0.999 * v + 0.001 * g * g, second, grads)
    size, spread = 1 - 0.9**count, 1 - 0.999**count
    params = tree_map(lambda p, m, v: p - rate * (m / size) / (torch.sqrt(v / spread) + 1e-8), params, first, second)
    return params, (first, second, count)
