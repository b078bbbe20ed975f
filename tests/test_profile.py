"""The profiler: calls, orders and layers are counted exactly, flops are those of hand calculation, times add up."""

import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter

import numpy as np
import pytest

import minigan as mg
from minigan import backend, nn
from minigan.autodiff import engine
from minigan.autodiff.primitive import Primitive, Rule, registry
from minigan.inspect.profile import Profile, profile
from minigan.inspect.watch import on_op, watching

module = sys.modules["minigan.inspect.profile"]  # the package's attribute of this name is the function
FUNCTIONS = Primitive.__call__, Rule.__call__, engine._run, nn.Module.__call__
RATE = 1e9


@pytest.fixture(autouse=True)
def known_rate_and_a_clean_engine(monkeypatch):
    monkeypatch.setattr(module, "gemm_rate", lambda backend, dtype: RATE)
    yield
    assert (Primitive.__call__, Rule.__call__, engine._run, nn.Module.__call__) == FUNCTIONS


def leaf(*shape, dtype="float64", seed=0):
    return mg.tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype), requires_grad=True)


def calls(p):
    return {(r.name, r.order): r.calls for r in p.rows() if r.calls}


def flops(p):
    """{(op, order): flops} of the rows that have any."""
    return {(r.name, r.order): r.flops for r in p.rows() if r.products}


def check_sums(p):
    """Both tables share the same whole out, and nothing in them is negative."""
    total = p.total()
    for rows in (p.rows(), p.by_layer(), p.rows(0.05), p.by_layer(0.05)):
        assert sum(r.seconds for r in rows) == pytest.approx(total.seconds) == pytest.approx(p.seconds)
        assert sum(r.share for r in rows) == pytest.approx(1)
        assert all(min(r.seconds, r.forward, r.backward, r.share, r.bytes, r.gemm_share) >= 0 for r in rows)
        assert sum(r.calls for r in rows) == total.calls
        assert sum(r.bytes for r in rows) == total.bytes
        assert sum((r.products for r in rows), Counter()) == total.products
        assert rows[-1].name == "outside ops"
        for r in rows[:-1]:
            assert r.forward + r.backward == pytest.approx(r.seconds)
            assert r.gemm_share * r.seconds * RATE == pytest.approx(r.flops)
    named = [r.seconds for r in p.rows()[:-1]]
    assert named == sorted(named, reverse=True)


def network():
    net = nn.Sequential(nn.Dense(4, 3), nn.LeakyReLU(), nn.Dense(3, 1), name="D")
    return net, mg.tensor(np.ones((5, 4), "float32"))


# ---- calls, orders, layers -------------------------------------------------------------------------------------------


def test_calls_of_a_network():
    net, x = network()
    with profile() as p:
        mg.mean(net(x)).backward()
    assert calls(p) == {
        ("linear", 0): 2,
        ("leaky_relu", 0): 1,
        ("mean", 0): 1,
        ("mean", 1): 1,
        ("linear", 1): 2,
        ("leaky_relu", 1): 1,
    }
    check_sums(p)


def test_layers_of_a_network():
    net, x = network()
    with profile() as p:
        mg.mean(net(x)).backward()
    rows = {r.name: r for r in p.by_layer()}
    expected = {"D.dense1": 2, "D.leakyrelu1": 2, "D.dense2": 2, "(outside layers)": 2, "outside ops": 0}
    assert {name: r.calls for name, r in rows.items()} == expected
    assert all(r.forward > 0 < r.backward for name, r in rows.items() if r.calls)
    # x is a constant: the first layer has no gradient by it. 5 × 4 × 3 multiply-adds forward, as many for w̄.
    assert rows["D.dense1"].flops == 2 * 60 * 2
    assert rows["D.dense2"].flops == 2 * 15 * 3
    with profile() as q:
        net(x)
    assert all(r.backward == 0 for r in q.by_layer())


def test_orders_of_recorded_passes():
    x = leaf(3)
    with profile() as p:
        (g,) = mg.grad(mg.sum(mg.tanh(x)), x, create_graph=True)
        (h,) = mg.grad(mg.sum(g), x, create_graph=True)
        mg.sum(h).backward()
    found = calls(p)
    assert found["tanh", 0] == 1
    assert found["tanh", 1] == 3  # all three passes end in it
    assert found["sum", 0] == 3
    # Its rule g·(1 − out·out) multiplies inside the VJP, at order 1. The VJPs of these products are of order 2, those
    # of what they record in their turn of order 3.
    assert {order for name, order in found if name == "multiply"} == {2, 3}
    assert found["multiply", 2] > found["multiply", 3] > 0
    check_sums(p)
    assert {0, 1, 2, 3} <= {row.order for row in p.rows()}


