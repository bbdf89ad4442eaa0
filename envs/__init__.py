"""Worlds: distributions over tasks, on Gymnasium's registry. Importing this package registers the families below."""

from envs.family import TaskFamily, check_task, held_out_tasks
from envs.host import from_gymnasium, host_error
from envs.linter import check_task_family
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
    "metarl/PendulumDynamics-v0": "envs.pendulum:PendulumDynamics",
    "metarl/CartPoleDynamics-v0": "envs.cart_pole:CartPoleDynamics",
    "metarl/AcrobotDynamics-v0": "envs.acrobot:AcrobotDynamics",
    "metarl/MountainCarDynamics-v0": "envs.mountain_car:MountainCarDynamics",
    "metarl/HalfCheetahVel-v0": "envs.half_cheetah:HalfCheetahVel",
    "metarl/HalfCheetahDir-v0": "envs.half_cheetah:HalfCheetahDir",
    "metarl/AntVel-v0": "envs.ant:AntVel",
    "metarl/AntDir-v0": "envs.ant:AntDir",
    "metarl/AntGoal-v0": "envs.ant:AntGoal",
    "metarl/HopperRandParams-v0": "envs.random_params:HopperRandParams",
    "metarl/WalkerRandParams-v0": "envs.random_params:WalkerRandParams",
    "metarl/HumanoidDir-v0": "envs.humanoid:HumanoidDir",
}

for _id, _family in FAMILIES.items():
    register(_id, _family)

__all__ = [
    "FAMILIES",
    "TaskEnv",
    "TaskFamily",
    "TaskVectorEnv",
    "check_task",
    "check_task_family",
    "from_gymnasium",
    "held_out_tasks",
    "host_error",
    "make",
    "register",
    "registered",
]
