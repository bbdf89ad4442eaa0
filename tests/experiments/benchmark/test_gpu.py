"""The check of an accelerator: what it compares, times and gathers, on a CPU; that each part ends, and leaves what it found."""

import json
import os
import subprocess
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.parts import world
from experiments.benchmark.gpu import __main__ as gpu
from experiments.benchmark.gpu import agreement, exact, forms, pack, profiles, records, robot
from experiments.cli.errors import UserError
from metarl.interfaces import MetaLearner


def test_agreement_is_noticed_and_so_is_its_lack():
    state, metrics = {"w": jnp.array([1.0, 2.0]), "key": jax.random.key(0)}, {"meta/post": jnp.array(-20.0)}
    assert agreement.compared((state, metrics), (state, metrics)) == {"state": 0.0, "metrics": 0.0, "kept": True}
    other = state | {"w": jnp.array([1.0, 2.002])}
    assert agreement.compared((other, metrics), (state, metrics))["state"] == pytest.approx(1e-3, rel=1e-2)
    assert not agreement.compared((other, metrics), (state, metrics))["kept"]
    assert not agreement.compared((state, {"meta/post": jnp.array(jnp.nan)}), (state, metrics))["kept"]


def test_the_first_iteration_is_taken_on_the_device_that_is_named():
    places = []

    def step(state, key):
        return state + jax.random.normal(key), {"meta/post": state}

    learner = MetaLearner(lambda key: jax.random.normal(key), step, lambda *_: None, lambda *_: None)
    for device in jax.devices("cpu")[:2]:
        with jax.default_device(device):
            places.append(jax.jit(learner.init)(jax.random.key(0)).devices())
        state, _ = agreement.first_iteration(learner, device)
        assert np.isfinite(state)
    assert places == [{device} for device in jax.devices("cpu")[:2]]


def test_every_kind_of_learner_is_compared():
    assert {"maml", "promp", "maml-trpo", "rl2", "sinusoid", "half-cheetah"} == set(agreement.learners(True))


def test_unrolled_reaches_the_world_and_is_taken_back():
    before = dict(world.UNROLL)
    with forms.unrolled(50):
        assert world.suited_unroll(100) == world.suited_unroll(6) == 50
    assert before == world.UNROLL and world.suited_unroll(100) == 5
    with forms.unrolled(None):
        assert world.suited_unroll(20) == 2


def test_forms_cover_what_is_to_be_measured():
    asked = forms.forms(quick=False)
    labels = [form.label for form in asked]
    assert len(labels) == len(set(labels))
    for unroll in (1, 5, 20, 50):
        for ending in ("", ", bfloat16"):
            assert {f"navigation, unroll {unroll}{ending}", f"navigation, large, unroll {unroll}{ending}"} <= set(labels)
    assert {"sinusoid", "sinusoid, bfloat16", "rl2, unroll 20", "half-cheetah, 16,384 robots, rollouts alone"} <= set(labels)
    assert set(forms.BARS) <= {form.name for form in asked}


def test_a_form_that_fails_and_one_without_time_leave_the_others(tmp_path, monkeypatch):
    def fine():
        return forms.workloads.supervised("sinusoid", num_tasks=2, hidden_sizes=(4,))

    def broken():
        raise RuntimeError("out of memory\nat length")

    asked = [forms.Form("broken", None, None, broken), forms.Form("sinusoid", None, None, fine)]
    monkeypatch.setattr(forms, "forms", lambda quick: asked)
    forms.measure(tmp_path / "forms.json", 300, quick=True)
    failed, timed = json.loads((tmp_path / "forms.json").read_text())["forms"]
    assert failed == {"form": "broken", "failed": "RuntimeError: out of memory"}
    assert timed["samples_per_second"] == pytest.approx(2 * 2 * 10 * timed["iterations_per_second"])
    assert timed["bar"]["kept"] == (timed["iterations_per_second"] >= 15_000)
    forms.measure(tmp_path / "late.json", 0, quick=True)
    late = json.loads((tmp_path / "late.json").read_text())
    assert late["forms"] == [] and late["not_measured"] == ["broken", "sinusoid"]


def test_bars_are_judged_in_their_own_direction(monkeypatch):
    def kept(name, seconds, samples):
        monkeypatch.setattr(forms.timing, "steady", lambda *_, **__: {"median": seconds, "min": seconds, "max": seconds})
        form = forms.Form(name, 20, None, None)
        return forms.timed(form, (lambda count: (None, {"time/env_steps": samples}), 0.0), 1, 1.0)["bar"]["kept"]

    assert kept("navigation", 0.0029, 1.0) and not kept("navigation", 0.0031, 1.0)
    tiny = next(form for form in forms.forms(quick=True) if form.name == "navigation")
    assert "bar" not in forms.timed(tiny, (lambda count: (None, {"time/env_steps": 1.0}), 0.0), 1, 1.0)
    assert kept("navigation, large", 1.0, 101e6) and not kept("navigation, large", 1.0, 99e6)


