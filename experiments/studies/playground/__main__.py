"""``python -m experiments.studies.playground``: an interactive introduction, one HTML file that opens by itself."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError, one_line_errors
from experiments.cli.flags import MAX_SEED, at_least, between, parse
from experiments.runs.folder import load_json, made_with, write_json
from experiments.studies.playground import landscape
from experiments.studies.playground.learned import Maker, everybody
from experiments.studies.playground.page import PARAMETERS, page, read

PAGE = "playground.html"


@dataclasses.dataclass(frozen=True)
class PlaygroundConfig:
    """Train small agents and write a page in which one plays with them: minutes on two cores. Needs no server to open.

    Finished agents are kept: the same command goes on where it was stopped.
    """

    out: Path
    """Folder for playground.html, parameters.json and, in agents/, each agent as it is finished."""
    train: bool = True
    """Train the agents; --no-train takes the parameters that come with metarl."""
    num_iterations: int | None = None
    """Meta-iterations of every agent at most, for a quick try."""
    surface_points: int = 25
    """Points of the sine network's loss surface along each axis."""
    seed: int = 0
    """Of training."""


def run(config: PlaygroundConfig) -> None:
    """Write the page, and the parameters if they are new."""
    at_least(config, num_iterations=1, surface_points=2)
    between(config, seed=(0, MAX_SEED))
    if config.out.exists() and not config.out.is_dir():
        raise UserError(f"--out {config.out} is a file; give a folder.")
    config.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(trained(config)) if config.train else read(PARAMETERS)
    (config.out / PARAMETERS).write_text(text)
    (config.out / PAGE).write_text(page(json.loads(text)), encoding="utf-8")
    print(f"wrote {PAGE} and {PARAMETERS} to {config.out}")


def trained(config: PlaygroundConfig) -> dict[str, Any]:
    """The numbers of the page: part -> agent -> what it learned, and the landscapes."""
    parameters: dict[str, Any] = {}
    for name, make in everybody().items():
        part, _, agent = name.partition("/")
        parameters.setdefault(part, {})[agent] = kept(config, name, make)
    return whole(parameters, config.surface_points)


def kept(config: PlaygroundConfig, name: str, make: Maker) -> dict[str, Any]:
    """An agent from the file that an earlier call with the same settings has written, or trained now."""
    path = config.out / "agents" / f"{name.replace('/', '-')}.json"
    settings = {"seed": config.seed, "num_iterations": config.num_iterations}
    if path.is_file():
        found = load_json(path)
        if found["settings"] == settings:
            return found["agent"]
    agent = make(config.out, config.seed, config.num_iterations)
    path.parent.mkdir(exist_ok=True)
    write_json(path, {"settings": settings, "agent": agent})
    return agent


def whole(parameters: dict[str, Any], surface_points: int) -> dict[str, Any]:
    """What agents learned, with the landscapes."""
    surface = landscape.surface(parameters["sinusoid"], surface_points)
    return parameters | {"plane": landscape.plane(), "surface": surface, "made_with": made_with()}


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    run(parse(PlaygroundConfig, args, command_line("studies.playground")))


if __name__ == "__main__":
    main()
