"""From a declaration to a meta-learner: settings are checked against what the agent declares, then its function is called."""

import dataclasses
import difflib
import math
from typing import Any

import optax

from agents.agent import Agent, Kind, Part, Refused, Training, check_declaration, chosen, hyperparameters
from agents.parts.world import (
    RegressionSettings,
    ReinforcementSettings,
    World,
    classification_world,
    policy_gradient_world,
    regression_world,
)
from agents.registration import find, registered
from metarl.interfaces import InnerRule, MetaLearner, known
from metarl.surrogates import Surrogate
from metarl.tasks import ONE_BATCH, TaskMap

WHY: dict[Part, str] = {
    "optimizer": "its outer update follows no optimiser",
    "remat": "it stores no inner steps for a backward pass",
    "inner_rule": "it sets how its parameters move by itself",
    "inner_surrogate": "it sets what its inner steps follow by itself",
}

# Hyperparameter -> what, where given, leaves it without an effect.
REPLACED_BY = {"inner_lr": "inner_rule", "dice_lambda": "inner_surrogate", "surrogate": "inner_surrogate"}


def name_of(agent: str | Agent) -> str:
    """How messages call an agent."""
    if isinstance(agent, str):
        return agent.rpartition(":")[2]
    return getattr(getattr(agent, "make", None), "__name__", "agent").replace("_", "-")


def declaration(agent: str | Agent) -> Agent:
    """That of a name, or the given one; ValueError if there is none or it is not sound."""
    if isinstance(agent, str):
        return find(agent)
    check_declaration(name_of(agent), agent)
    return agent


def refuse_kind(agent: str | Agent, kind: Kind) -> None:
    """Raise ValueError if an agent cannot be made for a kind of world."""
    declared = declaration(agent)
    if kind not in declared.serves:
        serves = " and ".join("reinforcement learning" if each == "reinforcement" else each for each in declared.serves)
        raise ValueError(f"{name_of(agent)} serves {serves} only.")


def refuse_unused(agent: str | Agent, given: dict[Part, str]) -> None:
    """Raise ValueError if something is given, part -> how it is called, that has no effect on an agent."""
    declared = declaration(agent)
    for part, called in given.items():
        if part not in declared.uses:
            raise ValueError(f"{called} is given, but {name_of(agent)} has no use for it: {WHY[part]}; leave it out.")


def who_has(setting: str, kind: Kind) -> list[str]:
    """The names of agents with a hyperparameter called ``setting``."""
    return [name for name in registered() if kind in find(name).serves and setting in hyperparameters(find(name), kind)]


def build(agent: str | Agent, world: World, training: Training, **own: Any) -> MetaLearner:
    """The meta-learner of an agent in a world.

    Args:
        agent: a name, or a declaration.
        world: see `policy_gradient_world`, `regression_world` and `classification_world`.
        training: how it is trained.
        **own: its hyperparameters, where they are not to be the defaults.

    Raises:
        ValueError: in one line, what does not fit.
    """
    declared = declaration(agent)
    refuse_kind(agent, world.kind)
    refuse_unused(agent, {part: part for part in ("inner_rule", "inner_surrogate") if getattr(training, part) is not None})
    known = hyperparameters(declared, world.kind)
    for name in own:
        if name not in known:
            raise ValueError(_unknown(agent, name, world.kind, list(known)))
        if name in REPLACED_BY and getattr(training, REPLACED_BY[name]) is not None:
            raise ValueError(f"{REPLACED_BY[name]} and {name} are both given, but the first takes the place of the second.")
    try:
        numbers = chosen(declared, world.kind, own)
    except Refused as error:
        raise ValueError(f"{name_of(agent)}: {error}") from error
    learner = declared.make(world, training, numbers)
    return learner._replace(to_action=world.to_action, read=world.read) if isinstance(learner, MetaLearner) else learner


