"""The study of dark rooms: players against plain Python and value iteration, and the command."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.families.dark_room import DarkKeyDoor, DarkRoom
from experiments.studies.darkroom import __main__ as study
from experiments.studies.darkroom import planners

KEY = jax.random.key(3)
ROOM, KEY_DOOR = DarkRoom(size=3, horizon=6, held_out="same"), DarkKeyDoor(size=3, horizon=9)
UNKNOWN, KNOWN = planners.nothing_known, planners.all_known


@pytest.mark.parametrize("size", [5, 6, 9])
def test_spirals_go_through_every_cell(size):
    found = [planners.spiral(size, way).reshape(size, size) for way in range(planners.WAYS)]
    assert len({rank.tobytes() for rank in found}) == planners.WAYS
    for rank in found:
        assert sorted(rank.ravel().tolist()) == list(range(size**2)) and rank[size // 2, size // 2] == 0
        way = np.argwhere(rank >= 0)[np.argsort(rank.ravel())]
        steps = np.abs(np.diff(way, axis=0)).sum(axis=1)
        assert (steps == 1).all() if size % 2 else steps[: (size - 1) ** 2 - 1].max() == 1


def searched(size, horizon, things, starts, ranks):
    """Rewards of a search that plain Python plays: things one after another, ended by the last of several."""
    cells = [(x, y) for x in range(size) for y in range(size)]
    rank = dict(zip(cells, ranks.tolist(), strict=True))
    possible, scores = [set(cells) for _ in things], []
    for here in starts:
        stage, score = 0, 0
        for _ in range(horizon):
            target = min(possible[stage], key=lambda c: (abs(c[0] - here[0]) + abs(c[1] - here[1]), rank[c]))
            if target[0] != here[0]:
                here = (here[0] + (1 if target[0] > here[0] else -1), here[1])
            elif target[1] != here[1]:
                here = (here[0], here[1] + (1 if target[1] > here[1] else -1))
            if here != things[stage]:
                possible[stage].discard(here)
                continue
            possible[stage], score = {here}, score + 1
            if len(things) > 1 and stage == len(things) - 1:
                break
            stage = min(stage + 1, len(things) - 1)
        scores.append(score)
    return scores


@pytest.mark.parametrize("family", [ROOM, KEY_DOOR], ids=["goal", "key"])
def test_the_search_is_that_of_plain_python(family):
    ranks, keys = planners.spiral(3, 5), jax.random.split(KEY, 4)
    play = jax.jit(lambda task: planners.returns(family, task, UNKNOWN(family), jnp.asarray(ranks), KEY, 4))
    starts = [np.asarray(getattr(state, "position", state)).tolist() for state in (family.initial(key, None) for key in keys)]
    for i in range(9):
        task = jax.tree.map(lambda leaf, i=i: leaf[i], family.held_out_list)
        things = [tuple(leaf.tolist()) for leaf in jax.tree.leaves(task)]
        assert play(task).tolist() == searched(3, family.horizon, things, [tuple(cell) for cell in starts], ranks), things


def best_return(family, task, start):
    """By value iteration over the family's own functions, on states made of cell, key and door."""
    cells = [(x, y) for x in range(family.size) for y in range(family.size)]
    has_key = isinstance(family, DarkKeyDoor)
    flags = [(False, False), (True, False), (True, True)] if has_key else [()]
    states = [(cell, flag) for cell in cells for flag in flags]
    blank = family.initial(KEY, None)

    def as_state(cell, flag):
        cell = jnp.asarray(cell, jnp.int32)
        return blank._replace(position=cell, has_key=jnp.asarray(flag[0]), is_open=jnp.asarray(flag[1])) if has_key else cell

    every = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(as_state(*state) for state in states))

    def step(state, action):
        after = family.transition(state, action, KEY, task)
        return after, family.reward(state, action, after, KEY, task), family.terminal(after, KEY, task)

    after, reward, end = jax.jit(jax.vmap(jax.vmap(step, (None, 0)), (0, None)))(every, jnp.arange(5))
    if has_key:
        parts = (after.position[..., 0], after.position[..., 1], after.has_key, after.is_open)
        index = (parts[0] * family.size + parts[1]) * 3 + parts[2].astype(int) + parts[3].astype(int)
    else:
        index = after[..., 0] * family.size + after[..., 1]
    index, reward, end, value = np.asarray(index), np.asarray(reward), np.asarray(end), np.zeros(len(states))
    for _ in range(family.horizon):
        value = (reward + np.where(end, 0.0, value[index])).max(axis=1)
    return value[states.index((tuple(start), flags[0]))]


