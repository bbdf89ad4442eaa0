"""The table: every agent under every protocol, what is stored, and what is said about published numbers."""

import json

import jax
import jax.numpy as jnp
import pytest

from experiments import memory, published, seeds, sinusoid, sinusoid_report, sinusoid_table
from experiments.published import PUBLISHED, Key
from experiments.sinusoid import SinusoidConfig

AGENTS = ("fomaml", "oracle")  # every agent is built and trained in tests/agents
SMALL = ["--num-iterations", "3", "--num-seeds", "2", "--eval-tasks", "4"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    out = tmp_path_factory.mktemp("table") / "table"
    sinusoid_table.main(["--out", str(out), "--protocols", "maml", "meta-sgd", "--agents", *AGENTS, *SMALL])
    return out


def test_every_agent_and_number_of_points_has_a_row(table):
    text = (table / "table.md").read_text()
    for protocol, shots in (("maml", 10), ("meta-sgd", 5), ("meta-sgd", 10), ("meta-sgd", 20)):
        rows = text.split(f"## Protocol {protocol}")[1].split("##")[0]
        for agent in AGENTS:
            assert f"| {agent} | {shots} points |" in rows
    assert "| maml, rematerialised |" in text


def test_cells_hold_means_of_seeds_with_intervals(table):
    for path in (table / "cells").iterdir():
        cell = json.loads(path.read_text())
        for shots, means in cell["mse_mean"].items():
            per_seed = cell["mse_per_seed"][shots]
            assert len(per_seed) == 2 and len(means) == 11
            for step, mean in enumerate(means):
                assert mean == pytest.approx((per_seed[0][step] + per_seed[1][step]) / 2)
                low, high = cell["mse_ci95"][shots][step]
                assert low <= mean <= high


def test_what_is_finished_stays_and_other_settings_are_trained_again(table, capsys):
    one = ["--out", str(table), "--protocols", "maml", "--agents", "oracle"]
    path = table / "cells/maml-10-oracle.json"
    before = path.stat().st_mtime_ns
    sinusoid_table.main([*one, *SMALL])
    assert path.stat().st_mtime_ns == before
    assert "## Protocol maml" in capsys.readouterr().out
    sinusoid_table.main([*one, *SMALL, "--num-iterations", "4"])
    assert json.loads(path.read_text())["settings"]["num_iterations"] == 4


def test_a_cell_equals_the_single_command(tmp_path, table):
    """The table's seed 1 is what `experiments.sinusoid --seed 1` reports, selection included."""
    flags = ["--agent", "fomaml", "--num-iterations", "3", "--eval-tasks", "4", "--seed", "1", "--log-every", "1"]
    sinusoid.main(["--run-dir", str(tmp_path / "run"), *flags])
    alone = json.loads((tmp_path / "run/evaluation.json").read_text())
    cell = json.loads((table / "cells/maml-10-fomaml.json").read_text())
    assert cell["task_hash"] == alone["task_hash"]
    assert cell["mse_per_seed"]["5"][1] == pytest.approx(alone["mse_mean"]["5"], rel=1e-3)


def test_published_numbers_stand_beside_ours():
    cell = {
        "settings": {"protocol": "maml", "train_shots": 10, "agent": "maml", "num_inner_steps": 1, "num_iterations": 70_000}
    }
    cell["settings"] |= {"eval_tasks": 100, "seeds": [0, 1]}
    cell["lost_seeds"] = [1]
    cell |= {"mse_mean": {"5": [0.6] * 11, "10": [0.4] * 11}, "mse_ci95": {"5": [[0.5, 0.7]] * 11, "10": [[0.3, 0.5]] * 11}}
    text = sinusoid_report.markdown([cell], {"maml": {"10": 2**20, "50": 2**21}})
    assert "0.600 [0.500, 0.700]; published 0.67 P" in text and "| 0.38 (P, Finn et al. 2017, Table 2) | not reached |" in text
    assert "| maml | 1.00 | 2.00 |" in text and "| maml (1 of 2 seeds lost) |" in text
    assert "MAML, 5 points, 1 steps: at most 0.67 | kept" in text and "5 steps: at most 0.38 | **not kept**" in text


def test_a_seed_that_became_non_finite_is_left_out_and_named(tmp_path, monkeypatch):
    real = seeds.train

    def spoiled(*args, **kwargs):
        states, scores = real(*args, **kwargs)
        return jax.tree.map(lambda x: x.at[1].set(jnp.nan) if x.dtype == jnp.float32 else x, states), scores

    flags = ["--protocols", "maml", "--agents", "oracle", *SMALL]
    sinusoid_table.main(["--out", str(tmp_path / "whole"), *flags])
    monkeypatch.setattr(seeds, "train", spoiled)
    sinusoid_table.main(["--out", str(tmp_path / "spoiled"), *flags])
    whole, found = (json.loads((tmp_path / name / "cells/maml-10-oracle.json").read_text()) for name in ("whole", "spoiled"))
    assert (whole["lost_seeds"], found["lost_seeds"]) == ([], [1])
    assert found["mse_mean"]["5"] == pytest.approx(whole["mse_per_seed"]["5"][0], rel=1e-5)
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
    return [claim.kept for claim in published.claims(results)]


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
    assert published.verdict(baseline, 2.5) == "within 15%" and published.verdict(baseline, 3.0) == "not within 15%"
    assert published.verdict(PUBLISHED[Key("cavia", 10, "maml", 10, 1)], 5.0).startswith("reported only")


def test_imaml_needs_less_memory_than_maml_with_many_steps(tmp_path):
    """Rajeswaran et al. 2019: memory that does not grow with inner steps; MAML's does, less so when rematerialised."""

    def used(agent, steps, **options):
        config = sinusoid.resolve(SinusoidConfig(tmp_path, agent=agent, num_inner_steps=steps, **options))
        return memory.peak_bytes(sinusoid.build(config, 10).learner)

    maml, imaml = ([used(agent, steps) for steps in (10, 50)] for agent in ("maml", "imaml"))
    assert imaml[1] < 0.5 * maml[1]
    assert imaml[1] < 1.2 * imaml[0] and maml[1] > 3 * maml[0]
    assert used("maml", 50, remat=True) < maml[1]


def test_bad_input(tmp_path, error_of):
    assert "--agents has 'mam'" in error_of(sinusoid_table.main, "--out", tmp_path / "a", "--agents", "mam")
    assert "--num-seeds is 0" in error_of(sinusoid_table.main, "--out", tmp_path / "a", "--num-seeds", 0)
