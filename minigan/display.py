"""Tables as text for a terminal, and the small HTML that a notebook shows in their place (`_repr_html_`).

The HTML is self-contained: no script, no style sheet, nothing is loaded, and it is well-formed XML. Colours are those
of the notebook's theme, made lighter by opacity, so that a dark one is as readable as a light one. Whatever is shown is
escaped: names come from users. This is the lowest layer of the house and imports no other.
"""

import re

import numpy as np

SHOWN = 8  # values of a Tensor along an axis
LARGEST_MAP = 40  # rows or columns of a matrix that is still drawn
SHADES = 20  # of a heat map

_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # characters no XML may hold
_FAINT = 'style="opacity:.65"'
_CODE = 'style="background:none;color:inherit"'  # notebooks paint code otherwise
_GREY = 'stroke="currentColor" stroke-opacity=".3" stroke-width=".1"'


# ---- text ------------------------------------------------------------------------------------------------------------


def text_table(rows, right=(), rule=()):
    """Rows of cells as lines of aligned columns, two blanks apart: a str.

    rows: sequences of equally many cells (whatever ``str`` takes); the first is the head. right: numbers of the columns
    that are aligned right. rule: numbers of the rows that a line of dashes stands above, (1, -1) for one below the head
    and one above the last row. No line ends in blanks. Raises ``ValueError`` for rows of different lengths.

    >>> print(text_table([("layer", "parameters"), ("dense1", 40), ("total", 40)], right=[1], rule=(1, -1)))
    layer   parameters
    ------------------
    dense1          40
    ------------------
    total           40
    """
    rows = _cells(rows)
    widths = [max(map(len, column)) for column in zip(*rows)]
    right = {range(len(widths))[i] for i in right}  # −1 is the last
    lines = [
        "  ".join(c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths))).rstrip()
        for row in rows
    ]
    dashes = "-" * max(map(len, lines), default=0)
    for i in sorted((range(len(lines))[i] for i in rule), reverse=True):
        lines.insert(i, dashes)
    return "\n".join(lines)


def _cells(rows):
    """Rows of str; refuses ragged ones."""
    rows = [[str(cell) for cell in row] for row in rows]
    if len(lengths := {len(row) for row in rows}) > 1:
        raise ValueError(f"rows: expected equally many cells in each, got {' and '.join(map(str, sorted(lengths)))}")
    return rows


# ---- HTML ------------------------------------------------------------------------------------------------------------


def escape(text):
    """``str(text)`` as HTML that shows it; characters that no XML may hold become �."""
    import html  # 2 ms that only a notebook needs

    return html.escape(_NOT_XML.sub("\ufffd", str(text)))


def html_table(rows, head=(), right=(), title=None, note=None):
    """A table as HTML: a str, one element.

    rows: sequences of equally many cells; head: a row of column names, or nothing; right: numbers of the columns that
    are aligned right; title: a line above, note: a line below. All of it is plain text, which is escaped here. Raises
    ``ValueError`` for rows of different lengths, the head included.

    >>> html_table([("a < b", 1)], title="R & D")[:42]
    '<div><div><b>R &amp; D</b></div><table sty'
    """
    rows = _cells([*([head] if head else []), *rows])
    width = len(rows[0]) if rows else 1
    right = {range(width)[i] for i in right}

    def line(row, tag, more=""):
        sides = ["right" if i in right else "left" for i in range(width)]
        style = "padding:.1em .6em;vertical-align:top;border:none" + more
        cells = "".join(f'<{tag} style="text-align:{s};{style}">{escape(c)}</{tag}>' for s, c in zip(sides, row))
        return f"<tr>{cells}</tr>"

    top = f"<thead>{line(rows.pop(0), 'th', ';border-bottom:1px solid')}</thead>" if head else ""
    body = "".join(line(row, "td") for row in rows)
    style = "border-collapse:collapse;margin:.3em 0;font-variant-numeric:tabular-nums"
    return html_block(
        f"<div><b>{escape(title)}</b></div>" if title else "",  # no caption, which would be as narrow as the table
        f'<table style="{style}">{top}<tbody>{body}</tbody></table>',
        f"<div {_FAINT}>{escape(note)}</div>" if note else "",
    )


def html_block(*fragments):
    """HTML fragments one below the other, as one ``<div>``: a str. They are HTML already: nothing is escaped here."""
    return f"<div>{''.join(fragments)}</div>"


def html_tree(name, what, notes=(), children=(), opened=False):
    """A line of a tree, and below it the lines of its children, to be folded away: a str, one element of HTML.

    name, what, notes: plain text, escaped here: printed bold, as code, and faint. children: what `html_tree` returned
    for each. opened: are the children seen at first?
    """
    line = f"<b>{escape(name)}</b> <code {_CODE}>{escape(what)}</code> {_faint(notes)}"
    if not children:
        return f"<div>{line}</div>"
    state = ' open="open"' if opened else ""
    inner = f'<div style="margin-left:1.4em">{"".join(children)}</div>'
    return f'<details{state}><summary style="cursor:pointer">{line}</summary>{inner}</details>'


