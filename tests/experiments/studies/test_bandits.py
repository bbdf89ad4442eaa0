"""The bandit table: planners against enumeration and values by hand, and the command from start to end."""

import itertools
import json

import numpy as np
import pytest

from experiments.studies.bandits import __main__ as bandits
from experiments.studies.bandits import planners, table
from experiments.studies.bandits.planners import bayes_optimal, greedy, play, random, thompson, ucb1

RNG = np.random.default_rng(0)


def by_enumeration(planner, num_arms, pulls):
    """Expected total over Beta(1, 1) arms: a sum over all 2^pulls sequences of outcomes, each with its own probability."""
    total = 0.0
    for outcomes in itertools.product([0, 1], repeat=pulls):
        wins, losses, probability = np.zeros((1, num_arms), int), np.zeros((1, num_arms), int), 1.0
        for t, won in enumerate(outcomes):
            [arm] = planner(wins, losses, pulls - t, RNG)
            mean = (wins[0, arm] + 1) / (wins[0, arm] + losses[0, arm] + 2)
            probability *= mean if won else 1 - mean
            (wins if won else losses)[0, arm] += 1
        total += probability * sum(outcomes)
    return total


def best_of_all(wins, losses, left):
    """The optimum without any use of symmetry: every arm, every outcome."""
    if left == 0:
        return 0.0
    values = []
    for arm in range(len(wins)):
        mean, one = (wins[arm] + 1) / (wins[arm] + losses[arm] + 2), np.eye(len(wins), dtype=int)[arm]
        values.append(
            mean * (1 + best_of_all(wins + one, losses, left - 1)) + (1 - mean) * best_of_all(wins, losses + one, left - 1)
        )
    return max(values)


def random_but_fixed(wins, losses, left, rng):
    """As good as any arm: 1/2 per pull, whatever happened."""
    return np.array([left % wins.shape[1]])


def test_two_pulls_of_two_arms_by_hand():
    """1/2 at first; then 2/3 with the arm that paid, or 1/2 with the other one: 13/12. Always the same arm gives 1."""
    planner, value = bayes_optimal(2)
    assert value(2) == pytest.approx(13 / 12)
    assert by_enumeration(planner, 2, 2) == pytest.approx(13 / 12)
    assert by_enumeration(lambda wins, losses, left, rng: np.array([0]), 2, 2) == pytest.approx(1.0)


@pytest.mark.parametrize(("num_arms", "pulls"), [(2, 6), (3, 5)])
def test_the_optimum_against_every_history(num_arms, pulls):
    planner, value = bayes_optimal(num_arms)
    nothing = np.zeros(num_arms, int)
    assert value(pulls) == pytest.approx(best_of_all(nothing, nothing, pulls), abs=1e-12)
    assert by_enumeration(planner, num_arms, pulls) == pytest.approx(value(pulls), abs=1e-12)
    assert by_enumeration(greedy, num_arms, pulls) < value(pulls) - 1e-4, "greed does not pay"
    assert by_enumeration(random_but_fixed, num_arms, pulls) < value(pulls) - 1e-2


def test_simulated_totals_have_the_enumerated_expectation():
    mean = np.random.default_rng(1).random((20_000, 3))
    for planner in (greedy, ucb1(0.3), bayes_optimal(3)[0]):
        totals = play(planner, mean, 5)
        np.testing.assert_allclose(totals.mean(), by_enumeration(planner, 3, 5), atol=4 * totals.std() / 20_000**0.5)


def test_choices_by_hand():
    """Posterior means 2/3, 1/2, 4/7; sqrt(2 ln 7 / count) = 1.139, 1.395, 0.746: from a weight of 0.651 on the second wins."""
    wins, losses = np.array([[1, 0, 3]]), np.array([[0, 0, 2]])
    assert greedy(wins, losses, 1, RNG) == [0] and ucb1(0.05)(wins, losses, 1, RNG) == [0]
    assert ucb1(0.64)(wins, losses, 1, RNG) == [0] and ucb1(0.66)(wins, losses, 1, RNG) == [1]
    assert ucb1(0.05)(*np.zeros((2, 1, 3), int), 1, RNG) == [0], "at first all arms are alike"
    assert ucb1(0.05)(np.array([[0, 0]]), np.array([[1, 0]]), 1, RNG) == [1]
    # P(draw of Beta(6, 1) > draw of Beta(1, 1)) is the mean of Beta(6, 1).
    arms = thompson(np.tile([5, 0], (20_000, 1)), np.zeros((20_000, 2)), 1, RNG)
    np.testing.assert_allclose((arms == 0).mean(), 6 / 7, atol=0.01)
    np.testing.assert_allclose(np.bincount(random(np.zeros((9000, 3)), None, 1, RNG)) / 9000, 1 / 3, atol=0.02)


