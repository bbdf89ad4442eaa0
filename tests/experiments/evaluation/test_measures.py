"""What a family measures beside the return, from training to the comparison of runs."""

import functools
import json
from types import SimpleNamespace

import gymnasium
import jax
import numpy as np
import pytest

import agents
import envs
from experiments import compare, evaluate, train
from experiments.evaluation import wandb_evaluation
from experiments.evaluation.held_out import summarise_measures
from experiments.reporting.measures import share_intervals
from tests.envs.test_measures import Measured, reach
from tests.experiments.conftest import read_lines
from tests.few import few

ACTING = [name for name in agents.AGENTS if "reinforcement" in agents.find(name).serves]
PLAYED = ("maml", "rl2", "oracle")  # of the others the shapes: they collect and play by the same functions
SMALL = ["--num-tasks", "2", "--num-episodes", "3", "--horizon", "6", "--hidden-sizes", "4", "--num-iterations", "2"]


def sided(**options):
    """Goals to the left and to the right are classes of their own."""
    family = reach(measures={"success": "any", "distance": "last"}, **options)
    family.class_of = lambda task: "left" if task["goal"][0] < 0 else "right"
    return family


envs.register("measured/Reach-v0", sided)


@pytest.mark.parametrize("name", few(ACTING, *PLAYED))
def test_every_agent_reports_what_the_family_measures(name):
    """In each meta-iteration and on a new task, where the numbers are those of the recorded episodes."""
    family = Measured(5)
    learner = agents.make(name, family, num_tasks=2, num_episodes=3, hidden_sizes=(4,))
    init = jax.jit(learner.init)
    state = init(jax.random.key(0)) if name in PLAYED else jax.eval_shape(init, jax.random.key(0))
    _, metrics = jax.eval_shape(learner.step, state, jax.random.key(1))
    assert {f"measures/{measure}_{when}" for measure in family.measures for when in ("pre", "post")} <= set(metrics)
    adapt = functools.partial(lambda steps, *given: learner.adapt(*given, steps), 2)
    given = state, family.default_params, jax.random.key(2)
    curve = jax.jit(adapt)(*given) if name in PLAYED else jax.eval_shape(adapt, *given)
    for measures in (curve.measures, curve.greedy_measures):
        assert {measure: value.shape for measure, value in measures.items()} == {"distance": (3,), "near": (3,)}
    if name not in PLAYED:
        return
    query = curve.experience.query.trajectory
    places = np.concatenate([query.observation, query.last_observation[:, None]], axis=1)
    lengths = np.asarray(query.mask).sum(axis=1).astype(int)
    last = [np.linalg.norm(places[i, length] - family.default_params.position) for i, length in enumerate(lengths)]
    np.testing.assert_allclose(curve.measures["distance"][-1], np.mean(last), rtol=1e-5)


