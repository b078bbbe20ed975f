"""Layers made for GANs: a discriminator that sees several samples at once, and a batch norm that does not.

A discriminator that judges each sample alone cannot see that a generator makes the same sample again and again (mode
collapse). Three layers show it more: `MinibatchDiscrimination` how close each sample is to the others,
`MinibatchStdDev` how much they vary, `Pack` several samples as one. `VirtualBatchNorm` goes the other way: it
normalises like batch norm but each sample by a fixed reference batch, so that samples do not depend on each other.
"""

import math

from .. import ops
from ..autodiff.tensor import tensor
from ..backend import xp
from ..errors import ShapeError, message
from . import init as initial
from .layers import _at_least, _constant, _expect, _weight
from .module import Module


def _refuse(layer, what):
    raise ShapeError(message(f"{type(layer).__name__}: {what}", scope=layer.path))


class MinibatchDiscrimination(Module):
    """How close each sample is to the others of its batch (Salimans et al. 2016, § 3.2): (n, d) → (n, d + kernels).

    Each feature vector xᵢ gives a matrix Mᵢ = xᵢ·T, T (in_features, kernels, dim), and row b of it is compared with
    the same row of all the others:

        o_b(xᵢ) = Σ_{j≠i} exp(−‖M_ib − M_jb‖₁)

    The output is xᵢ followed by o(xᵢ). (The paper's sum includes j = i, a constant 1.) Far from all others o = 0, and
    n − 1 where all are equal. ``kernels`` and ``dim`` are B and C in the paper, 100 and 5 in its authors' code. T is
    drawn by ``init``, kept as ``weight`` (in_features, kernels·dim). Takes n²·kernels·dim numbers of memory.

    Raises `ShapeError` unless x is (n, in_features).
    """

    couples_samples = True

    def __init__(self, in_features, kernels=100, dim=5, init=initial.glorot):
        super().__init__()
        _at_least(1, self, in_features=in_features, kernels=kernels, dim=dim)
        self.in_features, self.kernels, self.dim = in_features, kernels, dim
        self.weight = _weight(init, (in_features, kernels * dim), self.fans())

    def fans(self):
        """(inputs a unit sums over, units an input reaches)."""
        return self.in_features, self.kernels * self.dim

    def forward(self, x):
        """(n, in_features) → (n, in_features + kernels)."""
        _expect(self, x, (self.in_features,))
        if x.ndim != 2:
            _refuse(self, f"expects (n, {self.in_features}), got shape {tuple(x.shape)}; nn.Flatten() before it?")
        n = x.shape[0]
        rows = ops.reshape(ops.matmul(x, self.weight), n, self.kernels, self.dim)
        distances = ops.sum(ops.abs(rows[:, None] - rows[None]), -1)  # (n, n, kernels)
        others = 1 - xp(x.data).eye(n, dtype=x.dtype)[:, :, None]
        return ops.concatenate([x, ops.sum(ops.exp(-distances) * others, 1)], 1)

    def extra(self):
        """In features, kernels, dim."""
        return f"{self.in_features}, kernels={self.kernels}, dim={self.dim}"


