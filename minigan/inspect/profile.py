"""The profiler: where a step's time goes, by op and by layer; and, by its example, how to write a Watcher.

    with mg.profile() as p:
        solver.step(game, 0)
    print(p)                     two tables: ops, forward and backward, and layers
    p.rows(), p.by_layer()       the same as lists of records

A `Watcher` has two methods, `before` and `after`; a profiler is little more than a clock between them. To be known:

1. Events nest like brackets: a pass, in it VJPs, in these the ops of their rules. The outermost op or VJP is timed;
   what runs inside is part of it, and timed again it would be counted twice.
2. What raises has no `after`: nothing that `before` opens may need to be closed.
3. A GPU computes on while Python goes ahead. To time an op is to wait for the device before and after it, and all is
   slower for that: on a GPU the rows' shares say more than their sum.
4. Watching takes time itself, some 20 µs an op. Measured on 2 cores, profiled and plain rounds in turn (medians): a
   DCGAN's round takes about a tenth longer, that of two small dense networks, all short ops, seven tenths. It counts as
   "outside ops", but for what is told inside a VJP.

How much could be gained? Most of a network's work is matrix products, and shapes tell how many multiply-adds these are.
The **GEMM share** is the time that they would take at the rate of one large product on this machine (measured when it
is first asked for, with all threads), divided by the time spent. It is an estimate: small and narrow products are
slower than large ones, to lay out the columns of a convolution is no product, and a busy machine is not the same at any
two moments. A high share says that only fewer or smaller products make it faster, a low one that the time goes
elsewhere (on a CPU outside `backend.training`, into threads that wait for each other).
"""

import functools
import math
from collections import Counter
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from ..autodiff.tensor import Tensor
from ..backend import memory_of, of, threads
from ..display import html_block, html_table, text_table
from .graph import layer
from .watch import Watcher, watching

# What an op multiplies and adds; of a convolution, with zeros at the border too. VJPs have no entry: their rules are
# written with these same ops, which are told while they run.
MULTIPLY_ADDS = {
    "matmul": lambda out, x, y, ta=False, tb=False: out.size * x.shape[-2 if ta else -1],
    "linear": lambda out, x, w, b: out.size * x.shape[-1],
    "conv": lambda out, x, w, b=None, **_: out.size * math.prod(w.shape[:3]),
    "conv_transpose": lambda out, x, w, b=None, **_: x.size * math.prod(w.shape[:3]),
    "conv_weight_gradient": lambda out, x, g, **_: g.size * math.prod(out.shape[:3]),
}
LEAST = 0.005  # of the time: rows below are printed as one
ENDS = ("share", "MB", "GFLOP/s", "GEMM share")


