"""A tape as a picture: the graph of a backward pass in one SVG file, its layers as boxes that open.

A *box* is one call of a layer, with the parameters it uses: D called on real and on fake samples makes two boxes
"D.conv1". Ops outside layers are boxes of their own, small chains of them (a loss) one box. Data flows down along the
edges, the gradient flows up. Ops that a VJP has recorded (``create_graph``) stand beside the forward pass, coloured by
their derivative order.

The layout follows one rule (Sugiyama, Tagawa & Toda 1981). The row of a box is the length of the longest way to it, so
every edge points down. An edge that passes by other rows keeps a lane free in each. In a row the boxes and lanes stand
in the order of the barycentres of their neighbours above. Their x then come as near to their neighbours' as that order
allows, which is isotonic regression. The y of a row is the sum of the heights above it:

    top of row r = head + Σ (height of row s + gap) over s < r,    height of a row = that of its highest box

so that opening a box moves what is below and nothing else: drawing.js does it in a browser. Without a script (in image
viewers, on GitHub) the file shows the boxes as they were drawn.
"""

import linecache
import os
import textwrap
import unicodedata
from itertools import groupby
from math import hypot, isfinite, log10, nan
from pathlib import Path

from ..backend.checks import integer
from ..display import escape
from ..errors import place
from .findings import _where_signal_died

CHAIN = 8  # ops outside layers in one box, at most
TEXT, NAME, LINE = 11, 12, 15  # px: size of text, of names, height of a line
LETTER = 0.6  # width of a letter of a monospaced font, in units of its size
MARGIN, GAP, BETWEEN, ZONES, LANE = 24, 36, 22, 56, 8  # px: around, between rows, boxes and orders; width of a lane
HEAD, BAR, NUMBER = 44, 40, 8  # px: height of a closed box, length of a bar; letters of a number
WIDEST = 44  # letters of a line of an open box; what is longer is cut, and whole in the tooltip
NARROWEST, SWEEPS, FAR = 560, 12, 1e6

# Edge and filling of boxes by derivative order; orders above 3 look like 3.
COLOURS = (("#54708f", "#eef3f8"), ("#d9780f", "#fff1df"), ("#7d4fc4", "#f2ebfd"), ("#12836f", "#e2f5f0"))
RED_WORDS = {  # state of a box: in the legend, in its tooltip
    "dies": ("gradient dies", "the gradient dies here: it arrives, and all that goes on to the inputs is 0"),
    "signal dies": ("signal dies", "the signal dies here: all that comes out is 0, and so no gradient comes back"),
    "not finite": ("not finite", "some numbers here are not finite"),
}
RED, INK, FAINT = ("#c62020", "#fdecea"), "#1f2933", "#65717e"
STROKES = [*(colour for colour, _ in COLOURS), RED[0]]  # of edges


def draw(tape, file, number=None, opened=False, title=None):
    """Draw a `Tape` into the SVG file ``file``, complete in itself; returns its path, a `pathlib.Path`.

    number: the backward pass that is drawn, all that it has reached, with its gradients; by default the last. A tape
    without one shows values only. opened: which boxes are open in the file: all (True), none, or those of the layers
    and networks named, ``"D.conv1"`` or ``["D", "G.dense1"]``. title: a line above the picture.

    An edge is as thick and a bar as long as the logarithm of a gradient's norm. Red: the gradient dies (it arrives, and
    all that is sent on to the inputs is 0), the signal died that it would have needed (all that comes out is 0), or a
    number is not finite. Pale: the gradient is exactly 0. Dashed: none was computed.

    Raises ``ValueError`` for an empty tape, a pass or a name that is not there, or another suffix than .svg, and
    ``OSError`` if the file cannot be written; a file of that name is replaced whole or not at all.
    """
    path = Path(file)
    if path.suffix.lower() != ".svg":
        raise ValueError(f"draw: expected a file name that ends in .svg, the only format it writes, got {path.name!r}")
    if not tape.entries:
        raise ValueError(
            "draw: this tape is empty. Open it around what requires a gradient: with mg.tape() as t: loss.backward()"
        )
    number = (len(tape.passes) or None) if number is None else integer("draw: number", number, 1)
    graph = Graph(tape, number)
    graph.open(opened)
    place_boxes(graph)
    text = Picture(graph, title).text()
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return path


