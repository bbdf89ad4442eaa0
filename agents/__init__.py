"""Agents by name. Each factory takes ``(problem, init_params, sample_task, *, inner_lr, outer_lr, num_tasks,
num_inner_steps, resample)`` and gives a `metarl.types.MetaLearner`.
"""

import difflib
from collections.abc import Callable

from agents.gradient import fomaml, maml, random_start
from metarl.types import MetaLearner

AGENTS: dict[str, Callable[..., MetaLearner]] = {
    "maml": maml,
    "fomaml": fomaml,
    "random": random_start,
}


def agent(name: str) -> Callable[..., MetaLearner]:
    """The factory called ``name``.

    Raises:
        ValueError: no such agent; names the closest.
    """
    if name not in AGENTS:
        close = difflib.get_close_matches(name.lower(), AGENTS, n=2, cutoff=0.5)
        hint = f"Did you mean {' or '.join(map(repr, close))}?" if close else f"Known: {', '.join(AGENTS)}."
        raise ValueError(f"No agent {name!r}. {hint}")
    return AGENTS[name]
