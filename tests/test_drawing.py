"""The picture of a tape: what is in which box, where the boxes stand, what is said, and that the script agrees.

The file is read back as XML. Positions are recomputed from what the file says of heights and rows, and the script is
run by node, where there is one, under a document of a few lines.
"""

import json
import math
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

import minigan as mg
from minigan.inspect import boxes as boxes_module
from minigan.inspect import drawing, layout
from minigan.inspect.boxes import Graph, cut, letters
from minigan.inspect.drawing import draw
from minigan.models import dcgan_discriminator, dcgan_generator

SVG = "{http://www.w3.org/2000/svg}"
GAP = layout.GAP


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


# ---- tapes to draw -------------------------------------------------------------------------------------


def discriminator_step():
    D, G = dcgan_discriminator(4), dcgan_generator(channels=4)
    objective = mg.objectives.get("non_saturating")
    with mg.no_grad():
        fake = G(noise(2, 100))
    with mg.inspect.tape() as t:
        objective.discriminator_loss(D(noise(2, 28, 28, 1)), D(fake)).backward()
    return t


def generator_step():
    D, G = dcgan_discriminator(4), dcgan_generator(channels=4)
    with mg.inspect.tape() as t:
        fake = G(noise(2, 100))
        with D.frozen():
            mg.objectives.get("non_saturating").generator_loss(D(fake)).backward()
    return t


def critic_step():
    """WGAN-GP: pass 1 differentiates by the input and is recorded, pass 2 goes through it."""
    D = dcgan_discriminator(4, batch_norm=False)
    real, fake = noise(2, 28, 28, 1), noise(2, 28, 28, 1, seed=1)
    with mg.inspect.tape() as t:
        penalty = mg.objectives.gradient_penalty(D, real, fake, np.full((2, 1, 1, 1), 0.5, "float32"))
        (mg.mean(D(fake)) - mg.mean(D(real)) + 10.0 * penalty).backward()
    return t


def dead_mlp():
    """The fourth relu gives nothing but zeros; the layers behind it have biases, so that the signal goes on."""
    net = mg.nn.Sequential(*(layer for _ in range(8) for layer in (mg.nn.Dense(8, 8), mg.nn.ReLU()))).named("net")
    for name, p in net.named_parameters():
        if name.endswith("bias"):
            p.assign(np.full_like(p.data, -100.0 if name == "dense4.bias" else 1.0))
    with mg.inspect.tape() as t:
        mg.mean(net(noise(5, 8))).backward()
    return t


def hessian():
    x = mg.tensor([1.0, 2.0, 3.0], requires_grad=True, name="x")
    with mg.inspect.tape() as t:
        (g,) = mg.grad(mg.sum(mg.tanh(x) * x), [x], create_graph=True)
        (h,) = mg.grad(mg.sum(g * g), [x], create_graph=True)
        mg.sum(h * h).backward()
    return t


def residual():
    """Without layers: named weights, skips over several rows."""
    weights = [mg.tensor(noise(4, 4, seed=i) / 2, requires_grad=True, name=f"w{i}") for i in range(4)]
    with mg.inspect.tape() as t:
        h = first = mg.tanh(mg.matmul(mg.tensor(noise(3, 4)), weights[0]))
        for w in weights[1:]:
            h = mg.tanh(h @ w) + first
        mg.sum(h * h).backward()
    return t


TAPES = [discriminator_step, generator_step, critic_step, dead_mlp, hessian, residual]


# ---- the file read back --------------------------------------------------------------------------------


class Read:
    """A drawing as it is in the file."""

    def __init__(self, path):
        self.text = Path(path).read_text(encoding="utf-8")
        self.root = ET.fromstring(self.text)
        self.boxes = [ReadBox(g) for g in self.root.iter(f"{SVG}g") if g.get("class") == "box"]
        self.edges = [p for p in self.root.iter(f"{SVG}path") if p.get("class") == "edge"]
        self.words = " ".join("".join(e.itertext()) for e in self.root.iter(f"{SVG}text"))

    def pairs(self):
        return sorted((int(e.get("data-from")), int(e.get("data-to"))) for e in self.edges)

    def called(self, title):
        return [b for b in self.boxes if b.title == title]


class ReadBox:
    def __init__(self, g):
        self.g, self.row, self.state = g, int(g.get("data-row")), g.get("data-state")
        self.order, self.nodes = int(g.get("data-order")), set(map(int, g.get("data-nodes").split()))
        self.left, self.top = map(float, re.fullmatch(r"translate\((.*),(.*)\)", g.get("transform")).groups())
        frame = next(e for e in g if e.get("class") == "frame")
        self.width, self.height = float(frame.get("width")), float(frame.get("height"))
        self.stroke, self.fill, self.opacity = frame.get("stroke"), frame.get("fill"), frame.get("opacity")
        self.dashed = frame.get("stroke-dasharray") is not None
        head = next(e for e in g if e.get("class") == "head")
        body = next(e for e in g if e.get("class") == "body")
        self.head = [t.text for t in head.iter(f"{SVG}text")]
        self.body = [t.text for t in body.iter(f"{SVG}text")]
        self.title, self.open = self.head[0], body.get("display") == "inline"
        self.texts = [t.text for t in g.iter(f"{SVG}text")]
        self.tip = g.find(f"{SVG}title").text


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """{name of a tape: (the tape, as drawn closed, as drawn open)}."""
    folder, found = tmp_path_factory.mktemp("drawings"), {}
    for make in TAPES:
        t = make()
        closed = Read(draw(t, folder / f"{make.__name__}.svg"))
        found[make.__name__] = t, closed, Read(draw(t, folder / f"{make.__name__}_open.svg", opened=True))
    return found


