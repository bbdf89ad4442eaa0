"""What an agent is built for: tasks, a network, and the problem they pose."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from agents.agent import Kind, RegressionSettings, ReinforcementSettings
from agents.parts.action_units import InPolicyUnits, ToAction, has_gaussian, policy_space, to_action
from agents.parts.encoding import read_space, reader, refuse_unknown, trunk_of
from agents.parts.functions import refuse_unfit
from agents.parts.networks import (
    ACTIVATIONS,
    LECUN,
    Network,
    action_distribution,
    of_flat_inputs,
    pixels,
    policy,
    regressor,
    remembers,
)
from agents.parts.normalization import nothing_seen, view
from agents.parts.problems import accuracy, cross_entropy, points_of, policy_gradient, regression
from metarl import advantages
from metarl.interfaces import Key, Problem, Task, known, unchanged
from metarl.surrogates import loaded_dice, reinforce

BASELINES = {"linear": advantages.linear_baseline, "time": advantages.time_baseline, "auto": advantages.auto_baseline}
STEP_WEIGHTS = {"equal": advantages.equal_steps, "discounted": advantages.discounted_steps}
# Steps of the time scan per iteration of its loop, of horizons: on a CPU more than 5 only lengthens compilation, and so does
# any where the horizon is short; on an H100 20 of 100 steps was three times as fast as 1.
UNROLL: dict[str, Callable[[int], int]] = {"cpu": lambda horizon: max(1, min(5, horizon // 10))}


def unroll_elsewhere(horizon: int) -> int:
    """`UNROLL` of a device that is not in the table."""
    return max(1, min(20, horizon // 5))


def suited_unroll(horizon: int) -> int:
    """Steps of the time scan per iteration of its loop that suit this process's device."""
    return UNROLL.get(jax.default_backend(), unroll_elsewhere)(horizon)


class Rollouts(NamedTuple):
    """What agents that roll out policies of their own need to know of a reinforcement-learning world.

    Attributes:
        family: the environments, with ``horizon``, spaces and ``sample_task``, taking actions in the policy's units and showing
            what policies read.
        policy_options: hidden_sizes, activation, initial_std and trunk of `agents.parts.networks.policy`.
        num_episodes: N.
        gamma: discount.
        gae_lambda: of generalised advantage estimation.
        unroll: see `metarl.sampler.rollout`.
        trained_on: the family that the agent is trained on, where it plays in another one now.
    """

    family: Any
    policy_options: dict[str, Any]
    num_episodes: int
    gamma: float
    gae_lambda: float
    unroll: int
    trained_on: Any


class World(NamedTuple):
    """Tasks, a network and the problem they pose; the same for supervised and reinforcement learning.

    Attributes:
        kind: which of the kinds.
        sample_task: key -> task.
        make_network: number of extra inputs -> Network.
        make_problem: (Network, **changes) -> Problem. In reinforcement learning ``changes`` replace options of
            `agents.parts.problems.policy_gradient`, such as the surrogates.
        resample: whether inner steps draw fresh data; see `metarl.inner_loop.collect`.
        network: the user's own network, or None.
        reveal: the same world with the task's parameters among the network's inputs, or None.
        see_task: (task, x) -> network inputs; appends the task's parameters in a revealed world.
        rollouts: for agents that play by themselves; None in regression.
        to_action: what a policy gives -> the family's action; see `agents.parts.action_units`.
        distribution: what a policy's network gives -> the distribution of its actions; None in regression.
        train_list: the `envs.task_lists.TaskList` of the family of training, or None; see `agents.parts.task_lists`.
        embed: number of features -> a Network to them in the place of predictions; None in reinforcement learning.
        seen: where statistics of observations begin, or None where nothing is normalised; see `agents.parts.normalization`.
        read: the family's observation -> what networks read; see `agents.parts.encoding`.
    """

    kind: Kind
    sample_task: Callable[[Key], Task]
    make_network: Callable[[int], Network]
    make_problem: Callable[..., Problem]
    resample: bool
    network: Any = None
    reveal: Callable[[], "World"] | None = None
    see_task: Callable[[Task, jax.Array], jax.Array] = lambda task, x: x
    rollouts: Any = None
    to_action: ToAction = unchanged
    distribution: Callable[[Any], Any] | None = None
    seen: Any = None
    train_list: Any = None
    read: Callable[[Any], jax.Array] = unchanged
    embed: Callable[[int], Network] | None = None


