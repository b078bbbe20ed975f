"""Regularisers: what a player minimises, or must satisfy, besides its objective. Any of them goes with any objective.

The functions are the mathematics, on (critic, samples): per-sample norms of ∇ₓD over all axes but the first,

    gradient_penalty   E (‖∇D(x̂)‖ − target)²        x̂ = ε x + (1 − ε) G(z)        Gulrajani et al. 2017, eq. 3
    lipschitz_penalty  E max(0, ‖∇D(x̂)‖ − 1)²        the same x̂                    Petzka et al. 2018, eq. 8
    r1                 E ‖∇D(x)‖²                     at real samples               Mescheder et al. 2018, eq. 9
    r2                 E ‖∇D(G(z))‖²                  at generated samples          Mescheder et al. 2018, eq. 10
    dragan             E (‖∇D(x + δ)‖ − target)²     δ = scale·std(x)·U(0, 1)       Kodali et al. 2017, § 2.3

(R1 and R2 in the paper are γ/2 times ours: `R1` multiplies.) The classes give them a weight and tell a game for whose
loss they are. A norm's gradient at 0 is 0, so no penalty makes NaN where the critic is flat.
"""

import math
import warnings

import numpy as np

from .. import backend
from ..autodiff.engine import grad
from ..autodiff.modes import enable_grad
from ..autodiff.tensor import Tensor
from ..errors import ShapeError, message
from ..nn import BatchNorm
from ..ops import matmul, mean, norm, relu, reshape, square, transpose
from ..ops import sum as total
from .base import settings_in_words

# ---- penalties on the critic's gradient ------------------------------------------------------------------------------


