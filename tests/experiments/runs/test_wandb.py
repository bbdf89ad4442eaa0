"""The wandb runs: offline, complete, read back with wandb's own reader; and servers that cannot be reached or say no."""

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time

import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from experiments.runs import wandb_run, wandb_upload
from experiments.runs.folder import read_config
from tests.conftest import HOME
from tests.experiments.conftest import SMALL

KEY = "k" * 40


def without_account(home, **more):
    """The environment of a user who has no wandb account and an empty home."""
    home.mkdir(exist_ok=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB") and name != "NETRC"}
    return clean | {"HOME": str(home), "PYTHONPATH": str(HOME)} | more


def records(segment):
    """What `wandb leet` finds in a segment: kind of record -> its records."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(segment)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    found = {}
    for record in map(json.loads, lines):
        found.setdefault(record["type"], []).append(record[record["type"]])
    return found


def history(found):
    return [record["item"] for record in found["history"]]


def test_a_first_run_is_offline_asks_nothing_and_is_complete(tmp_path):
    """One run, read back by wandb's own reader; one test, so that one process trains it."""
    command = [sys.executable, "-m", "experiments.train", "--run-dir", "run", "--num-iterations", "2", *SMALL]
    done = subprocess.run(
        command, cwd=tmp_path, env=without_account(tmp_path / "home"), capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    assert "wandb" not in done.stdout and done.stderr == "", "nothing is said and nothing is asked"
    train, evaluation = sorted((tmp_path / "run/wandb").glob("offline-run-*"))
    assert not (tmp_path / "run/wandb" / wandb_upload.LOG).exists(), "no process uploads"
    train, evaluation = records(train), records(evaluation)
    check_names_group_and_settings(tmp_path / "run", (train, evaluation))
    check_every_iteration_is_there(tmp_path / "run", train)
    check_the_evaluation_is_there(tmp_path / "run", evaluation)
    check_the_checkpoint_leads_from_training_to_evaluation(tmp_path / "run", train, evaluation)


def check_names_group_and_settings(run_dir, segments):
    run_config = read_config(run_dir)
    for found, job_type in zip(segments, ("train", "eval"), strict=True):
        (run,) = found["run"]
        config = run["config"]["update"]
        assert run["run_group"] == "maml/metarl/Navigation2D-v0" and run["job_type"] == job_type
        assert run["display_name"] == f"maml-seed-0-{job_type}" and run["project"] == "metarl"
        assert run["run_id"] == run_config["wandb_id"] + "-eval" * (job_type == "eval")
        assert run_config["settings"].items() <= config.items(), "settings lie at the top"
        assert config["git_commit"] == run_config["git_commit"] and config["train_run"] == run_config["wandb_id"]
        axes = {metric.get("glob_name"): metric.get("step_metric") for metric in found["metric"]}
        assert axes["*"] == "time/env_steps"


def check_every_iteration_is_there(run_dir, train):
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert len(history(train)) == len(lines) == 2
    for row, line in zip(history(train), lines, strict=True):
        assert line.items() <= row.items()


def check_the_evaluation_is_there(run_dir, evaluation):
    result = json.loads((run_dir / "evaluation.json").read_text())
    row, *curve = history(evaluation)
    assert [row[f"eval/step_{k}"] for k in range(4)] == result["return_mean"]
    assert [(point["eval/episodes"], point["eval/return"]) for point in curve] == list(
        zip(result["episodes"], result["return_mean"], strict=True)
    )
    (segment,) = (run_dir / "wandb").glob("offline-run-*-eval")
    (table,) = segment.glob("files/media/table/eval/returns_*.json")
    rows = json.loads(table.read_text())["data"]
    assert [row[3] for row in rows] == [value for returns in result["returns"] for value in returns]
    assert len(list(segment.glob("files/media/*/eval/*.png"))) == len(list(segment.glob("files/media/*/eval/*.gif"))) == 1
    assert (run_dir / "rollout.gif").read_bytes().startswith(b"GIF8")


def check_the_checkpoint_leads_from_training_to_evaluation(run_dir, train, evaluation):
    made, used = (
        next(artifact for artifact in found["artifact"] if artifact["type"] == "model") for found in (train, evaluation)
    )
    assert made["name"] == used["name"] == f"model-{read_config(run_dir)['wandb_id']}"
    assert made["digest"] == used["digest"], "one version, not two"
    assert used["use_after_commit"] and not made.get("use_after_commit")


def test_a_point_of_the_sweep_trains_under_its_id_though_the_server_is_away(tmp_path):
    sweep = yaml.safe_load((HOME / "experiments/examples/sweep.yaml").read_text())
    assert sweep["method"] == "grid" and sweep["metric"] == {"name": "meta/post", "goal": "maximize"}
    assert set(sweep["parameters"]) == {"agent", "inner_lr", "outer_lr", "seed"}
    point = {name: {"value": values["values"][0]} for name, values in sweep["parameters"].items()}
    parts = create_sweep_command_args({"args": point}) | {"interpreter": [sys.executable]}
    command = [word for part in sweep["command"] for word in (parts[part[2:-1]] if part.startswith("${") else [part])]
    asked = {"WANDB_RUN_ID": "abc123", "WANDB_SWEEP_ID": "sweep7", "WANDB_API_KEY": KEY, "WANDB_BASE_URL": "http://127.0.0.1:9"}
    done = subprocess.run(
        [*command, "--num-iterations", "1", *SMALL],
        cwd=tmp_path,
        env=without_account(tmp_path / "home", **asked),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    (warning,) = done.stderr.splitlines()
    assert "cannot be reached" in warning or "has not answered yet" in warning  # as busy as the machine is
    assert warning.endswith("wandb sync runs/sweep/abc123/wandb")
    train, evaluation = sorted((tmp_path / "runs/sweep/abc123/wandb").glob("offline-run-*"))
    (run,), (eval_run,) = records(train)["run"], records(evaluation)["run"]
    assert run["run_id"] == "abc123" and run["sweep_id"] == "sweep7"
    assert eval_run["run_id"] == "abc123-eval" and "sweep_id" not in eval_run
    assert run["config"]["update"]["agent"] == point["agent"]["value"]


def test_an_unauthorised_key_is_one_line(tmp_path):
    class Refuse(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(401)
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *words):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuse) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        env = without_account(tmp_path, WANDB_API_KEY=KEY, WANDB_BASE_URL=f"http://127.0.0.1:{server.server_port}")
        done = subprocess.run(
            [sys.executable, "-m", "experiments.runs.wandb_upload"],
            input=wandb_upload.END,
            env=env,
            capture_output=True,
            text=True,
        )
        server.shutdown()
    assert done.returncode == 1 and "refused the key" in done.stdout and done.stdout.count("\n") == 1


def test_a_server_that_never_answers_is_not_waited_for(tmp_path, capsys, monkeypatch):
    """It takes the connection and says nothing: the training's process ends at once, with one line."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setattr(wandb_upload, "_uploaders", [])
        monkeypatch.setattr(wandb_upload.atexit, "register", lambda end: None)
        wandb_upload.begin(tmp_path / "offline-run-1")
        (uploader,) = wandb_upload._uploaders
        connection, _ = silent.accept()  # the uploader is there and waits for its answer
        began = time.monotonic()
        uploader.end()
        assert time.monotonic() - began < 2.0
        connection.close()
    (warning,) = capsys.readouterr().err.splitlines()
    assert "the server has not answered yet" in warning and warning.endswith(f"wandb sync {tmp_path}")
    assert uploader._process.wait(timeout=30) == 1, "with the server gone it gives up"
    uploader._listener.join()
    uploader._process.stdout.close()
    assert "cannot be reached" in (tmp_path / wandb_upload.LOG).read_text()


def test_who_uploads(tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert not wandb_upload.wanted(None, in_sweep=False) and wandb_upload.wanted(None, in_sweep=True)
    assert wandb_upload.wanted("online", in_sweep=False) and wandb_upload.wanted("shared", in_sweep=False)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert wandb_upload.wanted(None, in_sweep=False)
    assert not wandb_upload.wanted("offline", in_sweep=True) and not wandb_upload.wanted("disabled", in_sweep=True)


def test_runs_of_several_seeds_are_open_at_once_and_a_resumed_one_adds_a_segment(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("HOME", str(tmp_path))
    folders = [tmp_path / f"seed-{seed}" for seed in range(2)]
    configs = [{"wandb_id": f"id{seed}", "settings": {"seed": seed}} for seed in range(2)]
    start = lambda i: wandb_run.start_wandb(folders[i], configs[i], agent="maml", env="e", job_type="train")
    for folder in folders:
        folder.mkdir()
    runs = [start(i) for i in range(2)]
    for step in range(3):
        for seed, run in enumerate(runs):
            run.log({"meta/post": 10 * seed + step, "time/env_steps": step})
    for run in runs:
        run.finish()
    again = start(1)
    again.log({"meta/post": 13, "time/env_steps": 3})
    again.finish()
    segments = [records(segment) for folder in folders for segment in sorted((folder / "wandb").glob("offline-run-*"))]
    assert [[row["meta/post"] for row in history(found)] for found in segments] == [[0, 1, 2], [10, 11, 12], [13]]
    assert [found["run"][0]["run_id"] for found in segments] == ["id0", "id1", "id1"]
