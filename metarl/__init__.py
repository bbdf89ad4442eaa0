"""The mathematics of gradient-based meta-learning: data first, then a pure objective.

``collect`` plays the inner loop and records data; ``adapt`` replays it differentiably; a meta-gradient differentiates the
replay. Nothing here knows an environment, a network library or a file.
"""

import importlib
from typing import TYPE_CHECKING, Any

import _metarl_names

if TYPE_CHECKING:
    from metarl import advantages, meta, outer, ppo, rules, surrogates, trial, trust_region
    from metarl.inner_loop import adapt, collect
    from metarl.interfaces import (
        Acting,
        AdaptationCurve,
        Batch,
        Carried,
        Environment,
        Experience,
        Fast,
        InnerRule,
        Key,
        MetaLearner,
        MetaState,
        Metrics,
        Outcome,
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
    from metarl.tasks import TaskMap

__version__ = "0.1.0"

_metarl_names.activate(__path__[0])  # metarl.envs and envs are one module, see there

__all__ = [
    "Acting",
    "AdaptationCurve",
    "Batch",
    "Carried",
    "Environment",
    "Experience",
    "Fast",
    "InnerRule",
    "Key",
    "MetaLearner",
    "MetaState",
    "Metrics",
    "Outcome",
    "Params",
    "Path",
    "Problem",
    "Task",
    "TaskMap",
    "Theta",
    "Trajectory",
    "Tree",
    "__version__",
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

# Where the names are, for those that are no module of this package. They are imported when first used: the commands set what
# jax reads when it is imported, and in an installed copy they lie in this package.
_HOMES = {
    "inner_loop": ("adapt", "collect"),
    "sampler": ("rollout", "rollout_with_memory"),
    "surrogates": ("clipped_ratio", "loaded_dice", "reinforce"),
    "tasks": ("TaskMap",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = ("advantages", "meta", "outer", "ppo", "rules", "surrogates", "trial", "trust_region")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name in __all__:
        return getattr(importlib.import_module(f".{_HOME_OF.get(name, 'interfaces')}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
