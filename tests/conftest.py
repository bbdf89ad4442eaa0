"""What all tests share: no network, no account, and exact arithmetic on request."""

import gc
import os
from pathlib import Path

HOME = Path(__file__).parent.parent

# Two test processes share two cores, and compiling costs more here than slower code: the older emitters of fused loops take a
# third of the newer ones' time to compile meta-gradients, without optimisation.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_cpu_multi_thread_eigen=false --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false "
    "--xla_cpu_parallel_codegen_split_count=1",
)
os.environ["WANDB_MODE"] = os.environ.get("METARL_TEST_WANDB_MODE", "disabled")
os.environ["JAX_PLATFORMS"] = os.environ.get("METARL_TEST_PLATFORMS", "cpu")  # another: experiments/benchmark/gpu/exact.py
os.environ["JAX_NUM_CPU_DEVICES"] = "4"  # whatever machine this is: runs share their tasks among devices
# Many tests compile the same small program; processes started by tests share the cache too.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent.parent / ".pytest_cache" / "jax"))
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"

import jax
import pytest

gc.set_threshold(100_000, 50, 100)  # tracing makes many small objects, and hardly any in circles


def pytest_collection_finish(session):
    """What is imported and collected by now stays; the garbage collector need not go through it again and again."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items):
    """The longest tests first, so that no process is left with one at the end."""
    items.sort(key=lambda item: "test_readme" not in item.nodeid)


@pytest.fixture
def float64():
    """Run one test in float64."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)
