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
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Tuple
from gymnasium.spaces.utils import flatten

import envs
from agents.parts.action_units import ToBox, policy_space
from agents.parts.actor_critic import action_parts
from agents.parts.encoding import categories, num_read, read_space
from agents.parts.networks import MIN_LOG_STD
from agents.parts.normalization import LIMIT
from envs.optional import require
from envs.values import shapes_of
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
    if isinstance(family.action_space, Dict | Tuple):
        raise UserError(f"actions have parts, which format npz does not hold; {ELSE}.")
    found = _mlp(params, memory, num_read(family.observation_space))
    activation = None if found is None else _activation(agent, start.params, memory, found)
    if found is None or activation is None:
        raise UserError(f"the policy is no MLP of dense layers, and format npz holds no other; {ELSE}.")
    units = _units(agent)
    if isinstance(family.action_space, MultiBinary):
        found = found._replace(layers=[*found.layers[:-1], _in_pairs(*found.layers[-1])])
    arrays: dict[str, Any] = _about(agent, start) | units
    for i, (kernel, bias) in enumerate(found.layers):
        arrays |= {f"weights_{i}": kernel, f"biases_{i}": bias}
    arrays["activations"] = [activation] * (len(found.layers) - 1) + ["linear"]
    arrays |= {} if found.std is None else {"std": found.std}
    space: Any = read_space(family.observation_space)
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


