"""Tasks drawn from arrays: what is drawn is what is there, support and query share nothing, held-out groups stay out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.few_shot import arrays, digits, from_arrays

SHOTS, QUERY, WAYS, NUM_TASKS = 3, 4, 3, 200


def classes(sizes=(7, 9, 8, 12, 7, 10, 8)):
    """Of each example x is its number in the data, so that a draw says which rows it took."""
    label = np.repeat([f"c{index}" for index in range(len(sizes))], sizes)
    label = label[np.random.default_rng(0).permutation(len(label))]
    return arrays(np.arange(len(label))[:, None], label=label), label


def drawn(family, draw, num_tasks=NUM_TASKS):
    """x and one-hot y of the support and the query sets of many tasks, [M, N, ...]."""

    @jax.jit
    @jax.vmap
    def one(key):
        task = draw(key)
        return *family.sample(task, key, SHOTS), *family.sample_query(task, key)

    return map(np.asarray, one(jax.random.split(jax.random.key(3), num_tasks)))


def test_n_way_tasks_are_balanced_and_never_mix_support_and_query():
    data, label = classes()
    family = from_arrays(data, shots=SHOTS, query_shots=QUERY, ways=WAYS, held_out=("c1", "c4", "c6"))
    names = {"train": set(), "held out": set()}
    orders = set()
    for which, draw in (("train", family.sample_task), ("held out", family.sample_held_out_task)):
        for x, y, x_query, y_query in zip(*drawn(family, draw), strict=True):
            rows, rows_query = x[:, 0].astype(int), x_query[:, 0].astype(int)
            assert len({*rows} | {*rows_query}) == WAYS * (SHOTS + QUERY), "no row twice, nor in both"
            assert y.sum(axis=0).tolist() == [SHOTS] * WAYS and y_query.sum(axis=0).tolist() == [QUERY] * WAYS
            assert set(np.unique(y)) == {0.0, 1.0} and y.sum(axis=1).tolist() == [1.0] * len(y)
            told = {(label[row], int(np.argmax(one))) for row, one in zip([*rows, *rows_query], [*y, *y_query], strict=True)}
            assert len(told) == WAYS == len({name for name, _ in told}), "one label per class, the same in both sets"
            names[which] |= {name for name, _ in told}
            orders.add(tuple(name for name, _ in sorted(told, key=lambda pair: pair[1])))
    assert names == {"train": {"c0", "c2", "c3", "c5"}, "held out": {"c1", "c4", "c6"}}
    assert len(orders) == 4 * 3 * 2 + 3 * 2, "every choice of classes with every order of labels"


def test_every_row_of_a_class_is_drawn_alike():
    data, label = classes(sizes=(7, 14, 9, 9))
    family = from_arrays(data, shots=SHOTS, query_shots=QUERY, ways=2, held_out=("c2", "c3"))
    x, _, x_query, _ = drawn(family, family.sample_task, 3000)
    times = np.bincount(np.concatenate([x, x_query], axis=1).astype(int).ravel(), minlength=len(label))
    assert not times[np.isin(label, ["c2", "c3"])].any()
    # Both classes are in every task with 7 rows: all of the 7, and half of the 14 with a binomial spread of 27.
    assert set(times[label == "c0"]) == {3000} and np.abs(times[label == "c1"] - 1500).max() < 5 * 27.4


def test_fewer_shots_are_the_first_of_more():
    data, _ = classes()
    few, many = (from_arrays(data, shots=shots, query_shots=QUERY, ways=WAYS) for shots in (1, SHOTS))
    task_few, task_many = (envs.held_out_tasks(family, 5) for family in (few, many))
    np.testing.assert_array_equal(task_few.query, task_many.query)
    np.testing.assert_array_equal(task_few.support, task_many.support[..., :1])
    first = jax.tree.map(lambda x: x[0], task_many)
    np.testing.assert_array_equal(many.sample(first, None, 1)[0][:, 0], first.support[:, 0])
    with pytest.raises(ValueError, match="made for 3 shots, not 4"):
        many.sample(first, None, 4)


def test_regression_tasks_have_rows_of_their_own():
    x, y = np.arange(60).reshape(6, 10, 1), np.arange(120).reshape(6, 10, 2) * 0.5
    family = from_arrays(arrays(x, y=y), shots=SHOTS, query_shots=QUERY, held_out=("1", "3"))
    for which, draw in (({0, 2, 4, 5}, family.sample_task), ({1, 3}, family.sample_held_out_task)):
        seen = set()
        for x_s, y_s, x_q, y_q in zip(*drawn(family, draw, 60), strict=True):
            rows = np.concatenate([x_s, x_q])[:, 0]
            assert len({*rows}) == SHOTS + QUERY and len({*(rows // 10)}) == 1
            np.testing.assert_array_equal(np.concatenate([y_s, y_q]), y.reshape(60, 2)[rows.astype(int)])
            seen |= {*(rows // 10)}
        assert seen == which


def test_finitely_many_held_out_tasks_come_in_turn():
    family = from_arrays(arrays(np.ones((6, 10, 1)), y=np.ones((6, 10))), shots=2, query_shots=2, held_out=("1", "3"))
    tasks = envs.held_out_tasks(family, 6)
    assert tasks.groups[:, 0].tolist() == [1, 3] * 3 and len({*map(str, tasks.support[:, 0])}) > 2


def test_the_split_is_of_names_and_its_hash_of_the_examples():
    data, _ = classes()
    split = from_arrays(data, shots=1, query_shots=1, ways=2).split
    again = from_arrays(data, shots=SHOTS, query_shots=QUERY, ways=2).split
    assert split == again and len(split.held_out) == 2 and {*split.held_out} | {*split.train} == {*data.names}
    other = data._replace(x=np.where(data.group[:, None] == data.names.index(split.train[0]), data.x + 1, data.x))
    changed = from_arrays(other, shots=1, query_shots=1, ways=2).split
    assert changed.held_out_hash == split.held_out_hash and changed.train_hash != split.train_hash


REFUSED = {
    "no classes left": ({"ways": 3, "held_out": ("c0", "c1")}, r"2 held out, but at least 3 must be; lower the ways"),
    "too many held out": ({"ways": 2, "held_out": ("c0", "c1", "c2")}, r"4 classes, 3 of them held out: 1 to train on, but at"),
    "a stranger": ({"ways": 2, "held_out": ("c9", "c1")}, r"no class 'c9' to hold out; there are c0, c1, c2, c3\."),
    "too few examples": ({"ways": 2, "shots": 6}, r"class 'c0' has 7 examples, but 6 shots and 4 query shots need 10"),
    "one way": ({"ways": 1}, r"ways is 1, but must be a whole number, at least 2"),
    "no ways": ({"ways": None}, r"4 classes, but no number of ways"),
    "no shots": ({"ways": 2, "shots": 0}, r"shots is 0, but must be"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_data_cannot_give_is_refused_in_one_line(name):
    settings, message = REFUSED[name]
    data, _ = classes(sizes=(7, 8, 9, 10))
    with pytest.raises(ValueError, match=f"^[^\n]*{message}[^\n]*$"):
        from_arrays(data, **{"shots": SHOTS, "query_shots": QUERY} | settings)


def test_ways_of_targets_are_refused():
    with pytest.raises(ValueError, match="targets to regress, but ways is 2: there are no classes"):
        from_arrays(arrays(np.ones((4, 9, 1)), y=np.ones((4, 9))), shots=1, query_shots=1, ways=2)


def test_digits_are_scikit_learn_s():
    datasets = pytest.importorskip("sklearn.datasets")
    found, data = datasets.load_digits(), digits()
    assert data.x.shape == (2 * 1797, 64) and data.input_shape == (8, 8, 1) and len(data.names) == 20
    assert (data.x.min(), data.x.max()) == (0.0, 1.0)
    for row in (0, 17, 1796):
        np.testing.assert_array_equal(data.x[row].reshape(8, 8) * 16, found.images[row])
        np.testing.assert_array_equal(data.x[1797 + row].reshape(8, 8) * 16, found.images[row].T[::-1])
        assert data.names[data.group[row]] == str(found.target[row])
        assert data.names[data.group[1797 + row]] == f"{found.target[row]}-turned"
    family = from_arrays(data, shots=1, query_shots=15, ways=5)
    assert {name[0] for name in family.split.held_out} == set("6789") and len(family.split.train) == 12
    x, y = family.sample_query(family.sample_task(jax.random.key(0)), None)
    assert x.shape == (75, 64) and y.shape == (75, 5) and x.dtype == jnp.float32
