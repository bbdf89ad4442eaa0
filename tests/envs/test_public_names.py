"""What `import envs` offers is a decision: a name that comes or goes changes this list."""

import subprocess
import sys

import envs

NAMES = [
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


def test_public_names():
    assert envs.__all__ == sorted(envs.__all__) == NAMES


def test_optional_packages_are_imported_when_used():
    code = (
        "import sys, metarl, envs; [getattr(room, name) for room in (metarl, envs) for name in room.__all__]; "
        "envs.make('metarl/Navigation2D-v0'); "
        "print(sorted({'mujoco', 'Box2D', 'pygame', 'minigrid', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
