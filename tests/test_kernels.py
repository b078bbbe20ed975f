"""KID and MMD: against naive loops, closed forms for Gaussians, and what repeated draws of equal distributions say."""

import inspect
import math
import tracemalloc
import warnings
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigan as mg
from minigan.metrics import kernel_distance, kernels, mmd
from tests.strategies import seeds
from tests.strict_array import strict_xp


def cubic(x, y):
    return (float(np.dot(x, y)) / len(x) + 1) ** 3


def rbf(sigma):
    return lambda x, y: math.exp(-float(np.square(x - y).sum()) / (2 * sigma**2))


def naive(real, fake, kernel, biased=False):
    """MMD² pair by pair: eqs. 3 and 5 of Gretton et al."""
    n, m = len(real), len(fake)
    xx = sum(kernel(real[i], real[j]) for i in range(n) for j in range(n) if biased or i != j)
    yy = sum(kernel(fake[i], fake[j]) for i in range(m) for j in range(m) if biased or i != j)
    xy = sum(kernel(x, y) for x in real for y in fake)
    pairs = (n * n, m * m) if biased else (n * (n - 1), m * (m - 1))
    return xx / pairs[0] + yy / pairs[1] - 2 * xy / (n * m)


def within_error(values, expected, times=4):
    """Their mean is ``expected`` within 4 standard errors."""
    return abs(np.mean(values) - expected) < times * np.std(values, ddof=1) / math.sqrt(len(values))


@st.composite
def samples(draw):
    n, m, d = draw(st.integers(2, 12)), draw(st.integers(2, 12)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(seeds))
    return rng.standard_normal((n, d)), 1.5 * rng.standard_normal((m, d)) + 0.5


# ---- MMD -------------------------------------------------------------------------------------------------------------


@given(pair=samples(), biased=st.booleans(), sigma=st.sampled_from([0.3, 1.0, 4.0]))
def test_mmd_is_the_naive_loop(pair, biased, sigma):
    for kernel, k, bandwidth in (("rbf", rbf(sigma), sigma), ("cubic", cubic, "median")):
        found = mmd(*pair, kernel, bandwidth, biased, permutations=0)
        expected = naive(*pair, k, biased)
        scale = max(abs(k(x, x)) for side in pair for x in side)
        assert found.value == pytest.approx(expected, abs=1e-13 * scale, rel=1e-11)
        assert found.p_value is found.null_std is None


@given(pair=samples(), rows=st.integers(1, 10), kernel=st.sampled_from(kernels.KERNELS))
def test_blocks_change_nothing(pair, rows, kernel):
    whole = mmd(*pair, kernel, permutations=20)
    patch = pytest.MonkeyPatch()
    for module in (kernels, mg.metrics.neighbours):
        patch.setattr(module, "BLOCK", 8 * rows * sum(map(len, pair)))
    try:
        again = mmd(*pair, kernel, permutations=20)
    finally:
        patch.undo()
    for name in ("value", "spread", "null_std"):
        assert getattr(again, name) == pytest.approx(getattr(whole, name), rel=1e-9, abs=1e-13)


@pytest.mark.parametrize("biased", [False, True])
def test_scikit_learn_has_the_same_kernels(biased):
    pairwise = pytest.importorskip("sklearn.metrics.pairwise")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 5)), rng.standard_normal((30, 5)) + 0.3
    for name, k in (
        ("rbf", lambda a, b: pairwise.rbf_kernel(a, b, gamma=1 / (2 * 1.7**2))),
        ("cubic", lambda a, b: pairwise.polynomial_kernel(a, b, degree=3, gamma=1 / 5, coef0=1)),
    ):
        xx, yy, xy = k(x, x), k(y, y), k(x, y)
        if biased:
            expected = xx.mean() + yy.mean() - 2 * xy.mean()
        else:
            expected = xx[~np.eye(40, dtype=bool)].mean() + yy[~np.eye(30, dtype=bool)].mean() - 2 * xy.mean()
        assert mmd(x, y, name, 1.7, biased, 0).value == pytest.approx(expected, rel=1e-10)


