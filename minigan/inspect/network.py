"""Which VJP is wrong? Every op that a network uses, held against differences, each where it is used.

The network runs and is differentiated while every op is collected, with the operands it really has there. Then each is
held by itself, order by order, against differences (`check_grad`). A mistake in the k-th derivative of an op shows in
the derivatives of order k of that op, and in those of other ops whose rules use it only at higher orders; so the first
that fails, lowest order first, is the one that is wrong. Last, every layer as a whole: a value cut loose by ``detach``
is a mistake of no op.

All in float64 (`in_double`), and the network is left bit for bit as it was.
"""

import re
from dataclasses import dataclass
from itertools import product

import numpy as np

from .. import backend
from ..autodiff.check import check_grad
from ..autodiff.engine import grad
from ..autodiff.modes import scope
from ..autodiff.tensor import Tensor, tensor
from ..backend.checks import integer
from ..backend.random import stream
from ..display import html_table, text_table
from ..errors import GradientError, call_site, show_site
from ..nn import Module
from ..ops import reshape
from .double import in_double
from .graph import count, formula, layer
from .inputs import example_inputs
from .watch import Watcher, watching

# ---- every op of a network -------------------------------------------------------------------------------------------


@dataclass
class _Call:
    """An op as the network called it: arrays in float64, which of them gradients flow to, its layer and line."""

    op: object
    args: list
    params: dict
    free: tuple
    scope: str
    site: object
    depth: int  # 0: of the forward pass, k: recorded in the k-th differentiation

    @property
    def arguments(self):
        """The names of the free arguments: `check_grad` shows them."""
        if self.op.variadic:
            return tuple(f"{self.op.arguments[0]}[{i}]" for i in self.free)
        return tuple(self.op.arguments[i] for i in self.free)

    def __call__(self, *free):
        args = list(self.args)
        for i, value in zip(self.free, free, strict=True):
            args[i] = value
        return self.op(*args, **self.params)

    def key(self):
        """Calls with equal keys need to be checked only once."""
        shapes = tuple(getattr(a, "shape", a) for a in self.args)
        return self.op.name, shapes, self.free, self.scope, repr(self.params)


OURS = "verify_all"  # the scope of what is not the network's


class _Collector(Watcher):
    """Collects the calls of all recorded ops."""

    def __init__(self):
        self.calls = {}

    def after(self, event):
        if event.kind == "op" and event.node is not None and layer(event.node) != OURS:
            free = tuple(i for i, a in enumerate(event.args) if type(a) is Tensor and a.node is not None)
            args = [a.data if type(a) is Tensor else a for a in event.args]
            node = event.node
            call = _Call(event.op, args, event.params, free, layer(node), node.site, event.order)
            self.calls.setdefault(call.key(), call)


@dataclass(frozen=True)
class Verified:
    """One thing that `verify_all` found right: an op's VJPs (``what`` its name), or a whole layer (``what`` None).
    ``depth``: 0 of the forward pass, k recorded in the k-th derivative; ``orders``: up to which; ``error``: the
    largest.
    """

    scope: str
    what: str | None
    arguments: tuple
    depth: int
    orders: int
    error: float


@dataclass(frozen=True, repr=False)
class NetworkVerification:
    """What `verify_all` has checked, a list of `Verified`; ``float(result)`` is the largest relative error. inputs: the
    shapes that the network was given, and whether they were guessed.
    """

    name: str
    inputs: str
    checks: list

    def __float__(self):
        return max((c.error for c in self.checks), default=0.0)

    def _table(self):
        rows = []
        for home in dict.fromkeys(c.scope for c in self.checks):
            own = [c for c in self.checks if c.scope == home]
            ops = ", ".join(dict.fromkeys(c.what for c in own if c.what and not c.depth))
            further = ", ".join(sorted({c.what for c in own if c.what and c.depth}))
            errors = [max((c.error for c in own if bool(c.what) == kind), default=None) for kind in (True, False)]
            shown = ["" if e is None else f"{e:.1e}" for e in errors]
            rows.append((home or "(outside layers)", ops, *shown, further))
        return rows

    def __repr__(self):
        ops = sum(c.what is not None for c in self.checks)
        title = (
            f"{self.name} on {self.inputs}: {count(ops, 'op')} and {count(len(self.checks) - ops, 'layer')} are right"
        )
        return f"{title}, the largest relative error is {float(self):.1e}"

    def __str__(self):
        return f"{self!r}\n{text_table([ALL, *self._table()], (2, 3))}"

    def _repr_html_(self):
        return html_table(self._table(), ALL, (2, 3), title=repr(self))


ALL = ("layer", "its ops", "error", "as a whole", "ops of its derivatives")


