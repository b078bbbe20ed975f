"""Fréchet distance: closed forms, an oracle for covariances that do not commute, streaming, and the floor."""

import math
import warnings
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import combinations, combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigan as mg
from minigan.metrics import FrechetStatistics, frechet, frechet_distance, gaussian_frechet_distance
from tests.strategies import seeds
from tests.strict_array import strict_xp


def value(real, fake):
    return frechet_distance(real, fake, floor=None).value


def orthogonal(rng, d):
    return np.linalg.qr(rng.standard_normal((d, d)))[0]


def positive(rng, d, low=0.1, high=3.0):
    q = orthogonal(rng, d)
    return symmetric((q * rng.uniform(low, high, d)) @ q.T)


def symmetric(a):
    return (a + a.T) / 2


def with_moments(rng, n, mean, covariance):
    """n samples whose empirical mean and covariance (ddof 1) are the given ones, to rounding."""
    x = rng.standard_normal((n, len(mean)))
    x -= x.mean(axis=0)
    x = x @ np.linalg.inv(np.linalg.cholesky(x.T @ x / (n - 1))).T
    return x @ np.linalg.cholesky(covariance).T + mean


def pytorch_fid(real, fake):
    """The formula as pytorch-fid writes it: the root of the product, which is not symmetric."""
    from scipy.linalg import sqrtm

    (mu1, s1), (mu2, s2) = ((x.mean(axis=0), np.atleast_2d(np.cov(x, rowvar=False))) for x in (real, fake))
    root = sqrtm(s1 @ s2)
    return (mu1 - mu2) @ (mu1 - mu2) + np.trace(s1) + np.trace(s2) - 2 * np.trace(root.real)


# ---- of two Gaussians ------------------------------------------------------------------------------------------------


@given(seed=seeds, d=st.integers(1, 12), scale=st.sampled_from([1e-6, 1.0, 1e6]))
def test_covariances_that_commute(seed, d, scale):
    """F = ‖μ₁ − μ₂‖² + Σ (√λᵢ − √κᵢ)²."""
    rng = np.random.default_rng(seed)
    q, l, k = orthogonal(rng, d), rng.uniform(0, 2, d), rng.uniform(0, 2, d)
    mean1, mean2 = rng.standard_normal((2, d)) * math.sqrt(scale)
    found = gaussian_frechet_distance(mean1, scale * symmetric((q * l) @ q.T), mean2, scale * symmetric((q * k) @ q.T))
    expected = ((mean1 - mean2) ** 2).sum() + scale * ((np.sqrt(l) - np.sqrt(k)) ** 2).sum()
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-12 * scale * d)


@given(seed=seeds, d=st.integers(1, 30))
def test_covariances_that_do_not_commute(seed, d):
    """A symmetric positive T is the optimal map from N(0, Σ) to N(0, TΣT) (Brenier), so F = tr (I − T) Σ (I − T)."""
    rng = np.random.default_rng(seed)
    one, t = positive(rng, d), positive(rng, d, 0.2, 2.0)
    rest = np.eye(d) - t
    found = gaussian_frechet_distance(np.zeros(d), one, np.ones(d), symmetric(t @ one @ t))
    assert found == pytest.approx(d + np.trace(rest @ one @ rest), rel=1e-11)


@given(numbers=st.tuples(*[st.integers(-8, 8)] * 6))
def test_two_dimensions_with_fifty_digits(numbers):
    """Of a 2 × 2 matrix the trace of the root is √(tr + 2 √det): whole numbers, singular ones among them."""
    a, b, c, p, q, r = numbers
    one = [[a * a + b * b, b * c], [b * c, c * c]]
    two = [[p * p, p * q], [p * q, q * q + r * r]]
    product = sum(one[i][j] * two[j][i] for i in range(2) for j in range(2))
    with localcontext(prec=50):
        root = (Decimal(product) + 2 * Decimal((a * c * p * r) ** 2).sqrt()).sqrt()
        expected = float(one[0][0] + one[1][1] + two[0][0] + two[1][1] - 2 * root)
    size = one[0][0] + one[1][1] + two[0][0] + two[1][1]
    assert gaussian_frechet_distance([0, 0], one, [0, 0], two) == pytest.approx(expected, abs=1e-13 * size)


@given(seed=seeds, d=st.integers(1, 6))
def test_scipy_root_of_the_symmetric_form(seed, d):
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(seed)
    one, two = positive(rng, d), positive(rng, d)
    root = sqrtm(one).real
    expected = np.trace(one + two) - 2 * np.trace(sqrtm(root @ two @ root).real)
    assert gaussian_frechet_distance(np.zeros(d), one, np.zeros(d), two) == pytest.approx(expected, abs=1e-10)


