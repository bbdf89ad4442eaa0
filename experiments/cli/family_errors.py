"""What goes wrong inside a task family while agents train on it: one line with the family, the function and the value."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import jax

import envs
from envs.check import forget_not_finite, not_finite, not_finite_in
from envs.contract import explain
from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError
from metarl.interfaces import MetaLearner


class NotFinite(UserError):
    """Numbers became non-finite, which may be the agent's fault or the family's.

    Args:
        message: what became so, and where.
        advice: what to try where the family is not to blame.
        again: repeats what gave them, with a learner built alike; None if that cannot be done.
    """

    def __init__(self, message: str, advice: str = "", again: Callable[[MetaLearner], object] | None = None):
        super().__init__(f"{message} {advice}".strip())
        self.message, self.advice, self.again = message, advice, again


@contextmanager
def explained(
    env: str, family: envs.TaskFamily, rebuild: Callable[[envs.TaskFamily], MetaLearner] | None = None
) -> Iterator[None]:
    """Look for the cause of `NotFinite`; tell errors of the family's host code in one line.

    Args:
        env: the family's id.
        family: on which something is trained or evaluated.
        rebuild: makes the learner anew on a copy of the family that watches its numbers, to repeat what gave bad ones. Random
            episodes are looked at without it, or where that fails.
    """
    forget_not_finite(family)
    try:
        with quiet_callbacks():
            yield
    except NotFinite as error:
        raise _explanation(error, env, family, rebuild) from error
    except jax.errors.JaxRuntimeError as error:
        if envs.host_error(error) is not None:  # which says enough
            raise
        if "Traceback (most recent call last)" not in str(error):
            raise
        raise UserError(f"{env} fails on the host: {explain(error)}") from error


@contextmanager
def quiet_callbacks() -> Iterator[None]:
    """Without the traceback that JAX logs of what a callback raises: one line of ours says the same."""
    log = logging.getLogger("jax._src.callback")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


def _explanation(
    error: NotFinite, env: str, family: envs.TaskFamily, rebuild: Callable[[envs.TaskFamily], MetaLearner] | None
) -> UserError:
    """The error with its cause: a function of the family or, if all of its numbers are finite, the agent."""
    further = f"({command_line('check')} {env} looks further)"
    again = error.again
    if again is not None and rebuild is not None:
        cause = None
        with suppress(Exception), quiet_callbacks():  # such as too little memory: what happened is what to say
            cause = not_finite_in(family, lambda copied: again(rebuild(copied)))
        if cause is not None:
            return UserError(f"{error.message} The cause is in the family: {cause} {further}")
    cause = not_finite(family)
    if cause is not None:
        return UserError(f"{error.message} The cause may be in the family: {cause} {further}")
    return UserError(str(error))  # its cause was looked for: nobody has to do so again
