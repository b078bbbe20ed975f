"""What is measured: the workloads, what every library starts from, and what we aim at.

    toy        MLP GAN 2-128-128-2 against 2-128-128-1, LeakyReLU 0.2, batch 256: a discriminator and a generator step
    dcgan      the MNIST DCGAN, 64 channels, batch 64, batch norm: a discriminator and a generator step
    critic     a critic step of a WGAN: the DCGAN's discriminator without batch norm, mean D(fake) − mean D(real)
    wgan_gp    the same with the gradient penalty, 10·mean (|∇D(between)| − 1)², and so with a double backward pass
    sampling   10,000 digits from the DCGAN's generator, in batches of 500: eval mode, nothing recorded, latents given
    overhead   a chain of 1,000 elementwise operations on 4 numbers: time per operation, forward, and with backward
    scaling    the dcgan step for several batch sizes, and for several widths

GANs have the non-saturating loss. All steps use Adam (2e-4, 0.5). Latents differ between the two steps of a GAN, so
that no compiler can share their work. Every library starts from the same weights and sees the same batches (`start`).
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

LATENT_DIM = 100
LEARNING_RATE, BETA1, BETA2, EPSILON = 2e-4, 0.5, 0.999, 1e-8  # Adam's
SLOPE = 0.2  # LeakyReLU's
PENALTY = 10  # times the gradient penalty


@dataclass(frozen=True)
class Workload:
    """One thing to measure. ``kind`` says which step; ``candidates`` are names of `libraries`, in the table's order."""

    name: str
    kind: str  # toy dcgan critic wgan_gp sampling forward backward
    batch: int
    width: int  # hidden units of an MLP, channels of the DCGAN's first convolution
    candidates: tuple
    count: int = 1  # of batches (sampling) or operations (overhead) in a step
    parts: int = 1  # a step's time is divided by this


class Start(NamedTuple):
    """Initial weights of G and D, arrays in the order of minigan's ``parameters()``, and batches; all float32."""

    G: list
    D: list
    real: np.ndarray
    fake: np.ndarray
    latent_d: np.ndarray  # for the discriminator's step
    latent_g: np.ndarray  # for the generator's
    latents: np.ndarray  # (batches, batch, latent_dim), for sampling
    epsilon: np.ndarray  # where between real and fake the gradient is penalised


# Families whose workloads are measured in the same rounds, because one is compared with the other.
TOGETHER = {"critic": "wgan_gp"}


def workloads(quick=False):
    """{family: its workloads}; families are chosen on the command line. ``quick``: tiny sizes, to see that all runs."""
    toy = ("minigan", "floor", "numpy", "torch", "jax", "autograd", "mygrad")
    images = ("minigan", "floor", "torch contiguous", "torch channels_last", "jax")
    chain = ("minigan", "autograd", "mygrad", "torch")
    few = ("minigan", "floor", "torch channels_last")
    batch, width, many, ops = (8, 4, 2, 40) if quick else (64, 64, 20, 1000)
    sizes, fixed = ((2, 4), 4) if quick else ((16, 32, 64, 128), 32)
    scaled = {(b, width): None for b in sizes} | {(fixed, w): None for w in sizes}  # keys: one of each
    return {
        "toy": [Workload("toy", "toy", 16 if quick else 256, 16 if quick else 128, toy)],
        "dcgan": [Workload("dcgan", "dcgan", batch, width, images)],
        "critic": [Workload("critic", "critic", batch, width, images)],
        "wgan_gp": [Workload("wgan_gp", "wgan_gp", batch, width, images)],
        "sampling": [Workload("sampling", "sampling", 5 if quick else 500, width, images, many)],
        "overhead": [
            Workload("overhead forward", "forward", 4, 1, chain, ops, ops),
            Workload("overhead", "backward", 4, 1, chain, ops, ops),
        ],
        "scaling": [Workload(f"scaling batch={b} channels={w}", "dcgan", b, w, few) for b, w in scaled],
    }


def smallest(workload):
    """The same workload, hardly any work: a first step of it imports and compiles what a library leaves for later."""
    return replace(workload, batch=2, width=2, count=4)


# ---- what we aim at -------------------------------------------------------------------------------------------------


class Aim(NamedTuple):
    """minigan's time (or memory) on ``workload`` is at most ``most`` × that of the best candidate of ``library``.

    ``other``: on another workload, where it is not the same one.
    """

    workload: str
    library: str
    most: float
    quantity: str = "time"
    other: str = None


AIMS = [
    Aim("toy", "numpy", 1.25),
    Aim("toy", "torch", 0.6),
    Aim("toy", "jax", 1.0),
    Aim("dcgan", "floor", 1.3),
    Aim("dcgan", "torch", 0.75),
    Aim("wgan_gp", "torch", 0.75),
    Aim("wgan_gp", "minigan", 3.0, other="critic"),
    Aim("sampling", "torch", 0.8),
    Aim("overhead", "autograd", 0.5),
    *(Aim(name, "torch", 1.0, "memory") for name in ("toy", "dcgan", "critic", "wgan_gp", "sampling")),
]


# ---- what every library starts from ---------------------------------------------------------------------------------


def start(workload):
    """Weights and batches of a workload, the same at every call (`Start`)."""
    rng = np.random.default_rng(0)
    n, c = workload.batch, workload.width

    def normal(*shape, std=1.0, mean=0.0):
        return (mean + std * rng.standard_normal(shape)).astype(np.float32)

    if workload.kind == "toy":
        data, latent = (2,), 2
        G, D = _mlp(normal, 2, c, c, 2), _mlp(normal, 2, c, c, 1)
    else:
        data, latent = (28, 28, 1), LATENT_DIM
        G, D = _generator(normal, c), _discriminator(normal, c, workload.kind == "dcgan")
    count = workload.count if workload.kind == "sampling" else 0
    return Start(
        *(G, D, normal(n, *data), normal(n, *data), normal(n, latent), normal(n, latent), normal(count, n, latent)),
        rng.random((n, *[1] * len(data)), dtype=np.float32),
    )


def _zeros(n):
    return np.zeros(n, np.float32)


def _mlp(normal, *sizes):
    """W, b of each layer; W ~ N(0, 2/inputs)."""
    layers = [(normal(m, n, std=(2 / m) ** 0.5), _zeros(n)) for m, n in zip(sizes[:-1], sizes[1:])]
    return [array for layer in layers for array in layer]


def _generator(normal, c):
    """As `minigan.models.dcgan_generator`: W ~ N(0, 0.02²), γ ~ N(1, 0.02²), β = 0."""
    dense, wide = normal(LATENT_DIM, 7 * 7 * 2 * c, std=0.02), normal(4, 4, c, 2 * c, std=0.02)
    first, second = normal(2 * c, std=0.02, mean=1), normal(c, std=0.02, mean=1)
    return [dense, first, _zeros(2 * c), wide, second, _zeros(c), normal(4, 4, 1, c, std=0.02), _zeros(1)]


def _discriminator(normal, c, batch_norm):
    """As `minigan.models.dcgan_discriminator`; without batch norm the second convolution has a bias."""
    second = [normal(4, 4, c, 2 * c, std=0.02)]
    second += [normal(2 * c, std=0.02, mean=1)] if batch_norm else []
    dense = normal(7 * 7 * 2 * c, 1, std=0.02)
    return [normal(4, 4, 1, c, std=0.02), _zeros(c), *second, _zeros(2 * c), dense, _zeros(1)]
