"""Regularisers: what a player minimises, or must satisfy, besides its objective, as parts of a game.

Each gives a penalty (`penalties`) a weight and says whose it is. Any of them goes with any objective.
"""

import numpy as np

from .. import backend
from ..errors import ShapeError
from ..ops import square
from ..ops import sum as total
from .base import Part
from .penalties import (
    dragan,
    feature_matching,
    features,
    gradient_penalty,
    lipschitz_penalty,
    orthogonal_penalty,
    pulling_away,
    r1,
    r2,
)


class Regularizer(Part):
    """A further term of one player's loss, a constraint on its parameters, or both. Subclasses override what they are.

    ``name``: of its term in the log. ``player``: whose. ``uses_real``: does the penalty look at real samples?
    ``differentiates_input``: at D's gradient by its input? (Not with batch norm.)
    ``replaces_objective``: is the objective's own loss left out for this player? The state may change in
    ``after_round`` only, as for an `Objective`.
    """

    name = "regularizer"
    player = "D"
    uses_real = False
    differentiates_input = False
    replaces_objective = False

    def penalty(self, networks, real, fake, uniform):
        """A scalar Tensor to add, or None.

        networks: {"D": Module, "G": Module}. real, fake: what D sees, (n, …). uniform: shape → a constant Tensor,
        uniform on (0, 1), the same for the same batch.
        """
        return None

    def constrain(self, network):
        """Move the player's parameters back to where they may be; called after each of its moves."""

    def after_round(self, network):
        """Called once after every round with the player's network."""


class GradientPenalty(Regularizer):
    """weight · `gradient_penalty`: the critic's gradient has length ``target`` between data and samples (WGAN-GP).

    Each sample has its own ε, behind `nn.Pack` too: x̂ then lies between two packs in every sample, not on one line.
    """

    name = "gradient_penalty"
    differentiates_input = True
    uses_real = True

    def __init__(self, weight=10.0, target=1.0):
        self.weight, self.target = _positive(self, "weight", weight), target

    def penalty(self, networks, real, fake, uniform):
        """With one uniform ε a sample."""
        return self.weight * gradient_penalty(networks["D"], real, fake, uniform(real.shape[:1]), self.target)


class LipschitzPenalty(Regularizer):
    """weight · `lipschitz_penalty`, one-sided (WGAN-LP)."""

    name = "lipschitz_penalty"
    differentiates_input = True
    uses_real = True

    def __init__(self, weight=10.0):
        self.weight = _positive(self, "weight", weight)

    def penalty(self, networks, real, fake, uniform):
        """With one uniform ε a sample."""
        return self.weight * lipschitz_penalty(networks["D"], real, fake, uniform(real.shape[:1]))


class R1(Regularizer):
    """γ/2 · E ‖∇D(x)‖² at real samples: makes the game converge locally (Mescheder et al. 2018, theorem 4.1)."""

    name = "r1"
    differentiates_input = True
    uses_real = True

    def __init__(self, gamma=1.0):
        self.gamma = _positive(self, "gamma", gamma)

    def penalty(self, networks, real, fake, uniform):
        """At the real samples."""
        return 0.5 * self.gamma * r1(networks["D"], real)


class R2(R1):
    """γ/2 · E ‖∇D(G(z))‖² at generated samples (Mescheder et al. 2018, eq. 10); with R1 as in R3GAN (Huang 2024)."""

    name = "r2"
    differentiates_input = True
    uses_real = False

    def penalty(self, networks, real, fake, uniform):
        """At the generated samples."""
        return 0.5 * self.gamma * r2(networks["D"], fake)


class DRAGAN(Regularizer):
    """weight · `dragan`: gradients of length ``target`` around the data (Kodali et al. 2017: weight 10, scale 0.5)."""

    name = "dragan"
    differentiates_input = True
    uses_real = True

    def __init__(self, weight=10.0, scale=0.5, target=1.0):
        self.weight, self.scale, self.target = _positive(self, "weight", weight), scale, target

    def penalty(self, networks, real, fake, uniform):
        """With uniform noise on every number of every sample."""
        return self.weight * dragan(networks["D"], real, uniform(real.shape), self.scale, self.target)


