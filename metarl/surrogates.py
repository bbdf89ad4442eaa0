"""Policy-gradient surrogates: scalars to *maximise* whose derivatives estimate those of the expected return.

Each takes ``(log_prob, behaviour_log_prob, advantage, mask)``, all [N, T], and divides by N * T: a constant, so that the
estimate stays unbiased when episodes end early (dividing by the number of steps taken would not). Everything but ``log_prob``
is data. One signature for all, advantages always, because feeding returns-to-go to a cumulative surrogate that expects
rewards gives a wrong gradient silently.

All have the right gradient of the return where ``gamma`` is 1. With discounted advantages it is the usual policy gradient,
which lacks a weight: that of the discounted return weighs step t by gamma^t (`metarl.advantages.discounted_steps`), and
without it neither gradients nor Hessians here are those of any one return. An inner loss is differentiated twice, and there
they differ: see `loaded_dice`.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from metarl.interfaces import known

Surrogate = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], jax.Array]


def decay_matrix(length: int, factor: float, dtype=jnp.float32) -> jax.Array:
    """[T, T] upper triangle with ``factor ** (t - j)`` at [j, t], so that ``x @ decay`` is y_t = factor * y_{t-1} + x_t.

    >>> decay_matrix(3, 0.5)
    Array([[1.  , 0.5 , 0.25],
           [0.  , 1.  , 0.5 ],
           [0.  , 0.  , 1.  ]], dtype=float32)
    """
    t = jnp.arange(length)
    exponent = t[None, :] - t[:, None]
    return jnp.where(exponent >= 0, jnp.asarray(factor, dtype) ** jnp.maximum(exponent, 0), 0).astype(dtype)


def reinforce(log_prob: jax.Array, behaviour_log_prob: jax.Array, advantage: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean of log-probability times advantage (Williams 1992). Right gradient, *wrong Hessian*: for outer losses.

    As an inner surrogate it is the better of two wrongs where episodes end early: see `loaded_dice`.

    Args:
        log_prob: [N, T], of the recorded actions under the parameters being differentiated.
        behaviour_log_prob: [N, T], unused.
        advantage: [N, T].
        mask: [N, T], 1.0 for steps of the episode.

    >>> log_prob, advantage, mask = jnp.log(jnp.array([[0.5, 0.5]])), jnp.array([[2.0, 4.0]]), jnp.ones((1, 2))
    >>> jax.grad(reinforce)(log_prob, log_prob, advantage, mask)  # advantage / (N * T)
    Array([[1., 2.]], dtype=float32)
    """
    del behaviour_log_prob
    chex.assert_rank([log_prob, advantage, mask], 2)
    chex.assert_equal_shape([log_prob, advantage, mask])
    return jnp.mean(mask * log_prob * advantage)


def loaded_dice(lam: float = 0.0) -> Surrogate:
    """Surrogate with a right gradient and, at ``lam=1``, a right Hessian (Farquhar et al. 2019, Eq. 9-11), at ``gamma=1``.

    With w_t = lam * w_{t-1} + log_ratio_t, it sums (exp(w_t) - exp(lam * w_{t-1})) * advantage_t. ``lam=0`` is the likelihood
    ratio, the low-variance-curvature form of ProMP (Rothfuss et al. 2019, Eq. 6): it drops the Hessian's cross terms between
    time steps. ``lam=1`` is DiCE with advantages (Foerster et al. 2018): unbiased, larger spread.

    What is dropped is not small everywhere: in the small MDP of `experiments.studies.surrogates` the meta-gradient of ``lam=0``
    is 8 % off for episodes of full length, `reinforce` 24 %; where episodes end early ``lam=0`` is 15 % off, `reinforce` 4 %.

    At ``gamma < 1`` advantages need the weight of `metarl.advantages.discounted_steps` for "right" and "unbiased" to hold:
    ``experiments.studies.surrogates --gamma 0.9`` shows both.

    The published form divides probabilities by themselves, taken as constants; this one by those recorded when the actions
    were drawn. Value and derivatives are the same there, but elsewhere it still is a function that has its own derivatives:
    line searches, several outer steps and inner steps on the same data need that. Its value is 0 at the policy that drew the
    data.

    Args:
        lam: how far a step's log-probability counts towards later curvature, in [0, 1].

    >>> log_prob, advantage, mask = jnp.log(jnp.array([[0.5, 0.5]])), jnp.array([[2.0, 4.0]]), jnp.ones((1, 2))
    >>> surrogate = lambda lam: lambda x: loaded_dice(lam)(x, log_prob, advantage, mask)
    >>> jax.grad(surrogate(1.0))(log_prob)  # the gradient of `reinforce`, whatever lam
    Array([[1., 2.]], dtype=float32)
    >>> jax.hessian(surrogate(0.0))(log_prob)[0, :, 0]  # no term between different time steps
    Array([[1., 0.],
           [0., 2.]], dtype=float32)
    >>> jax.hessian(surrogate(1.0))(log_prob)[0, :, 0]
    Array([[1., 2.],
           [2., 2.]], dtype=float32)
    """
    if known(lam) and not 0.0 <= lam <= 1.0:
        raise ValueError(f"loaded_dice: lam is {lam}, but must lie between 0 (low variance) and 1 (unbiased).")

    def surrogate(log_prob, behaviour_log_prob, advantage, mask):
        chex.assert_rank([log_prob, behaviour_log_prob, advantage, mask], 2)
        chex.assert_equal_shape([log_prob, behaviour_log_prob, advantage, mask])
        log_ratio = mask * (log_prob - behaviour_log_prob)
        if known(lam) and lam == 0.0:
            return jnp.mean(mask * (jnp.exp(log_ratio) - 1.0) * advantage)
        decay = decay_matrix(log_ratio.shape[1], lam, log_ratio.dtype)
        here = jnp.matmul(log_ratio, decay, precision=jax.lax.Precision.HIGHEST)
        return jnp.mean(mask * (jnp.exp(here) - jnp.exp(here - log_ratio)) * advantage)

    return surrogate


