"""Memory: a graph dies with its last Tensor, by reference counting alone, and a training loop stays flat.

Every test runs with the garbage collector off: one reference cycle would keep what it holds for ever.
"""

import gc
import sys
import tracemalloc
import weakref

import numpy as np
import pytest

import minigan as mg
from minigan.autodiff.node import Node
from minigan.autodiff.primitive import Rule


@pytest.fixture(autouse=True)
def no_garbage_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def leaf(shape, name=None, seed=0):
    return mg.tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True, name=name)


def graph_of(*tensors):
    """Weak references to all nodes below, and to the arrays they save, those of leaves left out."""
    seen, stack = {}, [t.node for t in tensors]
    while stack:
        node = stack.pop()
        if node is not None and id(node) not in seen:
            seen[id(node)] = node
            stack.extend(node.parents)
    made = [n for n in seen.values() if n.op is not None]
    arrays = {id(a): a for n in made for a in (n.saved or {}).values() if type(a) is np.ndarray}
    kept = {id(n.tensor().data) for n in seen.values() if n.tensor and n.tensor() is not None}
    return [weakref.ref(n) for n in made], [weakref.ref(a) for i, a in arrays.items() if i not in kept]


def alive(*groups):
    return [r() for group in groups for r in group if r() is not None]


def batch_normed(x, w):
    """A bit of everything: fused ops with aux, saved outputs, sharing, broadcasting, indexing."""
    h = mg.batch_norm(x @ w, mg.tensor(np.ones(4)), mg.tensor(np.zeros(4)))
    h = mg.leaky_relu(h) + mg.softmax(h)
    return mg.sum(mg.concatenate([mg.tanh(h)[1:], mg.exp(-h * h)])) + mg.norm(w)


def convolved(x, w):
    image = mg.reshape(x, 1, 5, 3, 1)
    return mg.sum(mg.conv(image, mg.reshape(w, 3, 1, 1, 4)) ** 2) + mg.sum(mg.max_pool(image, (2, 1)))


@pytest.mark.parametrize("fn", [batch_normed, convolved])
@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_the_graph_dies_with_its_loss(fn, order):
    """order: how many recorded backward passes come before; each adds a graph that points into the last."""
    x, w = leaf((5, 3), seed=1), leaf((3, 4), seed=2)
    value = fn(x, w)
    for _ in range(order):
        dx, dw = mg.grad(value, (x, w), create_graph=True)
        value = mg.sum(dx**3) + mg.sum(mg.tanh(dw)) + value * 0.5
        del dx, dw
    nodes, arrays = graph_of(value)
    assert len(nodes) > 10 and len(arrays) > 4 and len(alive(nodes, arrays)) == len(nodes) + len(arrays)
    del value
    assert alive(nodes, arrays) == []


def test_backward_releases_what_it_has_used_while_the_loss_still_lives():
    x, w = leaf((5, 3)), leaf((3, 4))
    loss = batch_normed(x, w)
    nodes, arrays = graph_of(loss)
    assert len(arrays) > 4
    loss.backward()
    assert alive(arrays) == []
    assert len(alive(nodes)) == len(nodes)  # the bare nodes stay: they know which call freed them


def test_saved_arrays_go_one_by_one_during_backward(monkeypatch):
    """At half way, half of a chain's memory has been given back."""
    x = leaf(1000)
    y, made = x, []
    for _ in range(10):
        y = mg.tanh(y)
        made.append(weakref.ref(y.data))
    total = mg.sum(y)
    del y
    left, run = [], Rule.__call__

    def watched(self, *args):
        left.append(sum(r() is not None for r in made))
        return run(self, *args)

    monkeypatch.setattr(Rule, "__call__", watched)
    total.backward()
    assert left == [10, *range(10, 0, -1)]


def test_retain_graph_keeps_the_arrays_until_the_loss_goes():
    x, w = leaf((5, 3)), leaf((3, 4))
    loss = batch_normed(x, w)
    nodes, arrays = graph_of(loss)
    loss.backward(retain_graph=True)
    assert len(alive(arrays)) == len(arrays)
    del loss
    assert alive(nodes, arrays) == []


def test_leaf_gradients_with_a_graph_make_no_cycle():
    """x.grad remembers how it was made, from x: the graph must not own x."""
    x = leaf(3)
    (x**3).backward(np.ones(3), create_graph=True)
    nodes, _ = graph_of(x.grad)
    watched = weakref.ref(x)
    assert len(nodes) > 1
    del x
    assert watched() is None and alive(nodes) == []


def test_hooks_and_names_make_no_cycle():
    x, seen = leaf(3, name="x"), []
    with mg.scope("D"):
        h = x * x
        h.hook(lambda g: seen.append(g.shape))
        loss = mg.sum(h)
    loss.backward()
    watched = [weakref.ref(t) for t in (x, h, h.node, loss.node)]
    del x, h, loss
    assert seen == [(3,)] and alive(watched) == []


