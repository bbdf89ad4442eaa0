"""``python -m envs.to_gymnasium.speed``: microseconds of a step of our environments, one at a time, beside Gymnasium's own."""

import statistics
import time
from typing import Any

import gymnasium

PAIRS = {  # ours, by ids for which Gymnasium imports them, and its own of the same world
    "envs:metarl/PendulumDynamics-v0": "Pendulum-v1",
    "envs:metarl/CartPoleDynamics-v0": "CartPole-v1",
    "envs:metarl/HalfCheetahDir-v0": "HalfCheetah-v5",
}
STEPS, ROUNDS = 200, 25


def microseconds(id: str, own: str) -> tuple[float, float]:
    """The medians of `ROUNDS` turns of `STEPS` steps each, ours and Gymnasium's own in turn; resets are not counted."""
    both = [gymnasium.make(id), gymnasium.make(own)]
    times: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for env, found in zip(both, times, strict=True):
            found.append(_turn(env))
    return statistics.median(times[0]), statistics.median(times[1])


def _turn(env: Any) -> float:
    env.action_space.seed(0)
    env.reset(seed=0)
    spent = 0.0
    for _ in range(STEPS):
        action = env.action_space.sample()
        start = time.perf_counter()
        _, _, terminated, truncated, _ = env.step(action)
        spent += time.perf_counter() - start
        if terminated or truncated:
            env.reset()
    return spent / STEPS * 1e6


def main() -> None:
    """Print a line for each pair."""
    print(f"{'':34}{'ours':>8}{'own':>8}{'ratio':>8}")
    for id, own in PAIRS.items():
        ours, theirs = microseconds(id, own)
        print(f"{id:34}{ours:8.1f}{theirs:8.1f}{ours / theirs:8.1f}", flush=True)


if __name__ == "__main__":
    main()
