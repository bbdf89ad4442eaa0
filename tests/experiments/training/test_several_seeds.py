"""``--seeds``: several runs from one program, each complete and as if it had been alone."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import evaluate, step_function, train
from experiments.cli.errors import UserError
from experiments.cli.flags import MAX_SEED
from experiments.runs.folder import lock
from experiments.runs.writer import open_writer
from experiments.training import loop
from experiments.training.config import build, resolve, train_config
from experiments.training.seeds import batch_seeds, keys_of, of_seed
from metarl.interfaces import MetaLearner, MetaState
from tests.experiments.conftest import read_lines, small_run

SEEDS = (3, 4)
TWO = ("--seed", "3", "--seeds", "2")


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    """Two seeds that tests may read but not change."""
    return small_run(tmp_path_factory.mktemp("several") / "parent", *TWO)


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """The same after half the iterations, without an evaluation."""
    return small_run(tmp_path_factory.mktemp("several") / "half", *TWO, "--num-iterations", "2", "--eval-tasks", "0")


@pytest.fixture
def copy(half, tmp_path):
    return shutil.copytree(half, tmp_path / "copy")


def numbers(run_dir):
    """Rows without what depends on the wall clock."""
    clock = ("time/seconds", "time/steps_per_second")
    return [{name: value for name, value in row.items() if name not in clock} for row in read_lines(run_dir)]


def evaluation(run_dir):
    return json.loads((run_dir / "evaluation.json").read_text())


def settings(run_dir):
    return json.loads((run_dir / "config.json").read_text())["settings"]


def test_every_seed_has_a_complete_run_folder(parent, finished_run):
    assert {path.name for path in parent.iterdir()} == {"seed-3", "seed-4"}
    alone = {path.name for path in finished_run.iterdir()}
    for seed in SEEDS:
        run = parent / f"seed-{seed}"
        assert {path.name for path in run.iterdir()} == alone
        assert settings(run) == settings(finished_run) | {"seed": seed, "run_dir": str(run)}
        assert [row["iteration"] for row in read_lines(run)] == [1, 2, 3, 4]
        assert evaluation(run)["seed"] == seed and evaluation(run)["iteration"] == 4
        assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["0", "2", "4"]
    ids = {json.loads((parent / f"seed-{seed}" / "config.json").read_text())["wandb_id"] for seed in SEEDS}
    assert len(ids) == 2


def test_a_seed_gets_the_numbers_of_a_run_of_its_own(parent, tmp_path):
    alone = numbers(small_run(tmp_path / "alone", "--seed", "4", "--eval-tasks", "0"))
    for together_row, alone_row in zip(numbers(parent / "seed-4"), alone, strict=True):
        assert together_row == pytest.approx(alone_row, abs=1e-5, rel=1e-5)
    assert numbers(parent / "seed-3")[0] != pytest.approx(alone[0], rel=1e-2)


def test_resuming_the_parent_continues_exactly(parent, half, copy):
    train.main(["--run-dir", str(copy), "--resume", "--num-iterations", "4"])
    for seed in SEEDS:
        before = (half / f"seed-{seed}" / "metrics.jsonl").read_bytes()
        assert (copy / f"seed-{seed}" / "metrics.jsonl").read_bytes().startswith(before)
        assert numbers(copy / f"seed-{seed}") == numbers(parent / f"seed-{seed}")


def test_resuming_the_parent_begins_where_all_seeds_are(parent, half, copy):
    """As after kill -9 while the last checkpoints were written: one seed has its own, the other does not."""
    shutil.rmtree(copy / "seed-4" / "checkpoints" / "2")
    train.main(["--run-dir", str(copy), "--resume", "--num-iterations", "3"])
    for seed in SEEDS:
        before = (half / f"seed-{seed}" / "metrics.jsonl").read_bytes()
        assert (copy / f"seed-{seed}" / "metrics.jsonl").read_bytes().startswith(before)
        assert numbers(copy / f"seed-{seed}") == numbers(parent / f"seed-{seed}")[:3]


def test_one_seed_resumed_alone_and_caught_up_with(half, parent, copy):
    train.main(["--run-dir", str(copy / "seed-4"), "--resume", "--num-iterations", "3"])
    assert numbers(copy / "seed-4")[:2] == numbers(half / "seed-4") and len(numbers(copy / "seed-3")) == 2
    assert numbers(copy / "seed-4")[2] == pytest.approx(numbers(parent / "seed-4")[2], abs=1e-5, rel=1e-5)
    assert settings(copy / "seed-4")["num_iterations"] == 3
    ahead = (copy / "seed-4" / "metrics.jsonl").read_bytes()
    train.main(["--run-dir", str(copy), "--resume", "--num-iterations", "4"])
    assert (copy / "seed-4" / "metrics.jsonl").read_bytes().startswith(ahead)
    assert numbers(copy / "seed-3") == numbers(parent / "seed-3")
    assert numbers(copy / "seed-4")[3] == numbers(parent / "seed-4")[3]


def test_seeds_without_a_common_checkpoint_are_refused(copy, error_of):
    shutil.rmtree(copy / "seed-3" / "checkpoints" / "2")
    shutil.rmtree(copy / "seed-4" / "checkpoints" / "0")
    message = error_of(train.main, "--run-dir", copy, "--resume", "--num-iterations", "4")
    assert "no checkpoint in common (newest: seed 3 0, seed 4 2)" in message


def test_evaluate_takes_the_parent(copy):
    """Two iterations of two seeds, evaluated afterwards: each on the tasks and random numbers of the other."""
    evaluate.main(["--run-dir", str(copy), "--num-tasks", "2", "--num-steps", "1"])
    found = [evaluation(copy / f"seed-{seed}") for seed in SEEDS]
    assert [(result["seed"], result["iteration"]) for result in found] == [(3, 2), (4, 2)]
    assert found[0]["task_hash"] == found[1]["task_hash"] and found[0]["returns"] != found[1]["returns"]


def test_overwrite_replaces_these_seeds_only(copy):
    small_run(copy, "--seed", "4", "--seeds", "2", "--overwrite", "--num-iterations", "1", "--eval-tasks", "0")
    assert [len(read_lines(copy / f"seed-{seed}")) for seed in (3, 4, 5)] == [2, 1, 1]


def test_refusals_change_nothing(parent, finished_run, copy, tmp_path, error_of):
    def refused(run_dir, *flags):
        return error_of(train.main, "--run-dir", run_dir, *flags)

    assert "--seeds is 0, but must be at least 1." in refused(tmp_path / "new", "--seeds", 0)
    assert "beyond the largest seed" in refused(tmp_path / "new", "--seed", MAX_SEED, "--seeds", 2)
    assert "holds no run" in refused(tmp_path / "new", "--seeds", 2, "--resume")
    assert not (tmp_path / "new").exists()
    assert "is a single run; leave out --seeds" in refused(finished_run, "--seeds", 2)
    assert "seed-3 already holds a run" in refused(parent, "--seed", 2, "--seeds", 2)
    assert "add --seeds, or give the folder of one" in refused(parent, "--overwrite")
    assert "seed-5 holds no run; start the new seeds first" in refused(parent, "--resume", "--seeds", 3)
    assert "seed-3 was made with --inner-lr 0.1, not 0.7" in refused(parent, "--resume", "--inner-lr", 0.7)
    assert {path.name for path in parent.iterdir()} == {"seed-3", "seed-4"}
    with lock(copy / "seed-4"):
        assert "seed-4 is in use" in refused(copy, *TWO, "--overwrite")
    assert numbers(copy / "seed-3") == numbers(parent / "seed-3")[:2]
    shutil.copytree(copy / "seed-4", copy / "seed-9")
    assert "(3, 4, 9) leave gaps" in refused(copy, "--resume")
    (copy / "notes.txt").write_text("mine")
    assert "holds notes.txt, which is not the run of a seed" in refused(copy, *TWO, "--overwrite")
    assert (copy / "notes.txt").read_text() == "mine" and len(read_lines(copy / "seed-4")) == 2


def test_supervised_scripts_take_seeds_too(tmp_path):
    flags = ["--seeds", "2", "--num-iterations", "10", "--log-every", "5", "--checkpoint-every", "5", "--hidden-sizes", "8"]
    step_function.main(["--run-dir", str(tmp_path / "both"), *flags])
    rows = [read_lines(tmp_path / "both" / f"seed-{seed}") for seed in (0, 1)]
    for seed in (0, 1):
        assert [row["iteration"] for row in rows[seed]] == [5, 10]
        result = evaluation(tmp_path / "both" / f"seed-{seed}")
        assert result["objective_mean"][-1] == pytest.approx(rows[seed][-1]["eval/objective"], rel=1e-5)
    assert rows[0][-1]["eval/objective"] != rows[1][-1]["eval/objective"]


def toy(breaks_above):
    """A learner that adds one to its parameter; its metric is infinite from iteration 3 on where the parameter began high."""

    def step(state, key):
        broken = (state.theta % 1 > breaks_above) & (state.iteration >= 2)
        score = jnp.where(broken, jnp.inf, state.theta)
        metrics = {"meta/pre": score, "meta/post": score, "time/env_steps": jnp.int32(7)}
        return MetaState(state.theta + 1, (), state.iteration + 1), metrics

    return MetaLearner(lambda key: MetaState(jax.random.uniform(key), (), jnp.int32(0)), step, None, None)


def test_a_non_finite_seed_is_named_and_the_others_keep_their_rows(tmp_path):
    began = [float(jax.random.uniform(keys_of(seed)[0])) for seed in SEEDS]
    sound, broken = np.argsort(began)
    folders = [tmp_path / str(seed) for seed in SEEDS]
    for folder in folders:
        folder.mkdir()
    run_config = [{"wandb_id": str(seed), "settings": {"seed": seed}} for seed in SEEDS]
    with (
        open_writer(folders[0], run_config[0], agent="toy", env="toy") as first,
        open_writer(folders[1], run_config[1], agent="toy", env="toy") as second,
        pytest.raises(UserError) as error,
    ):
        loop.run(toy(np.mean(began)), [first, second], loop.Schedule(8, 1, 2))
    message = str(error.value)
    assert message.startswith(f"seed {SEEDS[broken]}, iteration 3: non-finite meta/post, meta/pre.")
    assert f"checkpoint is iteration 2 in {folders[broken] / 'checkpoints'}" in message
    assert [row["iteration"] for row in read_lines(folders[broken])] == [1, 2]
    assert [row["iteration"] for row in read_lines(folders[sound])] == [1, 2, 3]


def test_seeds_share_their_iteration():
    """What is annealed by `cond` stays a `cond`, and each seed is as it would be alone."""

    def step(state, key):
        theta = jax.lax.cond(state.iteration < 1, lambda: state.theta + 1, lambda: state.theta * jax.random.uniform(key))
        return MetaState(theta, (), state.iteration + 1), {"meta/post": theta}

    counted = MetaLearner(lambda key: MetaState(jax.random.uniform(key), (), jnp.int32(0)), step, None, None)
    both = batch_seeds(counted, SEEDS)
    assert " cond[" in str(jax.make_jaxpr(both.step)(both.streams, both.init(), 0))
    states = both.init()
    for iteration in range(3):
        states, _ = both.step(both.streams, states, iteration)
    one = batch_seeds(counted, SEEDS[1:])
    alone = one.init()
    for iteration in range(3):
        alone, _ = one.step(one.streams, alone, iteration)
    np.testing.assert_allclose(of_seed(states, 1).theta, of_seed(alone, 0).theta, rtol=1e-6)
    assert of_seed(states, 1).iteration == 3


def test_another_seed_is_the_same_program():
    """So that it is found in the cache on disk."""

    def lowered(*seeds):
        learner = build(
            resolve(train_config(run_dir="unused", num_tasks=2, num_episodes=2, horizon=3, hidden_sizes=(4,)))
        ).learner
        both = batch_seeds(learner, seeds)
        return jax.jit(both.step).lower(both.streams, both.init(), 0).as_text()

    assert lowered(0) == lowered(1) and lowered(0, 1) == lowered(2, 5)
    assert lowered(0) != lowered(0, 1)
