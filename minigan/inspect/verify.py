"""Is the gradient of this very network right? Measured where it stands, in float64, against differences of its loss.

    ∂L/∂w ≈ (8·(L(w + h) − L(w − h)) − (L(w + 2h) − L(w − 2h)))/12h

for some entries of a tensor, and for all of them at once along a random direction. Which op is to blame where they
differ is found by `verify_all`.

How well the differences are known: every number v of the graph is rounded, by ε·|v|, and each rounding moves the loss
by ε·|v·∂L/∂v| (Linnainmaa 1976), so that L is uncertain by about ε·√Σ(v·∂L/∂v)², also where it is a small difference of
large numbers, as a critic's loss is.
"""

from dataclasses import dataclass
from math import isfinite

import numpy as np

from .. import backend
from ..autodiff.engine import _reachable, grad
from ..autodiff.node import Node
from ..autodiff.tensor import Tensor
from ..backend.checks import integer
from ..backend.random import stream
from ..display import html_table, text_table
from ..errors import GradientError, message
from ..nn import Module
from .double import in_double, undisturbed
from .tape import tape

STEPS = (1e-5, 1e-6, 1e-7, 1e-8, 1e-4, 1e-3)  # of the differences: a kink spoils some of them, a wrong rule all
ROUNDING = 2e-15  # of a float64 number, as a share of it: some ε, as an op rounds more than once


@dataclass(frozen=True)
class Check:
    """One comparison. ``error`` is relative: |analytic − numerical| beyond rounding, over the larger of the two;
    ``noise``: what rounding of the loss makes uncertain in the numerical value.
    """

    where: str
    analytic: float
    numerical: float
    noise: float

    @property
    def error(self):
        """Relative to the larger of the two; 0 within the noise."""
        apart = abs(self.analytic - self.numerical)
        if not isfinite(apart):
            return float("inf")
        return max(0.0, apart - self.noise) / max(abs(self.analytic), abs(self.numerical), 1e-300)


@dataclass(frozen=True, repr=False)
class Verification:
    """What `verify` has found; ``float(result)`` is the largest relative error. ``print(result)`` shows every check.

    name: of the tensor; checks: the `Check`s, first that of all entries at once; loss: in float64; single: how far the
    gradient in the network's own precision is from that in float64, as a share of its norm.
    """

    name: str
    checks: list
    loss: float
    single: float
    rtol: float = 1e-5

    def __float__(self):
        return max(check.error for check in self.checks)

    def holds(self):
        """Is every error at most ``rtol``?"""
        return all(check.error <= self.rtol for check in self.checks)

    def _rows(self):
        rows = []
        for c in self.checks:
            verdict = "ok" if c.error <= self.rtol else "WRONG"
            apart = abs(c.analytic - c.numerical)
            numbers = (f"{c.analytic:.9g}", f"{c.numerical:.9g}", f"{apart:.0e}", f"{c.noise:.0e}")
            rows.append((c.where, *numbers, verdict))
        return rows

    def __repr__(self):
        lines = [
            f"the gradient of the loss ({self.loss:.9g}) by {self.name}, in float64",
            text_table([HEAD, *self._rows()], RIGHT),
        ]
        if self.single:
            lines.append(f"in the network's own precision it differs from this by {self.single:.1e} of its norm")
        return "\n".join(lines)

    def _repr_html_(self):
        return html_table(self._rows(), HEAD, RIGHT, title=f"the gradient of the loss by {self.name}, in float64")


HEAD, RIGHT = ("entry", "analytic", "by differences", "apart", "noise", ""), (1, 2, 3, 4)


