"""How the inputs of the property tests are drawn.

Shapes, parameters and memory layouts are drawn one by one, so that a failure shrinks to the smallest shape;
the values come from one drawn seed, on the grid k/16 with |x| ≤ 4: exact in float32, well conditioned, and
away from kinks by construction.
"""

import hypothesis.extra.numpy as hnp
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

LAYOUTS = ("C", "F", "reversed", "stepped")
seeds = st.integers(0, 2**32 - 1)


def examples(share):
    """A share of the profile's number of examples, for properties that cost more or less than most."""
    return settings(max_examples=max(4, round(settings.default.max_examples * share)))


# ---- values and memory layouts -----------------------------------------------------------------------------


def grid(rng, shape, kind="any"):
    """Values k/16 of one ``kind``; "even" and "odd" never meet, so that maximum(even, odd) has no ties."""
    sign = rng.choice([-1, 1], shape)
    if kind == "distinct":
        size = int(np.prod(shape))
        return (rng.permutation(max(size, 129))[:size].reshape(shape) - max(size, 129) // 2) / 16
    numerators = {
        "any": lambda: rng.integers(-64, 65, shape),
        "nonzero": lambda: sign * rng.integers(1, 65, shape),
        "divisor": lambda: sign * rng.integers(8, 65, shape),  # |x| ≥ 1/2
        "positive": lambda: rng.integers(8, 65, shape),  # x ≥ 1/2
        "above -1": lambda: rng.integers(-8, 65, shape),  # x ≥ −1/2
        "even": lambda: 2 * rng.integers(-32, 33, shape),
        "odd": lambda: 2 * rng.integers(-32, 32, shape) + 1,
    }
    return numerators[kind]() / 16


def laid_out(values, layout):
    """The same values in memory in Fortran's order, backwards along every axis, or in every other place."""
    if values.ndim == 0:
        return values
    if layout == "F":
        return np.asfortranarray(values)
    if layout == "reversed":
        backwards = (slice(None, None, -1),) * values.ndim
        return np.ascontiguousarray(values[backwards])[backwards]
    if layout == "stepped":
        roomy = np.full([2 * n for n in values.shape], np.nan)
        roomy[(slice(None, None, 2),) * values.ndim] = values
        return roomy[(slice(None, None, 2),) * values.ndim]
    return values


@st.composite
def arrays(draw, shape, kind="any"):
    """An array of a given shape (or of a shape drawn from a strategy) in a drawn memory layout."""
    shape = draw(shape) if isinstance(shape, st.SearchStrategy) else shape
    values = grid(np.random.default_rng(draw(seeds)), shape, kind)
    return np.asarray(laid_out(np.asarray(values), draw(st.sampled_from(LAYOUTS))))


# ---- shapes and axes ---------------------------------------------------------------------------------------


def shapes(min_dims=0, max_dims=3, min_side=0, max_side=4):
    """Shapes, 0-d and size 0 included unless ruled out."""
    return hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=min_side, max_side=max_side)


def broadcastable(count, min_side=0):
    """``count`` shapes that broadcast against each other."""
    return hnp.mutually_broadcastable_shapes(num_shapes=count, max_dims=3, min_side=min_side, max_side=3).map(
        lambda drawn: drawn.input_shapes
    )


@st.composite
def axes(draw, ndim):
    """None, one axis (also counted from the end), or a tuple of several, as reductions take them."""
    one = st.integers(-ndim, ndim - 1) if ndim else st.nothing()
    some = st.lists(st.integers(0, ndim - 1), unique=True, max_size=ndim) if ndim else st.just([])
    signed = some.flatmap(lambda chosen: st.tuples(*[st.sampled_from((a, a - ndim)) for a in chosen]))
    return draw(st.none() | one | signed)


