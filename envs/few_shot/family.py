"""Tasks drawn from arrays: some rows of one group to regress, or of N groups to tell apart, and further rows for the query."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.family import HELD_OUT_STREAM
from envs.few_shot.examples import Arrays

SHARE = 4  # one in so many groups is held out where nobody says which
MOST_HELD_OUT = 10_000  # draws that are listed of finitely many held-out tasks


class Rows(NamedTuple):
    """A task: which rows of the arrays it has. No row is in it twice, so support and query share none.

    Attributes:
        groups: [G] int32, of the arrays' groups: the task itself in regression (G = 1); in classification the N classes, in the
            order of their labels 0..N-1 in this task.
        query: [G, Q] int32, rows of each.
        support: [G, K] int32.
    """

    groups: jax.Array
    query: jax.Array
    support: jax.Array


class Split(NamedTuple):
    """What was trained on and what was not, by name, with the SHA-256 of the examples of each."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]
    train_hash: str
    held_out_hash: str


class FewShotFamily(NamedTuple):
    """A distribution over tasks whose support and query sets are drawn together.

    Attributes:
        sample_task: key -> task, of the groups that are trained on.
        sample_held_out_task: key -> task, of the others.
        sample: (task, key, shots) -> the support set, x [N, F] and y [N, O]; the key is of no effect. With fewer shots than the
            family was made for, its first ones.
        sample_query: (task, key) -> the query set, the same for any shots.
        input_shape: of one input before it was put in a row of F numbers.
        ways: classes per task, of which y is one-hot; None in regression.
        held_out_list: draws of the held-out tasks, in turn, where they are a finite set that each is one of.
        split: which groups are held out; None where tasks come from a function.
    """

    sample_task: Callable[[jax.Array], Any]
    sample_held_out_task: Callable[[jax.Array], Any]
    sample: Callable[[Any, jax.Array, int], tuple[jax.Array, jax.Array]]
    sample_query: Callable[[Any, jax.Array], tuple[jax.Array, jax.Array]]
    input_shape: tuple[int, ...]
    ways: int | None
    held_out_list: Any = None
    split: Split | None = None

    @property
    def num_classes(self) -> int | None:
        """The same as ``ways``."""
        return self.ways


