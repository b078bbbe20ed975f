"""Solvers that know the Jacobian J of the game's vector field v, through products with vectors (`games.field`).

With the simultaneous gradient ξ = −v and H = ½‖ξ‖², how far the game is from rest: ∇H = Jᵀv. The antisymmetric part
A = ½(∂ξ − ∂ξᵀ) of ξ's Jacobian is the game's rotation; a game without it is ordinary descent on one function.

    Consensus                    g = ξ + γ ∇H          ∇H = Jᵀv
    SymplecticGradientAdjustment g = ξ + λ Aᵀξ         Aᵀξ = ½ (Jᵀv − J v)

Each optimiser then steps on its player's piece of g.
"""

from ... import backend
from ...autodiff.engine import grad
from ...autodiff.tensor import Tensor
from ...ops import square
from ...ops import sum as total
from ..field import Jacobian, parameters, per_player, simultaneous_gradient
from .base import Solver


class Consensus(Solver):
    """Consensus optimisation (Mescheder et al. 2017, algorithm 2): every player also descends on H = ½‖ξ‖².

    On min max xy with SGD the modulus is √((1 − ηγ)² + η²). H attracts to any rest point, a maximum included, so γ is
    kept small.
    """

    def __init__(self, optimizers, gamma=0.1):
        super().__init__(optimizers)
        self.gamma = gamma

    def round(self, game, step):
        """One gradient and the gradient of its length, one move."""
        batch = game.batch(step)
        losses, own = simultaneous_gradient(game, batch, create_graph=True)
        self.set_gradients(game, losses, own, batch)  # looked at before H mixes the players
        H = 0.5 * sum((total(square(g)) for gs in own.values() for g in gs), start=0.0)
        towards = iter(grad(H, parameters(game)) if H.requires_grad else [0.0 * p.detach() for p in parameters(game)])
        adjusted = {player: [g.detach() + self.gamma * next(towards) for g in gs] for player, gs in own.items()}
        losses = self.set_gradients(game, losses, adjusted, batch)
        self.move_all(game)
        return losses


class SymplecticGradientAdjustment(Solver):
    """SGA (Balduzzi et al. 2018, algorithm 1): step along ξ + λ Aᵀξ.

    alignment: λ takes the sign of ⟨ξ, ∇H⟩⟨Aᵀξ, ∇H⟩/n + 0.1, so that the adjustment points towards stable rest points
    and away from unstable ones (their eq. 5). On min max xy it is Consensus with γ = λ.
    """

    def __init__(self, optimizers, strength=1.0, alignment=True):
        super().__init__(optimizers)
        self.strength, self.alignment = strength, alignment

    def round(self, game, step):
        """One gradient, one product with Jᵀ and one with J, one move."""
        batch = game.batch(step)
        J = Jacobian(game, batch)
        self.set_gradients(game, J.losses, J.gradients, batch)  # looked at before A mixes the players
        v = J.field.detach()
        back, forth = J.transposed(v).data, J.product(v).data
        adjustment, strength = 0.5 * (back - forth), self.strength
        if self.alignment:
            sign = backend.xp(v.data).sign
            strength = strength * sign(-(v.data @ back) * (adjustment @ back) / v.size + 0.1)
        adjusted = per_player(game, Tensor(-v.data + strength * adjustment))
        losses = self.set_gradients(game, J.losses, adjusted, batch)
        self.move_all(game)
        return losses
