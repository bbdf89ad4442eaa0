"""What runs of days need: they stop when asked to with everything saved, drop bad updates, and know what they need before."""

import dataclasses
import json
import os
import re
import signal
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import sinusoid, step_function, train
from experiments.cli.errors import one_line_errors
from experiments.cli.flags import flag
from experiments.cli.signals import StopSignals
from experiments.runs import folder
from experiments.training import loop, memory
from experiments.training.config import TrainConfig
from experiments.training.nonfinite import skip_update, stop_at_once
from experiments.training.program import compile_chunk
from experiments.training.seeds import batch_seeds
from metarl.interfaces import MetaLearner, MetaState
from metarl.tasks import ONE_BATCH
from tests.experiments.conftest import SMALL, read_lines, small_run
from tests.few import few

USUAL = (signal.default_int_handler, signal.SIG_DFL)
FIELDS = ("meta/pre", "meta/post", "outer/loss")


def same_but_for_time(lines):
    return [{name: value for name, value in line.items() if not name.startswith("time/")} for line in lines]


def interrupt_after(lines, path, number):
    """Send a signal to this process as soon as a run has written some lines of metrics."""

    def watch():
        deadline = time.monotonic() + 60
        while not (path.exists() and path.read_bytes().count(b"\n") >= lines):
            if time.monotonic() > deadline:
                return
            time.sleep(0.002)
        if isinstance(
            getattr(signal.getsignal(number), "__self__", None), StopSignals
        ):  # else the run has ended, and the signal would end the tests
            os.kill(os.getpid(), number)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


@pytest.mark.parametrize("number", few([signal.SIGTERM, signal.SIGINT], signal.SIGTERM))
def test_a_signal_stops_a_run_with_everything_saved(number, tmp_path, capsys):
    """It exits with 0, says how to go on, and goes on to the same lines as a run that nobody stopped."""
    flags = ["--run-dir", str(tmp_path / "run"), "--num-iterations", "3000", "--checkpoint-every", "1000000", *SMALL]
    flags += ["--eval-tasks", "0"]
    watcher = interrupt_after(2, tmp_path / "run" / "metrics.jsonl", number)
    train.main(flags)  # returns: exit status 0
    watcher.join()
    captured = capsys.readouterr()
    lines = read_lines(tmp_path / "run")
    name, done = signal.Signals(number).name, len(lines)
    assert 2 <= done < 3000
    assert captured.out.splitlines()[-1] == (
        f"{name}: stopped after iteration {done} of 3000 and saved; go on with: "
        f"python -m experiments.train --run-dir {tmp_path / 'run'} --resume"
    )
    assert f"{name}: finishing what is running" in captured.err
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == ["0", str(done)]
    assert signal.getsignal(number) in USUAL
    train.main(["--run-dir", str(tmp_path / "run"), "--resume", "--num-iterations", str(done + 2)])
    assert [line["iteration"] for line in read_lines(tmp_path / "run")] == list(range(1, done + 3))
    whole = small_run(tmp_path / "whole", "--num-iterations", str(done + 2), "--eval-tasks", "0")
    assert same_but_for_time(read_lines(whole)) == same_but_for_time(read_lines(tmp_path / "run"))


def test_the_second_signal_has_its_usual_effect():
    with pytest.raises(KeyboardInterrupt), StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.received == "SIGINT"
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def toy(bad):
    """Counts; in the iterations of ``bad`` its update is not finite, in those of ``-i`` only its state."""

    def step(state, key):
        worse = jnp.any(state.iteration == jnp.array(bad))
        hidden = jnp.any(state.iteration == -jnp.array(bad))
        theta = jnp.where(worse | hidden, jnp.nan, state.theta + 1.0)
        shown = jnp.where(worse, jnp.nan, state.theta)
        metrics = dict.fromkeys(FIELDS, shown) | {"time/env_steps": jnp.int32(10)}
        return MetaState(theta, (), state.iteration + 1), metrics

    return MetaLearner(lambda key: MetaState(jnp.zeros(()), (), jnp.zeros((), jnp.int32)), step, None, None)


def called(bad, guard, stop, log_every, seeds=(0,)):
    all_seeds = batch_seeds(toy(bad), seeds)
    program = compile_chunk(all_seeds, all_seeds.init(), log_every, guard, ONE_BATCH)
    return jax.device_get(program.call(all_seeds.init(), 0, stop))