@given(seed=seeds, d=st.integers(1, 10), rank=st.integers(0, 3), other=st.integers(0, 3))
def test_singular_covariances(seed, d, rank, other):
    """Any factors of them will do: the trace of the root is the nuclear norm of AᵀB."""
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((d, rank)), rng.standard_normal((d, other))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = gaussian_frechet_distance(np.zeros(d), a @ a.T, np.zeros(d), b @ b.T)
    singular = np.sqrt(np.maximum(np.linalg.eigvals((a.T @ b) @ (b.T @ a)).real, 0)).sum() if rank and other else 0.0
    size = (a * a).sum() + (b * b).sum()
    assert found >= 0
    assert found == pytest.approx(size - 2 * singular, abs=1e-6 * size + 1e-15)


@given(seed=seeds, d=st.integers(1, 8))
def test_a_squared_metric(seed, d):
    """Symmetric, invariant, of degree 2, and its root obeys the triangle inequality."""
    rng = np.random.default_rng(seed)
    (m1, s1), (m2, s2), (m3, s3) = ((rng.standard_normal(d), positive(rng, d, 0.0)) for _ in range(3))
    f12, f23, f13 = (gaussian_frechet_distance(*a) for a in ((m1, s1, m2, s2), (m2, s2, m3, s3), (m1, s1, m3, s3)))
    assert math.sqrt(f13) <= math.sqrt(f12) + math.sqrt(f23) + 1e-9
    assert gaussian_frechet_distance(m2, s2, m1, s1) == pytest.approx(f12, rel=1e-11)
    q, shift = orthogonal(rng, d), rng.standard_normal(d)
    turned = (q @ m1 + shift, symmetric(q @ s1 @ q.T), q @ m2 + shift, symmetric(q @ s2 @ q.T))
    assert gaussian_frechet_distance(*turned) == pytest.approx(f12, rel=1e-10)
    assert gaussian_frechet_distance(3 * m1, 9 * s1, 3 * m2, 9 * s2) == pytest.approx(9 * f12, rel=1e-11)
    assert gaussian_frechet_distance(m1, s1, m1, s1) <= 1e-13 * np.trace(s1)
    assert isinstance(f12, float)


def test_a_hundred_dimensions():
    """Eigenvalues over six decades, where roots of products go wrong; T is the optimal map again."""
    rng = np.random.default_rng(0)
    q = orthogonal(rng, 100)
    one, t = symmetric((q * np.geomspace(1e-6, 1, 100)) @ q.T), positive(rng, 100, 0.5, 1.5)
    rest = np.eye(100) - t
    found = gaussian_frechet_distance(np.zeros(100), one, np.zeros(100), symmetric(t @ one @ t))
    assert found == pytest.approx(np.trace(rest @ one @ rest), rel=1e-9)


def test_one_dimension():
    assert gaussian_frechet_distance([1], [[4]], [4], [[25]]) == pytest.approx(9 + 9, rel=1e-14)


ONE = {"mean1": [0, 0], "covariance1": np.eye(2), "mean2": [0, 0], "covariance2": np.eye(2)}
BAD_GAUSSIANS = {
    "mean": ({"mean1": [0, 0, 0]}, "means and covariances: expected shapes"),
    "other mean": ({"mean2": 0}, "means and covariances: expected shapes"),
    "dimensions": ({"covariance2": np.eye(3)}, "means and covariances: expected shapes"),
    "flat": ({"covariance1": [1, 1]}, r"covariance1: expected a matrix \(d, d\), got shape \(2,\)"),
    "oblong": ({"covariance2": np.ones((2, 3))}, r"covariance2: expected a matrix \(d, d\), got shape \(2, 3\)"),
    "not symmetric": ({"covariance2": [[1, 0.5], [0, 1]]}, "covariance2: expected a symmetric matrix"),
    "negative": ({"covariance1": [[1, 2], [2, 1]]}, "covariance1: expected a symmetric matrix without negative"),
    "NaN": ({"covariance1": [[1, math.nan], [math.nan, 1]]}, "covariance1: expected finite numbers"),
    "NaN mean": ({"mean2": [0, math.nan]}, "mean2: expected finite numbers"),
}


