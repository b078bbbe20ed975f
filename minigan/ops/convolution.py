"""Convolution: three primitives that are the three partial derivatives of one trilinear form.

Write T(x, w, g) = ⟨conv(x, w), g⟩ = Σ g[n,oy,ox,o]·w[ky,kx,i,o]·x[n, sy·oy + ky − py, sx·ox + kx − px, i]. It is linear
in each of its three arguments, so its gradients are

    ∂T/∂g = conv(x, w)          ∂T/∂x = conv_transpose(g, w)          ∂T/∂w = conv_weight_gradient(x, g)

and the VJPs of each of these functions are the other two. The set is closed: convolution is differentiable to any
order.

Images are (n, h, w, c), weights (kh, kw, in, out). The output has (h + 2p − k)//s + 1 rows; rows of the image that no
window reaches get gradient 0. `Backend` defines each function as one GEMM on the columns of an image (`im2col`) or the
adjoint movement (`col2im`).
"""

from operator import index

from ..autodiff.modes import state
from ..autodiff.primitive import primitive
from ..autodiff.vector_space import sum_to
from ..backend import of
from ..errors import ShapeError, message
from .linear import plus_row

__all__ = ["conv", "conv_transpose", "conv_weight_gradient"]


def _pair(value, name):
    """An int, or a pair of ints, as a pair."""
    try:
        pair = (index(value),) * 2 if hasattr(value, "__index__") else tuple(map(index, value))
    except TypeError:
        pair = ()
    if len(pair) != 2:
        raise ShapeError(message(f"{name} must be an int or a pair of ints, got {value!r}"))
    return pair


