"""What a game is doing, in numbers that mean the same for two scalars and for two networks.

    duality_gap     Σᵢ [ℓᵢ(w) − min over wᵢ′ of ℓᵢ(wᵢ′, w₋ᵢ)]: what the players could gain alone; 0 at an equilibrium
    spectrum        eigenvalues of the Jacobian of the vector field v: does rest attract, how fast does it turn?
    path_angle      the angle between v and the straight line from one point to another (Berard et al. 2020)
    gradient_norms  the length of the gradient that each parameter got in the last round
    accuracy        how often the discriminator is right
    modes …         see `metrics`; `verdict.Diagnostics` gathers all this during training and says it in a line

They leave the game as they found it: parameters, running statistics, readings and gradients.
"""

from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from .. import backend
from ..autodiff.engine import grad
from ..autodiff.tensor import Tensor, Version
from ..optim import Adam
from .field import Jacobian, move_to, parameters, vector_field

FAR = 10**9  # numbers of draws that no training reaches: diagnostics look at batches of their own


@contextmanager
def undisturbed(game):
    """Inside, the players' parameters are copies that may be moved; afterwards everything is as before: parameters (the
    very arrays), running statistics, gradients and readings.
    """
    state, own = game.state_dict(), [(p, p.data, p._version, p.grad) for p in parameters(game)]
    terms, logits = dict(game.terms), dict(game.logits)
    for p, data, _, _ in own:
        p.data, p._version = data.copy(), Version()
    try:
        yield game
    finally:
        game.load_state_dict(state)
        for p, data, version, g in own:
            p.data, p._version, p.grad = data, version, g
        game.terms, game.logits = terms, logits


# ---- duality gap -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DualityGap:
    """The gap, as ``float(gap)``, and each player's part in it. ``steps``: how long its opponents were trained."""

    regrets: dict
    steps: int

    def __float__(self):
        return float(sum(self.regrets.values()))

    def __repr__(self):
        parts = ", ".join(f"{player} could gain {regret:.4g}" for player, regret in self.regrets.items())
        return f"DualityGap({float(self):.4g}: {parts}, by {self.steps} steps)"


def duality_gap(game, steps=100, optimizer=None, draws=4, number=FAR):
    """How much the players could gain by changing alone (Grnarova et al. 2019; Nikaido & Isoda 1955): a `DualityGap`.

    Each player in turn is trained against the others, who stand still, for ``steps`` steps of ``optimizer(params)``
    (default: Adam, lr 1e-3) on fresh batches; its gain is measured on ``draws`` further batches. Since standing still
    is allowed, no gain is negative. The best response is only as good as those steps: in a game without randomness the
    result is a lower bound of the true gap (which is infinite in a bilinear game away from rest). In a zero-sum game it
    is max ℓ(x, y′) − min ℓ(x′, y).
    """
    optimizer, regrets = optimizer or (lambda params: Adam(params, lr=1e-3)), {}
    for player, params in game.players.items():
        with undisturbed(game):
            before = _mean_loss(game, player, number, draws)
            mover = optimizer(params)
            for i in range(steps):
                for p, g in zip(params, grad(game.loss(player, game.batch(number + draws + i, player)), params)):
                    p.grad = g
                mover.step()
                game.constrain(player)
            regrets[player] = max(0.0, before - _mean_loss(game, player, number, draws))
    return DualityGap(regrets, steps)


def _mean_loss(game, player, number, draws):
    return float(np.mean([game.loss(player, game.batch(number + i, player)).item() for i in range(draws)]))


# ---- local geometry --------------------------------------------------------------------------------------------------


def spectrum(game, k=None, batch=None, which="LM", dense=300):
    """Eigenvalues of the Jacobian of the game's vector field at the present point: complex128, by falling real part.

    All of them, from the dense matrix, for games of up to ``dense`` parameters (unless k is given); else the k (default
    6) that ARPACK's Arnoldi iteration finds first: of largest modulus, ``which="LM"``, real part, ``"LR"``, or
    imaginary part, ``"LI"`` (Berard et al. 2020, § 4). It multiplies with Jᵀ, which has the eigenvalues of J and costs
    half. Conjugate pairs are kept together, so there may be one more.

    Negative real parts: the point attracts under small simultaneous steps. Imaginary parts: rotation, and steps must
    be small: |1 + ηλ| < 1. (Papers that write the gradient itself as the field have all signs the other way round.)
    The game's dtype sets the precision: some 1e-4 relative in float32.
    """
    with undisturbed(game):
        J = Jacobian(game, game.batch(FAR) if batch is None else batch)
        library, dtype = backend.of(J.field.data), J.field.dtype

        def transposed(u):
            u = Tensor(library.asarray(np.real(u).reshape(-1), dtype))
            return np.asarray(library.to_host(J.transposed(u).data), np.float64)

        if k is None and J.size <= dense:
            values = np.linalg.eigvals(np.array([transposed(e) for e in np.eye(J.size)]))
        else:
            values = _arnoldi(transposed, J.size, 6 if k is None else k, which)
    missing = [v.conj() for v in values if v.imag and not np.isclose(values, v.conj(), rtol=1e-6).any()]
    values = np.concatenate([values, missing])  # Arnoldi may have stopped between the two of a conjugate pair
    return values[np.lexsort((-values.imag, -values.real))].astype(np.complex128)


