"""How much better an action was than expected. Data for the surrogates: computed once per batch, never differentiated."""

import functools
import math
from collections.abc import Callable, Sequence

import chex
import jax
import jax.numpy as jnp

from metarl.interfaces import known
from metarl.surrogates import decay_matrix

MOST_OBSERVED = 1000  # numbers of an observation that a linear baseline still reads; a humanoid has 376
FEW_OBSERVED = 100  # numbers that it reads however few steps a batch has, as published codes do


def discounted_sum(x: jax.Array, factor: float) -> jax.Array:
    """y_t = x_t + factor * y_{t+1} along the last axis, as one matrix product: no sequential scan.

    Args:
        x: [..., T].
        factor: discount in [0, 1].

    >>> discounted_sum(jnp.array([1.0, 1.0, 1.0]), 0.5)
    Array([1.75, 1.5 , 1.  ], dtype=float32)
    """
    decay = decay_matrix(x.shape[-1], factor, x.dtype)
    return jnp.matmul(x, decay.T, precision=jax.lax.Precision.HIGHEST)


def generalized_advantage(reward: jax.Array, value: jax.Array, gamma: float, lam: float) -> jax.Array:
    """Generalised advantage estimates of one episode (Schulman et al. 2016, Eq. 16).

    Args:
        reward: [T], zero after the episode's end.
        value: [T+1], the value of each observation, zero after the episode's end. ``value[T]`` bootstraps the time limit;
            zero where the horizon is part of the task.
        gamma: discount.
        lam: 1 gives the discounted return minus the value, 0 the one-step error.

    Returns:
        [T] advantages, zero after the end.

    >>> reward, value = jnp.array([0.0, 0.0, 1.0]), jnp.array([0.5, 0.5, 0.5, 0.0])
    >>> generalized_advantage(reward, value, gamma=1.0, lam=1.0)  # return minus value
    Array([0.5, 0.5, 0.5], dtype=float32)
    >>> generalized_advantage(reward, value, gamma=1.0, lam=0.0)  # one-step error
    Array([0. , 0. , 0.5], dtype=float32)
    """
    chex.assert_rank([reward, value], 1)
    delta = reward + gamma * value[1:] - value[:-1]
    return discounted_sum(delta, gamma * lam)


def linear_features(observation: jax.Array) -> jax.Array:
    """Features of Duan et al. 2016a (rllab) for a linear baseline: clipped observation, its square, and powers of time.

    Args:
        observation: [T, ...], one episode.

    Returns:
        [T, 2 * O + 4] with O the flattened size of an observation.

    >>> linear_features(jnp.zeros((200, 3))).shape
    (200, 10)
    """
    horizon = observation.shape[0]
    obs = jnp.clip(observation.reshape(horizon, -1).astype(jnp.result_type(float)), -10.0, 10.0)
    t = (jnp.arange(horizon, dtype=obs.dtype) / 100.0)[:, None]
    return jnp.concatenate([obs, obs**2, t, t**2, t**3, jnp.ones_like(t)], axis=1)


def fit_linear_baseline(feature: jax.Array, target: jax.Array, mask: jax.Array, ridge: float = 1e-5) -> jax.Array:
    """Ridge regression of ``target`` on ``feature`` over one task's batch, evaluated on the same batch.

    A system too singular for its precision gives non-finite weights; the ridge then grows tenfold, five times at most, as in
    rllab. Where that does not help the baseline is zero.

    Args:
        feature: [N, T, F].
        target: [N, T], usually discounted returns.
        mask: [N, T], 1.0 for steps that count.
        ridge: first regularisation tried.

    Returns:
        [N, T] predictions, zero where ``mask`` is zero.
    """
    chex.assert_rank([feature, target, mask], [3, 2, 2])
    rows = (feature * mask[..., None]).reshape(-1, feature.shape[-1])
    gram = jnp.matmul(rows.T, rows, precision=jax.lax.Precision.HIGHEST)
    moment = jnp.matmul(rows.T, (target * mask).reshape(-1), precision=jax.lax.Precision.HIGHEST)
    solve = functools.partial(_solve_ridge, ridge)
    weights = jax.lax.platform_dependent(gram, moment, cpu=jax.custom_batching.sequential_vmap(solve), default=solve)
    return mask * jnp.matmul(feature, weights, precision=jax.lax.Precision.HIGHEST)