@pytest.mark.parametrize("case", BAD_GAUSSIANS)
def test_bad_gaussians_are_named(case):
    bad, message = BAD_GAUSSIANS[case]
    assert gaussian_frechet_distance(**ONE) == 0
    with pytest.raises(ValueError, match=f"^{message}"):
        gaussian_frechet_distance(**(ONE | bad))


# ---- of samples ------------------------------------------------------------------------------------------------------


@given(seed=seeds, d=st.integers(1, 8), n=st.integers(12, 40), m=st.integers(12, 40))
def test_samples_with_known_moments(seed, d, n, m):
    rng = np.random.default_rng(seed)
    moments = [(rng.standard_normal(d), positive(rng, d)) for _ in range(2)]
    real, fake = (with_moments(rng, size, *pair) for size, pair in zip((n, m), moments))
    found = frechet_distance(real, fake)
    assert found.value == pytest.approx(gaussian_frechet_distance(*moments[0], *moments[1]), rel=1e-10, abs=1e-12)
    assert found.details["mean"] == pytest.approx(((moments[0][0] - moments[1][0]) ** 2).sum(), rel=1e-10)
    assert found.details["mean"] + found.details["covariance"] == found.value
    assert found.n == m and found.settings == {"n_real": n, "features": d}


@given(seed=seeds, d=st.integers(1, 10))
def test_the_formula_of_pytorch_fid(seed, d):
    rng = np.random.default_rng(seed)
    real, fake = rng.standard_normal((60, d)) @ rng.standard_normal((d, d)), rng.random((45, d))
    assert value(real, fake) == pytest.approx(pytorch_fid(real, fake), rel=1e-6)


def test_by_hand_with_ddof_1():
    """Variances 2 and 8 (1 and 4 with ddof 0), means 1 and 2: 1 + (√8 − √2)² = 3."""
    found = frechet_distance([0.0, 2.0], [0.0, 4.0])
    assert found.value == pytest.approx(3, rel=1e-14)
    assert (found.details["mean"], found.details["covariance"]) == pytest.approx((1, 2), rel=1e-14)
    assert found.floor is None  # two samples have no halves to compare


@given(seed=seeds, n=st.integers(2, 40), d=st.integers(1, 20))
def test_equal_samples_score_nothing(seed, n, d):
    x = np.random.default_rng(seed).standard_normal((n, d))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert 0 <= value(x, x) <= 1e-12 * x.var(axis=0).sum()
        assert value(x, x[::-1]) <= 1e-12 * x.var(axis=0).sum()


def test_a_shift_is_all_in_the_mean():
    x = np.random.default_rng(0).standard_normal((100, 3))
    found = frechet_distance(x, x + [3, 0, 4])
    assert found.value == pytest.approx(25, rel=1e-12)
    assert found.details["covariance"] <= 1e-12


def test_samples_of_a_constant():
    one, two = np.full((5, 2), 3.0), np.zeros((6, 2))
    spread = np.random.default_rng(0).standard_normal((50, 2))
    assert value(one, two) == 18 and value(two, two) == 0
    assert value(two, spread) == pytest.approx((spread.mean(axis=0) ** 2).sum() + spread.var(axis=0, ddof=1).sum())
    dead = np.column_stack([spread, np.full(50, 7.0)])  # a feature that never changes adds nothing
    assert value(dead, dead[::2]) == pytest.approx(value(spread, spread[::2]), rel=1e-10)


@given(seed=seeds, n=st.integers(2, 20), d=st.integers(20, 60))
def test_fewer_samples_than_features(seed, n, d):
    """Where the root of the product is complex or not finite: the nuclear norm of the samples' n × n products."""
    rng = np.random.default_rng(seed)
    real, fake = rng.standard_normal((2, n, d))
    with pytest.warns(UserWarning) as caught:
        found = frechet_distance(real, fake, floor=None)
    assert [str(w.message).split(" with n")[0] for w in caught] == [
        f"frechet_distance: {name} has {n} samples of {d} features;" for name in ("real", "fake")
    ]
    assert all(w.filename == __file__ for w in caught)
    cross = (real - real.mean(axis=0)) @ (fake - fake.mean(axis=0)).T / (n - 1)
    trace = real.var(axis=0, ddof=1).sum() + fake.var(axis=0, ddof=1).sum()
    expected = trace - 2 * np.linalg.norm(cross, "nuc")
    assert found.details["covariance"] == pytest.approx(expected, rel=1e-9)
    assert math.isfinite(found.value) and found.value > 0


