"""A game: players who each hold parameters and each minimise a loss that depends on everybody's.

Solvers, the training loop and diagnostics know nothing but this interface, so what works on a game of two numbers works
on a GAN.
"""

import numpy as np

from .. import backend
from ..errors import ShapeError


class Game:
    """Subclasses set ``players`` in ``__init__``, {name: list of parameters} (a module's, or made by ``mg.tensor(…,
    requires_grad=True, name=…)``), and define ``losses`` and, for what is random in them, ``batch``.

    Within a round, losses are functions of the parameters and the batch only: a solver may evaluate them as often as it
    likes. What a game changes by itself between rounds, it changes in ``after_round``.
    """

    players = {}
    terms = {}  # {player: {name: 0-d array}}: what the latest loss of each player was the sum of
    logits = {}  # {"real": array, "fake": array}: a discriminator's latest outputs, in games that have one

    def batch(self, number, player=None):
        """What the losses are evaluated on at draw ``number`` (for ``player`` alone, if given): the same for the same
        number.
        """
        return None

    def losses(self, batch):
        """{player: its loss, a scalar Tensor} at the present parameters, each differentiable by all of them."""
        raise NotImplementedError(f"{type(self).__name__} defines no losses(self, batch)")

    def loss(self, player, batch):
        """One player's loss. Override it where that is cheaper than all of `losses`."""
        losses = self.losses(batch)
        if player not in losses:
            raise ValueError(f"{type(self).__name__}.losses gives {sorted(losses)}, not {player!r}")
        return losses[player]

    def constrain(self, player):
        """Move the player's parameters back to where they may be. Solvers call it after each move."""

    def after_round(self):
        """Solvers call it once after every round."""

    def readings(self):
        """{name: 0-d array} of further numbers worth logging, from the latest losses."""
        return {}

    def state_dict(self):
        """{name: NumPy array} of all that play changes: here the players' parameters."""
        parameters = [(f"{player}/{i}", p) for player, ps in self.players.items() for i, p in enumerate(ps)]
        return {name: np.array(backend.of(p.data).to_host(p.data)) for name, p in parameters}

    def load_state_dict(self, state):
        """Take over a `state_dict`. Raises `ShapeError` when names or shapes differ; then nothing has changed."""
        own = {f"{player}/{i}": p for player, ps in self.players.items() for i, p in enumerate(ps)}
        got = {name: np.shape(a) for name, a in state.items()}
        if got != {name: p.shape for name, p in own.items()}:
            expected = {name: p.shape for name, p in own.items()}
            raise ShapeError(f"this state does not fit {type(self).__name__}: expected {expected}, got {got}")
        for name, p in own.items():
            p.assign(backend.of(p.data).asarray(state[name], p.dtype))