def input_gradient(critic, x):
    """∇D(xᵢ) for every sample, recorded: x (n, …) → (n, numbers in a sample), rows of ∇ₓ Σᵢ D(xᵢ).

    A critic with one row of outputs for m samples (`nn.Pack`) has one row for each pack. Raises ``ValueError`` for one
    with batch norm in training mode, which does not treat samples one by one.
    """
    refuse_coupling(critic)
    if not isinstance(x, Tensor) or x.node is None:
        x = Tensor(x.data if isinstance(x, Tensor) else x)
        x.requires_grad = True
    with enable_grad():
        outputs = critic(x)
        (g,) = grad(total(outputs), x, create_graph=True)
    n = outputs.shape[0] if outputs.shape else 1
    return reshape(g, n, g.size // max(n, 1))


def refuse_coupling(critic):
    """Raise (batch norm) or warn (minibatch layers) where one sample's output depends on the others in the batch."""
    for name, module in getattr(critic, "named_modules", lambda: ())():
        if not module.couples_samples:
            continue
        name = f"{critic.path}.{name}".strip(".") or type(module).__name__
        if not isinstance(module, BatchNorm):
            warnings.warn(
                f"{name} ({type(module).__name__}) mixes the samples of a batch: a gradient penalty then bounds the "
                "gradient of the whole batch's outputs by a sample, not of its own output alone",
                stacklevel=3,
            )
        elif module.training:
            raise ValueError(
                f"{name} normalises over the batch, so the gradient of one sample's output by that sample alone, "
                "which the penalty bounds, is not what would be computed. Use LayerNorm, InstanceNorm or no "
                "normalisation in a critic with a gradient penalty (dcgan_discriminator(batch_norm=False))"
            )


def interpolates(real, fake, epsilon):
    """ε x + (1 − ε) x̃ with one ε a sample; epsilon: (n,) or (n, 1, …). Raises `ShapeError` for other shapes."""
    real, fake = (a if isinstance(a, Tensor) else Tensor(a) for a in (real, fake))
    epsilon = epsilon if isinstance(epsilon, Tensor) else Tensor(backend.of(real.data).asarray(epsilon, real.dtype))
    n = real.shape[0]
    if real.shape != fake.shape or epsilon.size != n or epsilon.shape[:1] != (n,):
        what = "interpolation needs as many real as generated samples, of one shape, and one epsilon for each"
        raise ShapeError(message(what, operands=[("real", real), ("fake", fake), ("epsilon", epsilon)]))
    epsilon = reshape(epsilon, n, *[1] * (real.ndim - 1))
    return epsilon * real + (1 - epsilon) * fake


def gradient_penalty(critic, real, fake, epsilon, target=1.0):
    """E (‖∇D(x̂)‖ − target)² on the lines between pairs of samples: WGAN-GP's, without its weight λ = 10.

    critic: samples (n, …) → (n, 1) or (n,). real, fake: (n, …). epsilon: (n,), uniform on (0, 1). A scalar Tensor.
    """
    norms = norm(input_gradient(critic, interpolates(real, fake, epsilon)), axis=1)
    return mean(square(norms - target))


def lipschitz_penalty(critic, real, fake, epsilon):
    """E max(0, ‖∇D(x̂)‖ − 1)², the one-sided penalty (WGAN-LP): a 1-Lipschitz critic may be flat. See above."""
    norms = norm(input_gradient(critic, interpolates(real, fake, epsilon)), axis=1)
    return mean(square(relu(norms - 1)))


def r1(critic, real):
    """E ‖∇D(x)‖² at the real samples (n, …). The paper's R1 is γ/2 times this; there is no root, hence no kink."""
    return mean(total(square(input_gradient(critic, real)), axis=1))


def r2(critic, fake):
    """E ‖∇D(G(z))‖² at generated samples (n, …)."""
    return r1(critic, fake)


def dragan(critic, real, noise, scale=0.5, target=1.0):
    """E (‖∇D(x + scale·std(x)·noise)‖ − target)² around the data, on logits.

    noise: uniform on (0, 1), of the shape of real (n, …). std(x): one number for the whole batch, as in the authors'
    code.
    """
    real = real if isinstance(real, Tensor) else Tensor(real)
    noise = noise if isinstance(noise, Tensor) else Tensor(backend.of(real.data).asarray(noise, real.dtype))
    if noise.shape != real.shape:
        raise ShapeError(message("dragan needs noise like the data", operands=[("real", real), ("noise", noise)]))
    around = real.data + scale * real.data.std() * noise.data
    return mean(square(norm(input_gradient(critic, Tensor(around)), axis=1) - target))


def _flat(x):
    return reshape(x, x.shape[0], math.prod(x.shape[1:]))


# ---- penalties on weights and features -------------------------------------------------------------------------------


def orthogonal_penalty(network, diagonal=False):
    """Σ ‖WᵀW ⊙ (1 − I)‖² over all weights with two or more axes, filters as columns (Brock et al. 2019, eq. 3).

    It makes filters orthogonal and leaves their lengths free; with ``diagonal`` it is ‖WᵀW − I‖² (Brock et al. 2017).
    """
    terms = []
    for p in network.parameters():
        if p.ndim >= 2:
            w = reshape(p, math.prod(p.shape[:-1]), p.shape[-1])
            gram, eye = matmul(transpose(w), w), backend.xp(p.data).eye(p.shape[-1], dtype=p.dtype)
            terms.append(total(square(gram - eye if diagonal else gram * (1 - eye))))
    if not terms:
        raise ValueError("orthogonal_penalty: the network has no weight matrix")
    return sum(terms[1:], terms[0])


def feature_matching(real_features, fake_features):
    """‖E f(x) − E f(G(z))‖² of a discriminator layer's output (n, …) (Salimans et al. 2016, § 3.1)."""
    return total(square(mean(real_features, axis=0) - mean(fake_features, axis=0)))


def pulling_away(codes):
    """Mean squared cosine between the codes (n, …) of different samples (Zhao et al. 2017, eq. 4: EBGAN-PT)."""
    s, n = _flat(codes), codes.shape[0]
    if n < 2:
        raise ShapeError(f"pulling_away compares samples with each other; it needs at least 2, got {n}")
    unit = s / (norm(s, axis=1, keepdims=True) + 1e-12)
    cosines = square(matmul(unit, transpose(unit)))
    return (total(cosines) - total(square(total(square(unit), axis=1)))) / (n * (n - 1))


def features(network, layer, x):
    """What the layer called ``layer`` inside ``network`` gives for x. Raises ``ValueError`` for an unknown name."""
    modules = dict(network.named_modules())
    if layer not in modules:
        known = ", ".join(filter(None, modules))
        raise ValueError(f"no layer {layer!r} in {network.path or 'the network'}; there are {known}")
    found, hooks = [], modules[layer].hooks
    hooks.append(lambda module, inputs, output: found.append(output))
    try:
        network(x)
    finally:
        hooks.pop()
    if not found:
        raise ValueError(f"layer {layer!r} is not called by {network.path or 'the network'}'s forward")
    return found[-1]


# ---- the same as parts of a game -------------------------------------------------------------------------------------


class Regularizer:
    """A further term of one player's loss, a constraint on its parameters, or both. Subclasses override what they are.

    ``name``: of its term in the log. ``player``: whose. ``uses_real``: does the penalty look at real samples?
    ``replaces_objective``: is the objective's own loss left out for this player? The state may change in
    ``after_round`` only, as for an `Objective`.
    """

    name = "regularizer"
    player = "D"
    uses_real = False
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

    def state_dict(self):
        """{name: NumPy array} of what `after_round` changes."""
        return {}

    def load_state_dict(self, state):
        """Take over a `state_dict`."""
        if state:
            raise ValueError(f"{type(self).__name__} has no state, got {', '.join(sorted(state))}")

    def __repr__(self):
        return settings_in_words(self)


class GradientPenalty(Regularizer):
    """weight · `gradient_penalty`: the critic's gradient has length ``target`` between data and samples (WGAN-GP)."""

    name = "gradient_penalty"
    uses_real = True

    def __init__(self, weight=10.0, target=1.0):
        self.weight, self.target = _positive(self, "weight", weight), target

    def penalty(self, networks, real, fake, uniform):
        """With one uniform ε a sample."""
        return self.weight * gradient_penalty(networks["D"], real, fake, uniform(real.shape[:1]), self.target)


class LipschitzPenalty(Regularizer):
    """weight · `lipschitz_penalty`, one-sided (WGAN-LP)."""

    name = "lipschitz_penalty"
    uses_real = True

    def __init__(self, weight=10.0):
        self.weight = _positive(self, "weight", weight)

    def penalty(self, networks, real, fake, uniform):
        """With one uniform ε a sample."""
        return self.weight * lipschitz_penalty(networks["D"], real, fake, uniform(real.shape[:1]))


class R1(Regularizer):
    """γ/2 · E ‖∇D(x)‖² at real samples: makes the game converge locally (Mescheder et al. 2018, theorem 4.1)."""

    name = "r1"
    uses_real = True

    def __init__(self, gamma=1.0):
        self.gamma = _positive(self, "gamma", gamma)

    def penalty(self, networks, real, fake, uniform):
        """At the real samples."""
        return 0.5 * self.gamma * r1(networks["D"], real)


class R2(R1):
    """γ/2 · E ‖∇D(G(z))‖² at generated samples (Mescheder et al. 2018, eq. 10); with R1 as in R3GAN (Huang 2024)."""

    name = "r2"
    uses_real = False

    def penalty(self, networks, real, fake, uniform):
        """At the generated samples."""
        return 0.5 * self.gamma * r2(networks["D"], fake)


class DRAGAN(Regularizer):
    """weight · `dragan`: gradients of length ``target`` around the data (Kodali et al. 2017: weight 10, scale 0.5)."""

    name = "dragan"
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
