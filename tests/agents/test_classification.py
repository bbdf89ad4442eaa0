"""Few-shot classification: cross-entropy, its meta-gradient, accuracy, prototypes and convolutions, each by another route."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

import agents
from agents.agent import RegressionSettings, Training
from agents.parts.networks import Conv, patches
from agents.parts.problems import accuracy, cross_entropy, regression
from agents.parts.world import classification_world
from envs.few_shot import arrays, from_arrays
from metarl import rules
from metarl.interfaces import Experience
from metarl.meta import through_adaptation

SERVING = [name for name in agents.AGENTS if "classification" in agents.find(name).serves]
WAYS, SHOTS = 3, 2


def examples(shape=(4,), seed=0):
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(8), 7)
    centre = rng.normal(size=(8, *shape))
    return arrays(centre[label] + 0.3 * rng.normal(size=(56, *shape)), label=label)


def family(shape=(4,)):
    return from_arrays(examples(shape), shots=SHOTS, query_shots=3, ways=WAYS)


def numpy_cross_entropy(weights, x, label):
    return -np.mean(log_softmax(x @ weights, axis=1)[np.arange(len(x)), label])


def numpy_gradient(weights, x, label):
    probability = np.exp(log_softmax(x @ weights, axis=1))
    return x.T @ (probability - np.eye(weights.shape[1])[label]) / len(x)


@pytest.mark.usefixtures("float64")
def test_meta_gradient_of_a_linear_softmax_against_finite_differences():
    """The outer loss after two inner steps, in NumPy with the gradient p - y by hand, differentiated by central differences."""
    rng, rate = np.random.default_rng(1), 0.7
    x, label, x_query, label_query = (
        rng.normal(size=(6, 4)),
        np.array([0, 1, 2, 0, 1, 2]),
        rng.normal(size=(5, 4)),
        [2, 0, 1, 1, 0],
    )
    weights = rng.normal(size=(4, 3))

    def outer(weights):
        for _ in range(2):
            weights = weights - rate * numpy_gradient(weights, x, label)
        return numpy_cross_entropy(weights, x_query, label_query)

    expected = np.zeros_like(weights)
    for place in np.ndindex(*weights.shape):
        step = np.zeros_like(weights)
        step[place] = 1e-5
        expected[place] = (outer(weights + step) - outer(weights - step)) / 2e-5
    linear = agents.parts.networks.Network(None, lambda w, x: x @ w, None, None)
    problem = regression(None, linear, num_shots=6, error=cross_entropy, measures={"accuracy": accuracy})
    support = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), (jnp.asarray(x), jnp.eye(3)[label]))
    experience = Experience(support, (jnp.asarray(x_query), jnp.eye(3)[np.array(label_query)]))
    found, metrics = through_adaptation(problem, rules.sgd(rate))(jnp.asarray(weights), experience)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)
    first_order, _ = through_adaptation(problem, rules.first_order(rules.sgd(rate)))(jnp.asarray(weights), experience)
    assert np.abs(first_order - expected).max() > 1e-2, "the second derivative is in it"
    np.testing.assert_allclose(metrics["loss"], outer(weights), rtol=1e-12)
    right = [int(np.argmax(row) == one) for row, one in zip(x_query @ weights, label_query, strict=True)]
    np.testing.assert_allclose(metrics["measures/accuracy"][0], np.mean(right))
    assert metrics["measures/accuracy"].shape == metrics["score"].shape == (3,)


def test_cross_entropy_and_accuracy_against_numpy():
    logits, label = np.random.default_rng(2).normal(size=(50, 4)) * 5, np.random.default_rng(3).integers(0, 4, 50)
    y = np.eye(4, dtype=np.float32)[label]
    np.testing.assert_allclose(cross_entropy(jnp.float32(logits), y), numpy_cross_entropy(np.eye(4), logits, label), rtol=1e-5)
    np.testing.assert_allclose(accuracy(jnp.float32(logits), y), np.mean(logits.argmax(axis=1) == label), rtol=1e-6)
    assert accuracy(jnp.full((5, 4), jnp.nan), y[:5]) == 0.0, "what is not finite is not right"
    with pytest.raises(ValueError, match=r"predictions have shape \(4,\), but y has shape \(5, 4\); they must agree"):
        cross_entropy(jnp.zeros(4), y[:5])
    with pytest.raises(ValueError, match="must agree"):
        accuracy(jnp.zeros(4), y[:5])


def test_logits_of_protonet_are_distances_from_class_means():
    """With the identity for an embedding: Snell et al. 2017, Equations 1 and 2, in NumPy."""
    tasks = family()
    world = classification_world(tasks, RegressionSettings(num_shots=SHOTS))
    identity = agents.parts.networks.Network(lambda key: {"scale": jnp.ones(())}, lambda p, x: p["scale"] * x, None, None)
    learner = agents.find("protonet").make(
        world._replace(embed=lambda size: identity), Training(2, 1e-3), agents.protonet.Protonet()
    )
    curve = learner.adapt(learner.init(jax.random.key(0)), tasks.sample_task(jax.random.key(1)), jax.random.key(2), 2)
    (x, y), (x_query, y_query) = (jax.tree.map(np.asarray, part) for part in (curve.experience.support, curve.experience.query))
    label, label_query = y[0].argmax(axis=1), y_query.argmax(axis=1)
    means = np.stack([x[0][label == each].mean(axis=0) for each in range(WAYS)])
    expected = np.array([[-np.sum((one - mean) ** 2) for mean in means] for one in x_query])
    found = learner.predict(curve.path, None, jnp.asarray(x_query))
    np.testing.assert_allclose(found[1], expected, rtol=1e-4)
    np.testing.assert_array_equal(found[1], found[2])
    np.testing.assert_allclose(curve.score[1], -numpy_cross_entropy(np.eye(WAYS), expected, label_query), rtol=1e-4)
    np.testing.assert_allclose(curve.measures["accuracy"][1], np.mean(expected.argmax(axis=1) == label_query))
    np.testing.assert_allclose(curve.score[0], -np.log(WAYS), rtol=1e-5, err_msg="unread, all classes are alike")


@pytest.mark.parametrize("size", [(8, 8), (5, 7)])
def test_convolutions_are_those_of_xla(size):
    x = jax.random.normal(jax.random.key(0), (3, *size, 2))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 2, 4))
    expected = jax.lax.conv_general_dilated(x, kernel, (2, 2), [(1, 1)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    found = patches(x) @ kernel.reshape(18, 4)
    np.testing.assert_allclose(found, expected[:, : found.shape[1], : found.shape[2]], rtol=1e-4, atol=1e-5)
    assert found.shape == expected.shape and Conv().init_with_output(jax.random.key(0), x)[0].shape[0] == 3


@pytest.mark.parametrize("name", SERVING)
def test_every_agent_takes_classes_of_images(name):
    """Shapes alone: a convolution, one-hot labels, accuracy along the curve."""
    tasks = family((6, 6, 1))
    learner = agents.make(name, tasks, num_shots=SHOTS, network=Conv(4), num_tasks=2, num_iterations=5)
    state = jax.eval_shape(learner.init, jax.random.key(0))
    _, metrics = jax.eval_shape(learner.step, state, jax.random.key(0))
    task = jax.eval_shape(tasks.sample_held_out_task, jax.random.key(0))
    curve = jax.eval_shape(lambda *given: learner.adapt(*given, 2), state, task, jax.random.key(0))
    assert curve.measures["accuracy"].shape == curve.score.shape == (3,)
    assert curve.experience.support[0].shape == (2, WAYS * SHOTS, 36) and curve.experience.query[1].shape == (9, WAYS)
    assert "measures/accuracy_post" in metrics or name == "multitask"


def test_what_serves_no_classes_says_so():
    with pytest.raises(ValueError, match=r"^oracle serves reinforcement learning and regression only\.$"):
        agents.make("oracle", family(), num_shots=SHOTS)
    with pytest.raises(ValueError, match=r"^protonet serves classification only\.$"):
        agents.make("protonet", from_arrays(arrays(np.ones((4, 5, 1)), y=np.ones((4, 5))), shots=2, query_shots=2))
    with pytest.raises(ValueError, match=r"conv reads images \[height, width, channels\], but inputs have shape \(4,\)"):
        agents.make("maml", family(), num_shots=SHOTS, network=Conv())
    with pytest.raises(ValueError, match="oracle needs to show the task to the network"):
        agents.make("oracle", from_arrays(arrays(np.ones((4, 5, 1)), y=np.ones((4, 5))), shots=2, query_shots=2), num_shots=2)


def test_a_conv_is_adapted_like_any_network():
    """One SGD step of the whole network, by hand."""
    tasks = family((6, 6, 1))
    learner = agents.make("maml", tasks, num_shots=SHOTS, network=Conv(4), num_tasks=2, inner_lr=0.5)
    state, task = learner.init(jax.random.key(0)), tasks.sample_task(jax.random.key(1))
    curve = learner.adapt(state, task, jax.random.key(2), 1)
    x, y = tasks.sample(task, None, SHOTS)
    loss = lambda theta: cross_entropy(learner.predict(jax.tree.map(lambda leaf: leaf[None], theta), None, x)[0], y)
    by_hand = jax.tree.map(lambda p, g: p - 0.5 * g, state.theta, jax.grad(loss)(state.theta))
    for found, expected in zip(jax.tree.leaves(curve.path), jax.tree.leaves(by_hand), strict=True):
        np.testing.assert_allclose(found[1], expected, rtol=1e-4, atol=1e-6)
