"""Mode coverage: which modes of a known mixture a generator found, how evenly, and how sharp its samples are.

The data are K round Gaussians of equal weight with known centres μₖ and known standard deviation σ per axis, such as
`minigan.data.ring` and `grid`. Each sample x belongs to the mode nearest to it, k(x) = argminₖ ‖x − μₖ‖, and is

    of high quality   if ‖x − μₖ₍ₓ₎‖ ≤ tσ;                                            t = 3
    mode k captured   if at least one sample of high quality belongs to it;
    reverse KL        = KL(p̂ ‖ uniform) = Σₖ p̂ₖ log(K p̂ₖ) = (1/K) Σₖ f(K p̂ₖ),        f(u) = u log u − u + 1,

in nats, p̂ₖ being the share of the samples that belong to mode k (the second form has no negative terms). A generator
that dropped all but m modes and serves those evenly scores log(K/m).

A perfect sampler of n points gets, if the modes are well separated (2tσ and more apart),

    high quality      h = P(χ_d ≤ t) = P(d/2, t²/2), the regularised incomplete gamma function;
                      for d = 2: 1 − exp(−t²/2), which is 98.889 % for t = 3
    modes captured    K (1 − (1 − h/K)ⁿ) on average
    reverse KL        E f(Kc/n), c ~ Binomial(n, 1/K); this is (K − 1) / 2n up to O(K²/n²), as 2n·KL is then
                      nearly χ² with K − 1 degrees of freedom, so its standard deviation is √((K − 1) / 2) / n

Protocol: VEEGAN (Srivastava, Valkov, Russell, Gutmann, Sutton 2017: modes and high quality) and PacGAN (Lin, Khetan,
Fanti, Oh 2018: reverse KL too), with 2500 samples and t = 3; t = 10 in VEEGAN's 1200 dimensions.
"""

import math

import numpy as np

from ..backend.checks import points, positive, same_dimension
from .neighbours import BLOCK
from .result import MetricResult


def mode_coverage(samples, centres, std, threshold=3.0, only_high_quality=False):
    """How many of the modes at ``centres`` the ``samples`` cover: the protocol of VEEGAN and PacGAN.

    ``samples`` (n, d) and ``centres`` (K, d), all different, are arrays of NumPy or CuPy; ``std`` > 0 is the standard
    deviation of a mode along each axis, in their units; a sample within ``threshold`` > 0 times ``std`` (Euclidean
    distance) of the nearest centre is of high quality. The distances are never all in memory at once.

    The reverse KL is that of *all* samples, each counted for the nearest centre, however far away: PacGAN's definition.
    ``only_high_quality=True`` leaves the others out, as PacGAN's published code does; NaN if none is left.

    Returns a `MetricResult`: its value is the number of captured modes, its floor what a perfect sampler captures on
    average, and its ``details`` are

        modes                the value, as an int
        high_quality         share of high-quality samples, in [0, 1]
        reverse_kl           in nats: 0 if all modes are served evenly, log K if one has everything
        visited              centres to which at least a tenth of their fair share n/K of the samples is nearest
        counts               samples nearest to each centre (K of them, adding up to n)
        high_quality_counts  those of high quality among them
        perfect              {modes, high_quality, reverse_kl}: what a perfect sampler of n points gets on average,
                             the modes being 2 · threshold · std and more apart

    Raises ``ValueError`` naming the argument: no points, different dimensions, NaN or infinity, equal centres,
    ``std`` or ``threshold`` not positive.
    """
    samples, centres = points("samples", samples, None), points("centres", centres)
    n, (k, d) = len(samples), centres.shape
    same_dimension(samples, centres, ("samples", "centres"))
    if len(np.unique(centres, axis=0)) < k:
        raise ValueError(f"centres: expected {k} different points, got some more than once")
    std, threshold = positive("std", std), positive("threshold", threshold)

    counts, good = _histograms(samples, centres.astype(np.float64), threshold * std)
    details = {
        "modes": int((good > 0).sum()),
        "high_quality": int(good.sum()) / n,
        "reverse_kl": reverse_kl(good if only_high_quality else counts),
        "visited": int((counts * len(counts) >= 0.1 * n).sum()),
        "counts": tuple(counts.tolist()),
        "high_quality_counts": tuple(good.tolist()),
        "perfect": _perfect(n, k, d, threshold, only_high_quality),
    }
    return MetricResult(
        "mode_coverage",
        value=details["modes"],
        n=n,
        floor=details["perfect"]["modes"],
        settings={"std": std, "threshold": threshold, "only_high_quality": bool(only_high_quality)},
        details=details,
        summary=_summary(n, k, threshold, only_high_quality, details),
    )


