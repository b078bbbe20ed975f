"""The engine: random programs against dual numbers, order of visits, pruning, modes, hooks, refusals."""

import operator
import threading
import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import minigan as mg
from minigan.autodiff.primitive import Primitive, Rule, primitive, registry
from tests.oracles import Dual
from tests.strategies import examples, grid, seeds


def leaf(*values, dtype="float64", **how):
    return mg.tensor(np.array(values if len(values) > 1 else values[0], dtype), requires_grad=True, **how)


@contextmanager
def rule_calls(monkeypatch):
    """Inside, a list that grows by (op, needs) with every VJP that runs."""
    calls, run = [], Rule.__call__

    def counted(self, g, node, needs, recorded):
        calls.append((node.op.name, needs))
        return run(self, g, node, needs, recorded)

    with monkeypatch.context() as patch:
        patch.setattr(Rule, "__call__", counted)
        yield calls


@pytest.fixture
def temporary():
    """The decorator `primitive`, for primitives that leave the registry when the test ends."""
    before = set(registry)
    yield primitive
    for name in set(registry) - before:
        del registry[name]


# ---- random programs against forward mode ------------------------------------------------------------------

DIM = 3
UNARY = {
    "negative": (operator.neg, operator.neg),
    "tanh": (mg.tanh, lambda a: a.map(np.tanh, lambda v: 1 / np.cosh(v) ** 2)),
    "exp(-x²)": (
        lambda a: mg.exp(-a * a),
        lambda a: a.map(lambda v: np.exp(-v * v), lambda v: -2 * v * np.exp(-v * v)),
    ),
    "softplus": (mg.softplus, lambda a: a.map(lambda v: np.log1p(np.exp(v)), lambda v: 1 / (1 + np.exp(-v)))),
    "sqrt(1 + x²)": (
        lambda a: mg.sqrt(1.0 + a * a),
        lambda a: a.map(lambda v: np.sqrt(1 + v * v), lambda v: v / np.sqrt(1 + v * v)),
    ),
    "transpose": (mg.transpose, lambda a: a.move(np.transpose)),
    "rows": (lambda a: mg.sum(a, 0, keepdims=True), lambda a: a.move(lambda v: v.sum(0, keepdims=True))),
    "index": (lambda a: a[[1, 1, 0]], lambda a: a.move(lambda v: v[[1, 1, 0]])),
    "full": (
        lambda a: mg.sum_to(mg.broadcast_to(a, shape=(DIM, DIM)), shape=(1, DIM)),
        lambda a: a.move(lambda v: np.broadcast_to(v, (DIM, DIM)).sum(0, keepdims=True)),
    ),
}
BINARY = {name: (f, f) for name, f in [("+", operator.add), ("-", operator.sub), ("*", operator.mul)]}
BINARY["/(2 + tanh)"] = (
    lambda a, b: a / (2.0 + mg.tanh(b)),
    lambda a, b: a / (Dual(2, 0) + b.map(np.tanh, lambda v: 1 / np.cosh(v) ** 2)),
)
BINARY["matmul"] = (
    lambda a, b: mg.broadcast_to(a, shape=(DIM, DIM)) @ mg.broadcast_to(b, shape=(DIM, DIM)),
    lambda a, b: a.move(lambda v: np.broadcast_to(v, (DIM, DIM))) @ b.move(lambda v: np.broadcast_to(v, (DIM, DIM))),
)
FULL = {"transpose", "index"}  # these want a full matrix


@st.composite
def programs(draw):
    """(number of leaves, lines): a line is (op, operands), an operand the number of an earlier value."""
    count, lines = draw(st.integers(1, 3)), []
    for k in range(draw(st.integers(1, 8))):
        name = draw(st.sampled_from([*UNARY, *BINARY]))
        earlier = st.integers(0, count + k - 1)
        lines.append((name, draw(st.tuples(earlier) if name in UNARY else st.tuples(earlier, earlier))))
    return count, lines


def run(program, values, column, full):
    """The values of all lines, with column 0 of the op tables for Tensors and 1 for dual numbers."""
    values = list(values)
    for name, operands in program[1]:
        chosen = [values[i] for i in operands]
        if name in FULL:
            chosen = [full(chosen[0])]
        result = (UNARY | BINARY)[name][column](*chosen)
        values.append(result * (Dual(0.25, 0) if column else 0.25))
    return values


