"""How the wheel is made: the packages ``envs``, ``agents`` and ``experiments`` lie inside ``metarl`` there.

The sources say ``from envs.family import TaskFamily``; in the wheel's copies of them the same line says
``from metarl.envs.family import TaskFamily``. An editable install has the sources as they are.
"""

import ast
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOMS = ("envs", "agents", "experiments")  # as in _metarl_names.py
START = "_metarl_names.py"  # a module beside the package, and the line that makes Python import it when it starts
# A clone that was moved or removed stops nobody's Python.
EDITABLE_LINE = "import importlib.util as u; u.find_spec('_metarl_names') and __import__('_metarl_names').activate()\n"
START_LINE = "import _metarl_names; _metarl_names.activate()\n"


class CustomBuildHook(BuildHookInterface):
    """Tells hatchling what is in the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the wheel's files to a temporary folder and name each to hatchling."""
        self.folder = Path(tempfile.mkdtemp())
        if version == "editable":  # the packages are where they are; Python is to say who has their names, as in a wheel
            started = self.folder / "metarl-jax.pth"
            started.write_text(EDITABLE_LINE)
            build_data["force_include_editable"][str(started)] = started.name
            return
        root = Path(self.root)
        for room in ("metarl", *ROOMS):
            for path in sorted((root / room).rglob("*")):
                inside = path.relative_to(root)
                if path.is_file() and "__pycache__" not in inside.parts:
                    target = inside if room == "metarl" else Path("metarl") / inside
                    content = path.read_bytes()
                    self._add(build_data, target, renamed(content.decode()).encode() if path.suffix == ".py" else content)
        self._add(build_data, Path(START), (root / START).read_bytes())
        self._add(build_data, Path("metarl-jax.pth"), START_LINE.encode())

    def _add(self, build_data: dict[str, Any], target: Path, content: bytes) -> None:
        source = self.folder / target
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_bytes(content)
        build_data["force_include"][str(source)] = str(target)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the temporary folder."""
        shutil.rmtree(self.folder)


def renamed(source: str) -> str:
    """The source of a module whose imports of our packages say ``metarl.`` before their names; lines keep their numbers."""
    lines = source.encode().split(b"\n")
    statements = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    for node in sorted(statements, key=lambda node: (node.lineno, node.col_offset), reverse=True):
        assert node.end_lineno is not None and node.end_col_offset is not None
        line = lines[node.lineno - 1]
        before, statement = line[: node.col_offset].decode(), line[node.col_offset :].decode()
        if isinstance(node, ast.ImportFrom) and node.level == 0 and _ours(node.module or ""):
            lines[node.lineno - 1] = (before + re.sub(r"^from\s+", "from metarl.", statement)).encode()
        elif isinstance(node, ast.Import) and any(_ours(alias.name) for alias in node.names):
            assert node.lineno == node.end_lineno, f"line {node.lineno}: write the import on one line"
            after = line[node.end_col_offset :].decode()
            lines[node.lineno - 1] = (before + "; ".join(map(_import, node.names)) + after).encode()
    return b"\n".join(lines).decode()


def _ours(module: str) -> bool:
    return module.split(".")[0] in ROOMS


def _import(alias: ast.alias) -> str:
    """``import envs.family as name`` and its kin, of the wheel's modules, binding the name that it binds in the sources."""
    called = f" as {alias.asname}" if alias.asname else ""
    if not _ours(alias.name):
        return f"import {alias.name}{called}"
    first, _, rest = alias.name.partition(".")
    if not rest:
        return f"from metarl import {first}{called}"
    return f"import metarl.{alias.name}{called}" + ("" if called else f"; from metarl import {first}")
