"""f-GAN (Nowozin, Cseke & Tomioka 2016): a game for every f-divergence.

For a convex f with f(1) = 0, the divergence and its variational lower bound (their eqs. 3–4) are

    D_f(P‖Q) = ∫ q f(p/q) ≥ sup_T  E_P T(x) − E_Q f*(T(x)),      f*(t) = sup_u { u t − f(u) },

with equality at T* = f′(p/q). T must stay in the domain of f*: T = g(V) with an output activation g and a network
without constraints V (their § 2.4 and table 2; V grows with p/q for every g here).
"""

from typing import NamedTuple

from ..ops import exp, log, mean, softplus, sqrt
from .base import Objective

LN2 = 0.6931471805599453


class Divergence(NamedTuple):
    """One row of the table. Each entry is a function of a Tensor (or array); ``conjugate_of_activation`` is f*(g(v)),
    written so that it neither overflows early nor cancels; ``threshold`` is g⁻¹(f′(1)), where p = q.
    """

    f: object
    activation: object
    conjugate: object
    conjugate_of_activation: object
    threshold: float


DIVERGENCES = {
    "kl": Divergence(
        f=lambda u: u * log(u),
        activation=lambda v: v,
        conjugate=lambda t: exp(t - 1),
        conjugate_of_activation=lambda v: exp(v - 1),
        threshold=1.0,
    ),
    "reverse_kl": Divergence(
        f=lambda u: -log(u),
        activation=lambda v: -exp(-v),
        conjugate=lambda t: -1 - log(-t),
        conjugate_of_activation=lambda v: v - 1,
        threshold=0.0,
    ),
    "jensen_shannon": Divergence(
        f=lambda u: u * log(u) - (u + 1) * log((u + 1) / 2),
        activation=lambda v: LN2 - softplus(-v),
        conjugate=lambda t: -log(2 - exp(t)),
        conjugate_of_activation=lambda v: softplus(v) - LN2,
        threshold=0.0,
    ),
    "pearson": Divergence(
        f=lambda u: (u - 1) ** 2,
        activation=lambda v: v,
        conjugate=lambda t: t**2 / 4 + t,
        conjugate_of_activation=lambda v: v**2 / 4 + v,
        threshold=0.0,
    ),
    "squared_hellinger": Divergence(
        f=lambda u: (sqrt(u) - 1) ** 2,
        activation=lambda v: 1 - exp(-v),
        conjugate=lambda t: t / (1 - t),
        conjugate_of_activation=lambda v: exp(v) - 1,
        threshold=0.0,
    ),
}


class FGAN(Objective):
    """The f-GAN of one divergence: ``"kl"``, ``"reverse_kl"``, ``"jensen_shannon"`` (2·JS in Goodfellow's units),
    ``"pearson"`` (χ² = ∫ (p − q)²/q) or ``"squared_hellinger"`` (∫ (√p − √q)²).

    D maximises E g(V(x)) − E f*(g(V(G(z)))), which at the optimum is D_f(p‖q). ``saturating=True``: G minimises the
    same (zero-sum, eq. 4). False: G maximises E g(V(G(z))) instead (their § 3.2), the same fixed point with a gradient
    where V is sure that samples are fake. Raises ``ValueError`` for an unknown divergence.

    (Pearson's t²/4 + t continues the conjugate below t = −2, where the exact one is −1: the bound stays a bound and
    its optimum T* = 2(p/q − 1) ≥ −2 is unchanged.)
    """

    def __init__(self, divergence, saturating=False):
        if divergence not in DIVERGENCES:
            raise ValueError(f"no f-divergence {divergence!r}; there are {', '.join(DIVERGENCES)}")
        self.divergence, self.saturating, self.zero_sum = divergence, saturating, saturating
        self.row = DIVERGENCES[divergence]
        self.threshold = self.row.threshold

    def discriminator_loss(self, real, fake):
        """−E g(V(x)) + E f*(g(V(G(z)))); 0 at equilibrium."""
        return mean(self.row.conjugate_of_activation(fake)) - mean(self.row.activation(real))

    def generator_loss(self, fake, real=None):
        """−E f*(g(V(G(z)))) if saturating, else −E g(V(G(z)))."""
        return -mean((self.row.conjugate_of_activation if self.saturating else self.row.activation)(fake))
