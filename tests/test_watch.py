"""Watching: every event is told once, with what it is about; while nobody watches there is no trace of it."""

import gc
import threading
import weakref

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import minigan as mg
from minigan import nn
from minigan.autodiff import engine
from minigan.autodiff.primitive import Primitive, Rule
from minigan.errors import ShapeError, place
from minigan.inspect import Event, Watcher, on_op, watching
from minigan.inspect.watch import _here, depth
from minigan.nn import Module
from minigan.nn.init import he, initialize

OWN = Primitive.__call__, Rule.__call__, engine._run, Module.__call__


def installed():
    return Primitive.__call__, Rule.__call__, engine._run, Module.__call__


def assert_clean():
    assert all(a is b for a, b in zip(installed(), OWN, strict=True))
    assert _here.watchers == () and _here.inside is None


@pytest.fixture(autouse=True)
def nothing_is_left():
    assert_clean()
    yield
    assert_clean()


class All(Watcher):
    """Keeps every event, and what was called when."""

    def __init__(self):
        self.events, self.calls = [], []

    def before(self, event):
        self.calls.append(("before", event))

    def after(self, event):
        self.calls.append(("after", event))
        self.events.append(event)

    def of(self, kind, name=None):
        return [e for e in self.events if e.kind == kind and (name is None or e.op.name == name)]


def line_of(event):
    return place(event.site)[1]


def here(offset=0):
    """The number of the line that calls."""
    import sys

    return sys._getframe(1).f_lineno + offset


def leaf(*values, name=None):
    return mg.tensor(np.array(values), requires_grad=True, name=name)


# ---- what an event says ----------------------------------------------------------------------------------------------


def test_an_op():
    w, x = leaf(1.0, 2.0, name="w"), np.array([3.0, 4.0])
    with watching(All()) as seen, mg.scope("D.dense"):
        y = w * x
        s, line = mg.sum(y, axis=0, keepdims=True), here()
    first, second = seen.events
    assert (first.kind, first.what, first.op) == ("op", mg.multiply, mg.multiply)
    assert first.args[0] is w and first.args[1] is x and first.out is y and first.node is y.node
    assert second.what.name == "sum" and second.params == {"axis": 0, "keepdims": True} and second.out is s
    assert (first.scope, first.order, first.origin, first.inside, first.outermost) == ("D.dense", 0, None, None, True)
    assert line_of(second) == line and place(second.site)[0] == __file__
    assert first.seconds > 0 and first.outputs()[0] is y.data
    assert first.recorded is False and first.targets == ()


def test_an_op_that_records_nothing():
    w = leaf(1.0, 2.0)
    with watching(All()) as seen:
        with mg.no_grad(), mg.scope("G"):
            y, line = mg.exp(w), here()
        raw = mg.exp(np.ones(2))
    told, plain = seen.events
    assert told.node is None and told.out is y and told.scope == "G" and line_of(told) == line
    assert plain.out is raw and plain.outputs()[0] is raw and plain.scope == "" and line_of(plain) == line + 1


def test_before_it_happens_nothing_is_known_of_the_result():
    found = []
    with on_op(before=lambda e: found.append((e.out, e.node, e.seconds, line_of(e), e.op.name))):
        mg.exp(leaf(1.0))
        line = here(-1)
    assert found == [(None, None, None, line, "exp")]


def test_a_vjp():
    w, x = leaf(1.0, 2.0), leaf(3.0, 4.0)
    with mg.scope("D.dense"):
        y, line = w * x, here()
    g = np.array([1.0, 10.0])
    with watching(All()) as seen:
        asked, other = mg.grad(y, w, g), here()
    vjp = seen.of("vjp")
    assert len(vjp) == 1  # nobody asked for x's
    (vjp,) = vjp
    assert (vjp.op, vjp.targets, vjp.params, vjp.recorded) == (mg.multiply, (0,), {}, False)
    assert_array_equal(vjp.args[0], g)
    assert_array_equal(vjp.out, g * x.data)
    assert vjp.node is y.node and vjp.scope == "D.dense" and vjp.order == 1 and vjp.outermost
    assert [i for i, _ in vjp.parts()] == [0] and vjp.parts()[0][1] is vjp.out and vjp.outputs()[0] is vjp.out
    assert line_of(vjp) == line
    (whole,) = seen.of("pass")
    assert vjp.inside is whole and whole.inside is None and whole.op is None and line_of(whole) == other
    roots, order, targets = whole.args
    assert roots[0][0] is y and order == sorted(order, key=lambda n: -n.seq) and set(order) == {y.node, w.node, x.node}
    assert targets == [w.node] and not whole.recorded
    assert_array_equal(whole.out[0], asked[0].data)
    assert_array_equal(whole.outputs()[0], asked[0].data)


