"""Mode coverage: against a naive loop, against what theory says of a perfect sampler, and on generators that failed."""

import copy
import dataclasses
import json
import math
import pickle
import tracemalloc
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigan as mg
from minigan.data import grid, grid_modes, ring, ring_modes
from minigan.metrics import MetricResult, mode_coverage, modes
from tests.strategies import seeds
from tests.strict_array import strict_xp

N = 2500
H = 1 - math.exp(-4.5)  # 98.889 %: of a round Gaussian in the plane, this share lies within three σ
MIXTURES = {"ring": (ring, ring_modes(), 0.01), "grid": (grid, grid_modes(), 0.05)}


def naive(samples, centres, std, threshold, only_high_quality):
    """(modes, share of high quality, reverse KL), one sample and one centre at a time."""
    counts, good = [0] * len(centres), [0] * len(centres)
    for x in samples:
        distances = [math.dist(x, centre) for centre in centres]
        k = distances.index(min(distances))
        counts[k] += 1
        good[k] += distances[k] <= threshold * std
    histogram = good if only_high_quality else counts
    total, kl = sum(histogram), 0.0
    for c in histogram:
        kl += c / total * math.log(c / total * len(centres)) if c else 0.0
    return sum(c > 0 for c in good), sum(good) / len(samples), kl if total else math.nan


@st.composite
def problems(draw):
    """Samples, different centres on a lattice of whole numbers, σ and threshold: often near, sometimes far away."""
    d, n, k = draw(st.integers(1, 4)), draw(st.integers(1, 40)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(seeds))
    centres = np.stack(np.unravel_index(rng.choice(7**d, size=k, replace=False), (7,) * d), axis=1) * 1.0
    std = draw(st.sampled_from([0.05, 0.2, 1.0]))
    noise = draw(st.sampled_from([0.5, 1.0, 5.0])) * std
    samples = centres[rng.integers(k, size=n)] + noise * rng.standard_normal((n, d))
    return samples, centres, std, draw(st.sampled_from([1.0, 2.5, 3.0]))


# ---- the definition --------------------------------------------------------------------------------------------------


@given(problem=problems(), only=st.booleans(), dtype=st.sampled_from(["float32", "float64"]))
def test_it_is_the_naive_loop(problem, only, dtype):
    samples, centres, std, threshold = problem
    samples = samples.astype(dtype)
    found = mode_coverage(samples, centres, std, threshold, only)
    count, share, kl = naive(samples.astype(np.float64), centres, std, threshold, only)
    details = found.details
    assert float(found) == details["modes"] == count
    assert details["high_quality"] == pytest.approx(share, abs=1e-12)
    assert details["reverse_kl"] == pytest.approx(kl, abs=1e-12, nan_ok=True)
    assert sum(details["counts"]) == found.n == len(samples)
    assert sum(c > 0 for c in details["high_quality_counts"]) == count


@given(problem=problems(), seed=seeds)
def test_the_order_of_samples_and_centres_does_not_matter(problem, seed):
    samples, centres, std, threshold = problem
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(len(samples)), rng.permutation(len(centres))
    one = mode_coverage(samples, centres, std, threshold).details
    other = mode_coverage(samples[rows], centres[columns], std, threshold).details
    for name in ("counts", "high_quality_counts"):
        assert tuple(np.array(one[name])[columns]) == other[name]
    for name in ("modes", "high_quality", "reverse_kl"):
        assert one[name] == pytest.approx(other[name], abs=1e-12)


@given(problem=problems(), times=st.integers(2, 5))
def test_samples_repeated_change_nothing_but_n(problem, times):
    samples, centres, std, threshold = problem
    one = mode_coverage(samples, centres, std, threshold)
    many = mode_coverage(np.repeat(samples, times, axis=0), centres, std, threshold)
    assert many.n == times * one.n
    for name in ("modes", "high_quality", "reverse_kl"):
        assert one.details[name] == pytest.approx(many.details[name], abs=1e-12)


