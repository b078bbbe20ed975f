"""The three linear primitives that the engine itself needs, each the adjoint of another: add, broadcast_to, sum_to."""

import math

from ..backend import of, xp
from .primitive import primitive


@primitive(broadcasts=True)
def add(x, y):
    """z = x + y.    x̄ = z̄,  ȳ = z̄"""
    return x + y


add.vjp("x")(lambda g: g)
add.vjp("y")(lambda g: g)


@primitive
def broadcast_to(x, *, shape):
    """x repeated along new and length-1 axes until it has ``shape``.    x̄ = sum_to(ȳ, shape of x)"""
    if x.ndim == 0:  # a scalar's cotangent: filling is quicker than making a view
        return xp(x).full(shape, x, dtype=x.dtype)
    return xp(x).broadcast_to(x, shape)


@broadcast_to.vjp("x")
def _(g, x_shape):
    return sum_to(g, shape=x_shape)


@primitive
def sum_to(x, *, shape):
    """x summed over the axes along which ``shape`` was broadcast to it.    x̄ = broadcast_to(ȳ, shape of x)"""
    if len(shape) == 1 < x.ndim and shape == x.shape[-1:]:  # a bias: all but the last axis
        return of(x).sum_rows(x.reshape(math.prod(x.shape[:-1]), x.shape[-1]))
    extra = x.ndim - len(shape)
    if extra < 0 or any(s != d and s != 1 for s, d in zip(shape, x.shape[extra:], strict=True)):
        raise ValueError(f"an array of shape {tuple(x.shape)} does not sum to shape {tuple(shape)}")
    axes = tuple(range(extra)) + tuple(i + extra for i, s in enumerate(shape) if s == 1 != x.shape[i + extra])
    if not axes:
        return x.reshape(shape)  # a view: the same memory, known as such
    return x.sum(axes).reshape(shape)


@sum_to.vjp("x")
def _(g, x_shape):
    return broadcast_to(g, shape=x_shape)
