"""Whether adaptation made a task worse, told apart from the chance of sampled actions.

A return after adaptation is below the one before it on half of all tasks where adaptation does nothing: both are means over a
few episodes. What counts is a gain that lies `CLEARLY` standard errors below zero.
"""

from typing import Any

import jax
import jax.numpy as jnp

CLEARLY = 1.96  # standard errors
BY_CHANCE = 0.025  # the share of tasks below that where nothing changes, of many episodes; of few it is more


def error_of_batches(returns: jax.Array) -> jax.Array:
    """Standard error of the mean return of each batch minus that of the first; batches were drawn independently.

    Args:
        returns: [K+1, N], of N episodes after 0..K inner steps.

    Returns:
        [K+1], 0 for the first. Infinite where N is 1: one episode does not tell its spread.

    >>> [round(float(error), 2) for error in error_of_batches(jnp.array([[0.0, 2.0], [3.0, 9.0]]))]  # sqrt(1 + 9)
    [0.0, 3.16]
    """
    return error_of_means(standard_error(returns))


def freedom_of_batches(num_episodes: int) -> int:
    """Degrees of freedom of that error, for N episodes on either side that vary alike; those of a trial's are N - 1.

    They say how often chance alone makes a gain as low as `CLEARLY` errors: 9.5 % with 2 episodes, 2.9 % with 20.
    """
    return 2 * (num_episodes - 1)


def error_of_means(error: jax.Array) -> jax.Array:
    """The same from the standard errors [K+1] of independent means."""
    return jnp.sqrt(error**2 + error[0] ** 2).at[0].set(0.0)


def error_of_trials(returns: jax.Array) -> jax.Array:
    """The same where column n holds the K+1 episodes of one trial: differences are taken within trials.

    >>> error_of_trials(jnp.array([[0.0, 2.0], [3.0, 9.0]])).round(2)  # differences 3 and 7
    Array([0., 2.], dtype=float32)
    """
    return standard_error(returns - returns[:1]).at[0].set(0.0)


def standard_error(returns: jax.Array) -> jax.Array:
    """Of the mean over the last axis; infinite where it has one entry."""
    count = returns.shape[-1]
    if count < 2:
        return jnp.full(returns.shape[:-1], jnp.inf)
    return jnp.std(returns, axis=-1, ddof=1) / jnp.sqrt(count)


def clearly_worse(gain: Any, error: Any) -> Any:
    """Whether a gain lies `CLEARLY` of its standard errors below zero; arrays of JAX or NumPy.

    >>> clearly_worse(jnp.array([-3.0, -1.0, 1.0]), 1.0).tolist()
    [True, False, False]
    """
    return gain < -CLEARLY * error
