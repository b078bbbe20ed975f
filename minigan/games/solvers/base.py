"""What a solver is: a way for all players of a game to move, by the optimisers of `minigan.optim`."""

from ...autodiff.engine import grad
from ...optim import Optimizer
from ..guard import check_finite
from ..state import join_states, split_state


class Solver:
    """Base class: holds one optimiser per player; subclasses define ``round``.

    optimizers: {player: Optimizer}, in order of moving.
    """

    def __init__(self, optimizers):
        own = type(self).__name__
        if not isinstance(optimizers, dict) or not optimizers:
            raise ValueError(f"{own} takes {{player: optimiser}}, one at least; got {optimizers!r}")
        for player, optimizer in optimizers.items():
            if not isinstance(optimizer, Optimizer):
                fix = "make one of its parameters, like SGD(params, lr=0.1)"
                raise ValueError(f"{own}: {player!r} needs an optimiser, got {type(optimizer).__name__}; {fix}")
        self.optimizers = dict(optimizers)
        self.number = 0

    def step(self, game, step):
        """Play round number ``step``. Returns {player: its loss before its last move, a scalar Tensor}.

        Raises ``ValueError`` when there is an optimiser for a player that the game does not have, and `NonFiniteError`
        when a loss or gradient is not finite; the player concerned then stays where it last was.
        """
        self._check(game)
        self.number = step
        losses = self.round(game, step)
        game.after_round()
        return losses

    def _check(self, game):
        """Refuse a game whose players' parameters are not those that the optimisers hold: nothing would be trained."""
        unknown = set(self.optimizers) - set(game.players)
        if unknown:
            raise ValueError(f"optimisers for unknown players {sorted(unknown)}; the game has {sorted(game.players)}")
        for player, optimizer in self.optimizers.items():
            if not set(optimizer.params) <= set(game.players[player]):
                what = f"the optimiser of {player!r} holds other Tensors than game.players[{player!r}]"
                raise ValueError(f"{type(self).__name__}: {what} (another game's, or another player's?)")

    def round(self, game, step):
        """What the players do in one round. Subclasses define it."""
        raise NotImplementedError(f"{type(self).__name__} defines no round(self, game, step)")

    # ---- pieces that solvers are made of --------------------------------------------------------------------------

    def gradient(self, game, player, batch):
        """Leave the player's gradient, and nobody else's, in its parameters' ``.grad``. Returns the loss, cut loose."""
        loss, params = game.loss(player, batch), self.optimizers[player].params
        return self.leave(game, player, loss, params, grad(loss, params), batch)

    def gradients(self, game, batch):
        """`gradient` of all players at the same point. Returns {player: loss}."""
        return {player: self.gradient(game, player, batch) for player in self.optimizers}

    def set_gradients(self, game, losses, gradients, batch):
        """Leave these gradients instead, {player: [one for each of game.players[player]]}. Returns {player: loss}."""
        return {
            player: self.leave(game, player, losses[player], game.players[player], gradients[player], batch)
            for player in self.optimizers
        }

    def leave(self, game, player, loss, params, gradients, batch):
        """Put gradients where the optimiser finds them, if they are finite. Returns the loss, cut loose."""
        for p, g in zip(params, gradients, strict=True):
            p.grad = g.detach()
        check_finite(game, player, loss, batch, self.number)
        return loss.detach()

    def move(self, game, player):
        """One step of the player's optimiser, back into its constraints."""
        self.optimizers[player].step()
        game.constrain(player)

    def move_all(self, game):
        """`move` for every player."""
        for player in self.optimizers:
            self.move(game, player)

    def positions(self):
        """{player: a copy of all its parameters, flat}."""
        return {player: optimizer.position() for player, optimizer in self.optimizers.items()}

    def move_to(self, positions):
        """Put all players where `positions` found them."""
        for player, optimizer in self.optimizers.items():
            optimizer.move_to(positions[player])

    # ---- state ----------------------------------------------------------------------------------------------------

    def parts(self):
        """{name: object with a state}: what a checkpoint of this solver holds. Subclasses add their own."""
        return dict(self.optimizers)

    def state_dict(self):
        """The optimisers' moments and step counts, and what the solver itself remembers."""
        return join_states(self.parts())

    def load_state_dict(self, state):
        """Take over a `state_dict`. Raises when it does not fit; then nothing has changed."""
        split_state(state, self.parts(), type(self).__name__)

    def __repr__(self):
        inner = ", ".join(f"{player}: {type(o).__name__}(lr={o.rate:g})" for player, o in self.optimizers.items())
        return f"{type(self).__name__}({inner})"
