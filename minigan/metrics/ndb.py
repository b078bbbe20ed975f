"""NDB: the number of statistically different bins.

The real samples are divided into K bins by k-means; a sample of either kind belongs to the bin whose centre is nearest.
With shares p and q of n real and m generated samples, a bin is different if

    |p − q| / √( s (1 − s) (1/n + 1/m) ) > z,      s = (n p + m q) / (n + m),      z = Φ⁻¹(1 − α/2),

the two-proportion test at level α (Richardson & Weiss 2018, § 3). A perfect sampler has about α K different bins, by
chance. A bin that is too empty is a dropped mode, and its centre shows which.
"""

import numpy as np

from ..backend.checks import integer, points, same_dimension
from ..backend.random import stream
from .divergences import DRAWS, halves
from .neighbours import nearest
from .result import MetricResult


class Bins:
    """A division of space into the neighbourhoods of ``bins`` centres, found by k-means on samples (n, …).

    ``centres`` (K, d), float64; ``counts(samples)``: int64 (K,). k-means starts from k-means++ and is SciPy's. Raises
    ``ValueError`` where there are fewer different samples than bins.
    """

    def __init__(self, samples, bins=100, seed=0, name="samples"):
        import warnings

        from scipy.cluster.vq import kmeans2

        samples, bins, self.name = points(name, samples), integer("bins", bins, 1), name
        if len(samples) < bins or (different := len(np.unique(samples, axis=0))) < bins:
            different = len(samples) if len(samples) < bins else different
            raise ValueError(
                f"{name}: expected at least bins={bins} different samples, got {different}; pass fewer bins"
            )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="One of the clusters is empty")  # it keeps its centre
            self.centres, _ = kmeans2(samples, bins, iter=20, minit="++", seed=stream(seed, "k-means"))

    def counts(self, samples, name="samples"):
        """How many samples (n, …) each bin has."""
        samples = points(name, samples)
        same_dimension(self.centres, samples, (self.name, name))
        return np.bincount(nearest(self.centres, samples, 1)[:, 0], minlength=len(self.centres))


def ndb(real, fake, bins=100, alpha=0.05, seed=0):
    """Number of statistically different bins of ``real`` (n, …) and ``fake`` (m, …), images or features.

    bins: how many, or the `Bins` to use, made once for several generators. alpha: the level of each bin's test, in
    (0, 1). Float64, on the host. (The paper reports the number divided by that of the bins.)

    Returns a `MetricResult`: the floor is the mean of two samples of n and m from the proportions of both together
    (simulated; near α · bins). ``details``: ``different``, the numbers of the bins that are, ``real_shares`` and
    ``fake_shares``, tuples of K, and ``jensen_shannon``, ``quality``, ``coverage`` of these, in nats, as in
    `jensen_shannon`. Raises ``ValueError`` naming the argument; also where ``real`` has fewer different samples than
    bins.
    """
    bins = bins if isinstance(bins, Bins) else Bins(real, bins, seed, "real")
    if not (np.ndim(alpha) == 0 and 0 < alpha < 1):
        raise ValueError(f"alpha: expected a number in (0, 1), got {alpha!r}")
    one, other = bins.counts(real, "real"), bins.counts(fake, "fake")
    n, m = one.sum(), other.sum()
    different = np.flatnonzero(_different(one, n, other, m, alpha))
    rng, both = stream(seed, "bins"), (one + other) / (n + m)
    chance = _different(rng.multinomial(n, both, DRAWS), n, rng.multinomial(m, both, DRAWS), m, alpha)
    quality, coverage = (float(x) for x in halves(one / n, other / m))
    return MetricResult(
        "ndb",
        value=len(different),
        n=m,
        floor=chance.sum(axis=1).mean(),
        settings={"n_real": int(n), "bins": len(one), "alpha": float(alpha)},
        details={
            "different": tuple(different.tolist()),
            "real_shares": tuple((one / n).tolist()),
            "fake_shares": tuple((other / m).tolist()),
            "jensen_shannon": quality + coverage,
            "quality": quality,
            "coverage": coverage,
        },
    )


def _different(one, n, other, m, alpha):
    """The two-proportion test of counts (…, K) of n and of m: is each significant? No if a bin has nobody, or all."""
    from scipy.special import ndtri

    share = (one + other) / (n + m)
    error = np.sqrt(share * (1 - share) * (1 / n + 1 / m))
    return abs(one / n - other / m) > -ndtri(alpha / 2) * error + 1e-15
