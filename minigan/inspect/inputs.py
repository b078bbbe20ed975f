"""Inputs for a network that come with no data: standard normal samples of a shape that fits its first layer."""

from ..autodiff.modes import no_grad
from ..backend.random import stream
from ..errors import MiniganError
from ..nn import Conv, ConvTranspose, Dense, Embedding

SAMPLES = 4
SIZES = (28, 32, 64, 16, 8, 7, 4, *range(1, 129))  # of images, the usual ones first


def example_inputs(module, seed=0):
    """A tuple with one array that ``module`` accepts: `SAMPLES` samples, (n, features), (n, h, w, channels) with square
    images of the first size that passes, or indices, by what its first layer with weights is.

    Raises ``ValueError`` where none fits: then pass an input of your own.
    """
    first = next(
        (m for _, m in module.named_modules() if isinstance(m, Dense | Conv | ConvTranspose | Embedding)), None
    )
    rng = stream(seed, "example inputs")
    if isinstance(first, Embedding):
        shapes = [(SAMPLES,)]
    elif isinstance(first, Dense):
        shapes = [(SAMPLES, first.in_features)]
    elif first is not None:
        shapes = [(SAMPLES, size, size, first.in_channels) for size in SIZES]
    else:
        shapes = [(SAMPLES, 3), (SAMPLES, 8, 8, 3)]
    for shape in shapes:
        array = rng.integers(0, 2, shape) if isinstance(first, Embedding) else rng.standard_normal(shape)
        try:
            with module.evaluating(), no_grad():
                module(array)
        except (MiniganError, ValueError, TypeError, IndexError):
            continue
        return (array,)
    who = module.path or type(module).__name__
    raise ValueError(f"{who}: no example input of a usual shape fits it; pass one: verify_all({who}, images)")
