"""Acting one step at a time, with a memory and without: `metarl.interfaces.Acting` of the agents here."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from agents.parts.actor_critic import ActorCritic
from agents.parts.networks import Network
from agents.parts.problems import needed
from metarl.inner_loop import inner_step, solve
from metarl.interfaces import Acting, InnerRule, Problem
from metarl.trial import Feedback


def by_gradients(
    network: Network, distribution: Callable[[Any], Any], problem: Problem, rule: InnerRule, num_steps: int | None = None
) -> Acting:
    """Of an agent that adapts by inner steps: its parameters are all that it acts with.

    Args:
        network: what they belong to.
        distribution: what the network gives -> the distribution of actions.
        problem: of the inner steps; with ``batch_of``, or such an agent cannot learn from episodes that others play.
        rule: how inner steps move parameters.
        num_steps: taken on the one batch there is; None where each step has a batch of its own.
    """

    def begin(state, task):
        del task
        return rule.read(state.theta, rule.begin(state.theta)), ()

    def learn(state, batches):
        batch_of = needed("adapting to recorded episodes", problem.batch_of, "batch_of", "problem", "a batch of each")
        theta = state.theta
        if num_steps is None:
            fast = rule.begin(theta)
            for k, trajectory in enumerate(batches):  # whose numbers of episodes may differ
                fast = inner_step(rule, problem.inner_loss, theta, fast, batch_of(trajectory), jnp.asarray(k))
        elif len(batches) == 1:
            repeated = jax.tree.map(lambda x: jnp.broadcast_to(x, (num_steps, *x.shape)), batch_of(batches[0]))
            fast = solve(rule, problem.inner_loss, theta, repeated)
        else:
            raise ValueError(f"learn: {len(batches)} batches are given, but this agent takes all its steps on one; give one.")
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


def starting_from(start: Callable[[Any], Any], acting: Acting) -> Acting:
    """Of an agent whose new tasks begin at something made of its meta-parameters.

    Args:
        start: theta -> theta as ``acting`` reads it.
        acting: by gradients.
    """
    learn = needed("adaptation from another start", acting.learn, "learn", "agent", "to adapt")
    begun = lambda state: state._replace(theta=start(state.theta))
    return acting._replace(
        begin=lambda state, task: acting.begin(begun(state), task), learn=lambda state, batches: learn(begun(state), batches)
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

    draws = actor_critic.seeded
    seeded = None if draws is None else lambda memory, key: (draws(memory[0], key), memory[1])
    return Acting(begin, after, reset, respond, actor_critic.distribution, observe, learn, seeded, remembers=True)
