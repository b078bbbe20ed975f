"""Stacked MNIST: three digits in the three channels of a colour image, a data set with 1,000 modes to be counted.

Image i of n has the digits a, b and c in its red, green and blue channel, each an image of MNIST drawn independently
and uniformly; its mode, and its label, is the number that they spell:

    label = 100·a + 10·b + c,        0 … 999

So a generator's modes are counted by a classifier of digits that looks at each channel
(`minigan.metrics.stacked_mnist_coverage`). The modes are equally likely but for MNIST's own proportions of digits.

From Metz, Poole, Pfau & Sohl-Dickstein 2017 (Unrolled GANs), in the form of Srivastava et al. 2017 (VEEGAN) and Lin,
Khetan, Fanti & Oh 2018 (PacGAN), who take 128,000 images of the training and test images together.
"""

import numpy as np

from minigan.backend.checks import integer
from minigan.backend.random import stream
from minigan.data.mnist import SPLITS, Images, mnist

MODES = 1000


def stacked_mnist(n=25_600, split="train", source="embedded", seed=0):
    """``n`` images of three digits as ``Images(images, labels)``: float32 (n, 28, 28, 3) in [-1, 1], int64 (n,).

    split
        "train" or "test": the digits are those of MNIST's images of that split; "all": of both together.
    source
        As for ``mnist``: "embedded" (10,000 and 2,000 different digits), "full", "download" or a folder.
    seed
        int >= 0: which digits are drawn. The same seed, split and source give the same images, and the first ones of
        a larger ``n``.

    All images are in memory, n × 9.4 kB: 240 MB by default, 1.2 GB of PacGAN's 128,000.

    Raises what ``mnist`` does, and ``ValueError`` for another split, n < 1 or seed < 0.
    """
    n, seed = integer("n", n, 1), integer("seed", seed, 0)
    if split not in (*SPLITS, "all"):
        raise ValueError(f"split: expected one of {(*SPLITS, 'all')}, got {split!r}")
    parts = [mnist(part, source) for part in (SPLITS if split == "all" else (split,))]
    digits, labels = (np.concatenate(column) for column in zip(*parts))
    chosen = stream(seed, f"stacked_mnist/{split}").integers(len(digits), size=(n, 3))
    images = np.empty((n, *digits.shape[1:3], 3), np.float32)
    for channel in range(3):  # one at a time: what is drawn takes no more memory than a third of the result
        images[..., channel] = digits[chosen[:, channel], ..., 0]
    return Images(images, labels[chosen] @ np.array([100, 10, 1]))
