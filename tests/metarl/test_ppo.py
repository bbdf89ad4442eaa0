"""PPO's loss against rlax and NumPy, and its epochs against a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import rlax

from metarl.ppo import PPO, optimise, ppo_loss


@pytest.mark.usefixtures("float64")
def test_loss_against_rlax():
    keys = jax.random.split(jax.random.key(0), 6)
    log_prob, behaviour, advantage, value, target, entropy = (jax.random.normal(key, (3, 5)) for key in keys)
    mask = jnp.ones((3, 5)).at[0, 3:].set(0.0)
    numbers = PPO(num_epochs=1, num_minibatches=1, clip=0.2, entropy_cost=0.3, value_cost=0.7)
    kept = np.asarray(mask) > 0
    share = kept.mean()
    surrogate = rlax.clipped_surrogate_pg_loss(jnp.exp(log_prob - behaviour)[kept], advantage[kept], 0.2)
    value_error = jnp.mean(rlax.l2_loss(value[kept], target[kept]))
    expected = share * (surrogate + 0.7 * value_error - 0.3 * jnp.mean(entropy[kept]))
    found = ppo_loss(log_prob, behaviour, advantage, value, target, entropy, mask, numbers)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_every_epoch_deals_each_row_once():
    """Gradient descent on the mean of the rows dealt: with equal parts every epoch moves by all rows, in any order."""
    rows = jnp.array([1.0, 2.0, 4.0, 8.0])

    def loss(theta, batch):
        return jnp.mean(batch) * theta, {"first": batch[0]}

    numbers = PPO(num_epochs=3, num_minibatches=4, clip=0.2, entropy_cost=0.0)
    sgd = optax.sgd(1.0)
    theta, _, metrics = optimise(loss, sgd, jnp.float32(0), sgd.init(0.0), rows, jax.random.key(0), numbers)
    np.testing.assert_allclose(theta, -3 * 15.0)
    np.testing.assert_allclose(metrics["first"], 15.0 / 4)  # every row was a batch of the last epoch
    np.testing.assert_allclose(metrics["outer/grad_norm"], 15.0 / 4)


def test_more_minibatches_than_rows_are_not_made():
    sgd = optax.sgd(1.0)
    loss = lambda theta, batch: (jnp.mean(batch) * theta, {})
    numbers = PPO(num_epochs=1, num_minibatches=10, clip=0.2, entropy_cost=0.0)
    theta, _, _ = optimise(loss, sgd, jnp.float32(0), sgd.init(0.0), jnp.ones(3), jax.random.key(0), numbers)
    np.testing.assert_allclose(theta, -3.0)
