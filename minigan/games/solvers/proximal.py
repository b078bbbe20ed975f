"""The implicit step that gradient methods approximate."""

import numpy as np

from ..field import move_to, position
from ..guard import check_finite
from .base import Solver


class Proximal(Solver):
    """The proximal point method w ← w + lr·v(w_next) (Rockafellar 1976): each step solves for where it ends.

    Where the vector field is affine, v(w) = J w + b, that is a linear system, (I − lr·J) w_next = w + lr·b. On min max
    xy the modulus is 1/√(1 + lr²) for every lr, which `ExtraGradient` and `Optimistic` imitate for small ones. Games
    without ``affine_field()`` have no closed form; for them it raises ``TypeError``.
    """

    def __init__(self, lr):
        if not lr > 0:
            raise ValueError(f"Proximal: lr must be positive, got {lr}")
        self.lr, self.optimizers, self.number = lr, {}, 0

    def round(self, game, step):
        """Solve, and jump."""
        if not hasattr(game, "affine_field"):
            what = f"Proximal needs a game with a closed form (Bilinear, QuadraticGame), got {type(game).__name__}"
            raise TypeError(f"{what}; ExtraGradient is the explicit step that comes nearest to it")
        losses = {player: loss.detach() for player, loss in game.losses(game.batch(step)).items()}
        for player, loss in losses.items():
            check_finite(game, player, loss, None, self.number)
        J, b = game.affine_field()
        w = position(game)
        move_to(game, np.linalg.solve(np.eye(len(w)) - self.lr * J, w + self.lr * b))
        for player in game.players:
            game.constrain(player)
        return losses

    def __repr__(self):
        return f"Proximal(lr={self.lr:g})"
