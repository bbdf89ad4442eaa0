"""``python -m experiments.evaluate --run-dir DIR``: the held-out adaptation curve of a trained run."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError, one_line_errors
from experiments.cli.flags import flag, given_flags, parse
from experiments.evaluation import shipped
from experiments.evaluation.held_out import EvaluateConfig, changes_of, evaluate_into
from experiments.runs.folder import CONFIG, load_json, lock, read_config
from experiments.runs.strangers import admit
from experiments.runs.sweep_folder import runs_in
from experiments.training.experiment import config_of, experiment_of


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    words = sys.argv[1:] if args is None else args
    config = parse(EvaluateConfig, words, command_line("evaluate"))
    if config.pretrained is not None:
        return evaluate_pretrained(config)
    if config.run_dir is None:
        raise UserError("give a run in --run-dir, or an agent that comes with metarl in --pretrained.")
    runs = runs_in(config.run_dir)
    for run_dir in runs:
        if runs != [config.run_dir]:
            print(f"{run_dir}:")
        evaluate_run(dataclasses.replace(config, run_dir=run_dir), list(given_flags(words)))


def evaluate_pretrained(config: EvaluateConfig) -> None:
    """Evaluate an agent that comes with this repository; its returns when it was shipped stand in its evaluation.json."""
    name = str(config.pretrained)
    settings = load_json(shipped.folder_of(name) / CONFIG)["settings"]
    if config.env not in (None, settings["env"]):
        raise UserError(f"--env is {config.env}, but {name} was trained on {settings['env']}; leave --env out.")
    agent = shipped.pretrained(name, **changes_of(config, settings))
    folder = config.run_dir or Path("runs", "pretrained", name)
    if (folder / CONFIG).is_file():
        raise UserError(f"{folder} is a run; give another folder in --run-dir.")
    folder.mkdir(parents=True, exist_ok=True)
    evaluate_into(folder, agent, config, settings)
    print(f"written to {folder}: evaluation.json and pictures")


def evaluate_run(config: EvaluateConfig, given: Sequence[str]) -> None:
    """Evaluate one run, of whichever experiment, under its lock; ``given`` names the flags that the user gave."""
    assert config.run_dir is not None
    run_config = read_config(config.run_dir)
    admit(config.run_dir, run_config, (*config.trust, (config.env or "").rpartition(":")[0]))
    experiment = experiment_of(run_config)
    flags = {name: getattr(config, name) for name in given if name not in ("run_dir", "env", "trust")}
    for name in flags:
        if name not in experiment.flags:
            raise UserError(
                f"{flag(name)} is given, but runs of {command_line(experiment.name)} are evaluated as their own settings say; "
                "leave it out."
            )
    env = run_config["settings"].get("env", experiment.name.replace("_", "-"))
    if config.env not in (None, env):
        raise UserError(f"--env is {config.env}, but {config.run_dir} was trained on {env}; leave --env out.")
    with lock(config.run_dir):
        experiment.evaluate(config_of(experiment, run_config, config.run_dir), run_config, flags)


if __name__ == "__main__":
    main()
