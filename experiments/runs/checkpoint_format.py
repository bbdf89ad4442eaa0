"""What a checkpoint holds: the arrays to continue from, and a description that tells a sound and a fitting one from others."""

import hashlib
import json
from typing import Any, NamedTuple

import jax
import numpy as np

FORMAT = 1  # of the description
SHOWN = 3  # differences that a message names


class RunIdentity(NamedTuple):
    """Whose checkpoints they are.

    Attributes:
        agent: its name.
        env: its tasks.
        wandb_id: of the wandb run that a resumed run goes on with.
        seed: iteration i draws from the seed's key with i folded in.
    """

    agent: str
    env: str
    wandb_id: str
    seed: int


def keys_of(seed: int) -> tuple[jax.Array, jax.Array]:
    """The key of a run's initial state, and the key that iteration i folds i into."""
    key_init, key_steps = jax.random.split(jax.random.key(seed))
    return key_init, key_steps


def arrays(iteration: int, state: Any, env_steps: int, identity: RunIdentity) -> dict[str, Any]:
    """All that training goes on from, as NumPy arrays."""
    return {
        "state": jax.tree.map(np.asarray, state),
        "iteration": np.asarray(iteration, np.int64),
        "env_steps": np.asarray(env_steps, np.int64),
        "key": key_data(identity.seed),
    }


def key_data(seed: int) -> np.ndarray:
    """The bits of the key that iterations are folded into."""
    return np.asarray(jax.random.key_data(keys_of(seed)[1]))


def like(learner: Any) -> dict[str, Any]:
    """Arrays of the shapes that a learner's checkpoint has."""
    state = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), jax.eval_shape(learner.init, jax.random.key(0)))
    counts = {name: np.empty((), np.int64) for name in ("iteration", "env_steps")}
    return {"state": state, **counts, "key": np.empty_like(key_data(0))}


def describe(content: dict[str, Any], identity: RunIdentity) -> dict[str, Any]:
    """The description stored beside the arrays. ``checksum`` is that of the arrays, ``digest`` that of the description."""
    about = {"format": FORMAT, **identity._asdict(), "arrays": shapes(content), "checksum": checksum(content)}
    return about | {"digest": digest(about)}


def checksum(content: dict[str, Any]) -> str:
    """SHA-256 of all array bytes. The storage library by itself does not notice every changed byte."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(content):
        found.update(np.asarray(leaf).tobytes())
    return found.hexdigest()


def digest(about: dict[str, Any]) -> str:
    """SHA-256 of a description, but for its own digest."""
    rest = {name: value for name, value in about.items() if name != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def shapes(content: dict[str, Any]) -> dict[str, str]:
    """Path -> type and shape, such as ``state/theta/params/Dense_0/kernel`` -> ``float32[2, 100]``."""
    leaves = jax.tree_util.tree_leaves_with_path(content)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{np.asarray(leaf).dtype}{list(np.shape(leaf))}"
        for path, leaf in leaves
    }


def difference(then: dict[str, str], now: dict[str, str]) -> str:
    """What differs between the arrays of a checkpoint and those of a learner, in a few words; empty if nothing does."""
    found = [f"{path} is {then[path]} there and {now[path]} here" for path in then if path in now and then[path] != now[path]]
    found += [f"{path} {then[path]} is only there" for path in then if path not in now]
    found += [f"{path} {now[path]} is only here" for path in now if path not in then]
    more = f", and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(found[:SHOWN]) + more
