"""The mathematics of gradient-based meta-learning: data first, then a pure objective.

``collect`` plays the inner loop and records data; ``adapt`` replays it differentiably; a meta-gradient differentiates the
replay. Nothing here knows an environment, a network library or a file.
"""

from metarl import advantages, meta, outer, ppo, rules, surrogates, trial, trust_region
from metarl.inner_loop import adapt, collect
from metarl.interfaces import (
    AdaptationCurve,
    Batch,
    Environment,
    Experience,
    Fast,
    InnerRule,
    Key,
    MetaLearner,
    MetaState,
    Metrics,
    Params,
    Path,
    Problem,
    Task,
    Theta,
    Trajectory,
    Tree,
)
from metarl.sampler import rollout, rollout_with_memory
from metarl.surrogates import clipped_ratio, loaded_dice, reinforce
from metarl.tasks import OverTasks

__all__ = [
    "AdaptationCurve",
    "Batch",
    "Environment",
    "Experience",
    "Fast",
    "InnerRule",
    "Key",
    "MetaLearner",
    "MetaState",
    "Metrics",
    "OverTasks",
    "Params",
    "Path",
    "Problem",
    "Task",
    "Theta",
    "Trajectory",
    "Tree",
    "adapt",
    "advantages",
    "clipped_ratio",
    "collect",
    "loaded_dice",
    "meta",
    "outer",
    "ppo",
    "reinforce",
    "rollout",
    "rollout_with_memory",
    "rules",
    "surrogates",
    "trial",
    "trust_region",
]