@pytest.fixture(params=[make.__name__ for make in TAPES])
def picture(request, pictures):
    return pictures[request.param]


# ---- boxes ---------------------------------------------------------------------------------------------


LAYERS = ["D.conv1", "D.leakyrelu1", "D.conv2", "D.batchnorm1", "D.leakyrelu2", "D.flatten1", "D.dense1"]


def test_a_discriminators_step_has_two_boxes_for_each_layer_and_three_for_the_loss(pictures):
    _, read, _ = pictures["discriminator_step"]
    titles = [b.title for b in read.boxes]
    assert sorted(titles) == sorted(2 * LAYERS + 2 * ["part of the loss"] + ["loss"])
    assert [b.head[2] for b in read.called("part of the loss")] == ["negative → softplus → mean", "softplus → mean"]
    assert len(read.edges) == len(read.boxes) - 1  # two chains that meet


def test_a_generators_step_is_one_chain(pictures):
    _, read, _ = pictures["generator_step"]
    assert [b.row for b in read.boxes] == list(range(len(read.boxes)))
    assert read.boxes[0].title == "G.dense1" and read.boxes[-1].title == "loss"


def test_each_entry_is_in_exactly_one_box(picture):
    t, read, _ = picture
    nodes = [n for b in read.boxes for n in b.nodes]
    assert len(nodes) == len(set(nodes))
    assert set(nodes) == t.passes[-1].reached


def test_a_box_has_ops_of_one_layer_and_one_order(picture):
    t, read, _ = picture
    for b in read.boxes:
        ops = [t.entries[n] for n in b.nodes if t.entries[n].op != "leaf"]
        assert len({(e.scope, e.order) for e in ops}) <= 1
        if ops and ops[0].scope:
            assert b.title == ops[0].scope and b.order == ops[0].order


def test_edges_are_the_parents_between_boxes(picture):
    t, read, _ = picture
    home = {n: i for i, b in enumerate(read.boxes) for n in b.nodes}
    layered = {p for n in home for p in t.entries[n].parents if t.entries[n].scope}
    own = {n for n in home if t.entries[n].op == "leaf" and "." in (t.entries[n].name or "") and n in layered}
    pairs = {(home[p], home[n]) for n in home for p in t.entries[n].parents if p in home and p not in own}
    assert read.pairs() == sorted((a, b) for a, b in pairs if a != b)


def test_a_chain_outside_layers_ends_where_it_branches(tmp_path):
    x = mg.tensor([1.0, 2.0], requires_grad=True, name="x")
    with mg.inspect.tape() as t:
        y = mg.tanh(mg.exp(x))
        mg.sum(mg.sigmoid(y) + y).backward()
    read = Read(draw(t, tmp_path / "a.svg"))
    assert [b.title for b in read.boxes] == ["x", "exp → tanh", "sigmoid", "add → sum"]


def test_a_named_result_ends_a_chain_and_is_the_title(tmp_path):
    x = mg.tensor([1.0, 2.0], requires_grad=True, name="x")
    with mg.inspect.tape() as t:
        y = mg.tanh(mg.exp(x))
        y.name = "features"
        mg.sum(mg.square(y)).backward()
    read = Read(draw(t, tmp_path / "a.svg"))
    assert [b.title for b in read.boxes] == ["x", "features", "square → sum"]
    assert read.boxes[1].head[2] == "exp → tanh"


def test_a_long_chain_is_cut_into_boxes(tmp_path):
    x = mg.tensor([1.0, 2.0], requires_grad=True, name="x")
    with mg.inspect.tape() as t:
        y = x
        for _ in range(20):
            y = mg.tanh(y)
        mg.sum(y).backward()
    read = Read(draw(t, tmp_path / "a.svg"))
    assert [len(b.nodes) for b in read.boxes] == [1, 8, 8, 5]


def test_two_calls_of_a_single_layer_straight_after_one_another_are_two_boxes(tmp_path):
    D = mg.nn.Dense(3, 1).named("D")
    with mg.inspect.tape() as t:
        real, fake = D(mg.tensor(noise(2, 3))), D(mg.tensor(noise(2, 3, seed=1)))
        (mg.mean(real) - mg.mean(fake)).backward()
    read = Read(draw(t, tmp_path / "a.svg", opened="D"))
    first, second = read.called("D")
    weight = t["D.weight"].seq
    assert weight in first.nodes and weight not in second.nodes
    for b in (first, second):  # listed in both
        row = b.body.index("weight")
        assert b.body[row : row + 4] == [
            "weight",
            "3×1",
            f"{t['D.weight'].stats().norm:.3g}",
            f"{t['D.weight'].stats(1).norm:.3g}",
        ]


