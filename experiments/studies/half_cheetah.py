"""``python -m experiments.studies.half_cheetah``: Finn et al. 2017's half-cheetah; its direction or velocity is the task."""

from collections.abc import Sequence

from experiments.cli.command_line import command_line
from experiments.cli.errors import one_line_errors
from experiments.cli.flags import parse
from experiments.studies.locomotion import Experiment, LocomotionConfig, run

EXPERIMENTS = {
    # Table 5, "MAML" on half-cheetah forward/backward; velocities are printed as curves only.
    "dir": Experiment("metarl/HalfCheetahDir-v0", {}, (-50.69, 293.19, 313.48, 315.65), "MAML, Finn et al. 2017"),
    "vel": Experiment("metarl/HalfCheetahVel-v0"),
}


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    run(parse(LocomotionConfig, args, command_line("studies.half_cheetah")), "half-cheetah", EXPERIMENTS)


if __name__ == "__main__":
    main()
