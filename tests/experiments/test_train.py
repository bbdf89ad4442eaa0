"""The train command: what a run folder holds, what is refused, and going on where a run stopped."""

import json
import shutil

import numpy as np
import pytest

import agents
from experiments import train
from experiments.training import loop
from tests.experiments.conftest import SMALL, read_lines, small_run
from tests.few import few


def test_a_run_folder_is_complete(finished_run):
    names = {path.name for path in finished_run.iterdir()}
    assert names >= {"config.json", "metrics.jsonl", "checkpoints", "evaluation.json", "adaptation.png"}
    config = json.loads((finished_run / "config.json").read_text())
    assert config["script"] == "train" and config["settings"]["num_tasks"] == 2
    assert {"git_commit", "versions", "device", "wandb_id"} <= set(config)
    assert (finished_run / "adaptation.png").read_bytes().startswith(b"\x89PNG")


def test_metrics_are_one_object_per_iteration(finished_run):
    rows = read_lines(finished_run)
    assert [row["iteration"] for row in rows] == [1, 2, 3, 4]
    expected = {
        "iteration",
        "meta/pre",
        "meta/post",
        "meta/gain",
        "inner/step_0",
        "inner/step_1",
        "outer/loss",
        "outer/grad_norm",
        "outer/grad_cosine",
        "meta/hurt",
        "inner/kl_1",
        "baseline/explained_variance_pre",
        "baseline/explained_variance_post",
    }
    expected |= {"policy/entropy", "policy/kl", "time/env_steps", "time/seconds", "time/steps_per_second"}
    assert all(set(row) == expected for row in rows)
    per_iteration = np.diff([0] + [row["time/env_steps"] for row in rows])
    assert np.all(per_iteration <= 2 * 3 * 6 * 2) and np.all(per_iteration > 0)


def test_evaluation_json(finished_run):
    result = json.loads((finished_run / "evaluation.json").read_text())
    assert result["env"] == "metarl/Navigation2D-v0" and result["agent"] == "maml" and result["seed"] == 0
    assert result["num_tasks"] == 3 and result["episodes"] == [0, 3, 6, 9]
    returns = np.array(result["returns"])
    assert returns.shape == (3, 4)
    np.testing.assert_allclose(result["return_mean"], returns.mean(axis=0))
    low, high = np.array(result["return_ci95"]).T
    assert np.all(low <= result["return_mean"]) and np.all(result["return_mean"] <= high)
    assert len(result["task_hash"]) == 64


@pytest.mark.parametrize("agent", few(["random", "maml++"], "maml++"))
def test_other_agents_from_the_command_line(agent, tmp_path):
    run = small_run(tmp_path / agent, "--agent", agent)
    assert len(read_lines(run)) == 4
    assert json.loads((run / "evaluation.json").read_text())["agent"] == agent


def without_time(rows):
    return [{k: v for k, v in row.items() if not k.startswith("time/") or k == "time/env_steps"} for row in rows]


def test_same_seed_same_run_whatever_the_chunks(finished_run, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "MAX_BLOCKS", 1)
    again = small_run(tmp_path / "again", "--eval-tasks", "0")
    assert without_time(read_lines(again)) == without_time(read_lines(finished_run))
    other = small_run(tmp_path / "other", "--seed", "1", "--eval-tasks", "0")
    assert without_time(read_lines(other)) != without_time(read_lines(finished_run))


def test_resume_continues_exactly(finished_run, tmp_path):
    """Two iterations, then two more, equal four at once; lines already written keep their bytes."""
    part = small_run(tmp_path / "part", "--num-iterations", "2")
    before = (part / "metrics.jsonl").read_bytes()
    train.main(["--run-dir", str(part), "--resume", "--num-iterations", "4"])
    assert (part / "metrics.jsonl").read_bytes().startswith(before)
    assert without_time(read_lines(part)) == without_time(read_lines(finished_run))
    evaluations = [json.loads((run / "evaluation.json").read_text()) for run in (part, finished_run)]
    assert evaluations[0]["returns"] == evaluations[1]["returns"]


def test_resume_after_a_crash_repeats_no_line(finished_run, tmp_path):
    """As after kill -9: the newest checkpoint is older than the metrics, and the last line is torn."""
    crashed = tmp_path / "crashed"
    shutil.copytree(finished_run, crashed)
    shutil.rmtree(crashed / "checkpoints" / "4")
    with open(crashed / "metrics.jsonl", "ab") as file:
        file.write(b'{"iteration": 5, "met')
    train.main(["--run-dir", str(crashed), "--resume"])
    assert (crashed / "metrics.jsonl").read_bytes() == (finished_run / "metrics.jsonl").read_bytes()
    assert (crashed / "checkpoints" / "4").is_dir()


