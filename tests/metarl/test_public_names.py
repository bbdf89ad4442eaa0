"""What `import metarl` offers is a decision: a name that comes or goes changes this list."""

import metarl

NAMES = [
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


def test_public_names():
    assert metarl.__all__ == sorted(metarl.__all__) == NAMES


def test_every_name_resolves():
    for name in NAMES:
        assert getattr(metarl, name) is not None
