"""Settings that a family suggests: which agent gets which, what the user says goes first, and mistakes in one line."""

import json

import pytest

import agents
import envs
from experiments import train
from experiments.cli.errors import UserError
from experiments.training.config import KIND, TrainConfig, train_config
from experiments.training.suggested import suggested
from tests.agents.probe import Guess
from tests.experiments.conftest import SMALL

pytestmark = pytest.mark.usefixtures("settings_of_families")
AGENTS = [name for name in agents.registered() if KIND in agents.find(name).serves]
CONTINUOUS = [f"metarl/{name}-v0" for name in ("Navigation2D", "Navigation2DSparse", "NavigationCorner", "HalfCheetahVel")]


class Told(Guess):
    """With something to say to everybody."""

    training_settings = {  # noqa: RUF012
        "any": {"num_tasks": 3, "hidden_sizes": (5,), "outer_lr": 5e-3, "clip": 0.4},
        "memory": {"num_tasks": 7, "trial_episodes": 3},
        "promp": {"num_tasks": 4},
    }


class Typo(Guess):
    training_settings = {"gradient": {"iner_lr": 0.2}}  # noqa: RUF012


class NoDict(Guess):
    training_settings = {"gradient": 0.2}  # noqa: RUF012


class NoAgent(Guess):
    training_settings = {"mamal": {"inner_lr": 0.2}}  # noqa: RUF012


for family in (Told, Typo, NoDict, NoAgent):
    envs.register(f"told/{family.__name__}-v0", family)


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        ("maml", {"num_tasks": 3, "hidden_sizes": (5,), "outer_lr": 5e-3}),
        ("maml-trpo", {"num_tasks": 3, "hidden_sizes": (5,)}),  # has no outer_lr
        ("promp", {"num_tasks": 4, "hidden_sizes": (5,), "outer_lr": 5e-3, "clip": 0.4}),
        ("rl2", {"num_tasks": 7, "hidden_sizes": (5,), "outer_lr": 5e-3, "clip": 0.4, "trial_episodes": 3}),
    ],
)
def test_the_more_special_goes_first(agent, expected):
    assert suggested("told/Told-v0", agent) == expected


@pytest.mark.parametrize("env", envs.META_WORLD)
def test_meta_worlds_own_reach_whoever_trains_on_it(env):
    assert suggested(env, "maml")["num_episodes"] == 10
    assert suggested(env, "rl2")["trial_episodes"] == 3


@pytest.mark.parametrize("env", [*CONTINUOUS, *envs.META_WORLD])
def test_no_family_asks_pearl_for_what_it_refuses(env):
    """It is told what agents with a memory are, but learns from single steps, and fills the box of actions by itself."""
    found = suggested(env, "pearl")
    assert found.get("gae_lambda", 1.0) == 1.0 and found.get("action_scale", 1.0) == 1.0


def test_train_uses_them_and_says_so_but_for_what_the_user_gives(tmp_path, capsys):
    flags = ["--run-dir", str(tmp_path / "run"), "--env", "told/Told-v0", "--agent", "promp", "--num-iterations", "1"]
    train.main([*flags, "--eval-tasks", "0", "--hidden-sizes", "6", "--num-episodes", "2"])
    settings = json.loads((tmp_path / "run" / "config.json").read_text())["settings"]
    assert (settings["num_tasks"], settings["hidden_sizes"], settings["clip"]) == (4, [6], 0.4)
    said = next(line for line in capsys.readouterr().out.splitlines() if "sets for" in line)
    assert said == "told/Told-v0 sets for promp, where you do not: --num-tasks 4 --outer-lr 0.005 --clip 0.4"
    train.main([*flags[:2], "--resume", "--num-iterations", "2"])
    resumed = json.loads((tmp_path / "run" / "config.json").read_text())["settings"]
    assert resumed["num_tasks"] == 4 and resumed["hidden_sizes"] == [6], "a run goes on as it began"
    assert "sets for" not in capsys.readouterr().out


def test_help_shows_them(capsys):
    with pytest.raises(SystemExit):
        train.main(["--env", "told/Told-v0", "--agent", "rl2", "--run-dir", "x", "--help"])
    help = " ".join(capsys.readouterr().out.split())
    assert "(default: 7)" in help and "(default: 0.4)" in help


def test_mistakes_of_families_are_one_line(error_of, tmp_path):
    flags = ("--run-dir", tmp_path / "run", *SMALL, "--agent", "maml")
    assert "training_settings['gradient'] has 'iner_lr', which is no setting" in error_of(
        train.main, "--env", "told/Typo-v0", *flags
    )
    assert "training_settings is {'gradient': 0.2}, but must be a dict of dicts" in error_of(
        train.main, "--env", "told/NoDict-v0", *flags
    )
    assert "training_settings has 'mamal', which is no agent; known: anil, any" in error_of(
        train.main, "--env", "told/NoAgent-v0", *flags
    )
    assert "No task family 'told/Nobody-v0'" in error_of(train.main, "--env", "told/Nobody-v0", *flags)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("env", sorted(envs.FAMILIES))
@pytest.mark.parametrize("agent", AGENTS)
def test_what_our_families_suggest_can_be_had(env, agent):
    settings = train_config(run_dir="x", env=env, agent=agent, **suggested(env, agent))
    assert isinstance(settings, TrainConfig)


def test_no_such_agent():
    with pytest.raises(UserError, match="nobody"):
        suggested("told/Told-v0", "nobody")
