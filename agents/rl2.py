"""RL2: a recurrent policy learns to learn; its memory lasts over the episodes of a trial."""

from agents.parts.actor_critic import recurrent
from agents.parts.trial_learner import trial_learner
from agents.parts.world import Settings, World
from metarl.interfaces import MetaLearner


def rl2(world: World, settings: Settings) -> MetaLearner:
    """Train a GRU by PPO on trials of ``settings.trial_episodes`` episodes (Duan et al. 2016; Wang et al. 2016).

    Nothing but its memory changes on a new task: score k is the return of the (k+1)-th episode there, after k episodes used.

    Raises:
        ValueError: in regression, where there are no episodes to play.
    """
    if world.play is None:
        raise ValueError("rl2 plays episodes; it serves reinforcement learning only.")
    actor_critic = recurrent(world.play.family, world.play.policy_options, settings.memory_size)
    return trial_learner(world, settings, actor_critic, settings.trial_episodes)