def policy_gradient_world(
    family: Any,
    settings: ReinforcementSettings,
    *,
    network: Any = None,
    trained_on: Any = None,
    unroll: int | None = None,
) -> World:
    """Reinforcement learning on a family of environments.

    Args:
        family: the environments.
        settings: numbers, checked here.
        network: the user's own, see `agents.parts.networks.from_module`.
        trained_on: the family of training, for agents that are to play in another one.
        unroll: see `metarl.sampler.rollout`; what suits the device if None.

    Raises:
        ValueError: numbers or spaces that no policy can have.
    """
    _check(settings, num_episodes=1, gamma=(0, 1), gae_lambda=(0, 1), initial_std=(1e-6, float("inf")))
    _check(settings, action_scale=(1e-6, float("inf")))
    seen_space, read = read_space(family.observation_space), reader(family.observation_space)
    refuse_unknown("action_space", family.action_space)
    refuse_unfit(family)
    own_layers = network is not None and not remembers(network)  # a memory of one's own comes after the trunk
    trunk = trunk_of(seen_space, "mlp" if own_layers and settings.trunk == "auto" else settings.trunk)
    if own_layers and trunk == "conv":
        raise ValueError("trunk is conv, but a network of your own is given, too; leave one out.")
    unit = getattr(family, "unit_actions", False)
    convert = to_action(family.action_space, settings.action_scale, unit)
    if settings.initial_std is not None and not has_gaussian(family.action_space):
        raise ValueError(f"initial_std is {settings.initial_std}, but actions are discrete: there is no Gaussian.")
    trained_on = family if trained_on is None else trained_on
    if convert is not unchanged or read is not unchanged:
        family = InPolicyUnits(family, convert, policy_space(family.action_space, unit), read, seen_space)
    options: dict[str, Any] = {
        "hidden_sizes": settings.hidden_sizes,
        "activation": settings.activation,
        "initial_std": 1.0 if settings.initial_std is None else settings.initial_std,
        "trunk": trunk,
    }

    def make_policy(num_extra: int):
        return policy(family.observation_space, family.action_space, **options, num_extra=num_extra, network=network)

    spaces_only = policy(family.observation_space, family.action_space, **options)
    spread = 255.0 if seen_space.dtype == np.uint8 else 1.0  # bytes as pixels; nothing is scaled again after normalisation
    seen = nothing_seen(seen_space.shape, spread) if settings.normalize_observations else None
    unroll = suited_unroll(family.horizon) if unroll is None else unroll
    shared: dict[str, Any] = {
        "num_episodes": settings.num_episodes,
        "gamma": settings.gamma,
        "gae_lambda": settings.gae_lambda,
        "unroll": unroll,
    }
    usual: dict[str, Any] = {"inner_surrogate": loaded_dice(), "outer_surrogate": reinforce}

    def make_problem(network: Network, **changes: Any) -> Problem:
        acts = spaces_only._replace(network=view(network, seen))
        options = usual | changes
        if trunk == "conv":  # a linear baseline clips what it reads at 10
            baseline = options.get("baseline", advantages.linear_baseline)
            options["baseline"] = lambda observation, target, mask: baseline(pixels(observation), target, mask)
        return policy_gradient(family, acts, count_seen=seen is not None, **shared, **options)

    rollouts = Rollouts(family, options, **shared, trained_on=trained_on)
    return World(
        "reinforcement",
        family.sample_task,
        lambda num_extra: make_policy(num_extra).network,
        make_problem,
        resample=True,
        network=network,
        rollouts=rollouts,
        to_action=convert,
        distribution=action_distribution(family.action_space),
        seen=seen,
        train_list=getattr(trained_on, "train_list", None),
        read=read,
    )