@given(pair=samples(), kernel=st.sampled_from(kernels.KERNELS), biased=st.booleans())
def test_order_and_sides_do_not_matter(pair, kernel, biased):
    one = mmd(*pair, kernel, 2.0, biased, 0)
    other = mmd(pair[1][::-1], pair[0], kernel, 2.0, biased, 0)
    assert other.value == pytest.approx(one.value, rel=1e-9, abs=1e-12)
    assert other.spread == pytest.approx(one.spread, rel=1e-9, abs=1e-12)
    assert other.floor == pytest.approx(one.floor, rel=1e-9, abs=1e-12)


@given(pair=samples(), kernel=st.sampled_from(kernels.KERNELS))
def test_the_biased_estimate_is_a_squared_distance(pair, kernel):
    x, y = pair
    assert mmd(x, y, kernel, biased=True, permutations=0).value >= 0
    assert 0 <= mmd(x, x[::-1], kernel, biased=True, permutations=0).value <= 1e-12 * max(cubic(a, a) for a in x)
    many = mmd(np.repeat(x, 3, axis=0), y, kernel, 1.0, True, 0).value  # weights, not numbers, matter
    assert many == pytest.approx(mmd(x, y, kernel, 1.0, True, 0).value, rel=1e-9, abs=1e-11)


@pytest.mark.parametrize("n, m, shift, sigma", [(60, 60, 1.0, 1.0), (30, 90, 0.7, 2.0)])
def test_gaussians_in_closed_form(n, m, shift, sigma):
    """E k = (σ² / (σ² + 2))^(d/2) within, and times exp(−‖δ‖² / 2(σ² + 2)) between N(0, I) and N(δ, I)."""
    rng, d = np.random.default_rng(0), 3
    delta = np.array([shift, 0, 0])
    within = (sigma**2 / (sigma**2 + 2)) ** (d / 2)
    expected = 2 * within * (1 - math.exp(-(shift**2) / (2 * (sigma**2 + 2))))
    found = [
        mmd(rng.standard_normal((n, d)), rng.standard_normal((m, d)) + delta, "rbf", sigma, permutations=0)
        for _ in range(400)
    ]
    values = [f.value for f in found]
    assert within_error(values, expected)
    assert np.mean([f.spread for f in found]) == pytest.approx(np.std(values), rel=0.15)


@pytest.mark.parametrize("kernel", kernels.KERNELS)
@pytest.mark.parametrize("n, m", [(12, 12), (25, 8)])
def test_equal_distributions_score_the_floor(kernel, n, m):
    """Unbiased: 0 on average. Biased: (1/n + 1/m) (E k(x, x) − E k(x, x′)), as the floor of each says."""
    rng = np.random.default_rng([n, m])
    draws = [(rng.standard_normal((n, 2)), rng.standard_normal((m, 2))) for _ in range(600)]
    unbiased = [mmd(x, y, kernel, 1.0, False, 0) for x, y in draws]
    biased = [mmd(x, y, kernel, 1.0, True, 0) for x, y in draws]
    assert {f.floor for f in unbiased} == {0.0} and within_error([f.value for f in unbiased], 0)
    assert within_error([f.value - f.floor for f in biased], 0)
    exact = (1 - 1 / 3) if kernel == "rbf" else None  # σ² / (σ² + 2) = 1/3 in two dimensions
    if exact:
        assert within_error([f.value for f in biased], (1 / n + 1 / m) * exact)
        assert within_error([f.floor for f in biased], (1 / n + 1 / m) * exact)


def test_the_biased_floor_is_the_mean_over_all_divisions():
    """Of 3 + 4 points, all 35 of them."""
    both = np.random.default_rng(0).standard_normal((7, 2))
    for kernel in kernels.KERNELS:
        values = []
        for some in combinations(range(7), 3):
            first = np.isin(np.arange(7), some)
            values.append(mmd(both[first], both[~first], kernel, 1.0, True, 0).value)
        assert mmd(both[:3], both[3:], kernel, 1.0, True, 0).floor == pytest.approx(np.mean(values), rel=1e-12)