def test_higher_orders_belong_to_the_layer_that_is_differentiated():
    net, x = network()
    x = mg.tensor(x.numpy(), requires_grad=True)
    with profile() as p:
        (g,) = mg.grad(mg.sum(net(x)), x, create_graph=True)
        mg.sum(g * g).backward()
    assert {name for name, order, where in p._rows if order == 2 and where == "D.dense1"} == {"matmul"}
    assert {where for name, order, where in p._rows if name == "matmul"} <= {"D.dense1", "D.dense2"}
    check_sums(p)


def test_what_a_pass_sums_itself_is_backward():
    x = leaf(3)
    with profile() as p:
        mg.sum(mg.exp(x) + mg.tanh(x)).backward()
    found = calls(p)
    assert found["add", 0] == 1  # the user's
    assert found["add", 1] == 2 + 1  # its two VJPs, and the engine's sum of two gradients


# ---- flops -----------------------------------------------------------------------------------------------------------


def test_matmul_flops():
    x, y = leaf(2, 3), leaf(3, 5)
    with profile() as p:
        mg.sum(mg.matmul(x, y)).backward()
    assert flops(p) == {("matmul", 0): 2 * 30, ("matmul", 1): 2 * 60}
    with profile() as p:
        mg.sum(mg.matmul(x, y.detach())).backward()  # only x̄
    assert flops(p) == {("matmul", 0): 2 * 30, ("matmul", 1): 2 * 30}


@pytest.mark.parametrize(("ta", "tb"), [(False, False), (True, False), (False, True), (True, True)])
def test_matmul_flops_with_transposes(ta, tb):
    x, y = leaf(*((3, 2) if ta else (2, 3))), leaf(*((5, 3) if tb else (3, 5)))
    with profile() as p:
        mg.sum(registry["matmul"](x, y, ta=ta, tb=tb)).backward()
    assert flops(p) == {("matmul", 0): 2 * 30, ("matmul", 1): 2 * 60}


def test_batched_matmul_flops():
    x, y = leaf(7, 2, 3), leaf(1, 3, 5)  # y broadcast: ȳ is computed for each of the 7, then summed
    with profile() as p:
        mg.sum(mg.matmul(x, y)).backward()
    assert flops(p) == {("matmul", 0): 2 * 210, ("matmul", 1): 2 * 420}
    x, y = leaf(7, 2, 3), leaf(3, 5)  # one product of 14 rows
    with profile() as p:
        mg.sum(mg.matmul(x, y)).backward()
    assert flops(p) == {("matmul", 0): 2 * 210, ("matmul", 1): 2 * 420}


def test_linear_flops():
    x, w, b = leaf(2, 3), leaf(3, 5), leaf(5)
    with profile() as p:
        mg.sum(mg.linear(x, w, b)).backward()
    assert flops(p) == {("linear", 0): 2 * 30, ("linear", 1): 2 * 60}  # its VJP's two matmuls are credited to it


# An image 2 × 6 × 5 × 3, weights 3 × 2 × 3 × 4, stride (2, 1), padding (1, 0): rows (6 + 2 − 3)//2 + 1 = 3, columns
# 5 − 2 + 1 = 4. Each of the 2 × 3 × 4 pixels has 4 outputs, each the sum over 3 × 2 × 3 numbers.
CONV, GEOMETRY = 2 * (2 * 3 * 4) * 4 * (3 * 2 * 3), {"stride": (2, 1), "padding": (1, 0)}


@pytest.mark.parametrize("bias", [True, False])
def test_conv_flops(bias):
    x, w, b = leaf(2, 6, 5, 3), leaf(3, 2, 3, 4), leaf(4)
    with profile() as p:
        y = mg.conv(x, w, bias=b if bias else None, **GEOMETRY)
        mg.sum(y).backward()
    assert y.shape == (2, 3, 4, 4)
    assert flops(p) == {("conv", 0): CONV, ("conv", 1): 2 * CONV}
    assert calls(p)["conv", 1] == 2 + bias


