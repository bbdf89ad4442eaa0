"""Libraries that take long to import, and that most commands need late or not at all."""

import functools
import importlib
from collections.abc import Callable
from typing import Any


class Later:
    """A library's module that is imported when something of it is first asked for.

    >>> Later("math").sqrt(4.0)
    2.0
    """

    def __init__(self, name: str, prepare: Callable[[], None] = lambda: None):
        """``prepare`` is called once, before the import."""
        self._name, self._prepare = name, functools.cache(prepare)

    def __getattr__(self, name: str) -> Any:
        """What the module has under a name."""
        if name.startswith("__"):  # asked for by whoever looks at the object, such as a documentation tool
            raise AttributeError(name)
        self._prepare()
        return getattr(importlib.import_module(self._name), name)
