"""The settings of a meta-RL run, and the agent they describe."""

import dataclasses
import importlib
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax

import agents
import envs
from agents.networks import ACTIVATIONS
from agents.world import policy_gradient_world
from experiments.command import MAX_SEED, UserError, at_least, between
from metarl.surrogates import loaded_dice, reinforce
from metarl.types import MetaLearner


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Meta-train an agent on a task family; then evaluate it on held-out tasks."""

    run_dir: Path
    """Where the run is written."""
    env: str = "metarl/Navigation2D-v0"
    """Task family: a registered id, or my_module:my/Env-v0 to import my_module first."""
    agent: str = "maml"
    """maml, fomaml, reptile, anil, cavia, meta-sgd, maml++, pretrained or random."""
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
    num_inner_steps: int = 1
    """K: inner steps in training."""
    horizon: int | None = None
    """T: steps per episode; the family's own if not given."""
    inner_lr: float = 0.1
    """Step size of adaptation."""
    outer_lr: float = 1e-3
    """Step size of Adam on the meta-parameters."""
    dice_lambda: float = 0.0
    """Inner surrogate: 0 low variance (ProMP's), 1 unbiased second order (DiCE)."""
    gamma: float = 0.99
    """Discount of the advantages."""
    gae_lambda: float = 1.0
    """Generalised advantage estimation; 1 gives discounted returns minus the baseline."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Hidden layers of the policy."""
    activation: str = "tanh"
    """tanh or relu."""
    initial_std: float = 1.0
    """Initial standard deviation of a Gaussian policy."""
    context_size: int = 5
    """Length of the context vector of cavia."""
    checkpoint_every: int = 50
    """Meta-iterations between checkpoints."""
    eval_tasks: int = 100
    """Held-out tasks in the evaluation at the end; 0 leaves it out."""
    resume: bool = False
    """Continue the run in run_dir; settings not given are the run's own."""
    overwrite: bool = False
    """Replace the run in run_dir."""


class Built(NamedTuple):
    """What a configuration describes."""

    family: envs.TaskFamily
    learner: MetaLearner


def check(config: TrainConfig) -> None:
    """Refuse bad flag values before anything compiles."""
    at_least(config, num_tasks=1, num_episodes=1, num_iterations=0, num_inner_steps=0, horizon=1, hidden_sizes=1)
    at_least(config, checkpoint_every=1, context_size=1, eval_tasks=0)
    between(config, seed=(0, MAX_SEED))
    infinity = float("inf")
    between(config, inner_lr=(0, infinity), outer_lr=(0, infinity), initial_std=(1e-6, infinity))
    between(config, gamma=(0, 1), gae_lambda=(0, 1), dice_lambda=(0, 1))
    if config.activation not in ACTIVATIONS:
        raise UserError(f"--activation is {config.activation!r}; known: {', '.join(ACTIVATIONS)}.")


def build(config: TrainConfig, **changes: Any) -> Built:
    """Build family and learner; ``changes`` replace settings, such as the number of episodes at test."""
    config = dataclasses.replace(config, **changes)
    check(config)
    settings = agents.Settings(
        num_tasks=config.num_tasks,
        num_inner_steps=config.num_inner_steps,
        inner_lr=config.inner_lr,
        outer_lr=config.outer_lr,
        num_iterations=max(config.num_iterations, 1),
        context_size=config.context_size,
    )
    policy_options = {
        "hidden_sizes": config.hidden_sizes,
        "activation": config.activation,
        "initial_std": config.initial_std,
    }
    try:
        factory = agents.agent(config.agent)
        family = make_family(config.env, {} if config.horizon is None else {"horizon": config.horizon})
        world = policy_gradient_world(
            family,
            policy_options,
            num_episodes=config.num_episodes,
            inner_surrogate=loaded_dice(config.dice_lambda),
            outer_surrogate=reinforce,
            gamma=config.gamma,
            gae_lambda=config.gae_lambda,
            # On an H100 20 was three times as fast as 1; on a CPU more than 5 only lengthens compilation.
            unroll=5 if jax.default_backend() == "cpu" else 20,
        )
        return Built(family, factory(world, settings))
    except ValueError as error:
        raise UserError(str(error)) from error


def make_family(env: str, options: dict[str, Any]) -> envs.TaskFamily:
    """``envs.make``, with a user's module found in the current folder also when python was not started with -m there."""
    importlib.invalidate_caches()
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    return envs.make(env, **options)
