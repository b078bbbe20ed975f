"""Anomaly mode: stop at the first number that is not finite, and say where it was born, of what, and why.

    with mg.anomaly():
        loss = objective(D(real), D(fake))
        loss.backward()

Looked at are the result of every op in the forward pass (and of every op that a recorded backward pass, one with
``create_graph``, computes) and what every VJP returns. The first NaN or infinity raises `AnomalyError`. It was *born*
where all operands are finite; else it was *inherited*, and the oldest value of the graph that is not finite is named
instead. Opened only around ``backward()``, the mode finds a NaN that an unwatched forward pass has left behind in the
same way.

Infinities that somebody asked for are none of its business: a Python number (``mg.where(mask, x, -math.inf)``, the
border of a `max_pool`), and what ops pass on of it. NaN always is.

Nothing is looked at, and nothing costs anything, outside the block. Inside, each array is read once more; on a GPU
every look waits for the device.
"""

import math
import weakref
from contextlib import contextmanager

import numpy as np

from .. import backend
from ..autodiff.tensor import Tensor
from ..errors import AnomalyError, in_scope, label, show_site
from .graph import Stats, formula, known_values, origins
from .watch import Watcher, watching


@contextmanager
def anomaly():
    """A context that raises `AnomalyError` at the first value or gradient that is not finite.

    The error says whether the number was born there or inherited; op, layer, order of differentiation; every operand's
    statistics and its value at the first bad place; your line with a caret; and, in a double backward pass, the chain
    of ops whose differentiation led there.
    """
    with np.errstate(all="ignore"), watching(_Anomaly()):  # NumPy's warnings say less
        yield


class _Anomaly(Watcher):
    def __init__(self):
        self.meant = {}  # id of an array whose infinities were asked for → a weak reference to it

    def before(self, event):
        if event.kind == "pass":
            for y, g in event.args[0]:
                if _bad(y.data):
                    what = f"{label(y) or 'the output'} is not finite: there is nothing to differentiate"
                    raise self._inherited(y.node, what, y, event)
                if _bad(g.data):
                    what = f"the cotangent given for {label(y) or 'the output'} is not finite"
                    raise _error(event, what, y.node, result=g.data, born=False)
        elif event.kind == "vjp":
            self._look_at_sum(event, event.node, event.args[0])

    def after(self, event):
        if event.kind == "op":
            if event.inside is None or event.inside.kind == "module" or event.inside.recorded:
                self._look_at_op(event)  # not what an unrecorded VJP computes on its way, only what it returns
        elif event.kind == "vjp":
            for i, part in event.parts():
                if _bad(part := _array(part)):
                    raise self._in_vjp(event, i, part)
        elif event.kind == "pass":
            for node, found in zip(event.args[2], event.out, strict=True):
                if found is not None:
                    self._look_at_sum(event, node, found)

    def _look_at_sum(self, event, node, g):
        """Each gradient that arrived at the node was finite; is their sum, and what its hooks have made of it?"""
        if _bad(g := _array(g)):
            what = f"the gradients that arrive at {node.name()} add up to {_kind(g)}: born in their sum"
            if node.hooks:
                what += ", or made by a hook there"
            raise _error(event, what, node, result=g, born=True)

    def _look_at_op(self, event):
        out = event.outputs()[0]
        if not _bad(out):
            return
        if self._meant(event, out):
            key = id(out)
            if not isinstance(out, np.generic):  # a number again
                self.meant[key] = weakref.ref(out, lambda _: self.meant.pop(key, None))
            return
        operands = list(_named(event.op, event.args))
        bad = [(name, a) for name, a in operands if _bad(_array(a))]
        what = f"{event.op.name}{in_scope(event.scope)} makes {_kind(out)}"
        if not bad:
            text = f"{what}: born here, of finite operands"
            raise _error(event, text, event.node, operands=operands, result=out, born=True)
        name, value = bad[0]
        if type(value) is Tensor and value.node is not None:
            raise self._inherited(value.node, f"{what}: inherited from its operand {name!r}", value, event, name)
        whence = f"{what}: inherited from its operand {name!r}, which came in like that"
        raise _error(event, whence, event.node, operands=operands, result=out, born=False, operand=name)

    def _meant(self, event, out):
        """Are these infinities, and no NaN, that a Python number or an operand of that kind has brought?"""
        if backend.of(out).to_host(backend.xp(out).isnan(out).any()):
            return False
        numbers = [a for a in [*event.args, *event.params.values()] if isinstance(a, int | float | np.floating)]
        asked = any(math.isinf(x) for x in numbers)
        return asked or any((ref := self.meant.get(id(_array(a)))) and ref() is _array(a) for a in event.args)

    def _in_vjp(self, event, i, part):
        node, op = event.node, event.op
        argument = op.arguments[0 if op.variadic else i] + (f"[{i}]" if op.variadic else "")
        saved = {} if node.saved is None else node.saved
        kept = [(n, a) for n, a in saved.items() if backend.is_array(a)]
        bad = [n for n, a in kept if _bad(a)]
        what = f"the VJP of {op.name} for {argument!r} gives {_kind(part)}"
        if bad:
            whose = node if bad[0] == "out" else dict(zip(op.arguments, node.parents, strict=False)).get(bad[0])
            text = f"{what}: inherited from the forward pass, whose {bad[0]!r} is not finite"
            return self._inherited(whose or node, text, None, event, bad[0])
        operands = [("arriving", _array(event.args[0])), *kept]  # the cotangent
        return _error(event, f"{what}: born here", node, operands=operands, result=part, born=True, operand=argument)

    def _inherited(self, node, what, value, event, operand=None):
        """Go back to the oldest value below ``node`` that is known and not finite, and tell of it."""
        below, stack = {node}, [node]
        while stack:
            for parent in stack.pop().parents:
                if parent is not None and parent not in below:
                    below.add(parent)
                    stack.append(parent)
        known = known_values(below)
        if value is not None:
            known.setdefault(node, value.data)
        oldest = min((n for n, a in known.items() if _bad(a)), key=lambda n: n.seq, default=node)
        operands = [
            (name, known[p])
            for name, p in zip(oldest.op.arguments if oldest.op else (), oldest.parents, strict=False)
            if p in known
        ]
        leaf = oldest.op is None
        born = "is a leaf: it came in like that" if leaf else "is the oldest value known that is not finite"
        tensor = oldest.tensor and oldest.tensor()
        if tensor is not None and tensor._version.site is not None:
            born = f"is a leaf, last changed in place at:\n{show_site(tensor._version.site)}"  # by an optimiser, say
        result = "" if leaf else "the result of "
        where = f"{what}\n{show_site(event.site)}\n  {result}{oldest.name()} {born}"
        return _error(None, where, oldest, operands=operands, result=known.get(oldest), born=False, operand=operand)