# ---- what is drawn ---------------------------------------------------------------------------------------------------


class Place:
    """Where something stands: ``row``, ``zone`` (a column of the picture for each derivative order), centre ``x`` and
    ``width`` in px; the places ``above`` and ``below`` that it is joined to.
    """

    def __init__(self, zone, width=LANE, row=0):
        self.row, self.zone, self.width, self.x = row, zone, width, 0.0
        self.above, self.below = [], []


class Box(Place):
    """A call of a layer, some ops outside layers, or a leaf. ``ops``: its entries; ``params``: the leaves that are its
    parameters; ``owned``: the ``seq`` of all that no other box has. ``title``, ``what``: its two lines; ``state``: "",
    "dies", "signal dies", "not finite", "zero" or "none"; ``norm``: of the gradient of its result; ``lines``: its inside, when open.
    """

    def __init__(self, ops):
        super().__init__(min(ops[-1].order, len(COLOURS) - 1))
        self.ops, self.params, self.owned, self.open = ops, [], [e.seq for e in ops], False
        self.last, self.scope, self.leaf = ops[-1], ops[-1].scope, ops[-1].op == "leaf"
        self.title = self.what = self.state = ""
        self.norm, self.lines = None, []
        self.into, self.out = [], []  # edges

    @property
    def heights(self):
        """Closed and open, in px."""
        return HEAD, HEAD + LINE * len(self.lines) + 12

    @property
    def height(self):
        """As it is drawn."""
        return self.heights[self.open]


class Edge:
    """From a box to one that uses its results: ``pairs`` of (user, used), their ``seq``; ``norm``: of the gradient sent
    back along it, None if none was; ``way``: the places it passes, both boxes included; ``xs``: where, in px.
    """

    def __init__(self, source, target):
        self.source, self.target, self.pairs, self.norm = source, target, [], None
        self.way = self.xs = ()


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
        calls = []  # pairs of (entries, all ops they touch)
        for e in run:
            entries, touched = [e], {e.seq} | {p for p in e.parents if p in self.shown and self.shown[p].op != "leaf"}
            for call in [c for c in calls if c[1] & touched]:
                calls.remove(call)
                entries, touched = call[0] + entries, call[1] | touched
            calls.append((entries, touched))
        return [entries for entries, _ in calls]

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
        sent = [self.tape.sent(self.number, *pair) for pair in pairs]
        sent = [norm for norm in sent if norm is not None]
        if not sent:
            return None
        return hypot(*sent) if all(map(isfinite, sent)) else nan

    def _say_what_they_are(self):
        """Title and second line of every box."""
        after, before = set(), set()  # layers; layers stand after them
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
            stats = [s for e in box.ops + box.params for s in (e.stats(), self.number and e.stats(self.number)) if s]
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
        names = [which] if isinstance(which, str) else [] if isinstance(which, bool) else list(which)
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
            tip = f"{e.formula}\n{e.line}: {_source(e)}".strip()
            lines.append((self._cells(e, e.op), tip))
            parts = [] if box.leaf else e.formula.split(",  ")
            for part in parts:
                wrapped = textwrap.wrap(part.strip(), WIDEST - 4, subsequent_indent="  ")
                lines += [((f"  {text}",), tip) for text in wrapped]
            if after is None or after.line != e.line:
                lines.append(((f"  at {_cut(e.line, WIDEST - 5, front=True)}",), tip))
        if box.params:
            lines.append((("parameters",), ""))
        for e in box.params:
            name = e.name.removeprefix(f"{box.scope}.")
            others = sum(e in b.params for b in self.boxes) - 1
            tip = e.name + (f", used by {others} more boxes: ‖grad‖ is of the sum" if others else "")
            lines.append((self._cells(e, name), tip))
        return lines

    def _cells(self, e, name):
        return (_cut(name, 20), _cut(_shape(e), 16), _norm(e.stats()), _norm(self.number and e.stats(self.number)))


