"""The tape: a record of a graph and of every gradient that ran through it, to be printed, asked and drawn.

    with mg.tape() as t:
        loss.backward()
    print(t)                          a row for each named tensor and op: layer, formula, norms, zeros, the line
    t["D.conv2.weight"].grad          any gradient, of results inside the network too
    t.path("D.conv1.weight")          how the gradient came there, hop by hop, and where it vanished or exploded
    t.draw("graph.svg")

A tape that is opened before the forward pass knows every value. One that is opened only for the backward pass knows
those that the graph has kept for its VJPs and what can be computed from these, which is nearly all.

A tape keeps the arrays that it has seen, about as much memory as the forward and the backward pass make together, until
it is dropped. Norms are computed when it is asked. What it records changes no number.
"""

import weakref
from difflib import get_close_matches

import numpy as np

from ..autodiff.node import Node
from ..autodiff.tensor import Tensor
from ..backend import is_array
from ..display import html_table, text_table
from ..errors import MiniganError, call_site
from .findings import findings
from .graph import Stats, computed_again, formula, kept_values, layer, length, origins, where
from .path import strongest_path
from .watch import Watcher, watching


class Entry:
    """A row of a tape: a leaf, or the result of an op.

    op        the Primitive's name, "leaf" where nothing made it
    shape, dtype, seq, site, params    as of its `Node`
    parents   the ``seq`` of each array argument, None for constants
    scope     the layer, ``"D.conv1"``; of an op that a VJP has recorded, the layer that is being differentiated
    order     0 in the forward pass, n if it belongs to an n-th derivative
    formula   the VJP, as the derivative table states it
    cotangents   {number of the backward pass: the gradient that arrived, an array}
    """

    __slots__ = (
        "_constants",
        "_name",
        "_op",
        "_stats",
        "_tensor",
        "_value",
        "arguments",
        "cotangents",
        "dtype",
        "formula",
    )
    __slots__ += ("op", "order", "params", "parents", "scope", "seq", "shape", "site", "sources")

    def __init__(self, node):
        self.op = node.op.name if node.op else "leaf"
        self.arguments = node.op.arguments if node.op else ()
        self.formula = formula(node.op) if node.op else ""
        self.shape, self.dtype, self.seq, self.site = tuple(node.shape), node.dtype, node.seq, node.site
        self.params, self.parents = node.params, tuple(p and p.seq for p in node.parents)
        self.sources, self.scope = origins(node), layer(node)
        self.order = len(self.sources)
        self._op, self._value, self._constants, self._stats, self.cotangents = node.op, None, {}, {}, {}
        leaf = node.tensor and node.tensor()
        self._tensor, self._name = node.tensor, leaf.name if leaf is not None else None

    @property
    def name(self):
        """The Tensor's name, if it has one (and, of a result, still exists)."""
        live = self._tensor and self._tensor()
        return (live.name if live is not None else None) or self._name

    @property
    def label(self):
        """Name or layer; ``"·"`` for what has neither."""
        return self.name or self.scope or "·"

    @property
    def line(self):
        """``"train.py:12"``: the user's line that computed it (of a leaf: made it)."""
        return where(self.site)

    @property
    def value(self):
        """The value in the forward pass, a Tensor, or None if neither the tape nor the graph has seen it."""
        return None if self._value is None else Tensor(self._value, name=self.name)

    @property
    def grad(self):
        """The gradient that arrived here in the last backward pass that reached it, a Tensor, or None if none did."""
        if not self.cotangents:
            return None
        return Tensor(self.cotangents[max(self.cotangents)], name=self.name and f"gradient of {self.name}")

    def stats(self, number=None):
        """`Stats` of the value, or of the gradient in backward pass ``number``; None where it is not known."""
        array = self._value if number is None else self.cotangents.get(number)
        if array is None:
            return None
        if number not in self._stats:
            self._stats[number] = Stats.of(array)
        return self._stats[number]

    def __repr__(self):
        made = f"{self.op} in {self.scope}" if self.scope and self.op != "leaf" else self.op
        value, grad = self.stats(), self.stats(max(self.cotangents, default=0))
        known = [f"value {value.norm:.3g}"] if value else []
        known += [f"gradient {grad.norm:.3g}"] if grad else ["no gradient"]
        return f"Entry({self.name or made}, shape={self.shape}, {', '.join(known)}, {self.line})"


