"""Computing in float64 with a network that is float32, and leaving it bit for bit as it was.

Differences of float32 values tell little about a derivative: with a step h they are wrong by about 1e-7/h. So while
something is verified, every operand is turned into float64 on its way into an op, and the leaves keep float64 values
until the end: no layer, objective or training loop needs to know.
"""

from contextlib import contextmanager

import numpy as np

from .. import backend
from ..autodiff.tensor import Tensor
from ..errors import message
from ..nn import SpectralNorm
from .watch import Watcher, watching


class _Undisturbed(Watcher):
    """Takes note of the state of every module before its first call, and of the gradients that leaves hold.

    A `SpectralNorm` is computed as in evaluation: a step of its power iteration would be part of every difference, but
    is none of the gradient, for which its vectors are constants by definition.
    """

    def __init__(self):
        self.modules, self.grads, self.at_rest = {}, {}, []

    def before(self, event):
        if event.kind == "module":
            self.remember(event.what, mode=False)  # which may be that of a ``with module.evaluating()``
            if isinstance(event.what, SpectralNorm) and event.what.training:
                object.__setattr__(event.what, "training", False)
                self.at_rest.append(event.what)
        elif event.kind == "op":
            for a in event.args:
                if type(a) is Tensor and a.node is not None and a.node.op is None:
                    self.grads.setdefault(a, a.grad)

    def remember(self, module, mode=True):
        """Take note of all attributes and buffers (and the mode) of a module and of those inside."""
        for _, m in module.named_modules() if module not in self.modules else ():
            if m not in self.modules:
                self.modules[m] = m.__dict__ | {name: dict(m.__dict__[name]) for name in REGISTRIES}
                if not mode:
                    del self.modules[m]["training"]

    def rewind(self):
        """Put all modules back into the state in which they were first seen."""
        for module in self.at_rest:
            object.__setattr__(module, "training", True)
        self.at_rest.clear()
        for module, state in self.modules.items():
            now = module.__dict__
            mode = now["training"]
            now.clear()
            now.update({"training": mode} | state)
            now.update({name: dict(state[name]) for name in REGISTRIES})
        for leaf, grad in self.grads.items():
            leaf.grad = grad


REGISTRIES = ("_buffers", "_parameters", "_children")


class _Double(_Undisturbed):
    """Turns every operand into float64 on its way into an op; takes note of what has to be put back."""

    def __init__(self):
        super().__init__()
        self.leaves = {}

    def before(self, event):
        super().before(event)
        if event.kind == "op":
            event.args = [self._double(a) for a in event.args]

    def _double(self, a):
        array = a.data if type(a) is Tensor else a
        if not backend.is_array(array) or array.dtype.kind != "f" or array.dtype == np.float64:
            return a
        if type(a) is not Tensor:
            return array.astype(np.float64)
        if a.node is None:
            return Tensor(array.astype(np.float64), name=a.name)
        if a.node.op is not None:
            what = f"{a.node.name()} was computed before, in {array.dtype}: it cannot be computed in float64 now"
            raise ValueError(message(what, fix="compute everything, from the weights to the loss, inside the function"))
        self.double_leaf(a)
        return a

    def double_leaf(self, leaf):
        """Give a leaf float64 values; the array that it had comes back at the end."""
        if leaf not in self.leaves:
            self.leaves[leaf] = leaf.data, leaf.node, leaf.node.dtype
            leaf.data = leaf.data.astype(np.float64)
            leaf.node.dtype = leaf.data.dtype

    def restore(self):
        """Put everything back."""
        self.rewind()
        for leaf, (data, node, dtype) in self.leaves.items():
            leaf.data, node.dtype = data, dtype


@contextmanager
def undisturbed():
    """Inside, modules may be called; afterwards each is in the state in which it was: buffers, counters, attributes,
    gradients.

    Yields an object whose ``rewind()`` does so at any time.
    """
    watcher = _Undisturbed()
    try:
        with watching(watcher):
            yield watcher
    finally:
        watcher.rewind()


@contextmanager
def in_double():
    """`undisturbed`, and whatever ops compute is computed in float64; afterwards every leaf is as it was, too.

    ``rewind()`` does not touch the leaves.
    """
    double = _Double()
    try:
        with watching(double):
            yield double
    finally:
        double.restore()