def test_what_time_does_not_reach_is_counted():
    found = {}
    assert list(records.while_there_is_time("abc", records.within(60), found)) == ["a", "b", "c"] and not found
    assert list(records.while_there_is_time("abc", records.within(1), found)) == [] and found == {"not_measured": 3}


def test_a_curve_beside_the_reference():
    lines = [{"time/env_steps": 100.0 * i, "time/seconds": 2.0 * i, "meta/post": float(i)} for i in range(1, 9)]
    found = robot.beside(lines, {"env_steps": [0.0, 400.0], "post": [0.0, 40.0]}, points=4)
    assert [row["reference"] for row in found["rows"]] == [10.0, 30.0, None, None]
    assert found["env_steps_per_second"] == pytest.approx(50.0) and found["last_post"] == 8.0


def test_pytest_is_read():
    said = "....F\nFAILED tests/a.py::test_b - assert 1 == 2\n1 failed, 41 passed, 2 skipped in 3.21s\n"
    assert exact.counted("no line that counts\n") == {"failures": []}
    assert exact.counted(said) == {"failed": 1, "passed": 41, "skipped": 2, "failures": ["tests/a.py::test_b"]}
    assert all((exact.HOME / test).is_file() for test in exact.TESTS)


def test_operations_of_a_trace(tmp_path):
    work = jax.jit(lambda x: jnp.sin(x) @ x)
    work(jnp.ones((50, 50))).block_until_ready()
    with jax.profiler.trace(str(tmp_path)):
        work(jnp.ones((50, 50))).block_until_ready()
    rows = profiles.longest(tmp_path)
    assert not any(row["operation"].startswith("$") for row in rows)
    assert rows and rows == sorted(rows, key=lambda row: -row["ms"]) and all(row["calls"] >= 1 for row in rows)


def test_a_part_that_does_not_end_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "GRACE", 0.0)
    config = gpu.GpuConfig(out=tmp_path, quick=True)
    assert gpu.part(config, "agreement", 0.2)["exit_code"] is None  # importing takes longer
    monkeypatch.setitem(gpu.PARTS, "exact", (1.0, "exact:no_such_function"))
    failed = gpu.part(config, "exact", 60)
    assert failed["exit_code"] == 1 and "no_such_function" in failed["said"]
    assert "failed: " in gpu.table_of("exact", gpu.result_of(tmp_path, "exact"), failed).caption


def test_what_a_machine_lacks_does_not_end_a_part(tmp_path, monkeypatch):
    """As where mujoco is not installed: what else there is to find is found, and the table says what was not."""

    def lacking():
        raise ValueError("mujoco is not installed: pip install\nit")

    def fine():
        return forms.workloads.supervised("sinusoid", num_tasks=2, hidden_sizes=(4,)).learner

    monkeypatch.setattr(agreement, "learners", lambda quick: {"half-cheetah": lacking, "sinusoid": fine})
    monkeypatch.setattr(agreement, "gradient_errors", lambda *sizes: {})
    agreement.agreement(tmp_path / "agreement.json", 300, quick=True)
    found = gpu.result_of(tmp_path, "agreement")
    assert found["agents"]["half-cheetah"] == {"failed": "ValueError: mujoco is not installed: pip install"}
    assert found["agents"]["sinusoid"]["kept"]
    ended = {"exit_code": 0, "seconds": 1.0}
    assert any("mujoco" in cell for line in gpu.table_of("agreement", found, ended).rows for cell in line)
    missing = {"workloads": {"half-cheetah": {"failed": "no mujoco"}}}
    assert any("no mujoco" in cell for line in gpu.table_of("profiles", missing, ended).rows for cell in line)
    assert "no mujoco" in gpu.table_of("robot", {"said": "error: no mujoco", "iterations": 0}, ended).caption


def test_what_is_packed():
    everything = pack.needed(pack.ROOTS, set(), "3.12")
    assert {"jax", "flax", "optax", "gymnasium", "mujoco", "mujoco-mjx", "pytest", "distrax", "numpy"} <= everything
    assert "metarl-jax" not in everything and "sphinx" not in everything
    beside = pack.needed(pack.ROOTS, set(pack.JAX_ALONE), "3.12")
    assert beside.isdisjoint(pack.JAX_ALONE) and beside < everything
    assert pack.name_of("Opt_einsum") == "opt-einsum"


