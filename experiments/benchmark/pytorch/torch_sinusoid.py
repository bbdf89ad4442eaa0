"""The sinusoid meta-iteration of `experiments.sinusoid` (protocol maml: 25 tasks, 10 points, one inner step) in PyTorch."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.func import grad, vmap

from experiments.benchmark.pytorch.parts import Layers, adam, adam_begin, mlp

NUM_TASKS, NUM_SHOTS, INNER_LR, OUTER_LR = 25, 10, 0.01, 1e-3


def mean_squared_error(layers: Layers, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean over points [N, 1]."""
    return ((mlp(layers, x, torch.relu) - y) ** 2).mean()


def after_adaptation(layers: Layers, support: Any, query: Any) -> torch.Tensor:
    """The query loss of one task after one inner step."""
    grads = grad(mean_squared_error)(layers, *support)
    adapted = [(w - INNER_LR * dw, b - INNER_LR * db) for (w, b), (dw, db) in zip(layers, grads, strict=True)]
    return mean_squared_error(adapted, *query)


def meta_loss(layers: Layers, support: Any, query: Any) -> torch.Tensor:
    """Mean over tasks; leaves [M, N, 1]."""
    return vmap(after_adaptation, (None, 0, 0))(layers, support, query).mean()


def draw() -> tuple[Any, Any]:
    """Support and query points of new tasks, each ``(x [M, N, 1], y [M, N, 1])``; random numbers in three calls."""
    amplitude = 0.1 + 4.9 * torch.rand(NUM_TASKS, 1, 1)
    phase = math.pi * torch.rand(NUM_TASKS, 1, 1)
    x = 10 * torch.rand(2, NUM_TASKS, NUM_SHOTS, 1) - 5
    y = amplitude * torch.sin(x - phase)
    return (x[0], y[0]), (x[1], y[1])


def iteration(layers: Layers, state: Any) -> tuple[Layers, Any]:
    """One meta-iteration."""
    return adam(layers, grad(meta_loss)(layers, *draw()), state, OUTER_LR)


def make(layers: Layers, *, steps_per_call: int = 1, **options: Any) -> Callable[[int], Any]:
    """Compile; the function takes at least a number of meta-iterations and goes on from where it left off.

    Args:
        layers: where training starts.
        steps_per_call: meta-iterations unrolled into one compiled graph. It runs as a whole, so a number is rounded up.
        **options: of the compiler.
    """

    def steps(layers, state):
        for _ in range(steps_per_call):
            layers, state = iteration(layers, state)
        return layers, state

    compiled = torch.compile(steps, options=options or None)
    carry = layers, adam_begin(layers)

    def run(num_iterations: int) -> Layers:
        nonlocal carry
        with torch.no_grad():  # torch.func differentiates by itself; nothing else is to be recorded
            for _ in range(math.ceil(num_iterations / steps_per_call)):
                carry = compiled(*carry)
        return carry[0]

    return run