@given(problem=problems(), rows=st.integers(1, 41))
def test_blocks_change_nothing(problem, rows):
    whole, (_, centres, *_) = mode_coverage(*problem), problem
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modes, "BLOCK", 8 * rows * sum(centres.shape))
        assert mode_coverage(*problem) == whole  # bit for bit


@given(problem=problems(), scale=st.sampled_from([2.0**-10, 2.0**10]), shift=st.sampled_from([0.0, 1.0]))
def test_units_and_origin_do_not_matter(problem, scale, shift):
    samples, centres, std, threshold = problem
    samples = np.round(samples * 2**20) / 2**20  # so that the shift is exact
    moved = mode_coverage(scale * (samples + shift), scale * (centres + shift), scale * std, threshold)
    assert moved.details == mode_coverage(samples, centres, std, threshold).details


def test_within_the_threshold_means_up_to_it():
    found = mode_coverage([[3.0], [np.nextafter(3.0, 4)], [-3.0]], [[0.0], [100.0]], std=1)
    assert found.details["high_quality_counts"] == (2, 0)
    assert found.details["counts"] == (3, 0)


def test_integers_and_lists_are_numbers_too():
    found = mode_coverage([[0, 0], [5, 5], [9, 0]], np.array([[0, 0], [5, 5]], np.uint8), std=1)
    assert found.details["counts"] == (1, 2) and found.details["high_quality_counts"] == (1, 1)


def test_nothing_it_is_given_is_changed():
    samples, centres = ring(100, 0), ring_modes()
    before = samples.copy(), centres.copy()
    mode_coverage(samples, centres, 0.01)
    assert np.array_equal(samples, before[0]) and np.array_equal(centres, before[1])


def test_small_distances_survive_a_far_origin():
    """With ‖x‖² − 2x·μ + ‖μ‖² a distance of 0.03 at 10⁸ would be noise."""
    offsets = np.array([[0.0], [0.015625], [0.03125], [0.0625]])  # exact at 10⁸ in float64
    assert mode_coverage(1e8 + offsets, [[1e8], [1e8 + 10]], std=0.0125).details["high_quality_counts"] == (3, 0)


# ---- a perfect sampler -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", MIXTURES)
def test_a_perfect_sampler_scores_what_it_should(name, seed):
    """Within 4 standard deviations each: p < 1e-4 for a band to fail by chance, and the seeds are fixed."""
    sample, centres, std = MIXTURES[name]
    k = len(centres)
    found = mode_coverage(sample(N, seed), centres, std)
    assert found.value == k and found.floor == pytest.approx(k, abs=1e-9)
    assert found.details["high_quality"] == pytest.approx(H, abs=4 * math.sqrt(H * (1 - H) / N))
    assert found.details["reverse_kl"] == pytest.approx((k - 1) / 2 / N, abs=4 * math.sqrt((k - 1) / 2) / N)


@pytest.mark.parametrize("only", [False, True])
@pytest.mark.parametrize("name", MIXTURES)
def test_the_means_over_many_perfect_samplers(name, only):
    sample, centres, std = MIXTURES[name]
    k, runs = len(centres), 300
    found = [mode_coverage(sample(N, seed), centres, std, only_high_quality=only).details for seed in range(runs)]
    perfect = found[0]["perfect"]
    for key, expected in (("high_quality", H), ("reverse_kl", (k - 1) / 2 / N)):
        scores = np.array([f[key] for f in found])
        error = scores.std(ddof=1) / math.sqrt(runs)
        assert scores.mean() == pytest.approx(perfect[key], abs=4 * error)
        if not only:
            assert scores.mean() == pytest.approx(expected, abs=4 * error)


def test_a_strict_threshold_leaves_fewer_samples_and_more_noise():
    """Within one σ lie 39 %: the reverse KL of those alone is (K − 1) / 2hn on average."""
    h, runs = 1 - math.exp(-0.5), 300
    found = [mode_coverage(ring(N, seed), ring_modes(), 0.01, 1.0, True).details for seed in range(runs)]
    scores = np.array([f["reverse_kl"] for f in found])
    assert scores.mean() == pytest.approx(7 / 2 / h / N, abs=4 * scores.std(ddof=1) / math.sqrt(runs))
    assert found[0]["perfect"]["reverse_kl"] == pytest.approx(7 / 2 / h / N, rel=0.01)


