"""What goes wrong inside a task family while agents train on it: one line with the family, the function and the value."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import jax

import envs
from envs.check import not_finite
from envs.contract import explain
from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError


class NotFinite(UserError):
    """Numbers became non-finite, which may be the agent's fault or the family's."""


@contextmanager
def explained(env: str, family: envs.TaskFamily) -> Iterator[None]:
    """Look for the cause of `NotFinite` in random episodes of ``family``; tell errors of its host code in one line."""
    log = logging.getLogger("jax._src.callback")
    before = log.level
    log.setLevel(logging.CRITICAL)  # its traceback: our line says the same
    try:
        yield
    except NotFinite as error:
        cause = not_finite(family)
        if cause is None:
            raise
        raise UserError(
            f"{error} The cause may be in the family: {cause} ({command_line('check')} {env} looks further)"
        ) from error
    except jax.errors.JaxRuntimeError as error:
        if envs.host_error(error) is not None:  # which says enough
            raise
        if "Traceback (most recent call last)" not in str(error):
            raise
        raise UserError(f"{env} fails on the host: {explain(error)}") from error
    finally:
        log.setLevel(before)
