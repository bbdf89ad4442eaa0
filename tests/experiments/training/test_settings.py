"""Flags follow the agent: its own with its defaults, none of others, and one line for each mistake."""

import contextlib
import dataclasses
import io
import re

import pytest

import agents
from agents.agent import hyperparameters
from experiments import sinusoid, step_function, train
from experiments.cli.errors import UserError
from experiments.training.config import KIND, TrainConfig, train_config
from experiments.training.settings import changed, common, flags_of, flat, stored_as

ACTING = [name for name in agents.AGENTS if "reinforcement" in agents.find(name).serves]
LABELLED = [name for name in agents.AGENTS if "regression" in agents.find(name).serves]


def names_of(flags):
    return {field.name for field in dataclasses.fields(flags)}


@pytest.mark.parametrize("name", ACTING)
def test_an_agent_has_its_own_flags_and_no_other_agent_s(name):
    own = set(hyperparameters(agents.find(name), KIND))
    everybody_s = set().union(*(hyperparameters(agents.find(other), KIND) for other in ACTING))
    found = names_of(flags_of(TrainConfig, name, KIND, {}))
    assert found & everybody_s == own
    assert ("outer_lr" in found) == ("optimizer" in agents.find(name).uses)
    assert ("remat" in found) == ("remat" in agents.find(name).uses)


def help_of(main, capsys, *flags):
    with pytest.raises(SystemExit) as stop:
        main([*flags, "--help"])
    assert stop.value.code == 0
    return re.sub(r"[\s│╭╮╰╯─]+", " ", capsys.readouterr().out)


def test_help_has_the_docstrings_and_true_defaults(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    text = help_of(train.main, capsys, "--agent", "promp")
    assert "Optimiser steps on the same experience. (default: 5)" in text
    assert "How far probability ratios count. (default: 0.3)" in text and "--ppo-epochs" not in text
    text = help_of(train.main, capsys, "--agent", "rl2")
    assert "How far probability ratios count. (default: 0.2)" in text and "--inner-lr" not in text and "--remat" not in text
    text = help_of(sinusoid.main, capsys, "--agent", "imaml", "--protocol", "maml")
    assert "--cg-damping FLOAT" in text and "(default: 20.0)" in text and "--baseline" not in text
    assert "(default: 20000)" in text, "of the protocol for this agent"
    assert "--num-inner-steps INT maml: K: inner steps in training. (default: 5)" in help_of(step_function.main, capsys)


@pytest.mark.parametrize(
    ("main", "flags", "message"),
    [
        (train.main, "--agent rl2 --inner-lr 0.3", "rl2 adapts by its memory, not by inner steps. It is for maml, "),
        (
            train.main,
            "--agent maml --clip 0.3",
            "--clip is 0.3, but maml has no use for it; leave it out. "
            "It is for promp, multitask, task-embedding, rl2, varibad, oracle.",
        ),
        (train.main, "--agent maml-trpo --outer-lr 1", "its outer update follows no optimiser"),
        (train.main, "--agent rl2 --remat", "--remat is given, but rl2 has no use for it"),
        (train.main, "--agent oracle --num-inner-steps 3", "oracle has no inner loop."),
        (train.main, "--agent pretrained --num-inner-steps 3", "pretrained has no use for it"),
        (train.main, "--num-taskss 3", "there is no flag --num-taskss; did you mean --num-tasks?"),
        (train.main, "--num-tasks many", "--num-tasks"),
        (train.main, "stray", "stray"),
        (train.main, "--network nowhere:mine/net", "importing nowhere fails"),
        (train.main, "--network mine/net", "No network 'mine/net'"),
        (train.main, "--network mine/net --hidden-sizes 3", "--network has layers of its own"),
        (sinusoid.main, "--agent mann --inner-lr 0.1", "mann has no use for it"),
        (sinusoid.main, "--agent maml --context-size 3", "It is for cavia."),
        (sinusoid.main, "--agent maml --baseline time", "there is no flag --baseline"),
        (sinusoid.main, "--agent rl2", "rl2 serves reinforcement learning only."),
        (sinusoid.main, "--protocol finn", "--protocol is 'finn'; known: maml, meta-sgd, cavia, jang."),
        (step_function.main, "--agent maml --proximal 1", "It is for imaml."),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(main, flags, message, tmp_path, error_of):
    said = error_of(main, "--run-dir", tmp_path / "run", *flags.split())
    assert message in said and said.startswith("error: ") and said.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_flag_that_is_missing_is_named(error_of):
    assert "--run-dir is missing" in error_of(train.main)


def test_settings_are_flat_and_come_back(tmp_path):
    config = train_config(run_dir=tmp_path, agent="promp", clip=0.25, hidden_sizes=[8])
    stored = flat(config, KIND)
    assert stored["clip"] == 0.25 and stored["run_dir"] == str(tmp_path) and "own" not in stored
    assert stored_as(TrainConfig, KIND, stored | {"run_dir": tmp_path}) == config
    other_agents = {"max_kl": None, "context_size": 7, "num_heads": 3}
    assert stored_as(TrainConfig, KIND, stored | other_agents | {"run_dir": tmp_path}) == config
    assert changed(config, KIND, test_step_scale=(1.0, 0.5)).own.test_step_scale == (1.0, 0.5)
    assert common(changed(config, KIND, horizon=7)) == common(config) | {"horizon": 7}


def test_runs_from_before_convolutions_keep_dense_layers(tmp_path):
    stored = flat(train_config(run_dir=tmp_path), KIND)
    assert stored_as(TrainConfig, KIND, stored | {"run_dir": tmp_path}).trunk == "auto"
    del stored["trunk"]
    assert stored_as(TrainConfig, KIND, stored | {"run_dir": tmp_path}).trunk == "mlp"


def test_python_refuses_what_flags_refuse(tmp_path):
    for wrong, message in (
        ({"agent": "maml", "clip": 0.1}, "no use for it"),
        ({"agent": "maml", "num_taskss": 1}, "no such setting"),
        ({"agent": "maml", "inner_lr": -1.0}, "--inner-lr is -1.0"),
        ({"agent": "mamll"}, "Did you mean"),
    ):
        with pytest.raises(UserError, match=message), contextlib.redirect_stderr(io.StringIO()):
            train_config(run_dir=tmp_path, **wrong)
