"""DCGAN for 28 × 28 images (Radford, Metz & Chintala 2016), the networks of the README's main example."""

from ..nn import BatchNorm, Conv, ConvTranspose, Dense, Flatten, LeakyReLU, ReLU, Reshape, Sequential, Tanh
from ..nn.init import dcgan, initialize


def dcgan_generator(latent_dim=100, channels=64, seed=0):
    """z (n, latent_dim) → images (n, 28, 28, 1) in (−1, 1).

    Dense to 7 × 7 × 2·channels, then two transposed convolutions 4 × 4, stride 2, each doubling the size; batch norm
    and ReLU between, tanh at the end. A layer before batch norm has no bias: the normalisation would remove it.
    """
    wide = 2 * channels
    net = Sequential(
        Dense(latent_dim, 7 * 7 * wide, bias=False),
        Reshape(7, 7, wide),
        BatchNorm(wide),
        ReLU(),
        ConvTranspose(wide, channels, 4, stride=2, padding=1, bias=False),  # 7 → 14
        BatchNorm(channels),
        ReLU(),
        ConvTranspose(channels, 1, 4, stride=2, padding=1),  # 14 → 28
        Tanh(),
        name="G",
    )
    return initialize(net, dcgan, seed)


def dcgan_discriminator(channels=64, batch_norm=True, seed=0):
    """Images (n, 28, 28, 1) → logits (n, 1): two 4 × 4 convolutions of stride 2, LeakyReLU 0.2, and a dense layer.

    Batch norm after the second convolution, not after the first (§ 3 of the paper). ``batch_norm=False`` makes a critic
    for per-sample gradient penalties, where samples must not be coupled.
    """
    wide = 2 * channels
    second = [Conv(channels, wide, 4, stride=2, padding=1, bias=not batch_norm)]  # 14 → 7
    second += [BatchNorm(wide)] if batch_norm else []
    net = Sequential(
        Conv(1, channels, 4, stride=2, padding=1),  # 28 → 14
        LeakyReLU(0.2),
        *second,
        LeakyReLU(0.2),
        Flatten(),
        Dense(7 * 7 * wide, 1),
        name="D",
    )
    return initialize(net, dcgan, seed)
