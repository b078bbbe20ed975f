"""Parzen-window log-likelihood: how the first GAN papers measured themselves, and why nobody should any more.

A Gaussian of width σ is put on each of m generated samples y, and real test points x are scored with the mixture:

    log p(x) = log (1/m) Σⱼ exp(−‖x − yⱼ‖² / 2σ²) − d log(σ √(2π))

(Breuleux, Bengio, Vincent 2011; Goodfellow et al. 2014, § 5), σ being chosen on validation data. Known faults (Theis,
van den Oord, Bethge 2016): even in some dozens of dimensions more samples than one can draw do not come near the true
likelihood; k-means centres of the training images score better than the training images themselves; so does a generator
that only makes blurred averages; and the ranking of models says little about either samples or likelihood. It is here
to understand old tables, and to see it fail.
"""

import math
import warnings

import numpy as np

from ..backend.checks import points, positive, same_dimension, two_samples
from ..backend.random import stream
from .neighbours import BLOCK
from .result import MetricResult, pair_of_real

SIGMAS = tuple(np.logspace(-1, 0, 10).tolist())  # of the code of 2014, for pixels in [0, 1]


def parzen_log_likelihood(real, fake, sigma=SIGMAS, validation=None, floor=None, seed=0):
    """Mean log-likelihood, in nats, of real test points ``real`` (n, …) under Parzen windows on ``fake`` (m, …), that
    is log (1/m) Σⱼ N(x; yⱼ, σ²I), as in Goodfellow et al. 2014, § 5.

    Do not judge a generator by it (Theis et al. 2016): in many dimensions it is far from the likelihood, averages of
    training images beat the images themselves, and its order of models says little.

    sigma: the windows' width, in the data's units, or several, of which the best on ``validation`` (real points that
    are in neither test nor training) is taken; without any, on a tenth of ``real``, drawn by ``seed``, that is then not
    used for the test. The default is the range of 2014, for pixels in [0, 1]: for images in [−1, 1] pass (x + 1) / 2.
    Float64, on the host, in blocks.

    Returns a `MetricResult`: ``spread`` is the standard error over the test points; the floor is what windows on at
    most m of ``floor``, further real points such as training data, score (with a σ of their own), or on one half of
    ``real`` for the other ("halves"). Scores above it are no praise. Warns if the best of three and more σ is at the
    end of the range. Raises ``ValueError`` naming the argument.
    """
    real, fake = two_samples(real, fake)
    sigmas = np.array([positive("sigma", s) for s in np.atleast_1d(np.asarray(sigma, dtype=object)).ravel()])
    if not len(sigmas):
        raise ValueError("sigma: expected at least one width")
    test, chosen_on = real, None
    if len(sigmas) > 1:
        test, chosen_on = _validation(real, validation, seed)
    best = _best(fake, chosen_on, sigmas)
    if len(np.unique(sigmas)) > 2 and best in (sigmas.min(), sigmas.max()):
        warnings.warn(
            f"parzen_log_likelihood: the best sigma is {best:g}, at the end of the range; pass a wider one as sigma=",
            stacklevel=2,
        )
    scores = _log_likelihood(test, fake, np.array([best]))[0]
    if not np.isfinite(scores).all():
        raise ValueError(f"sigma: with {best:g} the squared distances over- or underflow")
    pair, perfect = pair_of_real(test, floor, seed), None
    if pair is not None:
        on, others = pair if isinstance(floor, str) else pair[::-1]
        on = on[stream(seed, "floor").permutation(len(on))[: len(fake)]]
        perfect = _log_likelihood(others, on, np.array([_best(on, chosen_on, sigmas)])).mean()
    return MetricResult(
        "parzen_log_likelihood",
        value=scores.mean(),
        n=len(fake),
        spread=scores.std(ddof=1) / math.sqrt(len(scores)) if len(scores) > 1 else None,
        floor=perfect,
        settings={"n_real": len(test), "sigma": float(best)},
    )


def _validation(real, validation, seed):
    """(test points, validation points)."""
    if validation is not None:
        validation = points("validation", validation)
        same_dimension(real, validation, ("real", "validation"))
        return real, validation
    if len(real) < 2:
        raise ValueError("real: one point is not enough to choose sigma and to test; pass one sigma, or validation")
    order = stream(seed, "validation").permutation(len(real))
    some = max(1, len(real) // 10)
    return real[np.sort(order[some:])], real[order[:some]]


def _best(centres, validation, sigmas):
    if len(sigmas) == 1:
        return sigmas[0]
    return sigmas[np.argmax(_log_likelihood(validation, centres, sigmas).mean(axis=1))]


def _log_likelihood(x, centres, sigmas):
    """log p(x) for each width: (widths, n)."""
    from scipy.spatial.distance import cdist
    from scipy.special import logsumexp

    out, size = np.empty((len(sigmas), len(x))), max(1, BLOCK // (8 * len(centres)))
    for first in range(0, len(x), size):
        rows = slice(first, first + size)
        distance = cdist(x[rows], centres, "sqeuclidean")
        for i, sigma in enumerate(sigmas):
            out[i, rows] = logsumexp(distance / (-2 * sigma**2), axis=1)
    scale = np.log(sigmas * math.sqrt(2 * math.pi)) * x.shape[1]
    return out - math.log(len(centres)) - scale[:, None]
