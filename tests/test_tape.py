"""The tape: what it says of a graph is what a second, independent computation says, and it changes no number."""

import contextlib
import gc
import re
import sys
import threading
import unicodedata
import warnings
import weakref

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import minigan as mg
from minigan import nn, objectives
from minigan.autodiff.node import Node
from minigan.autodiff.primitive import Primitive, registry
from minigan.data import Batches
from minigan.data.toy import ring
from minigan.errors import MiniganError, StaleError
from minigan.games import GAN, Alternating, Consensus, SymplecticGradientAdjustment, Unrolled, play
from minigan.inspect import on_op
from minigan.inspect.graph import Stats, formula, kept_values, known_values
from minigan.inspect.watch import _here
from minigan.models import Reconstruction, dcgan_discriminator, dcgan_generator, mlp, mlp_autoencoder
from minigan.nn.init import he, initialize
from minigan.optim import SGD, Adam
from tests.strict_array import StrictArray, counts, no_sync

RNG = np.random.default_rng(0)
POINTS = RNG.standard_normal((32, 8)).astype(np.float32)
IMAGES = RNG.uniform(-1, 1, (4, 28, 28, 1)).astype(np.float32)
OWN = Primitive.__call__
FILE = "test_tape.py"


def here(offset=0):
    """The number of the line that calls."""
    return sys._getframe(1).f_lineno + offset


def leaf(values, name=None):
    return mg.tensor(np.asarray(values, float), requires_grad=True, name=name)


def deep(activation=nn.LeakyReLU, layers=6, width=16, name="D"):
    """``layers`` dense layers: D.dense1, D.leakyrelu1, …"""
    inner = [part for i in range(layers - 1) for part in (nn.Dense(width if i else 8, width), activation())]
    return initialize(nn.Sequential(*inner, nn.Dense(width, 1), name=name), he, 0)


def logistic(net, x=POINTS):
    return mg.mean(mg.softplus(-net(x)))


def computed(fn):
    """fn(), and every recorded result on the way: told by another watcher than the tape."""
    results = []

    def keep(event):
        if event.kind == "op" and event.node is not None:
            results.append(event.out)

    with on_op(keep):
        return fn(), results


# ---- reading what is printed -----------------------------------------------------------------------------------------

HEAD = ["op", "shape", "‖value‖", "zeros", "‖grad‖", "zeros", "not finite", "∂", "line", "gradient"]


def printed(tape, number=1):
    """The rows of the printed table of a pass: {column: text}, by where the columns stand; "zeros" is "zeros of …"."""
    lines = str(tape).split("\n\n")[number - 1].splitlines()
    head, names, at = lines[1], [], {}
    position = 0
    for name in HEAD:
        found = head.find(name, position)
        if found < 0:
            assert name == "not finite"
            continue
        key = f"zeros of {names[-1]}" if name == "zeros" else name
        names.append(key)
        at[key], position = found, found + len(name)
        if key in ("‖value‖", "zeros of ‖value‖", "‖grad‖", "zeros of ‖grad‖"):
            at[key] = position  # right-aligned: where the column ends
    rows = []
    for line in lines[2:]:
        shape, value = line[at["shape"] : at["‖value‖"]].split()
        row = {"label": line[: at["op"]].strip(), "op": line[at["op"] : at["shape"]].strip(), "shape": shape}
        row["‖value‖"] = value
        row["zeros of ‖value‖"] = line[at["‖value‖"] : at["zeros of ‖value‖"]].strip()
        row["‖grad‖"] = line[at["zeros of ‖value‖"] : at["‖grad‖"]].strip()
        row["zeros of ‖grad‖"] = line[at["‖grad‖"] : at["zeros of ‖grad‖"]].strip()
        rest = [n for n in names if n in ("not finite", "∂", "line", "gradient")]
        for name, following in zip(rest, [*rest[1:], None]):
            row[name] = line[at[name] : at[following] if following else None].strip()
        rows.append(row)
    return rows


def last_words(tape):
    """What is printed below the tables."""
    return str(tape).split("\n\n")[-1]


def assert_row(row, label, op, value, grad, order, line):
    def cells(a):
        a = np.asarray(a, float)
        zeros = np.mean(a == 0)
        return f"{np.linalg.norm(a):.3g}", f"{100 * zeros:.0f} %" if zeros else ""

    expected = {"label": label, "op": op, "shape": "×".join(map(str, np.shape(value))) or "scalar"}
    expected["‖value‖"], expected["zeros of ‖value‖"] = cells(value)
    expected["‖grad‖"], expected["zeros of ‖grad‖"] = cells(grad)
    expected |= {"∂": str(order), "line": f"{FILE}:{line}" if line else ""}
    expected["gradient"] = formula(registry[op]) if op != "leaf" else ""
    assert row == expected


def test_a_plain_mlp():
    """Every row, in order, against gradients of the intermediates and their norms by NumPy."""
    net = nn.Sequential(nn.Dense(8, 5), nn.ReLU(), nn.Dense(5, 1, bias=False), name="D")
    initialize(net, he, 0)
    h, one = net.dense1(POINTS), here()
    a, two = net.relu1(h), here()
    y, three = net.dense2(a), here()
    loss, four = mg.mean(y), here()
    W, b, V = net.parameters()
    grads = [g.numpy() for g in mg.grad(loss, [W, b, h, a, V, y, loss], retain_graph=True)]
    with mg.tape() as t:
        line = here(+1)
        loss.backward()
    rows, g = printed(t), dict(zip("WbhaVyl", grads, strict=True))
    assert np.mean(a.data == 0) > 0.3 and np.mean(g["h"] == 0) > 0.3
    assert_row(rows[0], "D.dense1.weight", "leaf", W.data, g["W"], 0, None)
    assert_row(rows[1], "D.dense1.bias", "leaf", b.data, g["b"], 0, None)
    assert_row(rows[2], "D.dense1", "linear", h.data, g["h"], 0, one)
    assert_row(rows[3], "D.relu1", "relu", a.data, g["a"], 0, two)
    assert_row(rows[4], "D.dense2.weight", "leaf", V.data, g["V"], 0, None)
    assert_row(rows[5], "D.dense2", "matmul", y.data, g["y"], 0, three)
    assert_row(rows[6], "·", "mean", loss.data, g["l"], 0, four)
    assert len(rows) == 7
    assert str(t).startswith(f"backward pass 1 of 1, asked for at {FILE}:{line}\n")
    assert last_words(t) == "nothing conspicuous: every gradient arrives"
    assert rows[3]["gradient"] == "x̄ = ȳ where x > 0, else 0   (0 at 0)"
    assert repr(t) == "Tape(4 ops, 3 leaves, 1 backward pass)"
    assert f"value {np.linalg.norm(h.data):.3g}, gradient {np.linalg.norm(g['h']):.3g}, {FILE}:{one})" in repr(t[h])


def assert_knows(t, number, results, loss):
    """Values and gradients of pass ``number`` are those that mg.grad gives of each result, exactly; how many are?"""
    reached = t.passes[number - 1].reached
    results = [r for r in results if r.node.seq in reached]
    known = 0
    for r, g in zip(results, mg.grad(loss, results, retain_graph=True), strict=True):
        entry = t[r]
        if number in entry.cotangents:
            assert_array_equal(entry.cotangents[number], g.data)
            assert_allclose(entry.stats(number).norm, np.linalg.norm(g.numpy().astype(float)), rtol=1e-12)
            assert entry.stats(number).zeros == pytest.approx(np.mean(g.data == 0))
        else:
            assert not g.numpy().any()
        if entry.value is not None:
            known += 1
            assert_array_equal(entry.value.data, r.data)
            assert_allclose(entry.stats().norm, np.linalg.norm(r.numpy().astype(float)), rtol=1e-12)
    rows = t.rows(number)
    ops = [e.seq for e in rows if e.op != "leaf"]
    assert ops == sorted(ops) and {e.seq for e in rows} == reached
    for i, e in enumerate(rows):  # a leaf stands at its first use
        if e.op == "leaf":
            following = next((later for later in rows[i:] if later.op != "leaf"), None)
            assert following is None or e.seq in following.parents
    return known / len(results)


def dcgan_steps():
    D, G = dcgan_discriminator(channels=4), dcgan_generator(6, channels=4)
    z = np.random.default_rng(5).standard_normal((4, 6)).astype(np.float32)
    with mg.no_grad():
        fake = G(z)

    def d_loss():
        return mg.mean(mg.softplus(-D(IMAGES))) + mg.mean(mg.softplus(D(fake)))

    def g_loss():
        with D.frozen():
            return mg.mean(mg.softplus(-D(G(z))))

    return D, G, {"D": d_loss, "G": g_loss}