def test_wheels_of_before_are_no_part_of_what_is_packed(tmp_path):
    wheels = [tmp_path / name for name in ("rich-13.0.0-py3-none-any.whl", "typing_extensions-4-py3-none-any.whl")]
    pack.refuse_others(tmp_path, wheels)
    with pytest.raises(UserError, match="holds rich in two versions; give --pack an empty folder"):
        pack.refuse_others(tmp_path, [*wheels, tmp_path / "Rich-14.0.0-py3-none-any.whl"])


def test_what_a_part_started_ends_with_it(tmp_path, monkeypatch):
    """A run or pytest that went on would keep the device from the parts after it."""
    monkeypatch.setattr(gpu, "GRACE", 0.0)
    monkeypatch.setitem(gpu.PARTS, "exact", (1.0, "no_module:nothing"))
    begun = tmp_path / "child"
    child = f"import subprocess; print(subprocess.Popen(['sleep', '60']).pid, file=open({str(begun)!r}, 'w'), flush=True)"
    popen = subprocess.Popen
    monkeypatch.setattr(
        gpu.subprocess, "Popen", lambda command, **kw: popen([command[0], "-c", f"{child}; import time; time.sleep(60)"], **kw)
    )
    assert gpu.part(gpu.GpuConfig(out=tmp_path), "exact", 5.0)["exit_code"] is None
    state = Path("/proc", begun.read_text().strip(), "stat")
    for _ in range(100):
        if not state.exists() or state.read_text().split()[2] == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail("it goes on")


def test_no_form_is_timed_while_another_compiles(tmp_path, monkeypatch):
    """Compiling is told by a clock of its own: forms that take different times, more of them than are compiled at once."""
    busy, seen = [], []

    def prepared(form):
        busy.append(form)
        time.sleep(0.02 * form.unroll)
        busy.remove(form)
        return (lambda count: None), 0.0

    def timed(form, run, repeats, length):
        time.sleep(0.01)
        seen.append(len(busy))
        return {"form": form.label}

    asked = [forms.Form("some", unroll, None, None) for unroll in (1, 9, 3, 7, 2)]
    monkeypatch.setattr(forms, "forms", lambda quick: asked)
    monkeypatch.setattr(forms, "prepared", prepared)
    monkeypatch.setattr(forms, "timed", timed)
    forms.measure(tmp_path / "forms.json", 300, quick=True)
    assert seen == [0] * 5
    assert [row["form"] for row in json.loads((tmp_path / "forms.json").read_text())["forms"]] == [form.label for form in asked]


def test_what_is_compared_lies_on_one_device_alone(monkeypatch):
    """Also where there are several: spread over them, the work would stay there, and be compared with itself."""
    made = []
    of_agent = agreement.workloads.of_agent
    monkeypatch.setattr(agreement.workloads, "of_agent", lambda *args, **kw: made.append(of_agent(*args, **kw)) or made[-1])
    for make in agreement.learners(True).values():
        make()
    assert len(made) == 5 and all(each.task_map.mesh is None for each in made)
    assert of_agent("maml", forms.NAVIGATION, "maml", num_tasks=2, num_episodes=2, horizon=2).task_map.mesh.size == 2


def test_the_script_keeps_paths_with_spaces_and_what_python_was_told(tmp_path):
    """A python that only says how it was called."""
    home, wheels = Path(__file__).parents[3], tmp_path / "my wheels"
    wheels.mkdir()
    (wheels / "a.whl").touch()
    python = tmp_path / "a python"
    python.write_text('#!/bin/bash\necho "$PYTHONPATH|$*"\n')
    python.chmod(0o755)
    told = os.environ | {"METARL_PYTHON": "./a python", "PYTHONPATH": "/jax here"}
    script = ["bash", str(home / "experiments/benchmark/gpu.sh"), "my wheels", "my out", "--quick"]
    done = subprocess.run(script, cwd=tmp_path, env=told, capture_output=True, text=True, check=True)
    installed, called = done.stdout.splitlines()
    assert installed.endswith(f"{wheels}/a.whl")
    path, words = called.split("|")
    assert path.startswith(f"{home}:") and path.endswith(":/jax here")
    assert words == f"-m experiments.benchmark.gpu --out {tmp_path / 'my out'} --quick"


def test_bad_input(tmp_path, error_of):
    (tmp_path / "file").write_text("")
    assert "which is a file" in error_of(gpu.main, "--out", tmp_path / "file")
    assert "--minutes is 0" in error_of(gpu.main, "--minutes", 0)
    assert "--only is 'form'; known: agreement, forms, robot, exact, profiles." in error_of(gpu.main, "--only", "exact", "form")
    assert "--only is empty" in error_of(gpu.main, "--only")
    assert "--python is 'new'" in error_of(gpu.main, "--pack", tmp_path, "--python", "new")
    assert "are of --pack" in error_of(gpu.main, "--python", "3.12")
