"""How `experiments.studies.families` trains on each family, and what is published for it.

Marks: P read in a paper, C in released code, T chosen here by what agents reached on tasks of the training distribution, S
short: what fits into minutes of one CPU core, far from the length of published runs.
"""

from typing import Any

from experiments.studies import navigation
from experiments.studies.bandits import settings as bandits

Settings = dict[str, Any]

# What every family's evaluation has, unless its own entry says otherwise.
EVALUATION: Settings = {"eval_tasks": 40, "eval_steps": 3}  # 40 tasks: P, Finn et al. 2017
# ProMP's, P and C: 5 optimiser steps on the same experience, clipped at 0.3; discount and baseline are train's own defaults.
PROMP: Settings = {"agent": "promp", "num_tasks": 20, "num_episodes": 20, "num_inner_steps": 1, "inner_lr": 0.1}
# What trials of `experiments.studies.bandits` showed: one trial on each of many tasks, entropy, a rate that falls to zero; T.
RL2: Settings = {
    "agent": "rl2",
    "num_tasks": 500,
    "num_episodes": 1,
    "outer_lr": 3e-3,
    "outer_schedule": "linear",
    "hidden_sizes": (64,),
    "num_iterations": 300,
}
BANDIT: Settings = bandits.PROTOCOL | bandits.SETTINGS[1] | {"trial_episodes": 10, "eval_steps": 9, "eval_tasks": 1000}
GRID: Settings = {"trial_episodes": 4, "gamma": 0.97, "gae_lambda": 0.95, "entropy_cost": 0.02, "eval_episodes": 20}
TABULAR: Settings = {"trial_episodes": 10, "gae_lambda": 0.9, "memory_size": 128, "entropy_cost": 0.01, "eval_steps": 9}
CLASSIC: Settings = PROMP | {"outer_lr": 2e-3}  # T, the first value tried
# The outer update of Finn et al. 2017 (C) in larger steps, since there are so few: 10 to 40 iterations instead of 500. S; T:
# on the half-cheetah's direction a standard deviation of 1 and a KL of 0.01 did not get anywhere in 60; on its velocity inner
# steps of 0.5 change the policy by a KL of 12, which is too much.
MUJOCO: Settings = {
    "agent": "maml-trpo",
    "num_tasks": 20,
    "num_episodes": 10,
    "num_inner_steps": 1,
    "horizon": 100,
    "inner_lr": 0.1,
    "initial_std": 0.5,
    "max_kl": 0.05,
    "num_iterations": 40,
}

# A recurrent policy by PPO learns from fewer episodes than meta-gradients do; two episodes per trial: C, ProMP. S; T, the first
# values tried.
RL2_CHEETAH: Settings = {
    "agent": "rl2",
    "num_tasks": 80,
    "num_episodes": 1,
    "trial_episodes": 2,
    "horizon": 200,
    "gae_lambda": 0.95,
    "initial_std": 0.5,
    "outer_lr": 1e-3,
    "num_iterations": 300,
    "eval_episodes": 5,
}

SETTINGS: dict[str, Settings] = {
    "metarl/Navigation2D-v0": navigation.PROTOCOL | navigation.SETTINGS["maml"] | {"agent": "maml"},
    "metarl/Navigation2DSparse-v0": RL2 | {"trial_episodes": 4, "entropy_cost": 0.01, "eval_tasks": 100},
    "metarl/NavigationCorner-v0": PROMP | {"outer_lr": 1e-3, "num_iterations": 100},  # C: ProMP; S
    "metarl/BernoulliBandit-v0": BANDIT,
    "metarl/GaussianBandit-v0": BANDIT,
    "metarl/TabularMDP-v0": RL2 | TABULAR | {"eval_tasks": 1000, "eval_episodes": 1},
    "metarl/GridNavigation-v0": RL2 | GRID | {"eval_tasks": 100},
    "metarl/PendulumDynamics-v0": CLASSIC | {"num_iterations": 150},
    "metarl/CartPoleDynamics-v0": CLASSIC | {"num_iterations": 30},
    "metarl/AcrobotDynamics-v0": CLASSIC | {"num_episodes": 10, "num_iterations": 25},
    "metarl/MountainCarDynamics-v0": CLASSIC | {"num_iterations": 40},
    "metarl/HalfCheetahVel-v0": MUJOCO,
    "metarl/HalfCheetahDir-v0": RL2_CHEETAH,
    "metarl/AntVel-v0": MUJOCO | {"num_iterations": 20},
    "metarl/AntDir-v0": MUJOCO | {"num_iterations": 20},
    "metarl/AntGoal-v0": MUJOCO | {"num_iterations": 20},
    "metarl/HopperRandParams-v0": MUJOCO | {"num_iterations": 20},
    "metarl/WalkerRandParams-v0": MUJOCO | {"num_iterations": 20},
    "metarl/HumanoidDir-v0": MUJOCO | {"num_iterations": 10},
}

# Printed numbers only; other papers show curves.
PUBLISHED: dict[str, str] = {
    "metarl/Navigation2D-v0": "-40.41, -11.68, -3.33, -3.23 after 0..3 steps (MAML, Finn et al. 2017, Table 4)",
    "metarl/BernoulliBandit-v0": "6.7 in all of 10 pulls, 5 arms (RL2, Duan et al. 2016, Table 1)",
    "metarl/HalfCheetahDir-v0": "-50.69, 293.19, 313.48, 315.65 after 0..3 steps (MAML, Finn et al. 2017, Table 5)",
    "metarl/TabularMDP-v0": "156.2 in all of 10 episodes (RL2, Duan et al. 2016, Table 2)",
}
