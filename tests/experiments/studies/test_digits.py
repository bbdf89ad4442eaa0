"""The study of scikit-learn's digits, with hardly any training."""

import re

import pytest

from experiments.studies import digits

pytest.importorskip("sklearn.datasets")


def test_table_and_what_it_says(tmp_path, error_of):
    flags = ["--out", tmp_path, "--num-iterations", 1, "--num-seeds", 2, "--eval-tasks", 3, "--test-shots", 1, "--conv"]
    digits.main([*map(str, flags), "--agents", "random"])
    text = (tmp_path / "digits.md").read_text()
    assert (
        re.search(r"\| random \| 1 \| \d\d\.\d% \[", text) and "held out 6, 6-turned, 7" in text and "chance is 20.0%" in text
    )
    before = (tmp_path / "cells/random.json").stat().st_mtime_ns
    digits.main([*map(str, flags), "--agents", "random"])
    assert (tmp_path / "cells/random.json").stat().st_mtime_ns == before, "what is finished stays"
    assert "random.json was made with another ways" in error_of(digits.main, *flags, "--agents", "random", "--ways", 4)
    assert "--agents has 'oracle'; known: maml," in error_of(digits.main, *flags, "--agents", "oracle")


def test_settings_are_those_of_agents():
    for name in digits.AGENTS:
        digits.run_of(digits.DigitsConfig(out="x"), name, None)