def _histograms(samples, centres, radius):
    """Per centre, how many samples are nearest to it, and how many of those lie within ``radius``: two int64 (K,).

    Ties go to the first centre. The distances are direct differences: ‖x‖² − 2x·μ + ‖μ‖² would lose the small ones.
    """
    from scipy.spatial.distance import cdist

    n, (k, d) = len(samples), centres.shape
    rows = max(1, BLOCK // (8 * (k + d)))
    counts, good = np.zeros(k, np.int64), np.zeros(k, np.int64)
    for first in range(0, n, rows):
        distance = cdist(samples[first : first + rows].astype(np.float64), centres)
        nearest = distance.argmin(axis=1)
        close = distance[np.arange(len(nearest)), nearest] <= radius
        counts += np.bincount(nearest, minlength=k)
        good += np.bincount(nearest[close], minlength=k)
    return counts, good


def reverse_kl(counts):
    """KL(counts / Σ counts ‖ uniform) in nats; NaN of no counts at all."""
    total = counts.sum()
    # Clipped: f rounds to −1e-16 near its minimum.
    return max(0.0, float(np.mean(_f(len(counts) * counts / total)))) if total else math.nan


def _f(u):
    """u log u − u + 1: convex, not negative, 0 at u = 1 alone, and 1 at u = 0."""
    return u * np.log(np.where(u > 0, u, 1)) - u + 1


def _perfect(n, k, d, threshold, only_high_quality):
    """What a perfect sampler of ``n`` points gets on average from ``k`` well separated modes in ``d`` dimensions."""
    from scipy.special import gammainc

    h = float(gammainc(d / 2, threshold**2 / 2))
    counted = max(1, round(n * h)) if only_high_quality else n
    return {
        "modes": k * (1 - (1 - h / k) ** n),
        "high_quality": h,
        "reverse_kl": expected_reverse_kl(counted, k),
    }


def expected_reverse_kl(n, k):
    """E f(Kc/n), c ~ Binomial(n, 1/K): the reverse KL of n points thrown at random into K equal modes."""
    from scipy.special import gammaln, xlog1py

    reach = 12 * math.sqrt(n / k) + 40  # beyond it lies less than 1e-20 of the probability
    c = np.arange(max(0, int(n / k - reach)), min(n, int(n / k + reach)) + 1)
    log_ways = gammaln(n + 1) - gammaln(c + 1) - gammaln(n - c + 1)
    probability = np.exp(log_ways - c * math.log(k) + xlog1py(n - c, -1 / k))
    return float(probability @ _f(k * c / n))


def _summary(n, k, threshold, only_high_quality, found):
    perfect, whose = found["perfect"], " of high-quality samples" if only_high_quality else ""
    return (
        f"mode_coverage: {found['modes']} of {k} modes, "
        f"high quality {100 * found['high_quality']:.1f} % (perfect {100 * perfect['high_quality']:.1f} %), "
        f"reverse KL{whose} {found['reverse_kl']:.2g} (perfect {perfect['reverse_kl']:.2g}), "
        f"n={n}, threshold {threshold:g}σ"
    )
