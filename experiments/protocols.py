"""Settings of the published sinusoid experiments. Marks: P read in the paper, C in its released code, M from memory."""

from typing import Any, Literal, NamedTuple

ProtocolName = Literal["maml", "meta-sgd", "cavia", "jang"]


class Protocol(NamedTuple):
    """What a published experiment fixes; flags of `experiments.sinusoid` override it.

    Attributes:
        num_iterations: meta-iterations.
        num_tasks: M, tasks per meta-iteration.
        train_shots: support points in training.
        inner_lr: step size of adaptation.
        outer_lr: of Adam.
        outer_schedule: how outer_lr goes on.
        amplitude: range of amplitudes.
        grid: test queries are 100 evenly spaced points; otherwise as many random ones as test shots.
    """

    num_iterations: int
    num_tasks: int
    train_shots: int
    inner_lr: float
    outer_lr: float = 1e-3
    outer_schedule: str = "constant"
    amplitude: tuple[float, float] = (0.1, 5.0)
    grid: bool = False


PROTOCOLS: dict[str, Protocol] = {
    # Finn et al. 2017. Iterations, tasks and Adam's rate C; shots and inner rate P. The rate is constant in C; annealed here,
    # which left fewer tasks diverging within ten inner steps for the two seeds compared on training tasks, though not for all.
    "maml": Protocol(70_000, 25, 10, 0.01, outer_schedule="cosine"),
    # Li et al. 2017, all M; one inner step at train and test. Shots 5, 10 or 20.
    "meta-sgd": Protocol(60_000, 4, 5, 0.02, grid=True),
    # Zintgraf et al. 2019, C: lmzintgraf/cavia, its MAML arm (README) and its test grid.
    "cavia": Protocol(50_000, 25, 10, 0.1, grid=True),
    # ericjang/maml-jax, C: amplitudes are ten times smaller than everywhere else. Four tasks per update; one in its first part.
    "jang": Protocol(20_000, 4, 20, 0.1, amplitude=(0.1, 0.5)),
}

# Where an agent cannot sensibly use a protocol's inner loop. CAVIA's rate is C; the others were chosen on training tasks.
AGENT_SETTINGS: dict[str, dict[str, Any]] = {
    "cavia": {"inner_lr": 1.0},
    "reptile": {"num_inner_steps": 10},
    "imaml": {"num_inner_steps": 10},
    "maml++": {"num_inner_steps": 5},
}


def settings_of(protocol: str, agent: str) -> dict[str, Any]:
    """Every setting a protocol gives to an agent, under the names of the flags."""
    return {"num_inner_steps": 1} | PROTOCOLS[protocol]._asdict() | AGENT_SETTINGS.get(agent, {})
