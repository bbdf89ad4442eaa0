"""Rings of transitions, against deques of Python."""

from collections import deque

import jax
import jax.numpy as jnp
import numpy as np

from metarl.replay import added, cleared, empty, some_rows, some_tasks

CAPACITY, TASKS = 7, 4


def test_rings_hold_what_deques_hold():
    rng, add = np.random.default_rng(0), jax.jit(added)
    replay = empty({"x": jnp.zeros(2), "end": jnp.zeros((), bool)}, TASKS, CAPACITY)
    deques, number = [deque(maxlen=CAPACITY) for _ in range(TASKS)], 0
    for round in range(12):
        tasks = rng.choice(TASKS, 2, replace=False)
        mask = rng.random((2, 5)) < 0.7
        x = number + np.arange(10.0).reshape(2, 5)
        number += 10
        if round == 6:
            replay = cleared(replay, jnp.asarray(tasks))
            for task in tasks:
                deques[task].clear()
        rows = {"x": jnp.stack([x, -x], axis=-1), "end": jnp.asarray(x % 2 == 0)}
        replay = add(replay, jnp.asarray(tasks), rows, jnp.asarray(mask, float))
        for i, task in enumerate(tasks):
            deques[task].extend(x[i][mask[i]])
        assert replay.size.tolist() == [len(kept) for kept in deques]
        for task, kept in enumerate(deques):
            size, place = int(replay.size[task]), int(replay.place[task])
            held = replay.rows["x"][task, :size]
            oldest_first = np.roll(held[:, 0], -place) if size == CAPACITY else held[:, 0]
            assert oldest_first.tolist() == list(kept)
            np.testing.assert_array_equal(held[:, 1], -held[:, 0])
            np.testing.assert_array_equal(replay.rows["end"][task, :size], held[:, 0] % 2 == 0)


def test_only_what_is_there_is_drawn_and_each_alike():
    replay = empty(jnp.zeros(()), TASKS, CAPACITY)
    replay = added(replay, jnp.array([1, 3]), jnp.array([[5.0, 6.0, 7.0], [8.0, 9.0, 0.0]]), jnp.array([[1, 1, 1], [1, 1, 0]]))
    tasks = np.asarray(some_tasks(replay, jax.random.key(0), 4000))
    np.testing.assert_allclose(np.bincount(tasks, minlength=TASKS) / 4000, [0, 0.5, 0, 0.5], atol=0.03)
    rows = np.asarray(some_rows(replay, jax.random.key(1), jnp.asarray(1), 3000))
    values, counts = np.unique(rows, return_counts=True)
    assert values.tolist() == [5, 6, 7]
    np.testing.assert_allclose(counts / 3000, 1 / 3, atol=0.03)
    assert set(np.unique(some_rows(replay, jax.random.key(1), jnp.asarray(3), 100))) == {8.0, 9.0}
