"""Reductions: functions that take many numbers to one along some axes.

``axis`` is None (all axes), an int or a tuple of ints; ``keepdims=True`` leaves reduced axes in place with length 1.
The rules first stretch the cotangent back over the reduced axes (`_stretch`), the adjoint of summing.
"""

import math

from ..autodiff.primitive import primitive
from ..autodiff.vector_space import broadcast_to
from ..backend import is_array, xp
from .elementwise import exp, stop, where
from .shape import reshape

__all__ = ["log_softmax", "logsumexp", "max", "mean", "min", "norm", "softmax", "sum", "var"]


def _tuple(axis):
    """A list of axes as the tuple that array libraries want; anything else as it is."""
    return tuple(axis) if isinstance(axis, list) else axis


def _axes(axis, shape):
    """``axis`` as a tuple of numbers ≥ 0."""
    if axis is None:
        return tuple(range(len(shape)))
    axes = (axis,) if hasattr(axis, "__index__") else axis
    return tuple([a % len(shape) for a in axes]) if len(shape) else ()


def _kept(shape, axis):
    """``shape`` with the reduced axes of length 1."""
    axes = _axes(axis, shape)
    return tuple([1 if i in axes else n for i, n in enumerate(shape)])


def _count(shape, axis):
    """How many numbers are reduced to one."""
    return math.prod([shape[a] for a in _axes(axis, shape)])


def _stretch(g, shape, axis):
    """The cotangent of a reduction over ``axis``, repeated to the ``shape`` of what was reduced."""
    if axis is None and not g.shape:
        return broadcast_to(g, shape=shape)
    return broadcast_to(reshape(g, _kept(shape, axis)), shape=shape)


@primitive
def _sum(x, *, axis, keepdims):
    """y = Σ x.    x̄ = ȳ, repeated"""
    return xp(x).sum(x, axis=axis, keepdims=keepdims)


@_sum.vjp("x")
def _(g, x_shape, *, axis):
    return _stretch(g, x_shape, axis)


def sum(x, axis=None, keepdims=False):
    """The sum of x over ``axis``."""
    return _sum(x, axis=_tuple(axis), keepdims=keepdims)


@primitive
def _mean(x, *, axis, keepdims):
    """y = (1/n) Σ x.    x̄ = ȳ/n, repeated"""
    if is_array(x) and x.dtype.char in "fd":  # as NumPy's mean, without its overhead; narrow types need its wide sum
        return x.sum(axis=axis, keepdims=keepdims) / _count(x.shape, axis)
    return xp(x).mean(x, axis=axis, keepdims=keepdims)


@_mean.vjp("x")
def _(g, x_shape, *, axis):
    return _stretch(g / _count(x_shape, axis), x_shape, axis)


def mean(x, axis=None, keepdims=False):
    """The mean of x over ``axis``."""
    return _mean(x, axis=_tuple(axis), keepdims=keepdims)


@primitive
def _var(x, *, axis, keepdims, ddof):
    """y = Σ (x − mean x)²/(n − ddof).    x̄ = 2ȳ·(x − mean x)/(n − ddof)"""
    return xp(x).var(x, axis=axis, keepdims=keepdims, ddof=ddof)


@_var.vjp("x")
def _(g, x, x_shape, *, axis, ddof):
    centred = x - mean(x, axis, keepdims=True)
    return _stretch(2.0 * g, x_shape, axis) * centred / (_count(x_shape, axis) - ddof)


def var(x, axis=None, keepdims=False, ddof=0):
    """The variance of x over ``axis``: squared distances from the mean, summed and divided by n − ddof (biased by
    default).
    """
    return _var(x, axis=_tuple(axis), keepdims=keepdims, ddof=ddof)


@primitive
def _max(x, *, axis, keepdims):
    """y = max x.    x̄ = ȳ at the maximum; equal maxima share it equally"""
    return xp(x).max(x, axis=axis, keepdims=keepdims)