@pytest.mark.parametrize("bias", [True, False])
def test_conv_transpose_flops(bias):
    x, w, b = leaf(2, 3, 4, 4), leaf(3, 2, 3, 4), leaf(3)  # the adjoint of the same convolution
    with profile() as p:
        y = mg.conv_transpose(x, w, bias=b if bias else None, output_padding=(1, 0), **GEOMETRY)
        mg.sum(y).backward()
    assert y.shape == (2, 6, 5, 3)
    assert flops(p) == {("conv_transpose", 0): CONV, ("conv_transpose", 1): 2 * CONV}


def test_conv_weight_gradient_flops():
    x, g = leaf(2, 6, 5, 3), leaf(2, 3, 4, 4)
    with profile() as p:
        mg.sum(mg.conv_weight_gradient(x, g, (3, 2), **GEOMETRY)).backward()
    assert flops(p) == {("conv_weight_gradient", 0): CONV, ("conv_weight_gradient", 1): 2 * CONV}


def test_flops_of_a_recorded_pass():
    x, w = leaf(2, 6, 5, 3), leaf(3, 2, 3, 4)
    with profile() as p:
        (g,) = mg.grad(mg.sum(mg.conv(x, w, **GEOMETRY)), x, create_graph=True)  # conv_transpose(1, w)
        mg.sum(g * g).backward()  # by w only: one conv_weight_gradient. x plays no part in g
    assert flops(p) == {("conv", 0): CONV, ("conv", 1): CONV, ("conv_transpose", 2): CONV}


def test_flops_by_dtype():
    with profile() as p:
        mg.matmul(leaf(2, 2), leaf(2, 2))
        mg.matmul(leaf(2, 2, dtype="float32"), leaf(2, 2, dtype="float32"))
        mg.matmul(np.ones((2, 2), int), np.ones((2, 2), int))  # nothing fast computes integers
    (row,) = p.rows()[:-1]
    assert row.calls == 3
    assert {np.dtype(d).name: n for (b, d), n in row.products.items()} == {"float64": 16, "float32": 16}
    assert {b for b, d in row.products} == {backend.get("cpu")}


# ---- bytes -----------------------------------------------------------------------------------------------------------


def test_bytes_are_of_new_memory():
    x = leaf(4, 5)
    with profile() as p:
        y = mg.reshape(mg.exp(x), 20)
        mg.sum(y).backward()
    found = {(r.name, r.order): r.bytes for r in p.rows()}
    assert found["exp", 0] == found["exp", 1] == 4 * 5 * 8
    assert found["reshape", 0] == found["reshape", 1] == 0
    assert found["sum", 0] == 8


def test_plain_numbers_have_no_memory():
    with profile() as p:
        mg.add(2.0, 3.0)
        mg.add(np.ones(4), 1.0)
    (row, _) = p.rows()
    assert (row.calls, row.bytes) == (2, 4 * 8 + getattr(mg.add(2.0, 3.0), "nbytes", 0))


# ---- contexts --------------------------------------------------------------------------------------------------------


def test_entered_again_it_adds_up():
    x = leaf(3)
    with profile() as p:
        mg.exp(x)
    first = p.seconds
    mg.exp(x)  # not watched
    with p as again:
        assert again is p
        mg.exp(x)
        assert p.seconds > first  # can be asked inside
        check_rows_inside = p.rows()
    assert check_rows_inside[0].calls == 2
    assert calls(p) == {("exp", 0): 2}
    assert p.seconds > first > 0
    check_sums(p)


def test_nested_profiles():
    x = leaf(3)
    with profile() as p:
        mg.exp(x)
        with profile() as q:
            mg.tanh(x)
        with p:  # in itself: everything once
            mg.exp(x)
    assert calls(p) == {("exp", 0): 2, ("tanh", 0): 1}
    assert calls(q) == {("tanh", 0): 1}
    assert p.seconds >= q.seconds
    check_sums(p)
    check_sums(q)


def test_among_other_watchers():
    x, told = leaf(3), []
    with on_op(told.append), profile() as p, on_op(told.append):
        mg.exp(x)
    assert calls(p) == {("exp", 0): 1}
    assert len(told) == 2


def test_error_inside():
    x, w = leaf(2, 3), leaf(3, 5)
    p = profile()
    with pytest.raises(mg.ShapeError), p:
        mg.matmul(x, w)
        mg.exp(x) + mg.exp(w)
    assert calls(p) == {("matmul", 0): 1, ("exp", 0): 2}
    check_sums(p)


