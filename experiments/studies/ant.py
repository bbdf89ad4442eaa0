"""``python -m experiments.studies.ant``: the ant of Finn et al. 2017, its direction, its velocity or a place as the task."""

from collections.abc import Sequence

from experiments.cli.command_line import command_line
from experiments.cli.errors import one_line_errors
from experiments.cli.flags import parse
from experiments.studies.locomotion import Experiment, LocomotionConfig, run

# No returns are printed for the ant: its figures show curves.
EXPERIMENTS = {
    "dir": Experiment("metarl/AntDir-v0", {"num_episodes": 40}),  # P: 40 episodes for forward/backward
    "vel": Experiment("metarl/AntVel-v0"),
    "goal": Experiment("metarl/AntGoal-v0"),
}


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    run(parse(LocomotionConfig, args, command_line("studies.ant")), "ant", EXPERIMENTS)


if __name__ == "__main__":
    main()
