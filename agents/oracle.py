"""The upper bound: a network that sees the task's parameters and need not adapt."""

import dataclasses

import jax
import jax.numpy as jnp

from agents.agent import Agent, ByPPO, Training
from agents.maml import Maml, maml
from agents.parts.actor_critic import informed
from agents.parts.problems import needed
from agents.parts.trial_learner import trial_learner
from agents.parts.world import World
from metarl.interfaces import AdaptationCurve, Experience, MetaLearner


@dataclasses.dataclass(frozen=True)
class Oracle(ByPPO):
    """By PPO in reinforcement learning, by gradient descent in regression."""


def oracle(world: World, training: Training, own: Oracle) -> MetaLearner:
    """Upper bound: trained on all tasks with the task among the inputs, without an inner loop; its curve is flat.

    In reinforcement learning by PPO on single episodes, in regression by gradient descent on the error.

    Raises:
        ValueError: in regression worlds that cannot reveal their tasks.
    """
    if world.rollouts is not None:
        rollouts = world.rollouts
        actor_critic = informed(rollouts.family, rollouts.trained_on, rollouts.policy_options, network=world.network)
        return _flat(trial_learner(world, training, own, actor_critic, trial_episodes=1))
    if world.kind == "reinforcement":
        needed("oracle", world.rollouts, "rollouts", "world", "episodes to play by itself")
    reveal = needed("oracle", world.reveal, "reveal", "world", "to show the task to the network")
    revealed = reveal()
    learner = maml(revealed, training, Maml(num_inner_steps=0))

    def adapt(state, task, key, num_steps):
        curve = learner.adapt(state, task, key, num_steps)
        first = jnp.zeros(num_steps + 1, int)
        return AdaptationCurve(curve.score[first], jax.tree.map(lambda x: x[first], curve.path), curve.experience, first)

    def predict(path, task, x):
        return learner.predict(path, task, revealed.see_task(task, x))

    return learner._replace(adapt=adapt, predict=predict)


def _flat(learner: MetaLearner) -> MetaLearner:
    """The same learner, played once: what it scores at first it scores after any number of steps."""

    def adapt(state, task, key, num_steps):
        curve = learner.adapt(state, task, key, 0)
        first = jnp.zeros(num_steps + 1, int)
        score, path, *others = jax.tree.map(
            lambda x: x[first], (curve.score, curve.path, curve.greedy_score, curve.measures, curve.greedy_measures)
        )
        query = curve.experience.query
        support = jax.tree.map(lambda x: jnp.broadcast_to(x, (num_steps, *x.shape)), query)
        greedy_score, *measures = others
        nothing = jnp.zeros(num_steps + 1)
        return AdaptationCurve(score, path, Experience(support, query), first, greedy_score, nothing, *measures)

    assert learner.acting is not None
    sees = learner.acting._replace(learn=None, remembers=False, sees_task=True)
    return learner._replace(adapt=adapt, acting=sees)


ORACLE = Agent(oracle, Oracle, serves=("reinforcement", "regression"), adapts_by="nothing", mixes_tasks=True)
