"""``--sweep``: all combinations of settings, each complete and as if it had been alone; numbers share a program."""

import json
import shutil

import jax
import numpy as np
import pytest

import agents
from agents.agent import hyperparameters
from experiments import compare, few_shot, sinusoid, train
from experiments.cli.errors import UserError
from experiments.reporting import sweep_report
from experiments.runs.folder import to_resume
from experiments.runs.sweep_folder import combination_of, runs_in
from experiments.training import sweep
from experiments.training.config import KIND, TrainConfig, build, resolve, train_config
from experiments.training.seeds import Swept, batch_seeds, of_seed
from experiments.training.settings import parse_run
from tests.experiments.conftest import SMALL, read_lines

TINY = ["--num-tasks", "2", "--num-episodes", "2", "--horizon", "3", "--hidden-sizes", "4", "--baseline", "time"]
FLAGS = [*TINY, "--devices", "1", "--eval-tasks", "0", "--checkpoint-every", "2"]
SWEEP = ["--sweep", "inner_lr=0.1,1e30", "--sweep", "outer_lr=1e-3,3e-3"]
NAMES = [f"inner_lr={inner},outer_lr={outer}" for inner in ("0.1", "1e+30") for outer in ("0.001", "0.003")]


def trained(run_dir, *flags, iterations=4):
    train.main(["--run-dir", str(run_dir), "--num-iterations", str(iterations), *FLAGS, *map(str, flags)])
    return run_dir


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    """A sweep that tests may read but not change."""
    return trained(tmp_path_factory.mktemp("sweep") / "parent", *SWEEP)


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("sweep") / "half", *SWEEP, iterations=2)


@pytest.fixture
def copy(half, tmp_path):
    return shutil.copytree(half, tmp_path / "copy")


def numbers(run_dir):
    clock = ("time/seconds", "time/steps_per_second")
    return [{name: value for name, value in row.items() if name not in clock} for row in read_lines(run_dir)]


def settings(run_dir):
    return json.loads((run_dir / "config.json").read_text())["settings"]


def test_every_combination_is_a_complete_run_as_if_it_had_been_alone(parent, tmp_path):
    assert {path.name for path in parent.iterdir()} == {*NAMES, "sweep.json", "sweep.md", "sweep.png"}
    ids = {json.loads((parent / name / "config.json").read_text())["wandb_id"] for name in NAMES}
    assert len(ids) == 4
    alone = trained(tmp_path / "alone", "--inner-lr", 0.1, "--outer-lr", 0.003)
    run = parent / NAMES[1]
    assert {path.name for path in run.iterdir()} == {path.name for path in alone.iterdir()}
    assert settings(run) == settings(alone) | {"run_dir": str(run), "on_nonfinite": "skip"}
    for together_row, alone_row in zip(numbers(run), numbers(alone), strict=True):
        assert together_row == pytest.approx(alone_row, abs=1e-5, rel=1e-5)
    assert numbers(parent / NAMES[0])[-1] != pytest.approx(numbers(alone)[-1], rel=1e-3)
    assert combination_of(run) == NAMES[1] and combination_of(alone) is None
    assert runs_in(parent) == [parent / name for name in NAMES]


def test_resuming_the_sweep_continues_exactly(parent, half, copy):
    shutil.rmtree(copy / NAMES[1])  # as after a stop before this one was begun
    train.main(["--run-dir", str(copy), "--resume", "--num-iterations", "4"])
    for name in NAMES:
        before = (half / name / "metrics.jsonl").read_bytes()
        assert name == NAMES[1] or (copy / name / "metrics.jsonl").read_bytes().startswith(before)
        assert numbers(copy / name) == numbers(parent / name)
    assert tuple(to_resume(copy)["sweep"]) == tuple(SWEEP[1::2])


def test_what_differs_between_combinations_is_resumed_as_it_was_asked_for(tmp_path):
    """The devices of one may not share the tasks of another; what depends on a swept setting is not that of the first."""
    tiny = {"num_episodes": 2, "horizon": 3, "hidden_sizes": (4,)}
    config = train_config(run_dir=tmp_path / "run", sweep=("num_tasks=4,9",), **tiny)
    placed = []
    options = {"resolve": resolve, "learner_of": lambda each: build(each).learner}
    sweep.sweep(config, KIND, train=lambda whole, runs, names: placed.extend(runs), **options)
    assert [each.num_tasks for each in placed] == [4, 9]
    kept = to_resume(tmp_path / "run")
    assert kept["devices"] is None and kept["initial_std"] == 1.0 and kept["sweep"] == ["num_tasks=4,9"]
    asked = few_shot.few_shot_config(run_dir=tmp_path, data="digits", ways=2)
    found = sweep.combinations(asked, "classification", {"shots": [1, 3]})
    found = [each._replace(config=few_shot.resolve(each.config)) for each in found]
    assert [each.config.test_shots for each in found] == [(1,), (3,)]
    kept = sweep._of_all(asked, "classification", found)
    assert kept["test_shots"] == asked.test_shots and kept["query_shots"] == few_shot.resolve(asked).query_shots


