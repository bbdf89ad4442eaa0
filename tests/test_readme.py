"""The README cannot rot: its snippets are executed and its commands run, with fewer iterations."""

import importlib
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import train
from tests.few import few

README = (Path(__file__).parent.parent / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"^python -m experiments\.([\w.]+)(.*)$", README, re.MULTILINE)
OWN = ("# hover.py", "# swing.py", "# my_agent.py")  # files of a user's own
OWN_WORDS = ("hover:", "swing:", "my_agent:", "runs/momentum", "--data tasks.csv")  # in commands that need such a file
if importlib.util.find_spec("sklearn") is None:
    OWN_WORDS += ("--data digits", "runs/digits-table")
FEWER = {
    "train": "--num-iterations 2 --num-tasks 2 --num-episodes 2 --horizon 6 --eval-tasks 3 --hidden-sizes 8",
    "evaluate": "--num-tasks 3",
    "compare": "",
    "export": "",
    "film": "--num-tasks 1",
    "benchmark": "--quick --only sinusoid --no-growth --no-chunks --no-precision --repeats 1 --seconds 0.05",
    "dashboard": "",
    "studies.navigation": "--num-iterations 0 --num-seeds 1 --eval-tasks 1",
    "step_function": "--num-iterations 20 --log-every 10 --checkpoint-every 10 --hidden-sizes 8",
    "sinusoid": "--num-iterations 20 --log-every 10 --checkpoint-every 10 --eval-tasks 5",
    "studies.sinusoid": "--num-iterations 2 --eval-tasks 2 --num-seeds 1 --protocols maml --agents oracle",
    "studies.surrogates": "",
    "studies.explain": "--num-iterations 2 --surface-points 3",
    "studies.playground": "--no-train",
    "studies.mjx_iterations": "--iterations 2 --num-episodes 2 --horizon 2",
    "studies.locomotion": "--agents random --num-iterations 0 --eval-tasks 1 --num-tasks 1 --horizon 2",
    "studies.families": "--no-train",
    "studies.shipped": "--only HalfCheetahDir",
    "studies.mjx_learning": "--num-iterations 3 --num-tasks 1 --num-episodes 1 --horizon 2 --num-seeds 2",
    "few_shot": "--num-iterations 2 --log-every 1 --checkpoint-every 1 --num-tasks 2 --eval-tasks 3",
    "studies.digits": "--agents random --conv --num-iterations 1 --num-seeds 1 --eval-tasks 2 --test-shots 1",
    "studies.bandits": "--num-iterations 1 --pulls 2 --arms 2 --eval-tasks 2",
    "studies.darkroom": "--size 3 --num-iterations 0 --num-tasks 2 --agents rl2",
    "studies.gridworld": "--num-iterations 0 --num-tasks 2 --agents rl2",
}


def folders(text):
    """The run folders that it names."""
    return set(re.findall(r"runs/[\w-]+", text))


def sessions():
    """Commands that share run folders, in the order given, by the first folder or command; without those of own files."""
    found = []
    for number, (name, flags) in enumerate(COMMANDS):
        if any(word in flags for word in OWN_WORDS):
            continue
        names = folders(flags)
        joined = [session for session in found if session[0] & names]
        found = [session for session in found if session not in joined]
        lines = sorted([(number, name, flags)] + [line for _, lines in joined for line in lines])
        found.append((names.union(*(names for names, _ in joined)), lines))
    named = {(re.findall(r"runs/([\w-]+)", lines[0][2]) or [lines[0][1]])[0]: lines for _, lines in found}
    assert len(named) == len(found)
    return {name: [line[1:] for line in lines] for name, lines in named.items()}


SESSIONS = sessions()
SHARED = {folder for lines in SESSIONS.values() for folder in folders(str(lines))}  # folders that a command makes or reads


def main_of(name):
    """The entry point of a command, which is a file or a folder with ``__main__``."""
    module = importlib.import_module(f"experiments.{name}")
    return getattr(module, "main", None) or importlib.import_module(f"experiments.{name}.__main__").main


def own_file(name="hover.py"):
    """The snippet of a user's own family, and the name of its file."""
    [snippet] = [code for code in PYTHON if code.startswith(f"# {name}")]
    return name, snippet


def test_there_is_something_to_test():
    assert len(PYTHON) >= 3 and {name for name, _ in COMMANDS} == set(FEWER)


@pytest.mark.parametrize("code", [code for code in PYTHON if not code.startswith(OWN) and not folders(code) & SHARED])
def test_snippets_run(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})


def test_own_family_is_short():
    lines = [line for line in own_file()[1].splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) < 30


MADE = {
    "maml-0": ["comparison/comparison.html", "comparison/comparison.png", "dashboard/comparison.html"],
    "sinusoid": ["sinusoid/adaptation.png"],
    "maml-in-jax": ["maml-in-jax/batching.png"],
    "explain": ["explain/two_tasks.png", "explain/loss_surface.png", "explain/fits.png"],
}


