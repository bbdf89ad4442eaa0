"""Declarations: hyperparameters from dataclasses and their values, what is refused, and names of agents and networks."""

import importlib
import math
import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pytest
from flax import linen as nn

import agents
from agents import registration
from agents.agent import (
    Adaptation,
    Agent,
    Bounds,
    InnerLoop,
    NoHyperparameters,
    Only,
    Refused,
    check_declaration,
    checked,
    chosen,
    docstrings,
    hyperparameters,
)


def make(world, training, own):
    raise AssertionError("is not called here")


@dataclass(frozen=True)
class Own(InnerLoop):
    """Of an agent of one's own."""

    num_inner_steps: Annotated[int, Bounds(1, 9)] = 2
    ratio: Annotated[float, Bounds(0, 1)] = 0.5
    """Share of something,
    in two lines."""
    sizes: Annotated[tuple[int, ...], Bounds(1)] = (3, 4)
    modes: tuple[Literal["a", "b"], ...] = ("a",)
    mode: Literal["fast", "slow"] = "fast"
    label: str = ""
    wide: bool = False
    shift: float = 0.0
    points: Annotated[int, Bounds(2), Only("regression")] = 3


OWN = Agent(make, Own)


def test_hyperparameters_are_the_fields_that_count_in_a_kind_of_world():
    acting, fitting = hyperparameters(OWN, "reinforcement"), hyperparameters(OWN, "regression")
    assert list(acting) == [
        *("inner_lr", "test_step_scale", "baseline", "step_weight", "num_inner_steps", "ratio", "sizes", "modes", "mode"),
        *("label", "wide", "shift"),
    ]
    assert set(fitting) - set(acting) == {"points"} and set(acting) - set(fitting) == {"baseline", "step_weight"}
    assert acting["num_inner_steps"][:3] == ("num_inner_steps", int, 2) and acting["num_inner_steps"].bounds == (1, 9)
    assert acting["num_inner_steps"].help == "K: inner steps in training.", "inherited with the field"
    assert acting["ratio"].help == "Share of something,\nin two lines." and acting["mode"].help == ""
    assert acting["baseline"].type == Literal["auto", "linear", "time"] and acting["shift"].bounds is None
    assert hyperparameters(Agent(make), "regression") == {}


def test_docstrings_of_what_overrides_go_first():
    class Older:
        x: int = 1
        """Old."""
        y: int = 1
        """Kept."""

    class Newer(Older):
        x: int = 2
        """New."""
        z: int = 1
        w = """No field."""

    assert docstrings(Newer) == {"x": "New.", "y": "Kept."}
    written_nowhere = type("Typed", (), {"__annotations__": {"x": int}, "x": 1})
    assert docstrings(written_nowhere) == {}


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("ratio", 1, 1.0),
        ("ratio", np.float32(0.5), 0.5),
        ("num_inner_steps", 3.0, 3),
        ("num_inner_steps", np.int64(9), 9),
        ("sizes", [5], (5,)),
        ("sizes", 5, (5,)),
        ("sizes", np.array([5, 6]), (5, 6)),
        ("sizes", (size for size in (5, 6)), (5, 6)),
        ("modes", "b", ("b",)),
        ("modes", ["a", "b"], ("a", "b")),
        ("mode", "slow", "slow"),
        ("label", "x", "x"),
        ("wide", True, True),
        ("shift", -3, -3.0),
    ],
)
def test_values_become_those_of_the_declared_type(name, given, expected):
    value = getattr(chosen(OWN, "regression", {name: given}), name)
    assert value == expected and type(value) is type(expected)
    if isinstance(expected, tuple):
        assert all(type(a) is type(b) for a, b in zip(value, expected, strict=True))


@pytest.mark.parametrize(
    ("name", "given", "trouble"),
    [
        ("ratio", 1.5, "is 1.5, but must be at least 0 and at most 1."),
        ("ratio", math.nan, "is nan, but must be at least 0 and at most 1."),
        ("ratio", "half", "is 'half', but must be a number."),
        ("ratio", True, "is True, but must be a number."),
        ("ratio", None, "is None, but must be a number."),
        ("inner_lr", math.inf, "is inf, but must be at least 0."),
        ("inner_lr", -0.1, "is -0.1, but must be at least 0."),
        ("shift", -math.inf, "is -inf, but must be finite."),
        ("num_inner_steps", 1.5, "is 1.5, but must be a whole number."),
        ("num_inner_steps", math.inf, "is inf, but must be a whole number."),
        ("num_inner_steps", math.nan, "is nan, but must be a whole number."),
        ("num_inner_steps", False, "is False, but must be a whole number."),
        ("num_inner_steps", 10, "is 10, but must be at least 1 and at most 9."),
        ("sizes", (), "is empty, but must have at least one entry."),
        ("sizes", np.array([]), "is empty, but must have at least one entry."),
        ("sizes", (3, 0), "is 0, but must be at least 1."),
        ("sizes", "34", "is '34', but must be a whole number."),
        ("modes", ("a", "c"), "is 'c'; known: a, b."),
        ("mode", "quick", "is 'quick'; known: fast, slow."),
        ("mode", ["fast"], "is ['fast']; known: fast, slow."),
        ("label", 3, "is 3, but must be a str."),
        ("wide", 1, "is 1, but must be a bool."),
        ("wide", "yes", "is 'yes', but must be a bool."),
    ],
)
def test_other_values_are_refused(name, given, trouble):
    with pytest.raises(Refused) as refusal:
        chosen(OWN, "regression", {name: given})
    assert str(refusal.value) == f"{name} {trouble}"
    assert (refusal.value.name, refusal.value.trouble) == (name, trouble)


