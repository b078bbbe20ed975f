"""The original game (Goodfellow et al. 2014), with the generator's loss as in the theory and as in practice.

With logits ℓ = D(x): −log σ(ℓ) = softplus(−ℓ) and −log(1 − σ(ℓ)) = softplus(ℓ), finite for every ℓ.
"""

import math

from ..ops import mean, softplus
from .base import Objective


class Minimax(Objective):
    """min_G max_D E log σ(D(x)) + E log(1 − σ(D(G(z)))) (Goodfellow et al. 2014, eq. 1). Zero-sum.

    At the optimal discriminator D* = log p/q the value is 2·JS(p, q) − 2 ln 2, so the generator minimises the
    Jensen–Shannon divergence; but where D is sure that samples are fake, its gradient vanishes (saturates).
    """

    zero_sum = True
    probabilities = True

    def discriminator_loss(self, real, fake):
        """E softplus(−D(x)) + E softplus(D(G(z))); 2 ln 2 at equilibrium."""
        return mean(softplus(-real)) + mean(softplus(fake))

    def generator_loss(self, fake, real=None):
        """−E softplus(D(G(z))) = E log(1 − σ(D(G(z)))); −ln 2 at equilibrium."""
        return -mean(softplus(fake))


class NonSaturating(Minimax):
    """The same discriminator; the generator minimises −E log σ(D(G(z))) (Goodfellow et al. 2014, § 3). Not zero-sum.

    The same fixed points with a gradient that does not vanish. At D* this loss is E_q log(1 + q/p); added to the
    minimax generator's it is KL(q‖p).
    """

    zero_sum = False

    def generator_loss(self, fake, real=None):
        """E softplus(−D(G(z))); ln 2 at equilibrium."""
        return mean(softplus(-fake))


class OneSidedLabelSmoothing(Objective):
    """Real samples are labelled ``label`` instead of 1, generated ones still 0 (Salimans et al. 2016, § 3.4).

    objective: `Minimax` or `NonSaturating`, whose generator's loss stays. The discriminator's target α changes

        −α log σ(ℓ) − (1 − α) log(1 − σ(ℓ)) = softplus(−ℓ) + (1 − α)·ℓ,        since softplus(ℓ) − softplus(−ℓ) = ℓ,

    so it pays for being sure of a real sample. At the optimum σ(D*) = α p/(p + q), no longer quite a probability.
    (Smoothing both labels would put the generated density q into the numerator, and teach the generator to stay where
    it is.)
    """

    probabilities = True

    def __init__(self, objective, label=0.9):
        if not isinstance(objective, Minimax):
            raise ValueError(f"label smoothing is for minimax and non_saturating, which have labels; got {objective!r}")
        if not 0 < label <= 1:
            raise ValueError(f"OneSidedLabelSmoothing: label must be in (0, 1], got {label}")
        self.objective, self.label, self.zero_sum = objective, label, objective.zero_sum
        self.threshold = math.log(label / (2 - label))  # D* where p = q

    def discriminator_loss(self, real, fake):
        """The objective's own plus (1 − label)·E D(x)."""
        return self.objective.discriminator_loss(real, fake) + (1 - self.label) * mean(real)

    def generator_loss(self, fake, real=None):
        """The objective's own."""
        return self.objective.generator_loss(fake, real)
