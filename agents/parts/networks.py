"""Policies and regressors as pairs of functions. The one file that imports distrax."""

import functools
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from metarl.interfaces import known

if TYPE_CHECKING:
    import distrax

ACTIVATIONS: dict[str, Callable] = {"relu": nn.relu, "tanh": nn.tanh}
MIN_LOG_STD = float(np.log(1e-6))
CHANNELS = (16, 32, 32)  # ours: of convolutions 3 x 3, each of half the height and width of the one before
NOT_THERE = -1e9  # logit of a value that an entry does not have, others having more: its probability is exactly 0
LECUN = nn.initializers.lecun_normal()


class Network(NamedTuple):
    """A function with parameters, and where its head is.

    Attributes:
        init: key -> params.
        apply: (params, x, extra) -> y. ``extra`` [E] joins every input; E is fixed when the network is made, often 0.
        split: params -> (head, body); the head is the last layer and what belongs to it.
        merge: (head, body) -> params.
    """

    init: Callable[[jax.Array], Any]
    apply: Callable[..., Any]
    split: Callable[[Any], tuple[Any, Any]]
    merge: Callable[[Any, Any], Any]


class Policy(NamedTuple):
    """A network that names an action distribution.

    Attributes:
        network: maps observations [..., O] to the distribution's parameters, a pytree of arrays that batches can store.
        distribution: those parameters -> distrax.Distribution over actions.
    """

    network: Network
    distribution: "Callable[[Any], distrax.Distribution]"