def _solve_ridge(ridge: float, gram: jax.Array, moment: jax.Array) -> jax.Array:
    """Weights [F] of gram [F, F] and moment [F], see `fit_linear_baseline`.

    On a CPU it is asked for one task after another: jaxlib 0.10 factorises batches of matrices in threads that wait for one
    another, and where every core's device did so at once, a program hung for ever.
    """
    identity = jnp.eye(gram.shape[0], dtype=gram.dtype)

    def solve(strength):
        return jax.scipy.linalg.solve(gram + strength * identity, moment, assume_a="pos")

    def retry(carry):
        _, strength, attempt = carry
        return solve(10.0 * strength), 10.0 * strength, attempt + 1

    def unsolved(carry):
        weights, _, attempt = carry
        return ~jnp.all(jnp.isfinite(weights)) & (attempt < 5)

    first = jnp.asarray(ridge, gram.dtype)
    weights, _, _ = jax.lax.while_loop(unsolved, retry, (solve(first), first, 0))
    return jnp.where(jnp.all(jnp.isfinite(weights)), weights, 0.0)


def linear_baseline(observation: jax.Array, target: jax.Array, mask: jax.Array) -> jax.Array:
    """`fit_linear_baseline` on `linear_features`: refitted to every batch (Duan et al. 2016a; Finn et al. 2017, Appendix A.2).

    Args:
        observation: [N, T, ...].
        target: [N, T], usually discounted returns.
        mask: [N, T].

    Returns:
        [N, T] values, zero where ``mask`` is zero.

    >>> observation = jnp.ones((8, 3, 2))  # 8 episodes of 3 steps that all look alike
    >>> target = jnp.broadcast_to(jnp.array([3.0, 2.0, 1.0]), (8, 3))
    >>> linear_baseline(observation, target, jnp.ones((8, 3)))[0].round(1)
    Array([3., 2., 1.], dtype=float32)
    """
    return fit_linear_baseline(jax.vmap(linear_features)(observation), target, mask)


def time_baseline(observation: jax.Array, target: jax.Array, mask: jax.Array) -> jax.Array:
    """For each episode and time the mean target of the *other* episodes still alive at that time: a baseline without bias.

    Arguments and shapes are those of `linear_baseline`; observations are not used. Zero where no other episode is alive.

    >>> time_baseline(None, jnp.array([[1.0], [2.0], [3.0]]), jnp.ones((3, 1))).ravel()
    Array([2.5, 2. , 1.5], dtype=float32)
    """
    del observation
    others = jnp.sum(mask, axis=0) - mask
    total = jnp.sum(mask * target, axis=0) - mask * target
    return mask * jnp.where(others > 0, total / jnp.maximum(others, 1.0), 0.0)


def auto_baseline(observation: jax.Array, target: jax.Array, mask: jax.Array) -> jax.Array:
    """`linear_baseline`, or `time_baseline` where observations are too large for it; see `is_large`.

    The linear system has 2 * O + 4 unknowns, O numbers of an observation: of images it costs gigabytes, and with more unknowns
    than steps in a batch it repeats the returns that it should predict, which leaves no advantage.
    """
    num_steps = math.prod(observation.shape[:2])
    baseline = time_baseline if is_large(observation.shape[2:], num_steps) else linear_baseline
    return baseline(observation, target, mask)


def is_large(shape: Sequence[int], num_steps: int) -> bool:
    """Whether observations of this shape are too large for `linear_baseline` on a batch of ``num_steps`` steps.

    They have more than `MOST_OBSERVED` numbers, or more than `FEW_OBSERVED` and more unknowns than there are steps.

    >>> is_large((20, 20, 2), 1000), is_large((20, 20, 2), 2000), is_large((4,), 6)
    (True, False, False)
    """
    size = math.prod(shape)
    return size > MOST_OBSERVED or (size > FEW_OBSERVED and num_unknowns(size) > num_steps)