# ---- the permutation test --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel, biased", [("rbf", False), ("rbf", True), ("cubic", False)])
def test_p_values_of_equal_distributions_are_uniform(kernel, biased):
    """P(p ≤ α) ≤ α, and nearly that: within 4 standard errors of 300 draws."""
    rng = np.random.default_rng(0)
    found = [
        mmd(rng.standard_normal((12, 2)), rng.standard_normal((9, 2)), kernel, 1.0, biased, 39) for _ in range(300)
    ]
    p = np.array([f.p_value for f in found])
    assert set(np.round(p * 40, 9)) <= set(range(1, 41))  # the division that was asked for counts too
    for alpha in (0.1, 0.25, 0.5, 0.75):
        assert abs((p <= alpha).mean() - alpha) < 4 * math.sqrt(alpha * (1 - alpha) / 300)


def test_a_shift_is_significant():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 2)), rng.standard_normal((40, 2)) + 1.5
    for kernel in kernels.KERNELS:
        found = mmd(x, y, kernel)
        assert found.p_value == 1 / 201 and found.value > 5 * found.null_std > 0
    assert mmd(x, x + 0.0, biased=True).p_value == 1.0  # nothing can score less


def test_null_std_is_that_of_the_divisions():
    both = np.random.default_rng(0).standard_normal((8, 2))
    values = []
    for some in combinations(range(8), 3):
        first = np.isin(np.arange(8), some)
        values.append(mmd(both[first], both[~first], "rbf", 1.0, False, 0).value)
    found = mmd(both[:3], both[3:], "rbf", 1.0, permutations=4000)
    assert found.null_std == pytest.approx(np.std(values), rel=0.1)
    assert found.p_value == pytest.approx(np.mean(np.array(values) >= values[0] - 1e-12), abs=0.04)


def test_divisions_that_score_the_same_count():
    """With n = m, exchanging the sides changes nothing: no p-value below 2 of 70, whatever rounding does."""
    for seed in range(4):
        rng = np.random.default_rng(seed)
        x, y = rng.standard_normal((4, 2)), rng.standard_normal((4, 2)) + 6
        found = mmd(x, y, bandwidth=1.0, permutations=5000)
        assert abs(found.p_value - 2 / 70) < 4 * math.sqrt(2 / 70 / 5000)


def test_divisions_of_data_with_few_values():
    """Of zeros and ones only their numbers matter, and most divisions are ties: tails of the hypergeometric."""
    x, y = np.repeat([0.0, 1.0], [4, 2]), np.repeat([0.0, 1.0], [1, 5])
    ones, n = 7, 6
    chance = [math.comb(ones, c) * math.comb(12 - ones, n - c) / math.comb(12, n) for c in range(n + 1)]
    exact = sum(p for c, p in enumerate(chance) if abs(c - ones / 2) >= abs(2 - ones / 2))
    for biased in (False, True):
        found = mmd(x, y, bandwidth=1.0, biased=biased, permutations=5000)
        assert found.p_value == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 5000))


def test_permutations_repeat():
    x, y = np.random.default_rng(0).standard_normal((2, 20, 2))
    one, same, other = (mmd(x, y, seed=s) for s in (0, 0, 1))
    assert one == same and one.null_std != other.null_std and one.value == other.value


# ---- the bandwidth ---------------------------------------------------------------------------------------------------


def test_the_median_rule_by_hand():
    """0, 1 and 3, 3: the six distances are 0, 1, 2, 2, 3, 3."""
    found = mmd([0.0, 1.0], [3.0, 3.0], permutations=0)
    assert found.settings["bandwidth"] == 2.0
    assert found.value == mmd([0.0, 1.0], [3.0, 3.0], bandwidth=2, permutations=0).value
    assert mmd([[0.0, 0], [3, 4]], [[0.0, 0], [3, 4]], permutations=0).settings["bandwidth"] == 5.0  # 0, 0, 5, 5, 5, 5


