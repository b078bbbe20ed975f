"""Fréchet distance: how far apart two sets of features are, if each were a Gaussian.

    F = ‖μ₁ − μ₂‖² + tr Σ₁ + tr Σ₂ − 2 tr (Σ₁^½ Σ₂ Σ₁^½)^½            (Dowson & Landau 1982, eq. 4)

is the squared 2-Wasserstein distance of N(μ₁, Σ₁) and N(μ₂, Σ₂). On Inception's features it is the FID (Heusel et al.
2017, eq. 6); here any features will do, and the name says so.

The last trace. With factors Σᵢ = LᵢLᵢᵀ from symmetric eigendecompositions, Σ₁^½ Σ₂ Σ₁^½ has the eigenvalues of
(L₁ᵀL₂)(L₁ᵀL₂)ᵀ, so the trace of its root is the sum of the singular values of L₁ᵀL₂. Nothing here can be complex, and
singular values keep the digits of which the root of a small eigenvalue loses half. (The square root of the product
Σ₁Σ₂, which others take, is complex or not a number as soon as that product is singular.)

The floor. Two samples of one distribution do not score 0: to second order in the sampling errors, for Gaussians with
eigenvalues λ of Σ,

    E F ≈ (1/n + 1/m) (tr Σ + ½ Σᵢⱼ λᵢλⱼ/(λᵢ + λⱼ) + ¼ tr Σ),            as d²(Σ, Σ + H) ≈ ½ Σᵢⱼ Hᵢⱼ²/(λᵢ + λⱼ)

so it falls like 1/n, and two halves of real data tell it for any n. Never compare distances of different n.
"""

import warnings

import numpy as np

from ..backend.checks import integer, points, real_array
from ..backend.random import stream
from .result import MetricResult, pair_of_real

BLOCK = 2**25  # bytes of float64 features at a time