def test_ops_of_a_layer_that_belong_together_are_one_box(tmp_path):
    class Block(mg.nn.Module):
        def forward(self, x):
            return mg.tanh(x) * mg.sigmoid(x) + x

    x = mg.tensor(noise(2, 3), requires_grad=True, name="x")
    with mg.inspect.tape() as t:
        mg.mean(Block("B")(x)).backward()
    read = Read(draw(t, tmp_path / "a.svg"))
    assert [b.title for b in read.boxes] == ["x", "B", "loss"]
    assert len(read.called("B")[0].nodes) == 4


def test_a_penalty_on_weights_lists_them_and_draws_no_edge_from_their_layer(tmp_path):
    D = mg.nn.Dense(3, 1).named("D")
    with mg.inspect.tape() as t:
        (mg.mean(D(mg.tensor(noise(2, 3)))) + mg.sum(mg.square(D.weight))).backward()
    read = Read(draw(t, tmp_path / "a.svg", opened=True))
    (penalty,) = read.called("square → sum")
    assert "D.weight" in penalty.body
    assert all(read.boxes[b] is not penalty for _, b in read.pairs())


# ---- double backward -----------------------------------------------------------------------------------


def test_the_penaltys_layers_appear_in_both_orders_in_their_colours(pictures):
    t, read, _ = pictures["critic_step"]
    orders = [b.order for b in read.called("D.conv1")]
    assert sorted(orders) == [0, 0, 1]
    for b in read.boxes:
        assert (b.stroke, b.fill) == drawing.COLOURS[b.order]
        assert {t.entries[n].order for n in b.nodes if t.entries[n].op != "leaf"} == {b.order}
    (derivative,) = [b for b in read.called("D.conv1") if b.order == 1]
    assert derivative.head[2] == "conv_transpose · VJP of conv"
    assert "forward pass" in read.words and "first derivative" in read.words and "second" not in read.words


def test_a_layer_and_its_derivative_straight_after_it_are_two_boxes(tmp_path):
    class Block(mg.nn.Module):
        def forward(self, x):
            return mg.tanh(x)

    x = mg.tensor(noise(2, 3), requires_grad=True, name="x")
    with mg.inspect.tape() as t:
        y = Block("B")(x)
        (g,) = mg.grad(y, [x], grad_outputs=mg.tensor(noise(2, 3)), create_graph=True)
        mg.sum(g).backward()
    read = Read(draw(t, tmp_path / "a.svg"))
    assert [b.order for b in read.called("B")] == [0, 1]


def test_three_orders(pictures):
    _, read, _ = pictures["hessian"]
    assert {b.order for b in read.boxes} == {0, 1, 2}
    assert "second derivative" in read.words
    assert len({colour for colour, _ in drawing.COLOURS[:3]}) == 3


def test_higher_orders_stand_to_the_right_in_every_row(picture):
    _, read, _ = picture
    for a in read.boxes:
        for b in read.boxes:
            if a.row == b.row and a.order < b.order:
                assert a.left + a.width + layout.ZONES <= b.left + 0.1


def test_any_pass_can_be_drawn(tmp_path, pictures):
    t, last, _ = pictures["critic_step"]
    read = Read(draw(t, tmp_path / "first.svg", number=1))
    assert {n for b in read.boxes for n in b.nodes} == t.passes[0].reached
    assert {b.order for b in read.boxes} == {0}
    assert read.boxes[-1].title == "output" and last.boxes[-1].title == "loss"
    assert "pass 1 of 2" in read.words and "pass 2 of 2" in last.words
    for wrong in (0, 3, 1.0, True):
        with pytest.raises(ValueError, match=r"pass 3|number"):
            draw(t, tmp_path / "no.svg", number=wrong)


# ---- where things stand --------------------------------------------------------------------------------


def both(picture):
    return picture[1:]


def test_no_boxes_overlap(picture):
    for read in both(picture):
        width = float(read.root.get("width"))
        for i, a in enumerate(read.boxes):
            assert a.left >= 0 and a.left + a.width <= width
            for b in read.boxes[:i]:
                apart = a.left + a.width < b.left or b.left + b.width < a.left
                assert apart or a.top + a.height < b.top or b.top + b.height < a.top


def test_a_row_is_the_longest_way_and_edges_point_down(picture):
    for read in both(picture):
        above = {i: [a for a, b in read.pairs() if b == i] for i in range(len(read.boxes))}
        for i, b in enumerate(read.boxes):
            rows = [read.boxes[a].row for a in above[i]]
            assert all(row < b.row for row in rows)
            if rows:
                assert b.row == max(rows) + 1
            elif "leaf" in b.head:  # just above its first user
                assert b.row == min(read.boxes[u].row for a, u in read.pairs() if a == i) - 1
            else:
                assert b.row == 0