def test_a_literal_number_is_no_bool():
    parameter = hyperparameters(OWN, "regression")["mode"]._replace(type=Literal[1, 2])
    assert checked(parameter, 1) == 1
    with pytest.raises(Refused, match="is True; known: 1, 2"):
        checked(parameter, True)


@dataclass
class Thawed:
    x: int = 1


@dataclass(frozen=True)
class Undecided:
    x: int


class Undecorated(InnerLoop):
    x: int = 1


@dataclass(frozen=True)
class Strange:
    x: dict | None = None


@dataclass(frozen=True)
class Pair:
    x: tuple[int, int] = (1, 2)


@dataclass(frozen=True)
class OutOfBounds:
    x: Annotated[float, Bounds(1)] = 0.5


@dataclass(frozen=True)
class Misspelled:
    x: Annotated[float, Only("regresion")] = 0.5


@dataclass(frozen=True)
class Taken:
    gamma: float = 0.5


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (make, r"mine is function <function make.*>, but must be an agents.Agent."),
        (OWN._replace(make="make"), "mine: make is 'make', but must be a function of world, training and hyperparameters."),
        (OWN._replace(hyperparameters=Own()), r"mine: hyperparameters is Own\(.*\), but must be a class with @dataclass"),
        (OWN._replace(hyperparameters=Thawed), r"mine: hyperparameters is .*Thawed.*, but must be a class with @dataclass"),
        (OWN._replace(hyperparameters=Undecorated), r"mine: hyperparameters is .*Undecorated.*, but must be a class with"),
        (OWN._replace(hyperparameters=Undecided), r"mine: Undecided.x has no default, but needs one."),
        (OWN._replace(hyperparameters=Strange), r"mine: Strange.x is of type dict \| None, but a flag must be int, float"),
        (OWN._replace(hyperparameters=Pair), r"mine: Pair.x is of type tuple\[int, int\], but a flag must be"),
        (OWN._replace(hyperparameters=OutOfBounds), r"mine: OutOfBounds.x: its default is 0.5, but must be at least 1."),
        (OWN._replace(hyperparameters=Misspelled), r"mine: Misspelled.x is for 'regresion' only; known: reinforcement, reg"),
        (OWN._replace(hyperparameters=Taken), r"mine: Taken.gamma has the name of a setting of all agents; choose another."),
        (OWN._replace(serves=()), "mine: serves is empty; name at least one of reinforcement, regression, classification."),
        (OWN._replace(serves="regression"), r"mine: serves is 'regression', but must be a tuple, such as \('reinforcement',\)"),
        (OWN._replace(serves=["regression"]), r"mine: serves is \['regression'\], but must be a tuple"),
        (
            OWN._replace(serves=("regresion",)),
            "mine: serves has 'regresion'; known: reinforcement, regression, classification.",
        ),
        (
            OWN._replace(uses=("optimiser",)),
            "mine: uses has 'optimiser'; known: optimizer, remat, inner_rule, inner_surrogate.",
        ),
        (OWN._replace(adapts_by="luck"), "mine: adapts_by is 'luck'; known: gradient, one batch, memory, nothing."),
    ],
)
def test_no_sound_declaration(declared, message):
    with pytest.raises(ValueError, match=message) as refusal:
        check_declaration("mine", declared)
    assert "\n" not in str(refusal.value)
    with pytest.raises(ValueError, match=message.removeprefix("mine")):
        agents.make(declared, None)


def test_declarations_of_the_table_are_sound():
    for name in agents.AGENTS:
        check_declaration(name, agents.find(name))
        for kind in agents.find(name).serves:
            for parameter in hyperparameters(agents.find(name), kind).values():
                assert parameter.help and "\n" not in parameter.help, (name, parameter.name, "is the help of a flag")
        first = agents.find(name).make.__doc__.splitlines()[0]
        assert first.endswith("."), (name, first, "is shown by --help")


# Names.


@pytest.fixture
def names(monkeypatch):
    """Tables of their own, so that what a test registers is forgotten."""
    monkeypatch.setattr(registration, "_AGENTS", dict(registration._AGENTS))
    monkeypatch.setattr(registration, "_NETWORKS", {})


@pytest.fixture
def module(tmp_path, monkeypatch, names):
    """Write a module of one's own; gives its name."""
    monkeypatch.syspath_prepend(tmp_path)
    written = []

    def write(source, name="mine_of_a_test"):
        (tmp_path / f"{name}.py").write_text(source)
        written.append(name)
        return name

    yield write
    for name in written:
        sys.modules.pop(name, None)


