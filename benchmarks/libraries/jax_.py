"""The steps with JAX: one compiled function per step, its state (weights, Adam's moments) donated to it.

It is compiled before anything is measured, and every step waits for its results. Images are n h w c, as ours.
Batch norm's running statistics are not kept up (two numbers per channel), which only helps JAX; sampling uses the
initial ones, mean 0 and variance 1, as everyone does.
"""

from functools import partial

import jax
import numpy as np
from jax import numpy as jnp
from jax.lax import conv_general_dilated, conv_transpose

from benchmarks.libraries import Task
from benchmarks.workloads import BETA1, BETA2, EPSILON, LEARNING_RATE, PENALTY, SLOPE

LAYOUT = ("NHWC", "HWIO", "NHWC")
softplus = jax.nn.softplus


def make(workload, start, variant="", device="cpu"):
    """See `libraries`. All but the overhead, on the CPU."""
    jax.config.update("jax_platforms", "cpu")
    if workload.kind == "sampling":
        return _sampling(start)
    if workload.kind in ("toy", "dcgan"):
        networks = (mlp, mlp) if workload.kind == "toy" else (generator, discriminator)
        step, inputs = partial(_gan, *networks), (start.real, start.latent_d, start.latent_g)
    else:
        step, inputs = partial(_critic, workload.kind == "wgan_gp"), (start.real, start.fake, start.epsilon)
    return _training(step, (_with_moments(start.G), _with_moments(start.D)), inputs)


def _training(step, state, inputs):
    """A task that makes ``step(state, *inputs) → (state, losses)`` compiled, and keeps the state."""
    state, inputs = jax.device_put(state), jax.device_put(inputs)
    compiled = jax.jit(step, donate_argnums=0).lower(state, *inputs).compile()

    def run():
        nonlocal state
        state, losses = jax.block_until_ready(compiled(state, *inputs))
        return losses

    return Task(run, lambda: [np.asarray(w) for player in state for w in player[0]])


def _sampling(start):
    latents, G = [jax.device_put(z) for z in start.latents], jax.device_put(start.G)
    compiled = jax.jit(partial(generator, training=False)).lower(G, latents[0]).compile()
    return Task(lambda: [jax.block_until_ready(compiled(G, z)) for z in latents])


# ---- networks -------------------------------------------------------------------------------------------------------


def leaky_relu(x):
    """LeakyReLU."""
    return jnp.where(x > 0, x, SLOPE * x)


def mlp(weights, x):
    """Dense layers with LeakyReLU between them."""
    for i in range(0, len(weights), 2):
        x = leaky_relu(x) if i else x
        x = x @ weights[i] + weights[i + 1]
    return x


def batch_norm(x, gamma, beta, training=True):
    """Over all axes but the last; in evaluation with the initial running statistics."""
    if not training:
        return x * (gamma / np.sqrt(np.float32(1 + 1e-5))) + beta
    axes = tuple(range(x.ndim - 1))
    mean, var = x.mean(axes), x.var(axes)
    return (x - mean) * (gamma * jax.lax.rsqrt(var + 1e-5)) + beta


def up(x, w):
    """Transposed convolution 4 × 4, stride 2, padding 1: twice the size."""
    return conv_transpose(x, w, (2, 2), [(2, 2), (2, 2)], dimension_numbers=LAYOUT, transpose_kernel=True)


def down(x, w):
    """Convolution 4 × 4, stride 2, padding 1: half the size."""
    return conv_general_dilated(x, w, (2, 2), [(1, 1), (1, 1)], dimension_numbers=LAYOUT)


def generator(weights, z, training=True):
    """As `minigan.models.dcgan_generator`."""
    dense, gamma1, beta1, wide, gamma2, beta2, last, bias = weights
    x = (z @ dense).reshape(len(z), 7, 7, -1)
    x = jax.nn.relu(batch_norm(x, gamma1, beta1, training))
    x = jax.nn.relu(batch_norm(up(x, wide), gamma2, beta2, training))
    return jnp.tanh(up(x, last) + bias)


def discriminator(weights, x):
    """As `minigan.models.dcgan_discriminator`; a bias instead of batch norm if there are but six arrays."""
    first, bias1, second, *norm, dense, bias3 = weights
    x = down(leaky_relu(down(x, first) + bias1), second)
    x = leaky_relu(batch_norm(x, *norm) if len(norm) == 2 else x + norm[0])
    return x.reshape(len(x), -1) @ dense + bias3


# ---- the steps: (state of G, state of D), batches → the state after, losses -----------------------------------------


def _with_moments(weights):
    """(weights, m, v, number of updates)."""
    zeros = [np.zeros_like(w) for w in weights]
    return list(weights), zeros, [z.copy() for z in zeros], np.float32(0)


def _adam(player, gradients):
    weights, m, v, t = player
    t = t + 1
    m = [BETA1 * a + (1 - BETA1) * g for a, g in zip(m, gradients)]
    v = [BETA2 * a + (1 - BETA2) * g * g for a, g in zip(v, gradients)]
    correction = jnp.sqrt(1 - BETA2**t)
    rate = LEARNING_RATE * correction / (1 - BETA1**t)
    weights = [w - rate * a / (jnp.sqrt(b) + EPSILON * correction) for w, a, b in zip(weights, m, v)]
    return weights, m, v, t


def _gan(generator, discriminator, state, real, latent_d, latent_g):
    G, D = state

    def loss_d(weights):
        fake = generator(G[0], latent_d)
        return softplus(-discriminator(weights, real)).mean() + softplus(discriminator(weights, fake)).mean()

    def loss_g(weights):
        return softplus(-discriminator(D[0], generator(weights, latent_g))).mean()

    first, gradients = jax.value_and_grad(loss_d)(D[0])
    D = _adam(D, gradients)
    second, gradients = jax.value_and_grad(loss_g)(G[0])
    return (_adam(G, gradients), D), (first, second)


def _critic(penalised, state, real, fake, epsilon):
    def loss(weights):
        value = discriminator(weights, fake).mean() - discriminator(weights, real).mean()
        if not penalised:
            return value
        g = jax.grad(lambda x: discriminator(weights, x).sum())(epsilon * real + (1 - epsilon) * fake)
        return value + PENALTY * ((jnp.sqrt((g * g).sum((1, 2, 3))) - 1) ** 2).mean()

    G, D = state
    value, gradients = jax.value_and_grad(loss)(D[0])
    return (G, _adam(D, gradients)), (value,)
