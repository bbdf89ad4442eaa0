"""How `experiments.studies.bandits` trains rl2, with its sources."""

from typing import Any

# Marks: P read in the paper (Sections 3.1 and 3.2, Table 1), T chosen here by what rl2 earned on tasks of the training
# distribution. The paper trains by TRPO with a recurrent baseline; this is PPO.
PROTOCOL: dict[str, Any] = {
    "agent": "rl2",  # P
    "num_episodes": 1,  # T: one trial on each of many bandits tells more than several on fewer
    "num_tasks": 4000,  # T: with 1,000 to 2,000 it stayed at 6.60 to 6.63 for 5 arms, where 6.66 is the optimum
    "gamma": 1.0,  # T: what is reported is the plain sum
    "gae_lambda": 0.95,  # T: 0.3 was no better
    "hidden_sizes": (64,),  # T
    "activation": "tanh",
    "outer_schedule": "linear",  # T
    "ppo_epochs": 4,  # T
    "eval_episodes": 1,  # P: one trial per bandit
}
# By pulls, the nearest from below: longer trials are fewer, for the same time.
SETTINGS: dict[int, dict[str, Any]] = {
    1: {"memory_size": 64, "outer_lr": 5e-3, "entropy_cost": 0.01, "num_iterations": 250},  # T: 2e-3 was slower
    100: {"memory_size": 128, "num_tasks": 500, "outer_lr": 2e-3, "entropy_cost": 0.01, "num_iterations": 300},  # not tuned
}
# The memories of rl2 that can be put side by side. Nothing was tuned for any but the first.
MEMORIES: dict[str, dict[str, Any]] = {
    "gru": {},
    "lstm": {"memory": "lstm"},
    "lru": {"memory": "lru"},
    "transformer": {"memory": "transformer"},
    "hypernetwork": {"hypernetwork": True},  # of a gru
}
