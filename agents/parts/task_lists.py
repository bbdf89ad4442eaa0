"""Training tasks from a list that are drawn together: without replacement, or by the weights of a curriculum.

Agents take such a list from the family they are trained on, see `envs.task_lists.TaskList`. What a curriculum reads is carried
beside the optimiser's state. Where tasks are drawn one by one there is nothing here to do.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metarl.interfaces import Key, MetaState, Task, Tree

LAST = -1e4  # logarithm of a weight of 0: far below any weight's, near enough for chance to order several of them
STREAM = 0x7A5C11  # folded into a meta-iteration's key, beyond the number of any task
RECENT = 0.3  # weight of the newest return of a task in its average; our choice


class Beside(NamedTuple):
    """An optimiser's state, and what training has seen of the tasks of a list."""

    opt_state: Tree
    progress: Any


class Fixed(NamedTuple):
    """Different tasks of a list that an agent has drawn by itself; the fields of `envs.task_lists.TaskList`."""

    tasks: Task
    weights: Any = None
    distinct: bool = True
    curriculum: Any = None


def fixed(sample_task: Callable[[Key], Task], number: int, key: Key) -> Fixed:
    """A list of ``number`` tasks, drawn now and once."""
    with jax.ensure_compile_time_eval():
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(number))
        return Fixed(jax.vmap(sample_task)(keys))


def of_training(agent: str, world: Any, num_tasks: int, number: int, usual: int, key: Key) -> Any:
    """The fixed tasks of an agent's training, of which a meta-iteration draws different ones: the family's list, or its own.

    Args:
        agent: who asks, for messages.
        world: a `agents.parts.world.World` of reinforcement learning.
        num_tasks: M, that must be there.
        number: how many to draw where the family has no list, the agent's num_train_tasks; 0 if nobody said.
        usual: how many then.
        key: that they are drawn with.

    Raises:
        ValueError: a number and a list, or fewer tasks than M.
    """
    if world.train_list is not None:
        if number:
            raise ValueError(f"{agent}: num_train_tasks is {number}, but the family has a list of its own; leave one out.")
        listed = world.train_list._replace(distinct=True)
    else:
        listed = fixed(world.rollouts.trained_on.sample_task, number or usual, key)
    there = size(listed) if listed.weights is None else int((listed.weights > 0).sum())
    if there < num_tasks:
        more = "give a longer list" if world.train_list is not None else "raise num_train_tasks"
        raise ValueError(f"{agent}: num_tasks is {num_tasks}, but it trains on {there} fixed tasks; lower it, or {more}.")
    return listed


def drawn_together(family: Any, num_tasks: int) -> Any:
    """The family's list, if its tasks are drawn together; else None.

    Raises:
        ValueError: it has fewer tasks than a meta-iteration must have different ones.
    """
    listed = getattr(family, "train_list", None)
    if listed is None or not (listed.distinct or listed.curriculum):
        return None
    there = size(listed) if listed.weights is None else int((listed.weights > 0).sum())
    if listed.distinct and there < num_tasks:
        raise ValueError(
            f"num_tasks is {num_tasks}, but the list has {there} tasks to draw different ones from; lower it, or "
            "draw them with replacement."
        )
    return listed


def size(listed: Any) -> int:
    """L."""
    return jax.tree.leaves(listed.tasks)[0].shape[0]


def begun(listed: Any, state: MetaState) -> MetaState:
    """A learner's first state, with what a curriculum reads beside that of its optimiser."""
    if listed is None or listed.curriculum is None:
        return state
    nothing, never = jnp.zeros(size(listed)), jnp.full(size(listed), -1, jnp.int32)
    progress = (nothing, nothing, jnp.zeros(size(listed), jnp.int32), never)
    return state._replace(opt_state=Beside(state.opt_state, progress))


def opened(state: MetaState) -> tuple[MetaState, Any]:
    """A state as the learner itself knows it, and what there was beside its optimiser's; None if nothing."""
    if not isinstance(state.opt_state, Beside):
        return state, None
    return state._replace(opt_state=state.opt_state.opt_state), state.opt_state.progress


def draw(listed: Any, key: Key, num_tasks: int, iteration: jax.Array, progress: Any) -> tuple[jax.Array, Task]:
    """Indices [M] into the list, and the tasks, leaves [M, ...]."""
    key = jax.random.fold_in(key, STREAM)
    weights = jnp.ones(size(listed)) if listed.weights is None else jnp.asarray(listed.weights, float)
    if listed.curriculum is not None:
        given = jnp.asarray(listed.curriculum(iteration, listed.read(progress)), float)
        given = jnp.where(jnp.isfinite(given) & (given > 0), given, 0.0)
        weights = jnp.where(jnp.any(given > 0), given, weights)
    logits = jnp.log(weights)
    if listed.distinct:  # the largest of perturbed weights: one after another, without those that were taken (Yellott 1977)
        # Where a curriculum gives fewer tasks a weight than are drawn, the rest is drawn alike from the others.
        _, index = jax.lax.top_k(jnp.maximum(logits, LAST) + jax.random.gumbel(key, logits.shape), num_tasks)
    else:
        index = jax.random.categorical(key, logits, shape=(num_tasks,))
    return index, jax.tree.map(lambda leaf: jnp.asarray(leaf)[index], listed.tasks)


def closed(state: MetaState, progress: Any, index: jax.Array | None, score: Any, iteration: jax.Array) -> MetaState:
    """The learner's new state with what the tasks [M] of ``index`` showed beside it.

    Args:
        state: after the meta-iteration, as the learner itself knows it.
        progress: what was carried beside it; None if nothing is.
        index: of the tasks, into the list.
        score: [M, K+1], their returns.
        iteration: the number of this meta-iteration.
    """
    if progress is None:
        return state
    before, after, visits, last = progress
    count = jnp.zeros(visits.shape).at[index].add(1.0)
    seen = count > 0

    def averaged(old: jax.Array, new: jax.Array) -> jax.Array:
        mean = jnp.zeros(old.shape).at[index].add(new) / jnp.maximum(count, 1.0)
        return jnp.where(seen, jnp.where(visits == 0, mean, old + RECENT * (mean - old)), old)

    before, after = averaged(before, score[:, 0]), averaged(after, score[:, -1])
    new = (before, after, visits + seen, jnp.where(seen, iteration, last))
    return state._replace(opt_state=Beside(state.opt_state, new))
