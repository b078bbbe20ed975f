"""Checks of transport's own arguments: masses, costs, the power p. Each raises ``ValueError`` naming the argument."""

import math

import numpy as np

from ..backend.checks import real, real_array


def masses(a, b, n, m):
    """Two mass distributions on n and m atoms as float64 with one total. None: equal masses.

    Totals may differ by rounding (1e-9 of the total; 1e-5 if a or b is float32, 1e-2 if float16): b is then scaled to
    a's.
    """
    tolerance = max(_rounding(a), _rounding(b))
    a, b = (None if a is None else _masses("a", a, n)), (None if b is None else _masses("b", b, m))
    a = np.full(n, (1.0 if b is None else b.sum()) / n) if a is None else a
    b = np.full(m, a.sum() / m) if b is None else b
    total, other = a.sum(), b.sum()
    if abs(total - other) > tolerance * total:
        raise ValueError(
            f"a and b: expected the same total mass, got {total:.17g} and {other:.17g}; "
            "divide each by its sum to compare their shapes"
        )
    return a, b * (total / other)


def _rounding(mass):
    return {"float32": 1e-5, "float16": 1e-2}.get(str(getattr(mass, "dtype", "")), 1e-9)


def _masses(name, value, n):
    mass = real_array(name, value)
    if mass.shape != (n,):
        raise ValueError(f"{name}: expected {n} masses, shape ({n},), got shape {mass.shape}")
    if (mass < 0).any():
        i = int(np.flatnonzero(mass < 0)[0])
        raise ValueError(f"{name}: expected masses >= 0, got {mass[i]} at [{i}]")
    with np.errstate(over="ignore"):
        total = mass.sum()
    if not total > 0:
        raise ValueError(f"{name}: expected some mass, got only zeros")
    if math.isinf(total):
        raise ValueError(f"{name}: expected masses with a finite sum, got numbers up to {mass.max():g}")
    return mass


def cost_matrix(cost):
    """A matrix of finite costs (n, m), float64."""
    array = real_array("cost", cost)
    if array.ndim != 2:
        raise ValueError(f"cost: expected a matrix (n, m), got shape {array.shape}")
    return array


def power(p):
    """``p`` as a finite float >= 1."""
    try:
        return real("p", p, 1)
    except ValueError:
        raise ValueError(
            f"p: expected a finite number >= 1 (below 1 the root of the cost is no distance), got {p!r}"
        ) from None
