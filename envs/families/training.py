"""How agents learn on our families: what `experiments.train` sets where its user does not (`TaskFamily.training_settings`).

Marks: P read in a paper, C in released code, T chosen here by what agents reached on tasks of the training distribution. What
an entry does not name is the agent's own default. Only kinds of agents that were tried, here or in the source, have entries.
"""

from typing import Any

Settings = dict[str, dict[str, Any]]

# Finn et al. 2017. The standard deviation: T, in a second round, 0.5 had looked as good on few seeds; rllab's default is 1.
_FEW_EPISODES: dict[str, Any] = {  # rl2 and the oracle learn from fewer episodes of more tasks; T
    "num_tasks": 40,
    "num_episodes": 2,
    "initial_std": 1.0,
    "outer_lr": 2e-3,
    "outer_schedule": "linear",
}
_FIXED_TASKS: dict[str, Any] = _FEW_EPISODES | {  # T, the rate and the number of tasks second ones that were tried
    "num_train_tasks": 40,  # 100 heads learned less in as many iterations
    "outer_lr": 5e-3,
    "inner_lr": 1.0,  # of 0.03 to 10
    "test_step_scale": (1.0,),
    "num_iterations": 200,
}
_HALVED: dict[str, Any] = {"inner_lr": 0.1, "test_step_scale": (1.0, 0.5)}  # P, C: halved after the first step
NAVIGATION: Settings = {
    "any": {"initial_std": 0.7, "num_tasks": 20, "num_episodes": 20},  # P: tasks and episodes
    "gradient": _HALVED | {"outer_lr": 2e-3, "num_iterations": 300},  # T; P has up to 500 iterations of a trust region
    "one batch": _HALVED | {"outer_lr": 2e-3, "num_iterations": 100},
    "memory": _FEW_EPISODES | {"trial_episodes": 4, "num_iterations": 400},
    "nothing": _FEW_EPISODES | {"num_iterations": 200},
    "maml-trpo": {"max_kl": 0.01, "num_iterations": 60},  # P, C: KL 0.01; C has 100 iterations
    "promp": {"num_iterations": 60},  # five optimiser steps each
    "reptile": {"num_inner_steps": 3},
    "maml++": {"num_inner_steps": 3},
    "imaml": {"num_inner_steps": 5},
    "cavia": {"inner_lr": 1.0},  # C: lmzintgraf/cavia
    "pretrained": {"num_iterations": 600},  # each draws half of what maml's draws
    "multitask": _FIXED_TASKS,
    "task-embedding": _FIXED_TASKS,
    "random": {"num_iterations": 1},  # nothing is trained
}
# One trial on each of many tasks, entropy, a rate that falls to zero: T, on bandits first.
_TRIALS: dict[str, Any] = {
    "num_tasks": 500,
    "num_episodes": 1,
    "outer_lr": 3e-3,
    "outer_schedule": "linear",
    "hidden_sizes": (64,),
    "num_iterations": 300,
}
# C: katerakelly/oyster, configs/sparse-point-robot.json: tasks, five episodes from the prior and others after them, contexts of
# all of them, discount, scale of rewards, weight of the KL, and the dense reward for critics alone. Two layers of 64 for three
# of 300, batches of 64 for 256, contexts of 128 for 1,024, 100 updates for 1,000, rate 1e-3 for 3e-4: what two cores can do.
SPARSE_NAVIGATION: Settings = {
    "memory": _TRIALS | {"trial_episodes": 4, "entropy_cost": 0.01},
    "pearl": {
        "num_tasks": 10,
        "num_episodes": 5,
        "trial_episodes": 10,
        "prior_episodes": 5,
        "prior_context": False,
        "learned_reward": "closeness",
        "gamma": 0.9,
        "kl_weight": 1.0,
        "reward_scale": 100.0,
        "activation": "relu",
        "hidden_sizes": (64, 64),
        "batch_size": 64,
        "context_size": 128,
        "updates": 100,
        "outer_lr": 1e-3,
        "outer_schedule": "constant",
        "num_iterations": 200,
    },
}
CORNER_NAVIGATION: Settings = {
    "gradient": {"num_tasks": 20, "num_episodes": 20, "inner_lr": 0.1, "num_iterations": 100}
}  # C: ProMP
# rl2: T, see experiments/studies/bandits/settings.py, with a fourth of its tasks; gradients: C, tristandeleu/pytorch-maml-rl.
BANDIT: Settings = {
    "memory": _TRIALS | {"num_tasks": 1000, "outer_lr": 5e-3, "trial_episodes": 10, "entropy_cost": 0.01, "gamma": 1.0},
    "gradient": {"hidden_sizes": (32, 32), "activation": "relu", "gamma": 0.95, "inner_lr": 0.5, "num_tasks": 20},
}
TABULAR: Settings = {"memory": _TRIALS | {"trial_episodes": 10, "gae_lambda": 0.9, "memory_size": 128, "entropy_cost": 0.01}}
# varibad: C, lmzintgraf/varibad, its encoder, decoder and KL; ours, updates after PPO on 500 trials, where C has 3 after 16.
GRID: Settings = {
    "memory": _TRIALS | {"trial_episodes": 4, "gamma": 0.97, "gae_lambda": 0.95, "entropy_cost": 0.02},
    "varibad": {
        "memory_size": 64,
        "decoder_sizes": (32, 32),
        "decode_rewards": "heads",
        "kl_weight": 0.01,
        "belief_updates": 20,
        "belief_trials": 50,
    },
}
# memory: the grid's, T, the first values tried with rl2: on 5 x 5 it comes within 0.1 of who knows the goals of training; with
# a key they were not tried. gradient: T, the first values tried with promp, which learned little.
DARK_ROOM: Settings = {
    "memory": GRID["memory"],
    "gradient": {"num_tasks": 20, "num_episodes": 20, "inner_lr": 0.1, "outer_lr": 2e-3},
}
DARK_KEY_DOOR: Settings = {"memory": GRID["memory"]}
# T, the first value tried, for promp; the other numbers: C, ProMP.
CLASSIC: Settings = {"gradient": {"num_tasks": 20, "num_episodes": 20, "inner_lr": 0.1, "outer_lr": 2e-3}}