def test_resume_of_a_finished_run_says_so(finished_run, tmp_path, capsys):
    done = tmp_path / "done"
    shutil.copytree(finished_run, done)
    train.main(["--run-dir", str(done), "--resume"])
    assert "already has its 4 iterations" in capsys.readouterr().out


def test_overwrite_replaces(finished_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    small_run(run, "--overwrite", "--num-iterations", "1", "--eval-tasks", "0")
    assert len(read_lines(run)) == 1


def test_refuses_an_existing_run(finished_run, error_of):
    message = error_of(train.main, "--run-dir", finished_run)
    assert "--resume" in message and "--overwrite" in message


def test_refuses_a_folder_that_is_no_run(tmp_path, error_of):
    (tmp_path / "precious.txt").write_text("mine")
    for flags in ([], ["--overwrite"], ["--resume"]):
        assert "holds files but no run" in error_of(train.main, "--run-dir", tmp_path, *flags)
    assert (tmp_path / "precious.txt").read_text() == "mine"
    assert "is a file" in error_of(train.main, "--run-dir", tmp_path / "precious.txt")


def test_refuses_to_resume_nothing(tmp_path, error_of):
    assert "holds no run" in error_of(train.main, "--run-dir", tmp_path / "none", "--resume")


def test_refuses_other_settings_and_names_them(finished_run, error_of):
    message = error_of(train.main, "--run-dir", finished_run, "--resume", "--inner-lr", "0.7")
    assert "--inner-lr 0.1, not 0.7" in message


def test_refuses_to_resume_as_another_agent(finished_run, error_of):
    message = error_of(train.main, "--run-dir", finished_run, "--resume", "--agent", "rl2")
    assert "was made with --agent maml, not rl2" in message


def test_refuses_a_run_in_use(finished_run, error_of):
    from experiments.runs.folder import lock

    with lock(finished_run):
        assert "in use" in error_of(train.main, "--run-dir", finished_run, "--overwrite")


@pytest.mark.parametrize("agent", [name for name in agents.AGENTS if "reinforcement" not in agents.find(name).serves])
def test_agents_for_supervised_learning_say_so(agent, tmp_path, error_of):
    assert f"{agent} serves {' and '.join(agents.find(agent).serves)} only." in error_of(
        train.main, "--run-dir", tmp_path / "run", "--agent", agent
    )


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--num-tasks", "0"], "--num-tasks is 0"),
        (["--horizon", "-5"], "--horizon is -5"),
        (["--env-options", "goals"], "has 'goals', but options look like NAME=VALUE"),
        (["--env-options", "goals=3"], "Navigation2D: got an unexpected keyword argument 'goals'; its options: horizon"),
        (["--env-options", "horizon=3", "--horizon", "4"], "gives horizon although it is given already"),
        (["--num-episodes", "-1"], "--num-episodes is -1"),
        (["--inner-lr", "nan"], "--inner-lr is nan"),
        (["--gamma", "1.5"], "--gamma is 1.5"),
        (["--dice-lambda", "2"], "--dice-lambda is 2"),
        (["--hidden-sizes", "8", "0"], "--hidden-sizes is 0"),
        (["--activation", "swish"], "--activation is 'swish'"),
        (["--agent", "mmal"], "Did you mean 'maml'"),
        (["--env", "metarl/Navigation2d-v0"], "Did you mean 'metarl/Navigation2D-v0'"),
        (["--env", "nowhere:a/B-v0"], "No module named 'nowhere'"),
        (["--agent", "rl2", "--inner-lr", "0.1"], "rl2 has no use for it; leave it out. rl2 adapts by its memory"),
        (["--agent", "rl2", "--num-inner-steps", "1"], "rl2 has no use for it; leave it out. rl2 adapts by its memory"),
        (["--agent", "oracle", "--inner-lr", "0.1"], "oracle has no inner loop"),
        (["--clip", "0.2"], "maml has no use for it; leave it out"),
        (["--agent", "promp", "--clip", "0"], "--clip is 0.0"),
        (["--agent", "imaml", "--dice-lambda", "1"], "imaml has no use for it"),
        (["--baseline", "lineer"], "--baseline is 'lineer'; known: auto, linear, time"),
        (["--agent", "pretrained", "--recipe", "cold"], "--recipe is 'cold'; known: plain"),
        (["--agent", "pretrained", "--recipe", "cross-validated"], "reinforcement learning has none"),
        (["--test-step-scale", "1", "0"], "--test-step-scale is 0.0"),
        (["--agent", "imaml", "--num-inner-steps", "0"], "--num-inner-steps is 0, but must be at least 1"),
        (["--agent", "e-maml", "--num-tasks", "1"], "give at least 2"),
        (["--env", "tests.agents.probe:probe/GuessDiscrete-v0", "--initial-std", "0.5"], "there is no Gaussian"),
    ],
)
def test_bad_flags_are_refused_before_anything_is_written(flags, expected, tmp_path, error_of):
    assert expected in error_of(train.main, "--run-dir", tmp_path / "run", *flags)
    assert not (tmp_path / "run").exists()


