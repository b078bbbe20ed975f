"""What an objective is: two functions of the discriminator's outputs, one loss for each player."""

import inspect
import math

import numpy as np


class Part:
    """What objectives and regularisers share: a state, empty unless ``after_round`` changes something, and a repr."""

    def state_dict(self):
        """{name: NumPy array} of what `after_round` changes."""
        return {}

    def load_state_dict(self, state):
        """Take over a `state_dict`. Raises ``ValueError`` when it is another part's."""
        if state:
            raise ValueError(f"{type(self).__name__} has no state, got {', '.join(sorted(state))}")

    def __repr__(self):
        """What it was made with: ``EBGAN(margin=2.0)``."""
        settings = inspect.signature(type(self)).parameters
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in settings if hasattr(self, name))
        return f"{type(self).__name__}({shown})"


class Objective(Part):
    """A GAN's pair of losses, on logits D(x) (never probabilities). Subclasses define the two methods.

    Attributes that say how to read the game; none changes the losses:

    * ``zero_sum``: does G minimise exactly the negative of what D minimises, up to terms without G?
    * ``generator_uses_real``: does the generator's loss need the real logits too (relativistic objectives)?
    * ``threshold``: the output above which D takes a sample for real, at its optimum where p > q; None where only
      differences of outputs mean something.
    * ``sign``: +1 where real samples get the larger outputs, −1 where D gives energies.
    * ``probabilities``: are outputs shown through σ, as probabilities of "real"?
    * ``needs_lipschitz``: is D's loss without a minimum unless something keeps D Lipschitz?
    * ``reconstruction``: the power of the error |x − A(x)| whose mean D gives, where D is an auto-encoder; else None.

    An objective that changes from round to round (BEGAN) does so in ``after_round`` alone, never inside a loss: within
    a round the losses are fixed functions, whatever a solver evaluates and how often.
    """

    zero_sum = False
    generator_uses_real = False
    threshold = 0.0
    sign = 1
    probabilities = False
    needs_lipschitz = False
    reconstruction = None

    def discriminator_loss(self, real, fake):
        """real, fake: outputs D(x), D(G(z)) of any shape → the discriminator's loss, a scalar to minimise."""
        raise NotImplementedError(f"{type(self).__name__} defines no discriminator_loss(self, real, fake)")

    def generator_loss(self, fake, real=None):
        """fake: D(G(z)) of any shape → the generator's loss, a scalar to minimise."""
        raise NotImplementedError(f"{type(self).__name__} defines no generator_loss(self, fake, real=None)")

    def equilibrium(self):
        """{column of a run's log: its value where p = q and D is optimal}, as far as that is one number."""
        at = np.full((2, 1), self.threshold or 0.0)
        values = {"loss/D": float(self.discriminator_loss(at, at)), "loss/G": float(self.generator_loss(at, at))}
        if self.threshold is None:
            return values
        shown = 1 / (1 + math.exp(-self.threshold)) if self.probabilities else self.threshold
        return values | {"D(real)": shown, "D(fake)": shown}

    def after_round(self, real, fake):
        """Called once after every round with the latest outputs (constants)."""

    def readings(self):
        """{name: 0-d array} of the objective's own state, for the log."""
        return {}