# ---- the message -----------------------------------------------------------------------------------------------------


def _error(event, what, node, *, operands=(), result=None, born, operand=None):
    """The `AnomalyError` about ``node`` (or, where nothing was recorded, about the op of ``event``)."""
    op = node.op if node is not None else event.op
    kind = event.kind if event is not None else "op"
    lines = [what]
    if op is not None and kind == "vjp":
        lines.append(f"    {formula(op)}")
    lines += [f"    {name:<8} {_describe(a)}" for name, a in operands]
    if result is not None:
        lines.append(f"    {'result':<8} {_statistics(result)}")
        lines += _first_place(result, operands if _elementwise(op) else ())
    site, scope = (node.site, node.scope) if node is not None else (event.site, event.scope)
    site = event.site if kind == "pass" else site
    chain = origins(node if node is not None else event)
    order = len(chain) + (kind != "op")
    words = ORDERS[order] if order < len(ORDERS) else f"derivative {order}"
    lines.append(f"  in {words}{f', in {scope}' if scope else ''}")
    lines.append(show_site(site))
    for k, origin in enumerate(chain):
        lines.append(f"  recorded by the VJP of {_of(origin)}, for derivative {len(chain) - k}; it was computed at:")
        lines.append(show_site(origin.site))
    if not chain and node is not None and (below := _derivative_below(node)) is not None:
        lines += [f"  made of a derivative, that of {_of(below.origin)}, which was taken at:", show_site(below.site)]
    lines.append(f"  Fix: {OVERFLOW if born and _overflows(op, operands, result) else FIXES[born]}")
    name = op.name if op is not None else "leaf"
    home = scope or (chain[-1].scope if chain else "")
    return AnomalyError("\n".join(lines), born=born, op=name, scope=home, order=order, operand=operand, site=site)


