"""The navigation meta-iteration of `experiments.train` (maml, one inner step) in PyTorch: same family, policy and estimates.

Axis letters as elsewhere: M tasks, N episodes, T time. Rollouts are batched over [M, N], random numbers drawn once per rollout.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.func import grad, vmap

from experiments.benchmark.pytorch.parts import Layers, adam, adam_begin, mlp

GAMMA, INNER_LR, OUTER_LR = 0.99, 0.1, 1e-3
MAX_STEP, GOAL_RANGE, TOLERANCE = 0.1, 0.5, 0.01  # as in envs/families/navigation.py
RIDGE = 1e-5

Params = tuple[Layers, torch.Tensor]  # network of the mean, log standard deviation [2]


class Batch(NamedTuple):
    """Episodes of M tasks: leaves [M, N, T, ...], advantages centred and scaled."""

    observation: torch.Tensor
    action: torch.Tensor
    log_prob: torch.Tensor
    advantage: torch.Tensor
    mask: torch.Tensor


def normal_log_prob(noise: torch.Tensor, log_std: torch.Tensor) -> torch.Tensor:
    """Of an action whose distance from the mean is ``noise`` [..., 2] standard deviations."""
    return (-0.5 * noise**2 - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)


def play(params: Params, goal: torch.Tensor, position: torch.Tensor, alive: torch.Tensor, noise: torch.Tensor) -> Any:
    """Some time steps in a row, unrolled.

    Args:
        params: shared by the tasks, or with a leading axis [M].
        goal: [M, 1, 2].
        position: [M, N, 2].
        alive: [M, N] bool.
        noise: [steps, M, N, 2], standard normal.

    Returns:
        position and alive afterwards; observation, action, reward and mask with leaves [steps, M, N, ...].
    """
    layers, log_std = params
    std = torch.exp(log_std if log_std.ndim == 1 else log_std[:, None])
    records = []
    for draw in noise:
        action = mlp(layers, position, torch.tanh) + std * draw
        moved = position + MAX_STEP * action.clamp(-1.0, 1.0)
        away = moved - goal
        reward = torch.where(alive, -torch.sqrt((away**2).sum(-1)), 0.0)
        ended = (away.abs() < TOLERANCE).all(-1)
        records.append((position, action, reward, alive.to(reward.dtype)))
        position, alive = torch.where(alive[..., None], moved, position), alive & ~ended
    return position, alive, [torch.stack(leaf) for leaf in zip(*records, strict=True)]


def estimate(observation: torch.Tensor, reward: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Advantages [M, N, T] over the linear feature baseline fitted to each task's batch, centred and scaled."""
    num_tasks, num_episodes, horizon = reward.shape
    t = torch.arange(horizon, dtype=reward.dtype)
    decay = torch.where(t[:, None] >= t[None], GAMMA ** (t[:, None] - t[None]).clamp(min=0), 0.0)  # [later, earlier]
    returns = reward @ decay
    obs, time = observation.clamp(-10.0, 10.0), (t / 100)[:, None]
    powers = torch.cat([time, time**2, time**3, torch.ones_like(time)], -1).expand(num_tasks, num_episodes, horizon, 4)
    feature = torch.cat([obs, obs**2, powers], -1)
    rows = (feature * mask[..., None]).reshape(num_tasks, -1, feature.shape[-1])
    moment = rows.mT @ (returns * mask).reshape(num_tasks, -1, 1)
    gram = rows.mT @ rows + RIDGE * torch.eye(rows.shape[-1], dtype=rows.dtype)
    weights = torch.cholesky_solve(moment, torch.linalg.cholesky_ex(gram)[0])
    value = mask * (feature.reshape(num_tasks, -1, feature.shape[-1]) @ weights).reshape(mask.shape)
    following = torch.cat([value[..., 1:], torch.zeros_like(value[..., :1])], -1)
    advantage = (reward + GAMMA * following - value) @ decay
    count = mask.sum((1, 2), keepdim=True).clamp(min=1.0)
    centred = mask * (advantage - (mask * advantage).sum((1, 2), keepdim=True) / count)
    return centred / (torch.sqrt((centred**2).sum((1, 2), keepdim=True) / count) + 1e-8)