@pytest.mark.parametrize("player", "DG")
@pytest.mark.parametrize("forward", [False, True], ids=["opened for backward", "opened before forward"])
def test_a_dcgan_step(player, forward):
    D, G, steps = dcgan_steps()
    if forward:
        with mg.tape() as t:
            loss, results = computed(steps[player])
            loss.backward(retain_graph=True)
    else:
        loss, results = computed(steps[player])
        with mg.tape() as t:
            loss.backward(retain_graph=True)
    known = assert_knows(t, 1, results, loss)  # of the frozen D's last layer nobody had kept the bias
    assert round((1 - known) * len(results)) == (player == "G" and not forward)
    net, other = (D, G) if player == "D" else (G, D)
    for p in net.parameters():
        assert_array_equal(t[p.name].grad.data, p.grad.data)
        assert_array_equal(t[p.name].value.data, p.data)
        assert t[p].name == p.name and t[p.name] is t[p]
    assert not any(p.name in str(t) for p in other.parameters())
    rows = printed(t)
    assert len(rows) == len(results) + len(net.parameters())
    assert {row["∂"] for row in rows} == {"0"} and all(row["gradient"] for row in rows if row["op"] != "leaf")
    layers = [name for name, _ in D.named_modules() if name]
    assert [r["label"] for r in rows if r["label"] in {f"D.{n}" for n in layers}] == [f"D.{n}" for n in layers] * (
        2 if player == "D" else 1
    )
    assert last_words(t) == "nothing conspicuous: every gradient arrives"


def critic_and_penalty():
    D = initialize(mlp(8, 16, 16, 1, name="D", activation=nn.Tanh), he, 0)
    fake, epsilon = POINTS[::-1].copy(), np.random.default_rng(6).random(32, np.float32)

    def fn():
        real, other = mg.tensor(POINTS), mg.tensor(fake)
        penalty = objectives.gradient_penalty(D, real, other, mg.tensor(epsilon))
        return mg.mean(D(other)) - mg.mean(D(real)) + 10.0 * penalty

    return D, fn


def test_a_gradient_penalty():
    """Two passes; the second runs through what the first has recorded."""
    D, fn = critic_and_penalty()
    with mg.tape() as t:
        loss, results = computed(fn)
        other = here(+1)
        loss.backward(retain_graph=True)
    assert len(t.passes) == 2 and [p.recorded for p in t.passes] == [True, False]
    title = f"backward pass 1 of 2, asked for at {FILE}:"
    assert str(t).startswith(title) and ", recorded\n" in str(t)
    assert f"backward pass 2 of 2, asked for at {FILE}:{other}\n" in str(t)
    assert assert_knows(t, 2, results, loss) == 1
    second = printed(t, 2)
    assert {row["∂"] for row in second} == {"0", "1"} and {row["∂"] for row in printed(t)} == {"0"}
    assert {r.order for r in t.rows(1)} == {0}
    assert all(e.scope for e in t.rows(2) if e.order == 1 and e.op in ("transpose", "matmul"))
    for e in t.rows(2):
        if e.order:
            assert e.sources[0].op is not None and e.scope == e.sources[-1].scope
    for p in D.parameters():
        assert_array_equal(t[p.name].grad.data, p.grad.data)
    # the cotangents of the inner pass are the tensors that the penalty was made of
    inner = [e for e in t.rows(1) if 1 in e.cotangents]
    assert len(inner) >= 6 and any(e.op == "leaf" and e.shape == (32, 8) for e in inner)
    assert last_words(t) == "nothing conspicuous: every gradient arrives"


def test_a_third_derivative():
    x = leaf([0.5, 2.0], "x")
    with mg.tape() as t:
        y = mg.sum(x**4)
        line = here(-1)
        (first,) = mg.grad(y, x, create_graph=True)
        (second,) = mg.grad(mg.sum(first), x, create_graph=True)
        mg.sum(second).backward()
    assert_allclose(t["x"].grad.numpy(), 24 * x.data)
    assert_allclose(t["x"].cotangents[1], 4 * x.data**3)
    assert_allclose(t["x"].cotangents[2], 12 * x.data**2)
    assert_allclose(t[first].value.numpy(), 4 * x.data**3)
    assert [max(e.order for e in t.rows(n)) for n in (1, 2, 3)] == [0, 1, 2]
    assert {e.order for e in t.rows()} == {0, 1, 2}
    assert t[second].order == 2 and t[first].order == 1 and t[y].order == 0
    assert [s.op.name for s in t[second].sources][-1] in ("power", "multiply", "square")
    assert all(row["line"] == f"{FILE}:{line}" for row in printed(t) if row["op"] in ("power",))
    assert [row["‖grad‖"] for row in printed(t, 3) if row["label"] == "x"] == [f"{np.linalg.norm(24 * x.data):.3g}"]


def test_hooks_see_what_the_tape_shows():
    net, seen = deep(), {}
    h = net.dense1(POINTS)
    y = net[1](h)
    for name, r in (("h", h), ("y", y)):
        r.hook(lambda g, name=name: seen.__setitem__(name, g.numpy()))
    with mg.tape() as t:
        mg.sum(y * y).backward()
    assert_array_equal(t[h].grad.numpy(), seen["h"])
    assert_array_equal(t[y].grad.numpy(), seen["y"])
    h = net.dense1(POINTS)
    h.hook(lambda g: 2.0 * g)
    with mg.tape() as t:
        mg.sum(h).backward()
    assert_array_equal(t[h].grad.numpy(), np.full(h.shape, 2))  # what went on, after the hook


@pytest.mark.parametrize("lines", ["one", "several"])
def test_the_line_is_the_users(lines):
    x = leaf([1.0, 2.0])
    if lines == "one":
        y, line = mg.sum(mg.exp(x)), here()
    else:
        line = here(+1)
        y = mg.sum(
            mg.exp(
                x,
            )
        )
    with mg.tape() as t:
        y.backward()
    assert [row["line"] for row in printed(t)][-1] == f"{FILE}:{line}"
    assert t[y].line == f"{FILE}:{line}"


def test_what_is_not_finite_is_counted():
    x = leaf([0.0, 1.0, 4.0, 0.0], "x")
    with np.errstate(divide="ignore"), mg.tape() as t:
        y = mg.log(x)
        mg.sum(y).backward()
    first, second, third = printed(t)
    assert first["not finite"] == "2 grad" and second["not finite"] == "2 val" and third["not finite"] == "1 val"
    assert (second["‖value‖"], second["zeros of ‖value‖"], first["‖grad‖"]) == ("inf", "25 %", "inf")
    assert "the first value that is not finite: log, " in last_words(t) and ": 2 of 4 numbers" in last_words(t)
    with np.errstate(divide="ignore"), mg.tape() as t:
        mg.sum(mg.sqrt(x)).backward()
    assert [row["not finite"] for row in printed(t)] == ["2 grad", "", ""]  # the values are finite
    assert last_words(t).startswith("the first gradient that is not finite: of x, ")
    y = leaf([1.0, np.nan], "y")
    with mg.tape() as t:
        mg.sum(y).backward()
    assert printed(t)[0]["‖value‖"] == "nan" and printed(t)[0]["not finite"] == "1 val"


def test_stats():
    s = Stats(np.array([[3.0, -4.0], [0.0, 0.0]], np.float32))
    assert (s.size, s.norm, s.zeros, s.bad, s.low, s.high, s.mean) == (4, 5, 0.5, 0, -4, 3, -0.25)
    s = Stats(np.array([np.inf, np.nan, 0.0, 2.0]))
    assert np.isnan(s.norm) and (s.bad, s.zeros, s.low, s.high, s.mean) == (2, 0.25, 0, 2, 1)
    assert Stats(np.array([-np.inf, 1.0])).norm == np.inf
    s = Stats(np.array([np.nan]))
    assert np.isnan([s.low, s.high, s.mean]).all() and s.bad == 1
    assert_allclose(Stats(np.full(4, 1e200)).norm, 2e200)
    assert_allclose(Stats(np.full(4, 1e-200)).norm, 2e-200)  # small is not zero: nothing dies there
    assert Stats(np.zeros((0, 3))).size == 0 and Stats(np.zeros(3)).norm == 0
    assert Stats(np.array(3)).norm == 3 and Stats(np.array([True, False])).zeros == 0.5


