"""Sliced Wasserstein distance of samples, with its floor. The distance itself is `minigan.transport`'s."""

import math

from .. import transport
from ..backend.checks import two_samples
from .result import MetricResult, pair_of_real


def sliced_wasserstein(real, fake, p=2, n_projections=200, floor="halves", seed=0):
    """Sliced Wₚ of ``real`` (n, …) and ``fake`` (m, …), in the data's units: `minigan.transport.sliced_wasserstein`.

    The mean over ``n_projections`` random directions of Wₚᵖ of the projections, and of that the p-th root; the
    directions are those of ``seed``, the same for the value and the floor.

    Returns a `MetricResult`: the floor is what two random halves of ``real`` score ("halves"), or what further real
    samples, ``floor``, score against ``real``; scaled from their sizes to n and m with the rate √(1/n + 1/m), that of
    densities without gaps. None: none. Raises ``ValueError`` naming the argument.
    """
    x, y = two_samples(real, fake)
    pair, perfect = pair_of_real(x, floor, seed), None
    if pair is not None:
        a, b = map(len, pair)
        perfect = transport.sliced_wasserstein(*pair, p, n_projections, seed)
        perfect *= math.sqrt((1 / len(x) + 1 / len(y)) / (1 / a + 1 / b))
    return MetricResult(
        "sliced_wasserstein",
        value=transport.sliced_wasserstein(x, y, p, n_projections, seed),
        n=len(y),
        floor=perfect,
        settings={"n_real": len(x), "p": float(p), "projections": int(n_projections)},
    )