@pytest.mark.slow
def test_a_few_shot_sweep_tests_each_combination_at_its_own_shots(tmp_path, monkeypatch):
    trained = []
    monkeypatch.setattr(few_shot.experiment, "train_and_evaluate", lambda *_, runs, **__: trained.extend(runs))
    monkeypatch.setattr(few_shot.experiment.sweep_report, "write", lambda parent: None)
    flags = ["--data", "digits", "--ways", "2", "--hidden-sizes", "4", "--num-tasks", "2", "--sweep", "shots=1,3"]
    few_shot.main(["--run-dir", str(tmp_path / "run"), *flags])
    assert [each.test_shots for each in trained] == [(1,), (3,)]


def test_a_sweep_that_was_refused_before_any_run_can_be_given_again(tmp_path, error_of):
    run = ["--run-dir", tmp_path / "run", *TINY[:2], *TINY[4:], "--eval-tasks", 0, "--sweep", "num_episodes=2,3"]
    for devices in (98, 99):
        assert f"--devices is {devices}" in error_of(train.main, *run, "--devices", devices)


def test_a_combination_that_diverges_stops_no_other_where_a_run_is_the_start(tmp_path):
    source = lambda given: {"on_nonfinite": "stop", "agent": "maml"}
    words = ["--run-dir", str(tmp_path / "run"), "--sweep", "inner_lr=0.1,0.2"]
    assert parse_run(TrainConfig, words, "train", KIND, source=source).on_nonfinite == "skip"
    assert parse_run(TrainConfig, [*words, "--on-nonfinite", "stop"], "train", KIND, source=source).on_nonfinite == "stop"


def test_an_agent_may_look_a_number_up(tmp_path):
    """What fails with an input is no error of JAX then, and its values run one after another."""
    config = resolve(train_config(run_dir=tmp_path, num_tasks=2, num_episodes=2, horizon=2, hidden_sizes=(4,)))
    learner = build(config).learner
    tables = {"a table": lambda rate: {0.1: learner, 0.2: learner}[rate], "its own check": own_check}
    for look_up in tables.values():
        assert sweep.looked_at(config, KIND, ["inner_lr"], lambda each, f=look_up: f(each.own.inner_lr)) == ["inner_lr"]


def own_check(rate):
    raise UserError(f"inner_lr is {rate}, but must be a float.")


def test_refusals_are_one_line_and_change_nothing(half, tmp_path, error_of):
    def refused(*flags, main=train.main, run_dir=tmp_path / "new"):
        return error_of(main, "--run-dir", run_dir, "--num-iterations", 2, *flags)

    assert "did you mean inner_lr?" in refused("--sweep", "inner_rl=0.1,0.2")
    assert "'abc' is no number" in refused("--sweep", "inner_lr=0.1,abc")
    assert "must be NAME=VALUE,VALUE" in refused("--sweep", "inner_lr")
    assert "--inner-lr is -1.0, but must be at least 0" in refused("--sweep", "inner_lr=0.1,-1")
    assert "--outer-lr is inf" in refused("--sweep", "outer_lr=0.1,inf")
    assert "0.1 stands there twice" in refused("--sweep", "inner_lr=0.1,0.10")
    assert "stands there twice" in refused("--sweep", "inner_lr=0.1,0.1000000000000001")  # one name of a folder
    off = "--no-normalize-observations"
    assert f"{off} is given, but --sweep" in refused("--sweep", "normalize_observations=True,False", off)
    assert "--seeds is 0, but must be" in refused(*SWEEP, "--seeds", 0)
    assert "names inner_lr twice" in refused("--sweep", "inner_lr=0.1", "--sweep", "inner-lr=0.2")
    assert "--inner-lr is 0.3, but --sweep inner_lr=0.1,0.2 gives" in refused("--sweep", "inner_lr=0.1,0.2", "--inner-lr", 0.3)
    assert "agent cannot be swept" in refused("--sweep", "agent=maml,reptile")
    assert "'conv' is no value of it; known: tanh, relu" in refused("--sweep", "activation=tanh,conv")
    assert "--gamma is 1.5" in refused("--sweep", "gamma=0.9,1.5")
    assert "with --hosts" in refused("--sweep", "gamma=0.9,1", "--hosts", "localhost:1,1,0")
    assert "maml-trpo has no setting outer_lr" in refused("--sweep", "outer_lr=1,2", "--agent", "maml-trpo")
    assert "protocol cannot be swept" in refused("--sweep", "protocol=maml,jang", main=sinusoid.main)
    assert not (tmp_path / "new").exists()
    assert "already holds a sweep; add --resume" in refused(*SWEEP, run_dir=half)
    assert "holds inner_lr=0.1,outer_lr=0.001, which is not of" in refused(
        "--sweep", "inner_lr=1,2", "--overwrite", run_dir=half
    )
    assert "holds a sweep" in refused(run_dir=half)
    before = (half / "sweep.json").read_bytes()
    assert "is a single run; leave out --seeds" in refused("--resume", "--seeds", 2, run_dir=half)
    assert "exclude each other" in refused("--resume", "--overwrite", run_dir=half)
    assert (half / "sweep.json").read_bytes() == before
    assert "holds runs without --sweep" in refused(*SWEEP, run_dir=half / NAMES[0])
    assert [len(read_lines(half / name)) for name in NAMES] == [2] * 4


