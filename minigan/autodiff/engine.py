"""Reverse-mode differentiation: walk the graph from the outputs back to the inputs, once, newest node first.

Every node is younger than its parents, so sorting by creation number is a topological order and no recursion is needed
anywhere: a chain of 100,000 ops is walked, and freed, like any other. A node's cotangent is complete when its turn
comes, because all its uses are younger. (Take b = a + a; c = b + b. Following each edge as it comes would visit a too
early; the order visits c, b, a.)

The same loop runs raw (``create_graph=False``: cotangents are arrays, VJPs record nothing) or recorded (cotangents are
Tensors).
"""

from operator import attrgetter

from .. import backend
from ..errors import FreedError, GradientError, ShapeError, StaleError, call_site, in_scope, label, message
from .modes import enable_grad, no_grad, state
from .node import Node, Origin
from .tensor import Tensor
from .vector_space import add, sum_to


def grad(outputs, inputs, grad_outputs=None, create_graph=False, retain_graph=None):
    """The gradients of Σ ⟨grad_output, output⟩ with respect to each of ``inputs``: a tuple of Tensors.

    outputs: a Tensor or several; each a scalar, unless ``grad_outputs`` gives its cotangent (same shape and dtype).
    inputs: a Tensor or several, leaves or intermediate results. Only the paths that lead to them are computed.
    create_graph: record the backward pass, so that the gradients can be differentiated again, to any order.
    retain_graph: keep what the graph saved for another pass (default: as create_graph).

    An input that the outputs do not depend on gets zeros. Raises ``ValueError`` for an output or input that requires no
    gradient, `ShapeError` for a non-scalar output without cotangent, `FreedError`, `StaleError`.

    >>> import minigan as mg
    >>> x = mg.tensor(3.0, requires_grad=True)
    >>> (dx,) = mg.grad(x**3, x, create_graph=True)
    >>> dx.item(), mg.grad(dx, x)[0].item()
    (27.0, 18.0)
    """
    inputs = (inputs,) if type(inputs) is Tensor else tuple(inputs)
    for i, t in enumerate(inputs):
        if type(t) is not Tensor or t.node is None:
            what = f"grad: input {i} ({label(t) or type(t).__name__}) requires no gradient"
            raise ValueError(message(what, fix="make it with mg.tensor(..., requires_grad=True) before it is used"))
    roots = _cotangents(outputs, grad_outputs)
    found = _run(roots, _reachable(roots), [t.node for t in inputs], create_graph, retain_graph)
    zeros = [backend.xp(t.data).zeros_like(t.data) if g is None else g for t, g in zip(inputs, found, strict=True)]
    return _own(zeros, roots, create_graph)


def backward(output, grad_output=None, retain_graph=False, create_graph=False):
    """Add the gradient of ⟨grad_output, output⟩ to ``.grad`` of every leaf that output depends on. See `grad`."""
    roots = _cotangents(output, grad_output)
    order = _reachable(roots)
    leaves = [n for n in order if n.tensor is not None and n.tensor() is not None]
    found = _run(roots, order, leaves, create_graph, retain_graph or create_graph)
    pairs = [(leaf.tensor(), g) for leaf, g in zip(leaves, found, strict=True) if g is not None]
    with enable_grad() if create_graph else no_grad():
        for (t, _), g in zip(pairs, _own([g for _, g in pairs], roots, create_graph), strict=True):
            t.grad = g if t.grad is None else t.grad + g


def _cotangents(outputs, grad_outputs):
    """Pairs (output, its cotangent as a Tensor), checked."""
    single = type(outputs) is Tensor
    outputs = (outputs,) if single else tuple(outputs)
    given = (grad_outputs,) if single or grad_outputs is None else tuple(grad_outputs)
    given = given * len(outputs) if grad_outputs is None else given
    if len(given) != len(outputs):
        raise ValueError(message(f"grad: {len(outputs)} outputs but {len(given)} grad_outputs"))
    pairs = []
    for y, g in zip(outputs, given, strict=True):
        if type(y) is not Tensor or y.node is None:
            what = f"{label(y) or 'the output'} requires no gradient: nothing in it was recorded"
            fix = "give the inputs requires_grad=True, and compute it outside no_grad() and without detach()"
            raise ValueError(message(what, operands=[("output", y)], fix=fix))
        if g is None and y.data.size != 1:
            what = f"a gradient starts from a scalar; this output has shape {tuple(y.shape)}"
            fix = "reduce it with mg.mean or mg.sum, or pass its cotangent"
            raise ShapeError(message(what, operands=[("output", y)], fix=fix))
        one = backend.xp(y.data).ones_like(y.data) if g is None else g
        one = one if type(one) is Tensor else Tensor(backend.of(y.data).asarray(one, y.dtype) if g is not None else one)
        if one.shape != y.shape or one.dtype != y.dtype:
            what = "a cotangent must have its output's shape and dtype"
            raise ShapeError(message(what, operands=[("output", y), ("grad", one)]))
        pairs.append((y, one))
    return pairs


def _reachable(roots):
    """All nodes from which the outputs were computed, theirs included, youngest first."""
    stack = list({y.node for y, _ in roots})
    seen = set(stack)
    while stack:
        for parent in stack.pop().parents:
            if parent is not None and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return sorted(seen, key=attrgetter("seq"), reverse=True)