@pytest.mark.parametrize("create_graph", [False, True])
def test_an_exception_that_was_dropped_keeps_nothing(create_graph):
    x, w = leaf((5, 3), "x"), leaf((3, 4), "w")

    def fail():
        loss = batch_normed(x, w)
        nodes, arrays = graph_of(loss)
        try:
            if create_graph:
                loss = mg.sum(mg.grad(loss, x, create_graph=True)[0] @ w @ x)  # shapes do not fit
            w.assign(w.data)
            loss.backward()
        except mg.MiniganError as error:
            assert "w" in str(error)
        else:
            pytest.fail("nothing was raised")
        return nodes, arrays

    nodes, arrays = fail()
    assert len(nodes) > 10 and alive(nodes, arrays) == []


DEEP = 100_000


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_chain_of_100_000_ops_is_walked_and_freed_without_recursion(create_graph):
    assert sys.getrecursionlimit() < DEEP / 10
    depth = DEEP if not create_graph else DEEP // 4  # a recorded pass makes a deeper graph of its own
    y = x = mg.tensor(1.0, requires_grad=True, dtype="float64")
    for _ in range(depth):
        y = y * 0.9999
    first = weakref.ref(graph_start(y))
    (g,) = mg.grad(y, x, create_graph=create_graph)
    assert g.item() == pytest.approx(0.9999**depth)
    assert first() is not None
    del y, g
    assert first() is None


def graph_start(y):
    node = y.node
    while node.parents[0].op is not None:
        node = node.parents[0]
    return node


def test_an_unused_chain_is_freed_without_recursion():
    y = mg.tensor(1.0, requires_grad=True)
    for _ in range(DEEP):
        y = -y
    first = weakref.ref(graph_start(y))
    del y
    assert first() is None


def nodes_alive():
    return sum(type(o) is Node for o in gc.get_objects())


def test_a_thousand_training_steps_leave_memory_flat():
    """A WGAN-GP critic, so that double backward is part of every step."""
    rng = np.random.default_rng(0)
    weights = [mg.tensor(rng.standard_normal(s).astype("float32") / 4, True) for s in [(2, 16), (16,), (16, 1)]]
    data = rng.standard_normal((8, 2)).astype("float32")

    def critic(x):
        return mg.tanh(x @ weights[0] + weights[1]) @ weights[2]

    def step():
        x = mg.tensor(data, requires_grad=True)
        (g,) = mg.grad(mg.sum(critic(x)), x, create_graph=True)
        loss = mg.mean(critic(mg.tensor(data))) + mg.mean((mg.norm(g, axis=1) - 1.0) ** 2)
        for w in weights:
            w.grad = None
        loss.backward()
        for w in weights:
            w.assign(w.data - 0.01 * w.grad.data)

    def blocks_after(steps):
        """(memory blocks in use, nodes alive) after so many more steps."""
        for _ in range(steps):
            step()
        return sys.getallocatedblocks(), nodes_alive()

    def peak_of(steps):
        """Bytes in use at most, above the level at the start, during so many more steps."""
        tracemalloc.start()
        blocks_after(steps)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    blocks_after(60)
    first_peak, (blocks, nodes) = peak_of(20), blocks_after(20)
    (later_blocks, later_nodes), last_peak = blocks_after(900), peak_of(20)
    assert nodes == later_nodes
    assert later_blocks - blocks < 200  # a fifth of one lost object per step
    assert last_peak < 1.1 * first_peak


def test_no_grad_keeps_no_intermediate():
    w, seen = leaf((50, 50)), []
    with mg.no_grad():
        h = w
        for _ in range(5):
            h = mg.tanh(h @ w)
            seen.append(weakref.ref(h.data))
        del h
    assert alive(seen) == []


def test_a_thousand_rounds_of_play_leave_memory_flat():
    """The real loop: modules, batch norm, Adam, a log; what may grow is the trajectory, 8 bytes a number."""
    from minigan.data import Batches
    from minigan.games import GAN, Alternating, play

    D = mg.nn.Sequential(mg.nn.Dense(2, 8), mg.nn.BatchNorm(8), mg.nn.LeakyReLU(), mg.nn.Dense(8, 1))
    points = Batches(np.random.default_rng(0).standard_normal((64, 2), dtype="float32"), 16, 0)
    game = GAN(mg.models.mlp(2, 8, 2), D, points, latent_dim=2)
    solver = Alternating({name: mg.optim.Adam(p) for name, p in game.players.items()})
    play(game, solver, 20)
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        play(game, solver, 200)
        before = tracemalloc.get_traced_memory()[0]
        play(game, solver, 1200, start=200)
        assert tracemalloc.get_traced_memory()[0] - before < 100_000
    finally:
        tracemalloc.stop()
        gc.enable()
