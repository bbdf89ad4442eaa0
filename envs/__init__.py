"""Worlds: distributions over tasks, on Gymnasium's registry. Importing this package registers the families below."""

from envs.family import TaskFamily, check_task, held_out_tasks
from envs.host import from_gymnasium, host_error
from envs.registration import make, register, registered
from envs.task_env import TaskEnv
from envs.task_vector_env import TaskVectorEnv

FAMILIES = {
    "metarl/Navigation2D-v0": "envs.navigation:Navigation2D",
}

for _id, _family in FAMILIES.items():
    register(_id, _family)

__all__ = [
    "FAMILIES",
    "TaskEnv",
    "TaskFamily",
    "TaskVectorEnv",
    "check_task",
    "from_gymnasium",
    "held_out_tasks",
    "host_error",
    "make",
    "register",
    "registered",
]
