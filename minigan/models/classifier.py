"""A small convolutional classifier of digits, after LeNet-5 (LeCun, Bottou, Bengio & Haffner 1998)."""

from ..nn import BatchNorm, Conv, Dense, Flatten, MaxPool, ReLU, Sequential
from ..nn.init import he, initialize


def digit_classifier(channels=24, features=64, classes=10, seed=0):
    """Images (n, 28, 28, 1) in [−1, 1] → logits (n, classes).

    Two parts: ``net.features(images)`` is (n, features), no number negative, and ``net.logits`` makes (n, classes) of
    it. The features come from two 5 × 5 convolutions, each with a 2 × 2 max-pool, and a dense layer; all have batch
    norm, hence no bias, and ReLU. The pool stands before both: it commutes with ReLU, and leaves them a quarter of the
    numbers.
    """
    wide = 2 * channels
    body = Sequential(
        Conv(1, channels, 5, bias=False),  # 28 → 24
        MaxPool(2),  # 24 → 12
        BatchNorm(channels),
        ReLU(),
        Conv(channels, wide, 5, bias=False),  # 12 → 8
        MaxPool(2),  # 8 → 4
        BatchNorm(wide),
        ReLU(),
        Flatten(),
        Dense(4 * 4 * wide, features, bias=False),
        BatchNorm(features),
        ReLU(),
    )
    return initialize(Sequential(features=body, logits=Dense(features, classes), name="C"), he, seed)