@st.composite
def reductions(draw, kind="any", min_side=0, with_keepdims=True):
    """(array,), {"axis", "keepdims"}. ``min_side=1`` where a reduction over nothing has no value."""
    x = draw(arrays(shapes(min_side=min_side), kind))
    params = {"axis": draw(axes(x.ndim))}
    return (x,), params | ({"keepdims": draw(st.booleans())} if with_keepdims else {})


# ---- index keys --------------------------------------------------------------------------------------------


@st.composite
def _slices(draw, length):
    bound = st.none() | st.integers(-length - 1, length + 1)
    return slice(draw(bound), draw(bound), draw(st.sampled_from((None, 1, 2, 3, -1, -2))))


@st.composite
def keys(draw, shape):
    """An index: ints, slices, None, Ellipsis, integer arrays and lists with repeats, masks."""
    style = draw(st.sampled_from(("basic", "advanced", "mask", "list", "whole mask")))
    if style == "whole mask":
        return np.random.default_rng(draw(seeds)).random(shape) < 0.5
    parts, shared = [], draw(st.sampled_from(((2,), (3,), (2, 2), (1,))))
    rng = np.random.default_rng(draw(seeds))
    special = draw(st.integers(0, max(len(shape) - 1, 0)))
    for axis, n in enumerate(shape[: draw(st.integers(0, len(shape)))]):
        if style in ("mask", "list") and axis == special and n:
            chosen = rng.random(n) < 0.5 if style == "mask" else rng.integers(-n, n, shared[0]).tolist()
            parts.append(chosen)
        elif style == "advanced" and n and draw(st.booleans()):
            parts.append(rng.integers(-n, n, shared))
        elif n and style != "mask" and draw(st.booleans()):
            parts.append(draw(st.integers(-n, n - 1)))
        else:
            parts.append(draw(_slices(n)))
    if draw(st.booleans()):  # where axes are left out, only at the end do the others keep their places
        parts.insert(draw(st.integers(0 if len(parts) == len(shape) else len(parts), len(parts))), Ellipsis)
    if draw(st.booleans()):
        parts.insert(draw(st.integers(0, len(parts))), None)
    return parts[0] if len(parts) == 1 and draw(st.booleans()) else tuple(parts)


# ---- matrix products ---------------------------------------------------------------------------------------


@st.composite
def matmul_operands(draw, min_side=0):
    """Vectors, matrices, and stacks of matrices that broadcast."""
    drawn = draw(
        hnp.mutually_broadcastable_shapes(signature="(n?,k),(k,m?)->(n?,m?)", max_dims=2, min_side=min_side, max_side=3)
    )
    return tuple(draw(arrays(s)) for s in drawn.input_shapes)


# ---- convolution geometry ----------------------------------------------------------------------------------


@st.composite
def windows(draw, max_padding=None):
    """One axis of a convolution, output first: {size, out, kernel, stride, padding, left}.

    ``left`` < stride rows at the end of the (padded) image that no window reaches.
    """
    out, kernel, stride = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 4))
    left = draw(st.integers(0, stride - 1))
    padded = (out - 1) * stride + kernel + left
    padding = draw(st.integers(0, min((padded - 1) // 2, kernel if max_padding is None else max_padding(kernel))))
    geometry = {"out": out, "kernel": kernel, "stride": stride, "padding": padding, "left": left}
    return geometry | {"size": padded - 2 * padding}


def pair(rows, columns, key):
    """A parameter of the two axes: an int where they agree, else a pair."""
    return rows[key] if rows[key] == columns[key] else (rows[key], columns[key])


@st.composite
def convolutions(draw):
    """((image, weights, cotangent), {"stride", "padding"}, the geometry of both axes)."""
    rows, columns = draw(windows()), draw(windows())
    n, c, o = draw(st.integers(1, 2)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
    x = draw(arrays((n, rows["size"], columns["size"], c)))
    w = draw(arrays((rows["kernel"], columns["kernel"], c, o)))
    g = draw(arrays((n, rows["out"], columns["out"], o)))
    params = {name: pair(rows, columns, name) for name in ("stride", "padding")}
    return (x, w, g), params, (rows, columns)
