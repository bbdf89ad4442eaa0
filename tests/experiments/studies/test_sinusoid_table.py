"""The table: every agent under every protocol, what is stored, and what is said about published numbers."""

import json
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from experiments import sinusoid
from experiments.sinusoid import sinusoid_config
from experiments.studies.sinusoid import __main__ as sinusoid_table
from experiments.studies.sinusoid import published, report
from experiments.studies.sinusoid.published import PUBLISHED, Key
from experiments.supervised import protocols
from experiments.training import memory, without_folders

AGENTS = ("fomaml", "oracle")  # every agent is built and trained in tests/agents
SMALL = ["--num-iterations", "3", "--num-seeds", "2", "--eval-tasks", "4"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    out = tmp_path_factory.mktemp("table") / "table"
    sinusoid_table.main(["--out", str(out), "--protocols", "maml", "--agents", *AGENTS, *SMALL])
    sinusoid_table.main(["--out", str(out), "--protocols", "meta-sgd", "--agents", "oracle", *SMALL])
    return out


def has_rows(text, protocol, shots, agent):
    rows = text.split(f"## Protocol {protocol}")[1].split("##")[0]
    return all(re.search(rf"\| {agent}( †)? \| {each} points \|", rows) for each in shots)


def test_every_agent_named_by_default_serves_regression(tmp_path):
    config = sinusoid_table.SinusoidTableConfig(out=tmp_path)
    cells = [sinusoid_table.plan(config, "maml", 10, agent) for agent in config.agents]
    assert {"maml", "mann", "oracle"} <= {cell.config.agent for cell in cells}


def test_every_agent_and_number_of_points_has_a_row(table):
    text = (table / "table.md").read_text()
    assert all(has_rows(text, "maml", [10], agent) for agent in AGENTS)
    assert has_rows(text, "meta-sgd", [5, 10, 20], "oracle") and not has_rows(text, "meta-sgd", [5, 10, 20], "fomaml")
    assert "| maml, rematerialised |" in text


@pytest.mark.slow
def test_several_agents_and_protocols_at_once(tmp_path, table):
    out = tmp_path / "table"
    out.mkdir()
    shutil.copy(table / "memory.json", out)
    sinusoid_table.main(["--out", str(out), "--protocols", "maml", "meta-sgd", "--agents", *AGENTS, *SMALL])
    text = (out / "table.md").read_text()
    for protocol, shots in (("maml", [10]), ("meta-sgd", [5, 10, 20])):
        assert all(has_rows(text, protocol, shots, agent) for agent in AGENTS)


def test_cells_say_what_made_them(table):
    for path in (table / "cells").iterdir():
        cell = json.loads(path.read_text())
        assert cell["made_with"]["versions"]["jax"] and "git_commit" in cell["made_with"]
        assert all(np.shape(per_seed) == (2, 11) for per_seed in cell["mse_per_seed"].values())
        assert cell["settings"]["seeds"] == [0, 1] and cell["lost_seeds"] == []


def test_what_is_finished_stays(table, capsys):
    path = table / "cells/maml-10-oracle.json"
    before, everything = path.stat().st_mtime_ns, (table / "table.md").read_text()
    sinusoid_table.main(["--out", str(table), "--protocols", "maml", "--agents", "oracle", *SMALL])
    assert path.stat().st_mtime_ns == before
    assert (table / "table.md").read_text() == everything, "the table is of all cells in the folder"
    assert everything in capsys.readouterr().out


def test_other_settings_are_refused_unless_told_otherwise(tmp_path, table, error_of):
    copy = tmp_path / "copy"
    shutil.copytree(table, copy)
    other = ["--out", copy, "--protocols", "maml", "--agents", "oracle", *SMALL, "--num-iterations", "4"]
    assert "was made with num_iterations 3, not 4" in error_of(sinusoid_table.main, *other)
    sinusoid_table.main([*map(str, other), "--overwrite"])
    assert json.loads((copy / "cells/maml-10-oracle.json").read_text())["settings"]["num_iterations"] == 4
    fewer = ["--out", copy, "--protocols", "maml", "--agents", "oracle", *SMALL, "--num-seeds", "1", "--overwrite"]
    assert "mixes seeds [0, 1] and [0]" in error_of(sinusoid_table.main, *fewer)


@pytest.mark.parametrize("content", ["{}", '{"settings": {}}', "[", "3"])
def test_a_broken_cell_is_named(tmp_path, error_of, content):
    path = tmp_path / "cells/maml-10-oracle.json"
    path.parent.mkdir()
    path.write_text(content)
    flags = ["--out", tmp_path, "--protocols", "maml", "--agents", "oracle", *SMALL]
    assert str(path) in error_of(sinusoid_table.main, *flags)


def test_a_cell_equals_the_single_command(tmp_path, table):
    """The table's seed 1 is what `experiments.sinusoid --seed 1` reports, selection included."""
    flags = ["--agent", "fomaml", "--num-iterations", "3", "--eval-tasks", "4", "--seed", "1", "--log-every", "1"]
    sinusoid.main(["--run-dir", str(tmp_path / "run"), *flags])
    alone = json.loads((tmp_path / "run/evaluation.json").read_text())
    cell = json.loads((table / "cells/maml-10-fomaml.json").read_text())
    assert cell["task_hash"] == alone["task_hash"]
    assert cell["mse_per_seed"]["5"][1] == pytest.approx(alone["mse_mean"]["5"], rel=1e-3)


def cell_of(per_seed, **changes):
    """A finished cell of MAML under its protocol at full length, with these errors after every number of steps."""
    settings = {"protocol": "maml", "train_shots": 10, "agent": "maml"} | protocols.settings_of("maml", "maml")
    settings |= {"eval_tasks": 1000, "seeds": [0, 1, 2]}
    made = {
        "git_commit": "0123456789",
        "started": "2026-01-02T03",
        "python": "3",
        "versions": {"jax": "1"},
        "device": {"kind": "cpu"},
    }
    errors = {shots: [[error] * 11 for error in per_seed] for shots in ("5", "10", "20")}
    cell = {"settings": settings | {"train_shots": 10}, "mse_per_seed": errors, "diverged": {"5": [0, 4, 0]}, "made_with": made}
    lost = changes.pop("lost_seeds", [])
    cell["settings"] |= changes
    return cell | {"lost_seeds": lost}


USED = {"maml": {"10": 2**20, "50": 2**21}, "imaml": {"10": 2**19, "50": 2**19}}


def test_published_numbers_stand_beside_ours():
    text = report.markdown([cell_of([0.4, 0.5, 0.6])], USED)
    half = stats.t.ppf(0.975, 2) * 0.1 / np.sqrt(3)
    assert f"0.500 [{0.5 - half:.3f}, {0.5 + half:.3f}]; published 0.67 P" in text
    assert "5 steps | 0.500 | 0.38 (P, Finn et al. 2017, Table 2) | not reached |" in text
    assert (
        "- kept: MAML, 5 points, after 1: at most 0.67" in text and "- NOT KEPT: MAML, 5 points, after 5: at most 0.38" in text
    )
    assert "| 0 / 4 / 0 |" in text, "tasks that diverged, seed by seed"
    assert "| maml | 1.00 | 2.00 |" in text and "- kept: iMAML with 50 inner steps: less memory than MAML with 50" in text


def test_a_lost_seed_is_left_out_of_the_report():
    text = report.markdown([cell_of([0.4, 0.5, 1e6], lost_seeds=[2])], USED)
    assert "| maml (1 of 3 seeds lost) † |" in text and "0.450 [" in text
    every = report.markdown([cell_of([1e6] * 3, lost_seeds=[0, 1, 2])], USED)
    assert "| maml (3 of 3 seeds lost)" in every and "e+06" not in every.split("## Published")[0]


def test_intervals_of_errors_end_at_zero():
    [(mean, low, high)] = {*report.results_of([cell_of([0.1, 0.1, 1.0])]).values()}
    assert mean == pytest.approx(0.4) and low == 0.0 and high > 1.0


@pytest.mark.parametrize("short", [{"num_iterations": 100}, {"eval_tasks": 50}, {"seeds": [0]}, {"lost_seeds": [0, 1]}])
def test_shortened_runs_are_not_judged(short):
    text = report.markdown([cell_of([0.4] * len(short.get("seeds", [0, 1, 2])), **short)], USED)
    assert not re.search("kept(?!: iMAML with 50 inner steps: less memory)|NOT KEPT", text) and "| reached |" not in text
    assert "published 0.67 P" in text and "not judged" in text


def test_a_seed_that_became_non_finite_is_left_out_and_named(tmp_path, table, monkeypatch):
    real = without_folders.train

    def spoiled(*args, **kwargs):
        states, scores = real(*args, **kwargs)
        return jax.tree.map(lambda x: x.at[1].set(jnp.nan) if x.dtype == jnp.float32 else x, states), scores

    monkeypatch.setattr(without_folders, "train", spoiled)
    (tmp_path / "spoiled").mkdir()
    shutil.copy(table / "memory.json", tmp_path / "spoiled")
    sinusoid_table.main(["--out", str(tmp_path / "spoiled"), "--protocols", "maml", "--agents", "oracle", *SMALL])
    whole, found = (json.loads((out / "cells/maml-10-oracle.json").read_text()) for out in (table, tmp_path / "spoiled"))
    assert (whole["lost_seeds"], found["lost_seeds"]) == ([], [1])
    assert found["mse_per_seed"]["5"][0] == pytest.approx(whole["mse_per_seed"]["5"][0], rel=1e-5)
    assert "oracle (1 of 2 seeds lost)" in (tmp_path / "spoiled/table.md").read_text()


def results_with(**changes):
    """All published cells at their published values, tightly; ``changes`` by "protocol agent"."""
    results = {key: (number.value, number.value - 1e-6, number.value + 1e-6) for key, number in PUBLISHED.items()}
    results[Key("maml", 10, "oracle", 5, 1)] = (0.002, 0.001, 0.003)
    for key in results:
        factor = changes.get(f"{key.protocol} {key.agent}".replace(" ", "_").replace("-", "_"), 1.0)
        results[key] = tuple(value * factor for value in results[key])
    return results


def kept(results):
    return [claim.kept for claim in published.promises(results)]


def test_promises_are_judged():
    assert kept(results_with()) == [True] * 18
    assert kept({}) == [None] * 18
    for change, broken in (
        ({"maml_maml": 1.1}, 3),  # above Finn et al.
        ({"meta_sgd_meta_sgd": 1.1}, 9),  # above Li et al.
        ({"meta_sgd_maml": 0.3}, 9),  # Meta-SGD no longer below its arm
        ({"cavia_cavia": 2.0}, 2),  # above 0.21, and not below its arm
        ({"cavia_maml": 0.5}, 1),
        ({"maml_pretrained": 1.3}, 3),
        ({"maml_oracle": 20.0}, 1),
    ):
        assert kept(results_with(**change)).count(False) == broken, change


def test_verdicts():
    key = Key("maml", 10, "maml", 5, 1)
    assert published.verdict(PUBLISHED[key], 0.6) == "reached"
    assert published.verdict(PUBLISHED[key], 0.7).startswith("not reached")
    baseline = PUBLISHED[Key("maml", 10, "pretrained", 5, 1)]
    assert published.verdict(baseline, 2.5) == "within 15%" and published.verdict(baseline, 3.0).startswith(
        "not within 15%: ours"
    )
    assert published.verdict(PUBLISHED[Key("cavia", 10, "maml", 10, 1)], 5.0).startswith("reported only")
    cavia = PUBLISHED[Key("cavia", 10, "cavia", 10, 1)]
    assert published.verdict(cavia, 0.2) == "within its interval of ± 0.02" and published.verdict(cavia, 0.3) == "not reached"


def test_imaml_needs_less_memory_than_maml_with_many_steps(tmp_path):
    """Rajeswaran et al. 2019: memory that does not grow with inner steps; MAML's does, less so when rematerialised."""

    def used(agent, steps, **options):
        config = sinusoid.resolve(sinusoid_config(run_dir=tmp_path, agent=agent, num_inner_steps=steps, **options))
        return memory.temporary_bytes(sinusoid.build(config, 10).learner)

    maml, imaml = ([used(agent, steps) for steps in (10, 50)] for agent in ("maml", "imaml"))
    assert imaml[1] < 0.5 * maml[1]
    assert imaml[1] < 1.2 * imaml[0] and maml[1] > 3 * maml[0]
    assert used("maml", 50, remat=True) < maml[1]


def test_bad_input(tmp_path, error_of):
    assert "--agents has 'mam'" in error_of(sinusoid_table.main, "--out", tmp_path / "a", "--agents", "mam")
    assert "need at least one name" in error_of(sinusoid_table.main, "--out", tmp_path / "a", "--agents")
    (tmp_path / "file").write_text("")
    assert "is a file" in error_of(sinusoid_table.main, "--out", tmp_path / "file")
    assert "--num-seeds is 0" in error_of(sinusoid_table.main, "--out", tmp_path / "a", "--num-seeds", 0)


@pytest.mark.parametrize(
    ("diverged", "errors", "heavy"), [(0, (1.0, 1.1, 1.2), False), (1, (1.0, 1.1, 1.2), True), (0, (0.1, 0.1, 5.0), True)]
)
def test_three_seeds_of_a_heavy_tailed_row_have_no_95_percent_interval(diverged, errors, heavy):
    settings = {
        "protocol": "jang",
        "train_shots": 20,
        "agent": "maml",
        "seeds": [0, 1, 2],
        "eval_tasks": 5,
        "num_iterations": 1,
    }
    made = {"git_commit": "0" * 40, "started": "2026-01-01", "python": "3", "versions": {"jax": "0"}, "device": {"kind": "cpu"}}
    cell = {"settings": settings, "lost_seeds": [], "mse_per_seed": {"20": [[error] * 11 for error in errors]}}
    cell |= {"diverged": {"20": [0, diverged, 0]}, "made_with": made}
    text = report.markdown([cell], {agent: {"50": 1} for agent in ("maml", "imaml")})
    assert ("| maml † | 20 points |" in text) == heavy and "a 95 % interval if seeds are normal" in text
    assert "95 % interval over seeds" not in text