@examples(3)
@given(program=programs(), seed=seeds, outputs=st.integers(1, 2))
def test_random_programs_agree_with_dual_numbers(program, seed, outputs):
    """⟨gradients, direction⟩ is the slope that dual numbers carry forward; diamonds and dead ends included."""
    rng = np.random.default_rng(seed)
    points = [grid(rng, (DIM, DIM) if i == 0 else (1, DIM)) / 4 for i in range(program[0])]
    along = [grid(rng, p.shape, "nonzero") for p in points]

    inputs = [leaf(p) for p in points]
    values = run(program, inputs, 0, lambda a: mg.broadcast_to(a, shape=(DIM, DIM)))[-outputs:]
    duals = run(
        program,
        [Dual(p, v) for p, v in zip(points, along)],
        1,
        lambda a: a.move(lambda v: np.broadcast_to(v, (DIM, DIM)).copy()),
    )[-outputs:]
    cotangents = [grid(rng, y.shape, "nonzero") for y in values]
    for y, d in zip(values, duals):
        assert_allclose(y.data, d.value, rtol=1e-12, atol=1e-12)
    expected = sum(np.sum(c * d.slope) for c, d in zip(cotangents, duals))

    recorded = mg.grad(values, inputs, cotangents, create_graph=True)
    raw = mg.grad(values, inputs, cotangents)
    scale = 1 + sum(np.sum(np.abs(v * g.data)) for v, g in zip(along, raw))
    assert abs(sum(np.sum(v * g.data) for v, g in zip(along, raw)) - expected) <= 1e-11 * scale
    for a, b in zip(raw, recorded):
        assert_allclose(a.data, b.data, rtol=1e-12, atol=1e-12 * scale)


@examples(1)
@given(program=programs(), seed=seeds)
def test_second_derivatives_of_random_programs_are_symmetric(program, seed):
    """⟨∇⟨∇f, u⟩, v⟩ = ⟨∇⟨∇f, v⟩, u⟩: double backward agrees with itself the other way round."""
    rng = np.random.default_rng(seed)
    inputs = [leaf(grid(rng, (DIM, DIM) if i == 0 else (1, DIM)) / 4) for i in range(program[0])]
    u, v = ([grid(rng, x.shape, "nonzero") for x in inputs] for _ in range(2))
    y = run(program, inputs, 0, lambda a: mg.broadcast_to(a, shape=(DIM, DIM)))[-1]
    gradients = mg.grad(mg.sum(y * grid(rng, y.shape, "nonzero")), inputs, create_graph=True)

    def second(first, then):
        slope = sum((mg.sum(g * d) for g, d in zip(gradients, first)), start=0.0)
        return [np.sum(h.data * d) for h, d in zip(mg.grad(slope, inputs, retain_graph=True), then)]

    a, b = second(u, v), second(v, u)
    assert_allclose(sum(a), sum(b), rtol=1e-10, atol=1e-10 * (1 + np.sum(np.abs(a))))


# ---- order of visits ---------------------------------------------------------------------------------------


def test_a_shared_value_is_visited_after_all_its_uses():
    a = leaf(3.0)
    b = a + a
    c = b + b
    c.backward()
    assert a.grad.item() == 4


@pytest.mark.parametrize("create_graph", [False, True])
def test_reuse_costs_one_visit_per_op(monkeypatch, create_graph):
    """x ← (x + x)/2, n times, has 2ⁿ paths and 2n ops (Pearlmutter & Siskind)."""
    counts = []
    for n in (100, 10_000 if not create_graph else 1000):
        x = start = leaf(1.0)
        for _ in range(n):
            x = (x + x) / 2
        with rule_calls(monkeypatch) as calls:
            (g,) = mg.grad(x, start, create_graph=create_graph)
        assert g.item() == 1
        counts.append(len(calls) / n)
    assert counts[0] == counts[1] <= 3


def test_the_same_tensor_in_both_places_gets_both_gradients():
    x = leaf(2.0, 3.0)
    assert mg.grad(mg.sum(x * x), x)[0].data.tolist() == [4, 6]
    assert mg.grad(mg.sum(x / x), x)[0].data.tolist() == [0, 0]
    assert mg.grad(mg.sum(mg.concatenate([x, x, x])), x)[0].data.tolist() == [3, 3]
    assert mg.grad(x @ x, x)[0].data.tolist() == [4, 6]