# ---- formulas --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(n for n, op in registry.items() if op.__module__.startswith("minigan.")))
def test_every_op_has_its_formula(name):
    text = formula(registry[name])
    assert "\n" not in text and text == text.strip()
    if registry[name].variadic:
        assert "piece" in text or "slice" in text
    else:
        bars = unicodedata.normalize("NFD", text)
        assert "\u0304" in bars and "=" in bars
        first = registry[name].rules[0].names[0]
        assert len(first) > 1 or f"{first}\u0304 = " in bars


def test_a_formula_of_ones_own():
    def op(doc):
        class Op:
            __doc__ = doc

        return Op

    assert formula(op("y = x.    x̄ = ȳ")) == "x̄ = ȳ"
    assert formula(op("What it is.\n\n    x̄ = 2·ȳ   (always)\n\n    More.")) == "x̄ = 2·ȳ   (always)"
    assert formula(op("What it is.\n\n    No formula.")) == formula(op("What it is.")) == formula(op(None)) == ""


# ---- values ----------------------------------------------------------------------------------------------------------


def test_a_change_in_place_after_the_pass_changes_nothing_shown():
    """Not that of the player who moved, not that of a frozen network, whose weights are constants of the graph."""
    D, G, steps = dcgan_steps()
    for player, net in (("D", D), ("G", G)):
        optimizers = [Adam(D.parameters(), lr=0.1), SGD(G.parameters(), lr=100.0)]
        loss, results = computed(steps[player])
        with mg.tape() as t, mg.tape() as second:
            loss.backward(retain_graph=True)
        true = [r.numpy() for r in results]
        expected, weights = str(t), net.state_dict()  # printed at once
        for optimizer, parameters in zip(optimizers, (D.parameters(), G.parameters())):
            for p in parameters:
                p.grad = mg.tensor(np.ones(p.shape, np.float32))
            optimizer.step()
        assert str(t) == str(second) == expected  # the second computes what was not kept only now
        for r, value in zip(results, true, strict=True):
            if second[r].label != "D.dense1" or player == "D":
                assert_array_equal(second[r].value.data, value)
        for p in net.parameters():
            assert_array_equal(second[p].value.data, weights[p.name.partition(".")[2]])
            assert not np.array_equal(second[p].value.data, p.data)


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("opened", ["before the view", "before its use", "for the backward pass"])
def test_views_of_weights(opened, kept):
    w = leaf([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], "w")
    x, before, t = np.array([[1.0, 10.0, 100.0]]), w.numpy(), mg.tape()
    x = leaf(x) if kept else x  # then the graph keeps the view for the gradient of x
    if opened == "before the view":
        with t:
            v = w.T
            y = x @ v
            loss = mg.sum(y * mg.sum(v))
            loss.backward()
    elif opened == "before its use":
        v = w.T
        with t:
            y = x @ v
            loss = mg.sum(y * mg.sum(v))
            loss.backward()
    else:
        v = w.T
        y = x @ v
        loss = mg.sum(y * mg.sum(v))
        with t:
            loss.backward()
    true = y.numpy()
    w.assign(np.zeros((2, 3)))
    assert_array_equal(v.numpy(), np.zeros((3, 2)))
    assert_array_equal(t["w"].value.numpy(), before)
    assert_array_equal(t[v].value.numpy(), before.T)
    assert_array_equal(t[y].value.numpy(), true)


def test_a_frozen_view_is_copied():
    """A constant that can change in place, kept by the op that it is an argument of."""
    w, x = mg.tensor([[1.0, 2.0], [3.0, 4.0]]), mg.tensor([[1.0, 1.0]], requires_grad=True)
    y = x @ w
    loss = mg.sum(y)
    with mg.tape() as t:
        loss.backward()
    w.assign([[0.0, 0.0], [0.0, 0.0]])
    assert_array_equal(t[y].value.numpy(), [[4, 6]])


def test_what_neither_was_kept_nor_can_be_computed_is_not_known():
    x = leaf([1.0, 2.0], "x")
    y = mg.exp(x + np.array([1.0, 1.0]))  # + keeps nothing of its arguments
    with mg.tape() as t:
        mg.sum(y).backward()
    plus = t.rows()[1]
    assert plus.op == "add" and plus.value is None and plus.stats() is None
    assert printed(t)[1]["‖value‖"] == "–"
    assert_array_equal(t[y].value.numpy(), y.numpy())


def test_known_values_of_a_graph():
    D, G, steps = dcgan_steps()
    loss, results = computed(steps["G"])
    order, stack = [], [loss.node]
    while stack:
        node = stack.pop()
        if node not in order:
            order.append(node)
            stack += [p for p in node.parents if p is not None]
    order.sort(key=lambda n: -n.seq)
    values, _ = kept_values(order)
    all_values = known_values(order)
    assert set(values) < set(all_values)
    for r in results:
        assert r.node.scope == "D.dense1" or np.array_equal(all_values[r.node], r.data)
        if r.node in values:
            assert_array_equal(values[r.node], r.data)
    assert not any(all_values[p.node] is p.data for p in G.parameters())


def test_asking_computes_without_a_trace():
    """batch_norm hands its statistics out through a list of the caller's: computing it again must not."""
    handed = []
    x, gamma, beta = (leaf(a) for a in (RNG.standard_normal((5, 2)), np.ones(2), np.zeros(2)))
    y = mg.batch_norm(x, gamma, beta, 1e-5, handed)
    loss = mg.sum(y)
    with mg.tape() as t, np.errstate(all="raise"):
        loss.backward()
        assert_array_equal(t[y].value.numpy(), y.numpy())
        str(t)
    assert len(handed) == 2


def test_two_passes_with_a_step_between():
    """What is computed again for the second pass is computed from the second pass's weights."""
    net, x = deep(nn.Sigmoid, 3), POINTS
    optimizer, t, found = SGD(net.parameters(), lr=1.0), mg.tape(), []
    for _ in range(2):
        optimizer.zero_grad()
        loss, results = computed(lambda: mg.mean((net(x) - 1.0) ** 2 + 0.5))
        found.append(results)
        with t:
            loss.backward()
        optimizer.step()
    for results in found:
        for r in results:
            assert t[r].value is None or np.array_equal(t[r].value.data, r.data)
    assert len(t.passes) == 2 and all(t[r].value is not None for r in found[1][:5])
    p = net.parameters()[0]
    assert_array_equal(t[p].grad.numpy(), p.grad.numpy())
    assert not np.array_equal(t[p].cotangents[1], t[p].cotangents[2])


def test_the_value_of_a_leaf_is_that_of_the_pass():
    """Also in what is said of a pass: w is 0 in the first only, the relu dead in the second."""
    w = leaf(np.zeros((2, 1)), "w")
    x, values = np.array([[1.0, 2.0], [3.0, 4.0]]), ([[0.0], [0.0]], [[-2.0], [-1.0]], [[3.0], [4.0]])
    with mg.tape() as t:
        for value in values:
            w.assign(value)
            mg.sum(mg.relu(mg.tanh(x @ w))).backward()
    with mg.tape() as late:
        for value in values:
            w.assign(value)
            loss = mg.sum(mg.relu(mg.tanh(x @ w)))
            with late if late._context is None else contextlib.nullcontext():
                loss.backward()
    for tape in (t, late):
        norms = [next(r for r in printed(tape, n) if r["label"] == "w")["‖value‖"] for n in (1, 2, 3)]
        assert norms == ["0", "2.24", "5"]
        assert_array_equal(tape["w"].value.numpy(), values[-1])
        assert list(tape["w"].values) == [1, 2, 3] and tape["w"].value_stats(1).norm == 0
    first, second, *_ = t.findings()
    assert "the signal dies in matmul" in first and "w is 0" in first
    assert "relu" in [line for line in t.findings() if "dies" in line][1] and "w is 0" not in second
    with mg.tape() as t:  # of a forward pass, too
        for value in values:
            w.assign(value)
            mg.sum(x @ w)
    assert_array_equal(t["w"].value.numpy(), values[-1])