class FrechetStatistics:
    """Number, mean and covariance of features, collected in pieces and merged: all that `frechet_distance` looks at.

    ``FrechetStatistics(a)`` of features a (n, …), ``.update(b)`` adds b, ``s + t`` merges; in any order, to rounding.
    ``numpy.savez(file, n=s.n, mean=s.mean, covariance=s.covariance)`` keeps them, `from_moments` takes them up again.
    It holds n, the mean (d,) and the scatter Σ (x − mean)(x − mean)ᵀ (d, d), float64, which is as much as n, Σx and
    Σxxᵀ; but those cancel where the mean is large (Chan, Golub, LeVeque 1979, eq. 2.1, is how to merge these).

    ``n``, ``mean``, ``covariance`` (ddof 1, (d, d)) can be read. Raises ``ValueError`` naming ``features``.
    """

    def __init__(self, features=None):
        self.n, self.mean, self.scatter = 0, 0.0, 0.0
        if features is not None:
            self.update(features)

    @classmethod
    def from_moments(cls, n, mean, covariance):
        """Statistics of ``n`` ≥ 2 samples that are known already: mean (d,), covariance (d, d) with ddof 1."""
        n, mean, covariance = integer("n", n, 2), real_array("mean", mean), _covariance("covariance", covariance)
        if mean.shape != covariance.shape[:1]:
            raise ValueError(f"mean: expected shape {covariance.shape[:1]}, like covariance, got {mean.shape}")
        return _made(n, mean.copy(), covariance * (n - 1))

    def update(self, features):
        """Add features (n, …), a block at a time. Returns itself."""
        features = points("features", features, None)
        if self.n and features.shape[1] != len(self.mean):
            raise ValueError(f"features: expected {len(self.mean)} numbers each, as before, got {features.shape[1]}")
        merged, rows = self, max(1, BLOCK // (8 * features.shape[1]))
        for first in range(0, len(features), rows):
            merged = merged + _of_block(features[first : first + rows].astype(np.float64))
        self.n, self.mean, self.scatter = merged.n, merged.mean, merged.scatter
        return self

    def __add__(self, other):
        if not isinstance(other, FrechetStatistics):
            return NotImplemented
        if self.n and other.n and len(self.mean) != len(other.mean):
            raise ValueError(f"statistics of {len(self.mean)} and of {len(other.mean)} features cannot be merged")
        if not (self.n and other.n):
            one = self if self.n else other
            return _made(one.n, one.mean, one.scatter)
        n = self.n + other.n
        with np.errstate(over="ignore", invalid="ignore"):
            apart = other.mean - self.mean
            scatter = self.scatter + other.scatter + np.outer(apart, apart) * (self.n * other.n / n)
            return _made(n, self.mean + apart * (other.n / n), scatter)

    def __radd__(self, other):  # of sum(list of statistics), which begins with 0
        return FrechetStatistics() + self if isinstance(other, int) and other == 0 else NotImplemented

    @property
    def covariance(self):
        """Σ (x − mean)(x − mean)ᵀ / (n − 1)."""
        if self.n < 2:
            raise ValueError(f"a covariance needs at least 2 samples, got {self.n}")
        return self.scatter / (self.n - 1)

    def __repr__(self):
        return f"FrechetStatistics(n={self.n}, features={len(self.mean) if self.n else 0})"


def _made(n, mean, scatter):
    if not np.isfinite(scatter).all():
        raise ValueError("features (real or fake): their squares overflow; scale them down")
    made = FrechetStatistics()
    made.n, made.mean, made.scatter = n, mean, scatter
    return made


def _of_block(x):
    with np.errstate(over="ignore", invalid="ignore"):
        mean = x.mean(axis=0)
        x -= mean
        return _made(len(x), mean, x.T @ x)


def frechet_distance(real, fake, floor="halves", seed=0):
    """‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁Σ₂)^½) of features ``real`` (n, …) and ``fake`` (m, …): arrays, or
    `FrechetStatistics` (Dowson & Landau 1982; of Inception's features, the FID of Heusel et al. 2017, eq. 6).

    Conventions of pytorch-fid: float64, covariances with ddof 1, squared. The floor is what two random halves of
    ``real`` score (on average over four divisions, as one varies by a tenth; over one with more than 512 features, as
    each then takes seconds), scaled from their sizes to n and m (it falls like 1/n); with ``floor`` an array of further
    real samples, what these score against ``real``, scaled likewise; of `FrechetStatistics`, the mean for Gaussians, to
    second order (2 % too low at n = 16 times the number of features). It is None for ``floor`` None, and where one of
    the samples is not larger than the number of features: it does not fall like 1/n there. Computed on the host.

    Returns a `MetricResult` without a spread; its ``details`` are mean and covariance, the two parts of the value.
    Warns if n or m is not larger than the number of features: the covariance then has no full rank, and the distance
    is far from 0 for equal distributions. Raises ``ValueError`` naming the argument.
    """
    raw = None if isinstance(real, FrechetStatistics) else points("real", real, None)
    p, q = _statistics("real", real), _statistics("fake", fake)
    if len(p.mean) != len(q.mean):
        raise ValueError(f"fake: expected {len(p.mean)} features, like real, got {len(q.mean)}")
    for name, s in (("real", p), ("fake", q)):
        if s.n <= len(s.mean):
            warnings.warn(
                f"frechet_distance: {name} has {s.n} samples of {len(s.mean)} features; with n <= features the "
                "covariance is singular and the distance is far too large: take more samples",
                stacklevel=2,
            )
    mean, covariance = _parts(p.mean, p.covariance, q.mean, q.covariance)
    return MetricResult(
        "frechet_distance",
        value=mean + covariance,
        n=q.n,
        floor=_floor(p, raw, floor, seed, q.n),
        settings={"n_real": p.n, "features": len(p.mean)},
        details={"mean": mean, "covariance": covariance},
    )


def gaussian_frechet_distance(mean1, covariance1, mean2, covariance2):
    """F of N(mean1, covariance1) and N(mean2, covariance2), (d,) and (d, d): a float, their squared W₂.

    Raises ``ValueError`` for wrong shapes and for covariances that are not symmetric or not positive semidefinite.
    """
    means = [real_array(name, mean) for name, mean in (("mean1", mean1), ("mean2", mean2))]
    covariances = [_covariance(name, c) for name, c in (("covariance1", covariance1), ("covariance2", covariance2))]
    d = len(covariances[0])
    if {m.shape for m in means} != {(d,)} or covariances[1].shape != (d, d):
        shapes = ", ".join(str(a.shape) for a in (*means, *covariances))
        raise ValueError(f"means and covariances: expected shapes (d,), (d,), (d, d), (d, d) of one d, got {shapes}")
    return sum(_parts(means[0], covariances[0], means[1], covariances[1]))


def _parts(mean1, covariance1, mean2, covariance2):
    """(‖μ₁ − μ₂‖², the trace of the rest), both ≥ 0."""
    product = _factor(covariance1).T @ _factor(covariance2)
    root = np.linalg.svd(product, compute_uv=False).sum()
    rest = np.trace(covariance1) + np.trace(covariance2) - 2 * root
    with np.errstate(over="ignore"):
        apart = np.sum((mean1 - mean2) ** 2)
    if not np.isfinite(apart):
        raise ValueError("real and fake: the distance of their means overflows; scale them down")
    return float(apart), max(0.0, float(rest))


def _factor(covariance):
    """L (d, rank) with LLᵀ = Σ. What rounding made of eigenvalues that are 0 is left out: its root is not small."""
    values, vectors = np.linalg.eigh(covariance)
    real = values > len(values) * np.finfo(float).eps * values[-1]
    return vectors[:, real] * np.sqrt(values[real])


def _statistics(name, features):
    if not isinstance(features, FrechetStatistics):
        features = FrechetStatistics(points(name, features, None))
    if features.n < 2:
        raise ValueError(f"{name}: expected at least 2 samples, got {features.n}")
    return features


def _floor(p, raw, floor, seed, m):
    """What a perfect sampler of m points would score against real ones: ``p``, and ``raw`` if they are an array."""
    if floor is None:
        return None
    d = len(p.mean)
    if not isinstance(floor, str):
        others = _statistics("floor", floor)
        if len(others.mean) != d:
            raise ValueError(f"floor: expected {d} features, like real, got {len(others.mean)}")
        return _scaled(p, others, p.n, m) if min(p.n, others.n, m) > d else None
    if raw is None and floor == "halves":
        return _gaussian_floor(p, m) if min(p.n, m) > d else None
    if floor == "halves" and min(p.n // 2, m) <= d:
        return None
    seeds = [stream(seed, "divisions", i).integers(2**31) for i in range(4 if d <= 512 else 1)]
    return np.mean([_scaled(*map(FrechetStatistics, pair_of_real(raw, floor, s)), p.n, m) for s in seeds])


def _scaled(a, b, n, m):
    """The distance of two real samples, at n and m."""
    return sum(_parts(a.mean, a.covariance, b.mean, b.covariance)) * (1 / n + 1 / m) / (1 / a.n + 1 / b.n)


def _gaussian_floor(p, m):
    """E F of two samples, n and m, of N(μ, Σ), to second order."""
    values = np.linalg.eigvalsh(p.covariance).clip(0)
    sums = values[:, None] + values
    pairs = np.divide(values[:, None] * values, sums, out=np.zeros_like(sums), where=sums > 0)
    return (1 / p.n + 1 / m) * (1.25 * values.sum() + 0.5 * pairs.sum())


def _covariance(name, value):
    matrix = real_array(name, value)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{name}: expected a matrix (d, d), got shape {matrix.shape}")
    size = abs(matrix).max()
    if abs(matrix - matrix.T).max() > 1e-9 * size or np.linalg.eigvalsh(matrix)[0] < -1e-9 * size * len(matrix):
        raise ValueError(f"{name}: expected a symmetric matrix without negative eigenvalues")
    return matrix
