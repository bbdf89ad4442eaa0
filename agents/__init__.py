"""Agents by name. Each factory takes ``(world, settings)`` and gives a `metarl.interfaces.MetaLearner`."""

import difflib
from collections.abc import Callable

from agents.e_maml import e_maml
from agents.maml import anil, cavia, fomaml, imaml, maml, mamlpp, meta_sgd, random_start, reptile
from agents.maml_trpo import maml_trpo
from agents.mann import mann
from agents.multitask import multitask
from agents.oracle import oracle
from agents.parts.world import Settings, World
from agents.pretrained import pretrained
from agents.promp import promp
from agents.rl2 import rl2
from metarl.interfaces import MetaLearner

AGENTS: dict[str, Callable[[World, Settings], MetaLearner]] = {
    "maml": maml,
    "maml-trpo": maml_trpo,
    "promp": promp,
    "e-maml": e_maml,
    "fomaml": fomaml,
    "reptile": reptile,
    "imaml": imaml,
    "anil": anil,
    "cavia": cavia,
    "meta-sgd": meta_sgd,
    "maml++": mamlpp,
    "pretrained": pretrained,
    "multitask": multitask,
    "mann": mann,
    "rl2": rl2,
    "oracle": oracle,
    "random": random_start,
}
ANNEALED = {"maml++"}  # their schedules depend on num_iterations
REGRESSION_ONLY = {"multitask", "mann"}
REINFORCEMENT_ONLY = {"maml-trpo", "promp", "e-maml", "rl2"}
REUSE = {"imaml"}  # in reinforcement learning all inner steps use one batch of episodes
NOT_SPREAD = {"rl2", "oracle"}  # PPO's minibatches mix the trials of all tasks: on several devices the data would have to move
MEMORY = {"rl2"}  # their budget on a new task is counted in episodes of a trial, one per step


def agent(name: str) -> Callable[[World, Settings], MetaLearner]:
    """The factory called ``name``.

    Raises:
        ValueError: no such agent; names the closest.
    """
    if name not in AGENTS:
        close = difflib.get_close_matches(name.lower(), AGENTS, n=2, cutoff=0.5)
        hint = f"Did you mean {' or '.join(map(repr, close))}?" if close else f"Known: {', '.join(AGENTS)}."
        raise ValueError(f"No agent {name!r}. {hint}")
    return AGENTS[name]