def test_from_training_to_the_comparison(tmp_path, capsys, error_of):
    """In metrics.jsonl, evaluation.json with intervals, both tables, the page and wandb."""
    run, names = tmp_path / "run", ["success", "distance"]
    train.main(
        ["--env", "measured/Reach-v0", "--run-dir", str(run), "--eval-tasks", "4", "--eval-steps", "1", *SMALL, "--seeds", "2"]
    )
    for seed in range(2):
        rows = read_lines(run / f"seed-{seed}")
        assert len(rows) == 2
        for row in rows:
            assert all(np.isfinite(row[f"measures/{name}_{when}"]) for name in names for when in ("pre", "post"))
        result = json.loads((run / f"seed-{seed}" / "evaluation.json").read_text())
        assert list(result["measures"]) == names
        for name, measure in result["measures"].items():
            values = np.asarray(measure["values"])
            assert values.shape == (4, 2)
            np.testing.assert_allclose(measure["mean"], values.mean(axis=0))
            low, high = np.asarray(measure["ci95"]).T
            assert np.all(low <= measure["mean"]) and np.all(measure["mean"] <= high)
            logged = wandb_evaluation.numbers(result)
            assert logged[f"eval/measures/{name}_post"] == measure["mean"][-1]
            assert logged[f"eval/measures/{name}_post_high"] == measure["ci95"][-1][1]
        on_the_left = np.asarray(envs.held_out_tasks(sided(), 4)["goal"])[:, 0] < 0
        assert 0 < on_the_left.sum() < 4
        for side, rows in (("left", on_the_left), ("right", ~on_the_left)):
            found = result["classes"][side]
            assert found["num_tasks"] == rows.sum()
            np.testing.assert_allclose(found["return_mean"], np.asarray(result["returns"])[rows].mean(axis=0))
            values = np.asarray(result["measures"]["distance"]["values"])[rows]
            np.testing.assert_allclose(found["distance_mean"], values.mean(axis=0))
    capsys.readouterr()
    evaluate.main(["--run-dir", str(run / "seed-0"), "--num-tasks", "4", "--num-steps", "1"])
    printed = capsys.readouterr().out
    assert all(name in printed for name in (*names, "left", "right"))
    compare.main([str(run), "--out", str(tmp_path / "out"), "--html"])
    table = (tmp_path / "out" / "table.md").read_text()
    page = (tmp_path / "out" / "comparison.html").read_text()
    pooled = json.loads((tmp_path / "out" / "table.json").read_text())["agents"]["maml"]["measures"]
    for name in names:
        assert f"| {name} |" in table and f">{name}</th>" in page
        each = [json.loads((run / f"seed-{s}" / "evaluation.json").read_text())["measures"][name]["mean"] for s in range(2)]
        np.testing.assert_allclose(pooled[name]["mean"], np.mean(each, axis=0))
        np.testing.assert_allclose(pooled[name]["seeds_iqm"], np.mean(each, axis=0))  # of two seeds the middle half is both
    evaluate.main(["--run-dir", str(run / "seed-0"), "--num-tasks", "4", "--num-steps", "1", "--horizon", "5"])
    assert json.loads((run / "seed-0" / "evaluation.json").read_text())["horizon"] == 5
    said = error_of(compare.main, run, "--out", tmp_path / "other")
    assert "differ in their horizons of evaluation: 5 and 6" in said


def test_shares_on_which_all_tasks_agree_have_intervals():
    """No success in 20 tasks does not show that there is none."""
    low, high = share_intervals(np.zeros((20, 1)))[0]
    assert low == 0.0 and 0.1 < high < 0.2
    low, high = share_intervals(np.ones((20, 1)), np.ones((20, 1)))[0]
    assert 0.8 < low < 0.9 and high == 1.0
    values = np.r_[np.full(19, 1.0), 0.9][:, None]
    low, high = share_intervals(values)[0]
    assert 0.9 < low < high == 1.0, "a share is at most one, whatever a wider interval says"


@pytest.mark.parametrize("reduction", ["any", "end"])
def test_a_flag_at_any_step_or_at_the_end_is_a_share(reduction):
    """Its intervals lie between 0 and 1; those of a number that happens to be 0 and 1 need not."""
    values, greedy = {"it": np.array([[0.0, 0.0], [0.0, 1.0], [0.0, 1.0]])}, {"it": np.ones((3, 2))}
    both = {
        name: summarise_measures(SimpleNamespace(measures={"it": name}), values, greedy, None)["measures"]["it"]
        for name in (reduction, "last")
    }
    share = both[reduction]
    assert share["ci95"][0][1] > 0.3 and share["greedy_ci95"][1][0] < 0.7, "three tasks that agree show little"
    assert all(0.0 <= low <= high <= 1.0 for low, high in share["ci95"] + share["greedy_ci95"])
    assert both["last"]["ci95"][1][1] > 1.0


def test_gymnasium_s_own_info_is_measured():
    """An environment of Gymnasium's: what it calls the reward of staying alive, summed."""
    task_space = {"x": gymnasium.spaces.Box(0.0, 1.0, ())}
    options = {"task_space": task_space, "apply_task": lambda env, task: None, "horizon": 3}
    with pytest.raises(ValueError, match=r"no info\['success'\].* it has no keys"):
        envs.from_gymnasium("CartPole-v1", measures={"success": "any"}, **options)