@pytest.mark.parametrize("family", [ROOM, DarkKeyDoor(size=3, horizon=4)], ids=["goal", "key"])
def test_who_knows_the_task_gets_what_value_iteration_says(family):
    """Four steps are too few for many a key and door."""
    ranks = jnp.asarray(planners.spiral(3, 0))
    play = jax.jit(lambda task: planners.returns(family, task, KNOWN(family, task), ranks, KEY, 2))
    starts = [
        np.asarray(getattr(state, "position", state)).tolist()
        for state in map(family.initial, jax.random.split(KEY), [None] * 2)
    ]
    found = []
    for i in range(6):
        task = jax.tree.map(lambda leaf, i=i: jnp.asarray(leaf[i]), family.held_out_list)
        found.append(play(task).tolist())
        assert found[-1] == [best_return(family, task, start) for start in starts]
    assert len({score for scores in found for score in scores}) > 1, "tasks differ"


def test_a_first_search_tries_a_cell_at_every_step():
    """So it returns T (T + 1) / 2 / cells on average over all goals, and nobody who knows nothing can return more."""
    for size, horizon in ((3, 6), (5, 20), (9, 20)):
        family = DarkRoom(size=size, horizon=horizon, held_out="same")
        found = planners.mean_returns(family, family.held_out_list, lambda task, family=family: UNKNOWN(family), 1)
        assert found[0] == pytest.approx(horizon * (horizon + 1) / 2 / size**2)


def test_a_search_never_ends_where_it_found_nothing():
    """What was ruled out stays so over episodes, and what was found is walked to in all that follow."""
    family = DarkRoom(size=3, horizon=6, held_out="same")
    found = planners.mean_returns(family, family.held_out_list, lambda task: UNKNOWN(family), 4)
    known = planners.mean_returns(family, family.held_out_list, lambda task: KNOWN(family, task), 4)
    assert (np.diff(found) >= 0).all() and found[-1] == pytest.approx(known[-1]) and found[0] < known[0]


SMALL = ("--size", "3", "--num-iterations", "1", "--num-tasks", "4")


@pytest.mark.slow
@pytest.mark.parametrize(("env", "agents"), [("DarkRoom", ("rl2", "promp")), ("DarkKeyDoor", ("rl2-transformer", "oracle"))])
def test_the_command_from_start_to_end(env, agents, tmp_path, capsys):
    flags = ["--out", str(tmp_path), "--env", env, *SMALL, "--agents", *agents]
    study.main(flags)
    rows = json.loads((tmp_path / "darkroom.json").read_text())["rows"]
    players = {"known task", "search", *agents}
    assert {(row["player"], row["tasks"]) for row in rows} - {("search of training goals", "training")} == {
        (player, tasks) for player in players for tasks in ("training", "held out")
    }
    assert all(len(row["return_mean"]) == 4 for row in rows)
    counted = {row["player"]: row.get("episodes") for row in rows}
    if env == "DarkRoom":
        assert counted["rl2"] == [0, 1, 2, 3] and counted["promp"] == [0, 20, 40, 60]
    else:
        assert json.loads((tmp_path / "rl2-transformer/config.json").read_text())["settings"]["memory"] == "transformer"
    metrics = {name: (tmp_path / name / "metrics.jsonl").read_bytes() for name in agents}
    scored = [tmp_path / name / study.ON_TRAINING for name in agents]
    times = [path.stat().st_mtime_ns for path in scored]
    text = (tmp_path / "darkroom.md").read_text()
    study.main(flags)  # goes on with what is there
    assert {name: (tmp_path / name / "metrics.jsonl").read_bytes() for name in agents} == metrics
    assert (tmp_path / "darkroom.md").read_text() == text and all(f"| {name} | held out |" in text for name in agents)
    assert [path.stat().st_mtime_ns for path in scored] == times  # nor are they evaluated again
    assert "search" in capsys.readouterr().out  # "known task" is in two lines of a narrow terminal


def test_a_room_too_small_is_refused(tmp_path, error_of):
    assert "--size is 2, but must be at least 3" in error_of(study.main, "--out", tmp_path, "--size", "2")
    assert not list(tmp_path.iterdir())
