"""The tape: a record of a graph and of every gradient that ran through it, to be printed, asked and drawn.

    with mg.tape() as t:
        loss.backward()
    print(t)                          a row for each named tensor and op: layer, formula, norms, zeros, the line
    t["D.conv2.weight"].grad          any gradient, of results inside the network too
    t.path("D.conv1.weight")          how the gradient came there, hop by hop, and where it vanished or exploded
    t.draw("graph.svg")

A tape that is opened before the forward pass knows every value. One that is opened only for the backward pass knows
those that the graph has kept for its VJPs and what can be computed from these, which is nearly all. But nodes hold no
Tensor: such a tape cannot know what a result was called by ``tensor.name = …``; ``t[tensor]`` finds it.

A tape is meant for one step. It keeps the arrays that it has seen until it is dropped: of every step about as much
memory as the forward and the backward pass make together, and the weights. Norms are computed when it is asked. What it
records changes no number.
"""

import weakref
from difflib import get_close_matches

from ..autodiff.node import Node
from ..autodiff.tensor import Tensor
from ..backend import is_array, memory_of
from ..display import escape, html_block, html_table, text_table
from ..errors import MiniganError
from .entry import Entry, Pass
from .findings import findings
from .graph import Stats, compute_missing, count, kept_values, total, where
from .path import strongest_path
from .watch import Watcher, watching


class Tape(Watcher):
    """A record of graphs and of the gradients that ran through them: print it, ask it ``t["D.conv2.weight"].grad``,
    ``t.path(…)``, draw it. ``entries``: {seq: `Entry`}; ``passes``: every `Pass`, in their order."""

    def __init__(self):
        self.entries, self.passes, self._open, self._context, self._sent = {}, [], {}, None, {}
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
            self._open_pass(event)
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
            self._close_pass(event, self._open.pop(event))

    def _note_op(self, event):
        out, entry = event.out, self._entry(event.node)
        changing = out._version is not None  # it shares the memory of a leaf, which optimisers change in place
        entry.values[None], entry._tensor = out.data.copy() if changing else out.data, weakref.ref(out)
        for a in event.args:
            if type(a) is Tensor and type(a.node) is Node:
                source = self._entry(a.node)
                source._name = a.name or source._name  # it may be gone when the tape is printed
                if a.node.op is None and a.version != source._version:
                    source.values[len(self.passes) + 1], source._version = a.data.copy(), a.version
                elif not source.values:
                    source.values[None] = a.data.copy() if a._version is not None else a.data

    def _open_pass(self, event):
        order, self._complete = event.args[1], False
        values, constants = kept_values(order)
        self.passes.append(Pass(len(self.passes) + 1, event))
        self._open[event] = self.passes[-1]
        for node in order:
            entry = self._entry(node)
            if node in values and (node.op is None or not entry.values):
                entry.values[len(self.passes) if node.op is None else None] = values[node]
            if entry._constants is None:  # the leaves too: what is computed again, is from what they were
                leaves = {i: values.get(p) for i, p in enumerate(node.parents) if p is not None and p.op is None}
                entry._constants = leaves | constants.get(node, {})

    def _close_pass(self, event, one):
        """Note what the pass has found. It is the caller's now, to be changed as he likes: so what has been recorded
        in the same memory (of z = x + y, all three gradients are one array) is copied.
        """
        found = {node.seq: _array(g) for node, g in zip(event.args[2], event.out, strict=True) if g is not None}
        theirs, copies = {id(memory_of(g)) for g in found.values()}, {}

        def own(array):
            if id(memory_of(array)) not in theirs:
                return array
            if id(array) not in copies:
                copies[id(array)] = array.copy(), array  # kept, so that no other array gets its id
            return copies[id(array)][0]

        for parts in one.edges.values():
            parts[:] = map(own, parts)
        for seq in one.reached | found.keys():
            cotangents = self.entries[seq].cotangents
            if (g := found.get(seq, cotangents.get(one.number))) is not None:
                cotangents[one.number] = own(g)
        one.finished = True

    # ---- asking ---------------------------------------------------------------------------------------------------

    def __getitem__(self, key):
        """The `Entry` of a Tensor, of a name (``"D.conv2.weight"``), or of a layer's result (``"D.conv2"``: in its last
        call; ``t["D.conv2", 0]``: in its first). Raises ``KeyError`` that says what there is.
        """
        if type(key) is Tensor:
            if key.node is None or key.node.seq not in self.entries:
                unseen = "it is in no graph that ran while this was open"
                why = "it requires no gradient" if key.node is None else unseen
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
            raise KeyError(f"{name!r} was called {count(len(found), 'time')} here, there is no call {call}")
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
        ops = [e for _, e in sorted(self.entries.items()) if e._op is not None]
        values = {e.seq: e.values[None] for e in ops if e.values}
        compute_missing(values, [(e.seq, e._op, e.params, e.parents, e._constants or {}) for e in ops])
        for e in ops:
            if e.seq in values:
                e.values[None] = values[e.seq]

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

    def argument_stats(self, entry, i, number=None):
        """`Stats` of argument ``i`` of an op, as it was in backward pass ``number``; None where it is not known."""
        if entry.parents[i] is not None:
            return self.entries[entry.parents[i]].value_stats(number)
        constant = (entry._constants or {}).get(i)
        return Stats(constant) if is_array(constant) else None

    def sent(self, number, source, target):
        """‖the gradient‖ that op ``source`` sent to its argument ``target`` (their ``seq``) in pass ``number``; None if
        none was computed.
        """
        key, one = (number, source, target), self._pass(number)
        if key in self._sent:
            return self._sent[key]
        parts = one.edges.get((source, target))  # two of x·x
        norm = Stats(total(parts, self.entries[target].shape)).norm if parts else None
        if one.finished:
            self._sent[key] = norm
        return norm

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
        found = count(ops, "op"), count(leaves, "leaf", "leaves"), count(passes, "backward pass", "backward passes")
        return f"Tape({', '.join(found)})"

    def __str__(self):
        if not self.entries:
            return "an empty tape: nothing that requires a gradient was computed or differentiated while it was open"
        parts = [f"{self._title(n)}\n{text_table(self._table(n), RIGHT)}" for n in self._numbers()]
        return "\n\n".join([*parts, *filter(None, ["\n".join(self._verdict())])])

    def _repr_html_(self):
        tables = [(self._table(n), self._title(n)) for n in self._numbers()]
        parts = [html_table(rows, head, RIGHT, title=title) for (head, *rows), title in tables]
        return html_block(*parts, *(f"<p>{escape(text)}</p>" for text in self._verdict()))

    def _verdict(self):
        """The lines below the tables. That all is well can be said only of passes that ran, and not on zeros."""
        ran = all(p.finished for p in self.passes) and not all(p.idle for p in self.passes)
        return self.findings() or (["nothing conspicuous: every gradient arrives"] if ran else [])

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
        head = ["", "op", "shape", "‖value‖", "zeros", "‖grad‖", "zeros", "not finite", "∂", "line", "gradient"]
        table, bad = [head], False
        for e in self.rows(number):
            value, grad = e.value_stats(number), e.stats(number) if number else None
            wrong = [f"{s.bad} {what}" for s, what in ((value, "val"), (grad, "grad")) if s and s.bad]
            bad = bad or bool(wrong)
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
