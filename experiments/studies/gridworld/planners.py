"""What players that know the rules of the grid expect to earn there, computed exactly: no episode is drawn.

Goals are equally likely. All walk to a cell by a shortest path, first along x, and stay there.
"""

from functools import cache

import numpy as np

from envs.families.gridworld import ELSEWHERE, ON_GOAL, GridNavigation

Cell = tuple[int, int]


def goals_of(family: GridNavigation) -> frozenset[Cell]:
    """The cells that may be the goal."""
    return frozenset(map(tuple, np.asarray(family.goals.position).tolist()))


def path_to(cell: Cell) -> list[Cell]:
    """The cells from the start, without it, to a cell.

    >>> path_to((2, 1))
    [(1, 0), (2, 0), (2, 1)]
    """
    return [(x, 0) for x in range(1, cell[0] + 1)] + [(cell[0], y) for y in range(1, cell[1] + 1)]


def earned(goal: Cell, target: Cell, horizon: int, turns: bool) -> float:
    """The return of an episode of who walks to a target; one who ``turns`` stays at the goal where the path crosses it."""
    path = path_to(target)
    path = path[: path.index(goal) + 1] if turns and goal in path else path
    along = (path + [path[-1]] * horizon)[:horizon]
    return sum(ON_GOAL if cell == goal else ELSEWHERE for cell in along)


def known_goal(family: GridNavigation) -> float:
    """Mean return of who knows the goal."""
    goals = goals_of(family)
    return sum(earned(goal, goal, family.horizon, False) for goal in goals) / len(goals)


def posterior_sampling(family: GridNavigation, episodes: int, turns: bool = False) -> np.ndarray:
    """Expected return of each episode of posterior sampling (Thompson sampling), [E].

    At the start of an episode a goal is drawn from the posterior, which is uniform over the cells not yet ruled out, and
    walked to; what is seen on the way counts from the next episode on.

    Args:
        family: the grid.
        episodes: E.
        turns: who crosses the goal stays there at once.
    """
    horizon = family.horizon

    @cache
    def expected(left: frozenset[Cell], number: int) -> tuple[float, ...]:
        """Returns of the remaining episodes where the goal is one of ``left`` alike; each pair of goal and draw counts once."""
        if number == 0:
            return ()
        total = np.zeros(number)
        for target in left:
            seen = left & set(path_to(target))
            for goal in left:
                total[0] += earned(goal, target, horizon, turns)
            for goal in seen:
                total[1:] += earned(goal, goal, horizon, False)
            if left - seen:
                total[1:] += len(left - seen) * np.array(expected(left - seen, number - 1))
        return tuple(total / len(left) ** 2)

    return np.array(expected(goals_of(family), episodes))


def posterior(family: GridNavigation, visited: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The exact belief before each of S steps: probability of each cell, [S, size, size].

    Args:
        family: the grid.
        visited: [S, 2], the cell that each step led to.
        found: [S], whether it was the goal.
    """
    left = np.zeros((family.size, family.size))
    left[tuple(np.asarray(family.goals.position).T)] = 1.0
    beliefs = []
    for cell, here in zip(map(tuple, visited), found, strict=True):
        beliefs.append(left / left.sum())
        if here:
            left = np.zeros_like(left)
        left[cell] = float(here)
    return np.array(beliefs)