def test_y_is_the_sum_of_the_heights_above(picture):
    for read in both(picture):
        heights = {}
        for b in read.boxes:
            heights[b.row] = max(heights.get(b.row, 0), b.height)
        y = float(read.root.get("data-top"))
        for row in range(len(heights)):
            assert {b.top for b in read.boxes if b.row == row} == {y}
            y += heights[row] + GAP
        assert float(read.root.get("height")) == y


def test_edges_begin_and_end_at_their_boxes_and_cross_no_other(picture):
    for read in both(picture):
        for e in read.edges:
            source, target = read.boxes[int(e.get("data-from"))], read.boxes[int(e.get("data-to"))]
            points = [tuple(map(float, p)) for p in re.findall(r"([\d.]+),([\d.]+)", e.get("d"))]
            (x0, y0), (x1, y1) = points[0], points[-1]
            assert source.left < x0 < source.left + source.width and y0 == source.top + source.height
            assert target.left < x1 < target.left + target.width and y1 == target.top
            lanes = zip(map(float, e.get("data-xs").split()), range(source.row, target.row + 1))
            for x, row in list(lanes)[1:-1]:  # straight through the rows between, at a distance from all boxes
                assert layout.MARGIN < x < float(read.root.get("width")) - layout.MARGIN
                away = [max(b.left - x, x - b.left - b.width) for b in read.boxes if b.row == row]
                assert min(away) >= layout.BETWEEN


def test_a_chain_is_straight(pictures):
    for name in ("generator_step", "dead_mlp"):
        _, read, _ = pictures[name]
        assert len({round(b.left + b.width / 2) for b in read.boxes}) == 1
        assert all(len(set(e.get("data-xs").split())) == 1 for e in read.edges)


def test_texts_fit_their_boxes(picture):
    for read in both(picture):
        for b in read.boxes:
            for text in b.g.iter(f"{SVG}text"):
                size = float(text.get("font-size", drawing.TEXT))
                wide = 0.6 * size * letters(text.text)
                x = float(text.get("x"))
                x -= {"end": wide, "middle": wide / 2}.get(text.get("text-anchor"), 0)
                assert x > 0 and x + wide < b.width, text.text


def test_texts_of_one_line_do_not_touch(picture):
    for read in both(picture):
        for b in read.boxes:
            lines = {}
            for text in b.g.iter(f"{SVG}text"):
                wide = 0.6 * float(text.get("font-size", drawing.TEXT)) * letters(text.text)
                x = float(text.get("x"))
                x -= {"end": wide, "middle": wide / 2}.get(text.get("text-anchor"), 0)
                lines.setdefault(float(text.get("y")), []).append((x, x + wide))
            for spans in map(sorted, lines.values()):
                assert all(a[1] < b[0] for a, b in zip(spans, spans[1:]))