def test_one_sample_more_than_features_is_enough():
    x = np.random.default_rng(0).standard_normal((6, 5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value(x, x)
    with pytest.warns(UserWarning, match="real has 5 samples of 5 features"):
        value(x[:5], x)
    with pytest.warns(UserWarning, match="fake has 5 samples of 5 features"):
        value(x, x[:5])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8", "int64"])
def test_images_of_any_type_are_float64_rows(dtype):
    images = np.random.default_rng(0).integers(0, 256, (2, 70, 2, 4, 3)).astype(dtype)
    rows = images.astype(np.float64).reshape(2, 70, 24)
    assert frechet_distance(*images) == frechet_distance(*rows)
    assert value(*images) == pytest.approx(pytorch_fid(*rows), rel=1e-6)


def test_device_arrays_and_arguments_left_alone():
    real, fake = np.random.default_rng(0).standard_normal((2, 50, 4))
    before = real.copy(), fake.copy()
    found = frechet_distance(strict_xp.asarray(real), strict_xp.asarray(fake))
    assert found == frechet_distance(real, fake)
    assert np.array_equal(real, before[0]) and np.array_equal(fake, before[1])


# ---- in pieces -------------------------------------------------------------------------------------------------------


@given(seed=seeds, n=st.integers(2, 60), d=st.integers(1, 5), offset=st.sampled_from([0.0, 1e4, -1e8]))
def test_any_pieces_in_any_order(seed, n, d, offset):
    """Whole numbers on a far origin: the exact covariance is that of the small numbers."""
    rng = np.random.default_rng(seed)
    small = rng.integers(-20, 21, (n, d))
    cuts = np.sort(rng.integers(1, n, rng.integers(0, 6)))
    parts = [p for p in np.split(rng.permutation(small) + offset, cuts) if len(p)]
    statistics = [FrechetStatistics(p) for p in parts] + [FrechetStatistics()]
    while len(statistics) > 1:  # merged in a random tree
        rng.shuffle(statistics)
        statistics.append(statistics.pop() + statistics.pop())
    updated = FrechetStatistics()
    for p in parts:
        assert updated.update(p) is updated
    columns = [[Fraction(int(v)) for v in column] for column in small.T]
    means = [sum(c) / n for c in columns]
    exact = [[sum((x - means[i]) * (y - means[j]) for x, y in zip(columns[i], columns[j])) / (n - 1)
              for j in range(d)] for i in range(d)]  # fmt: skip
    tolerance = 1e-10 if abs(offset) < 1e6 else 1e-5  # a mean of 10⁸ is known to 10⁻⁸; n, Σx, Σxxᵀ would be off by 1
    for s in (statistics[0], updated, FrechetStatistics(small + offset)):
        assert s.n == n and s.covariance.shape == (d, d)
        assert s.mean - offset == pytest.approx(np.array(means, float), abs=1e-12 + 4e-15 * abs(offset))
        assert s.covariance == pytest.approx(np.array(exact, float), rel=1e-10, abs=tolerance)


@given(seed=seeds, rows=st.integers(1, 20))
def test_blocks_change_nothing(seed, rows):
    real, fake = np.random.default_rng(seed).standard_normal((2, 30, 3)) + 5
    whole = value(real, fake)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frechet, "BLOCK", 8 * 3 * rows)
        assert value(real, fake) == pytest.approx(whole, rel=1e-10)


def test_statistics_stand_for_their_samples():
    real, fake = np.random.default_rng(0).standard_normal((2, 80, 3)) * [1, 2, 3]
    p, q = FrechetStatistics(real), FrechetStatistics(fake)
    for a, b in ((p, q), (real, q), (p, fake)):
        found = frechet_distance(a, b)
        assert (found.value, found.n) == (value(real, fake), 80)
    assert p.mean == pytest.approx(real.mean(axis=0)) and p.covariance == pytest.approx(np.cov(real.T))
    assert str(p) == "FrechetStatistics(n=80, features=3)"
    assert str(FrechetStatistics()) == "FrechetStatistics(n=0, features=0)"


def test_a_merge_leaves_its_parts_alone():
    x = np.random.default_rng(0).standard_normal((40, 3))
    p, q = FrechetStatistics(x[:25]), FrechetStatistics(x[25:])
    both, alone = p + q, p + FrechetStatistics()
    alone.update(x[25:])
    q.update(x)
    assert (p.n, both.n, alone.n) == (25, 40, 40)
    assert p.covariance == pytest.approx(np.cov(x[:25].T)) and both.covariance == pytest.approx(np.cov(x.T))
    assert alone.covariance == pytest.approx(np.cov(x.T))


def test_what_statistics_refuse():
    s = FrechetStatistics(np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"^features: expected 2 numbers each, as before, got 3"):
        s.update(np.zeros((3, 3)))
    with pytest.raises(ValueError, match="^statistics of 2 and of 1 features cannot be merged"):
        s + FrechetStatistics(np.zeros(3))
    with pytest.raises(ValueError, match="^features: expected finite numbers"):
        FrechetStatistics([math.nan, 1.0])
    with pytest.raises(TypeError):
        s + 1
    for few in (FrechetStatistics(), FrechetStatistics([1.0])):
        with pytest.raises(ValueError, match=f"at least 2 samples, got {few.n}"):
            few.covariance  # noqa: B018


@pytest.mark.parametrize("size", [1e160, 1e308])
def test_overflow_is_named(size):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="their squares overflow; scale them down"):
            value(np.array([-size, size, 0.0]), np.zeros(3))


