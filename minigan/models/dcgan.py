"""DCGAN for 28 × 28 images (Radford, Metz & Chintala 2016), the networks of the README's main example.

A generator is a dense layer and then ``depth`` transposed convolutions of stride 2, each of which doubles the size; a
discriminator is as many convolutions the other way. With convolutions k × k and padding p = ⌊(k − 1)/2⌋ the sizes are

    s₀ = 28,  sᵢ₊₁ = ⌊(sᵢ + 2p − k)/2⌋ + 1:        28, 14, 7, 3 for k = 4;  28, 14, 7, 4, 2 for k = 5
"""

from ..nn import BatchNorm, Conv, ConvTranspose, Dense, Flatten, LeakyReLU, ReLU, Reshape, Sequential, Tanh
from ..nn.init import dcgan, initialize


def dcgan_generator(latent_dim=100, channels=64, seed=0, image_channels=1, depth=2, kernel_size=4):
    """z (n, latent_dim) → images (n, 28, 28, image_channels) in (−1, 1).

    Dense to 7 × 7 × 2·channels, then two transposed convolutions 4 × 4, stride 2, each doubling the size; batch norm
    and ReLU between, tanh at the end. A layer before batch norm has no bias: the normalisation would remove it. With
    another ``depth`` or ``kernel_size`` it is s × s × channels·2^(depth − 1) after the dense layer, s the last size
    above, and each transposed convolution halves the channels.

    Raises ``ValueError`` for a depth or kernel size below 1, and where no pixel would be left.
    """
    sizes, p = _sizes(depth, kernel_size)
    widths = [image_channels] + [channels * 2**i for i in range(depth)]
    layers = [Dense(latent_dim, sizes[-1] ** 2 * widths[-1], bias=False), Reshape(sizes[-1], sizes[-1], widths[-1])]
    for i in reversed(range(depth)):
        left = sizes[i] - (2 * (sizes[i + 1] - 1) - 2 * p + kernel_size)  # what the convolution the other way drops
        up = ConvTranspose(widths[i + 1], widths[i], kernel_size, 2, p, output_padding=left, bias=i == 0)
        layers += [BatchNorm(widths[i + 1]), ReLU(), up]
    return initialize(Sequential(*layers, Tanh(), name="G"), dcgan, seed)


def dcgan_discriminator(channels=64, batch_norm=True, seed=0, image_channels=1, depth=2, kernel_size=4):
    """Images (n, 28, 28, image_channels) → logits (n, 1): two 4 × 4 convolutions of stride 2, LeakyReLU 0.2, and a
    dense layer.

    Batch norm after the second convolution, not after the first (§ 3 of the paper). ``batch_norm=False`` makes a critic
    for per-sample gradient penalties, where samples must not be coupled. Of ``depth`` convolutions ``kernel_size`` ×
    ``kernel_size`` each has twice the channels of the one before, and batch norm follows all but the first.

    Raises ``ValueError`` for a depth or kernel size below 1, and where no pixel would be left.
    """
    sizes, p = _sizes(depth, kernel_size)
    widths = [image_channels] + [channels * 2**i for i in range(depth)]
    layers = []
    for i in range(depth):
        normed = batch_norm and i > 0
        layers += [Conv(widths[i], widths[i + 1], kernel_size, stride=2, padding=p, bias=not normed)]
        layers += [BatchNorm(widths[i + 1])] if normed else []
        layers += [LeakyReLU(0.2)]
    net = Sequential(*layers, Flatten(), Dense(sizes[-1] ** 2 * widths[-1], 1), name="D")
    return initialize(net, dcgan, seed)


def _sizes(depth, kernel_size):
    """([28, …, the size after the last convolution], padding)."""
    for name, value in (("depth", depth), ("kernel_size", kernel_size)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}: expected a whole number from 1 on, got {value!r}")
    sizes, p = [28], (kernel_size - 1) // 2
    for _ in range(depth):
        sizes.append((sizes[-1] + 2 * p - kernel_size) // 2 + 1)
        if sizes[-1] < 1:
            raise ValueError(f"depth: convolutions {kernel_size} × {kernel_size} leave no pixel of 28 after {depth}")
    return sizes, p
