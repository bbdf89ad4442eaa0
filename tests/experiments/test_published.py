"""Published numbers and learning at full length: slow. The README's tables come from the same commands."""

import json

import pytest

from experiments import published, sinusoid, sinusoid_report, sinusoid_table, train

pytestmark = pytest.mark.slow


def test_sinusoid_maml_protocol(tmp_path):
    """Finn et al. 2017, Table 2: 0.67 / 0.38 / 0.35 after 1 / 5 / 10 steps on 5 points."""
    sinusoid.main(["--run-dir", str(tmp_path / "run"), "--seed", "0"])
    mean = json.loads((tmp_path / "run/evaluation.json").read_text())["mse_mean"]["5"]
    assert mean[1] <= 0.67 and mean[5] <= 0.38 and mean[10] <= 0.35


def test_promises_on_sinusoids(tmp_path):
    """Every promise of `experiments.published`, with three seeds: MAML, Meta-SGD in nine cells, CAVIA, pretrained, oracle."""
    needed = {"maml": ("maml", "pretrained", "oracle"), "meta-sgd": ("maml", "meta-sgd"), "cavia": ("maml", "cavia")}
    for protocol, names in needed.items():
        sinusoid_table.main(["--out", str(tmp_path), "--protocols", protocol, "--agents", *names])
    cells = [json.loads(path.read_text()) for path in (tmp_path / "cells").iterdir()]
    broken = [claim.text for claim in published.claims(sinusoid_report.results_of(cells)) if not claim.kept]
    assert not broken


def test_navigation_demo(tmp_path):
    """The demo's settings: near -40 before adaptation, better than -16 after one step."""
    train.main(["--run-dir", str(tmp_path / "run")])
    mean = json.loads((tmp_path / "run/evaluation.json").read_text())["return_mean"]
    assert -45 < mean[0] < -30 and mean[1] > -16
