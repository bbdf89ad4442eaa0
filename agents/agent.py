"""What the declaration of an agent is made of.

An agent's file holds its function, its hyperparameters and its declaration::

    @dataclass(frozen=True)
    class ProMP(InnerLoop):
        \"\"\"Several clipped outer steps on the same experience.\"\"\"

        outer_steps: Annotated[int, Bounds(1)] = 5
        \"\"\"Optimiser steps on the same experience.\"\"\"

    def promp(world: World, training: Training, own: ProMP) -> MetaLearner: ...

    PROMP = Agent(promp, ProMP, serves=("reinforcement",), adapts_by="gradient", uses=("optimizer", "remat"))
"""

import ast
import dataclasses
import functools
import inspect
import itertools
import math
import textwrap
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
import optax

from metarl.interfaces import InnerRule, MetaLearner, known
from metarl.surrogates import Surrogate
from metarl.tasks import ONE_BATCH, TaskMap

if TYPE_CHECKING:  # parts know what a declaration is made of, not the other way round
    from agents.parts.world import World

Kind = Literal["reinforcement", "regression", "classification"]  # of world
Part = Literal["optimizer", "remat", "inner_rule", "inner_surrogate"]
KINDS: tuple[Kind, ...] = typing.get_args(Kind)
PARTS: tuple[Part, ...] = typing.get_args(Part)
ADAPTS_BY = ("gradient", "one batch", "memory", "nothing")


class Bounds(NamedTuple):
    """What a hyperparameter may be: finite, at least ``low`` and at most ``high``. In a tuple, each entry."""

    low: float
    high: float = math.inf


class Only(NamedTuple):
    """Marks a hyperparameter that counts in one kind of world; in others the agent does not have it, but for further marks."""

    kind: Kind


@dataclass(frozen=True)
class NoHyperparameters:
    """Nothing to choose."""


@dataclass(frozen=True)
class Adaptation:
    """Hyperparameters of agents that take gradient steps on a new task."""

    inner_lr: Annotated[float, Bounds(0)] = 0.1  # Finn et al. 2017, Appendix A.2
    """Step size of adaptation, or where learned step sizes start."""
    test_step_scale: Annotated[tuple[float, ...], Bounds(1e-9)] = (1.0,)  # ours; Finn et al. 2017 have 1 0.5
    """How far each inner step goes at test, relative to training: 1 0.5 halves it after the first, as MAML's papers do."""
    baseline: Annotated[Literal["auto", "linear", "time"], Only("reinforcement")] = "auto"  # linear: Finn et al. 2017, A.2
    """linear (in observation and time, fitted to each batch), time (mean of other episodes), auto: time if they are large."""
    step_weight: Annotated[Literal["equal", "discounted"], Only("reinforcement")] = "equal"  # maml_rl, and ProMP
    """How much step t counts: equal, as published; discounted, gamma^t: then gradients are those of the discounted return."""


@dataclass(frozen=True)
class InnerLoop(Adaptation):
    """The same for agents that take them in training too."""

    num_inner_steps: Annotated[int, Bounds(0)] = 1  # Finn et al. 2017, in all their experiments of reinforcement learning
    """K: inner steps in training."""


@dataclass(frozen=True)
class OnPolicy:
    """Hyperparameters of agents that draw new episodes for each inner step and so may follow any surrogate."""

    surrogate: Annotated[Literal["dice", "reinforce"], Only("reinforcement")] = "dice"  # Rothfuss et al. 2019
    """What inner steps follow: dice, or reinforce, which may be less biased where episodes end early: docs/surrogates.md."""
    dice_lambda: Annotated[float, Bounds(0, 1), Only("reinforcement")] = 0.0  # Rothfuss et al. 2019, Eq. 6
    """Of dice: 0 low variance, ProMP's, with biased curvature; 1 right curvature (gamma 1, or step_weight discounted), DiCE."""
    advantage_scale: Annotated[Literal["task", "common", "differentiated"], Only("reinforcement")] = "task"  # maml_rl
    """Divisor of advantages: their spread in a batch (task, differentiated), or common_scale in all tasks alike (common)."""
    common_scale: Annotated[float, Bounds(1e-9), Only("reinforcement")] = 1.0  # ours
    """The divisor with advantage_scale common, in units of the return."""