@pytest.mark.parametrize("recorded", [False, True])
def test_what_a_pass_returns_is_the_callers(recorded):
    x, y = leaf([1.0, 2.0], "x"), leaf([3.0, 4.0], "y")
    h = mg.exp(x)
    z = h + y  # the gradients of z, h and y are one array
    loss = mg.sum(z * 3.0)
    with mg.tape() as t:
        found = mg.grad(loss, [h, y], create_graph=recorded, retain_graph=True)
        mg.grad(loss, x, create_graph=recorded)[0].data[:] = 99
    for g in found:
        g.data[:] = 99
    for known in (t[h], t["y"], t[z]):
        assert_array_equal(known.cotangents[1], [3, 3])
    assert_allclose(t["x"].grad.numpy(), 3 * np.exp([1, 2]))
    assert t.sent(1, z.node.seq, y.node.seq) == pytest.approx(3 * 2**0.5)
    assert t.sent(2, h.node.seq, x.node.seq) == pytest.approx(np.linalg.norm(3 * np.exp([1, 2])))


# ---- asking ----------------------------------------------------------------------------------------------------------


def test_the_gradient_is_that_of_the_pass_also_when_grad_adds_up():
    net = deep()
    first, second = logistic(net), mg.sum(net(POINTS[:3]))
    true = [mg.grad(loss, net.parameters(), retain_graph=True) for loss in (first, second)]
    first.backward()
    with mg.tape() as t:
        second.backward(retain_graph=True)
        second.backward()
    for p, a, b in zip(net.parameters(), *true, strict=True):
        assert_array_equal(t[p.name].grad.data, b.data)
        assert_array_equal(t[p.name].cotangents[1], b.data)
        assert_allclose(p.grad.data, a.data + 2 * b.data, rtol=1e-4, atol=1e-5)
    net = deep()
    with mg.tape() as t:
        logistic(net).backward()
    weight = net.parameters()[0]
    before = weight.grad.numpy()
    weight.grad.data[...] = 7  # as an optimiser does that scales gradients in place
    assert_array_equal(t["D.dense1.weight"].grad.numpy(), before)
    assert t["D.dense1.weight"].grad.name == "gradient of D.dense1.weight"


@pytest.mark.parametrize("forward", [False, True])
@pytest.mark.parametrize("apart", [False, True])
def test_the_calls_of_a_layer(forward, apart):
    """D(real) and D(fake) are two calls also where nothing is computed between them."""
    net, x, y, kept = deep(layers=3), POINTS, POINTS[:5], []
    net.dense2.hook(lambda module, inputs, output: kept.append(output))
    t = mg.tape()

    def fn():
        if apart:
            return mg.mean(mg.softplus(net(x))) + mg.mean(net(y))
        real, fake = net(x), net(y)
        return mg.mean(mg.softplus(real)) + mg.mean(fake)

    if forward:
        with t:
            fn().backward()
    else:
        loss = fn()
        with t:
            loss.backward()
    first, second = kept
    assert t["D.dense2"] is t[second] is t["D.dense2", -1] is t["D.dense2", 1]
    assert t["D.dense2", 0] is t[first] and t[first].shape == (32, 16)
    assert (t["D", 0].shape, t["D"].shape, t["D"].op) == ((32, 1), (5, 1), "linear")
    with pytest.raises(KeyError, match="'D.dense2' was called 2 times here, there is no call 2"):
        t["D.dense2", 2]


def test_the_calls_of_a_layer_are_those_of_the_forward_pass():
    D, fn = critic_and_penalty()
    outputs = []
    D.tanh1.hook(lambda module, inputs, output: outputs.append(output))
    with mg.tape() as t:
        fn().backward()
    assert len(outputs) == 3 and [t["D.tanh1", i] for i in range(3)] == sorted(
        (t[y] for y in outputs), key=lambda e: e.seq
    )
    with pytest.raises(KeyError, match="was called 3 times"):
        t["D.tanh1", 3]


def test_a_layer_is_not_another_whose_name_begins_like_it():
    net, outputs = deep(layers=12), []
    net.dense1.hook(lambda module, inputs, output: outputs.append(output))
    loss = logistic(net)
    with mg.tape() as t:
        loss.backward()
    assert t["D.dense1"] is t[outputs[0]]
    with pytest.raises(KeyError, match="called 1 time here"):
        t["D.dense1", 1]


def test_a_layer_of_several_ops_is_one_call():
    class Sum(nn.Module):
        def forward(self, x):
            return mg.tanh(x) + mg.exp(x)

    net, x = Sum("S"), leaf([1.0, 2.0], "x")
    y = net(x)
    z = net(x)
    with mg.tape() as t:
        mg.sum(y * z).backward()
    assert t["S", 0] is t[y] and t["S", 1] is t["S"] is t[z] and t["S"].op == "add"
    with pytest.raises(KeyError):
        t["S", 2]


def test_names_of_intermediates():
    x = leaf([1.0, 2.0], "x")
    with mg.tape() as t:
        h = mg.exp(x)
        h.name = "h"
        y = mg.sum(h)
        y.backward()
        y.name = "y"
    assert t["h"] is t[h] and t["h"].label == "h" and t["y"] is t[y]
    assert [row["label"] for row in printed(t)] == ["x", "h", "y"]
    assert t["h"].value.name == "h"
    seq = h.node.seq
    del h, y
    assert t["h"].seq == seq  # its name was known when it was used


def test_what_the_tape_does_not_know():
    net = deep()
    loss = logistic(net)
    with mg.tape() as t:
        loss.backward()
    with pytest.raises(KeyError, match="this tape knows no 'D.dens2.weight'; there are D.dense2.weight, "):
        t["D.dens2.weight"]
    with pytest.raises(KeyError, match="there are .*D.dense1"):
        t["nothing like it"]
    with pytest.raises(KeyError, match="knows no 'c' Tensor|knows no c Tensor: it requires no gradient"):
        t[mg.tensor([1.0], name="c")]
    with pytest.raises(KeyError, match="knows no such Tensor: it is in no graph that ran while this was open"):
        t[mg.exp(leaf(1.0))]
    for number in (0, 2):
        with pytest.raises(ValueError, match=f"there is no backward pass {number}: this tape has seen 1"):
            t.rows(number)


def test_an_empty_tape_and_one_without_a_pass():
    with mg.tape() as t:
        mg.exp(np.ones(2))
    assert str(t).startswith("an empty tape") and t.findings() == [] and t.rows() == []
    x = leaf([1.0, 2.0], "x")
    with mg.tape() as t:
        y = mg.exp(x)
    assert str(t).startswith("no backward pass yet: values only") and t[y].grad is None
    assert "nothing conspicuous" not in str(t) and "nothing conspicuous" not in t._repr_html_()
    assert "no gradient" in repr(t[y]) and t.findings() == []
    with pytest.raises(ValueError, match="no backward pass that this tape has seen reached 'x'"):
        t.path("x")


def test_a_pass_that_was_not_finished():
    w = leaf([2.0], "w")
    y, z = mg.sum(mg.exp(w * w)), mg.sum(w * 3.0)
    w.assign([1.0])
    with mg.tape() as t:
        with pytest.raises(StaleError):
            y.backward()
        z.backward()
    assert ", not finished" in str(t) and [p.finished for p in t.passes] == [False, True]
    assert_array_equal(t["w"].grad.numpy(), [3])
    assert set(t["w"].cotangents) == {2}


def test_a_pass_inside_a_pass():
    """A hook that differentiates something else, even one that fails there, mixes nothing up."""
    w, v = leaf([2.0], "w"), leaf([3.0], "v")
    h = mg.exp(w)

    def inner(g):
        used = mg.sum(v * v)
        used.backward(retain_graph=True)
        v.assign([4.0])
        with pytest.raises(StaleError):
            used.backward()

    h.hook(mg.enable_grad()(inner))
    loss = mg.sum(h * 2.0)
    with mg.tape() as t:
        loss.backward()
    assert_allclose(t["w"].grad.numpy(), 2 * np.exp(2))
    assert_allclose(t["v"].grad.numpy(), 6)
    assert [set(t[name].cotangents) for name in ("w", "v", h)] == [{1}, {2}, {1}]
    assert [p.finished for p in t.passes] == [True, True, False]
    assert t.sent(1, h.node.seq, w.node.seq) == pytest.approx(2 * np.exp(2))


def test_only_what_was_asked_for_was_sent():
    """batch_norm's rule computes all three gradients; to gamma and beta none was sent, if nobody asked."""
    x, gamma, beta = leaf(RNG.standard_normal((5, 2)), "x"), leaf(np.ones(2), "gamma"), leaf(np.zeros(2), "beta")
    y = mg.batch_norm(x, gamma, beta)
    loss = mg.sum(y * y * y)
    with mg.tape() as t:
        mg.grad(loss, x)
    assert t["gamma"].grad is None and t.sent(1, y.node.seq, gamma.node.seq) is None
    assert t.sent(1, y.node.seq, x.node.seq) == pytest.approx(t["x"].stats(1).norm)
    assert t.findings() == []


