"""What to carry to a machine that has JAX for its accelerator, and no package index."""

import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement

from experiments.cli.errors import UserError

ROOTS = ("metarl-jax[mujoco]", "pytest", "pytest-xdist")
JAX_ALONE = ("jax", "jaxlib", "numpy", "scipy", "ml-dtypes", "opt-einsum")
PLATFORMS = tuple(f"manylinux{tag}_x86_64" for tag in ("_2_28", "_2_27", "_2_17", "2014", "_2_34", "_2_31", "_2_24", "1"))


def pack(folder: Path, present: tuple[str, ...], python: str) -> None:
    """Download the wheels of this environment's versions of all that is needed beside ``present``, and list them.

    Raises:
        UserError: one has no wheel for that Python on Linux (x86-64), or ``python`` is no version.
    """
    python = python or f"{sys.version_info.major}.{sys.version_info.minor}"
    if not re.fullmatch(r"3\.\d+", python):
        raise UserError(f"--python is {python!r}; give a version such as 3.12.")
    folder.mkdir(parents=True, exist_ok=True)
    wanted = sorted(needed(ROOTS, {name_of(name) for name in present}, python))
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    command += ["--disable-pip-version-check", "--python-version", python, "--implementation", "cp"]
    command += [word for tag in PLATFORMS for word in ("--platform", tag)]
    done = subprocess.run(
        [*command, *(f"{name}=={importlib.metadata.version(name)}" for name in wanted)], capture_output=True, text=True
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["nothing said"])[-1]
        raise UserError(f"not every wheel was found for Python {python} on Linux (x86-64): {said}")
    wheels = sorted(folder.glob("*.whl"))
    refuse_others(folder, wheels)
    lines = [f"{wheel.name}  {wheel.stat().st_size / 2**20:.1f} MiB" for wheel in wheels]
    whole = sum(wheel.stat().st_size for wheel in wheels) / 2**20
    lines.append(f"{len(wheels)} wheels, {whole:.1f} MiB, for Python {python} beside {', '.join(present)}")
    (folder / "PACKED.txt").write_text("\n".join(lines) + "\n")
    print(f"{lines[-1]}: {folder}")
    print(f"there, in this checkout: bash experiments/benchmark/gpu.sh {folder} OUT")


def refuse_others(folder: Path, wheels: list[Path]) -> None:
    """Refuse a folder that holds wheels of before, which would be installed as well.

    Raises:
        UserError: a distribution lies there in two versions.
    """
    names = [name_of(wheel.name.partition("-")[0]) for wheel in wheels]
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise UserError(f"{folder} now holds {twice[0]} in two versions; give --pack an empty folder.")


def needed(roots: tuple[str, ...], present: set[str], python: str) -> set[str]:
    """Names of the distributions that ``roots`` need, by what those installed here ask for, without ``present`` and metarl."""
    found: set[str] = set()
    seen: set[str] = set()
    todo = [Requirement(root) for root in roots]
    while todo:
        requirement = todo.pop()
        name = name_of(requirement.name)
        if name in present or str(requirement) in seen:
            continue
        seen.add(str(requirement))
        found.add(name)
        todo += _asked_for(requirement, python)
    return found - {name_of("metarl-jax")}


def _asked_for(requirement: Requirement, python: str) -> Iterator[Requirement]:
    """What a distribution with these extras asks for on Linux (x86-64)."""
    there: dict[str, str] = {
        **{name: str(value) for name, value in default_environment().items()},
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
    }
    try:
        asked = importlib.metadata.requires(requirement.name) or []
    except importlib.metadata.PackageNotFoundError:
        raise UserError(f"{requirement.name} is not installed here, so what it needs is not known; pip install it.") from None
    for line in asked:
        other = Requirement(line)
        extras = requirement.extras or {""}
        if other.marker is None or any(other.marker.evaluate(there | {"extra": extra}) for extra in extras):
            yield other


def name_of(name: str) -> str:
    """As package indexes normalise names."""
    return re.sub(r"[-_.]+", "-", name).lower()
