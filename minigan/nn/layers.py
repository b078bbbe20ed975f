"""Layers: small Modules around the functions of `minigan.ops`. Images are (n, h, w, c), channels last."""

import math

import numpy as np

from .. import backend, ops
from ..autodiff.tensor import Tensor, tensor
from ..backend.random import stream
from ..errors import ShapeError, message
from ..ops.convolution import _pair
from . import init as initial
from .module import Module


def _weight(init, shape, fans):
    return tensor(initial.draw(init, shape, *fans), requires_grad=True)


def _constant(value, shape):
    return tensor(np.full(shape, value, np.float32), requires_grad=True)


def _at_least(least, layer, **sizes):
    """Refuse sizes (ints or tuples of them) below ``least``."""
    for name, size in sizes.items():
        if not all(isinstance(n, int | np.integer) and n >= least for n in np.atleast_1d(size).tolist()):
            raise ValueError(f"{type(layer).__name__}: {name} must be at least {least}, in whole numbers; got {size!r}")


def _expect(layer, x, shape):
    """Refuse an x that does not end in ``shape``: broadcasting would stretch a length of 1."""
    if tuple(x.shape[-len(shape) :]) != shape:
        what = f"{type(layer).__name__} expects (…, {', '.join(map(str, shape))}), got an x of shape {tuple(x.shape)}"
        raise ShapeError(message(what, scope=layer.path))


class Sequential(Module):
    """Layers one after the other. A child is named by its type and number (``conv1``, ``conv2``, ``dense1``), or by
    keyword.

    >>> net = Sequential(Dense(2, 16), LeakyReLU(), Dense(16, 1))
    >>> net.dense2.weight.name
    'dense2.weight'
    """

    def __init__(self, *layers, name=None, **named):
        super().__init__(name)
        counts = {}
        for layer in layers:
            kind = type(layer).__name__.lower()
            counts[kind] = counts.get(kind, 0) + 1
            self._append(f"{kind}{counts[kind]}", layer)
        for key, layer in named.items():
            self._append(key, layer)

    def _append(self, name, layer):
        if not isinstance(layer, Module):
            raise TypeError(f"Sequential takes layers, like ReLU(); {name} is {layer!r}")
        if hasattr(self, name):
            raise ValueError(f"Sequential: a child cannot be called {name!r}, that name is taken")
        setattr(self, name, layer)

    def forward(self, x):
        """x through all layers."""
        for layer in self._children.values():
            x = layer(x)
        return x

    def __getitem__(self, i):
        return list(self._children.values())[i]

    def __len__(self):
        return len(self._children)


