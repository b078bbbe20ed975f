"""What is drawn of a tape: boxes, the edges between them, and what is said of each.

A *box* is one call of a layer, with the parameters it uses: D called on real and on fake samples makes two boxes
"D.conv1". Ops outside layers are boxes of their own, small chains of them (a loss) one box; so are leaves that are no
layer's parameters. Each entry of the tape is in one box; a parameter is listed in all that use it.
"""

import linecache
import textwrap
import unicodedata
from itertools import groupby
from math import hypot, isfinite, nan

import numpy as np

from ..errors import place
from .findings import _where_signal_died
from .layout import Edge, Place

ORDERS = 4  # derivative orders with a zone of their own; beyond, they share the last
CHAIN = 8  # ops outside layers in one box, at most
WIDEST = 44  # letters of a line; what is longer is cut, and whole in the tooltip


class Box(Place):
    """A call of a layer, some ops outside layers, or a leaf.

    ops       its entries                                params   the leaves that are its parameters
    last      the entry of its result                    owned    the ``seq`` of all that no other box owns
    title     the layer, a name, or its ops              what     its ops, and what they are the VJP of
    norm      of the gradient at its result              lines    what is to be read in it when it is ``open``
    state     "", "zero", "none" (of its gradient), "dies", "signal dies", "not finite"
    """

    def __init__(self, ops):
        super().__init__(min(ops[-1].order, ORDERS - 1))
        self.ops, self.params, self.owned, self.open = ops, [], [e.seq for e in ops], False
        self.last, self.scope, self.leaf = ops[-1], ops[-1].scope, ops[-1].op == "leaf"
        self.title = self.what = self.state = ""
        self.norm, self.lines = None, []
        self.into, self.out = [], []  # edges
        self.pull = 1e-3 if self.leaf else 1.0  # leaves give way


