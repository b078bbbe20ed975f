"""Relativistic objectives: is a real sample more real than a generated one?

Only differences of logits count: adding a constant to D changes nothing.
"""

from ..errors import ShapeError, message
from ..ops import mean, softplus
from .base import Objective


class RelativisticPairing(Objective):
    """RpGAN (Jolicoeur-Martineau 2019, § 4.1; Huang et al. 2024, eq. 2): each real sample against one fake. Not
    zero-sum.

    Both players minimise a logistic loss of D(x) − D(G(z)) with opposite signs. With T(x, y) = D(x) − D(y) this is the
    non-saturating game between p⊗q and q⊗p, so at T* = log p(x)q(y)/(q(x)p(y)) = D*(x) − D*(y), D* = log p/q, the
    discriminator's loss is ln 2 − JS(p⊗q, q⊗p). A collapsed mode shows: for every real sample D asks for a fake that
    looks as real, so that each mode has its own slope.

    real and fake must have the same shape (sample i meets sample i); raises `ShapeError` otherwise.
    """

    generator_uses_real = True
    threshold = None

    def discriminator_loss(self, real, fake):
        """E softplus(−(D(x) − D(G(z)))); ln 2 at equilibrium."""
        return mean(softplus(_paired(fake, real)))

    def generator_loss(self, fake, real=None):
        """E softplus(D(x) − D(G(z))); ln 2 at equilibrium."""
        return mean(softplus(_paired(real, fake)))


class RelativisticAverage(Objective):
    """RaGAN (Jolicoeur-Martineau 2019, § 4.3, RaSGAN): a sample against the mean of the other kind. Not zero-sum.

    With r = D(x) − E D(G(z)) and f = D(G(z)) − E D(x), D wants r large and f small, and G the reverse. There is no
    closed form of what it minimises at the optimal D; both losses are 2 ln 2 where p = q.
    """

    generator_uses_real = True
    threshold = None

    def discriminator_loss(self, real, fake):
        """E softplus(−r) + E softplus(f); 2 ln 2 at equilibrium."""
        return mean(softplus(mean(fake) - real)) + mean(softplus(fake - mean(real)))

    def generator_loss(self, fake, real=None):
        """E softplus(r) + E softplus(−f); 2 ln 2 at equilibrium."""
        _both(fake, real)
        return mean(softplus(real - mean(fake))) + mean(softplus(mean(real) - fake))


def _both(a, b):
    if a is None or b is None:
        raise ValueError("a relativistic generator's loss needs the real logits too: generator_loss(fake, real)")


def _paired(a, b):
    """a − b, each sample with its partner: broadcasting would pair all with all."""
    _both(a, b)
    if a.shape != b.shape:
        what = "the pairing objective compares real and generated samples one by one; their shapes differ"
        raise ShapeError(message(what, operands=[("logits", a), ("logits", b)], fix="use batches of the same size"))
    return a - b