class Dense(Module):
    """y = x W + b: (n, in_features) → (n, out_features). Weights (in, out), drawn by ``init``; b = 0."""

    def __init__(self, in_features, out_features, bias=True, init=initial.he):
        super().__init__()
        _at_least(1, self, in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        self.weight = _weight(init, (in_features, out_features), self.fans())
        self.bias = _constant(0, out_features) if bias else None

    def fans(self):
        """(inputs a unit sums over, units an input reaches)."""
        return self.in_features, self.out_features

    def forward(self, x):
        """(…, in_features) → (…, out_features)."""
        return self.apply(x, self.weight)

    def apply(self, x, weight):
        """The layer's function with another weight of the same shape."""
        return ops.matmul(x, weight) if self.bias is None else ops.linear(x, weight, self.bias)

    def extra(self):
        """In and out."""
        return f"{self.in_features}, {self.out_features}" + ("" if self.bias is not None else ", bias=False")


class Conv(Module):
    """Convolution: (n, h, w, in) → (n, oh, ow, out), oh = (h + 2·padding − k)//stride + 1; weights HWIO."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, bias=True, init=initial.he):
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride = _pair(kernel_size, "kernel_size"), _pair(stride, "stride")
        self.padding = _pair(padding, "padding")
        _at_least(1, self, channels=(in_channels, out_channels), kernel_size=self.kernel_size, stride=self.stride)
        _at_least(0, self, padding=self.padding)
        self.weight = _weight(init, (*self.kernel_size, in_channels, out_channels), self.fans())
        self.bias = _constant(0, out_channels) if bias else None

    def fans(self):
        """(inputs a unit sums over, units an input reaches)."""
        taps = math.prod(self.kernel_size)
        return self.in_channels * taps, self.out_channels * taps

    def forward(self, x):
        """(n, h, w, in) → (n, oh, ow, out)."""
        return self.apply(x, self.weight)

    def apply(self, x, weight):
        """The layer's function with another weight of the same shape."""
        return ops.conv(x, weight, self.stride, self.padding, self.bias)

    def extra(self):
        """Channels and geometry."""
        shape = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        return f"{shape}, stride={self.stride}, padding={self.padding}"


class ConvTranspose(Module):
    """Transposed convolution: (n, h, w, in) → (n, H, W, out), H = (h − 1)·stride − 2·padding + k + output_padding.

    Weights (kh, kw, out, in): those of the convolution (out → in) that it transposes.
    """

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        output_padding=0,
        bias=True,
        init=initial.he,
    ):
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride = _pair(kernel_size, "kernel_size"), _pair(stride, "stride")
        self.padding, self.output_padding = _pair(padding, "padding"), _pair(output_padding, "output_padding")
        _at_least(1, self, channels=(in_channels, out_channels), kernel_size=self.kernel_size, stride=self.stride)
        _at_least(0, self, padding=self.padding, output_padding=self.output_padding)
        self.weight = _weight(init, (*self.kernel_size, out_channels, in_channels), self.fans())
        self.bias = _constant(0, out_channels) if bias else None

    def fans(self):
        """(inputs an output sums over, on average; outputs an input reaches)."""
        taps = math.prod(self.kernel_size)
        return max(1, self.in_channels * taps // math.prod(self.stride)), self.out_channels * taps

    def forward(self, x):
        """(n, h, w, in) → (n, H, W, out)."""
        return self.apply(x, self.weight)

    def apply(self, x, weight):
        """The layer's function with another weight of the same shape."""
        return ops.conv_transpose(x, weight, self.stride, self.padding, self.output_padding, self.bias)

    def extra(self):
        """Channels and geometry."""
        shape = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        return f"{shape}, padding={self.padding}, output_padding={self.output_padding}"


class BatchNorm(Module):
    """Batch normalisation over all axes but the last (Ioffe & Szegedy 2015), with learnt scale γ and shift β.

    Training: the batch's own mean and variance; the running ones follow, ``running ← (1 − momentum)·running +
    momentum·batch`` (with the unbiased variance). Evaluation: the running ones, as constants. Not for a critic under a
    per-sample gradient penalty, since it couples the samples of a batch.
    """

    couples_samples = True

    def __init__(self, channels, momentum=0.1, eps=1e-5):
        super().__init__()
        self.channels, self.momentum, self.eps = channels, momentum, eps
        _at_least(1, self, channels=channels)
        self.gamma, self.beta = _constant(1, channels), _constant(0, channels)
        self.buffer("running_mean", np.zeros(channels, np.float32))
        self.buffer("running_var", np.ones(channels, np.float32))

    def forward(self, x):
        """(…, channels) → the same shape."""
        _expect(self, x, (self.channels,))
        if not self.training:
            scale = self.gamma * (1.0 / backend.xp(self.running_var).sqrt(self.running_var + self.eps))
            return ops.scale_shift(x, scale, self.beta - self.running_mean * scale)
        statistics = []
        y = ops.batch_norm(x, self.gamma, self.beta, self.eps, statistics)
        mean, var = statistics
        n = x.size // self.channels
        self.running_mean = self.running_mean + self.momentum * (mean - self.running_mean)
        self.running_var = self.running_var + self.momentum * (var * (n / max(n - 1, 1)) - self.running_var)
        return y

    def extra(self):
        """Channels."""
        return f"{self.channels}"


class LayerNorm(Module):
    """Layer normalisation over the trailing axes ``shape`` (int or tuple), each sample by itself (Ba et al. 2016)."""

    def __init__(self, shape, eps=1e-5):
        super().__init__()
        self.shape, self.eps = (shape,) if isinstance(shape, int) else tuple(shape), eps
        _at_least(1, self, shape=self.shape)
        self.gamma, self.beta = _constant(1, self.shape), _constant(0, self.shape)

    def forward(self, x):
        """(n, …, *shape) → the same shape."""
        _expect(self, x, self.shape)
        return ops.layer_norm(x, self.gamma, self.beta, self.eps)

    def extra(self):
        """The normalised shape."""
        return f"{self.shape}"


class InstanceNorm(Module):
    """Instance normalisation: each channel of each sample over its positions (Ulyanov et al. 2016), with γ and β."""

    def __init__(self, channels, eps=1e-5):
        super().__init__()
        _at_least(1, self, channels=channels)
        self.channels, self.eps = channels, eps
        self.gamma, self.beta = _constant(1, channels), _constant(0, channels)

    def forward(self, x):
        """(n, …, channels) → the same shape."""
        _expect(self, x, (self.channels,))
        return ops.instance_norm(x, self.gamma, self.beta, self.eps)

    def extra(self):
        """Channels."""
        return f"{self.channels}"


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x):
        """Elementwise."""
        return ops.relu(x)


