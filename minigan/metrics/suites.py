"""Which metrics to take of what: the usual ones of points, and of digits, for `table`."""

from .frechet import frechet_distance
from .kernels import kernel_distance, mmd
from .manifolds import density_coverage, precision_recall
from .mnist import mnist_features, named_after_classifier
from .modes import mode_coverage
from .score import inception_score
from .sliced import sliced_wasserstein
from .two_sample import c2st

NEAREST_K = 5


def point_metrics(real, fake, modes=None, seed=0):
    """Of points ``real`` (n, d) and ``fake`` (m, d), few numbers each: a list of `MetricResult`.

    modes: (centres, std) of the mixture that the data are, if they are one, for `mode_coverage`. Always
    `sliced_wasserstein` and `mmd`; with more than five points of either kind also `precision_recall` and
    `density_coverage`. Raises ``ValueError`` as these do.
    """
    results = [] if modes is None else [mode_coverage(fake, *modes)]
    results += [sliced_wasserstein(real, fake, seed=seed), mmd(real, fake, seed=seed)]
    return results + _manifolds(real, fake, seed)


def mnist_metrics(real, fake, seed=0):
    """Of images of digits ``real`` and ``fake``, (n, 28, 28, 1) in [−1, 1] each: a list of `MetricResult`.

    Through the features of `mnist_classifier`: `mnist_frechet_distance` and `c2st`; with enough images, that is with
    1,000 of either kind, `kernel_distance`, with 10 `inception_score` of the logits, its floor the score of ``real``,
    and with 6 `precision_recall` and `density_coverage`. Raises ``ValueError`` and warns as these do.
    """
    x, y = mnist_features(real), mnist_features(fake)
    results = [named_after_classifier(frechet_distance(x.features, y.features, seed=seed))]
    if min(len(real), len(fake)) >= 1000:
        results.append(kernel_distance(x.features, y.features, seed=seed))
    if min(len(real), len(fake)) >= 10:
        results.append(inception_score(y.logits, real_logits=x.logits))
    return results + _manifolds(x.features, y.features, seed) + [c2st(x.features, y.features, seed=seed)]


def _manifolds(real, fake, seed):
    if min(len(real), len(fake)) <= NEAREST_K:
        return []
    return [precision_recall(real, fake, NEAREST_K, seed=seed), density_coverage(real, fake, NEAREST_K)]
