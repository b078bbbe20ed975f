"""Spectral normalisation: a layer whose weight matrix has largest singular value 1 (Miyato et al. 2018).

The slope of a network is at most the product of its layers' slopes, and that of x ↦ W x + b is σ(W), the largest
singular value. With every W replaced by W/σ(W), and activations of slope at most 1, a discriminator can rise no faster
than a distance: |D(x) − D(y)| ≤ ‖x − y‖. (For a convolution the paper takes σ of the weights as a matrix: the
convolution itself may be steeper, up to √(kh·kw) times.)

σ is found by the power iteration, one step of it whenever the layer is used in training (algorithm 1):

    v ← Wᵀu/‖Wᵀu‖,    u ← W v/‖W v‖,    σ = uᵀ W v,    with W as the matrix (out, rest)

u and v are remembered from step to step, and are constants for the gradient: ∂σ/∂W = u vᵀ. σ itself is no constant, so
that with W̄' the cotangent of W/σ (§ 2.3)

    W̄ = (W̄' − ⟨W̄', W/σ⟩·u vᵀ)/σ

and W is not pushed along the direction in which it would only grow.
"""

from .. import backend, ops
from ..backend.random import stream
from .layers import Conv, ConvTranspose, Dense, _at_least
from .module import Module

NORMALISABLE = (Dense, Conv, ConvTranspose)
SETTLING = 15  # power iterations on a new weight


class SpectralNorm(Module):
    """``layer`` (a `Dense`, `Conv` or `ConvTranspose`) with its weight divided by the weight's largest singular value.

    Each call in training first makes ``iterations`` steps of the power iteration; in evaluation none, so that the
    output depends on the input alone. The vectors u (out,) and v (the rest,) are buffers: a resumed run goes on with
    them. Replacing the weights from outside makes them outdated: `settle` anew (an optimiser's steps are small enough
    to be followed by the one iteration).

    Raises ``TypeError`` for any other layer and ``ValueError`` where the weight is 0 and has no direction.
    """

    def __init__(self, layer, iterations=1, eps=1e-12):
        super().__init__()
        if not isinstance(layer, NORMALISABLE):
            raise TypeError(f"SpectralNorm takes a Dense, Conv or ConvTranspose layer, got {layer!r:.200}")
        _at_least(1, self, iterations=iterations)
        self.iterations, self.eps, self.training = iterations, eps, layer.training
        self.layer = layer
        self.settle()

    def settle(self):
        """Estimate u and v anew for the present weight, from a start that depends on its shape alone."""
        weight = self.layer.weight.data
        start = stream(0, f"spectral norm {tuple(weight.shape)}").standard_normal(self._matrix(weight).shape[1])
        u, v = self._iterated(backend.of(weight).asarray(start, weight.dtype), SETTLING)
        self.buffer("u", u)
        self.buffer("v", v)
        if not self.sigma().item() > 0:
            raise ValueError("SpectralNorm: the weight is 0 (or not finite), no singular value can be made 1")

    def _matrix(self, weight):
        """The transpose of the paper's matrix, (rest, out), of a Tensor or an array."""
        if isinstance(self.layer, ConvTranspose):
            weight = ops.transpose(weight, 0, 1, 3, 2)  # (kh, kw, out, in): out last, as in the others
        return ops.reshape(weight, -1, weight.shape[-1])

    def _iterated(self, u, count):
        """(u, v) after ``count`` steps of the power iteration, as new arrays: nothing is recorded."""
        matrix = self._matrix(self.layer.weight.data)
        for _ in range(count):
            v = self._unit(matrix @ u)
            u = self._unit(v @ matrix)
        return u, v

    def _unit(self, vector):
        return vector / (backend.xp(vector).sqrt((vector * vector).sum()) + self.eps)

    def sigma(self):
        """The estimate uᵀ W v of the largest singular value (never above it): a 0-d Tensor, differentiable by W."""
        return ops.matmul(self.v, ops.matmul(self._matrix(self.layer.weight), self.u))

    def forward(self, x):
        """What ``layer`` takes and gives, computed with W/σ."""
        if self.training:
            self.u, self.v = self._iterated(self.u, self.iterations)
        y = self.layer.apply(x, self.layer.weight / self.sigma())
        for hook in self.layer.hooks:  # the layer itself is not called
            hook(self.layer, (x,), y)
        return y


def spectral_norm(network, iterations=1, eps=1e-12):
    """Put a `SpectralNorm` around every Dense, Conv and ConvTranspose inside ``network``, in place, and return it.

    The layers keep their places: ``conv1.weight`` becomes ``conv1.layer.weight``, the same Tensor. A layer that is used
    twice gets one wrapper. Draw the weights first (`init.initialize`), see `SpectralNorm`.

    Raises ``ValueError`` when something inside is wrapped already, or nothing can be; then nothing has changed.
    """
    modules = list(network.named_modules())
    done = [name or "the network itself" for name, module in modules if isinstance(module, SpectralNorm)]
    if done:
        raise ValueError(f"spectral_norm: wrapped already: {', '.join(done)}")
    layers = dict.fromkeys(module for _, module in modules[1:] if isinstance(module, NORMALISABLE))
    if not layers:
        what = "no Dense, Conv or ConvTranspose inside"
        raise ValueError(f"spectral_norm: {what} {network!r:.200}; wrap a single layer with SpectralNorm(layer)")
    try:
        wrapped = {layer: SpectralNorm(layer, iterations, eps) for layer in layers}
    except ValueError:
        network.named(network.path)  # those already taken into a wrapper have lost their names
        raise
    for _, parent in modules:
        for name, child in list(parent._children.items()):
            if child in wrapped:
                setattr(parent, name, wrapped[child])
    return network
