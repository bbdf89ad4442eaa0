"""What `varibad` believes along one trial on the grid, beside the exact posterior, and its picture."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents.parts.actor_critic import in_units
from agents.parts.belief import Belief, sampled
from agents.parts.reward_decoders import Transition
from agents.varibad import inference_on
from envs.families.gridworld import ELSEWHERE, ON_GOAL
from experiments.evaluation import Trained
from experiments.reporting.figures import save
from experiments.reporting.looks import RED
from experiments.reporting.pyplot import plt
from experiments.studies.gridworld.planners import posterior
from metarl.interfaces import Task

LATENTS = 256  # drawn from a belief to decode it
SHOWN = 8  # beliefs in the picture


class Trial(NamedTuple):
    """One trial, S steps in a row.

    Attributes:
        goal: [2], its cell.
        cells: [S, 2], where the agent was before each step.
        decoded: [S, size, size], probability of the goal that the belief before each step gives each cell.
        exact: [S, size, size], the posterior.
        belief: the latent's, [S, L].
        horizon: T.
    """

    goal: np.ndarray
    cells: np.ndarray
    decoded: np.ndarray
    exact: np.ndarray
    belief: Belief
    horizon: int


def trial_of(agent: Trained, task: Task, episodes: int, seed: int = 0) -> Trial:
    """Play a trial and read the agent's belief along it.

    Args:
        agent: a `varibad` on the grid.
        task: the goal.
        episodes: E.
        seed: of its actions.
    """
    family: Any = agent.family
    curve = agent.adapt(task, num_steps=episodes - 1, seed=seed)
    support, query = curve.experience.support.trajectory, curve.experience.query.trajectory
    first = jax.tree.map(lambda many, last: jnp.concatenate([many[:, 0], last[None, 0]]), support, query)  # [E, T, ...]
    acting = agent.learner.acting
    assert acting is not None
    params, memory = acting.begin(agent.state, task)

    def step(memory, recorded):
        observation, action, reward, terminated = recorded
        memory, _ = acting.respond(params, memory, observation)
        belief = memory[0][1]
        return acting.observe(memory, action, reward, terminated), belief

    def episode(memory, recorded):
        return jax.lax.scan(step, acting.reset(memory), recorded)

    recorded = (first.observation, first.action, first.reward, first.terminated)
    _, beliefs = jax.jit(lambda memory: jax.lax.scan(episode, memory, recorded))(memory)
    belief = jax.tree.map(lambda x: np.asarray(x).reshape(-1, x.shape[-1]), beliefs)
    cells = np.asarray(jnp.round((first.observation + 1) * (family.size - 1) / 2), int)
    ends = np.asarray(jnp.round((first.last_observation + 1) * (family.size - 1) / 2), int)
    led_to = np.concatenate([cells[:, 1:], ends[:, None]], axis=1).reshape(-1, 2)
    goal = np.asarray(task.position)
    exact = posterior(family, led_to, np.all(led_to == goal, axis=1))
    return Trial(goal, cells.reshape(-1, 2), decoded(agent, belief), exact, belief, family.horizon)


def decoded(agent: Trained, belief: Belief) -> np.ndarray:
    """How likely beliefs [S, L] hold it that a cell pays: [S, size, size], from rewards that the decoder expects there."""
    family: Any = agent.family
    assert agent.config is not None
    inferring, _ = inference_on(family, agent.config.own)
    grid = jnp.stack(jnp.meshgrid(*[jnp.arange(family.size)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    acting: Any = agent.learner.acting
    theta, (_, feedback) = acting.begin(agent.state, None)
    observed = jax.vmap(lambda cell: family.observation(cell, None, None))(grid)
    params, seen, unit = in_units(theta, observed, feedback._replace(reward=jnp.ones(())))
    noise = jax.random.normal(jax.random.key(0), (LATENTS, belief.mean.shape[-1]))

    def expected(mean, log_variance):
        latents = sampled(Belief(mean, log_variance), noise)
        at = lambda z, x: inferring.reward(params, z, Transition(x, jnp.zeros((), int), jnp.zeros(()), x)) / unit.reward
        return jnp.mean(jax.vmap(lambda z: jax.vmap(lambda x: at(z, x))(seen))(latents), axis=0)

    rewards = jax.jit(jax.vmap(expected))(*belief)
    share = np.clip((np.asarray(rewards) - ELSEWHERE) / (ON_GOAL - ELSEWHERE), 0.0, 1.0)
    return share.reshape(-1, family.size, family.size)


def picture(path: Path, trial: Trial) -> None:
    """Above the beliefs over cells, decoded and exact, before some steps; below the latent's mean and variance in all.

    Args:
        path: where to write.
        trial: of `trial_of`.
    """
    number = len(trial.cells)
    steps = np.unique(np.round(np.linspace(0, min(2 * trial.horizon, number) - 1, SHOWN)).astype(int))
    figure = plt.figure(figsize=(1.5 * len(steps), 7.2), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(1.25, 1))
    above, below = parts
    axes = above.subplots(2, len(steps), sharex=True, sharey=True)
    for row, (name, beliefs) in enumerate((("decoded", trial.decoded), ("exact", trial.exact))):
        for axis, s in zip(axes[row], steps, strict=True):
            axis.imshow(beliefs[s].T, origin="lower", cmap="viridis", vmin=0, vmax=max(0.15, float(trial.exact[s].max())))
            past = trial.cells[s - s % trial.horizon : s + 1]
            axis.plot(past[:, 0], past[:, 1], color="white", linewidth=1)
            axis.plot(*trial.cells[s], "o", color="white", markersize=5)
            axis.plot(*trial.goal, "*", color=RED, markersize=8)
            axis.set(xticks=[], yticks=[])
            if row == 0:
                axis.set_title(f"episode {s // trial.horizon + 1}\nstep {s % trial.horizon + 1}", fontsize=9)
        axes[row, 0].set_ylabel(name)
    lines: Any = below.subplots(1, 2, sharex=True)
    for axis, name, values in zip(
        lines, ("mean", "variance"), (trial.belief.mean, np.exp(trial.belief.log_variance)), strict=True
    ):
        axis.plot(np.arange(1, number + 1), values)
        for border in range(trial.horizon, number, trial.horizon):
            axis.axvline(border + 0.5, color="0.8", linewidth=0.8)
        axis.set(title=f"{name} of the latent", xlabel="step of the trial")
    save(figure, path)