def _within(box, name):
    return name in (box.title, box.scope) or box.scope.startswith(f"{name}.")


def _source(e):
    file, line = place(e.site)
    return linecache.getline(file, line).strip()


def _shape(e):
    return "×".join(map(str, e.shape)) or "scalar"


def _norm(stats):
    return _short(stats.norm) if stats else "–"


def _short(x):
    return "–" if x is None else f"{x:.3g}"


# ---- where it stands -------------------------------------------------------------------------------------------------


def place_boxes(graph):
    """Row, order and x of all boxes and of the lanes of all edges, by the rule at the top of this file."""
    for box in graph.boxes:
        box.width = _width(box)
    for zone in {box.zone for box in graph.boxes}:
        layers = [box for box in graph.boxes if box.scope and box.zone == zone]
        for box in layers:
            box.width = max(b.width for b in layers)
    _find_rows(graph)
    places = graph.boxes + _lanes(graph)
    rows = [[] for _ in range(1 + max(p.row for p in places))]
    for p in places:
        rows[p.row].append(p)
    runs = [[[p for p in row if p.zone == zone] for row in rows] for zone in sorted({p.zone for p in places})]
    for row in range(len(rows)):
        for run in runs:
            run[row].sort(key=_barycentre)
            _fit(run[row], "above")
    for _ in range(SWEEPS):
        for run in runs:
            for row in reversed(run):
                _fit(row, "below")
            for row in run:
                _fit(row, "above")
    _put_side_by_side(runs)
    _find_ports(graph)


def _find_rows(graph):
    """The length of the longest way to each box. A leaf, to which none leads, comes just above its first user."""
    for edge in graph.edges:
        edge.target.row = max(edge.target.row, edge.source.row + 1)
    for box in graph.boxes:
        below = [edge.target.row for edge in box.out] if box.leaf else ()
        box.row = min(below) - 1 if below else box.row


def _lanes(graph):
    """A place in each row that an edge passes by; joins all that are neighbours."""
    lanes = []
    for edge in graph.edges:
        zone, rows = max(edge.source.zone, edge.target.zone), range(edge.source.row + 1, edge.target.row)
        way = [edge.source, *(Place(zone, row=row) for row in rows), edge.target]
        for a, b in zip(way, way[1:]):
            a.below.append(b)
            b.above.append(a)
        lanes += way[1:-1]
        edge.way = way
    return lanes


def _barycentre(p):
    """The mean x of the neighbours above; where there are none, that of the places that have the same user."""
    if not p.above:
        beside = [q for user in p.below for q in user.above if q.row == p.row and q.above]
        return max((_barycentre(q) for q in beside), default=0.0) + 1  # right of it, as in h @ w
    near = [q.x for q in p.above if q.zone == p.zone]
    return sum(near) / len(near) if near else FAR * (p.above[0].zone - p.zone)


def _fit(places, side):
    """Give the places of a row their x: least squares to the mean of the neighbours on that side, in order, with gaps.

    With t = (wanted x) − (x if all stood as near as they may), this is the isotonic regression of t, which the pooling
    of adjacent violators solves: blocks that would overlap are joined and move to their weighted mean.
    """
    at, blocks, offsets = 0.0, [], []  # a block: [sum of weight·t, weight, how many]
    for i, p in enumerate(places):
        at += (places[i - 1].width + p.width) / 2 + BETWEEN if i else 0.0
        near = [q for q in getattr(p, side) if q.zone == p.zone]
        heft = sum(_weight(q) for q in near)
        wanted = sum(_weight(q) * q.x for q in near) / heft if near else p.x
        blocks.append([_weight(p) * (wanted - at), _weight(p), 1])
        offsets.append(at)
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] >= blocks[-1][0] * blocks[-2][1]:
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last)]
    shifts = [total / weight for total, weight, n in blocks for _ in range(n)]
    for p, offset, shift in zip(places, offsets, shifts):
        p.x = offset + shift


