"""Precision, recall, density, coverage: do the samples lie where the data are, and the data where the samples are?

Around every real point xᵢ a ball B(xᵢ) is drawn that reaches to its k-th nearest other real point; together they are
an estimate of where the data live. Around every generated point yⱼ likewise. All comparisons are strict, ‖x − y‖ < r:

    precision   share of the yⱼ that lie in any B(xᵢ)            Kynkäänniemi, Karras, Laine, Lehtinen, Aila 2019
    recall      share of the xᵢ that lie in any B(yⱼ)            eqs. 1, 2 (with ≤ and k = 3)
    density     (1 / km) Σⱼ #{i: yⱼ ∈ B(xᵢ)}                     Naeem, Oh, Uh, Choi, Yoo 2020, eqs. 5, 6
    coverage    share of the xᵢ whose B(xᵢ) holds any yⱼ         (k = 5)

Precision does not see dropped modes, recall and coverage do. One far outlier among the data makes a huge ball that
passes for precision everywhere; density counts how many balls agree, and may exceed 1.

What a perfect sampler gets does not depend on the distribution (Naeem et al. 2020), if no two distances tie: with n
real points and m samples

    E density  = 1,        E coverage = 1 − ∏ᵢ₌₁ᵏ (n − i) / (m + n − i)          0.9688 for n = m = 10,000, k = 5

since xᵢ's ball is empty exactly if its k nearest among all other n − 1 + m points are real. Precision and recall have
no such formula (they depend on the dimension); two halves of the data tell.
"""

import math
import warnings

from ..backend.checks import integer, two_samples
from .neighbours import inside_balls, kth_squared_distance
from .result import MetricResult, pair_of_real

NAMES = ("precision", "recall")


def precision_recall(real, fake, nearest_k=5, floor="halves", seed=0):
    """Improved precision and recall of features ``real`` (n, …) and ``fake`` (m, …), NumPy's or CuPy's: the share of
    the fake that lie in a ball around some real point, reaching to its k-th nearest other one, and the reverse
    (Kynkäänniemi et al. 2019, eqs. 1, 2).

    Conventions of the ``prdc`` package: Euclidean distance, the k-th neighbour without the point itself, strict
    comparisons, k = 5. (The paper and torch-fidelity: ≤ and k = 3.) Float64 on the host; never more than a block of
    distances in memory.

    Returns a `MetricResult`: ``precision`` and ``recall`` in [0, 1]; the value is their harmonic mean (F₁). ``spreads``
    are the binomial standard errors, the other set held fixed. The floors are what two random halves of ``real`` score
    (``"halves"``, with half as many points: the scores depend on n but little), or what further real samples,
    ``floor``, score against ``real``; None: none.

    Raises ``ValueError`` naming the argument: shapes, NaN, fewer than k + 1 points. Warns of points that occur more
    than k times: their balls have no radius and contain, strictly, nothing (so a generator of one image has recall 0);
    raises if all of ``real`` are such.
    """
    real, fake, k = _two(real, fake, nearest_k)
    radii = _radii("real", real, k)
    precision, recall = _precision_recall(real, radii, fake, _radii("fake", fake, k))
    pair, perfect = pair_of_real(real, floor, seed), {}
    if pair is not None and not isinstance(floor, str):
        others = pair[1]
        if len(others) <= k:
            raise ValueError(f"floor: expected at least {k + 1} points for nearest_k={k}, got {len(others)}")
        perfect = dict(zip(NAMES, _precision_recall(real, radii, others, _radii("floor", others, k))))
    elif pair is not None and min(map(len, pair)) > k:
        a, b = pair
        perfect = dict(zip(NAMES, _precision_recall(a, kth_squared_distance(a, k), b, kth_squared_distance(b, k))))
    return MetricResult(
        "precision_recall",
        value=_harmonic_mean(precision, recall),
        n=len(fake),
        floor=_harmonic_mean(*perfect.values()) if perfect else None,
        settings={"n_real": len(real), "nearest_k": k},
        details={
            "precision": precision,
            "recall": recall,
            "spreads": {"precision": _binomial(precision, len(fake)), "recall": _binomial(recall, len(real))},
            "perfect": perfect or dict.fromkeys(NAMES),
        },
    )


def density_coverage(real, fake, nearest_k=5):
    """Density and coverage of features ``real`` (n, …) and ``fake`` (m, …), NumPy's or CuPy's: how many balls around
    real points hold a fake one, divided by k, on average, and the share of these balls that hold any (Naeem et al.
    2020, eqs. 5, 6). Conventions as in `precision_recall`.

    Returns a `MetricResult`: ``density`` ≥ 0 and ``coverage`` in [0, 1]; the value is the coverage. The floors are the
    exact expectations for a perfect sampler of any distribution without ties (lattices have them). ``spreads``: the
    density's standard error, the real points held fixed. (The balls share the samples, so that a coverage's is no
    binomial one.)

    Raises and warns as `precision_recall`, but m may be 1.
    """
    real, fake, k = _two(real, fake, nearest_k, least=1)
    n, m = len(real), len(fake)
    per_ball, per_point = inside_balls(real, _radii("real", real, k), fake)
    density, coverage = float(per_point.mean()) / k, float((per_ball > 0).mean())
    expected = expected_coverage(n, m, k)
    return MetricResult(
        "density_coverage",
        value=coverage,
        n=m,
        floor=expected,
        settings={"n_real": n, "nearest_k": k},
        details={
            "density": density,
            "coverage": coverage,
            "spreads": {"density": float(per_point.std()) / k / math.sqrt(m)},
            "perfect": {"density": 1.0, "coverage": expected},
        },
    )


def expected_coverage(n, m, k):
    """1 − ∏ᵢ₌₁ᵏ (n − i)/(m + n − i): a perfect sampler's, of m samples and n real points."""
    return 1 - math.prod((n - i) / (m + n - i) for i in range(1, k + 1))


def _precision_recall(real, real_radii, fake, fake_radii):
    _, in_real_balls = inside_balls(real, real_radii, fake)
    _, in_fake_balls = inside_balls(fake, fake_radii, real)
    return float((in_real_balls > 0).mean()), float((in_fake_balls > 0).mean())


def _two(real, fake, k, least=None):
    (real, fake), k = two_samples(real, fake), integer("nearest_k", k, 1)
    for name, x, needed in (("real", real, k + 1), ("fake", fake, least or k + 1)):
        if len(x) < needed:
            raise ValueError(f"{name}: expected at least {needed} points for nearest_k={k}, got {len(x)}")
    return real, fake, k


def _radii(name, x, k):
    radii = kth_squared_distance(x, k)
    empty = int((radii == 0).sum())
    if empty == len(x) and name == "real":
        raise ValueError(f"real: every point occurs more than {k} times, there are no neighbourhoods to compare with")
    if empty:
        warnings.warn(
            f"{name}: {empty} of {len(x)} points occur more than {k} times; their neighbourhoods are empty",
            stacklevel=3,
        )
    return radii


def _binomial(share, n):
    return math.sqrt(share * (1 - share) / n)


def _harmonic_mean(a, b):
    return 2 * a * b / (a + b) if a + b else 0.0
