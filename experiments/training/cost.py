"""How many operations a function takes and how many bytes it must move, counted in its jaxpr.

XLA's own `cost_analysis` counts the body of a loop once, however often it runs; here a scan's body counts as often as its
length says. What no result depends on is left out, as the compiler leaves it out; what it simplifies further is not known here.

Counted: products of matrices exactly (2 operations per multiply-add); one operation per element of an elementwise result or of
a reduction's operand; transcendental functions apart; random words by the rounds of Threefry. Moving data is not an operation.
Not known: how often a while loop runs (its body counts once), which branch a cond takes (the costlier counts), what happens in
a call back to Python (nothing counts).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.extend import core as jex_core
from jax.interpreters import partial_eval

TRANSCENDENTAL = {
    *("exp", "exp2", "expm1", "log", "log1p", "logistic", "pow", "sqrt", "rsqrt", "cbrt"),
    *("sin", "cos", "tan", "tanh", "asin", "acos", "atan", "atan2", "sinh", "cosh", "asinh", "acosh", "atanh"),
    *("erf", "erfc", "erf_inv", "lgamma", "digamma"),
}
MOVES = {
    *("reshape", "broadcast_in_dim", "transpose", "squeeze", "expand_dims", "slice", "dynamic_slice", "dynamic_update_slice"),
    *("concatenate", "split", "pad", "rev", "gather", "scatter", "iota", "copy", "copy_p", "bitcast_convert_type"),
    *("random_wrap", "random_unwrap", "random_seed", "device_put", "stop_gradient", "optimization_barrier", "axis_index"),
}
REDUCTIONS = ("reduce_", "cum", "argmax", "argmin", "scatter_add", "scatter-add", "sort")
RANDOM = {"random_bits", "random_fold_in", "random_split", "threefry2x32"}
# Threefry-2x32 for a pair of words: 20 rounds of an addition, a rotation (two shifts and an or) and an exclusive or, and 5
# times three additions of the key, after two at the start.
THREEFRY = 20 * 5 + 5 * 3 + 2
CALLS_OUT = {"pure_callback", "io_callback", "debug_callback", "custom_call", "ffi_call"}
SOLVES = {"cholesky": 1 / 3, "lu": 2 / 3, "eigh": 9.0, "qr": 4 / 3, "householder_product": 4 / 3}  # times n^3


class Cost(NamedTuple):
    """Operations and bytes of one call.

    Attributes:
        matmul: multiply-adds of matrix products, two operations each.
        elementwise: other additions, comparisons and so on, one per element; random words among them.
        transcendental: values of exp, tanh and the like.
        random: the part of ``elementwise`` that draws random words.
        product_bytes: of the operands and results of matrix products: what moves where nothing stays in a cache.
        calls_out: calls whose insides are not known.
    """

    matmul: float = 0.0
    elementwise: float = 0.0
    transcendental: float = 0.0
    random: float = 0.0
    product_bytes: float = 0.0
    calls_out: float = 0.0

    @property
    def total(self) -> float:
        """All operations, a transcendental as one."""
        return self.matmul + self.elementwise + self.transcendental

    def __add__(self, other: Any) -> "Cost":
        """Both, one after the other."""
        return Cost(*(a + b for a, b in zip(self, other, strict=True)))

    def times(self, count: float) -> "Cost":
        """The same ``count`` times."""
        return Cost(*(count * x for x in self))


def count(function: Callable, *args: Any) -> Cost:
    """Cost of ``function(*args)``; arguments may be shapes (`jax.ShapeDtypeStruct`)."""
    closed = jax.make_jaxpr(function)(*args)
    return of_jaxpr(_needed(closed.jaxpr))


def interface_bytes(function: Callable, *args: Any) -> int:
    """Bytes of the arguments and results: what must be read and written whatever is done in between."""
    results = jax.eval_shape(function, *args)
    return sum(size_of(leaf) for leaf in jax.tree.leaves((args, results)))


def size_of(array: Any) -> int:
    """Bytes of an array or its shape; a typed key counts as its words."""
    if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
        return math.prod(array.shape) * 8
    return math.prod(array.shape) * array.dtype.itemsize


def of_jaxpr(jaxpr: Any) -> Cost:
    """Cost of a jaxpr's equations."""
    total = Cost()
    for equation in jaxpr.eqns:
        total = total + _of_equation(equation)
    return total


def _needed(jaxpr: Any) -> Any:
    """Without what no result depends on, inside loops too."""
    return partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars), instantiate=True)[0]


def _of_equation(equation: Any) -> Cost:
    name, params = equation.primitive.name, equation.params
    if name == "scan":
        return of_jaxpr(params["jaxpr"].jaxpr).times(params["length"])
    if name == "while":
        return of_jaxpr(params["cond_jaxpr"].jaxpr) + of_jaxpr(params["body_jaxpr"].jaxpr)
    if name == "cond":
        return max((of_jaxpr(branch.jaxpr) for branch in params["branches"]), key=lambda cost: cost.total)
    if name == "custom_linear_solve":  # the other jaxprs are for derivatives
        return of_jaxpr(params["jaxprs"].solve.jaxpr)
    if name == "shard_map":  # what is written for one shard runs on each
        return of_jaxpr(params["jaxpr"]).times(math.prod(params["mesh"].shape.values()))
    if name in CALLS_OUT:
        return Cost(calls_out=1.0)
    inner = _called(params.values())
    if inner:
        return sum((of_jaxpr(jaxpr) for jaxpr in inner), Cost())
    return _of_primitive(name, equation)


def _called(values: Any) -> list[Any]:
    """The jaxprs among an equation's parameters: of jit, checkpoint, custom derivatives and other calls."""
    found = []
    for value in values:
        if isinstance(value, jex_core.ClosedJaxpr):
            found.append(value.jaxpr)
        elif isinstance(value, jex_core.Jaxpr):
            found.append(value)
    return found


def _of_primitive(name: str, equation: Any) -> Cost:
    shapes_in = [variable.aval for variable in equation.invars]
    out = [variable.aval for variable in equation.outvars]
    results = sum(math.prod(x.shape) for x in out)
    if name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        depth = math.prod(shapes_in[0].shape[axis] for axis in contracted)
        return Cost(matmul=2.0 * results * depth, product_bytes=sum(map(size_of, (*shapes_in, *out))))
    if name in SOLVES:
        n = shapes_in[0].shape[-1]
        return Cost(matmul=SOLVES[name] * math.prod(shapes_in[0].shape[:-2]) * n**3)
    if name == "triangular_solve":
        return Cost(matmul=float(results * shapes_in[0].shape[-1]))
    if name in RANDOM:
        words = results * _words_per_result(name, equation)
        return Cost(elementwise=words * THREEFRY / 2, random=words * THREEFRY / 2)
    if name in TRANSCENDENTAL:
        return Cost(transcendental=float(results))
    if name in MOVES:
        return Cost()
    if name.startswith(REDUCTIONS):
        return Cost(elementwise=float(math.prod(shapes_in[0].shape)))
    return Cost(elementwise=float(results))


def _words_per_result(name: str, equation: Any) -> float:
    """32-bit words drawn per element of the result: a key has two."""
    if name == "random_bits":
        return max(equation.params["bit_width"] / 32, 1.0)
    return 2.0 if name in ("random_fold_in", "random_split") else 0.5  # threefry2x32 gives a pair as two results
