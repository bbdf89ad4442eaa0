"""A trained agent's policy as a file that needs none of this code: NumPy arrays, or a StableHLO program of `jax.export`.

``docs/export.md`` has a reader of the arrays that needs NumPy alone, and says how the program is called.
"""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Discrete

import envs
from agents.parts.action_units import ToBox
from agents.parts.networks import MIN_LOG_STD
from agents.parts.normalization import LIMIT
from envs.optional import require
from experiments.cli.errors import UserError
from experiments.evaluation.actor import Standing
from experiments.evaluation.trained import Adapted, Trained, standing
from experiments.runs.folder import write_json
from metarl.interfaces import AdaptationCurve, Task, unchanged

FORMAT_VERSION = 1
FORMATS = ("npz", "stablehlo")
PLATFORMS = ("cpu", "cuda", "tpu")
ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0)}
TRIED = 32  # observations on which arrays must give what the agent gives, before they are written
CLOSE = 1e-5
ELSE = 'write it with format "stablehlo" (--format stablehlo)'


def export(
    agent: Trained,
    path: str | Path,
    *,
    after: AdaptationCurve | Adapted | None = None,
    step: int = -1,
    task: Task = None,
    format: str = "npz",
) -> Path:
    """Write an agent's policy to a file.

    Args:
        agent: of `load`, `trained` or `pretrained`.
        path: where.
        after: adapted to a task, ``agent.adapt(task)``, or to recorded episodes, ``agent.adapt_from(...)``; before any
            adaptation if None.
        step: of the curve, if ``after`` is one.
        task: for agents that see it, where there is no curve.
        format: "npz", for MLP policies without memory, or "stablehlo", for any; a StableHLO program has a description of its
            arguments beside it, in ``path`` with ".json" behind.

    Raises:
        UserError: an agent that does not act, or whose policy the format cannot hold.

    Returns:
        The path.
    """
    path = Path(path)
    if format not in FORMATS:
        raise UserError(f"format is {format!r}; known: {', '.join(FORMATS)}.")
    if isinstance(after, Adapted):
        start = Standing(after.params, after.memory, after.num_steps)
    else:
        start = standing(agent.family, agent.learner, agent.state, after, step, task)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if format == "npz":
            arrays: dict[str, Any] = arrays_of(agent, start)
            with open(path, "wb") as file:  # np.savez would put another ending behind the name
                np.savez(file, **arrays)
        else:
            artifact, arguments = program_of(agent, start)
            path.write_bytes(artifact)
            write_json(path.with_name(path.name + ".json"), {**_described(agent, start), **arguments})
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}.") from error
    return path


def _about(agent: Trained, start: Standing) -> dict[str, Any]:
    config = agent.config
    return {
        "format_version": FORMAT_VERSION,
        "env": type(agent.family).__name__ if config is None else config.env,
        "agent": "" if config is None else config.agent,
        "iteration": agent.iteration,
        "env_steps": agent.env_steps,
        "num_steps": start.num_steps,
    }


def _described(agent: Trained, start: Standing) -> dict[str, Any]:
    """The same and the spaces, for JSON."""
    family: Any = agent.family
    spaces: dict[str, Any] = {"observation_space": family.observation_space, "action_space": family.action_space}
    return _about(agent, start) | {name: " ".join(str(space).split()) for name, space in spaces.items()}


# Arrays.


class _MLP(NamedTuple):
    """What the arrays hold of a policy: dense layers, on normalised observations."""

    layers: list[tuple[np.ndarray, np.ndarray]]  # kernel [inputs, outputs], bias [outputs]
    std: np.ndarray | None
    mean: np.ndarray
    factor: np.ndarray
    limit: float

    def apply(self, x: np.ndarray, activation: str) -> np.ndarray:
        """Observations [B, ...] -> what the last layer gives [B, outputs]."""
        x = np.clip((x.reshape(len(x), -1).astype(np.float32) - self.mean) * self.factor, -self.limit, self.limit)
        for i, (kernel, bias) in enumerate(self.layers):
            x = x @ kernel + bias
            x = x if i + 1 == len(self.layers) else ACTIVATIONS[activation](x)
        return x


