"""The settings of a meta-RL run, and the agent they describe."""

import dataclasses
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import optax
from gymnasium.spaces import Discrete

import agents
import envs
from agents.parts.networks import ACTIVATIONS
from agents.parts.world import policy_gradient_world
from envs.options import from_flags
from experiments.cli.errors import UserError
from experiments.cli.flags import MAX_SEED, at_least, between
from experiments.training import agent_flags
from metarl.interfaces import MetaLearner
from metarl.ppo import PPO
from metarl.surrogates import loaded_dice, reinforce
from metarl.tasks import AT_ONCE, OverTasks

SCHEDULES: dict[str, Callable[[float, int], Any]] = {
    "constant": lambda rate, num_iterations: rate,
    "linear": lambda rate, num_iterations: optax.linear_schedule(rate, 0.0, num_iterations),
    "cosine": lambda rate, num_iterations: optax.cosine_decay_schedule(rate, num_iterations),
}


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Meta-train an agent on a task family; then evaluate it on held-out tasks."""

    run_dir: Path
    """Where the run is written."""
    env: str = "metarl/Navigation2D-v0"
    """Task family: a registered id, or my_module:my/Env-v0 to import my_module first."""
    agent: str = "maml"
    """A name of agents.AGENTS, such as maml, maml-trpo, promp, rl2 or pretrained; the README lists them."""
    seed: int = 0
    """Everything random in training follows from it; held-out tasks do not depend on it."""
    seeds: int | None = None
    """Train this many seeds together, from --seed on, each in a folder of its own: run_dir/seed-0 and so on."""
    num_iterations: int = 300
    """Meta-iterations: outer updates."""
    num_tasks: int = 20
    """M: tasks per meta-iteration."""
    num_episodes: int = 20
    """N: episodes per task and inner step."""
    num_inner_steps: int | None = None
    """K: inner steps in training; 1 if not given, 3 for reptile and maml++, 5 for imaml."""
    horizon: int | None = None
    """T: steps per episode; the family's own if not given."""
    env_options: tuple[str, ...] = ()
    """Further options of the family's constructor as NAME=VALUE, such as arms=10 or backend=mjx; values are read as JSON."""
    inner_lr: float | None = None
    """Step size of adaptation; 0.1 if not given, 1.0 for cavia."""
    test_step_scale: tuple[float, ...] | None = None
    """How far each inner step goes at test, relative to training: 1 0.5 halves it after the first, as MAML's papers do."""
    outer_lr: float = 1e-3
    """Step size of Adam on the meta-parameters."""
    outer_schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How outer_lr goes on: constant, or to zero over num_iterations; a run that is not constant cannot be extended."""
    dice_lambda: float | None = None
    """Inner surrogate: 0 (if not given) low variance, ProMP's; 1 unbiased second order, DiCE."""
    gamma: float = 0.99
    """Discount of the advantages."""
    gae_lambda: float = 1.0
    """Generalised advantage estimation; 1 gives discounted returns minus the baseline."""
    baseline: str | None = None
    """linear (features of observation and time, refitted to every batch) or time (mean of the other episodes at that time)."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Hidden layers of the policy."""
    activation: str = "tanh"
    """tanh or relu."""
    initial_std: float | None = None
    """Initial standard deviation of a Gaussian policy; 1 if not given."""
    max_kl: float | None = None
    """maml-trpo: mean KL of the adapted policies that one outer step may cause; 0.01."""
    outer_steps: int | None = None
    """promp: optimiser steps on the same experience; 5."""
    clip: float | None = None
    """promp, rl2, oracle: how far probability ratios count; 0.3, and 0.2 for the other two."""
    inner_kl: float | None = None
    """promp: penalty on the KL of inner steps; 5e-4."""
    credit: float | None = None
    """e-maml: weight of the credit to support episodes; 1."""
    proximal: float | None = None
    """imaml: how strongly adaptation is held near the start (lambda); 1."""
    cg_steps: int | None = None
    """imaml: iterations of conjugate gradients; 5."""
    cg_damping: float | None = None
    """imaml: added to the curvature in its linear system; 1."""
    context_size: int | None = None
    """cavia: length of the context vector; 5."""
    trial_episodes: int | None = None
    """rl2: episodes of one task in a row, in training; 2."""
    memory_size: int | None = None
    """rl2: size of the GRU's state; 64."""
    ppo_epochs: int | None = None
    """rl2, oracle: passes of PPO over the data of a meta-iteration; 5."""
    ppo_minibatches: int | None = None
    """rl2, oracle: updates per pass; 4."""
    entropy_cost: float | None = None
    """rl2, oracle: weight of PPO's entropy bonus; 0."""
    recipe: str | None = None
    """pretrained: how it is fine-tuned: plain, lower-early, frozen, gradual or new-head."""
    checkpoint_every: int = 50
    """Meta-iterations between checkpoints; one more is written when SIGTERM or Ctrl-C stops the run."""
    devices: int | None = None
    """Spread the tasks over this many devices; if not given, over as many as there are and divide num_tasks."""
    hosts: str | None = None
    """Share the tasks among processes on several hosts: ADDRESS:PORT,PROCESSES,PROCESS, or auto; see docs/scaling.md."""
    hosts_wait: float = 300.0
    """Seconds to wait for the other processes at the start."""
    task_batch: int | None = None
    """Tasks worked on at once by each device; fewer need less memory. If not given, 1 on a CPU and all elsewhere."""
    remat: bool = False
    """Recompute inner steps in the backward pass instead of storing them: less memory, more time."""
    on_nonfinite: Literal["stop", "skip"] = "stop"
    """When numbers become non-finite: stop the run, or skip that outer update and count it (outer/skipped)."""
    profile: bool = False
    """Write a JAX profiler trace of one compiled call to profile/ in the run's folder."""
    eval_tasks: int = 100
    """Held-out tasks in the evaluation at the end; 0 leaves it out."""
    eval_steps: int = 3
    """Inner steps (or episodes, for agents with memory) in that evaluation."""
    eval_episodes: int | None = None
    """Episodes per inner step in that evaluation; as in training if not given."""
    resume: bool = False
    """Continue the run in run_dir; settings not given are the run's own."""
    overwrite: bool = False
    """Replace the run in run_dir."""