def test_the_fit_is_the_least_squares_solution():
    """Against the definition: feasible, and no feasible step makes it better."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        n = rng.integers(1, 7)
        places = [layout.Place(0, width=float(w)) for w in rng.uniform(5, 50, n)]
        wanted = rng.uniform(-100, 100, n)
        for p, x in zip(places, wanted):
            above = layout.Place(0)
            above.x = float(x)
            p.above = [above]
            p.pull = float(rng.uniform(0.5, 3))
        layout._fit(places, "above")
        least = np.array([(a.width + b.width) / 2 + layout.BETWEEN for a, b in zip(places, places[1:])])
        x, pull = np.array([p.x for p in places]), np.array([p.pull for p in places])
        assert np.all(np.diff(x) >= least - 1e-9)
        best = np.sum(pull * (x - wanted) ** 2)
        for _ in range(200):
            other = x + rng.normal(0, 3, n)
            if np.all(np.diff(other) >= least):
                assert np.sum(pull * (other - wanted) ** 2) >= best - 1e-9


# ---- what is said --------------------------------------------------------------------------------------


def test_a_closed_box_says_layer_op_shape_and_norm(pictures):
    t, read, _ = pictures["generator_step"]
    (b,) = read.called("D.conv2")
    assert b.head == ["D.conv2", "2×7×7×8", "conv", f"{t['D.conv2'].stats(1).norm:.3g}"]
    assert not b.open


def test_an_open_box_lists_ops_and_parameters(pictures):
    t, _, read = pictures["discriminator_step"]
    b = read.called("D.batchnorm1")[0]
    e, gamma = t["D.batchnorm1", 0], t["D.batchnorm1.gamma"]
    assert b.open
    assert b.body[4:8] == ["batch_norm", "2×7×7×8", f"{e.stats().norm:.3g}", f"{e.stats(1).norm:.3g}"]
    assert b.body[8:11] == [f"  {part.strip()}" for part in e.formula.split(",  ")]
    assert b.body[11] == f"  at {e.line}"
    at = b.body.index("gamma")
    assert b.body[at : at + 4] == ["gamma", "8", f"{gamma.stats().norm:.3g}", f"{gamma.stats(1).norm:.3g}"]


def test_the_chain_of_a_loss_lists_each_op(pictures):
    _, _, read = pictures["discriminator_step"]
    b = read.called("part of the loss")[0]
    assert [text for text in b.body if text in ("negative", "softplus", "mean")] == ["negative", "softplus", "mean"]


def test_the_tooltip_shows_the_users_line(pictures):
    t, read, _ = pictures["generator_step"]
    (b,) = read.called("G.dense1")
    assert "test_drawing.py:" in b.tip and "fake = G(noise(2, 100))" in b.tip
    assert str(Path(__file__).parent) not in read.text  # no path of this machine in a file that is shown around


def test_the_caption_says_which_pass_and_which_way(pictures, tmp_path):
    t, read, _ = pictures["critic_step"]
    for words in ("Data flows down", "the gradient flows up", "backward pass 2"):
        assert words in read.words
    titled = Read(draw(t, tmp_path / "a.svg", title="A <critic> & its penalty"))
    assert (
        "A <critic> & its penalty" in titled.words
        and "backward pass 2 of 2, asked for at test_drawing.py" in titled.words
    )
    assert titled.root.find(f"{SVG}title").text == "A <critic> & its penalty"


def test_bars_and_edges_grow_with_the_logarithm_of_the_norm(tmp_path):
    x = mg.tensor(np.float64(1.0), requires_grad=True, name="x")
    with mg.inspect.tape() as t:
        y = x
        for i in range(4):
            y = y * 10.0
            y.name = f"y{i}"
        y.backward()
    read = Read(draw(t, tmp_path / "a.svg"))
    bars = {
        b.title: float(next(r for r in b.g.iter(f"{SVG}rect") if r.get("class") == "bar").get("width"))
        for b in read.boxes
    }
    steps = np.diff([bars[k] for k in ("y3", "y2", "y1", "y0", "x")])
    assert bars["x"] == drawing.BAR and np.allclose(steps, steps[0], atol=0.11) and steps[0] > 5
    widths = np.diff([float(e.get("stroke-width")) for e in read.edges])
    assert np.all(widths < 0) and np.allclose(widths, widths[0], atol=0.02)


def test_an_edges_norm_is_of_all_that_was_sent_along_it(pictures):
    t, read, _ = pictures["generator_step"]
    (i,) = [i for i, b in enumerate(read.boxes) if b.title == "D.conv2"]
    (edge,) = [e for e in read.edges if int(e.get("data-to")) == i]
    sent = t.sent(1, t["D.conv2"].seq, t["D.leakyrelu1"].seq)
    assert edge.find(f"{SVG}title").text == f"D.leakyrelu1 → D.conv2\n‖gradient sent back‖ = {sent:.3g}"


# ---- trouble -------------------------------------------------------------------------------------------


def test_where_the_gradient_dies(pictures):
    _, read, _ = pictures["dead_mlp"]
    states = {b.title: b.state for b in read.boxes}
    assert [title for title, state in states.items() if state == "dies"] == ["net.relu4"]
    before = [f"net.{kind}{i}" for i in range(1, 5) for kind in ("dense", "relu")][:-1]
    assert {states[title] for title in before} == {"zero"}
    (dead,) = read.called("net.relu4")
    assert dead.stroke == drawing.RED[0] and "dies" in dead.texts and "the gradient dies here" in dead.tip
    assert all((b.opacity is not None) == (b.state == "zero") for b in read.boxes)
    assert "gradient dies" in read.words and "exactly 0" in read.words


def test_nothing_dies_where_nothing_does(pictures):
    for name, (_, read, _) in pictures.items():
        if name != "dead_mlp":
            assert {b.state for b in read.boxes} == {""}
            assert "dies" not in read.words and drawing.RED[0] not in {b.stroke for b in read.boxes}


def test_where_the_signal_died_before_the_gradient(tmp_path):
    """Without biases all behind the dead relu is 0: the gradient ends at the last relu, the fourth is to blame."""
    net = mg.nn.Sequential(*(layer for _ in range(6) for layer in (mg.nn.Dense(8, 8), mg.nn.ReLU()))).named("net")
    for name, p in net.named_parameters():
        if name == "dense4.bias":
            p.assign(np.full_like(p.data, -100.0))
    with mg.inspect.tape() as t:
        mg.mean((net(noise(5, 8)) - 1) ** 2).backward()
    states = {b.title: b.state for b in Read(draw(t, tmp_path / "a.svg")).boxes}
    assert states["net.relu6"] == "dies" and states["net.relu4"] == "signal dies"
    assert sum(state in ("dies", "signal dies") for state in states.values()) == 2


def test_zero_weights_let_the_gradient_die_though_they_learn(tmp_path):
    net = mg.nn.Sequential(mg.nn.Dense(3, 3), mg.nn.Dense(3, 1)).named("net")
    net._children["dense2"].weight.assign(np.zeros((3, 1), "float32"))
    with mg.inspect.tape() as t:
        mg.mean(net(noise(2, 3))).backward()
    states = {b.title: b.state for b in Read(draw(t, tmp_path / "a.svg")).boxes}
    assert states == {"net.dense1": "zero", "net.dense2": "dies", "loss": ""}


def test_zero_weights_outside_layers_likewise(tmp_path):
    v, w = (
        mg.tensor(a, requires_grad=True, name=n) for n, a in (("v", noise(3, 3)), ("w", np.zeros((3, 1), "float32")))
    )
    with mg.inspect.tape() as t:
        mg.mean((mg.tensor(noise(2, 3)) @ v) @ w).backward()
    states = [(b.title, b.state) for b in Read(draw(t, tmp_path / "a.svg")).boxes]
    assert sorted(states) == [("matmul", "zero"), ("matmul → mean", "dies"), ("v", "zero"), ("w", "")]


def test_a_gradient_that_goes_on_to_one_input_lives(tmp_path):
    x, y = (mg.tensor(a, requires_grad=True, name=n) for n, a in (("x", [1.0, 2.0]), ("y", [0.0, 0.0])))
    with mg.inspect.tape() as t:
        mg.sum(mg.tanh(x) * mg.tanh(y)).backward()  # by x it is tanh y = 0, by y it is not
    states = {b.title: b.state for b in Read(draw(t, tmp_path / "a.svg")).boxes}
    assert states["x"] == "zero" and states["y"] == "" and states["multiply → sum"] == ""


def test_what_is_not_finite_is_red(tmp_path):
    x = mg.tensor([0.0, 1.0], requires_grad=True, name="x")
    with np.errstate(all="ignore"), mg.inspect.tape() as t:
        y = mg.log(x)
        y.name = "y"
        mg.sum(y * 2.0).backward()
    read = Read(draw(t, tmp_path / "a.svg"))
    states = {b.title: b.state for b in read.boxes}
    assert states["x"] == states["y"] == "not finite"
    assert read.called("y")[0].fill == drawing.RED[1] and "not finite" in read.called("y")[0].texts
    assert [e.get("stroke") for e in read.edges][0] == drawing.RED[0]


def test_infinities_that_cancel_warn_of_nothing(tmp_path, recwarn):
    x = mg.tensor([0.0], requires_grad=True, name="x")
    with np.errstate(all="ignore"), mg.inspect.tape() as t:
        mg.sum(mg.log(x - x)).backward()
    draw(t, tmp_path / "a.svg")
    assert [str(w.message) for w in recwarn] == []


def test_where_no_gradient_was_asked_for(tmp_path):
    net = mg.nn.Sequential(mg.nn.Dense(3, 3), mg.nn.Tanh(), mg.nn.Dense(3, 1)).named("net")
    with mg.inspect.tape() as t:
        mg.grad(mg.sum(net(noise(2, 3))), [net._children["dense2"].weight])
    read = Read(draw(t, tmp_path / "a.svg"))
    assert {b.title: b.state for b in read.boxes} == {
        "net.dense1": "none",
        "net.tanh1": "none",
        "net.dense2": "",
        "loss": "",
    }
    assert all(b.dashed == (b.state == "none") for b in read.boxes)
    assert "no gradient computed" in read.words


def test_a_tape_without_a_pass_shows_values(tmp_path):
    net = mg.nn.Sequential(mg.nn.Dense(3, 3), mg.nn.Tanh()).named("net")
    with mg.inspect.tape() as t:
        mg.mean(net(noise(2, 3)))
    read = Read(draw(t, tmp_path / "a.svg"))
    assert [b.title for b in read.boxes] == ["net.dense1", "net.tanh1", "loss"]
    assert read.boxes[0].head[-1] == f"{t['net.dense1'].stats().norm:.3g}"
    assert {n for b in read.boxes for n in b.nodes} == set(t.entries)
    assert "No backward pass yet" in read.words and "gradient flows" not in read.words


# ---- names ---------------------------------------------------------------------------------------------


def test_names_are_escaped_and_cut(tmp_path):
    name = '<b onclick="x">&\'"D"\x07\ud800 判别器 ]]> ' + "long " * 20
    net = mg.nn.Sequential(mg.nn.Dense(3, 3), mg.nn.Dense(3, 1)).named(name)
    with mg.inspect.tape() as t:
        mg.mean(net(noise(2, 3))).backward()
    read = Read(draw(t, tmp_path / "a.svg", opened=True, title=name))
    assert len(read.boxes) == 3
    assert read.boxes[0].title.endswith("long .dense1") and read.boxes[0].title.startswith(
        "…"
    )  # the end tells layers apart
    assert letters(read.boxes[0].title) <= boxes_module.WIDEST
    assert "判别器" in read.boxes[0].tip and "\ufffd" in read.boxes[0].tip


def test_letters():
    assert letters("x̄ = ȳ wᵀ") == 8
    assert letters("判别器") == 6
    assert cut("abcdef", 6) == "abcdef" and cut("abcdefg", 6) == "abcde…" and cut("abcdefg", 6, front=True) == "…cdefg"
    assert cut("判别器判", 6) == "判别…" and cut("a\nb") == "a b"


# ---- opening -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("opened", "titles"),
    [
        (False, []),
        ("D.conv1", ["D.conv1", "D.conv1"]),
        (["D.conv1", "loss"], ["D.conv1", "D.conv1", "loss"]),
        ({"D"}, 2 * LAYERS),
        ((), []),
    ],
)
def test_boxes_that_are_open_from_the_start(pictures, tmp_path, opened, titles):
    read = Read(draw(pictures["discriminator_step"][0], tmp_path / "a.svg", opened=opened))
    assert sorted(b.title for b in read.boxes if b.open) == sorted(titles)
    for b in read.boxes:
        assert b.height == float(b.g.get("data-tall" if b.open else "data-low"))


def test_opening_changes_no_x(picture):
    _, closed, opened = picture
    assert [(b.left, b.width) for b in closed.boxes] == [(b.left, b.width) for b in opened.boxes]
    assert [e.get("data-xs") for e in closed.edges] == [e.get("data-xs") for e in opened.edges]


def test_an_unknown_name_to_open(pictures, tmp_path):
    with pytest.raises(ValueError, match=r"no box is called 'D.conv9'; there are D.conv1, "):
        draw(pictures["discriminator_step"][0], tmp_path / "a.svg", opened=["D.conv1", "D.conv9"])
    assert not list(tmp_path.iterdir())


# ---- files ---------------------------------------------------------------------------------------------


def test_the_path_is_returned(pictures, tmp_path, monkeypatch):
    t = pictures["generator_step"][0]
    assert t.draw(str(tmp_path / "graph.svg")) == tmp_path / "graph.svg"
    monkeypatch.chdir(tmp_path)
    assert draw(t, "Again.SVG") == Path("Again.SVG")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["Again.SVG", "graph.svg"]


def test_an_empty_tape(tmp_path):
    with pytest.raises(ValueError, match=r"this tape is empty.*with mg.tape\(\) as t: loss.backward\(\)"):
        draw(mg.inspect.tape(), tmp_path / "a.svg")


@pytest.mark.parametrize("name", ["graph.png", "graph", "svg"])
def test_another_format(pictures, tmp_path, name):
    with pytest.raises(ValueError, match=rf"ends in \.svg.*got '{name}'"):
        draw(pictures["generator_step"][0], tmp_path / name)


def test_a_file_that_cannot_be_written(pictures, tmp_path, monkeypatch):
    t, path = pictures["generator_step"][0], tmp_path / "graph.svg"
    with pytest.raises(FileNotFoundError):
        draw(t, tmp_path / "nowhere" / "graph.svg")
    path.write_text("what was here")

    def full(self, text, **options):
        assert self != path
        Path.write_bytes(self, text[:100].encode())
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        draw(t, path)
    assert path.read_bytes() == b"what was here"
    assert [p.name for p in tmp_path.iterdir()] == ["graph.svg"]


def test_a_file_is_written_aside_and_renamed(pictures, tmp_path, monkeypatch):
    written, write = [], Path.write_text
    monkeypatch.setattr(Path, "write_text", lambda self, *a, **k: written.append(self) or write(self, *a, **k))
    path = draw(pictures["generator_step"][0], tmp_path / "graph.svg")
    assert len(written) == 1 and written[0] != path and written[0].parent == tmp_path


def test_the_same_tape_gives_the_same_file(pictures, tmp_path):
    t = pictures["dead_mlp"][0]
    assert draw(t, tmp_path / "a.svg").read_bytes() == draw(t, tmp_path / "b.svg").read_bytes()


def test_drawing_changes_nothing(pictures, tmp_path):
    t = pictures["critic_step"][0]
    before = str(t)
    draw(t, tmp_path / "a.svg", opened=True)
    assert str(t) == before


def test_hundreds_of_ops(tmp_path):
    w = mg.tensor(np.eye(3) * 0.9, requires_grad=True, name="w")
    with mg.inspect.tape() as t:
        h = mg.tensor(np.ones((2, 3)))
        for _ in range(100):
            h = mg.tanh(h @ w)
        mg.sum(h).backward()
    read = Read(draw(t, tmp_path / "a.svg"))
    assert sum(len(b.nodes) for b in read.boxes) == 202
    assert max(b.row for b in read.boxes) > 99


def test_the_file_is_complete_in_itself(pictures):
    text = pictures["critic_step"][1].text
    assert not re.search(r"(href|src)=|url\((?!#)|@import", text)
    assert set(re.findall(r"https?://[^\s\"<]+", text)) == {"http://www.w3.org/2000/svg"}
    paper = next(e for e in pictures["critic_step"][1].root if e.get("class") == "paper")
    assert paper.get("fill") == "#ffffff" and paper.get("width") == pictures["critic_step"][1].root.get("width")


# ---- the script ----------------------------------------------------------------------------------------

DOCUMENT = """
const data = JSON.parse(require("fs").readFileSync(0, "utf8"));
class Element {
  constructor(attributes, parts) { this.attributes = attributes; this.parts = parts || {}; this.told = {}; }
  getAttribute(name) { return name in this.attributes ? String(this.attributes[name]) : null; }
  setAttribute(name, value) { this.attributes[name] = String(value); }
  querySelector(name) { return this.parts[name][0]; }
  querySelectorAll(name) { return this.parts[name] || []; }
  addEventListener(kind, fn) { this.told[kind] = fn; }
}
const box = (attributes) => new Element(attributes,
  { ".frame": [new Element({})], ".mark": [new Element({})], ".body": [new Element({})], ".head": [new Element({})] });
