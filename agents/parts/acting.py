"""Acting one step at a time, with a memory and without: `metarl.interfaces.Acting` of the agents here."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from agents.parts.actor_critic import ActorCritic
from agents.parts.networks import Network
from metarl.inner_loop import inner_step
from metarl.interfaces import Acting, InnerRule, Problem
from metarl.trial import Feedback


def by_gradients(
    network: Network, distribution: Callable[[Any], Any], problem: Problem, rule: InnerRule, num_steps: int | None = None
) -> Acting:
    """Of an agent that adapts by inner steps: its parameters are all that it acts with.

    Args:
        network: what they belong to.
        distribution: what the network gives -> the distribution of actions.
        problem: of the inner steps, with ``batch_of``.
        rule: how inner steps move parameters.
        num_steps: taken on the one batch there is; None where each step has a batch of its own.
    """
    batch_of = problem.batch_of
    assert batch_of is not None, "episodes are played in reinforcement learning"

    def begin(state, task):
        del task
        return rule.read(state.theta, rule.begin(state.theta)), ()

    def learn(state, batches):
        theta, fast = state.theta, rule.begin(state.theta)
        for k, trajectory in enumerate(batches if num_steps is None else batches[:1] * num_steps):
            fast = inner_step(rule, problem.inner_loss, theta, fast, batch_of(trajectory), jnp.asarray(k))
        return rule.read(theta, fast), ()

    return Acting(
        begin=begin,
        after=lambda path, k: (jax.tree.map(lambda x: x[k], path), ()),
        reset=lambda memory: memory,
        respond=lambda params, memory, observation: (memory, network.apply(params, observation)),
        distribution=distribution,
        observe=lambda memory, action, reward, terminated: memory,
        learn=learn,
        one_batch=num_steps is not None,
    )


def by_memory(actor_critic: ActorCritic) -> Acting:
    """Of an agent that plays trials: its memory, and what the world answered to its last step, as `metarl.trial` has them."""

    def begin(state, task):
        nothing = Feedback(actor_critic.no_action, jnp.zeros(()), jnp.asarray(False), jnp.asarray(True))
        return state.theta, (actor_critic.start(task), nothing)

    def after(path, k):
        params, memory, feedback = jax.tree.map(lambda x: x[k], (path["theta"], path["memory"], path["feedback"]))
        return params, (memory, feedback)

    def reset(memory):
        inside, feedback = memory
        return inside, feedback._replace(first=jnp.asarray(True))

    def respond(params, memory, observation):
        inside, feedback = memory
        inside, parameters, _ = actor_critic.act(params, inside, observation, feedback)
        return (inside, feedback), parameters

    def observe(memory, action, reward, terminated):
        return memory[0], Feedback(action, reward, terminated, jnp.asarray(False))

    def learn(state, batches):
        params, memory = begin(state, None)

        def step(memory, recorded):
            observation, action, reward, terminated, mask = recorded
            new, _ = respond(params, memory, observation)
            new = observe(new, action, reward, terminated)
            return jax.tree.map(lambda new, old: jnp.where(mask > 0, new, old), new, memory), None

        def episode(memory, trajectory):
            steps = ("observation", "action", "reward", "terminated", "mask")
            memory, _ = jax.lax.scan(step, reset(memory), tuple(getattr(trajectory, name) for name in steps))
            return memory, None

        for trajectories in batches:
            memory, _ = jax.lax.scan(episode, memory, trajectories)
        return params, memory

    return Acting(begin, after, reset, respond, actor_critic.distribution, observe, learn, remembers=True)
