"""Games small enough to be solved on paper: where a solver's behaviour is an eigenvalue."""

import math

import numpy as np

from ..autodiff.tensor import Tensor, tensor
from ..nn import Module
from ..ops import matmul, reshape
from ..ops import sum as total
from .field import flatten
from .game import Game
from .gan import GAN, Batch


class Bilinear(Game):
    """min over x, max over y of xᵀA y: the simplest game that plain gradient steps cannot play.

    x, y: where the players start, numbers or vectors (float64). A: (len(x), len(y)), by default the identity. The
    equilibrium is x = y = 0 (for an A of full rank); the vector field (−A y, Aᵀx) turns around it and never points in.
    """

    def __init__(self, x=1.0, y=1.0, A=None):
        self.x, self.y = (_parameter(value, name) for value, name in ((x, "x"), (y, "y")))
        self.A = np.eye(self.x.size, self.y.size) if A is None else np.array(A, dtype=np.float64)
        if self.A.shape != (self.x.size, self.y.size):
            raise ValueError(f"Bilinear: A must be ({self.x.size}, {self.y.size}), got {self.A.shape}")
        self.players = {"x": [self.x], "y": [self.y]}

    def losses(self, batch=None):
        """{"x": xᵀA y, "y": −xᵀA y}."""
        x, y = (reshape(p, p.size) for p in (self.x, self.y))
        value = total(matmul(x, Tensor(self.A)) * y)
        return {"x": value, "y": -value}

    def affine_field(self):
        """(J, b) with v(w) = J w + b."""
        n, m = self.A.shape
        return np.block([[np.zeros((n, n)), -self.A], [self.A.T, np.zeros((m, m))]]), np.zeros(n + m)


class QuadraticGame(Game):
    """Any number of players with quadratic losses ℓᵢ(w) = ½ wᵀQᵢ w + bᵢᵀw of the common point w = (w₁, w₂, …).

    losses: {player: Q (n, n)} or {player: (Q, b (n,))}. start: {player: where it starts}, in the order in which w is
    put together; n is their total length. Only the symmetric part of Q counts. Contains cooperation, competition,
    rotation and all between (Balduzzi et al. 2018, § 2; Gidel et al. 2019b).
    """

    def __init__(self, losses, start):
        if set(losses) != set(start):
            raise ValueError(f"QuadraticGame: losses for {sorted(losses)}, but players {sorted(start)} have a start")
        self.players = {name: [_parameter(value, name)] for name, value in start.items()}
        n = sum(p.size for (p,) in self.players.values())
        self.Q, self.b = {}, {}
        for name, entry in losses.items():
            Q, b = entry if isinstance(entry, tuple) else (entry, np.zeros(n))
            Q, b = np.array(Q, dtype=np.float64), np.array(b, dtype=np.float64)
            if Q.shape != (n, n) or b.shape != (n,):
                raise ValueError(f"QuadraticGame: {name!r} needs Q ({n}, {n}) and b ({n},), got {Q.shape}, {b.shape}")
            self.Q[name], self.b[name] = (Q + Q.T) / 2, b

    def losses(self, batch=None):
        """{player: ½ wᵀQ w + bᵀw}."""
        w = flatten([p for (p,) in self.players.values()])
        return {name: 0.5 * total(matmul(w, Tensor(self.Q[name])) * w) + total(self.b[name] * w) for name in self.Q}

    def affine_field(self):
        """(J, b) with v(w) = J w + b: each player's rows of −Q and −b."""
        rows, shifts, at = [], [], 0
        for name, (p,) in self.players.items():
            own = slice(at, at + p.size)
            rows, shifts, at = [*rows, -self.Q[name][own]], [*shifts, -self.b[name][own]], at + p.size
        return np.concatenate(rows), np.concatenate(shifts)

    def equilibrium(self):
        """The point w (n,) with v(w) = 0. Raises ``numpy.linalg.LinAlgError`` where it is not unique."""
        J, b = self.affine_field()
        return np.linalg.solve(J, -b)


class DiracGAN(GAN):
    """The smallest GAN (Mescheder et al. 2018, § 2): all real data at 0, all generated at θ, discriminator D(x) = ψ·x.

    A `GAN` like any other, in float64: every objective, regulariser and solver applies. Its equilibrium is (0, 0).
    instance_noise: σ; both distributions become N(·, σ²), represented by ``points`` equally weighted points (midpoint
    quantiles, scaled to the exact variance), so that nothing is random.
    """

    def __init__(self, objective="minimax", regularizers=(), theta=1.0, psi=1.0, instance_noise=0.0, points=64, seed=0):
        G, D = _Point(theta), _Line(psi)
        super().__init__(G, D, _Zero(), 1, objective, regularizers, seed=seed)
        self.theta, self.psi = G.theta, D.psi
        self.cloud = np.zeros((1, 1))
        if instance_noise:
            from scipy.special import ndtri

            z = ndtri((np.arange(points) + 0.5) / points)[:, None]
            self.cloud = instance_noise * z / math.sqrt(np.mean(z**2))

    def _warn_without_lipschitz(self):
        """No: how it fails without is what one looks at here."""

    def batch(self, number, player=None):
        """The same for every number: the cloud around 0 is the data, and what G moves by θ."""
        return Batch(self._put(self.cloud), self._put(self.cloud), number, player or "both")


class _Point(Module):
    def __init__(self, theta):
        super().__init__()
        self.theta = tensor(np.array([theta], np.float64), requires_grad=True)

    def forward(self, z):
        return z + self.theta


class _Line(Module):
    def __init__(self, psi):
        super().__init__()
        self.psi = tensor(np.array([psi], np.float64), requires_grad=True)

    def forward(self, x):
        return x * self.psi


class _Zero:
    """Data of one point."""

    batch_size = 1

    def at(self, number):
        return np.zeros((1, 1))


def _parameter(value, name):
    return tensor(np.array(value, dtype=np.float64), requires_grad=True, name=name)
