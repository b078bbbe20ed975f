"""NDB: the number of statistically different bins.

The real samples are divided into K bins by k-means; a sample of either kind belongs to the bin whose centre is nearest.
With shares p and q of n real and m generated samples, a bin is different if

    |p − q| / √( s (1 − s) (1/n + 1/m) ) > z,      s = (n p + m q) / (n + m),      z = Φ⁻¹(1 − α/2),

the two-proportion test at level α (Richardson & Weiss 2018, § 3). A perfect sampler has about α K different bins, by
chance, and fewer where the bins were made of the same real samples, since they fit these. A bin that is too empty is a
dropped mode, and its centre shows which.
"""

import warnings

import numpy as np

from ..backend.checks import integer, points, same_dimension
from ..backend.random import stream
from .divergences import DRAWS, halves
from .neighbours import nearest, squared_distances
from .result import MetricResult, pair_of_real


class Bins:
    """A division of space into the neighbourhoods of ``bins`` centres, found by k-means on samples (n, …).

    ``centres`` (K, d), float64; ``counts(samples)``: int64 (K,); ``samples``: what they were made of. k-means starts
    from k-means++ and is SciPy's. Raises ``ValueError`` where there are fewer different samples than bins.
    """

    def __init__(self, samples, bins=100, seed=0, name="samples"):
        from scipy.cluster.vq import kmeans2

        samples, bins = points(name, samples), integer("bins", bins, 1)
        self.samples = samples
        different = len(np.unique(samples, axis=0))
        if different < bins:
            raise ValueError(
                f"{name}: expected at least bins={bins} different samples, got {different}; pass fewer bins"
            )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="One of the clusters is empty")  # it keeps its centre
            self.centres, _ = kmeans2(samples, _spread(samples, bins, stream(seed, "k-means")), iter=20, minit="matrix")

    def counts(self, samples, name="samples"):
        """How many samples (n, …) each bin has."""
        samples = points(name, samples)
        same_dimension(self.centres, samples, ("bins", name))
        return np.bincount(nearest(self.centres, samples, 1)[:, 0], minlength=len(self.centres))


def _spread(samples, bins, rng):
    """k-means++ (Arthur & Vassilvitskii 2007): each centre a sample drawn by its squared distance to those before."""
    chosen = [rng.integers(len(samples))]
    with np.errstate(over="ignore"):
        distance = squared_distances(samples, samples[chosen[0]])
    for _ in range(1, bins):
        if not 0 < (total := distance.sum()) < np.inf:
            raise ValueError("k-means: the samples' squared distances over- or underflow; rescale them")
        chosen.append(rng.choice(len(samples), p=distance / total))
        np.minimum(distance, squared_distances(samples, samples[chosen[-1]]), out=distance)
    return samples[chosen]


def ndb(real, fake, bins=100, alpha=0.05, floor="halves", seed=0):
    """Number of statistically different bins of ``real`` (n, …) and ``fake`` (m, …), images or features: k-means bins
    of the real ones whose share of the fake ones fails a two-proportion test (Richardson & Weiss 2018, § 3).

    bins: how many, or the `Bins` to use, made once for several generators. alpha: the level of each bin's test, in
    (0, 1). Float64, on the host. (The paper reports the number divided by that of the bins.)

    Returns a `MetricResult`: the floor is what two random halves of ``real`` score, with bins of their own; it is less
    than α · bins, as bins fit the samples that they were made of (None below 20 samples a bin, where they fit them too
    well; below 10 it warns). For `Bins` of other samples, of which none should be in ``real``, it is the mean of
    simulated samples of n and m from the proportions of both together, near α · bins. None for ``floor`` None, which
    saves the time. ``details``: ``different``, the numbers of the bins that are, ``real_shares`` and ``fake_shares``,
    tuples of K, and ``jensen_shannon``, ``quality``, ``coverage`` of these, in nats, as in `jensen_shannon`. Raises
    ``ValueError`` naming the argument; also where ``real`` has fewer different samples than bins.
    """
    if np.ndim(alpha) or not isinstance(alpha, float | int) or not 0 < alpha < 1:
        raise ValueError(f"alpha: expected a number in (0, 1), got {alpha!r}")
    real = points("real", real)
    made = bins if isinstance(bins, Bins) else Bins(real, bins, seed, "real")
    one, other = made.counts(real, "real"), made.counts(fake, "fake")
    n, m = one.sum(), other.sum()
    if min(n, m) < 10 * len(one):
        warnings.warn(
            f"ndb: {n} real and {m} generated samples in {len(one)} bins; with fewer than 10 in each, little is seen",
            stacklevel=2,
        )
    different = np.flatnonzero(_different(one, other, alpha))
    quality, coverage = (float(x) for x in halves(one / n, other / m))
    return MetricResult(
        "ndb",
        value=len(different),
        n=m,
        floor=_floor(real, made, one, other, alpha, floor, seed),
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


def _different(one, other, alpha):
    """The two-proportion test of counts (…, K): is each bin significant? No if it has nobody, or everybody."""
    from scipy.special import ndtri

    n, m = one.sum(axis=-1, keepdims=True), other.sum(axis=-1, keepdims=True)
    share = (one + other) / (n + m)
    error = np.sqrt(share * (1 - share) * (1 / n + 1 / m))
    return abs(one / n - other / m) > -ndtri(alpha / 2) * error + 1e-15


def _floor(real, made, one, other, alpha, floor, seed):
    if floor is None:
        return None
    if floor != "halves":
        raise ValueError(f'floor: expected "halves" or None, got {floor!r}')
    if np.array_equal(real, made.samples):
        return _of_halves(real, len(one), alpha, seed)
    return _by_chance(one, other, alpha, seed)


def _by_chance(one, other, alpha, seed):
    """The mean number of different bins of two samples with the same proportions, those of both together."""
    rng, both = stream(seed, "bins"), (one + other) / (one + other).sum()
    a, b = (rng.multinomial(x.sum(), both, DRAWS) for x in (one, other))
    return _different(a, b, alpha).sum(axis=-1).mean()


def _of_halves(real, bins, alpha, seed):
    """The mean number of different bins of two halves of the data, either of which makes the bins once."""
    pair = pair_of_real(real, "halves", seed)
    if pair is None or len(real) < 20 * bins or min(len(np.unique(x, axis=0)) for x in pair) < bins:
        return None
    counts = [(made.counts(a), made.counts(b)) for a, b in (pair, pair[::-1]) for made in [Bins(a, bins, seed)]]
    return np.mean([_different(a, b, alpha).sum() for a, b in counts])
