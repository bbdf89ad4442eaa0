"""``python -m envs.meta_world.speed CLASS ...``: where the time of Meta-World's steps goes, in microseconds of one CPU."""

import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from envs.meta_world import benchmark
from envs.meta_world.environment import MetaWorldEnv
from envs.meta_world.family import meta_world_ml1
from envs.meta_world.rewards import REWARDS
from envs.options import one_of

STEPS = 400  # of the 500 of an episode
ROBOTS = 20  # of one call in threads


def costs(name: str) -> dict[str, float]:
    """Microseconds of CPU time: a whole step, MuJoCo's part of it, the observation, the reward, a reset, both in threads.

    The last two are nan where the class is not written for it.
    """
    import mujoco

    train, _ = benchmark.lists("ML1", name, 0)
    env = MetaWorldEnv(benchmark.names(), "v2", train)
    env.set_task({"environment": train.environment[0], "vector": train.vector[0]})
    env.reset()
    robot = env.robot
    actions = np.random.default_rng(0).uniform(-1, 1, (STEPS, 4)).astype(np.float32)
    step = _each(lambda i: robot.step(actions[i]), STEPS)
    seen = robot._get_obs()

    def physics(i: int) -> None:
        mujoco.mj_step(robot.model, robot.data, robot.frame_skip)
        mujoco.mj_forward(robot.model, robot.data)

    return {
        "step": step,
        "MuJoCo": _each(physics, STEPS),
        "observation": _each(lambda i: robot._get_obs(), STEPS),
        "reward": _each(lambda i: robot.evaluate_state(seen, actions[i]), STEPS),
        "reset": _each(lambda i: env.reset(), 5),
    } | _in_threads(name, actions)


def _in_threads(name: str, actions: np.ndarray) -> dict[str, float]:
    """A step and a reset of one of `ROBOTS` robots, by one thread, so that they compare with those of one CPU."""
    if name not in REWARDS:
        return dict.fromkeys(("step in threads", "reset in threads"), math.nan)
    train, _ = benchmark.lists("ML1", name, 0)
    tasks = {"environment": train.environment[:ROBOTS], "vector": train.vector[:ROBOTS].astype(np.float32)}
    pool = meta_world_ml1(name, horizon=STEPS, num_workers=1).pool
    begin = lambda i: pool.reset(np.arange(ROBOTS), tasks)
    numbers, _ = [begin(i) for i in range(4)][-1]  # a pool has up to four times as many robots as a batch; all are made now
    nothing = np.zeros(ROBOTS, bool)
    play = lambda t: pool.step(numbers, np.full(ROBOTS, t), nothing, actions[t : t + ROBOTS])
    return {"step in threads": _each(play, STEPS // 4) / ROBOTS, "reset in threads": _each(begin, 5) / ROBOTS}


def _each(call: Callable[[int], Any], times: int) -> float:
    begin = time.process_time()
    for i in range(times):
        call(i)
    return (time.process_time() - begin) / times * 1e6


def main(args: Sequence[str] | None = None) -> int:
    """Print a row per class; returns the exit code."""
    given = list(sys.argv[1:] if args is None else args)
    try:
        benchmark.package("speed")
        for name in given:
            one_of("speed", "class", name, benchmark.names())
    except (ImportError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for place, name in enumerate(given or ["reach-v3"]):
        found = costs(name)
        if not place:
            print(f"{'':28}", *(f"{part:>17}" for part in found))
        print(f"{name:28}", *(f"{'-' if math.isnan(value) else f'{value:,.0f}':>17}" for value in found.values()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