def batch_of(params: Params, noise: torch.Tensor, records: list[torch.Tensor]) -> Batch:
    """What the losses need of a rollout: ``noise`` [T, M, N, 2] and the records of `play`, leaves [T, M, N, ...]."""
    log_std = params[1] if params[1].ndim == 1 else params[1][:, None, None]
    observation, action, reward, mask, drawn = (leaf.movedim(0, 2) for leaf in (*records, noise))
    return Batch(observation, action, normal_log_prob(drawn, log_std) * mask, estimate(observation, reward, mask), mask)


def log_prob(params: Params, batch: Batch) -> torch.Tensor:
    """[N, T], of the recorded actions of one task."""
    layers, log_std = params
    return normal_log_prob((batch.action - mlp(layers, batch.observation, torch.tanh)) * torch.exp(-log_std), log_std)


def inner_loss(params: Params, batch: Batch) -> torch.Tensor:
    """Minus the likelihood-ratio surrogate, `metarl.surrogates.loaded_dice` with lam=0."""
    ratio = torch.exp(batch.mask * (log_prob(params, batch) - batch.log_prob))
    return -(batch.mask * (ratio - 1) * batch.advantage).mean()


def inner_step(params: Params, batch: Batch) -> Params:
    """One task's parameters after one inner step."""
    layers, log_std = params
    grads, d_log_std = grad(inner_loss)(params, batch)
    moved = [(w - INNER_LR * dw, b - INNER_LR * db) for (w, b), (dw, db) in zip(layers, grads, strict=True)]
    return moved, log_std - INNER_LR * d_log_std


def after_adaptation(params: Params, support: Batch, query: Batch) -> torch.Tensor:
    """Outer loss of one task: minus mean log-probability times advantage on the query batch."""
    return -(query.mask * log_prob(inner_step(params, support), query) * query.advantage).mean()


def meta_loss(params: Params, support: Batch, query: Batch) -> torch.Tensor:
    """Mean over tasks; leaves [M, N, T, ...]."""
    return vmap(after_adaptation, (None, 0, 0))(params, support, query).mean()


def adapt(params: Params, noise: torch.Tensor, records: list[torch.Tensor]) -> tuple[Batch, Params]:
    """The support batch, and the parameters of every task [M, ...] after its inner step."""
    support = batch_of(params, noise, records)
    return support, vmap(inner_step, (None, 0))(params, support)


def update(params: Params, state: Any, adapted: Params, support: Batch, noise: torch.Tensor, records: list) -> Any:
    """The meta-gradient and Adam."""
    query = batch_of(adapted, noise, records)
    return adam(params, grad(meta_loss)(params, support, query), state, OUTER_LR)


def make(
    params: Params, *, num_tasks: int, num_episodes: int, horizon: int, steps_per_call: int = 10, **options: Any
) -> Callable[[int], Any]:
    """Compile; the function takes a number of meta-iterations and goes on from where it left off.

    Args:
        params: where training starts.
        num_tasks: M.
        num_episodes: N.
        horizon: T.
        steps_per_call: time steps unrolled into one compiled graph; a divisor of T.
        **options: of the compiler.
    """
    chosen = options or None
    compiled_play, compiled_adapt, compiled_update = (torch.compile(f, options=chosen) for f in (play, adapt, update))
    carry = params, adam_begin(params)

    def rollout(params, goal):
        noise = torch.randn(horizon, num_tasks, num_episodes, 2)
        position, alive = torch.zeros(num_tasks, num_episodes, 2), torch.ones(num_tasks, num_episodes, dtype=torch.bool)
        chunks = []
        for start in range(0, horizon, steps_per_call):
            position, alive, records = compiled_play(params, goal, position, alive, noise[start : start + steps_per_call])
            chunks.append(records)
        return noise, [torch.cat(leaf) for leaf in zip(*chunks, strict=True)]

    def run(num_iterations: int) -> Params:
        nonlocal carry
        with torch.no_grad():  # torch.func differentiates by itself; nothing else is to be recorded
            for _ in range(num_iterations):
                params, state = carry
                goal = GOAL_RANGE * (2 * torch.rand(num_tasks, 1, 2) - 1)
                support, adapted = compiled_adapt(params, *rollout(params, goal))
                carry = compiled_update(params, state, adapted, support, *rollout(adapted, goal))
        return carry[0]

    return run
