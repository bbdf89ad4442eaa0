"""The inner loop, written twice: `collect` draws data while it adapts, `adapt` repeats the same steps on recorded data.

Only `adapt` is differentiated. So reverse mode never meets an environment, and no gradient leaks through a rollout.
"""

import jax
import jax.numpy as jnp

from metarl.interfaces import Experience, Fast, InnerRule, Key, Path, Problem, Task, Theta, moved, moving


def inner_step(rule: InnerRule, inner_loss, theta: Theta, fast, batch, k):
    """One inner step: the gradient of ``inner_loss(read(theta, fast), batch)`` with respect to what moves, given to the rule.

    ``theta`` is held fixed in that gradient, which is why it is an argument of its own; so is a state beside what moves.

    Raises:
        ValueError: something that is to move is no float.
    """
    refuse_counts(moving(fast))
    grads, _ = jax.grad(lambda f: inner_loss(rule.read(theta, moved(fast, f)), batch), has_aux=True)(moving(fast))
    return rule.step(theta, fast, grads, k)


def refuse_counts(fast: Fast) -> None:
    """Raise ValueError in one line if a leaf is no float, such as the count of an optimiser's steps."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(fast):
        if not jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.floating):
            raise ValueError(
                f"the inner rule is to move fast{jax.tree_util.keystr(path)}, which is {jnp.asarray(leaf).dtype} and has no "
                "gradient; keep a state apart, as metarl.rules.optax does: begin gives metarl.Carried(moving, state)."
            )


def loop(step, fast: Fast, inputs):
    """`jax.lax.scan`, except that a single step is called directly.

    A direct call shows the compiler that all tasks start from the same parameters. It then computes the first step of all
    tasks as one matrix product, and shares it between `collect` and `adapt`.
    """
    if jax.tree.leaves(inputs)[0].shape[0] != 1:
        return jax.lax.scan(step, fast, inputs)
    fast, output = step(fast, jax.tree.map(lambda x: x[0], inputs))
    return fast, jax.tree.map(lambda x: jnp.expand_dims(x, 0), output)


def adapt(rule: InnerRule, inner_loss, theta: Theta, support, *, remat: bool = False) -> Path:
    """Replay K inner steps on recorded support batches; differentiable in ``theta``.

    Args:
        rule: the inner rule, see `metarl.rules`.
        inner_loss: (params, batch) -> (scalar, metrics).
        theta: meta-parameters.
        support: K batches, leaves [K, N, ...]. K may be 0.
        remat: rematerialise. The backward pass computes each step again instead of storing its intermediate values. Only the
            fast weights of each step are kept, at the cost of about one more forward pass.

    Returns:
        The path: network parameters after 0..K steps, leaves [K+1, ...].

    >>> from metarl import rules
    >>> def loss(params, batch):
    ...     return jnp.mean((params - batch) ** 2), {}
    >>> support = jnp.array([[1.0], [1.0]])  # two inner steps on the same target
    >>> adapt(rules.sgd(0.25), loss, jnp.zeros(()), support)
    Array([0.  , 0.5 , 0.75], dtype=float32)
    >>> jax.grad(lambda theta: adapt(rules.sgd(0.25), loss, theta, support)[-1])(jnp.zeros(()))
    Array(0.25, dtype=float32)
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
    """The fast weights after K inner steps on recorded support batches, as `adapt` takes them.

    The steps in between are not kept, so memory does not grow with K. Not meant to be differentiated.
    """

    def step(fast, inputs):
        batch, k = inputs
        return inner_step(rule, inner_loss, theta, fast, batch, k), None

    num_steps = jax.tree.leaves(support)[0].shape[0]
    fast, _ = loop(step, rule.begin(theta), (support, jnp.arange(num_steps)))
    return fast


def collect(
    problem: Problem, rule: InnerRule, theta: Theta, task: Task, key: Key, num_steps: int, *, resample: bool
) -> Experience:
    """Adapt to one task with K inner steps and record the data. Do not differentiate the result; `adapt` replays it for that.

    Args:
        problem: gives ``sample_batch`` and the inner loss.
        rule: the inner rule, see `metarl.rules`.
        theta: meta-parameters.
        task: one task.
        key: typed key.
        num_steps: K, the number of inner steps.
        resample: True draws a new support batch before every step, with the parameters of that step. Policy gradients need
            this: the policy has changed. False draws one support batch and takes all K steps on it, as K-shot learning does.

    Returns:
        Experience with support leaves [K, N, ...] and query leaves [N, ...].

    >>> from metarl import Problem, meta, rules
    >>> def sample_batch(params, task, key):
    ...     return task * jnp.ones(1)  # a real problem draws N examples or episodes
    >>> def loss(params, batch):
    ...     return jnp.mean((params - batch) ** 2), {}
    >>> problem = Problem(sample_batch, inner_loss=loss, outer_loss=meta.final(loss))
    >>> theta, task, key = jnp.zeros(()), jnp.array(3.0), jax.random.key(0)
    >>> collect(problem, rules.sgd(0.25), theta, task, key, num_steps=2, resample=True)
    Experience(support=Array([[3.],
           [3.]], dtype=float32), query=Array([3.], dtype=float32))
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
