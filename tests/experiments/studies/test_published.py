"""Published numbers and learning at full length: slow. The README's tables come from the same commands."""

import json
import shlex

import pytest

from experiments import sinusoid, train
from experiments.studies import navigation
from experiments.studies.sinusoid import __main__ as sinusoid_table
from experiments.studies.sinusoid import published, report
from tests.conftest import HOME

pytestmark = pytest.mark.slow


def test_sinusoid_maml_protocol(tmp_path):
    """Finn et al. 2017, Table 2: 0.67 / 0.38 / 0.35 after 1 / 5 / 10 steps on 5 points."""
    sinusoid.main(["--run-dir", str(tmp_path / "run"), "--seed", "0"])
    mean = json.loads((tmp_path / "run/evaluation.json").read_text())["mse_mean"]["5"]
    assert mean[1] <= 0.67 and mean[5] <= 0.38 and mean[10] <= 0.35


def test_promises_on_sinusoids(tmp_path):
    """Every promise of `studies.sinusoid.published`, three seeds: MAML, Meta-SGD in nine cells, CAVIA, pretrained, oracle."""
    needed = {"maml": ("maml", "pretrained", "oracle"), "meta-sgd": ("maml", "meta-sgd"), "cavia": ("maml", "cavia")}
    for protocol, names in needed.items():
        sinusoid_table.main(["--out", str(tmp_path), "--protocols", protocol, "--agents", *names])
    cells = [json.loads(path.read_text()) for path in (tmp_path / "cells").iterdir()]
    broken = [claim.text for claim in published.promises(report.results_of(cells)) if not claim.kept]
    assert not broken


def test_navigation_demo(tmp_path):
    """The demo's command: near -40 before adaptation, better than -14 after one step and than -5 after three."""
    [demo] = [line for line in (HOME / "Makefile").read_text().splitlines() if "runs/demo " in line and "-m" in line]
    flags = shlex.split(demo.split("experiments.train")[1].replace("$(ARGS)", ""))
    train.main([*flags, "--run-dir", str(tmp_path / "run")])
    mean = json.loads((tmp_path / "run/evaluation.json").read_text())["return_mean"]
    assert -45 < mean[0] < -30 and mean[1] > -14 and mean[3] > -5


def test_promises_on_navigation(tmp_path):
    """Every promise of `experiments.studies.navigation` but that of rl2, which takes longest, with three seeds."""
    navigation.main(["--out", str(tmp_path), "--agents", "maml", "pretrained", "random", "oracle"])
    promises = json.loads((tmp_path / "promises.json").read_text())
    assert len(promises) == 6
    broken = [promise["text"] for promise in promises if not promise["kept"]]
    assert all("an agent after one step" in text for text in broken), broken
