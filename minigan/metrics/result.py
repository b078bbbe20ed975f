"""What a metric returns: the number, and what one must know to read it.

A metric is an estimate from n samples. It has a spread; and even a perfect sampler, one that draws from the data's
own distribution, does not score what the formula gives for n → ∞: a histogram of n points over K equal modes differs
from the uniform one by a Kullback-Leibler divergence of about (K − 1) / 2n. That is the floor, and a generator's
score means nothing without it.

Where theory has no formula for it, two real samples say what it is: two random halves of the data, or the data and
others of the same kind (`pair_of_real`).
"""

import math
from dataclasses import dataclass, field

from ..backend.checks import points, same_dimension
from ..backend.random import stream
from ..display import html_table, text_table


@dataclass(frozen=True, repr=False)
class MetricResult:
    """One metric's outcome. ``float(result)`` is its value; ``print(result)`` shows it in one line.

    name      the metric's name
    value     the number
    n         the number of samples it comes from (of the generator, where there are two kinds); None: not from samples
    spread    its standard error or standard deviation (the metric says which), or None
    floor     what a perfect sampler would score with as many samples, or None if that is not known; in print, of one
              number "floor", of several "perfect"
    settings  the conventions used: {"threshold": "3σ", "biased": False, …}
    details   further numbers by name, attributes of the result as well: ``precision_recall(x, y).recall``. Those that
              a perfect sampler's scores are known of have these under "perfect": {"recall": 0.8, …}
    summary   the line to print, where a metric has better words for itself than the usual ones

    Numbers are made Python's own, so a result can go into a JSON file. The dictionaries are copied.
    """

    name: str
    value: float
    n: int | None
    spread: float | None = None
    floor: float | None = None
    settings: dict = field(default_factory=dict, hash=False)
    details: dict = field(default_factory=dict, hash=False)
    summary: str | None = field(default=None, compare=False)

    def __post_init__(self):
        own = {"value": float(self.value), "n": None if self.n is None else int(self.n)}
        own |= {key: float(x) for key in ("spread", "floor") if (x := getattr(self, key)) is not None}
        own |= {"settings": dict(self.settings), "details": dict(self.details)}
        for key, x in own.items():
            object.__setattr__(self, key, x)  # frozen for everybody else

    def __float__(self):
        return self.value

    def __format__(self, spec):
        return format(self.value, spec) if spec else str(self)

    def __getattr__(self, name):  # called for what is no field
        details = self.__dict__.get("details", {})
        if name in details:
            return details[name]
        raise AttributeError(f"{type(self).__name__} has no {name!r}; its details are {', '.join(details) or 'none'}")

    def __repr__(self):
        if self.summary is not None:
            return self.summary
        known = [] if self.n is None else [f"n={self.n}"]
        known += [_phrase(key, x) for key, x in self.settings.items()]
        if "perfect" in self.details:
            numbers = [
                f"{name} {short(x)}" + ("" if floor is None else f" (perfect {short(floor)})")
                for name, x, _, floor in self.rows()
            ]
            head = self.name if self.value in [x for _, x, _, _ in self.rows()] else f"{self.name} {short(self.value)}"
            return f"{head}: {', '.join(numbers + known)}"
        spread = "" if self.spread is None else f" ± {short(self.spread)}"
        known = known if self.floor is None else [f"floor {short(self.floor)}", *known]
        return f"{self.name} {short(self.value)}{spread}" + (f" ({', '.join(known)})" if known else "")

    def rows(self):
        """Its numbers one by one: [(name, value, spread or None, floor or None)]."""
        perfect, spreads = self.details.get("perfect"), self.details.get("spreads", {})
        if perfect is None:
            return [(self.name, self.value, self.spread, self.floor)]
        return [(name, self.details[name], spreads.get(name), floor) for name, floor in perfect.items()]

    def _repr_html_(self):
        """For notebooks: its numbers as a table, the conventions below."""
        rows = self.rows()
        cells = [
            (name.replace("_", " "), short(x), *("" if y is None else short(y) for y in (spread, floor)))
            for name, x, spread, floor in rows
        ]
        title = self.name if self.value in [x for _, x, _, _ in rows] else f"{self.name} {short(self.value)}"
        known = ([] if self.n is None else [f"n {self.n}"]) + [notes for notes in [_notes(self, ())] if notes]
        return html_table(cells, ("", "value", "±", "perfect sampler"), (1, 2, 3), title, ", ".join(known))


def table(results):
    """The numbers of several results (or of one), one in a line, beside what a perfect sampler scores: a str.

    At the end of a result's first line stand its p-value, if it has one, and its conventions; what several results have
    in common stands once, below.
    """
    results = [results] if isinstance(results, MetricResult) else list(results)
    common = set.intersection(*({*r.settings} for r in results)) if len(results) > 1 else set()
    common = {key for key in common if all(r.settings[key] == results[0].settings[key] for r in results)}
    lines = [("", "value", "", "perfect sampler", "n", "")]
    for result in results:
        notes = _notes(result, common | {"n_real"})
        for name, value, spread, floor in result.rows():
            lines.append(
                (
                    name.replace("_", " "),
                    short(value),
                    "" if spread is None else f"± {short(spread)}",
                    "" if floor is None else short(floor),
                    "" if result.n is None else str(result.n),
                    notes,
                )
            )
            notes = ""
    below = [f"all: {_phrase(key, results[0].settings[key])}" for key in sorted(common - {"n_real"})]
    return "\n".join([text_table(lines), *below])


def _notes(result, hidden):
    """A result's p-value and settings in words."""
    p = result.details.get("p_value")
    words = [] if p is None else [f"p = {short(p)}" if p >= 1e-9 else "p < 1e-9"]
    return ", ".join(words + [_phrase(key, x) for key, x in result.settings.items() if key not in hidden])


def pair_of_real(real, floor, seed):
    """Two real samples (n, d) to measure the floor with: ``real`` and ``floor``, or two random halves of ``real`` if
    ``floor`` is "halves"; None if it is None. Raises ``ValueError`` for anything else.
    """
    if floor is None:
        return None
    if isinstance(floor, str):
        if floor != "halves":
            raise ValueError(f'floor: expected "halves", an array of further real samples, or None, got {floor!r}')
        order = stream(seed, "halves").permutation(len(real))
        half = len(real) // 2
        return (real[order[:half]], real[order[half:]]) if half else None
    others = points("floor", floor)
    same_dimension(real, others, ("real", "floor"))
    return real, others


def short(x):
    """Four significant digits, and whole numbers up to a thousand million without an exponent."""
    return f"{x:.0f}" if 1e4 <= abs(x) < 1e9 and math.isfinite(x) else f"{x:.4g}"


def _phrase(key, x):
    """A setting in words: ``threshold 3σ``, ``biased``, ``not biased``."""
    words = key.replace("_", " ")
    if isinstance(x, bool):
        return words if x else f"not {words}"
    return f"{words} {short(x) if isinstance(x, float) else x}"
