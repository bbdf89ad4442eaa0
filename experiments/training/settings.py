"""Flags of a run: those of every run and those of its agent, from one command line."""

import dataclasses
import importlib
import inspect
import sys
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

import agents
from agents.agent import Agent, Kind, Part, Refused, chosen, docstrings, hyperparameters
from agents.build import WHY, name_of, refuse_kind, who_has
from experiments.cli.errors import UserError
from experiments.cli.flags import flag, given_flags, parse
from experiments.runs.folder import CONFIG, to_resume
from experiments.runs.strangers import NAMING, admit

PARTS: dict[str, Part] = {
    "outer_lr": "optimizer",
    "outer_schedule": "optimizer",
    "remat": "remat",
}  # flags that need what not all agents use
HIDDEN = ("own",)  # fields that are not flags
# What runs had before there was such a setting, where today's default is another.
BEFORE = {"trunk": "mlp"}


def find_users_modules() -> None:
    """Let imports look in the current folder, also when python was not started with -m there."""
    importlib.invalidate_caches()
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))


def declared(name: str, kind: Kind) -> Agent:
    """The agent called ``name``, or a `UserError` that says why there is none for this kind of world."""
    find_users_modules()
    try:
        refuse_kind(name, kind)
        return agents.find(name)
    except ValueError as error:
        raise UserError(str(error)) from error


def parse_run(
    config: Any,
    args: Sequence[str],
    prog: str,
    kind: Kind,
    defaults: Callable[[dict[str, str], str], dict[str, Any]] = lambda given, agent: {},
    source: Callable[[dict[str, str]], dict[str, Any]] = lambda given: {},
) -> Any:
    """The configuration of a run from its command line. ``--agent`` is read first: which flags there are depends on it.

    With ``--resume`` the run's own settings stand in for flags not given.

    Args:
        config: a frozen dataclass with ``agent``, ``run_dir``, ``resume``, ``overwrite`` and ``own`` (the agent's part).
        args: the command line.
        prog: how the command is called.
        kind: of world.
        defaults: (flags given, agent) -> settings other than the dataclasses' own defaults.
        source: flags given -> the settings of a run that this one begins from; they go before those.

    Raises:
        UserError: an unknown agent, a flag that the agent does not have, a value that it cannot have.
    """
    given = given_flags(args)
    stored = to_resume(Path(given.get("run_dir", ""))) if "resume" in given else {}
    begins_from = source(given)
    stored, begins_from = (BEFORE | each if each else each for each in (stored, begins_from))
    trusted = [given[name].rpartition(":")[0] for name in NAMING if name in given] + given.get("trust", "").split()
    for folder, settings in ((stored.get("run_dir", ""), stored), (given.get("start_from", ""), begins_from)):
        if settings:
            admit(Path(folder), {"settings": settings}, trusted)
            refuse_unfit(config, kind, settings)
    agent = given.get("agent") or stored.get("agent") or begins_from.get("agent") or config.agent
    if stored and stored.get("agent", agent) != agent:
        first = stored["run_dir"]
        raise UserError(f"{first} was made with --agent {stored['agent']}, not {agent}; leave the flag out to resume.")
    declaration = declared(agent, kind)
    of_family = defaults({name: begins_from[name] for name in ("env",) if name in begins_from} | given, agent)
    # In a sweep a combination that diverges is a result, and no reason to stop the others.
    of_sweep = {"on_nonfinite": "skip"} if "sweep" in given else {}
    flags = flags_of(config, agent, kind, of_family | begins_from | of_sweep | {"agent": agent} | stored)
    known = {field.name for field in dataclasses.fields(flags)}
    for name, value in given.items():
        if name not in known:
            _refuse_foreign(name, value, agent, kind, {field.name for field in dataclasses.fields(config)})
    if "network" in given and declaration.adapts_by != "memory":  # whose hidden layers come after the memory
        for name in ("hidden_sizes", "activation", "trunk"):
            if name in given:
                raise UserError(f"{flag(name)} is {given[name]}, but --network has layers of its own; leave one of them out.")
    description = f"{config.__doc__}\n\nAgent {agent}: {inspect.cleandoc(declaration.make.__doc__ or agent)}"
    parsed: Any = parse(flags, args, prog, description)
    for word in getattr(parsed, "sweep", ()):
        name = swept_name(word)
        both = next((each for each in (name, f"no_{name}") if each in given), None)
        if both is not None:
            said = f"{flag(both)} is {given[both] or 'given'}"
            raise UserError(f"{said}, but --sweep {word} gives the values of {name}; leave one of them out.")
    return from_flat(config, kind, vars(parsed))


def swept_name(word: str) -> str:
    """The setting that ``--sweep NAME=VALUE,...`` names."""
    return word.partition("=")[0].strip().removeprefix("--").replace("-", "_")


def flags_of(config: type, agent: str, kind: Kind, defaults: dict[str, Any]) -> type:
    """A dataclass with the fields of ``config`` that the agent uses and those of the agent, for tyro to make flags of."""
    declaration = declared(agent, kind)
    hints, helps = typing.get_type_hints(config, include_extras=True), docstrings(config)
    fields: list[Any] = []
    for field in sorted(dataclasses.fields(config), key=lambda field: field.name not in config.__annotations__):
        if field.name in HIDDEN or not _used(field.name, declaration):
            continue
        fields.append(_flag(field.name, hints[field.name], helps.get(field.name, ""), defaults.get(field.name, field.default)))
    for parameter in hyperparameters(declaration, kind).values():
        if parameter.name in hints:
            raise UserError(f"{agent}: its {parameter.name!r} has the name of a flag of every run; call it something else.")
        default = defaults.get(parameter.name)
        default = parameter.default if default is None else default
        fields.append(_flag(parameter.name, parameter.type, f"{name_of(agent)}: {parameter.help}", default))
    return dataclasses.make_dataclass(config.__name__, fields, frozen=True, kw_only=True)