SOURCE = """
import agents
from flax import linen as nn
from agents.maml import Maml, maml

def mine(world, training, own):
    return maml(world, training, own)

class Net(nn.Module):
    size: int = 8

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.size)(x)

agents.register("mine/agent", agents.Agent(mine, Maml))
agents.register_network("mine/net", Net())
agents.register_network("mine/class", Net)
"""


def test_a_module_brings_its_own(module):
    name = module(SOURCE)
    found = agents.find(f"{name}:mine/agent")
    assert found.make.__module__ == name and agents.find("mine/agent") is found and "mine/agent" in agents.registered()
    assert agents.find_network(f"{name}:mine/net").size == 8 and isinstance(agents.find_network("mine/class"), type)
    with pytest.raises(ValueError, match=r"No agent 'mine/agnet'. Did you mean 'mine/agent'"):
        agents.find(f"{name}:mine/agnet")
    with pytest.raises(ValueError, match=r"No network 'mine/nets'. Did you mean 'mine/net'"):
        agents.find_network(f"{name}:mine/nets")


def test_what_is_imported_again_may_be_registered_again(module):
    name = module(SOURCE)
    first = agents.find(f"{name}:mine/agent"), agents.find_network("mine/net")
    importlib.reload(sys.modules[name])
    second = agents.find("mine/agent"), agents.find_network("mine/net")
    assert all(a is not b for a, b in zip(first, second, strict=True)), "the newest counts"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nothing_of_that_name", r"importing mine_of_a_test fails: ModuleNotFoundError: No module named 'nothing"),
        ("1 / 0", "importing mine_of_a_test fails: ZeroDivisionError: division by zero"),
        ("def (", "importing mine_of_a_test fails: SyntaxError"),
        ("import agents\nagents.register('mine', 3)", "fails: ValueError: mine is int 3, but must be an agents.Agent"),
        ("x = 1", r"mine_of_a_test registers no {what}; call agents.register\w*\('mine', ...\) in it."),
    ],
)
@pytest.mark.parametrize(("what", "find"), [("agent", agents.find), ("network", agents.find_network)])
def test_a_module_that_brings_none_is_refused_in_one_line(source, message, what, find, module):
    name = module(source)
    for _ in range(2):  # an import that failed, or brought nothing, does so again
        with pytest.raises(ValueError, match=message.format(what=what)) as refusal:
            find(f"{name}:mine")
        assert str(refusal.value).startswith(f"{what.capitalize()} 'mine_of_a_test:mine': ") and "\n" not in str(refusal.value)


def test_a_module_that_is_nowhere_says_where_it_is_looked_for():
    with pytest.raises(ValueError, match=r"Run from the folder that holds nowhere_at_all.py, or install it."):
        agents.find("nowhere_at_all:mine")


def test_unknown_names_tell_the_closest_or_all(names):
    with pytest.raises(ValueError, match=r"^No agent 'mamll'. Did you mean 'maml'"):
        agents.find("mamll")
    with pytest.raises(ValueError, match=r"^No agent 'PROMP'. Did you mean 'promp'"):
        agents.find("PROMP")
    with pytest.raises(ValueError, match=r"^No agent 'xyz'. Known: maml, maml-trpo"):
        agents.find("xyz")
    with pytest.raises(ValueError, match=r"^No network 'xyz'. Known: none; agents.register_network\(name, ...\) makes one"):
        agents.find_network("xyz")


@pytest.mark.parametrize("name", ["", "two words", "a:b", 3, None])
def test_names_are_words(name, names):
    with pytest.raises(ValueError, match=r"the name is .*, but must be a word without colons"):
        agents.register(name, OWN)
    with pytest.raises(ValueError, match=r"the name is .*, but must be a word without colons"):
        agents.register_network(name, nn.Dense(3))


def test_taken_names_are_refused(names):
    agents.register("mine", OWN)
    agents.register("mine", OWN._replace(extendable=False))
    assert not agents.find("mine").extendable, "the same function: its file was edited"

    def another(world, training, own): ...

    for name in ("mine", "maml", "reptile"):
        with pytest.raises(ValueError, match=f"register: '{name}' is taken; choose another name"):
            agents.register(name, OWN._replace(make=another))
    agents.register_network("net", nn.Dense(8))
    agents.register_network("net", nn.Dense(8))
    for other in (nn.Dense(9), nn.Conv(8, (3,)), nn.Dense):
        with pytest.raises(ValueError, match="register_network: 'net' is taken"):
            agents.register_network("net", other)
    with pytest.raises(ValueError, match="register_network: four is 4, but must be a flax module or a function"):
        agents.register_network("four", 4)


def test_no_hyperparameters_and_those_of_multitask_inherit_what_they_say():
    assert not hyperparameters(Agent(make, NoHyperparameters), "reinforcement")
    assert {"inner_lr", "test_step_scale", "train_tasks"} == set(hyperparameters(agents.find("multitask"), "regression"))
    assert "baseline" in hyperparameters(Agent(make, Adaptation), "reinforcement")
