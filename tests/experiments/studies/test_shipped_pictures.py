"""The pictures of trained agents that come with the repository, and the two backends' learning curves."""

import numpy as np
import pytest
from PIL import Image

from experiments.evaluation import shipped
from experiments.studies import mjx_learning
from experiments.studies import shipped as pictures
from tests.experiments.conftest import small_run


def test_table_curves_frames_and_film(tmp_path, monkeypatch, error_of):
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "pretrained")
    shipped.ship([small_run(tmp_path / "maml")], "Small/maml")
    small_run(tmp_path / "rl2", "--agent", "rl2", "--seeds", "2")
    shipped.ship([tmp_path / "rl2/seed-1", tmp_path / "rl2/seed-0"], "Small/rl2", parameters=False)
    pictures.main(["--out", str(tmp_path / "out"), "--films"])
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"Small.png", "Small-frames.png", "Small.gif", "shipped.md"}
    text = (tmp_path / "out/shipped.md").read_text()
    assert "| `Small/maml` (1) | 4 |" in text and "| Small/rl2 (2) | 4 |" in text, "with and without parameters"
    with Image.open(tmp_path / "out/Small-frames.png") as strip:
        assert strip.width > 5 * 192 and strip.height > 4 * 192, "two tasks before and after"
    assert "--only has 'Large'; there are Small." in error_of(pictures.main, "--out", tmp_path / "out", "--only", "Large")


def test_differences_of_backends_are_seed_by_seed():
    native = np.arange(12.0).reshape(2, 6)
    rows = mjx_learning.rows({"native": native, "mjx": native + np.array([[1.0], [3.0]])})
    assert [row["iterations"] for row in rows] == [[1, 2], [3, 4], [5, 6]]
    mean, low, high = rows[0]["difference"]
    assert mean == 2.0 and low < 0 < high and rows[0]["native"][0] == 3.5


@pytest.mark.slow
def test_the_same_training_on_both_backends(tmp_path):
    small = {"num_iterations": 3, "num_tasks": 2, "num_episodes": 2, "horizon": 3, "num_seeds": 2}
    flags = [word for name, value in small.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    mjx_learning.main(["--out", str(tmp_path), *flags])
    assert "| 1 to 1 |" in (tmp_path / "mjx_learning.md").read_text()
