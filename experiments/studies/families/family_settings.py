"""How `experiments.studies.families` trains on each family, and what is published for it.

How agents are trained is in `envs.families.training`, with its sources; here is which agent, for how long, and how it is
evaluated: what fits into minutes of one CPU core, robots far from the length of published runs.
"""

from typing import Any

from experiments.studies import navigation
from experiments.studies.bandits import settings as bandits

Settings = dict[str, Any]

# What every family's evaluation has, unless its own entry says otherwise.
EVALUATION: Settings = {"eval_tasks": 40, "eval_steps": 3}  # 40 tasks: P, Finn et al. 2017
BANDIT: Settings = bandits.PROTOCOL | bandits.SETTINGS[1] | {"trial_episodes": 10, "eval_steps": 9, "eval_tasks": 1000}
TRIALS: Settings = {"agent": "rl2", "eval_tasks": 100}
# Of robots one agent, short; `experiments.studies.locomotion` has them all at length.
ROBOT: Settings = {"agent": "promp", "horizon": 100, "num_iterations": 100}

# What the families' own training_settings do not say; they come first.
SETTINGS: dict[str, Settings] = {
    "metarl/Navigation2D-v0": navigation.PROTOCOL | {"agent": "maml"},
    "metarl/Navigation2DSparse-v0": TRIALS,
    "metarl/NavigationCorner-v0": {"agent": "promp"},
    "metarl/BernoulliBandit-v0": BANDIT,
    "metarl/GaussianBandit-v0": BANDIT,
    "metarl/TabularMDP-v0": TRIALS | {"eval_tasks": 1000, "eval_episodes": 1, "eval_steps": 9},
    "metarl/GridNavigation-v0": TRIALS | {"eval_episodes": 20},
    "metarl/DarkRoom-v0": TRIALS | {"eval_episodes": 20},
    "metarl/DarkKeyDoor-v0": TRIALS | {"eval_episodes": 20},
    "metarl/PendulumDynamics-v0": {"agent": "promp", "num_iterations": 150},
    "metarl/CartPoleDynamics-v0": {"agent": "promp", "num_iterations": 30},
    "metarl/AcrobotDynamics-v0": {"agent": "promp", "num_episodes": 10, "num_iterations": 25},
    "metarl/MountainCarDynamics-v0": {"agent": "promp", "num_iterations": 40},
    "metarl/HalfCheetahVel-v0": ROBOT,
    "metarl/HalfCheetahDir-v0": ROBOT,
    "metarl/AntVel-v0": ROBOT,
    "metarl/AntDir-v0": ROBOT,
    "metarl/AntGoal-v0": ROBOT,
    "metarl/HopperRandParams-v0": ROBOT,
    "metarl/WalkerRandParams-v0": ROBOT,
    "metarl/HumanoidDir-v0": ROBOT | {"num_iterations": 40},
}

# Printed numbers only; other papers show curves.
PUBLISHED: dict[str, str] = {
    "metarl/Navigation2D-v0": "-40.41, -11.68, -3.33, -3.23 after 0..3 steps (MAML, Finn et al. 2017, Table 4)",
    "metarl/BernoulliBandit-v0": "6.7 in all of 10 pulls, 5 arms (RL2, Duan et al. 2016, Table 1)",
    "metarl/HalfCheetahDir-v0": "of rllab's robot in 200 steps of 0.01 s, another task: -50.69, 293.19, 313.48, 315.65 after "
    "0..3 steps, 1.47 m/s after one (MAML, Finn et al. 2017, Table 5)",
    "metarl/TabularMDP-v0": "156.2 in all of 10 episodes (RL2, Duan et al. 2016, Table 2)",
}
