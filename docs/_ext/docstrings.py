"""Docstrings as Sphinx reads them: a name in single backticks is a link where there is a page, and code where there is none.

A name that does not exist is a warning, and so ends the build.
"""

import importlib
import re

from docutils import nodes
from sphinx.application import Sphinx

SIGNS = re.compile(r"\||\*(?=,|\w+, \.)|\*\*(?=\w+\))")  # |x|, (x, *, y), [*lead, ...], (**options)
DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def tidy(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Escape what is no markup in our docstrings: bars of absolute values, stars of arguments, colons of fields."""
    for i, line in enumerate(lines):
        if what == "attribute":  # what stands before a colon there would be taken for a type
            line = lines[i] = line.replace(": ", " \N{EN DASH} ")
        if not line.lstrip().startswith((">>>", "...")):
            parts = re.split(r"(``.*?``|`.*?`)", line)
            lines[i] = "".join(part if part.startswith("`") else SIGNS.sub(escaped, part) for part in parts)


def escaped(sign: re.Match) -> str:
    """A backslash before each of its characters."""
    return "".join(f"\\{character}" for character in sign.group())


def is_bare_field(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    """Leave out fields of named tuples, which the docstring of the tuple tells about."""
    return True if str(getattr(obj, "__doc__", "")).startswith("Alias for field number") else None


def exists(dotted: str) -> bool:
    """Whether a dotted name is a module or something in one.

    >>> exists("jax.numpy.sum"), exists("metarl.rules.nowhere")
    (True, False)
    """
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        for part in parts[end:]:
            if not hasattr(found, part):
                fields = getattr(found, "__annotations__", {})
                return part in fields
            found = getattr(found, part)
        return True
    return False


def without_page(app: Sphinx, env: object, node: nodes.Element, code: nodes.Element) -> nodes.Element | None:
    """Of a reference that leads nowhere: its text as code, if what it names exists."""
    target, module, within = node.get("reftarget", ""), node.get("py:module"), node.get("py:class")
    if node.get("refdomain") != "py":
        return None
    if not DOTTED.fullmatch(target):
        return code
    if target.startswith("jax."):  # how a type prints that jax has under another name
        return code
    parts = (module or "").split(".")
    homes = ["", "builtins.", *(".".join(parts[:end]) + "." for end in range(len(parts), 0, -1)), f"{module}.{within}."]
    return code if any(exists(home + target) for home in homes) else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", tidy, priority=400)
    app.connect("autodoc-skip-member", is_bare_field)
    app.connect("missing-reference", without_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