def _weight(p):
    """How much a place pulls: leaves give way, lanes stay straight."""
    return 4.0 if not isinstance(p, Box) else 1e-3 if p.leaf else 1.0


def _put_side_by_side(runs):
    """Move each order as far left as it may, right of all lower orders in each of its rows."""
    edge = [MARGIN - ZONES] * len(runs[0])  # the right edge of what stands there, row by row
    for run in runs:
        shift = max(edge[row] + ZONES - places[0].x + places[0].width / 2 for row, places in enumerate(run) if places)
        for row, places in enumerate(run):
            for p in places:
                p.x = round(p.x + shift, 1)
                edge[row] = p.x + p.width / 2


def _find_ports(graph):
    """The xs of every edge. It ends as near below what it comes from as its box allows, and begins as near above."""
    for edge in graph.edges:
        edge.xs = [p.x for p in edge.way]
    for box in graph.boxes:
        _spread(box, box.into, -1, lambda edge: edge.way[-2].x)
    for box in graph.boxes:
        _spread(box, box.out, 0, lambda edge: edge.xs[1])


def _spread(box, edges, end, wanted):
    """The ends of the edges on one side of a box: in the middle half of it, side by side."""
    edges, room = sorted(edges, key=wanted), box.width / 4
    step = min(14, 2 * room / max(1, len(edges) - 1))
    x = box.x - room - step
    for i, edge in enumerate(edges):
        most = box.x + room - step * (len(edges) - 1 - i)
        x = edge.xs[end] = round(min(max(wanted(edge), x + step), most), 1)


def _columns(box):
    """Letters of the four columns of an open box."""
    table = [cells for cells, _ in box.lines if len(cells) == 4]
    return [max(map(letters, column)) for column in zip(*table)]


def _width(box):
    """In px, so that all texts fit, open or closed: x does not change when a box opens."""
    title = 24 + LETTER * (NAME * letters(_cut(box.title)) + TEXT * (2 + letters(_shape(box.last)))) + 10
    what = 24 + LETTER * TEXT * (2 + letters(_cut(box.what)) + NUMBER) + BAR + 16
    inside = [sum(_columns(box)) + 6, *(letters(cells[0]) for cells, _ in box.lines if len(cells) == 1)]
    return round(max(title, what, 20 + LETTER * TEXT * max(inside)))


def letters(text):
    """How many letters of a monospaced font a text takes: combining marks (the bar of x̄) none, wide letters two."""
    wide = {"W": 2, "F": 2}
    return sum(wide.get(unicodedata.east_asian_width(c), 1) for c in text if not unicodedata.combining(c))


def _cut(text, most=WIDEST, front=False):
    """At most so many letters of a text, with … for what is cut off."""
    text = text.replace("\n", " ")
    if letters(text) <= most:
        return text
    while letters(text) >= most:
        text = text[1:] if front else text[:-1]
    return "…" + text if front else text + "…"


# ---- how it looks ----------------------------------------------------------------------------------------------------