@pytest.mark.parametrize("n", [1, 8, 40])
def test_few_samples_of_a_perfect_sampler(n):
    """Where not every mode is captured, and (K − 1) / 2n is not yet true."""
    runs = 2000
    x = ring(n * runs, 0).reshape(runs, n, 2)
    found = [mode_coverage(some, ring_modes(), 0.01) for some in x]
    for key in ("modes", "reverse_kl"):
        scores = np.array([f.details[key] for f in found])
        error = scores.std(ddof=1) / math.sqrt(runs)
        assert scores.mean() == pytest.approx(found[0].details["perfect"][key], abs=4 * error + 1e-12)
    assert found[0].floor == found[0].details["perfect"]["modes"] == pytest.approx(8 * (1 - (1 - H / 8) ** n))


@pytest.mark.parametrize("d, threshold, share", [(1, 1, math.erf(1 / math.sqrt(2))), (1, 3, math.erf(3 / math.sqrt(2))),
                                                 (2, 3, H), (2, 1, 1 - math.exp(-0.5)),
                                                 (4, 2, 1 - 3 * math.exp(-2)), (1200, 10, 0.0)])  # fmt: skip
def test_high_quality_of_a_perfect_sampler_is_the_chi_distribution(d, threshold, share):
    found = mode_coverage(np.zeros((1, d)), np.zeros((1, d)), 1.0, threshold)
    assert found.details["perfect"]["high_quality"] == pytest.approx(share, rel=1e-12, abs=1e-100)


def test_the_famous_number():
    assert mode_coverage(ring(N, 0), ring_modes(), 0.01).details["perfect"]["high_quality"] == pytest.approx(
        0.98889, abs=5e-6
    )


@given(n=st.integers(1, 30), k=st.integers(1, 30))
def test_expected_reverse_kl_is_the_sum_over_all_counts(n, k):
    """log K + K Σ_c P(c) (c/n) log(c/n), as it stands."""
    chances = [comb(n, c) * (k - 1) ** (n - c) / k**n for c in range(n + 1)]
    expected = math.log(k) + k * sum(p * c / n * math.log(c / n) for c, p in enumerate(chances) if c)
    assert modes.expected_reverse_kl(n, k) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("k", [2, 8, 25, 1000])
def test_expected_reverse_kl_tends_to_its_first_term(k):
    """Two terms of the series: (K − 1) / 2n + (K² − 1) / 12n²."""
    for n in (200 * k, 10_000 * k, 10**6 * k):
        first, second = (k - 1) / 2 / n, (k**2 - 1) / 12 / n**2
        got = modes.expected_reverse_kl(n, k)
        assert got == pytest.approx(first, rel=0.01)
        assert got == pytest.approx(first + second, rel=max(1e-8, (k / n) ** 2))


# ---- generators that failed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [1, 3, 8])
def test_a_collapsed_generator(m):
    centres = ring_modes()
    samples = np.repeat(centres[:m], 240, axis=0) + 0.01 * np.random.default_rng(0).standard_normal((240 * m, 2))
    found = mode_coverage(samples, centres, 0.01)
    assert found.value == m
    assert found.details["reverse_kl"] == pytest.approx(math.log(8 / m), abs=1e-12)
    assert found.details["counts"] == (240,) * m + (0,) * (8 - m)
    assert found.details["high_quality"] == pytest.approx(H, abs=4 * math.sqrt(H * (1 - H) / 240 / m))


@pytest.mark.parametrize("blur", [2, 4])
def test_a_blurred_generator(blur):
    """Rayleigh: of noise with b·σ, 1 − exp(−9 / 2b²) lies within 3σ; all modes are there and evenly served."""
    centres = grid_modes()
    details = mode_coverage(grid(N, 0, std=0.05 * blur), centres, 0.05).details
    h = 1 - math.exp(-4.5 / blur**2)
    assert details["modes"] == 25
    assert details["high_quality"] == pytest.approx(h, abs=4 * math.sqrt(h * (1 - h) / N))
    assert details["reverse_kl"] < 4 * details["perfect"]["reverse_kl"]


