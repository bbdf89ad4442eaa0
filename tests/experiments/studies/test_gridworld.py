"""The study of VariBAD's grid: planners against enumeration and the family itself, the posterior, the command, the picture."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.families.gridworld import MOVES, Cell
from experiments.studies.gridworld import __main__ as study
from experiments.studies.gridworld import planners

GRID = envs.make(study.ENV)


def walked(family, goal, target, turns=False):
    """The return of an episode of the family itself, by moves right, then up, then none."""
    moves = [2] * target[0] + [1] * target[1]
    path = planners.path_to(target)
    if turns and goal in path:
        moves = moves[: path.index(goal) + 1]
    state, task, total = jnp.zeros(2, jnp.int32), Cell(jnp.asarray(goal)), 0.0
    for action in (moves + [0] * family.horizon)[: family.horizon]:
        after = np.clip(np.asarray(state) + MOVES[action], 0, family.size - 1)
        total += float(family.reward(state, action, jnp.asarray(after), None, task))
        state = jnp.asarray(after)
    return total


def test_returns_of_walks_are_those_of_the_family():
    for goal, target in (((4, 4), (4, 4)), ((3, 0), (3, 2)), ((0, 2), (4, 1)), ((2, 1), (2, 4))):
        for turns in (False, True):
            found = planners.earned(goal, target, GRID.horizon, turns)
            np.testing.assert_allclose(found, walked(GRID, goal, target, turns), atol=1e-5)
    assert planners.known_goal(GRID) == pytest.approx(11.0714, abs=1e-4)  # VariBAD's known goal: 11.07


@pytest.mark.parametrize("turns", [False, True])
def test_posterior_sampling_by_enumeration(turns):
    """On 3 x 3, with 5 goals: every goal, every sequence of draws that can follow, each with its own probability."""
    family = envs.make(study.ENV, size=3)
    goals = planners.goals_of(family)
    assert len(goals) == 5

    def along(goal, left, episodes):
        if episodes == 0:
            return np.zeros(0)
        total = np.zeros(episodes)
        for target in left:
            seen = [cell for cell in planners.path_to(target) if cell in goals]
            after = [goal] if goal in seen else [cell for cell in left if cell not in seen]
            total += np.concatenate([[planners.earned(goal, target, 15, turns)], along(goal, after, episodes - 1)]) / len(left)
        return total

    expected = np.mean([along(goal, sorted(goals), 3) for goal in goals], axis=0)
    np.testing.assert_allclose(planners.posterior_sampling(family, 3, turns), expected, rtol=1e-12)


def test_the_posterior_by_hand():
    visited, found = np.array([[1, 0], [2, 0], [2, 0], [2, 1], [2, 2]]), np.array([False, False, False, True, False])
    beliefs = planners.posterior(GRID, visited, found)
    np.testing.assert_allclose(beliefs[0].max(), 1 / 21)
    assert beliefs[0][1, 1] == 0 and np.isclose(beliefs[2].max(), 1 / 20) and beliefs[2][2, 0] == 0
    assert beliefs[4][2, 1] == 1.0 and np.allclose(beliefs.sum(axis=(1, 2)), 1.0)


QUICK = ("--num-iterations", "1", "--num-tasks", "4", "--agents", "varibad")


@pytest.mark.slow
def test_the_command_from_start_to_end(tmp_path, capsys):
    study.main(["--out", str(tmp_path), *QUICK])
    rows = json.loads((tmp_path / "gridworld.json").read_text())["rows"]
    assert set(rows) == {"known goal", "posterior sampling", "posterior sampling, staying where the goal is met", "varibad"}
    assert all(len(row["return_mean"]) == 4 for row in rows.values())
    assert (tmp_path / "beliefs.png").stat().st_size > 10_000 and "varibad" in (tmp_path / "gridworld.md").read_text()
    study.main(["--out", str(tmp_path), *QUICK])  # goes on with what is there
    assert "known goal" in capsys.readouterr().out


def test_a_goal_that_there_is_not_is_refused(tmp_path, error_of):
    assert error_of(study.main, "--out", tmp_path, "--goal", "21") == "error: --goal is 21, but there are 21 goals: 0 to 20.\n"