ORDERS = ("the forward pass", "the first derivative", "the second derivative", "the third derivative")
FIXES = {
    True: "keep the operand away from the pole: clip it, add an epsilon, or take the function that is defined there",
    False: "follow the value back: open mg.anomaly() around whatever computes or loads it",
}


def _of(origin):
    """What was differentiated: ``"conv in D.conv1"``."""
    return f"{origin.op.name}{in_scope(origin.scope)}"


def _derivative_below(node):
    """The youngest node that a VJP has recorded, of all that this one was computed from; None if there is none."""
    seen, stack, found = {node}, [node], None
    while stack:
        for parent in stack.pop().parents:
            if parent is not None and parent not in seen:
                seen.add(parent)
                if parent.origin is None:
                    stack.append(parent)
                elif found is None or parent.seq > found.seq:
                    found = parent
    return found


OVERFLOW = "the numbers are too large for their dtype: lower the learning rate, or scale or clip what goes in"
LARGE = 1e15


def _overflows(op, operands, result):
    """Was it size, and no pole, that made it infinite?"""
    if op is None or result is None or _kind(result) == "NaN":
        return False
    sizes = [Stats(a) if backend.is_array(a) else a for a in (_array(a) for _, a in operands)]
    sizes = [max(abs(s.low), abs(s.high)) if isinstance(s, Stats) else s for s in sizes if s is not None]
    return op.name == "exp" or any(abs(size) > LARGE for size in sizes)


def _named(op, args):
    """Pairs (argument's name, argument) of a call."""
    names = [f"{op.arguments[0]}[{i}]" for i in range(len(args))] if op.variadic else op.arguments
    return zip(names, args, strict=False)


def _describe(a):
    """Name, shape, dtype and statistics of an operand: a Tensor, an array or a number."""
    array, who = _array(a), label(a) if type(a) is Tensor else ""
    if not backend.is_array(array):
        return repr(a)
    return f"{who + ' ' if who else ''}{_statistics(array)}"


def _statistics(array):
    stats = Stats(array)
    text = f"{tuple(array.shape)} {array.dtype}"
    if math.isfinite(stats.low):
        text += f"  min {stats.low:.4g}  max {stats.high:.4g}  mean {stats.mean:.4g}"
    if stats.zeros:
        text += f"  zeros {round(stats.zeros * stats.size)}"
    if stats.bad:
        nan = int(np.isnan(_host(array)).sum())
        text += f"  NaN {nan}" * bool(nan) + f"  infinite {stats.bad - nan}" * (stats.bad > nan)
    return text


def _first_place(result, operands):
    """The first bad number, and what the operands of an elementwise op hold there."""
    result = _host(result)
    index = tuple(int(i) for i in np.argwhere(~np.isfinite(result))[0])
    found = []
    for name, a in operands:
        array = _array(a)
        if backend.is_array(array):
            try:
                found.append(f"{name} = {np.broadcast_to(_host(array), result.shape)[index]:.6g}")
            except ValueError:
                continue
    place = f"[{', '.join(map(str, index))}]" if index else "the only number"
    return [f"    first at {place}: {float(result[index])}" + (f", where {', '.join(found)}" if found else "")]


def _elementwise(op):
    """Does a place in the result belong to the same place in the operands?"""
    if op is None or op.name == "matmul":  # which broadcasts, too
        return False
    if op.broadcasts or op.__module__.endswith(".ops.elementwise"):
        return True
    return len(op.arguments) == 1 and not {"axis", "axes", "shape", "index"} & {*op.params}


def _kind(array):
    return "NaN" if np.isnan(_host(array)).any() else "infinity"


def _host(array):
    return backend.of(array).to_host(array)


def _array(a):
    return a.data if type(a) is Tensor else a


def _bad(array):
    """Is any number NaN or infinite? One pass: they survive in a sum of squares, which may overflow: then a second."""
    if not backend.is_array(array):
        return isinstance(array, float | np.floating) and not math.isfinite(array)
    if array.dtype.kind != "f" or not array.size:
        return False
    flat = array.reshape(-1) if array.flags.c_contiguous else array
    with np.errstate(all="ignore"):
        probe = float(flat @ flat if flat.ndim == 1 else array.sum())
    if math.isfinite(probe):
        return False
    return not bool(_host(backend.xp(array).isfinite(array).all()))