def test_non_finite_training_stops_and_says_where(tmp_path, error_of):
    """An outer step so large that the parameters overflow in the first iteration."""
    flags = ["--run-dir", tmp_path / "run", "--num-iterations", "9", "--outer-lr", "1e38", *SMALL]
    message = error_of(train.main, *flags)
    assert "non-finite" in message and "the last good checkpoint is iteration 0" in message
    for row in read_lines(tmp_path / "run"):
        assert all(np.isfinite(value) for value in row.values())


def test_a_kl_that_is_not_finite_says_what_to_change(tmp_path, error_of):
    flags = ["--run-dir", tmp_path / "run", "--num-iterations", "2", "--inner-lr", "1e20", *SMALL]
    message = error_of(train.main, *flags)
    assert "policy/kl" in message and "a smaller --inner-lr or a larger --initial-std" in message


def test_settings_that_an_agent_uses_are_written_and_no_others(finished_run):
    settings = json.loads((finished_run / "config.json").read_text())["settings"]
    assert settings["inner_lr"] == 0.1 and settings["dice_lambda"] == 0.0 and settings["initial_std"] == 1.0
    assert "clip" not in settings and "trial_episodes" not in settings


def test_a_stranger_s_config_json_is_no_run(tmp_path, error_of):
    """Another program's folder that happens to hold a config.json must survive --overwrite."""
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "weights.bin").write_text("precious")
    for flags in ([], ["--overwrite"], ["--resume"]):
        assert "not written by metarl" in error_of(train.main, "--run-dir", tmp_path, *flags)
    assert (tmp_path / "weights.bin").read_text() == "precious"


def test_overwrite_keeps_what_the_run_did_not_write(finished_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    (run / "notes.txt").write_text("mine")
    small_run(run, "--overwrite", "--num-iterations", "1", "--eval-tasks", "0")
    assert (run / "notes.txt").read_text() == "mine" and len(read_lines(run)) == 1


def test_a_run_killed_while_starting_can_be_started(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").touch()
    (tmp_path / "run" / "config.json.partial").touch()
    assert len(read_lines(small_run(tmp_path / "run", "--num-iterations", "1", "--eval-tasks", "0"))) == 1


def test_resume_makes_up_for_a_missing_evaluation(finished_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    (run / "evaluation.json").unlink()
    train.main(["--run-dir", str(run), "--resume"])
    evaluations = [json.loads((folder / "evaluation.json").read_text()) for folder in (run, finished_run)]
    assert evaluations[0] == evaluations[1]


def test_resume_with_fewer_iterations_changes_nothing(finished_run, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    train.main(["--run-dir", str(run), "--resume", "--num-iterations", "1"])
    assert "already has its 4 iterations" in capsys.readouterr().out
    assert (run / "config.json").read_bytes() == (finished_run / "config.json").read_bytes()


def test_seconds_go_on_after_a_resume(tmp_path):
    run = small_run(tmp_path / "run", "--num-iterations", "2", "--eval-tasks", "0")
    train.main(["--run-dir", str(run), "--resume", "--num-iterations", "4"])
    seconds = [row["time/seconds"] for row in read_lines(run)]
    assert seconds == sorted(seconds)


def test_other_mistakes_are_one_line(tmp_path, error_of, monkeypatch):
    assert "--seed is 99999999999999999999" in error_of(train.main, "--run-dir", tmp_path / "a", "--seed", 99999999999999999999)
    (tmp_path / "file").touch()
    error_of(train.main, "--run-dir", tmp_path / "file" / "run")
    monkeypatch.setenv("WANDB_MODE", "offlin")
    assert "WANDB_MODE is 'offlin'" in error_of(train.main, "--run-dir", tmp_path / "b", *SMALL)