def test_every_command_knows_its_flags(monkeypatch, tmp_path, capsys):
    """One flag more is the only one that there is not."""
    monkeypatch.chdir(tmp_path)
    for name, flags in COMMANDS:
        if any(word in flags for word in ("--start-from", *OWN_WORDS)):
            continue  # which look at the run, or import the file, before flags are read
        with pytest.raises(SystemExit):
            main_of(name)([*shlex.split(flags.split("#")[0]), "--no-such-flag"])
        assert "error: there is no flag --no-such-flag;" in capsys.readouterr().err, (name, flags)
    assert not list(tmp_path.iterdir())


# The other sessions run in this way, as small, in tests of their own rooms.
@pytest.mark.parametrize("session", few(SESSIONS, "maml-0", "studies.playground"))
def test_commands_run_in_the_order_given(session, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, flags in SESSIONS[session]:
        flags = flags.replace("--all", "--agents random")  # every agent is for those who have the time
        main_of(name)(shlex.split(flags.split("#")[0] + " " + FEWER[name]))
    for code in PYTHON:
        if folders(code) & SHARED & folders(str(SESSIONS[session])):
            exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    assert all((tmp_path / "runs" / path).is_file() for path in MADE.get(session, []))
    if session == "explain":
        assert len(list((tmp_path / "runs/explain").iterdir())) == 3


def test_every_program_reads_runs_of_one_session():
    made = [folders(str(lines)) for lines in SESSIONS.values()]
    assert all(any(folders(code) & SHARED <= names for names in made) for code in PYTHON)


def python_m(folder, name, flags):
    command = [sys.executable, "-m", f"experiments.{name}", *shlex.split(flags)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def test_own_family_trains_from_the_user_s_folder(tmp_path):
    """As a user would: own file, own folder outside the repository, a fresh process."""
    name, snippet = own_file()
    (tmp_path / name).write_text(snippet)
    [flags] = [flags for command, flags in COMMANDS if command == "train" and "hover:" in flags]
    done = python_m(tmp_path, "train", f"{flags} {FEWER['train']}")
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "runs/hover/metrics.jsonl").read_text().splitlines()) == 2
    assert (tmp_path / "runs/hover/adaptation.png").is_file()


AGAIN = """
from experiments import compare, evaluate, train
from experiments.evaluation import load
train.main("--run-dir runs/momentum --resume --num-iterations 3".split())
evaluate.main("--run-dir runs/momentum --num-tasks 3".split())
train.main("--agent my_agent:mine/momentum --momentum 0.9 --seed 1 --num-iterations 3 --run-dir runs/other FEWER".split())
evaluate.main("--run-dir runs/other --num-tasks 3".split())
compare.main("runs/momentum runs/other --out runs/both".split())
agent = load("runs/momentum")
assert agent.config.own.momentum == 0.9 and agent.iteration == 3
print(agent.adapt(agent.family.default_params).score)
from agents.check import check_agent
check_agent("my_agent:mine/momentum", "regression")
"""


def test_own_agent_does_all_that_ours_do(tmp_path):
    """As a user would: own file, own folder, fresh processes."""
    name, snippet = own_file("my_agent.py")
    assert len(snippet.splitlines()) < 40
    (tmp_path / name).write_text(snippet)
    [flags] = [flags for command, flags in COMMANDS if command == "train" and "my_agent:" in flags]
    done = python_m(tmp_path, "train", f"{flags} {FEWER['train']}")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "runs/momentum/config.json").read_text())["settings"]["agent"] == "my_agent:mine/momentum"
    again = AGAIN.replace("FEWER", FEWER["train"].replace("--num-iterations 2", ""))
    done = subprocess.run([sys.executable, "-c", again], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "my_agent:mine/momentum" in (tmp_path / "runs/both/table.md").read_text()


def test_the_python_program_is_short():
    [program] = [code for code in PYTHON if "meta_train" in code]
    assert len([line for line in program.splitlines() if line.strip()]) < 25


def test_own_gymnasium_environment_trains(tmp_path, monkeypatch):
    name, snippet = own_file("swing.py")
    (tmp_path / name).write_text(snippet)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    [flags] = [flags for command, flags in COMMANDS if command == "train" and "swing:" in flags]
    train.main(shlex.split(f"{flags} {FEWER['train']}"))
    assert (tmp_path / "runs/swing/evaluation.json").is_file()


def test_a_folder_with_packages_of_our_names_hides_none(tmp_path):
    """Ours are used, and a module of the user's that wants one of theirs says in one line what to do."""
    for path in ("envs/__init__.py", "envs/mine.py", "agents.py", "metarl/__init__.py"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("")
    (tmp_path / "families.py").write_text("from envs.mine import Mine\n")
    done = python_m(tmp_path, "train", "--run-dir run --env families:mine/Env-v0")
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert "No module named 'envs.mine'" in done.stderr and f"{tmp_path / 'envs'} is not seen" in done.stderr
    assert "Rename yours, or install metarl" in done.stderr