def _run(roots, order, targets, create_graph, retain_graph):
    """The backward loop. Returns one cotangent (or None) per target node: raw arrays, or Tensors if create_graph."""
    retain = create_graph if retain_graph is None else retain_graph
    needed = set(targets)
    for node in reversed(order):
        if node not in needed and not needed.isdisjoint(node.parents):
            needed.add(node)
    kept, cotangents, owned = set(targets), {}, set()
    user, origin = None if retain else call_site(3), state.origin
    with enable_grad() if create_graph else no_grad():
        try:
            for y, g in roots:
                if y.node in needed:
                    _accumulate(cotangents, owned, y.node, g if create_graph else g.data, create_graph)
            for node in order:
                g = cotangents.get(node)  # complete now: all that used this node are younger
                if g is None:
                    continue
                if create_graph:  # of what hooks compute, too
                    state.origin = Origin(node.op, node.scope, node.site, node.origin) if node.op else origin
                if node.hooks:
                    g = cotangents[node] = _call_hooks(node, g, create_graph)
                if node not in kept:
                    del cotangents[node]
                if node.op is None:
                    continue
                if node.versions or node.saved is None:
                    _check_alive(node)
                _step(node, g, needed, cotangents, owned, create_graph)
                if not retain:
                    node.saved, node.freed_by = None, user
        finally:
            state.origin = origin
    return [cotangents.get(node) for node in targets]


def _step(node, g, needed, cotangents, owned, recorded):
    """Send the cotangent of one node to those of its parents that are needed."""
    parents, op = node.parents, node.op
    needs = tuple([p in needed for p in parents])  # None, for a constant, is not
    for rule, targets in (op.plans.get(needs) or op.plan(needs))[0]:
        result = rule(g, node, needs, recorded)
        for i, part in zip(targets, result if len(targets) > 1 or op.variadic else (result,), strict=True):
            if needs[i] and part is not None:
                parent = parents[i]
                if part.shape != parent.shape:
                    part = _unbroadcast(node, i, part)
                if part.dtype is not parent.dtype and part.dtype != parent.dtype:
                    _complain(node, i, f"dtype {part.dtype}, expected {parent.dtype}")
                if parent in cotangents:
                    _accumulate(cotangents, owned, parent, part, recorded)
                else:
                    cotangents[parent] = part


def _accumulate(cotangents, owned, node, g, recorded):
    """cotangents[node] += g. The first array to arrive is borrowed (others may hold it); the first sum is our own."""
    before = cotangents.get(node)
    if before is None:
        cotangents[node] = g
    elif recorded or node not in owned:
        cotangents[node] = add(before, g)
        owned.add(node)
    else:
        before += g
        cotangents[node] = before  # a NumPy scalar is not changed in place


def _unbroadcast(node, i, part):
    """Undo broadcasting, for the ops that declare it; any other op must return its argument's very shape."""
    if not node.op.broadcasts:
        _complain(node, i, f"shape {tuple(part.shape)}, expected {tuple(node.parents[i].shape)}")
    return sum_to(part, shape=node.parents[i].shape)


def _complain(node, i, what):
    argument = node.op.arguments[0 if node.op.variadic else i]
    text = f"the VJP of {node.op.name} for {argument!r} returned {what}"
    fix = "this is a mistake in the rule, not in the call"
    raise GradientError(message(text, scope=node.scope, site=node.site, fix=fix))


def _check_alive(node):
    """Refuse to differentiate a used-up node, or one whose saved weights have changed since."""
    if node.saved is None:
        what = f"the graph of {node.name()} was used up by an earlier backward pass, which freed what it had saved"
        fix = "pass retain_graph=True to the first pass, or compute the output again"
        raise FreedError(message(what, more=[("freed by", node.freed_by), ("computed at", node.site)], fix=fix))
    for name, version, count, tensor_name in node.versions:
        if version.count != count:
            who = repr(tensor_name) if tensor_name else f"argument {name!r}"
            what = f"{who} was changed in place between {node.op.name}{in_scope(node.scope)} and the backward pass"
            fix = "take all gradients of a forward pass before the optimiser steps, or compute the loss again"
            raise StaleError(message(what, more=[("changed at", version.site), ("used at", node.site)], fix=fix))


def _call_hooks(node, g, recorded):
    for hook in tuple(node.hooks):  # one may take itself away
        new = hook(g if recorded else Tensor(g))
        if new is not None:
            if type(new) is not Tensor or new.shape != g.shape or new.dtype != g.dtype:
                what = f"a hook must return None or a Tensor like the gradient, {g.shape} {g.dtype}"
                raise ShapeError(message(what, operands=[("returned", new)]))
            g = new if recorded else new.data.copy()
    return g


def _own(found, roots, recorded):
    """Tensors of the gradients, no two of them (nor a cotangent of the caller's) sharing memory."""
    seen = {id(backend.memory_of(g.data)) for _, g in roots}
    result = []
    for g in found:
        array = g.data if type(g) is Tensor else g
        array = array if backend.is_array(array) else backend.xp(array).asarray(array)
        memory = backend.memory_of(array)
        shared = id(memory) in seen or memory.size > array.size  # with another gradient, or a piece of something larger
        if shared or not array.flags.c_contiguous or not getattr(array.flags, "writeable", True):
            array = array.copy()
            memory = array
        seen.add(id(memory))
        node = (g.node if type(g) is Tensor else None) if recorded else None
        result.append(Tensor(array, node or Node.constant(array) if recorded else None))
    return tuple(result)