def test_html():
    net = deep()
    with mg.tape() as t:
        logistic(net).backward()
    html = t._repr_html_()
    assert html.count("<tr>") == len(t.rows(1)) + 1 and "D.dense3.weight" in html and FILE in html
    assert html.endswith("<p>nothing conspicuous: every gradient arrives</p></div>")
    assert "D.dense1" in t.path("D.dense1.weight")._repr_html_()
    odd = leaf([1.0], "a<b\x00")
    with mg.tape() as t:
        mg.relu(odd * 0.0).backward()
    assert "a&lt;b\ufffd" in t._repr_html_().rpartition("exactly 0")[2] and "\x00" not in t._repr_html_()


def test_what_was_sent_is_summed_once(monkeypatch):
    net = deep()
    with mg.tape() as t:
        logistic(net).backward()
    expected = str(t), str(t.path("D.dense1.weight"))
    monkeypatch.setattr(sys.modules["minigan.inspect.tape"], "total", None)  # not needed any more
    assert (str(t), str(t.path("D.dense1.weight"))) == expected


# ---- paths -----------------------------------------------------------------------------------------------------------


def test_hops_are_products_with_the_jacobians():
    rng = np.random.default_rng(1)
    W, V = leaf(rng.standard_normal((3, 4)), "W"), leaf(rng.standard_normal((4, 2)), "V")
    x, c = leaf(rng.standard_normal((1, 3)), "x"), rng.standard_normal((1, 2))
    h = x @ W
    a, line = mg.tanh(h), here()
    y = a @ V
    with mg.tape() as t:
        mg.sum(y * c).backward()
    path = t.path("x", y)
    g = c[0]  # the explicit Jacobians, output index first
    jacobians = [("matmul", V.data.T), ("tanh", np.diag(1 - a.data[0] ** 2)), ("matmul", W.data.T)]
    assert [hop.entry.op for hop in path.hops] == [name for name, _ in jacobians]
    product = 1.0
    for hop, (_, J) in zip(path.hops, jacobians, strict=True):
        sent = J.T @ g
        assert_allclose(hop.arrives, np.linalg.norm(g))
        assert_allclose(hop.leaves, np.linalg.norm(sent))
        assert_allclose(hop.factor, np.linalg.norm(J.T @ g) / np.linalg.norm(g))
        product *= hop.factor
        g = sent
    assert_allclose(path.factor, product)
    assert_allclose(product, np.linalg.norm(t["x"].grad.numpy()) / np.linalg.norm(c))
    assert (path.start, path.end, path.ways) == (t[y], t["x"], 1)
    assert str(t.path(y, "x")) == str(path)  # either order
    assert f"{FILE}:{line}" in str(path).splitlines()[3] and "x̄ = ȳ·(1 − y²)" in str(path)
    assert str(path).splitlines()[0] == "from matmul back to x: 3 ops"
    assert f"multiplied by {product:.3g}" in str(path)
    whole = t.path("W")
    assert [hop.entry.op for hop in whole.hops] == ["sum", "multiply", "matmul", "tanh", "matmul"]
    assert str(t.path("W", "W")).endswith("nothing lies between")


def test_the_strongest_of_several_ways():
    x = leaf([1.0, 2.0], "x")
    weak, strong = mg.tanh(x), 100.0 * x
    y = weak + strong + mg.exp(x)
    with mg.tape() as t:
        mg.sum(y).backward()
    path = t.path("x", y)
    assert path.ways == 3 and path.hops[-1].entry is t[strong] and path.hops[-1].leaves == pytest.approx(100 * 2**0.5)
    assert "the strongest of 3 ways" in str(path)
    assert t.path(weak, y).ways == 1
    assert [hop.entry for hop in t.path("x", weak).hops] == [t[weak]]  # the stronger ones do not come from there
    y = x
    for _ in range(3):
        y = mg.exp(0.1 * y) + mg.tanh(y)
    with mg.tape() as t:
        mg.sum(y).backward()
    assert t.path("x").ways == 8


def test_a_square_is_one_way_on_which_both_gradients_come():
    x = leaf([3.0, 4.0], "x")
    y = x * x
    with mg.tape() as t:
        mg.sum(y).backward()
    path = t.path("x", y)
    assert path.ways == 1 and path.hops[0].leaves == pytest.approx(10)  # ‖2x‖


def test_a_way_through_a_broadcast():
    b, x = leaf([1.0, 2.0], "b"), RNG.standard_normal((5, 2))
    y = b + x
    with mg.tape() as t:
        mg.sum(y * x).backward()
    assert t.path("b", y).hops[0].leaves == pytest.approx(np.linalg.norm(x.sum(axis=0)))


def test_where_a_gradient_dies_on_its_way():
    x = leaf([1.0, 2.0], "x")
    y = mg.relu(x - 10.0)
    line = here(-1)
    with mg.tape() as t:
        mg.sum(y).backward()
    path = t.path("x")
    assert path.factor == 0 and str(path).endswith(f"the gradient dies in relu, {FILE}:{line}")
    assert [hop.factor for hop in path.hops][-2:] == [0, 0] and "dies" in str(path).splitlines()[3]
    x, small = leaf([1.0, 2.0], "x"), here()
    with mg.tape() as t:
        mg.sum(mg.tanh(1e-5 * x) * 10.0).backward()
    assert f"smallest factor 1e-05 in multiply, {FILE}:{small + 2}" in str(t.path("x"))
    with mg.tape() as t:
        mg.sum(mg.tanh(1e5 * (1e-9 * x))).backward()
    assert "▲" in str(t.path("x")) and "▼" in str(t.path("x"))


def test_a_path_of_one_op():
    x = leaf([1.0, 2.0], "x")
    with mg.tape() as t:
        mg.sum(x).backward()
    assert str(t.path("x")).startswith("from sum back to x: 1 op\n")


def test_which_pass_and_no_way():
    x, z = leaf([1.0, 2.0], "x"), leaf([1.0], "z")
    h = mg.exp(x)
    first, second = mg.sum(h), mg.sum(h * 2.0) + mg.sum(z)
    with mg.tape() as t:
        first.backward(retain_graph=True)
        second.backward()
    assert t.path("x", h).hops[0].arrives == pytest.approx(2 * 2**0.5)
    assert t.path("x", h, number=1).hops[0].arrives == pytest.approx(2**0.5)
    with pytest.raises(ValueError, match="no gradient travelled from exp to z in backward pass 2|from z to exp"):
        t.path("z", h)
    with pytest.raises(ValueError, match="in backward pass 1"):
        t.path("z", number=1)
    with pytest.raises(ValueError, match="there is no backward pass 3"):
        t.path("x", number=3)
    with pytest.raises(KeyError):
        t.path("q")


# ---- findings --------------------------------------------------------------------------------------------------------


def words(net, loss=logistic, forward=False):
    """What is printed below the table of one step."""
    if forward:
        with mg.tape() as t, np.errstate(all="ignore"):
            loss(net).backward()
    else:
        with np.errstate(all="ignore"):
            out = loss(net)
            with mg.tape() as t:
                out.backward()
    return last_words(t)


def layers_named(text):
    """The layers that a text names as a cause: not in the list of gradients that are exactly 0 for it."""
    causes = "\n".join(line for line in text.splitlines() if not line.startswith("gradients that are exactly 0"))
    return set(re.findall(r"D\.[a-z]+\d+", causes))


def biased(activation, bias, nonzero=False):
    net = deep(activation)
    if nonzero:
        for i in (1, 2, 4, 5):
            getattr(net, f"dense{i}").bias.assign(np.full(16, 0.1, np.float32))
    net.dense3.bias.assign(np.full(16, bias, np.float32))
    return net


@pytest.mark.parametrize("forward", [False, True])
@pytest.mark.parametrize("nonzero", [False, True])
def test_a_dead_relu(nonzero, forward):
    """With biases of 0 behind it, all that follows the dead layer is 0: that is its doing, not the last relu's."""
    text = words(biased(nn.ReLU, -100.0, nonzero), forward=forward)
    assert layers_named(text) <= {"D.relu3", "D.dense3"} and "dies in relu in D.relu3, " in text.splitlines()[0]
    assert "its input lies in [-1" in text
    silent = text.splitlines()[-1]
    assert silent.startswith("gradients that are exactly 0: D.dense1.weight, D.dense1.bias, D.dense2.weight")
    assert ("D.dense4.weight" in silent) and ("D.dense5.bias" in silent) == (not nonzero)


