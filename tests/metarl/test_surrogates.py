"""Surrogates against exact enumeration of every trajectory of a tiny MDP with state-dependent termination.

The truth comes from the expected return as a function of the policy (a product of matrices); the surrogates are averaged over
all trajectories with their exact probabilities (`experiments.studies.surrogates`). Neither route uses the other's formula.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from experiments.studies import surrogates
from experiments.studies.surrogates import SURROGATES, THETA, enumerate_all, expected_return, probability, relative
from metarl.advantages import discounted_steps
from metarl.surrogates import clipped_ratio, loaded_dice

pytestmark = pytest.mark.usefixtures("float64")

ENDS = pytest.mark.parametrize("ends", [0.0, 1.0], ids=["full length", "with ends"])
INNER_LR = 1.0


def returns_to_go(every):
    return every.advantage + every.mask * surrogates.BASELINE[every.state]


def minus_baseline(every):
    return every.advantage


def errors(surrogate, ends, advantage_of):
    """Error of the expected gradient and Hessian, relative to the true ones."""
    theta, every = jnp.asarray(THETA), enumerate_all(ends)
    weight = probability(theta, every)
    truth = surrogates.true_derivatives(theta, ends)
    found = surrogates.per_trajectory(surrogate, theta, every._replace(advantage=advantage_of(every)))
    means = (jnp.einsum("b,b...->...", weight, values) for values in found)
    return [relative(mean, exact.reshape(mean.shape)) for mean, exact in zip(means, truth, strict=True)]


@ENDS
def test_trajectories_are_a_distribution(ends):
    every = enumerate_all(ends)
    weight = probability(jnp.asarray(THETA), every)
    np.testing.assert_allclose(weight.sum(), 1.0)
    rewards = surrogates.REWARD[every.state, every.action] * every.mask
    np.testing.assert_allclose(weight @ rewards.mean(axis=1), expected_return(jnp.asarray(THETA), ends), rtol=1e-12)


@ENDS
@pytest.mark.parametrize("advantage_of", [returns_to_go, minus_baseline])
@pytest.mark.parametrize("name", SURROGATES)
def test_every_surrogate_has_the_right_gradient(name, advantage_of, ends):
    assert errors(SURROGATES[name], ends, advantage_of)[0] < 1e-12


@ENDS
@pytest.mark.parametrize("advantage_of", [returns_to_go, minus_baseline])
def test_dice_has_the_right_hessian(advantage_of, ends):
    assert errors(loaded_dice(1.0), ends, advantage_of)[1] < 1e-12


@ENDS
def test_others_have_a_wrong_hessian(ends):
    """The negative case: plain log-prob times advantage is far off; lam between 0 and 1 closes the gap step by step."""
    hessian = {name: errors(surrogate, ends, returns_to_go)[1] for name, surrogate in SURROGATES.items()}
    assert hessian["reinforce"] > 0.3
    assert hessian["lam=0.0"] > hessian["lam=0.5"] > 0.01 > hessian["lam=1.0"]


@ENDS
@pytest.mark.parametrize("num_steps", [0, 1, 2])
def test_meta_gradient_through_enumerated_inner_steps(ends, num_steps):
    """The whole core on policy gradients: with lam=1 exact through two inner steps, otherwise biased by any step."""
    truth = surrogates.true_meta_gradient(ends, num_steps, INNER_LR)
    error = {}
    for name, surrogate in SURROGATES.items():
        error[name] = relative(surrogates.enumerated_meta_gradient(surrogate, enumerate_all(ends), num_steps, INNER_LR), truth)
    assert error["lam=1.0"] < 1e-12
    for name in set(SURROGATES) - {"lam=1.0"}:
        assert (error[name] > 0.01) == (num_steps > 0), error
    assert num_steps == 0 or error["lam=0.0"] > error["lam=0.5"]


def test_table_of_bias_and_variance(capsys, monkeypatch):
    """Only lam=1 is unbiased in every column, and it pays with the largest spread of those that curve."""
    tables, table_of = [], surrogates.table_of
    monkeypatch.setattr(surrogates, "table_of", lambda title, rows: (tables.append(rows), table_of(title, rows))[1])
    surrogates.main([])
    printed = capsys.readouterr().out
    assert all(name in printed for name in SURROGATES) and printed.count("relative to the true derivative") == 2
    assert len(tables) == 2
    for rows in tables:
        for name, row in rows.items():
            assert row["gradient bias"] < 1e-12
            assert (row["hessian bias"] < 1e-12) == (name == "lam=1.0") == (row["meta-gradient bias, 2 steps"] < 1e-12)
        spread = [rows[f"lam={lam}"]["hessian std"] for lam in (0.0, 0.5, 1.0)]
        assert spread == sorted(spread) and spread[0] > 0
    text = (Path(__file__).parents[2] / "README.md").read_text()
    columns = ("gradient bias", "hessian bias", "hessian std", "meta-gradient bias, 1 step", "meta-gradient bias, 2 steps")
    for rows, shown in zip(tables, text.split("<!-- end of surrogate tables -->")[0].split("| surrogate |")[1:], strict=True):
        for name, row in rows.items():
            cells = " | ".join("0" if row[column] < 1e-12 else f"{row[column]:.3f}" for column in columns)
            label = f"`{name}`" if name == "reinforce" else f"`loaded_dice`, {name}"
            assert f"| {label} | {cells} |" in shown, "what the README prints is what the command computes"


@ENDS
def test_below_gamma_one_steps_need_the_weight(ends):
    """gamma^t makes what is said at gamma = 1 true of the discounted return; without it nothing is right, lam=1 included."""
    weighted = surrogates.measure(loaded_dice(1.0), ends, INNER_LR, 0.8, discounted_steps)
    assert max(weighted[name] for name in weighted if name.endswith("bias") or "meta" in name) < 1e-12
    for surrogate in SURROGATES.values():
        assert surrogates.measure(surrogate, ends, INNER_LR, 0.8, discounted_steps)["gradient bias"] < 1e-12
        plain = surrogates.measure(surrogate, ends, INNER_LR, 0.8)
        assert min(plain["gradient bias"], plain["hessian bias"]) > 0.02


def test_the_table_below_gamma_one_has_both(capsys):
    surrogates.main(["--gamma", "0.9"])
    printed = capsys.readouterr().out
    assert printed.count("lam=1.0, gamma^t") == printed.count("reinforce, gamma^t") == 2


def test_reinforce_is_the_better_of_two_wrongs_where_episodes_end_early():
    """What README and docs say of the default, from the command's own numbers."""
    bias = {
        (name, ends): surrogates.measure(SURROGATES[name], ends, INNER_LR)["meta-gradient bias, 1 step"]
        for name in ("reinforce", "lam=0.0")
        for ends in (0.0, 1.0)
    }
    assert bias["lam=0.0", 0.0] < bias["reinforce", 0.0]
    assert bias["reinforce", 1.0] == pytest.approx(0.037, abs=5e-4) and bias["lam=0.0", 1.0] == pytest.approx(0.154, abs=5e-4)


