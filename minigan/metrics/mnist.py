"""Metrics for digits, seen through a classifier of MNIST that ships with minigan.

Inception-v3, through which FID looks at photographs, was trained on colour photographs of 1,000 kinds of things; for
28 × 28 digits a small network that was trained on them is both quicker and a better judge. `mnist_classifier` is one,
made by this engine (`minigan.models.digit_classifier`): its 64 features and 10 logits are what everything here sees.

    mnist_features            images → features and logits
    mnist_frechet_distance    the Fréchet distance of the features' Gaussians (Heusel et al. 2017, eq. 6, which is FID
                              when the features are Inception's)
    stacked_mnist_coverage    which of the 1,000 three-digit numbers a generator of stacked digits makes

Stacked MNIST (Metz et al. 2017): three digits, drawn at random, are the red, green and blue of one image; mode
100a + 10b + c is the three classes. With p̂ the shares of the modes among n images and K = 1000,

    modes         those with at least one image;           K (1 − (1 − 1/K)ⁿ) of a perfect sampler, on average
    reverse KL    KL(p̂ ‖ uniform) = Σₖ p̂ₖ log(K p̂ₖ), nats; about (K − 1) / 2n of a perfect sampler
"""

import functools
import hashlib
import io
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..autodiff.modes import no_grad
from ..backend import device_of, of, xp
from ..backend.checks import integer
from ..backend.threads import in_charge
from ..data import DataError, MissingDataError
from ..data.stacked import MODES
from ..models import digit_classifier
from ..nn.init import undisturbed
from .frechet import frechet_distance
from .modes import expected_reverse_kl, reverse_kl
from .result import MetricResult

WEIGHTS = Path(__file__).with_name("mnist_classifier.npz")
SHA256 = "c6e4622d0f13baaed7bdaa75b4b10bd8b15134d0914081f4c6cc5478ae123fce"
FROM_0_TO_255 = "they look like bytes: pass images / 127.5 - 1"
FROM_0_TO_1 = "they look like numbers from 0 to 1: pass 2 * images - 1"


class Features(NamedTuple):
    """What the classifier sees in n images, as NumPy arrays.

    features: float32 (n, 64), none negative
    logits: float32 (n, 10); ``logits.argmax(1)`` are the digits
    """

    features: np.ndarray
    logits: np.ndarray


def mnist_classifier(device="cpu"):
    """The classifier that ships with minigan, on ``device``, in evaluation mode, its parameters constants.

    Called with images (n, 28, 28, 1) in [−1, 1] it gives logits (n, 10); ``.features(images)`` gives (n, 64) and
    ``.logits(features)`` the logits. It is made once per process and shared: do not change it.

    The file's SHA-256 is `SHA256`. It was trained on the 60,000 training images, is right about 99.48 % of the test
    images (errs on 52 of the 10,000; "accuracy" in the file), and is made again by

        python examples/13_mnist_classifier.py --data full --steps 8000 --weights minigan/metrics/mnist_classifier.npz

    (the same bytes where BLAS and zlib are the same).

    Raises `DataError` (a ``ValueError``) if the file is damaged or missing (then also ``FileNotFoundError``), and
    `backend.DeviceNotAvailable`.
    """
    return _classifier(device)


@functools.cache  # not of the function above, for which f(), f("cpu") and f(device="cpu") are three
def _classifier(device):
    with undisturbed():
        net = digit_classifier()
    net.load_state_dict({name: a for name, a in _read().items() if name in net.state_dict()})
    net.to(device).eval()
    for p in net.parameters():
        p.requires_grad = False
    return net


def _read():
    """{name: array} of the weights' file, every byte checked."""
    try:
        content = WEIGHTS.read_bytes()
    except FileNotFoundError:
        raise MissingDataError(f"{WEIGHTS}: missing from the installation. Install minigan again.") from None
    except OSError as error:
        raise DataError(f"{WEIGHTS}: cannot be read ({error}). Install minigan again.") from error
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        what = f"{len(content)} bytes with SHA-256 {found[:8]}…, expected {SHA256[:8]}…"
        raise DataError(f"{WEIGHTS}: damaged ({what}). Install minigan again.")
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def mnist_features(images, batch=100):
    """The shipped classifier's features and logits of ``images``: `Features`, float32 (n, 64) and (n, 10), on the host.

    ``images`` (n, 28, 28, 1) in [−1, 1], −1 the background, is an array of NumPy or CuPy and is looked at where it is,
    ``batch`` images at a time, so that memory grows with the result only.

    Raises ``ValueError`` for another shape, NaN or infinity, pixels more than 0.001 outside [−1, 1], and for images
    without any pixel below 0: digits are mostly background, so these are numbers from 0 to 1.
    """
    return features("images", images, integer("batch", batch, 1))


def features(name, images, batch=100):
    """`mnist_features` of the argument ``name``."""
    _check(name, images, channels=1)
    return _look(images, batch)


