"""What takes most of the memory of a meta-iteration, by the shapes of its settings, for advice where there is too little."""

import itertools
from typing import Any, NamedTuple

import envs
from agents.parts.encoding import num_read
from agents.parts.networks import convolved_sizes
from experiments.cli.flags import flag

USUAL_TASKS = 100  # whose transitions are kept, where an agent was not told how many


class Term(NamedTuple):
    """A part of a meta-iteration's memory.

    Attributes:
        what: in words.
        numbers: how many numbers it holds at once, roughly.
        advice: flags that make it smaller.
    """

    what: str
    numbers: int
    advice: str


def terms(config: Any, family: envs.TaskFamily) -> list[Term]:
    """The parts that may be large, see `Term`.

    Args:
        config: a resolved configuration of `experiments.train`.
        family: its task family.
    """
    space = family.observation_space
    size = num_read(space)
    steps = config.num_episodes * (config.horizon or family.horizon)
    batches = getattr(config.own, "num_inner_steps", 0) + 1
    at_once = config.task_batch or config.num_tasks
    features = 2 * size + 4
    convolutions = convolved_sizes(space.shape or ()) if config.trunk == "conv" else []
    layers = (*(convolutions[-1:] or [size]), *config.hidden_sizes)
    weights = sum(first * second for first, second in itertools.pairwise(layers))
    episodes = f"{flag('num_tasks')}, {flag('num_episodes')} or {flag('horizon')}"
    found = [
        Term(f"observations of {size:,} numbers", config.num_tasks * batches * steps * size, f"a smaller {episodes}"),
        Term(
            "what the layers of the policy compute",
            at_once * batches * steps * (sum(convolutions) + sum(config.hidden_sizes)),
            f"a smaller {flag('task_batch')}, {flag('num_episodes')} or {flag('hidden_sizes')}",
        ),
        Term(f"{weights:,} weights per task and step", at_once * batches * weights, f"smaller {flag('hidden_sizes')}"),
    ]
    kept = getattr(config.own, "buffer_size", 0) * (getattr(config.own, "num_train_tasks", 0) or USUAL_TASKS)
    if kept:
        what = f"buffers of {kept:,} transitions"
        found.append(Term(what, kept * 2 * size, f"a smaller {flag('buffer_size')} or {flag('num_train_tasks')}"))
    if getattr(config.own, "baseline", None) == "linear":
        what = f"the linear baseline's systems of {features:,} unknowns"
        found.append(Term(what, at_once * (features**2 + steps * features), f"{flag('baseline')} time"))
    if hasattr(config.own, "buffer_trials"):
        trial = config.own.trial_episodes * (config.horizon or family.horizon)
        numbers = config.own.buffer_trials * trial * (size + num_read(family.action_space) + 3)
        found.append(Term(f"the buffer of {config.own.buffer_trials:,} trials", numbers, f"a smaller {flag('buffer_trials')}"))
    return found


def advice(config: Any, family: envs.TaskFamily, others: str) -> str:
    """What to try where there is too little memory: first what makes the largest part smaller, then ``others``.

    Returns:
        Words to follow "try".
    """
    largest = max(terms(config, family), key=lambda term: term.numbers)
    return f"{largest.advice} first, since {largest.what} take most of it; else {others}"
