"""A tape as a picture: the graph of a backward pass in one SVG file, its layers as boxes that open.

What the boxes are is said in boxes.py, where they stand in layout.py. Data flows down along the edges, the gradient
flows up. Ops that a VJP has recorded (``create_graph``) stand beside the forward pass, coloured by derivative order.

The file is complete in itself: drawing.js is inside, which opens and closes boxes in a browser. Without a script (in
image viewers, on GitHub) it shows them as they were drawn.
"""

import os
import textwrap
from math import isfinite, log10
from pathlib import Path

from ..backend.checks import integer
from ..display import escape
from .boxes import Graph, cut, letters, norm_of, shape_of, short, source_of
from .layout import GAP, MARGIN, curve, place_boxes, row_tops

TEXT, NAME, LINE = 11, 12, 15  # px: size of text, of names, height of a line
LETTER = 0.6 * TEXT  # px: width of a letter of a monospaced font
HEAD, BAR, NUMBER = 44, 40, 8  # px: height of a closed box, length of a bar; letters of a number
SHORT, SHAPE = 34, 24  # letters of the ops and the shape on a closed box; all is in the tooltip
NARROWEST = 560  # px

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
    if not path.parent.is_dir():
        raise FileNotFoundError(f"draw: there is no folder {str(path.parent)!r} for {path.name!r}: make it first")
    if not tape.entries:
        raise ValueError(
            "draw: this tape is empty. Open it around what requires a gradient: with mg.tape() as t: loss.backward()"
        )
    number = (len(tape.passes) or None) if number is None else integer("draw: number", number, 1)
    graph = Graph(tape, number)
    graph.open(opened)
    _size(graph.boxes)
    place_boxes(graph.boxes, graph.edges)
    text = Picture(graph, title).text()
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return path


