"""RL2: a recurrent policy learns to learn; its memory lasts over the episodes of a trial."""

from dataclasses import dataclass
from typing import Annotated

from flax.linen import RNNCellBase

from agents.agent import Agent, Bounds, ByPPO, Training
from agents.parts.actor_critic import recurrent
from agents.parts.problems import needed
from agents.parts.trial_learner import trial_learner
from agents.parts.world import World
from metarl.interfaces import MetaLearner


@dataclass(frozen=True)
class Rl2(ByPPO):
    """Memory over a trial, by PPO."""

    trial_episodes: Annotated[int, Bounds(1)] = 2  # ProMP's RL2 runs
    """Episodes of one task in a row, in training."""
    memory_size: Annotated[int, Bounds(1)] = 64  # ProMP's RL2 runs, an LSTM there, and VariBAD's
    """Size of the GRU's state."""
    normalize_rewards: bool = False  # VariBAD has it, ProMP's RL2 runs do not
    """The memory reads rewards divided by the running standard deviation of discounted returns."""


def rl2(world: World, training: Training, own: Rl2) -> MetaLearner:
    """RL2: a recurrent policy, trained by PPO on trials of ``trial_episodes`` episodes (Duan et al. 2016; Wang et al. 2016).

    Nothing but its memory changes on a new task: score k is the return of the (k+1)-th episode there, after k episodes used.
    """
    needed("rl2", world.rollouts, "rollouts", "world", "episodes to play by itself")
    if isinstance(world.network, RNNCellBase) and own.memory_size != Rl2.memory_size:
        raise ValueError(f"memory_size is {own.memory_size}, but the given cell has a size of its own; leave one out.")
    actor_critic = recurrent(world.rollouts.family, world.rollouts.policy_options, own.memory_size, network=world.network)
    return trial_learner(world, training, own, actor_critic, own.trial_episodes, own.normalize_rewards)


RL2 = Agent(rl2, Rl2, serves=("reinforcement",), adapts_by="memory", mixes_tasks=True)