def test_accumulation_leaves_shared_cotangents_alone():
    """`add` hands one array to both operands; adding to one of them in place would change the other."""
    x, y = leaf(1.0, 1.0), leaf(1.0, 1.0)
    s = x + y
    total = mg.sum(s * np.array([1.0, 2.0])) + mg.sum(x * 3.0) + mg.sum(x * 5.0) + mg.sum(s)
    dx, dy, ds = mg.grad(total, (x, y, s))
    assert dx.data.tolist() == [10, 11] and dy.data.tolist() == ds.data.tolist() == [2, 3]


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_cotangent_that_others_hold_is_never_added_to(create_graph):
    """Whoever brings the first cotangent may have given the same array to others, whose gradient it is."""
    x, z = leaf(1.0, 2.0), leaf(3.0, 4.0)
    ask = lambda output, inputs: [g.data.tolist() for g in mg.grad(output, inputs, create_graph=create_graph)]
    u, y = x * 2.0, x + z  # y is younger: x and z get one array, to which x's second cotangent must not be added
    assert ask(mg.sum(u) + mg.sum(y), [x, z]) == [[3, 3], [1, 1]]
    u, y = x * 2.0, z + x
    assert ask(mg.sum(u) + mg.sum(y), [z, x, y]) == [[1, 1], [3, 3], [1, 1]]
    u, y = x * 2.0, (z + x) + (x + x)  # one array four times
    assert ask(mg.sum(u) + mg.sum(y), [x, z, y]) == [[5, 5], [1, 1], [1, 1]]
    u, y = x * 2.0, mg.reshape(x, 2, 1) + mg.reshape(z, 2, 1)  # as views
    assert ask(mg.sum(u) + mg.sum(y), [x, z]) == [[3, 3], [1, 1]]
    u, y = x * 2.0, mg.concatenate([x, z])  # as pieces of one
    assert ask(mg.sum(u) + mg.sum(y), [y, x, z]) == [[1, 1, 1, 1], [3, 3], [1, 1]]
    u, v, y = x * 2.0, x * 3.0, mg.where(np.array([True, True]), x + z, z)  # the third is added to a sum of our own
    assert ask(mg.sum(u) + mg.sum(v) + mg.sum(y), [x, z]) == [[6, 6], [1, 1]]


@pytest.mark.parametrize("create_graph", [False, True])
def test_cotangents_of_the_callers_are_not_added_to(create_graph):
    x, z = leaf(1.0, 2.0), leaf(3.0, 4.0)
    given, seen = mg.tensor(np.ones(2)), []
    y = x + z
    y.hook(seen.append)
    u = mg.sum(x * 2.0)
    dx, dz = mg.grad([u, y], [x, z], [mg.tensor(np.ones(())), given], create_graph=create_graph)
    assert dx.data.tolist() == [3, 3] and dz.data.tolist() == given.data.tolist() == seen[0].data.tolist() == [1, 1]
    y = x + z
    (dx,) = mg.grad([y, y, y * 3.0], [x], [given, given, given], create_graph=create_graph)  # two more to the first
    assert dx.data.tolist() == [5, 5] and given.data.tolist() == [1, 1]


@pytest.mark.parametrize("retain", [False, True])
@pytest.mark.parametrize("hooks", [None, "look", "replace"])
@pytest.mark.parametrize("op", [mg.tanh, lambda x: x * 0.5, lambda x: x + x], ids=["tanh", "times", "twice"])
def test_cotangents_are_let_go_during_the_walk(op, hooks, retain):
    """The memory of a backward pass is that of a few arrays, however long the way."""
    x = y = mg.tensor(np.full(100_000, 0.5), requires_grad=True)
    for _ in range(40):
        y = op(y)
        if hooks:
            y.hook((lambda g: None) if hooks == "look" else (lambda g: g * 2.0))
    loss = mg.sum(y)
    del y
    tracemalloc.start()
    try:
        (dx,) = mg.grad(loss, x, retain_graph=retain)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert dx.data.all() and peak < 6 * x.data.nbytes


# ---- what is computed, and what is not ---------------------------------------------------------------------


def network():
    weights = [leaf(grid(np.random.default_rng(i), s) / 4) for i, s in enumerate([(3, 4), (4,), (4, 1)])]
    x = leaf(grid(np.random.default_rng(9), (5, 3)))
    hidden = mg.tanh(x @ weights[0] + weights[1])
    return x, weights, hidden, mg.sum(hidden @ weights[2])


@pytest.mark.parametrize("join", [mg.stack, mg.concatenate])
def test_a_plain_number_may_stand_among_the_joined(join):
    x = mg.tensor(np.array(3.0) if join is mg.stack else np.array([3.0]), requires_grad=True)
    other = 2.0 if join is mg.stack else np.array([2.0])
    (g,) = mg.grad(mg.sum(join([x, other]) * np.array([5.0, 7.0])), x)
    assert g.numpy().tolist() in (5.0, [5.0])


def test_only_paths_to_the_inputs_are_walked(monkeypatch):
    """A gradient penalty's inner pass must compute no weight gradient."""
    x, weights, hidden, loss = network()
    with rule_calls(monkeypatch) as calls:
        mg.grad(loss, x, retain_graph=True)
    assert ("matmul", (True, False)) in calls and ("matmul", (True, True)) not in calls
    assert [name for name, _ in calls] == ["sum", "matmul", "tanh", "add", "matmul"]
    with rule_calls(monkeypatch) as calls:
        mg.grad(loss, weights[2], retain_graph=True)
    assert calls == [("sum", (True,)), ("matmul", (False, True))]
    with rule_calls(monkeypatch) as calls:
        mg.grad(loss, hidden, retain_graph=True)
    assert [name for name, _ in calls] == ["sum", "matmul"]


