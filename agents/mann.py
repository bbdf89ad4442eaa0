"""Black-box adaptation: a recurrent network reads the support set and predicts; no gradient at test time."""

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
from flax import linen as nn

from agents.agent import Agent, Bounds, Training
from agents.parts.gradient_learner import report
from agents.parts.problems import mean_squared_error
from agents.parts.world import World
from metarl import outer
from metarl.interfaces import AdaptationCurve, Experience, MetaLearner, MetaState


@dataclass(frozen=True)
class Mann:
    """A memory of the support set."""

    memory_size: Annotated[int, Bounds(1)] = 64  # ours
    """Size of the GRU's state."""


def mann(world: World, training: Training, own: Mann) -> MetaLearner:
    """Memory instead of gradient steps: a GRU reads the support set, and its state joins the input of a small network.

    After Santoro et al. 2016, with a plain recurrent state as the memory, which reads (x, y) pairs one after another. Its curve
    has the untouched state at step 0 and the state after reading the whole support set from step 1 on.
    """
    if isinstance(world.network, nn.RNNCellBase):
        raise ValueError("mann has a GRU as its memory; give it a network that maps inputs to features, for its predictions.")
    size = own.memory_size
    cell, head = nn.GRUCell(size), world.make_network(size)
    problem = world.make_problem(head)
    optimizer = training.optimizer(training.outer_lr)
    sample_query = problem.sample_query or problem.sample_batch

    def init(key):
        key_cell, key_head = jax.random.split(key)
        support = jax.eval_shape(lambda key: draw(world.sample_task(key), key), key).support
        cell_params = cell.init(key_cell, jnp.zeros(size), jnp.zeros(sum(part.shape[1] for part in support)))
        theta = {"cell": cell_params, "head": head.init(key_head)}
        return MetaState(theta, optimizer.init(theta), jnp.zeros((), jnp.int32))

    def read(theta, support):
        pairs = jnp.concatenate(support, axis=1)
        memory, _ = jax.lax.scan(lambda carry, pair: cell.apply(theta["cell"], carry, pair), jnp.zeros(size), pairs)
        return memory

    def mse(theta, memory, query):
        x, y = query
        return mean_squared_error(head.apply(theta["head"], x, memory), y)

    def draw(task, key):
        key_support, key_query = jax.random.split(key)
        return Experience(problem.sample_batch((), task, key_support), sample_query((), task, key_query))

    def one_task(theta, key):
        key_task, key_data = jax.random.split(key)
        support, query = draw(world.sample_task(key_task), key_data)

        def loss(theta):
            after = mse(theta, read(theta, support), query)
            before = mse(theta, jnp.zeros(size), query)
            return after, {"loss": after, "score": -jnp.stack([before, after])}

        grads, metrics = jax.grad(loss, has_aux=True)(theta)
        return grads, metrics | {"num_samples": jnp.asarray(support[0].shape[0] + query[0].shape[0])}

    def step(state, key):
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(training.num_tasks))
        grads, per_task = training.task_map(one_task)(state.theta, keys)
        state, outer_metrics = outer.optax_step(optimizer, state, grads)
        return state, report(per_task, 1) | outer_metrics

    def adapt_to(state, task, key, num_steps):
        support, query = draw(task, key)
        memory = read(state.theta, support)
        errors = jnp.stack([mse(state.theta, m, query) for m in (jnp.zeros(size), memory)])
        index = jnp.minimum(jnp.arange(num_steps + 1), 1)
        path = {"theta": jax.tree.map(lambda x: jnp.broadcast_to(x, (num_steps + 1, *x.shape)), state.theta)}
        path["memory"] = jnp.stack([jnp.zeros(size), memory])[index]
        repeated = jax.tree.map(lambda x: jnp.broadcast_to(x, (num_steps, *x.shape)), support)
        return AdaptationCurve(-errors[index], path, Experience(repeated, query), index * support[0].shape[0])

    def predict(path, task, x):
        del task
        return jax.vmap(head.apply, (0, None, 0))(path["theta"]["head"], x, path["memory"])

    return MetaLearner(init, step, adapt_to, predict)


MANN = Agent(mann, Mann, serves=("regression",), adapts_by="one batch")