def _used(name: str, agent: Agent) -> bool:
    return name not in PARTS or PARTS[name] in agent.uses


def _flag(name: str, hint: Any, help: str, default: Any) -> tuple[str, Any, Any]:
    if isinstance(default, list):
        default = tuple(default)
    return name, Annotated[hint, tyro.conf.arg(help=help)], dataclasses.field(default=default)


def _refuse_foreign(name: str, value: str, agent: str, kind: Kind, of_runs: set[str]) -> None:
    """Refuse a flag of other agents; one that nobody has is left to the parser, which knows the closest."""
    called, adapts_by = name_of(agent), agents.find(agent).adapts_by
    start = f"{flag(name)} is {value or 'given'}, but {called} has no use for it; leave it out."
    if name in of_runs and name in PARTS:
        raise UserError(f"{start} {called}: {WHY[PARTS[name]]}.")
    others = who_has(name, kind)
    if not others:
        return
    why = ""
    if name in ("num_inner_steps", "inner_lr", "test_step_scale"):
        why = {
            "memory": f" {called} adapts by its memory, not by inner steps.",
            "nothing": f" {called} has no inner loop.",
        }.get(adapts_by, "")
    raise UserError(f"{start}{why} It is for {', '.join(others)}.")


def from_flat(config: Any, kind: Kind, settings: dict[str, Any]) -> Any:
    """A configuration from flat settings: its own fields, and the agent's hyperparameters by their names.

    Raises:
        UserError: no such agent or setting, or a value out of bounds.
    """
    fields = {field.name: field for field in dataclasses.fields(config) if field.name not in HIDDEN}
    name_of_agent: str = settings.get("agent", config.agent)
    agent = declared(name_of_agent, kind)
    known = hyperparameters(agent, kind)
    for name, value in settings.items():
        unused = name in fields and not _used(name, agent) and value not in (None, False, fields[name].default)
        if unused or (name not in fields and name not in known):
            _refuse_foreign(name, str(value), name_of_agent, kind, set(fields))
            raise UserError(f"{flag(name)}: {name_of(name_of_agent)} has no such setting.")
    common = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items() if name in fields}
    given = {name: value for name, value in settings.items() if name in known and value is not None}
    try:
        return config(**common, own=chosen(agent, kind, given))
    except Refused as error:
        raise UserError(f"{flag(error.name)} {error.trouble}") from error


def stored_as(config: Any, kind: Kind, settings: dict[str, Any]) -> Any:
    """A configuration from the settings in a config.json; those that the agent does not have are left out."""
    settings = BEFORE | settings
    refuse_unfit(config, kind, settings)
    agent = declared(settings.get("agent", config.agent), kind)
    known = _fields(config, agent) | set(hyperparameters(agent, kind))
    return from_flat(config, kind, {name: value for name, value in settings.items() if name in known})


def refuse_unfit(config: Any, kind: Kind, settings: dict[str, Any]) -> None:
    """Refuse settings from a config.json that are of another type than the configuration's.

    Raises:
        UserError: one line with the first of them.
    """
    agent, hints = declared(settings.get("agent", config.agent), kind), typing.get_type_hints(config)
    for name in sorted(_fields(config, agent) & set(settings)):
        if not fits(settings[name], hints[name]):
            shown = repr(settings[name])[:60]
            raise UserError(f"the run's {flag(name)} is {shown}, which no run of metarl has; is its {CONFIG} whole?")


def _fields(config: Any, agent: Agent) -> set[str]:
    """The settings of a configuration that an agent uses, without its own."""
    return {field.name for field in dataclasses.fields(config) if field.name not in HIDDEN and _used(field.name, agent)}


def fits(value: Any, hint: Any) -> bool:
    """Whether a value from JSON is of a setting's type, and no larger than numbers are.

    >>> fits([8, 8], tuple[int, ...]), fits("8", int), fits(None, int | None), fits(1e300, float), fits(10**40, float)
    (True, False, True, True, False)
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin is Annotated:
        return fits(value, arguments[0])
    if origin is typing.Literal:
        return value in arguments if isinstance(value, str | int) else False
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, each) for each in arguments)
    if origin is tuple:
        each = arguments[:1] * len(value) if isinstance(value, list | tuple) and arguments[1:] == (...,) else arguments
        return isinstance(value, list | tuple) and len(each) == len(value) and all(map(fits, value, each))
    if hint is float and isinstance(value, float):
        return abs(value) < 2.0**1023
    if hint in (int, float):
        return type(value) is int and abs(value) < 2**53
    if hint is Path:
        return isinstance(value, str | Path)
    return isinstance(value, origin or hint)


def changed(config: Any, kind: Kind, **changes: Any) -> Any:
    """The same configuration with other settings, its own or its agent's."""
    return from_flat(type(config), kind, common(config) | own(config, kind) | changes)


def common(config: Any) -> dict[str, Any]:
    """The settings that are no agent's, by name."""
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(config) if field.name not in HIDDEN}


def own(config: Any, kind: Kind) -> dict[str, Any]:
    """The agent's hyperparameters by name; none if they are all its defaults."""
    known = hyperparameters(declared(config.agent, kind), kind)
    return {} if config.own is None else {name: getattr(config.own, name) for name in known}


def flat(config: Any, kind: Kind) -> dict[str, Any]:
    """All settings that have an effect, by name, as config.json holds them."""
    agent = declared(config.agent, kind)
    used = {name: value for name, value in common(config).items() if _used(name, agent)}
    return used | own(config, kind) | {"run_dir": str(config.run_dir)}