def test_an_op_of_a_rule():
    w = leaf(1.0, 2.0)
    with mg.scope("D"):
        y = mg.sum(w)
    with watching(All()) as seen:
        line = here(+1)
        y.backward()
    (vjp,), (op,) = seen.of("vjp"), seen.of("op")  # the rule of sum repeats ȳ
    assert op.op.name == "broadcast_to" and op.inside is vjp and not op.outermost and vjp.outermost
    assert (op.order, op.node, line_of(op)) == (1, None, line) and op.out is vjp.out


def test_events_nest_and_come_in_order():
    w = leaf(1.0, 2.0)
    with watching(All()) as seen:
        mg.sum(w * w).backward()
    told = [(when, e.kind, e.op.name if e.op else None) for when, e in seen.calls]
    assert [t for t in told if t[1] in ("vjp", "pass")] == [
        ("before", "pass", None),
        ("before", "vjp", "sum"),
        ("after", "vjp", "sum"),
        ("before", "vjp", "multiply"),
        ("after", "vjp", "multiply"),
        ("before", "vjp", "multiply"),
        ("after", "vjp", "multiply"),
        ("after", "pass", None),
    ]
    stack = []
    for when, e in seen.calls:
        if when == "before":
            assert e.inside is (stack[-1] if stack else None)
            stack.append(e)
        else:
            assert stack.pop() is e
    assert not stack
    assert [e.targets for e in seen.of("vjp", "multiply")] == [(0,), (1,)]
    (added,) = seen.of("op", "add")  # the engine sums both gradients of w: part of the pass, not of the forward pass
    assert added.inside.kind == "pass" and added.outermost and added.order == 1


def test_the_order_of_differentiation():
    w = leaf(0.3, 0.4)
    with watching(All()) as seen:
        (first,) = mg.grad(mg.sum(mg.sigmoid(w)), w, create_graph=True)
        (second,) = mg.grad(mg.sum(first), w, create_graph=True)
        mg.grad(mg.sum(second), w)
    passes = seen.of("pass")
    assert [p.recorded for p in passes] == [True, True, False]
    for number, one in enumerate(passes, 1):
        vjps = [e for e in seen.of("vjp") if e.inside is one]
        assert max(e.order for e in vjps) == number and all(e.recorded == one.recorded for e in vjps)
        assert all(e.order == depth(e.node.origin) + 1 for e in vjps)
        for e in seen.of("op"):
            if e.inside in vjps:
                assert e.order == e.inside.order and (e.origin is not None) == one.recorded
    assert [e.order for e in seen.of("op") if e.inside is None] == [0] * 4  # sigmoid, and three sums


def test_scope_origin_and_site_are_noted_when_it_happens():
    """An event that is kept says the same later; a watcher's own lines are not the user's."""
    w = leaf(0.5)
    with watching(All()) as seen, mg.scope("D"), mg.no_grad():
        mg.exp(w)
        line = here(-1)
    (e,) = seen.events
    with mg.scope("elsewhere"):
        assert e.scope == "D" and e.order == 0 and line_of(e) == line


def test_parts_of_an_op_with_any_number_of_arguments():
    a, b, c = leaf(1.0, 2.0), np.array([3.0]), leaf(4.0)
    with watching(All()) as seen:
        y = mg.concatenate([a, b, c])
        s = mg.stack([a, a])
        mg.grad([y, s], [a, c], [np.arange(4.0), np.ones((2, 2))])
    (vjp,) = seen.of("vjp", "concatenate")
    assert vjp.targets == (0, 1, 2)
    assert [i for i, _ in vjp.parts()] == [0, 2]  # b needs none
    assert_array_equal(vjp.parts()[0][1], [0, 1])
    assert_array_equal(vjp.parts()[1][1], [3])
    assert [len(x) for x in vjp.outputs()] == [2, 1]
    (vjp,) = seen.of("vjp", "stack")
    assert [i for i, _ in vjp.parts()] == [0, 1]
    with watching(All()) as one:
        mg.grad(mg.stack([a]), a, np.ones((1, 2)))
    ((number, part),) = one.of("vjp")[0].parts()
    assert number == 0
    assert_array_equal(part, np.ones(2))


@pytest.mark.parametrize("recorded", [False, True])
def test_parts_are_what_was_asked_for(recorded):
    """The rule of batch_norm gives all three gradients, whatever it was asked for; that of linear what is needed."""
    x, gamma, beta = (mg.tensor(np.random.default_rng(0).random(s), True) for s in ((4, 3), (3,), (3,)))
    y = mg.batch_norm(x, gamma, beta)
    with watching(All()) as seen:
        mg.grad(y, [x], np.ones((4, 3)), create_graph=recorded)
    (vjp,) = seen.of("vjp", "batch_norm")
    assert vjp.targets == (0, 1, 2) and [i for i, _ in vjp.parts()] == [0] and vjp.recorded is recorded
    assert type(vjp.parts()[0][1]) is (mg.Tensor if recorded else np.ndarray)
    assert all(type(a) is np.ndarray for a in vjp.outputs())
    dense = nn.Dense(3, 2)
    y = dense(x.numpy().astype("float32"))
    with watching(All()) as seen:
        mg.grad(y, [dense.bias], np.ones((4, 2), np.float32), create_graph=recorded)
    assert [i for i, _ in seen.of("vjp", "linear")[0].parts()] == [2]


