"""Players who move at the same time, and those who look a step ahead before they do.

With v the game's vector field and η the learning rate (written for gradient steps; any optimiser of `minigan.optim` may
stand for them: Δ(w) is then the step it takes on the gradients at w):

    Simultaneous        w ← w + η v(w)                                    √(1 + η²) on min max xy: diverges
    ExtraGradient       w′ = w + η v(w),  w ← w + η v(w′)                 √(1 − η² + η⁴)
    PastExtraGradient   w′ = w + Δ₋₁,  Δ = η v(w′),  w ← w + Δ            one gradient a round
    Optimistic          w ← w + 2 Δ(w) − Δ₋₁                              the same sequence as the w′ above
"""

import numpy as np

from ... import backend
from ...errors import ShapeError
from .base import Solver


class Simultaneous(Solver):
    """All players step at once, from the same point, on the same batch. On min max xy it spirals out for any lr."""

    def round(self, game, step):
        """All gradients, then all moves."""
        losses = self.gradients(game, game.batch(step))
        self.move_all(game)
        return losses


class ExtraGradient(Solver):
    """Look ahead, then step from where you were with the gradient found there (Korpelevich 1976; Gidel et al. 2019a,
    eqs. 9–10).

    With Adam it is their ExtraAdam (algorithm 4): moments follow the gradients of both points, and a schedule counts
    two steps a round. fresh: a new batch for the second gradient; by default the same (Mishchenko et al. 2020 show that
    this is the safer choice).
    """

    def __init__(self, optimizers, fresh=False):
        super().__init__(optimizers)
        self.fresh = fresh

    def round(self, game, step):
        """Two gradients, one move."""
        batch = game.batch(2 * step if self.fresh else step)
        start = self.positions()
        try:
            losses = self.gradients(game, batch)
            self.move_all(game)
            self.gradients(game, game.batch(2 * step + 1) if self.fresh else batch)
        finally:
            self.move_to(start)
        self.move_all(game)
        return losses


class _Remembering(Solver):
    """A solver that remembers each player's last step Δ₋₁, a flat array; zero before the first round."""

    def __init__(self, optimizers):
        super().__init__(optimizers)
        self.last = {player: 0 * optimizer.position() for player, optimizer in self.optimizers.items()}

    def parts(self):
        """The optimisers, and the last steps."""
        return super().parts() | {"_last": _Arrays(self.last)}


class PastExtraGradient(_Remembering):
    """Extragradient that looks ahead with the last step instead of a new gradient (Popov 1980; Gidel et al. 2019a)."""

    def round(self, game, step):
        """One gradient, at the point ahead."""
        start = self.positions()
        self.move_to({player: start[player] + self.last[player] for player in start})
        try:
            for player in start:
                game.constrain(player)
            losses = self.gradients(game, game.batch(step))
        finally:
            self.move_to(start)
        self.move_all(game)
        for player, now in self.positions().items():
            self.last[player] = now - start[player]
        return losses


class Optimistic(_Remembering):
    """Take twice the new step and the last one back (Daskalakis et al. 2018, eq. 5 for SGD, algorithm 1 for Adam).

    The best of both: one gradient a round, and on min max xy it converges for lr < 1/√3.
    """

    def round(self, game, step):
        """One gradient, at the present point."""
        start = self.positions()
        losses = self.gradients(game, game.batch(step))
        for player, optimizer in self.optimizers.items():
            optimizer.step()
            delta = optimizer.position() - start[player]
            optimizer.move_to(start[player] + 2 * delta - self.last[player])
            self.last[player] = delta
            game.constrain(player)
        return losses


class _Arrays:
    """A dictionary of arrays as a part with a state."""

    def __init__(self, arrays):
        self.arrays = arrays

    def state_dict(self):
        return {name: np.array(backend.of(a).to_host(a)) for name, a in self.arrays.items()}

    def load_state_dict(self, state):
        expected = {name: a.shape for name, a in self.arrays.items()}
        got = {name: np.shape(a) for name, a in state.items()}
        if got != expected:
            raise ShapeError(f"the last steps do not fit: expected {expected}, got {got}")
        for name, a in self.arrays.items():
            self.arrays[name] = backend.of(a).asarray(state[name], a.dtype)
