"""Matrix products, and the dense layer's function.

z = op(x) op(y), where op is the transpose if a flag (``ta``, ``tb``) says so. With the flags the gradients of a product
are products again, and no matrix is ever transposed in memory.
"""

import math

from ..autodiff.modes import state
from ..autodiff.primitive import primitive
from ..autodiff.vector_space import sum_to
from ..backend import is_array, of
from ..errors import DTypeError, ShapeError, message
from .shape import reshape

__all__ = ["linear", "matmul"]


def _transposed(x, flag):
    """x with its last two axes exchanged, if the flag says so."""
    return x.swapaxes(-1, -2) if flag else x


@primitive(broadcasts=True)
def _matmul(x, y, *, ta=False, tb=False):
    """z = x y for matrices, or stacks of them that broadcast.    x̄ = z̄ yᵀ,  ȳ = xᵀ z̄

    With X = op(x), Y = op(y): the cotangent of X is z̄ Yᵀ, and that of x is its transpose Y z̄ᵀ where ``ta`` says so.
    """
    return of(x).gemm(x, y, ta, tb) if x.ndim == y.ndim == 2 else _transposed(x, ta) @ _transposed(y, tb)


@_matmul.vjp("x")
def _(g, y, *, ta, tb):
    return _matmul(y, g, ta=tb, tb=True) if ta else _matmul(g, y, tb=not tb)


@_matmul.vjp("y")
def _(g, x, *, ta, tb):
    return _matmul(g, x, ta=True, tb=ta) if tb else _matmul(x, g, ta=not ta)


def same_dtype(name, b, y):
    """Refuse a ``b`` that is no array, or of another dtype than y: it would be rounded silently."""
    if not is_array(b) or b.dtype != y.dtype:
        got, fix = repr(b), f"np.asarray(..., '{y.dtype}') makes an array; add a single number to the result instead"
        if is_array(b):
            got, fix = b.dtype, f"array.astype('{y.dtype}')"
        raise DTypeError(message(f"{name} must be an array of {y.dtype}, got {got}", scope=state.scope, fix=fix))


def plus_row(y, b, *operands):
    """The array y (…, m) with b (m,) added to every row, in place: for a y that nobody else has seen yet.

    operands: what y was made of; where their dtypes differ, the complaint is about them, and not made here.
    """
    if not is_array(b) or all(a.dtype == y.dtype for a in operands):
        same_dtype("the bias", b, y)
    if b.shape != y.shape[-1:]:
        raise ValueError(f"the bias must have shape {y.shape[-1:]}, a number for each output; got {b.shape}")
    return of(y).add_row(y.reshape(math.prod(y.shape[:-1]), b.size), b).reshape(y.shape)


@primitive
def _linear(x, w, b):
    """y = x w + b.    x̄ = ȳ wᵀ,  w̄ = xᵀ ȳ,  b̄ = Σ ȳ over the rows"""
    if w.ndim != 2:
        raise ValueError(f"w must be a matrix (n, m), got {w.shape}")
    if x.shape[-1] != w.shape[0]:
        hint = "; nn.Flatten() before a dense layer?" if x.ndim > 2 else ""
        raise ValueError(f"the inner lengths differ: {x.shape[-1]} and {w.shape[0]}{hint}")
    return plus_row(of(x).gemm(x, w), b, x, w)


@_linear.vjp("x", "w", "b")
def _(g, x, w, b_shape, needs):
    x_bar = _matmul(g, w, tb=True) if needs[0] else None
    w_bar = _matmul(x, g, ta=True) if needs[1] else None
    return x_bar, w_bar, sum_to(g, shape=b_shape) if needs[2] else None


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
    return _on_rows(_matmul, x, y) if x.ndim > 2 and y.ndim == 2 else _matmul(x, y)


def linear(x, w, b):
    """x w + b, the function of a dense layer: x (…, n), w (n, m), b (m,) → (…, m), in one op.

    Raises `ShapeError` when the lengths do not fit, `DTypeError` for operands of different dtypes.
    """
    if not (hasattr(x, "ndim") and hasattr(w, "ndim")):
        raise DTypeError(message("linear takes Tensors and arrays", operands=[("x", x), ("w", w), ("b", b)]))
    if x.ndim == 2:
        return _linear(x, w, b)
    if x.ndim == 0:
        raise ShapeError(message("linear takes an x with at least one axis", operands=[("x", x), ("w", w), ("b", b)]))
    if x.ndim == 1:
        return _drop(linear(reshape(x, 1, x.shape[0]), w, b), -2)
    return _on_rows(_linear, x, w, b) if x.shape[-1:] == w.shape[:1] else _linear(x, w, b)


def _on_rows(op, x, w, *rest):
    """``op(x, w, …)`` with all but the last axis of x as rows: one large GEMM, here and in the gradients."""
    return reshape(op(reshape(x, math.prod(x.shape[:-1]), x.shape[-1]), w, *rest), *x.shape[:-1], w.shape[-1])


def _drop(x, axis):
    """x without an axis of length 1."""
    return reshape(x, [n for i, n in enumerate(x.shape) if i != axis % x.ndim])
