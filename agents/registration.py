"""Agents and networks by name. ``module:name`` imports ``module`` first, so anybody's file can bring its own."""

import difflib
import importlib
from collections.abc import Callable
from typing import Any

from flax import linen as nn

import _metarl_names
from agents.agent import Agent, check_declaration

_AGENTS: dict[str, Agent | str] = {}
_NETWORKS: dict[str, Any] = {}
_MEMORIES: dict[str, Any] = {}


def register(name: str, agent: Agent | str) -> None:
    """Make an agent known under a name.

    Args:
        name: such as ``their/agent``.
        agent: its declaration, or ".file:DECLARATION" of this package, which is imported when first used.

    Raises:
        ValueError: the name is taken, or this is no sound declaration.
    """
    _check_name("register", name)
    if name in _AGENTS and not _same(_AGENTS[name], agent):
        raise ValueError(f"register: {name!r} is taken; choose another name.")
    if not isinstance(agent, str):
        check_declaration(name, agent)
    _AGENTS[name] = agent


def registered() -> list[str]:
    """The names of all agents, in the order in which they were registered."""
    return list(_AGENTS)


def find(name: str) -> Agent:
    """The declaration registered under ``name``. ``module:name`` imports ``module`` first.

    Raises:
        ValueError: no such module, or no such agent; names the closest.

    >>> find("promp").adapts_by
    'gradient'
    >>> find("mamll")
    Traceback (most recent call last):
    ValueError: No agent 'mamll'. Did you mean 'maml' or 'imaml'?
    """
    name, found = _look_up("agent", name, _AGENTS, "agents.register")
    if isinstance(found, str):
        module, _, attribute = found.partition(":")
        found = getattr(importlib.import_module(module, __package__), attribute)
        check_declaration(name, found)
        _AGENTS[name] = found
    return found


def register_network(name: str, network: nn.Module | Callable[[int], nn.Module]) -> None:
    """Make a network known under a name, for ``--network``.

    Args:
        name: such as ``their/network``.
        network: see `agents.parts.networks.from_module`.

    Raises:
        ValueError: the name is taken, or this is no network.
    """
    _check_name("register_network", name)
    if name in _NETWORKS and not _same(_NETWORKS[name], network):
        raise ValueError(f"register_network: {name!r} is taken; choose another name.")
    if not callable(network):
        raise ValueError(f"register_network: {name} is {network!r}, but must be a flax module or a function that makes one.")
    _NETWORKS[name] = network


def find_network(name: str) -> Any:
    """What was registered as a network under ``name``. ``module:name`` imports ``module`` first.

    Raises:
        ValueError: no such module, or no such network; names the closest.
    """
    return _look_up("network", name, _NETWORKS, "agents.register_network")[1]


def register_memory(name: str, memory: nn.Module | Callable[..., nn.Module]) -> None:
    """Make a memory known under a name, for ``--memory`` of `rl2`.

    Args:
        name: such as ``their/memory``.
        memory: a flax module that remembers, see `agents.parts.memory.memory_of`; or a function, or class, that makes one of a
            size and, if it names them, of ``layers``, ``heads`` and ``context``.

    Raises:
        ValueError: the name is taken, or this is no memory.
    """
    _check_name("register_memory", name)
    if name in _MEMORIES and not _same(_MEMORIES[name], memory):
        raise ValueError(f"register_memory: {name!r} is taken; choose another name.")
    if not (callable(memory) or isinstance(memory, nn.Module)):
        raise ValueError(f"register_memory: {name} is {memory!r}, but must be a flax module or a function that makes one.")
    _MEMORIES[name] = memory


def find_memory(name: str) -> Any:
    """What was registered as a memory under ``name``. ``module:name`` imports ``module`` first.

    Raises:
        ValueError: no such module, or no such memory; names the closest.
    """
    return _look_up("memory", name, _MEMORIES, "agents.register_memory")[1]


def _check_name(function: str, name: str) -> None:
    if not isinstance(name, str) or not name or ":" in name or any(character.isspace() for character in name):
        raise ValueError(f"{function}: the name is {name!r}, but must be a word without colons, such as 'mine/agent'.")


def _look_up(what: str, name: str, table: dict[str, Any], function: str) -> tuple[str, Any]:
    """The name without its module, and what is registered under it."""
    module, _, short = name.rpartition(":")
    before = set(table)
    if module:
        importlib.invalidate_caches()
        try:
            importlib.import_module(module)
        except Exception as error:  # whatever a user's module raises becomes one line
            hint = " ".join(f"{type(error).__name__}: {error}".split())
            if isinstance(error, ModuleNotFoundError) and error.name == module.split(".")[0]:
                hint = f"{error}. Run from the folder that holds {error.name}.py, or install it."
            elif isinstance(error, ImportError) and error.name:
                hint += _metarl_names.namesake(error.name.partition(".")[0])
            raise ValueError(f"{what.capitalize()} {name!r}: importing {module} fails: {hint}") from error
    if short in table:
        return short, table[short]
    if module and set(table) == before and not any(_comes_from(module, entry) for entry in table.values()):
        raise ValueError(f"{what.capitalize()} {name!r}: {module} registers no {what}; call {function}({short!r}, ...) in it.")
    close = difflib.get_close_matches(short.lower(), table, n=2, cutoff=0.5)
    known = ", ".join(table) or f"none; {function}(name, ...) makes one known"
    hint = f"Did you mean {' or '.join(map(repr, close))}?" if close else f"Known: {known}."
    raise ValueError(f"No {what} {short!r}. {hint}")


def _same(old: Any, new: Any) -> bool:
    """Whether both are one, or come from the same place in a file that was imported, or a cell that was run, again."""
    if old == new:
        return True
    first, second = (getattr(entry, "make", entry) for entry in (old, new))
    if not hasattr(first, "__qualname__"):  # an instance: of a class that was made again
        if type(first) is type(second):
            return False
        first, second = type(first), type(second)
    origins = [(getattr(x, "__module__", None), getattr(x, "__qualname__", None)) for x in (first, second)]
    return origins[0] == origins[1] and None not in origins[0]


def _comes_from(module: str, entry: Any) -> bool:
    return getattr(getattr(entry, "make", entry), "__module__", None) == module
