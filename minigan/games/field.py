"""The vector field of a game, and its Jacobian's products with vectors.

All parameters of all players, one after the other, are a point w in Rⁿ. The game's vector field is what every player
follows when all descend at once (Mescheder et al. 2017, eq. 4; Balduzzi et al. 2018 call −v the simultaneous gradient):

    v(w) = (−∇₁ ℓ₁, −∇₂ ℓ₂, …),   ∇ᵢ by player i's own parameters,        J = ∂v/∂w

A Nash equilibrium has v = 0. Under the flow w′ = v(w) it attracts where all eigenvalues of J have negative real parts;
imaginary parts are rotation. One more differentiation gives Jᵀu (a VJP), and differentiating that by u gives J u.
"""

import math

import numpy as np

from .. import backend
from ..autodiff.engine import grad
from ..autodiff.tensor import Tensor
from ..ops import concatenate, reshape
from ..ops import sum as total


def parameters(game):
    """All parameters of all players: the coordinates of w, in order."""
    return [p for params in game.players.values() for p in params]


def position(game):
    """All parameters of all players, one after the other: a NumPy array (n,)."""
    return np.concatenate([p.numpy().ravel() for p in parameters(game)])


def move_to(game, w):
    """Put all players' parameters to the point w (n,), the inverse of `position`."""
    everyone = parameters(game)
    for p, piece in zip(everyone, np.split(np.asarray(w), np.cumsum([p.size for p in everyone])[:-1]), strict=True):
        p.assign(backend.of(p.data).asarray(piece.reshape(p.shape), p.dtype))


def flatten(tensors):
    """Tensors of any shapes, one after the other: (n,)."""
    return concatenate([reshape(t, t.size) for t in tensors])


def per_player(game, vector):
    """The inverse of `flatten`: {player: [pieces of ``vector`` (n,) with the shapes of its parameters]}."""
    pieces, at = {}, 0
    for player, params in game.players.items():
        pieces[player] = []
        for p in params:
            pieces[player].append(reshape(vector[at : at + p.size], p.shape))
            at += p.size
    return pieces


def simultaneous_gradient(game, batch, create_graph=False):
    """(losses, {player: [∇ᵢ ℓᵢ by each of its parameters]}): every player's own gradient at the present point.

    create_graph: record it, so that it can be differentiated by everybody's parameters.
    """
    losses = game.losses(batch)
    gradients = {
        player: list(grad(losses[player], params, create_graph=create_graph, retain_graph=True))
        for player, params in game.players.items()
    }
    return losses, gradients


def vector_field(game, batch=None):
    """v(w) at the present point, on this batch (default: draw 0): an array (n,)."""
    _, gradients = simultaneous_gradient(game, game.batch(0) if batch is None else batch)
    return -flatten([g for gs in gradients.values() for g in gs]).data


class Jacobian:
    """The Jacobian J of the vector field at the present point, on this batch (default: draw 0), as products with arrays
    u (n,), without building it.
    """

    def __init__(self, game, batch=None):
        self.parameters = parameters(game)
        self.losses, self.gradients = simultaneous_gradient(
            game, game.batch(0) if batch is None else batch, create_graph=True
        )
        self.field = -flatten([g for gs in self.gradients.values() for g in gs])
        self.size = math.prod(self.field.shape)

    def transposed(self, u, create_graph=False):
        """Jᵀu: (n,) → (n,)."""
        if not self.field.requires_grad:
            return self.field * 0.0
        back = grad(self.field, self.parameters, grad_outputs=u, create_graph=create_graph, retain_graph=True)
        return flatten(back)

    def product(self, u):
        """J u: (n,) → (n,), the derivative of v along u: Jᵀs is linear in s, and its own transpose gives J."""
        s = Tensor(self.field.data * 0.0)
        s.requires_grad = True
        back = self.transposed(s, create_graph=True)
        if not back.requires_grad:
            return back
        return grad(total(back * u), s)[0]