def test_a_module():
    net = nn.Sequential(nn.Dense(3, 2), nn.ReLU(), name="D")
    x = np.ones((4, 3), np.float32)
    with watching(All()) as seen:
        y = net(x)
    outer = seen.events[-1]
    assert outer.kind == "module" and outer.what is net and outer.args[0] is x and outer.out is y
    dense, relu = (e for e in seen.of("module") if e.inside is outer)
    assert (dense.what, relu.what) == (net.dense1, net.relu1) and dense.scope == "D" and outer.scope == ""
    (op,) = [e for e in seen.of("op") if e.inside is relu]
    assert op.outermost and op.scope == "D.relu1" and outer.outputs()[0] is y.data
    assert seen.calls[0] == ("before", outer)


# ---- filters, and what a watcher may do ------------------------------------------------------------------------------


def test_on_op_filters_by_name():
    w, found, early = leaf(1.0, 2.0), [], []
    with on_op(found.append, "exp", "sum", before=early.append):
        mg.sum(mg.exp(w) * w).backward()
    assert [(e.kind, e.op.name) for e in found] == [("op", "exp"), ("op", "sum"), ("vjp", "sum"), ("vjp", "exp")]
    assert [e.op.name for e in early] == ["exp", "sum", "sum", "exp"]
    found.clear()
    with mg.on_op(found.append):
        nn.Dense(2, 2)(np.ones((1, 2), np.float32))
    assert {e.kind for e in found} == {"op"}  # neither passes nor modules


def test_on_op_knows_the_names():
    with pytest.raises(ValueError, match=r"on_op: no op is called 'convolve'; there are abs, add.*conv.*where"):
        on_op(print, "exp", "convolve")


def test_what_watchers_compute_is_not_told():
    w, told = leaf(1.0, 2.0), []

    def look(event):
        told.append(event.op.name)
        mg.sum(mg.exp(w)).backward()

    with on_op(look, before=look), on_op(lambda e: told.append("other")):
        y = mg.tanh(w)
    assert told == ["tanh", "other", "tanh"] and y.requires_grad
    assert_allclose(w.grad.numpy(), 2 * np.exp([1.0, 2.0]))


def test_watchers_enclose_each_other():
    told = []

    class Named(Watcher):
        def __init__(self, name):
            self.name = name

        def before(self, event):
            told.append(f"before {self.name}")

        def after(self, event):
            told.append(f"after {self.name}")

    with watching(Named("outer")), watching(Named("inner")):
        mg.exp(leaf(1.0))
    assert told == ["before outer", "before inner", "after inner", "after outer"]
    told.clear()
    both = Named("both")
    with watching(both):
        with watching(both):
            mg.exp(leaf(1.0))
        assert len(told) == 4
        mg.exp(leaf(1.0))
    assert len(told) == 6


def test_watchers_may_leave_in_any_order():
    first, second = All(), All()
    one, two = watching(first), watching(second)
    one.__enter__()
    two.__enter__()
    one.__exit__(None, None, None)
    mg.exp(leaf(1.0))
    two.__exit__(None, None, None)
    assert_clean()
    assert (len(first.events), len(second.events)) == (0, 1)
    with watching(All()):
        mg.exp(leaf(1.0))
    assert (len(first.events), len(second.events)) == (0, 1)


def test_before_may_replace_the_arguments():
    def double(event):
        if event.kind == "op":
            event.args = tuple(2 * a for a in event.args)

    with on_op(before=double):
        y = mg.exp(leaf(1.0))
    assert_allclose(y.numpy(), np.exp([2.0]))


class Stop(Exception):
    pass


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", ["op", "vjp", "pass", "module"])
def test_a_watcher_that_raises_leaves_the_state_clean(when, kind):
    class Raises(Watcher):
        pass

    def raise_it(self, event):
        if event.kind == kind:
            raise Stop(kind)

    setattr(Raises, when, raise_it)
    net, seen = nn.Dense(2, 1), All()
    with watching(seen):
        with pytest.raises(Stop), watching(Raises()):
            mg.sum(net(np.ones((1, 2), np.float32))).backward()
        assert _here.watchers == (seen,) and _here.inside is None
        mg.exp(leaf(1.0))
        assert seen.events[-1].op.name == "exp" and seen.events[-1].inside is None
    assert_clean()
    mg.sum(net(np.ones((1, 2), np.float32))).backward()
    assert_array_equal(net.weight.grad.numpy(), np.ones((2, 1)))