def _output_size(size, kernel, stride, padding):
    """(oh, ow) of a convolution over an image of ``size`` (h, w)."""
    if min(stride) < 1 or min(padding) < 0:
        raise ValueError(f"stride must be at least 1 and padding at least 0; got {stride} and {padding}")
    out = [(n + 2 * p - k) // s + 1 for n, k, s, p in zip(size, kernel, stride, padding, strict=True)]
    if min(out) < 1:
        raise ValueError(f"a window of {kernel} does not fit into an image of {tuple(size)} with padding {padding}")
    return tuple(out)


def _check(x, w, channels, what):
    """Refuse what is not (n, h, w, channels) with weights (kh, kw, in, out)."""
    if x.ndim != 4 or w.ndim != 4:
        raise ValueError(f"images are (n, h, w, channels) and weights (kh, kw, in, out); got {x.shape}, {w.shape}")
    if x.shape[3] != channels:
        raise ValueError(f"x has {x.shape[3]} channels, the weights' {what} has {channels}")


@primitive
def _conv(x, w, b=None, *, stride, padding):
    """y[n,oy,ox,o] = Σ w[ky,kx,i,o]·x[n, s·oy + ky − p, s·ox + kx − p, i] + b[o]

    x̄ = conv_transpose(ȳ, w),  w̄ = conv_weight_gradient(x, ȳ),  b̄ = Σ ȳ over samples and pixels
    """
    _check(x, w, w.shape[2], "input side")
    y = of(x).conv(x, w, stride, padding, _output_size(x.shape[1:3], w.shape[:2], stride, padding))
    return y if b is None else plus_row(y, b, x, w)


@_conv.vjp("x")
def _(g, w, x_shape, *, stride, padding):
    return _conv_transpose(g, w, stride=stride, padding=padding, size=x_shape[1:3])


@_conv.vjp("w")
def _(g, x, w_shape, *, stride, padding):
    return _conv_weight_gradient(x, g, kernel=w_shape[:2], stride=stride, padding=padding)


@primitive
def _conv_transpose(x, w, b=None, *, stride, padding, size):
    """The adjoint of conv in its image, plus b.    x̄ = conv(ȳ, w),  w̄ = conv_weight_gradient(ȳ, x),  b̄ = Σ ȳ"""
    _check(x, w, w.shape[3], "output side")
    convolved = _output_size(size, w.shape[:2], stride, padding)
    if convolved != x.shape[1:3]:
        raise ValueError(f"an image of {tuple(size)} convolves to {convolved}, not {x.shape[1:3]}")
    y = of(x).conv_transpose(x, w, stride, padding, size)
    return y if b is None else plus_row(y, b, x, w)


@_conv_transpose.vjp("x")
def _(g, w, *, stride, padding):
    return _conv(g, w, stride=stride, padding=padding)


@_conv_transpose.vjp("w")
def _(g, x, w_shape, *, stride, padding):
    return _conv_weight_gradient(g, x, kernel=w_shape[:2], stride=stride, padding=padding)


for _op in (_conv, _conv_transpose):
    _op.vjp("b")(lambda g, b_shape: sum_to(g, shape=b_shape))


@primitive
def _conv_weight_gradient(x, g, *, kernel, stride, padding):
    """y[ky,kx,i,o] = Σ g[n,oy,ox,o]·x[n, s·oy + ky − p, s·ox + kx − p, i]

    x̄ = conv_transpose(g, ȳ),  ḡ = conv(x, ȳ)
    """
    size = _output_size(x.shape[1:3], kernel, stride, padding)
    if x.ndim != 4 or g.ndim != 4 or size != g.shape[1:3] or len(x) != len(g):
        raise ValueError(f"an image {x.shape} convolves with a {kernel} kernel to {size}, g has shape {g.shape}")
    return of(x).conv_weight_gradient(x, g, kernel, stride, padding)


@_conv_weight_gradient.vjp("x")
def _(gy, g, x_shape, *, stride, padding):
    return _conv_transpose(g, gy, stride=stride, padding=padding, size=x_shape[1:3])


@_conv_weight_gradient.vjp("g")
def _(gy, x, *, stride, padding):
    return _conv(x, gy, stride=stride, padding=padding)


# ---- the functions that people call ---------------------------------------------------------------------------------


def conv(x, w, stride=1, padding=0, bias=None):
    """Convolution (cross-correlation, as in every deep-learning library) of images with weights.

    x (n, h, w, in), w (kh, kw, in, out) → (n, oh, ow, out) with oh = (h + 2·padding − kh)//stride + 1. ``stride``,
    ``padding``: an int or a pair (rows, columns); the border is zeros. ``bias`` (out,) is added to every pixel. Raises
    `ShapeError` for channels that differ or a window that does not fit.
    """
    return _conv(x, w, *_given(bias), stride=_pair(stride, "stride"), padding=_pair(padding, "padding"))


def _given(bias):
    return () if bias is None else (bias,)


def conv_transpose(x, w, stride=1, padding=0, output_padding=0, bias=None):
    """Transposed convolution: the adjoint of `conv` with the same weights, stride and padding.

    x (n, oh, ow, out), w (kh, kw, in, out) as of the conv it transposes → (n, h, w, in) with h = (oh − 1)·stride −
    2·padding + kh + output_padding. ``output_padding`` (0 ≤ output_padding < stride) says how many rows the transposed
    conv would have left over. ``bias`` (in,) is added to every pixel. Raises `ShapeError`.
    """
    stride, padding = _pair(stride, "stride"), _pair(padding, "padding")
    extra = _pair(output_padding, "output_padding")
    if not all(0 <= e < s for e, s in zip(extra, stride, strict=True)):
        what = f"conv_transpose: output_padding must be >= 0 and less than stride; got {extra} with stride {stride}"
        raise ShapeError(message(what, operands=[("x", x), ("w", w)], scope=state.scope))
    numbers = zip(x.shape[1:3], w.shape[:2], stride, padding, extra, strict=False)
    size = tuple((n - 1) * s - 2 * p + k + e for n, k, s, p, e in numbers)
    return _conv_transpose(x, w, *_given(bias), stride=stride, padding=padding, size=size)


def conv_weight_gradient(x, g, kernel, stride=1, padding=0):
    """The gradient of ⟨conv(x, w), g⟩ by w: x (n, h, w, in), g (n, oh, ow, out) → (kh, kw, in, out), ``kernel = (kh,
    kw)``.
    """
    return _conv_weight_gradient(
        x,
        g,
        kernel=_pair(kernel, "kernel"),
        stride=_pair(stride, "stride"),
        padding=_pair(padding, "padding"),
    )
