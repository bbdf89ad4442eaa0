"""How `experiments.studies.locomotion` trains, and what is published for it.

Marks: P read in a paper, C in released code (ProMP: jonasrothfuss/ProMP, run_scripts/pro-mp_run_mujoco.py), T chosen here by
what agents reached on tasks of the training distribution, S short: fewer tasks or iterations than published.
"""

from typing import Any, NamedTuple

from experiments.training.suggested import suggested

Settings = dict[str, Any]

# The chain from network to physics is ProMP's: actions scaled by 10 (the families' own training_settings), a standard
# deviation of 1, 2 x 64 tanh, discount 0.99, lambda 1, a linear baseline, horizon 100; C. These are train's defaults, too.
PROTOCOL: Settings = {
    "num_tasks": 20,  # S: 40 there; promp on the half-cheetahs has them
    "num_episodes": 20,
    "horizon": 100,
    "gamma": 0.99,
    "gae_lambda": 1.0,
    "hidden_sizes": (64, 64),
    "activation": "tanh",
    "initial_std": 1.0,
    "eval_tasks": 40,  # P, C: Finn et al. 2017
    "eval_steps": 3,  # P: the same
    "checkpoint_every": 10,
}
INNER: Settings = {"num_inner_steps": 1, "inner_lr": 0.1}  # C, P: Finn et al. 2017 too
ADAM: Settings = {"outer_lr": 3e-3, "num_iterations": 200}  # T: promp makes five steps of 1e-3 on the same experience
# Trials are dear in memory, not in steps: many tasks, two trials of two episodes each; C has 100 tasks.
TRIALS: Settings = {"num_tasks": 80, "num_episodes": 1, "gae_lambda": 0.95, "outer_lr": 1e-3, "num_iterations": 300}

AGENTS: dict[str, Settings] = {
    "promp": INNER | {"num_tasks": 40, "outer_lr": 1e-3, "num_iterations": 200},  # S: 1001 iterations there
    # P, C: Finn et al. 2017 have 40 tasks, up to 500 iterations and a KL of 0.01. T: with that KL it stood at a return of 144
    # from iteration 120 on, since a small move of the start is a large one of what is adapted from it; with 0.05 it was there
    # after 31.
    "maml-trpo": INNER | {"max_kl": 0.05, "num_iterations": 150},
    "maml": INNER | ADAM,
    "e-maml": INNER | ADAM,
    "fomaml": INNER | ADAM,
    "anil": INNER | ADAM,
    "cavia": INNER | ADAM | {"inner_lr": 1.0},  # C: lmzintgraf/cavia
    "meta-sgd": INNER | ADAM,
    "maml++": INNER | ADAM,
    "reptile": INNER | ADAM | {"num_inner_steps": 3},
    "imaml": INNER | ADAM | {"num_inner_steps": 5},
    "rl2": TRIALS | {"trial_episodes": 2, "eval_episodes": 5},
    "oracle": TRIALS | {"num_episodes": 2},
    "pretrained": {"inner_lr": 0.1} | ADAM | {"num_tasks": 40},  # as many episodes as maml draws
    "random": INNER | {"num_iterations": 1},  # nothing is trained
}
MAIN = ("promp", "maml-trpo", "pretrained", "random")  # where one agent costs an hour


class Published(NamedTuple):
    """Returns printed elsewhere after 0..3 inner steps of episodes of ``horizon`` steps, and what they are of."""

    returns: tuple[float, ...]
    horizon: int
    source: str
    caveat: str


class Experiment(NamedTuple):
    """One experiment: a family, what differs from `PROTOCOL` and `AGENTS`, for all agents and for some, what is published."""

    env: str
    changes: Settings = {}  # noqa: RUF012 - never changed
    of_agents: dict[str, Settings] = {}  # noqa: RUF012
    published: Published | None = None


# rllab's half-cheetah: time step 0.01 s, frame skip 1.
TABLE_5 = Published(
    (-50.69, 293.19, 313.48, 315.65),
    200,
    "MAML, Finn et al. 2017, Table 5",
    "another task, rllab's robot with 200 steps of 0.01 s, 2 s in all (Gymnasium's steps last 0.05 s)",
)
# T: with 20 tasks and one seed, returns after one step over iterations 81 to 100 were -33.1 with a discount of 0.95 and -34.5
# with 0.99; at the end of longer runs the two were alike. 40 tasks were no better than 20, 2 x 100 ReLU worse (-40.7).
AT_ONCE: Settings = {"gamma": 0.95}
FALLING: Settings = {"num_tasks": 20, "outer_schedule": "linear", "num_iterations": 300}
HEAVY: Settings = {"num_tasks": 20, "num_iterations": 150}  # S: four or more evaluations of the physics where a cheetah has one

# robot -> task -> experiment.
ROBOTS: dict[str, dict[str, Experiment]] = {
    "half-cheetah": {
        "dir": Experiment("metarl/HalfCheetahDir-v0", published=TABLE_5),
        "vel": Experiment("metarl/HalfCheetahVel-v0", AT_ONCE, {"promp": FALLING}),
    },
    "ant": {
        "dir": Experiment("metarl/AntDir-v0", HEAVY),
        "vel": Experiment("metarl/AntVel-v0", HEAVY),
        "goal": Experiment("metarl/AntGoal-v0", HEAVY),
    },
    "hopper": {"params": Experiment("metarl/HopperRandParams-v0", HEAVY)},
    "walker": {"params": Experiment("metarl/WalkerRandParams-v0", HEAVY)},
    "humanoid": {"dir": Experiment("metarl/HumanoidDir-v0", HEAVY)},
}


def settings_of(experiment: Experiment, agent: str) -> Settings:
    """What trains an agent on an experiment, but for seed and folder."""
    changes = experiment.changes if AGENTS[agent].get("num_iterations", 0) > 1 else {}
    if agent in ("rl2", "oracle"):  # whose many tasks are few episodes
        changes = {name: value for name, value in changes.items() if name != "num_tasks"}
    of_agent = experiment.of_agents.get(agent, {})
    return suggested(experiment.env, agent) | PROTOCOL | AGENTS[agent] | changes | of_agent