class Picture:
    """A placed `Graph` as SVG. Texts stay inside their boxes in any monospaced font whose letters are 0.6 em wide."""

    def __init__(self, graph, title):
        self.graph, self.tape, self.number = graph, graph.tape, graph.number
        self.title, self.number_of = title, {box: i for i, box in enumerate(graph.boxes)}
        self.orders = sorted({box.zone for box in graph.boxes})
        self.wide = round(
            max(p.x + p.width / 2 for p in graph.boxes + [p for e in graph.edges for p in e.way]) + MARGIN
        )
        if self.wide < NARROWEST:  # a narrow graph stands in the middle
            for p in graph.boxes:
                p.x += (NARROWEST - self.wide) / 2
            for edge in graph.edges:
                edge.xs = [x + (NARROWEST - self.wide) / 2 for x in edge.xs]
            self.wide = NARROWEST
        norms = [x.norm for x in graph.boxes + graph.edges if x.norm and isfinite(x.norm)]
        self.high = max(norms, default=1.0)
        self.low = max(min(norms, default=1.0), self.high * 1e-8)

    def text(self):
        """The whole file."""
        head, top = self._head()
        tops, bottom = _tops(self.graph.boxes, top)
        script = (Path(__file__).parent / "drawing.js").read_text(encoding="utf-8")
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.wide}" height="{bottom}" '
            f'viewBox="0 0 {self.wide} {bottom}" data-wide="{self.wide}" data-top="{top}" data-gap="{GAP}">',
            _tip(self._heading()),
            "<defs>" + "".join(_arrow(*pair) for pair in enumerate(STROKES)) + "</defs>",
            f'<rect class="paper" width="{self.wide}" height="{bottom}" fill="#ffffff"/>',
            f'<g font-family="sans-serif" font-size="12" fill="{INK}">{head}</g>',
            *(self._edge(edge, tops) for edge in self.graph.edges),
            f'<g font-family="monospace" font-size="{TEXT}" fill="{INK}" xml:space="preserve">',
            *(self._box(box, tops) for box in self.graph.boxes),
            f"</g>\n<script><![CDATA[\n{script}]]></script>\n</svg>\n",
        ]
        return "\n".join(parts)

    # ---- the head --------------------------------------------------------------------------------------------------

    def _heading(self):
        asked = self.tape._title(self.number)
        return self.title or asked[0].upper() + asked[1:]

    def _head(self):
        """Title, caption and legend: (SVG, y where the first row begins)."""
        parts, y = [], 30
        for line in textwrap.wrap(self._heading(), int((self.wide - 2 * MARGIN) / 10)):
            parts.append(_text(MARGIN, y, line, 'font-size="16" font-weight="bold"'))
            y += 20
        for line in textwrap.wrap(self._caption(), int((self.wide - 2 * MARGIN) / 6.6)):
            parts.append(_text(MARGIN, y, line, f'fill="{FAINT}"'))
            y += 16
        parts.append(_text(MARGIN, y, "A click on a box opens it.", f'class="hint" display="none" fill="{FAINT}"'))
        y += 24
        x = MARGIN
        for chip, words in self._legend():
            if x + 26 + 7.2 * len(words) > self.wide - MARGIN and x > MARGIN:
                x, y = MARGIN, y + 20
            parts += [f'<rect x="{x}" y="{y - 10}" width="18" height="12" rx="3" {chip}/>', _text(x + 24, y, words)]
            x += round(24 + 6.6 * len(words) + 20)
        return "\n".join(parts), y + GAP

    def _caption(self):
        if self.number is None:
            return "Data flows down along the edges. The number in a box is the norm of its value."
        which = self.tape._title(self.number) if self.title else f"backward pass {self.number}"
        return (
            "Data flows down along the edges, the gradient flows up. The number in a box is the norm of the gradient "
            f"that arrives at its result in {which}. Bars, and the thickness of edges by the gradient sent along them, "
            f"are logarithmic from {_short(self.low)} to {_short(self.high)}."
        )

    def _legend(self):
        """Pairs (attributes of a chip, words) of what occurs here."""
        words = [
            "forward pass",
            "first derivative: ops that VJPs recorded",
            "second derivative",
            "third derivative and on",
        ]
        found = [(f'fill="{COLOURS[i][1]}" stroke="{COLOURS[i][0]}" stroke-width="1.5"', words[i]) for i in self.orders]
        grey, states = 'fill="#ffffff" stroke="#9aa5b1"', {box.state for box in self.graph.boxes}
        if worst := [state for state in RED_WORDS if state in states]:
            chip = f'fill="{RED[1]}" stroke="{RED[0]}" stroke-width="2.5"'
            found.append((chip, ", ".join(RED_WORDS[state][0] for state in worst)))
        if "zero" in states:
            found.append((f'{grey} opacity=".5"', "gradient exactly 0"))
        if "none" in states:
            found.append((f'{grey} stroke-dasharray="4 3"', "no gradient computed"))
        return found

    # ---- edges -----------------------------------------------------------------------------------------------------

    def _level(self, norm):
        """Between 0 and 1 on the logarithmic scale of the picture."""
        if not norm or not isfinite(norm) or self.high == self.low:
            return float(bool(norm))
        return min(1.0, max(0.0, log10(norm / self.low) / log10(self.high / self.low)))

    def _edge(self, edge, tops):
        bad = edge.norm is not None and not isfinite(edge.norm)
        stroke = len(COLOURS) if bad else edge.target.zone
        level = self._level(edge.norm)
        look = f'stroke-width="{1 + 3.5 * level:.2f}" stroke-opacity="{0.4 + 0.4 * level:.2f}"'
        if self.number and not edge.norm:
            look = 'stroke-width="1.2" stroke-opacity=".45" stroke-dasharray="3 4"'
        xs = [f"{x:g}" for x in edge.xs]
        ends = f"{edge.source.title} → {edge.target.title}"
        sent = f"‖gradient sent back‖ = {_short(edge.norm)}" if edge.norm is not None else "no gradient was sent back"
        return (
            f'<path class="edge" data-from="{self.number_of[edge.source]}" data-to="{self.number_of[edge.target]}" '
            f'data-row="{edge.source.row}" data-xs="{" ".join(xs)}" d="{_curve(edge, xs, tops)}" fill="none" '
            f'stroke="{STROKES[stroke]}" {look} marker-end="url(#minigan-arrow-{stroke})">'
            f"{_tip(ends + (chr(10) + sent if self.number else ''))}</path>"
        )

    # ---- boxes -----------------------------------------------------------------------------------------------------

    def _box(self, box, tops):
        left, (low, tall) = f"{box.x - box.width / 2:g}", box.heights
        stroke, fill = COLOURS[box.zone]
        look = f'fill="{fill}" stroke="{stroke}" stroke-width="1.2"'
        if box.state in RED_WORDS:
            look = f'fill="{RED[1]}" stroke="{RED[0]}" stroke-width="2.5"'
        elif box.state == "zero":
            look += ' opacity=".4"'
        elif box.state == "none":
            look += ' stroke-dasharray="4 3"'
        turned = " rotate(90)" if box.open else ""
        return "\n".join(
            [
                f'<g class="box" data-row="{box.row}" data-x="{left}" data-low="{low}" data-tall="{tall}" '
                f'data-open="{int(box.open)}" data-order="{box.last.order}" data-state="{box.state}" '
                f'data-nodes="{" ".join(map(str, sorted(box.owned)))}" '
                f'transform="translate({left},{tops[box.row]})" tabindex="0" role="button">',
                _tip(self._about(box)),
                f'<rect class="frame" width="{box.width}" height="{box.height}" rx="6" {look}/>',
                f'<g class="head" style="cursor:pointer"><rect width="{box.width}" height="{HEAD}" fill-opacity="0"/>',
                f'<path class="mark" d="M-3,-4L4,0L-3,4Z" fill="{stroke}" transform="translate(13,13){turned}"/>',
                *self._two_lines(box, stroke),
                "</g>",
                f'<g class="body" display="{"inline" if box.open else "none"}">',
                *self._body(box, stroke),
                "</g>",
                self._pill(box),
                "</g>",
            ]
        )

    def _two_lines(self, box, stroke):
        """What a closed box shows."""
        right = box.width - 10
        yield _text(24, 17, _cut(box.title), f'font-size="{NAME}" font-weight="bold"')
        yield _text(right, 17, _shape(box.last), f'text-anchor="end" fill="{FAINT}"')
        yield _text(24, 34, _cut(box.what), f'fill="{FAINT}"')
        shown = box.last.stats() if self.number is None else None
        yield _text(right, 34, _norm(shown) if self.number is None else _short(box.norm), 'text-anchor="end"')
        if self.number and box.norm is not None and isfinite(box.norm):
            x = round(right - LETTER * TEXT * NUMBER - 6 - BAR, 1)
            long = BAR * (0.05 + 0.95 * self._level(box.norm)) if box.norm else 0
            yield f'<rect x="{x}" y="27" width="{BAR}" height="7" rx="2" fill="{stroke}" fill-opacity=".15"/>'
            yield f'<rect class="bar" x="{x}" y="27" width="{long:.1f}" height="7" rx="2" fill="{stroke}"/>'

    def _body(self, box, stroke):
        """What an open box shows below."""
        yield f'<path d="M0,{HEAD}H{box.width}" stroke="{stroke}" stroke-opacity=".5"/>'
        widths = [LETTER * TEXT * (n + 2) for n in _columns(box)]
        right = box.width - 10
        xs = [10, 10 + widths[0], right - widths[3], right]
        for i, (cells, tip) in enumerate(box.lines):
            y, look = HEAD + LINE * (i + 1) + 1, f'fill="{FAINT}"' if i == 0 or len(cells) == 1 else ""
            ends = ["", "", 'text-anchor="end" ', 'text-anchor="end" ']
            texts = [_text(f"{x:g}", y, cell, end + look) for x, cell, end in zip(xs, cells, ends)]
            yield f"<g>{_tip(tip) if tip else ''}{''.join(texts)}</g>"

    def _pill(self, box):
        """The word on a box that is in trouble."""
        if box.state not in RED_WORDS:
            return ""
        width = round(LETTER * TEXT * len(box.state) + 12)
        return f'<rect x="{box.width - width - 8}" y="-9" width="{width}" height="15" rx="7" fill="{RED[0]}"/>' + _text(
            box.width - 8 - width / 2, 2, box.state, 'text-anchor="middle" fill="#ffffff" font-weight="bold"'
        )

    def _about(self, box):
        """The tooltip of a box."""
        value, grad = box.last.stats(), self.number and box.last.stats(self.number)
        lines = [f"{box.title}: {box.what}" if box.what else box.title, f"shape {_shape(box.last)}, {box.last.dtype}"]
        for name, stats in (("value", value), ("gradient", grad)):
            if stats:
                bad = f", {stats.bad} not finite" if stats.bad else ""
                lines.append(f"‖{name}‖ = {stats.norm:.4g}, {100 * stats.zeros:.3g} % zeros{bad}")
        lines += [RED_WORDS[box.state][1]] if box.state in RED_WORDS else []
        lines += ["no gradient was computed"] if box.state == "none" else []
        return "\n".join([*lines, f"{box.last.line}: {_source(box.last)}"])