@jax.custom_jvp
def rows_times(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Multiply x [N, inputs] with kernel [inputs, outputs], x being transposed once for the kernel's gradient.

    Left to itself the compiler transposes inside that product, which takes a CPU twice as long where rows are few: a tenth of
    a sinusoid meta-iteration.
    """
    return x @ kernel


@rows_times.defjvp
def _rows_times_jvp(primals, tangents):
    (x, kernel), (x_dot, kernel_dot) = primals, tangents
    columns = jax.lax.optimization_barrier(x.T)  # or it would be merged into the product again
    return rows_times(x, kernel), rows_times(x_dot, kernel) + jnp.einsum("in,io->no", columns, kernel_dot)


def product(x: jax.Array, kernel: jax.Array, dimension_numbers, **options) -> jax.Array:
    """What `nn.Dense` multiplies with: x [..., inputs], kernel [inputs, outputs]."""
    few_rows = x.ndim == 2 and min(kernel.shape) > 1
    return rows_times(x, kernel) if few_rows else jax.lax.dot_general(x, kernel, dimension_numbers, **options)


class MLP(nn.Module):
    """Dense layers of the given sizes with an activation between them and a linear output."""

    hidden_sizes: Sequence[int]
    num_outputs: int
    activation: Callable
    kernel_init: Callable
    bias_init: Callable

    @nn.compact
    def __call__(self, x):
        """Map [..., inputs] to [..., num_outputs]."""
        dense = partial(nn.Dense, kernel_init=self.kernel_init, bias_init=self.bias_init, dot_general=product)
        for size in self.hidden_sizes:
            x = self.activation(dense(size)(x))
        return dense(self.num_outputs)(x)


def mlp(
    input_shape: tuple[int, ...],
    hidden_sizes: Sequence[int],
    num_outputs: int,
    activation: str,
    init: Callable,
    num_extra: int,
    bias_init: Callable = nn.initializers.zeros,
) -> Network:
    """A network from x [..., *input_shape] and ``num_extra`` further inputs to [..., num_outputs]."""
    module = MLP(hidden_sizes, num_outputs, ACTIVATIONS[activation], init, bias_init)
    head = f"Dense_{len(hidden_sizes)}"

    def flat(x, extra):
        x = x.reshape(*x.shape[: x.ndim - len(input_shape)], -1)
        return x if num_extra == 0 else jnp.concatenate([x, jnp.broadcast_to(extra, (*x.shape[:-1], num_extra))], axis=-1)

    def split(params):
        body = {name: layer for name, layer in params["params"].items() if name != head}
        return params["params"][head], body

    return Network(
        init=lambda key: module.init(key, flat(jnp.zeros(input_shape), jnp.zeros(num_extra))),
        apply=lambda params, x, extra=(): module.apply(params, flat(x, extra)),
        split=split,
        merge=lambda layer, body: {"params": body | {head: layer}},
    )


def pixels(x: jax.Array) -> jax.Array:
    """Bytes as numbers from 0 to 1; what are no bytes, such as normalised images, stays as it is."""
    scaled = x.astype(jnp.result_type(x.dtype, float))
    return scaled / 255.0 if x.dtype == jnp.uint8 else scaled


def convolved(x: jax.Array, activation: Callable, kernel_init: Callable) -> jax.Array:
    """Images [..., height, width, channels] -> features [..., F]; its layers belong to the module that calls it."""
    x = pixels(x)
    for channels in CHANNELS:
        x = activation(nn.Conv(channels, (3, 3), strides=2, kernel_init=kernel_init)(x))
    return x.reshape(*x.shape[:-3], -1)


class Convolutions(nn.Module):
    """Images to features: `CHANNELS` convolutions with an activation after each."""

    activation: Callable
    kernel_init: Callable = LECUN

    @nn.compact
    def __call__(self, x):
        """Map [..., height, width, channels] to [..., features]."""
        return convolved(x, self.activation, self.kernel_init)


class ConvNet(nn.Module):
    """`Convolutions`, and on their features and ``extra`` the layers of an `MLP`."""

    hidden_sizes: Sequence[int]
    num_outputs: int
    activation: Callable
    kernel_init: Callable

    @nn.compact
    def __call__(self, x, extra=None):
        """Map [..., height, width, channels] and [..., extra] to [..., num_outputs]."""
        x = convolved(x, self.activation, self.kernel_init)
        x = x if extra is None else jnp.concatenate([x, extra], axis=-1)
        for size in self.hidden_sizes:
            x = self.activation(nn.Dense(size, kernel_init=self.kernel_init)(x))
        return nn.Dense(self.num_outputs, kernel_init=self.kernel_init)(x)


def convnet(
    input_shape: tuple[int, ...],
    hidden_sizes: Sequence[int],
    num_outputs: int,
    activation: str,
    init: Callable,
    num_extra: int,
) -> Network:
    """A network from images [..., height, width, channels] to [..., num_outputs]; further inputs join after convolutions."""
    module = ConvNet(hidden_sizes, num_outputs, ACTIVATIONS[activation], init)
    head = f"Dense_{len(hidden_sizes)}"

    def apply(params, x, extra=()):
        rows = () if num_extra == 0 else (jnp.broadcast_to(extra, (*x.shape[:-3], num_extra)),)
        return module.apply(params, x, *rows)

    def split(params):
        body = {name: layer for name, layer in params["params"].items() if name != head}
        return params["params"][head], body

    rows = () if num_extra == 0 else (jnp.zeros(num_extra),)
    return Network(
        init=lambda key: module.init(key, jnp.zeros(input_shape), *rows),
        apply=apply,
        split=split,
        merge=lambda layer, body: {"params": body | {head: layer}},
    )


def convolved_sizes(shape: tuple[int, ...]) -> list[int]:
    """How many numbers each of the `CHANNELS` convolutions gives of an image of this shape; the last are its features.

    >>> convolved_sizes((8, 8, 3))
    [256, 128, 32]
    """
    height, width = shape[:2]
    sizes = []
    for channels in CHANNELS:
        height, width = -(-height // 2), -(-width // 2)
        sizes.append(height * width * channels)
    return sizes


class WithHead(nn.Module):
    """A user's module with a linear layer called ``head`` on what it gives; ``extra`` joins in before the head."""

    trunk: nn.Module
    num_outputs: int
    kernel_init: Callable

    @nn.compact
    def __call__(self, x, extra=None):
        """Map [B, ...] to [B, num_outputs]."""
        features = self.trunk(x)
        features = features.reshape(features.shape[0], -1)
        if extra is not None:
            features = jnp.concatenate([features, extra], axis=-1)
        return nn.Dense(self.num_outputs, kernel_init=self.kernel_init, name="head")(features)


def from_module(
    network: nn.Module | Callable[[int], nn.Module],
    input_shape: tuple[int, ...],
    num_outputs: int,
    num_extra: int,
    kernel_init: Callable = LECUN,
) -> Network:
    """A user's own flax network as a `Network`.

    Args:
        network: a module that maps inputs [B, *input_shape] to features, on which a linear head is put; or a function from the
            number of outputs to the whole network (a module class whose first field is that number will do). What `anil` and
            others take for the head is then the layer called "head".
        input_shape: of one input; integers become floats.
        num_outputs: of the head.
        num_extra: further inputs, such as CAVIA's context: they join vectors at the input, and features of anything else (of
            images, say) before the head.
        kernel_init: of the head.

    Raises:
        ValueError: no such network, one with a memory or a state, or one whose outputs have another shape.
    """
    name, whole = getattr(network, "__name__", type(network).__name__), not isinstance(network, nn.Module)
    if not callable(network) and not remembers(network):
        raise ValueError(f"network is {network!r}, but must be a flax module or a function that makes one.")
    try:
        module = network(num_outputs) if whole else network
    except Exception as error:  # whatever a user's function raises becomes one line
        raise ValueError(f"network: {name}({num_outputs}) fails: {type(error).__name__}: {one_line(error)}") from error
    if not isinstance(module, nn.Module):
        raise ValueError(f"network: {name}({num_outputs}) made a {type(module).__name__}, but must make a flax module.")
    if remembers(module):
        what = "a recurrent cell" if isinstance(module, nn.RNNCellBase) else "which remembers"
        raise ValueError(
            f"network is {type(module).__name__}, {what}, but this network has no memory; rl2 takes cells, others "
            "a module that maps inputs to features."
        )
    module = module if whole else WithHead(module, num_outputs, kernel_init)
    early = num_extra > 0 and (whole or len(input_shape) == 1)
    if early and len(input_shape) != 1:
        raise ValueError(
            f"network: {name} is a whole network of inputs of shape {input_shape}, which {num_extra} further inputs "
            "cannot join; give a module that maps inputs to features."
        )

    def run(function, x, extra):
        lead = x.shape[: x.ndim - len(input_shape)]
        x = x.reshape(-1, *input_shape).astype(jnp.result_type(x.dtype, float))
        if not num_extra:
            return function(x).reshape(*lead, num_outputs)
        rows = jnp.broadcast_to(extra, (*lead, num_extra)).reshape(-1, num_extra)
        arguments = (jnp.concatenate([x, rows], axis=-1),) if early else (x, rows)
        return function(*arguments).reshape(*lead, num_outputs)

    def init(key):
        found: dict[str, Any] = {}

        def once(*arguments):
            found.update(module.init(key, *arguments))
            return jnp.zeros((arguments[0].shape[0], num_outputs))

        run(once, jnp.zeros((1, *input_shape)), jnp.zeros(num_extra))
        return found

    def apply(params, x, extra=()):
        return run(lambda *arguments: module.apply(params, *arguments), x, extra)

    def split(params):
        layers = params["params"]
        if "head" not in layers:
            raise ValueError(f"network: {name} has no layer called 'head', but {', '.join(layers)}; name the last one 'head'.")
        return layers["head"], {name: layer for name, layer in layers.items() if name != "head"}

    _try_out(name, init, apply, input_shape, num_outputs, num_extra)
    return Network(init, apply, split, lambda head, body: {"params": body | {"head": head}})


def remembers(module: Any) -> bool:
    """Whether a flax module is a memory: a recurrent cell, or a module with ``start`` and ``act``."""
    own = isinstance(module, nn.Module) and all(callable(getattr(module, name, None)) for name in ("start", "act"))
    return own or isinstance(module, nn.RNNCellBase)


def one_line(error: Exception) -> str:
    """The beginning of its message."""
    return " ".join(str(error).split())[:300]


def with_head(network: Network) -> Network:
    """The same network; ValueError in one line if it has no head to adapt on its own."""
    network.split(jax.eval_shape(network.init, jax.random.key(0)))
    return network


def _try_out(name, init, apply, input_shape, num_outputs, num_extra) -> None:
    """Refuse in one line what fails, keeps a state, or has outputs of another shape."""
    try:
        params = jax.eval_shape(init, jax.random.key(0))
        other = sorted(set(params) - {"params"})
        if not other:
            jax.eval_shape(apply, params, jnp.zeros((2, *input_shape)), jnp.zeros(num_extra))
    except Exception as error:  # whatever a user's module raises becomes one line
        raise ValueError(
            f"network: {name} fails on inputs of shape {(2, *input_shape)} with {num_outputs} outputs: "
            f"{type(error).__name__}: {one_line(error)}"
        ) from error
    if other:
        raise ValueError(
            f"network: {name} keeps {', '.join(other)}, a state that adaptation cannot carry; use layers without one."
        )


def regressor(
    input_shape: tuple[int, ...],
    hidden_sizes: Sequence[int],
    activation: str,
    *,
    num_extra: int = 0,
    num_outputs: int = 1,
    network: Any = None,
    kernel_init: Callable,
    bias_init: Callable = nn.initializers.zeros,
    trunk: str = "mlp",
) -> Network:
    """A network from x to predictions: an MLP, convolutions on images before it, or the user's own."""
    if network is None and trunk == "conv":
        return convnet(input_shape, hidden_sizes, num_outputs, activation, kernel_init, num_extra)
    if network is None:
        return mlp(input_shape, hidden_sizes, num_outputs, activation, kernel_init, num_extra, bias_init)
    return from_module(network, input_shape, num_outputs, num_extra, kernel_init)


def of_flat_inputs(network: Network, shape: tuple[int, ...]) -> Network:
    """A network of inputs [..., *shape], reading them from rows [..., F] that hold their numbers."""
    return network._replace(apply=lambda params, x, extra=(): network.apply(params, x.reshape(*x.shape[:-1], *shape), extra))


class Conv(nn.Module):
    """Images [B, H, W, C] to features: 3 x 3 convolutions with stride 2 and ReLU until 2 x 2 places are left.

    After Finn et al. 2017, Section 5.2, who have strides in the place of pooling on small images; without batch normalisation,
    which would let the points of a query set see one another.
    """

    filters: int = 32

    @nn.compact
    def __call__(self, x):
        """Map images to [B, places * filters]."""
        if x.ndim != 4:
            raise ValueError(f"conv reads images [height, width, channels], but inputs have shape {x.shape[1:]}.")
        while True:
            x = nn.relu(nn.Dense(self.filters, dot_general=product)(patches(x)))
            if min(x.shape[1:3]) <= 2:
                return x.reshape(x.shape[0], -1)


def patches(x: jax.Array) -> jax.Array:
    """What 3 x 3 convolutions with stride 2 multiply: [B, H, W, C] -> [B, ceil(H/2), ceil(W/2), 9 * C], zeros around.

    Adapted kernels differ from task to task; products with patches are batched over tasks as matrices are, where a CPU takes a
    slow way for convolutions.
    """
    height, width = (-(-size // 2) for size in x.shape[1:3])
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    parts = [padded[:, i : i + 2 * height - 1 : 2, j : j + 2 * width - 1 : 2] for i in range(3) for j in range(3)]
    return jnp.concatenate(parts, axis=-1)


def with_context(network: Network) -> Network:
    """A network made for extra inputs, reading them from its parameters: ``{"network": ..., "context": [E]}``."""
    return network._replace(apply=lambda params, x: network.apply(params["network"], x, params["context"]))


def with_embedding(network: Network, size: int) -> Network:
    """A network made for ``size`` extra inputs, with an embedding of its task in the place of a head: `with_context`'s context.

    The embedding is drawn from a standard normal.
    """

    def init(key):
        key_network, key_embedding = jax.random.split(key)
        return {"network": network.init(key_network), "context": jax.random.normal(key_embedding, (size,))}

    return Network(
        init,
        apply=lambda params, x, extra=(): network.apply(params["network"], x, params["context"]),
        split=lambda params: (params["context"], params["network"]),
        merge=lambda embedding, shared: {"network": shared, "context": embedding},
    )


def observation_shape(space: gymnasium.Space) -> tuple[int, ...]:
    """The shape of observations from ``space``; ValueError unless policies can read them."""
    if not isinstance(space, gymnasium.spaces.Box):
        raise ValueError(f"observation_space is {space}, but policies read Box observations.")
    return space.shape


def policy(
    observation_space: gymnasium.Space,
    action_space: gymnasium.Space,
    *,
    hidden_sizes: Sequence[int],
    activation: str,
    initial_std: float,
    num_extra: int = 0,
    network: Any = None,
    trunk: str = "mlp",
) -> Policy:
    """A Gaussian policy for Box actions, categorical ones for Discrete and MultiDiscrete, Bernoullis for MultiBinary actions.

    The Gaussian's mean is a network; its log standard deviation is a parameter of its own, the same in every state, learned
    and adapted with the rest. Networks start with Glorot-uniform weights, as in rllab. A Tuple's parts share the network up to
    its last layer and are drawn independently of one another: an action is a tuple then.

    Args:
        observation_space: Box.
        action_space: as `agents.parts.action_units.policy_space` has it: Discrete from 0, Box, MultiDiscrete from 0 and
            MultiBinary of one axis, or a Tuple of these.
        hidden_sizes: of an MLP.
        activation: between its layers.
        initial_std: of a Gaussian.
        num_extra: further inputs of the network.
        network: the user's own in the place of the MLP, see `from_module`.
        trunk: "mlp", or "conv" for convolutions on images before the MLP.

    Raises:
        ValueError: for spaces without a policy.
    """
    shape = observation_shape(observation_space)
    distribution = action_distribution(action_space)
    several = isinstance(action_space, gymnasium.spaces.Tuple)
    spaces: list[Any] = list(getattr(action_space, "spaces", ())) if several else [action_space]
    sizes = [num_written(space) for space in spaces]
    init = nn.initializers.glorot_uniform()
    outputs = regressor(
        shape,
        hidden_sizes,
        activation,
        num_extra=num_extra,
        num_outputs=sum(sizes),
        network=network,
        kernel_init=init,
        trunk=trunk,
    )
    boxes = [isinstance(space, gymnasium.spaces.Box) for space in spaces]
    num_stds = sum(size for size, box in zip(sizes, boxes, strict=True) if box)
    if not several:
        return Policy(_gaussian(outputs, num_stds, initial_std) if num_stds else outputs, distribution)
    return Policy(_several(outputs, sizes, boxes, num_stds, initial_std), distribution)


def num_written(action_space: gymnasium.Space) -> int:
    """How many numbers a policy's network gives for a space without parts."""
    if isinstance(action_space, gymnasium.spaces.MultiDiscrete):
        return int(np.sum(action_space.nvec))
    return int(action_space.n if isinstance(action_space, gymnasium.spaces.Discrete) else np.prod(action_space.shape or ()))


@functools.cache
def _distrax() -> Any:
    """Imported when a policy is made: it takes a second, most of it for TensorFlow Probability."""
    with warnings.catch_warnings():
        # distrax 0.1.9 touches names that jax has deprecated, at import only.
        warnings.simplefilter("ignore", DeprecationWarning)
        import distrax
    return distrax


def action_distribution(action_space: gymnasium.Space) -> "Callable[[Any], distrax.Distribution]":
    """What the parameters that a policy's network gives stand for; ValueError for spaces without a policy."""
    if isinstance(action_space, gymnasium.spaces.Tuple) and action_space.spaces:
        of_parts = [action_distribution(space) for space in action_space.spaces]
        return lambda parameters: _distrax().Joint(tuple(f(p) for f, p in zip(of_parts, parameters, strict=True)))
    if isinstance(action_space, gymnasium.spaces.Discrete | gymnasium.spaces.MultiDiscrete):
        if np.any(action_space.start):
            raise ValueError(f"action_space starts at {action_space.start}, but categorical policies number actions from 0.")
        if isinstance(action_space, gymnasium.spaces.Discrete):
            return lambda x: _distrax().Categorical(logits=x)
    one_axis = len(action_space.shape or ()) == 1
    if isinstance(action_space, gymnasium.spaces.MultiDiscrete) and one_axis:
        place, there = _places(action_space.nvec)
        rows = lambda x: jnp.where(there, x[..., place], NOT_THERE)
        return lambda x: _distrax().Independent(_distrax().Categorical(logits=rows(x)), 1)
    if isinstance(action_space, gymnasium.spaces.MultiBinary) and one_axis:
        return lambda x: _distrax().Independent(_distrax().Bernoulli(logits=x), 1)
    if isinstance(action_space, gymnasium.spaces.Box) and one_axis:
        return lambda p: _distrax().MultivariateNormalDiag(p["mean"], jnp.exp(p["log_std"]))
    raise ValueError(
        f"action_space is {action_space}, but policies act in Discrete spaces, in Box, MultiDiscrete and MultiBinary spaces of "
        "one axis, and in a Tuple of these."
    )


def _places(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the logits of each entry stand in a row of all of them, [k, most], and which of these there are."""
    value = np.arange(counts.max())
    there = value < counts[:, None]
    first = np.cumsum(counts) - counts
    return np.where(there, first[:, None] + value, 0), there


def _log(number: Any) -> Any:
    return np.log(number) if known(number) else jnp.log(number)


def _gaussian(mean: Network, num_actions: int, initial_std: float) -> Network:
    def init(key):
        return {"mean": mean.init(key), "log_std": jnp.full(num_actions, _log(initial_std), jnp.float32)}

    def apply(params, observation, extra=()):
        loc = mean.apply(params["mean"], observation, extra)
        # Inner steps may drive the standard deviation towards 0; below 1e-6 log-probabilities overflow.
        log_std = jnp.maximum(params["log_std"], MIN_LOG_STD)
        return {"mean": loc, "log_std": jnp.broadcast_to(log_std, loc.shape)}

    def split(params):
        head, body = mean.split(params["mean"])
        return {"mean": head, "log_std": params["log_std"]}, body

    def merge(head, body):
        return {"mean": mean.merge(head["mean"], body), "log_std": head["log_std"]}

    return Network(init, apply, split, merge)


def _several(outputs: Network, sizes: list[int], boxes: list[bool], num_stds: int, initial_std: float) -> Network:
    """The network of a policy for actions with parts: a tuple of parameters from one row of outputs."""
    means = np.concatenate([np.full(size, box) for size, box in zip(sizes, boxes, strict=True)])
    ends = np.cumsum(sizes)[:-1]

    def init(key):
        if not num_stds:
            return outputs.init(key)
        return {"outputs": outputs.init(key), "log_std": jnp.full(num_stds, _log(initial_std), jnp.float32)}

    def apply(params, observation, extra=()):
        row = outputs.apply(params["outputs"] if num_stds else params, observation, extra)
        columns = jnp.split(row, ends, axis=-1)
        if not num_stds:
            return tuple(columns)
        log_std = jnp.zeros(row.shape[-1], row.dtype).at[np.flatnonzero(means)].set(jnp.maximum(params["log_std"], MIN_LOG_STD))
        log_stds = jnp.split(jnp.broadcast_to(log_std, row.shape), ends, axis=-1)
        return tuple(
            {"mean": column, "log_std": std} if box else column
            for column, std, box in zip(columns, log_stds, boxes, strict=True)
        )

    if not num_stds:
        return outputs._replace(apply=apply)

    def split(params):
        head, body = outputs.split(params["outputs"])
        return {"outputs": head, "log_std": params["log_std"]}, body

    def merge(head, body):
        return {"outputs": outputs.merge(head["outputs"], body), "log_std": head["log_std"]}

    return Network(init, apply, split, merge)
