"""The agents of the page: how each is trained, and its parameters as the page reads them. Minutes on two cores in all.

Everybody is trained as elsewhere in metarl; networks, horizons and iterations are small so that the page stays small. What
differs from the protocols was chosen for that and not tuned.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import agents
import envs
from envs.families import training
from experiments import sinusoid
from experiments.studies.playground.packing import first_of, flat_gru, flat_mlp, pack, sizes_of
from experiments.supervised.experiment import KIND
from experiments.training import without_folders
from experiments.training.config import schedule
from experiments.training.progress import Progress
from experiments.training.settings import declared

SINUSOID_ITERATIONS = {
    "pretrained": 10_000,
    "maml": 10_000,
    "fomaml": 10_000,
    "reptile": 4_000,
    "imaml": 2_000,
    "cavia": 10_000,
    "meta-sgd": 10_000,
    "random": 1,
}
WALK: dict[str, Any] = {"id": "metarl/Navigation2D-v0", "horizon": 50}
WALK_MAML: dict[str, Any] = {
    "num_episodes": 20,
    "initial_std": 0.7,
    "inner_lr": 0.1,
    "test_step_scale": (1.0, 0.5),
    "hidden_sizes": (32, 32),
    "baseline": "time",  # short to write down in a page, and as good on episodes this short
}
WALK_RL2: dict[str, Any] = {
    "num_episodes": 2,
    "initial_std": 1.0,
    "trial_episodes": 4,
    "memory_size": 48,
    "hidden_sizes": (32,),
}
WALK_ITERATIONS = {"maml": 300, "rl2": 300}
PULLS, ARMS = 10, 5
BANDIT_RL2: dict[str, Any] = {
    "num_episodes": 1,
    "trial_episodes": PULLS,
    "memory_size": 32,
    "hidden_sizes": (32,),
    "gamma": 1.0,
    "gae_lambda": 0.95,
    "entropy_cost": 0.01,
}
BANDIT_ITERATIONS = 200


def sinusoids(agent: str, out: Path, seed: int, num_iterations: int | None) -> dict[str, Any]:
    """Meta-train an agent on sinusoids, under the protocol of Finn et al. 2017, shortened: hence an outer rate that anneals."""
    config = sinusoid_config(agent, out, seed, num_iterations)
    learner = sinusoid.build(config, config.train_shots).learner
    return described(config.own, trained(learner, seed, config.num_iterations, f"sinusoid, {agent}"))


def sinusoid_config(agent: str, out: Path, seed: int = 0, num_iterations: int | None = None) -> sinusoid.SinusoidConfig:
    """Its settings."""
    iterations = SINUSOID_ITERATIONS[agent]
    iterations = iterations if num_iterations is None else min(num_iterations, iterations)
    given: dict[str, Any] = {"outer_schedule": "cosine"} if "optimizer" in declared(agent, KIND).uses else {}
    return sinusoid.resolve(sinusoid.sinusoid_config(run_dir=out, agent=agent, seed=seed, num_iterations=iterations, **given))


def described(own: Any, theta: Any) -> dict[str, Any]:
    """What the page has to know of a regressor: its network, and how it adapts."""
    params = theta["params"] if "log_lr" in theta else theta
    found = {"sizes": sizes_of(params), "weights": pack(flat_mlp(params)), "rate": own.inner_lr}
    if "log_lr" in theta:
        found["rates"] = pack(np.exp(flat_mlp(theta["log_lr"])))
    if hasattr(own, "context_size"):
        found["context"] = own.context_size
    if hasattr(own, "proximal"):
        found["proximal"] = own.proximal
    return found


def trained(learner: Any, seed: int, num_iterations: int, label: str) -> Any:
    """Its theta after training."""
    with Progress(num_iterations, 0, label) as progress:
        states, _ = without_folders.train(learner, [seed], num_iterations, on_progress=progress.update)
    return first_of(states).theta


def walker(out: Path, seed: int, num_iterations: int | None) -> dict[str, Any]:
    """MAML on 2D navigation."""
    iterations = min(num_iterations or WALK_ITERATIONS["maml"], WALK_ITERATIONS["maml"])
    learner = agents.make("maml", walk_family(), num_tasks=20, outer_lr=schedule("linear", 3e-3, iterations), **WALK_MAML)
    theta = trained(learner, seed, iterations, "navigation, maml")
    return {
        "sizes": sizes_of(theta["mean"]),
        "weights": pack(flat_mlp(theta["mean"])),
        "log_std": pack(theta["log_std"]),
        "rate": WALK_MAML["inner_lr"],
        "scales": list(WALK_MAML["test_step_scale"]),
        "episodes": WALK_MAML["num_episodes"],
        "horizon": WALK["horizon"],
        "gamma": agents.ReinforcementSettings.gamma,
    }


def walk_family() -> Any:
    """Its tasks."""
    return envs.make(WALK["id"], horizon=WALK["horizon"])


def walking_memory(out: Path, seed: int, num_iterations: int | None) -> dict[str, Any]:
    """RL2 on 2D navigation."""
    iterations = min(num_iterations or WALK_ITERATIONS["rl2"], WALK_ITERATIONS["rl2"])
    rate = schedule("linear", 2e-3, iterations)
    learner = agents.make("rl2", walk_family(), num_tasks=40, outer_lr=rate, num_iterations=iterations, **WALK_RL2)
    theta = trained(learner, seed, iterations, "navigation, rl2")
    actor = theta["readers"]["actor"]
    return memory_of(theta, actor["mean"]) | {
        "log_std": pack(actor["log_std"]),
        "episodes": WALK_RL2["trial_episodes"],
        "horizon": WALK["horizon"],
    }


def bandit_family() -> Any:
    """Its tasks."""
    return envs.make("metarl/BernoulliBandit-v0", arms=ARMS)


def pulling_memory(out: Path, seed: int, num_iterations: int | None) -> dict[str, Any]:
    """RL2 on Bernoulli bandits, as in `experiments.studies.bandits` with a smaller memory."""
    iterations = min(num_iterations or BANDIT_ITERATIONS, BANDIT_ITERATIONS)
    tasks, rate = training.BANDIT["memory"]["num_tasks"], training.BANDIT["memory"]["outer_lr"]
    rate = schedule("linear", rate, iterations)
    learner = agents.make("rl2", bandit_family(), num_tasks=tasks, outer_lr=rate, num_iterations=iterations, **BANDIT_RL2)
    theta = trained(learner, seed, iterations, "bandit, rl2")
    return memory_of(theta, theta["readers"]["actor"]) | {"arms": ARMS, "pulls": PULLS}


def memory_of(theta: Any, policy: Any) -> dict[str, Any]:
    """A GRU and the policy that reads it."""
    gates = theta["memory"]["params"]
    inputs, size = gates["ir"]["kernel"].shape
    memory = {"inputs": int(inputs), "size": int(size), "gru": pack(flat_gru(theta["memory"]))}
    return memory | {"sizes": sizes_of(policy), "weights": pack(flat_mlp(policy))}


Maker = Callable[[Path, int, int | None], dict[str, Any]]
OTHERS: dict[str, Maker] = {"walk/maml": walker, "walk/rl2": walking_memory, "bandit/rl2": pulling_memory}


def everybody() -> dict[str, Maker]:
    """Part of the page's data -> what makes it: (folder, seed, iterations if not its own) -> parameters."""

    def regressor(agent: str) -> Maker:
        return lambda out, seed, num_iterations: sinusoids(agent, out, seed, num_iterations)

    return {f"sinusoid/{agent}": regressor(agent) for agent in SINUSOID_ITERATIONS} | OTHERS
