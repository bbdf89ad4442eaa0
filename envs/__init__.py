"""Task families: distributions over tasks, on Gymnasium's registry. Importing this package registers those below.

`make` a registered family, or subclass `TaskFamily` and `register` your own; `from_gymnasium` makes one of an ordinary
environment, `from_jax` of one written in JAX. `TaskEnv` and `TaskVectorEnv` are the way back: ordinary environments of a
family's tasks.
"""

from envs import drawing, few_shot, task_spaces
from envs.check import check_task_family
from envs.families.regression import RegressionFamily, sinusoid, step_function
from envs.family import TaskFamily, check_task, held_out_tasks
from envs.from_gymnasium.family import from_gymnasium, host_error
from envs.from_jax.brax import from_brax, from_playground
from envs.from_jax.family import from_jax
from envs.from_jax.gymnax import from_gymnax
from envs.from_jax.worlds import from_craftax, from_jumanji, from_navix
from envs.from_jax.xland import from_xland, xland_rulesets, xland_scores
from envs.registration import make, register, registered
from envs.task_files import read_tasks
from envs.task_lists import with_tasks
from envs.to_gymnasium.task_env import TaskEnv
from envs.to_gymnasium.task_vector_env import TaskVectorEnv

FAMILIES = {
    "metarl/Navigation2D-v0": f"{__name__}.families.navigation:Navigation2D",
    "metarl/Navigation2DSparse-v0": f"{__name__}.families.sparse_navigation:Navigation2DSparse",
    "metarl/NavigationCorner-v0": f"{__name__}.families.sparse_navigation:NavigationCorner",
    "metarl/BernoulliBandit-v0": f"{__name__}.families.bandit:BernoulliBandit",
    "metarl/GaussianBandit-v0": f"{__name__}.families.bandit:GaussianBandit",
    "metarl/TabularMDP-v0": f"{__name__}.families.tabular:TabularMDP",
    "metarl/GridNavigation-v0": f"{__name__}.families.gridworld:GridNavigation",
    "metarl/DarkRoom-v0": f"{__name__}.families.dark_room:DarkRoom",
    "metarl/DarkKeyDoor-v0": f"{__name__}.families.dark_room:DarkKeyDoor",
    "metarl/PendulumDynamics-v0": f"{__name__}.families.classic_control.pendulum:PendulumDynamics",
    "metarl/CartPoleDynamics-v0": f"{__name__}.families.classic_control.cart_pole:CartPoleDynamics",
    "metarl/AcrobotDynamics-v0": f"{__name__}.families.classic_control.acrobot:AcrobotDynamics",
    "metarl/MountainCarDynamics-v0": f"{__name__}.families.classic_control.mountain_car:MountainCarDynamics",
    "metarl/HalfCheetahVel-v0": f"{__name__}.families.locomotion.half_cheetah:HalfCheetahVel",
    "metarl/HalfCheetahDir-v0": f"{__name__}.families.locomotion.half_cheetah:HalfCheetahDir",
    "metarl/AntVel-v0": f"{__name__}.families.locomotion.ant:AntVel",
    "metarl/AntDir-v0": f"{__name__}.families.locomotion.ant:AntDir",
    "metarl/AntGoal-v0": f"{__name__}.families.locomotion.ant:AntGoal",
    "metarl/HopperRandParams-v0": f"{__name__}.families.locomotion.random_params:HopperRandParams",
    "metarl/WalkerRandParams-v0": f"{__name__}.families.locomotion.random_params:WalkerRandParams",
    "metarl/HumanoidDir-v0": f"{__name__}.families.locomotion.humanoid:HumanoidDir",
}

META_WORLD = {  # of the extra metaworld, whose versions are others; what goes over all of FAMILIES cannot play these
    "metarl/MetaWorldML1-v0": f"{__name__}.meta_world.family:meta_world_ml1",
    "metarl/MetaWorldML10-v0": f"{__name__}.meta_world.family:meta_world_ml10",
    "metarl/MetaWorldML45-v0": f"{__name__}.meta_world.family:meta_world_ml45",
}

for _id, _family in (FAMILIES | META_WORLD).items():
    register(_id, _family)

__all__ = [
    "FAMILIES",
    "META_WORLD",
    "RegressionFamily",
    "TaskEnv",
    "TaskFamily",
    "TaskVectorEnv",
    "check_task",
    "check_task_family",
    "drawing",
    "few_shot",
    "from_brax",
    "from_craftax",
    "from_gymnasium",
    "from_gymnax",
    "from_jax",
    "from_jumanji",
    "from_navix",
    "from_playground",
    "from_xland",
    "held_out_tasks",
    "host_error",
    "make",
    "read_tasks",
    "register",
    "registered",
    "sinusoid",
    "step_function",
    "task_spaces",
    "with_tasks",
    "xland_rulesets",
    "xland_scores",
]