def from_arrays(
    data: Arrays, *, shots: int, query_shots: int, ways: int | None = None, held_out: Sequence[str] = ()
) -> FewShotFamily:
    """Few-shot tasks of checked arrays.

    In regression a task is one of the data's, and K + Q of its rows. In N-way classification it is N classes in random order,
    which is that of their labels, and K + Q rows of each. Held-out tasks are of groups that training tasks are never of.

    Args:
        data: from `arrays` or `read`.
        shots: K, of each class in classification.
        query_shots: Q, of each class too.
        ways: N in classification; None in regression.
        held_out: names of the groups held out; those that the data names, or one in four by a fixed draw, if empty.

    Raises:
        ValueError: in one line, what the data cannot give.

    >>> import numpy as np
    >>> from envs.few_shot.examples import arrays
    >>> data = arrays(np.ones((12, 5, 3)), y=np.ones((12, 5)))
    >>> from_arrays(data, shots=3, query_shots=2).split.held_out
    ('8', '9', '10')
    >>> from_arrays(data, shots=3, query_shots=3)
    Traceback (most recent call last):
    ValueError: data: task '0' has 5 examples, but 3 shots and 3 query shots need 6.
    """
    _refuse_counts(data, shots=shots, query_shots=query_shots, ways=ways)
    train, test = split_of(data, held_out, 1 if ways is None else ways)
    num_rows, size = shots + query_shots, 1 if ways is None else ways
    counts = np.bincount(data.group, minlength=len(data.names))
    fewest = int(np.argmin(counts))
    if counts[fewest] < num_rows:
        raise ValueError(
            f"{data.source}: {data.noun} {data.names[fewest]!r} has {counts[fewest]} examples, but {shots} shots and "
            f"{query_shots} query shots need {num_rows}."
        )
    table = np.zeros((len(counts), counts.max()), np.int32)
    for index, count in enumerate(counts):
        table[index, :count] = np.flatnonzero(data.group == index)
    rows_of, count_of = jnp.asarray(table), jnp.asarray(counts)
    x, y = jnp.asarray(data.x), None if data.y is None else jnp.asarray(data.y)

    def rows(group, key):
        order = jax.random.uniform(key, rows_of.shape[1:])
        order = jnp.where(jnp.arange(rows_of.shape[1]) < count_of[group], order, -1.0)
        return rows_of[group][jax.lax.top_k(order, num_rows)[1]]

    def of_groups(groups, key):
        drawn = jax.vmap(rows)(groups, jax.random.split(key, size))
        return Rows(groups, drawn[:, :query_shots], drawn[:, query_shots:])

    def task_from(groups, key):
        key_groups, key_rows = jax.random.split(key)
        return of_groups(jax.random.choice(key_groups, jnp.asarray(groups), (size,), replace=False), key_rows)

    def examples(drawn):
        chosen = drawn.reshape(-1)
        if y is not None:
            return x[chosen], y[chosen]
        return x[chosen], jax.nn.one_hot(jnp.repeat(jnp.arange(size), drawn.shape[1]), size)

    def sample(task, key, num_shots):
        del key
        if num_shots > shots:
            raise ValueError(f"the family was made for {shots} shots, not {num_shots}.")
        return examples(task.support[:, :num_shots])

    def in_turn():
        draws = np.resize(test, (max(MOST_HELD_OUT // len(test), 1) * len(test), 1))
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(HELD_OUT_STREAM), jnp.arange(len(draws)))
        some_at_once = lambda given: jax.lax.map(
            lambda each: of_groups(*each), given, batch_size=64
        )  # tasks may have many rows
        return jax.jit(some_at_once)((jnp.asarray(draws), keys))

    return FewShotFamily(
        sample_task=lambda key: task_from(train, key),
        sample_held_out_task=lambda key: task_from(test, jax.random.fold_in(key, HELD_OUT_STREAM)),
        sample=sample,
        sample_query=lambda task, key: examples(task.query),
        input_shape=data.input_shape,
        ways=ways,
        held_out_list=in_turn() if ways is None else None,
        split=Split(_named(data, train), _named(data, test), _hash(data, train), _hash(data, test)),
    )


def split_of(data: Arrays, held_out: Sequence[str], needed: int) -> tuple[np.ndarray, np.ndarray]:
    """The groups to train on and those held out, int32, at least ``needed`` of each; see `from_arrays`."""
    nouns = "tasks" if data.noun == "task" else "classes"
    named = tuple(map(str, held_out)) or data.held_out
    for name in named:
        if name not in data.names:
            known = ", ".join(data.names[:10]) + (", ..." if len(data.names) > 10 else "")
            raise ValueError(f"{data.source} has no {data.noun} {name!r} to hold out; there are {known}.")
    if named:
        test = [data.names.index(name) for name in dict.fromkeys(named)]
    else:
        digest = lambda index: hashlib.sha256(data.names[index].encode()).digest()  # the same choice for ever
        test = sorted(range(len(data.names)), key=digest)[: max(round(len(data.names) / SHARE), needed)]
    train = [index for index in range(len(data.names)) if index not in test]
    for part, words in ((test, "held out"), (train, "to train on")):
        if len(part) < needed:
            has = f"{data.source} has {len(data.names)} {nouns}, {len(test)} of them held out"
            most = "; lower the ways" if data.noun == "class" else ""
            raise ValueError(f"{has}: {len(part)} {words}, but at least {needed} must be{most}.")
    return np.array(train, np.int32), np.array(sorted(test), np.int32)


def _refuse_counts(data: Arrays, *, shots: int, query_shots: int, ways: int | None) -> None:
    for name, value, least in (("shots", shots, 1), ("query_shots", query_shots, 1), ("ways", ways, 2)):
        if value is not None and (value != int(value) or value < least):
            raise ValueError(f"{name} is {value}, but must be a whole number, at least {least}.")
    if ways is None and data.y is None:
        raise ValueError(f"{data.source} has {len(data.names)} classes, but no number of ways: say how many a task has.")
    if ways is not None and data.y is not None:
        raise ValueError(f"{data.source} has targets to regress, but ways is {ways}: there are no classes; leave it out.")


def _named(data: Arrays, groups: np.ndarray) -> tuple[str, ...]:
    return tuple(data.names[index] for index in groups)


def _hash(data: Arrays, groups: np.ndarray) -> str:
    """SHA-256 of the examples of some groups: names, shapes and bytes."""
    digest = hashlib.sha256()
    for index in groups:
        of_group = data.group == index
        digest.update(f"{data.names[index]} {of_group.sum()} {data.input_shape}".encode())
        digest.update(data.x[of_group].tobytes())
        digest.update(b"" if data.y is None else data.y[of_group].tobytes())
    return digest.hexdigest()
