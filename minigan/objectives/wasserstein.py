"""The dual form of optimal transport."""

from ..ops import mean
from .base import Objective


class Wasserstein(Objective):
    """WGAN (Arjovsky et al. 2017, eq. 2): the critic f maximises E f(x) − E f(G(z)). Zero-sum.

    Over all 1-Lipschitz f the maximum is the Wasserstein-1 distance (Kantorovich–Rubinstein). What keeps f Lipschitz
    is a choice of its own: `WeightClipping`, `GradientPenalty`, `LipschitzPenalty`, spectral normalisation. Without
    any the critic's loss has no minimum.
    """

    zero_sum = True
    threshold = None
    needs_lipschitz = True

    def equilibrium(self):
        """0 for D. What G pays is open: where p = q, any constant is an optimal critic."""
        return {"loss/D": 0.0}

    def discriminator_loss(self, real, fake):
        """E f(G(z)) − E f(x); minus the distance, for the best 1-Lipschitz f."""
        return mean(fake) - mean(real)

    def generator_loss(self, fake, real=None):
        """−E f(G(z))."""
        return -mean(fake)
