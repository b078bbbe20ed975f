"""Module: a function with parameters that know their names.

Assign a Tensor that requires a gradient to an attribute, and it is a parameter; assign a Module, and it is a child;
call ``self.buffer(name, array)`` for state that is saved but not trained. Every module has a ``path``
(``"D.block1.conv"``), which names its parameters (``"D.block1.conv.weight"``) and stands in error messages as the scope
of whatever runs inside it.
"""

from contextlib import contextmanager

import numpy as np

from .. import backend, display
from ..autodiff.modes import no_grad, state
from ..autodiff.tensor import Tensor
from ..errors import ShapeError


class Module:
    """Base class of layers and networks: define ``__init__`` and ``forward``, then call the module like a function."""

    # Does a sample's output depend on the other samples of the batch in training? Per-sample gradient penalties refuse
    # such a layer.
    couples_samples = False

    def __init__(self, name=None):
        for registry in ("_parameters", "_children", "_buffers"):
            object.__setattr__(self, registry, {})
        self.training, self.hooks = True, []  # hooks: fn(module, inputs, output), after each call
        self.path = name or ""

    def __setattr__(self, name, value):
        if "_parameters" not in self.__dict__:
            raise AttributeError(f"call super().__init__() in {type(self).__name__} before setting {name!r}")
        if isinstance(value, (list, tuple, dict)) and name[0] != "_":
            held = value.values() if isinstance(value, dict) else value
            if any(isinstance(v, Module) or (isinstance(v, Tensor) and v.requires_grad) for v in held):
                what = f"{type(self).__name__}.{name}: layers inside a {type(value).__name__} would not be trained"
                raise TypeError(f"{what}; put them into nn.Sequential, or set each as an attribute")
        parameter = isinstance(value, Tensor) and value.requires_grad and value.node.op is None
        child = isinstance(value, Module)
        if not parameter:
            self._parameters.pop(name, None)
        if not child:
            self._children.pop(name, None)
        if parameter:
            self._parameters[name] = value  # in the place of an old one: Sequential runs its children in order
            value.name = _join(self.path, name)
        elif child:
            self._children[name] = value
            value._rename(_join(self.path, name))
        elif name in self._buffers:
            self._buffers[name] = value
        object.__setattr__(self, name, value)

    def __delattr__(self, name):
        for registry in (self._parameters, self._children, self._buffers):
            registry.pop(name, None)
        object.__delattr__(self, name)

    def _rename(self, path):
        object.__setattr__(self, "path", path)
        for name, p in self._parameters.items():
            p.name = _join(path, name)
        for name, child in self._children.items():
            child._rename(_join(path, name))

    def named(self, name):
        """Give the module (and all its parameters and children) a new root name, ``"D"`` say; returns the module."""
        self._rename(name)
        return self

    def buffer(self, name, array):
        """Register ``array`` as state that is saved, loaded and moved with the module, but not trained."""
        self._buffers[name] = array
        setattr(self, name, array)

    def forward(self, *inputs):
        """What the module computes. Subclasses define it."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward(self, ...)")

    def __call__(self, *inputs, **options):
        """`forward` of the inputs (arrays become constant Tensors), with this module's path as the scope."""
        inputs = [a if type(a) is Tensor or not backend.is_array(a) else Tensor(a) for a in inputs]
        before, state.scope = state.scope, self.path
        try:
            output = self.forward(*inputs, **options)
        finally:
            state.scope = before
        for hook in self.hooks:
            hook(self, inputs, output)
        return output

    def hook(self, fn):
        """Call ``fn(module, inputs, output)`` after each call of this module; what it returns does not matter.

        Returns a function without arguments that takes the hook away. The gradient at a module's output:
        ``net.conv1.hook(lambda module, inputs, output: output.hook(print))``.
        """
        own = lambda *call: fn(*call)  # its own, should fn be given twice
        self.hooks.append(own)
        return lambda: self.hooks.remove(own) if own in self.hooks else None

    # ---- walking the tree -----------------------------------------------------------------------------------------

    def named_modules(self, prefix=""):
        """Pairs (dotted name, module), this one first (named ``prefix``), depth first."""
        yield prefix, self
        for name, child in self._children.items():
            yield from child.named_modules(_join(prefix, name))

    def named_parameters(self):
        """Pairs (name relative to this module, Tensor), each parameter once."""
        seen = set()
        for prefix, module in self.named_modules():
            for name, p in module._parameters.items():
                if p not in seen:
                    seen.add(p)
                    yield _join(prefix, name), p

    def parameters(self):
        """The list of all parameters, each once, in order of definition."""
        return [p for _, p in self.named_parameters()]

    def named_buffers(self):
        """Pairs (name relative to this module, array)."""
        for prefix, module in self.named_modules():
            for name, array in module._buffers.items():
                yield _join(prefix, name), array

    def train(self, mode=True):
        """Training mode (batch statistics, dropout on) for this module and all below; returns the module."""
        for _, module in self.named_modules():
            object.__setattr__(module, "training", bool(mode))
        return self

    def eval(self):
        """Evaluation mode (running statistics, dropout off); returns the module."""
        return self.train(False)

    @contextmanager
    def evaluating(self):
        """Inside, evaluation mode; afterwards every module below is in the mode it was in."""
        modes = [(module, module.training) for _, module in self.named_modules()]
        self.eval()
        try:
            yield self
        finally:
            for module, mode in modes:
                object.__setattr__(module, "training", mode)

    @contextmanager
    def frozen(self):
        """Inside, the parameters are constants: nothing is recorded or saved for their gradients."""
        parameters = self.parameters()
        nodes = [p.node for p in parameters]
        for p in parameters:
            p.node = None
        try:
            yield self
        finally:
            for p, node in zip(parameters, nodes):
                p.node = node

    # ---- state ----------------------------------------------------------------------------------------------------

    def state_dict(self):
        """{name: NumPy array}, copies of all parameters and buffers."""
        state = {name: p.numpy() for name, p in self.named_parameters()}
        return state | {name: np.array(backend.of(a).to_host(a)) for name, a in self.named_buffers()}

    def load_state_dict(self, state):
        """Take over the values of a `state_dict`, strictly: names and shapes must be this module's very own.

        Raises `ShapeError` that lists every missing, unexpected and misshapen name at once; then nothing has changed.
        """
        own = self.state_dict()
        problems = [f"missing: {name} {own[name].shape}" for name in own if name not in state]
        problems += [f"unexpected: {name} {np.shape(a)}" for name, a in state.items() if name not in own]
        problems += [
            f"misshapen: {name} is {np.shape(state[name])}, expected {a.shape}"
            for name, a in own.items()
            if name in state and np.shape(state[name]) != a.shape
        ]
        if problems:
            who = self.path or type(self).__name__
            raise ShapeError("\n    ".join([f"this state does not fit {who}:", *problems]))
        values = {name: np.asarray(state[name], dtype=a.dtype) for name, a in own.items()}  # may raise: first
        for name, p in self.named_parameters():
            p.assign(backend.of(p.data).asarray(values[name]))
        for prefix, module in self.named_modules():
            for name, array in module._buffers.items():
                module._put_buffer(name, values[_join(prefix, name)], backend.of(array))

    def _put_buffer(self, name, host, library):
        """Replace a buffer by a new array (never in place: a graph may hold the old one)."""
        setattr(self, name, library.asarray(host))

    def to(self, device=None, dtype=None):
        """Move all parameters and buffers to ``device`` and/or change floating ones to ``dtype``; returns the module.

        Do this before the optimiser is made: it keeps the parameters in a buffer of its own.
        """
        for p in self.parameters():
            library = backend.get(device) if device else backend.of(p.data)
            p.data = library.asarray(backend.of(p.data).to_host(p.data), dtype or p.dtype)
            p.grad = None
            p.requires_grad = False  # a new leaf node: the old one described the old array
            p.requires_grad = True
        for _, module in self.named_modules():
            for name, array in module._buffers.items():
                library = backend.get(device) if device else backend.of(array)
                kept = dtype if dtype and array.dtype.kind == "f" else array.dtype
                module._put_buffer(name, np.asarray(backend.of(array).to_host(array), kept), library)
        return self

    # ---- showing --------------------------------------------------------------------------------------------------

    def summary(self, *inputs):
        """A table as text: every layer with its output shape and number of parameters, for the given example inputs.

        Runs one forward pass without recording, in evaluation mode; the module is left as it was.
        """
        shapes = {}
        modes = {module: module.training for _, module in self.named_modules()}
        for module in modes:
            module.hooks.append(lambda m, _, out: shapes.__setitem__(m, getattr(out, "shape", "")))
        try:
            with no_grad():
                self.eval()(*inputs)
        finally:
            for module, mode in modes.items():
                module.hooks.pop()
                object.__setattr__(module, "training", mode)
        rows = [("layer", "type", "output shape", "parameters")]
        for name, module in self.named_modules(self.path or type(self).__name__):
            count = sum(p.size for p in module._parameters.values())
            if module._parameters or not module._children:
                rows.append((name, type(module).__name__, str(tuple(shapes.get(module, ()))), f"{count:,}"))
        rows.append(("total", "", "", f"{sum(p.size for p in self.parameters()):,}"))
        return display.text_table(rows, right=[3], rule=(1, -1))

    def extra(self):
        """What ``repr`` shows between the brackets; layers override it."""
        return ""

    def __repr__(self):
        if not self._children:
            return f"{type(self).__name__}({self.extra()})"
        inner = "\n".join(f"{name}: {child!r}" for name, child in self._children.items())
        return f"{type(self).__name__}(\n  " + inner.replace("\n", "\n  ") + "\n)"

    def _repr_html_(self):
        """For notebooks: the tree of layers, with their parameters' shapes, how many there are, and the mode."""
        return self._branch(self.path or type(self).__name__, opened=True)

    def _branch(self, name, opened=False):
        settings = f"({self.extra()})" if self.extra() else ""
        what = type(self).__name__ + settings if self._children else repr(self)
        count = sum(p.size for p in self.parameters())
        notes = [f"{key} {tuple(p.shape)}" for key, p in self._parameters.items()]
        if count:
            notes.append(f"{count:,} parameter{'s' * (count > 1)}" + (" in total" if self._children else ""))
        notes.append("training" if self.training else "evaluation")
        children = [child._branch(key) for key, child in self._children.items()]
        return display.html_tree(name, what, notes, children, opened)


def _join(prefix, name):
    return f"{prefix}.{name}" if prefix else name