def test_the_median_of_an_even_number_of_distances():
    """0, 1 and 3, 7: 1, 2, 3, 4, 6, 7."""
    assert mmd([0.0, 1.0], [3.0, 7.0], permutations=0).settings["bandwidth"] == pytest.approx(3.5)


def test_the_median_of_many_points_is_of_some_of_them():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((1500, 1)), rng.standard_normal((300, 1))
    found = [mmd(x, y, permutations=0, seed=s).settings["bandwidth"] for s in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    assert found == pytest.approx([math.sqrt(2) * 0.67449] * 3, rel=0.08)  # the median of |N(0, 2)|


@pytest.mark.parametrize("scale", [2.0**-20, 2.0**20])
def test_units_do_not_matter(scale):
    x, y = np.random.default_rng(0).standard_normal((2, 20, 3))
    one, other = mmd(x, y), mmd(scale * x, scale * y)
    assert other.settings["bandwidth"] == scale * one.settings["bandwidth"]
    assert other.value == pytest.approx(one.value, rel=1e-10) and other.p_value == one.p_value


@pytest.mark.parametrize("far, tolerance", [(0.0, 1e-13), (1e6, 1e-13), (1e8, 1e-13)])
def test_a_far_origin_does_not_matter(far, tolerance):
    rng = np.random.default_rng(0)
    x, y = np.round(rng.standard_normal((2, 15, 2)) * 256) / 256
    found = mmd(x + far, y + far, bandwidth=1.0, permutations=0).value
    assert found == pytest.approx(naive(x, y, rbf(1.0)), abs=tolerance)


@pytest.mark.parametrize("far", [1e8, 1e9])
def test_an_outlier_does_not_matter(far):
    """One point far away moves the mean, and products of what is left lose the small distances."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 20, 2))
    x[0] = far
    found = mmd(x, y, bandwidth=1.0, permutations=0)
    assert found.value == pytest.approx(naive(x, y, rbf(1.0)), abs=1e-9)


# ---- KID -------------------------------------------------------------------------------------------------------------


@given(pair=samples())
def test_one_subset_of_everything_is_the_naive_loop(pair):
    size = min(map(len, pair))
    x, y = pair[0][:size], pair[1][:size]
    found = kernel_distance(x, y, subsets=2, subset_size=size)
    scale = max(cubic(a, a) for a in (*x, *y))
    assert found.value == pytest.approx(naive(x, y, cubic), rel=1e-10, abs=1e-12 * scale)
    assert found.spread is None  # there is one subset only
    assert found.value == pytest.approx(mmd(x, y, "cubic", permutations=0).value, rel=1e-9, abs=1e-12 * scale)


def test_by_hand():
    """0, 1 against 2, 2 in one dimension: 1 + 125 − 2 · (1 + 27) / 2."""
    assert kernel_distance([0.0, 1.0], [2.0, 2.0], 3, 2).value == pytest.approx(98)
    assert kernel_distance([[0.0, 0], [1, 1]], [[2.0, 2], [2, 2]], 3, 2).value == pytest.approx(98)  # γ = 1/d


def test_subsets_are_drawn_without_replacement(monkeypatch):
    """The rows that reach the kernel: different ones in each subset, other ones in other subsets, both sides apart."""
    seen, kernel = [], kernels._cubic_mmd

    def spy(x, y):
        seen.extend([x[:, 0].tolist(), y[:, 0].tolist()])
        return kernel(x, y)

    monkeypatch.setattr(kernels, "_cubic_mmd", spy)
    real, fake = np.arange(30.0) / 30, np.arange(20.0) / 20 + 5
    kernel_distance(real, fake, subsets=40, subset_size=15)
    assert len(seen) == 80
    for i, rows in enumerate(seen):
        assert len(set(rows)) == 15 and set(rows) <= set((fake if i % 2 else real).tolist())
    assert len({tuple(sorted(rows)) for rows in seen}) > 75
    assert set().union(*seen) == set(real) | set(fake)


def test_the_mean_and_the_spread_are_of_the_subsets():
    """Three points in subsets of two against a fixed pair: every value is one of three."""
    real, fake = np.array([0.0, 1.0, 3.0]), np.array([2.0, 2.0])
    values = {pair: naive(real[list(pair), None], fake[:, None], cubic) for pair in combinations(range(3), 2)}
    found = kernel_distance(real, fake, subsets=2, subset_size=2)
    pairs = [(a, b) for a in values.values() for b in values.values()]
    assert any(
        found.value == pytest.approx((a + b) / 2) and found.spread == pytest.approx(abs(a - b) / 2) for a, b in pairs
    )
    spreads = [kernel_distance(real, fake, 2, 2, seed=s).spread for s in range(6)]  # ddof 0: |a − b| / 2
    allowed = {round(abs(a - b) / 2, 6) for a, b in pairs}
    assert {round(s, 6) for s in spreads} <= allowed and max(spreads) > 0
    many = kernel_distance(real, fake, 3000, 2)
    assert many.value == pytest.approx(np.mean(list(values.values())), rel=0.05)
    assert many.spread == pytest.approx(np.std(list(values.values())), rel=0.05)


@pytest.mark.parametrize("size", [5, 10])
def test_equal_distributions_score_nothing_on_average(size):
    rng = np.random.default_rng(0)
    found = [kernel_distance(rng.standard_normal((25, 3)), rng.standard_normal((12, 3)), 8, size) for _ in range(500)]
    assert within_error([f.value for f in found], 0)
    assert any(f.value < 0 for f in found) and {f.floor for f in found} == {0.0}


def test_seeds_settings_and_defaults():
    x, y = np.random.default_rng(0).standard_normal((2, 110, 2))
    one, same, other = (kernel_distance(x, y, 3, 50, seed=s) for s in (7, 7, 8))
    assert one == same and one.value != other.value
    assert one.settings == {"n_real": 110, "kernel": "(x·y/d + 1)³", "subsets": 3, "subset_size": 50}
    assert one.n == 110 and str(one).endswith("n real 110, kernel (x·y/d + 1)³, subsets 3, subset size 50)")
    defaults = inspect.signature(kernel_distance).parameters
    assert (defaults["subsets"].default, defaults["subset_size"].default) == (100, 1000)


# ---- arrays, memory, errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int64"])
def test_images_of_any_type_on_any_device(dtype):
    images = np.random.default_rng(0).integers(0, 5, (2, 20, 3, 3, 1)).astype(dtype)
    before, rows = images.copy(), images.astype(np.float64).reshape(2, 20, 9)
    for metric in (mmd, lambda *a: mmd(*a, "cubic"), lambda *a: kernel_distance(*a, 5, 10)):
        assert metric(*images) == metric(*rows) == metric(strict_xp.asarray(images[0]), strict_xp.asarray(images[1]))
    assert np.array_equal(images, before)


@pytest.mark.parametrize("kernel", kernels.KERNELS)
def test_memory_is_bounded(kernel, monkeypatch):
    monkeypatch.setattr(kernels, "BLOCK", 2**20)
    monkeypatch.setattr(mg.metrics.neighbours, "BLOCK", 2**20)
    x, y = np.random.default_rng(0).standard_normal((2, 2500, 3))
    tracemalloc.start()
    try:
        mmd(x, y, kernel, 1.0, permutations=5)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16e6  # all pairs: 200 MB


def test_overflow_is_named():
    x = np.random.default_rng(0).standard_normal((20, 3))
    for metric in (lambda: kernel_distance(x * 1e110, x, 2, 5), lambda: mmd(x * 1e110, x, "cubic")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(ValueError, match="^real and fake: their kernel overflows; scale them down"):
                metric()
            with pytest.raises(ValueError, match="overflow|is inf"):
                mmd(x * 1e160, x)


def test_overflow_is_named_without_warnings_of_numpy():
    x = np.random.default_rng(0).standard_normal((20, 3))
    calls = (lambda: kernel_distance(x * 1e110, x, 2, 5), lambda: mmd(x * 1e110, x, "cubic"), lambda: mmd(x * 1e160, x))
    for metric in calls:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(ValueError, match="overflow|is inf"):
                metric()


def test_too_few_points():
    x = np.arange(9.0)
    with pytest.raises(ValueError, match="^real: 9 points are fewer than subset_size=10; pass 4, say"):
        kernel_distance(x, np.arange(10.0), 2, 10)
    with pytest.raises(ValueError, match="^fake: 9 points are fewer than subset_size=1000"):
        kernel_distance(np.zeros(1000), x)
    for pair in ((x[:1], x), (x, x[:1])):
        with pytest.raises(ValueError, match="^real and fake: expected at least 2 points of each"):
            mmd(*pair)
    with pytest.raises(ValueError, match="^bandwidth: the median distance of two points is 0; pass a number > 0"):
        mmd(np.ones(3), np.ones(4))
    assert mmd(np.ones(3), np.ones(4), bandwidth=1.0, permutations=9).p_value == 1.0


BAD = {
    "NaN": ({"real": [[0, 1], [math.nan, 1]]}, r"real: expected finite numbers, got nan at \[1, 0\]"),
    "infinity": ({"fake": [[0, 1], [math.inf, 1]]}, "fake: expected finite numbers"),
    "dimensions": ({"fake": np.eye(4)}, "fake: expected points of 2 numbers, like real, got 4"),
    "nothing": ({"real": np.zeros((0, 2))}, "real: expected at least one number"),
    "a Tensor": ({"fake": mg.tensor(np.zeros((4, 2)))}, "fake: expected an array, got a Tensor"),
}
BAD_MMD = BAD | {
    "kernel": ({"kernel": "linear"}, "kernel: expected one of .'rbf', 'cubic'., got 'linear'"),
    "bandwidth": ({"bandwidth": 0.0}, "bandwidth: expected a finite number > 0, got 0.0"),
    "bandwidth's name": ({"bandwidth": "mean"}, "bandwidth: expected a finite number > 0, got 'mean'"),
    "permutations": ({"permutations": -1}, "permutations: expected an integer >= 0, got -1"),
}
BAD_KID = BAD | {
    "subsets": ({"subsets": 0}, "subsets: expected an integer >= 1, got 0"),
    "subset_size": ({"subset_size": 1}, "subset_size: expected an integer >= 2, got 1"),
    "no integer": ({"subset_size": 2.0}, "subset_size: expected an integer >= 2, got 2.0"),
}


@pytest.mark.parametrize("metric, case", [(mmd, c) for c in BAD_MMD] + [(kernel_distance, c) for c in BAD_KID])
def test_bad_arguments_are_named(metric, case):
    good = {"real": np.eye(5)[:, :2], "fake": np.eye(4)[:, :2]} | ({} if metric is mmd else {"subset_size": 3})
    bad, message = (BAD_MMD if metric is mmd else BAD_KID)[case]
    metric(**good)
    with pytest.raises(ValueError, match=f"^{message}"):
        metric(**(good | bad))


def test_how_mmd_prints():
    line = str(mmd([0.0, 1.0], [3.0, 3.0], permutations=0, biased=True))
    assert line.startswith("mmd ") and line.endswith(
        "n=2, n real 2, kernel rbf, bandwidth 2, biased, squared, permutations 0)"
    )


def test_a_wide_kernel_makes_no_ties():
    """Where k is nearly 1 for all pairs, scores are small differences of large sums, and yet far apart."""
    x, y = np.random.default_rng(0).standard_normal((2, 200, 2)) + np.array([0, 0.8])[:, None, None]
    assert mmd(x, y, bandwidth=1e4, seed=1).p_value == mmd(x, y, bandwidth=1e3, seed=1).p_value == 1 / 201
