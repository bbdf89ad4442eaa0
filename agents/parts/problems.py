"""Problems: what an agent draws and which losses it follows. Here parameters meet data."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax

from agents.parts.functions import told
from agents.parts.networks import Network, Policy
from agents.parts.normalization import merged, seen_in
from metarl import advantages, gains
from metarl.interfaces import Experience, Outcome, Problem, Trajectory
from metarl.meta import last
from metarl.sampler import rollout
from metarl.surrogates import Surrogate, over_scale, relative_scale


class Episodes(NamedTuple):
    """A batch for policy gradients. Leaves [N, T, ...]; everything but the trajectory's actions is fixed data.

    Attributes:
        trajectory: the episodes, with the behaviour policy's log-probabilities and distribution parameters.
        advantage: [N, T], zero after the end.
        episode_return: [N], undiscounted.
        explained_variance: [N], the share of the returns' variance that the baseline explains, one number for the batch.
        measures: name -> [N], what else the family measures of the episodes.
    """

    trajectory: Trajectory
    advantage: jax.Array
    episode_return: jax.Array
    explained_variance: jax.Array
    measures: dict[str, jax.Array] = {}  # noqa: RUF012 - never changed


def measures_of(family: Any, trajectory: Trajectory) -> dict[str, jax.Array]:
    """Name -> [...], what a family measures of episodes [..., T] beside their return; empty if nothing."""
    return family.episode_measures(trajectory.info, trajectory.mask) if trajectory.info else {}


MEASURED = "measures/"  # how metrics of what the family measures begin


def measured(metrics: dict[str, Any]) -> dict[str, jax.Array]:
    """Those of the metrics that are measures, under their own names."""
    return {name.removeprefix(MEASURED): value for name, value in metrics.items() if name.startswith(MEASURED)}


# observation [N, T, ...], target [N, T], mask [N, T] -> value [N, T]
Baseline = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def policy_gradient(
    family: Any,
    policy: Policy,
    *,
    num_episodes: int,
    inner_surrogate: Surrogate,
    outer_surrogate: Surrogate,
    gamma: float = 0.99,
    gae_lambda: float = 1.0,
    baseline: Baseline = advantages.linear_baseline,
    scale: Callable[[jax.Array, jax.Array], jax.Array] = advantages.normalize,
    moving_scale: bool = False,
    weigh_steps: Callable[[jax.Array, float], jax.Array] = advantages.equal_steps,
    unroll: int = 5,
    count_seen: bool = False,
) -> Problem:
    """Policy-gradient adaptation on a family of environments.

    A batch is ``num_episodes`` episodes of ``family.horizon`` steps, with generalised advantages over a baseline that is
    fitted to the batch, centred and scaled (Finn et al. 2017, Appendix A.2).

    Args:
        family: the environments, with ``horizon``.
        policy: maps observations to action distributions.
        num_episodes: N.
        inner_surrogate: maximised by inner steps; see `metarl.surrogates`.
        outer_surrogate: maximised by the outer update, at the last parameters on the query batch.
        gamma: discount of the advantages.
        gae_lambda: 1 gives discounted returns minus the baseline.
        baseline: fitted to every batch; see `metarl.advantages`.
        scale: (advantage [N, T], mask [N, T]) -> advantage, centred and scaled: over the batch, or in all tasks alike.
        moving_scale: whether a meta-gradient sees the batch's own scale move; see `metarl.surrogates.over_scale`.
        weigh_steps: (advantage, gamma) -> advantage as both surrogates see it; see `metarl.advantages.discounted_steps`.
        unroll: see `metarl.sampler.rollout`.
        count_seen: whether the outer loss's metrics hold statistics of all observations, for `agents.parts.normalization`.
    """

    def play(params, task, key, choose):
        def actor(observation, key_action):
            parameters = policy.network.apply(params, observation)
            action, log_prob = choose(policy.distribution(parameters), key_action)
            return action, log_prob, parameters

        def episode(key_episode):
            return rollout(family, actor, task, key_episode, horizon=family.horizon, unroll=unroll)

        return jax.vmap(episode)(jax.random.split(key, num_episodes))

    def sample(distribution, key_action):
        return distribution.sample_and_log_prob(seed=key_action)

    def greedy(distribution, key_action):
        del key_action
        return distribution.mode(), jnp.zeros(())

    def sample_batch(params, task, key):
        return batch_of(play(params, task, key, sample))

    def batch_of(trajectory):
        returns = advantages.discounted_sum(trajectory.reward, gamma)
        value = baseline(trajectory.observation, returns, trajectory.mask)
        explained = advantages.explained_variance(value, returns, trajectory.mask)
        value = jnp.pad(value, ((0, 0), (0, 1)))  # the horizon is part of the task: nothing follows it
        advantage = jax.vmap(advantages.generalized_advantage, (0, 0, None, None))(trajectory.reward, value, gamma, gae_lambda)
        advantage = scale(advantage, trajectory.mask)
        episode_return = jnp.sum(trajectory.reward, axis=1)
        explained = jnp.broadcast_to(explained, episode_return.shape)
        return Episodes(trajectory, advantage, episode_return, explained, measures_of(family, trajectory))

    def evaluate(params, task, key):
        key_sample, key_greedy = jax.random.split(key)

        def outcome(key_episodes, choose):
            trajectory = play(params, task, key_episodes, choose)
            means = {name: jnp.mean(value) for name, value in measures_of(family, trajectory).items()}
            returns = jnp.sum(trajectory.reward, axis=1)
            return Outcome(jnp.mean(returns), means), gains.standard_error(returns)

        sampled, error = outcome(key_sample, sample)
        return sampled, outcome(key_greedy, greedy)[0], error

    def log_prob_of(params, trajectory):
        distribution = policy.distribution(policy.network.apply(params, trajectory.observation))
        return distribution.log_prob(trajectory.action)

    def loss(surrogate, params, batch):
        trajectory, advantage = batch.trajectory, weigh_steps(batch.advantage, gamma)
        return -surrogate(log_prob_of(params, trajectory), trajectory.log_prob, advantage, trajectory.mask)

    def inner_loss(params, batch):
        value = loss(inner_surrogate, params, batch)
        if moving_scale:
            trajectory = batch.trajectory
            recorded = trajectory.log_prob, batch.advantage, trajectory.mask
            value = over_scale(value, relative_scale(log_prob_of(params, trajectory), *recorded))
        return value, {}

    def outer_loss(path, experience):
        support, query = experience.support, experience.query
        num_steps = support.advantage.shape[0]
        before = support if num_steps else jax.tree.map(lambda x: x[None], query)
        metrics = {
            "score": jnp.append(jnp.mean(support.episode_return, axis=1), jnp.mean(query.episode_return)),
            "gain_error": gains.error_of_batches(jnp.concatenate([support.episode_return, query.episode_return[None]])),
            "num_samples": jnp.sum(support.trajectory.mask) + jnp.sum(query.trajectory.mask),
            "policy/entropy": entropy(query.trajectory),
            "policy/kl": kl_of_adaptation(path, query.trajectory),
            "baseline/explained_variance_pre": before.explained_variance[0, 0],
            "baseline/explained_variance_post": query.explained_variance[0],
        }
        for name, value in query.measures.items():
            metrics[MEASURED + name] = jnp.append(jnp.mean(support.measures[name], axis=1), jnp.mean(value))
        if jax.tree.leaves(path)[0].shape[0] == num_steps + 1:  # a meta-gradient may know the ends of the path alone
            moved = jax.vmap(kl)(jax.tree.map(lambda x: x[1:], path), jax.tree.map(lambda x: x[:, :1], support.trajectory))
            metrics |= {f"inner/kl_{k + 1}": moved[k] for k in range(num_steps)}
        if count_seen:
            drawn = [(part.trajectory.observation, part.trajectory.mask) for part in (support, query)]
            parts = [seen_in(observation.astype(float), mask) for observation, mask in drawn]
            metrics["seen"] = merged(parts[0], jax.tree.map(lambda x: x[None], parts[1]))
        return loss(outer_surrogate, last(path), query), metrics

    def entropy(trajectory):
        per_step = policy.distribution(trajectory.distribution).entropy()
        return jnp.sum(trajectory.mask * per_step) / jnp.sum(trajectory.mask)

    def kl(params, trajectory):
        # KL(behaviour || params), mean over the states of episodes [N, T].
        now = policy.distribution(policy.network.apply(params, trajectory.observation))
        per_step = policy.distribution(trajectory.distribution).kl_divergence(now)
        return jnp.sum(trajectory.mask * per_step) / jnp.sum(trajectory.mask)

    def kl_of_adaptation(path, trajectory):
        # KL(before || after) over the states of one query episode: enough states, at a fraction of a pass over all.
        episode = jax.tree.map(lambda x: x[0], trajectory)
        before = policy.network.apply(jax.tree.map(lambda x: x[0], path), episode.observation)
        per_step = policy.distribution(before).kl_divergence(policy.distribution(episode.distribution))
        return jnp.sum(episode.mask * per_step) / jnp.sum(episode.mask)

    def divergence(path, experience):
        batches = jax.tree.map(lambda s, q: jnp.concatenate([s, q[None]]), experience.support, experience.query)
        return jax.vmap(kl)(path, batches.trajectory)

    def step_losses(path, experience):
        # The batch drawn after step k judges it: the next step's support, or the query.
        support, query = experience.support, experience.query
        batches = jax.tree.map(lambda s, q: jnp.concatenate([s[1:], q[None]]), support, query)
        losses = jax.vmap(loss, (None, 0, 0))(outer_surrogate, jax.tree.map(lambda x: x[1:], path), batches)
        return losses, outer_loss(path, experience)[1]

    optional: dict[str, Any] = {"step_losses": step_losses, "divergence": divergence, "evaluate": evaluate}
    return Problem(sample_batch, inner_loss, outer_loss, **optional, batch_of=batch_of)


def mean_squared_error(prediction: jax.Array, y: jax.Array) -> jax.Array:
    """Mean over points and outputs of the squared error.

    Raises:
        ValueError: the shapes differ; broadcast, they would give a number that means nothing.
    """
    _refuse_other_shapes(prediction, y)
    return jnp.mean((prediction - y) ** 2)


def cross_entropy(logits: jax.Array, y: jax.Array) -> jax.Array:
    """Mean over points of the cross-entropy, in nats; ``logits`` and one-hot ``y`` are [N, C].

    Raises:
        ValueError: the shapes differ.
    """
    _refuse_other_shapes(logits, y)
    return jnp.mean(optax.softmax_cross_entropy(logits, y))


def accuracy(logits: jax.Array, y: jax.Array) -> jax.Array:
    """Share of points whose greatest logit is that of their class; one with a logit that is not finite counts as wrong."""
    _refuse_other_shapes(logits, y)
    right = jnp.argmax(logits, axis=-1) == jnp.argmax(y, axis=-1)
    return jnp.mean(right & jnp.all(jnp.isfinite(logits), axis=-1), dtype=logits.dtype)


def _refuse_other_shapes(prediction: jax.Array, y: jax.Array) -> None:
    if jnp.shape(prediction) != jnp.shape(y):
        raise ValueError(f"predictions have shape {jnp.shape(prediction)}, but y has shape {jnp.shape(y)}; they must agree.")


class Points(NamedTuple):
    """How many numbers one point of a regression family has: inputs and outputs."""

    inputs: int
    outputs: int


def points_of(sample: Callable[[Any, jax.Array], Any], sample_task: Callable, num_points: int | None, called: str) -> Points:
    """What a user's function draws, from its shapes alone.

    Args:
        sample: (task, key) -> (x, y).
        sample_task: key -> task.
        num_points: N, that it must draw; any number if None.
        called: its name, for the message.

    Raises:
        ValueError: it does not give x [N, F] and y [N, O] of real numbers.
    """
    try:
        drawn = jax.eval_shape(lambda key: sample(sample_task(key), key), jax.random.key(0))
    except Exception as error:  # whatever a user's function raises becomes one line
        raise ValueError(f"{called} fails: {told(error)}") from error
    if not isinstance(drawn, tuple | list) or len(drawn) != 2:
        raise ValueError(f"{called} gives {type(drawn).__name__}, but must give a pair (x, y).")
    for name, letter, values in zip("xy", "FO", drawn, strict=True):
        shape = getattr(values, "shape", None)
        if shape is None:
            raise ValueError(f"{called} gives {name} as {type(values).__name__}, but it must be an array [N, {letter}].")
        if len(shape) != 2 or (num_points is not None and shape[0] != num_points) or shape[1] < 1 or not shape[0]:
            wanted = "N" if num_points is None else f"N = {num_points}"
            hint = f"; {name}[:, None] adds the missing axis" if shape == (num_points,) else ""
            raise ValueError(f"{called} gives {name} of shape {shape}, but it must be [{wanted}, {letter}]{hint}.")
        if not (jnp.issubdtype(values.dtype, jnp.floating) or jnp.issubdtype(values.dtype, jnp.integer)):
            raise ValueError(f"{called} gives {name} of {values.dtype}, but it must hold real numbers.")
    x, y = drawn
    if x.shape[0] != y.shape[0]:
        raise ValueError(f"{called} gives {x.shape[0]} rows of x, but {y.shape[0]} of y.")
    return Points(x.shape[1], y.shape[1])


Part = TypeVar("Part")


def needed(agent: str, part: Part | None, name: str, of: str, what: str) -> Part:
    """An optional part of a problem or world, without which an agent cannot be; ValueError if it is None.

    >>> needed("maml++", None, "step_losses", "problem", "the loss after every inner step")
    Traceback (most recent call last):
    ValueError: maml++ needs the loss after every inner step, but this problem has no step_losses.
    """
    if part is None:
        raise ValueError(f"{agent} needs {what}, but this {of} has no {name}.")
    return part


def judged_by_query(experience: Experience) -> Any:
    """The batch that the outer loss is taken on: usually the query set."""
    return experience.query


def judged_by_support(experience: Experience) -> Any:
    """The first support set, where the outer loss is taken on the points that inner steps saw."""
    return jax.tree.map(lambda x: x[0], experience.support)


def regression(
    family: Any,
    network: Network,
    *,
    num_shots: int,
    sample_query: Callable | None = None,
    error: Callable = mean_squared_error,
    judged_by: Callable = judged_by_query,
    measures: Mapping[str, Callable] = MappingProxyType({}),
) -> Problem:
    """K-shot learning, the same error inside and out. A batch is (x [N, F], y [N, O]); of classes y is one-hot.

    Args:
        family: ``sample(task, key, num_points) -> (x, y)``.
        network: maps x to predictions.
        num_shots: points in the support set, and as many fresh ones in the query set.
        sample_query: (task, key) -> (x, y), if the query set is drawn otherwise.
        error: (prediction [N, O], y [N, O]) -> scalar.
        judged_by: experience -> the batch of the outer loss.
        measures: name -> (prediction, y) -> scalar, looked at beside the error after every inner step, and never followed.
    """

    def sample_batch(params, task, key):
        del params
        return family.sample(task, key, num_shots)

    def loss(params, batch):
        x, y = batch
        return error(network.apply(params, x), y)

    def outer_loss(path, experience):
        outcome = loss(last(path), judged_by(experience))
        # Removes terms that are zero: losses before the last step are reported, not followed.
        earlier = losses_along(jax.lax.stop_gradient(jax.tree.map(lambda x: x[:-1], path)), experience)
        return outcome, report(jnp.append(earlier, outcome), path, experience)

    def step_losses(path, experience):
        losses = losses_along(path, experience)
        return losses[1:], report(losses, path, experience)

    def losses_along(path, experience):
        return jax.vmap(loss, (0, None))(path, judged_by(experience))

    def report(losses, path, experience):
        drawn = (experience.support[0], experience.query[0]) if experience.support[0].shape[0] else (experience.query[0],)
        metrics = {"score": -losses, "num_samples": jnp.asarray(sum(x.shape[-2] for x in drawn))}
        if measures:
            x, y = judged_by(experience)
            # Removes nothing that is followed: what is measured is only looked at.
            predictions = jax.lax.stop_gradient(jax.vmap(network.apply, (0, None))(path, x))
            metrics |= {MEASURED + name: jax.vmap(of, (0, None))(predictions, y) for name, of in measures.items()}
        return metrics

    draw_query = None if sample_query is None else lambda params, task, key: sample_query(task, key)

    def inner_loss(params, batch):
        return loss(params, batch), {}

    def gauss_newton(params, batch, v):
        x, y = batch
        prediction, moved = jax.jvp(lambda p: network.apply(p, x), (params,), (v,))
        _, bent = jax.jvp(jax.grad(lambda out: error(out, y)), (prediction,), (moved,))
        _, transpose = jax.vjp(lambda p: network.apply(p, x), params)
        return transpose(bent)[0]

    return Problem(sample_batch, inner_loss, outer_loss, draw_query, step_losses, gauss_newton=gauss_newton)