def test_a_skipped_update_leaves_all_but_the_iteration_as_it_was():
    states, sums, counted, reached = called([2, 3, -6], skip_update, 9, 3, seeds=(0, 1))
    assert reached == 9
    np.testing.assert_array_equal(states.theta, [6, 6])  # nine less three
    np.testing.assert_array_equal(states.iteration, [9, 9])
    np.testing.assert_array_equal(counted[:3], [[2, 2], [2, 2], [2, 2]])
    np.testing.assert_array_equal(sums["meta/post"][:3, 0], [0 + 1, 2 + 3, 4 + 5])
    np.testing.assert_array_equal(sums["time/env_steps"][:3, 0], [30, 30, 30])  # episodes were played all the same


def test_without_skipping_the_first_bad_metric_stops():
    _, sums, _, reached = called([2, 3], stop_at_once, 9, 1)
    assert reached == 3 and np.isnan(sums["meta/post"][2, 0])


def test_skipped_updates_are_counted_in_the_lines(tmp_path, capsys):
    """A step size that throws parameters to infinity: every update is dropped, training goes on, the lines stay JSON."""
    run = small_run(tmp_path / "run", "--inner-lr", "1e38", "--on-nonfinite", "skip", "--eval-tasks", "0")
    lines = read_lines(run)
    assert [line["iteration"] for line in lines] == [1, 2, 3, 4]
    assert all(line["outer/skipped"] == 1 and "meta/post" not in line and line["time/env_steps"] > 0 for line in lines)
    assert "NaN" not in (run / "metrics.jsonl").read_text()
    assert "iteration 4/4  " in (out := capsys.readouterr().out) and "env steps/s 4 skipped" in out


def flags_of(main):
    config = {
        train.main: TrainConfig,
        sinusoid.main: sinusoid.SinusoidConfig,
        step_function.main: step_function.StepFunctionConfig,
    }
    return {flag(field.name) for field in dataclasses.fields(config[main])}


def test_buffers_that_will_not_fit_are_refused_before_anything_is_compiled_or_made(monkeypatch, tmp_path, error_of):
    """A hundred tasks, a thousand million transitions of each."""
    monkeypatch.setattr(memory, "available_bytes", lambda: 2**34)
    monkeypatch.setattr(loop, "compile_chunk", None)
    flags = [*SMALL, "--agent", "pearl", "--buffer-size", "1000000000", "--num-train-tasks", "100", "--seeds", "2"]
    error = error_of(train.main, "--run-dir", tmp_path / "run", *flags)
    needed = 2 * 2 * 100 * 10**9 * (4 * (2 * 2 + 2 + 2) + 1) / 2**30  # places, action, two rewards; whether it ended
    assert (
        f"needs {needed:,.1f} GiB, but this machine has 16.0 GiB free; try a smaller --buffer-size or --num-train-tasks first"
        in error
    )
    assert "train fewer seeds" in error
    assert error.count("\n") == 1 and not (tmp_path / "run").exists()


@pytest.mark.parametrize("main", [train.main, sinusoid.main, step_function.main])
def test_a_run_that_will_not_fit_is_refused_before_it_runs(main, monkeypatch, tmp_path, error_of):
    monkeypatch.setattr(memory, "available_bytes", lambda: 1000)
    flags = [*SMALL] if main is train.main else ["--num-iterations", "5", "--num-tasks", "2"]
    error = error_of(main, "--run-dir", tmp_path / "run", *flags)
    assert "GiB and some headroom, but this machine has 9.31e-07 GiB free; try" in error
    named = re.findall(r"--[a-z-]+", error)
    assert "--num-tasks" in named and all(known in flags_of(main) for known in named), named
    assert not (tmp_path / "run" / "metrics.jsonl").read_text()


def test_a_buffer_that_will_not_fit_is_refused_before_it_is_made(tmp_path, error_of):
    """Of an exabyte: nothing is compiled, and what it is of comes first."""
    flags = ["--agent", "varibad", "--buffer-trials", str(10**16)]
    error = error_of(train.main, "--run-dir", tmp_path / "run", *SMALL, *flags)
    assert (
        error.startswith("error: the agent's state alone, before and after a meta-iteration, needs") and error.count("\n") == 1
    )
    assert "try a smaller --buffer-trials first, since the buffer of 10,000,000,000,000,000 trials" in error