const boxes = data.boxes.map(box), edges = data.edges.map((a) => new Element(a));
const hint = new Element({ display: "none" }), paper = new Element({});
const svg = new Element(data.svg, { ".box": boxes, ".edge": edges, ".hint": [hint], ".paper": [paper] });
const document = { currentScript: null, documentElement: svg };
%s
for (const i of data.clicks) boxes[i].querySelector(".head").told.click();
for (const i of data.keys) boxes[i].told.keydown({ key: "Enter" });
console.log(JSON.stringify({ svg: svg.attributes, hint: hint.attributes, paper: paper.attributes,
  edges: edges.map((e) => e.attributes), boxes: boxes.map((b) => ({ ...b.attributes,
    frame: b.parts[".frame"][0].attributes, mark: b.parts[".mark"][0].attributes,
    body: b.parts[".body"][0].attributes })) }));
"""


def in_a_browser(read, clicks=(), keys=()):
    """What the script of a file makes of it after clicks on the heads of some boxes (and keys pressed on others)."""
    script = read.root.find(f"{SVG}script").text
    data = {"svg": read.root.attrib, "boxes": [b.g.attrib for b in read.boxes], "edges": [e.attrib for e in read.edges]}
    data |= {"clicks": list(clicks), "keys": list(keys)}
    done = subprocess.run(
        ["node", "-e", DOCUMENT % script], input=json.dumps(data), capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


@needs_node
@pytest.mark.parametrize("name", ["discriminator_step", "critic_step", "hessian"])
def test_the_script_opens_boxes_as_python_draws_them(pictures, name):
    _, closed, opened = pictures[name]
    n = len(closed.boxes)
    after = in_a_browser(closed, clicks=range(0, n, 2), keys=range(1, n, 2))
    assert [b["transform"] for b in after["boxes"]] == [b.g.get("transform") for b in opened.boxes]
    assert [float(b["frame"]["height"]) for b in after["boxes"]] == [b.height for b in opened.boxes]
    assert {b["body"]["display"] for b in after["boxes"]} == {"inline"}
    assert [e["d"] for e in after["edges"]] == [e.get("d") for e in opened.edges]
    for key in ("height", "viewBox"):
        assert after["svg"][key] == opened.root.get(key)
    assert after["paper"]["height"] == opened.root.get("height")
    assert after["hint"]["display"] == "inline"
    marks = {m.get("transform") for b in opened.boxes for m in b.g.iter(f"{SVG}path") if m.get("class") == "mark"}
    assert {b["mark"]["transform"] for b in after["boxes"]} == marks


@needs_node
def test_the_script_closes_them_again(pictures):
    _, closed, opened = pictures["discriminator_step"]
    after = in_a_browser(opened, clicks=range(len(opened.boxes)))
    assert [b["transform"] for b in after["boxes"]] == [b.g.get("transform") for b in closed.boxes]
    assert [e["d"] for e in after["edges"]] == [e.get("d") for e in closed.edges]
    assert {b["body"]["display"] for b in after["boxes"]} == {"none"}


@needs_node
def test_the_script_opens_one_box_and_moves_what_is_below(pictures):
    _, closed, opened = pictures["generator_step"]
    after = in_a_browser(closed, clicks=[3])
    grown = opened.boxes[3].height - closed.boxes[3].height
    tops = [float(re.search(r",(.*)\)", b["transform"])[1]) for b in after["boxes"]]
    assert [new - b.top for new, b in zip(tops, closed.boxes)] == [grown if b.row > 3 else 0 for b in closed.boxes]
    assert math.isclose(float(after["svg"]["height"]), float(closed.root.get("height")) + grown)


def test_graph_without_drawing():
    """Boxes and edges can be had without a file."""
    graph = Graph(dead_mlp(), 1)
    assert [(e.source.title, e.target.title) for e in graph.edges][:2] == [
        ("net.dense1", "net.relu1"),
        ("net.relu1", "net.dense2"),
    ]
    assert graph.edges[-1].target.title == "loss"


def test_a_folder_that_is_not_there_is_named(tmp_path):
    x = mg.tensor([1.0], requires_grad=True)
    with mg.tape() as t:
        mg.sum(x * x).backward()
    with pytest.raises(FileNotFoundError, match="there is no folder .*missing"):
        t.draw(tmp_path / "missing" / "graph.svg")
