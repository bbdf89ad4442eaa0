"""Checks of task families, each a small function; the episodes that they look at are compiled once for all of them."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from envs.check import environments, episodes, tasks
from envs.check.evidence import Evidence
from envs.check.watched import watched
from envs.family import TaskFamily
from envs.from_gymnasium.family import HostFamily

# Nothing more can be looked at once one of these fails.
FIRST: tuple[Callable[[Evidence], str | None], ...] = (
    tasks.functions_shapes_and_dtypes,
    tasks.spaces_suit_the_policies,
    tasks.tasks_under_jit_and_vmap,
    tasks.tasks_are_numbers,
    tasks.tasks_in_their_space,
    tasks.held_out_tasks_are_others,
    episodes.episodes_under_jit_and_vmap,
)
THEN: tuple[Callable[[Evidence], str | None], ...] = (
    episodes.everything_is_finite,
    episodes.numbers_are_near_one,
    episodes.observations_in_their_space,
    episodes.same_seed_same_episode,
    episodes.stepping_alone_equals_vmap,
    episodes.tasks_differ,
    tasks.host_calls_are_declared,
    environments.reset_keeps_the_task,
    environments.horizon_is_respected,
    environments.nothing_after_the_end,
    environments.gymnasium_accepts_it,
    environments.images_are_drawn,
)


class Finding(NamedTuple):
    """What one check found: nothing, a note, or a failure that says what to change."""

    check: str
    note: str | None
    failure: str | None


def findings(family: TaskFamily) -> Iterator[Finding]:
    """Run the checks one by one; stops after a failure that leaves nothing to look at."""
    evidence = Evidence(family)
    for check in FIRST + THEN:
        name = check.__name__.replace("_", " ")
        try:
            yield Finding(name, check(evidence), None)
        except ValueError as error:
            yield Finding(name, None, str(error))
            if check in FIRST:
                return


def check_task_family(family: TaskFamily) -> None:
    """Play random episodes of a family and check all that the agents rely on.

    Raises:
        ValueError: one line for each check that fails, with the family, the function, the value and what to change.
    """
    failures = [finding.failure for finding in findings(family) if finding.failure is not None]
    if failures:
        raise ValueError("\n".join(failures))


def not_finite(family: TaskFamily) -> str | None:
    """Which function of a family gives numbers that are not finite in random episodes, or None."""
    try:
        episodes.everything_is_finite(Evidence(family))
    except ValueError as error:
        return str(error)
    return None


def not_finite_in(family: TaskFamily, play: Callable[[TaskFamily], object]) -> str | None:
    """Which function of a family, or which environment, gives the first number that is not finite, or None.

    Args:
        family: which.
        play: called with a copy of the family that calls the host, unless the family is one of environments on the host: these
            have noted what they gave.
    """
    if isinstance(family, HostFamily):
        return family.not_finite()
    copied, notes = watched(family)
    play(copied)
    return notes[0] if notes else None


def forget_not_finite(family: TaskFamily) -> None:
    """What an environment on the host has given so far is not to be blamed for what comes."""
    if isinstance(family, HostFamily):
        family.not_finite()
