"""What an agent is built for, and the settings it is built with."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from agents.parts.networks import Network, mlp, policy
from agents.parts.problems import policy_gradient, regression
from metarl.interfaces import Key, Problem, Task
from metarl.ppo import PPO
from metarl.tasks import OverTasks


class Play(NamedTuple):
    """What agents that roll out policies of their own need to know of a reinforcement-learning world.

    Attributes:
        family: the environments, with ``horizon``, spaces and ``sample_task``.
        policy_options: hidden_sizes, activation and initial_std of `agents.parts.networks.policy`.
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
    trained_on: Any = None


class World(NamedTuple):
    """Tasks, a network and the problem they pose; the same for supervised and reinforcement learning.

    Attributes:
        sample_task: key -> task.
        make_network: number of extra inputs -> Network.
        make_problem: (Network, **changes) -> Problem. In reinforcement learning ``changes`` replace options of
            `agents.parts.problems.policy_gradient`, such as the surrogates.
        resample: whether inner steps draw fresh data; see `metarl.inner_loop.collect`.
        reveal: the same world with the task's parameters among the network's inputs, or None.
        see_task: (task, x) -> network inputs; appends the task's parameters in a revealed world.
        play: for agents that act by themselves; None in regression.
    """

    sample_task: Callable[[Key], Task]
    make_network: Callable[[int], Network]
    make_problem: Callable[..., Problem]
    resample: bool
    reveal: Callable[[], "World"] | None = None
    see_task: Callable[[Task, jax.Array], jax.Array] = lambda task, x: x
    play: Play | None = None


class Settings(NamedTuple):
    """Numbers that agents are built with; each uses those it needs.

    Attributes:
        num_tasks: M, tasks per meta-iteration.
        num_inner_steps: K in training.
        inner_lr: step size of adaptation, or where learned step sizes start.
        outer_lr: of the outer optimiser, or a schedule.
        num_iterations: meta-iterations planned, for what is annealed.
        context_size: length of CAVIA's context.
        proximal: iMAML's lambda.
        cg_steps: iMAML's iterations of conjugate gradients.
        cg_damping: added to the curvature there, which need not be positive in networks.
        train_tasks: how many fixed tasks `multitask` trains heads for.
        recipe: how `pretrained` is fine-tuned.
        remat: recompute inner steps in the backward pass instead of storing them.
        optimizer: outer_lr -> outer optimiser.
        test_step_scale: how far each inner step goes at test, relative to training; later steps take the last number.
        max_kl: what one step of maml-trpo may change the adapted policies by (mean KL).
        outer_steps: promp's optimiser steps on the same experience.
        clip: how far promp's ratio counts.
        inner_kl: promp's penalty on the KL of inner steps.
        credit: e-maml's weight of the credit to support episodes.
        trial_episodes: E, what `rl2` is trained on instead of K inner steps: episodes of one task in a row; 2 in ProMP's runs.
        memory_size: of the state of `rl2`'s GRU; 64 in ProMP's runs (an LSTM there) and in VariBAD's.
        ppo: numbers of PPO, for agents that learn by it.
        over_tasks: how the tasks of a meta-iteration are worked on: micro-batches, devices.
    """

    num_tasks: int
    num_inner_steps: int
    inner_lr: float
    outer_lr: optax.ScalarOrSchedule
    num_iterations: int = 1
    context_size: int = 5
    proximal: float = 1.0
    cg_steps: int = 10
    cg_damping: float = 0.0
    train_tasks: int = 100
    recipe: str = "plain"
    remat: bool = False
    optimizer: Callable[[optax.ScalarOrSchedule], optax.GradientTransformation] = optax.adam
    test_step_scale: tuple[float, ...] = (1.0,)
    max_kl: float = 0.01
    outer_steps: int = 5
    clip: float = 0.3
    inner_kl: float = 5e-4
    credit: float = 1.0
    trial_episodes: int = 2
    memory_size: int = 64
    ppo: PPO = PPO(num_epochs=5, num_minibatches=1, clip=0.2, entropy_cost=0.0)
    over_tasks: OverTasks = OverTasks()


def must_play(agent: str, world: World) -> Play:
    """``world.play``, or a refusal of supervised worlds, for agents that need action probabilities."""
    if world.play is None:
        raise ValueError(f"{agent} needs action probabilities; it serves reinforcement learning only.")
    return world.play


def policy_gradient_world(
    family: Any,
    policy_options: dict[str, Any],
    *,
    num_episodes: int,
    gamma: float = 0.99,
    gae_lambda: float = 1.0,
    unroll: int = 5,
    trained_on: Any = None,
    **problem_options: Any,
) -> World:
    """Reinforcement learning on ``family``: see `agents.parts.networks.policy` and `agents.parts.problems.policy_gradient`.

    ``trained_on`` is the family of training, for agents that are to play in another one.
    """

    def make_policy(num_extra: int):
        return policy(family.observation_space, family.action_space, **policy_options, num_extra=num_extra)

    plain = make_policy(0)
    shared: dict[str, Any] = {"num_episodes": num_episodes, "gamma": gamma, "gae_lambda": gae_lambda, "unroll": unroll}

    def make_problem(network: Network, **changes: Any) -> Problem:
        return policy_gradient(family, plain._replace(network=network), **shared, **(problem_options | changes))

    play = Play(family, policy_options, **shared, trained_on=family if trained_on is None else trained_on)
    return World(family.sample_task, lambda num_extra: make_policy(num_extra).network, make_problem, resample=True, play=play)


def regression_world(
    family: Any,
    network_options: dict[str, Any],
    *,
    num_shots: int,
    sample_query: Callable | None = None,
    num_features: int = 0,
    see_task: Callable = lambda task, x: x,
    **problem_options: Any,
) -> World:
    """Regression on ``family``: one support set for all inner steps.

    Args:
        family: ``sample_task(key)``, ``sample(task, key, num_points)``.
        network_options: hidden_sizes, activation and init of `agents.parts.networks.mlp`.
        num_shots: points in the support set.
        sample_query: (task, key) -> (x, y), if the query set is drawn otherwise than the support set.
        num_features: further columns of x, besides the input itself.
        see_task: (task, x) -> x with those columns.
        **problem_options: see `agents.parts.problems.regression`.
    """

    def make_network(num_extra: int) -> Network:
        return mlp((1 + num_features,), **network_options, num_outputs=1, num_extra=num_extra)

    def make_problem(network: Network) -> Problem:
        return regression(family, network, num_shots=num_shots, sample_query=sample_query, **problem_options)

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
        size = sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(family.sample_task, jax.random.key(0))))
        query = None if sample_query is None else see(sample_query)
        return regression_world(
            revealed,
            network_options,
            num_shots=num_shots,
            sample_query=query,
            num_features=size,
            see_task=append,
            **problem_options,
        )

    return World(family.sample_task, make_network, make_problem, False, reveal, see_task)
