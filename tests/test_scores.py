"""Inception score, divergences of histograms, Parzen windows and the sliced distance: by hand and against plain loops.

The floors are held against what equal distributions really score on average.
"""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigan as mg
from minigan import transport
from minigan.data import mnist
from minigan.metrics import inception_score, jensen_shannon, kl, parzen_log_likelihood, sliced_wasserstein
from tests.strategies import examples, seeds
from tests.strict_array import strict_xp

LOG2 = math.log(2)
P = np.array([5, 3, 2, 1, 8, 7, 5, 9, 2, 1])  # Prince 2023, notebook 15.2
Q = np.array([4, 10, 1, 1, 4, 6, 3, 2, 0, 1])


def close(mean, samples, extra=0.0):
    """Is ``mean`` the mean of what ``samples`` are drawn from, up to 4 standard errors?"""
    samples = np.asarray(samples)
    return abs(samples.mean() - mean) <= 4 * math.hypot(samples.std(ddof=1) / math.sqrt(len(samples)), extra)


# ---- inception score -------------------------------------------------------------------------------------------------


def naive_inception(logits, splits):
    """(mean, standard deviation) of the score of probabilities, one sample at a time."""
    n, scores = len(logits), []
    for i in range(splits):
        part = logits[i * n // splits : (i + 1) * n // splits]
        p = [np.exp(row - row.max()) / np.exp(row - row.max()).sum() for row in part]
        q = sum(p) / len(p)
        scores.append(math.exp(sum(float((row * np.log(row / q)).sum()) for row in p) / len(p)))
    mean = sum(scores) / splits
    return mean, math.sqrt(sum((s - mean) ** 2 for s in scores) / splits)


@given(seed=seeds, n=st.integers(1, 60), classes=st.integers(2, 7), data=st.data())
def test_inception_score_is_the_naive_loop(seed, n, classes, data):
    splits = data.draw(st.integers(1, min(n, 11)))
    logits = 3 * np.random.default_rng(seed).standard_normal((n, classes))
    found, (mean, deviation) = inception_score(logits, splits), naive_inception(logits, splits)
    assert found.value == pytest.approx(mean, rel=1e-12)
    assert (found.spread or 0.0) == pytest.approx(deviation, abs=1e-12 * classes)
    assert (found.spread is None) == (splits == 1)
    assert 1 - 1e-12 <= found.value <= classes * (1 + 1e-12)
    assert found.n == n and found.settings == {"classes": classes, "splits": splits}


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_inception_score_by_hand(classes):
    never_sure = inception_score(np.full((5 * classes, classes), 7.0), 1)
    assert never_sure.value == pytest.approx(1, rel=1e-12) and not never_sure.spread
    sure = inception_score(1e4 * np.tile(np.eye(classes), (5, 1)), 5)
    assert sure.value == pytest.approx(classes, rel=1e-12) and (sure.spread or 0) == pytest.approx(0, abs=1e-9)
    one_class = inception_score(1e4 * np.tile(np.eye(classes)[:1], (20, 1)))
    assert one_class.value == pytest.approx(1, rel=1e-12) and one_class.floor is None


def test_inception_score_of_two_samples_by_hand():
    """p(y|x) = (3/4, 1/4) and (1/4, 3/4): exp(log 2 − H(1/4))."""
    logits = np.log([[0.75, 0.25], [0.25, 0.75]])
    expected = 2 * 0.75**0.75 * 0.25**0.25
    assert inception_score(logits, splits=1).value == pytest.approx(expected, rel=1e-12)
    assert inception_score(logits, splits=2).value == pytest.approx(1, rel=1e-12)  # alone, each is its own mean


def test_the_parts_are_consecutive_and_their_deviation_has_ddof_0():
    """7 samples in 3 parts: [0, 2), [2, 4), [4, 7)."""
    logits = 1e4 * np.eye(3)[[0, 1, 2, 2, 0, 1, 2]]
    found = inception_score(logits, splits=3)
    assert found.value == pytest.approx((2 + 1 + 3) / 3) and found.spread == pytest.approx(np.std([2, 1, 3]))


def test_the_default_is_ten_parts():
    logits = np.random.default_rng(0).standard_normal((57, 4))
    assert inception_score(logits) == inception_score(logits, 10) != inception_score(logits, 9)
    with pytest.raises(ValueError, match=r"^logits: 9 samples are fewer than splits=10; pass fewer splits"):
        inception_score(logits[:9])


@pytest.mark.parametrize("size", [1e4, 1e9, 1e30])
def test_extreme_logits(size):
    logits = np.random.default_rng(0).choice([-size, size, 0.0], (40, 5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = inception_score(logits, 4)
    probabilities = (logits == logits.max(axis=1, keepdims=True)) * 1.0
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    expected = []
    for part in probabilities.reshape(4, 10, 5):
        ratio = np.where(part > 0, part / np.maximum(part.mean(axis=0), 1e-300), 1)
        expected.append(math.exp((part * np.log(ratio)).sum(axis=1).mean()))
    assert found.value == pytest.approx(np.mean(expected), rel=1e-12)


@given(seed=seeds, shift=st.sampled_from([-1000.0, 0.5, 4096.0]))
def test_a_number_added_to_a_sample_s_logits_changes_nothing(seed, shift):
    logits = np.round(64 * np.random.default_rng(seed).standard_normal((30, 4))) / 64
    moved = logits + shift * np.arange(30)[:, None]
    assert inception_score(moved, 3).value == pytest.approx(inception_score(logits, 3).value, rel=1e-12)


def test_the_floor_of_the_inception_score_is_that_of_as_many_real_samples():
    rng = np.random.default_rng(0)
    fake, real = rng.standard_normal((50, 4)), 5 * rng.standard_normal((120, 4))
    found = inception_score(fake, 5, real)
    assert found.floor == inception_score(real[:50], 5).value != inception_score(real, 5).value
    assert found.value == inception_score(fake, 5).value
    with pytest.raises(ValueError, match="^real_logits: expected at least 50, as many as logits, got 30"):
        inception_score(fake, 5, real[:30])


@pytest.mark.parametrize("p", [np.full((20, 4), 0.25), np.eye(4)[[0, 1, 2, 3] * 5], np.float32([[0.9, 0.1]] * 12)])
def test_probabilities_are_no_logits(p):
    with pytest.raises(ValueError, match="^logits: these are probabilities; pass their logarithms"):
        inception_score(p)
    assert 1 <= inception_score(np.log(np.maximum(p, 1e-30))).value <= 4


def test_the_inception_score_s_bias():
    """Sure predictions of K equal classes: a part's score is too low by about (K − 1) s / 2n of itself."""
    k, n, splits, rng = 10, 5000, 10, np.random.default_rng(0)
    scores = [inception_score(1e4 * np.eye(k)[rng.integers(k, size=n)], splits).value for _ in range(20)]
    assert 1 - np.mean(scores) / k == pytest.approx((k - 1) * splits / 2 / n, rel=0.15)


def test_bad_arguments_of_the_inception_score():
    good, bad = np.zeros((20, 3)), np.zeros((20, 3))
    bad[4, 1] = math.nan
    for arguments, message in [
        ({"logits": np.zeros(20)}, r"logits: expected \(n, classes\) of at least 2 classes, got shape \(20,\)"),
        ({"logits": np.zeros((20, 1))}, r"logits: expected .* at least 2 classes, got shape \(20, 1\)"),
        ({"logits": bad}, r"logits: expected finite numbers, got nan at \[4, 1\]"),
        ({"logits": np.zeros((0, 3))}, "logits: expected at least one number"),
        ({"splits": 0}, "splits: expected an integer >= 1, got 0"),
        ({"splits": 2.0}, "splits: expected an integer >= 1, got 2.0"),
        ({"splits": 21}, "logits: 20 samples are fewer than splits=21"),
        ({"real_logits": np.zeros((20, 4))}, "real_logits: expected 3 classes, got 4"),
        ({"real_logits": bad}, "real_logits: expected finite numbers"),
        ({"real_logits": good[:9]}, "real_logits: expected at least 20, as many as logits, got 9"),
    ]:
        with pytest.raises(ValueError, match=f"^{message}"):
            inception_score(**({"logits": good} | arguments))


# ---- divergences of histograms ---------------------------------------------------------------------------------------


def naive_kl(p, q):
    p, q = [x / sum(p) for x in p], [x / sum(q) for x in q]
    return sum(a * math.log(a / b) if b else math.inf for a, b in zip(p, q) if a)


@st.composite
def histograms(draw):
    """Two lists of counts with some empty bins, none all empty."""
    k, rng = draw(st.integers(1, 12)), np.random.default_rng(draw(seeds))
    p, q = rng.integers(0, draw(st.sampled_from([2, 5, 1000])), (2, k))
    p[rng.integers(k)] += 1
    q[rng.integers(k)] += 1
    return p, q


def test_the_book_s_histograms():
    assert kl(P, Q).value == math.inf and kl(P, Q).missed == pytest.approx(2 / 43)
    assert kl(Q, P).value == pytest.approx(0.364711, abs=5e-7) and kl(Q, P).missed == 0
    assert jensen_shannon(P, Q).value == pytest.approx(0.0841782, abs=5e-8)


@given(pair=histograms())
def test_kl_is_the_naive_sum_and_scipy_s(pair):
    from scipy.stats import entropy

    p, q = pair
    found = kl(p, q)
    assert found.value == pytest.approx(naive_kl(p, q), abs=1e-12)
    assert found.value == pytest.approx(entropy(p, q), abs=1e-12)
    assert found.missed == pytest.approx(p[q == 0].sum() / p.sum()) and (found.value == math.inf) == (found.missed > 0)
    assert found.n == p.sum() and found.settings == {"bins": p.size}
    assert not math.isnan(found.floor) and found.floor >= 0


@given(pair=histograms())
def test_jensen_shannon_is_scipy_s_and_its_halves_are_divergences_to_the_middle(pair):
    from scipy.spatial.distance import jensenshannon

    real, fake = pair
    found, swapped = jensen_shannon(real, fake), jensen_shannon(fake, real)
    middle = real / real.sum() + fake / fake.sum()
    assert found.value == pytest.approx(jensenshannon(real, fake) ** 2, abs=1e-12)
    assert found.quality == pytest.approx(naive_kl(fake, middle) / 2, abs=1e-12)
    assert found.coverage == pytest.approx(naive_kl(real, middle) / 2, abs=1e-12)
    assert found.value == found.details["jensen_shannon"] == found.quality + found.coverage
    assert (swapped.quality, swapped.coverage) == (found.coverage, found.quality)
    assert swapped.value == found.value and -1e-15 <= found.value <= LOG2 + 1e-15
    assert found.n == fake.sum() and found.floor == found.perfect["jensen_shannon"]
    assert found.floor == found.perfect["quality"] + found.perfect["coverage"] <= LOG2


def test_quality_is_about_samples_where_no_data_are():
    """Data on one bin, samples on two: ½ KL(fake ‖ m) = ½ (½ log ⅔ + ½ log 2), ½ KL(real ‖ m) = ½ log 4/3."""
    spilling = jensen_shannon([1.0, 0.0], [0.5, 0.5])
    assert spilling.quality == pytest.approx(math.log(4 / 3) / 4)
    assert spilling.coverage == pytest.approx(math.log(4 / 3) / 2)
    # Samples nowhere where no data are: all that quality can blame is too many in one place.
    many = 10
    outside = jensen_shannon([1.0, *[0.0] * many], [0.5, *[0.5 / many] * many])
    dropped = jensen_shannon([0.5, *[0.5 / many] * many], [1.0, *[0.0] * many])
    assert (outside.quality, outside.coverage) == (dropped.coverage, dropped.quality)
    assert outside.quality == pytest.approx((math.log(2 / 3) / 2 + LOG2 / 2) / 2)


def test_disjoint_and_identical_histograms():
    apart = jensen_shannon([0.25, 0.75, 0, 0], [0, 0, 0.5, 0.5])
    assert apart.value == pytest.approx(LOG2, rel=1e-15)
    assert apart.quality == pytest.approx(LOG2 / 2) and apart.coverage == pytest.approx(LOG2 / 2)
    same = jensen_shannon(P, 3 * P)
    assert (same.value, same.quality, same.coverage) == pytest.approx((0, 0, 0), abs=1e-16)
    assert kl(P, 3 * P).value == pytest.approx(0, abs=1e-16)


def test_counts_and_probabilities():
    counts, shares = jensen_shannon(P, Q), jensen_shannon(P / 43, Q / 7)
    assert shares.value == pytest.approx(counts.value, rel=1e-14)
    assert counts.n == 32 and shares.n is None and shares.floor is None
    assert shares.perfect == {"jensen_shannon": None, "quality": None, "coverage": None}
    assert kl(Q / 32, P / 43).floor is None and kl(Q / 32, P / 43).n is None
    assert kl(Q / 32, P).n is None and kl(Q, P / 43).n == 32
    assert kl(Q.astype(np.uint8), P.tolist()).n == 32


def test_all_axes_are_bins():
    assert jensen_shannon(P.reshape(5, 2), Q.reshape(5, 2)) == jensen_shannon(P, Q)
    assert kl(Q.reshape(5, 2), P.reshape(5, 2)) == kl(Q, P)


@pytest.mark.parametrize("name, n, m", [("both", 300, 120), ("real", 300, None), ("fake", None, 120)])
def test_the_floor_is_the_mean_over_equal_distributions(name, n, m):
    """Three numbers, each within 4 standard errors of the mean of 300 pairs."""
    truth, rng, found = P / P.sum(), np.random.default_rng(0), []
    for seed in range(300):
        real = truth if n is None else rng.multinomial(n, truth)
        found.append(jensen_shannon(real, truth if m is None else rng.multinomial(m, truth), seed))
    for key in ("jensen_shannon", "quality", "coverage"):
        floors = np.array([f.perfect[key] for f in found])
        assert close(floors.mean(), [f.details[key] for f in found], floors.std() / math.sqrt(len(floors)))
    inverse = (1 / n if n else 0) + (1 / m if m else 0)
    assert np.mean([f.floor for f in found]) == pytest.approx((len(truth) - 1) / 8 * inverse, rel=0.1)


@pytest.mark.parametrize("n, m", [(4000, 1500), (4000, None), (None, 1500)])
def test_the_floors_of_large_counts(n, m):
    """JS (K − 1)/8 · (1/n + 1/m), halved between quality and coverage; KL (K − 1)/2 · (1/n + 1/m)."""
    truth = np.full(20, 0.05)
    real, fake = (truth if size is None else (size * truth).astype(int) for size in (n, m))
    inverse = (1 / n if n else 0) + (1 / m if m else 0)
    js = np.mean([list(jensen_shannon(real, fake, seed).perfect.values()) for seed in range(5)], axis=0)
    assert js == pytest.approx(np.array([1, 0.5, 0.5]) * 19 / 8 * inverse, rel=0.05)
    assert np.mean([kl(real, fake, seed).floor for seed in range(5)]) == pytest.approx(19 / 2 * inverse, rel=0.05)


def test_the_floor_of_two_different_histograms_is_that_of_their_union():
    """Both draw from (n p + m q) / (n + m), which here has 3 bins in use for each."""
    alone = jensen_shannon([500, 500, 0], [0, 1000, 1000], 3)
    assert alone.perfect == jensen_shannon([167, 500, 333], [333, 1000, 667], 3).perfect
    assert alone.floor == pytest.approx(2 / 8 * (1 / 1000 + 1 / 2000), rel=0.3)
    # With exact probabilities on one side it is those that are drawn from: two bins only.
    exact = np.mean([jensen_shannon([0.5, 0.5, 0.0], [100, 100, 800], seed).floor for seed in range(5)])
    assert exact == pytest.approx(1 / 8 / 1000, rel=0.2)


def test_the_floor_of_kl_is_infinite_where_a_bin_may_stay_empty():
    assert kl([9, 1], [9, 1]).floor == math.inf
    assert kl([9, 1], [0.9, 0.1]).floor < math.inf  # q is exact, so nothing is missed


def test_divergences_are_reproducible():
    assert jensen_shannon(P, Q, 1) == jensen_shannon(P, Q, 1) != jensen_shannon(P, Q, 2)
    assert kl([90, 10], [90, 10], 1) == kl([90, 10], [90, 10], 1) != kl([90, 10], [90, 10], 2)


@pytest.mark.parametrize(
    "bad, message",
    [
        ([0, 0], "expected a histogram with something in it, got the sum 0"),
        ([1, -1], "expected counts or probabilities >= 0, got -1"),
        ([1.0, math.nan], r"expected finite numbers, got nan at \[1\]"),
        ([1e308, 1e308], "expected a histogram with something in it, got the sum inf"),
        ([True, False], "expected an array of real numbers, got list"),
        ([], "expected at least one number"),
        (3, r"expected a histogram \(K,\), got a single number"),
    ],
)
def test_bad_histograms(bad, message):
    with np.errstate(over="ignore"):
        for function, names in ((kl, "pq"), (jensen_shannon, ("real", "fake"))):
            for i, name in enumerate(names):
                pair = [[1, 2], [1, 2]]
                pair[i] = bad
                with pytest.raises(ValueError, match=f"^{name}: {message}"):
                    function(*pair)


def test_histograms_of_different_bins():
    with pytest.raises(ValueError, match="^q: expected bins of shape \\(2,\\), like p, got \\(3,\\)"):
        kl([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match=r"^fake: expected bins of shape \(2,\), like real, got \(3,\)"):
        jensen_shannon([1, 2], [1, 2, 3])


# ---- Parzen windows --------------------------------------------------------------------------------------------------


def naive_parzen(test, windows, sigma):
    """Log-likelihoods of test points, one window at a time."""
    from scipy.stats import multivariate_normal

    d = test.shape[1]
    density = sum(multivariate_normal(y, sigma**2 * np.eye(d)).pdf(test) for y in windows) / len(windows)
    return np.log(np.atleast_1d(density))


@given(seed=seeds, n=st.integers(2, 20), m=st.integers(1, 20), d=st.integers(1, 4))
def test_parzen_is_the_mixture_of_gaussians(seed, n, m, d):
    rng = np.random.default_rng(seed)
    real, fake, sigma = rng.standard_normal((n, d)), rng.standard_normal((m, d)), rng.uniform(0.5, 2)
    found, scores = parzen_log_likelihood(real, fake, sigma), naive_parzen(real, fake, sigma)
    assert found.value == pytest.approx(scores.mean(), rel=1e-10, abs=1e-10)
    assert found.spread == pytest.approx(scores.std(ddof=1) / math.sqrt(n), rel=1e-8, abs=1e-12)
    assert found.n == m and found.settings == {"n_real": n, "sigma": sigma} and found.floor is None


@pytest.mark.parametrize("d", [1, 3, 784])
def test_one_window_by_hand(d):
    """log p(x) = −‖x − y‖² / 2σ² − d log(σ √2π), here ‖x − y‖² = 4d."""
    found = parzen_log_likelihood(np.full((1, d), 2.0), np.zeros((1, d)), 0.5)
    assert found.value == pytest.approx(-4 * d / 2 / 0.25 - d * math.log(0.5 * math.sqrt(2 * math.pi)), rel=1e-13)
    assert found.spread is None


def test_far_points_have_a_likelihood_too():
    """Where every density underflows to 0, the logarithm is still known."""
    found = parzen_log_likelihood([[1000.0]], [[0.0], [0.0]], 1.0)
    assert found.value == pytest.approx(-5e5 - 0.5 * math.log(2 * math.pi), rel=1e-15)


def test_blocks_change_nothing(monkeypatch):
    from minigan.metrics import parzen

    rng = np.random.default_rng(0)
    real, fake = rng.standard_normal((50, 3)), rng.standard_normal((20, 3))
    whole = parzen_log_likelihood(real, fake, [0.3, 0.5, 1.0, 3.0])
    for rows in (1, 7):
        monkeypatch.setattr(parzen, "BLOCK", 8 * 20 * rows)
        assert parzen_log_likelihood(real, fake, [0.3, 0.5, 1.0, 3.0]) == whole


SIGMAS = [0.05, 0.2, 0.5, 1.0, 5.0]


def test_sigma_is_the_best_on_the_validation_points():
    """The validation points ask for another width than the test points."""
    rng = np.random.default_rng(0)
    fake, validation = rng.standard_normal((40, 2)), 0.5 * rng.standard_normal((30, 2))
    for real in (validation, 20 + rng.standard_normal((10, 2))):
        found = parzen_log_likelihood(real, fake, SIGMAS, validation)
        best = SIGMAS[int(np.argmax([naive_parzen(validation, fake, s).mean() for s in SIGMAS]))]
        assert found.settings == {"n_real": len(real), "sigma": best} and best != 5.0
        assert found == parzen_log_likelihood(real, fake, best)


@pytest.mark.filterwarnings("ignore:parzen_log_likelihood. the best sigma")
def test_without_validation_points_a_tenth_is_drawn_and_not_tested(monkeypatch):
    from minigan.metrics import parzen

    seen, original = [], parzen._log_likelihood

    def spy(x, centres, sigmas):
        seen.append((x.copy(), len(sigmas)))
        return original(x, centres, sigmas)

    monkeypatch.setattr(parzen, "_log_likelihood", spy)
    real, fake = np.arange(57.0)[:, None] / 57, np.random.default_rng(0).random((40, 1))
    one = parzen_log_likelihood(real, fake, SIGMAS)
    (validation, tried), (test, last) = seen
    assert (len(validation), len(test)) == (5, 52) and (tried, last) == (5, 1) and one.settings["n_real"] == 52
    assert sorted(np.concatenate([validation, test])[:, 0]) == real[:, 0].tolist()  # each point once
    assert one == parzen_log_likelihood(test, fake, SIGMAS, validation)
    assert parzen_log_likelihood(real, fake, SIGMAS, seed=0) == one != parzen_log_likelihood(real, fake, SIGMAS, seed=1)
    assert parzen_log_likelihood(real, fake, 0.2).settings["n_real"] == 57  # nothing to choose


def test_the_default_widths_are_those_of_2014():
    real, fake = np.random.default_rng(0).standard_normal((2, 200, 2))
    found, widths = parzen_log_likelihood(real, fake), np.logspace(-1, 0, 10)
    assert found == parzen_log_likelihood(real, fake, widths) and widths[0] < found.settings["sigma"] < widths[-1]


def test_a_width_at_the_end_of_the_range_warns_at_the_user_s_line():
    rng = np.random.default_rng(0)
    real, fake = rng.standard_normal((2, 60, 2))
    for sigmas, end in (([0.01, 0.02, 0.03], "0.03"), ([50.0, 10.0, 20.0], "10")):
        with pytest.warns(UserWarning, match=f"the best sigma is {end}, at the end of the range") as caught:
            parzen_log_likelihood(real, fake, sigmas)
        assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parzen_log_likelihood(real, fake, [0.01, 0.5, 50.0])
        parzen_log_likelihood(real, fake, 0.01)


@pytest.mark.filterwarnings("ignore:parzen_log_likelihood. the best sigma")
def test_the_floor_of_parzen_is_what_real_windows_score():
    rng = np.random.default_rng(0)
    real, fake, more = rng.standard_normal((60, 2)), 3 + rng.standard_normal((80, 2)), rng.standard_normal((80, 2))
    validation = rng.standard_normal((20, 2))
    found = parzen_log_likelihood(real, fake, SIGMAS, validation, floor=more)
    own = parzen_log_likelihood(real, more, SIGMAS, validation)
    assert (
        found.floor == pytest.approx(own.value, rel=1e-12) and own.settings["sigma"] != found.settings["sigma"]
    )  # a width of its own
    one = parzen_log_likelihood(real, fake, 0.5, floor=more)
    assert one.floor == pytest.approx(parzen_log_likelihood(real, more, 0.5).value, rel=1e-12)
    assert one.floor > one.value
    fewer = [parzen_log_likelihood(real, fake[:5], 0.5, floor=more, seed=i).floor for i in range(10)]
    assert max(fewer) < one.floor  # no more windows than the generator has
    assert parzen_log_likelihood(real, fake, 0.5, floor=None).floor is None


def test_the_floor_of_parzen_from_two_halves():
    real = np.random.default_rng(0).standard_normal((61, 2))
    found = parzen_log_likelihood(real, real + 5, 0.5, floor="halves", seed=3)
    many = [parzen_log_likelihood(real, real + 5, 0.5, floor="halves", seed=seed).floor for seed in range(40)]
    assert found.floor == many[3] and len(set(many)) == 40
    # Half of the points under windows on the others: with the windows in the test they would score more.
    order = np.random.default_rng(1)
    halves = [np.split(order.permutation(real), [30]) for _ in range(40)]
    expected = [naive_parzen(test, windows, 0.5).mean() for windows, test in halves]
    assert close(np.mean(many), expected, np.std(many) / math.sqrt(40))
    assert np.mean(many) < parzen_log_likelihood(real, real, 0.5).value - 0.1


def test_the_halves_leave_the_validation_points_out(monkeypatch):
    from minigan.metrics import parzen

    seen, original = [], parzen.pair_of_real
    monkeypatch.setattr(parzen, "pair_of_real", lambda real, *rest: seen.append(real) or original(real, *rest))
    parzen_log_likelihood(np.arange(50.0), np.arange(40.0), [0.5, 1, 10, 100], floor="halves")
    assert seen[0].shape == (45, 1)


def test_averages_of_the_training_images_score_better_than_real_images():
    """Theis, van den Oord, Bethge 2016: 50 k-means centres of MNIST beat 50 of its images, blurs of classes too."""
    from scipy.cluster.vq import kmeans2

    train, held_out = mnist("train"), mnist("test")
    images, labels = (train.images[:1500].reshape(1500, -1) + 1) / 2, train.labels[:1500]
    test, validation = np.split((held_out.images[:200].reshape(200, -1) + 1) / 2, [150])
    centres, _ = kmeans2(images, images[:50].copy(), iter=5, minit="matrix")
    blurs = np.stack([images[labels == k].mean(axis=0) for k in range(10)])
    scores = {
        name: parzen_log_likelihood(test, windows, validation=validation).value
        for name, windows in {"real": images[-50:], "centres": centres, "few": images[-10:], "blurs": blurs}.items()
    }
    assert scores["centres"] > scores["real"] + 50 and scores["blurs"] > scores["few"] + 50
    assert scores["blurs"] > scores["real"]  # ten smudges against fifty digits


def test_bad_arguments_of_parzen():
    x = np.zeros((20, 2))
    for arguments, message in [
        ({"fake": np.zeros((5, 3))}, "fake: expected points of 2 numbers, like real, got 3"),
        ({"real": np.full((5, 2), math.inf)}, "real: expected finite numbers"),
        ({"sigma": 0}, "sigma: expected a finite number > 0, got 0"),
        ({"sigma": [0.1, -1]}, "sigma: expected a finite number > 0, got -1"),
        ({"sigma": []}, "sigma: expected at least one width"),
        ({"sigma": None}, "sigma: expected a finite number > 0, got None"),
        ({"sigma": "wide"}, "sigma: expected a finite number > 0, got 'wide'"),
        ({"sigma": SIGMAS, "validation": np.zeros((3, 1))}, "validation: expected points of 2 numbers, like real"),
        ({"sigma": SIGMAS, "real": x[:1]}, "real: one point is not enough to choose sigma and to test"),
        ({"floor": "half"}, "floor: expected \"halves\", an array of further real samples, or None, got 'half'"),
        ({"floor": np.zeros((3, 5))}, "floor: expected points of 2 numbers, like real, got 5"),
    ]:
        with pytest.raises(ValueError, match=f"^{message}"):
            parzen_log_likelihood(**({"real": x, "fake": x, "sigma": 0.5} | arguments))


# ---- sliced Wasserstein ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [1, 2, 3.5])
def test_the_sliced_distance_is_transport_s(p):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((30, 2, 2, 1)), rng.standard_normal((20, 2, 2, 1)) + 1
    found = sliced_wasserstein(x, y, p, 17, seed=5)
    assert found.value == transport.sliced_wasserstein(x.reshape(30, -1), y.reshape(20, -1), p, 17, 5)
    assert found.n == 20 and found.settings == {"n_real": 30, "p": p, "projections": 17} and found.spread is None
    assert sliced_wasserstein(x, y).value == transport.sliced_wasserstein(x, y, 2, 200, 0)


def test_translations():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 1))
    assert sliced_wasserstein(x, x + 3, floor=None).value == pytest.approx(3)  # on the line every direction is alike
    x = rng.standard_normal((50, 2))
    # In the plane the mean of |cos|ᵖ: 2/π for p = 1, 1/2 for p = 2.
    moved = x + [3.0, 4.0]
    assert sliced_wasserstein(x, moved, 1, 4000).value == pytest.approx(5 * 2 / math.pi, rel=0.03)
    assert sliced_wasserstein(x, moved, 2, 4000).value == pytest.approx(5 / math.sqrt(2), rel=0.03)


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("variant", ["halves", "further"])
def test_the_floor_of_the_sliced_distance(p, variant):
    """Within a tenth of what equal distributions score, for sizes far from those it is measured with."""
    values, floors = [], []
    for seed in range(60):
        x, y, more = np.split(np.random.default_rng(seed).standard_normal((900, 2)), [300, 400])
        found = sliced_wasserstein(x, y, p, 40, "halves" if variant == "halves" else more, seed)
        values.append(found.value)
        floors.append(found.floor)
    error = np.std(floors) / math.sqrt(60)
    assert close(np.mean(floors), values, math.hypot(error, 0.025 * np.mean(values)))


def test_the_floor_of_the_sliced_distance_by_hand():
    """One point of the data, one further: scaled from sizes 1 and 1 to 1 and 4."""
    found = sliced_wasserstein([[0.0]], np.full((4, 1), 9.0), floor=[[2.0]])
    assert found.value == pytest.approx(9) and found.floor == pytest.approx(2 * math.sqrt((1 + 1 / 4) / 2))
    halves = sliced_wasserstein([[0.0], [2.0], [2.0], [0.0]], np.zeros((4, 1)), seed=2)
    assert halves.floor == pytest.approx(0) or halves.floor == pytest.approx(2 * math.sqrt(1 / 2))
    assert sliced_wasserstein([[0.0]], [[1.0]]).floor is None  # one point has no halves
    assert sliced_wasserstein([[0.0], [1.0]], [[1.0]], floor=None).floor is None


def test_bad_arguments_of_the_sliced_distance():
    x = np.zeros((20, 2))
    for arguments, message in [
        ({"fake": np.zeros((5, 3))}, "fake: expected points of 2 numbers, like real, got 3"),
        ({"real": [[math.nan, 0]]}, "real: expected finite numbers"),
        ({"n_projections": 0}, "n_projections: expected an integer >= 1, got 0"),
        ({"p": 0.5}, "p: "),
        ({"floor": "none"}, "floor: expected"),
        ({"floor": np.zeros((20, 3))}, "floor: expected points of 2 numbers, like real, got 3"),
    ]:
        with pytest.raises(ValueError, match=f"^{message}"):
            sliced_wasserstein(**({"real": x, "fake": x} | arguments))


# ---- all of them -----------------------------------------------------------------------------------------------------

SOME = np.random.default_rng(0).random((2, 24, 3))
METRICS = {
    "inception_score": lambda x, y: inception_score(x, 4, y),
    "kl": lambda x, y: kl(x, y),
    "jensen_shannon": lambda x, y: jensen_shannon(x, y),
    "parzen": lambda x, y: parzen_log_likelihood(x, y, [0.01, 0.2, 1.0], floor="halves"),
    "sliced": lambda x, y: sliced_wasserstein(x, y, n_projections=5),
}


@pytest.mark.parametrize("name", METRICS)
def test_what_arrays_are_taken_and_that_they_are_not_changed(name):
    x, y = SOME[0].copy(), SOME[1].copy()
    found = METRICS[name](x, y)
    assert np.array_equal(x, SOME[0]) and np.array_equal(y, SOME[1])
    assert METRICS[name](strict_xp.asarray(x), strict_xp.asarray(y)) == found
    assert METRICS[name](x.tolist(), y.tolist()) == found
    with pytest.raises(ValueError, match=r"got a Tensor: pass its \.numpy\(\)"):
        METRICS[name](mg.tensor(x), y)


@examples(0.5)
@given(seed=seeds)
def test_float32_is_computed_in_float64(seed):
    x, y = np.random.default_rng(seed).random((2, 24, 3), np.float32)
    for metric in METRICS.values():
        assert metric(x, y) == metric(x.astype(np.float64), y.astype(np.float64))
