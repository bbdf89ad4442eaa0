"""What a task family says about training agents on it: settings where the user gives none."""

import dataclasses
import functools
import re
import sys
from collections.abc import Collection
from typing import Any

import agents
from agents.agent import ADAPTS_BY, hyperparameters
from agents.build import name_of, who_has
from agents.parts.encoding import is_image
from envs.contract import explain
from envs.options import from_flags
from envs.scales import Scales, bounded_near_one, far_from_one, scales
from experiments.cli.errors import UserError
from experiments.cli.family_errors import quiet_callbacks
from experiments.cli.flags import flag
from experiments.training.config import KIND, TrainConfig, make_family, maker_of
from experiments.training.settings import PARTS, declared

# Flags of a run that a family may speak about: how agents are trained on it, and not where, how long it is evaluated and so on.
OF_RUN = frozenset(field.name for field in dataclasses.fields(agents.ReinforcementSettings)) | {
    "num_tasks",
    "num_iterations",
    "outer_lr",
    "outer_schedule",
}
ANY = "any"


def suggested(env: str, agent: str) -> dict[str, Any]:
    """The settings of `TrainConfig` that a family suggests for an agent, by name.

    Its ``training_settings`` have entries for "any" agent, for those that adapt by "gradient", "one batch", "memory" or
    "nothing", and for single agents by name; the more special go first. Settings that the agent does not have are left out.

    Args:
        env: the family's id.
        agent: the agent's name.

    Raises:
        UserError: no such family or agent, or a suggestion for a setting that does not exist.

    >>> import envs
    >>> suggested("metarl/HalfCheetahDir-v0", "promp")["action_scale"]
    10.0
    """
    declaration = declared(agent, KIND)
    maker = maker_of(env)
    entries = getattr(maker, "training_settings", {})
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise UserError(f"{env}: training_settings is {entries!r}, but must be a dict of dicts, such as {{'any': {{}}}}.")
    speaks_of = {ANY, *ADAPTS_BY, *agents.registered(), name_of(agent)}
    for key in entries:
        if key not in speaks_of and "/" not in key:  # mine/agent may be in a module that nobody imported
            raise UserError(f"{env}: training_settings has {key!r}, which is no agent; known: {', '.join(sorted(speaks_of))}.")
    known = OF_RUN | set(hyperparameters(declaration, KIND))
    found: dict[str, Any] = {}
    for key in (ANY, declaration.adapts_by, name_of(agent)):
        for name, value in entries.get(key, {}).items():
            if name not in known and not who_has(name, KIND):
                raise UserError(f"{env}: training_settings[{key!r}] has {name!r}, which is no setting of a run or an agent.")
            if name in known and (name not in PARTS or PARTS[name] in declaration.uses):
                found[name] = value
    return found


def told(given: dict[str, str], env: str, agent: str, taken: Collection[str] = ()) -> list[str]:
    """A line for the settings that came from the family, and one for those that were measured, where there are any.

    Args:
        given: flags of a command line.
        env: the family's id.
        agent: the agent's name.
        taken: settings that came from another run.
    """
    found = suggested(env, agent)
    unsaid = [_flags(name, value) for name, value in found.items() if not {name, f"no_{name}"} & {*given, *taken}]
    lines = [f"{env} sets for {name_of(agent)}, where you do not: {' '.join(unsaid)}"] if unsaid else []
    for name in measured(given, agent, found):
        what = name.removeprefix("normalize_")
        size = getattr(_scales(_family(given)), what.removesuffix("s"))
        lines.append(
            f"{what} of {env} are about {size:.3g} in size: {flag(name)}; {flag(f'no_{name}')} leaves them as they are."
        )
    return lines


def _flags(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return flag(name) if value else flag(f"no_{name}")
    return f"{flag(name)} {' '.join(map(str, value)) if isinstance(value, tuple) else value}"


def from_table(given: dict[str, str], agent: str) -> dict[str, Any]:
    """`suggested` for the flags of a command line, for `experiments.training.settings.parse_run`."""
    return suggested(given.get("env", TrainConfig.env), agent)


def from_family(given: dict[str, str], agent: str) -> dict[str, Any]:
    """`from_table` and what is `measured`, for which episodes are drawn."""
    found = from_table(given, agent)
    return found | measured(given, agent, found)


def measured(given: dict[str, str], agent: str, found: dict[str, Any]) -> dict[str, Any]:
    """Which of the agent's normalisations are on because observations or rewards are far from 1; none of another run's.

    Args:
        given: flags of a command line; what it or the family decides is not looked at.
        agent: its name.
        found: what the family suggests.
    """
    known = {"normalize_observations", *hyperparameters(declared(agent, KIND), KIND)}
    said = {name.removeprefix("no_") for name in given} | set(found)
    open_ = [name for name in ("normalize_observations", "normalize_rewards") if name in known and name not in said]
    if not open_ or {"resume", "help", "start_from"} & set(given):
        return {}
    try:
        family = _family(given)
    except ValueError:
        return {}  # a mistake that is told where the run begins
    if "network" not in given and is_image(family.observation_space) and given.get("trunk", "auto") != "mlp":
        open_ = [name for name in open_ if name != "normalize_observations"]  # convolutions scale bytes themselves
    if not open_ or (open_ == ["normalize_observations"] and bounded_near_one(family.observation_space)):
        return {}
    size = _scales(family)
    far = {"normalize_observations": far_from_one(size.observation), "normalize_rewards": far_from_one(size.reward)}
    return {name: True for name in open_ if far[name]}


def _family(given: dict[str, str]) -> Any:
    """The family of a command line."""
    options = re.split(r"\s+(?=\w+=)", given["env_options"]) if given.get("env_options") else []
    horizon = int(given["horizon"]) if "horizon" in given else None
    return make_family(given.get("env", TrainConfig.env), from_flags(horizon, options))


@functools.lru_cache(maxsize=8)
def _scales(family: Any) -> Scales:
    """Measured once per family; taken for near 1, with a warning, where it cannot be played."""
    try:
        with quiet_callbacks():
            return scales(family)
    except Exception as error:  # whatever a user's function raises, which the run will meet as well
        print(f"warning: sizes of observations and rewards are not known: {explain(error)}", file=sys.stderr, flush=True)
        return Scales(1.0, 1.0)