def test_a_generator_that_is_nowhere_near():
    samples = ring(N, 0, radius=50.0)  # right angles, wrong radius
    found = mode_coverage(samples, ring_modes(), 0.01)
    assert float(found) == 0 and found.details["high_quality"] == 0
    assert found.details["reverse_kl"] < 0.01  # all samples count for the nearest mode …
    only = mode_coverage(samples, ring_modes(), 0.01, only_high_quality=True)
    assert math.isnan(only.details["reverse_kl"])  # … unless one asks for those of high quality
    assert "0 of 8 modes, high quality 0.0 %" in str(only)


def test_what_only_high_quality_leaves_out():
    """Two modes served evenly by sharp samples, and blurred ones near the first alone."""
    samples = [[0.0]] * 10 + [[10.0]] * 10 + [[2.0]] * 20
    every, good = (mode_coverage(samples, [[0.0], [10.0]], 0.1, only_high_quality=only) for only in (False, True))
    assert good.details["reverse_kl"] == 0
    assert every.details["reverse_kl"] == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert every.value == good.value == 2 and every.details["high_quality"] == good.details["high_quality"] == 0.5


# ---- where the arrays are, how much memory ---------------------------------------------------------------------------


def test_device_arrays():
    samples, centres = ring(200, 0), ring_modes()
    assert mode_coverage(strict_xp.asarray(samples), strict_xp.asarray(centres), 0.01) == mode_coverage(
        samples, centres, 0.01
    )


@pytest.mark.parametrize("n, k, d", [(200_000, 1000, 2), (1_000_000, 1, 2), (20_000, 3, 300)])
def test_memory_is_bounded(n, k, d):
    rng = np.random.default_rng(0)
    samples, centres = rng.random((n, d), np.float32), rng.random((k, d))
    mode_coverage(samples[:10], centres, 0.01)  # SciPy is imported
    tracemalloc.start()
    try:
        mode_coverage(samples, centres, 0.01)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 32e6  # all distances at once: 1.6 GB in the first case


# ---- what is refused -------------------------------------------------------------------------------------------------