class Pass:
    """One backward pass. ``number``: from 1; ``site``: whose line asked for it; ``recorded``: with ``create_graph``?
    ``outputs``: their ``seq``; ``reached``: the ``seq`` of every node below them; ``edges``: {(from, to): [arrays]},
    the gradients that each op sent to its arguments, by ``seq``.
    """

    def __init__(self, number, event):
        roots, order, _ = event.args
        self.number, self.recorded, self.site = number, event.recorded, call_site(2)
        self.outputs = [y.node.seq for y, _ in roots]
        self.reached = {node.seq for node in order}
        self.edges, self.finished = {}, False


class Tape(Watcher):
    """See the top of this file. ``entries``: {seq: `Entry`}; ``passes``: every `Pass`, in their order."""

    def __init__(self):
        self.entries, self.passes, self._open, self._context = {}, [], {}, None
        self._complete = True  # has everything been computed again that can be?

    def __enter__(self):
        if self._context is not None:
            raise MiniganError("this tape is running already; open another with mg.tape()")
        self._context = watching(self)
        self._context.__enter__()
        return self

    def __exit__(self, *error):
        context, self._context = self._context, None
        self._open.clear()  # of passes that have raised
        return context.__exit__(*error)

    # ---- recording ------------------------------------------------------------------------------------------------

    def _entry(self, node):
        entry = self.entries.get(node.seq)
        if entry is None:
            entry = self.entries[node.seq] = Entry(node)
        return entry

    def before(self, event):
        """Open a pass, and look at what its graph has kept; note the cotangent that a VJP is given."""
        if event.kind == "pass":
            order, self._complete = event.args[1], False
            values, constants = kept_values(order)
            for node in order:
                entry = self._entry(node)
                leaves = {i: values.get(p) for i, p in enumerate(node.parents) if p is not None and p.op is None}
                entry._constants = leaves | constants.get(node, {})  # a leaf may have been another's value before
                if entry._value is None:
                    entry._value = values.get(node)
            self.passes.append(Pass(len(self.passes) + 1, event))
            self._open[event] = self.passes[-1]
        elif event.kind == "vjp" and event.inside in self._open:
            self._entry(event.node).cotangents[self._open[event.inside].number] = _array(event.args[0])

    def after(self, event):
        """Note a result, the gradients that a VJP has sent on, or those that a pass has found."""
        if event.kind == "op" and event.node is not None:
            self._note_op(event)
        elif event.kind == "vjp" and event.inside in self._open:
            edges, node = self._open[event.inside].edges, event.node
            for i, part in event.parts():
                edges.setdefault((node.seq, node.parents[i].seq), []).append(_array(part))
        elif event in self._open:
            finished = self._open.pop(event)
            finished.finished = True
            for node, found in zip(event.args[2], event.out, strict=True):
                if found is not None:
                    found = _array(found)
                    self._entry(node).cotangents[finished.number] = found.copy() if node.op is None else found

    def _note_op(self, event):
        out, args = event.out, event.args
        entry = self._entry(event.node)
        changing = out._version is not None  # it shares the memory of a leaf, which optimisers change in place
        entry._value, entry._tensor = out.data.copy() if changing else out.data, weakref.ref(out)
        for a in args:
            if type(a) is Tensor and type(a.node) is Node:
                source = self._entry(a.node)
                source._name = a.name or source._name  # it may be gone when the tape is printed
                if source._value is None:
                    source._value = a.data.copy() if a._version is not None else a.data

    # ---- asking ---------------------------------------------------------------------------------------------------

    def __getitem__(self, key):
        """The `Entry` of a Tensor, of a name (``"D.conv2.weight"``), or of a layer's result (``"D.conv2"``: in its last
        call; ``t["D.conv2", 0]``: in its first). Raises ``KeyError`` that says what there is.
        """
        if type(key) is Tensor:
            if key.node is None or key.node.seq not in self.entries:
                why = (
                    "it requires no gradient" if key.node is None else "it is in no graph that ran while this was open"
                )
                raise KeyError(f"this tape knows no {key.name or 'such'} Tensor: {why}")
            self._compute_values()
            return self.entries[key.node.seq]
        name, call = key if isinstance(key, tuple) else (key, -1)
        named = [e for e in self.rows() if e.name == name]
        found = named or self._calls(name)
        try:
            return found[call]
        except IndexError:
            pass
        if found:
            raise KeyError(f"{name!r} was called {_count(len(found), 'time')} here, there is no call {call}")
        known = sorted({e.label for e in self.entries.values()} - {"·"})
        near = get_close_matches(str(name), known, 3) or known
        raise KeyError(f"this tape knows no {name!r}; there are {', '.join(near[:20]) or 'no names at all'}") from None

    def _calls(self, name):
        """The last entry of each call of the layer ``name`` (or of a network around it) in the forward pass.

        A call is a run of its ops that hang together: D(real) and D(fake), one straight after the other, do not.
        """
        calls, run = [], {}  # run: the seq of an op → the call it belongs to, a list of entries
        for e in (e for e in self.rows() if e.op != "leaf" and e.order == 0):
            if not (e.scope == name or e.scope.startswith(f"{name}.")):
                run = {}
                continue
            parts = {id(run[p]): run[p] for p in e.parents if p in run}
            call, *others = sorted(parts.values(), key=len, reverse=True) or [[]]
            for other in others:
                call += other
                run.update((o.seq, call) for o in other)
                calls = [c for c in calls if c is not other]
            if not call:
                calls.append(call)
            call.append(e)
            run[e.seq] = call
        return sorted((call[-1] for call in calls), key=lambda e: e.seq)

    def _compute_values(self):
        """Compute again what no VJP had asked to be kept, where all arguments are known."""
        if self._complete:
            return
        self._complete = True
        for seq in sorted(self.entries):
            e = self.entries[seq]
            if e._value is None and e._op is not None:
                known = lambda i, p, e=e: e._constants[i] if i in e._constants else p and self.entries[p]._value
                e._value = computed_again(e._op, e.params, [known(i, p) for i, p in enumerate(e.parents)])

    def rows(self, number=None):
        """The `Entry` of everything (or of what backward pass ``number`` has reached), in order of the forward pass; a
        leaf stands where it is first used.
        """
        self._compute_values()
        chosen = [e for s, e in self.entries.items() if number is None or s in self._pass(number).reached]
        used = {}
        for e in sorted(chosen, key=lambda e: e.seq, reverse=True):
            for parent in e.parents:
                used[parent] = e.seq
        place = lambda e: (used.get(e.seq, e.seq) if e.op == "leaf" else e.seq, e.op != "leaf", e.seq)
        return sorted(chosen, key=place)

    def _pass(self, number):
        if not 1 <= number <= len(self.passes):
            raise ValueError(f"there is no backward pass {number}: this tape has seen {len(self.passes)}")
        return self.passes[number - 1]

    def argument_stats(self, entry, i):
        """`Stats` of argument ``i`` of an op; None where its value is not known."""
        if entry.parents[i] is not None:
            return self.entries[entry.parents[i]].stats()
        constant = entry._constants.get(i)
        return Stats.of(constant) if is_array(constant) else None

    def sent(self, number, source, target):
        """‖the gradient‖ that op ``source`` sent to its argument ``target`` (their ``seq``) in pass ``number``; None if
        none was computed.
        """
        parts = self._pass(number).edges.get((source, target))
        if not parts:
            return None
        with np.errstate(all="ignore"):  # ∞ − ∞
            total = sum(parts[1:], parts[0])  # x·x sends two
        return length(total, self.entries[target].shape)

    def path(self, a, b=None, number=None):
        """How the gradient travelled from ``b`` back to ``a`` in backward pass ``number`` (default: the last that
        reached both): a `Path`, to be printed.

        a, b: names, layers or Tensors, as for ``t[…]``, in either order; b: by default the pass's output. Of several
        ways that on which most arrived is shown, from ``a`` backwards. Raises ``ValueError`` if none leads there.
        """
        ends = [self[a]] + ([] if b is None else [self[b]])
        if number is None:
            both = [p.number for p in self.passes if all(p.number in e.cotangents for e in ends)]
            if not both:
                names = " and ".join(repr(e.label) for e in ends)
                raise ValueError(f"path: no backward pass that this tape has seen reached {names}")
            number = both[-1]
        ends = ends if b is not None else [*ends, None]
        return strongest_path(self, self._pass(number), *ends)

    def findings(self):
        """What is conspicuous: where gradients die, shrink or grow suddenly, or are not finite. A list of sentences."""
        return findings(self)

    def draw(self, file, **options):
        """Draw the graph into an SVG file. See `inspect.draw`."""
        from .drawing import draw

        return draw(self, file, **options)

    # ---- showing --------------------------------------------------------------------------------------------------

    def __repr__(self):
        ops = sum(e.op != "leaf" for e in self.entries.values())
        leaves, passes = len(self.entries) - ops, len(self.passes)
        found = _count(ops, "op"), _count(leaves, "leaf", "leaves"), _count(passes, "backward pass", "backward passes")
        return f"Tape({', '.join(found)})"

    def __str__(self):
        if not self.entries:
            return "an empty tape: nothing that requires a gradient was computed or differentiated while it was open"
        parts = [f"{self._title(n)}\n{text_table(self._table(n), RIGHT)}" for n in self._numbers()]
        found = self.findings()
        return "\n\n".join([*parts, "\n".join(found) if found else "nothing conspicuous: every gradient arrives"])

    def _repr_html_(self):
        from html import escape

        parts = [
            html_table(self._table(n)[1:], self._table(n)[0], RIGHT, title=self._title(n)) for n in self._numbers()
        ]
        return "<div>" + "".join(parts) + "".join(f"<p>{escape(text)}</p>" for text in self.findings()) + "</div>"

    def _numbers(self):
        return [p.number for p in self.passes] or [None]

    def _title(self, number):
        if number is None:
            return "no backward pass yet: values only"
        one = self._pass(number)
        how = ", recorded" if one.recorded else ""
        how += "" if one.finished else ", not finished"
        return f"backward pass {number} of {len(self.passes)}, asked for at {where(one.site)}{how}"

    def _table(self, number):
        """The rows of the printed table, its head first."""
        rows, bad = self.rows(number), 0
        for e in rows:
            bad += sum(s.bad for s in (e.stats(), number and e.stats(number)) if s)
        head = ["", "op", "shape", "‖value‖", "zeros", "‖grad‖", "zeros", "not finite", "∂", "line", "gradient"]
        table = [head]
        for e in rows:
            value, grad = e.stats(), e.stats(number) if number else None
            wrong = [f"{s.bad} {what}" for s, what in ((value, "val"), (grad, "grad")) if s and s.bad]
            cells = [e.label, e.op, "×".join(map(str, e.shape)) or "scalar", *_cells(value), *_cells(grad)]
            line = e.line if e.op != "leaf" else ""
            table.append([*cells, ", ".join(wrong), str(e.order), line, e.formula])
        if not bad:
            table = [row[:7] + row[8:] for row in table]
        return table


RIGHT = (3, 4, 5, 6)  # columns of numbers


def tape():
    """A new `Tape`: ``with mg.tape() as t: loss.backward()``, then ``print(t)``."""
    return Tape()


def _array(g):
    return g.data if type(g) is Tensor else g


def _cells(stats):
    """Norm and share of zeros as they are printed."""
    if stats is None:
        return "–", ""
    share = round(100 * stats.zeros)
    some = "<1 %" if stats.zeros and not share else ">99 %" if share == 100 and stats.zeros < 1 else f"{share} %"
    return f"{stats.norm:.3g}", some if stats.zeros else ""


def _count(n, one, many=None):
    return f"{n} {one if n == 1 else many or one + 's'}"