def clipped_ratio(clip: float) -> Surrogate:
    """PPO's surrogate: ratio times advantage, no further than ``clip`` from 1 (Schulman et al. 2017, Eq. 7).

    Args:
        clip: epsilon, how far from 1 the ratio counts; positive.

    >>> behaviour, advantage, mask = jnp.log(jnp.array([[0.5, 0.5]])), jnp.ones((1, 2)), jnp.ones((1, 2))
    >>> now = jnp.log(jnp.array([[0.5, 1.0]]))  # ratios 1 and 2
    >>> jax.grad(clipped_ratio(0.2))(now, behaviour, advantage, mask)
    Array([[0.5, 0. ]], dtype=float32)
    """
    if known(clip) and not clip > 0:
        raise ValueError(f"clipped_ratio: clip is {clip}, but must be positive.")

    def surrogate(log_prob, behaviour_log_prob, advantage, mask):
        chex.assert_rank([log_prob, behaviour_log_prob, advantage, mask], 2)
        chex.assert_equal_shape([log_prob, behaviour_log_prob, advantage, mask])
        ratio = jnp.exp(mask * (log_prob - behaviour_log_prob))
        return jnp.mean(mask * jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - clip, 1 + clip) * advantage))

    return surrogate


@jax.custom_jvp
def over_scale(loss: jax.Array, scale: jax.Array) -> jax.Array:
    """``loss / scale``, whose gradient is that of the loss over the scale; only that gradient's derivatives see the scale move.

    So an inner step along it is the normalised policy gradient, and a meta-gradient knows that the normalisation changes. No
    function has such a gradient by itself: its Jacobian, H / scale - g (d scale)' / scale^2, is not symmetric.

    >>> double = lambda x: over_scale(x**2, x)  # along 2 x / x = 2, whose derivative is 0; that of 2 x, over 3, is 2/3
    >>> float(jax.grad(double)(3.0)), float(jax.grad(jax.grad(double))(3.0))
    (2.0, 0.0)
    """
    return loss / scale


@over_scale.defjvp
def _over_scale_jvp(primals, tangents):
    loss, scale = primals
    # Removes the term of the scale from the first derivative: the step has the direction of the loss.
    return loss / scale, tangents[0] / scale


def relative_scale(log_prob: jax.Array, behaviour_log_prob: jax.Array, advantage: jax.Array, mask: jax.Array) -> jax.Array:
    """Root mean square of the advantages under a policy over that under the one that drew them: 1 there, with a derivative.

    Episodes are weighted by their probability ratios, over all steps, as DiCE does: an advantage depends on what came before
    and after it. Baseline and mean are data.

    Args:
        log_prob: [N, T], of the recorded actions under the parameters being differentiated.
        behaviour_log_prob: [N, T], when they were drawn.
        advantage: [N, T], centred.
        mask: [N, T].

    >>> log_prob, advantage = jnp.log(jnp.array([[0.5], [0.5]])), jnp.array([[1.0], [3.0]])
    >>> scale = lambda x: relative_scale(x, log_prob, advantage, jnp.ones((2, 1)))
    >>> jax.grad(scale)(log_prob).ravel().round(3)  # it grows as the second action becomes likelier
    Array([-0.2,  0.2], dtype=float32)
    """
    chex.assert_rank([log_prob, behaviour_log_prob, advantage, mask], 2)
    ratio = jnp.exp(jnp.sum(mask * (log_prob - behaviour_log_prob), axis=1))[:, None]
    now = jnp.sum(ratio * mask * advantage**2) / jnp.sum(ratio * mask)
    then = jnp.sum(mask * advantage**2) / jnp.sum(mask)
    return jnp.where(then > 0, jnp.sqrt(jnp.where(then > 0, now, 1.0) / jnp.where(then > 0, then, 1.0)), 1.0)