def verify_all(module, *inputs, order=3, rtol=1e-6, seed=0, skip=()):
    """Check every VJP that differentiating this network uses, each where it is used; name the one that is wrong.

    module: a `Module`, checked in the mode (training or evaluation) it is in. inputs: arrays or Tensors to call it
    with, a few samples are enough; with none, standard normal ones of a shape that fits its first layer
    (`example_inputs`). order: up to which derivative. rtol: the largest relative error allowed. skip: paths of layers
    that are not checked, nor, as a whole, those around them: a gradient that is reversed or passed straight through on
    purpose.

    Layers with spectral normalisation are checked in evaluation: in training the power iteration's vectors are
    constants for the gradient, by definition. Nothing of the network is changed. Returns a `NetworkVerification`, to be
    printed; raises `GradientError` that names op, argument, order, layer, the line of the call and that of the rule.
    """
    if not isinstance(module, Module):
        what = f"verify_all: expected a Module, got {type(module).__name__}"
        raise TypeError(f"{what}; a function is checked by check_grad, a loss by verify")
    order, guessed = integer("order", order, 1), not inputs
    inputs = [a.data if type(a) is Tensor else a if backend.is_array(a) else np.asarray(a) for a in inputs]
    for a in [*inputs, *(p.data for p in module.parameters())]:
        if (device := backend.device_of(a)) != "cpu":
            raise ValueError(f'verify_all: it works on the CPU, got arrays on {device}: first module.to("cpu")')
    with np.errstate(all="ignore"), in_double() as double:
        double.remember(module)
        inputs = inputs or example_inputs(module, seed)
        shown = " and ".join(str(tuple(a.shape)) for a in inputs)
        calls, layers = _collect(module, inputs, order, seed, double)
        calls, layers = _without(skip, module, calls, layers)
        checks = _check_calls(calls, order, rtol, seed, call_site(2)[0])
        checks += _check_layers(layers, order, rtol, seed, double)
    return NetworkVerification(module.path or type(module).__name__, f"{'guessed ' * guessed}inputs {shown}", checks)


def _without(skip, module, calls, layers):
    """The calls outside the layers ``skip``, and the layers that neither are such ones nor hold one."""
    skip, paths = [skip] if isinstance(skip, str) else list(skip), {m.path for _, m in module.named_modules()}
    if unknown := [path for path in skip if path not in paths]:
        raise ValueError(f"verify_all: skip: no layer is called {unknown[0]!r}; there are {', '.join(sorted(paths))}")
    within = lambda path, other: path == other or path.startswith(f"{other}.") or not other
    calls = {key: c for key, c in calls.items() if not any(within(c.scope, path) for path in skip)}
    around = lambda m: any(within(path, m.path) or within(m.path, path) for path in skip)
    return calls, {m: call for m, call in layers.items() if not around(m)}


def _leaf(array):
    """A Tensor of an operand: a float64 leaf where it is floating, else a constant."""
    if array.dtype.kind != "f":
        return Tensor(array)
    return tensor(array, requires_grad=True, dtype=np.float64)


def _collect(module, inputs, order, seed, double):
    """Run the network and differentiate it ``order`` − 1 times: ({key: `_Call`}, {Module: inputs and options of its
    first call}).
    """
    collector, layers, rng = _Collector(), {}, stream(seed, "verify_all")

    def note(event):
        if event.kind == "module" and event.what not in layers:
            raw = lambda a: a.data if type(a) is Tensor else a
            layers[event.what] = [raw(a) for a in event.args], {name: raw(a) for name, a in event.params.items()}

    collector.before = note
    try:
        with watching(collector):
            leaves = [_leaf(a) for a in inputs]
            outputs = module(*leaves)
            wanted = [t for t in (*leaves, *module.parameters()) if t.requires_grad]
            for _ in range(order - 1):
                outputs = outputs if isinstance(outputs, tuple | list) else (outputs,)
                with scope(OURS):
                    terms = [(y * _random(y, rng)).sum() for y in outputs if y.requires_grad]
                if not terms or not wanted:
                    break
                outputs = grad(terms, wanted, create_graph=True)
    finally:
        double.rewind()
    return collector.calls, layers


def _random(y, rng):
    return np.asarray(rng.choice([-1.0, 1.0], y.shape) * rng.uniform(0.25, 1.0, y.shape))


def _check_calls(calls, order, rtol, seed, caller):
    """A `Verified` for each; raises at the first that is wrong, lowest order first."""
    worst = dict.fromkeys(calls, 0.0)
    for k in range(1, order + 1):
        for key, call in calls.items():
            if call.depth + k <= order:
                error = _attempts(call, [call.args[i] for i in call.free], k, rtol, seed)
                if isinstance(error, GradientError):
                    raise _blamed(call, k, error, caller)
                worst[key] = max(worst[key], error)
    return [
        Verified(call.scope, call.op.name, call.arguments, call.depth, order - call.depth, worst[key])
        for key, call in calls.items()
        if call.depth < order
    ]


