"""What a task family says about training agents on it: settings where the user gives none."""

import dataclasses
from typing import Any

import agents
from agents.agent import ADAPTS_BY, hyperparameters
from agents.build import name_of, who_has
from experiments.cli.errors import UserError
from experiments.cli.flags import flag
from experiments.training.config import KIND, TrainConfig, maker_of
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


def told(env: str, agent: str, settings: dict[str, Any]) -> str:
    """One line that says which settings came from the family."""
    flags = " ".join(
        f"{flag(name)} {' '.join(map(str, value)) if isinstance(value, tuple) else value}" for name, value in settings.items()
    )
    return f"{env} sets for {name_of(agent)}, where you do not: {flags}"


def from_family(given: dict[str, str], agent: str) -> dict[str, Any]:
    """`suggested` for the family on a command line, for `experiments.training.settings.parse_run`."""
    return suggested(given.get("env", TrainConfig.env), agent)