def test_weights_that_want_no_gradient_cost_none(monkeypatch):
    x, w = leaf(1.0, 2.0), mg.tensor(np.array([3.0, 4.0]))
    y = mg.sum(x * w)
    assert set(y.node.parents[0].saved) == {"y"}  # what the rule of x asks for, and no more
    with rule_calls(monkeypatch) as calls:
        y.backward()
    assert calls == [("sum", (True,)), ("multiply", (True, False))] and w.grad is None


@pytest.mark.parametrize("create_graph", [False, True])
def test_outputs_that_lead_to_no_input_are_left_alone(create_graph):
    """Their hooks are not called, their rules not run, their graph not freed."""
    x, z, called = leaf(1.0, 2.0), leaf(3.0, 4.0), []
    shared = x * z
    before = mg.exp(z)
    to_x, elsewhere = mg.sum(shared * x), mg.sum(before * z)
    for t in (before, elsewhere, z):
        t.hook(called.append)
    for outputs in ([to_x, elsewhere], [elsewhere, to_x]):
        (dx,) = mg.grad(outputs, x, create_graph=create_graph, retain_graph=outputs[0] is to_x)
        assert dx.data.tolist() == [6, 16] and called == []
    assert elsewhere.node.saved is not None and before.node.saved is not None
    assert_allclose(mg.grad(elsewhere, z)[0].data, np.exp(z.data) * (1 + z.data))
    assert len(called) == 3


def test_gradients_by_intermediate_results():
    x, weights, hidden, loss = network()
    dh, dx = mg.grad(loss, (hidden, x))
    assert_allclose(dh.data, np.broadcast_to(weights[2].data.T, (5, 4)))
    assert_allclose(dx.data, (dh.data * (1 - hidden.data**2)) @ weights[0].data.T)


def test_an_output_that_is_an_input_has_gradient_one():
    x = leaf(2.0)
    y = x * x
    assert [g.item() for g in mg.grad(y, (y, x, x))] == [1, 4, 4]
    assert mg.grad(x, x)[0].item() == 1


def test_several_outputs_with_their_cotangents():
    x = leaf(1.0, 2.0)
    y, z = x * x, mg.exp(x)
    u, v = np.array([1.0, -2.0]), np.array([0.5, 3.0])
    expected = 2 * x.data * u + np.exp(x.data) * v
    assert_allclose(mg.grad([y, z], x, [u, mg.tensor(v)], retain_graph=True)[0].data, expected)
    assert_allclose(mg.grad([y, y], x, [u, v], retain_graph=True)[0].data, 2 * x.data * (u + v))
    assert_allclose(mg.grad([mg.sum(y), z], x, [None, v])[0].data, 2 * x.data + np.exp(x.data) * v)


def test_cotangents_are_differentiable_too():
    """J v twice over: ⟨Jᵀu, v⟩ differentiated by u gives the forward-mode product."""
    x, u = leaf(1.0, 2.0), leaf(0.0, 0.0)
    (back,) = mg.grad(x * x, x, u, create_graph=True)
    (forward,) = mg.grad(back, u, np.array([1.0, 3.0]))
    assert forward.data.tolist() == [2, 12]


@pytest.mark.parametrize("create_graph", [False, True])
def test_unconnected_inputs_get_zeros(create_graph):
    x, other = leaf(1.0, 2.0), leaf(1.0, 2.0, 3.0, dtype="float32")
    dx, none = mg.grad(mg.sum(x * x), (x, other), create_graph=create_graph)
    assert dx.data.tolist() == [2, 4]
    assert none.data.tolist() == [0, 0, 0] and none.dtype == np.float32 and none.requires_grad == create_graph


@pytest.mark.parametrize("fn", [lambda x: 3.0 * x, lambda x: x, mg.relu, lambda x: x[::-1], lambda x: x - 1.0])
def test_a_constant_gradient_differentiates_to_zeros(fn):
    x = leaf(1.0, 2.0)
    (first,) = mg.grad(mg.sum(fn(x)), x, create_graph=True)
    assert first.requires_grad
    (second,) = mg.grad(mg.sum(first), x, create_graph=True)
    (third,) = mg.grad(mg.sum(second * second), x)
    assert second.data.tolist() == third.data.tolist() == [0, 0]


def test_derivatives_of_a_polynomial_to_fifth_order():
    x = leaf(2.0)
    y = x**5
    for expected in (80, 160, 240, 240, 120):
        (y,) = mg.grad(y, x, create_graph=True)
        assert y.item() == expected


@pytest.mark.parametrize("bad", ["input", "output", "count", "shape", "dtype", "not scalar"])
def test_what_cannot_be_differentiated_is_refused(bad):
    x, constant = leaf(1.0, 2.0), mg.tensor([1.0, 2.0])
    arguments, error, words = {
        "input": ((mg.sum(x), constant), ValueError, "input 0 .*requires no gradient"),
        "output": ((mg.sum(constant), x), ValueError, "requires no gradient"),
        "count": (([mg.sum(x), mg.sum(x)], x, [1.0]), ValueError, "2 outputs but 1"),
        "shape": ((x * x, x, np.ones(3)), mg.ShapeError, "shape and dtype"),
        "dtype": ((x * x, x, mg.tensor([1.0, 1.0])), mg.ShapeError, "shape and dtype"),
        "not scalar": ((x * x, x), mg.ShapeError, "starts from a scalar"),
    }[bad]
    with pytest.raises(error, match=words):
        mg.grad(*arguments)


