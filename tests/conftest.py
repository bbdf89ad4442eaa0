"""What all tests share: no network, no account, and exact arithmetic on request."""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")  # two test processes share two cores
os.environ["WANDB_MODE"] = os.environ.get("METARL_TEST_WANDB_MODE", "disabled")
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import pytest


@pytest.fixture
def float64():
    """Run one test in float64."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)