@pytest.mark.parametrize("bias", [100.0, 20.0, 11.0, -11.0, -20.0, -100.0])
@pytest.mark.parametrize("activation", [nn.Sigmoid, nn.Tanh])
def test_a_saturated_layer(activation, bias):
    text, name = words(biased(activation, bias)), activation.__name__.lower()
    assert layers_named(text) <= {f"D.{name}3", "D.dense3"} and f"in {name} in D.{name}3, {FILE}:" in text
    assert "dies" in text or "shrinks suddenly" in text


@pytest.mark.parametrize("activation", [nn.ReLU, nn.LeakyReLU, nn.Tanh])
@pytest.mark.parametrize("layer", [2, 4, 6])
def test_weights_that_are_zero(activation, layer):
    net = deep(activation)
    weight = getattr(net, f"dense{layer}").weight
    weight.assign(np.zeros(weight.shape, np.float32))
    text = words(net)
    assert f"the signal dies in linear in D.dense{layer}, " in text and f"D.dense{layer}.weight is 0" in text
    assert layers_named(text) == {f"D.dense{layer}"}


def test_a_detach_in_the_middle():
    net = deep(layers=4)
    lines = []

    def cut(net):
        h = net.leakyrelu2(net.dense2(net.leakyrelu1(net.dense1(POINTS))))
        lines.append(here(-1))
        return mg.mean(net.dense4(net.leakyrelu3(net.dense3(h.detach()))))

    text = words(net, cut, forward=True)
    assert "no gradient reaches D.dense1.weight, D.dense1.bias, D.dense2.weight, D.dense2.bias: " in text
    assert f"what came out of leaky_relu in D.leakyrelu2, {FILE}:{lines[0]}, was detached" in text


def test_what_only_another_pass_reaches_is_reached():
    net = deep(layers=3)
    with mg.tape() as t:
        h = net.dense1(POINTS)
        mg.mean(net.dense3(h.detach())).backward()
        assert "no gradient reaches D.dense1.weight, D.dense1.bias: what came out of linear in D.dense1" in str(t)
        mg.mean(h * h).backward()
    assert t.findings() == []


def test_what_is_wrong_in_two_passes_is_said_once():
    net = biased(nn.ReLU, -100.0)
    loss = logistic(net)
    with mg.tape() as t:
        loss.backward(retain_graph=True)
        loss.backward()
    assert len(t.findings()) == 2  # the dead layer, and the gradients that are 0


def test_a_network_that_is_detached_as_a_whole_is_meant():
    """The discriminator's step on G(z).detach(): nothing reaches G, and nobody asked."""
    D, G = deep(), initialize(mlp(4, 8, 8, name="G"), he, 0)
    fn = lambda D: mg.mean(mg.softplus(D(G(POINTS[:, :4]).detach()))) + logistic(D)
    assert words(D, fn, forward=True) == "nothing conspicuous: every gradient arrives"


@pytest.mark.parametrize("activation", [nn.Sigmoid])
def test_a_gradient_that_vanishes_gradually(activation):
    net = deep(activation, 12)
    loss = logistic(net)
    first, *_, last = (
        g.numpy() for g in mg.grad(loss, [p for p in net.parameters() if p.ndim == 2], retain_graph=True)
    )
    ratio = np.sqrt(np.mean(last**2)) / np.sqrt(np.mean(first**2))
    with mg.tape() as t:
        loss.backward()
    text = last_words(t)
    assert f"the gradient of D.dense1.weight is {ratio:.1e} times smaller than that of D.dense12.weight" in text
    assert re.search(r"vanishes slowly, most of all in sigmoid in D\.sigmoid\d+, ", text)
    factors = [hop.factor for hop in t.path("D.dense1.weight").hops if hop.entry.op == "sigmoid"]
    assert f"by {min(factors):.2g};" in text and len(factors) == 11


@pytest.mark.parametrize("layer", [1, 3, 6])
def test_numbers_that_are_not_finite(layer):
    net = deep()
    weight = getattr(net, f"dense{layer}").weight
    values = weight.numpy()
    values[0, 0] = np.nan
    weight.assign(values)
    text = words(net)
    assert text.startswith(f"the first value that is not finite: D.dense{layer}.weight, ") and "1 of " in text
    net = deep()
    weight = getattr(net, f"dense{layer}").weight
    weight.assign(np.full(weight.shape, np.inf, np.float32))
    assert f": D.dense{layer}.weight, " in words(net).splitlines()[0]


@pytest.mark.parametrize("factor", [1e6, 1e-6])
@pytest.mark.parametrize("layer", [1, 2, 3, 6])
@pytest.mark.parametrize("activation", [nn.LeakyReLU, nn.ReLU])
def test_exploding_and_tiny_weights(layer, activation, factor):
    net = deep(activation)
    weight = getattr(net, f"dense{layer}").weight
    weight.assign(weight.numpy() * np.float32(factor))
    text = words(net, lambda net: mg.mean(net(POINTS)))
    what = "grow" if factor > 1 else "shrink"
    assert f"the values {what} suddenly in linear in D.dense{layer}, " in text
    assert layer == 1 or f"the gradient {what}s suddenly in linear in D.dense{layer}, " in text
    assert {int(line.split("D.dense")[1].split(",")[0]) for line in text.splitlines()} == {layer}


def test_a_mean_is_no_news():
    x = leaf(np.ones((2000, 100)), "x")
    with mg.tape() as t:
        (mg.mean(mg.tanh(x)) * 0.02).backward()
    assert t.findings() == []


def test_a_loss_multiplied_by_zero():
    text = words(deep(), lambda net: 0.0 * logistic(net))
    assert text.startswith("the gradient dies in multiply, ") and text.count("\n") == 1
    assert "\ngradients that are exactly 0: D.dense1.weight, D.dense1.bias" in text


@pytest.mark.parametrize("where", ["result", "weight", "output"])
@pytest.mark.parametrize("recorded", [False, True])
def test_a_hook_that_makes_the_gradient_zero(where, recorded):
    net = deep(layers=3)
    h = net.dense2(net.leakyrelu1(net.dense1(POINTS)))
    line = here(-1)
    loss = mg.mean(net.dense3(net.leakyrelu2(h)) + mg.sum(h))
    (arrived,) = mg.grad(loss, h, retain_graph=True)
    hooked = {"result": h, "weight": net.dense3.weight, "output": loss}[where]
    handle = hooked.hook(lambda g: g * 0.0)
    with mg.tape() as t:
        mg.grad(loss, net.parameters(), create_graph=recorded)
    first, silent = last_words(t).splitlines()
    names = [p.name for p in net.parameters()]
    if where == "result":
        norm = np.linalg.norm(arrived.numpy().astype(float))
        assert (
            first
            == f"a hook at linear in D.dense2, {FILE}:{line}, made its gradient 0: it arrived with norm {norm:.3g}"
        )
        assert silent == f"gradients that are exactly 0: {', '.join(names[:4])}"
    elif where == "weight":
        assert first.startswith("a hook at D.dense3.weight, ") and silent.endswith(" exactly 0: D.dense3.weight")
    else:
        assert first.startswith("a hook at mean, ") and silent.endswith(f" exactly 0: {', '.join(names)}")
    assert handle is not None


def test_a_sum_that_cancels_is_no_hook():
    x = leaf(RNG.standard_normal(100), "x")
    y = mg.exp(x)
    with mg.tape() as t:
        (mg.sum(-(0.1 + 0.2) * y) + mg.sum(0.2 * y) + mg.sum(0.1 * y)).backward()  # the youngest sends first
    assert not np.any(t[y].grad.numpy()) and not any("hook" in line for line in t.findings())


def test_a_dead_term_of_numbers():
    net, w = deep(), mg.tensor(np.ones(3, np.float32), requires_grad=True, name="w")
    text = words(net, lambda net: logistic(net) + mg.relu(mg.mean(w) - 5.0), forward=True)
    assert re.match(rf"the gradient dies in relu, {FILE}:\d+: .*; the input of relu lies in \[-4, -4\]\n", text)
    assert text.endswith("\ngradients that are exactly 0: w")
    assert words(net, lambda net: logistic(net) + mg.sum(0.0 * w)).endswith("\ngradients that are exactly 0: w")