# ---- backward, retain_graph, hooks -------------------------------------------------------------------------


def test_backward_accumulates_into_every_leaf():
    x, y, constant = leaf(2.0), leaf(3.0), mg.tensor(5.0, dtype="float64")
    (x * y * constant).backward()
    (x * x).backward()
    assert (x.grad.item(), y.grad.item(), constant.grad) == (19, 10, None)
    assert not x.grad.requires_grad


def test_backward_with_a_cotangent_and_create_graph():
    x = leaf(1.0, 2.0)
    (x**3).backward(np.array([1.0, 10.0]), create_graph=True)
    assert x.grad.data.tolist() == [3, 120]
    (second,) = mg.grad(mg.sum(x.grad), x)
    assert second.data.tolist() == [6, 120]


def test_the_leafs_gradient_is_its_own_array():
    x, y = leaf(1.0, 2.0), leaf(1.0, 2.0)
    g = mg.tensor(np.array([1.0, 1.0]))
    (x + y).backward(g)
    arrays = [x.grad.data, y.grad.data, g.data]
    assert not any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])
    x.grad.data[...] = 7  # an optimiser may scale it in place
    assert y.grad.data.tolist() == [1, 1]


@pytest.mark.parametrize("again", [lambda y, x: y.backward(), lambda y, x: mg.grad(y, x)], ids=["backward", "grad"])
def test_a_used_up_graph_is_refused_and_names_the_call_that_freed_it(again):
    x = leaf(2.0)
    y = x * x
    y.backward()  # the call to be named
    with pytest.raises(mg.FreedError, match="y.backward.*the call to be named"):
        again(y, x)
    assert x.grad.item() == 4


def test_retain_graph_keeps_it():
    x = leaf(2.0)
    y = x * x
    for _ in range(3):
        y.backward(retain_graph=True)
    assert x.grad.item() == 12
    assert mg.grad(y, x, create_graph=True)[0].item() == 4
    assert mg.grad(y, x)[0].item() == 4
    with pytest.raises(mg.FreedError):
        mg.grad(y, x)


def test_hooks_see_and_replace_the_whole_gradient():
    x, seen = leaf(2.0), []
    h = x * x
    h.hook(lambda g: seen.append(g.item()))
    h.hook(lambda g: g * 10.0)
    x.hook(lambda g: seen.append(g.item()))
    (h + 2.0 * h).backward()
    assert seen == [3, 120] and x.grad.item() == 120
    with pytest.raises(ValueError, match="requires no gradient"):
        mg.tensor(1.0).hook(print)


def test_a_hooks_result_is_what_grad_returns_and_is_differentiable():
    x = leaf(2.0)
    x.hook(lambda g: g * g)
    (g,) = mg.grad(x**3, x, create_graph=True)
    assert g.item() == 144
    h = leaf(3.0)
    (g,) = mg.grad(mg.grad(h**2 * x, h, create_graph=True)[0], h)
    assert g.item() == 4


# ---- modes -------------------------------------------------------------------------------------------------


def test_no_grad_as_context_and_decorator():
    x = leaf(2.0)

    @mg.no_grad()
    def frozen(t, depth=2):
        return frozen(t, depth - 1) if depth else t * t

    @mg.enable_grad()
    def warm(t):
        return t * t

    with mg.no_grad():
        assert not (x * x).requires_grad and warm(x).requires_grad
        with mg.enable_grad():
            assert (x * x).requires_grad
        assert not (x * x).requires_grad
    assert not frozen(x).requires_grad and frozen.__name__ == "frozen"
    assert (x * x).requires_grad


def test_modes_are_restored_after_an_exception():
    x = leaf(2.0)
    for mode in (mg.no_grad(), mg.scope("D")):
        with pytest.raises(ZeroDivisionError):
            with mode:
                raise ZeroDivisionError
    assert (x * x).requires_grad and (x * x).node.scope == ""


def test_grad_inside_no_grad_still_records_when_asked_to():
    x, u = leaf(3.0), leaf(2.0)
    y = x**3
    with mg.no_grad():
        (g,) = mg.grad(y, x, create_graph=True)
        (back,) = mg.grad([y, y], x, [u, u], create_graph=True)
    assert mg.grad(g, x)[0].item() == 18
    assert mg.grad(back, u)[0].item() == 54


