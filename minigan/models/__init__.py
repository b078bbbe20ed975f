"""Networks as small functions of `minigan.nn`."""

from .autoencoder import Reconstruction, dcgan_autoencoder, mlp_autoencoder
from .dcgan import dcgan_discriminator, dcgan_generator
from .mlp import mlp, spread

__all__ = [
    "Reconstruction",
    "dcgan_autoencoder",
    "dcgan_discriminator",
    "dcgan_generator",
    "mlp",
    "mlp_autoencoder",
    "spread",
]
