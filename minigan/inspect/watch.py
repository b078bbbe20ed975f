"""Watching: be told of every op, VJP, backward pass and layer, without a trace of it while nobody watches.

Four functions are all that ever happens in this engine:

    Primitive.__call__     an op is computed                          kind "op"
    Rule.__call__          one VJP rule is run for a node             kind "vjp"
    engine._run            a backward pass walks the graph            kind "pass"
    Module.__call__        a layer is called                          kind "module"

While somebody watches, they are replaced by versions that say so before and after; when the last watcher leaves, the
functions of the engine are back in their places. Not watching therefore costs nothing at all, not even a question.

Everything else in this package is a `Watcher`: the tape, the anomaly mode, the profiler. One of your own:

>>> import minigan as mg
>>> def tell(event):
...     print(event.kind, event.op.name, event.outputs()[0].shape)
>>> w = mg.tensor([1.0, 2.0], requires_grad=True)
>>> with mg.on_op(tell):
...     mg.sum(w * w).backward()
op multiply (2,)
op sum ()
op broadcast_to (2,)
vjp sum (2,)
vjp multiply (2,)
vjp multiply (2,)
op add (2,)

(The rule of ``sum`` calls ``broadcast_to``; the engine adds the two gradients of ``w``.)
"""

import threading
from contextlib import contextmanager
from time import perf_counter

from ..autodiff import engine
from ..autodiff.modes import state
from ..autodiff.primitive import Primitive, Rule
from ..autodiff.tensor import Tensor
from ..errors import call_site
from ..nn import Module


class Event:
    """Something that happens.

    kind      "op", "vjp", "pass" or "module"
    what      the Primitive ("op", "vjp"), the Module, or None
    args      op: its array arguments (Tensors, arrays, numbers). vjp: the cotangent that arrived. module: the inputs.
              pass: (pairs of an output and its cotangent, all nodes youngest first, the nodes asked for)
    params    of an op; of the op whose VJP it is
    node      vjp: the node that is differentiated; op, afterwards: the node that was recorded, or None
    out       afterwards: the result. vjp: one gradient per target (`parts`). pass: one per node asked for
    targets   vjp: the numbers of the arguments that the rule is for
    scope     the layer in which it happens, ``"D.conv1"``; of a VJP, that of the op it differentiates
    origin    what an op was made for, if a VJP made it: an `Origin`, or None; of a VJP, that of the op
    site      whose line it is: a call site for `errors.show_site`
    recorded  is this VJP or pass itself recorded (``create_graph``)?
    inside    the event that this one is part of, or None
    needs     vjp: is the gradient of an argument asked for? A bool for each argument of the op
    seconds   afterwards: how long it took, everything inside included
    """

    __slots__ = ("args", "inside", "kind", "needs", "node", "origin", "out", "params", "recorded", "scope", "seconds")
    __slots__ += ("site", "targets", "what")

    def __init__(self, kind, what, args, params=None, node=None, targets=(), needs=(), recorded=False):
        self.kind, self.what, self.args, self.params = kind, what, args, params
        self.node, self.targets, self.needs, self.recorded = node, targets, needs, recorded
        self.out = self.inside = self.seconds = None
        here = state if node is None else node  # noted now: events may be kept, and a watcher has lines of its own
        self.scope, self.origin = here.scope, here.origin
        self.site = call_site(2) if node is None else node.site

    @property
    def op(self):
        """The Primitive of an op or a VJP."""
        return self.what

    @property
    def order(self):
        """How many derivatives deep: 0 the forward pass, 1 its VJPs, 2 the VJPs of ops that those have recorded."""
        if self.origin is None and self.inside is not None:  # an op of an unrecorded VJP; a sum of gradients
            return 1 if self.inside.kind == "pass" else self.inside.order
        return depth(self.origin) + (self.kind == "vjp")

    @property
    def outermost(self):
        """Is it no part of another op or VJP?"""
        above = self.inside
        while above is not None and above.kind in ("pass", "module"):
            above = above.inside
        return above is None

    def parts(self):
        """Of a VJP, afterwards: [(number of the argument, its gradient)], where there is one and it is asked for."""
        several = len(self.targets) > 1 or self.what.variadic
        out = self.out if several else (self.out,)
        return [(i, g) for i, g in zip(self.targets, out, strict=True) if g is not None and self.needs[i]]

    def outputs(self):
        """Afterwards: the results as arrays, a list."""
        found = [g for _, g in self.parts()] if self.kind == "vjp" else self.out
        found = found if isinstance(found, list | tuple) else [found]
        return [a.data if type(a) is Tensor else a for a in found]


