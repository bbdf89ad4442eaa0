"""``python -m experiments.studies.mjx_iterations``: solver iterations that MJX needs, against native MuJoCo."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

import envs
from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError, one_line_errors
from experiments.cli.flags import at_least, parse
from experiments.reporting.tables import Table, show
from experiments.training.config import named_family


@dataclasses.dataclass(frozen=True)
class IterationsConfig:
    """Play the same random actions from the same starts with native MuJoCo and with MJX at several numbers of iterations."""

    env: str = "metarl/HalfCheetahVel-v0"
    """A family with a MuJoCo robot."""
    iterations: tuple[int, ...] = (1, 2, 4, 8, 20)
    """Solver iterations to try."""
    num_episodes: int = 32
    """Episodes."""
    horizon: int = 100
    """Steps per episode."""
    seed: int = 0
    """Of starts and actions."""


def compare(config: IterationsConfig) -> list[dict[str, float]]:
    """One row per number of iterations: how far velocities and returns are from native MuJoCo's."""
    at_least(config, iterations=1, num_episodes=2, horizon=1, seed=0)
    if not config.iterations:
        raise UserError("--iterations needs at least one number, such as --iterations 2 4.")
    reference = named_family(config.env, {"backend": "native"})
    velocity, returns = play(reference, config)
    spread = np.std(returns) / np.sqrt(config.num_episodes)
    rows = []
    for iterations in config.iterations:
        theirs = play(named_family(config.env, {"backend": "mjx", "iterations": iterations}), config)
        gap = theirs[1] - returns
        early = min(5, config.horizon)
        rows.append(
            {
                "iterations": iterations,
                "early": float(np.max(np.abs(theirs[0] - velocity)[:, :early])),
                "gap": float(np.mean(gap)),
                "gap_error": float(np.std(gap) / np.sqrt(config.num_episodes)),
                "native": float(np.mean(returns)),
                "native_error": float(spread),
            }
        )
    return rows


def play(family: envs.TaskFamily, config: IterationsConfig) -> tuple[np.ndarray, np.ndarray]:
    """Velocities along x [N, T] and returns [N] of the default task under actions that depend on the seed alone."""
    task, key = family.default_params, jax.random.key(config.seed)
    key_start, key_action = jax.random.split(key)

    def episode(key_start, key_action):
        actions = jax.random.uniform(key_action, (config.horizon, *(family.action_space.shape or ())), minval=-1.0)

        def step(body, action):
            after = family.transition(body, action, key_start, task)
            return after, (after.velocity[0], family.reward(body, action, after, key_start, task))

        return jax.lax.scan(step, family.initial(key_start, task), actions)[1]

    keys = jax.random.split(key_start, config.num_episodes), jax.random.split(key_action, config.num_episodes)
    velocity, reward = jax.jit(jax.vmap(episode))(*keys)
    return np.asarray(velocity), np.asarray(jnp.sum(reward, axis=1))


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    config = parse(IterationsConfig, args, command_line("studies.mjx_iterations"))
    show(table_of(config, compare(config)))


def table_of(config: IterationsConfig, rows: list[dict[str, float]]) -> Table:
    """What `compare` found, velocities in m/s, returns with standard errors."""
    cells = [
        (
            str(row["iterations"]),
            f"{row['early']:.1e} m/s",
            f"{row['native']:.2f} ± {row['native_error']:.2f}",
            f"{row['gap']:+.2f} ± {row['gap_error']:.2f}",
        )
        for row in rows
    ]
    title = f"{config.env}: MJX against native MuJoCo, {config.num_episodes} episodes of {config.horizon} steps"
    headings = ("iterations", "largest velocity error, first 5 steps", "mean return: native", "MJX minus native")
    return Table(headings, cells, title, words=())


if __name__ == "__main__":
    main()
