"""Averages of the weights over training: of a generator they often sample better than the weights themselves, of both
players they find the centre around which a rotating game turns.
"""

from contextlib import contextmanager

import numpy as np

from .. import backend
from ..errors import DeviceError, ShapeError
from .optimizer import Averaged, Flat


class _Average:
    """A mean of parameters, flat, that moves by a share ``weight(t)`` of the way towards the weights at update t."""

    def __init__(self, params):
        self.params, self.steps = list(params), 0
        if not self.params:
            raise ValueError(f"{type(self).__name__} got no parameters")
        self.flat, self.version = Flat(self.params), Averaged()
        self.flat.gather([p.data for p in self.params])

    def weight(self, t):
        """The share of the newest weights in the mean at update t = 1, 2, …"""
        raise NotImplementedError

    def update(self):
        """Move the average towards the present weights."""
        self.steps += 1
        weight = self.weight(self.steps)
        self._check()
        for mean, p in zip(self.flat.views, self.params):
            mean += weight * (p.data - mean)
        self.version.bump()

    def _check(self):
        for mean, p in zip(self.flat.views, self.params):
            if type(p.data) is not type(mean) or p.dtype != mean.dtype:
                what = f"{p.name!r} was moved ({p.device}, {p.dtype}) after {type(self).__name__} was made"
                raise DeviceError(f"{what}; call module.to(...) first, then make the average")

    @contextmanager
    def applied(self):
        """Inside, the parameters hold the averaged weights; afterwards their own again.

        Buffers stay as they are: batch norm keeps the running statistics of the weights that are trained.
        """
        self._check()
        own = [(p.data, p._version) for p in self.params]
        for p, mean in zip(self.params, self.flat.views):
            p.data, p._version = mean, self.version
        try:
            yield
        finally:
            for p, (data, version) in zip(self.params, own):
                p.data, p._version = data, version

    def state_dict(self):
        """{name: NumPy array}: the average, flat, and the number of updates."""
        return {
            "mean": np.array(backend.of(self.flat.data).to_host(self.flat.data)),
            "steps": np.array(self.steps),
        }

    def load_state_dict(self, state):
        """Take over a `state_dict`. Raises `ShapeError` when names or sizes differ; then nothing has changed."""
        if set(state) != {"mean", "steps"}:
            own = type(self).__name__
            raise ShapeError(f"this state does not fit {own}: expected mean and steps, got {', '.join(sorted(state))}")
        if np.shape(state["mean"]) != self.flat.data.shape:
            raise ShapeError(f"this average has {np.size(state['mean'])} numbers, the network {self.flat.data.size}")
        steps, mean = int(state["steps"]), backend.of(self.flat.data).asarray(state["mean"], self.flat.data.dtype)
        self.flat.data[...] = mean
        self.steps = steps
        self.version.bump()


class EMA(_Average):
    """w̄ ← decay·w̄ + (1 − decay)·w after each step (Yazıcı et al. 2019), starting at the weights themselves.

    In the first steps the decay is at most (1 + t)/(10 + t), so that the start is forgotten quickly.

    >>> import minigan as mg
    >>> net = mg.nn.Dense(2, 1)
    >>> ema = EMA(net.parameters(), decay=0.99)
    >>> ema.update()
    >>> with ema.applied():
    ...     y = net(mg.tensor([[1.0, 2.0]]))
    """

    def __init__(self, params, decay=0.999):
        if not 0 <= decay < 1:
            raise ValueError(f"EMA: decay must be in [0, 1), got {decay}")
        super().__init__(params)
        self.decay = decay

    def weight(self, t):
        """1 − decay, more at the start."""
        return 1 - min(self.decay, (1 + t) / (10 + t))


class UniformAverage(_Average):
    """The mean of the weights after each step, all alike (Polyak averaging; Gidel et al. 2019a, § 3.1).

    For a game that turns around its equilibrium the mean converges to it although the players never do.
    """

    def weight(self, t):
        """1/t: the mean of t vectors, built up one by one."""
        return 1 / t
