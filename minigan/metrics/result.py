"""What a metric returns: the number, and what one must know to read it.

A metric is an estimate from n samples. It has a spread; and even a perfect sampler, one that draws from the data's
own distribution, does not score what the formula gives for n → ∞: a histogram of n points over K equal modes differs
from the uniform one by a Kullback-Leibler divergence of about (K − 1) / 2n. That is the floor, and a generator's
score means nothing without it.
"""

import math
from dataclasses import dataclass, field


@dataclass(frozen=True, repr=False)
class MetricResult:
    """One metric's outcome. ``float(result)`` is its value; ``print(result)`` shows it in one line.

    name      the metric's name
    value     the number
    n         the number of samples it comes from
    spread    its standard error or standard deviation (the metric says which), or None
    floor     what a perfect sampler would score with as many samples, or None if that is not known
    settings  the conventions used: {"threshold": "3σ", "biased": False, …}
    details   further numbers by name
    summary   the line to print, where a metric has better words for itself than the usual ones

    Numbers are made Python's own, so a result can go into a JSON file. The dictionaries are copied.
    """

    name: str
    value: float
    n: int
    spread: float | None = None
    floor: float | None = None
    settings: dict = field(default_factory=dict, hash=False)
    details: dict = field(default_factory=dict, hash=False)
    summary: str | None = field(default=None, compare=False)

    def __post_init__(self):
        own = {"value": float(self.value), "n": int(self.n)}
        own |= {key: float(x) for key in ("spread", "floor") if (x := getattr(self, key)) is not None}
        own |= {"settings": dict(self.settings), "details": dict(self.details)}
        for key, x in own.items():
            object.__setattr__(self, key, x)  # frozen for everybody else

    def __float__(self):
        return self.value

    def __repr__(self):
        if self.summary is not None:
            return self.summary
        spread = "" if self.spread is None else f" ± {_short(self.spread)}"
        known = [] if self.floor is None else [f"floor {_short(self.floor)}"]
        known += [f"n={self.n}", *(_phrase(key, x) for key, x in self.settings.items())]
        return f"{self.name} {_short(self.value)}{spread} ({', '.join(known)})"


def _short(x):
    """Four significant digits, and whole numbers up to a thousand million without an exponent."""
    return f"{x:.0f}" if 1e4 <= abs(x) < 1e9 and math.isfinite(x) else f"{x:.4g}"


def _phrase(key, x):
    """A setting in words: ``threshold 3σ``, ``biased``, ``not biased``."""
    words = key.replace("_", " ")
    if isinstance(x, bool):
        return words if x else f"not {words}"
    return f"{words} {_short(x) if isinstance(x, float) else x}"
