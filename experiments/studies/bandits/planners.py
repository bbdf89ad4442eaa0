"""Ways of playing a Bernoulli bandit that know how its arms are drawn, to put beside agents that had to find it out.

All keep a Beta(1, 1) posterior per arm: its mean is (successes + 1) / (successes + failures + 2). Ties go to the first arm.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

# (successes [M, A], failures [M, A], pulls left, random generator) -> arm [M]
Planner = Callable[[np.ndarray, np.ndarray, int, np.random.Generator], np.ndarray]

UCB_GRID = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
TUNING_TASKS = 4000
MOST_EXACT_PULLS = 15  # what there is to remember grows quickly with pulls: 3,500 posteriors at 10, 50,000 at 15


def random(successes: np.ndarray, failures: np.ndarray, left: int, rng: np.random.Generator) -> np.ndarray:
    """Any arm."""
    return rng.integers(successes.shape[1], size=len(successes), dtype=np.int64)


def greedy(successes: np.ndarray, failures: np.ndarray, left: int, rng: np.random.Generator) -> np.ndarray:
    """The arm with the largest posterior mean."""
    return ((successes + 1) / (successes + failures + 2)).argmax(axis=1)


def thompson(successes: np.ndarray, failures: np.ndarray, left: int, rng: np.random.Generator) -> np.ndarray:
    """The best arm of one draw from the posterior (Thompson 1933)."""
    return np.asarray(rng.beta(successes + 1, failures + 1)).argmax(axis=1)


def ucb1(weight: float) -> Planner:
    """The largest posterior mean plus ``weight`` * sqrt(2 ln t / count), t = 1, 2, ... (Auer et al. 2002).

    The count has the prior's two pulls in it, as Beta(1, 1) starts them; were it the arm's own pulls alone, every arm would
    be tried first, and ten pulls of ten arms could earn no more than 5.
    """

    def choose(successes, failures, left, rng):
        count = successes + failures + 2
        t = 1 + (successes + failures).sum(axis=1, keepdims=True)
        return ((successes + 1) / count + weight * np.sqrt(2 * np.log(t) / count)).argmax(axis=1)

    return choose


def bayes_optimal(num_arms: int) -> tuple[Planner, Callable[[int], float]]:
    """What maximises the expected total over the pulls left, by dynamic programming over posteriors, and that total.

    Arms are exchangeable, so that the posteriors (successes, failures) of the arms pulled are remembered in sorted order.
    """

    def outcomes(seen, arm):
        rest = list(seen)
        if arm != (0, 0):
            rest.remove(arm)
        return tuple(tuple(sorted([*rest, after])) for after in ((arm[0] + 1, arm[1]), (arm[0], arm[1] + 1)))

    def worth(seen, arm, left):
        mean = (arm[0] + 1) / (sum(arm) + 2)
        success, failure = outcomes(seen, arm)
        return mean * (1 + value(success, left - 1)) + (1 - mean) * value(failure, left - 1)

    @functools.cache
    def value(seen, left):
        arms = set(seen) | ({(0, 0)} if len(seen) < num_arms else set())
        return max(worth(seen, arm, left) for arm in arms) if left else 0.0

    @functools.cache
    def best(seen, left):
        arms = sorted(set(seen) | ({(0, 0)} if len(seen) < num_arms else set()))
        return max(arms, key=lambda arm: worth(seen, arm, left))

    def choose(successes, failures, left, rng):
        chosen = []
        for won, lost in zip(successes.tolist(), failures.tolist(), strict=True):
            arms = list(zip(won, lost, strict=True))
            chosen.append(arms.index(best(tuple(sorted(arm for arm in arms if arm != (0, 0))), left)))
        return np.array(chosen)

    return choose, lambda pulls: value((), pulls)


def play(planner: Planner, mean: np.ndarray, pulls: int, seed: int = 0) -> np.ndarray:
    """Total rewards [M] over ``pulls`` pulls of M bandits with means [M, A].

    Pull t of bandit m succeeds if a number drawn for (m, t), the same for every planner of the same seed, is below the mean.
    """
    luck_rng, rng = np.random.default_rng(seed).spawn(2)
    luck, everyone = luck_rng.random((pulls, len(mean))), np.arange(len(mean))
    successes, failures = np.zeros((2, *mean.shape), int)
    for t in range(pulls):
        arm = planner(successes, failures, pulls - t, rng)
        won = luck[t] < mean[everyone, arm]
        successes[everyone, arm] += won
        failures[everyone, arm] += ~won
    return successes.sum(axis=1)


def tuned_ucb1(mean: np.ndarray, pulls: int) -> float:
    """The weight of `UCB_GRID` that earns most on bandits with means [M, A], which should not be those of the evaluation."""
    return max(UCB_GRID, key=lambda weight: play(ucb1(weight), mean, pulls, seed=1).mean())


def planners(num_arms: int, pulls: int, tuning: np.ndarray) -> dict[str, tuple[Planner, dict[str, Any]]]:
    """Name -> (planner, what there is to say about it): the exact expectation, or what was tuned on means ``tuning``."""
    weight = tuned_ucb1(tuning, pulls)
    named: dict[str, tuple[Planner, dict[str, Any]]] = {
        "random": (random, {}),
        "greedy": (greedy, {}),
        "thompson": (thompson, {}),
        "ucb1": (ucb1(weight), {"weight": weight}),
    }
    if pulls <= MOST_EXACT_PULLS:
        optimal, value = bayes_optimal(num_arms)
        named["bayes-optimal"] = (optimal, {"expected": value(pulls)})
    return named