def test_luck_is_shared_and_totals_count_successes():
    mean = np.array([[0.0, 1.0]] * 6 + [[1.0, 1.0]])
    assert play(random, mean, 4)[-1] == 4 and 0 < play(random, mean, 4)[:-1].mean() < 4
    assert play(greedy, mean, 4).tolist() == [3] * 6 + [4], "the first arm fails once"
    same = np.full((500, 3), 0.4)
    np.testing.assert_array_equal(play(random, same, 5), play(greedy, same, 5))


def test_ucb1_is_tuned():
    mean = np.random.default_rng(2).random((3000, 10))
    earned = {weight: play(ucb1(weight), mean, 10, seed=1).mean() for weight in planners.UCB_GRID}
    weight = planners.tuned_ucb1(mean, 10)
    assert weight < 0.5 and earned[weight] == max(earned.values()) > earned[1.0] + 1


def test_within_one_standard_error():
    assert table.reached({"mean": 6.64, "standard_error": 0.07}, 6.7)
    assert not table.reached({"mean": 6.62, "standard_error": 0.07}, 6.7)


def test_a_small_table_and_going_on(tmp_path, monkeypatch, capsys, error_of):
    small = {"num_tasks": 4, "hidden_sizes": (4,)}
    monkeypatch.setattr(bandits, "PROTOCOL", bandits.PROTOCOL | small)
    monkeypatch.setitem(bandits.PUBLISHED, (3, 2), {"rl2": 9.0, "gittins": 1.9})
    flags = ["--out", str(tmp_path), "--pulls", "3", "--arms", "2", "--num-iterations", "1", "--eval-tasks", "6"]
    bandits.main(flags)
    before = (tmp_path / "n3-k2/seed-0/metrics.jsonl").read_bytes()
    bandits.main(flags)
    assert (tmp_path / "n3-k2/seed-0/metrics.jsonl").read_bytes() == before
    assert "already has its 1 iterations" in capsys.readouterr().out
    [cell] = json.loads((tmp_path / "bandits.json").read_text())["cells"]
    returns = np.array(json.loads((tmp_path / "n3-k2/seed-0/evaluation.json").read_text())["returns"])
    assert returns.shape == (6, 3) and set(np.unique(returns)) <= {0.0, 1.0}
    totals = returns.sum(axis=1)
    np.testing.assert_allclose(cell["rows"]["rl2"]["mean"], totals.mean())
    np.testing.assert_allclose(cell["rows"]["rl2"]["standard_error"], totals.std(ddof=1) / np.sqrt(6))
    assert cell["reached"] is False
    text = (tmp_path / "bandits.md").read_text()
    assert "- NOT KEPT: rl2 with n=3, k=2: " in text and "| gittins | [1.9] |" in text and "| bayes-optimal |" in text
    bandits.main([*flags, "--memories", "gru", "lstm"])  # beside what is there
    [cell] = json.loads((tmp_path / "bandits.json").read_text())["cells"]
    np.testing.assert_allclose(cell["rows"]["rl2"]["mean"], totals.mean())
    settings = json.loads((tmp_path / "n3-k2-lstm/seed-0/config.json").read_text())["settings"]
    assert settings["memory"] == "lstm" and "| rl2, lstm | " in (tmp_path / "bandits.md").read_text()
    assert "--memories needs at least one of gru, lstm" in error_of(bandits.main, *flags, "--memories")
    assert "--pulls is 0" in error_of(bandits.main, *flags, "--pulls", "0")
    assert "--arms is 1" in error_of(bandits.main, *flags, "--arms", "1")
    (tmp_path / "n3-k2/seed-0/evaluation.json").write_text(json.dumps({"task_hash": "?", "iteration": 1, "returns": []}))
    assert "is of other bandits" in error_of(bandits.main, *flags)
