"""Multilayer perceptrons, for points in the plane and other small things."""

from ..nn import BatchNorm, Dense, LeakyReLU, Sequential


def mlp(*sizes, activation=LeakyReLU, batch_norm=False, name=None):
    """Dense layers of the given sizes, ``activation()`` between them, after batch norm if wanted: ``mlp(2, 128, 1)``.

    Raises ``ValueError`` for fewer than two sizes.
    """
    if len(sizes) < 2:
        raise ValueError(f"mlp needs at least an input and an output size, got {sizes}")
    layers = []
    for inputs, outputs in zip(sizes[:-2], sizes[1:-1]):
        layers += [Dense(inputs, outputs, bias=not batch_norm)]
        layers += [BatchNorm(outputs), activation()] if batch_norm else [activation()]
    return Sequential(*layers, Dense(*sizes[-2:]), name=name)
