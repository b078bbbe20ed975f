"""What an objective is: two functions of the discriminator's outputs, one loss for each player."""


class Objective:
    """A GAN's pair of losses, on logits D(x) (never probabilities). Subclasses define the two methods.

    Attributes that say how to read the game; none changes the losses:

    * ``zero_sum``: does G minimise exactly the negative of what D minimises, up to terms without G?
    * ``generator_uses_real``: does the generator's loss need the real logits too (relativistic objectives)?
    * ``threshold``: the output above which D takes a sample for real, at its optimum where p > q; None where only
      differences of outputs mean something.
    * ``sign``: +1 where real samples get the larger outputs, −1 where D gives energies.
    * ``probabilities``: is σ(logit) the probability of "real" at the optimal discriminator?

    An objective that changes from round to round (BEGAN) does so in ``after_round`` alone, never inside a loss: within
    a round the losses are fixed functions, whatever a solver evaluates and how often.
    """

    zero_sum = False
    generator_uses_real = False
    threshold = 0.0
    sign = 1
    probabilities = False

    def discriminator_loss(self, real, fake):
        """real, fake: outputs D(x), D(G(z)) of any shape → the discriminator's loss, a scalar to minimise."""
        raise NotImplementedError

    def generator_loss(self, fake, real=None):
        """fake: D(G(z)) of any shape → the generator's loss, a scalar to minimise."""
        raise NotImplementedError

    def after_round(self, real, fake):
        """Called once after every round with the latest outputs (constants)."""

    def readings(self):
        """{name: 0-d array} of the objective's own state, for the log."""
        return {}

    def state_dict(self):
        """{name: NumPy array} of what `after_round` changes."""
        return {}

    def load_state_dict(self, state):
        """Take over a `state_dict`. Raises ``ValueError`` when it is another objective's."""
        if state:
            raise ValueError(f"{type(self).__name__} has no state, got {', '.join(sorted(state))}")

    def __repr__(self):
        return settings_in_words(self)


def settings_in_words(part):
    """What an objective or regulariser was made with: ``EBGAN(margin=2.0)``. Its state is not shown."""
    shown = ", ".join(f"{k}={v!r}" for k, v in vars(part).items() if k in type(part).__init__.__code__.co_varnames)
    return f"{type(part).__name__}({shown})"
