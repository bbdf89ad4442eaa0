"""A family that tells which of its functions gave the first number that is not finite, when given finite ones."""

import copy
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_leaves_with_path

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

    def look(functions: Sequence[tuple[str, str]], bad: np.ndarray, values: np.ndarray, task: Any) -> None:
        if notes or not np.any(bad):
            return
        *episode, which = np.argwhere(bad)[0].tolist()
        one = jax.tree.map(lambda x: np.asarray(x)[tuple(episode)], task)
        given = np.asarray(values)[tuple(episode)].ravel()
        name, part = functions[which]
        found = f"a state with nan{part}" if name in ("initial", "transition") else f"{given[~np.isfinite(given)][0]}"
        function = told(family, name)
        notes.append(f"{function} gives {found} on task {one}, where all that it is given is finite; mend it.")

    def through(functions: Sequence[tuple[str, str]], bad: Sequence[jax.Array], values: Any, task: Any) -> jax.Array:
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
                functions, bad = nan_in("initial", state, ~_any_nan(params))
                leaves[i] = through(functions, bad, leaf, params)
                break
        return jax.tree.unflatten(structure, leaves)

    def observation(state, rng, params):
        seen = family.observation(state, rng, params)
        sound = ~_any_nan((state, params))
        look_at = lambda leaf: through([("observation", "")], [~jnp.all(jnp.isfinite(leaf)) & sound], leaf, params)
        return jax.tree.map(look_at, seen)

    def reward(state, action, next_state, rng, params):
        earned = family.reward(state, action, next_state, rng, params)
        sound = ~_any_nan((state, action, params))
        functions, moved = nan_in("transition", next_state, sound)
        bad = sound & ~_any_nan(next_state) & ~jnp.all(jnp.isfinite(earned))
        return through([*functions, ("reward", "")], [*moved, bad], earned, params)

    def transition_info(state, action, next_state, params):
        info = dict(family.transition_info(state, action, next_state, params))
        sound = ~_any_nan((state, action, next_state, params))
        for measure in family.measures:
            bad = sound & ~jnp.all(jnp.isfinite(info[measure]))
            info[measure] = through([(f"transition_info, {measure!r},", "")], [bad], info[measure], params)
        return info

    copied = copy.copy(family)
    for function in (initial, observation, reward, *([transition_info] if family.measures else [])):
        setattr(copied, function.__name__, function)
    return copied, notes


def nan_in(function: str, state: Any, sound: jax.Array) -> tuple[list[tuple[str, str]], list[jax.Array]]:
    """Of each part of a state that holds floats: (function, where it is) and whether it has NaN where ``sound``."""
    found = [
        ((function, f" in its {keystr(path)}" if path else ""), sound & _any_nan(leaf))
        for path, leaf in tree_leaves_with_path(numbers(state))
        if jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.inexact)
    ]
    return [each for each, _ in found] or [(function, "")], [bad for _, bad in found] or [jnp.asarray(False)]


def _any_nan(tree: Any) -> jax.Array:
    floats = [leaf for leaf in map(jnp.asarray, jax.tree.leaves(numbers(tree))) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.any(jnp.stack([jnp.asarray(False), *(jnp.any(jnp.isnan(leaf)) for leaf in floats)]))