def depth(origin):
    """The length of a chain of origins."""
    length = 0
    while origin is not None:
        origin, length = origin.origin, length + 1
    return length


class Watcher:
    """Does nothing; subclasses override what they need. While one of these methods runs, nobody watches.

    What `before` raises keeps the thing from happening; `after` is not called for what has raised.
    """

    def before(self, event):
        """Called before it happens. ``event.args`` of an op may be replaced."""

    def after(self, event):
        """Called after it has happened."""


class _Here(threading.local):
    watchers, inside = (), None


_here, _lock, _count = _Here(), threading.Lock(), 0
_op, _rule, _run, _module = Primitive.__call__, Rule.__call__, engine._run, Module.__call__


@contextmanager
def watching(watcher):
    """Inside, ``watcher`` is told of everything that happens in this thread."""
    _install(+1)
    _here.watchers = (*_here.watchers, watcher)
    try:
        yield watcher
    finally:
        here = _here.watchers  # not what was there before: who came first may have left first
        last = max((i for i, w in enumerate(here) if w is watcher), default=len(here))
        _here.watchers = here[:last] + here[last + 1 :]
        _install(-1)


def _install(change):
    """Put the watched versions in place when the first watcher comes, the engine's own back when the last leaves."""
    global _count
    with _lock:
        _count += change
        Primitive.__call__ = _watched_op if _count else _op
        Rule.__call__ = _watched_rule if _count else _rule
        engine._run = _watched_run if _count else _run
        Module.__call__ = _watched_module if _count else _module


def _tell(event, work):
    """Do ``work()`` between the watchers' two methods; returns what it returns."""
    watchers, event.inside = _here.watchers, _here.inside
    _here.watchers = ()
    try:
        for watcher in watchers:
            watcher.before(event)
        _here.watchers, _here.inside = watchers, event
        start = perf_counter()
        event.out = work()
        event.seconds = perf_counter() - start
        _here.watchers, _here.inside = (), event.inside
        for watcher in reversed(watchers):
            watcher.after(event)
    finally:
        _here.watchers, _here.inside = watchers, event.inside
    return event.out


def _watched_op(op, *args, **params):
    if not _here.watchers:
        return _op(op, *args, **params)
    event = Event("op", op, args, params)

    def work():
        out = _op(op, *event.args, **params)
        event.node = out.node if type(out) is Tensor else None
        return out

    return _tell(event, work)


def _watched_rule(rule, g, node, needs, recorded):
    if not _here.watchers:
        return _rule(rule, g, node, needs, recorded)
    targets = rule.targets or tuple(range(len(needs)))
    event = Event("vjp", node.op, (g,), node.params, node, targets, needs, recorded)
    return _tell(event, lambda: _rule(rule, g, node, needs, recorded))


def _watched_run(roots, order, targets, create_graph, retain_graph):
    if not _here.watchers:
        return _run(roots, order, targets, create_graph, retain_graph)
    event = Event("pass", None, (roots, order, targets), recorded=create_graph)
    return _tell(event, lambda: _run(roots, order, targets, create_graph, retain_graph))


def _watched_module(module, *inputs, **options):
    if not _here.watchers:
        return _module(module, *inputs, **options)
    return _tell(Event("module", module, inputs, options), lambda: _module(module, *inputs, **options))


class _OnOp(Watcher):
    def __init__(self, after, before, names):
        self.told = {"before": before, "after": after}
        self.names = names

    def _tell(self, when, event):
        fn = self.told[when]
        if fn is not None and event.kind in ("op", "vjp") and (not self.names or event.op.name in self.names):
            fn(event)

    def before(self, event):
        self._tell("before", event)

    def after(self, event):
        self._tell("after", event)


def on_op(after=None, *ops, before=None):
    """A context in which ``after(event)`` is called after every op and every VJP in this thread, and ``before(event)``
    before it; with names, ``on_op(fn, "conv", "linear")``, only of these ops.

    fn takes an `Event`; whatever it computes itself is not told. Ops inside a VJP rule are told too: `Event.outermost`
    is False for them. Raises ``ValueError`` for a name that no op has.
    """
    from ..autodiff.primitive import registry

    if wrong := [name for name in ops if name not in registry]:
        raise ValueError(f"on_op: no op is called {wrong[0]!r}; there are {', '.join(sorted(registry))}")
    return watching(_OnOp(after, before, frozenset(ops)))