# The chain from network to physics in ProMP's code; its other numbers are the agents' own defaults. Its 40 tasks are 20 here,
# to spare time. Adam steps once per meta-iteration where promp steps five times: T, the first value tried. rl2: C has two
# trials of two episodes on each of 100 tasks; lambda is ours.
_MANY_TASKS: dict[str, Any] = {"num_tasks": 80, "num_episodes": 1, "gae_lambda": 0.95}
LOCOMOTION: Settings = {
    "any": {"action_scale": 10.0, "normalize_observations": False, "num_tasks": 20, "num_episodes": 20},
    "gradient": {"outer_lr": 3e-3},
    "one batch": {"outer_lr": 3e-3},
    "memory": _MANY_TASKS | {"normalize_rewards": False},
    "nothing": _MANY_TASKS | {"num_episodes": 2},
    "promp": {"outer_lr": 1e-3},
    "maml-trpo": {"max_kl": 0.05},  # T: see experiments/studies/locomotion/protocol.py; P, C: 0.01
    "pearl": {"action_scale": 1.0, "gae_lambda": 1.0, "num_tasks": 20},  # tanh fills the range of actions; the last not tried
    "random": {"num_iterations": 1},
}

# T, the first values tried. Memories read rewards as they are, between 0 and 10.
META_WORLD: Settings = {
    "any": {"num_tasks": 20, "num_episodes": 10},  # C: metaworld-algorithms' MAML-TRPO for ML10
    "memory": {"num_tasks": 20, "num_episodes": 1, "trial_episodes": 3, "gae_lambda": 0.95},
    "pearl": {"gae_lambda": 1.0},  # it learns from single steps; the others of these not tried
    "random": {"num_iterations": 1},
}
