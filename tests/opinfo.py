"""One record per op: the function, what it ought to compute, and how to draw inputs on which it is smooth.

`tests/test_ops.py` holds every record to the same properties: to test a new op, add a line to the table.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

import minigan as mg
from minigan import ops
from minigan.autodiff.vector_space import broadcast_to, sum_to
from minigan.ops import elementwise
from tests import oracles as slow
from tests.strategies import (
    arrays,
    broadcastable,
    convolutions,
    keys,
    matmul_operands,
    pair,
    reductions,
    shapes,
    windows,
)


@dataclass(frozen=True)
class OpInfo:
    """name: of the public function, "/" and a variant. fn, oracle: called as ``f(*arrays, **params)``.

    samples: draws (arrays, params). primitives: those that a call records. linear_in: the arguments in which
    fn is linear (plus a constant). orders: how far derivatives are checked. steep: how far float32 is off.
    """

    name: str
    fn: Callable
    oracle: Callable
    samples: st.SearchStrategy
    primitives: tuple
    linear_in: tuple = ()
    orders: int = 3
    steep: float = 2e-5

    def __str__(self):
        return self.name


# ---- samples: strategies of (arrays, params) ---------------------------------------------------------------


def unary(kind="any", **params):
    return st.tuples(st.tuples(arrays(shapes(), kind)), st.fixed_dictionaries(params))


def binary(*kinds):
    drawn = broadcastable(len(kinds))
    return st.tuples(drawn.flatmap(lambda all: st.tuples(*map(arrays, all, kinds))), st.just({}))


@st.composite
def _where(draw):
    condition, x, y = draw(broadcastable(3))
    return (draw(arrays(x)), draw(arrays(y))), {"condition": draw(arrays(condition)) > 0}


@st.composite
def _gates(draw):
    shape = draw(shapes())
    slope = draw(st.sampled_from((0.0, 0.2, 1.5)))
    return (draw(arrays(shape)),), {"gate": draw(arrays(shape)) > 0, "slope": slope}


@st.composite
def _number_powers(draw):
    p = draw(st.sampled_from((0, 1, 2, 3, 2.0, -1, -2, 0.5, -1.5)))
    return (draw(arrays(shapes(), "positive" if p != int(p) else "divisor")),), {"p": p}


@st.composite
def _bounds(draw):
    low, high = (draw(st.none() | st.integers(-50, 50)) for _ in range(2))
    low, high = (low, high) if low is None or high is None else sorted((low, high))
    low, high = (None if b is None else (b + 0.5) / 16 for b in (low, high))  # off the grid: no value is at a bound
    return (draw(arrays(shapes())),), {"low": -9.0 if low is high is None else low, "high": high}


@st.composite
def _per_channel(draw):
    rows, c = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3)), draw(st.integers(1, 3))
    return tuple(draw(arrays(shape)) for shape in ((*rows, c), (c,), (c,))), {}


@st.composite
def _affine(draw):
    rows, (n, m) = draw(st.lists(st.integers(1, 3), min_size=1, max_size=2)), draw(st.tuples(*[st.integers(1, 3)] * 2))
    return tuple(draw(arrays(shape)) for shape in ((*rows, n), (n, m), (m,))), {}


@st.composite
def _deviations(draw):
    (x,), params = draw(reductions(min_side=1))
    reduced = slow._groups(x, params["axis"])[0]
    return (x,), params | {"ddof": draw(st.integers(0, 1)) if len(next(iter(reduced.values()))) > 1 else 0}


@st.composite
def _rows(draw):
    x = draw(arrays(shapes(min_side=1)))
    return (x,), {"axis": draw(st.integers(-max(x.ndim, 1), max(x.ndim - 1, 0)))}


@st.composite
def _reshapes(draw):
    x = draw(arrays(shapes()))
    new = draw(st.permutations([*x.shape, 1]))
    at = draw(st.integers(0, len(new) - 1))
    if draw(st.booleans()) and 0 not in new:
        new[at] = -1
    return (x,), {"shape": tuple(new)}


@st.composite
def _permutations(draw):
    x = draw(arrays(shapes()))
    order = draw(st.permutations(range(x.ndim)) | st.just(()))
    return (x,), {"axes": tuple(draw(st.sampled_from((a, a - x.ndim))) for a in order)}


@st.composite
def _broadcasts(draw):
    small, big = draw(broadcastable(2))
    shape = [1] * (len(small) - len(big)) + list(big)
    for back, n in enumerate(reversed(small), 1):
        shape[-back] = n if n != 1 else shape[-back]
    return (draw(arrays(small)),), {"shape": tuple(shape)}


@st.composite
def _sums_to(draw):
    x = draw(arrays(shapes()))
    tail = x.shape[draw(st.integers(0, x.ndim)) :]
    return (x,), {"shape": tuple(draw(st.sampled_from((1, n))) for n in tail)}


@st.composite
def _joined(draw, new_axis):
    shape = draw(shapes(min_dims=0 if new_axis else 1))
    ndim = len(shape) + new_axis
    axis, count = draw(st.integers(-ndim, ndim - 1)), draw(st.integers(1, 3))
    each = [list(shape) for _ in range(count)]
    for s in [] if new_axis else each:
        s[axis] = draw(st.integers(0, 3))
    return tuple(draw(arrays(tuple(s))) for s in each), {"axis": axis}


@st.composite
def _borders(draw):
    x, few = draw(arrays(shapes(min_dims=1))), st.integers(0, 2)
    width = draw(few | st.tuples(*[st.tuples(few, few)] * x.ndim))
    return (x,), {"width": width, "value": draw(st.sampled_from((0.0, -1.5)))}


@st.composite
def _indexed(draw):
    x = draw(arrays(shapes()))
    return (x,), {"index": draw(keys(x.shape))}


@st.composite
def _scattered(draw):
    shape = draw(shapes())
    index = draw(keys(shape))
    return (draw(arrays(slow._picked(shape, index).shape)),), {"index": index, "shape": shape}


@st.composite
def _taken(draw):
    x = draw(arrays(shapes(min_dims=1, min_side=1)))
    axis = draw(st.none() | st.integers(-x.ndim, x.ndim - 1))
    n = x.size if axis is None else x.shape[axis]
    index = st.integers(-n, n - 1)
    many = st.lists(index, min_size=1, max_size=4)
    matrix = many.map(lambda some: np.array([some, some]))
    return (x,), {"indices": draw(index | many | matrix | st.just([])), "axis": axis}


@st.composite
def _convolved(draw, which):
    (x, w, g), params, (rows, columns) = draw(convolutions())
    if which == "conv":
        return (x, w), params
    if which == "conv_transpose":
        return (g, w), params | {"output_padding": pair(rows, columns, "left")}
    return (x, g), params | {"kernel": pair(rows, columns, "kernel")}


@st.composite
def _pooled(draw, kind):
    rows, columns = (draw(windows(max_padding=lambda kernel: kernel - 1)) for _ in range(2))
    x = draw(arrays((draw(st.integers(1, 2)), rows["size"], columns["size"], draw(st.integers(1, 2))), kind))
    params = {name: pair(rows, columns, name) for name in ("kernel", "stride", "padding")}
    if params["stride"] == params["kernel"]:
        params["stride"] = None  # the default: as the kernel
    return (x,), params


@st.composite
def _enlarged(draw):
    x = draw(arrays(shapes(min_dims=4, max_dims=4, max_side=3)))
    return (x,), {"scale": draw(st.integers(1, 3) | st.tuples(st.integers(1, 3), st.integers(1, 3)))}


@st.composite
def _normalized(draw, which):
    fewest = 3 if which == "instance" else 2
    x = draw(arrays(shapes(min_dims=fewest, max_dims=4, min_side=1, max_side=3), "distinct"))
    spanned = draw(st.integers(1, x.ndim - 1)) if which == "layer" else 1
    gamma, beta = (draw(arrays(x.shape[x.ndim - spanned :])) for _ in range(2))
    return (x, gamma, beta), {"eps": draw(st.sampled_from((0.125, 0.5)))}


# ---- the table ---------------------------------------------------------------------------------------------

each = slow.elementwise


def op(name, oracle, samples, primitives=None, fn=None, **more):
    public = name.partition("/")[0]
    return OpInfo(name, fn or getattr(ops, public), oracle, samples, primitives or (public,), **more)


def joined(fn):
    return lambda *parts, **params: fn(parts, **params)


ARITHMETIC = [
    op("add", each(lambda x, y: x + y), binary("any", "any"), linear_in=(0, 1)),
    op("subtract", each(lambda x, y: x - y), binary("any", "any"), linear_in=(0, 1)),
    op("multiply", each(lambda x, y: x * y), binary("any", "any"), linear_in=(0, 1)),
    op("divide", each(lambda x, y: x / y), binary("any", "divisor"), linear_in=(0,)),
    op("negative", each(lambda x: -x), unary(), linear_in=(0,)),
    op("power", each(math.pow), binary("positive", "any"), steep=1e-4),
    op("power/number", each(lambda x, p: math.pow(x, p)), _number_powers(), fn=lambda x, p: mg.power(x, p)),
    op("square", each(lambda x: x * x), unary()),
    op("sqrt", each(math.sqrt), unary("positive")),
]
EXPONENTIALS = [
    op("exp", each(math.exp), unary()),
    op("log", each(math.log), unary("positive")),
    op("log1p", each(math.log1p), unary("above -1")),
    op("tanh", each(math.tanh), unary(), steep=1e-3),  # 1 − tanh² loses digits where tanh is nearly 1
    op("sigmoid", each(slow.sigmoid), unary()),
    op("softplus", each(lambda x: math.log(1 + math.exp(x))), unary()),
]
PIECEWISE = [
    op("abs", each(lambda x: -x if x < 0 else x), unary("nonzero")),
    op("relu", each(lambda x: x if x > 0 else 0.0), unary("nonzero")),
    op(
        "leaky_relu",
        each(lambda x, slope=0.2: x if x > 0 else slope * x),
        unary("nonzero", slope=st.sampled_from((0.0, 0.2, 1.0, 1.5, -0.5))),
    ),
    op(
        "leaky_relu/gate",
        lambda g, gate, slope: each(lambda a, b: a if b else slope * a)(g, gate),
        _gates(),
        fn=lambda g, gate, slope: elementwise._gate(g, gate, slope=slope),
        primitives=("gate",),
        linear_in=(0,),
    ),
    op("maximum", each(lambda x, y: x if x > y else y), binary("even", "odd")),
    op("minimum", each(lambda x, y: x if x < y else y), binary("even", "odd")),
    op("clip", each(slow.clip), _bounds()),
    op(
        "where",
        lambda x, y, condition: each(lambda c, a, b: a if c else b)(condition, x, y),
        _where(),
        fn=lambda x, y, condition: mg.where(condition, x, y),
        linear_in=(0, 1),
    ),
]
REDUCTIONS = [
    op("sum", slow.reduction(math.fsum), reductions(), linear_in=(0,)),
    op("mean", slow.reduction(slow.mean), reductions(min_side=1), linear_in=(0,)),
    op("var", slow.reduction(slow.variance), _deviations()),
    op("max", slow.reduction(max), reductions("distinct", min_side=1)),
    op("min", slow.reduction(min), reductions("distinct", min_side=1)),
    op("logsumexp", slow.reduction(lambda some: math.log(sum(map(math.exp, some)))), reductions(min_side=1)),
    op("softmax", slow.groupwise(slow.softmax), _rows()),
    op("log_softmax", slow.groupwise(lambda some: [math.log(p) for p in slow.softmax(some)]), _rows()),
    op("norm", slow.reduction(lambda some: math.hypot(*some)), reductions("nonzero", min_side=1)),
]


@st.composite
def _with_bias(draw, name):
    (x, w), params = draw(_convolved(name))
    return (x, w, draw(arrays(w.shape[3 if name == "conv" else 2]))), params


def biased(name, module):
    """A convolution plus a bias: the oracle adds it behind, ours takes it along."""
    function = getattr(module, name)
    if module is slow:
        return lambda x, w, b, **params: function(x, w, **params) + b
    return lambda x, w, b, **params: function(x, w, bias=b, **params)


MOVEMENTS = [
    op("reshape", slow.reshape, _reshapes(), linear_in=(0,), fn=lambda x, shape: mg.reshape(x, shape)),
    op("transpose", slow.transpose, _permutations(), linear_in=(0,), fn=lambda x, axes: mg.transpose(x, *axes)),
    op("broadcast_to", slow.broadcast_to, _broadcasts(), linear_in=(0,), fn=broadcast_to),
    op("sum_to", slow.sum_to, _sums_to(), linear_in=(0,), fn=sum_to),
    op("concatenate", slow.concatenate, _joined(False), linear_in=(0,), fn=joined(mg.concatenate)),
    op("stack", slow.stack, _joined(True), linear_in=(0,), fn=joined(mg.stack)),
    op("pad", slow.pad, _borders(), linear_in=(0,)),
    op("getitem", slow.getitem, _indexed(), linear_in=(0,)),
    op("scatter", slow.scatter, _scattered(), linear_in=(0,)),
    op("take", slow.take, _taken(), primitives=("getitem",), linear_in=(0,)),
]
LINEAR_ALGEBRA = [
    op("matmul", slow.matmul, st.tuples(matmul_operands(), st.just({})), linear_in=(0, 1)),
    op("linear", slow.linear, _affine()),
    op("scale_shift", lambda x, scale, shift: x * scale + shift, _per_channel()),
    *[
        op(name, getattr(slow, name), _convolved(name), linear_in=(0, 1))
        for name in ("conv", "conv_transpose", "conv_weight_gradient")
    ],
    *[
        op(f"{name}/bias", biased(name, slow), _with_bias(name), fn=biased(name, mg))
        for name in ("conv", "conv_transpose")
    ],
    op("average_pool", slow.average_pool, _pooled("any"), primitives=("getitem", "divide"), linear_in=(0,)),
    op("max_pool", slow.max_pool, _pooled("distinct"), primitives=("stack", "max")),
    op("upsample_nearest", slow.upsample_nearest, _enlarged(), primitives=("broadcast_to",), linear_in=(0,)),
]
NORMALISATIONS = [
    op(
        f"{which}_norm",
        getattr(slow, f"{which}_norm"),
        _normalized(which),
        (inner,),
        linear_in=(1, 2),
        steep=1e-3,
    )
    for which, inner in (("batch", "batch_norm"), ("layer", "standardize"), ("instance", "standardize"))
]

RECORDS = ARITHMETIC + EXPONENTIALS + PIECEWISE + REDUCTIONS + MOVEMENTS + LINEAR_ALGEBRA + NORMALISATIONS
