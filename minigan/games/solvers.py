"""Solvers: how the players move."""


class Alternating:
    """The players move one after the other, each by its own optimiser, on a fresh batch (Goodfellow et al. 2014,
    algorithm 1).

    optimizers: {player: Optimizer}, in order of moving. moves: {player: how many steps it makes in a round} (n_critic
    for the discriminator); 1 by default.
    """

    def __init__(self, optimizers, moves=None):
        self.optimizers, self.moves = optimizers, dict.fromkeys(optimizers, 1) | (moves or {})
        unknown = set(self.moves) - set(optimizers)
        if unknown:
            raise ValueError(
                f"moves for unknown players {sorted(unknown)}; the optimisers are for {sorted(optimizers)}"
            )
        if any(count < 1 for count in self.moves.values()):
            raise ValueError(f"every player makes at least one move in a round, got {self.moves}")

    def step(self, game, step):
        """Play round number ``step``. Returns {player: its loss before its last move, a scalar Tensor}.

        Raises ``ValueError`` when there is an optimiser for a player that the game does not have.
        """
        unknown = set(self.optimizers) - set(game.players)
        if unknown:
            raise ValueError(f"optimisers for unknown players {sorted(unknown)}; the game has {sorted(game.players)}")
        losses = {}
        for player, optimizer in self.optimizers.items():
            for move in range(self.moves[player]):
                batch = game.batch(step * self.moves[player] + move, player)
                loss = game.loss(player, batch)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            losses[player] = loss.detach()
        return losses