@dataclass(frozen=True)
class ByPPO:
    """Hyperparameters of agents that learn by PPO."""

    ppo_epochs: Annotated[int, Bounds(1), Only("reinforcement")] = 5  # ProMP's RL2 runs, run_scripts/rl2_run_sweep.py
    """Passes of PPO over the data of a meta-iteration."""
    ppo_minibatches: Annotated[int, Bounds(1), Only("reinforcement")] = 4  # ours; ProMP's RL2 runs have 1
    """Updates per pass."""
    clip: Annotated[float, Bounds(1e-9), Only("reinforcement")] = 0.2  # Schulman et al. 2017, Table 1
    """How far probability ratios count."""
    entropy_cost: Annotated[float, Bounds(0), Only("reinforcement")] = 0.0  # Schulman et al. 2017, Section 6.1
    """Weight of PPO's entropy bonus."""


@dataclass(frozen=True)
class ReinforcementSettings:
    """What any agent is told in reinforcement learning."""

    num_episodes: int = 20  # Finn et al. 2017, half-cheetah
    """N: episodes per task and inner step."""
    gamma: float = 0.99  # maml_rl, its released code
    """Discount of the advantages."""
    gae_lambda: float = 1.0  # the same
    """Generalised advantage estimation; 1 gives discounted returns minus the baseline."""
    hidden_sizes: tuple[int, ...] = (64, 64)  # ProMP
    """Hidden layers of the policy."""
    activation: Literal["tanh", "relu"] = "tanh"  # ProMP
    """Between hidden layers."""
    trunk: Literal["auto", "mlp", "conv"] = "auto"  # ours
    """What reads observations: dense layers (mlp), convolutions on [height, width, channels] before them (conv), or conv for
    images of bytes and mlp for others (auto). Without effect on a network of your own."""
    initial_std: float | None = None
    """Initial standard deviation of a Gaussian policy, in units of its output; 1 if not given."""
    action_scale: float = 1.0  # rllab's environments; ours say otherwise
    """A Gaussian policy's output is divided by this, and then clipped, to give the action. Robots are published
    with 10: a standard deviation of 1 then shakes them gently, and inner steps, which move in units of it, stay small."""
    normalize_observations: bool = False  # VariBAD has it, ProMP and maml_rl do not
    """Networks read observations less their mean, in standard deviations, over all of training; the statistics stand still
    during adaptation."""


@dataclass(frozen=True)
class RegressionSettings:
    """What any agent is told in regression, and in classification."""

    num_shots: int = 10  # Finn et al. 2017, sinusoids
    """N: points in the support set, and as many fresh ones in the query set, unless the family draws that otherwise. In N-way
    classification: of every class."""
    hidden_sizes: tuple[int, ...] = (40, 40)  # the same
    """Hidden layers."""
    activation: Literal["tanh", "relu"] = "relu"  # the same
    """Between hidden layers."""


class Training(NamedTuple):
    """How any agent is trained.

    Attributes:
        num_tasks: M, tasks per meta-iteration.
        outer_lr: step size of the outer optimiser, or a schedule over meta-iterations.
        num_iterations: meta-iterations planned, for what is annealed.
        optimizer: outer_lr -> outer optimiser. A given optimiser that has its own rate ignores the argument.
        remat: recompute inner steps in the backward pass instead of storing them.
        task_map: how the tasks of a meta-iteration are worked on: micro-batches, devices.
        inner_rule: how parameters move during adaptation, in the place of SGD with the agent's ``inner_lr``.
        inner_surrogate: what inner steps maximise in reinforcement learning, in the place of the agent's own.
    """

    num_tasks: int
    outer_lr: optax.ScalarOrSchedule
    num_iterations: int = 1
    optimizer: Callable[[optax.ScalarOrSchedule], optax.GradientTransformation] = optax.adam
    remat: bool = False
    task_map: TaskMap = ONE_BATCH
    inner_rule: InnerRule | None = None
    inner_surrogate: Surrogate | None = None


# Hyperparameters are given beside these, so they need other names.
TAKEN = frozenset(
    [field.name for settings in (ReinforcementSettings, RegressionSettings) for field in dataclasses.fields(settings)]
    + [*Training._fields, "agent", "family", "network", "trained_on"]
)


