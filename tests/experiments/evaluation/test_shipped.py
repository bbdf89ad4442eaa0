"""Trained agents that come with the repository: written from runs, found by name, evaluated as their runs were."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

import envs
from envs.families.navigation import Navigation2D
from experiments import evaluate
from experiments.cli.errors import UserError
from experiments.evaluation import film, shipped
from tests.experiments.conftest import small_run

NAMES = shipped.names()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "two"
    small_run(folder, "--seeds", "2", "--action-scale", "2", "--normalize-observations")
    return [folder / "seed-0", folder / "seed-1"]


@pytest.fixture
def shelf(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "pretrained")
    shipped.ship(runs, "Small/maml")
    return tmp_path / "pretrained"


def test_it_is_evaluated_as_its_run_was(shelf, runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    evaluate.main(["--pretrained", "Small/maml", "--num-tasks", "3"])
    written = tmp_path / "runs/pretrained/Small/maml"
    found, before = (json.loads((folder / "evaluation.json").read_text()) for folder in (written, runs[0]))
    np.testing.assert_allclose(found["returns"], before["returns"], rtol=1e-5)
    assert found["task_hash"] == before["task_hash"] and found["iteration"] == 4
    assert (written / "adaptation.png").is_file() and str(written.relative_to(tmp_path)) in capsys.readouterr().out
    evaluate.main(["--pretrained", "Small/maml", "--num-tasks", "2", "--num-steps", "1", "--step-scale", "0.5"])
    assert json.loads((written / "evaluation.json").read_text())["step_scale"] == [0.5]


def test_it_is_small_and_has_the_curves_of_every_seed(shelf, runs):
    folder = shelf / "Small" / "maml"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 60_000
    curves = json.loads((folder / "curves.json").read_text())
    assert list(curves) == ["0", "1"] and curves["1"]["iteration"] == [1, 2, 3, 4]
    lines = [json.loads(line) for line in (runs[1] / "metrics.jsonl").read_text().splitlines()]
    np.testing.assert_allclose(curves["1"]["post"], [line["meta/post"] for line in lines], rtol=1e-3)
    settings = json.loads((folder / "config.json").read_text())["settings"]
    assert settings["action_scale"] == 2 and "run_dir" not in settings


def test_evaluations_of_every_seed_are_kept_the_shipped_one_first(shelf, runs):
    shipped.ship(runs[::-1], "Small/twice")
    assert [result["seed"] for result in shipped.evaluations("Small/twice")] == [1, 0]
    assert [result["seed"] for result in shipped.evaluations("Small/maml")] == [0, 1]
    shipped.ship(runs[:1], "Small/twice")
    assert len(shipped.evaluations("Small/twice")) == 1, "what was there is replaced"


def test_returns_may_be_kept_without_parameters(shelf, runs, error_of):
    folder = shipped.ship(runs, "Small/other", parameters=False)
    assert not (folder / "parameters.npz").exists() and (folder / "evaluation.json").is_file()
    assert shipped.names() == ["Small/maml"] and shipped.recorded() == ["Small/maml", "Small/other"]
    said = "--pretrained is 'Small/other', of which only returns are kept; parameters there are of Small/maml."
    assert said in error_of(evaluate.main, "--pretrained", "Small/other")


def test_from_python(shelf):
    agent = shipped.pretrained("Small/maml", horizon=5)
    assert agent.family.horizon == 5 and agent.iteration == 4 and agent.env_steps > 0
    curve = agent.adapt(agent.family.default_params)
    assert np.abs(agent.act(curve, np.zeros(2, np.float32))).max() <= 1


def test_mistakes(shelf, runs, tmp_path, error_of, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "--pretrained is 'Smal/maml'; there are Small/maml." in error_of(evaluate.main, "--pretrained", "Smal/maml")
    assert "give a run in --run-dir" in error_of(evaluate.main)
    given = ("--pretrained", "Small/maml")
    assert "was trained on metarl/Navigation2D-v0; leave --env out" in error_of(evaluate.main, *given, "--env", "x/Y-v0")
    assert "is a run; give another folder" in error_of(evaluate.main, *given, "--run-dir", runs[0])
    with np.load(shelf / "Small/maml/parameters.npz") as arrays:
        changed = dict(arrays)
    first = sorted(changed)[0]
    np.savez(shelf / "Small/maml/parameters.npz", **(changed | {first: np.zeros((1, 2, 3))}))
    assert "has shape (1, 2, 3), but its agent's has" in error_of(evaluate.main, *given)
    np.savez(shelf / "Small/maml/parameters.npz", x=np.zeros(1))
    assert "it is of another version" in error_of(evaluate.main, *given)
    with pytest.raises(UserError, match="is not a run"):
        shipped.ship([tmp_path], "a/b")


class StartsAnywhere(Navigation2D):
    """Whose recorded actions cannot be played again: the start is unknown."""

    def initial(self, rng, params):
        return jax.random.uniform(rng, (2,), minval=-0.1, maxval=0.1)


envs.register("test/StartsAnywhere-v0", StartsAnywhere)


def test_families_with_chance_have_films_of_new_episodes(tmp_path):
    run = small_run(tmp_path / "run", "--env", "test/StartsAnywhere-v0")
    with Image.open(run / "rollout.gif") as found:
        assert found.n_frames > 2 and found.height > 2 * 192, "two tasks, one below the other"


def test_the_film_shows_tasks_that_differ():
    tasks = envs.held_out_tasks(envs.make("metarl/HalfCheetahDir-v0"), 10)
    shown = film.distinct(tasks, 2)
    assert tasks.sign[shown[0]] != tasks.sign[shown[1]]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_shipped_fits_its_agent_and_tells_its_returns(name):
    folder = shipped.FOLDER / name
    settings = json.loads((folder / "config.json").read_text())["settings"]
    assert settings["env"] in envs.FAMILIES and settings["agent"] == name.split("/")[1]
    agent = shipped.pretrained(name)
    assert agent.state.iteration > 0 and agent.env_steps > 0
    evaluation = json.loads((folder / "evaluation.json").read_text())
    assert evaluation["iteration"] == agent.iteration and len(evaluation["return_mean"]) == 4
    assert sum(path.stat().st_size for path in folder.iterdir()) < 160_000


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_what_is_shipped_still_has_its_returns(name, tmp_path):
    """On other machines and versions physics rounds otherwise: means agree within a fraction of their intervals' widths."""
    evaluate.main(["--pretrained", name, "--run-dir", str(tmp_path / "out"), "--num-tasks", "40"])
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    shipped_with = json.loads((shipped.FOLDER / name / "evaluation.json").read_text())
    low, high = np.asarray(shipped_with["return_ci95"]).T
    assert found["task_hash"] == shipped_with["task_hash"]
    assert np.all(np.asarray(found["return_mean"]) >= low - 0.5 * (high - low))
    assert np.all(np.asarray(found["return_mean"]) <= high + 0.5 * (high - low))
