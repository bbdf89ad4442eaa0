"""A family that tells which of its functions gave the first number that is not finite, when given finite ones."""

import copy
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.family import TaskFamily, told
from envs.keys import is_key, numbers


def watched(family: TaskFamily) -> tuple[TaskFamily, list[str]]:
    """A copy of a family with the same numbers, and a list to which its use adds one line: where the first bad number came
    from.

    A function is blamed where its observation, reward or measure is not finite, or its state holds NaN, while state, action and
    task that it was given are sound. So a policy that has diverged, and gives NaN as action, blames nobody.

    Args:
        family: written in JAX. Every step of its copy calls the host.
    """
    notes: list[str] = []

    def look(functions: Sequence[str], bad: np.ndarray, values: np.ndarray, task: Any) -> None:
        if notes or not np.any(bad):
            return
        *episode, which = np.argwhere(bad)[0].tolist()
        one = jax.tree.map(lambda x: np.asarray(x)[tuple(episode)], task)
        given = np.asarray(values)[tuple(episode)].ravel()
        of_state = functions[which] in ("initial", "transition")
        found = "a state with nan" if of_state else f"{given[~np.isfinite(given)][0]}"
        function = told(family, functions[which])
        notes.append(f"{function} gives {found} on task {one}, where all that it is given is finite; mend it.")

    def through(functions: Sequence[str], bad: Sequence[jax.Array], values: Any, task: Any) -> jax.Array:
        """``values`` by way of the host."""

        def on_host(bad, values, task):
            look(functions, np.asarray(bad), np.asarray(values), task)
            return np.asarray(values)

        values = jnp.asarray(values)
        like = jax.ShapeDtypeStruct(values.shape, values.dtype)
        return jax.pure_callback(on_host, like, jnp.stack(bad), values, numbers(task), vmap_method="broadcast_all")

    def initial(rng, params):
        state = family.initial(rng, params)
        leaves, structure = jax.tree.flatten(state)
        for i, leaf in enumerate(leaves):
            if not is_key(leaf):
                leaves[i] = through(["initial"], [_any_nan(state) & ~_any_nan(params)], leaf, params)
                break
        return jax.tree.unflatten(structure, leaves)

    def observation(state, rng, params):
        seen = family.observation(state, rng, params)
        sound = ~_any_nan((state, params))
        look_at = lambda leaf: through(["observation"], [~jnp.all(jnp.isfinite(leaf)) & sound], leaf, params)
        return jax.tree.map(look_at, seen)

    def reward(state, action, next_state, rng, params):
        earned = family.reward(state, action, next_state, rng, params)
        sound = ~_any_nan((state, action, params))
        moved = sound & _any_nan(next_state)
        bad = sound & ~_any_nan(next_state) & ~jnp.all(jnp.isfinite(earned))
        return through(["transition", "reward"], [moved, bad], earned, params)

    def transition_info(state, action, next_state, params):
        info = dict(family.transition_info(state, action, next_state, params))
        sound = ~_any_nan((state, action, next_state, params))
        for measure in family.measures:
            bad = sound & ~jnp.all(jnp.isfinite(info[measure]))
            info[measure] = through([f"transition_info, {measure!r},"], [bad], info[measure], params)
        return info

    copied = copy.copy(family)
    for function in (initial, observation, reward, *([transition_info] if family.measures else [])):
        setattr(copied, function.__name__, function)
    return copied, notes


def _any_nan(tree: Any) -> jax.Array:
    floats = [leaf for leaf in map(jnp.asarray, jax.tree.leaves(numbers(tree))) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.any(jnp.stack([jnp.asarray(False), *(jnp.any(jnp.isnan(leaf)) for leaf in floats)]))
