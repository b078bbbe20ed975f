"""Initial weights.

An initialiser is a function ``(rng, shape, fan_in, fan_out) → float32 array``. Layers take one as ``init=``;
`initialize` draws a whole network anew, each parameter from its own stream keyed by (seed, parameter's name), so that
adding a layer changes no other layer's weights.
"""

import itertools
import math
from contextlib import contextmanager

import numpy as np

from .. import backend
from ..backend.random import stream

_drawn = itertools.count()  # layers made without an explicit seed draw from consecutive streams: each run alike


def normal(std=0.02, mean=0.0):
    """N(mean, std²)."""
    return lambda rng, shape, fan_in, fan_out: (mean + std * rng.standard_normal(shape)).astype(np.float32)


def glorot(rng, shape, fan_in, fan_out):
    """Uniform on ±√(6/(fan_in + fan_out)) (Glorot & Bengio 2010, eq. 16): keeps variances for linear and tanh units."""
    bound = math.sqrt(6 / (fan_in + fan_out))
    return rng.uniform(-bound, bound, shape).astype(np.float32)


def he(rng, shape, fan_in, fan_out):
    """N(0, 2/fan_in) (He et al. 2015, eq. 10): keeps variances through ReLU units."""
    return (math.sqrt(2 / fan_in) * rng.standard_normal(shape)).astype(np.float32)


def orthogonal(rng, shape, fan_in, fan_out):
    """Orthonormal rows or columns of the weight matrix (all axes but the last) × last (Saxe et al. 2014)."""
    rows, columns = math.prod(shape[:-1]), shape[-1]
    q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
    q = q * np.sign(np.diagonal(r))  # makes the distribution uniform
    return (q if rows >= columns else q.T).reshape(shape).astype(np.float32)


@contextmanager
def undisturbed():
    """Layers made in this context take no default streams from those that are made after it."""
    global _drawn
    before, _drawn = _drawn, itertools.count()
    try:
        yield
    finally:
        _drawn = before


def draw(init, shape, fan_in, fan_out):
    """Weights for a layer that is being made, from the next default stream."""
    return init(stream(0, "init", next(_drawn)), shape, fan_in, fan_out)


def initialize(module, init, seed=0):
    """Draw every weight of ``module`` anew with ``init``, from streams keyed by (seed, its name). Returns the module.

    Biases and shifts (β) become 0, scales (γ) 1. ``init`` may be ``dcgan`` (see there).
    """
    for _, layer in module.named_modules():
        for kind, p in layer._parameters.items():
            rng = stream(seed, p.name)
            if kind == "gamma":
                values = 1 + 0.02 * rng.standard_normal(p.shape) if init is dcgan else np.ones(p.shape)
            elif kind == "beta" or p.ndim < 2:
                values = np.zeros(p.shape)
            else:
                fans = layer.fans() if hasattr(layer, "fans") else (math.prod(p.shape[:-1]), p.shape[-1])
                values = init(rng, p.shape, *fans)
            p.assign(backend.of(p.data).asarray(values, p.dtype))
    return module


def dcgan(rng, shape, fan_in, fan_out):
    """DCGAN's rule (Radford et al. 2016, § 4): weights N(0, 0.02²); with `initialize` also γ ~ N(1, 0.02²)."""
    return normal(0.02)(rng, shape, fan_in, fan_out)
