"""The inner loop, once for drawing data and once for replaying it.

`collect` draws data while adapting and is never differentiated; `adapt` replays the same recursion on the recorded data and
is. Keeping the two apart means that no environment appears in reverse mode and that a rollout cannot leak a gradient.
"""

import jax
import jax.numpy as jnp

from metarl.interfaces import Experience, Fast, InnerRule, Key, Path, Problem, Task, Theta


def inner_step(rule: InnerRule, inner_loss, theta: Theta, fast, batch, k):
    """One inner step on ``batch``: gradient of ``inner_loss(read(theta, fast), batch)`` in ``fast``, then the rule.

    ``theta`` and ``fast`` stay separate arguments: the gradient that moves ``fast`` must not run through ``theta``.
    """
    grads, _ = jax.grad(lambda f: inner_loss(rule.read(theta, f), batch), has_aux=True)(fast)
    return rule.step(theta, fast, grads, k)


def loop(step, fast: Fast, inputs):
    """`jax.lax.scan`, but for a single step no loop: there the compiler sees that all tasks start from the same parameters.

    The first step is then one product for all tasks, and what `collect` computed need not be computed again to be replayed.
    """
    if jax.tree.leaves(inputs)[0].shape[0] != 1:
        return jax.lax.scan(step, fast, inputs)
    fast, output = step(fast, jax.tree.map(lambda x: x[0], inputs))
    return fast, jax.tree.map(lambda x: jnp.expand_dims(x, 0), output)


def adapt(rule: InnerRule, inner_loss, theta: Theta, support, *, remat: bool = False) -> Path:
    """Replay K inner steps on recorded support batches; differentiable in ``theta``.

    Args:
        rule: how parameters move.
        inner_loss: (params, batch) -> (scalar, metrics).
        theta: meta-parameters.
        support: K batches, leaves [K, N, ...]. K may be 0.
        remat: recompute each step's insides in the backward pass instead of storing them: memory per step shrinks to the
            moving parameters, for about one more forward pass.

    Returns:
        The path: network parameters after 0..K steps, leaves [K+1, ...].
    """
    num_steps = jax.tree.leaves(support)[0].shape[0]

    def step(fast, inputs):
        batch, k = inputs
        fast = take(theta, fast, batch, k)
        return fast, rule.read(theta, fast)

    def take(theta, fast, batch, k):
        return inner_step(rule, inner_loss, theta, fast, batch, k)

    if remat:
        take = jax.checkpoint(take)

    fast = rule.begin(theta)
    start = jax.tree.map(lambda x: jnp.expand_dims(x, 0), rule.read(theta, fast))
    _, rest = loop(step, fast, (support, jnp.arange(num_steps)))
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), start, rest)


def solve(rule: InnerRule, inner_loss, theta: Theta, support) -> Fast:
    """Replay K inner steps and keep only what moved, after the last one: memory does not grow with K. Not for gradients."""

    def step(fast, inputs):
        batch, k = inputs
        return inner_step(rule, inner_loss, theta, fast, batch, k), None

    num_steps = jax.tree.leaves(support)[0].shape[0]
    fast, _ = loop(step, rule.begin(theta), (support, jnp.arange(num_steps)))
    return fast


def collect(
    problem: Problem, rule: InnerRule, theta: Theta, task: Task, key: Key, num_steps: int, *, resample: bool
) -> Experience:
    """Play the inner loop on one task and record its data. No gradient may be taken through the result.

    A sampler that lives on the host (an ordinary Gymnasium environment) and so cannot be vmapped one task at a time gives
    ``sample_batch`` a batching rule of its own with ``jax.custom_batching.custom_vmap``; nothing changes here.

    Args:
        problem: what is drawn and which loss moves the parameters.
        rule: how parameters move.
        theta: meta-parameters.
        task: one task.
        key: typed key.
        num_steps: K, the number of inner steps.
        resample: True draws every support batch anew, with the parameters of that step (policy gradients: the policy has
            changed). False draws one batch at the start and reuses it (K-shot learning; importance-weighted inner steps).

    Returns:
        Experience with support leaves [K, N, ...] and query leaves [N, ...].
    """
    key_support, key_query = jax.random.split(key)
    start = rule.begin(theta)

    def step(fast, k):
        batch = problem.sample_batch(rule.read(theta, fast), task, jax.random.fold_in(key_support, k))
        return inner_step(rule, problem.inner_loss, theta, fast, batch, k), batch

    def step_again(fast, k):
        return inner_step(rule, problem.inner_loss, theta, fast, batch, k), None

    if resample:
        fast, support = loop(step, start, jnp.arange(num_steps))
    else:
        batch = problem.sample_batch(rule.read(theta, start), task, key_support)
        fast, _ = loop(step_again, start, jnp.arange(num_steps))
        support = jax.tree.map(lambda x: jnp.broadcast_to(x, (num_steps, *x.shape)), batch)
    sample_query = problem.sample_query or problem.sample_batch
    query = sample_query(rule.read(theta, fast), task, key_query)
    return Experience(support, query)
