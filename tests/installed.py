"""The wheel, and clean environments to install it into: they see the packages of the test's own environment, no checkout."""

import csv
import io
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

HOME = Path(__file__).parent.parent
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
OFFLINE = ["--quiet", "--no-deps", "--no-index"]


def checked(command, **options):
    """The output of a command that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def built(folder):
    """The wheel of this checkout."""
    checked([*PIP, "wheel", *OFFLINE, "--no-build-isolation", "--wheel-dir", str(folder), str(HOME)])
    [wheel] = folder.glob("*.whl")
    return wheel


def stranger(folder, name, files):
    """The wheel of somebody else's distribution, from its files as path -> text."""
    info = f"{name.replace('-', '_')}-9.9.dist-info"
    files = files | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.9\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = io.StringIO()
    csv.writer(record).writerows([(path, "", "") for path in [*files, f"{info}/RECORD"]])
    wheel = folder / f"{name.replace('-', '_')}-9.9-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in (files | {f"{info}/RECORD": record.getvalue()}).items():
            archive.writestr(path, text)
    return wheel


class Environment:
    """A virtual environment."""

    def __init__(self, folder, *wheels):
        self.folder = folder
        checked([sys.executable, "-m", "venv", "--without-pip", str(folder)])
        self.python = folder / "bin" / "python"
        self.site = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
        self.before = set(os.listdir(self.site))
        for wheel in wheels:
            self.install(wheel)
        self.installed = set(os.listdir(self.site)) - self.before
        # Of a folder named so, Python reads no .pth files: an editable install there is not seen.
        (self.site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def pip(self, *arguments):
        checked([*PIP, "--python", str(self.python), *arguments])

    def install(self, wheel):
        self.pip("install", *OFFLINE, "--force-reinstall", str(wheel))

    def run(self, folder, *command, **more):
        """A command of the environment, or with "-c" and "-m" its Python; from a folder, as a user without our settings."""
        program = [str(self.python)] if command[0].startswith("-") else [str(self.folder / "bin" / command[0])]
        rest = command if command[0].startswith("-") else command[1:]
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | more
        return subprocess.run(
            [*program, *map(str, rest)], cwd=folder, env=environ, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