@primitive
def _min(x, *, axis, keepdims):
    """y = min x.    x̄ = ȳ at the minimum; equal minima share it equally"""
    return xp(x).min(x, axis=axis, keepdims=keepdims)


def _at_extremum(g, x, out, *, axis):
    x = stop(x)
    hit = (x == stop(out).reshape(_kept(x.shape, axis))).astype(x.dtype)
    share = hit / hit.sum(axis=axis, keepdims=True)
    return _stretch(g, x.shape, axis) * share


_max.vjp("x")(_at_extremum)
_min.vjp("x")(_at_extremum)


def max(x, axis=None, keepdims=False):
    """The maximum of x over ``axis``; equal maxima share the gradient equally."""
    return _max(x, axis=_tuple(axis), keepdims=keepdims)


def min(x, axis=None, keepdims=False):
    """The minimum of x over ``axis``; equal minima share the gradient equally."""
    return _min(x, axis=_tuple(axis), keepdims=keepdims)


@primitive
def _logsumexp(x, *, axis, keepdims):
    """y = ln Σ eˣ, without overflow.    x̄ = ȳ·e^(x − y)"""
    m = xp(x)
    top = m.max(x, axis=axis, keepdims=True)
    top = m.where(m.isfinite(top), top, 0.0)
    total = m.log(m.sum(m.exp(x - top), axis=axis, keepdims=True)) + top
    return total if keepdims else total.reshape([n for i, n in enumerate(x.shape) if i not in _axes(axis, x.shape)])


@_logsumexp.vjp("x")
def _(g, x, out, x_shape, *, axis):
    out = reshape(out, _kept(x_shape, axis))
    out = where(stop(out) == -math.inf, 0.0, out)  # a row of −∞ has gradient 0, not NaN
    return _stretch(g, x_shape, axis) * exp(x - out)


def logsumexp(x, axis=None, keepdims=False):
    """ln Σ eˣ over ``axis``, computed without overflow."""
    return _logsumexp(x, axis=_tuple(axis), keepdims=keepdims)


@primitive
def _softmax(x, *, axis):
    """y = eˣ/Σeˣ.    x̄ = y·(ȳ − Σ ȳ·y)"""
    e = xp(x).exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


@_softmax.vjp("x")
def _(g, out, *, axis):
    return out * (g - sum(g * out, axis, keepdims=True))


def softmax(x, axis=-1):
    """eˣ/Σeˣ over ``axis``: positive numbers that sum to 1."""
    return _softmax(x, axis=_tuple(axis))


@primitive
def _log_softmax(x, *, axis):
    """y = x − ln Σ eˣ.    x̄ = ȳ − eʸ·Σ ȳ"""
    shifted = x - x.max(axis=axis, keepdims=True)
    m = xp(x)
    return shifted - m.log(m.exp(shifted).sum(axis=axis, keepdims=True))


@_log_softmax.vjp("x")
def _(g, out, *, axis):
    return g - exp(out) * sum(g, axis, keepdims=True)


def log_softmax(x, axis=-1):
    """ln softmax(x) over ``axis``, computed without overflow: class log-probabilities from logits."""
    return _log_softmax(x, axis=_tuple(axis))


@primitive
def _norm(x, *, axis, keepdims):
    """y = √Σx².    x̄ = ȳ·x/y, and 0 where y = 0

    The length has a kink at 0, where every vector of length ≤ 1 is a subgradient. We take the smallest: a gradient
    penalty stays finite there.
    """
    m = xp(x)
    return m.sqrt(m.sum(x * x, axis=axis, keepdims=keepdims))


@_norm.vjp("x")
def _(g, x, out, x_shape, *, axis):
    zero = stop(out) == 0
    return _stretch(where(zero, 0.0, g / where(zero, 1.0, out)), x_shape, axis) * x


def norm(x, axis=None, keepdims=False):
    """The Euclidean length √Σx² over ``axis``. At 0 its gradient is defined, and 0."""
    return _norm(x, axis=_tuple(axis), keepdims=keepdims)
