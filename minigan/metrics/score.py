"""Inception score: are the samples recognised with certainty, and are all classes among them?

    IS = exp( E_x KL( p(y|x) ‖ p(y) ) ) = exp( H(y) − H(y|x) )              (Salimans et al. 2016, § 4)

for a classifier's p(y|x), between 1 and the number of classes. It compares with no data at all: a generator that
repeats one good image of each class, or the training images, scores best.
"""

import numpy as np

from ..backend.checks import integer, points
from .result import MetricResult


def inception_score(logits, splits=10, real_logits=None):
    """exp(E_x KL(p(y|x) ‖ p(y))) of a classifier's ``logits`` (n, classes), not probabilities, for n samples, in their
    order (Salimans et al. 2016, § 4).

    Conventions of the published code: exp of the mean KL in each of ``splits`` consecutive parts [i·n//s, (i+1)·n//s),
    their mean, and their standard deviation (ddof 0) as ``spread``. A part's score has a bias downwards of about
    (classes − 1) · splits / 2n, relative. Float64, on the host. Not shuffled (torch-fidelity shuffles first).

    real_logits: those of n or more real samples; the score of the first n is the floor: what a perfect sampler gets.
    Raises ``ValueError`` naming the argument: one class only, fewer samples than splits, NaN.
    """
    logits, splits = _logits("logits", logits), integer("splits", splits, 1)
    values = _scores("logits", logits, splits)
    floor = None
    if real_logits is not None:
        real_logits = _logits("real_logits", real_logits)
        if real_logits.shape[1] != logits.shape[1]:
            raise ValueError(f"real_logits: expected {logits.shape[1]} classes, got {real_logits.shape[1]}")
        if len(real_logits) < len(logits):
            raise ValueError(f"real_logits: expected at least {len(logits)}, as many as logits, got {len(real_logits)}")
        floor = _scores("real_logits", real_logits[: len(logits)], splits).mean()
    return MetricResult(
        "inception_score",
        value=values.mean(),
        n=len(logits),
        spread=values.std() if splits > 1 else None,
        floor=floor,
        settings={"classes": logits.shape[1], "splits": splits},
    )


def _logits(name, value):
    logits = points(name, value)
    if logits.shape[1] < 2:
        raise ValueError(f"{name}: expected (n, classes) of at least 2 classes, got shape {np.shape(value)}")
    if (logits >= 0).all() and np.allclose(logits.sum(axis=1), 1, rtol=0, atol=1e-3):
        raise ValueError(f"{name}: these are probabilities; pass their logarithms, or the logits they come from")
    return logits


def _scores(name, logits, splits):
    if len(logits) < splits:
        raise ValueError(f"{name}: {len(logits)} samples are fewer than splits={splits}; pass fewer splits")
    n = len(logits)
    return np.array([_score(logits[i * n // splits : (i + 1) * n // splits]) for i in range(splits)])


def _score(logits):
    from scipy.special import log_softmax, logsumexp

    with np.errstate(over="ignore"):  # a difference of logits beyond 1e308 is a certainty
        log_p = np.maximum(log_softmax(logits, axis=1), -1e300)
    log_mean = logsumexp(log_p, axis=0) - np.log(len(log_p))
    p = np.exp(log_p)
    # Where p underflows to 0, so does p log p: 0 · (−1e5) is 0.
    return float(np.exp((p * (log_p - log_mean)).sum(axis=1).mean()))