class Graph:
    """The ``boxes`` (so that edges point from earlier to later ones) and ``edges`` of backward pass ``number``."""

    def __init__(self, tape, number):
        self.tape, self.number = tape, number
        self.shown = {e.seq: e for e in tape.rows(number)}
        self.users = {seq: set() for seq in self.shown}
        for e in self.shown.values():
            for parent in e.parents:
                if parent in self.shown:
                    self.users[parent].add(e.seq)
        self.params = {seq for seq, e in self.shown.items() if self._is_parameter(e)}
        ops = [e for _, e in sorted(tape.entries.items()) if e.op != "leaf"]
        groups = [g for _, run in groupby(ops, lambda e: (e.scope, e.order)) for g in self._calls(list(run))]
        groups = sorted(self._chains(groups), key=lambda g: g[0].seq)
        leaves = [[e] for e in self.shown.values() if e.op == "leaf" and e.seq not in self.params]
        self.boxes = [Box(group) for group in leaves + groups]
        self.home = {seq: box for box in self.boxes for seq in box.owned}
        self._give_parameters()
        self.edges = self._edges()
        self._say_what_they_are()
        self._look_for_trouble()
        for box in self.boxes:
            box.lines = self._inside(box)

    def _is_parameter(self, e):
        """Does this leaf belong to a layer, as its dotted name says, and is it used in one?"""
        used = any(self.shown[user].scope for user in self.users[e.seq])
        return e.op == "leaf" and "." in (e.name or "") and used

    def _calls(self, run):
        """Consecutive ops of a layer, split where they are separate calls: such have no op in common."""
        run = [e for e in run if e.seq in self.shown]
        if not run or not run[0].scope:
            return [[e] for e in run]
        calls = []  # pairs of (entries, the seq of all ops they touch)
        for e in run:
            entries, touched = [e], {e.seq} | {p for p in e.parents if p in self.shown and self.shown[p].op != "leaf"}
            for call in [c for c in calls if c[1] & touched]:
                calls.remove(call)
                entries, touched = call[0] + entries, call[1] | touched
            calls.append((entries, touched))
        return [sorted(entries, key=lambda e: e.seq) for entries, _ in calls]

    def _chains(self, groups):
        """Ops outside layers, joined to the one op that uses them where nothing branches."""
        chains = {}  # seq of the last op: the group
        for group in groups:
            first = group[0]
            parents = {p for p in first.parents if p in self.shown and p not in self.params}
            before = chains.get(min(parents)) if len(parents) == 1 and not first.scope else None
            if before and len(before) < CHAIN and self._goes_on(before[-1], first):
                del chains[before[-1].seq]
                group = before + group
            chains[group[-1].seq] = group
        return chains.values()

    def _goes_on(self, last, e):
        alike = not last.scope and not last.name and last.order == e.order
        return alike and self.users[last.seq] == {e.seq} and last.seq not in self._outputs()

    def _outputs(self):
        return self.tape.passes[self.number - 1].outputs if self.number else ()

    def _give_parameters(self):
        """A parameter is listed in each box that uses it, and owned by the first, if it can be of its own layer."""
        using = {seq: [] for seq in self.params}
        for box in self.boxes:
            for seq in dict.fromkeys(p for e in box.ops for p in e.parents if p in using):
                using[seq].append(box)
                box.params.append(self.shown[seq])
        for seq, boxes in using.items():
            own = [b for b in boxes if b.scope and self.shown[seq].name.startswith(f"{b.scope}.")]
            self.home[seq] = (own or boxes)[0]
            self.home[seq].owned.append(seq)

    def _edges(self):
        edges = {}
        for box in self.boxes:
            for e in box.ops:
                for parent in dict.fromkeys(e.parents):
                    if parent in self.shown and parent not in self.params and self.home[parent] is not box:
                        key = self.home[parent], box
                        edges.setdefault(key, Edge(*key)).pairs.append((e.seq, parent))
        for edge in edges.values():
            edge.norm = self._sent(edge.pairs)
            edge.source.out.append(edge)
            edge.target.into.append(edge)
        return list(edges.values())

    def _sent(self, pairs):
        """The norm of all gradients that went from users to what they use, together; None if none did."""
        if self.number is None:
            return None
        with np.errstate(invalid="ignore", over="ignore"):  # ∞ − ∞: shown, not told
            sent = [self.tape.sent(self.number, *pair) for pair in pairs]
        sent = [norm for norm in sent if norm is not None]
        if not sent:
            return None
        return hypot(*sent) if all(map(isfinite, sent)) else nan

    def _say_what_they_are(self):
        """Title and second line of every box."""
        after, before = set(), set()  # behind a layer, in front of one
        for edge in self.edges:
            if edge.source.scope or edge.source in after:
                after.add(edge.target)
        for edge in reversed(self.edges):
            if edge.target.scope or edge.target in before:
                before.add(edge.source)
        word = "output" if self.number and self.tape.passes[self.number - 1].recorded else "loss"
        for box in self.boxes:
            ops = " → ".join(e.op for e in box.ops)
            of = " and ".join(dict.fromkeys(e.sources[0].op.name for e in box.ops if e.sources))
            ends = box.last.seq in self._outputs() or (self.number is None and not self.users[box.last.seq])
            if box.leaf or box.scope:
                box.title, box.what = (box.last.name if box.leaf else box.scope) or "a leaf", ops
            elif box.last.name:
                box.title, box.what = box.last.name, ops
            elif box in after and box not in before and not of:
                box.title, box.what = word if ends else f"part of the {word}", ops
            else:
                box.title = ops
            if of:
                box.what = f"{box.what} · VJP of {of}" if box.what else f"VJP of {of}"

    def _look_for_trouble(self):
        """The norm and the state of every box."""
        for box in self.boxes:
            known = self.number and box.last.stats(self.number)
            box.norm = known.norm if known else None
            stats = [
                s
                for e in box.ops + box.params
                for s in (e.value_stats(self.number), self.number and e.stats(self.number))
                if s
            ]
            arrived = [e.stats(self.number).norm for e in box.ops if self.number and e.stats(self.number)]
            sent = [edge.norm for edge in box.into if edge.norm is not None and not edge.source.leaf]
            if not sent:  # then what it sends to leaves counts
                own = {(e.seq, p) for e in box.ops for p in e.parents if p in self.shown and self.shown[p].op == "leaf"}
                sent = [norm for pair in own if (norm := self._sent([pair])) is not None]
            if any(s.bad for s in stats):
                box.state = "not finite"
            elif any(arrived) and sent and not any(sent):
                box.state = "dies"
            elif self.number and not any(arrived):
                box.state = "zero" if arrived else "none"
        for box in [b for b in self.boxes if b.state == "dies"]:
            for culprit in filter(None, (_where_signal_died(self.tape, e) for e in box.ops)):
                where = self.home.get(culprit.seq, box)
                where.state = "signal dies" if where.state == "zero" else where.state

    def open(self, which):
        """Open all boxes, none, or those of the layers (or networks) named."""
        names = [which] if isinstance(which, str) else [] if which in (True, False, None) else list(which)
        titles = {name: [b for b in self.boxes if _within(b, name)] for name in names}
        if missing := [name for name, boxes in titles.items() if not boxes]:
            known = ", ".join(dict.fromkeys(b.title for b in self.boxes))
            raise ValueError(f"draw: opened: no box is called {missing[0]!r}; there are {known}")
        for box in self.boxes if which is True else [b for boxes in titles.values() for b in boxes]:
            box.open = True

    def _inside(self, box):
        """The lines of an open box: (cells, tooltip), four cells of a table or one text over all of it."""
        lines = [(("op", "shape", "‖value‖", "‖grad‖"), "")]
        for e, after in zip(box.ops, [*box.ops[1:], None]):
            tip = f"{e.formula}\n{e.line}: {source_of(e)}".strip()
            lines.append((self._cells(e, e.op), tip))
            parts = [] if box.leaf else e.formula.split(",  ")
            for part in parts:
                wrapped = textwrap.wrap(part.strip(), WIDEST - 4, subsequent_indent="  ")
                lines += [((f"  {text}",), tip) for text in wrapped]
            if after is None or after.line != e.line:
                lines.append(((f"  at {cut(e.line, WIDEST - 5, front=True)}",), tip))
        if box.params:
            lines.append((("parameters",), ""))
        for e in box.params:
            name = e.name.removeprefix(f"{box.scope}.")
            others = sum(e in b.params for b in self.boxes) - 1
            tip = e.name + (f", used by {others} more boxes: ‖grad‖ is of the sum" if others else "")
            lines.append((self._cells(e, name), tip))
        return lines

    def _cells(self, e, name):
        value, grad = e.value_stats(self.number), self.number and e.stats(self.number)
        return (cut(name, 20), cut(shape_of(e), 16), norm_of(value), norm_of(grad))


