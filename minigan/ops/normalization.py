"""Normalisation: shift and scale numbers so that a chosen set of them has mean 0 and variance 1.

With x̂ = (x − μ)/σ, σ² = var + ε, all three depend on x, and so does the gradient (Ioffe & Szegedy 2015, § 3):

    x̄ = (x̂̄ − mean(x̂̄) − x̂·mean(x̂̄·x̂))/σ

Recorded, μ, σ and x̂ are computed again *from x with ops*, because to treat them as constants is right for the first
derivative and wrong for the next.
"""

import math

from ..autodiff.primitive import primitive
from ..autodiff.vector_space import sum_to
from ..backend import of, xp
from ..errors import ShapeError, message
from .elementwise import sqrt
from .linear import same_dtype
from .reduction import mean, sum, var
from .shape import reshape

__all__ = ["batch_norm", "instance_norm", "layer_norm", "scale_shift"]


@primitive(aux=True)
def _batch_norm(x, gamma, beta, *, eps, statistics):
    """y = γ·x̂ + β, per channel over all rows.    γ̄ = Σ ȳ·x̂,  β̄ = Σ ȳ,  x̄ = γ/σ·(ȳ − mean ȳ − x̂·mean(ȳ·x̂))"""
    if x.shape[-1:] != gamma.shape or gamma.shape != beta.shape or x.ndim < 2:
        raise ValueError(f"x has {x.shape[-1]} channels, gamma and beta have shapes {gamma.shape} and {beta.shape}")
    rows = x.reshape(-1, x.shape[-1])
    out, mean, var = of(x).batch_norm(rows, gamma, beta, eps)
    if statistics is not None:
        statistics += (mean, var)
    return out.reshape(x.shape), (mean, 1 / xp(x).sqrt(var + eps))


@_batch_norm.vjp("x", "gamma", "beta")
def _(g, x, gamma, aux, x_shape, *, eps):
    channels = x_shape[-1]
    if aux is not None:
        g_x, g_gamma, g_beta = of(g).batch_norm_backward(g.reshape(-1, channels), x.reshape(-1, channels), gamma, *aux)
        return g_x.reshape(x_shape), g_gamma, g_beta
    g, rows = reshape(g, -1, channels), reshape(x, -1, channels)
    inv_std = 1.0 / sqrt(var(rows, 0) + eps)
    normal = (rows - mean(rows, 0)) * inv_std
    g_gamma, g_beta = sum(g * normal, 0), sum(g, 0)
    g_x = (gamma * inv_std) * (g - (g_beta + normal * g_gamma) / rows.shape[0])
    return reshape(g_x, x_shape), g_gamma, g_beta


def batch_norm(x, gamma, beta, eps=1e-5, statistics=None):
    """Batch normalisation (Ioffe & Szegedy 2015): each channel over the whole batch and all positions.

    x (…, c), gamma and beta (c,) → the shape of x. The variance is biased (divided by n). ``statistics``: a list to
    which the channel means and variances of this batch, arrays of shape (c,), are appended. Raises `ShapeError`.
    """
    return _batch_norm(x, gamma, beta, eps=float(eps), statistics=statistics)


@primitive
def _scale_shift(x, scale, shift):
    """y = x·scale + shift, per channel.    x̄ = ȳ·scale,  scale̅ = Σ ȳ·x,  shift̅ = Σ ȳ"""
    same_dtype("the scale", scale, x)
    same_dtype("the shift", shift, x)
    if not x.ndim or x.shape[-1:] != scale.shape or scale.shape != shift.shape:
        raise ValueError(f"x must be (…, c), scale and shift (c,); got {x.shape}, {scale.shape} and {shift.shape}")
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    return of(x).scale_shift(rows, scale, shift).reshape(x.shape)


@_scale_shift.vjp("x")
def _(g, scale):
    return g * scale


@_scale_shift.vjp("scale")
def _(g, x, scale_shape):
    return sum_to(g * x, shape=scale_shape)


@_scale_shift.vjp("shift")
def _(g, shift_shape):
    return sum_to(g, shape=shift_shape)


def scale_shift(x, scale, shift):
    """x·scale + shift per channel: batch normalisation in evaluation, where the statistics are constants.

    x (…, c), scale and shift (c,) → the shape of x. Raises `ShapeError`.
    """
    return _scale_shift(x, scale, shift)


@primitive(aux=True)
def _standardize(x, *, axes, eps):
    """y = (x − μ)/σ over ``axes``.    x̄ = (ȳ − mean ȳ − y·mean(ȳ·y))/σ"""
    centred = x - x.mean(axes, keepdims=True)
    inv_std = 1 / xp(x).sqrt((centred * centred).mean(axes, keepdims=True) + eps)
    return centred * inv_std, inv_std


@_standardize.vjp("x")
def _(g, x, out, aux, *, axes, eps):
    inv_std = 1.0 / sqrt(var(x, axes, keepdims=True) + eps) if aux is None else aux
    return inv_std * (g - mean(g, axes, keepdims=True) - out * mean(g * out, axes, keepdims=True))


def layer_norm(x, gamma, beta, eps=1e-5):
    """Layer normalisation (Ba et al. 2016): each sample by itself, over the trailing axes that ``gamma`` spans.

    x (n, …, *s), gamma and beta of shape s → the shape of x. Raises `ShapeError`.
    """
    axes = tuple(range(-gamma.ndim, 0))
    if not axes or x.shape[-len(axes) :] != gamma.shape or gamma.shape != beta.shape:
        what = f"layer_norm: x {x.shape} must end in the shape of gamma {gamma.shape} and of beta {beta.shape}"
        raise ShapeError(message(what, operands=[("x", x), ("gamma", gamma), ("beta", beta)]))
    return _standardize(x, axes=axes, eps=float(eps)) * gamma + beta


def instance_norm(x, gamma, beta, eps=1e-5):
    """Instance normalisation (Ulyanov et al. 2016): each channel of each sample by itself, over its positions.

    x (n, …, c), gamma and beta (c,) → the shape of x. Raises `ShapeError`.
    """
    if x.ndim < 3 or x.shape[-1:] != gamma.shape or gamma.shape != beta.shape:
        what = f"instance_norm: x must be (n, …, c) with positions between, gamma and beta (c,); got x {x.shape}"
        raise ShapeError(message(what, operands=[("x", x), ("gamma", gamma), ("beta", beta)]))
    return _standardize(x, axes=tuple(range(1, x.ndim - 1)), eps=float(eps)) * gamma + beta
