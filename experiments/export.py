"""``python -m experiments.export --run-dir DIR --out policy.npz``: a trained policy as a file that needs none of this code."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError, one_line_errors
from experiments.cli.flags import MAX_SEED, at_least, between, parse, with_paths
from experiments.evaluation import shipped
from experiments.evaluation.export import export, task_of


@dataclass(frozen=True)
class ExportConfig:
    """Write the policy of a trained agent to a file: NumPy arrays, or a StableHLO program. docs/export.md reads them."""

    out: Path
    """The file, such as policy.npz."""
    run_dir: Path | None = None
    """A run made by experiments.train."""
    pretrained: str | None = None
    """A trained agent that comes with metarl, such as HalfCheetahDir/promp, in the place of a run."""
    format: Literal["npz", "stablehlo"] = "npz"
    """npz holds MLP policies without memory; stablehlo, a program of jax.export, any."""
    task: str | None = None
    """Adapt to this task first: JSON by the names of its arrays, such as '{"position": [0.3, -0.2]}'."""
    num_steps: int | None = None
    """Inner steps on it (episodes, for agents with memory); 1 if not given."""
    seed: int = 0
    """Of the episodes that it adapts to."""
    trust: tuple[str, ...] = ()
    """Modules of others that the run may have imported; see evaluate --help."""

    def __post_init__(self) -> None:
        """Take a file's name as text."""
        with_paths(self, "out", "run_dir")


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    config = parse(ExportConfig, args, command_line("export"))
    at_least(config, num_steps=0)
    between(config, seed=(0, MAX_SEED))
    if config.num_steps is not None and config.task is None:
        raise UserError(f"--num-steps is {config.num_steps}, but there is no --task to adapt to; leave it out.")
    if config.out.is_dir():
        raise UserError(f"--out is {config.out}, a folder; give a file.")
    agent = shipped.either(config.run_dir, config.pretrained, config.trust)
    after = None
    if config.task is not None:
        num_steps = 1 if config.num_steps is None else config.num_steps
        after = agent.adapt(task_of(agent.family, config.task), num_steps=num_steps, seed=config.seed)
    export(agent, config.out, after=after, format=config.format)
    print(f"written: {config.out}")


if __name__ == "__main__":
    main()