def test_overflow_in_a_merge_is_named():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="their squares overflow; scale them down"):
            FrechetStatistics([1e160, 1e160]) + FrechetStatistics([-1e160, -1e160])


def test_overflow_between_real_and_fake_is_named():
    """Neither overflows alone: only the distance of their means does."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="overflow"):
            value(np.full(5, 1e200), np.full(5, -1e200))


def test_what_overflows_is_not_added():
    s = FrechetStatistics([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="overflow"):
        s.update([1e200, -1e200])
    assert (s.n, s.covariance.item()) == (3, 1.0)


@pytest.mark.parametrize("floor", ["half", np.eye(3), [[math.nan, 1]]])
def test_the_floor_is_checked_for_statistics_too(floor):
    real = FrechetStatistics(np.eye(5)[:, :2])
    with pytest.raises(ValueError, match="^floor: "):
        frechet_distance(real, real, floor=floor)


# ---- the floor -------------------------------------------------------------------------------------------------------

SPECTRUM = np.array([4.0, 1.0, 1.0, 0.25])
# tr Σ + ½ Σᵢⱼ λᵢλⱼ/(λᵢ + λⱼ) + ¼ tr Σ, number by number
CONSTANT = 1.25 * SPECTRUM.sum() + 0.5 * sum(a * b / (a + b) for a in SPECTRUM for b in SPECTRUM)


def draw(rng, n):
    return rng.standard_normal((n, 4)) * np.sqrt(SPECTRUM)


def near(scores, expected, bias=0.03):
    """The mean of ``scores`` is ``expected`` within 4 standard errors, but for terms of higher order."""
    return abs(np.mean(scores) - expected) <= 4 * np.std(scores, ddof=1) / math.sqrt(len(scores)) + bias * expected


@pytest.mark.parametrize("n, m", [(400, 400), (1500, 300), (300, 1500)])
def test_a_perfect_sampler_scores_the_floor(n, m):
    rng = np.random.default_rng(n)
    runs = [(draw(rng, n), draw(rng, m)) for _ in range(150)]
    results = [frechet_distance(real, fake) for real, fake in runs]
    formula = [frechet_distance(FrechetStatistics(real), FrechetStatistics(fake)).floor for real, fake in runs]
    further = [frechet_distance(real, fake, floor=draw(rng, 500)).floor for real, fake in runs]
    expected = (1 / n + 1 / m) * CONSTANT
    assert near([r.value for r in results], expected)
    assert near([r.floor for r in results], expected)
    assert near(further, expected)
    assert near(formula, expected) and np.std(formula) < 0.2 * expected


def test_the_formula_of_the_floor_in_one_dimension():
    """(1/n + 1/m) (1 + ¼ + ¼) σ²: the mean's σ² and the half of σ² that the root of the variance has."""
    p = FrechetStatistics([0.0, 2.0])
    assert frechet._gaussian_floor(p, 4) == pytest.approx((1 / 2 + 1 / 4) * 1.5 * 2)
    assert frechet._gaussian_floor(FrechetStatistics(np.zeros((5, 3))), 4) == 0


