"""What an objective is: two pure functions of logits, one loss for each player."""


class Objective:
    """A GAN's pair of losses, on logits D(x) (never probabilities). Subclasses define the two methods.

    ``zero_sum``: does the generator minimise exactly the negative of what the discriminator minimises (up to terms
    without G)? ``generator_uses_real``: does the generator's loss need the real logits too (relativistic objectives)?
    """

    zero_sum = False
    generator_uses_real = False

    def discriminator_loss(self, real, fake):
        """real, fake: logits of any shape → the discriminator's loss, a scalar to minimise."""
        raise NotImplementedError

    def generator_loss(self, fake, real=None):
        """fake: logits of any shape → the generator's loss, a scalar to minimise."""
        raise NotImplementedError
