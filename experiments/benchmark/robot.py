"""``python -m experiments.benchmark.robot``: where a meta-iteration on a legged robot spends its time, on a CPU."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents.agent import ReinforcementSettings
from agents.parts.world import policy_gradient_world
from envs.mujoco import compiled
from envs.mujoco.native import Pools
from envs.processors import num_processors
from experiments.benchmark.files import about_machine, refuse_folder, save
from experiments.benchmark.timing import spread
from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError, one_line_errors
from experiments.cli.flags import at_least, parse
from experiments.reporting.tables import Table, digits, show
from experiments.training.config import build, family_of, train_config
from experiments.training.settings import declared
from experiments.training.suggested import suggested


@dataclasses.dataclass(frozen=True)
class RobotConfig:
    """Time physics alone, the rollouts around it and whole meta-iterations, in turn.

    Physics alone is MuJoCo's own rollout in its threads, for as many robots and steps.
    """

    env: str = "metarl/HalfCheetahDir-v0"
    """A legged family, on native MuJoCo."""
    agent: str = "promp"
    """An agent that takes inner steps."""
    num_tasks: int = 40
    """M."""
    num_episodes: int = 20
    """N."""
    horizon: int = 100
    """T."""
    rounds: int = 5
    """Turns of each."""
    out: Path | None = None
    """A JSON file to write."""


def robot(config: RobotConfig) -> dict[str, Any]:
    """Seconds of each part of a meta-iteration."""
    at_least(config, num_tasks=1, num_episodes=1, horizon=1, rounds=1)
    settings = suggested(config.env, config.agent) | {
        name: getattr(config, name) for name in ("env", "agent", "num_tasks", "num_episodes", "horizon")
    }
    run = train_config(run_dir=Path("nowhere"), **settings)
    family = family_of(run)
    if not getattr(family, "physics", None) or not family.calls_host:
        raise UserError(f"--env is {config.env}, but this times families on native MuJoCo.")
    if declared(config.agent, "reinforcement").adapts_by != "gradient":
        raise UserError(f"--agent is {config.agent}, but this times agents that take inner steps.")
    parts = {"physics": physics(config, family), "rollouts": rollouts(config, family, run)}
    parts["meta-iteration"] = meta_iteration(run)
    for work in parts.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(config.rounds):
        for name, work in parts.items():
            began = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - began)
    steps = 2 * config.num_tasks * config.num_episodes * config.horizon
    return about_machine("benchmark.robot") | {
        "settings": {**dataclasses.asdict(config), "out": None},
        "compiled": compiled.library() is not None,
        "env_steps": steps,
        "seconds": {name: spread(values) for name, values in times.items()},
    }


def physics(config: RobotConfig, family: Any) -> Callable[[], Any]:
    """MuJoCo's rollout for the steps of a meta-iteration with one inner step, half of them at a time."""
    model, skip = family.physics.model, family.robot.frame_skip
    batch = config.num_tasks * config.num_episodes
    pools = Pools(model, num_processors())
    start = np.zeros((batch, 1 + model.nq + model.nv))
    start[:, 1 : 1 + model.nq] = model.qpos0
    ctrl = np.random.default_rng(0).normal(scale=0.1, size=(batch, model.nu))

    def work():
        for _ in range(2):
            state = start
            for _ in range(config.horizon):
                state = pools.rollout([model] * batch, state, ctrl, skip)[0][:, -1]

    return work


def rollouts(config: RobotConfig, family: Any, run: Any) -> Callable[[], Any]:
    """The two batches of a meta-iteration by a policy that does not adapt, with their baselines and advantages."""
    world = policy_gradient_world(
        family, ReinforcementSettings(num_episodes=config.num_episodes, action_scale=run.action_scale)
    )
    network = world.make_network(0)
    problem, params = world.make_problem(network), network.init(jax.random.key(0))

    def of_task(key):
        batch = problem.sample_batch(params, world.sample_task(key), key)
        return sum(jnp.sum(leaf.astype(float)) for leaf in jax.tree.leaves(batch))

    sample = jax.jit(jax.vmap(of_task))
    keys = jax.random.split(jax.random.key(1), (2, config.num_tasks))
    return lambda: [sample(each).block_until_ready() for each in keys]


def meta_iteration(run: Any) -> Callable[[], Any]:
    """A whole step of the agent from its start, again and again."""
    learner = build(run).learner
    state, step = jax.jit(learner.init)(jax.random.key(0)), jax.jit(learner.step)
    return lambda: jax.block_until_ready(step(state, jax.random.key(1)))


def table_of(found: dict[str, Any]) -> Table:
    """Seconds of the whole, and what each part adds."""
    seconds = {name: values["median"] for name, values in found["seconds"].items()}
    named = {
        "MuJoCo's own rollout": ("physics", seconds["physics"]),
        "policy, random numbers, advantages": ("rollouts", seconds["rollouts"] - seconds["physics"]),
        "inner and outer gradients": ("meta-iteration", seconds["meta-iteration"] - seconds["rollouts"]),
    }
    whole = seconds["meta-iteration"]
    lines = [(name, digits(value), f"{value / whole:.0%}") for name, (_, value) in named.items()]
    low, high = (found["seconds"]["meta-iteration"][name] for name in ("min", "max"))
    lines.append(("all", digits(whole), ""))
    per_second = found["env_steps"] / whole
    caption = (
        f"all: {digits(low)} to {digits(high)} s; {per_second:,.0f} environment steps per second; MuJoCo's step is "
        f"{'a custom call' if found['compiled'] else 'called through Python'}."
    )
    return Table(("part", "seconds", "share"), lines, f"A meta-iteration of {found['settings']['agent']}", caption=caption)


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    config = parse(RobotConfig, args, command_line("benchmark.robot"))
    if config.out is not None:
        refuse_folder(config.out)
    found = robot(config)
    if config.out is not None:
        save(config.out, found)
    show(table_of(found))


if __name__ == "__main__":
    main()
