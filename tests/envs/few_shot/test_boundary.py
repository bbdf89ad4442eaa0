"""What a user hands in: arrays, files and functions are checked, and a mistake is one line that names it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.few_shot import arrays, from_function, read

X, LABEL = np.ones((6, 2)), [3, 3, 3, 12, 12, 12]


def test_forms_of_the_same_examples():
    x, y = np.arange(12.0).reshape(2, 3, 2), np.arange(6.0).reshape(2, 3)
    stacked = arrays(x, y=y)
    listed = arrays(x.reshape(6, 2), y=y.reshape(6), task=[0, 0, 0, 1, 1, 1])
    assert all(np.array_equal(one, other) for one, other in zip(stacked, listed, strict=True))
    assert stacked.x.dtype == np.float32 and stacked.y.shape == (6, 1) and stacked.noun == "task"
    images = arrays(np.zeros((6, 4, 5, 1), np.uint8), label=np.array(LABEL, float))
    assert images.input_shape == (4, 5, 1) and images.x.shape == (6, 20) and images.names == ("3", "12")
    assert arrays(X, label=[str(label) for label in LABEL]).names == ("3", "12")
    assert arrays(np.arange(4), label=["a", "b", "a", "b"]).x.shape == (4, 1)


WRONG = {
    "no y": ({}, "has neither y"),
    "both": ({"y": np.ones(6), "label": LABEL}, "has both y"),
    "task and label": ({"label": LABEL, "task": LABEL}, "has both label and task"),
    "text": ({"x": np.array([["a"]] * 6), "label": LABEL}, "x of <U1, but it must hold real numbers"),
    "complex": ({"x": 1j * X, "label": LABEL}, "x of complex128"),
    "not finite": ({"x": np.where(np.eye(6)[:, :2] == 1, np.nan, 1.0), "label": LABEL}, r"has x\[0, 0\] = nan, but"),
    "too large": ({"x": 1e300 * X, "label": LABEL}, r"has x\[0, 0\] = 1e\+300, but"),
    "a number": ({"x": 3.0, "label": LABEL}, "one number as x"),
    "no numbers": ({"x": np.ones((6, 0)), "label": LABEL}, r"x of shape \(6, 0\), without a number"),
    "labels not whole": ({"label": np.arange(6) + 0.5}, r"label of float64, such as \[0.5\], but it must be integers or text"),
    "labels of truth": ({"label": np.arange(6) > 2}, "label of bool"),
    "fewer labels": ({"label": LABEL[:5]}, r"label of shape \(5,\), but must have one entry for each of 6 rows"),
    "one-hot": ({"label": np.eye(6, dtype=int)}, r"label of shape \(6, 6\)"),
    "one class": ({"label": [1] * 6}, "has one class only, '1'"),
    "ragged inputs": ({"x": [[1, 2], [3]], "label": [0, 1]}, "has rows of different lengths in x; give every example as many"),
    "ragged targets": ({"x": X, "y": [[1], [1, 2]] * 3, "task": LABEL}, "has rows of different lengths in y"),
    "ragged labels": ({"label": [[1], [1, 2]] * 3}, "has rows of different lengths in label"),
    "one task": ({"y": np.ones(6), "task": [1] * 6}, "has one task only"),
    "flat without task": (
        {"y": np.ones(6)},
        r"x of shape \(6, 2\) and y of shape \(6,\), but without task they must be \[T, n",
    ),
    "fewer targets": ({"y": np.ones(5), "task": LABEL}, r"y of shape \(5, 1\) for 6 rows"),
    "targets not finite": ({"y": [1, 2, 3, np.inf, 5, 6], "task": LABEL}, r"y\[3\] = inf"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arrays_are_refused_in_one_line(name):
    given, message = WRONG[name]
    with pytest.raises(ValueError, match=f"^data [^\n]*{message}[^\n]*$"):
        arrays(**{"x": X} | given)


def test_files_give_what_arrays_give(tmp_path):
    x, y, task = np.random.default_rng(0).normal(size=(6, 2)), np.arange(12.0).reshape(6, 2), ["b", "a"] * 3
    np.savez(tmp_path / "tasks.npz", x=x, y=y, task=task, held_out=["a"])
    lines = ["machine,speed,load,y1,y2", *(f"{t},{a},{b},{c},{d}" for t, (a, b), (c, d) in zip(task, x, y, strict=True))]
    (tmp_path / "tasks.csv").write_text("\n".join(lines))
    (tmp_path / "classes.csv").write_text("a,label,b\n" + "\n".join(f"{a},{t},{b}" for t, (a, b) in zip(task, x, strict=True)))
    expected = arrays(x, y=y, task=task)
    found = [read(tmp_path / "tasks.npz"), read(tmp_path / "tasks.csv", task_column="machine")]
    found.append(read(tmp_path / "tasks.csv", task_column="machine", targets=("y1", "y2")))
    for one in found:
        assert all(np.array_equal(a, b) for a, b in zip(one[:5], expected[:5], strict=True))
    assert found[0].held_out == ("a",) and found[1].held_out == ()
    classes = read(tmp_path / "classes.csv")
    assert classes.y is None and classes.names == ("a", "b") and np.array_equal(classes.x, expected.x)


CSV = {
    "": "has no lines below its header",
    "task,x,y\n": "has no lines below its header",
    "task,x,x\n1,2,3": "has two columns called 'x'",
    "task,x,y\n1,2": "line 2, has 2 cells, but the header has 3",
    "machine,x,y\n1,2,3": "has no column 'task', but machine, x, y; say how",
    "task,x,z\n1,2,3": "has no targets y or y1, y2, ... beside task, x, z",
    "task,y\n1,3": "has no inputs beside task, y",
    "label\n1": "has no inputs beside label",
    "task,x,y\n1,2,3\n1,2,three": "line 3, column 'y': 'three' is no number",
    "task,x,y\n1,2,3\n1,,3": "line 3, column 'x': '' is no number",
    "task,x,y\n1,2,3\n2,nan,3": r"has x\[1, 0\] = nan",
    "task,x,y\n1,2,3\n1,2,3": "has one task only",
    "task,x,y\n1,2,3\n\n\n1,2,three": "line 5, column 'y': 'three' is no number",
    "task,label,x,y\n1,2,3,4": "has columns 'task' and 'label': tasks or classes; leave one out",
}


@pytest.mark.parametrize("text", CSV)
def test_wrong_csv_files_are_refused_in_one_line(text, tmp_path):
    (tmp_path / "tasks.csv").write_text(text)
    with pytest.raises(ValueError, match=f"^[^\n]*tasks.csv[^\n]* {CSV[text]}[^\n]*$"):
        read(tmp_path / "tasks.csv")


@pytest.mark.parametrize(
    ("header", "options", "message"),
    [
        ("a,b,label", {"targets": ("b",)}, "has classes in 'label', but targets are b; leave them out"),
        ("a,b,label", {"task_column": "machine"}, "has no column 'machine' of tasks, but a, b, label; say how"),
        ("a,task,y", {"label_column": "kind"}, "has no column 'kind' of labels, but a, task, y; say how"),
        ("a,task,y", {"targets": ("task",)}, "targets are task, but must be different columns beside 'task'"),
        ("a,task,y", {"targets": ("y", "y")}, "targets are y, y, but must be different columns beside 'task'"),
    ],
)
def test_options_that_the_columns_do_not_bear_out_are_refused(header, options, message, tmp_path):
    (tmp_path / "tasks.csv").write_text(header + "\n1,2,3\n4,5,6\n")
    with pytest.raises(ValueError, match=f"^[^\n]*tasks.csv[^\n]* {message}[^\n]*$"):
        read(tmp_path / "tasks.csv", **options)


def test_labels_beyond_integers_are_no_integers():
    x = np.ones((4, 1))
    for label in ([np.inf, np.inf, 1.0, 1.0], [1e300, 1e300, 1.0, 1.0]):
        with pytest.raises(ValueError, match="label of float64, such as"):
            arrays(x, label=np.array(label))
    assert arrays(x, label=np.array([1.0, 1, 2, 2]), held_out=np.array([[2.0]])).held_out == ("2",)


def test_other_files_are_refused_in_one_line(tmp_path):
    np.savez(tmp_path / "objects.npz", x=np.array([{}], object))
    np.savez(tmp_path / "strange.npz", x=X, labels=LABEL)
    np.savez(tmp_path / "empty.npz", label=LABEL)
    (tmp_path / "torn.npz").write_bytes((tmp_path / "strange.npz").read_bytes()[:60])
    (tmp_path / "bytes.csv").write_bytes(b"task,x,y\n\xff\xfe,1,2\n")
    (tmp_path / "tasks.txt").write_text("")
    with open(tmp_path / "single.npz", "wb") as file:
        np.save(file, X)
    np.savez_compressed(tmp_path / "spoiled.npz", x=X, label=LABEL)
    spoiled = bytearray((tmp_path / "spoiled.npz").read_bytes())
    spoiled[60:80] = b"\xff" * 20
    (tmp_path / "spoiled.npz").write_bytes(spoiled)
    for name, message in {
        "objects.npz": "no sound .npz of plain arrays",
        "strange.npz": "has an array 'labels'; known: x, y, task, label, held_out",
        "empty.npz": "has no array 'x'",
        "torn.npz": "no sound .npz",
        "single.npz": r"no sound .npz of plain arrays \(it is a single array",
        "spoiled.npz": "no sound .npz",
        "bytes.csv": "no sound CSV",
        "tasks.txt": "neither .npz nor .csv",
        "nowhere.csv": "cannot be read: No such file",
    }.items():
        with pytest.raises(ValueError, match=f"^[^\n]*{name}[^\n]* {message}[^\n]*$"):
            read(tmp_path / name)


def problem(key, shots, held_out):
    """Images of noise around a level per class; held-out levels are negative."""
    labels = jnp.repeat(jnp.arange(2), shots + 3)
    levels = jax.random.permutation(key, jnp.array([-1.0, -2.0]) if held_out else jnp.array([1.0, 2.0]))
    x = levels[labels][:, None, None] + 0.1 * jax.random.normal(key, (len(labels), 2, 2))
    x, labels = x.reshape(2, shots + 3, 2, 2), labels.reshape(2, -1)
    part = lambda rows: (x[:, rows].reshape(-1, 2, 2), labels[:, rows].ravel())
    return part(slice(0, shots)), part(slice(shots, None))


def test_a_function_s_tasks_are_what_it_draws():
    family = from_function(problem, shots=2, ways=2)
    assert family.input_shape == (2, 2) and family.num_classes == 2 and family.split is None
    task, held_out = jax.jit(family.sample_task)(jax.random.key(0)), family.sample_held_out_task(jax.random.key(0))
    (x, y), (x_query, _) = problem(jax.random.key(0), 2, False)
    np.testing.assert_allclose(family.sample(task, None, 2)[0], x.reshape(4, 4), rtol=1e-6)
    np.testing.assert_array_equal(family.sample(task, None, 2)[1], np.eye(2)[np.asarray(y)])
    np.testing.assert_allclose(family.sample_query(task, None)[0], x_query.reshape(6, 4), rtol=1e-6)
    assert family.sample_query(held_out, None)[0].max() < 0 < task.support[0].min()


SUPPORT = (jnp.ones((4, 1)), jnp.array([0, 0, 1, 1]))
FUNCTIONS = {
    "arguments": (lambda key: SUPPORT, r"\(key, 2, False\) fails: TypeError"),
    "one pair": (lambda key, shots, held_out: SUPPORT, "must give two pairs"),
    "no arrays": (lambda key, shots, held_out: ((1, 2), (3, 4)), "as x, but it must be an array"),
    "other rows": (lambda *given: (SUPPORT, (jnp.ones((3, 1)), SUPPORT[1])), "3 rows of x, but 4 of y"),
    "other inputs": (lambda *given: (SUPPORT, (jnp.ones((4, 2)), SUPPORT[1])), r"shape \(1,\), but query inputs of \(2,\)"),
    "other held out": (
        lambda key, shots, held_out: (SUPPORT, jax.tree.map(lambda x: x[: 3 if held_out else 4], SUPPORT)),
        "but held-out tasks of",
    ),
    "other shots": (
        lambda *given: [jax.tree.map(lambda x: x[:3], SUPPORT)] * 2,
        "3 support examples, but 2 shots of each of 2",
    ),
    "floats": (lambda *given: [(SUPPORT[0], SUPPORT[1] + 0.5)] * 2, r"y of float32\[4\], but classes are integers"),
    "a class more": (lambda *given: [(SUPPORT[0], SUPPORT[1] + 1)] * 2, "a class 2, but the classes of 2 ways are 0 to 1"),
    "NumPy": (lambda key, *more: np.ones(9)[jax.random.randint(key, (), 0, 9)], "fails: Tracer.* Write it in jax.numpy"),
    "not finite": (lambda *given: [(SUPPORT[0] / 0, SUPPORT[1])] * 2, "numbers that are not finite"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_wrong_functions_are_refused_in_one_line(name):
    function, message = FUNCTIONS[name]
    with pytest.raises(ValueError, match=f"^mine[^\n]*{message}[^\n]*$"):
        from_function(function, shots=2, ways=2, called="mine")