class LeakyReLU(Module):
    """x where x > 0, else slope·x."""

    def __init__(self, slope=0.2):
        super().__init__()
        self.slope = slope

    def forward(self, x):
        """Elementwise."""
        return ops.leaky_relu(x, self.slope)

    def extra(self):
        """The slope."""
        return f"{self.slope}"


class Tanh(Module):
    """tanh x."""

    def forward(self, x):
        """Elementwise."""
        return ops.tanh(x)


class Sigmoid(Module):
    """1/(1 + e⁻ˣ)."""

    def forward(self, x):
        """Elementwise."""
        return ops.sigmoid(x)


class MaxPool(Module):
    """The largest number of each window of ``size`` × ``size`` pixels: (n, h, w, c) → (n, ⌊h/size⌋, ⌊w/size⌋, c)."""

    def __init__(self, size):
        super().__init__()
        _at_least(1, self, size=size)
        self.size = size

    def forward(self, x):
        """(n, h, w, c) → (n, ⌊h/size⌋, ⌊w/size⌋, c)."""
        return ops.max_pool(x, self.size)

    def extra(self):
        """The window's size."""
        return f"{self.size}"


class Flatten(Module):
    """(n, …) → (n, product of the rest)."""

    def forward(self, x):
        """(n, …) → (n, d)."""
        return ops.reshape(x, x.shape[0], math.prod(x.shape[1:]))  # not −1: the batch may be empty


class Reshape(Module):
    """(n, …) → (n, *shape)."""

    def __init__(self, *shape):
        super().__init__()
        self.shape = shape

    def forward(self, x):
        """(n, …) → (n, *shape)."""
        return ops.reshape(x, x.shape[0], *self.shape)

    def extra(self):
        """The shape of one sample."""
        return ", ".join(map(str, self.shape))


class Dropout(Module):
    """In training, each number becomes 0 with probability ``p`` and is divided by 1 − p otherwise (Srivastava et al.
    2014).

    The mask of call k is drawn from the stream (seed, path, k); k is a buffer, so a resumed run draws what it would
    have.
    """

    def __init__(self, p=0.5, seed=0):
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"Dropout: p must be in [0, 1), got {p}")
        self.p, self.seed = p, seed
        self.buffer("calls", np.zeros((), np.int64))

    def _put_buffer(self, name, host, library):
        super()._put_buffer(name, host, backend.get("cpu"))  # the count stays on the host, where the mask is drawn

    def forward(self, x):
        """Any shape."""
        if not self.training or self.p == 0:
            return x
        data = x.data if isinstance(x, Tensor) else x
        rng = stream(self.seed, self.path or "dropout", int(self.calls))
        self.calls = self.calls + 1
        keep = (rng.random(data.shape, np.float32) >= self.p) / (1 - self.p)
        return x * backend.of(data).asarray(keep, data.dtype)

    def extra(self):
        """The probability."""
        return f"{self.p}"


class Embedding(Module):
    """A table of vectors: integer ids of any shape → (*shape, features). Weights (count, features), N(0, 1)."""

    def __init__(self, count, features, init=None):
        super().__init__()
        _at_least(1, self, count=count, features=features)
        self.count, self.features = count, features
        self.weight = _weight(init or initial.normal(1.0), (count, features), self.fans())

    def fans(self):
        """One row in, ``features`` out."""
        return 1, self.features

    def forward(self, ids):
        """ids (…) of integers in [0, count) → (…, features)."""
        return ops.take(self.weight, ids, axis=0)

    def extra(self):
        """Count and features."""
        return f"{self.count}, {self.features}"