def _faint(notes):
    return f"<span {_FAINT}>{escape(' · '.join(notes))}</span>"


def heat_map(matrix, title):
    """A matrix of numbers ≥ 0 as a small picture, one square each, the largest in full colour: a str, one element.

    matrix: (n, m), a NumPy array; what is below a fortieth of the largest, or not finite, stays blank. Of one larger
    than 40 × 40, or empty, only the shape is told. title: plain text for the line above.
    """
    n, m = matrix.shape
    caption = f"{title}, {n} × {m}"
    if not 0 < min(n, m) <= max(n, m) <= LARGEST_MAP:
        return f"<div {_FAINT}>{escape(caption)}</div>"
    finite = np.where(np.isfinite(matrix), matrix, 0)
    largest = finite.max()
    shades = (SHADES * (np.maximum(finite, 0) / (largest if largest > 0 else 1))).round()
    paths = []
    for shade in range(1, SHADES + 1):  # a path for all squares of a shade: an element for each would be ten times more
        if squares := "".join(f"M{j} {i}h1v1h-1z" for i, j in zip(*np.nonzero(shades == shade))):
            paths.append(f'<path fill="currentColor" opacity="{shade / SHADES:g}" d="{squares}"/>')
    size = min(16, 240 / max(n, m))
    label = escape(f"{caption}; full colour: {largest:.4g}")
    return (
        f'<div><div {_FAINT}>{label}</div><svg role="img" aria-label="{label}" width="{m * size:g}" '
        f'height="{n * size:g}" viewBox="0 0 {m} {n}" shape-rendering="crispEdges">{"".join(paths)}'
        f'<rect width="{m}" height="{n}" fill="none" {_GREY}/></svg></div>'
    )


# ---- Tensors ---------------------------------------------------------------------------------------------------------


def tensor_html(tensor):
    """What a notebook shows of a Tensor: what it is and who made it, its statistics, its gradient's norm, some values.

    The values are the first 8 × 8; of more than two axes, those of the last two that are longer than 1, at index 0 of
    the others. Statistics are of the finite values. Copies the values to the host: waits for the device.
    """
    values = tensor.numpy()
    size = "1 value" if values.size == 1 else f"{values.size:,} values"
    notes = [f"shape {tuple(values.shape)}", size, str(values.dtype), tensor.device, _made(tensor)]
    parts = [f"<div><b>{escape(tensor.name or 'tensor')}</b> {_faint(notes)}</div>"]
    if values.size:
        parts += [_statistics(tensor, values), _corner(values)]
    return html_block(*parts)


def _made(tensor):
    """Where a Tensor comes from, in words."""
    node = tensor.node
    if node is None or (node.op is None and node.tensor is None):  # the latter: a gradient that depends on nothing
        return "constant"
    if node.op is None:
        return "leaf, requires a gradient"
    origin = f", a derivative of {node.origin.op.name}" if node.origin else ""
    return f"made by {node.op.name}" + (f" in {node.scope}" if node.scope else "") + origin


def _statistics(tensor, values):
    """A table of one row."""
    finite = values[np.isfinite(values)]
    broken = values.size - finite.size
    with np.errstate(over="ignore"):
        known = [finite.min(), finite.max(), finite.mean(dtype=np.float64)] if finite.size else []
        slope = None if tensor.grad is None else np.linalg.norm(tensor.grad.numpy().astype(np.float64))
    numbers = dict(zip(["min", "max", "mean"], map(_number, known)))
    numbers["zeros"] = f"{100 * np.count_nonzero(values == 0) / values.size:.3g} %"
    numbers["not finite"] = f"{broken:,}"
    numbers["‖gradient‖"] = "none" if slope is None else _number(slope)
    note = "min, max and mean are those of the finite values" if broken and known else None
    return html_table([numbers.values()], list(numbers), range(len(numbers)), note=note)


def _corner(values):
    """A table of the first values, … for those left out."""
    axes = range(values.ndim)
    if values.ndim > 2:  # (n, h, w, 1) → (h, w): an image rather than the first column of one
        axes = [i for i in axes if values.shape[i] > 1][-2:]
    where = [slice(None) if i in axes else 0 for i in range(values.ndim)]
    plane = np.atleast_2d(values[tuple(where)])
    rows = [[_number(x) for x in row[:SHOWN]] + ["…"] * (plane.shape[1] > SHOWN) for row in plane[:SHOWN]]
    if len(plane) > SHOWN:
        rows.append(["…"] * len(rows[0]))
    words = ", ".join("0" if i == 0 else ":" for i in where)
    return html_table(rows, right=range(len(rows[0])), title=f"[{words}]" if values.ndim > 2 else None)


def _number(x):
    """Four significant digits of a NumPy float, all of anything else."""
    return f"{x:.4g}" if x.dtype.kind == "f" else str(x)
