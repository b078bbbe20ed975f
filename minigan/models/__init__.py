"""Networks as small functions of `minigan.nn`."""

from .autoencoder import Reconstruction, dcgan_autoencoder, mlp_autoencoder
from .classifier import digit_classifier
from .dcgan import dcgan_discriminator, dcgan_generator
from .mlp import mlp, spread

__all__ = [
    "Reconstruction",
    "dcgan_autoencoder",
    "dcgan_discriminator",
    "dcgan_generator",
    "digit_classifier",
    "mlp",
    "mlp_autoencoder",
    "spread",
]