def test_a_combination_that_diverges_stops_no_other_and_is_never_the_best(parent):
    for name in NAMES:
        skipped = sum(row.get("outer/skipped", 0) for row in read_lines(parent / name))
        assert skipped == (4 if "1e+30" in name else 0) and read_lines(parent / name)[-1]["iteration"] == 4
    rows = sweep_report.rows_of(parent)
    assert [row.skipped for row in rows] == [0, 0, 4, 4] and sweep_report.best_of(rows) in rows[:2]
    assert sweep_report.best_of(rows[2:]) is None


def test_none_is_best_among_returns_of_other_horizons(tmp_path):
    rows = [sweep_report.Row({"horizon": horizon}, f"horizon={horizon}", [1.0 * horizon], 0) for horizon in (10, 20)]
    assert sweep_report.best_of(rows) is None and sweep_report.best_of(rows[1:]) == rows[1]
    assert "None is called best" in sweep_report.table_of(rows).caption


def test_intervals_over_a_few_seeds_are_not_called_95_percent():
    """Student's holds that of normal values, which two or three seeds cannot show."""
    table = sweep_report.table_of([sweep_report.Row({"gamma": 0.9}, "gamma=0.9", [1.0, 2.0, 4.0], 0)])
    assert "t interval over seeds" in table.headings and "95" not in f"{table.headings} {table.caption}"


def test_compare_takes_the_combinations_of_a_sweep_as_agents(tmp_path, finished_run, capsys):
    parent = tmp_path / "parent"
    for seed in (0, 1):
        for rate in (0.1, 0.2):
            run = shutil.copytree(finished_run, parent / f"inner_lr={rate}" / f"seed-{seed}")
            for file in ("config.json", "evaluation.json"):
                content = json.loads((run / file).read_text())
                (content["settings"] if file == "config.json" else content).update(seed=seed, inner_lr=rate)
                (run / file).write_text(json.dumps(content))
    (parent / "sweep.json").write_text("{}")
    compare.main([str(parent), "--out", str(tmp_path / "out"), "--html"])
    found = json.loads((tmp_path / "out/table.json").read_text())["agents"]
    assert {name: row["seeds"] for name, row in found.items()} == {f"maml inner_lr={rate}": [0, 1] for rate in (0.1, 0.2)}
    compare.main([str(parent / "inner_lr=0.1"), "--out", str(tmp_path / "out")])
    assert list(json.loads((tmp_path / "out/table.json").read_text())["agents"]) == ["maml"]


@pytest.mark.slow
def test_a_sweep_of_sinusoids(tmp_path):
    run = tmp_path / "run"
    flags = ["--log-every", "2", "--checkpoint-every", "2", "--hidden-sizes", "4", "--eval-tasks", "2", "--num-tasks", "2"]
    sinusoid.main(["--run-dir", str(run), "--num-iterations", "4", *flags, "--sweep", "inner_lr=0.01,1e30"])
    broken, sound = read_lines(run / "inner_lr=1e+30"), read_lines(run / "inner_lr=0.01")
    assert sum(row.get("outer/skipped", 0) for row in broken) > 0
    assert all("outer/skipped" not in row for row in sound) and sound[-1]["iteration"] == broken[-1]["iteration"] == 4
    assert json.loads((run / "sweep.json").read_text())["best"] == "inner_lr=0.01"


@pytest.mark.slow
def test_settings_that_change_shapes_part_programs(tmp_path, capsys):
    words = ["--sweep", "horizon=3,4", "--sweep", "inner_lr=0.01,0.1", "--seeds", "2", "--num-iterations", "1"]
    train.main(["--run-dir", str(tmp_path / "run"), *FLAGS[:4], *FLAGS[6:], *words])
    assert "4 combinations of 2 seeds each, in 2 programs" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "run/horizon=4,inner_lr=0.1").iterdir()} == {"seed-0", "seed-1"}
    assert settings(tmp_path / "run/horizon=4,inner_lr=0.1/seed-1")["horizon"] == 4