class Agent(NamedTuple):
    """The declaration of an agent: all that anything else in this repository knows of it.

    Attributes:
        make: ``(world, training, own) -> MetaLearner``; raises ValueError, in one line, for what it cannot be built for. Its
            docstring begins with a line that says what the agent is.
        hyperparameters: a frozen dataclass whose fields all have defaults; the type of ``own``. A field's docstring is the help
            of its flag, and its type, int, float, bool, str, Literal or a tuple of one of these, may be marked with `Bounds`
            and `Only`.
        serves: the kinds of world it can be made for: "reinforcement" learning, "regression" and few-shot "classification".
        adapts_by: how it gets from 0 to K on a new task: "gradient" steps on fresh data each, gradient steps all on "one batch"
            of episodes, "memory" over the episodes of a trial, or "nothing": it does not adapt.
        uses: optional parts of `Training` that have an effect: "optimizer" (with outer_lr), "remat", "inner_rule",
            "inner_surrogate". The others are refused when given.
        extendable: whether training may go on for longer than planned; not if something is annealed over it.
        mixes_tasks: whether an outer update needs the data of all tasks in one place, so that spreading tasks over devices
            moves data.
        learns: whether training changes anything.
    """

    make: "Callable[[World, Training, Any], MetaLearner]"
    hyperparameters: type = NoHyperparameters
    serves: tuple[Kind, ...] = KINDS
    adapts_by: Literal["gradient", "one batch", "memory", "nothing"] = "gradient"
    uses: tuple[Part, ...] = ("optimizer",)
    extendable: bool = True
    mixes_tasks: bool = False
    learns: bool = True


class Hyperparameter(NamedTuple):
    """One field of an agent's hyperparameters, as flags and tables read it."""

    name: str
    type: Any
    default: Any
    help: str
    bounds: Bounds | None


@functools.cache
def hyperparameters(agent: Agent, kind: Kind) -> dict[str, Hyperparameter]:
    """The hyperparameters that an agent has in one kind of world, by name."""
    hints = typing.get_type_hints(agent.hyperparameters, include_extras=True)
    helps = docstrings(agent.hyperparameters)
    found = {}
    for field in dataclasses.fields(agent.hyperparameters):
        hint, *marks = typing.get_args(hints[field.name]) if _is_marked(hints[field.name]) else (hints[field.name],)
        only = [mark.kind for mark in marks if isinstance(mark, Only)]
        if only and kind not in only:
            continue
        bounds = next((mark for mark in marks if isinstance(mark, Bounds)), None)
        found[field.name] = Hyperparameter(field.name, hint, field.default, helps.get(field.name, ""), bounds)
    return found


class Refused(ValueError):
    """A hyperparameter that cannot have a value: ``name``, and ``trouble``, which follows the name in a message."""

    def __init__(self, name: str, trouble: str):
        super().__init__(f"{name} {trouble}")
        self.name, self.trouble = name, trouble


def chosen(agent: Agent, kind: Kind, given: dict[str, Any]) -> Any:
    """The agent's hyperparameters with the ``given`` ones, which it is known to have, in the place of their defaults.

    Raises:
        Refused: a value of another type, or out of bounds.
    """
    known = hyperparameters(agent, kind)
    return agent.hyperparameters(**{name: checked(known[name], value) for name, value in given.items()})


def checked(parameter: Hyperparameter, value: Any) -> Any:
    """``value`` as the hyperparameter's type, within its bounds, or `Refused`."""
    name, kind = parameter.name, parameter.type
    if typing.get_origin(kind) is Literal:
        choices = typing.get_args(kind)
        if not any(type(value) is type(one) and value == one for one in choices):
            raise Refused(name, f"is {value!r}; known: {', '.join(map(str, choices))}.")
        return value
    if typing.get_origin(kind) is tuple:
        value = (value,) if isinstance(value, (str, bytes)) or not np.iterable(value) else tuple(value)
        if not value:
            raise Refused(name, "is empty, but must have at least one entry.")
        entry = parameter._replace(type=typing.get_args(kind)[0])
        return tuple(checked(entry, one) for one in value)
    if kind is float and not known(value):  # its values were looked at before
        return value
    if kind in (int, float):
        number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        if not number or (kind is int and not (math.isfinite(value) and value == int(value))):
            raise Refused(name, f"is {value!r}, but must be a {'whole number' if kind is int else 'number'}.")
        low, high = parameter.bounds or Bounds(-math.inf)
        if not (math.isfinite(value) and low <= value <= high):
            upper = f" and at most {high}" if math.isfinite(high) else ""
            lower = f"at least {low}" if math.isfinite(low) else "finite"
            raise Refused(name, f"is {value}, but must be {lower}{upper}.")
        return kind(value)
    if not isinstance(value, kind):
        raise Refused(name, f"is {value!r}, but must be a {kind.__name__}.")
    return value


