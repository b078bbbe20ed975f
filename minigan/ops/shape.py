"""Moving numbers about: reshape, transpose, joining, padding, indexing. All linear; each VJP is the adjoint movement.

Indexing and scattering are a pair: ``getitem`` reads ``x[index]``, ``scatter`` adds into zeros at ``index``, and each
is the other's VJP.
"""

import itertools

from ..autodiff.primitive import primitive
from ..autodiff.tensor import Tensor
from ..backend import is_array, of, xp

__all__ = ["concatenate", "getitem", "pad", "reshape", "scatter", "stack", "take", "transpose"]


@primitive
def _reshape(x, *, shape):
    """The same numbers in another shape.    x̄ = ȳ in the shape of x"""
    return x.reshape(shape)


@_reshape.vjp("x")
def _(g, x_shape):
    return _reshape(g, shape=x_shape)


def reshape(x, *shape):
    """x in another shape: ``reshape(x, 2, -1)`` or ``reshape(x, (2, -1))``."""
    return _reshape(x, shape=shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)


@primitive
def _transpose(x, *, axes):
    """y[i_axes[0], i_axes[1], …] = x[i_0, i_1, …].    x̄ = ȳ with the inverse permutation"""
    return x.transpose(axes)


@_transpose.vjp("x")
def _(g, *, axes):
    return _transpose(g, axes=tuple(sorted(range(len(axes)), key=axes.__getitem__)))


def transpose(x, *axes):
    """x with its axes permuted (reversed by default): ``transpose(x)``, ``transpose(x, 0, 2, 1)``, ``transpose(x, (0,
    2, 1))``.
    """
    axes = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
    axes = axes or tuple(range(x.ndim))[::-1]
    return _transpose(x, axes=tuple([a % x.ndim for a in axes]) if len(axes) == x.ndim else tuple(axes))


@primitive
def _concatenate(*arrays, axis):
    """The arrays one behind the other along an axis.    each gets its piece of the cotangent"""
    return xp(arrays[0]).concatenate(arrays, axis=axis)


@_concatenate.vjp("arrays")
def _(g, shapes, needs, *, axis):
    before = (slice(None),) * (axis % g.ndim)
    lengths = [s[axis] for s in shapes]
    cuts = [slice(end - n, end) for n, end in zip(lengths, itertools.accumulate(lengths), strict=True)]
    return [getitem(g, (*before, cut)) if need else None for cut, need in zip(cuts, needs, strict=True)]


def concatenate(arrays, axis=0):
    """A sequence of arrays or Tensors joined along an existing axis."""
    return _concatenate(*arrays, axis=axis)


@primitive
def _stack(*arrays, axis):
    """The arrays side by side along a new axis.    each gets its slice of the cotangent"""
    return xp(arrays[0]).stack(arrays, axis=axis)


@_stack.vjp("arrays")
def _(g, shapes, needs, *, axis):
    before = (slice(None),) * (axis % g.ndim)
    return [getitem(g, (*before, i)) if needs[i] else None for i in range(len(shapes))]


def stack(arrays, axis=0):
    """A sequence of arrays or Tensors of one shape, joined along a new axis."""
    return _stack(*arrays, axis=axis)


@primitive
def _pad(x, *, width, value):
    """x with a border of ``value``.    x̄ = the inside of ȳ"""
    return xp(x).pad(x, width, constant_values=value)


@_pad.vjp("x")
def _(g, x_shape, *, width):
    return getitem(g, tuple(slice(before, before + n) for (before, _), n in zip(width, x_shape, strict=True)))


def pad(x, width, value=0.0):
    """x with a constant border. ``width``: one int, or a pair (before, after) per axis."""
    width = ((width, width),) * x.ndim if isinstance(width, int) else tuple((int(a), int(b)) for a, b in width)
    return _pad(x, width=width, value=value)


# ---- indexing -----------------------------------------------------------------------------------------------------


def _plain(key, x):
    """One part of an index without Tensors and lists: what the array library of ``x`` takes."""
    key = key.data if type(key) is Tensor else key
    if is_array(key):
        key = key.copy()  # kept for the backward pass: the caller may change the original
    if isinstance(key, (list, tuple, range)):
        key = of(x).asarray(list(key))
        return key if key.size else key.astype("int64")
    return of(x).asarray(of(key).to_host(key)) if is_array(key) and type(key) is not type(x) else key


def _plain_index(index, x):
    x = x.data if type(x) is Tensor else x
    return tuple([_plain(k, x) for k in index]) if isinstance(index, tuple) else _plain(index, x)


@primitive
def _getitem(x, *, index):
    """y = x[index].    x̄ = zeros with ȳ added at index"""
    return x[index]


@_getitem.vjp("x")
def _(g, x_shape, *, index):
    return _scatter(g, index=index, shape=x_shape)


@primitive
def _scatter(x, *, index, shape):
    """zeros of ``shape`` with x added at index; repeated places add up.    x̄ = ȳ[index]"""
    return of(x).scatter_add(shape, index, x)


@_scatter.vjp("x")
def _(g, *, index):
    return _getitem(g, index=index)


def getitem(x, index):
    """x[index], with ints, slices, None, Ellipsis, integer arrays and boolean masks, as in NumPy."""
    return _getitem(x, index=_plain_index(index, x))


def scatter(x, index, shape):
    """Zeros of ``shape`` with ``x`` added at ``index`` (repeats add up): the adjoint of ``getitem``."""
    return _scatter(x, index=_plain_index(index, x), shape=tuple(shape))


def take(x, indices, axis=None):
    """The elements of x with these integer indices along ``axis`` (None: of x flattened), as ``numpy.take``."""
    x, axis = (reshape(x, x.size), 0) if axis is None else (x, axis)
    return getitem(x, (slice(None),) * (axis % x.ndim) + (indices,))
