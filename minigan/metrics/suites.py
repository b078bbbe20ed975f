"""Which metrics to take of what: the usual ones of points, and of digits, for `table`."""

import reprlib

from .frechet import frechet_distance
from .kernels import kernel_distance, mmd
from .manifolds import density_coverage, precision_recall
from .mnist import features, through_classifier
from .modes import mode_coverage
from .score import inception_score
from .sliced import sliced_wasserstein
from .two_sample import c2st

MANY = 100  # points: with fewer, a share of them says little


def point_metrics(real, fake, modes=None, floor="halves", seed=0):
    """Of points ``real`` (n, d) and ``fake`` (m, d), few numbers each: a list of `MetricResult`.

    modes: (centres, std) of the mixture that the data are, if they are one, for `mode_coverage`. Always
    `sliced_wasserstein` and `mmd`; with 100 points and more of either kind also `precision_recall` and
    `density_coverage`. floor: "halves" of ``real``, or further real points, better if there are any. Raises
    ``ValueError`` as these do.
    """
    if modes is not None and (not isinstance(modes, tuple | list) or len(modes) != 2):
        raise ValueError(f"modes: expected (centres, std), got {reprlib.repr(modes)}")
    results = [] if modes is None else [mode_coverage(fake, *modes)]
    results += [sliced_wasserstein(real, fake, floor=floor, seed=seed), mmd(real, fake, seed=seed)]
    return results + _manifolds(real, fake, seed, floor)


def mnist_metrics(real, fake, floor="halves", seed=0):
    """Of images of digits ``real`` and ``fake``, (n, 28, 28, 1) in [−1, 1] each: a list of `MetricResult`.

    Through the features of `mnist_classifier`: `mnist_frechet_distance` and `c2st`; with 100 images and more of either
    kind also `kernel_distance`, on subsets of 1,000, or of half of the images if they are fewer than 2,000,
    `inception_score` of the logits, its floor the score of as many of ``real`` if there are as many, `precision_recall`
    and `density_coverage`. floor: "halves" of ``real``, or further real images, better if there are any. Raises
    ``ValueError`` and warns as these do.
    """
    x, y = features("real", real), features("fake", fake)
    further = floor if floor is None or isinstance(floor, str) else features("floor", floor).features
    few = min(len(real), len(fake))
    distance = through_classifier(frechet_distance(x.features, y.features, further, seed), "mnist_frechet_distance")
    results = []
    if few >= MANY:
        results.append(kernel_distance(x.features, y.features, subset_size=min(1000, few // 2), seed=seed))
        results.append(inception_score(y.logits, real_logits=x.logits if len(real) >= len(fake) else None))
    results += _manifolds(x.features, y.features, seed, further) + [c2st(x.features, y.features, seed=seed)]
    return [distance, *map(through_classifier, results)]


def _manifolds(real, fake, seed, floor):
    if min(len(real), len(fake)) < MANY:
        return []
    return [precision_recall(real, fake, floor=floor, seed=seed), density_coverage(real, fake)]
