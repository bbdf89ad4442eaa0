"""The benchmark measures what it says, writes it down, and refuses what it cannot write."""

import json

import jax
import jax.numpy as jnp
import pytest

from experiments.benchmark import __main__ as benchmark
from experiments.benchmark import ceilings, files, growth, precision, table, timing, workloads
from experiments.training.cost import Cost

QUICK = ["--quick", "--only", "navigation", "sinusoid", "--no-growth", "--no-precision", "--no-chunks"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    out = tmp_path_factory.mktemp("benchmark") / "benchmark.json"
    benchmark.main([*QUICK, "--out", str(out)])
    return json.loads(out.read_text())


def test_the_machine_is_named(measured):
    assert measured["cpu"]["model"] and measured["cpu"]["cores"] >= 1
    assert measured["device"]["kind"] == jax.devices()[0].device_kind
    assert measured["versions"]["jax"] == jax.__version__
    assert measured["command"].startswith("python -m experiments.benchmark --quick")
    assert {"git_commit", "started", "xla_flags"} <= set(measured)


def test_every_workload_has_every_number(measured):
    assert [row["name"] for row in measured["workloads"]] == ["navigation", "sinusoid"]
    for row in measured["workloads"]:
        times = row["seconds_per_iteration"]
        assert times["min"] <= times["median"] <= times["max"] and len(times["values"]) == 2
        assert row["iterations_per_second"] == pytest.approx(1 / times["median"])
        assert row["compile"]["compile_seconds"] > 0 and row["compile"]["second_start_seconds"] > 0
        assert row["memory"]["program"]["total"] > 0 and row["memory"]["process_peak"] > 2**20
        assert row["cost"]["total"] > 0 and row["times_the_floor"] > 1
    navigation, sinusoid = measured["workloads"]
    assert 0 < navigation["samples_per_iteration"] <= 2 * 2 * 3 * 6  # support and query
    assert 0 < navigation["sampler"]["env_steps"] <= 2 * 2 * 3 * 6
    assert sinusoid["samples_per_iteration"] == 2 * 2 * 10 and sinusoid["sampler"] is None


def test_the_table_shows_it(measured, capsys):
    table.show(measured)
    shown = capsys.readouterr().out
    for words in ("navigation", "sinusoid", "env steps / s of the sampler alone", "x floor", "numbers mean nothing"):
        assert words in shown


def test_bad_places_and_numbers(tmp_path, error_of):
    assert "which is a folder" in error_of(benchmark.main, "--out", tmp_path)
    assert "does not exist" in error_of(benchmark.main, "--out", tmp_path / "none" / "b.json")
    assert "--repeats is 0" in error_of(benchmark.main, "--repeats", 0)
    assert "nothing to measure" in error_of(benchmark.main, "--only", *QUICK[-3:])


def test_times_are_per_iteration(monkeypatch):
    """By a clock that only the work moves: a busy machine changes nothing."""
    calls, clock = [], [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(timing.time, "monotonic", lambda: clock[0])

    def run(count):
        calls.append(count)
        clock[0] += 0.002 * count

    found = timing.steady(run, repeats=3, seconds=0.04)
    assert found["median"] == pytest.approx(0.002, rel=0.3)
    assert calls[-3:] == [found["iterations_per_repeat"]] * 3 and 10 < calls[-1] < 30


def test_a_second_start_finds_the_program_unless_it_calls_python():
    def lower():
        return jax.jit(lambda x: jnp.sin(x) @ jnp.cos(x)).lower(jnp.ones((4, 4)))

    found = timing.compile_times(lower)
    assert found["second_start_seconds"] > 0 and found["compiled"](jnp.ones((4, 4))).shape == (4, 4)

    def calls_back():
        return jax.jit(lambda x: jax.pure_callback(lambda x: x, jax.ShapeDtypeStruct(x.shape, x.dtype), x)).lower(jnp.ones(3))

    assert timing.compile_times(calls_back)["second_start_seconds"] is None


def test_the_cache_is_as_before_afterwards():
    before = [getattr(jax.config, name) for name in timing.CACHE_OPTIONS]
    timing.compile_times(lambda: jax.jit(lambda x: x + 1).lower(jnp.ones(3)))
    assert [getattr(jax.config, name) for name in timing.CACHE_OPTIONS] == before


def test_meta_iterations_are_those_of_a_loop():
    workload = workloads.supervised("sinusoid", num_tasks=2, hidden_sizes=(4,))
    run = workloads.start(workload)
    run(2)
    (state, _) = run(1)
    expected, step = workload.learner.init(jax.random.key(0)), jax.jit(workload.learner.step)
    for i in range(3):
        expected, _ = step(expected, jax.random.fold_in(jax.random.key(0), i))
    assert int(state.iteration) == 3
    for ours, theirs in zip(jax.tree.leaves(state), jax.tree.leaves(expected), strict=True):
        assert jnp.allclose(ours, theirs, atol=1e-6)


def test_the_floor_is_what_the_ceilings_allow():
    limits = ceilings.Ceilings(100.0, {}, 50.0, 10.0, 10.0, 10.0, 1000.0)
    least = ceilings.floor(Cost(matmul=200.0, elementwise=50.0, transcendental=5.0), limits, 100)
    assert least["parts"] == {"matmul": 2.0, "elementwise": 1.0, "transcendental": 0.5, "memory": 0.1}
    assert (least["added"], least["largest"], least["seconds"]) == (3.5, 2.0, 3.5)
    assert ceilings.floor(Cost(matmul=1.0), limits, 10**6)["seconds"] == 1000.0  # memory may be what binds


def test_growth_is_fitted_and_drawn(tmp_path):
    assert growth.fit([1, 2, 4, 8], [3.0, 6.0, 12.0, 24.0]) == pytest.approx(1.0)
    assert growth.kept(1.04) and growth.kept(0.5) and not growth.kept(1.2)
    times = [timing.spread([size * 0.9, size, size * 1.1]) for size in (1.0, 2.0, 4.0)]
    sizes = {
        name: {"values": [10, 20, 40], "seconds_per_iteration": times, "exponent": 1.0, "kept": True} for name in growth.LABELS
    }
    growth.plot({"base": growth.BASE, "sizes": sizes}, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").stat().st_size > 10_000


def test_lower_precision_is_worse():
    errors = precision.gradient_errors(2, 3, 4, (4,))
    assert errors["float32"]["relative_error"] < 1e-4 < errors["bfloat16 network"]["relative_error"] < 0.5
    assert errors["bfloat16 network"]["cosine"] > 0.9


def test_the_processor_is_named():
    assert files.cpu_model() and files.cores() >= 1