def test_work_that_raises_is_not_told_afterwards():
    with watching(All()) as seen:
        with pytest.raises(ShapeError):
            nn.Dense(2, 1)(np.ones((1, 3), np.float32))
        assert _here.inside is None
        mg.exp(leaf(1.0))
    assert [(when, e.kind) for when, e in seen.calls] == [
        ("before", "module"),
        ("before", "op"),
        ("before", "op"),
        ("after", "op"),
    ]
    with pytest.raises(Stop), watching(All()):
        raise Stop


def test_another_thread_is_not_watched():
    seen, others, go, done = All(), All(), threading.Event(), threading.Event()

    def work():
        with watching(others):
            go.wait()
            mg.tanh(leaf(1.0)).backward()
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    with watching(seen):
        go.set()
        done.wait()
        mg.exp(leaf(1.0)).backward()
    thread.join()
    assert {e.op.name for e in seen.of("op")} >= {"exp"} and not seen.of("op", "tanh")
    assert {e.op.name for e in others.of("vjp")} == {"tanh"}


def test_while_nobody_watches_the_engine_is_its_own():
    with watching(All()):
        assert not any(a is b for a, b in zip(installed(), OWN, strict=True))
        with watching(All()):
            pass
        assert not any(a is b for a, b in zip(installed(), OWN, strict=True))
    assert_clean()


def test_watching_keeps_nothing_alive():
    gc.collect()
    gc.disable()
    try:
        w = leaf(1.0, 2.0)
        with on_op(lambda e: None):
            y = mg.sum(mg.exp(w))
            node = weakref.ref(y.node)
            y.backward(retain_graph=True)
            del y
            assert node() is None
    finally:
        gc.enable()


def test_watching_changes_no_number():
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    found = []
    for watcher in (None, All()):
        net = nn.Sequential(nn.Dense(3, 8), nn.BatchNorm(8), nn.Tanh(), nn.Dense(8, 1), name="D")
        initialize(net, he, 0)
        with watching(watcher or Watcher()):
            loss = mg.mean(net(x) ** 2)
            first = mg.grad(loss, net.parameters(), create_graph=True)
            sum((mg.sum(g * g) for g in first), 0.0).backward()
        found.append([p.grad.numpy() for p in net.parameters() if p.grad is not None])
    for a, b in zip(*found, strict=True):
        assert_array_equal(a, b)


def test_events_have_no_room_for_mistakes():
    with pytest.raises(AttributeError):
        Event("op", mg.exp, ()).sise = 1


# ---- hooks -----------------------------------------------------------------------------------------------------------


def test_a_tensor_hook_can_be_taken_away():
    w, found = leaf(1.0, 2.0), []
    y = mg.exp(w)
    undo = y.hook(lambda g: found.append(g.numpy()))
    mg.sum(y).backward(retain_graph=True)
    undo()
    mg.sum(y).backward()
    assert len(found) == 1
    assert_array_equal(found[0], [1, 1])


def test_two_equal_hooks_are_two():
    w, count = leaf(1.0), []
    hook = count.append
    first, _ = w.hook(hook), w.hook(hook)
    (2 * w).backward(np.ones(1))
    assert len(count) == 2
    first()
    (2 * w).backward(np.ones(1))
    assert len(count) == 3


def test_a_hook_may_take_itself_away_during_the_pass():
    w, told = leaf(1.0), []

    def once(g):
        told.append("once")
        undo()

    undo = w.hook(once)
    w.hook(lambda g: told.append("always"))
    for _ in range(2):
        (2 * w).backward(np.ones(1))
    assert told == ["once", "always", "always"]


def test_a_module_hook_can_be_taken_away():
    net, told = nn.ReLU(), []
    hook = lambda module, inputs, output: told.append((module, inputs[0].shape, output.shape))
    first, second = net.hook(hook), net.hook(hook)
    net(np.ones((2, 3)))
    assert told == [(net, (2, 3), (2, 3))] * 2
    first()
    net(np.ones((2, 3)))
    second()
    net(np.ones((2, 3)))
    assert len(told) == 3


def test_the_gradient_at_a_modules_output():
    net, found = nn.Sequential(nn.Dense(3, 2), nn.Tanh()), []
    undo = net.dense1.hook(lambda module, inputs, output: output.hook(found.append))
    y = net(np.ones((1, 3), np.float32))
    mg.sum(y).backward()
    undo()
    assert_allclose(found[0].numpy(), 1 - y.numpy() ** 2, rtol=1e-6)
