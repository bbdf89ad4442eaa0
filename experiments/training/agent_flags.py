"""Which flags of `experiments.train` an agent uses, and their values where the user gives none."""

import dataclasses
from typing import Any

import agents
from agents.pretrained import RECIPES
from experiments.cli.errors import UserError
from experiments.cli.flags import flag
from metarl import advantages

BASELINES = {"linear": advantages.linear_baseline, "time": advantages.time_baseline}

WITHOUT_INNER_LOOP = {"rl2", "oracle"}
INNER = set(agents.AGENTS) - agents.REGRESSION_ONLY - WITHOUT_INNER_LOOP
PPO = {"rl2", "oracle"}

# flag -> (agents that use it, its value if not given)
FLAGS: dict[str, tuple[set[str], Any]] = {
    "num_inner_steps": (INNER, 1),
    "inner_lr": (INNER, 0.1),
    "test_step_scale": (INNER, (1.0,)),
    # promp and imaml replay data of another policy, with probability ratios
    "dice_lambda": (INNER - {"promp", "imaml"}, 0.0),
    "baseline": (INNER, "linear"),
    "max_kl": ({"maml-trpo"}, 0.01),
    "outer_steps": ({"promp"}, 5),
    "clip": ({"promp"} | PPO, 0.3),
    "inner_kl": ({"promp"}, 5e-4),
    "credit": ({"e-maml"}, 1.0),
    "proximal": ({"imaml"}, 1.0),
    "cg_steps": ({"imaml"}, 5),
    "cg_damping": ({"imaml"}, 1.0),
    "context_size": ({"cavia"}, 5),
    "trial_episodes": ({"rl2"}, 2),  # ProMP's RL2 runs
    "memory_size": ({"rl2"}, 64),
    "ppo_epochs": (PPO, 5),  # ProMP's RL2 runs
    "ppo_minibatches": (PPO, 4),
    "entropy_cost": (PPO, 0.0),
    "recipe": ({"pretrained"}, "plain"),
}
NEEDS_STEPS = {"reptile", "imaml", "maml++"}  # without an inner step there is nothing to learn from
CHOICES: dict[str, list[str]] = {"baseline": list(BASELINES), "recipe": list(RECIPES)}
# Where an agent needs another value than the others.
OWN: dict[str, dict[str, Any]] = {
    "reptile": {"num_inner_steps": 3},  # with one step it is multi-task training
    "maml++": {"num_inner_steps": 3},  # with one step there is no loss of several
    "imaml": {"num_inner_steps": 5},
    "cavia": {"inner_lr": 1.0},  # Zintgraf et al. 2019, released code
    "rl2": {"clip": 0.2},  # Schulman et al. 2017
    "oracle": {"clip": 0.2},
}


def resolve(config: Any) -> Any:
    """Fill in what the agent uses and the user did not give.

    Args:
        config: a dataclass with ``agent`` and every flag of `FLAGS`, None where not given.

    Raises:
        UserError: a flag was given that the agent has no use for, or a name that is not known.
    """
    values: dict[str, Any] = {}
    for name, (users, default) in FLAGS.items():
        given = getattr(config, name)
        if config.agent in users:
            values[name] = OWN.get(config.agent, {}).get(name, default) if given is None else given
        elif given is not None:
            raise UserError(
                f"{flag(name)} is {given}, but {config.agent} has no use for it; leave it out.{_why(config.agent, name)}"
            )
    for name, known in CHOICES.items():
        if values.get(name, known[0]) not in known:
            raise UserError(f"{flag(name)} is {values[name]!r}; known: {', '.join(known)}.")
    return dataclasses.replace(config, **values)


def _why(agent: str, name: str) -> str:
    if agent in WITHOUT_INNER_LOOP and name in ("num_inner_steps", "inner_lr"):
        return f" {agent} has no inner loop." if agent == "oracle" else f" {agent} adapts by its memory, not by inner steps."
    users = sorted(FLAGS[name][0])
    return f" It is for {', '.join(users)}." if len(users) <= 2 else ""