@dataclass
class Row:
    """What an op, or a layer, has cost; all but the first two and the last can be added up.

    order     0 forward, 1 its VJP, 2 the VJPs of what that has recorded, …; None: all of them
    seconds   spent, of which ``forward`` at order 0 and ``backward`` at all others
    bytes     of the new arrays in which results lie; a view makes none
    products  {(backend, dtype): flops} of matrix products in float32 and float64, two for each multiply-add
    whole     the seconds inside the with-block
    """

    name: str
    order: int | None = None
    calls: int = 0
    seconds: float = 0.0
    forward: float = 0.0
    backward: float = 0.0
    bytes: int = 0
    products: Counter = field(default_factory=Counter)
    whole: float = 0.0

    def add(self, other):
        """Add the other's numbers; returns self."""
        for name in ("calls", "seconds", "forward", "backward", "bytes", "products"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    @property
    def share(self):
        """Of the time inside the with-block."""
        return self.seconds / self.whole if self.whole else 0.0

    @property
    def flops(self):
        """Of all products."""
        return self.products.total()

    @property
    def gemm_share(self):
        """The time that the products alone would take, of the time spent: see above."""
        at_best = sum(flops / gemm_rate(*kind) for kind, flops in self.products.items())
        return at_best / self.seconds if self.seconds else 0.0

    def cells(self):
        """What both tables end with: `ENDS`."""
        speed = "", ""
        if self.products and self.seconds:
            speed = f"{self.flops / self.seconds / 1e9:.1f}", f"{100 * self.gemm_share:.0f} %"
        return f"{100 * self.share:.1f} %", f"{self.bytes / 1e6:.1f}" if self.calls else "", *speed


class Profile(Watcher):
    """A context that measures what happens inside, in this thread; entered again, it adds to what it knows.

    What was measured before an error inside stays; the time of the op that raised is "outside ops".
    """

    def __init__(self):
        self._rows = {}  # (op, order, layer) → Row
        self._products = {}  # of the outermost event that is running: (backend, dtype) → flops
        self._devices, self._depth, self._start, self._seconds = set(), 0, 0.0, 0.0

    def __enter__(self):
        self._depth += 1
        if self._depth == 1:  # inside itself it would be told everything twice
            self._watching, self._start = watching(self), perf_counter()
            self._watching.__enter__()
        return self

    def __exit__(self, *error):
        self._depth -= 1
        if self._depth == 0:
            self._watching.__exit__(None, None, None)
            self._wait()
            self._seconds += perf_counter() - self._start

    def before(self, event):
        """Of an outermost event: forget the products of one that raised, let the device finish what came before."""
        if event.kind in ("op", "vjp") and event.outermost:
            self._products = {}
            self._wait()

    def after(self, event):
        """Count the products of every op; time what is outermost."""
        if event.kind == "op" and event.op.name in MULTIPLY_ADDS:
            (out,) = event.outputs()
            if out.dtype.char in "fd":  # float32 and float64: the others have no fast products
                kind, count = (of(out), out.dtype.char), MULTIPLY_ADDS[event.op.name](out, *event.args, **event.params)
                self._products[kind] = self._products.get(kind, 0) + 2 * count
        if event.kind in ("op", "vjp") and event.outermost:
            start, arrays = perf_counter(), event.outputs()
            self._devices.update(map(of, arrays))
            self._wait()
            self._credit(event, event.seconds + perf_counter() - start, arrays)

    def _credit(self, event, seconds, arrays):
        order, where = event.order, layer(event.node) if event.kind == "vjp" else event.scope
        key = event.op.name, order, where or "(outside layers)"
        if key not in self._rows:
            self._rows[key] = Row(event.op.name, order)
        row = self._rows[key]
        row.calls, row.seconds, row.bytes = row.calls + 1, row.seconds + seconds, row.bytes + new_bytes(event, arrays)
        row.products.update(self._products)
        if order:
            row.backward += seconds
        else:
            row.forward += seconds

    def _wait(self):
        for device in self._devices:
            device.synchronize()

    # ---- what was measured ----------------------------------------------------------------------------------------

    @property
    def seconds(self):
        """The time inside the with-block so far."""
        return self._seconds + (perf_counter() - self._start if self._depth else 0.0)

    def rows(self, least=0.0):
        """A `Row` for each op and order, most time first, and "outside ops": Python, data, the engine, the optimiser.
        Together they are all `seconds`. Those with a share below ``least`` become one, "12 others".
        """
        return self._by(lambda op, order, layer: (op, order), least)

    def by_layer(self, least=0.0):
        """A `Row` for each layer, "(outside layers)" for ops in none, and "outside ops", as in `rows`."""
        return self._by(lambda op, order, layer: (layer, None), least)

    def total(self):
        """The `Row` of everything."""
        whole = self.seconds
        every = functools.reduce(Row.add, self._rows.values(), Row("total", whole=whole))
        every.seconds = whole
        return every

    def _by(self, key, least):
        found, whole = {}, self.seconds
        for names, row in self._rows.items():
            name = key(*names)
            found.setdefault(name, Row(*name, whole=whole)).add(row)
        rows = sorted(found.values(), key=lambda r: -r.seconds)
        rest = Row("outside ops", seconds=whole - sum(r.seconds for r in rows), whole=whole)
        small = [r for r in rows if r.share < least]
        if len(small) > 1:
            rows[-len(small) :] = [functools.reduce(Row.add, small, Row(f"{len(small)} others", whole=whole))]
        return [*rows, rest]

    # ---- printed --------------------------------------------------------------------------------------------------

    def _tables(self):
        """(rows of cells, numbers of the columns to align right) for ops and for layers, and a note."""
        total, number = self.total(), lambda seconds: f"{1e3 * seconds:.2f}" if seconds else ""
        ops, layers = [("op", "", "calls", "ms", *ENDS)], [("layer", "calls", "forward ms", "backward ms", *ENDS)]
        for r in [*self.rows(LEAST), total]:
            when = {None: "", 0: "forward", 1: "backward"}.get(r.order, f"order {r.order}")
            ops.append((r.name, when, r.calls or "", number(r.seconds), *r.cells()))
        for r in [*self.by_layer(LEAST), total]:
            layers.append((r.name, r.calls or "", number(r.forward), number(r.backward), *r.cells()))
        rates = [f"{gemm_rate(*kind) / 1e9:.0f} GFLOP/s in {np.dtype(kind[1])}" for kind in total.products]
        note = f"GEMM share: 100 % would be one large matrix product, here {', '.join(rates)}." if rates else ""
        return (ops, range(2, 8)), (layers, range(1, 8)), note

    def __str__(self):
        *tables, note = self._tables()
        return "\n\n".join([text_table(rows, right, (1, -1)) for rows, right in tables] + [note] * bool(note))

    def _repr_html_(self):
        (ops, right), (layers, right_too), note = self._tables()
        by_op = html_table(ops[1:], ops[0], right, title="Time by op")
        return html_block(by_op, html_table(layers[1:], layers[0], right_too, title="Time by layer", note=note))


def profile():
    """A new `Profile`: ``with mg.profile() as p: …``, then ``print(p)``; ``with p: …`` adds to it."""
    return Profile()


# ---- of an event -----------------------------------------------------------------------------------------------------


def new_bytes(event, arrays):
    """The memory in which results lie, but no argument."""
    given = [*event.args, *((event.node.saved or {}).values() if event.kind == "vjp" else ())]
    known = {id(memory_of(a.data if type(a) is Tensor else a)) for a in given}
    owners = {id(owner): owner for owner in map(memory_of, arrays)}
    return sum(getattr(owner, "nbytes", 0) for i, owner in owners.items() if i not in known)  # a number has none


@functools.cache
def gemm_rate(backend, dtype):
    """Flops per second of a product of square matrices, of the first size that takes 5 ms; the median of three."""
    n, seconds = 128, 0.0
    while seconds < 5e-3:
        n, times = 2 * n, []
        a = backend.asarray(np.ones((n, n)), dtype)
        with threads.in_charge():
            for _ in range(4):  # the first warms up
                backend.synchronize()
                start = perf_counter()
                backend.gemm(a, a)
                backend.synchronize()
                times.append(perf_counter() - start)
        seconds = sorted(times[1:])[1]
    return 2 * n**3 / seconds
