"""The exact tests of the core and of the agents, on this device."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from experiments.benchmark.gpu.records import record

TESTS = (
    "tests/metarl/test_meta_gradients.py",
    "tests/metarl/test_surrogates.py",
    "tests/metarl/test_trust_region.py",
    "tests/metarl/test_advantages.py",
    "tests/metarl/test_outer.py",
    "tests/metarl/test_trial.py",
    "tests/metarl/test_ppo.py",
    "tests/agents/test_inner_objective.py",
    "tests/agents/test_e_maml.py",
)
FEW = TESTS[4:5]
HOME = Path(__file__).parents[3]


def exact(out: Path, seconds: float, quick: bool) -> None:
    """Run pytest on the device, in float64 where the tests ask for it and in float32 elsewhere, and write what it counted."""
    tests = FEW if quick else TESTS
    if not all((HOME / test).is_file() for test in tests):
        record(out, {"left_out": f"the tests are not in {HOME}: this part needs a checkout"})
        return
    at_once = ["-n", "0" if quick else "4"]
    command = [sys.executable, "-m", "pytest", *at_once, "-p", "no:cacheprovider", "--tb=line", *tests]
    environment = os.environ | {"METARL_TEST_PLATFORMS": os.environ.get("JAX_PLATFORMS", ""), "PYTHONUNBUFFERED": "1"}
    environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # several processes share the device
    log = out.parent / "exact.log"
    with log.open("w") as lines:
        try:
            code = subprocess.run(command, cwd=HOME, env=environment, stdout=lines, stderr=lines, timeout=seconds).returncode
        except subprocess.TimeoutExpired:
            code = None
    record(out, {"exit_code": code, "finished": code is not None} | counted(log.read_text()))


def counted(said: str) -> dict[str, Any]:
    """The line in which pytest counts, as numbers, and the names of tests that failed."""
    last = ([line for line in said.splitlines() if re.search(r"\d+ \w+.* in [\d.]+s", line)] or [""])[-1]
    numbers = {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|skipped|errors?)", last)}
    return numbers | {"failures": re.findall(r"^(?:FAILED|ERROR) (\S+)", said, flags=re.MULTILINE)}
