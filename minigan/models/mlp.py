"""Multilayer perceptrons, for points in the plane and other small things."""

import numpy as np

from .. import backend
from ..backend.random import stream
from ..nn import BatchNorm, Dense, LeakyReLU, Sequential
from ..nn.init import he, initialize


def mlp(*sizes, activation=LeakyReLU, batch_norm=False, name=None, seed=None):
    """Dense layers of the given sizes, ``activation()`` between them, after batch norm if wanted: ``mlp(2, 128, 1)``.

    seed: draws the weights (He et al. 2015) from streams of (seed, parameter's name); without one they come from the
    process's next default streams: each run of a program gives the same, each call others. Raises ``ValueError`` for
    fewer than two sizes.
    """
    if len(sizes) < 2:
        raise ValueError(f"mlp needs at least an input and an output size, got {sizes}")
    layers = []
    for inputs, outputs in zip(sizes[:-2], sizes[1:-1]):
        layers += [Dense(inputs, outputs, bias=not batch_norm)]
        layers += [BatchNorm(outputs), activation()] if batch_norm else [activation()]
    net = Sequential(*layers, Dense(*sizes[-2:]), name=name)
    return net if seed is None else initialize(net, he, seed)


def spread(net, seed=0):
    """Draw the biases of all hidden Dense layers uniformly from (−1, 1), from streams of (seed, name). Returns ``net``.

    With biases of 0 every unit's kink runs through the origin, and a network on the plane begins as a cone: it then
    takes long to learn anything local. Spread out, the kinks cover the data.
    """
    dense = [layer for _, layer in net.named_modules() if isinstance(layer, Dense) and layer.bias is not None]
    for layer in dense[:-1]:
        values = stream(seed, layer.bias.name).uniform(-1, 1, layer.bias.shape).astype(np.float32)
        layer.bias.assign(backend.of(layer.bias.data).asarray(values, layer.bias.dtype))
    return net
