"""What is communicated, counted in program texts and in a compiled program; and the model on top."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from experiments.benchmark import scaling
from experiments.benchmark.scaling import Traffic, all_reduce_seconds, message_bytes, traffic

LOOPED = """HloModule looped

%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%a, %b)
}

%body (carry: (s32[], f32[10])) -> (s32[], f32[10]) {
  %gradient = f32[10]{0} all-reduce(%x), to_apply=%add
  ROOT %next = (s32[], f32[10]{0}) tuple(%i, %gradient)
}

ENTRY %main (p: f32[10]) -> f32[10] {
  %known = (s32[], f32[10]{0}) while(%start), condition=%c, body=%body, backend_config={"known_trip_count":{"n":"3"}}
  %unknown = (s32[], f32[10]{0}) while(%known), condition=%c, body=%body
  %both = (f32[2,3]{1,0}, /*index=1*/s32[], pred[8]{0}) all-reduce(%y, %z, %w), to_apply=%add
  ROOT %last = f32[10]{0} get-tuple-element(%unknown), index=1
}
"""


def test_loops_count_as_often_as_they_turn():
    assert traffic(LOOPED, loop_turns=5) == Traffic(3 + 5 + 1, (3 + 5) * 40 + 24 + 4 + 8, True)
    assert not traffic(LOOPED.replace("%unknown = (s32[], f32[10]{0}) while(%known), condition=%c, body=%body", "")).loops


def test_bytes_of_shapes():
    assert message_bytes("f32[100,2]{1,0}") == 800
    assert message_bytes("(f32[], bf16[3]{0}, s32[])") == 4 + 6 + 4


def test_a_compiled_mean_over_tasks_is_one_message_of_its_size():
    mesh = Mesh(np.array(jax.devices()[:2]), ("tasks",))
    shared, spread = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("tasks",)))
    mean = jax.jit(lambda x: jnp.mean(x, axis=0), in_shardings=spread, out_shardings=shared)
    assert traffic(mean.lower(jnp.ones((4, 25))).compile().as_text()) == Traffic(1, 100, False)


def test_the_model():
    assert all_reduce_seconds(3, 1000, 1, 1.0, 1.0) == 0
    assert all_reduce_seconds(3, 1000, 8, 1e-3, np.inf) == pytest.approx(3 * 2 * 3 * 1e-3)
    assert all_reduce_seconds(1, 1000, 4, 0.0, 500.0) == pytest.approx(2 * 3 / 4 * 2)


@pytest.mark.slow
def test_the_command_counts_the_gradient_twice(capsys):
    """The meta-gradient, and the unit gradients of outer/grad_cosine; and eleven numbers besides."""
    scaling.main(["--num-tasks", "4", "--num-episodes", "3", "--horizon", "5", "--devices", "1", "2"])
    said = capsys.readouterr().out
    assert "maml: 10,604 meta-parameters, 120 environment steps" in said and f"{4 * (2 * 10_604 + 11):,} bytes" in said
