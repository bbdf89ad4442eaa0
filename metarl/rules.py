"""Inner rules: how parameters move during adaptation. Each is an `InnerRule`, or a function from one to another.

The rule decides what is meta-learned: theta is the network's parameters alone (`sgd`, `context`), or the parameters and the
inner step sizes (`meta_sgd`, `per_step`).

>>> rule = first_order(meta_sgd(0.1))  # rules compose like optax transformations
>>> theta = rule.init({"w": jnp.ones(2)})
>>> sorted(theta)
['log_lr', 'params']
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from optax import GradientTransformation, apply_updates

from metarl.interfaces import Carried, Fast, InnerRule, Params, Tree, known, moved, moving


def sgd(learning_rate: float | jax.Array) -> InnerRule:
    """Move every parameter against its gradient (Finn et al. 2017, Eq. 1).

    Args:
        learning_rate: the inner step size alpha, the same for every parameter and step.

    >>> rule = sgd(0.5)
    >>> theta = rule.init(jnp.array([1.0, 2.0]))
    >>> fast = rule.step(theta, rule.begin(theta), jnp.array([1.0, -1.0]), 0)
    >>> rule.read(theta, fast)
    Array([0.5, 2.5], dtype=float32)
    """

    def step(theta, fast, grads, k):
        del theta, k
        return jax.tree.map(lambda p, g: p - learning_rate * g, fast, grads)

    return InnerRule(init=_same, begin=_same, step=step, read=_second, whole=True)


def optax(transformation: GradientTransformation) -> InnerRule:
    """Move parameters as any optax transformation does; its state begins anew on every task and is carried beside them.

    The meta-gradient goes through the transformation and its state, as through the parameters. Where an update has no
    derivative, as Adam's has none where second moments are zero (the square root of zero), what would be NaN counts as zero:
    an entry that has never had a gradient moves neither itself nor the meta-gradient.

    Args:
        transformation: such as ``optax.adam(0.01)`` or ``optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1))``. Not
            those that ask for the loss besides gradients, such as ``optax.lbfgs()``.

    Raises:
        ValueError: it is no transformation, or asks for more than gradients, state and parameters.

    >>> from optax import sgd as plain
    >>> rule = optax(plain(0.5, momentum=0.9))
    >>> theta = rule.init(jnp.array([1.0, 2.0]))
    >>> fast = rule.begin(theta)
    >>> for k in range(2):
    ...     fast = rule.step(theta, fast, jnp.array([1.0, -1.0]), k)
    >>> rule.read(theta, fast)  # steps of 0.5 and of 0.5 * (1 + 0.9)
    Array([-0.45,  3.45], dtype=float32)
    """
    _refuse_unfit(transformation)

    def begin(theta):
        return Carried(theta, _told(transformation.init, theta))

    def step(theta, fast, grads, k):
        del theta, k
        return Carried(*_told(_updated, transformation, grads, fast.state, fast.moving))

    return InnerRule(
        init=_same,
        begin=begin,
        step=step,
        read=lambda theta, fast: fast.moving,
        whole=True,
    )


def _refuse_unfit(transformation: Any) -> None:
    """Refuse what is no transformation, and those that ask for more than inner steps have; tried on a parameter."""
    if not all(callable(getattr(transformation, part, None)) for part in ("init", "update")):
        hint = "; call it, as in optax.adam(0.01)" if callable(transformation) else ""
        raise ValueError(f"rules.optax: {transformation!r} is no optax transformation, with init and update{hint}.")
    try:
        one = jnp.ones(2)
        jax.eval_shape(lambda: transformation.update({"w": one}, transformation.init({"w": one}), {"w": one}))
    except TypeError as error:
        if "required keyword-only argument" in str(error):
            asked = str(error).partition("missing ")[2] or error
            raise ValueError(
                f"rules.optax: this transformation is missing {asked}, but inner steps give gradients and parameters alone; "
                "take one that needs no more."
            ) from error
    except Exception:  # made for parameters of another structure, such as optax.masked with a tree; see `_told`
        return


def _told(call: Callable, *args: Any) -> Any:
    try:
        return call(*args)
    except Exception as error:  # whatever a transformation raises, on parameters that it was not made for
        said = " ".join(str(error).split())[:300]
        raise ValueError(f"rules.optax: the transformation fails: {type(error).__name__}: {said}") from error


def _updated(transformation: GradientTransformation, grads: Tree, state: Tree, params: Tree) -> tuple[Tree, Tree]:
    """(params, state) after an update, with a derivative of zero where there is none."""

    def update(floats, others, join):
        grads, state, params = join(floats, others)
        updates, state = transformation.update(grads, state, params)
        return apply_updates(params, updates), state

    floats, others, join = _apart((grads, state, params))
    _, _, join_after = _apart(jax.eval_shape(lambda floats, others: update(floats, others, join), floats, others))

    def updated(floats, others):
        return _apart(update(floats, others, join))[:2]

    safe = jax.custom_vjp(updated)

    def forward(floats, others):
        return updated(floats, others), (floats, others)  # and not safe, which has no forward mode, as curvature asks for

    def backward(given, cotangents):
        floats, others = given
        (later, _) = cotangents
        _, transpose = jax.vjp(lambda floats: _apart(update(floats, others, join))[0], floats)
        (found,) = transpose(later)
        sound = ~jnp.any(jnp.stack([jnp.any(jnp.isnan(c)) for c in later]))  # or NaN comes from further on, and stays
        return [jnp.where(sound & jnp.isnan(c), 0.0, c).astype(c.dtype) for c in found], None

    safe.defvjp(forward, backward)
    return join_after(*safe(floats, others))


def _apart(tree: Tree) -> tuple[list, list, Callable[[Sequence, Sequence], Tree]]:
    """The leaves that are floats, those that are not, and how to put both back."""
    leaves, structure = jax.tree.flatten(tree)
    is_float = [jnp.issubdtype(jnp.result_type(leaf), jnp.floating) for leaf in leaves]

    def join(floats: Sequence, others: Sequence) -> Tree:
        parts = {True: iter(floats), False: iter(others)}
        return jax.tree.unflatten(structure, [next(parts[each]) for each in is_float])

    pairs = list(zip(leaves, is_float, strict=True))
    return [leaf for leaf, each in pairs if each], [leaf for leaf, each in pairs if not each], join


def meta_sgd(learning_rate: float) -> InnerRule:
    """SGD with a learned step size for every single parameter (Li et al. 2017, Eq. 2).

    theta is ``{"params": ..., "log_lr": ...}``; step sizes are learned as logarithms, so they stay positive.

    Args:
        learning_rate: every step size before training.

    >>> theta = meta_sgd(1.0).init({"w": jnp.ones(2), "b": jnp.ones(1)})
    >>> jax.tree.map(jnp.shape, theta)
    {'log_lr': {'b': (1,), 'w': (2,)}, 'params': {'b': (1,), 'w': (2,)}}
    """

    def init(params):
        return {"params": params, "log_lr": jax.tree.map(lambda p: jnp.full_like(p, jnp.log(learning_rate)), params)}

    def step(theta, fast, grads, k):
        del k
        return jax.tree.map(lambda p, g, log_lr: p - jnp.exp(log_lr) * g, fast, grads, theta["log_lr"])

    return InnerRule(init=init, begin=lambda theta: theta["params"], step=step, read=_second, learned_rates=True)


def per_step(learning_rate: float, num_steps: int) -> InnerRule:
    """SGD with a learned step size for every layer and inner step (MAML++: Antoniou et al. 2019, Section 4, LSLR).

    theta is ``{"params": ..., "log_lr": ...}`` with one vector [K] per parameter array. Steps beyond the K trained ones use the
    last step size.

    Args:
        learning_rate: every step size before training.
        num_steps: K.

    >>> theta = per_step(0.1, num_steps=3).init({"w": jnp.ones((4, 2))})
    >>> theta["log_lr"]["w"].shape
    (3,)
    """
    if num_steps < 1:
        raise ValueError(f"per_step: num_steps is {num_steps}, but step sizes need at least 1 inner step.")

    def init(params):
        log_lr = jax.tree.map(lambda p: jnp.full(num_steps, jnp.log(learning_rate), p.dtype), params)
        return {"params": params, "log_lr": log_lr}

    def step(theta, fast, grads, k):
        k = jnp.minimum(k, num_steps - 1)
        return jax.tree.map(lambda p, g, log_lr: p - jnp.exp(jnp.asarray(log_lr)[k]) * g, fast, grads, theta["log_lr"])

    return InnerRule(init=init, begin=lambda theta: theta["params"], step=step, read=_second, learned_rates=True)


def only(rule: InnerRule, split: Callable[[Params], tuple[Tree, Tree]], merge: Callable[[Tree, Tree], Params]) -> InnerRule:
    """Let ``rule`` move a part of the parameters and keep the rest, as ANIL does with the head (Raghu et al. 2020).

    theta is ``{"part": rule's theta of the part, "rest": ...}``; both are meta-learned.

    Args:
        rule: how the part moves.
        split: params -> (part, rest).
        merge: (part, rest) -> params.

    >>> split = lambda params: (params["head"], params["body"])
    >>> rule = only(sgd(0.1), split, merge=lambda head, body: {"body": body, "head": head})
    >>> theta = rule.init({"body": jnp.ones(3), "head": jnp.ones(1)})
    >>> rule.begin(theta)  # what moves: the head
    Array([1.], dtype=float32)
    """

    def init(params):
        part, rest = split(params)
        return {"part": rule.init(part), "rest": rest}

    return InnerRule(
        init=init,
        begin=lambda theta: rule.begin(theta["part"]),
        step=lambda theta, fast, grads, k: rule.step(theta["part"], fast, grads, k),
        read=lambda theta, fast: merge(rule.read(theta["part"], fast), theta["rest"]),
        learned_rates=rule.learned_rates,
        penalised=rule.penalised,
    )


def context(learning_rate: float, size: int) -> InnerRule:
    """Move a context vector that starts at zero on every task, and nothing else (CAVIA: Zintgraf et al. 2019, Eq. 3-4).

    theta is the network's parameters. The network sees ``{"network": theta, "context": [size]}``.

    Args:
        learning_rate: the inner step size.
        size: length of the context vector.

    >>> rule = context(1.0, size=2)
    >>> rule.begin(rule.init({"w": jnp.ones(3)}))
    Array([0., 0.], dtype=float32)
    """
    if size < 1:
        raise ValueError(f"context: size is {size}, but the context needs at least 1 entry.")

    def begin(theta):
        return jnp.zeros(size, jax.tree.leaves(theta)[0].dtype)

    def step(theta, fast, grads, k):
        del theta, k
        return fast - learning_rate * grads

    return InnerRule(init=_same, begin=begin, step=step, read=lambda theta, fast: {"network": theta, "context": fast})


def first_order(rule: InnerRule) -> InnerRule:
    """Make the meta-gradient of ``rule`` ignore how inner gradients depend on the meta-parameters (FOMAML).

    Finn et al. 2017, Section 5.2. The values of the steps stay the same.

    >>> slope = lambda rule: jax.grad(lambda w: rule.step(w, w, w**2, 0))(1.0)  # of w - 0.5 w^2
    >>> float(slope(sgd(0.5))), float(slope(first_order(sgd(0.5))))
    (0.0, 1.0)
    """

    def step(theta, fast, grads, k):
        # Removes the term through the inner gradient: alpha times the Hessian of the inner loss.
        return rule.step(theta, fast, jax.lax.stop_gradient(grads), k)

    return rule._replace(step=step)


def proximal(rule: InnerRule, strength: float) -> InnerRule:
    """Pull every inner step towards the start: adds strength/2 * |fast - start|^2 to the inner loss.

    The inner problem of iMAML (Rajeswaran et al. 2019, Eq. 3), whose exact solution `meta.implicit` differentiates.

    Args:
        rule: the inner rule that takes the steps.
        strength: lambda, weight of the penalty.

    >>> theta, fast, no_gradient = jnp.zeros(()), jnp.ones(()), jnp.zeros(())
    >>> float(proximal(sgd(0.5), strength=1.0).step(theta, fast, no_gradient, 0))
    0.5
    """
    if known(strength) and not strength > 0:
        raise ValueError(f"proximal: strength is {strength}, but must be positive.")

    def step(theta, fast, grads, k):
        start = moving(rule.begin(theta))
        pulled = jax.tree.map(lambda g, f, start: g + strength * (f - start), grads, moving(fast), start)
        return rule.step(theta, fast, pulled, k)

    return rule._replace(step=step, penalised=True)


def scaled(rule: InnerRule, scales: Sequence[float]) -> InnerRule:
    """Multiply how far inner step k moves by ``scales[k]``; later steps take the last one.

    MAML's RL experiments halve the step size after the first test step (Finn et al. 2017, Appendix A.2): ``(1.0, 0.5)``.

    >>> rule = scaled(sgd(1.0), (1.0, 0.5))
    >>> [float(rule.step(0.0, jnp.zeros(()), jnp.ones(()), k)) for k in range(3)]
    [-1.0, -0.5, -0.5]
    """
    if not scales or not all(scale > 0 for scale in scales):
        raise ValueError(f"scaled: scales are {tuple(scales)}, but there must be at least one, all positive.")
    if all(scale == 1.0 for scale in scales):
        return rule

    def step(theta, fast, grads, k):
        scale = jnp.asarray(scales)[jnp.minimum(k, len(scales) - 1)]
        after = rule.step(theta, fast, grads, k)
        shorter = lambda new, old: old + (scale * (new - old)).astype(old.dtype)
        return moved(after, jax.tree.map(shorter, moving(after), moving(fast)))

    return rule._replace(step=step)


def _same(x: Tree) -> Tree:
    return x


def _second(theta: Tree, fast: Fast) -> Params:
    del theta
    return fast