def _attempts(fn, arrays, order, rtol, seed):
    """The error of `check_grad` with the first step size and directions that it passes with, or its `GradientError` if
    there are none: a kink spoils some, a wrong rule all.

    Values that lie on a kink (x − x in |x − x|, a ReLU of units that are dead) have no derivative to compare with, so
    it is tried a little way off, too; but a gradient that is not finite is wrong wherever it is.
    """
    failed, rng = None, stream(seed, "verify_all/off")
    for off in (0.0, 0.1, 0.1):
        points = [a + off * _random(a, rng) * (float((a**2).mean()) ** 0.5 or 1.0) if off else a for a in arrays]
        for step, draw in product(KINKS, (seed, seed + 1)):
            try:
                return check_grad(
                    fn, *points, order=order, rtol=rtol, atol=1e-3 * rtol, directions=1, seed=draw, step=step
                )
            except GradientError as error:
                failed = failed or error
        if "uncertain by" not in str(failed) or re.search("analytic (nan|-?inf)", str(failed)):
            break
    if re.search("numerical (nan|-?inf)", str(failed)):
        raise ValueError(
            f"verify_all: at these inputs there is no derivative to compare with (a pole, or the edge of a domain): "
            f"give other inputs\n    {str(failed).splitlines()[0]}"
        )
    return failed


KINKS = (1e-6, 1e-7, 1e-5, 2e-4, 1e-8)  # step sizes: many elements are near a kink, small derivatives want large steps


FROZEN = " (right in the derivative before: it treats something as a constant that depends on the inputs)"


def _blamed(call, k, error, caller):
    """The error that names an op. caller: the code that called `verify_all`, which is no news."""
    op, why = call.op, str(error)
    said = lambda name: f"({name!r})" in why or f"for {name!r}" in why
    blamed = next((i for i, name in zip(call.free, call.arguments, strict=True) if said(name)), call.free[0])
    name = op.arguments[0 if op.variadic else blamed]
    rules = [r for r in op.rules if name in r.names]
    which = {1: "", 2: " once differentiated again", 3: " twice differentiated again"}
    what = f"the VJP of {op.name} for {name!r} is wrong{which.get(k, f' in derivative {k}')}{FROZEN * (k > 1)}"
    if ", recorded " in why:
        what = f"the VJP of {op.name} for {name!r} gives something else when it is recorded (create_graph)"
    lines = [f"verify_all: {what}", f"    {formula(op)}"]
    lines.append(f"    {why.splitlines()[0]}")
    lines += [f"  in {call.scope}"] if call.scope else []
    lines += [show_site(call.site)] if call.site[0] is not caller else []
    lines += [f"  the rule: {r.fn.__code__.co_filename}:{r.fn.__code__.co_firstlineno}" for r in rules]
    return GradientError("\n".join(lines))


# ---- every layer as a whole ------------------------------------------------------------------------------------------


class _Layer:
    """A module as a function of its inputs and of all its parameters, joined in one flat array."""

    def __init__(self, module, inputs, options, double):
        self.module, self.inputs, self.options, self.double = module, inputs, options, double
        self.free = [i for i, a in enumerate(inputs) if backend.is_array(a) and a.dtype.kind == "f"]
        self.parameters = module.parameters()
        self.arguments = tuple(f"input {i}" if len(inputs) > 1 else "its input" for i in self.free)
        self.arguments += ("its parameters",) if self.parameters else ()

    def arrays(self):
        """Where it is checked: at these inputs, and at 0, the distance from its parameters in units of their size."""
        flat = [np.zeros(sum(p.size for p in self.parameters))] if self.parameters else []
        return [self.inputs[i] for i in self.free] + flat

    def __call__(self, *values):
        inputs, start = list(self.inputs), 0
        for i, value in zip(self.free, values, strict=False):
            inputs[i] = value
        try:
            for p in self.parameters:
                size = float((p.data**2).mean()) ** 0.5 or 0.1
                piece = p.data + size * reshape(values[-1][start : start + p.size], p.shape)
                start += p.size
                for _, m in self.module.named_modules():
                    m.__dict__.update({name: piece for name, own in m._parameters.items() if own is p})
            return self.module(*inputs, **self.options)
        finally:
            self.double.rewind()


def _check_layers(layers, order, rtol, seed, double):
    """The same for whole layers, the innermost first: their ops are right, but is everything differentiated?"""
    rows = []
    for module in sorted(layers, key=lambda m: -m.path.count(".") if m.path else 1):
        fn = _Layer(module, *layers[module], double)
        arrays = fn.arrays()
        if not arrays:
            continue
        error, who = _attempts(fn, arrays, order, rtol, seed), module.path or type(module).__name__
        if isinstance(error, GradientError):
            detail = f"    {str(error).splitlines()[0]}"
            kind, cut = type(module).__name__, "by detach(), .data or .numpy()"
            what = f"verify_all: the gradient of {who} ({kind}) is wrong, though each op in it is right"
            fix = f"something in its forward() is cut loose, {cut}; if it is meant to be, skip=[{who!r}]"
            raise GradientError(f"{what}\n{detail}\n  Fix: {fix}")
        rows.append(Verified(who, None, fn.arguments, 0, order, error))
    return rows
