"""The run folder of a stranger: what it may have imported, and what crafted files in it can do (give one line)."""

import json
import re
import shutil
import sys

import pytest

from experiments import evaluate, train
from experiments.cli.errors import UserError
from experiments.evaluation import load
from experiments.runs.strangers import location, modules_of
from tests.conftest import HOME
from tests.experiments.conftest import SMALL

BOAST = "import pathlib\npathlib.Path(__file__).with_suffix('.ran').touch()\n"


@pytest.fixture
def run(finished_run, tmp_path):
    """A copy of a run, to be changed."""
    copied = tmp_path / "downloads" / "run"
    shutil.copytree(finished_run, copied)
    return copied


def change(run, **parts):
    """Write other parts, or settings, into config.json; None of a part removes it."""
    config = json.loads((run / "config.json").read_text())
    for name, value in parts.items():
        place = config["settings"] if name in config["settings"] or name in ("network", "memory") else config
        place[name] = value
    (run / "config.json").write_text(json.dumps(config))


@pytest.fixture
def evil(tmp_path, monkeypatch):
    """A module that notes that it was imported, on the path but not in the current folder."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "evil_module.py").write_text(BOAST)
    monkeypatch.syspath_prepend(folder)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    yield folder / "evil_module.ran"
    sys.modules.pop("evil_module", None)


NAMED = {
    "env": "evil_module:nobody/Env-v0",
    "agent": "evil_module:their/agent",
    "network": "evil_module:their/network",
    "memory": "evil_module:their/memory",
    "experiment": "evil_module:EXPERIMENT",
}


@pytest.mark.parametrize("part", NAMED)
def test_a_module_that_the_user_did_not_choose_is_not_imported(part, run, evil, error_of):
    change(run, **{part: NAMED[part]})
    message = error_of(evaluate.main, "--run-dir", run)
    assert "evil_module" in message and "--trust evil_module" in message and part in message
    with pytest.raises(UserError, match="evil_module"):
        load(run)
    if part in ("env", "agent"):
        assert "--trust evil_module" in error_of(train.main, "--run-dir", run, "--resume")
        assert "--trust evil_module" in error_of(train.main, "--run-dir", run.parent / "new", "--start-from", run)
    assert not evil.exists() and "evil_module" not in sys.modules


def test_a_module_that_the_user_names_is_said_and_imported(run, evil, capsys):
    change(run, env=NAMED["env"])
    with pytest.raises(SystemExit):  # it registers nothing
        evaluate.main(["--run-dir", str(run), "--trust", "evil_module"])
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("importing evil_module (") and "elsewhere/evil_module.py" in first
    assert "No task family" in last
    assert evil.exists()


@pytest.mark.parametrize("inside", ["here", "run", "beside a run"])
def test_where_the_command_was_started_modules_are_chosen_but_not_in_run_folders(inside, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    place, module = {
        "here": (tmp_path / "own", "own.mine"),
        "run": (run, "downloads.run.mine"),
        "beside a run": (run / "code", "downloads.run.code.mine"),
    }[inside]
    place.mkdir(exist_ok=True)
    (place / "mine.py").write_text(BOAST)
    change(run, env=f"{module}:their/Env-v0")
    assert location(module) == place / "mine.py"
    with pytest.raises(SystemExit):
        evaluate.main(["--run-dir", str(run)])
    assert (place / "mine.ran").exists() == (inside == "here")
    assert ("importing own.mine" in capsys.readouterr().err) == (inside == "here")
    for name in [name for name in sys.modules if name.split(".")[0] in ("own", "downloads")]:
        del sys.modules[name]


def test_modules_of_metarl_and_of_the_standard_library():
    config = {"experiment": "experiments.train:EXPERIMENT", "settings": {"env": "metarl.envs:x/Y-v0", "agent": "antigravity:a"}}
    assert modules_of(config) == {"antigravity": "agent"}
    assert location("antigravity") is None and location("no_such_module_anywhere") is None


CRAFTED = {
    "settings": [1, 2],
    "script": {"a": 1},
    "wandb_id": "../../outside",
    "wandb_sweep": "a/b",
    "experiment": 7,
    "rekeyed": ["x"],
    "rekeyed ": list(range(17)),
    "env": {"id": 1},
    "agent": ["maml"],
    "num_tasks": "many",
    "num_episodes": 10**40,
    "hidden_sizes": [8, "8"],
    "hidden_sizes ": [10**15],
    "gamma": {"x": 1},
    "inner_lr": [],
    "horizon": 2.5,
    "on_nonfinite": "explode",
    "initial_std": 10**40,
    "env ": "x" * 100_000,
    "agent ": "maml\nerror: all is lost",
    "inner_lr ": "x" * 100_000,
    "held_out_tasks": "x" * 100_000,
    "held_out_tasks ": "a\nb",
    "train_tasks": "../../../../etc/passwd",
    "seed": -(10**30),
}


@pytest.mark.parametrize("name", CRAFTED)
def test_crafted_settings_give_one_line(name, run, error_of):
    change(run, **{name.strip(): CRAFTED[name]})
    message = error_of(evaluate.main, "--run-dir", run, "--num-tasks", "2")
    assert len(message) < 1100
    with pytest.raises(UserError) as failure:
        load(run)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("name", ["script", "settings", "wandb_id"])
def test_missing_fields_give_one_line(name, run, error_of):
    config = json.loads((run / "config.json").read_text())
    del config[name]
    (run / "config.json").write_text(json.dumps(config))
    assert "config.json" in error_of(evaluate.main, "--run-dir", run)
    (run / "config.json").write_text("[" * 100_000)
    assert "config.json" in error_of(evaluate.main, "--run-dir", run)


@pytest.mark.parametrize(
    "name", ["evaluation.json", ".lock", "adaptation.png", "evaluation.json.partial", "metrics.jsonl", "wandb"]
)
def test_links_are_refused_before_anything_is_written_through_them(name, run, tmp_path, error_of):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    path = run / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(precious)
    for main, flags in ((evaluate.main, []), (train.main, ["--resume"]), (train.main, ["--overwrite", *SMALL])):
        assert f"{name} is a link to {precious}" in error_of(main, "--run-dir", run, *flags)
    assert precious.read_text() == "mine"


def test_nothing_is_unpickled():
    """But what this program's own worker processes send through their pipe, and what metaworld's tasks hold in memory."""
    pickles = (
        r"(?m)^\s*(import|from) .*\b(pickle|cloudpickle|dill|marshal|shelve|joblib)\b|allow_pickle\s*=\s*True|torch\.load\("
    )
    sources = [path for room in ("metarl", "envs", "agents", "experiments") for path in (HOME / room).rglob("*.py")]
    found = {str(path.relative_to(HOME)) for path in sources if re.search(pickles, path.read_text())}
    pipes = {"envs/from_gymnasium/processes.py", "envs/from_gymnasium/worker.py"}
    assert len(sources) > 100 and found == pipes | {"envs/meta_world/benchmark.py", "envs/meta_world/environment.py"}
