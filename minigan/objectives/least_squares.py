"""Squared distances instead of logarithms."""

from ..ops import mean
from .base import Objective


class LeastSquares(Objective):
    """LSGAN (Mao et al. 2017, eqs. 2 and 9): squared distance of D's output from 1 (real) and 0 (fake). Not zero-sum.

    At the optimal discriminator D* = p/(p + q) the discriminator's loss is ½ Σ p q/(p + q). The gradient does not
    vanish for samples that D is sure of, since it pulls outputs to 1 from both sides.
    """

    threshold = 0.5

    def discriminator_loss(self, real, fake):
        """½ E (D(x) − 1)² + ½ E D(G(z))²; ¼ at equilibrium."""
        return 0.5 * mean((real - 1) ** 2) + 0.5 * mean(fake**2)

    def generator_loss(self, fake, real=None):
        """½ E (D(G(z)) − 1)²; ⅛ at equilibrium."""
        return 0.5 * mean((fake - 1) ** 2)
