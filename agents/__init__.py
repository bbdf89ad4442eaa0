"""Agents: what learns to adapt. `make` builds one on a task family; `register` makes one of your own known by name."""

from agents.agent import Adaptation, Agent, Bounds, ByPPO, InnerLoop, NoHyperparameters, Only, OnPolicy, Training
from agents.build import build, make
from agents.parts.networks import Conv
from agents.parts.world import (
    RegressionSettings,
    ReinforcementSettings,
    World,
    classification_world,
    policy_gradient_world,
    regression_world,
)
from agents.registration import find, find_network, register, register_network, registered

AGENTS = {
    "maml": ".maml:MAML",
    "maml-trpo": ".maml_trpo:MAML_TRPO",
    "promp": ".promp:PROMP",
    "e-maml": ".e_maml:E_MAML",
    "fomaml": ".maml:FOMAML",
    "reptile": ".reptile:REPTILE",
    "imaml": ".imaml:IMAML",
    "anil": ".maml:ANIL",
    "cavia": ".cavia:CAVIA",
    "meta-sgd": ".maml:META_SGD",
    "maml++": ".maml_plus_plus:MAML_PLUS_PLUS",
    "pretrained": ".pretrained:PRETRAINED",
    "multitask": ".multitask:MULTITASK",
    "mann": ".mann:MANN",
    "protonet": ".protonet:PROTONET",
    "rl2": ".rl2:RL2",
    "oracle": ".oracle:ORACLE",
    "random": ".random_start:RANDOM_START",
}

for _name, _agent in AGENTS.items():
    register(_name, _agent)

register_network("conv", Conv())

__all__ = [
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
    "find_network",
    "make",
    "policy_gradient_world",
    "register",
    "register_network",
    "registered",
    "regression_world",
]