def test_modes_belong_to_their_thread():
    x, seen = leaf(2.0), {}
    inside, done = threading.Event(), threading.Event()

    def other():
        with mg.no_grad(), mg.scope("other"):
            inside.set()
            done.wait(5)
            seen["other"] = (x * x).requires_grad

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(5)
    y = x * x
    done.set()
    thread.join()
    assert y.requires_grad and y.node.scope == "" and seen == {"other": False}


def test_detach_cuts_the_graph_and_shares_the_values():
    x = leaf(2.0, name="x")
    d = (x * x).detach()
    assert not d.requires_grad and x.detach().data is x.data and x.detach().name == "x"
    (x * d).backward()
    assert x.grad.item() == 4


def test_requires_grad_can_be_switched_on_leaves_only():
    x = leaf(2.0)
    with pytest.raises(ValueError, match="leaves only"):
        (x * x).requires_grad = False
    x.requires_grad = False
    assert not (x * x).requires_grad
    x.requires_grad = True
    assert mg.grad(x * x, x)[0].item() == 4


# ---- rules that are wrong are caught -----------------------------------------------------------------------


def test_only_ops_that_declare_it_are_unbroadcast(temporary):
    def forward(x, y):
        return x + y

    declared = Primitive(forward, broadcasts=True)
    del registry["forward"]
    silent = Primitive(forward)
    for op in (declared, silent):
        for name in ("x", "y"):
            op.vjp(name)(lambda g: g)
    x, y = leaf(1.0, 2.0), leaf(3.0)
    assert mg.grad(mg.sum(declared(x, y)), y)[0].item() == 2
    with pytest.raises(mg.GradientError, match=r"VJP of forward for 'y' returned shape \(2,\), expected \(\)"):
        mg.grad(mg.sum(silent(x, y)), y)


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_rule_that_returns_another_shape_or_dtype_is_named(temporary, create_graph):
    @temporary
    def broken(x, *, how):
        return x * 1.0

    @broken.vjp("x")
    def _(g, *, how):
        return how(g)

    for how, words in [
        (lambda g: g[:1], r"'x' returned shape \(1,\), expected \(2,\)"),
        (lambda g: mg.sum(g), r"'x' returned shape \(\), expected \(2,\)"),
        (lambda g: g * np.ones(2), r"float64, expected float32|promoted to float64"),
    ]:
        x = leaf(1.0, 2.0, dtype="float32")
        with pytest.raises((mg.GradientError, mg.DTypeError), match=words):
            mg.grad(mg.sum(broken(x, how=how)), x, create_graph=create_graph)


def test_two_primitives_of_one_name_are_refused(temporary):
    with pytest.raises(ValueError, match="'tanh' exists already"):

        @temporary
        def tanh(x):
            return x


# ---- values that changed between forward and backward ------------------------------------------------------


def _weight(w):
    return w


def _detached(w):
    return w.detach()


def _frozen(w):
    w.requires_grad = False
    return w


VIEWS = {
    "reshape": lambda w: mg.reshape(w, 4),
    "transpose": lambda w: w.T,
    "slice": lambda w: w[:1],
    "detached reshape": lambda w: mg.reshape(w, 4).detach(),
    "reshape of detached": lambda w: mg.reshape(w.detach(), 4),
}


@pytest.mark.parametrize("used", [_weight, _detached, _frozen])
@pytest.mark.parametrize("create_graph", [False, True])
def test_a_weight_changed_before_backward_is_named(used, create_graph):
    w, x = leaf(3.0, 4.0, name="G.w"), leaf(1.0, 2.0, name="x")
    y = mg.sum(x * used(w))
    w.assign(np.array([0.0, 0.0]))  # the optimiser steps too early
    with pytest.raises(mg.StaleError, match="(?s)changed in place.*the optimiser steps too early"):
        mg.grad(y, x, create_graph=create_graph)


@pytest.mark.parametrize("view", VIEWS)
def test_a_changed_weight_is_noticed_through_its_views(view):
    """reshape, transpose and slices share the weight's memory: what was saved changed with it."""
    w = mg.tensor(np.array([[1.0, 2.0], [3.0, 4.0]]), requires_grad=True)
    part = VIEWS[view](w)
    x = leaf(np.ones(part.shape))
    y = mg.sum(x * part)
    w.assign(np.zeros((2, 2)))
    with pytest.raises(mg.StaleError):
        y.backward()


@pytest.mark.parametrize(
    "make",
    [
        lambda: mg.tensor(np.array([3.0, 4.0])),
        lambda: (leaf(3.0, 4.0) * 1.0).detach(),
        lambda: leaf(1.5, 2.0) * 2.0,
    ],
    ids=["constant", "detached result", "result"],
)
def test_whatever_is_assigned_to_is_noticed(make):
    x, c = leaf(1.0, 2.0), make()
    y = mg.sum(x * c)
    with pytest.raises(mg.MiniganError):  # to refuse the assignment would do as well
        c.assign(np.array([0.0, 0.0]))
        mg.grad(y, x)


