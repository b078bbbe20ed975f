"""The way of a gradient between two tensors, hop by hop, with what each op does to its length.

A hop runs backwards through one op y = f(x, …): the cotangent ȳ arrives, x̄ = Jᵀȳ leaves, with J = ∂y/∂x. The factor
‖Jᵀȳ‖/‖ȳ‖ is what the op does to this gradient: many factors of 0.1 and it vanishes, many of 10 and it explodes, a
single 0 is the end.
"""

from dataclasses import dataclass, field
from math import log10

from ..display import html_table, text_table
from .graph import count, reachable

HEAD = ("op", "layer", "shape of x", "‖ȳ‖ arrives", "‖x̄‖ leaves", "factor", "so far", "", "line", "gradient")
RIGHT = (3, 4, 5, 6)


@dataclass(frozen=True)
class Hop:
    """One op on the way. ``entry``: of its result; ``target``: of the argument towards which the way goes on;
    ``arrives``, ``leaves``: ‖ȳ‖ and ‖x̄‖ of this way; ``factor``: leaves/arrives, the norm of the local product.
    """

    entry: object
    target: object
    arrives: float
    leaves: float

    @property
    def factor(self):
        """‖Jᵀȳ‖/‖ȳ‖; 0 where nothing arrives."""
        return self.leaves / self.arrives if self.arrives else 0.0

    @property
    def dies(self):
        """Does the gradient end here?"""
        return bool(self.arrives) and not self.leaves

    @property
    def note(self):
        """``"dies"``, ▼ and ▲ for large factors, or nothing."""
        if self.dies:
            return "dies"
        if self.factor < 1e-2:
            return "▼"
        return "▲" if self.factor > 1e2 else ""


@dataclass(frozen=True, repr=False)
class Path:
    """The hops from ``start`` back to ``end`` (entries of a tape). ``ways``: how many there are between them, from
    op to op: x·x sends two gradients to x, on one way.
    """

    start: object
    end: object
    ways: int
    hops: list = field(default_factory=list)

    @property
    def factor(self):
        """The product of the hops' factors."""
        product = 1.0
        for hop in self.hops:
            product *= hop.factor
        return product

    def __str__(self):
        many = f", the strongest of {_number(self.ways)} ways" if self.ways > 1 else ""
        title = f"from {self.start.who} back to {self.end.who}: {count(len(self.hops), 'op')}{many}"
        return "\n".join([title, text_table([HEAD, *self._rows()], RIGHT), self.conclusion()])

    __repr__ = __str__

    def _repr_html_(self):
        title = f"from {self.start.who} back to {self.end.who}: {self.conclusion()}"
        return html_table(self._rows(), HEAD, RIGHT, title=title)

    def conclusion(self):
        """Where it dies, vanishes or explodes, in a sentence."""
        dead = next((hop for hop in self.hops if hop.dies), None)
        if dead is not None:
            return f"the gradient dies in {dead.entry.who}, {dead.entry.line}"
        if not self.hops:
            return "nothing lies between"
        total, worst = self.factor, min(self.hops, key=lambda hop: hop.factor)
        best = max(self.hops, key=lambda hop: hop.factor)
        text = f"in all the gradient's length is multiplied by {total:.3g}"
        if total < 1e-3:
            return f"{text}; smallest factor {worst.factor:.3g} in {worst.entry.who}, {worst.entry.line}"
        if total > 1e3:
            return f"{text}; largest factor {best.factor:.3g} in {best.entry.who}, {best.entry.line}"
        return text

    def _rows(self):
        rows, product = [], 1.0
        for hop in self.hops:
            product *= hop.factor
            shape = "×".join(map(str, hop.target.shape)) or "scalar"
            numbers = [f"{x:.3g}" for x in (hop.arrives, hop.leaves, hop.factor, product)]
            rows.append((hop.entry.op, hop.entry.scope, shape, *numbers, hop.note, hop.entry.line, hop.entry.formula))
        return rows


def _number(n):
    """A whole number, the power of ten of a large one: a thousand diamonds have 2¹⁰⁰⁰ ways."""
    return str(n) if n < 10**6 else f"10^{int((n.bit_length() - 1) * log10(2))} and more"


def strongest_path(tape, one, a, b):
    """The `Path` between the entries ``a`` and ``b`` (None: whichever output leads there) in the pass ``one``.

    From the older of the two, step by step to the op that sent it most. Raises ``ValueError`` if no way leads there.
    """
    if b is not None and b.seq < a.seq:
        a, b = b, a
    users = one.sources()
    goals = set(one.outputs) if b is None else {b.seq}
    below = reachable(goals, one.targets())
    if a.seq not in below:
        start = "the output" if b is None else b.who
        raise ValueError(f"path: no gradient travelled from {start} to {a.who} in backward pass {one.number}")
    hops, here = [], a
    while here.seq not in goals:
        sent = {s: tape.sent(one.number, s, here.seq) for s in users.get(here.seq, ()) if s in below}
        best = max(sent, key=lambda s: (sent[s] if sent[s] == sent[s] else float("inf"), s))
        source = tape.entries[best]
        hops.append(Hop(source, here, source.stats(one.number).norm, sent[best]))
        here = source
    return Path(here, a, _ways(one, goals, a.seq), hops[::-1])


def _ways(one, goals, end):
    """How many different ways lead from ``goals`` to ``end``: counted from young to old, as each edge points down."""
    ways = dict.fromkeys(goals, 1)
    for source, target in sorted(one.edges, reverse=True):
        if source in ways and target not in goals:
            ways[target] = ways.get(target, 0) + ways[source]
    return ways.get(end, 0)
