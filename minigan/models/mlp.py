"""Multilayer perceptrons, for points in the plane and other small things."""

from ..nn import Dense, LeakyReLU, Sequential


def mlp(*sizes, activation=LeakyReLU, name=None):
    """Dense layers of the given sizes, ``activation()`` between them: ``mlp(2, 128, 128, 1)``.

    Raises ``ValueError`` for fewer than two sizes.
    """
    if len(sizes) < 2:
        raise ValueError(f"mlp needs at least an input and an output size, got {sizes}")
    layers = []
    for i, (inputs, outputs) in enumerate(zip(sizes[:-1], sizes[1:])):
        layers += [activation()] if i else []
        layers.append(Dense(inputs, outputs))
    return Sequential(*layers, name=name)
