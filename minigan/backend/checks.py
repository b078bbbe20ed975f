"""Checks of arguments: each raises ``ValueError`` naming the argument, what was expected and what came.

Those of arrays bring them from any device to the host; `put` takes results back.
"""

import math
import operator
import reprlib

import numpy as np

from . import of


def integer(name, value, minimum):
    """``value`` as an ``int`` of at least ``minimum``. NumPy integers count; bools and floats do not."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or number < minimum:
        raise ValueError(f"{name}: expected an integer >= {minimum}, got {value!r}")
    return number


def real(name, value, minimum=0.0, strict=False):
    """``value`` as a finite ``float`` >= ``minimum`` (> ``minimum`` if ``strict``); no bools, strings or arrays."""
    try:
        number = math.nan if isinstance(value, (str, bytes, bool, np.bool_)) or np.ndim(value) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    # A NaN fails both comparisons, so it is refused with the rest.
    if not (number > minimum if strict else number >= minimum) or math.isinf(number):
        relation = ">" if strict else ">="
        raise ValueError(f"{name}: expected a finite number {relation} {minimum:g}, got {value!r}")
    return number


def positive(name, value):
    """``value`` as a finite ``float`` > 0."""
    return real(name, value, strict=True)


def generator(rng):
    """``rng``, a ``numpy.random.Generator`` or an int seed >= 0, as a generator."""
    # None would make default_rng draw its seed from the system: a run nobody could repeat.
    if isinstance(rng, np.random.Generator):
        return rng
    try:
        return np.random.default_rng(integer("rng", rng, 0))
    except ValueError:
        raise ValueError(f"rng: expected a numpy.random.Generator or an int seed >= 0, got {rng!r}") from None


def real_array(name, value, dtype=np.float64):
    """``value`` on the host as an array of finite numbers of ``dtype`` (None: of their own)."""
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
        array = host.astype(dtype or host.dtype, copy=False)
    if not np.isfinite(array).all():
        wrong = np.argwhere(~np.isfinite(array))
        at = tuple(wrong[0].tolist())
        raise ValueError(f"{name}: expected finite numbers, got {host[at]} at {list(at)} ({len(wrong)} such)")
    return array


def points(name, value, dtype=np.float64):
    """Samples (n, …) as (n, d), d the numbers in a sample: (n,) is (n, 1), images are laid out in rows."""
    array = real_array(name, value, dtype)
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


def two_samples(real, fake):
    """`points` of both, of one dimension: float64 (n, d) and (m, d)."""
    real, fake = points("real", real), points("fake", fake)
    same_dimension(real, fake, ("real", "fake"))
    return real, fake


def put(array, like):
    """A host array as float64 on the device of ``like``."""
    return of(like).asarray(array, np.float64)
