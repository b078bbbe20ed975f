"""Optimisers over one flat buffer.

All parameters of an optimiser lie one behind the other in a single array, and each parameter's ``data`` is a view of
its piece. An update is then a handful of passes over one array, however many layers there are (and one kernel on a
GPU); the state is one array per moment.
"""

import numpy as np

from .. import backend
from ..autodiff.tensor import Tensor, Version
from ..errors import DeviceError, DTypeError, ShapeError


class Averaged(Version):
    """The Version of weights that are only lent to the parameters, inside `EMA.applied`."""


class Flat:
    """One array with the values of many parameters. ``data``: (size,); ``slices``: of each; ``views``: shaped."""

    def __init__(self, params):
        first = params[0]
        for p in params:
            if p.device != first.device:
                raise DeviceError(
                    f"parameters on different devices: {first.name!r} {first.device}, {p.name!r} {p.device}"
                )
            if p.dtype != first.dtype:
                raise DTypeError(f"parameters of different dtypes: {first.name!r} {first.dtype}, {p.name!r} {p.dtype}")
        ends = np.cumsum([p.size for p in params]).tolist()
        self.slices = [slice(end - p.size, end) for p, end in zip(params, ends)]
        self.data = backend.xp(first.data).zeros(ends[-1], dtype=first.dtype)
        self.views = [self.data[s].reshape(p.shape) for s, p in zip(self.slices, params)]

    def gather(self, arrays):
        """Copy one array per parameter into the buffer."""
        for view, array in zip(self.views, arrays):
            view[...] = array


class Optimizer:
    """Base class: holds the parameters in a flat buffer, and gives each update to ``_update``.

    params: Tensors that require gradients (``module.parameters()``). lr: a number, or a function of the number of steps
    taken so far (see `optim.schedules`). Parameters without a gradient (``.grad is None``)
    stay as they are, their moments too.

    Raises ``ValueError`` for no, repeated or untracked parameters or a learning rate that is not positive.
    """

    moments = ()  # names of the flat state arrays

    def __init__(self, params, lr):
        self.params = list(params)
        if not self.params:
            raise ValueError(f"{type(self).__name__} got no parameters")
        bad = [p for p in self.params if not (isinstance(p, Tensor) and p.requires_grad and p.node.op is None)]
        if bad:
            raise ValueError(f"{type(self).__name__} takes leaf Tensors that require gradients, got {bad[0]!r}")
        if len(set(self.params)) != len(self.params):
            raise ValueError(f"{type(self).__name__}: a parameter is listed twice")
        self.lr, self.steps = lr, 0
        if not self.rate > 0:
            raise ValueError(f"{type(self).__name__}: lr must be positive, got {self.rate}")
        self.flat, self.gradient = Flat(self.params), Flat(self.params)
        self.state = {name: backend.xp(self.flat.data).zeros_like(self.flat.data) for name in self.moments}
        self.version = Version()
        self._bind()

    def _bind(self):
        """Make every parameter a view of the buffer, keeping its value (again, if something replaced its array)."""
        for p, view in zip(self.params, self.flat.views):
            if p.data is not view:
                if isinstance(p._version, Averaged):
                    raise ValueError(f"{type(self).__name__}.step inside EMA.applied() would move the averaged weights")
                if type(p.data) is not type(view) or p.dtype != view.dtype:
                    what = f"{p.name!r} was moved ({p.device}, {p.dtype}) after {type(self).__name__} was made"
                    raise DeviceError(f"{what}; call module.to(...) first, then make the optimiser")
                if p.shape != view.shape:
                    raise ShapeError(f"the values of {p.name!r} have shape {p.shape}, the parameter {view.shape}")
                view[...] = p.data
                p.data, p._version = view, self.version

    @property
    def rate(self):
        """The learning rate of the next step, a number."""
        return self.lr(self.steps) if callable(self.lr) else self.lr

    def step(self):
        """Move every parameter that has a gradient.

        Raises ``ValueError`` when none has one and `ShapeError` for a misshapen one; then nothing has moved.
        """
        present = [p.grad is not None for p in self.params]
        if not any(present):
            raise ValueError(f"{type(self).__name__}.step: no parameter has a gradient; call loss.backward() first")
        self._bind()
        for p in self.params:  # NumPy would broadcast (1,) into (2,) without a word
            if p.grad is not None and p.grad.shape != p.shape:
                raise ShapeError(f"the gradient of {p.name!r} has shape {p.grad.shape}, the parameter {p.shape}")
        rate = self.rate
        self.steps += 1
        self.gradient.gather([0 if p.grad is None else p.grad.data for p in self.params])
        for piece in [slice(None)] if all(present) else [s for s, here in zip(self.flat.slices, present) if here]:
            state = {name: array[piece] for name, array in self.state.items()}
            self._update(self.flat.data[piece], self.gradient.data[piece], rate, **state)
        self.version.bump()

    def _update(self, w, g, rate, **state):
        """Change the flat arrays w and state in place, at this learning rate. Subclasses define it."""
        raise NotImplementedError

    def position(self):
        """A copy of all parameter values as one flat array (size,), for `move_to`."""
        self._bind()
        return self.flat.data.copy()

    def move_to(self, position):
        """Set all parameter values from a flat array (size,); the moments stay. For solvers that try a step."""
        self._bind()
        self.flat.data[...] = position
        self.version.bump()

    def zero_grad(self):
        """Forget all gradients (``.grad = None``)."""
        for p in self.params:
            p.grad = None

    def state_dict(self):
        """{name: NumPy array}: the moments and the number of steps. The parameters are the module's to save."""
        to_host = backend.of(self.flat.data).to_host
        return {name: np.array(to_host(a)) for name, a in self.state.items()} | {"steps": np.array(self.steps)}

    def load_state_dict(self, state):
        """Take over a `state_dict`. Raises `ShapeError` when names or sizes differ; then nothing has changed."""
        expected = {name: a.shape for name, a in self.state.items()} | {"steps": ()}
        got = {name: np.shape(a) for name, a in state.items()}
        if expected != got:
            raise ShapeError(f"this state does not fit {type(self).__name__}: expected {expected}, got {got}")
        steps = int(state["steps"])
        moments = {name: backend.of(a).asarray(state[name], a.dtype) for name, a in self.state.items()}
        for name, a in self.state.items():
            a[...] = moments[name]
        self.steps = steps
