"""Players who move one after the other: the loop in which GANs are trained."""

from ...optim import SGD
from .base import Solver


class Alternating(Solver):
    """The players move one after the other, each by its own optimiser, on a fresh batch (Goodfellow et al. 2014,
    algorithm 1).

    optimizers: {player: Optimizer}, in order of moving; different learning rates are the two time scales of Heusel et
    al. 2017. moves: {player: how many steps it makes in a round} (n_critic for the discriminator); 1 by default.

    On min max xy with SGD it circles for ever (modulus 1, for lr < 2).
    """

    def __init__(self, optimizers, moves=None):
        super().__init__(optimizers)
        if not isinstance(moves or {}, dict):
            raise ValueError(f"Alternating: moves is {{player: how many steps}}, like {{'D': 5}}; got {moves!r}")
        self.moves = dict.fromkeys(optimizers, 1) | (moves or {})
        unknown = set(self.moves) - set(optimizers)
        if unknown:
            raise ValueError(
                f"moves for unknown players {sorted(unknown)}; the optimisers are for {sorted(optimizers)}"
            )
        if any(count < 1 for count in self.moves.values()):
            raise ValueError(f"every player makes at least one move in a round, got {self.moves}")

    def round(self, game, step):
        """Each player's moves in turn."""
        losses = {}
        for player, count in self.moves.items():
            for move in range(count):
                losses[player] = self.gradient(game, player, game.batch(step * count + move, player))
                self.move(game, player)
        return losses


def negative_momentum(game, lr, momentum=-0.5):
    """Alternating gradient steps with a negative momentum (Gidel et al. 2019b): it brakes the rotation.

    lr: of all players, or {player: lr}. On min max xy the modulus falls below 1: 0.962544 for lr = 0.5, momentum −½.
    """
    rates = lr if isinstance(lr, dict) else dict.fromkeys(game.players, lr)
    return Alternating({p: SGD(ps, lr=rates[p], momentum=momentum) for p, ps in game.players.items()})
