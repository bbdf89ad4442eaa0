"""Agents: what learns to adapt. `make` builds one on a task family; `register` makes one of your own known by name."""

from flax import linen as nn

from agents.agent import Adaptation, Agent, Bounds, ByPPO, InnerLoop, NoHyperparameters, Only, OnPolicy, Training
from agents.build import build, make
from agents.parts.linear_recurrence import LRU
from agents.parts.networks import Conv
from agents.parts.transformer import Transformer
from agents.parts.world import (
    RegressionSettings,
    ReinforcementSettings,
    World,
    classification_world,
    policy_gradient_world,
    regression_world,
)
from agents.registration import find, find_memory, find_network, register, register_memory, register_network, registered

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
    "task-embedding": ".multitask:TASK_EMBEDDING",
    "mann": ".mann:MANN",
    "protonet": ".protonet:PROTONET",
    "rl2": ".rl2:RL2",
    "varibad": ".varibad:VARIBAD",
    "pearl": ".pearl:PEARL",
    "oracle": ".oracle:ORACLE",
    "random": ".random_start:RANDOM_START",
}

MEMORIES = {"gru": nn.GRUCell, "lstm": nn.OptimizedLSTMCell, "lru": LRU, "transformer": Transformer}

for _name, _agent in AGENTS.items():
    register(_name, _agent)
for _name, _memory in MEMORIES.items():
    register_memory(_name, _memory)

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
