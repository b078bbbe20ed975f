"""Checks of arguments: each raises ``ValueError`` naming the argument, what was expected and what came.

They bring arrays of any device to the host as float64; `put` takes results back.
"""

import math
import reprlib

import numpy as np

from ..backend import of


def real_array(name, value):
    """``value`` on the host as an array of finite float64."""
    if hasattr(value, "detach"):
        raise ValueError(f"{name}: expected an array, got a Tensor: pass its .numpy()")
    try:
        host = np.asarray(of(value).to_host(value))
    except ValueError:  # rows of different lengths
        host = np.empty(0, object)
    if host.dtype.kind not in "fiu":
        what = f"dtype {value.dtype}" if hasattr(value, "dtype") else reprlib.repr(value)
        raise ValueError(f"{name}: expected an array of real numbers, got {type(value).__name__} ({what})")
    if not host.size:
        raise ValueError(f"{name}: expected at least one number, got shape {host.shape}")
    with np.errstate(over="ignore"):
        array = host.astype(np.float64, copy=False)
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        at = tuple(wrong[0].tolist())
        raise ValueError(f"{name}: expected finite numbers, got {host[at]} at {list(at)} ({len(wrong)} such)")
    return array


def put(array, like):
    """A host array as float64 on the device of ``like``."""
    return of(like).asarray(array, np.float64)


def points(name, value):
    """Samples (n, …) as float64 (n, d), d the numbers in a sample: (n,) is (n, 1), images are laid out in rows."""
    array = real_array(name, value)
    if array.ndim == 0:
        raise ValueError(f"{name}: expected samples of shape (n, …), got a single number")
    return array.reshape(len(array), -1)


def same_dimension(x, y, names=("x", "y")):
    """Raise unless both hold points of one dimension."""
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"{names[1]}: expected points of {x.shape[1]} numbers, like {names[0]}, got {y.shape[1]} "
            "(the first axis counts points, all others are one point's)"
        )


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
        number = positive("p", p)
    except ValueError:
        number = 0.0
    if number < 1:
        raise ValueError(f"p: expected a finite number >= 1 (below 1 the root of the cost is no distance), got {p!r}")
    return number


def positive(name, value):
    """``value`` as a finite float > 0."""
    try:
        number = math.nan if isinstance(value, (str, bool)) or np.ndim(value) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError(f"{name}: expected a finite number > 0, got {value!r}")
    return number


def count(name, value):
    """``value`` as an int >= 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name}: expected an integer >= 1, got {value!r}")
    return int(value)