class MinibatchStdDev(Module):
    """One more channel that says how much the samples of a group vary (Karras et al. 2018, "ProGAN", § 3).

    For each feature (and position) the standard deviation over the group, √(var + eps); the mean of these over all
    features and positions is a single number s, which every sample of the group gets as a constant last channel:

        (n, d) → (n, d + 1),        (n, h, w, c) → (n, h, w, c + 1)

    A group is ``group_size`` consecutive samples, or the whole batch (None), as in the paper. (The authors' code takes
    groups of every (n/group_size)-th sample; consecutive ones stay apart where real and generated samples come in one
    batch.) The variance is biased; eps keeps the gradient finite (and 0) where all samples are equal.

    Raises `ShapeError` when the group does not divide n.
    """

    couples_samples = True

    def __init__(self, group_size=4, eps=1e-8):
        super().__init__()
        if group_size is not None:
            _at_least(2, self, group_size=group_size)  # one sample alone has no deviation
        self.group_size, self.eps = group_size, eps

    def forward(self, x):
        """(n, …, c) → (n, …, c + 1)."""
        n, group = x.shape[0], self.group_size or max(x.shape[0], 1)
        if x.ndim < 2 or n % group:
            _refuse(self, f"expects (n, …, c) with n a multiple of group_size = {group}, got shape {tuple(x.shape)}")
        groups = ops.reshape(x, n // group, group, math.prod(x.shape[1:]))
        deviation = ops.mean(ops.sqrt(ops.var(groups, 1) + self.eps), 1)  # (n/group,)
        each = ops.reshape(deviation, n // group, *(1,) * x.ndim)
        channel = ops.broadcast_to(each, shape=(n // group, group, *x.shape[1:-1], 1))
        return ops.concatenate([x, ops.reshape(channel, *x.shape[:-1], 1)], -1)

    def extra(self):
        """The group's size."""
        return f"{self.group_size}"


class Pack(Module):
    """m samples as one input of the discriminator (PacGAN, Lin et al. 2018, § 2): (n, …, c) → (n/m, …, m·c).

    The m samples of a pack must be of one source, all real or all generated. Samples 0 … m − 1 are the first pack, and
    so on; sample k of a pack holds its channels k·c … (k + 1)·c − 1. The layer stands first in the discriminator,
    which then gives one logit per pack. It couples no samples: the pack *is* the sample.

    Raises `ShapeError` when m does not divide n.
    """

    def __init__(self, m):
        super().__init__()
        _at_least(1, self, m=m)
        self.m = m

    def forward(self, x):
        """(n, …, c) → (n/m, …, m·c)."""
        if x.ndim < 2 or x.shape[0] % self.m:
            _refuse(self, f"expects (n, …, c) with n a multiple of m = {self.m}, got shape {tuple(x.shape)}")
        n, *positions, channels = x.shape
        packs = ops.reshape(x, n // self.m, self.m, *positions, channels)
        side_by_side = ops.transpose(packs, 0, *range(2, x.ndim), 1, x.ndim)  # (n/m, …, m, c)
        return ops.reshape(side_by_side, n // self.m, *positions, self.m * channels)

    def extra(self):
        """Samples a pack."""
        return f"{self.m}"


class VirtualBatchNorm(Module):
    """Batch norm by a fixed reference batch (Salimans et al. 2016, § 3.5); use it inside a `WithReference`.

    The first R = ``reference_size`` rows of x are the reference. They are normalised by their own mean μ and variance,
    and every further sample i by those of the reference and itself together: with the mean and the mean square over
    (rows and) positions of the reference, μ, q, and of sample i, μᵢ, qᵢ,

        m = (R·μ + μᵢ)/(R + 1),        var = (R·q + qᵢ)/(R + 1) − m²,        y = γ·(x − m)/√(var + eps) + β

    So sample i depends on the reference and itself, and on no other sample; training and evaluation are alike. The
    reference's statistics are no constants: the layers before it get gradients through them. x: (…, channels), with
    γ = 1, β = 0 of shape (channels,).

    Raises `ShapeError` where x has no rows beyond the reference.
    """

    def __init__(self, channels, reference_size, eps=1e-5):
        super().__init__()
        _at_least(1, self, channels=channels, reference_size=reference_size)
        self.channels, self.reference_size, self.eps = channels, reference_size, eps
        self.gamma, self.beta = _constant(1, channels), _constant(0, channels)

    def forward(self, x):
        """(R + n, …, channels) → the same shape."""
        _expect(self, x, (self.channels,))
        size, n = self.reference_size, x.shape[0]
        if n <= size:
            what = f"the first {size} rows are the reference, and x of shape {tuple(x.shape)} has no others"
            _refuse(self, f"{what}; nn.WithReference(network, reference) puts them there")
        rows = ops.reshape(x, n, math.prod(x.shape[1:-1]), self.channels)
        reference, samples = rows[:size], rows[size:]
        mean, var = (f(reference, (0, 1), keepdims=True) for f in (ops.mean, ops.var))  # (1, 1, c)
        own_mean, own_var = (f(samples, 1, keepdims=True) for f in (ops.mean, ops.var))  # (n − R, 1, c)
        a, b = size / (size + 1), 1 / (size + 1)
        mixed_mean = a * mean + b * own_mean
        mixed_var = a * var + b * own_var + a * b * (own_mean - mean) ** 2  # the formula above, without cancellation
        parts = [self._standard(reference, mean, var), self._standard(samples, mixed_mean, mixed_var)]
        return ops.reshape(ops.concatenate(parts), *x.shape) * self.gamma + self.beta

    def _standard(self, x, mean, var):
        return (x - mean) / ops.sqrt(var + self.eps)

    def extra(self):
        """Channels and reference size."""
        return f"{self.channels}, reference_size={self.reference_size}"


class WithReference(Module):
    """``network`` with a fixed reference batch in front of every batch, for its `VirtualBatchNorm` layers.

    The reference (R, …), drawn once from the data (for a generator: from the latents), runs through the network before
    the rows of x, and only the outputs of x are returned: y = network([reference, x])[R:]. It is a buffer. Costs R rows
    at every call. A `Pack` stands before it (and the reference is of packs), since it changes the number of rows.

    Raises `ShapeError` when a `VirtualBatchNorm` inside expects a reference of another size.
    """

    def __init__(self, network, reference):
        super().__init__()
        self.network = network
        self.buffer("reference", tensor(reference).data)
        for name, layer in network.named_modules():
            if isinstance(layer, VirtualBatchNorm) and layer.reference_size != len(self.reference):
                what = f"the reference has {len(self.reference)} rows, {name or 'the network'} expects"
                _refuse(self, f"{what} {layer.reference_size}")

    def forward(self, x):
        """(n, …) → the network's output for these n rows."""
        return self.network(ops.concatenate([self.reference, x]))[self.reference.shape[0] :]
