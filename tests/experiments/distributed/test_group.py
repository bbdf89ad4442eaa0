"""Several processes on loopback: how they meet, what they say when one is lost, and that they compute what one would."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from experiments import train
from experiments.cli.errors import UserError
from experiments.distributed import group, relay, rendezvous
from experiments.distributed.rendezvous import Place
from tests.experiments.conftest import read_lines

# Started processes and this one read the same settings of the family.
pytestmark = pytest.mark.usefixtures("settings_of_families")
SMALL = ["--num-tasks", "2", "--num-episodes", "3", "--horizon", "6", "--hidden-sizes", "8", "--eval-tasks", "0"]


def start(run_dir, *flags, seconds=60):
    """Two processes of one run, each with one device."""
    port = rendezvous.free_port()
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "1"}

    def process(i):
        place = ["--hosts", f"127.0.0.1:{port},2,{i}", "--hosts-wait", str(seconds)]
        command = [sys.executable, "-m", "experiments.train", "--run-dir", str(run_dir), *place, *flags]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return process(0), process(1)


def started(run_dir, processes, checkpoint):
    """Wait until the run has got that far."""
    until = time.monotonic() + 120
    while not (run_dir / "checkpoints" / str(checkpoint)).is_dir():
        assert all(process.poll() is None for process in processes), [process.communicate() for process in processes]
        assert time.monotonic() < until
        time.sleep(0.01)


def lose(run_dir, victim, after=0.0):
    """Kill one of two that train, and check what the other says."""
    processes = start(run_dir, *SMALL, "--num-iterations", "100000", "--checkpoint-every", "3")
    try:
        started(run_dir, processes, 3)
        time.sleep(after)
        processes[victim].kill()
        said = processes[1 - victim].communicate(timeout=20)[1]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert processes[1 - victim].returncode == 75
    assert said.startswith(
        f"error: process {victim} is gone: its connection closed. Training stopped; start all processes again"
    )
    assert "with --resume; the last checkpoint is iteration " in said and said.count("\n") == 1, said


def resume(run_dir, *flags):
    processes = start(run_dir, "--resume", *flags)
    outcomes = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outcomes


def test_two_processes_train_and_resume_as_one_would(tmp_path):
    """One is killed; the other says so in one line; started again, they go on to what a single process computes."""
    lose(tmp_path / "two", victim=1)
    end = read_lines(tmp_path / "two")[-1]["iteration"] + 4
    resume(tmp_path / "two", "--num-iterations", str(end))
    train.main(["--run-dir", str(tmp_path / "one"), *SMALL, "--num-iterations", str(end)])
    two, one = read_lines(tmp_path / "two"), read_lines(tmp_path / "one")
    assert [line["iteration"] for line in two] == list(range(1, end + 1))
    assert [line["time/env_steps"] for line in two] == [line["time/env_steps"] for line in one]
    assert set(two[0]) == set(one[0])
    for name in (name for name in one[0] if not name.startswith("time/")):
        np.testing.assert_allclose(two[0][name], one[0][name], rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 0, 1, 1])
def test_either_may_be_lost_at_any_moment(tmp_path, victim):
    lose(tmp_path / "run", victim, after=random.uniform(0, 3))
    end = read_lines(tmp_path / "run")[-1]["iteration"] + 4
    resume(tmp_path / "run", "--num-iterations", str(end))
    assert [line["iteration"] for line in read_lines(tmp_path / "run")] == list(range(1, end + 1))


@pytest.mark.slow
@pytest.mark.parametrize("told", [0, 1])
def test_a_signal_to_one_stops_all_with_everything_saved(tmp_path, told):
    processes = start(tmp_path, *SMALL, "--num-iterations", "100000", "--checkpoint-every", "3")
    started(tmp_path, processes, 3)
    processes[told].send_signal(signal.SIGTERM)
    outcomes = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outcomes
    last = read_lines(tmp_path)[-1]["iteration"]
    assert (tmp_path / "checkpoints" / str(last)).is_dir()
    assert all(f"SIGTERM: stopped after iteration {last} of 100000 and saved" in out for out, _ in outcomes)


@pytest.mark.slow
def test_several_seeds_in_two_processes(tmp_path):
    flags = [*SMALL, "--seeds", "2", "--num-iterations", "3", "--agent", "maml-trpo"]
    processes = start(tmp_path / "two", *flags)
    outcomes = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outcomes
    train.main(["--run-dir", str(tmp_path / "one"), *flags])
    for seed in ("seed-0", "seed-1"):
        two, one = read_lines(tmp_path / "two" / seed), read_lines(tmp_path / "one" / seed)
        assert len(two) == 3
        np.testing.assert_allclose(two[0]["meta/post"], one[0]["meta/post"], rtol=1e-5)


@pytest.mark.slow
def test_what_process_0_refuses_all_refuse(tmp_path):
    (tmp_path / "something").touch()
    processes = start(tmp_path, *SMALL)
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [2, 2]
    assert errors[0].startswith(f"error: {tmp_path} holds files but no run") and errors[0].count("\n") == 1
    assert errors[1] == errors[0].replace("error:", "error: process 0 stopped:")


@pytest.mark.slow
def test_a_stopped_process_is_noticed(tmp_path):
    processes = start(tmp_path, *SMALL, "--num-iterations", "1000000")
    started(tmp_path, processes, 0)
    processes[1].send_signal(signal.SIGSTOP)
    said = processes[0].communicate(timeout=90)[1]
    processes[1].kill()
    processes[1].communicate()
    assert processes[0].returncode == 75
    assert "process 1 has given no sign of life for 60 s" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("flag", "complaint"),
    [
        ("node0", "'node0'; give auto, or ADDRESS:PORT,PROCESSES,PROCESS"),
        ("node0:1234,2", "give auto, or"),
        ("node0,2,0", "give auto, or"),
        ("node0:1234,2,2", "processes from 0 to PROCESSES - 1"),
        ("node0:70000,2,0", "ports go from 1 to 65535"),
        ("auto", "finds no launcher that JAX knows"),
    ],
)
def test_flags_that_make_no_sense(flag, complaint, error_of, tmp_path):
    assert complaint in error_of(train.main, "--run-dir", tmp_path / "run", "--hosts", flag)
    assert not (tmp_path / "run").exists()


def test_launchers_are_found_as_jax_finds_them(monkeypatch):
    slurm = {"JOB_ID": "4100", "STEP_NODELIST": "gpu[07-09],gpu11", "NTASKS": "8", "PROCID": "5", "LOCALID": "1"}
    for name, value in slurm.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert group.place("auto") == Place("gpu07", 65536 - 4096 + 4, 8, 5, [1])
    monkeypatch.setenv("JAX_COORDINATOR_PORT", "1234")
    assert group.place("auto").port == 1234


def test_nobody_answers(error_of, tmp_path):
    port = rendezvous.free_port()
    flags = ["--run-dir", tmp_path / "run", "--hosts", f"127.0.0.1:{port},2,1", "--hosts-wait", 0.1]
    assert f"nobody answers at 127.0.0.1:{port} after 0 s (Connection refused)" in error_of(train.main, *flags)
    assert not (tmp_path / "run").exists()


def test_the_port_is_in_use(error_of, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]},2,0"
        assert "is in use; give all processes another" in error_of(train.main, "--run-dir", tmp_path / "run", "--hosts", place)


def together(places, seconds):
    """Let all meet in threads; gives what each gets, or its error."""

    def go(place):
        try:
            return rendezvous.gather(place, seconds) if place.process == 0 else rendezvous.come(place, seconds)
        except UserError as error:
            return str(error)

    with ThreadPoolExecutor(len(places)) as pool:
        return list(pool.map(go, places))


def test_somebody_is_missing():
    first = Place("127.0.0.1", rendezvous.free_port(), 4, 0)
    reasons = together([first, first._replace(process=2)], 1)
    assert (
        reasons
        == [f"--hosts: only process 0, 2 of 4 came to {first} within 1 s; start the others, or correct their number."] * 2
    )


def test_each_has_a_number_of_its_own_and_all_the_same_count():
    first = Place("127.0.0.1", rendezvous.free_port(), 3, 0)
    other = first._replace(process=1)
    _, *others = together([first, other, other, first._replace(num_processes=2, process=1)], 1)
    assert sum("process 1 is there already" in reason for reason in others) == 1
    assert sum("process 1 expects 2 processes, process 0 3" in reason for reason in others) == 1


def connected(port):
    """A connection to ``port`` as soon as somebody listens there."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_those_that_meet_can_talk_and_strangers_cannot():
    first = Place("127.0.0.1", rendezvous.free_port(), 2, 0)

    def stranger_then_second():
        with connected(first.port) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert stranger.recv(1) == b""
        return rendezvous.come(first._replace(process=1), 5)

    with ThreadPoolExecutor(2) as pool:
        gathering = pool.submit(rendezvous.gather, first, 5)
        coming = pool.submit(stranger_then_second)
        gathering.result()[1].send(coordinator=1)
        link, message = coming.result()
        assert message == {"coordinator": 1}
    for end in (link, gathering.result()[1]):
        end.close()


def test_the_relay_does_not_hang_up():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = relay.start("127.0.0.1", server.getsockname()[1])
        near = socket.create_connection(("127.0.0.1", port))
        far, _ = server.accept()
        near.sendall(b"there")
        assert far.recv(5) == b"there"
        far.sendall(b"back")
        assert near.recv(4) == b"back"
        far.close()
        near.settimeout(0.3)
        with pytest.raises(TimeoutError):  # closed, it would give b""
            near.recv(1)
        near.close()


def test_one_process_needs_nobody():
    alone = group.ALONE
    assert alone.is_first() and alone.announce(3) == 3
    assert alone.agree(5, None) == (5, None) and alone.agree(5, "SIGTERM") == (5, "SIGTERM")