class Built(NamedTuple):
    """What a configuration describes."""

    family: envs.TaskFamily
    learner: MetaLearner


def resolve(config: TrainConfig) -> TrainConfig:
    """Fill in what depends on the agent and the action space, and refuse bad flag values, before anything compiles."""
    agents_known(config.agent)
    config = agent_flags.resolve(config)
    infinity = float("inf")
    at_least(config, num_tasks=1, num_episodes=1, num_iterations=0, num_inner_steps=0, horizon=1, hidden_sizes=1)
    at_least(config, checkpoint_every=1, context_size=1, eval_tasks=0, eval_steps=0, eval_episodes=1, outer_steps=1, cg_steps=1)
    at_least(config, devices=1, task_batch=1, trial_episodes=1, memory_size=1, ppo_epochs=1, ppo_minibatches=1)
    between(config, seed=(0, MAX_SEED), inner_lr=(0, infinity), outer_lr=(0, infinity), initial_std=(1e-6, infinity))
    between(config, gamma=(0, 1), gae_lambda=(0, 1), dice_lambda=(0, 1), test_step_scale=(1e-9, infinity))
    between(config, max_kl=(1e-9, infinity), clip=(1e-9, infinity), inner_kl=(0, infinity), credit=(0, infinity))
    between(config, proximal=(1e-6, infinity), cg_damping=(0, infinity), entropy_cost=(0, infinity))
    if config.activation not in ACTIVATIONS:
        raise UserError(f"--activation is {config.activation!r}; known: {', '.join(ACTIVATIONS)}.")
    if config.agent in agent_flags.NEEDS_STEPS:
        at_least(config, num_inner_steps=1)
    discrete = isinstance(family_of(config).action_space, Discrete)
    if discrete and config.initial_std is not None:
        raise UserError(
            f"--initial-std is {config.initial_std}, but actions of {config.env} are discrete: there is no Gaussian. "
            "Leave it out."
        )
    return config if discrete or config.initial_std is not None else dataclasses.replace(config, initial_std=1.0)


def agents_known(name: str) -> None:
    """Refuse a name that no agent has."""
    try:
        agents.agent(name)
    except ValueError as error:
        raise UserError(str(error)) from error


def family_of(config: TrainConfig) -> envs.TaskFamily:
    """The task family of a configuration."""
    try:
        options = from_flags(config.horizon, config.env_options)
    except ValueError as error:
        raise UserError(str(error)) from error
    return named_family(config.env, options)


def named_family(env: str, options: dict[str, Any]) -> envs.TaskFamily:
    """`make_family`, with a `UserError` where there is none."""
    try:
        return make_family(env, options)
    except ValueError as error:
        raise UserError(str(error)) from error


def build(config: TrainConfig, *, family: envs.TaskFamily | None = None, over_tasks: OverTasks = AT_ONCE) -> Built:
    """Build family and learner of resolved settings; ``family`` stands in for the configuration's.

    ``over_tasks`` is how training works on tasks: see `experiments.training.devices`.
    """
    trained_on = family_of(config)
    family = trained_on if family is None else family
    names = agents.Settings._fields
    given = {name: value for name, value in vars(config).items() if name in names and value is not None}
    settings = agents.Settings(**{"num_inner_steps": 0, "inner_lr": 0.0} | given)
    num_iterations = max(config.num_iterations, 1)
    outer_lr = SCHEDULES[config.outer_schedule](config.outer_lr, num_iterations)
    settings = settings._replace(num_iterations=num_iterations, outer_lr=outer_lr, ppo=_ppo(config), over_tasks=over_tasks)
    policy_options = {
        "hidden_sizes": config.hidden_sizes,
        "activation": config.activation,
        "initial_std": config.initial_std or 1.0,
    }
    try:
        world = policy_gradient_world(
            family,
            policy_options,
            num_episodes=config.num_episodes,
            inner_surrogate=loaded_dice(config.dice_lambda or 0.0),
            outer_surrogate=reinforce,
            gamma=config.gamma,
            gae_lambda=config.gae_lambda,
            trained_on=trained_on,
            baseline=agent_flags.BASELINES[config.baseline or "linear"],
            # On an H100 20 was three times as fast as 1; on a CPU more than 5 only lengthens compilation.
            unroll=5 if jax.default_backend() == "cpu" else 20,
        )
        return Built(family, agents.agent(config.agent)(world, settings))
    except ValueError as error:
        raise UserError(str(error)) from error


def _ppo(config: TrainConfig) -> PPO:
    names = {"ppo_epochs": "num_epochs", "ppo_minibatches": "num_minibatches", "clip": "clip", "entropy_cost": "entropy_cost"}
    given = {ours: getattr(config, name) for name, ours in names.items() if getattr(config, name) is not None}
    return PPO()._replace(**given)


def make_family(env: str, options: dict[str, Any]) -> envs.TaskFamily:
    """``envs.make``, with a user's module found in the current folder also when python was not started with -m there."""
    importlib.invalidate_caches()
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    return envs.make(env, **options)
