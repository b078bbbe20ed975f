"""Toy distributions: one- or two-dimensional data, where one picture shows what a GAN gets right and wrong.

    ring                 K Gaussians, equally spaced on a circle    mode collapse, and modes visited in turn
    grid                 S x S Gaussians on a square lattice        mode dropping
    swiss_roll           a noisy spiral                             a connected, curved support
    gaussian_mixture_1d  Gaussians on the line                      density and optimal critic in closed form

The defaults of ring and grid are those of PacGAN (Lin, Khetan, Fanti, Oh 2018), so that mode counts may be
laid beside the published ones. ``ring_modes`` and ``grid_modes`` are the centres, for mode-coverage metrics.

Every function draws from ``rng``: a ``numpy.random.Generator`` (which moves on, so the next call gives other
points) or an int seed (the same points each time). A bad argument raises ``ValueError`` naming it, what was
expected and what came.
"""

import math

import numpy as np

from minigan.backend.checks import generator, integer, real


def ring(n, rng, modes=8, radius=1.0, std=0.01):
    """``n`` points of an equal mixture of ``modes`` round Gaussians on a circle about the origin.

    ``radius`` of the circle and ``std`` of each Gaussian (per axis) are in the units of the plane. Returns
    float32 (n, 2).

    WGAN-GP's variant (Gulrajani et al. 2017) is ``radius=2 / 1.414, std=0.02 / 1.414``.
    """
    return _mixture(n, rng, ring_modes(modes, radius), std)


def ring_modes(modes=8, radius=1.0):
    """The centres of ``ring``: float64 (modes, 2), centre k at the angle 2πk / modes."""
    angles = 2 * np.pi * np.arange(integer("modes", modes, 1)) / modes
    return real("radius", radius, strict=True) * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def grid(n, rng, side=5, spacing=2.0, std=0.05):
    """``n`` points of an equal mixture of ``side`` x ``side`` round Gaussians on a lattice about the origin.

    ``spacing`` between neighbours and ``std`` of each Gaussian (per axis) are in the units of the plane; the
    defaults put the 25 centres at {-4, -2, 0, 2, 4}². Returns float32 (n, 2).

    WGAN-GP's variant (Gulrajani et al. 2017) is ``spacing=2 / 2.828, std=0.05 / 2.828``.
    """
    return _mixture(n, rng, grid_modes(side, spacing), std)


def grid_modes(side=5, spacing=2.0):
    """The centres of ``grid``: float64 (side², 2), row by row from the lowest x, y running fastest."""
    side = integer("side", side, 1)
    ticks = real("spacing", spacing, strict=True) * (np.arange(side) - (side - 1) / 2)
    x, y = np.meshgrid(ticks, ticks, indexing="ij")
    return np.stack([x.ravel(), y.ravel()], axis=1)


def swiss_roll(n, rng, noise=0.25 / 7.5):
    """``n`` points near the spiral (t cos t, t sin t) / 7.5, t uniform on [1.5π, 4.5π]: one and a half turns.

    ``noise`` is the standard deviation, per axis, of the Gaussian noise added, in the units of the points
    returned, which lie within about ±2. Returns float32 (n, 2).

    Source: the first and third axes of scikit-learn's ``make_swiss_roll``, with noise 0.25 and all divided by
    7.5, as in the toy experiments of WGAN-GP (Gulrajani et al. 2017).
    """
    n, rng, noise = integer("n", n, 1), generator(rng), real("noise", noise)
    t = 1.5 * np.pi * (1 + 2 * rng.random(n))
    spiral = np.stack([t * np.cos(t), t * np.sin(t)], axis=1) / 7.5
    return (spiral + noise * rng.standard_normal((n, 2))).astype(np.float32)


def gaussian_mixture_1d(n, rng, means, stds, weights=None):
    """``n`` points of the mixture Σₖ weights[k] · N(means[k], stds[k]²) on the line.

    ``means``: (K,); ``stds``: (K,), or one number for all, in the same units, not negative; ``weights``:
    (K,), not negative, summing to 1, or None for equal ones. Returns float32 (n, 1).
    """
    n, rng = integer("n", n, 1), generator(rng)
    means = _vector("means", means)
    k = len(means)
    stds = _vector("stds", np.full(k, stds) if np.ndim(stds) == 0 else stds, k)
    weights = _vector("weights", np.full(k, 1 / k) if weights is None else weights, k)
    if (stds < 0).any():
        raise ValueError(f"stds: expected numbers >= 0, got {stds.tolist()}")
    if (weights < 0).any() or not math.isclose(weights.sum(), 1, abs_tol=1e-6):
        raise ValueError(f"weights: expected numbers >= 0 that sum to 1, got {weights.tolist()}")
    component = rng.choice(k, size=n, p=weights / weights.sum())
    points = means[component] + stds[component] * rng.standard_normal(n)
    return points.astype(np.float32)[:, None]


def _mixture(n, rng, centres, std):
    """Equal round Gaussians: choose a centre for each point, add noise; float64, rounded once at the end."""
    n, rng, std = integer("n", n, 1), generator(rng), real("std", std)
    component = rng.integers(len(centres), size=n)
    return (centres[component] + std * rng.standard_normal((n, centres.shape[1]))).astype(np.float32)


def _vector(name, values, length=None):
    """``values`` as a float64 vector of finite numbers, of ``length`` where one is given."""
    try:
        vector = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        vector = np.empty(0)  # refused below, with the same words
    fits = vector.ndim == 1 and vector.size > 0 and length in (None, vector.size)
    if not fits or not np.isfinite(vector).all():
        expected = "one or more finite numbers" if length is None else f"{length} finite numbers, one per mean"
        raise ValueError(f"{name}: expected {expected}, got {values!r}")
    return vector
