"""Where boxes and edges of a graph stand in a picture, by one rule (Sugiyama, Tagawa & Toda 1981).

The row of a box is the length of the longest way to it, so every edge points down. An edge that passes by other rows
keeps a lane free in each. In a row the boxes and lanes stand in the order of the barycentres of their neighbours above.
Their x then come as near to those of their neighbours as that order allows, which is isotonic regression. The y of a
row is the sum of the heights above it:

    top of row r = head + Σ (height of row s + GAP) over s < r,    height of a row = that of its highest box

so that a box that opens moves what is below and nothing else: drawing.js does that in a browser, by the formulas of
`row_tops` and `curve`.
"""

MARGIN, GAP, BETWEEN, ZONES, LANE = 24, 36, 22, 56, 8  # px: around, between rows, boxes and zones; width of a lane
PORTS, SWEEPS, FAR = 14, 12, 1e6  # px between edges of a box; of the search for x; beyond all x


class Place:
    """Where something stands: ``row``, ``zone`` (zone 1 is to the right of zone 0), centre ``x`` and ``width`` in px;
    the places ``above`` and ``below`` that it is joined to; ``pull``: how much the others mind it.
    """

    pull = 4.0  # of a lane: it should be straight

    def __init__(self, zone, width=LANE, row=0):
        self.row, self.zone, self.width, self.x = row, zone, width, 0.0
        self.above, self.below = [], []


class Edge:
    """From the box ``source`` to ``target``, one that uses its results. ``pairs``: of (user, used), their ``seq``;
    ``norm``: of the gradient sent back along it, None if none was; ``way``: the places it passes, both boxes included;
    ``xs``: where, in px.
    """

    def __init__(self, source, target):
        self.source, self.target, self.pairs, self.norm = source, target, [], None
        self.way, self.xs = [], []


def place_boxes(boxes, edges):
    """Row, order and x of all boxes, the xs of all edges. ``boxes``: such that edges lead from earlier to later ones.

    A box is a `Place` with the edges ``into`` it and ``out`` of it; ``leaf``: does it only feed the others?
    """
    _find_rows(boxes, edges)
    places = boxes + _lanes(edges)
    rows = [[] for _ in range(1 + max(p.row for p in places))]
    for p in places:
        rows[p.row].append(p)
    zones = [[[p for p in row if p.zone == zone] for row in rows] for zone in sorted({p.zone for p in places})]
    for row in range(len(rows)):
        for zone in zones:
            zone[row].sort(key=_barycentre)
            _fit(zone[row], "above")
    for zone in zones * SWEEPS:
        for row in reversed(zone):
            _fit(row, "below")
        for row in zone:
            _fit(row, "above")
    _put_side_by_side(zones)
    _find_ports(boxes, edges)


def _find_rows(boxes, edges):
    """The length of the longest way to each box. A leaf, to which none leads, comes just above its first user."""
    for edge in edges:
        edge.target.row = max(edge.target.row, edge.source.row + 1)
    for box in boxes:
        below = [edge.target.row for edge in box.out] if box.leaf else ()
        box.row = min(below) - 1 if below else box.row


def _lanes(edges):
    """A place in each row that an edge passes by; joins all that are neighbours."""
    lanes = []
    for edge in edges:
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
        heft = sum(q.pull for q in near)
        wanted = sum(q.pull * q.x for q in near) / heft if near else p.x
        blocks.append([p.pull * (wanted - at), p.pull, 1])
        offsets.append(at)
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] >= blocks[-1][0] * blocks[-2][1]:
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last)]
    shifts = [total / weight for total, weight, n in blocks for _ in range(n)]
    for p, offset, shift in zip(places, offsets, shifts):
        p.x = offset + shift


def _put_side_by_side(zones):
    """Move each zone as far left as it may go, to the right of those before it in each of its rows."""
    edge = [MARGIN - ZONES] * len(zones[0])  # the right edge of what stands there, row by row
    for zone in zones:
        shift = max(edge[row] + ZONES - places[0].x + places[0].width / 2 for row, places in enumerate(zone) if places)
        for row, places in enumerate(zone):
            for p in places:
                p.x = round(p.x + shift, 1)
                edge[row] = p.x + p.width / 2


def _find_ports(boxes, edges):
    """The xs of every edge. It ends as near below what it comes from as its box allows, and begins as near above."""
    for edge in edges:
        edge.xs = [p.x for p in edge.way]
    for box in boxes:
        _spread(box, box.into, -1, lambda edge: edge.way[-2].x)
    for box in boxes:
        _spread(box, box.out, 0, lambda edge: edge.xs[1])


def _spread(box, edges, end, wanted):
    """The ends of the edges on one side of a box: in the middle half of it, side by side."""
    edges, room = sorted(edges, key=wanted), box.width / 4
    step = min(PORTS, 2 * room / max(1, len(edges) - 1))
    x = box.x - room - step
    for i, edge in enumerate(edges):
        most = box.x + room - step * (len(edges) - 1 - i)
        x = edge.xs[end] = round(min(max(wanted(edge), x + step), most), 1)


def row_tops(boxes, y):
    """([the y of each row], the y below the last): the heights above it, added up."""
    heights = [0] * (1 + max(box.row for box in boxes))
    for box in boxes:
        heights[box.row] = max(heights[box.row], box.height)
    tops = []
    for height in heights:
        tops.append(y)
        y += height + GAP
    return tops, y


def curve(edge, xs, tops):
    """Straight down through each row, bent only in the gaps between rows, where no box is."""
    d = f"M{xs[0]},{tops[edge.source.row] + edge.source.height}"
    for a, b, top in zip(xs, xs[1:], tops[edge.source.row + 1 :]):
        d += f"V{top - GAP}C{a},{top - GAP // 2} {b},{top - GAP // 2} {b},{top}"
    return d