def _tops(boxes, y):
    """([the y of each row], the y below the last): the heights above it, added up."""
    heights = [0] * (1 + max(box.row for box in boxes))
    for box in boxes:
        heights[box.row] = max(heights[box.row], box.height)
    tops = []
    for height in heights:
        tops.append(y)
        y += height + GAP
    return tops, y


def _curve(edge, xs, tops):
    """Straight down through each row, bent only in the gaps between rows, where no box is."""
    d = f"M{xs[0]},{tops[edge.source.row] + edge.source.height}"
    for a, b, top in zip(xs, xs[1:], tops[edge.source.row + 1 :]):
        d += f"V{top - GAP}C{a},{top - GAP // 2} {b},{top - GAP // 2} {b},{top}"
    return d


def _arrow(number, colour):
    size = 'viewBox="0 0 10 10" refX="9" refY="5" markerWidth="9" markerHeight="8" markerUnits="userSpaceOnUse"'
    tip = f'<path d="M0,1L10,5L0,9Z" fill="{colour}"/>'
    return f'<marker id="minigan-arrow-{number}" {size} orient="auto">{tip}</marker>'


def _text(x, y, text, more=""):
    return f'<text x="{x}" y="{y}" {more}>{escape(text)}</text>' if text else ""


def _tip(text):
    return f"<title>{escape(text)}</title>"
