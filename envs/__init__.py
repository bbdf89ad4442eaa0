"""Worlds: distributions over tasks, on Gymnasium's registry. Importing this package registers the families below."""

from envs.family import TaskFamily, check_task, held_out_tasks
from envs.registration import make, register, registered
from envs.task_env import TaskEnv
from envs.task_vector_env import TaskVectorEnv

FAMILIES = {
    "metarl/Navigation2D-v0": "envs.navigation:Navigation2D",
    "metarl/Navigation2DSparse-v0": "envs.sparse_navigation:Navigation2DSparse",
    "metarl/NavigationCorner-v0": "envs.sparse_navigation:NavigationCorner",
    "metarl/BernoulliBandit-v0": "envs.bandit:BernoulliBandit",
    "metarl/GaussianBandit-v0": "envs.bandit:GaussianBandit",
    "metarl/TabularMDP-v0": "envs.tabular:TabularMDP",
    "metarl/GridNavigation-v0": "envs.gridworld:GridNavigation",
}

for _id, _family in FAMILIES.items():
    register(_id, _family)

__all__ = [
    "FAMILIES",
    "TaskEnv",
    "TaskFamily",
    "TaskVectorEnv",
    "check_task",
    "held_out_tasks",
    "make",
    "register",
    "registered",
]
