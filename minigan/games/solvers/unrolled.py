"""A player who foresees how the other will answer."""

from contextlib import contextmanager

from ...autodiff.engine import grad
from .base import Solver


class Unrolled(Solver):
    """Unrolled GANs (Metz et al. 2017, eqs. 6–9): one player minimises its loss after k further steps of the other.

    The ``leader`` G minimises ℓ_G(θ_G, θ_Dᵏ(θ_D, θ_G)), where θ_Dⁱ⁺¹ = θ_Dⁱ − lr·∇ℓ_D(θ_G, θ_Dⁱ) are k = ``steps``
    gradient steps of the other player D, and differentiates through them: through how D would react. That follower
    itself takes an ordinary step of its optimiser, whose learning rate is also the default for ``lr``. Both move from
    the same point, on the same batch. With steps = 0 this is `Simultaneous`. On min max xy with learning rates η the
    modulus is √(1 − (2k − 1)η²), while the eigenvalues are complex.
    """

    def __init__(self, optimizers, steps=5, lr=None, leader="G"):
        super().__init__(optimizers)
        others = [player for player in self.optimizers if player != leader]
        if leader not in self.optimizers or len(others) != 1:
            players = ", ".join(map(repr, self.optimizers))
            raise ValueError(f"Unrolled: optimisers for the leader {leader!r} and one other needed, got {players}")
        if steps < 0:
            raise ValueError(f"Unrolled: steps must be at least 0, got {steps}")
        self.steps, self.lr, self.leader, self.follower = steps, lr, leader, others[0]

    def round(self, game, step):
        """The follower's gradient, the leader's through the unrolled steps, both moves."""
        batch = game.batch(step)
        losses = {self.follower: self.gradient(game, self.follower, batch)}
        own, theirs = (self.optimizers[player].params for player in (self.leader, self.follower))
        rate = self.optimizers[self.follower].rate if self.lr is None else self.lr
        terms, logits = dict(game.terms), dict(game.logits)  # of the follower as it is, not as it would become
        with restored(theirs):
            for _ in range(self.steps):
                slopes = grad(game.losses(batch)[self.follower], theirs, create_graph=True)
                become(theirs, [p - rate * g for p, g in zip(theirs, slopes)])
            loss = game.losses(batch)[self.leader]
            slopes = grad(loss, own)
        game.terms, game.logits = terms | {self.leader: game.terms.get(self.leader, {})}, logits
        losses[self.leader] = self.leave(game, self.leader, loss, own, slopes, batch)
        self.move_all(game)
        return losses


def become(parameters, values):
    """Let parameters stand for computed Tensors: what uses them now is differentiated through to what those came from.

    Undo it with `restored` around.
    """
    for p, value in zip(parameters, values, strict=True):
        p.data, p.node, p._version = value.data, value.node, None


@contextmanager
def restored(parameters):
    """Afterwards the parameters are the leaves again that they were before."""
    before = [(p.data, p.node, p._version) for p in parameters]
    try:
        yield
    finally:
        for p, (data, node, version) in zip(parameters, before):
            p.data, p.node, p._version = data, node, version
