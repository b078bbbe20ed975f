"""Divergences of histograms: Kullback-Leibler, and Jensen-Shannon with its two halves.

    KL(p ‖ q) = Σ pₖ log (pₖ / qₖ)                                       ≥ 0, infinite if q misses what p has
    JS(p, q)  = ½ KL(q ‖ m) + ½ KL(p ‖ m),    m = (p + q) / 2            in [0, log 2]
                quality       coverage

for the data's p and the generator's q (Prince 2023, Understanding Deep Learning, § 15.2.1): what a GAN's loss punishes,
at the best discriminator (Goodfellow et al. 2014, theorem 1). The first half looks where there are samples, the second
where there are data. Not that each grows with one failure only: where modes are dropped, the others have too many
samples, and of p uniform over K modes and q over half of them the quality half is 0.144, the coverage half 0.072.

Two samples' histograms differ even if their distributions do not: by about (K − 1)/8 · (1/n + 1/m) in JS for K bins.
"""

import math

import numpy as np

from ..backend.checks import real_array
from ..backend.random import stream
from .result import MetricResult

DRAWS = 200  # of pairs of histograms, for the floor


def kl(p, q, seed=0):
    """KL(p ‖ q) = Σ pₖ log(pₖ/qₖ) in nats of two histograms (K,): ``math.inf`` where p has mass and q has none.

    Arrays of integers are taken for counts of samples, others for probabilities (anything ≥ 0, divided by its sum); of
    several axes, all are bins. With counts on either side the floor is the mean over 200 pairs of histograms of as many
    samples from one distribution, that of both together (of p, q if only the other has counts), drawn by ``seed``; it
    is infinite if one of them is.

    Returns a `MetricResult`; n is the number of samples in p, or None. ``details``: ``missed``, p's mass where q has
    none. Raises ``ValueError`` naming the argument.
    """
    (p, n), (q, m) = _histograms("p", p, "q", q)
    null = _null(p, n, q, m, seed, _kl)
    return MetricResult(
        "kl",
        value=_kl(p, q),
        n=n,
        floor=None if null is None else null.mean(axis=0),
        settings={"bins": p.size},
        details={"missed": float(p[q == 0].sum())},
    )


def jensen_shannon(real, fake, seed=0):
    """½ KL(fake ‖ m) + ½ KL(real ‖ m), m = (real + fake)/2, of two histograms (K,): in nats, in [0, log 2]; the first
    half is called quality, the second coverage (Prince 2023, § 15.2.1).

    Arrays as in `kl`; so is the floor. For samples, count them first: ``numpy.histogram``, `minigan.metrics.ndb` (whose
    result has these numbers too), a classifier's ``logits.argmax(1)`` with ``numpy.bincount``.

    Returns a `MetricResult`; n is the number of samples in ``fake``, or None. ``details``: ``jensen_shannon``,
    ``quality`` = ½ KL(fake ‖ m) and ``coverage`` = ½ KL(real ‖ m), its sum. Raises ``ValueError`` naming the argument.
    """
    (p, n), (q, m) = _histograms("real", real, "fake", fake)
    null = _null(p, n, q, m, seed, halves)
    quality, coverage = (float(x) for x in halves(p, q))
    perfect = dict.fromkeys(("jensen_shannon", "quality", "coverage"))
    if null is not None:
        q0, c0 = null.mean(axis=0).tolist()
        perfect = {"jensen_shannon": q0 + c0, "quality": q0, "coverage": c0}
    return MetricResult(
        "jensen_shannon",
        value=quality + coverage,
        n=m,
        floor=perfect["jensen_shannon"],
        settings={"bins": p.size},
        details={
            "jensen_shannon": quality + coverage,
            "quality": quality,
            "coverage": coverage,
            "perfect": perfect,
        },
    )


def halves(real, fake):
    """(quality, coverage) of two probability vectors (…, K): ½ KL(fake ‖ m), ½ KL(real ‖ m)."""
    twice = real + fake  # 2m: m itself may underflow
    return 0.25 * _kl(2 * fake, twice), 0.25 * _kl(2 * real, twice)


def _kl(p, q):
    from scipy.special import kl_div

    return np.maximum(kl_div(p, q).sum(axis=-1), 0)  # Σ p log(p/q) − p + q: no term is negative but for rounding


def _histograms(name, one, other_name, other):
    """Of each: (probabilities (K,), number of samples or None if they are no counts)."""
    one, other = real_array(name, one, None), real_array(other_name, other, None)
    both = _histogram(name, one), _histogram(other_name, other)
    if one.shape != other.shape:
        raise ValueError(f"{other_name}: expected bins of shape {one.shape}, like {name}, got {other.shape}")
    return both


def _histogram(name, weights):
    if weights.ndim == 0:
        raise ValueError(f"{name}: expected a histogram (K,), got a single number")
    counts, weights = weights.dtype.kind in "iu", weights.reshape(-1).astype(np.float64)
    if (weights < 0).any():
        raise ValueError(f"{name}: expected counts or probabilities >= 0, got {weights.min():g}")
    total = weights.sum()
    if not 0 < total < math.inf:
        raise ValueError(f"{name}: expected a histogram with something in it, got the sum {total:g}")
    return weights / total, int(total) if counts else None


def _null(p, n, q, m, seed, divergence):
    """The divergence of pairs of histograms of one distribution (draws, numbers); None if both p and q are exact."""
    if n is None and m is None:
        return None
    if n is None or m is None:
        common = p if n is None else q
    else:
        common = (n * p + m * q) / (n + m)
    rng = stream(seed, "histograms")
    a = common if n is None else rng.multinomial(n, common, DRAWS) / n
    b = common if m is None else rng.multinomial(m, common, DRAWS) / m
    found = divergence(*np.broadcast_arrays(a, b))
    return np.stack(found, axis=-1) if isinstance(found, tuple) else found