def _check(name, images, channels):
    """Raise unless ``images`` is an array (n, 28, 28, channels) of real numbers in [−1, 1], some of them below 0."""
    if hasattr(images, "detach"):
        raise ValueError(f"{name}: expected an array, got a Tensor: pass its .numpy()")
    if not hasattr(images, "dtype") or images.dtype.kind not in "fiu":
        what = f"dtype {images.dtype}" if hasattr(images, "dtype") else type(images).__name__
        raise ValueError(f"{name}: expected an array of real numbers, got {what}")
    if images.ndim != 4 or images.shape[1:] != (28, 28, channels) or not len(images):
        hints = {(28, 28): ": add the channel, images[..., None]", (784,): ": pass images.reshape(-1, 28, 28, 1)"}
        hints |= {(1, 28, 28): ": channels come last, images.transpose(0, 2, 3, 1)"}
        hint = hints.get(tuple(images.shape[1:]), "") if channels == 1 else ""
        raise ValueError(f"{name}: expected shape (n, 28, 28, {channels}), n >= 1, got {tuple(images.shape)}{hint}")
    m, to_host = xp(images), of(images).to_host
    low, high = float(to_host(m.min(images))), float(to_host(m.max(images)))  # NaN if there is one
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"{name}: expected finite pixels, got NaN or infinity: the generator may have diverged")
    hint = FROM_0_TO_255 if low >= 0 and high > 2 else FROM_0_TO_1 if low >= 0 else "clip or rescale them"
    if low < -1.001 or high > 1.001 or low >= 0:
        raise ValueError(f"{name}: expected pixels in [-1, 1], -1 the background, got {low:g} … {high:g}; {hint}")


def _look(images, batch=100):
    """`mnist_features` of images that are known to be in order."""
    net, m, n = mnist_classifier(device_of(images)), xp(images), len(images)
    found = Features(np.empty((n, net.logits.in_features), np.float32), np.empty((n, 10), np.float32))
    with no_grad(), net.evaluating(), in_charge():
        for first in range(0, n, batch):
            rows = slice(first, first + batch)
            seen = net.features(m.asarray(images[rows], dtype=np.float32))
            found.features[rows], found.logits[rows] = seen.numpy(), net.logits(seen).numpy()
    return found


def mnist_frechet_distance(real, fake, floor="halves", seed=0):
    """The Fréchet distance between ``real`` and ``fake`` images (n, 28, 28, 1), seen by `mnist_classifier`.

    It is `frechet_distance` of their `mnist_features`; ``floor`` ("halves", an array of further real images, or None)
    and ``seed`` are as there. Returns its `MetricResult`, whose settings also name the ``mnist_classifier``, by the
    first 8 digits of its file's SHA-256.

    A distance is in units of the features. So this one can be compared with its floor, and with others through the same
    classifier and of as many images, but not with FID: that is the name of the distance through Inception-v3 (Heusel et
    al. 2017), and the published FIDs on MNIST are through Inception too (Lucic et al. 2018, whose GANs reach 6.7 to
    20).

    Raises ``ValueError`` naming the argument, as `mnist_features` and `frechet_distance` do.
    """
    if floor is not None and not isinstance(floor, str):
        floor = features("floor", floor).features
    result = frechet_distance(features("real", real).features, features("fake", fake).features, floor, seed)
    return through_classifier(result, "mnist_frechet_distance")


def through_classifier(result, name=None):
    """A result that comes from `mnist_features`, with the classifier in its settings, perhaps with another name."""
    return replace(result, name=name or result.name, settings=result.settings | {"mnist_classifier": SHA256[:8]})


def stacked_mnist_coverage(images):
    """How many of the 1,000 modes of stacked MNIST the ``images`` (n, 28, 28, 3) in [−1, 1] cover: PacGAN's protocol.

    Each channel is classified by `mnist_classifier`; digits a, b, c are mode 100a + 10b + c. Returns a `MetricResult`:
    its value is the number of modes with at least one image, its floor what n images of digits drawn uniformly cover
    on average, and its ``details`` are

        modes       the value, as an int
        reverse_kl  KL(the modes' shares ‖ uniform) in nats: 0 if all are served evenly, log 1000 if one has all
        counts      images in each mode (1,000 of them, adding up to n)
        perfect     {modes, reverse_kl}: what a perfect sampler of n points gets on average

    A generator that matched MNIST itself would score a little more than ``perfect``: the digits of the training set are
    not quite equally frequent, KL(frequencies ‖ uniform) = 0.00143 nats each, so three add 0.0043 (0.0236 in all for
    26,000 images, of which 0.0193 are chance). Digits that the classifier gets wrong (fewer than 1 in 100) go from one
    mode to others, which changes both numbers little if all modes are there; but where modes are missing, a few wrong
    digits among many images can seem to fill them, so ``modes`` is an upper estimate.

    Protocol: PacGAN (Lin, Khetan, Fanti, Oh 2018), 26,000 images; counts depend on n, so compare at the same n. Their
    classifier is another one, of 99.25 % accuracy.

    Raises ``ValueError`` as `mnist_features` does, for images of three channels.
    """
    _check("images", images, channels=3)
    a, b, c = (_look(images[..., i : i + 1]).logits.argmax(axis=1) for i in range(3))
    n, k = len(images), MODES
    counts = np.bincount(100 * a + 10 * b + c, minlength=k)
    perfect = {"modes": k * (1 - (1 - 1 / k) ** n), "reverse_kl": expected_reverse_kl(n, k)}
    modes = int((counts > 0).sum())
    return MetricResult(
        "stacked_mnist_coverage",
        value=modes,
        n=n,
        floor=perfect["modes"],
        settings={"mnist_classifier": SHA256[:8]},
        details={
            "modes": modes,
            "reverse_kl": reverse_kl(counts),
            "counts": tuple(counts.tolist()),
            "perfect": perfect,
        },
    )
