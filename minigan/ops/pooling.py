"""Pooling and upsampling of images (n, h, w, c), composed of other ops, hence differentiable to any order."""

import math

from ..autodiff.modes import state
from ..autodiff.vector_space import broadcast_to
from ..errors import ShapeError, message
from .convolution import _output_size, _pair
from .reduction import max
from .shape import getitem, pad, reshape, stack

__all__ = ["average_pool", "max_pool", "upsample_nearest"]


def _check_images(x):
    if x.ndim != 4:
        raise ShapeError(message("images are (n, h, w, c)", operands=[("x", x)], scope=state.scope))


def _windows(x, kernel, stride, padding, border):
    """The kh·kw shifted, strided views of x, each (n, oh, ow, c): element j of every window."""
    _check_images(x)
    kernel = _pair(kernel, "kernel")
    (sh, sw), (ph, pw) = _pair(kernel if stride is None else stride, "stride"), _pair(padding, "padding")
    kh, kw = kernel
    if ph >= kh or pw >= kw:
        what = f"padding {(ph, pw)} must be smaller than the window {kernel}, or windows lie outside the image"
        raise ShapeError(message(what, operands=[("x", x)], scope=state.scope))
    try:
        oh, ow = _output_size(x.shape[1:3], kernel, (sh, sw), (ph, pw))
    except ValueError as error:
        raise ShapeError(message(f"pooling: {error}", operands=[("x", x)], scope=state.scope)) from None
    x = pad(x, ((0, 0), (ph, ph), (pw, pw), (0, 0)), border) if ph or pw else x
    corners = [(ky, kx) for ky in range(kh) for kx in range(kw)]
    return [
        getitem(x, (slice(None), slice(ky, ky + sh * (oh - 1) + 1, sh), slice(kx, kx + sw * (ow - 1) + 1, sw)))
        for ky, kx in corners
    ]


def average_pool(x, kernel, stride=None, padding=0):
    """The mean of each window: (n, h, w, c) → (n, oh, ow, c). ``stride`` defaults to ``kernel``; the zero border
    counts.
    """
    views = _windows(x, kernel, stride, padding, 0.0)
    total = views[0]
    for view in views[1:]:
        total = total + view
    return total / len(views)


def max_pool(x, kernel, stride=None, padding=0):
    """The maximum of each window: (n, h, w, c) → (n, oh, ow, c). ``stride`` defaults to ``kernel``; the border is −∞.

    Equal maxima of a window share its gradient equally.
    """
    return max(stack(_windows(x, kernel, stride, padding, -math.inf)), axis=0)


def upsample_nearest(x, scale=2):
    """Every pixel repeated: (n, h, w, c) → (n, h·sh, w·sw, c). ``scale``: an int or a pair."""
    _check_images(x)
    (n, h, w, c), (sh, sw) = x.shape, _pair(scale, "scale")
    return reshape(broadcast_to(reshape(x, n, h, 1, w, 1, c), shape=(n, h, sh, w, sw, c)), n, h * sh, w * sw, c)
