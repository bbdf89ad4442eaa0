"""RL2: a recurrent policy learns to learn; its memory lasts over the episodes of a trial."""

from dataclasses import dataclass
from typing import Annotated, Any

from flax import linen as nn

from agents.agent import Agent, Bounds, ByPPO, Training
from agents.parts.actor_critic import recurrent
from agents.parts.memory import made
from agents.parts.networks import remembers
from agents.parts.problems import needed
from agents.parts.trial_learner import trial_learner
from agents.parts.world import World
from agents.registration import find_memory
from metarl.interfaces import MetaLearner


@dataclass(frozen=True)
class Rl2(ByPPO):
    """Memory over a trial, by PPO."""

    trial_episodes: Annotated[int, Bounds(1)] = 2  # ProMP's RL2 runs
    """Episodes of one task in a row, in training."""
    memory: str = "gru"  # Duan et al. 2016, Section 2.2
    """gru, lstm, lru, transformer, or my_module:mine/memory, registered there by agents.register_memory."""
    memory_size: Annotated[int, Bounds(1)] = 64  # ProMP's RL2 runs, an LSTM there, and VariBAD's
    """Size of the memory's state, and of what policy and value read of it."""
    memory_layers: Annotated[int, Bounds(1)] = 1  # ours; Parisotto et al. 2020 have 12, Orvieto et al. 2023 have 6
    """Blocks of lru and transformer."""
    memory_heads: Annotated[int, Bounds(1)] = 4  # ours; Parisotto et al. 2020 have 8 of size 64
    """Attention heads of transformer."""
    memory_context: Annotated[int, Bounds(0)] = 0  # ours
    """Steps that transformer remembers, at least a trial's in training; 0: just so many."""
    memory_chunk: Annotated[int, Bounds(0)] = 0  # Duan et al. 2016: through the whole trial
    """Steps between which gradients through the memory are cut; 0: nowhere in a trial."""
    hypernetwork: bool = False  # Duan et al. 2016; Beck et al. 2023 have it
    """Policy and value read the observation, with weights that the memory gives."""
    normalize_rewards: bool = False  # VariBAD has it in units of returns, ProMP's RL2 runs do not
    """The memory reads rewards less the running mean of all, in standard deviations."""


def rl2(world: World, training: Training, own: Rl2) -> MetaLearner:
    """RL2: a policy with memory, trained by PPO on trials of ``trial_episodes`` episodes (Duan et al. 2016; Wang et al. 2016).

    Nothing but its memory changes on a new task: score k is the return of the (k+1)-th episode there, after k episodes used.
    Every update replays trials from their first step, so that there is no burn-in. PPO improves the policy that samples, whose
    noise explores for the memory; its mode explores less and can be far worse, as docs/memories.md measures.
    """
    needed("rl2", world.rollouts, "rollouts", "world", "episodes to play by itself")
    steps = own.trial_episodes * world.rollouts.family.horizon
    if own.memory_chunk >= steps:
        raise ValueError(f"memory_chunk is {own.memory_chunk}, but a trial has {steps} steps: it cuts nothing; leave it out.")
    if 0 < own.memory_context < steps:
        raise ValueError(
            f"memory_context is {own.memory_context}, but a trial has {steps} steps ({own.trial_episodes} episodes of "
            f"{world.rollouts.family.horizon}) and must be remembered as a whole; give {steps} or more, or leave it out."
        )
    module, called, encoder = _memory(world.network, own, steps)
    actor_critic = recurrent(
        world.rollouts.family,
        world.rollouts.policy_options,
        module,
        encoder,
        called=called,
        hypernetwork=own.hypernetwork,
        chunk=own.memory_chunk,
    )
    return trial_learner(world, training, own, actor_critic, own.trial_episodes, own.normalize_rewards)


OPTIONS = ("memory_size", "memory_layers", "memory_heads", "memory_context")


def _memory(network: Any, own: Rl2, steps: int) -> tuple[nn.Module, str, Any]:
    """The memory, how messages call it, and the user's encoder of observations or None."""
    given = {name for name in OPTIONS if getattr(own, name) != getattr(Rl2, name)}
    options = {name: getattr(own, name) for name in OPTIONS} | {"memory_context": own.memory_context or steps}
    if not remembers(network):
        called = f"memory {own.memory}"
        return made(find_memory(own.memory), called, options, given), called, network
    name = type(network).__name__
    if own.memory != Rl2.memory:
        raise ValueError(f"memory is {own.memory}, but the network {name} is a memory too; leave one out.")
    what = "the given cell" if isinstance(network, nn.RNNCellBase) else "the given memory"
    return made(network, what, options, given), f"network: {name}", None


RL2 = Agent(rl2, Rl2, serves=("reinforcement",), adapts_by="memory", mixes_tasks=True)