class WeightClipping(Regularizer):
    """After each of the critic's moves every parameter is cut to [−limit, limit] (Arjovsky et al. 2017, algorithm 1).

    That keeps the critic Lipschitz, with a constant nobody knows, and makes it simpler than it could be.
    """

    name = "weight_clipping"

    def __init__(self, limit=0.01):
        self.limit = _positive(self, "limit", limit)

    def constrain(self, network):
        """Clip."""
        for p in network.parameters():
            p.assign(backend.xp(p.data).clip(p.data, -self.limit, self.limit))


class Orthogonal(Regularizer):
    """weight · `orthogonal_penalty` of the player's weights (BigGAN: weight 1e-4, on the generator)."""

    name = "orthogonal"

    def __init__(self, weight=1e-4, player="D", diagonal=False):
        self.weight, self.player, self.diagonal = _positive(self, "weight", weight), player, diagonal

    def penalty(self, networks, real, fake, uniform):
        """Of the weights alone."""
        return self.weight * orthogonal_penalty(networks[self.player], self.diagonal)


class HistoricalAveraging(Regularizer):
    """weight · ‖θ − (1/t) Σ θ[i]‖², θ[i] the player's parameters after each past round (Salimans et al. 2016, § 3.3).

    Before the first round has ended there is no history and no term. It damps rotation: the history is at its centre.
    """

    name = "historical_averaging"

    def __init__(self, weight=1.0, player="G"):
        self.weight, self.player = _positive(self, "weight", weight), player
        self._rounds, self._means = 0, []

    def penalty(self, networks, real, fake, uniform):
        """Of the parameters and their history."""
        if not self._rounds:
            return None
        parameters = networks[self.player].parameters()
        terms = [total(square(p - m)) for p, m in zip(parameters, self._beside([p.data for p in parameters]))]
        return self.weight * sum(terms[1:], terms[0])

    def after_round(self, network):
        """Take the present parameters into the mean."""
        self._rounds += 1
        parameters = [p.data for p in network.parameters()]
        means = parameters if self._rounds == 1 else self._beside(parameters)
        self._means = [m + (a - m) / self._rounds for m, a in zip(means, parameters)]

    def _beside(self, arrays):
        """The means on the arrays' device: after loading they are on the host."""
        if [m.shape for m in self._means] != [a.shape for a in arrays]:
            raise ShapeError(f"the history of {self.player!r} that was loaded is that of another network")
        return [m if type(m) is type(a) else backend.of(a).asarray(m, a.dtype) for m, a in zip(self._means, arrays)]

    def state_dict(self):
        """The rounds, and the mean of each parameter."""
        means = {f"mean{i}": np.array(backend.of(m).to_host(m)) for i, m in enumerate(self._means)}
        return {"rounds": np.array(self._rounds)} | means

    def load_state_dict(self, state):
        """Take over a `state_dict`. Raises ``ValueError`` for another's."""
        means = [state.get(f"mean{i}") for i in range(len(state) - 1)]
        if "rounds" not in state or any(m is None for m in means) or bool(state["rounds"] > 0) != bool(means):
            raise ValueError(f"HistoricalAveraging's state is rounds and means, got {', '.join(sorted(state))}")
        self._rounds, self._means = int(state["rounds"]), [np.array(m) for m in means]


class FeatureMatching(Regularizer):
    """G minimises weight · `feature_matching` of D's layer ``layer`` (``"flatten1"``) instead of its objective; with
    ``replaces_objective=False`` besides it (Salimans et al. 2016, § 3.1).
    """

    name = "feature_matching"
    player = "G"
    uses_real = True

    def __init__(self, layer, weight=1.0, replaces_objective=True):
        self.layer, self.weight, self.replaces_objective = layer, _positive(self, "weight", weight), replaces_objective

    def penalty(self, networks, real, fake, uniform):
        """Of the features of both."""
        D = networks["D"]
        return self.weight * feature_matching(features(D, self.layer, real), features(D, self.layer, fake))


class PullingAway(Regularizer):
    """weight · `pulling_away` of D's layer ``layer`` for generated samples, in G's loss (EBGAN-PT; weight 0.1)."""

    name = "pulling_away"
    player = "G"

    def __init__(self, layer, weight=0.1):
        self.layer, self.weight = layer, _positive(self, "weight", weight)

    def penalty(self, networks, real, fake, uniform):
        """Of the generated samples' codes."""
        return self.weight * pulling_away(features(networks["D"], self.layer, fake))


def _positive(owner, name, value):
    if not value > 0:
        raise ValueError(f"{type(owner).__name__}: {name} must be positive, got {value}")
    return value
