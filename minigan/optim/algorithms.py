"""SGD, RMSProp and Adam: the update rules, each a few lines over flat arrays."""

import math

from .. import backend
from .optimizer import Optimizer


class SGD(Optimizer):
    """b ← μ b + g;  w ← w − lr·b  (momentum μ, by default 0: plain gradient descent; may be negative, Gidel et al.
    2019b).
    """

    def __init__(self, params, lr=0.01, momentum=0.0):
        self.momentum, self.moments = momentum, ("momentum_buffer",) if momentum else ()
        super().__init__(params, lr)

    def _update(self, w, g, rate, momentum_buffer=None):
        if momentum_buffer is not None:
            momentum_buffer *= self.momentum
            momentum_buffer += g
            g = momentum_buffer
        w -= rate * g


class RMSProp(Optimizer):
    """v ← α v + (1 − α) g²;  w ← w − lr·g/(√v + eps)  (Hinton 2012, lecture 6e)."""

    moments = ("v",)

    def __init__(self, params, lr=1e-3, alpha=0.99, eps=1e-8):
        super().__init__(params, lr)
        if not 0 <= alpha < 1:
            raise ValueError(f"RMSProp: alpha must be in [0, 1), got {alpha}")
        self.alpha, self.eps = alpha, eps

    def _update(self, w, g, rate, v):
        v += (1 - self.alpha) * (g * g - v)
        w -= rate * g / (backend.xp(v).sqrt(v) + self.eps)


class Adam(Optimizer):
    """m ← β₁m + (1−β₁)g;  v ← β₂v + (1−β₂)g²;  w ← w − lr·m̂/(√v̂ + eps)  (Kingma & Ba 2015, algorithm 1).

    m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ). GANs use beta1 = 0.5 (Radford et al. 2016) or 0.
    """

    moments = ("m", "v")

    def __init__(self, params, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        super().__init__(params, lr)
        if not (0 <= beta1 < 1 and 0 <= beta2 < 1):
            raise ValueError(f"Adam: beta1 and beta2 must be in [0, 1), got {beta1} and {beta2}")
        self.beta1, self.beta2, self.eps = beta1, beta2, eps

    def _update(self, w, g, rate, m, v):
        correction = math.sqrt(1 - self.beta2**self.steps)
        rate = rate * correction / (1 - self.beta1**self.steps)
        backend.of(w).adam(w, g, m, v, rate, self.beta1, self.beta2, self.eps * correction)
