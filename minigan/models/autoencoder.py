"""Auto-encoders, and discriminators made of them for EBGAN and BEGAN: energies, low where x is reconstructed well."""

from ..nn import Conv, ConvTranspose, Dense, Flatten, LeakyReLU, Module, Reshape, Sequential, Tanh
from ..nn.init import he, initialize
from ..ops import abs, mean, reshape, square


class Reconstruction(Module):
    """E(x) = mean over x's numbers of |x − A(x)|ᵖᵒʷᵉʳ: (n, …) → (n, 1), low for what the auto-encoder A knows.

    power 2 is EBGAN's (Zhao et al. 2017), power 1 BEGAN's (Berthelot et al. 2017). Raises ``ValueError`` for others.
    """

    def __init__(self, autoencoder, power=1):
        super().__init__()
        if power not in (1, 2):
            raise ValueError(f"Reconstruction: power must be 1 or 2, got {power}")
        self.autoencoder, self.power = autoencoder, power

    def forward(self, x):
        """(n, …) → (n, 1)."""
        error = x - self.autoencoder(x)
        error = abs(error) if self.power == 1 else square(error)
        return reshape(mean(error, axis=tuple(range(1, x.ndim))), x.shape[0], 1)


def mlp_autoencoder(features, width=128, code=2, name=None):
    """Points (n, features) → code (n, code) → points, a hidden layer on either side. The code is layer ``encoder``."""
    encoder = Sequential(Dense(features, width), LeakyReLU(), Dense(width, code))
    decoder = Sequential(LeakyReLU(), Dense(code, width), LeakyReLU(), Dense(width, features))
    return Sequential(encoder=encoder, decoder=decoder, name=name)


def dcgan_autoencoder(channels=64, code=64, seed=0):
    """Images (n, 28, 28, 1) → code (n, code) → images in (−1, 1), with the convolutions of the DCGAN's networks.

    No batch norm, since an energy is of one sample; hence He's initial weights, with which the signal comes through.
    The code is layer ``encoder``.
    """
    wide = 2 * channels
    encoder = Sequential(
        Conv(1, channels, 4, stride=2, padding=1),  # 28 → 14
        LeakyReLU(0.2),
        Conv(channels, wide, 4, stride=2, padding=1),  # 14 → 7
        LeakyReLU(0.2),
        Flatten(),
        Dense(7 * 7 * wide, code),
    )
    decoder = Sequential(
        Dense(code, 7 * 7 * wide),
        Reshape(7, 7, wide),
        LeakyReLU(0.2),
        ConvTranspose(wide, channels, 4, stride=2, padding=1),  # 7 → 14
        LeakyReLU(0.2),
        ConvTranspose(channels, 1, 4, stride=2, padding=1),  # 14 → 28
        Tanh(),
    )
    return initialize(Sequential(encoder=encoder, decoder=decoder, name="D"), he, seed)