def num_unknowns(size: int) -> int:
    """Of `linear_baseline`'s system, for observations of ``size`` numbers.

    >>> num_unknowns(3) == linear_features(jnp.zeros((5, 3))).shape[-1]
    True
    """
    return 2 * size + 4


def explained_variance(value: jax.Array, target: jax.Array, mask: jax.Array) -> jax.Array:
    """Share of the targets' variance that ``value`` accounts for: 1 is perfect, 0 no better than their mean; all [N, T].

    Zero where targets do not vary.

    >>> target = jnp.array([[1.0, 3.0]])
    >>> float(explained_variance(target, target, jnp.ones((1, 2))))
    1.0
    """
    count = jnp.maximum(jnp.sum(mask), 1.0)

    def variance(x):
        return jnp.sum(mask * (x - jnp.sum(mask * x) / count) ** 2) / count

    total = variance(target)
    return jnp.where(total > 0, 1.0 - variance(target - value) / jnp.where(total > 0, total, 1.0), 0.0)


def normalize(advantage: jax.Array, mask: jax.Array) -> jax.Array:
    """Centre and scale over the steps that count: mean 0, standard deviation 1; zero elsewhere.

    Usual in policy gradients and in MAML's published code. Two things follow. Each task counts by 1 / sigma, in inner steps and
    in the outer update, so that tasks whose returns vary little count several times as much as others. `common_scale` treats
    all alike. And the scale is data: that it shrinks as the policy grows more certain is not
    differentiated, so a meta-gradient through a normalised inner step does not see inner steps grow for that reason;
    `metarl.surrogates.over_scale` differentiates it.

    Args:
        advantage: [N, T].
        mask: [N, T].

    >>> normalize(jnp.array([[1.0, 3.0, 7.0]]), jnp.array([[1.0, 1.0, 0.0]])).round(3)
    Array([[-1.,  1.,  0.]], dtype=float32)
    """
    centred = centre(advantage, mask)
    return centred / (jnp.sqrt(jnp.sum(centred**2) / jnp.maximum(jnp.sum(mask), 1.0)) + 1e-8)


def centre(advantage: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean 0 over the steps that count, zero elsewhere; all [N, T]."""
    return mask * (advantage - jnp.sum(mask * advantage) / jnp.maximum(jnp.sum(mask), 1.0))


def common_scale(scale: float) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """(advantage, mask) -> advantage, centred and divided by the same number in every task and at all times.

    Args:
        scale: in units of the return; positive.

    >>> common_scale(2.0)(jnp.array([[1.0, 3.0, 7.0]]), jnp.array([[1.0, 1.0, 0.0]]))
    Array([[-0.5,  0.5,  0. ]], dtype=float32)
    """
    if known(scale) and not scale > 0:
        raise ValueError(f"common_scale: scale is {scale}, but must be positive.")
    return lambda advantage, mask: centre(advantage, mask) / scale


def discounted_steps(advantage: jax.Array, gamma: float) -> jax.Array:
    """Advantages [N, T] times gamma^t: with them a policy gradient is that of the discounted return from the start.

    Published codes leave the weight out, which lets late steps count as much as early ones; then what `metarl.surrogates` says
    of right gradients and Hessians holds at ``gamma=1`` alone.

    >>> discounted_steps(jnp.ones((1, 3)), 0.5)
    Array([[1.  , 0.5 , 0.25]], dtype=float32)
    """
    return advantage * gamma ** jnp.arange(advantage.shape[-1], dtype=advantage.dtype)


def equal_steps(advantage: jax.Array, gamma: float) -> jax.Array:
    """Advantages as they are, whatever gamma: every step counts the same, as in published codes."""
    del gamma
    return advantage
