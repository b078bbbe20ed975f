"""Penalties: the mathematics of what a critic's gradient, a network's weights or features should satisfy.

On (critic, samples), with per-sample norms of ∇ₓD over all axes but the first:

    gradient_penalty   E (‖∇D(x̂)‖ − target)²        x̂ = ε x + (1 − ε) G(z)        Gulrajani et al. 2017, eq. 3
    lipschitz_penalty  E max(0, ‖∇D(x̂)‖ − 1)²        the same x̂                    Petzka et al. 2018, eq. 8
    r1                 E ‖∇D(x)‖²                     at real samples               Mescheder et al. 2018, eq. 9
    r2                 E ‖∇D(G(z))‖²                  at generated samples          Mescheder et al. 2018, eq. 10
    dragan             E (‖∇D(x + δ)‖ − target)²     δ = scale·std(x)·U(0, 1)       Kodali et al. 2017, § 2.3

(R1 and R2 in the paper are γ/2 times ours: `regularizers.R1` multiplies.) A norm's gradient at 0 is 0, so no penalty
makes NaN where the critic is flat.
"""

import math
import warnings

from .. import backend
from ..autodiff.engine import grad
from ..autodiff.modes import enable_grad
from ..autodiff.tensor import Tensor
from ..errors import ShapeError, message
from ..nn import BatchNorm
from ..ops import matmul, mean, norm, relu, reshape, square, transpose
from ..ops import sum as total

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
    n = codes.shape[0]
    if n < 2:
        raise ShapeError(f"pulling_away compares samples with each other; it needs at least 2, got {n}")
    s = reshape(codes, n, math.prod(codes.shape[1:]))
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
