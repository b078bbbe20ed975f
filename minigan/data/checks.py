"""Checks of arguments: each raises ``ValueError`` naming the argument, what was expected and what came."""

import math
import operator


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
    """``value`` as a finite ``float`` >= ``minimum`` (> ``minimum`` if ``strict``)."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    # A NaN fails both comparisons, so it is refused with the rest.
    if not (number > minimum if strict else number >= minimum) or math.isinf(number):
        relation = ">" if strict else ">="
        raise ValueError(f"{name}: expected a finite number {relation} {minimum:g}, got {value!r}")
    return number
