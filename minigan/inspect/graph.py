"""What can be known of a graph: what each op is called, made of and worth, and how its gradient is computed.

The formula of an op's gradient is the one that stands in its docstring, beside the rule itself:

>>> import minigan as mg
>>> formula(mg.tanh)
'x̄ = ȳ·(1 − y²)'
"""

import os
import re
from functools import cached_property, lru_cache
from math import inf, isfinite

import numpy as np

from .. import backend
from ..errors import place
from ..ops import sum_to


def formula(op):
    """The VJP of a Primitive as its docstring states it: after four spaces of the first line, else from the first
    "x̄ = " to the end of its line; ``""`` if there is none. Bars are cotangents: x̄ is the gradient by the argument x,
    and the result is called y or z.
    """
    text = op.__doc__ or ""
    found = re.search(r"\S {4}(\S.*)", text.partition("\n")[0]) or re.search("(\\S\u0304 = .*)", text)
    return found[1].strip() if found else ""


@lru_cache(4096)  # many ops have the same line, and to find it takes as long as its function is
def where(site):
    """``"train.py:12"`` of a call site."""
    file, line = place(site)
    return f"{os.path.basename(file)}:{line}"


def origins(node):
    """The chain of `Origin`s of a node (or an entry of a tape): what it was made to differentiate, nearest first."""
    found, origin = [], node.origin
    while origin is not None:
        found.append(origin)
        origin = origin.origin
    return found


def layer(node):
    """The layer a node belongs to: where it was called, or, of a node made by a VJP, that of what it differentiates."""
    chain = origins(node)
    return (chain[-1] if chain else node).scope


def kept_values(order):
    """What the nodes in ``order`` have kept for their VJPs: ({node: array} of results and leaves, {node: {number of the
    argument: value}} of constant arguments).

    A result is known where its op keeps it, or another op keeps it as its argument. Arrays that can change in place
    (those of leaves, of frozen weights and of views of either) are copied.
    """
    values, constants = {}, {}
    for node in order:
        if node.op is None:
            tensor = node.tensor and node.tensor()
            if tensor is not None:
                values[node] = tensor.data.copy()
            continue
        saved, changing = node.saved or {}, {name for name, *_ in node.versions}
        if "out" in saved:
            values.setdefault(node, saved["out"])
        for i, (name, parent) in enumerate(zip(node.op.arguments, node.parents, strict=False)):
            if name not in saved or parent in values:
                continue
            value = saved[name].copy() if name in changing else saved[name]
            if parent is None:
                constants.setdefault(node, {})[i] = value
            else:
                values[parent] = value
    return values, constants


def computed_again(op, params, arguments):
    """The result of an op from its arguments: what is not kept can be had once more. None if an argument is unknown."""
    if any(a is None for a in arguments):
        return None
    params = {name: list(p) if type(p) is list else p for name, p in params.items()}  # the caller's may be written to
    with np.errstate(all="ignore"):
        out = op.forward(*arguments, **params)  # not op(…): whoever watches is to be told of nothing
    return out[0] if op.has_aux else out


def compute_missing(values, calls):
    """Add to ``values``, {key: array}, the results that can be computed from them.

    calls: (key, op, params, keys of its arguments, {number of the argument: value} of those that have no key), oldest
    first.
    """
    for key, op, params, parents, constants in calls:
        if key not in values:
            arguments = [constants[i] if i in constants else values.get(p) for i, p in enumerate(parents)]
            if (value := computed_again(op, params, arguments)) is not None:
                values[key] = value


def known_values(order):
    """{node: array}: `kept_values`, and whatever can be computed from them."""
    values, constants = kept_values(order)
    ops = sorted((n for n in order if n.op is not None), key=lambda n: n.seq)
    compute_missing(values, [(n, n.op, n.params, n.parents, constants.get(n, {})) for n in ops])
    return values


class Stats:
    """What an array looks like: Euclidean ``norm``, share of ``zeros``, how many numbers are ``bad`` (not finite), and
    ``low``, ``high``, ``mean`` of the finite ones (NaN where there are none), which are counted when they are asked.
    """

    def __init__(self, array):
        a = self._host(array)
        self.size, self.bad, self.norm, self._array = a.size, 0, _norm(a), array
        self.zeros = (a.size - np.count_nonzero(a)) / max(1, a.size)
        if not isfinite(self.norm):
            self.bad = int(a.size - np.isfinite(a).sum())

    @staticmethod
    def _host(array):
        return np.asarray(backend.of(array).to_host(array), np.float64).reshape(-1)

    @cached_property
    def _range(self):
        a = self._host(self._array)
        a = a[np.isfinite(a)] if self.bad else a
        with np.errstate(over="ignore"):
            return (float(a.min()), float(a.max()), float(a.mean())) if a.size else (float("nan"),) * 3

    low = property(lambda self: self._range[0])
    high = property(lambda self: self._range[1])
    mean = property(lambda self: self._range[2])


def _norm(a):
    """The Euclidean norm, also of numbers whose squares over- or underflow; NaN or infinite if one of them is."""
    with np.errstate(over="ignore", invalid="ignore"):
        norm = float(np.sqrt(a @ a))
        if 1e-150 < norm < 1e150 or not a.size:
            return norm
        scale = np.abs(a).max()
        return float(scale * np.linalg.norm(a / scale)) if 0 < scale < inf else float(scale)


def total(arrays, shape):
    """The sum of some gradients, each summed to ``shape`` first where it has been broadcast: as the engine adds."""
    with np.errstate(all="ignore"):  # ∞ − ∞
        first, *others = [a if a.shape == shape else sum_to.forward(a, shape=shape) for a in arrays]
        return sum(others, first)


def reachable(starts, edges):
    """``starts`` and all that can be reached from them, a set; edges: {one: those it leads to}."""
    seen, stack = set(starts), list(starts)
    while stack:
        for other in edges.get(stack.pop(), ()):
            if other not in seen:
                seen.add(other)
                stack.append(other)
    return seen


def count(n, one, many=None):
    """``"1 op"``, ``"2 ops"``."""
    return f"{n} {one if n == 1 else many or one + 's'}"