def test_which_floor():
    rng = np.random.default_rng(0)
    real, fake, more = draw(rng, 60), draw(rng, 90), draw(rng, 40)
    half = frechet_distance(real, fake, seed=3)
    assert half.floor == frechet_distance(real, fake, floor="halves", seed=3).floor > 0
    assert half.floor != frechet_distance(real, fake, seed=4).floor
    assert half.value == frechet_distance(real, fake, floor=None).value and half.spread is None
    assert frechet_distance(real, fake, floor=None).floor is None
    scaled = value(real, more) * (1 / 60 + 1 / 90) / (1 / 60 + 1 / 40)
    assert frechet_distance(real, fake, floor=more).floor == pytest.approx(scaled, rel=1e-12)
    assert frechet_distance(FrechetStatistics(real), fake, floor=None).floor is None
    by_formula = frechet._gaussian_floor(FrechetStatistics(real), 90)
    assert frechet_distance(FrechetStatistics(real), fake).floor == by_formula
    assert str(half).startswith("frechet_distance 0.") and "(floor 0." in str(half)
    assert str(half).endswith("n=90, n real 60, features 4)")


def test_halves_are_disjoint():
    """With the same number twice in no half: real is 0 … 9, so that one half's mean tells the other's."""
    x = np.arange(10.0)
    floor = frechet_distance(x, x, seed=1).floor
    parts = [(a, np.setdiff1d(x, a)) for a in map(np.array, combinations(x, 5))]
    possible = {round(value(a, b) * (2 / 10) / (2 / 5), 9) for a, b in parts}
    assert any(4 * floor == pytest.approx(sum(four), abs=1e-8) for four in combinations_with_replacement(possible, 4))


def test_statistics_from_moments_and_sums():
    x = np.random.default_rng(0).standard_normal((50, 3))
    whole, parts = FrechetStatistics(x), [FrechetStatistics(a) for a in np.array_split(x, 4)]
    mean = whole.mean.copy()
    again = FrechetStatistics.from_moments(50, mean, whole.covariance)
    mean += 1  # the caller's own
    for s in (again, sum(parts), sum([whole])):
        assert s.n == 50
        np.testing.assert_allclose(s.mean, x.mean(axis=0), atol=1e-14)
        np.testing.assert_allclose(s.covariance, np.cov(x.T), atol=1e-14)
    sum([whole]).update(x)
    assert whole.n == 50
    for arguments, message in [
        ((1, mean, np.eye(3)), "n: expected an integer >= 2, got 1"),
        ((5, mean[:2], np.eye(3)), r"mean: expected shape \(3,\), like covariance, got \(2,\)"),
        ((5, mean, -np.eye(3)), "covariance: expected a symmetric matrix without negative"),
    ]:
        with pytest.raises(ValueError, match=f"^{message}"):
            FrechetStatistics.from_moments(*arguments)


# ---- what is refused -------------------------------------------------------------------------------------------------

GOOD = {"real": np.eye(5)[:, :2], "fake": np.eye(4)[:, :2]}
BAD = {
    "NaN": ({"real": [[0, 1], [math.nan, 1]]}, r"real: expected finite numbers, got nan at \[1, 0\]"),
    "infinity": ({"fake": [[0, 1], [math.inf, 1]]}, "fake: expected finite numbers"),
    "one real": ({"real": [[0, 1]]}, "real: expected at least 2 samples, got 1"),
    "one fake": ({"fake": [[0, 1]]}, "fake: expected at least 2 samples, got 1"),
    "few in statistics": ({"fake": FrechetStatistics([[0, 1]])}, "fake: expected at least 2 samples, got 1"),
    "nothing in statistics": ({"real": FrechetStatistics()}, "real: expected at least 2 samples, got 0"),
    "dimensions": ({"fake": np.eye(4)}, "fake: expected 2 features, like real, got 4"),
    "flat": ({"fake": np.zeros(4)}, "fake: expected 2 features, like real, got 1"),
    "nothing": ({"real": np.zeros((0, 2))}, "real: expected at least one number"),
    "a number": ({"real": 3.0}, r"real: expected samples of shape \(n, …\)"),
    "complex": ({"fake": np.zeros((4, 2), complex)}, "fake: expected an array of real numbers"),
    "a Tensor": ({"fake": mg.tensor(np.zeros((4, 2)))}, "fake: expected an array, got a Tensor"),
    "a strange floor": ({"floor": "half"}, 'floor: expected "halves", an array of further real samples, or None'),
    "a floor of NaN": ({"floor": [[math.nan, 1]]}, "floor: expected finite numbers"),
    "a floor in other dimensions": ({"floor": np.eye(3)}, "floor: expected 2 features, like real, got 3"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_named(case):
    bad, message = BAD[case]
    frechet_distance(**GOOD)
    with pytest.raises(ValueError, match=f"^{message}"):
        frechet_distance(**(GOOD | bad))
