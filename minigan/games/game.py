"""A game: players who each hold parameters and each minimise a loss that depends on everybody's.

Solvers, the training loop and diagnostics know nothing but this interface, so what works on a game of two numbers works
on a GAN.
"""

from .. import backend
from ..autodiff.modes import no_grad
from ..autodiff.tensor import Tensor
from ..backend.random import stream
from ..objectives import get
from ..ops import mean, sigmoid


class Game:
    """players: {name: list of parameters}. Subclasses define ``losses`` and, for what is random in them, ``batch``."""

    players = {}

    def batch(self, number, player=None):
        """What the losses are evaluated on at draw ``number`` (for ``player`` alone, if given): the same for the same
        number.
        """
        return None

    def losses(self, batch):
        """{player: its loss, a scalar Tensor} at the present parameters."""
        raise NotImplementedError

    def loss(self, player, batch):
        """One player's loss. Override it where that is cheaper than all of `losses`."""
        return self.losses(batch)[player]

    def readings(self):
        """{name: 0-d array} of further numbers worth logging, from the latest losses."""
        return {}


class GAN(Game):
    """The game of a generator ``"G"`` against a discriminator ``"D"``.

    generator: Module, z (n, latent_dim) → samples. discriminator: Module, samples → logits. objective: a name or an
    `Objective`. data: `data.Batches` whose batch is an array of samples. Batch ``number`` and latents come from streams
    keyed by (seed, number); they take the dtype and device of the generator's weights.
    """

    def __init__(self, generator, discriminator, data, latent_dim, objective="non_saturating", seed=0):
        self.G, self.D = generator.named("G"), discriminator.named("D")
        self.objective, self.data, self.latent_dim, self.seed = get(objective), data, latent_dim, seed
        self.players = {"D": self.D.parameters(), "G": self.G.parameters()}
        self._readings = {}
        if not backend.is_array(first := data.at(0)):
            raise ValueError(f"a GAN's batches are arrays of samples, got {type(first).__name__}: pass mnist().images")

    def latent(self, n, number=0, name="latent"):
        """Draw ``number`` of n latent vectors, standard normal: a Tensor (n, latent_dim)."""
        return self._put(stream(self.seed, name, number).standard_normal((n, self.latent_dim), dtype="float32"))

    def _put(self, host):
        """A constant Tensor of the generator's dtype, on its device."""
        like = self.players["G"][0].data
        return Tensor(backend.of(like).asarray(host, like.dtype))

    def batch(self, number, player=None):
        """(real samples or None, latents): real samples only where the player's loss needs them."""
        real = None
        if player != "G" or self.objective.generator_uses_real:
            real = self._put(self.data.at(number))
        return real, self.latent(self.data.batch_size, number, f"latent/{player or 'both'}")

    def losses(self, batch):
        """Both losses at once, each differentiable by both players' parameters."""
        real, z = batch
        real_logits, fake_logits = self.D(real), self.D(self.G(z))
        self._read(real_logits, fake_logits)
        return {
            "D": self.objective.discriminator_loss(real_logits, fake_logits),
            "G": self.objective.generator_loss(fake_logits, real_logits),
        }

    def loss(self, player, batch):
        """One player's loss, recording only what that player's gradient needs."""
        real, z = batch
        if player == "D":
            with no_grad():
                fake = self.G(z)
            real_logits, fake_logits = self.D(real), self.D(fake)
            self._read(real_logits, fake_logits)
            return self.objective.discriminator_loss(real_logits, fake_logits)
        with self.D.frozen():
            real_logits = self.D(real) if self.objective.generator_uses_real else None
            return self.objective.generator_loss(self.D(self.G(z)), real_logits)

    def _read(self, real_logits, fake_logits):
        with no_grad():
            self._readings = {
                "D(real)": mean(sigmoid(real_logits)).data,
                "D(fake)": mean(sigmoid(fake_logits)).data,
            }

    def readings(self):
        """The discriminator's mean probability of "real" on real and on generated samples; ½ and ½ at equilibrium."""
        return self._readings

    def sample(self, z):
        """Samples for latents z (n, latent_dim), a NumPy array: evaluation mode, nothing recorded or changed."""
        modes = [(module, module.training) for _, module in self.G.named_modules()]
        z = z if isinstance(z, Tensor) else self._put(z)
        try:
            with no_grad():
                return self.G.eval()(z).numpy()
        finally:
            for module, mode in modes:
                module.training = mode
