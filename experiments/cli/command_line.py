"""How a command is called, for usage lines and for messages that tell the user what to type."""

import sys

PREFIX = __package__.rpartition("experiments")[0]  # nothing or, in the wheel's form, "metarl."

_by_console = False


def by_console() -> None:
    """From here on commands are called as the user called this process: ``metarl train``."""
    global _by_console
    _by_console = True


def module_of(command: str) -> str:
    """The module of a command, such as ``studies.half-cheetah``."""
    room = "envs" if command == "check" else "experiments"
    return f"{PREFIX}{room}.{command.replace('-', '_')}"


def command_line(command: str) -> str:
    """``metarl train`` or ``python -m experiments.train``, as this process was called; if as neither, what always works."""
    started = getattr(getattr(sys.modules.get("__main__"), "__spec__", None), "name", "")
    by_module = started.removeprefix("metarl.").partition(".")[0] in ("experiments", "envs")
    if _by_console or (PREFIX and not by_module):
        return f"metarl {command.replace('_', '-')}"
    module = module_of(command).removeprefix("metarl.")
    return f"python -m {'metarl.' if started.startswith('metarl.') else ''}{module}"