GOOD = {"samples": np.zeros((5, 2)), "centres": np.eye(2), "std": 0.1}
NAN, INFINITE = np.zeros((5, 2)), np.eye(2)
NAN[3, 1], INFINITE[1, 0] = np.nan, np.inf
BAD = {
    "no samples": ({"samples": np.zeros((0, 2))}, r"samples: expected at least one number, got shape \(0, 2\)"),
    "no dimensions": ({"samples": np.zeros((5, 0))}, r"samples: expected at least one number, got shape \(5, 0\)"),
    "flat samples": ({"samples": np.zeros(5)}, "centres: expected points of 1 numbers, like samples, got 2"),
    "images": ({"samples": np.zeros((5, 2, 2, 1))}, "centres: expected points of 4 numbers, like samples, got 2"),
    "NaN": ({"samples": NAN}, r"samples: expected finite numbers, got nan at \[3, 1\] \(1 such"),
    "ragged": ({"samples": [[1, 2], [3]]}, r"samples: expected an array .* got list \(\[\[1, 2\], \[3\]\]\)"),
    "None": ({"samples": None}, "samples: expected an array of real numbers, got NoneType"),
    "complex": ({"samples": np.zeros((5, 2), complex)}, "samples: expected .* got ndarray .dtype complex128"),
    "no centres": ({"centres": np.zeros((0, 2))}, r"centres: expected at least one number, got shape \(0, 2\)"),
    "flat centres": ({"centres": np.zeros(2)}, "centres: expected points of 2 numbers, like samples, got 1"),
    "infinity": ({"centres": INFINITE}, r"centres: expected finite numbers, got inf at \[1, 0\]"),
    "dimensions": ({"centres": np.eye(3)}, "centres: expected points of 2 numbers, like samples, got 3"),
    "equal centres": ({"centres": np.ones((3, 2))}, "centres: expected 3 different points"),
    "zero std": ({"std": 0}, "std: expected a finite number > 0, got 0"),
    "negative std": ({"std": -0.1}, "std: expected a finite number > 0, got -0.1"),
    "NaN std": ({"std": math.nan}, "std: expected a finite number > 0, got nan"),
    "many stds": ({"std": [0.1, 0.1]}, r"std: expected a finite number > 0, got \[0.1, 0.1\]"),
    "a word": ({"std": "small"}, "std: expected a finite number > 0, got 'small'"),
    "zero threshold": ({"threshold": 0.0}, "threshold: expected a finite number > 0, got 0.0"),
    "infinite threshold": ({"threshold": math.inf}, "threshold: expected a finite number > 0, got inf"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_named(case):
    bad, message = BAD[case]
    mode_coverage(**GOOD)
    with pytest.raises(ValueError, match=f"^{message}"):
        mode_coverage(**(GOOD | bad))


def test_a_tensor_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"samples: expected an array, got a Tensor: pass its \.numpy\(\)"):
        mode_coverage(mg.tensor(np.zeros((5, 2))), np.eye(2), 0.1)


# ---- the result ------------------------------------------------------------------------------------------------------


def test_how_it_prints():
    samples = np.concatenate([np.repeat(ring_modes(), 100, axis=0), np.full((200, 2), 5.0)])
    expected = "mode_coverage: 8 of 8 modes, high quality 80.0 % (perfect 98.9 %), reverse KL 0.11 (perfect 0.0035), "
    found = mode_coverage(samples, ring_modes(), 0.01)
    assert str(found) == repr(found) == expected + "n=1000, threshold 3σ"
    assert found.details["counts"] == (100, 300, 100, 100, 100, 100, 100, 100)
    assert found.settings == {"std": 0.01, "threshold": 3.0, "only_high_quality": False}


@pytest.mark.parametrize(
    "result, line",
    [
        (
            MetricResult("reverse_kl", 0.0712, 2500, 0.003, 0.0014, {"threshold": "3σ"}),
            "reverse_kl 0.0712 ± 0.003 (floor 0.0014, n=2500, threshold 3σ)",
        ),
        (
            MetricResult("mmd", -0.000123451, 64, settings={"biased": False, "squared": True}),
            "mmd -0.0001235 (n=64, not biased, squared)",
        ),
        (
            MetricResult("distance", 123456.7, 10, settings={"nearest_k": 5, "scale": 0.1}),
            "distance 123457 (n=10, nearest k 5, scale 0.1)",
        ),
        (MetricResult("kl", math.inf, 1), "kl inf (n=1)"),
        (MetricResult("kl", math.nan, 1, floor=1e12), "kl nan (floor 1e+12, n=1)"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_results_in_one_line(result, line):
    assert str(result) == repr(result) == line


def test_a_result_is_a_number_and_is_frozen():
    settings = {"biased": False}
    result = MetricResult("mmd", np.float32(0.5), np.int64(10), np.float64(0.1), np.array(0.25), settings)
    assert float(result) == result.value == 0.5
    assert [type(x) for x in (result.value, result.n, result.spread, result.floor)] == [float, int, float, float]
    for name in ("value", "floor", "settings", "anything"):
        with pytest.raises((dataclasses.FrozenInstanceError, TypeError)):
            setattr(result, name, 1.0)
    settings["biased"] = True
    assert result.settings == {"biased": False}
    assert MetricResult("mmd", 0.5, 10).spread is MetricResult("mmd", 0.5, 10).floor is None


def test_results_are_equal_hashed_and_stored():
    one, same, other = (mode_coverage(ring(50, seed), ring_modes(), 0.01) for seed in (0, 0, 1))
    assert one == same and one != other and len({one, same, other}) == 2
    assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == dataclasses.replace(one) == one
    stored = json.loads(json.dumps(dataclasses.asdict(one)))
    assert stored["details"]["perfect"] == one.details["perfect"] and stored["n"] == 50