def _arnoldi(product, n, k, which):
    from scipy.sparse.linalg import LinearOperator, eigs

    if not 1 <= k <= n - 2:
        raise ValueError(
            f"spectrum: k must be between 1 and n − 2 = {n - 2}, got {k}; leave it out for all eigenvalues"
        )
    start = backend.random.stream(0, "spectrum").standard_normal(n)
    basis = min(n, max(2 * k + 1, 40))  # with ARPACK's own 20 it can miss eigenvalues
    return eigs(LinearOperator((n, n), matvec=product, dtype=np.float64), k, which=which, v0=start, ncv=basis)[0]


@dataclass(frozen=True)
class PathAngle:
    """Along w(α) = (1 − α)·start + α·end: ``alpha``, ``cosine`` of the angle between v(w(α)) and end − start, ``norm``
    ‖v‖ and ``dot`` their product, each (points,).
    """

    alpha: np.ndarray
    cosine: np.ndarray
    norm: np.ndarray
    dot: np.ndarray


def path_angle(game, start, end, points=100, low=-0.1, high=1.1, batch=None):
    """How the vector field stands to the straight line from ``start`` to ``end`` (Berard et al. 2020, § 4.1).

    start, end: points (n,), of `position`. The end of a successful training attracts if the cosine changes its sign
    there, from + (towards it) to −; a bump there (the field crosses the line, and v is not small) means rotation.
    """
    start, end, n = np.asarray(start, np.float64), np.asarray(end, np.float64), sum(p.size for p in parameters(game))
    if start.shape != end.shape or not (length := np.linalg.norm(end - start)) > 0:
        raise ValueError(f"path_angle: needs two different points of one shape, got {start.shape} and {end.shape}")
    if start.shape != (n,):
        raise ValueError(f"path_angle: the game has {n} numbers, the points have shape {start.shape}")
    alpha, cosine, norm = np.linspace(low, high, points), [], []
    with undisturbed(game):
        batch = game.batch(FAR) if batch is None else batch
        for a in alpha:
            move_to(game, start + a * (end - start))
            v = vector_field(game, batch)
            v = np.asarray(backend.of(v).to_host(v), np.float64)
            norm.append(np.linalg.norm(v))
            cosine.append(v @ (end - start) / (norm[-1] * length) if norm[-1] else 0.0)
    cosine, norm = np.array(cosine), np.array(norm)
    return PathAngle(alpha, cosine, norm, cosine * norm * length)


# ---- the last round --------------------------------------------------------------------------------------------------


def gradient_norms(game, player=None):
    """{parameter's name: ‖gradient‖} of what the last round left in ``.grad``, for one player or all; floats."""
    players = game.players if player is None else {player: game.players[player]}
    norms = {}
    for owner, params in players.items():
        for i, p in enumerate(params):
            if p.grad is not None:
                g = np.asarray(backend.of(p.grad.data).to_host(p.grad.data), np.float64)
                norms[p.name or f"{owner}.{i}"] = float(np.linalg.norm(g))
    return norms


def accuracy(objective, real, fake):
    """The share of samples that the discriminator takes for what they are, mean of both kinds; ½: it can only guess.
    Undecided ones count half.

    real, fake: its outputs, arrays of any shape. Where the objective gives outputs no zero point (threshold None), it
    is the share of pairs in which the real sample has the better output.
    """
    real, fake = (np.asarray(backend.of(a).to_host(a), np.float64).ravel() * objective.sign for a in (real, fake))
    if objective.threshold is not None:
        real, fake = real - objective.sign * objective.threshold, fake - objective.sign * objective.threshold
        return float(np.mean(np.sign(real)) - np.mean(np.sign(fake))) / 4 + 0.5
    ordered = np.sort(fake)
    below, up_to = np.searchsorted(ordered, real, "left"), np.searchsorted(ordered, real, "right")
    return float(np.mean(below + up_to) / (2 * len(fake)))