def _is_marked(hint: Any) -> bool:
    return typing.get_origin(hint) is Annotated


def docstrings(cls: type) -> dict[str, str]:
    """Field -> the string below it in the source of a dataclass or of what it inherits from; none where there is no source."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        try:
            [tree] = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        except (OSError, TypeError, SyntaxError, ValueError):
            continue
        body = tree.body if isinstance(tree, ast.ClassDef) else []
        for field, text in itertools.pairwise(body):
            named = isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
            told = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
            if named and told:
                found[field.target.id] = inspect.cleandoc(text.value.value)  # type: ignore[attr-defined, union-attr]
    return found


def check_declaration(name: str, agent: Any) -> None:
    """Refuse, with ValueError in one line, what is no sound declaration."""
    if not isinstance(agent, Agent):
        raise ValueError(f"{name} is {type(agent).__name__} {agent!r}, but must be an agents.Agent.")
    if not callable(agent.make):
        raise ValueError(f"{name}: make is {agent.make!r}, but must be a function of world, training and hyperparameters.")
    own = agent.hyperparameters
    # A subclass without the decorator is a dataclass by inheritance, but its new fields are none.
    if not (isinstance(own, type) and "__dataclass_params__" in vars(own) and own.__dataclass_params__.frozen):  # type: ignore[attr-defined]
        raise ValueError(f"{name}: hyperparameters is {own!r}, but must be a class with @dataclass(frozen=True).")
    for field in dataclasses.fields(own):
        if field.default is dataclasses.MISSING:
            raise ValueError(f"{name}: {own.__name__}.{field.name} has no default, but needs one.")
        if field.name in TAKEN:
            raise ValueError(f"{name}: {own.__name__}.{field.name} has the name of a setting of all agents; choose another.")
    for what, given, choices in (("serves", agent.serves, KINDS), ("uses", agent.uses, PARTS)):
        if not isinstance(given, tuple):
            raise ValueError(f"{name}: {what} is {given!r}, but must be a tuple, such as ({choices[0]!r},).")
        strange = [entry for entry in given if entry not in choices]
        if strange:
            raise ValueError(f"{name}: {what} has {strange[0]!r}; known: {', '.join(choices)}.")
    if not agent.serves:
        raise ValueError(f"{name}: serves is empty; name at least one of {', '.join(KINDS)}.")
    if agent.adapts_by not in ADAPTS_BY:
        raise ValueError(f"{name}: adapts_by is {agent.adapts_by!r}; known: {', '.join(ADAPTS_BY)}.")
    for hinted, hint in typing.get_type_hints(own, include_extras=True).items():
        for mark in typing.get_args(hint)[1:] if _is_marked(hint) else ():
            if isinstance(mark, Only) and mark.kind not in KINDS:
                raise ValueError(f"{name}: {own.__name__}.{hinted} is for {mark.kind!r} only; known: {', '.join(KINDS)}.")
    for kind in agent.serves:
        for parameter in hyperparameters(agent, kind).values():
            _check_type(f"{name}: {own.__name__}.{parameter.name}", parameter)


def _check_type(where: str, parameter: Hyperparameter) -> None:
    kind = parameter.type
    entry = typing.get_args(kind)[0] if typing.get_origin(kind) is tuple and typing.get_args(kind)[1:] == (...,) else kind
    if entry not in (int, float, bool, str) and typing.get_origin(entry) is not Literal:
        raise ValueError(f"{where} is of type {kind}, but a flag must be int, float, bool, str, Literal or a tuple of these.")
    try:
        checked(parameter, parameter.default)
    except Refused as error:
        raise ValueError(f"{where}: its default {error.trouble}") from error
