"""Signals end a command's process, whatever it is doing. Each of these is a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

import experiments
from experiments.cli import signals
from tests.conftest import HOME

# What a command may be in the midst of. Each says so, then takes minutes unless something ends it.
WORK = {
    "python": "while True: pass",
    "compiled": """
@jax.jit
def forever(x): return jax.lax.while_loop(lambda x: x >= 0, lambda x: jnp.abs(jnp.sin(x)), x)
jax.block_until_ready(forever(1.0))""",
    "compiling": """
def long(x):
    for i in range(4000): x = jnp.sin(x) @ jnp.cos(x + i)
    return x
lowered = jax.jit(long).lower(jnp.ones((3, 3)))
lowered.compile()""",
    "callback": """
def host(x):
    import time
    time.sleep(300)
    return x
jax.block_until_ready(jax.jit(lambda x: jax.pure_callback(host, x, x))(jnp.ones(())))""",
}
PROGRAM = """
import sys
sys.argv[0] = "-m"  # as Python has it while it looks for a command
import experiments
import jax, jax.numpy as jnp, contextlib
from experiments.cli.errors import one_line_errors
from experiments.cli.signals import StopSignals
@one_line_errors
def main():
    with StopSignals() if {training} else contextlib.nullcontext():
        print("at work", flush=True)
{work}
main()
"""


def started(name, training):
    work = "\n".join(" " * 8 + line for line in WORK[name].splitlines())
    environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false", "PYTHONPATH": str(HOME)}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(training=training, work=work)],
        cwd=HOME,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process, limit):
    """(exit status, stderr), or a failure if it is not gone in time."""
    began = time.monotonic()
    try:
        _, errors = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        pytest.fail("still there after 30 s")
    assert time.monotonic() - began < limit
    return process.returncode, errors


@pytest.mark.parametrize(("name", "number"), [*((name, signal.SIGTERM) for name in WORK), ("compiled", signal.SIGINT)])
def test_the_second_signal_ends_training_whatever_it_does(name, number):
    with started(name, training=True) as process:
        assert process.stdout.readline() == "at work\n"
        time.sleep(1.0)
        process.send_signal(number)
        time.sleep(1.0)
        assert process.poll() is None  # the first one waits
        process.send_signal(number)
        status, errors = ended(process, 2.0)
    assert status == 128 + number
    lines = errors.split("\n")
    assert f"{number.name}: finishing what is running, then saving (again: at once) ..." in lines
    assert "--resume" in lines[-2] and "Traceback" not in errors


def test_one_signal_ends_other_commands():
    with started("compiled", training=False) as process:
        assert process.stdout.readline() == "at work\n"
        time.sleep(1.0)
        process.send_signal(signal.SIGTERM)
        status, errors = ended(process, 2.0)
    assert status == 143 and "Traceback" not in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_still_imports_ends_without_a_traceback(number):
    """Also where a library would crash: here it is in the midst of a module that takes long."""
    slow = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # which the tests' own parent may ignore
sys.argv[0] = "-m"
import experiments
print("at work", flush=True)
time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", slow],
        cwd=HOME,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "at work\n"
        process.send_signal(number)
        status, errors = ended(process, 2.0)
    assert status == 128 + number and not errors


def test_in_a_program_of_somebody_else_a_signal_is_theirs():
    """The watch that ends a command at once would end a server that trains in a thread of its work."""
    assert not experiments.is_command
    with signals.ended_by_sigterm():
        assert signals._watch is None


@pytest.mark.slow
def test_two_signals_in_a_long_meta_iteration_leave_a_run_that_goes_on(tmp_path):
    flags = ["--num-tasks", "40", "--num-episodes", "400", "--horizon", "1000", "--task-batch", "1", "--num-iterations", "50"]
    run = [sys.executable, "-m", "experiments.train", "--eval-tasks", "0", "--run-dir", str(tmp_path / "run")]
    with subprocess.Popen([*run, *flags], cwd=HOME, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "run" / "checkpoints" / "0").exists() or "program" not in config(tmp_path / "run"):
            time.sleep(0.2)
        time.sleep(5)
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
        status, _ = ended(process, 2.0)
    assert status == 143
    with subprocess.Popen([*run, "--resume"], cwd=HOME, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while "compiling" not in process.stdout.readline():
            assert process.poll() is None
        time.sleep(2)
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.3)
        assert ended(process, 2.0)[0] == 130


def config(run):
    return json.loads((run / "config.json").read_text())