class Picture:
    """A placed `Graph` as SVG. Texts stay inside their boxes in any monospaced font whose letters are 0.6 em wide."""

    def __init__(self, graph, title):
        self.graph, self.tape, self.number = graph, graph.tape, graph.number
        self.title, self.number_of = title, {box: i for i, box in enumerate(graph.boxes)}
        self.orders = sorted({box.zone for box in graph.boxes})
        places = [*graph.boxes, *(p for edge in graph.edges for p in edge.way)]
        self.wide = round(max(p.x + p.width / 2 for p in places) + MARGIN)
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
        tops, bottom = row_tops(self.graph.boxes, top)
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
            f"are logarithmic from {short(self.low)} to {short(self.high)}."
        )

    def _legend(self):
        """Pairs (attributes of a chip, words) of what occurs here."""
        first = "first derivative: ops that VJPs recorded"
        words = ["forward pass", first, "second derivative", "third derivative and on"]
        found = [(f'fill="{COLOURS[i][1]}" stroke="{COLOURS[i][0]}" stroke-width="1.5"', words[i]) for i in self.orders]
        grey, states = 'fill="#ffffff" stroke="#9aa5b1"', {box.state for box in self.graph.boxes}
        found += [(_red(state, "#ffffff"), words[0]) for state, words in RED_WORDS.items() if state in states]
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
        sent = f"‖gradient sent back‖ = {short(edge.norm)}" if edge.norm is not None else "no gradient was sent back"
        return (
            f'<path class="edge" data-from="{self.number_of[edge.source]}" data-to="{self.number_of[edge.target]}" '
            f'data-row="{edge.source.row}" data-xs="{" ".join(xs)}" d="{curve(edge, xs, tops)}" fill="none" '
            f'stroke="{STROKES[stroke]}" {look} marker-end="url(#minigan-arrow-{stroke})">'
            f"{_tip(ends + (chr(10) + sent if self.number else ''))}</path>"
        )

    # ---- boxes -----------------------------------------------------------------------------------------------------

    def _box(self, box, tops):
        left, tall = f"{box.x - box.width / 2:g}", _open_height(box)
        stroke, fill = COLOURS[box.zone]
        look = f'fill="{fill}" stroke="{stroke}" stroke-width="1.2"'
        if box.state in RED_WORDS:
            look = _red(box.state, fill)
        elif box.state == "zero":
            look += ' opacity=".4"'
        elif box.state == "none":
            look += ' stroke-dasharray="4 3"'
        turned = " rotate(90)" if box.open else ""
        return "\n".join(
            [
                f'<g class="box" data-row="{box.row}" data-x="{left}" data-low="{HEAD}" data-tall="{tall}" '
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
        yield _text(24, 17, cut(box.title, front=bool(box.scope)), f'font-size="{NAME}" font-weight="bold"')
        yield _text(right, 17, cut(shape_of(box.last), SHAPE), f'text-anchor="end" fill="{FAINT}"')
        yield _text(24, 34, cut(box.what, SHORT), f'fill="{FAINT}"')
        shown = box.last.stats() if self.number is None else None
        yield _text(right, 34, norm_of(shown) if self.number is None else short(box.norm), 'text-anchor="end"')
        if self.number and box.norm is not None and isfinite(box.norm):
            x = round(right - LETTER * NUMBER - 6 - BAR, 1)
            long = BAR * (0.05 + 0.95 * self._level(box.norm)) if box.norm else 0
            yield f'<rect x="{x}" y="27" width="{BAR}" height="7" rx="2" fill="{stroke}" fill-opacity=".15"/>'
            yield f'<rect class="bar" x="{x}" y="27" width="{long:.1f}" height="7" rx="2" fill="{stroke}"/>'

    def _body(self, box, stroke):
        """What an open box shows below."""
        yield f'<path d="M0,{HEAD}H{box.width}" stroke="{stroke}" stroke-opacity=".5"/>'
        widths = [LETTER * (n + 2) for n in _columns(box)]
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
        width = round(LETTER * len(box.state) + 12)
        look = 'text-anchor="middle" fill="#ffffff" font-weight="bold"'
        back = f'<rect x="{box.width - width - 8}" y="-9" width="{width}" height="15" rx="7" fill="{RED[0]}"/>'
        return back + _text(box.width - 8 - width / 2, 2, box.state, look)

    def _about(self, box):
        """The tooltip of a box."""
        value, grad = box.last.value_stats(self.number), self.number and box.last.stats(self.number)
        lines = [f"{box.title}: {box.what}" if box.what else box.title, f"shape {shape_of(box.last)}, {box.last.dtype}"]
        for name, stats in (("value", value), ("gradient", grad)):
            if stats:
                bad = f", {stats.bad} not finite" if stats.bad else ""
                lines.append(f"‖{name}‖ = {stats.norm:.4g}, {100 * stats.zeros:.3g} % zeros{bad}")
        lines += [RED_WORDS[box.state][1]] if box.state in RED_WORDS else []
        lines += ["no gradient was computed"] if box.state == "none" else []
        return "\n".join([*lines, f"{box.last.line}: {source_of(box.last)}"])


def _red(state, fill):
    """The look of a box in trouble; what only dies keeps the filling of its order."""
    return f'fill="{RED[1] if state == "not finite" else fill}" stroke="{RED[0]}" stroke-width="2.5"'


def _arrow(number, colour):
    size = 'viewBox="0 0 10 10" refX="9" refY="5" markerWidth="9" markerHeight="8" markerUnits="userSpaceOnUse"'
    tip = f'<path d="M0,1L10,5L0,9Z" fill="{colour}"/>'
    return f'<marker id="minigan-arrow-{number}" {size} orient="auto">{tip}</marker>'


def _text(x, y, text, more=""):
    return f'<text x="{x}" y="{y}" {more}>{escape(text)}</text>' if text else ""


def _tip(text):
    return f"<title>{escape(text)}</title>"


def _columns(box):
    """Letters of the four columns of an open box."""
    table = [cells for cells, _ in box.lines if len(cells) == 4]
    return [max(map(letters, column)) for column in zip(*table)]


def _open_height(box):
    return HEAD + LINE * len(box.lines) + 12


def _size(boxes):
    """Height and width of all boxes in px, so that all texts fit, open or closed: x does not change when one opens."""
    for box in boxes:
        shape = letters(cut(shape_of(box.last), SHAPE))
        title = 34 + LETTER * (letters(cut(box.title)) * NAME / TEXT + 2 + shape)
        what = 34 + LETTER * (letters(cut(box.what, SHORT)) + 2 + NUMBER) + 6 + BAR
        lines = [letters(cells[0]) for cells, _ in box.lines if len(cells) == 1]
        inside = 20 + LETTER * max([sum(_columns(box)) + 6, *lines])
        box.width, box.height = round(max(title, what, inside)), _open_height(box) if box.open else HEAD
    for zone in {box.zone for box in boxes}:  # the layers of one zone are alike
        layers = [box for box in boxes if box.scope and box.zone == zone]
        widest = max((box.width for box in layers), default=0)
        for box in layers:
            box.width = widest
