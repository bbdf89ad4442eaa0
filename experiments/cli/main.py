"""The command ``metarl``: what is a module to ``python -m`` is a word to it, as in ``metarl train --run-dir runs/a``."""

import difflib
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

import experiments
import metarl
from experiments.cli.command_line import by_console, module_of

COMMANDS = {
    "train": "meta-train an agent on a task family, then evaluate it on held-out tasks",
    "evaluate": "the adaptation curve of a trained run on held-out tasks",
    "compare": "agents and seeds in a table, a picture and a page",
    "export": "a trained policy as a file that needs none of this code: NumPy arrays or StableHLO",
    "film": "a film of a trained run, before adaptation and after it",
    "dashboard": "the project's saved view in wandb, or without an account the HTML page",
    "sinusoid": "supervised meta-learning of sinusoids, under published protocols",
    "few-shot": "few-shot regression or N-way classification on data of your own",
    "step-function": "MAML on piecewise-constant data",
    "check": "whether a task family is what the agents rely on, one line per check",
    "studies.navigation": "2D navigation as in Finn et al. 2017, every agent, and published returns",
    "studies.locomotion": "legged robots as in ProMP and Finn et al. 2017, every agent",
    "studies.bandits": "the Bernoulli bandits of Duan et al. 2016, beside planners and printed totals",
    "studies.families": "one row per task family, trained where it is missing",
    "studies.sinusoid": "agents x protocols x seeds on sinusoids, beside the published numbers",
    "studies.digits": "N-way classification of scikit-learn's digits, agent beside agent",
    "studies.surrogates": "how far the derivatives of each surrogate are from the truth, by enumeration",
    "studies.approximations": "how much of e-maml's credit is signal, and how far imaml's gradient is from exact",
    "studies.gridworld": "memory agents on the gridworld of VariBAD beside exact planners",
    "studies.darkroom": "agents in dark rooms, with a goal or a key and a door, beside planners",
    "studies.explain": "three pictures of what meta-learning optimises",
    "studies.playground": "an interactive introduction: one page to play with, without a server",
    "studies.shipped": "table and pictures of the trained agents that come with metarl",
    "studies.mjx-learning": "the same small training on MJX and on native MuJoCo",
    "studies.mjx-iterations": "solver iterations that MJX needs, against native MuJoCo",
    "benchmark": "speed, compile time, memory and cost of meta-iterations, and the device's ceilings",
    "benchmark.gpu": "what a few minutes of an accelerator can tell of this code",
    "benchmark.robot": "where a meta-iteration on a legged robot spends its time, on a CPU",
    "benchmark.sweeps": "settings trained together in one program against one after another",
    "benchmark.scaling": "what a meta-iteration communicates, and how far it can be spread",
    "benchmark.pytorch": "our meta-iterations against PyTorch's, timed in turn",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    command, *rest = (sys.argv[1:] if arguments is None else list(arguments)) or ["--help"]
    if command in ("--help", "-h"):
        print(usage())
        return 0
    if command == "--version":
        print(f"metarl {metarl.__version__}")
        return 0
    name = command.replace("_", "-")
    if name not in COMMANDS:
        return _refuse(f"metarl has no command {command!r}. {_closest(name)}")
    if experiments.refused:
        return _refuse(experiments.refused)
    by_console()
    # As under python -m: modules named in flags are looked for in the current folder. Ours are found whatever lies there.
    sys.path.insert(0, str(Path.cwd()))
    experiments.before_the_current_folder()
    return _main_of(name)(rest) or 0


def _main_of(name: str):
    module = importlib.import_module(module_of(name))
    return (module if hasattr(module, "main") else importlib.import_module(f"{module.__name__}.__main__")).main


def _refuse(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


def _closest(name: str) -> str:
    words = {word: full for full in COMMANDS for word in (full, full.rpartition(".")[2])}  # navigation: studies.navigation
    close = dict.fromkeys(words[word] for word in difflib.get_close_matches(name, words, n=3, cutoff=0.6))
    return f"Did you mean {' or '.join(close)}?" if close else "metarl --help lists them."


def usage() -> str:
    """The commands, one line each."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {what}" for name, what in COMMANDS.items()]
    return "\n".join(["usage: metarl COMMAND [FLAGS]    (metarl COMMAND --help lists the flags)", "", *lines])