def regression_world(
    family: Any,
    settings: RegressionSettings,
    *,
    network: Any = None,
    sample_query: Callable | None = None,
    kernel_init: Callable = LECUN,
    bias_init: Callable = nn.initializers.zeros,
    see_task: Callable = lambda task, x: x,
    kind: Kind = "regression",
    **problem_options: Any,
) -> World:
    """Regression on ``family``: one support set for all inner steps. Numbers of inputs F and outputs O are those of its points.

    Args:
        family: ``sample_task(key)``, ``sample(task, key, num_points) -> (x [N, F], y [N, O])``. It may have
            ``sample_query(task, key)``; ``ways``, where it draws that many times ``num_points``; and ``input_shape``, that of
            an input before its F numbers were put in a row, for networks of images.
        settings: numbers, checked here.
        network: the user's own, see `agents.parts.networks.from_module`.
        sample_query: (task, key) -> (x, y), if the query set is drawn otherwise than the support set.
        kernel_init: of the weights.
        bias_init: of the biases.
        see_task: (task, x) -> x as ``sample`` gives it where it shows the task.
        kind: what kind of world this is.
        **problem_options: see `agents.parts.problems.regression`.

    Raises:
        ValueError: numbers that make no sense, or points of other shapes.
    """
    _check(settings, num_shots=1)
    num_shots = settings.num_shots
    per_task = num_shots * (getattr(family, "ways", None) or 1)
    points = points_of(lambda task, key: family.sample(task, key, num_shots), family.sample_task, per_task, "sample")
    sample_query = getattr(family, "sample_query", None) if sample_query is None else sample_query
    input_shape = getattr(family, "input_shape", None) or (points.inputs,)
    if sample_query is not None:
        found = points_of(sample_query, family.sample_task, None, "sample_query")
        if found != points:
            raise ValueError(f"sample_query draws {found}, but sample draws {points}; they must agree.")
    _refuse_other_tasks(family)

    def make_network(num_extra: int, num_outputs: int = points.outputs) -> Network:
        shape = (points.inputs,) if network is None else input_shape  # an MLP reads rows as they are
        made = regressor(
            shape,
            settings.hidden_sizes,
            settings.activation,
            num_extra=num_extra,
            num_outputs=num_outputs,
            network=network,
            kernel_init=kernel_init,
            bias_init=bias_init,
        )
        return made if len(shape) == 1 else of_flat_inputs(made, shape)

    def make_problem(network: Network) -> Problem:
        return regression(family, network, num_shots=settings.num_shots, sample_query=sample_query, **problem_options)

    def reveal() -> World:
        def append(task, x):
            features = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(task)])
            return jnp.concatenate([x, jnp.broadcast_to(features, (x.shape[0], features.size))], axis=1)

        def see(draw):
            def drawn(task, *args):
                x, y = draw(task, *args)
                return append(task, x), y

            return drawn

        revealed = family._replace(sample=see(family.sample))
        query = None if sample_query is None else see(sample_query)
        return regression_world(
            revealed,
            settings,
            network=network,
            sample_query=query,
            kernel_init=kernel_init,
            bias_init=bias_init,
            see_task=append,
            kind=kind,
            **problem_options,
        )

    return World(
        kind,
        family.sample_task,
        make_network,
        make_problem,
        resample=False,
        network=network,
        reveal=None if hasattr(family, "sample_query") else reveal,  # whose tasks say which rows to take, and nothing else
        see_task=see_task,
        embed=lambda num_features: make_network(0, num_features),
    )


def classification_world(family: Any, settings: RegressionSettings, **options: Any) -> World:
    """Few-shot classification: `regression_world` with logits for predictions, cross-entropy for the error, and accuracy.

    Args:
        family: as there, y being one-hot [N, C].
        settings: numbers, checked here.
        **options: as there.

    Raises:
        ValueError: the same.
    """
    return regression_world(
        family, settings, kind="classification", error=cross_entropy, measures={"accuracy": accuracy}, **options
    )


def _refuse_other_tasks(family: Any) -> None:
    """Refuse held-out tasks that are of other shapes than training tasks."""
    held_out = getattr(family, "sample_held_out_task", None)
    if held_out is None:
        return
    kinds = [
        jax.tree.map(lambda x: (x.shape, x.dtype), jax.eval_shape(draw, jax.random.key(0)))
        for draw in (family.sample_task, held_out)
    ]
    if kinds[0] != kinds[1]:
        raise ValueError(f"sample_held_out_task gives {kinds[1]}, but sample_task {kinds[0]}; they must agree.")


def _check(settings: Any, **limits: Any) -> None:
    """Refuse numbers outside their limits, hidden layers without units, and unknown activations."""
    for name, limit in limits.items():
        value, (low, high) = getattr(settings, name), limit if isinstance(limit, tuple) else (limit, float("inf"))
        if value is not None and known(value) and not (low <= value <= high and value != float("inf")):
            upper = f" and at most {high}" if high != float("inf") else ""
            raise ValueError(f"{name} is {value}, but must be at least {low}{upper}.")
    for name in {"num_episodes", "num_shots"} & set(limits):
        if getattr(settings, name) != int(getattr(settings, name)):
            raise ValueError(f"{name} is {getattr(settings, name)}, but must be a whole number.")
    sizes = settings.hidden_sizes
    if not isinstance(sizes, (tuple, list)) or not all(isinstance(size, (int, np.integer)) and size >= 1 for size in sizes):
        raise ValueError(f"hidden_sizes is {sizes}, but must be a tuple of whole numbers, at least 1 unit for every layer.")
    if settings.activation not in ACTIVATIONS:
        raise ValueError(f"activation is {settings.activation!r}; known: {', '.join(ACTIVATIONS)}.")