def arrays_of(agent: Trained, start: Standing) -> dict[str, np.ndarray]:
    """What an npz file holds, by name; see docs/export.md.

    Raises:
        UserError: the policy is no MLP, or its actions are not made as those here.
    """
    acting, family = agent.learner.acting, agent.family
    assert acting is not None
    if acting.remembers:
        raise UserError(f"this agent acts by a memory, which format npz does not hold; {ELSE}.")
    memory = acting.reset(start.memory)
    params, memory = jax.device_get((start.params, memory))
    found = _mlp(params, memory, int(np.prod(family.observation_space.shape or ())))
    activation = None if found is None else _activation(agent, start.params, memory, found)
    if found is None or activation is None:
        raise UserError(f"the policy is no MLP of dense layers, and format npz holds no other; {ELSE}.")
    units = _units(agent)
    arrays: dict[str, Any] = _about(agent, start) | units
    for i, (kernel, bias) in enumerate(found.layers):
        arrays |= {f"weights_{i}": kernel, f"biases_{i}": bias}
    arrays["activations"] = [activation] * (len(found.layers) - 1) + ["linear"]
    arrays |= {} if found.std is None else {"std": found.std}
    space: Any = family.observation_space
    arrays |= {"observation_shape": np.array(space.shape, np.int64), "observation_low": space.low}
    arrays |= {"observation_high": space.high, "observation_mean": found.mean, "observation_factor": found.factor}
    arrays["observation_limit"] = np.float32(found.limit)
    return {name: np.asarray(value) for name, value in arrays.items()}


def _mlp(params: Any, memory: Any, num_observed: int) -> _MLP | None:
    """Dense layers in parameters as `metarl.interfaces.Acting` describes them; None if there are others."""

    def has(*names: str) -> bool:
        return isinstance(params, dict) and set(params) == set(names)

    mean, factor, limit = np.zeros(1, np.float32), np.ones(1, np.float32), np.inf
    extra, std = np.zeros(0, np.float32), None
    if has("network", "seen"):
        seen, params = params["seen"], params["network"]
        mean, factor, limit = np.ravel(seen.mean), np.ravel(1 / np.sqrt(seen.variance + np.float32(1e-8))), LIMIT
    if has("network", "context"):
        extra, params = params["context"], params["network"]
    if has("actor", "critic"):
        extra, params = memory[0], params["actor"]  # what it sees of the task
    if has("mean", "log_std"):
        std, params = np.exp(np.maximum(params["log_std"], np.float32(MIN_LOG_STD))), params["mean"]
    if not has("params"):
        return None
    named = params["params"]
    names = [f"Dense_{i}" for i in range(len(named))]
    if set(named) != set(names) or not all(set(layer) == {"kernel", "bias"} for layer in named.values()):
        return None
    layers = [(np.asarray(named[name]["kernel"]), np.asarray(named[name]["bias"])) for name in names]
    if any(kernel.ndim != 2 for kernel, _ in layers) or len(layers[0][0]) != num_observed + extra.size:
        return None
    # Further inputs are constants of the policy: they move the first layer's bias.
    kernel, bias = layers[0]
    layers[0] = kernel[:num_observed], bias + extra @ kernel[num_observed:]
    return _MLP(layers, std, mean, factor, limit)


def _activation(agent: Trained, params: Any, memory: Any, found: _MLP) -> str | None:
    """The activation with which the arrays give what the agent gives on observations of its space; None if with none."""
    acting = agent.learner.acting
    assert acting is not None
    space = copy.deepcopy(agent.family.observation_space)
    space.seed(0)
    observations = np.stack([space.sample() for _ in range(TRIED)])
    _, given = jax.jit(jax.vmap(lambda observation: acting.respond(params, memory, observation)))(observations)
    given = jax.device_get(given)
    std = given.get("log_std") if isinstance(given, dict) else None
    if (std is None) != (found.std is None):
        return None
    if std is not None and found.std is not None and not np.allclose(np.exp(std), found.std, CLOSE, CLOSE):
        return None
    output = np.asarray(given if std is None else given["mean"])
    for name in ACTIVATIONS:
        ours = found.apply(observations, name)
        if ours.shape == output.shape and np.allclose(ours, output, CLOSE, CLOSE):
            return name
    return None