def test_the_best_is_that_of_training_tasks(parent):
    about = json.loads((parent / "sweep.json").read_text())
    post = {name: read_lines(parent / name)[-1]["meta/post"] for name in NAMES[:2]}
    assert about["best"] == max(post, key=post.get)
    rows = sweep_report.rows_of(parent)
    assert [row.folder for row in rows] == NAMES and [row.mean for row in rows[:2]] == pytest.approx(list(post.values()))
    assert "| best |" in (parent / "sweep.md").read_text()


def own_numbers(agent, kind=KIND):
    return [name for name, each in hyperparameters(agents.find(agent), kind).items() if each.type is float]


OTHERS = [each for each in agents.AGENTS if each != "maml" and KIND in agents.find(each).serves]
SLOW = [pytest.param(each, marks=pytest.mark.slow) for each in OTHERS]


@pytest.mark.parametrize("agent", ["maml", *SLOW])
def test_every_number_of_an_agent_is_swept_as_if_alone(agent):
    """One program for two runs that differ in all numbers at once, against the runs alone."""
    declared = agents.find(agent)
    names = [name for name in own_numbers(agent) if name not in ("common_scale", "inner_kl_target")]
    names += ["gamma", "gae_lambda", "initial_std", "action_scale", *["outer_lr"] * ("optimizer" in declared.uses)]
    small = {"num_tasks": 2, "num_episodes": 3, "horizon": 4, "hidden_sizes": (4,), "run_dir": "unused", "agent": agent}
    base = resolve(train_config(**small))
    of_agent = {name: getattr(base.own, name) for name in own_numbers(agent)}
    before = {name: of_agent.get(name, getattr(base, name, None)) for name in names}
    later = {name: 0.5 * value if value else 0.3 for name, value in before.items()}
    values = {name: np.asarray([before[name], later[name]], np.float32) for name in names}
    configs = [resolve(train_config(**small, **{name: float(value[i]) for name, value in values.items()})) for i in range(2)]
    assert sweep.looked_at(configs[0], KIND, names, lambda each: build(each).learner) == []
    swept = Swept(lambda given: build(sweep.changed(configs[0], KIND, **given)).learner, values)
    together = batch_seeds(build(configs[0]).learner, (3, 4), swept=swept)
    states = together.init()
    after, metrics = jax.jit(together.step)(together.streams, states, 0)
    for i, config in enumerate(configs):
        alone = batch_seeds(build(config).learner, (3 + i,))
        begun = alone.init()
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), of_seed(states, i), of_seed(begun, 0))
        ended, found = jax.jit(alone.step)(alone.streams, begun, 0)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), of_seed(after, i), of_seed(ended, 0))
        plainly = [{name: float(value) for name, value in each.items()} for each in (of_seed(metrics, i), of_seed(found, 0))]
        assert plainly[0] == pytest.approx(plainly[1], rel=1e-3, abs=1e-4)


def test_a_number_whose_value_decides_what_the_program_is(tmp_path, capsys):
    """ProMP's target of the penalty: none is another program than some."""
    config = resolve(train_config(run_dir=tmp_path, agent="promp", num_tasks=2, num_episodes=2, horizon=2, hidden_sizes=(4,)))
    names = ["inner_kl_target", "clip"]
    assert sweep.looked_at(config, KIND, names, lambda each: build(each).learner) == ["inner_kl_target"]
    found = sweep.combinations(config, KIND, {"inner_kl_target": [0.0, 0.01], "clip": [0.1, 0.2]})
    programs = list(sweep.in_programs(found, names, KIND, lambda each: build(each).learner))
    assert [len(together) for together, _ in programs] == [2, 2] and {names[0] for _, names in programs} == {"clip"}
    assert capsys.readouterr().out.count("promp decides by the value of inner_kl_target") == 1


@pytest.mark.slow
def test_a_sweep_of_navigation(tmp_path):
    """With seeds, devices and an evaluation, as a user has it."""
    run = tmp_path / "run"
    words = ["--sweep", "inner_lr=0.01,0.1", "--sweep", "outer_lr=1e-3,3e-3"]
    train.main(["--run-dir", str(run), "--num-iterations", "2", *SMALL, *words, "--seeds", "2"])
    alone = tmp_path / "alone"
    flags = ["--inner-lr", "0.1", "--outer-lr", "0.001", "--seed", "1", "--num-iterations", "2"]
    train.main(["--run-dir", str(alone), *SMALL, *flags])
    for together_row, alone_row in zip(numbers(run / NAMES[0] / "seed-1"), numbers(alone), strict=True):
        assert together_row == pytest.approx(alone_row, abs=1e-5, rel=1e-5)
    assert (run / NAMES[0] / "seed-1/evaluation.json").is_file()
