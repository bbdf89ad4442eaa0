"""``benchmark --against``: another checkout's meta-iterations timed in turn with ours, and a slowdown found."""

import json
import shutil
from pathlib import Path

import pytest

from experiments.benchmark import __main__ as benchmark
from experiments.benchmark import against, sweeps

HOME = Path(__file__).parents[3]


def test_refusals(tmp_path, error_of):
    def refused(*flags):
        return error_of(benchmark.main, "--out", tmp_path / "b.json", *flags)

    assert "which is no checkout; make one: git worktree add" in refused("--against", tmp_path)
    assert "--repeats is 1, but must be at least 2" in refused("--against", HOME, "--repeats", 1)
    assert "--no-growth is given with --against" in refused("--against", HOME, "--no-growth")


def test_slower_is_called_what_is_slower_beyond_noise(monkeypatch):
    """By clocks that only the work moves."""

    class Clocked:
        def __init__(self, seconds):
            self.seconds = seconds

        def run(self, name, count):
            clock[0] += next(self.seconds) * count

    def compared(mine, other):
        endless = lambda values: (values[i % len(values)] for i in range(100_000))
        return against.compared("x", Clocked(endless(mine)), Clocked(endless(other)), 8, 1.0)

    clock = [0.0]
    monkeypatch.setattr(against.timing.time, "perf_counter", lambda: clock[0])
    found = compared([0.012], [0.010])
    assert found["slower"] and found["ratio"] == pytest.approx(1.2) and found["ci95"][0] == pytest.approx(1.2)
    assert not compared([0.0102], [0.010])["slower"]  # too little to matter
    assert not compared([0.005, 0.02, 0.011], [0.010])["slower"]  # noise
    assert not compared([0.008], [0.010])["slower"]


@pytest.mark.slow
def test_a_slowdown_between_checkouts_fails_the_command(tmp_path, monkeypatch, capsys):
    for room in ("metarl", "envs", "agents", "experiments"):
        shutil.copytree(HOME / room, tmp_path / "slow" / room, ignore=shutil.ignore_patterns("__pycache__", "pretrained"))
    for path in HOME.glob("*.py"):
        shutil.copy(path, tmp_path / "slow")
    workloads = tmp_path / "slow/experiments/benchmark/workloads.py"
    source = workloads.read_text()
    line = "        done += count\n"
    assert source.count(line) == 1
    workloads.write_text(source.replace(line, f"{line}        __import__('time').sleep(0.01 * count)\n"))
    flags = ["--quick", "--only", "sinusoid", "--out", str(tmp_path / "b.json")]
    benchmark.main([*flags, "--against", str(tmp_path / "slow")])
    assert "faster" in capsys.readouterr().out
    monkeypatch.setattr(against, "HERE", tmp_path / "slow")
    with pytest.raises(SystemExit) as stop:
        benchmark.main([*flags, "--against", str(HOME)])
    assert stop.value.code == 1 and "slower than" in capsys.readouterr().err
    [row] = json.loads((tmp_path / "b.json").read_text())["compared"]
    assert row["slower"] and row["ci95"][0] > 1.03


@pytest.mark.slow
def test_sweeps_are_timed(tmp_path):
    out = tmp_path / "sweeps.json"
    sweeps.main(["--quick", "--out", str(out)])
    found = json.loads(out.read_text())["sweeps"]
    assert [each["name"] for each in found] == ["sinusoid", "navigation"]
    assert all(each["together_over_one_after_another"]["median"] > 0 for each in found)
