"""``python -m experiments.film --run-dir DIR``: a film of a trained run, before adaptation and after it side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import envs
from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError, one_line_errors
from experiments.cli.flags import MAX_SEED, at_least, between, parse, with_paths
from experiments.evaluation import shipped
from experiments.evaluation.export import task_of
from experiments.evaluation.film import KEY_OF_FILMS, TASKS_SHOWN, How, distinct, row, write_all

SEARCHED = 100  # held-out tasks among which different ones are looked for


@dataclass(frozen=True)
class FilmConfig:
    """Draw episodes of a trained agent as a GIF: a row for each task, before adaptation and after it side by side.

    Both episodes of a row have the same start, also where chance decides it.
    """

    run_dir: Path | None = None
    """A run made by experiments.train."""
    pretrained: str | None = None
    """A trained agent that comes with metarl, such as HalfCheetahDir/promp, in the place of a run."""
    out: Path | None = None
    """The file; film.gif in the run's folder (in runs/pretrained/NAME) if not given."""
    num_tasks: int = TASKS_SHOWN
    """Different held-out tasks shown, as many as there are."""
    task: str | None = None
    """Show this task instead: JSON by the names of its arrays, such as '{"position": [0.3, -0.2]}'."""
    num_steps: int = 1
    """Inner steps between the two episodes (episodes, for agents with memory)."""
    seed: int = KEY_OF_FILMS
    """Of start and chance."""
    sampled: bool = False
    """Sample actions instead of taking the policy's modes; rl2, say, learns to act by samples."""
    trust: tuple[str, ...] = ()
    """Modules of others that the run may have imported; see evaluate --help."""

    def __post_init__(self) -> None:
        """Take a file's name as text."""
        with_paths(self, "run_dir", "out")


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    config = parse(FilmConfig, args, command_line("film"))
    at_least(config, num_tasks=1, num_steps=0)
    between(config, seed=(0, MAX_SEED))
    agent = shipped.either(config.run_dir, config.pretrained, config.trust)
    if not envs.family.can_render(agent.family):
        raise UserError(f"{type(agent.family).__name__} has no render_image, so there is nothing to film.")
    tasks: list[Any]
    if config.task is not None:
        tasks = [task_of(agent.family, config.task)]
    else:
        held_out = envs.held_out_tasks(agent.family, SEARCHED)
        tasks = [row(held_out, i) for i in distinct(held_out, config.num_tasks)]
    path = config.out or (config.run_dir or Path("runs", "pretrained", str(config.pretrained))) / "film.gif"
    if path.suffix.lower() != ".gif":
        raise UserError(f"--out is {path}, but a film is a GIF; give a name that ends with .gif.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_all(path, agent, tasks, How(config.num_steps, config.seed, config.sampled))
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}.") from error
    print(f"written: {path}")


if __name__ == "__main__":
    main()