def test_no_verdict_on_passes_that_prove_nothing():
    x = leaf([1.0, 2.0], "x")
    y = mg.exp(x)
    with mg.tape() as t:
        mg.grad(y, x, np.zeros(2), retain_graph=True)
        assert t.findings() == [] and "nothing conspicuous" not in str(t)
        mg.grad(y, x, np.ones(2))
    assert last_words(t) == "nothing conspicuous: every gradient arrives"


def test_two_leaves_of_one_name():
    u, v, other = (leaf(np.ones((2, 2)), name) for name in ("u", "v", "u"))
    with mg.tape() as t:
        (mg.sum(u * 1e-7) + mg.sum(v)).backward()
        mg.sum(other).backward()
    text = last_words(t)
    assert re.match(r"the gradient of u is 1.0e\+07 times smaller than that of v ", text) and "t.path(" not in text
    del other
    with mg.tape() as t:
        (mg.sum(u * 1e-7) + mg.sum(v)).backward()
        mg.sum(u).backward()
    assert last_words(t).endswith("; print(t.path('u', number=1)) shows all")


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_a_dead_scale(beta):
    net = initialize(nn.Sequential(nn.Dense(8, 4), nn.BatchNorm(4), nn.Tanh(), nn.Dense(4, 1), name="D"), he, 0)
    net.batchnorm1.gamma.assign(np.zeros(4, np.float32))
    net.batchnorm1.beta.assign(np.full(4, beta, np.float32))
    text = words(net)
    assert f"the {'gradient' if beta else 'signal'} dies in " in text and " in D.batchnorm1, " in text.splitlines()[0]
    assert "; D.batchnorm1.gamma is 0; " in text and "beta is 0" not in text
    assert layers_named(text) <= {"D.batchnorm1", "D.dense1"} and "D.dense1.weight" in text.splitlines()[-1]


def test_a_dead_part_of_a_loss_that_silences_nobody_is_no_news():
    """`historical_averaging` in its first round; `orthogonal` of a single row."""
    net = deep()
    weight = net.dense1.weight

    def total(net):
        away = mg.sum((weight - weight.numpy()) ** 2)
        return logistic(net) + away + mg.sum((weight @ weight.T * np.zeros((8, 8), np.float32)) ** 2)

    assert words(net, total) == "nothing conspicuous: every gradient arrives"


def test_what_another_pass_of_the_step_reaches_is_not_silent():
    w = leaf([1.0, 2.0], "w")
    with mg.tape() as t:
        (mg.sum(mg.exp(w)) * 0.0).backward()
        mg.sum(mg.exp(w)).backward()
        assert t.findings() == []
        w.assign([3.0, 4.0])
        (mg.sum(mg.exp(w)) * 0.0).backward()
    assert t.findings()[-1] == "gradients that are exactly 0: w"  # in the next step it is


def test_small_gradients_on_one_of_two_ways_are_no_news():
    net = deep(layers=3)

    def residual(net):
        h = net.dense1(POINTS)
        h = h + 1e-6 * mg.tanh(h)  # a block that hardly does anything yet
        return mg.mean(net.dense3(net.leakyrelu2(net.dense2(h)))) + 1e-7 * mg.sum(net.dense1.weight**2)

    assert words(net, residual) == "nothing conspicuous: every gradient arrives"


def gan(name, width=32, regularizers=(), activation=nn.LeakyReLU):
    data = Batches(ring(256, np.random.default_rng(0)), 32, 0)
    if name in ("ebgan", "began"):
        D = Reconstruction(mlp_autoencoder(2, width, 2))
    else:
        D = mlp(2, width, width, 1, seed=1, activation=activation, name="D")
    G = mlp(4, width, width, 2, seed=0, activation=activation, name="G")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return GAN(G, D, data, 4, name, [objectives.regularizer(r) for r in regularizers], seed=1)


CASES = [(name, ()) for name in objectives.names()]
CASES += [("wasserstein", ("gradient_penalty",)), ("wasserstein", ("lipschitz_penalty",)), ("minimax", ("r1", "r2"))]
CASES += [("hinge", ("dragan",)), ("least_squares", ("gradient_penalty",))]


@pytest.mark.parametrize(("name", "regularizers"), CASES, ids=str)
def test_healthy_games_raise_no_alarm(name, regularizers):
    """At the start and after some rounds; each player's own loss, and both at once, with the tape open all the time."""
    game = gan(name, regularizers=regularizers)
    solver = Alternating({n: Adam(p, lr=1e-3) for n, p in game.players.items()})
    for _ in range(2):
        for player in "DG":
            with mg.tape() as t:
                game.loss(player, game.batch(0, player)).backward()
            assert last_words(t) == "nothing conspicuous: every gradient arrives"
        with mg.tape() as t:
            losses = game.losses(game.batch(0))
            losses["D"].backward(retain_graph=True)
            losses["G"].backward()
        assert last_words(t) == "nothing conspicuous: every gradient arrives"
        play(game, solver, 5)


@pytest.mark.parametrize("solver", [Consensus, SymplecticGradientAdjustment, Unrolled])
def test_healthy_second_derivatives_raise_no_alarm(solver):
    """Nor do the passes on zeros that take a product with a Jacobian, nor the parts of batch_norm's derivative."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = Batches(np.tile(IMAGES, (2, 1, 1, 1)), 8, 0)
        game = GAN(dcgan_generator(6, channels=4), dcgan_discriminator(channels=4), data, 6, "non_saturating")
    player = solver({n: Adam(p, lr=1e-3) for n, p in game.players.items()})
    with mg.tape() as t:
        play(game, player, 1)
    assert last_words(t) == "nothing conspicuous: every gradient arrives"


def test_the_square_of_a_small_derivative_is_no_news():
    """That of R1: it is small, and so is its own derivative."""
    x, w = leaf(np.ones(3), "x"), leaf(np.full(3, 1e-6), "w")
    with mg.tape() as t:
        (g,) = mg.grad(mg.sum(mg.tanh(w * x)), x, create_graph=True)
        mg.sum(mg.square(mg.reshape(g, (3, 1)))).backward()
    assert last_words(t) == "nothing conspicuous: every gradient arrives"
    with mg.tape() as t:
        mg.sum(mg.square(mg.reshape(1.0 * w, (3, 1)))).backward()
    assert "shrinks suddenly in square, " in last_words(t) and "; the input of square lies in [1e-06, 1e-06]" in str(t)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.Sigmoid])
def test_healthy_activations_raise_no_alarm(activation):
    game = gan("non_saturating", activation=activation)
    for player in "DG":
        with mg.tape() as t:
            game.loss(player, game.batch(0, player)).backward()
        assert t.findings() == []


@pytest.mark.parametrize("objective", ["non_saturating", "wasserstein", "hinge", "relativistic"])
def test_a_healthy_dcgan_raises_no_alarm(objective):
    data = Batches(np.tile(IMAGES, (2, 1, 1, 1)), 8, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        game = GAN(dcgan_generator(6, channels=4), dcgan_discriminator(channels=4), data, 6, objective)
    for player in "DG":
        with mg.tape() as t:
            game.loss(player, game.batch(0, player)).backward()
        assert last_words(t) == "nothing conspicuous: every gradient arrives"


def test_a_last_bias_whose_gradient_cancels_is_no_death():
    """The critic's: +1 from the fake samples, −1 from the real ones, whether in two calls or as one batch."""
    net, both = deep(), np.concatenate([POINTS, POINTS[::-1]])
    signs = np.repeat([[1.0], [-1.0]], 32, 0).astype(np.float32) / 32

    def as_one(net):
        return mg.sum(net(both) * signs)

    def in_two(net):
        return mg.sum(net(both[:32]) * signs[:32]) + mg.sum(net(both[32:] + np.float32(1)) * signs[32:])

    loss = as_one(net)
    loss.backward()
    assert net.dense6.bias.grad.item() == 0
    net = deep()
    assert words(net, lambda net: mg.sum(net(POINTS) * signs[:32] + net(POINTS + 1) * signs[32:])) == (
        "nothing conspicuous: every gradient arrives"
    )
    assert words(net, in_two) == "nothing conspicuous: every gradient arrives"
    dead = biased(nn.ReLU, -100.0)  # here it is not among the gradients that are 0 for the dead layer
    assert "D.dense5.bias" in words(dead, in_two) and "D.dense6.bias" not in words(dead, in_two)
    shifted = np.concatenate([POINTS, POINTS + 1])
    assert words(net, lambda net: mg.sum(net(shifted) * signs)) == "nothing conspicuous: every gradient arrives"


# ---- changing nothing, leaving nothing -------------------------------------------------------------------------------


