"""The game of a generator against a discriminator: networks, data, an objective and regularisers, put together."""

import warnings
from functools import partial
from typing import NamedTuple

import numpy as np

from .. import backend
from ..autodiff.modes import no_grad
from ..autodiff.tensor import Tensor
from ..backend.random import stream
from ..nn import SpectralNorm
from ..objectives import Regularizer, get, regularizer
from ..objectives.penalties import refuse_coupling
from ..ops import mean, sigmoid
from .game import Game
from .state import join_states, split_state


class Batch(NamedTuple):
    """What a GAN's losses are evaluated on: real samples (or None), latents, and whose draw it is."""

    real: Tensor | None
    z: Tensor
    number: int
    player: str


class GAN(Game):
    """The game of a generator ``"G"`` against a discriminator ``"D"``.

    generator: Module, z (n, latent_dim) → samples. discriminator: Module, samples → logits. objective: a name or an
    `Objective`. regularizers: names or objects, of either player. data: `data.Batches` whose batch is an array of
    samples. instance_noise: standard deviation of Gaussian noise added to all that D sees, real and generated (Sønderby
    et al. 2017), or a function of the rounds played (`optim.linear_decay`).

    All randomness is keyed by (seed, number); latents and batches take the dtype and device of the generator's weights
    (the discriminator's, if it has none).

    Raises ``ValueError`` for one module in both roles, data without batches of arrays, what is no regulariser or listed
    twice, and batch norm in a discriminator whose input is differentiated. Warns where nothing keeps a Wasserstein
    critic Lipschitz.
    """

    def __init__(
        self,
        generator,
        discriminator,
        data,
        latent_dim,
        objective="non_saturating",
        regularizers=(),
        instance_noise=0.0,
        seed=0,
    ):
        if generator is discriminator:
            raise ValueError("GAN: generator and discriminator are the same module; each player needs its own")
        if not hasattr(data, "at"):
            raise ValueError(f"GAN: data must be Batches(array, batch_size, seed), got {type(data).__name__}")
        self.G, self.D = generator.named("G"), discriminator.named("D")
        self.networks = {"D": self.D, "G": self.G}
        self.objective = get(objective)
        self.regularizers = tuple(regularizer(r) if isinstance(r, str) else r for r in regularizers)
        for r in self.regularizers:
            if not isinstance(r, Regularizer) or r.player not in self.networks:
                raise ValueError(f"GAN: regularizers are names or objects like R1(gamma=1.0), of D or G; got {r!r}")
        names = [(r.player, r.name) for r in self.regularizers]
        if len(set(names)) < len(names):
            raise ValueError(f"a regulariser is listed twice for one player: {', '.join(map('/'.join, names))}")
        self.data, self.latent_dim, self.seed, self.instance_noise = data, latent_dim, seed, instance_noise
        self.players = {"D": self.D.parameters(), "G": self.G.parameters()}
        self.terms, self.logits, self.rounds = {"D": {}, "G": {}}, {}, 0
        if any(r.differentiates_input for r in self.regularizers):
            refuse_coupling(self.D)
        self._warn_without_lipschitz()
        if not backend.is_array(first := data.at(0)):
            raise ValueError(f"a GAN's batches are arrays of samples, got {type(first).__name__}: pass mnist().images")

    def _warn_without_lipschitz(self):
        spectral = any(isinstance(m, SpectralNorm) for _, m in self.D.named_modules())
        if self.objective.needs_lipschitz and not spectral and not any(r.player == "D" for r in self.regularizers):
            warnings.warn(
                f"{self.objective!r} without a constraint on the critic: its loss has no minimum, the outputs grow "
                "without bound. Add GradientPenalty(), LipschitzPenalty() or WeightClipping(), or nn.spectral_norm(D)",
                stacklevel=3,
            )

    # ---- what is drawn --------------------------------------------------------------------------------------------

    def latent(self, n, number=0, name="latent", truncation=None):
        """Draw ``number`` of n latent vectors, standard normal: a Tensor (n, latent_dim).

        truncation: every component is drawn from the normal distribution cut off at ±truncation (the truncation trick,
        Brock et al. 2019, § 3.1): fewer kinds of samples, each more typical.
        """
        rng = stream(self.seed, name, number)
        if truncation is None:
            return self._put(rng.standard_normal((n, self.latent_dim), dtype="float32"))
        if not truncation > 0:
            raise ValueError(f"latent: truncation must be positive, got {truncation}")
        from scipy.special import ndtr, ndtri

        low = ndtr(-truncation)  # by the inverse distribution function: no draw is rejected
        return self._put(ndtri(low + (1 - 2 * low) * rng.random((n, self.latent_dim))))

    def _put(self, host):
        """A host array as a constant Tensor of the generator's dtype, on its device (D's, if G has no weights)."""
        like = (self.players["G"] or self.players["D"])[0].data
        return Tensor(backend.of(like).asarray(host, like.dtype))

    def batch(self, number, player=None):
        """Batch ``number`` (for both players, or for one): real samples only where the player's loss needs them."""
        uses_real = player != "G" or self.objective.generator_uses_real or any(r.uses_real for r in self._of("G"))
        real = self._put(self.data.at(number)) if uses_real else None
        player = player or "both"
        return Batch(real, self.latent(self.data.batch_size, number, f"latent/{player}"), number, player)

    def _noisy(self, x, batch, what):
        """x as the discriminator sees it: with instance noise, if there is any."""
        std = self.instance_noise(self.rounds) if callable(self.instance_noise) else self.instance_noise
        if not std or x is None:
            return x
        rng = stream(self.seed, f"instance_noise/{what}/{batch.player}", batch.number)
        return x + std * self._put(rng.standard_normal(x.shape, dtype="float32"))

    def _uniform(self, batch, name, shape):
        """Numbers for a regulariser: uniform on (0, 1), the same for the same batch."""
        return self._put(stream(self.seed, f"{name}/{batch.player}", batch.number).random(shape, dtype="float32"))

    # ---- losses ---------------------------------------------------------------------------------------------------

    def losses(self, batch):
        """Both losses at once, each differentiable by both players' parameters."""
        real, fake = self._noisy(batch.real, batch, "real"), self._noisy(self.G(batch.z), batch, "fake")
        real_logits, fake_logits = self.D(real), self.D(fake)
        self._keep(real_logits, fake_logits)
        d_loss = self.objective.discriminator_loss(real_logits, fake_logits)
        g_loss = None if self._replaced() else self.objective.generator_loss(fake_logits, real_logits)
        return {"D": self._total("D", d_loss, real, fake, batch), "G": self._total("G", g_loss, real, fake, batch)}

    def loss(self, player, batch):
        """One player's loss, recording only what that player's gradient needs."""
        if player == "D":
            with no_grad():
                real, fake = self._noisy(batch.real, batch, "real"), self._noisy(self.G(batch.z), batch, "fake")
            real_logits, fake_logits = self.D(real), self.D(fake)
            self._keep(real_logits, fake_logits)
            own = self.objective.discriminator_loss(real_logits, fake_logits)
            return self._total("D", own, real, fake, batch)
        with self.D.frozen():
            real, fake = self._noisy(batch.real, batch, "real"), self._noisy(self.G(batch.z), batch, "fake")
            own = None
            if not self._replaced():
                real_logits = self.D(real) if self.objective.generator_uses_real else None
                own = self.objective.generator_loss(self.D(fake), real_logits)
            return self._total("G", own, real, fake, batch)

    def _replaced(self):
        """Does a regulariser stand in for the objective's generator loss?"""
        return any(r.replaces_objective for r in self._of("G"))

    def _total(self, player, own, real, fake, batch):
        """The objective's loss and the regularisers' penalties, summed; each is kept in `terms`."""
        terms = {} if own is None else {"objective": own}
        for r in self._of(player):
            penalty = r.penalty(self.networks, real, fake, partial(self._uniform, batch, r.name))
            if penalty is not None:
                terms[r.name] = penalty
        self.terms[player] = {name: term.data for name, term in terms.items()}
        first, *others = terms.values()
        return sum(others, first)

    def _of(self, player):
        return [r for r in self.regularizers if r.player == player]

    def _keep(self, real_logits, fake_logits):
        self.logits = {"real": real_logits.data, "fake": fake_logits.data}

    # ---- between the moves ----------------------------------------------------------------------------------------

    def constrain(self, player):
        """What the regularisers demand of the player's parameters (weight clipping)."""
        for r in self._of(player):
            r.constrain(self.networks[player])

    def after_round(self):
        """Let the objective and the regularisers change what they change from round to round."""
        self.rounds += 1
        if self.logits:
            self.objective.after_round(self.logits["real"], self.logits["fake"])
        for r in self.regularizers:
            r.after_round(self.networks[r.player])

    def readings(self):
        """D(real), D(fake): the discriminator's mean output on real and on generated samples (as probabilities, ½ and ½
        at equilibrium, where the objective has them); then the regularisers' penalties (``D/r1``) and what the
        objective tells.
        """
        means = {}
        with no_grad():
            for name, logits in self.logits.items():
                t = Tensor(logits)
                means[f"D({name})"] = mean(sigmoid(t) if self.objective.probabilities else t).data
        penalties = {
            f"{player}/{name}": value
            for player, terms in self.terms.items()
            for name, value in terms.items()
            if name != "objective"
        }
        return means | penalties | self.objective.readings()

    def sample(self, z):
        """Samples for latents z (n, latent_dim), a NumPy array: evaluation mode, nothing recorded or changed; 500 at a
        time.
        """
        z = z if isinstance(z, Tensor) else self._put(z)
        with self.G.evaluating(), no_grad():
            return np.concatenate([self.G(z[i : i + 500]).numpy() for i in range(0, len(z) or 1, 500)])

    def outputs(self, x):
        """The discriminator's outputs on samples x (n, …), a NumPy array: evaluation mode, nothing changed."""
        with self.D.evaluating(), no_grad():
            return self.D(self._put(x)).numpy()

    # ---- state ----------------------------------------------------------------------------------------------------

    def _parts(self):
        regularizers = {f"{r.player}.{r.name}": r for r in self.regularizers}
        return {"G": self.G, "D": self.D, "objective": self.objective, **regularizers}

    def state_dict(self):
        """Networks, objective, regularisers, rounds played: {"G/dense1.weight": …, "objective/k": …, "rounds": …}."""
        return join_states(self._parts()) | {"rounds": np.array(self.rounds)}

    def load_state_dict(self, state):
        """Take over a `state_dict`. Raises when it is another game's; then nothing has changed."""
        if np.shape(state.get("rounds")) != () or "rounds" not in state:
            raise ValueError(f"this state does not fit {type(self).__name__}: it has no number of rounds")
        split_state({name: a for name, a in state.items() if name != "rounds"}, self._parts(), type(self).__name__)
        self.rounds = int(state["rounds"])