def make(
    agent: str | Agent,
    family: Any,
    *,
    network: Any = None,
    inner_rule: InnerRule | None = None,
    inner_surrogate: Surrogate | None = None,
    optimizer: optax.GradientTransformation | None = None,
    outer_lr: optax.ScalarOrSchedule | None = None,
    num_tasks: int = 20,
    num_iterations: int = 300,
    remat: bool = False,
    task_map: TaskMap = ONE_BATCH,
    trained_on: Any = None,
    **settings: Any,
) -> MetaLearner:
    """An agent on a task family, ready to be trained.

    Args:
        agent: a name, ``module:name``, or a declaration.
        family: environments (`envs.make`), a family of functions to regress (`envs.families.regression`), or few-shot tasks of
            either kind (`envs.few_shot`).
        network: a flax module, or a function from the number of outputs to one; see `agents.parts.networks.from_module`.
        inner_rule: how parameters move during adaptation, see `metarl.rules`; SGD with the agent's ``inner_lr`` if None.
        inner_surrogate: what inner steps maximise, see `metarl.surrogates`; the agent's own if None.
        optimizer: any optax transformation, schedules and clipping included, in the place of Adam with ``outer_lr``. Its
            schedules count its own updates, of which promp and all that learn by PPO make several per meta-iteration.
        outer_lr: step size of Adam, or a schedule over meta-iterations; 1e-3 if None.
        num_tasks: M, tasks per meta-iteration.
        num_iterations: meta-iterations planned, for agents that anneal.
        remat: recompute inner steps in the backward pass instead of storing them.
        task_map: how the tasks of a meta-iteration are worked on.
        trained_on: the family of training, for an agent that is to play in another one now.
        **settings: the agent's own hyperparameters, and those of the world (`ReinforcementSettings`, `RegressionSettings`):
            num_episodes, gamma, hidden_sizes and so on.

    Returns:
        Its pure functions: ``init(key)``, ``step(state, key)``, ``adapt(state, task, key, num_steps)``.

    Raises:
        ValueError: in one line, what does not fit.

    >>> import envs
    >>> learner = make("maml", envs.make("metarl/Navigation2D-v0"), num_tasks=2, num_episodes=4, inner_lr=0.05)
    >>> make("maml", envs.make("metarl/Navigation2D-v0"), clip=0.2)
    Traceback (most recent call last):
    ValueError: maml has no setting 'clip'; promp, multitask, task-embedding, rl2, varibad, oracle have it.
    """
    declared, kind = declaration(agent), kind_of(family)
    refuse_kind(agent, kind)
    used: dict[Part, Any] = {"optimizer": optimizer, "remat": remat or None}
    refuse_unused(agent, {part: part for part, value in used.items() if value is not None})
    if outer_lr is not None:
        refuse_unused(agent, {"optimizer": "outer_lr"})
        if optimizer is not None:
            raise ValueError("optimizer and outer_lr are both given, but an optimizer has its own step size; give one.")
        if known(outer_lr) and not callable(outer_lr) and not (math.isfinite(outer_lr) and outer_lr >= 0):
            raise ValueError(f"outer_lr is {outer_lr}, but must be at least 0.")
    for name, count, least in (("num_tasks", num_tasks, 1), ("num_iterations", num_iterations, 0)):
        if not (count >= least and count == int(count)):
            raise ValueError(f"{name} is {count}, but must be a whole number, at least {least}.")
    training = Training(
        num_tasks=num_tasks,
        outer_lr=1e-3 if outer_lr is None else outer_lr,
        num_iterations=max(num_iterations, 1),
        optimizer=optax.adam if optimizer is None else (lambda rate: optimizer),
        remat=remat,
        task_map=task_map,
        inner_rule=inner_rule,
        inner_surrogate=inner_surrogate,
    )
    of_world = ReinforcementSettings if kind == "reinforcement" else RegressionSettings
    names = {field.name for field in dataclasses.fields(of_world)}
    own = {name: value for name, value in settings.items() if name not in names}
    for name in own:
        if name not in hyperparameters(declared, kind):
            raise ValueError(_unknown(agent, name, kind, [*names, *hyperparameters(declared, kind)]))
    given = {name: value for name, value in settings.items() if name in names}
    if kind == "reinforcement":
        world = policy_gradient_world(family, ReinforcementSettings(**given), network=network, trained_on=trained_on)
    else:
        of_kind = classification_world if kind == "classification" else regression_world
        world = of_kind(family, RegressionSettings(**given), network=network)
    return build(agent, world, training, **own)


def kind_of(family: Any) -> Kind:
    """What kind of world a family makes."""
    if hasattr(family, "horizon") and hasattr(family, "transition"):
        return "reinforcement"
    if hasattr(family, "sample") and hasattr(family, "sample_task"):
        return "regression" if getattr(family, "num_classes", None) is None else "classification"
    raise ValueError(f"{family!r} is no task family: neither environments (horizon, transition) nor functions (sample).")


def _unknown(agent: str | Agent, name: str, kind: Kind, known: list[str]) -> str:
    others = who_has(name, kind)
    if others:
        return f"{name_of(agent)} has no setting {name!r}; {', '.join(others)} {'has' if len(others) == 1 else 'have'} it."
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"{name_of(agent)} has no setting {name!r}." + (f" Did you mean {close[0]!r}?" if close else "")