@pytest.mark.parametrize("build", ["D", "G", "penalty"])
def test_a_tape_changes_no_gradient(build):
    found = []
    for watched in (False, True):
        if build == "penalty":
            net, fn = critic_and_penalty()
        else:
            D, G, steps = dcgan_steps()
            net, fn = {"D": D, "G": G}[build], steps[build]
        with mg.tape() if watched else contextlib.nullcontext() as t:
            loss = fn()
            str(t)
            loss.backward()
            str(t)
        found.append([loss.numpy(), *(p.grad.numpy() for p in net.parameters())])
    for a, b in zip(*found, strict=True):
        assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["non_saturating", "wasserstein"])
def test_a_tape_changes_no_training(name):
    states = []
    for watched in (False, True):
        game = gan(name, regularizers=("gradient_penalty",) if name == "wasserstein" else ())
        solver = Alternating({n: Adam(p, lr=1e-2) for n, p in game.players.items()})
        if watched:
            with mg.tape() as t:
                play(game, solver, 3)
            str(t)
            t.path("G.dense1.weight")
            assert len(t.passes) == (9 if name == "wasserstein" else 6)
        else:
            play(game, solver, 3)
        states.append(game.state_dict())
    assert states[0].keys() == states[1].keys()
    for key in states[0]:
        assert_array_equal(states[0][key], states[1][key])


class Stop(Exception):
    pass


def assert_clean():
    assert Primitive.__call__ is OWN and _here.watchers == () and _here.inside is None


def test_nothing_is_left_installed():
    x = leaf([1.0, 2.0], "x")
    t = mg.tape()
    with pytest.raises(Stop), t:
        mg.exp(x)
        raise Stop
    assert_clean()
    with mg.tape() as outer:
        with mg.tape() as inner:
            mg.sum(mg.exp(x)).backward()
        mg.sum(mg.tanh(x)).backward()
    assert_clean()
    assert (len(outer.passes), len(inner.passes)) == (2, 1)
    assert {e.op for e in inner.rows()} == {"leaf", "exp", "sum"} and {e.op for e in outer.rows()} > {"tanh", "exp"}
    with mg.tape() as t:
        with pytest.raises(MiniganError, match="running already"), t:
            pass
        mg.sum(x).backward()
    assert_clean()
    assert len(t.passes) == 1
    with t:
        mg.sum(x * x).backward()
    assert len(t.passes) == 2
    assert_clean()


def test_two_threads_do_not_see_each_other():
    tapes, barrier = {}, threading.Barrier(2)

    def work(name, fn):
        x = leaf([1.0, 2.0], name)
        with mg.tape() as t:
            barrier.wait()
            for _ in range(50):
                mg.sum(fn(x)).backward()
            barrier.wait()
        tapes[name] = t

    threads = [threading.Thread(target=work, args=(n, f)) for n, f in (("a", mg.exp), ("b", mg.tanh))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {e.op for e in tapes["a"].rows()} == {"leaf", "exp", "sum"} and len(tapes["a"].passes) == 50
    assert {e.op for e in tapes["b"].rows()} == {"leaf", "tanh", "sum"} and len(tapes["b"].passes) == 50
    assert_clean()


def test_the_graph_dies_with_its_loss_and_the_arrays_with_the_tape():
    gc.collect()
    gc.disable()
    try:
        net = deep()
        with mg.tape() as t:
            h = net.dense1(POINTS)
            loss = mg.mean(net.dense6(net.leakyrelu1(h)))
            (first,) = mg.grad(loss, net.dense1.weight, create_graph=True)
            mg.sum(first * first).backward(retain_graph=True)
        entry = t[h]
        nodes = [weakref.ref(x.node) for x in (h, loss, first)]
        arrays = [weakref.ref(a) for a in (entry.value.data, entry.grad.data, t[first].value.data)]
        str(t)
        str(t.path("D.dense1.weight"))
        del h, loss, first
        assert [ref() for ref in nodes] == [None] * 3  # the tape holds numbers, not the graph
        assert all(ref() is not None for ref in arrays) and t["D.dense1.weight"].grad is not None
        del entry
        whole = weakref.ref(t)
        del t
        assert whole() is None and [ref() for ref in arrays] == [None] * 3
    finally:
        gc.enable()


def test_a_tape_keeps_no_node():
    with mg.tape() as t:
        loss = logistic(deep())
        loss.backward()
    seen, stack = set(), [t]
    while stack:
        thing = stack.pop()
        if id(thing) in seen or isinstance(thing, type) or callable(thing) or type(thing).__name__ == "module":
            continue
        seen.add(id(thing))
        assert type(thing) is not Node
        stack += [r for r in gc.get_referents(thing) if not hasattr(r, "f_code")]


# ---- large graphs, and the device ------------------------------------------------------------------------------------


def test_a_long_chain():
    x = y = leaf(np.ones(2), "x")
    for i in range(20_000):
        y = y + 0.5 if i % 2 else -y
    with mg.tape() as t:
        mg.sum(y).backward()
    text = str(t)
    assert text.count("\n") > 20_000 and last_words(t) == "nothing conspicuous: every gradient arrives"
    path = t.path("x")
    assert len(path.hops) == 20_001 and path.ways == 1 and path.factor == pytest.approx(2**0.5)
    assert str(path).count("\n") == 20_003
    assert_array_equal(t[x].grad.numpy(), np.ones(2))


def test_more_ways_than_a_number_has_digits():
    x = leaf([1.0], "x")
    y = x
    for _ in range(3000):
        y = y + 0.001 * y
    with mg.tape() as t:
        mg.sum(y).backward()
    path = t.path(x)
    assert path.ways == 2**3000 and "the strongest of 10^903 and more ways" in str(path)


def test_on_a_device():
    """Asking copies to the host through its door; recording copies nothing and waits for nothing."""
    cpu, there = deep(), deep().to("strict")
    with mg.tape() as expected:
        logistic(cpu).backward()
    x = mg.tensor(POINTS, device="strict")
    loss = logistic(there, x)
    with no_sync(), mg.tape() as t:
        loss.backward()
    with no_sync(), mg.tape() as forward:
        logistic(there, x).backward()
    before = counts.syncs
    mine, theirs = printed(t), printed(expected)
    assert counts.syncs > before
    for tape in (t, forward):
        mine = printed(tape)
        assert [(r["label"], r["op"], r["shape"], r["∂"]) for r in mine] == [
            (r["label"], r["op"], r["shape"], r["∂"]) for r in theirs
        ]
        for a, b in zip(mine, theirs, strict=True):
            for key in ("‖value‖", "‖grad‖"):
                assert a[key] == b[key] == "–" or float(a[key]) == pytest.approx(float(b[key]), rel=2e-2)
        assert last_words(tape) == "nothing conspicuous: every gradient arrives"
    assert type(t["D.dense3.weight"].grad.data) is type(t["D.dense3"].value.data) is StrictArray
    assert t.path("D.dense1.weight").factor == pytest.approx(expected.path("D.dense1.weight").factor, rel=1e-4)
    b = mg.tensor([1.0, 2.0], True, device="strict", name="b")
    y = b + mg.tensor(np.ones((3, 2), np.float32), device="strict")
    with mg.tape() as t:
        mg.sum(y).backward()
    assert t.path("b", y).hops[0].leaves == pytest.approx(3 * 2**0.5)
    dead = biased(nn.ReLU, -100.0).to("strict")
    assert "the signal dies in relu in D.relu3" in words(dead, lambda net: logistic(net, x))


def test_looking_at_a_tape_is_watched_by_nobody():
    """What is computed again to be shown is no anomaly of the program, and no event."""
    x = mg.tensor([1.0, 0.0], requires_grad=True)
    y = mg.sum(mg.sqrt(mg.square(x)) + 1.0)
    with mg.tape() as t:
        y.backward(retain_graph=True)
    with mg.anomaly():
        str(t), t.path(x), t.findings()
    told = []
    with mg.tape() as t:
        y.backward()
    with mg.on_op(told.append):
        str(t), t.path(x), t[x].value
    assert told == []


def test_a_formula_is_found_wherever_it_stands():
    for text in ("y = 2x. x̄ = 2ȳ", "y = 2x.\n\n    x̄ = 2ȳ\n    ", "Twice x.\n    x̄ = 2ȳ"):
        assert formula(type("Op", (), {"__doc__": text})) == "x̄ = 2ȳ"
    assert formula(type("Op", (), {"__doc__": "Twice x."})) == ""
