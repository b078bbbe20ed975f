"""Matrix products."""

import math

from ..autodiff.modes import state
from ..autodiff.primitive import primitive
from ..backend import of
from ..errors import ShapeError, message
from .shape import reshape, transpose

__all__ = ["matmul"]


def _swap(x):
    """x with its last two axes exchanged."""
    return transpose(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


@primitive(broadcasts=True)
def _matmul(x, y):
    """z = x y for matrices, or stacks of them that broadcast.    x̄ = z̄ yᵀ,  ȳ = xᵀ z̄"""
    return of(x).gemm(x, y) if x.ndim == y.ndim == 2 else x @ y


@_matmul.vjp("x")
def _(g, y):
    return _matmul(g, _swap(y))


@_matmul.vjp("y")
def _(g, x):
    return _matmul(_swap(x), g)


def matmul(x, y):
    """The matrix product, as ``numpy.matmul``: (…, n, k) @ (…, k, m) → (…, n, m), vectors on either side, stacks
    broadcast.

    Raises `ShapeError` when the inner lengths differ.
    """
    if not (getattr(x, "ndim", 0) and getattr(y, "ndim", 0)):
        raise ShapeError(message("matmul takes arrays with at least one axis", operands=[("x", x), ("y", y)]))
    if x.shape[-1] != y.shape[-2 if y.ndim > 1 else 0]:
        what = f"matmul: the inner lengths differ: {x.shape[-1]} and {y.shape[-2 if y.ndim > 1 else 0]}"
        fix = "nn.Flatten() before a dense layer?" if x.ndim > 2 and y.ndim == 2 else None
        raise ShapeError(message(what, operands=[("x", x), ("y", y)], scope=state.scope, fix=fix))
    if x.ndim == 1:
        return _drop(matmul(reshape(x, 1, x.shape[0]), y), -2)
    if y.ndim == 1:
        return _drop(matmul(x, reshape(y, y.shape[0], 1)), -1)
    if x.ndim > 2 and y.ndim == 2:  # one large GEMM instead of a stack of small ones, here and in the gradients
        rows = math.prod(x.shape[:-1])
        return reshape(_matmul(reshape(x, rows, x.shape[-1]), y), *x.shape[:-1], y.shape[-1])
    return _matmul(x, y)


def _drop(x, axis):
    """x without an axis of length 1."""
    return reshape(x, [n for i, n in enumerate(x.shape) if i != axis % x.ndim])
