"""Checks of what a family is and of the tasks it draws. Each raises ValueError, or returns a note or nothing."""

import jax
import jax.numpy as jnp
import numpy as np

from envs.check.evidence import NUM_SAMPLES, Evidence, as_rows, on_host, same
from envs.contract import check_family
from envs.family import check_task_space
from envs.keys import numbers
from envs.values import refuse_actions


def functions_shapes_and_dtypes(evidence: Evidence) -> None:
    """Attributes, spaces, and what the functions return; no episode is played."""
    check_family(evidence.family)


def host_calls_are_declared(evidence: Evidence) -> str | None:
    """A family whose functions leave the compiled program says so in ``calls_host``."""
    family, called = evidence.family, evidence.host_calls
    if called and not family.calls_host:
        raise ValueError(
            f"{evidence.name}.{called[0]} calls the host, but {evidence.name}.calls_host is False; set calls_host = True."
        )
    if family.calls_host and not called:
        return "calls_host is True, but no function calls the host: training uses one device for nothing"
    return None


def spaces_suit_the_policies(evidence: Evidence) -> None:
    """Policies act in spaces that are counted or Boxes of floats, and in Dict and Tuple of these; they read any of these."""
    refuse_actions(f"{evidence.name}.action_space", evidence.family.action_space)


def tasks_under_jit_and_vmap(evidence: Evidence) -> None:
    """A key gives the same task twice, and alone as in a batch."""
    tasks, _ = evidence.samples
    for i in range(2):
        alone = [evidence.family.sample_task(evidence.keys[i]) for _ in range(2)]
        first, second = map(on_host, alone)
        if not same(first, second, 0.0):
            raise ValueError(
                f"{evidence.name}.sample_task gives {first} and then {second} for the same key; use no state or random "
                "numbers but the key's."
            )
        inside = jax.tree.map(lambda leaf, i=i: leaf[i], tasks)
        if not same(first, inside, 1e-5):
            raise ValueError(
                f"{evidence.name}.sample_task gives {first} alone, but {inside} under jit and vmap; it must not depend on "
                "Python state or on the other tasks of a batch."
            )


def tasks_are_numbers(evidence: Evidence) -> None:
    """No leaf of a sampled task is NaN."""
    for method, tasks in zip(("sample_task", "sample_held_out_task"), evidence.samples, strict=True):
        for path, leaf in jax.tree_util.tree_leaves_with_path(numbers(tasks)):
            if jnp.issubdtype(leaf.dtype, jnp.inexact) and jnp.isnan(leaf).any():
                raise ValueError(f"{evidence.name}.{method}: task{jax.tree_util.keystr(path)} is nan for some keys; mend it.")


def tasks_in_their_space(evidence: Evidence) -> str | None:
    """Sampled tasks lie in ``task_space``, where there is one."""
    for method, tasks in zip(("sample_task", "sample_held_out_task"), evidence.samples, strict=True):
        try:
            check_task_space(evidence.family, tasks, 1)
        except ValueError as error:
            raise ValueError(f"{evidence.name}.{method} leaves task_space: {error}") from error
    return None if evidence.family.task_space is not None else "the family declares no task_space"


def held_out_tasks_are_others(evidence: Evidence) -> str | None:
    """Keys matter, and held-out tasks are not those that training draws, or it is said how many are."""
    train, held_out = map(as_rows, evidence.samples)
    num_train = len(np.unique(train, axis=0))
    if num_train == 1:
        raise ValueError(f"{evidence.name}.sample_task gives the same task, {evidence.task(0)}, for every key; use the key.")
    listed = evidence.family.held_out_list
    if listed is not None:
        rows = as_rows(listed)
        return f"{counted(len(rows), 'held-out task')} in a list, each evaluated as often as the others; {shared(rows, train)}"
    # In a set of two tasks half of the keys agree by chance; nearly all do only where the stream is the same.
    if np.all(train == held_out, axis=1).mean() > 0.9:
        raise ValueError(
            f"{evidence.name}.sample_held_out_task gives the task that sample_task gives for the same key; leave it out, or "
            "fold a constant into the key."
        )
    rows = np.unique(held_out, axis=0)
    if len(rows) < NUM_SAMPLES:
        advice = "list them in held_out_list if there are no others: evaluation knows only those that it happens to draw"
        return f"{counted(len(rows), 'held-out task')} in {NUM_SAMPLES} draws; {shared(rows, train)}; {advice}"
    return f"{num_train} different training tasks in {NUM_SAMPLES} draws" if num_train < NUM_SAMPLES else None


def counted(count: int, noun: str) -> str:
    """1 task, 2 tasks."""
    return f"{count} {noun}{'s' * (count != 1)}"


def shared(held_out: np.ndarray, train: np.ndarray) -> str:
    """How many of the rows [L, ...] were drawn in training, too."""
    count = int(np.any(np.all(held_out[:, None] == train[None], axis=2), axis=1).sum())
    return f"{count or 'none'} of them among {counted(len(train), 'training task')} drawn"