def _units(agent: Trained) -> dict[str, Any]:
    """How an output of the policy becomes an action."""
    space: Any = agent.family.action_space
    if isinstance(space, Discrete):
        return {"action_kind": "discrete", "action_start": space.start, "action_dtype": str(space.dtype)}
    size = int(np.prod(space.shape))
    convert: Any = agent.learner.to_action
    if convert is unchanged:
        free = np.full(size, np.inf)
        convert = ToBox(1.0, np.zeros(size), np.ones(size), -free, free, space.shape)
    if not isinstance(convert, ToBox):
        raise UserError(f"the agent's to_action is a function of its own, which format npz does not hold; {ELSE}.")
    numbers = {"middle": convert.middle, "half": convert.half, "low": convert.low, "high": convert.high}
    arrays = {f"action_{name}": value.astype(np.float32) for name, value in numbers.items()}
    named = {"action_kind": "box", "action_scale": np.float32(convert.scale), "action_shape": np.array(space.shape, np.int64)}
    return named | arrays | {"action_dtype": str(space.dtype)}


# A program.


def program_of(agent: Trained, start: Standing) -> tuple[bytes, dict[str, Any]]:
    """A serialised StableHLO program and a description of its arguments and results; see docs/export.md.

    Raises:
        UserError: what writes such files is not installed, or the agent's actions are of a distribution of its own.
    """
    try:
        require("export")
    except ImportError as error:
        raise UserError(str(error)) from error
    acting, family = agent.learner.acting, agent.family
    assert acting is not None
    seen: Any = jax.ShapeDtypeStruct(family.observation_space.shape or (), family.observation_space.dtype)
    beginning = acting.reset(start.memory)
    _, parameters = jax.eval_shape(acting.respond, start.params, beginning, seen)
    gaussian = isinstance(parameters, dict) and set(parameters) == {"mean", "log_std"}
    if not gaussian and not hasattr(parameters, "shape"):
        raise UserError("the agent's distribution is neither a Gaussian nor given by logits, which no export knows.")
    noise: Any = jax.ShapeDtypeStruct((parameters["mean"] if gaussian else parameters).shape, jnp.float32)

    def choose(parameters: Any, noise: jax.Array) -> tuple[jax.Array, Any]:
        if not gaussian:
            return jnp.argmax(parameters + noise, axis=-1), {"logits": parameters}
        std = jnp.exp(parameters["log_std"])
        return parameters["mean"] + std * noise, {"mean": parameters["mean"], "std": std}

    def alone(observation, noise):
        _, parameters = acting.respond(start.params, beginning, observation)
        output, shown = choose(parameters, noise)
        return agent.learner.to_action(output), shown

    leaves, structure = jax.tree.flatten(beginning)
    output = jax.eval_shape(lambda p, n: choose(p, n)[0], parameters, noise)

    def remembering(memory, observation, noise, reward, terminated, begins):
        went_on = acting.observe(jax.tree.unflatten(structure, memory[:-1]), memory[-1], reward, terminated)
        next_episode = acting.reset(went_on)
        pick = lambda new, again, on: jnp.where(begins == 2, new, jnp.where(begins == 1, again, on))
        inside = jax.tree.map(pick, beginning, next_episode, went_on)
        inside, parameters = acting.respond(start.params, inside, observation)
        output, shown = choose(parameters, noise)
        kept = [leaf.astype(like.dtype) for leaf, like in zip(jax.tree.leaves(inside), leaves, strict=True)]
        return [*kept, output], agent.learner.to_action(output), shown

    if acting.remembers:
        memory = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in [*leaves, output]]
        scalar = lambda kind: jax.ShapeDtypeStruct((), kind)
        arguments: dict[str, Any] = {"memory": memory, "observation": seen, "noise": noise, "reward": scalar(jnp.float32)}
        arguments |= {"terminated": scalar(jnp.bool_), "begins": scalar(jnp.int32)}
        results = ["memory", "action", "distribution"]
    else:
        arguments, results = {"observation": seen, "noise": noise}, ["action", "distribution"]
    function = jax.jit(remembering if acting.remembers else alone)
    program = jax.export.export(function, platforms=PLATFORMS)(*arguments.values())
    told = {name: jax.tree.map(lambda x: f"{x.dtype}{list(x.shape)}", like) for name, like in arguments.items()}
    return bytes(program.serialize()), {"arguments": told, "results": results, "noise": "normal" if gaussian else "Gumbel"}


def task_of(family: envs.TaskFamily, text: str) -> Task:
    """A task written as JSON: an object of its arrays by name, or the array itself.

    Raises:
        UserError: it is not JSON, or no task of the family.
    """
    try:
        return envs.check_task(family, json.loads(text))
    except ValueError as error:
        raise UserError(f"--task is {text}: {' '.join(str(error).split())}") from error
