"""What ``import agents`` gives."""

import agents

NAMES = [
    "AGENTS",
    "Adaptation",
    "Agent",
    "Bounds",
    "ByPPO",
    "InnerLoop",
    "NoHyperparameters",
    "OnPolicy",
    "Only",
    "RegressionSettings",
    "ReinforcementSettings",
    "Training",
    "World",
    "build",
    "classification_world",
    "find",
    "find_memory",
    "find_network",
    "make",
    "policy_gradient_world",
    "register",
    "register_memory",
    "register_network",
    "registered",
    "regression_world",
]


def test_public_names():
    assert agents.__all__ == sorted(agents.__all__) == NAMES
    assert all(hasattr(agents, name) for name in NAMES)
