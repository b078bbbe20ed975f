"""A margin for the discriminator."""

from ..ops import mean, relu
from .base import Objective


class Hinge(Objective):
    """The hinge loss (Lim & Ye 2017, eqs. 2–3; Miyato et al. 2018, eqs. 16–17). Not zero-sum.

    The discriminator stops at a margin of 1 on either side. At its optimum D* = sign(p − q) its loss is
    2 Σ min(p, q) = 2·(1 − TV(p, q)), with TV the total variation distance. The generator has no hinge.
    """

    def equilibrium(self):
        """2 for D. What G pays is open: where p = q, any constant in [−1, 1] is an optimal D."""
        return {"loss/D": 2.0}

    def discriminator_loss(self, real, fake):
        """E max(0, 1 − D(x)) + E max(0, 1 + D(G(z))); 2 at equilibrium."""
        return mean(relu(1 - real)) + mean(relu(1 + fake))

    def generator_loss(self, fake, real=None):
        """−E D(G(z))."""
        return -mean(fake)
