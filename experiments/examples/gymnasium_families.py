"""Three ordinary environments as task families: examples of `envs.from_gymnasium`, to be copied.

    python -m experiments.train --env experiments.examples.gymnasium_families:examples/PendulumGravity-v0 --run-dir runs/p

Options of each, such as ``--env-options vectorization=async``, are those of `envs.from_gymnasium` that it passes on.
"""

from typing import Any

import gymnasium
from gymnasium.spaces import Box, Discrete

import envs

LANDER_STEPS = 200  # of the registered 1,000, so that a meta-iteration stays short
GRID = 5  # cells along each side of the room, walls included, as in MiniGrid-Empty-5x5-v0


def pendulum_gravity(**options: Any) -> envs.TaskFamily:
    """Swing-up of Pendulum-v1 under a gravity that is not observed: attribute ``g``, U[5, 15] m/s^2; Gymnasium's own is 10."""
    return envs.from_gymnasium("Pendulum-v1", task_space={"g": Box(5.0, 15.0, ())}, apply_task="attributes", **options)


def lunar_lander_wind(horizon: int = LANDER_STEPS, **options: Any) -> envs.TaskFamily:
    """LunarLander-v3 under unknown gravity U[-11, -4] and wind: power U[0, 20], turbulence U[0, 2], as far as it recommends.

    All three are attributes: ``reset`` builds a new world with ``gravity``, and every step reads the other two, provided that
    wind was switched on in the constructor.
    """
    return envs.from_gymnasium(
        "LunarLander-v3",
        task_space={"gravity": Box(-11.0, -4.0, ()), "wind_power": Box(0.0, 20.0, ()), "turbulence_power": Box(0.0, 2.0, ())},
        apply_task="attributes",
        env_options={"enable_wind": True},
        horizon=horizon,
        **options,
    )


def mini_grid_goal(horizon: int = 25, **options: Any) -> envs.TaskFamily:
    """MiniGrid-Empty-5x5-v0 with the goal in any cell but the agent's own.

    The image covers 7 x 7 cells in front of the agent, so a goal beside or behind it is unseen at the start.
    """
    inner = GRID - 2
    return envs.from_gymnasium(
        "MiniGrid-Empty-5x5-v0",
        task_space={"goal": Discrete(inner * inner - 1, start=1)},
        apply_task=move_goal,
        horizon=horizon,
        drop=("mission",),
        **options,
    )


def move_goal(env: gymnasium.Env, task: dict[str, Any]) -> None:
    """Put the goal of MiniGrid-Empty in another cell, counted row by row from the agent's, from the next reset on."""
    from minigrid.core.world_object import Goal

    inner = GRID - 2
    world: Any = env.unwrapped
    build = type(world)._gen_grid

    def build_with_goal(width: int, height: int) -> None:
        build(world, width, height)
        world.grid.set(inner, inner, None)
        world.put_obj(Goal(), 1 + task["goal"] % inner, 1 + task["goal"] // inner)

    world._gen_grid = build_with_goal


envs.register("examples/PendulumGravity-v0", pendulum_gravity)
envs.register("examples/LunarLanderWind-v0", lunar_lander_wind)
envs.register("examples/MiniGridGoal-v0", mini_grid_goal)
