"""Objectives whose discriminator gives energies E(x) ≥ 0, low for real samples: how badly it reconstructs x.

`models.Reconstruction` makes such a discriminator of an auto-encoder.
"""

import numpy as np

from .. import backend
from ..ops import mean, relu
from .base import Objective


class EBGAN(Objective):
    """Energy-based GAN (Zhao, Mathieu & LeCun 2017, eqs. 1–2). Not zero-sum.

    The discriminator pushes the energy of generated samples up to ``margin`` and no further. Free to choose any
    energies ≥ 0, it takes 0 where p > q and the margin where p < q: its loss is then margin·(1 − TV(p, q)).
    """

    threshold = None
    sign = -1
    reconstruction = 2

    def __init__(self, margin=1.0):
        if not margin > 0:
            raise ValueError(f"EBGAN: margin must be positive, got {margin}")
        self.margin = margin

    def equilibrium(self):
        """The margin, for D (Zhao et al. 2017, theorem 1)."""
        return {"loss/D": self.margin}

    def discriminator_loss(self, real, fake):
        """E E(x) + E max(0, margin − E(G(z)))."""
        return mean(real) + mean(relu(self.margin - fake))

    def generator_loss(self, fake, real=None):
        """E E(G(z))."""
        return mean(fake)


class BEGAN(Objective):
    """Boundary equilibrium GAN (Berthelot, Schumm & Metz 2017, § 3.4). Not zero-sum.

        L_D = L(x) − k·L(G(z)),    L_G = L(G(z)),    k ← clip(k + rate·(γ L(x) − L(G(z))), 0, 1) after every round.

    L is an auto-encoder's loss. It matches the distributions of losses, not of data: a lower bound of the Wasserstein
    distance between them. k (0 at first) keeps E L(G(z))/E L(x) near ``diversity`` γ: a low one gives sharper and more
    alike samples. The readings hold k and the convergence measure M = L(x) + |γ L(x) − L(G(z))|.
    """

    threshold = None
    sign = -1
    reconstruction = 1

    def __init__(self, diversity=0.5, rate=1e-3):
        if not 0 < diversity <= 1:
            raise ValueError(f"BEGAN: diversity must be in (0, 1], got {diversity}")
        if not rate > 0:
            raise ValueError(f"BEGAN: rate must be positive, got {rate}")
        self.diversity, self.rate = diversity, rate
        self.k, self.measure = 0.0, None  # k: a number, or after a round a 0-d array on the device

    def equilibrium(self):
        """Nothing that is known beforehand."""
        return {}

    def discriminator_loss(self, real, fake):
        """E L(x) − k·E L(G(z))."""
        return mean(real) - self.k * mean(fake)

    def generator_loss(self, fake, real=None):
        """E L(G(z))."""
        return mean(fake)

    def after_round(self, real, fake):
        """Move k, on the device, and measure convergence."""
        xp = backend.xp(fake)
        real, fake = real.mean(), fake.mean()
        balance = self.diversity * real - fake
        self.k = xp.asarray(xp.clip(self.k + self.rate * balance, 0, 1))
        self.measure = xp.asarray(real + xp.abs(balance))

    def readings(self):
        """k and M, once a round has been played."""
        return {} if self.measure is None else {"k": self.k, "M": self.measure}

    def state_dict(self):
        """k."""
        return {"k": np.array(backend.of(self.k).to_host(self.k))}

    def load_state_dict(self, state):
        """Take over k. Raises ``ValueError`` for anything else."""
        if set(state) != {"k"} or np.shape(state["k"]) != () or not 0 <= state["k"] <= 1:
            raise ValueError(f"BEGAN's state is k, a number in [0, 1]; got {', '.join(sorted(state)) or 'nothing'}")
        self.k = float(state["k"])