def test_spread_agrees_with_sampling():
    """Standard deviations are of single trajectories: 20,000 sampled ones have them, to a few percent."""
    theta, every = jnp.asarray(THETA), enumerate_all(1.0)
    drawn = jax.random.choice(jax.random.key(0), len(every.world), (20_000,), p=probability(theta, every))
    _, hessians = surrogates.per_trajectory(loaded_dice(1.0), theta, every)
    truth = surrogates.true_derivatives(theta, 1.0)[1]
    sampled = jnp.sqrt(jnp.sum(jnp.var(hessians[drawn], axis=0))) / jnp.linalg.norm(truth)
    np.testing.assert_allclose(surrogates.measure(loaded_dice(1.0), 1.0, INNER_LR)["hessian std"], sampled, rtol=0.05)


def test_trap_returns_to_go_in_a_cumulative_box():
    """DiCE as usually written sums box(w_t) * reward_t; fed returns-to-go, which ours takes, even its gradient is wrong."""

    def cumulative(log_prob, behaviour_log_prob, advantage, mask):
        w = jnp.cumsum(mask * log_prob, axis=1)
        return jnp.mean(mask * jnp.exp(w - jax.lax.stop_gradient(w)) * advantage)

    def rewards_alone(every):
        return every.mask * surrogates.REWARD[every.state, every.action]

    assert max(errors(cumulative, 0.0, rewards_alone)) < 1e-12
    assert errors(cumulative, 0.0, returns_to_go)[0] > 0.1


def test_masked_steps_have_no_effect():
    key = jax.random.key(0)
    log_prob, advantage, other = jax.random.normal(key, (3, 2, 4))
    mask = jnp.array([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    for surrogate in SURROGATES.values():

        def derivatives(log_prob, advantage, surrogate=surrogate):
            value = lambda x: surrogate(x, log_prob, advantage, mask)
            return jax.grad(value)(log_prob), jax.hessian(value)(log_prob)

        found = derivatives(jnp.where(mask > 0, log_prob, other), jnp.where(mask > 0, advantage, other))
        expected = derivatives(log_prob, advantage)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-14)
        assert not np.any(found[0][mask == 0]) and np.all(found[0][mask > 0])


def test_lam_outside_the_unit_interval_is_refused():
    with pytest.raises(ValueError, match=r"lam is 1.5"):
        loaded_dice(1.5)


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_derivatives_off_the_policy_are_those_of_the_value(lam):
    """At log-probabilities other than the recorded ones, as in line searches and repeated steps, against finite differences."""
    log_prob, recorded, advantage, v = jax.random.normal(jax.random.key(0), (4, 2, 4))
    mask = jnp.array([[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    value = lambda h: loaded_dice(lam)(log_prob + h * v, recorded, advantage, mask)
    h = 1e-4
    np.testing.assert_allclose(jax.grad(value)(0.0), (value(h) - value(-h)) / (2 * h), rtol=1e-6)
    np.testing.assert_allclose(jax.grad(jax.grad(value))(0.0), (value(h) - 2 * value(0.0) + value(-h)) / h**2, rtol=1e-4)


def test_clipped_ratio_against_rlax():
    log_prob, recorded, advantage = jax.random.normal(jax.random.key(0), (3, 3, 5))
    mask = jnp.ones((3, 5)).at[0, 3:].set(0.0)
    kept = np.asarray(mask) > 0
    ratio = np.asarray(jnp.exp(log_prob - recorded))
    expected = rlax.clipped_surrogate_pg_loss(ratio[kept], np.asarray(advantage)[kept], 0.3) * kept.sum() / mask.size
    np.testing.assert_allclose(-clipped_ratio(0.3)(log_prob, recorded, advantage, mask), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="clip is 0"):
        clipped_ratio(0)
