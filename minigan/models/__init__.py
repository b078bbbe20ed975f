"""Networks as small functions of `minigan.nn`."""

from .dcgan import dcgan_discriminator, dcgan_generator
from .mlp import mlp

__all__ = ["dcgan_discriminator", "dcgan_generator", "mlp"]