def _within(box, name):
    return name in (box.title, box.scope) or box.scope.startswith(f"{name}.")


# ---- words -----------------------------------------------------------------------------------------------------------


def letters(text):
    """How many letters of a monospaced font a text takes: combining marks (the bar of x̄) none, wide letters two."""
    wide = {"W": 2, "F": 2}
    return sum(wide.get(unicodedata.east_asian_width(c), 1) for c in text if not unicodedata.combining(c))


def cut(text, most=WIDEST, front=False):
    """A line of at most so many letters, with … at the end (or in front) for what is cut off."""
    text = " ".join(text.split())
    if letters(text) <= most:
        return text
    kept = ""
    for c in reversed(text) if front else text:
        if letters(kept + c) >= most:
            break
        kept += c
    return f"…{kept[::-1]}" if front else f"{kept}…"


def source_of(entry):
    """The line of code behind an entry, ``""`` if its file is not there."""
    file, line = place(entry.site)
    return linecache.getline(file, line).strip()


def shape_of(entry):
    """``"8×14×14×16"``, or ``"scalar"``."""
    return "×".join(map(str, entry.shape)) or "scalar"


def norm_of(stats):
    """The norm of `Stats`, or of None, as it is shown."""
    return short(stats.norm if stats else None)


def short(x):
    """Three digits of a number, – for None."""
    return "–" if x is None else f"{x:.3g}"
