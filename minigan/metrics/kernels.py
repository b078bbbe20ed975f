"""Kernel distances: the maximum mean discrepancy (MMD) of two samples, and KID, which is one of them.

    MMD² = E k(x, x′) + E k(y, y′) − 2 E k(x, y)            (Gretton, Borgwardt, Rasch, Schölkopf, Smola 2012, lemma 6)

is 0 only for equal distributions if the kernel is characteristic, like the Gaussian one. Estimated without the pairs
of a point with itself it is unbiased (eq. 3), and may be negative; with them it is the squared distance of two points
of the kernel's space (eq. 5), never negative, and too large by (1/n + 1/m) (E k(x, x) − E k(x, x′)) for equal
distributions. KID (Bińkowski, Sutherland, Arbel, Gretton 2018, § 4) is the unbiased one with

    k(x, y) = (x·y/d + 1)³,        d the number of features,

as a mean over random subsets. In contrast to the Fréchet distance it does not depend on n, on average.
"""

import math

import numpy as np

from ..backend.checks import integer, positive, two_samples
from ..backend.random import stream
from .neighbours import BLOCK, blocks, pair_distances
from .result import MetricResult

KERNELS = ("rbf", "cubic")
MOST_PAIRS = 1000  # of points of either kind, for the median distance


def kernel_distance(real, fake, subsets=100, subset_size=1000, seed=0):
    """Kernel distance (KID, where the features are Inception's) of ``real`` (n, …) and ``fake`` (m, …).

    Conventions of torch-fidelity and clean-fid: cubic kernel, γ = 1/d, coefficient 1; unbiased; the mean over
    ``subsets`` random subsets of ``subset_size`` points of either set, drawn without replacement within a subset;
    float64, on the host. (MMD-GAN's code takes 50 subsets.) Bińkowski et al. 2018, § 4.

    Returns a `MetricResult`: ``spread`` is the standard deviation over the subsets (ddof 0), not the mean's error, None
    where all subsets are the same; the floor is 0, the expectation for equal distributions, and values below it are no
    mistake. Raises ``ValueError`` naming the argument: also where a set has fewer than ``subset_size`` points.
    """
    real, fake = two_samples(real, fake)
    size, subsets = integer("subset_size", subset_size, 2), integer("subsets", subsets, 1)
    for name, x in (("real", real), ("fake", fake)):
        if len(x) < size:
            some = min(len(real), len(fake)) // 2
            way_out = f"pass {some}, say" if some > 1 else "it takes at least 2 of each"
            raise ValueError(f"{name}: {len(x)} points are fewer than subset_size={size}; {way_out}")
    values = np.empty(subsets)
    for i in range(subsets):
        rng = stream(seed, "subsets", i)
        values[i] = _cubic_mmd(*(z[rng.choice(len(z), size, replace=False)] for z in (real, fake)))
    _finite(values)
    return MetricResult(
        "kernel_distance",
        value=values.mean(),
        n=len(fake),
        spread=values.std() if subsets > 1 and size < max(len(real), len(fake)) else None,
        floor=0.0,
        settings={"n_real": len(real), "kernel": "(x·y/d + 1)³", "subsets": subsets, "subset_size": size},
    )


def mmd(real, fake, kernel="rbf", bandwidth="median", biased=False, permutations=200, seed=0):
    """MMD² = E k(x, x′) + E k(y, y′) − 2 E k(x, y) of ``real`` (n, …) and ``fake`` (m, …), on all pairs, with a
    permutation test: squared, not its root (Gretton et al. 2012, eqs. 3 and 5, § 5.4).

    kernel: "rbf", exp(−‖x − y‖² / 2σ²), with σ = ``bandwidth`` in the data's units, or "median": the median distance of
    two different points of both samples together (at most 1,000 of each, drawn by ``seed``); or "cubic", KID's.
    biased: with the pairs of a point with itself, never negative. n and m are at least 2. Float64, on the host, never
    more than a block of kernel values in memory.

    Returns a `MetricResult`: ``spread`` is the standard error (of the projection of first order: too small where the
    distributions are equal); the floor is 0, or for the biased estimate its mean for equal distributions. ``details``:

        p_value    how often a random division of all points scores as much, of ``permutations`` + 1; None for 0
        null_std   the standard deviation of these scores

    Raises ``ValueError`` naming the argument; also if the median distance is 0.
    """
    real, fake = two_samples(real, fake)
    n, m, permutations = len(real), len(fake), integer("permutations", permutations, 0)
    if min(n, m) < 2:
        raise ValueError(f"real and fake: expected at least 2 points of each, got {n} and {m}")
    if kernel not in KERNELS:
        raise ValueError(f"kernel: expected one of {KERNELS}, got {kernel!r}")
    settings = {"n_real": n, "kernel": kernel}
    if kernel == "rbf":
        settings["bandwidth"] = bandwidth = _bandwidth(bandwidth, real, fake, seed)
    both = np.concatenate([real, fake])
    first = np.zeros((n + m, permutations + 1))  # column 0: which points are real; the others: random divisions
    first[:n, 0] = 1
    rng = stream(seed, "permutations")
    for column in range(1, permutations + 1):
        first[rng.permutation(n + m)[:n], column] = 1
    with np.errstate(over="ignore", invalid="ignore"):  # _finite says it
        total, with_first, diagonal = _sums(both, first, kernel, bandwidth)
        scores = _statistic(first, total, with_first, diagonal, n, m, biased)
    _finite(scores)
    ties = 1e-12 * np.abs(total).sum() / (n + m) ** 2  # what rounding makes of equal scores
    # What the pairs within one sample exceed those between samples by, on average over all divisions.
    excess = (diagonal.mean() - (total.sum() - diagonal.sum()) / ((n + m) * (n + m - 1))) * (1 / n + 1 / m)
    return MetricResult(
        "mmd",
        value=scores[0],
        n=m,
        spread=_standard_error(total, with_first[:, 0], diagonal, n, m),
        floor=excess if biased else 0.0,
        settings={**settings, "biased": bool(biased), "squared": True, "permutations": permutations},
        details={
            "p_value": float((scores >= scores[0] - ties).mean()) if permutations else None,
            "null_std": float(scores[1:].std()) if permutations else None,
        },
    )