def _in_pairs(kernel: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The last layer for MultiBinary actions with a logit for 0, which is 0, before each of those for 1.

    >>> _in_pairs(np.array([[2.0, 3.0]]), np.array([4.0, 5.0]))
    (array([[0., 2., 0., 3.]]), array([0., 4., 0., 5.]))
    """
    pairs = lambda array: np.stack([np.zeros_like(array), array], axis=-1).reshape(*array.shape[:-1], -1)
    return pairs(kernel), pairs(bias)


def _activation(agent: Trained, params: Any, memory: Any, found: _MLP) -> str | None:
    """The activation with which the arrays give what the agent gives on observations of its space; None if with none."""
    acting = agent.learner.acting
    assert acting is not None
    space = copy.deepcopy(agent.family.observation_space)
    space.seed(0)
    samples = [space.sample() for _ in range(TRIED)]
    rows: list[Any] = [sample if isinstance(space, Box) else flatten(space, sample) for sample in samples]
    observations = np.stack(rows)
    _, given = jax.jit(jax.vmap(lambda observation: acting.respond(params, memory, observation)))(observations)
    given = jax.device_get(given)
    if not isinstance(given, dict | np.ndarray):
        return None
    std = given.get("log_std") if isinstance(given, dict) else None
    if (std is None) != (found.std is None):
        return None
    if std is not None and found.std is not None and not np.allclose(np.exp(std), found.std, CLOSE, CLOSE):
        return None
    output = np.asarray(given if std is None else given["mean"])  # type: ignore[call-overload]
    for name in ACTIVATIONS:
        ours = found.apply(observations, name)
        if ours.shape == output.shape and np.allclose(ours, output, CLOSE, CLOSE):
            return name
    return None


def _units(agent: Trained) -> dict[str, Any]:
    """How an output of the policy becomes an action."""
    space: Any = agent.family.action_space
    shape = np.array(space.shape, np.int64)
    if not isinstance(space, Box):
        kind = {Discrete: "discrete", MultiDiscrete: "multi-discrete", MultiBinary: "multi-binary"}[type(space)]
        counts = np.full(space.shape, 2).ravel() if isinstance(space, MultiBinary) else categories(space)
        counted = {"action_kind": kind, "action_counts": counts, "action_start": getattr(space, "start", 0)}
        return counted | {"action_shape": shape, "action_dtype": str(space.dtype)}
    size = int(np.prod(space.shape))
    convert: Any = agent.learner.to_action
    if convert is unchanged:
        free = np.full(size, np.inf)
        convert = ToBox(1.0, np.zeros(size), np.ones(size), -free, free, space.shape)
    if not isinstance(convert, ToBox):
        raise UserError(f"the agent's to_action is a function of its own, which format npz does not hold; {ELSE}.")
    numbers = {"middle": convert.middle, "half": convert.half, "low": convert.low, "high": convert.high}
    arrays = {f"action_{name}": value.astype(np.float32) for name, value in numbers.items()}
    named = {"action_kind": "box", "action_scale": np.float32(convert.scale), "action_shape": shape}
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
    seen = shapes_of(family.observation_space)
    beginning = acting.reset(start.memory)

    def respond(memory, observation):
        return acting.respond(start.params, memory, agent.learner.read(observation))

    _, parameters = jax.eval_shape(respond, beginning, seen)
    choose, noise, kinds = _choice(policy_space(family.action_space, family.unit_actions), parameters)

    def alone(observation, noise):
        _, parameters = respond(beginning, observation)
        output, shown = choose(parameters, noise)
        return agent.learner.to_action(output), shown

    leaves, structure = jax.tree.flatten(beginning)
    outputs, of_output = jax.tree.flatten(jax.eval_shape(lambda p, n: choose(p, n)[0], parameters, noise))

    def remembering(memory, observation, noise, reward, terminated, begins):
        last = jax.tree.unflatten(of_output, memory[len(leaves) :])
        went_on = acting.observe(jax.tree.unflatten(structure, memory[: len(leaves)]), last, reward, terminated)
        next_episode = acting.reset(went_on)
        pick = lambda new, again, on: jnp.where(begins == 2, new, jnp.where(begins == 1, again, on))
        inside = jax.tree.map(pick, beginning, next_episode, went_on)
        inside, parameters = respond(inside, observation)
        output, shown = choose(parameters, noise)
        kept = [leaf.astype(like.dtype) for leaf, like in zip(jax.tree.leaves(inside), leaves, strict=True)]
        return [*kept, *jax.tree.leaves(output)], agent.learner.to_action(output), shown

    if acting.remembers:
        memory = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in [*leaves, *outputs]]
        scalar = lambda kind: jax.ShapeDtypeStruct((), kind)
        arguments: dict[str, Any] = {"memory": memory, "observation": seen, "noise": noise, "reward": scalar(jnp.float32)}
        arguments |= {"terminated": scalar(jnp.bool_), "begins": scalar(jnp.int32)}
        results = ["memory", "action", "distribution"]
    else:
        arguments, results = {"observation": seen, "noise": noise}, ["action", "distribution"]
    function = jax.jit(remembering if acting.remembers else alone)
    program = jax.export.export(function, platforms=PLATFORMS)(*arguments.values())
    told = {name: jax.tree.map(lambda x: f"{x.dtype}{list(x.shape)}", like) for name, like in arguments.items()}
    return bytes(program.serialize()), {"arguments": told, "results": results, "noise": kinds}


def _choice(space: Space, parameters: Any) -> tuple[Callable[[Any, Any], tuple[Any, Any]], Any, Any]:
    """How an output of a policy in ``space`` follows from distribution parameters and noise; that noise, and its kinds.

    Returns:
        (parameters, noise) -> (output, distribution as it is shown); shapes of the noise; its names. The last two and what the
        function takes and gives are tuples where actions have parts.

    Raises:
        UserError: a distribution that is not one of ours.
    """
    several = isinstance(space, Tuple)
    of_parts = parameters if several else (parameters,)
    spaces = action_parts(space)
    if not isinstance(of_parts, tuple) or len(of_parts) != len(spaces):
        raise UserError(_UNKNOWN)
    made = [_choice_of_part(part, each) for part, each in zip(spaces, of_parts, strict=True)]
    if not several:
        return made[0]
    functions, noises, kinds = zip(*made, strict=True)

    def choose(parameters: Any, noise: Any) -> tuple[Any, Any]:
        chosen = [function(*given) for function, *given in zip(functions, parameters, noise, strict=True)]
        outputs, shown = zip(*chosen, strict=True)
        return outputs, shown

    return choose, noises, kinds


_UNKNOWN = "the agent's distribution is neither a Gaussian nor given by logits, which no export knows."


def _choice_of_part(space: Space, parameters: Any) -> tuple[Callable[[Any, jax.Array], tuple[jax.Array, Any]], Any, str]:
    """`_choice` of a space without parts."""
    gaussian = isinstance(space, Box)
    row: Any = parameters
    if isinstance(parameters, dict) and set(parameters) == {"mean", "log_std"}:
        row = parameters["mean"]
    if gaussian != isinstance(parameters, dict) or not hasattr(row, "shape"):
        raise UserError(_UNKNOWN)
    noise: Any = jax.ShapeDtypeStruct(row.shape, jnp.float32)
    if gaussian:

        def normal(parameters: Any, noise: jax.Array) -> tuple[jax.Array, Any]:
            std = jnp.exp(parameters["log_std"])
            return parameters["mean"] + std * noise, {"mean": parameters["mean"], "std": std}

        return normal, noise, "normal"
    if isinstance(space, MultiBinary):
        return lambda logits, noise: ((logits + noise > 0).astype(int), {"logits": logits}), noise, "logistic"
    ends = np.cumsum(categories(space))[:-1]

    def best(logits: jax.Array, noise: jax.Array) -> tuple[jax.Array, Any]:
        chosen = [jnp.argmax(entry, axis=-1) for entry in jnp.split(logits + noise, ends, axis=-1)]
        return chosen[0] if isinstance(space, Discrete) else jnp.stack(chosen, axis=-1), {"logits": logits}

    return best, noise, "Gumbel"


def task_of(family: envs.TaskFamily, text: str) -> Task:
    """A task written as JSON: an object of its arrays by name, or the array itself.

    Raises:
        UserError: it is not JSON, or no task of the family.
    """
    try:
        return envs.check_task(family, json.loads(text))
    except ValueError as error:
        raise UserError(f"--task is {text}: {' '.join(str(error).split())}") from error