def broken_linear(x, w):
    """x w, whose VJP computes a product, then raises."""
    return x @ w


def test_products_of_a_vjp_that_raises_are_nobodys():
    op = Primitive(broken_linear)
    registry.pop(op.name)  # a test of all ops would miss its record

    @op.vjp("x")
    def _(g, w):
        mg.matmul(g, mg.transpose(w))
        raise RuntimeError("planted")

    x = leaf(2, 3)
    y = op(x, leaf(3, 5).detach())
    with profile() as p:
        with pytest.raises(RuntimeError, match="planted"):
            mg.sum(y).backward()
        mg.exp(x)
    assert flops(p) == {}
    assert ("broken_linear", 1) not in calls(p)
    assert calls(p)["exp", 0] == 1
    check_sums(p)


def layer_inside(x):
    """An op that calls a layer and runs a backward pass."""
    net, inner = nn.Dense(3, 2).named("inner"), mg.tensor(x, requires_grad=True)
    mg.sum(net(inner)).backward()
    return inner.grad.data


def test_an_op_with_a_network_inside_is_timed_once():
    op = Primitive(layer_inside)
    registry.pop(op.name)
    with profile() as p:
        op(np.ones((5, 3), "float32"))
    assert calls(p) == {("layer_inside", 0): 1}
    assert flops(p) == {("layer_inside", 0): 2 * 30 * 3}
    check_sums(p)


def test_it_changes_no_number():
    net, x = network()
    mg.mean(net(x)).backward()
    plain = [w.grad.numpy() for w in net.parameters()]
    for w in net.parameters():
        w.grad = None
    with profile():
        mg.mean(net(x)).backward()
    for a, w in zip(plain, net.parameters()):
        np.testing.assert_array_equal(a, w.grad.numpy())


def test_it_waits_for_the_device(monkeypatch):
    x, waits = leaf(3), []

    def synchronize(self):
        waits.append(1)
        time.sleep(2e-3)

    monkeypatch.setattr(type(backend.get("cpu")), "synchronize", synchronize)
    with profile() as p:
        mg.exp(x)
        mg.exp(x)
    (row, _) = p.rows()
    assert row.seconds >= 4e-3  # what the device still had to do is the op's
    assert len(waits) == 4  # after each, before the second, at the end
    check_sums(p)


# ---- printed ---------------------------------------------------------------------------------------------------------


def step():
    net, x = network()
    with profile() as p:
        mg.mean(mg.softplus(net(x))).backward()
    return p


def test_text():
    p = step()
    text = str(p)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 110
    assert lines[0].split() == ["op", "calls", "ms", "share", "MB", "GFLOP/s", "GEMM", "share"]
    words = {tuple(line.split()[:2]) for line in lines}
    assert {("linear", "forward"), ("linear", "backward"), ("outside", "ops")} <= words
    assert {"D.dense1", "layer"} <= {line.split()[0] for line in lines if line}
    assert text.count("total ") == 2
    assert "here 1 GFLOP/s in float32" in lines[-1]


def test_small_rows_are_put_together():
    p = step()
    every, few = p.rows(), p.rows(least=0.99)
    assert [r.name for r in few] == [f"{len(every) - 1} others", "outside ops"] or every[0].share >= 0.99
    assert sum(r.seconds for r in few) == pytest.approx(p.seconds)


def test_html():
    p = step()
    html = p._repr_html_()
    ET.fromstring(html)
    assert "D.dense1" in html
    assert "Time by op" in html


def test_nothing_inside():
    with profile() as p:
        pass
    assert [r.name for r in p.rows()] == ["outside ops"]
    assert p.total().gemm_share == 0
    for empty in (p, Profile()):
        assert "outside ops" in str(empty)
        assert "GEMM share:" not in str(empty)
        ET.fromstring(empty._repr_html_())


def test_the_rate_of_a_large_product(monkeypatch):
    monkeypatch.undo()
    rate, cpu = module.gemm_rate, backend.get("cpu")
    assert 0 < rate(cpu, "f") < 1e16
    assert rate(cpu, "f") == rate(cpu, "f")  # cached
    with watching(Profile()):
        assert rate(cpu, "f") == rate(cpu, "f")
