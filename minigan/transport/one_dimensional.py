"""On the line transport is sorting: the monotone plan is optimal for every p ≥ 1, and no linear program is needed.

    Wₚᵖ = ∫₀¹ |F⁻¹(t) − G⁻¹(t)|ᵖ dt,      F⁻¹, G⁻¹ the quantile functions        (Villani 2003, theorem 2.18)

and in the plane and beyond, the mean over directions θ, uniform on the sphere, of the distance of the projections:

    sliced Wₚ = (E_θ Wₚᵖ(θ·x, θ·y))^(1/p)                                         (Bonneel, Rabin, Peyré, Pfister 2015)
"""

import numpy as np

from .. import backend
from ..backend import checks
from ..backend.random import stream
from .problem import masses, power


def wasserstein_1d(x, y, p=1, a=None, b=None):
    """Wₚ between points x (n,) and y (m,) on the line with masses a, b ≥ 0 of one total (None: equal ones): a float.

    In closed form, n log n; float64 on the host. For p = 1 it is ``scipy.stats.wasserstein_distance``; POT's function
    of this name gives the p-th power. Raises ``ValueError`` naming the argument.
    """
    x, y, p = _line("x", x), _line("y", y), power(p)
    a, b = masses(a, b, len(x), len(y))
    return _root_mean(np, x[:, None], y[:, None], a, b, p)


def sliced_wasserstein(x, y, p=2, n_projections=200, seed=0, a=None, b=None):
    """Sliced Wₚ between samples x (n, …) and y (m, …) from ``n_projections`` random directions: a float.

    The directions are those of the stream (seed, "projections"): the same for every call, so that two results can be
    compared. Computed in float64 on the device of x. Its Monte-Carlo error is about 1/√n_projections of itself; with
    d numbers in a sample it is smaller than Wₚ, for a translation by 1/√d (p = 2). Raises as `wasserstein_1d`.
    """
    like, x, y, p = x, checks.points("x", x), checks.points("y", y), power(p)
    checks.same_dimension(x, y)
    a, b = masses(a, b, len(x), len(y))
    directions = stream(seed, "projections", 0).standard_normal(
        (x.shape[1], checks.integer("n_projections", n_projections, 1))
    )
    directions /= np.linalg.norm(directions, axis=0)
    library = backend.of(like)
    x, y, a, b, directions = (library.asarray(array, np.float64) for array in (x, y, a, b, directions))
    with np.errstate(over="ignore", invalid="ignore"):
        return _root_mean(library.xp, x @ directions, y @ directions, a, b, p)


def _line(name, value):
    array = checks.real_array(name, value)
    if array.ndim != 1:
        raise ValueError(f"{name}: expected points on a line, shape (n,), got shape {array.shape}")
    return array


def _root_mean(xp, x, y, a, b, p):
    """The p-th root of the mean of Wₚᵖ over all columns of x (n, k) and y (m, k)."""
    if bool((a == a[0]).all()) and bool((b == b[0]).all()):  # then one plan is right for all columns
        i, j, mass = monotone_plan(xp, a, b)
        with np.errstate(over="ignore"):
            moves = [(mass, abs(xp.sort(x, axis=0)[i] - xp.sort(y, axis=0)[j]))]
    else:
        moves = [_sorted_moves(xp, x_k, y_k, a, b) for x_k, y_k in zip(x.T, y.T)]
    # In units of the longest way that anything moves: no power then over- or underflows that matters.
    moves = [(mass, xp.where(mass[:, None] > 0, way, 0)) for mass, way in moves]
    longest = max(float(way.max()) for _, way in moves)
    if not np.isfinite(longest):
        raise ValueError("x and y: distances overflow; scale the points down")
    if longest == 0:
        return 0.0
    powers = xp.concatenate([mass @ (way / longest) ** p for mass, way in moves])
    return longest * float(powers.mean()) ** (1 / p)


def _sorted_moves(xp, x, y, a, b):
    """What moves, (n + m,), and how far, (n + m, 1), from x (n,) to y (m,)."""
    order, other = xp.argsort(x), xp.argsort(y)
    i, j, mass = monotone_plan(xp, a[order], b[other])
    with np.errstate(over="ignore"):
        return mass, abs(x[order[i]] - y[other[j]])[:, None]


def monotone_plan(xp, a, b):
    """The plan that moves masses a (n,) onto b (m,) in order: rows i, columns j and masses, each (n + m,).

    Between two neighbours among the values of both cumulated masses there is one atom on either side. ``xp`` is the
    array module of a and b.
    """
    ends_a, ends_b = xp.cumsum(a), xp.cumsum(b)
    # The totals differ by rounding; what only one side has is not moved, least of all to an atom without mass.
    ends = xp.minimum(xp.sort(xp.concatenate([ends_a, ends_b])), xp.minimum(ends_a[-1], ends_b[-1]))
    starts = xp.concatenate([xp.zeros(1), ends[:-1]])
    i = xp.minimum(xp.searchsorted(ends_a, starts, side="right"), len(a) - 1)
    j = xp.minimum(xp.searchsorted(ends_b, starts, side="right"), len(b) - 1)
    return i, j, ends - starts
