"""Settings of the published sinusoid experiments. Marks: P read in the paper, C in its released code, M from memory."""

import math
from typing import Any, Literal, NamedTuple

from agents.agent import hyperparameters
from experiments.training.settings import declared

RUN_SETTINGS = ("num_iterations", "num_tasks", "train_shots", "query_shots", "outer_lr", "outer_schedule")
ProtocolName = Literal["maml", "meta-sgd", "cavia", "jang"]


class Protocol(NamedTuple):
    """What a published experiment fixes; flags of `experiments.sinusoid` override it.

    Attributes:
        num_iterations: meta-iterations.
        num_tasks: M, tasks per meta-iteration.
        train_shots: support points in training.
        query_shots: query points in training; as many as support points if None.
        inner_lr: step size of adaptation.
        outer_lr: of Adam.
        outer_schedule: how outer_lr goes on.
        amplitude: range of amplitudes.
        phase: range of phases; the task is amplitude * sin(x - phase).
        grid: test queries are 100 evenly spaced points; otherwise as many random ones as test shots.
        select: if any, the checkpoint with the least mean error over these (test shots, inner steps), on tasks of the training
            distribution, is the one that is evaluated; otherwise the last.
    """

    num_iterations: int
    num_tasks: int
    train_shots: int
    inner_lr: float
    outer_lr: float = 1e-3
    outer_schedule: str = "constant"
    query_shots: int | None = None
    amplitude: tuple[float, float] = (0.1, 5.0)
    phase: tuple[float, float] = (0.0, math.pi)
    grid: bool = False
    select: tuple[tuple[int, int], ...] = ()


PROTOCOLS: dict[str, Protocol] = {
    # Finn et al. 2017. Iterations, tasks and Adam's rate C; shots and inner rate P. Selection is ours: with some parameters a
    # few tasks in thousands, five points crowded at one end, run away within ten steps of a network trained for one.
    "maml": Protocol(70_000, 25, 10, 0.01, select=((5, 1), (5, 5), (5, 10))),
    # Li et al. 2017, all M; one inner step at train and test. Shots 5, 10 or 20.
    "meta-sgd": Protocol(60_000, 4, 5, 0.02, grid=True),
    # Zintgraf et al. 2019, C: lmzintgraf/cavia, its MAML arm (README) and its test grid. The rate is constant in C, with the
    # best of ten checkpoints used; annealed here, which did as well on training tasks for every seed.
    "cavia": Protocol(50_000, 25, 10, 0.1, outer_schedule="cosine", grid=True),
    # ericjang/maml-jax, C: amplitudes are ten times smaller than everywhere else and the phase is added. Four tasks per update;
    # its first part has one, with one query point.
    "jang": Protocol(20_000, 4, 20, 0.1, amplitude=(0.1, 0.5), phase=(-math.pi, 0.0)),
}

# Where an agent cannot sensibly use a protocol's inner loop. CAVIA's rate is C; the others were chosen on training tasks of
# the protocol maml and serve under every protocol.
AGENT_SETTINGS: dict[str, dict[str, Any]] = {
    "cavia": {"inner_lr": 1.0},
    "reptile": {"num_inner_steps": 10, "inner_lr": 0.005, "outer_schedule": "cosine"},
    # Neither follows the exact gradient, so neither feels inner steps overshoot: larger rates end in non-finite parameters.
    # An iteration of imaml costs as much as ten of maml, so it gets fewer. Its damping is large because the inner loss is not
    # convex: in flat directions the derivative is that of theory times proximal / (proximal + damping).
    "imaml": {
        "num_iterations": 20_000,
        "num_inner_steps": 20,
        "inner_lr": 0.003,
        "proximal": 0.5,
        "cg_damping": 20.0,
        "outer_lr": 3e-4,
        "outer_schedule": "cosine",
    },
    "maml++": {"num_inner_steps": 5, "inner_lr": 0.01},  # where its learned rates start
    "pretrained": {"inner_lr": 0.005},
    "multitask": {"inner_lr": 0.001},
}


def settings_of(protocol: str, agent: str) -> dict[str, Any]:
    """Every setting a protocol gives to an agent, under the names of the flags; those that the agent has."""
    values = PROTOCOLS[protocol]._asdict() | {"cg_damping": 0.0} | AGENT_SETTINGS.get(agent, {})
    known = hyperparameters(declared(agent, "regression"), "regression")
    return {name: value for name, value in values.items() if name in RUN_SETTINGS or name in known}
