"""``python -m experiments.studies.families --out DIR``: one row per task family, trained where it is missing."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import envs
from experiments import train
from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError, one_line_errors
from experiments.cli.flags import at_least, parse
from experiments.reporting.tables import markdown, show
from experiments.runs.folder import CONFIG, write_json
from experiments.studies.families import table
from experiments.studies.families.family_settings import EVALUATION, SETTINGS
from experiments.training.config import train_config
from experiments.training.suggested import suggested


@dataclasses.dataclass(frozen=True)
class FamiliesConfig:
    """Train one agent on each task family, evaluate it on held-out tasks, and write one table: families.md, families.json.

    Finished runs are kept: the same command goes on where it was stopped.
    """

    out: Path
    """Each family's run is written to out/NAME, such as out/Navigation2D; the table to out."""
    only: tuple[str, ...] = ()
    """Train these families only, by id or by name, such as Navigation2D; the table shows all."""
    runs: tuple[Path, ...] = ()
    """Runs of experiments.train made elsewhere, or folders with the seeds of one: rows whose families are not trained here."""
    train: bool = True
    """--no-train writes the table of what is there."""
    num_iterations: int | None = None
    """Meta-iterations for every family instead of its own number, for a quick try."""
    eval_tasks: int | None = None
    """Held-out tasks instead of each family's own number."""


def families(config: FamiliesConfig) -> None:
    """Train what is missing, then write the table."""
    at_least(config, num_iterations=0, eval_tasks=1)
    given = [row for folder in config.runs for row in table.rows_of(folder)]
    wanted = [known(name) for name in config.only] or list(SETTINGS)
    elsewhere = {row["family"] for row in given}
    for id in wanted if config.train else ():
        if id in envs.FAMILIES and id not in elsewhere:
            print(f"\n{id}", flush=True)
            train.train(run_of(config, id))
    folders = [config.out / short(id) for id in envs.FAMILIES]
    made = [row for folder in folders if (folder / "evaluation.json").is_file() for row in table.rows_of(folder)]
    rows = table.sort(made + given, list(envs.FAMILIES))
    config.out.mkdir(parents=True, exist_ok=True)
    write_json(config.out / "families.json", {"rows": rows})
    (config.out / "families.md").write_text(markdown(table.wide(rows)))
    show(table.narrow(rows))


def known(name: str) -> str:
    """The id of a family that is registered and has settings, given its id or its short name.

    Raises:
        UserError: there is none.
    """
    for id in SETTINGS:
        if name in (id, short(id)) and id in envs.FAMILIES:
            return id
    there = ", ".join(short(id) for id in envs.FAMILIES if id in SETTINGS)
    raise UserError(f"--only has {name!r}; known: {there}.")


def short(id: str) -> str:
    """The name of a family's folder: its id without namespace and version."""
    return id.rpartition("/")[2].rpartition("-v")[0]


def run_of(config: FamiliesConfig, id: str) -> Any:
    """What trains a family, going on with its folder if there is one."""
    folder = config.out / short(id)
    settings = suggested(id, SETTINGS[id]["agent"]) | EVALUATION | SETTINGS[id]
    for name in ("num_iterations", "eval_tasks"):
        if getattr(config, name) is not None:
            settings[name] = getattr(config, name)
    return train_config(run_dir=folder, env=id, resume=(folder / CONFIG).is_file(), **settings)


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    families(parse(FamiliesConfig, args, command_line("studies.families")))


if __name__ == "__main__":
    main()
