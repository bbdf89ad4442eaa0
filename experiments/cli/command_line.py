"""How a command is called, for usage lines and for messages that tell the user what to type."""

import sys

ELSEWHERE = {"check": "envs.check"}  # commands that are no modules of `experiments`
MODULE_OF_COMMANDS = __package__.rpartition(".")[0]  # experiments or, in the wheel's form, metarl.experiments
PREFIX = MODULE_OF_COMMANDS.removesuffix("experiments")

_by_console = False


def by_console() -> None:
    """From here on commands are called as the user called this process: ``metarl train``."""
    global _by_console
    _by_console = True


def module_of(command: str) -> str:
    """The module of a command, such as ``studies.half-cheetah``."""
    module = ELSEWHERE.get(command, f"experiments.{command.replace('-', '_')}")
    return PREFIX + module


def command_line(command: str) -> str:
    """``metarl train`` or ``python -m experiments.train``, as this process was called; if as neither, what always works."""
    started = getattr(getattr(sys.modules.get("__main__"), "__spec__", None), "name", "")
    by_module = started.removeprefix("metarl.").partition(".")[0] in ("experiments", "envs")
    if _by_console or (PREFIX and not by_module):
        return f"metarl {command.replace('_', '-')}"
    module = module_of(command).removeprefix("metarl.")
    return f"python -m {'metarl.' if started.startswith('metarl.') else ''}{module}"
