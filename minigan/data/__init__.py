"""Data for GANs: toy distributions, MNIST, and batches that depend on nothing but the step number.

    ring, grid, swiss_roll, gaussian_mixture_1d    points in one and two dimensions
    ring_modes, grid_modes                         the centres of two of them
    mnist                                          Images(images, labels): built in, from a folder, downloaded
    stacked_mnist                                  three digits in one colour image: 1,000 modes to count
    Batches                                        shuffled minibatches: batches.at(step)

Images are float32 (n, height, width, channels) in [-1, 1]; points are float32 (n, d). All arrays are NumPy's,
on the host.
"""

from minigan.data.batches import Batches
from minigan.data.idx import DataError, MissingDataError
from minigan.data.mnist import Images, mnist
from minigan.data.stacked import stacked_mnist
from minigan.data.toy import gaussian_mixture_1d, grid, grid_modes, ring, ring_modes, swiss_roll

__all__ = [
    "Batches",
    "DataError",
    "Images",
    "MissingDataError",
    "gaussian_mixture_1d",
    "grid",
    "grid_modes",
    "mnist",
    "ring",
    "ring_modes",
    "stacked_mnist",
    "swiss_roll",
]