def _cubic_mmd(x, y):
    """The unbiased MMD² of x and y, (size, d) each, with the cubic kernel."""
    size = len(x)
    with np.errstate(over="ignore", invalid="ignore"):
        xx, yy, xy = (sum(k.sum() for _, k in _cubic_blocks(a, b)) for a, b in ((x, x), (y, y), (x, y)))
        own = _cubic_diagonal(x).sum() + _cubic_diagonal(y).sum()
        return (xx + yy - own) / (size * (size - 1)) - 2 * xy / size**2


def _finite(values):
    if not np.isfinite(values).all():
        raise ValueError("real and fake: their kernel overflows; scale them down")


def _cubic(x, y):
    base = x @ y.T
    base /= x.shape[1]
    base += 1
    cube = base * base  # base**3 takes ten times as long
    cube *= base
    return cube


def _bandwidth(bandwidth, real, fake, seed):
    if not (isinstance(bandwidth, str) and bandwidth == "median"):
        return positive("bandwidth", bandwidth)
    rng = stream(seed, "bandwidth")
    some = np.concatenate([x[np.sort(rng.permutation(len(x))[:MOST_PAIRS])] for x in (real, fake)])
    i, j = np.triu_indices(len(some), 1)
    with np.errstate(over="ignore", invalid="ignore"):
        squared, errors = (np.concatenate(a) for a in zip(*((d, e) for _, d, e in blocks(some, some))))
        median = float(np.median(np.sqrt(np.maximum(squared[i, j], 0))))
        if not np.median(errors[i, j]) <= 1e-9 * median**2:
            median = float(np.median(np.sqrt(pair_distances(some, i, some, j))))
    if not 0 < median < math.inf:
        raise ValueError(f"bandwidth: the median distance of two points is {median:g}; pass a number > 0")
    return median


def _sums(x, weights, kernel, bandwidth):
    """K1 (N,), K weights (N, columns) and the diagonal of K (N,), K being the kernel of all pairs of x (N, d)."""
    total, weighted = np.empty(len(x)), np.empty(weights.shape)
    for rows, values in _cubic_blocks(x, x) if kernel == "cubic" else _rbf_blocks(x, bandwidth):
        total[rows], weighted[rows] = values.sum(axis=1), values @ weights
    diagonal = _cubic_diagonal(x) if kernel == "cubic" else np.ones(len(x))
    return total, weighted, diagonal


def _cubic_blocks(x, y):
    size = max(1, BLOCK // (8 * len(y)))
    for first in range(0, len(x), size):
        rows = slice(first, first + size)
        yield rows, _cubic(x[rows], y)


def _cubic_diagonal(x):
    return (np.square(x).sum(axis=1) / x.shape[1] + 1) ** 3


def _rbf_blocks(x, bandwidth):
    for rows, distance, error in blocks(x, x):
        unsure = (error > 1e-9 * bandwidth**2) & (distance - error < 2000 * bandwidth**2)  # beyond: exp(−1000) = 0
        i, j = np.nonzero(unsure)
        distance[i, j] = pair_distances(x, i + rows.start, x, j)
        np.maximum(distance, 0, out=distance)
        distance *= -0.5 / bandwidth**2
        yield rows, np.exp(distance, out=distance)


def _statistic(first, total, with_first, diagonal, n, m, biased):
    """MMD² of each division of the points: with 1 and 0 in a column a of ``first``, Σ k(x, x′) is aᵀKa, and so on."""
    xx = (first * with_first).sum(axis=0)
    xy = first.T @ total - xx
    yy = total.sum() - xx - 2 * xy
    if biased:
        return np.maximum(xx / n**2 + yy / m**2 - 2 * xy / (n * m), 0)
    own = first.T @ diagonal
    return (xx - own) / (n * (n - 1)) + (yy - (diagonal.sum() - own)) / (m * (m - 1)) - 2 * xy / (n * m)


def _standard_error(total, with_real, diagonal, n, m):
    """Of the unbiased estimate: its derivative by the weight of each point, as a sum of independent terms."""
    with_fake = total - with_real
    of_real = (with_real[:n] - diagonal[:n]) / (n - 1) - with_fake[:n] / m
    of_fake = (with_fake[n:] - diagonal[n:]) / (m - 1) - with_real[n:] / n
    return 2 * math.sqrt(of_real.var(ddof=1) / n + of_fake.var(ddof=1) / m)