def test_an_overwritten_result_is_noticed_by_the_rule_that_needs_it():
    x = leaf(1.0, 2.0)
    y = mg.exp(x)
    total = mg.sum(y)
    with pytest.raises(mg.MiniganError):
        y.assign(np.zeros(2))
        mg.grad(total, x)


def test_assigning_what_no_rule_needs_is_fine():
    w, x = leaf(3.0, 4.0), leaf(1.0, 2.0)
    y = mg.sum(x + w)
    w.assign(np.zeros(2))
    assert w.version == 1 and mg.grad(y, (x, w))[1].data.tolist() == [1, 1]
    assert w.requires_grad and (w * x).data.tolist() == [0, 0]


def test_assign_keeps_shape_dtype_and_memory():
    w = leaf(3.0, 4.0, dtype="float32", name="w")
    memory = w.data
    w.assign([1, 2])
    w.assign(mg.tensor(np.array([5.0, 6.0])))
    assert w.data is memory and w.dtype == np.float32 and memory.tolist() == [5, 6]
    with pytest.raises(mg.ShapeError, match="'w' has \\(2,\\)"):
        w.assign(np.zeros((1, 2)))


# ---- dtypes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "how", "dtype"),
    [
        (1.5, {}, "float32"),
        ([1.0, 2.0], {}, "float32"),
        ([1, 2], {}, "int64"),
        ([1, 2], {"requires_grad": True}, "float32"),
        ([True], {}, "bool"),
        (np.array([1.0]), {}, "float64"),
        (np.float64(1), {}, "float64"),
        (np.float32([1]), {"dtype": "float64"}, "float64"),
        (np.array([1], "uint8"), {}, "uint8"),
        (mg.tensor([1.0]), {}, "float32"),
    ],
)
def test_tensors_of_python_numbers_are_float32_and_arrays_keep_their_dtype(value, how, dtype):
    t = mg.tensor(value, **how)
    assert t.dtype == dtype and type(t.data) is np.ndarray
    assert not (isinstance(value, np.ndarray) and np.shares_memory(t.data, value))


@pytest.mark.parametrize("bad", ["text", [1j], [None], np.array(["a"])])
def test_a_tensor_holds_numbers(bad):
    with pytest.raises(mg.DTypeError, match="real numbers"):
        mg.tensor(bad)


@pytest.mark.parametrize("dtype", ["int64", "bool"])
def test_integers_and_bools_are_constants(dtype):
    with pytest.raises(mg.DTypeError, match="floating-point"):
        mg.tensor(np.ones(3, dtype), requires_grad=True)
    chosen, x = mg.tensor(np.array([2, 0, 1]).astype(dtype)), leaf(1.0, 2.0, 3.0)
    y = x[chosen] if dtype == "bool" else mg.take(x, chosen)
    assert y.requires_grad and not (chosen + chosen).requires_grad
    (g,) = mg.grad(mg.sum(mg.where(mg.tensor([True, False, True]), x, 0.0)) + mg.sum(y), x)
    assert_array_equal(g.data, np.array([1, 0, 1]) + ([1, 0, 1] if dtype == "bool" else [1, 1, 1]))


OTHERS = {
    "float64 array": np.ones(2),
    "float64 scalar": np.float64(1),
    "float64 0-d": np.array(1.0),
    "float64 Tensor": mg.Tensor(np.ones(2)),
    "int64 array": np.ones(2, int),
}


@pytest.mark.parametrize("op", [operator.add, operator.mul, operator.truediv, mg.maximum], ids=lambda f: f.__name__)
@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("swap", [False, True])
def test_nothing_is_promoted_silently(op, other, swap):
    x, y = leaf(1.0, 2.0, dtype="float32"), OTHERS[other]
    with pytest.raises(mg.DTypeError, match="promoted to float64"):
        op(y, x) if swap else op(x, y)


def test_a_float32_array_is_not_promoted_by_a_float64_tensor():
    with pytest.raises(mg.DTypeError, match="promoted"):
        leaf(1.0, 2.0) * np.ones(2, "float32")


@pytest.mark.parametrize("number", [2, 2.5, True])
def test_python_numbers_promote_nothing(number):
    for dtype in ("float32", "float64"):
        x = leaf(1.0, 2.0, dtype=dtype)
        assert (x * number).dtype == (number - x).dtype == mg.where(x > 1, x, number).dtype == dtype


def test_conversions_to_python_and_numpy():
    x = leaf(1.5)
    assert (x.item(), float(x), int(x), bool(x)) == (1.5, 1.5, 1, True)
    copy = x.numpy()
    copy[...] = 0
    assert x.item() == 1.5
    with pytest.raises(TypeError, match="pass t.numpy"):
        np.asarray(x)
    assert "requires_grad=True" in repr(x) and "op=multiply" in repr(x * x) and "shape=()" in repr(x)
    assert x in {x} and hash(x) != hash(leaf(1.5))