def verify(loss_fn, tensor, n=8, rtol=1e-5, seed=0):
    """Compare the gradient of a real loss by ``tensor`` with differences of the loss, in float64, in place.

    loss_fn: takes nothing and returns a scalar Tensor, everything in it computed anew (``lambda: game.loss("D",
    batch)``); random numbers must be the same at every call. tensor: a leaf it depends on, such as ``D.conv2.weight``.
    n: how many entries: half of them those with the largest gradient, half at random; besides, all entries at once
    along a random direction, which a mistake of more than rtol does not survive. rtol: the largest relative error
    allowed.

    Some ten evaluations of the loss per entry. The network is left bit for bit as it was. Layers with spectral
    normalisation are computed as in evaluation: the vectors of the power iteration are constants for the gradient.
    Returns a `Verification`; raises `GradientError` if an entry is wrong, ``ValueError`` for what is no leaf, a loss
    that does not depend on it, and one that is not finite or not a function of the weights alone.
    """
    n = integer("n", n, 0)
    if not callable(loss_fn):
        raise TypeError(f"verify: loss_fn must be a function that computes the loss, got {type(loss_fn).__name__}")
    if type(tensor) is not Tensor or tensor.node is None or tensor.node.op is not None:
        what = "verify: expected a leaf that requires a gradient, such as D.conv2.weight, got"
        raise ValueError(f"{what} {_what(tensor)}")
    name, rng = tensor.name or "the tensor", stream(seed, "verify")
    with undisturbed() as modules:
        own, _ = _gradient(loss_fn, tensor, modules)
    with in_double() as double:
        double.double_leaf(tensor)
        with tape() as t:
            gradient, reached = _gradient(loss_fn, tensor, double)
        noise = ROUNDING * _sensitivity(t)
        loss, again = _loss(loss_fn, double), _loss(loss_fn, double)
        if not isfinite(loss):
            raise ValueError(f"verify: the loss is {loss}; compute it inside mg.anomaly() to see why")
        if again != loss:
            what = f"verify: at the same weights loss_fn gave {loss:.9g} and then {again:.9g}"
            raise ValueError(f"{what}: draw its random numbers outside, or from a fixed seed")
        where = backend.of(tensor.data)
        direction = where.asarray(rng.choice([-1.0, 1.0], tensor.shape) * rng.uniform(0.25, 1.0, tensor.shape))
        checks = [_check("all, along a direction", loss_fn, tensor, gradient, direction, noise, double, rtol)]
        for index in _entries(where.to_host(gradient), n, rng):
            one = where.xp.zeros_like(tensor.data)
            one[index] = 1.0
            shown = f"[{', '.join(map(str, index))}]"
            checks.append(_check(shown, loss_fn, tensor, gradient, one, noise, double, rtol))
    size = float((gradient * gradient).sum()) ** 0.5
    apart = float(((own - gradient) ** 2).sum()) ** 0.5
    single = apart / size if size > noise else 0.0  # below, it is 0 but for rounding
    result = Verification(name, checks, loss, single, rtol)
    if not result.holds():
        fix = "verify_all(network) names the op whose VJP is wrong"
        if tensor.node.hooks:
            fix = f"{name} has a hook: does that change the gradient? Else {fix}"
        if not reached:
            fix = f"{name} is used, but the graph does not lead to it: it was frozen, detached, or used by its .data"
        raise GradientError(f"verify: the gradient is wrong\n{result}\n  Fix: {fix}")
    if not reached and tensor.size:
        raise ValueError(f"verify: the loss does not depend on {name}: there is no gradient to verify")
    return result


def _what(tensor):
    """What has been given instead of a leaf, and what to do with it."""
    if isinstance(tensor, Module):
        return f"a {type(tensor).__name__}: verify_all(module) checks every op of a network"
    if type(tensor) is not Tensor:
        return f"{type(tensor).__name__}: give the Tensor, not its .data or its name"
    if tensor.node is None:
        return f"a Tensor of shape {tensor.shape} without requires_grad=True"
    return f"what {tensor.node.name()} has computed"


def _gradient(loss_fn, leaf, modules):
    """The gradient of the loss by ``leaf``, an array, and whether the graph leads to it; the modules end as they
    were.
    """
    start = Node.leaf(leaf).seq
    try:
        loss = loss_fn()
        if type(loss) is not Tensor:
            raise ValueError(f"verify: loss_fn must return a scalar Tensor, got {type(loss).__name__}")
        nodes = _reachable([(loss, None)]) if loss.node else []
        if old := next((node for node in nodes if node.op is not None and node.seq < start), None):
            what = f"verify: loss_fn uses what {old.name()} has computed before"
            fix = "compute everything inside the function, from the weights to the loss, or detach() it outside"
            raise ValueError(message(what, site=old.site, fix=fix))
        return grad(loss, leaf)[0].data, leaf.node in nodes
    finally:
        modules.rewind()


def _loss(loss_fn, double):
    try:
        return float(loss_fn().item())
    finally:
        double.rewind()


def _entries(gradient, n, rng):
    """Indices: the n/2 entries with the largest gradient, then others at random, up to n."""
    size = gradient.size
    largest = np.argsort(-np.abs(gradient).reshape(-1), kind="stable")[: (n + 1) // 2]
    others = [i for i in rng.permutation(size)[: 2 * n] if i not in set(largest.tolist())]
    return [tuple(map(int, np.unravel_index(i, gradient.shape))) for i in [*largest, *others][: min(n, size)]]


def _sensitivity(t):
    """√Σ(v·∂L/∂v)² over all numbers of the graph: see the top of this file."""
    pairs = [(e.value, e.grad) for e in t.rows()]
    return sum(float(((v.data * g.data) ** 2).sum()) for v, g in pairs if v is not None and g is not None) ** 0.5


def _check(where, loss_fn, leaf, gradient, direction, noise, double, rtol):
    """Compare along one direction, with several step sizes until one agrees; else with the one that agrees best.
    noise: of the loss.
    """
    start, analytic, found = leaf.data, float((gradient * direction).sum()), []
    scale = max(float(abs(start).max()) if start.size else 0.0, 1e-3)

    def at(t):
        leaf.data = start + t * direction
        return _loss(loss_fn, double)

    try:
        for step in STEPS:
            h = step * scale
            near, far = at(h) - at(-h), at(2 * h) - at(-2 * h)
            found.append(Check(where, analytic, (8 * near - far) / (12 * h), noise / h))
            if found[-1].error <= rtol:
                return found[-1]
    finally:
        leaf.data = start
    return min(found, key=lambda check: check.error)