def test_what_a_program_needs_is_at_least_what_it_holds():
    """Against a program whose intermediate results can be counted: a megabyte in, two through, a number out."""
    compiled = jax.jit(lambda x: jnp.sum(jnp.sort(jnp.concatenate([x, x + 1])))).lower(jnp.zeros(2**18)).compile()
    assert 3 * 2**20 <= memory.needed_bytes(compiled) <= 8 * 2**20
    free = memory.available_bytes()
    assert free is not None and 2**20 < free < 2**50


def test_what_a_program_costs_is_noted(finished_run):
    program = json.loads((finished_run / "config.json").read_text())["program"]
    assert 0 < program["compile_seconds"] < 100 and program["memory_bytes"] > 1000
    # Two tasks, two batches of three episodes of six steps, through a network of 2 x 8 and 8 x 2.
    forward = 2 * 2 * 2 * 3 * 6 * (2 * 8 + 8 * 2)
    assert forward < program["flops_per_iteration"] < 1000 * forward


def test_a_profile_is_written_once(tmp_path, capsys):
    run = small_run(tmp_path / "run", "--profile", "--eval-tasks", "0")
    assert len(list((run / "profile").rglob("*.xplane.pb"))) == 1
    assert capsys.readouterr().out.count("wrote a trace of one compiled call") == 1


def test_calls_grow_to_about_a_second_and_shrink_with_slower_ones():
    blocks = [1]
    for _ in range(9):
        blocks.append(loop._next_blocks(blocks[-1], blocks[-1] * 0.01))  # a block takes ten milliseconds
    assert blocks[:4] == [1, 4, 16, 64] and blocks[-1] == 100
    assert loop._next_blocks(100, 4.0) == 25 and loop._next_blocks(1, 60.0) == 1


def test_calls_cut_short_by_a_checkpoint_do_not_make_the_next_ones_long():
    """Iterations of a thirtieth of a second, a checkpoint every 41: no call takes longer than two seconds."""
    schedule = loop.Schedule(2000, log_every=1, checkpoint_every=41)
    iteration, blocks, calls = 0, 1, []
    while iteration < 2000:
        stop = loop._stop(iteration, blocks, schedule)
        calls.append((stop - iteration) / 30)
        blocks, iteration = loop._next_blocks(stop - iteration, calls[-1]), stop
    assert max(calls) < 2 and np.median(calls) > 0.3


def test_a_line_that_ended_a_short_block_stays_the_end_of_one():
    """A run of 250 with lines of 100 ends with line 250; one that goes on from checkpoint 200 has it again, and then 350."""
    schedule = loop.Schedule(500, log_every=100, checkpoint_every=500)
    assert loop._stop(200, 3, schedule, written=250) == 250
    assert loop._stop(250, 1, schedule, written=250) == 350
    assert loop._stop(200, 3, schedule) == 500


def test_memory_of_a_control_group_counts_files_that_were_read_as_free(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 100 kB\nMemAvailable:   90 kB\n")
    for name, text in {"max": "65536", "current": "61440", "stat": "anon 1\nactive_file 4096\ninactive_file 8192\n"}.items():
        (tmp_path / f"memory.{name}").write_text(text)
    assert memory._host_bytes(tmp_path / "meminfo", tmp_path) == 4096 + 4096 + 8192
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._host_bytes(tmp_path / "meminfo", tmp_path) == 90 * 1024
    assert memory._host_bytes(tmp_path / "meminfo", tmp_path / "none") == 90 * 1024


def test_an_interrupted_overwrite_leaves_a_run_that_can_be_overwritten(tmp_path, monkeypatch):
    """Killed while the old run is being deleted."""
    run = small_run(tmp_path / "run", "--eval-tasks", "0")

    def killed(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(folder.shutil, "rmtree", killed)
        small_run(run, "--eval-tasks", "0", "--overwrite")
    small_run(run, "--eval-tasks", "0", "--overwrite")
    assert len(read_lines(run)) == 4


def test_sigterm_outside_training_says_how_to_go_on(capsys):
    @one_line_errors
    def main():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    with pytest.raises(SystemExit) as stop:
        main()
    assert signal.getsignal(signal.SIGTERM) in USUAL
    assert stop.value.code == 143 and "--resume" in capsys.readouterr().err