# ---- what a mutated engine would get away with ------------------------------------------------------------------


def test_origins_tell_the_order_of_differentiation():
    """A node made by a VJP knows what it differentiated: the longest chain in a graph is one less than the order."""
    x = leaf(0.5)
    with mg.scope("net"):
        y = mg.tanh(x)
    (dy,) = mg.grad(mg.sum(y), x, create_graph=True)
    (ddy,) = mg.grad(mg.sum(dy), x, create_graph=True)

    def depth(made):
        return 0 if made.origin is None else 1 + depth(made.origin)

    def deepest(node):
        return max([depth(node), *(deepest(p) for p in node.parents if p is not None)])

    assert (deepest(y.node), deepest(dy.node), deepest(ddy.node)) == (0, 1, 2)
    assert dy.node.origin.op.name == "tanh" and dy.node.origin.scope == "net"


def test_a_weight_changed_between_two_backward_passes_is_noticed():
    """The recorded first pass has re-wrapped the weight: its version goes along."""
    w, x = leaf(2.0, 3.0), leaf(1.0, 2.0)
    (g,) = mg.grad(mg.sum(w * w * x), x, create_graph=True)
    w.assign(np.zeros(2))
    with pytest.raises(mg.StaleError):
        mg.grad(mg.sum(g), w)


def test_an_index_array_may_change_after_it_was_used():
    x, c, i = leaf(1.0, 2.0, 3.0), np.array([10.0, 20.0]), np.array([0, 1])
    y = mg.sum(x[i] * c)
    i[:] = 2
    assert mg.grad(y, x)[0].numpy().tolist() == [10, 20, 0]


def test_a_gradient_keeps_no_larger_array_alive():
    a, b = leaf(1.0, 2.0), mg.tensor(np.zeros(10_000), requires_grad=True)
    (g,) = mg.grad(mg.sum(mg.square(mg.concatenate([a, b]))), a)
    assert mg.backend.memory_of(g.data).size == 2


def test_an_unknown_gradient_of_a_norm_at_zero_is_zero_by_its_factor_too():
    """d/dc of ∂(c·|x|)/∂x is x/|x|: at x = 0 it is 0 by definition, never 0/0."""
    x, c = leaf(0.0, 0.0), leaf(3.0)
    (g,) = mg.grad(mg.sum(c * mg.norm(x)), x, create_graph=True)
    assert mg.grad(mg.sum(g), c)[0].item() == 0


def test_rectifiers_at_the_ends_of_the_numbers():
    """Raw and recorded passes agree where 0·∞ lurks, and a NaN is not hidden, whatever the memory layout."""
    x = leaf(-1.0, 0.0, 4.0)
    with np.errstate(divide="ignore"):
        raw, recorded = (mg.grad(mg.sum(mg.sqrt(mg.relu(x))), x, create_graph=c)[0].numpy() for c in (False, True))
    assert raw.tolist() == recorded.tolist() == [0, 0, 0.25]
    strange = np.array([[np.nan, 1.0], [-np.inf, np.inf]])
    for image in (strange, strange.T.copy().T):
        assert np.isnan(mg.relu(image)[0, 0]) and mg.relu(image)[1].tolist() == [0, np.inf]


def test_hooks_must_return_a_tensor_like_the_gradient():
    for wrong in (lambda g: g.numpy(), lambda g: mg.sum(g), lambda g: g.numpy().astype("float32")):
        x = leaf(1.0, 2.0)
        x.hook(wrong)
        with pytest.raises(mg.ShapeError, match="a hook must return"):
            mg.sum(x * x).backward()
    x, c = leaf(1.0, 2.0), leaf(5.0, 6.0).detach()
    x.hook(lambda g: c)
    mg.sum(x * x).backward()
    assert x.grad.numpy().tolist() == [5, 6] and not np.shares_memory(x.grad.data, c.data)


def test_masks_combine_and_choose():
    t = mg.tensor([-1.0, 0.5, 2.0])
    mask = (t > 0) & ~(t > 1) | (t == 2)
    assert mask.numpy().tolist() == [False, True, True]
    chosen = mg.where(mask, 1.0, 0.0)
    assert type(chosen) is mg.Tensor and chosen.dtype == np.float32 and chosen.numpy().tolist() == [0, 1, 1]


def test_what_a_hook_computes_belongs_to_the_node_it_hangs_on():
    """In a recorded pass; not to the node that was differentiated before, nor, at a leaf, to any."""
    x = mg.tensor([0.5], requires_grad=True)
    y, seen = mg.tanh(x), []
    for t in (x, y):
        t.hook(lambda g: seen.append(g * 2.0))
    mg.grad(mg.sum(mg.exp(y)), x, create_graph=True)
    at_y, at_x = seen
    assert at_y.node.origin.op is mg.tanh and at_x.node.origin is None
