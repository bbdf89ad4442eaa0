"""What a device can do at most, measured: matrix products, elementwise operations, transcendentals, memory bandwidth.

Each is a small program that does one thing many times on every local device, timed; the best of several tries counts, because
a ceiling is what nothing gets above. Read `floor` for how they bound a program.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.benchmark.timing import length, per_iteration
from experiments.training.cost import Cost

CACHED = 2**12  # numbers that fit into a core's first cache, on a CPU
LARGE = 2**25  # numbers that fit into no cache: 128 MiB
CHAINS, CHAIN = 8, 16  # multiply-adds on a number once it is loaded: chains that do not wait for one another, and their length


class Ceilings(NamedTuple):
    """Rates per second.

    Attributes:
        matmul: operations of large products of matrices.
        matmul_of_work: the same at shapes of the work, name -> operations per second.
        elementwise: operations, a fused multiply-add as two.
        transcendental: values, the faster of tanh and exp.
        tanh: values.
        exp: values.
        bandwidth: bytes to and from memory.
    """

    matmul: float
    matmul_of_work: dict[str, float]
    elementwise: float
    transcendental: float
    tanh: float
    exp: float
    bandwidth: float


def measure(shapes: dict[str, tuple[int, int, int, int]], *, seconds: float = 0.2, tries: int = 3) -> Ceilings:
    """All ceilings of the local devices together.

    Args:
        shapes: name -> (batch, rows, depth, columns) of matrix products of the work.
        seconds: how long each try takes, about.
        tries: of which the best counts.
    """
    on_cpu = jax.default_backend() == "cpu"
    width = CACHED if on_cpu else LARGE

    def best(work: float, make: Callable, *like: Any) -> float:
        return _best(work, make, like, seconds, tries)

    def product(batch: int, rows: int, depth: int, columns: int) -> float:
        left, right = jnp.ones((batch, rows, depth)), jnp.full((batch, depth, columns), 1.0 / depth)
        return best(2.0 * batch * rows * depth * columns, _product, left, right)

    big = 1024 if on_cpu else 8192
    x = jnp.linspace(0.1, 0.9, width)
    tanh, exp = best(width, _repeat(jnp.tanh), x), best(width, _repeat(lambda x: jnp.exp(-x)), x)
    work = {name: product(*shape) for name, shape in shapes.items()}
    return Ceilings(
        matmul=max(product(1, big, big, big), *work.values()) if work else product(1, big, big, big),
        matmul_of_work=work,
        elementwise=best(2.0 * CHAINS * CHAIN * width, _repeat(_polynomials), x),
        transcendental=max(tanh, exp),
        tanh=tanh,
        exp=exp,
        # Many passes per call: memory that is new to the process comes slowly.
        bandwidth=_best(8.0 * LARGE, _repeat(lambda x: x + 1.0), (jnp.zeros(LARGE),), 4 * seconds, tries),
    )


def floor(cost: Cost, ceilings: Ceilings, interface_bytes: int) -> dict[str, Any]:
    """The least time that ``cost`` can take on the device, in seconds.

    Model: each resource at its measured ceiling. On a CPU products, elementwise operations and transcendentals share the
    cores' vector units, so their times add; on a GPU they may overlap, so the largest counts. Memory may overlap with either:
    the larger counts. Its bytes are those of arguments and results alone: the rest may stay in caches.
    """
    parts = {
        "matmul": cost.matmul / ceilings.matmul,
        "elementwise": cost.elementwise / ceilings.elementwise,
        "transcendental": cost.transcendental / ceilings.transcendental,
    }
    memory = interface_bytes / ceilings.bandwidth
    largest, added = max(*parts.values(), memory), max(sum(parts.values()), memory)
    add = jax.default_backend() == "cpu"
    return {
        "seconds": added if add else largest,
        "model": "sum over products, elementwise and transcendental" if add else "largest resource",
        "parts": parts | {"memory": memory},
        "largest": largest,
        "added": added,
    }


def _best(work: float, make: Callable, like: tuple[Any, ...], seconds: float, tries: int) -> float:
    """The best rate of ``make(*arrays, count)``, every local device doing the same."""
    devices = jax.local_devices()
    compiled = jax.jit(make)
    inputs = [jax.device_put(like, device) for device in devices]

    def run(count: int) -> Any:
        return jax.block_until_ready([compiled(*arrays, count) for arrays in inputs])

    count = length(run, seconds)
    return len(devices) * work / min(per_iteration(run, count) for _ in range(tries))


def _product(left: jax.Array, right: jax.Array, count: jax.Array) -> jax.Array:
    def step(_: Any, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        _, scale = carry
        # An operand that depends on the last result, so that no product is taken out of the loop.
        result = left @ (right * scale)
        return result, 1.0 + 0.0 * result[0, 0, 0]

    like = jnp.zeros((left.shape[0], left.shape[1], right.shape[2]))
    return jax.lax.fori_loop(0, count, step, (like, jnp.ones(())))[0]


def _polynomials(x: jax.Array) -> jax.Array:
    values = [x + i for i in range(CHAINS)]
    for _ in range(CHAIN):
        values = [value * x + 0.25 for value in values]
    return 1e-3 * sum(values, jnp.zeros_like(x))


def _repeat(function: Callable) -> Callable:
    def repeated(x: jax.Array, count: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, count, lambda _, x: function(x), x)

    return repeated
