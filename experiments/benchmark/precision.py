"""What lower precision does to the meta-gradient of 2D navigation, against float64 on the same recorded data."""

import jax
import jax.numpy as jnp
import numpy as np

import envs
from agents import ReinforcementSettings, policy_gradient_world
from agents.parts.networks import Policy, policy
from metarl import meta, rules
from metarl.inner_loop import collect

INNER_LR = 0.1
HOW = ("float32", "bfloat16 products (matmul precision)", "bfloat16 network")


def gradient_errors(
    num_tasks: int, num_episodes: int, horizon: int, hidden_sizes: tuple[int, ...]
) -> dict[str, dict[str, float]]:
    """How -> relative error (norm of the difference over the norm) and cosine of the mean meta-gradient of ``num_tasks`` tasks.

    Network evaluation and its derivatives are in the precision named; losses, advantages and the inner step are not. A CPU has
    no bfloat16 unit that ``jax.default_matmul_precision`` could switch on: there that row equals float32.
    """
    family = envs.make("metarl/Navigation2D-v0", horizon=horizon)
    settings = ReinforcementSettings(num_episodes, hidden_sizes=hidden_sizes)
    full = policy(
        family.observation_space,
        family.action_space,
        hidden_sizes=hidden_sizes,
        activation=settings.activation,
        initial_std=1.0,
    )
    world = policy_gradient_world(family, settings)
    rule = rules.sgd(INNER_LR)
    theta = full.network.init(jax.random.key(0))

    def draw(key):
        problem, (key_task, key_data) = world.make_problem(full.network), jax.random.split(key)
        return collect(problem, rule, theta, family.sample_task(key_task), key_data, 1, resample=True)

    experience = jax.device_get(jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(1), num_tasks)))

    def gradient(network, theta, experience):
        of_task = meta.through_adaptation(world.make_problem(network), rule)
        grads, _ = jax.vmap(of_task, (None, 0))(theta, experience)
        return jax.tree.map(lambda g: jnp.mean(g, axis=0), grads)

    def flat(network, theta, experience):
        found = jax.jit(gradient, static_argnums=0)(network, theta, experience)
        return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(found)])

    found = {HOW[0]: flat(full.network, theta, experience)}
    with jax.default_matmul_precision("bfloat16"):
        found[HOW[1]] = flat(full.network, theta, experience)
    found[HOW[2]] = flat(_narrow(full).network, theta, experience)
    wide = jax.tree.map(lambda x: np.asarray(x, np.float64 if x.dtype == np.float32 else x.dtype), (theta, experience))
    with jax.enable_x64(True):
        exact = flat(full.network, *wide)
    return {how: _compare(value, exact) for how, value in found.items()}


def _narrow(full: Policy) -> Policy:
    """The same policy with its network evaluated in bfloat16."""

    def apply(params, observation, extra=()):
        small, seen = jax.tree.map(lambda x: x.astype(jnp.bfloat16), (params["mean"], observation))
        loc = full.network.apply({"mean": small, "log_std": params["log_std"]}, seen, extra)["mean"].astype(jnp.float32)
        return {"mean": loc, "log_std": jnp.broadcast_to(params["log_std"], loc.shape)}

    return full._replace(network=full.network._replace(apply=apply))


def _compare(value: np.ndarray, exact: np.ndarray) -> dict[str, float]:
    norm = np.linalg.norm(exact)
    return {
        "relative_error": float(np.linalg.norm(value - exact) / norm),
        "cosine": float(value @ exact / (np.linalg.norm(value) * norm)),
    }
