"""A run names its experiment, so that `evaluate` finds a stranger's as well."""

import json

import pytest

from experiments import evaluate, train
from experiments.training.experiment import experiment_of
from tests.experiments.conftest import SMALL

STRANGER = """
import json
from experiments.train import EXPERIMENT as OURS


def tell(config, run_config, flags):
    (config.run_dir / "evaluation.json").write_text(json.dumps({"clip": config.own.clip, "flags": flags}))


EXPERIMENT = OURS._replace(name="mine", evaluate=tell, flags=("num_tasks",), place="stranger_s_study:EXPERIMENT")
"""


def test_ours_are_found(tmp_path):
    for script in ("train", "sinusoid", "step_function"):
        assert experiment_of({"script": script}).name == script, "as in run folders made before"
        assert experiment_of({"script": "x", "experiment": f"experiments.{script}:EXPERIMENT"}).name == script


def test_a_stranger_s_study_is_evaluated(tmp_path, monkeypatch, error_of):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "stranger_s_study.py").write_text(STRANGER)
    train.main(["--run-dir", "run", "--agent", "promp", "--clip", "0.25", *SMALL])
    path = tmp_path / "run/config.json"
    assert json.loads(path.read_text())["experiment"] == "experiments.train:EXPERIMENT"
    path.write_text(path.read_text().replace("experiments.train:EXPERIMENT", "stranger_s_study:EXPERIMENT"))
    evaluate.main(["--run-dir", "run", "--num-tasks", "4"])
    assert json.loads((tmp_path / "run/evaluation.json").read_text()) == {"clip": 0.25, "flags": {"num_tasks": 4}}
    assert "--num-steps is given" in error_of(evaluate.main, "--run-dir", "run", "--num-steps", "1")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("no_such_module:EXPERIMENT", "cannot be found"),
        ("experiments.train:NOTHING", "cannot be found"),
        ("experiments.train:train", "which is no Experiment"),
        ("experiments.nothing:EXPERIMENT", "cannot be found"),
    ],
)
def test_one_that_is_not_there_is_told_in_one_line(place, message, tmp_path, error_of):
    (tmp_path / "config.json").write_text(json.dumps({"script": "x", "experiment": place, "settings": {}, "wandb_id": "1"}))
    assert message in error_of(evaluate.main, "--run-dir", tmp_path, "--trust", "no_such_module")
