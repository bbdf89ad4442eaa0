"""Counts of operations against counts by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.training.cost import THREEFRY, Cost, count, interface_bytes

N, I, H, O = 7, 3, 5, 2


def forward(params, x):
    (w1, b1), (w2, b2) = params
    return jnp.tanh(x @ w1 + b1) @ w2 + b2


PARAMS = [(jnp.ones((I, H)), jnp.ones(H)), (jnp.ones((H, O)), jnp.ones(O))]
X = jnp.ones((N, I))
FORWARD = 2 * N * (I * H + H * O)


def test_a_network_forward():
    cost = count(forward, PARAMS, X)
    assert cost.matmul == FORWARD
    assert cost.transcendental == N * H
    assert cost.elementwise == N * H + N * O  # the biases
    assert cost.product_bytes == 4 * (N * I + I * H + N * H + N * H + H * O + N * O)


def test_a_network_and_its_gradient():
    cost = count(jax.grad(lambda p, x: jnp.sum(forward(p, x))), PARAMS, X)
    first, second = 2 * N * I * H, 2 * N * H * O
    # Forward of the first layer alone, as the value is not asked for; backward two products in the second layer, one in the
    # first, whose input has no gradient.
    assert cost.matmul == first + 2 * second + first
    assert cost.transcendental == N * H


def test_a_scan_counts_its_length_and_xla_counts_its_body_once():
    def repeated(w, x):
        return jax.lax.scan(lambda x, _: (jnp.tanh(x @ w), None), x, None, length=10)[0]

    w, x = jnp.ones((H, H)), jnp.ones((N, H))
    cost = count(repeated, w, x)
    assert (cost.matmul, cost.transcendental) == (10 * 2 * N * H * H, 10 * N * H)
    analysis = jax.jit(repeated).lower(w, x).compile().cost_analysis()
    assert analysis["flops"] < 0.2 * cost.total


def test_vmap_multiplies():
    many = jax.vmap(forward, (None, 0))
    assert count(many, PARAMS, jnp.ones((4, N, I))) == Cost(*(4 * x for x in count(forward, PARAMS, X)))._replace(
        product_bytes=4 * 4 * (N * I + N * H + N * H + N * O) + 4 * (I * H + H * O)  # weights are shared
    )
    each = jax.vmap(forward)
    per_task = jax.tree.map(lambda leaf: jnp.ones((4, *leaf.shape)), PARAMS)
    assert count(each, per_task, jnp.ones((4, N, I))) == count(forward, PARAMS, X).times(4)


def test_what_nobody_reads_is_left_out():
    def wasteful(x):
        def step(x, _):
            unused = jnp.exp(x @ x)
            return x + 1.0, unused

        return jax.lax.scan(step, x, None, length=3)[0]

    assert count(wasteful, jnp.ones((4, 4))) == Cost(elementwise=3 * 16)


def test_branches_loops_and_calls():
    x = jnp.ones(8)
    assert count(lambda x: jax.lax.cond(x[0] > 0, jnp.sin, lambda x: jnp.sin(jnp.cos(x)), x), x).transcendental == 16
    once = count(lambda x: jax.lax.while_loop(lambda x: x[0] < 5, lambda x: x + jnp.exp(x), x), x)
    assert once.transcendental == 8
    assert count(jax.jit(jax.checkpoint(jnp.sin)), x) == Cost(transcendental=8)
    assert count(jax.nn.relu, x).elementwise == 8  # a custom derivative
    called = count(lambda x: jax.pure_callback(np.asarray, jax.ShapeDtypeStruct(x.shape, x.dtype), x), x)
    assert called == Cost(calls_out=1)


def test_a_linear_system():
    def solve(a, b):
        return jax.scipy.linalg.solve(a, b, assume_a="pos")

    cost = count(solve, jnp.eye(6), jnp.ones(6))
    assert cost.matmul == pytest.approx(6**3 / 3 + 2 * 6 * 6)  # Cholesky and two triangular systems


def test_random_words():
    key = jax.random.key(0)
    assert count(lambda key: jax.random.bits(key, (10,)), key).random == 10 * THREEFRY / 2
    assert count(lambda key: jax.random.fold_in(key, 1), key).random == THREEFRY
    assert count(lambda key: jax.random.split(key, 3), key).random == 3 * THREEFRY


def test_shards_add_up():
    mesh = jax.make_mesh((1,), ("tasks",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("tasks")
    sharded = jax.shard_map(jnp.sin, mesh=mesh, in_specs=spec, out_specs=spec)
    assert count(sharded, jnp.ones(8)) == Cost(transcendental=8)


def test_bytes_of_the_interface():
    assert interface_bytes(forward, PARAMS, X) == 4 * (I * H + H + H * O + O + N * I + N * O)
    assert interface_bytes(lambda key: key, jax.random.key(0)) == 16
