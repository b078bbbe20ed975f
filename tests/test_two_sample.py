"""NDB and the classifier two-sample test: against plain loops, planted faults of a generator, the null hypothesis."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigan as mg
from minigan.autodiff.modes import state
from minigan.backend import threads
from minigan.backend.random import stream
from minigan.metrics import Bins, c2st, jensen_shannon, ndb, two_sample
from minigan.nn import init
from tests.strategies import examples, seeds
from tests.strict_array import strict_xp


def clusters(counts, seed=0, noise=0.05):
    """Points around (10 k, 0), counts[k] of them: clusters that no two samples could confuse."""
    centres = np.repeat(np.array([[10.0 * k, 0.0] for k in range(len(counts))]), counts, axis=0)
    return centres + noise * np.random.default_rng(seed).standard_normal(centres.shape)


def normal(seed, *sizes, d=2):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((n, d)) for n in sizes]


# ---- ndb -------------------------------------------------------------------------------------------------------------


def naive_counts(samples, centres):
    counts = [0] * len(centres)
    for x in samples:
        distances = [math.dist(x, centre) for centre in centres]
        counts[distances.index(min(distances))] += 1
    return counts


def naive_different(one, other, alpha):
    """Bins whose two-sided p-value is below alpha."""
    from scipy.stats import norm

    n, m, found = sum(one), sum(other), []
    for k, (a, b) in enumerate(zip(one, other)):
        s = (a + b) / (n + m)
        if 0 < s < 1:
            z = (a / n - b / m) / math.sqrt(s * (1 - s) * (1 / n + 1 / m))
            if 2 * norm.sf(abs(z)) < alpha:
                found.append(k)
    return tuple(found)


@given(seed=seeds, n=st.integers(10, 80), m=st.integers(1, 80), k=st.integers(1, 8), alpha=st.floats(0.001, 0.999))
def test_ndb_is_the_naive_loop(seed, n, m, k, alpha):
    real, fake = normal(seed, n, m)
    fake = fake * 1.5 + 0.3
    bins = Bins(real, k, seed)
    one, other = naive_counts(real, bins.centres), naive_counts(fake, bins.centres)
    found = ndb(real, fake, k, alpha, seed=seed)
    assert bins.counts(real).tolist() == one and bins.counts(fake).tolist() == other
    assert found.different == naive_different(one, other, alpha) and found.value == len(found.different)
    assert found.real_shares == pytest.approx([c / n for c in one])
    assert found.fake_shares == pytest.approx([c / m for c in other])
    js = jensen_shannon(one, other)
    for name in ("jensen_shannon", "quality", "coverage"):
        assert found.details[name] == pytest.approx(js.details[name], abs=1e-14)
    assert found.n == m and found.settings == {"n_real": n, "bins": k, "alpha": alpha}


def test_the_two_proportion_test_by_hand():
    """30 of 100 against 18 of 100: s = 0.24, z = 0.12 / √(0.24 · 0.76 · 0.02) = 1.987, p = 0.047. One fewer is not."""
    bins = Bins([[0.0], [1.0]], 2)
    bins.centres = np.array([[0.0], [1.0]])

    def two(a): return np.repeat([[0.0], [1.0]], [a, 100 - a], axis=0)  # fmt: skip

    assert ndb(two(30), two(18), bins).different == (0, 1)
    assert ndb(two(30), two(19), bins).different == ()
    assert ndb(two(30), two(18), bins, alpha=0.046).different == ()
    assert ndb(two(30), two(18), bins, alpha=0.048).different == (0, 1)
    # Of unequal sizes, pooled: 30 of 100 and 45 of 200, s = 1/4, z = 0.075 / √(3/16 · 0.015) = 1.414, p = 0.1573.
    other = np.repeat([[0.0], [1.0]], [45, 155], axis=0)
    assert ndb(two(30), other, bins, alpha=0.157).different == ()
    assert ndb(two(30), other, bins, alpha=0.158).different == (0, 1)


def test_ndb_finds_what_a_generator_dropped():
    real, fake = clusters([200] * 8), clusters([200, 200, 0, 200, 200, 200, 400, 200], 1)
    bins = Bins(real, 8)
    found = ndb(real, fake, bins)
    where = {int(round(centre[0] / 10)): k for k, centre in enumerate(bins.centres)}
    assert sorted(where) == list(range(8))  # k-means++ with well separated clusters finds them all
    assert set(found.different) == {where[2], where[6]}
    assert found.fake_shares[where[2]] == 0 and found.real_shares[where[2]] == 0.125
    assert found.fake_shares[where[6]] == 0.25
    # The middle has 1/16 and 3/16 there.
    assert found.coverage == pytest.approx((math.log(2) + math.log(2 / 3)) / 16)
    assert found.quality == pytest.approx(math.log(4 / 3) / 8)
    assert ndb(fake, real, bins).quality == found.coverage
    assert found.value > found.floor + 1


def test_a_perfect_sampler_has_alpha_k_different_bins():
    """With fixed bins: the mean of 40 draws, the stated floor and αK agree."""
    (ground,) = normal(99, 2000)
    bins, (runs, alpha) = Bins(ground, 20), (40, 0.1)
    found = [ndb(*normal(seed, 1500, 800), bins, alpha, seed=seed) for seed in range(runs)]
    values, floors = np.array([f.value for f in found]), np.array([f.floor for f in found])
    error = 4 * math.hypot(values.std(ddof=1), floors.std(ddof=1)) / math.sqrt(runs)
    assert values.mean() == pytest.approx(floors.mean(), abs=error)
    assert values.mean() == pytest.approx(alpha * 20, abs=error)
    assert floors.mean() == pytest.approx(alpha * 20, rel=0.1)


def test_ndb_is_reproducible_and_takes_bins_again():
    real, fake = normal(0, 200, 150)
    assert ndb(real, fake, 10) == ndb(real, fake, 10, seed=0) == ndb(real, fake, Bins(real, 10))
    assert np.array_equal(Bins(real, 10, 4).centres, Bins(real, 10, 4).centres)
    assert not np.array_equal(Bins(real, 10, 4).centres, Bins(real, 10, 5).centres)
    assert Bins(real, 10).centres.dtype == np.float64 and Bins(real, 10).centres.shape == (10, 2)
    assert Bins(real, 10).counts(fake).dtype == np.int64 and ndb(real, fake, Bins(fake, 7)).settings["bins"] == 7


def test_the_floor_of_ndb_is_what_a_perfect_sampler_scores():
    """With bins made of the data it is below α K = 1.5, as the bins fit these."""
    rng = np.random.default_rng(0)
    found = [ndb(*rng.standard_normal((2, 600, 6)), 30, seed=i) for i in range(30)]
    values, floors = np.array([(float(f), f.floor) for f in found]).T
    error = np.hypot(values.std(), floors.std()) / np.sqrt(len(found))
    assert abs(values.mean() - floors.mean()) < 3 * error and floors.mean() < 1.2
    made = Bins(rng.standard_normal((600, 6)), 30)
    found = [ndb(*rng.standard_normal((2, 600, 6)), made) for _ in range(30)]
    values, floors = np.array([(float(f), f.floor) for f in found]).T
    assert abs(values.mean() - floors.mean()) < 3 * values.std() / np.sqrt(len(found)) and floors.mean() > 1.2
    assert ndb(*rng.standard_normal((2, 15, 2)), 10).floor is None  # a half has fewer points than bins


def test_ndb_of_images():
    real, fake = np.random.default_rng(0).random((2, 60, 4, 4, 1), np.float32)
    flat = ndb(real.reshape(60, 16), fake.reshape(60, 16), 5)
    assert ndb(real, fake, 5) == flat == ndb(strict_xp.asarray(real), strict_xp.asarray(fake), 5)
    assert ndb(real.astype(np.float64), fake.tolist(), 5) == flat


def test_few_samples_in_a_bin():
    rng = np.random.default_rng(0)

    def users_line():
        return ndb(rng.random((99, 2)), rng.random((200, 2)), 10)

    with pytest.warns(UserWarning, match="^ndb: 99 real and 200 generated samples in 10 bins") as caught:
        assert users_line().floor is None
    assert caught[0].lineno == users_line.__code__.co_firstlineno + 1
    assert ndb(rng.random((199, 2)), rng.random((200, 2)), 10).floor is None
    assert ndb(rng.random((200, 2)), rng.random((200, 2)), 10).floor is not None
    assert ndb(rng.random((200, 2)), rng.random((200, 2)), 10, floor=None).floor is None
    with pytest.raises(ValueError, match='^floor: expected "halves" or None, got 0'):
        ndb(rng.random((200, 2)), rng.random((200, 2)), 10, floor=0)


def test_bins_of_the_same_data_have_the_same_floor():
    rng = np.random.default_rng(0)
    real, fake = rng.standard_normal((2, 400, 3))
    assert ndb(real, fake, Bins(real, 10)).floor == ndb(real, fake, 10).floor
    assert ndb(real, fake, Bins(rng.standard_normal((400, 3)), 10)).floor != ndb(real, fake, 10).floor


def test_few_different_points():
    three = np.repeat([[0.0], [1.0], [2.0]], 40, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sum(Bins(three, 3).counts(three)) == 120
        constant = ndb(np.zeros((20, 2)), np.zeros((10, 2)), 1)
    assert constant.value == constant.floor == constant.jensen_shannon == 0 and constant.real_shares == (1.0,)
    for name, call in (("real", ndb), ("samples", lambda x, _, bins: Bins(x, bins))):
        with pytest.raises(ValueError, match=f"^{name}: expected at least bins=4 different samples, got 3; pass fewer"):
            call(three, three, 4)
        with pytest.raises(ValueError, match=f"^{name}: expected at least bins=100 different samples, got 99"):
            call(np.arange(99.0), three, 100)


def test_bad_arguments_of_ndb():
    x = np.arange(60.0).reshape(30, 2)
    for arguments, message in [
        ({"bins": 0}, "bins: expected an integer >= 1, got 0"),
        ({"bins": 3.0}, "bins: expected an integer >= 1, got 3.0"),
        ({"alpha": 0}, r"alpha: expected a number in \(0, 1\), got 0"),
        ({"alpha": 1}, r"alpha: expected a number in \(0, 1\), got 1"),
        ({"alpha": math.nan}, r"alpha: expected a number in \(0, 1\), got nan"),
        ({"alpha": [0.1, 0.2]}, r"alpha: expected a number in \(0, 1\), got \[0.1, 0.2\]"),
        ({"fake": np.zeros((5, 3))}, "fake: expected points of 2 numbers, like bins, got 3"),
        ({"real": np.full((5, 2), math.nan)}, "real: expected finite numbers"),
        ({"fake": np.full((5, 2), math.nan)}, "fake: expected finite numbers"),
    ]:
        with pytest.raises(ValueError, match=f"^{message}"):
            ndb(**({"real": x, "fake": x, "bins": 3} | arguments))
    with pytest.raises(ValueError, match="^real: expected points of 3 numbers, like bins, got 2"):
        ndb(x, x, Bins(np.random.default_rng(0).random((9, 3)), 3))


def test_alpha_is_a_number():
    with pytest.raises(ValueError, match="^alpha"):
        ndb(np.arange(9.0), np.arange(9.0), 2, alpha="5 %")


def test_the_nearest_centre_is_nearest_far_from_the_mean_too():
    """Ten pairs of centres 0.01 apart, at about 10⁸: each centre belongs to its own bin."""
    far = 1e8 * np.random.default_rng(0).standard_normal((10, 1))
    centres = np.concatenate([far, far + 0.01])
    bins = Bins(centres, 20)
    bins.centres = centres
    assert bins.counts(centres).tolist() == [1] * 20


# ---- c2st: what goes where -------------------------------------------------------------------------------------------


def taken(monkeypatch, real, fake, **arguments):
    """(training samples, are they generated, test samples, the result) of the neighbours' test."""
    seen, original = [], two_sample._neighbours
    with monkeypatch.context() as patch:
        patch.setattr(two_sample, "_neighbours", lambda *args: seen.append(args) or original(*args))
        result = c2st(real, fake, "knn", **arguments)
    train, is_fake, test, k, _ = seen[0]
    assert k == result.settings["nearest_k"]
    return train, is_fake, test, result


@pytest.mark.parametrize("n, m", [(40, 40), (41, 41), (100, 31), (30, 101), (2, 2), (3, 2)])
def test_the_split_is_balanced_and_disjoint(monkeypatch, n, m):
    """Real samples are 0 … n − 1, generated ones −1 … −m: nobody is in both halves, or there twice."""
    real, fake, each = np.arange(n) * 1.0, -1.0 - np.arange(m), min(n, m)
    train, is_fake, test, found = taken(monkeypatch, real, fake)
    train, test = train[:, 0], test[:, 0]
    assert np.array_equal(train < 0, is_fake) and set(train) | set(test) <= set(real) | set(fake)
    assert len(set(train)) == len(train) == found.n_train == 2 * (each // 2)
    assert len(set(test)) == len(test) == found.n == 2 * (each - each // 2) and not set(train) & set(test)
    assert (train < 0).sum() == len(train) / 2 and (test < 0).sum() == len(test) / 2
    assert found.settings == {"classifier": "knn", "nearest_k": max(1, math.isqrt(len(train)))}


def test_the_split_is_random(monkeypatch):
    """Each sample is as often in one half as in the other, and of the larger set all take part in the end."""
    real, fake, times = np.arange(20) * 1.0, -1.0 - np.arange(60), {"train": np.zeros(80), "test": np.zeros(80)}
    for seed in range(200):
        train, _, test, _ = taken(monkeypatch, real, fake, seed=seed)
        for name, half in (("train", train), ("test", test)):
            times[name][np.where(half[:, 0] < 0, 19 - half[:, 0], half[:, 0]).astype(int)] += 1
    for half in times.values():
        assert half[:20] == pytest.approx(100, abs=4.5 * math.sqrt(200 / 4))
        assert half[20:] == pytest.approx(200 / 6, abs=4.5 * math.sqrt(200 * 5 / 36))


@examples(0.7)
@given(seed=seeds, n=st.integers(10, 60), d=st.integers(1, 5), k=st.sampled_from([None, 1, 3, 5]))
def test_the_neighbours_are_scikit_learn_s(seed, n, d, k):
    neighbours = pytest.importorskip("sklearn.neighbors")
    real, fake = normal(seed, n, n + 3, d=d)
    with pytest.MonkeyPatch.context() as patch:
        train, _, test, found = taken(patch, real, fake, seed=seed % 1000, nearest_k=k)
    kind = {row.tobytes(): label for rows, label in ((real, 0), (fake, 1)) for row in rows}
    labels, truth = ([kind[row.tobytes()] for row in rows] for rows in (train, test))
    k = found.settings["nearest_k"]
    votes = neighbours.KNeighborsClassifier(k).fit(train, labels).predict_proba(test)[:, 1]
    right = ((votes > 0.5) == np.array(truth)) & (votes != 0.5)
    ties = int((votes == 0.5).sum())
    assert right.sum() <= round(found.value * found.n) <= right.sum() + ties and (k % 2 == 0 or not ties)


def test_ties_of_votes_are_broken_at_random(monkeypatch):
    """Two neighbours, one of each kind, for everybody: half of the verdicts are right, not all and not none."""
    pairs = np.repeat(np.arange(200.0), 2)
    found = []
    for seed in range(10):
        train, is_fake, test, result = taken(monkeypatch, pairs, pairs, nearest_k=2, seed=seed)
        votes = np.array([is_fake[np.argsort(abs(train[:, 0] - x), kind="stable")[:2]].sum() for x in test[:, 0]])
        found.append(result.value)
        assert (votes == 1).any()
    assert 0.2 < np.mean(found) < 0.8 and len(set(found)) > 1
    scores = two_sample._neighbours(
        np.array([[0.0], [0.0]]), np.array([False, True]), np.zeros((400, 1)), 2, stream(0, "x")
    )
    assert set(scores) == {-1, 1} and abs(scores.sum()) < 4 * 20


# ---- c2st: the null hypothesis, and what is not ----------------------------------------------------------------------


def check_null(accuracies, p_values, null_std, narrow):
    """Mean ½ within 4 standard errors; not wider than the null, and as wide; p below α at most α of the time."""
    accuracies, runs = np.array(accuracies), len(accuracies)
    assert accuracies.mean() == pytest.approx(0.5, abs=4 * null_std / math.sqrt(runs))
    assert narrow < accuracies.std(ddof=1) / null_std < 1 + 4 / math.sqrt(2 * runs)
    for alpha in (0.05, 0.25):
        assert np.mean(np.array(p_values) <= alpha) <= alpha + 4 * math.sqrt(alpha * (1 - alpha) / runs)


def test_the_neighbours_under_the_null():
    found = [c2st(*normal(seed, 60, 60), "knn", seed) for seed in range(500)]
    assert found[0].null_std == 0.5 / math.sqrt(60) and found[0].n == found[0].n_train == 60
    check_null([f.value for f in found], [f.exact_p_value for f in found], found[0].null_std, 0.85)


def test_the_network_under_the_null():
    found = [c2st(*normal(seed, 60, 60), seed=seed, epochs=4) for seed in range(200)]
    check_null([f.value for f in found], [f.exact_p_value for f in found], found[0].null_std, 0.6)


@pytest.mark.parametrize("classifier", ["network", "knn"])
def test_separated_sets_are_told_apart(classifier):
    real, fake = normal(0, 100, 100)
    found = c2st(real, fake + 20, classifier)
    assert found.value == 1 and found.spread == 0 and found.floor == 0.5
    assert found.exact_p_value == pytest.approx(2.0**-100) and found.p_value < 1e-20
    assert c2st(real + 20, fake, classifier).value == 1


@pytest.mark.parametrize("classifier", ["network", "knn"])
def test_a_shift_is_found(classifier):
    """The best accuracy for N(0, 1) against N(1, 1) is Φ(½) = 0.691."""
    found = [c2st(x, y + [1, 0], classifier, seed) for seed in range(3) for x, y in [normal(seed, 400, 400)]]
    assert np.mean([f.value for f in found]) == pytest.approx(0.67, abs=0.05)
    assert all(f.p_value < 1e-3 for f in found)


@pytest.mark.parametrize("classifier", ["network", "knn"])
def test_what_no_line_can_tell_apart(classifier):
    """Two diagonals: same means, same variances per axis."""
    rng = np.random.default_rng(0)
    signs, other = rng.choice([-3.0, 3.0], (2, 300, 1))
    real, fake = signs * [1, 1] + 0.5 * normal(1, 300)[0], other * [1, -1] + 0.5 * normal(2, 300)[0]
    assert c2st(real, fake, classifier).value > 0.97


def test_copies_are_found_below_one_half():
    """A copy is in the training half with probability ½, and then votes wrongly; else the vote is fair: ¼ in all."""
    values = []
    for seed in range(10):
        (real,) = normal(seed, 200, d=5)
        found = c2st(real, real.copy(), "knn", seed, nearest_k=1)
        values.append(found.value)
        assert found.p_value > 0.999 and found.exact_p_value > 0.999
    assert np.mean(values) == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("classifier", ["network", "knn"])
def test_constant_features(classifier):
    """All samples alike: one verdict for all, right for one half. A constant feature beside others changes nothing."""
    same = c2st(np.ones((40, 3)), np.ones((40, 3)), classifier, epochs=3, nearest_k=3)
    assert same.value == 0.5 and same.p_value == 0.5
    x, y = normal(0, 60, 60)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = c2st(np.insert(x, 1, 7.0, axis=1), np.insert(y + 9, 1, 7.0, axis=1), classifier, epochs=200)
    assert found.value == 1


@given(n=st.integers(2, 60), shift=st.sampled_from([0.0, 0.5, 1.0, 5.0]), seed=st.integers(0, 10**6))
def test_p_values_are_scipy_s(n, shift, seed):
    from scipy.stats import binomtest, norm

    x, y = normal(seed, n, n)
    found = c2st(x, y + shift, "knn", seed)
    right = round(found.value * found.n)
    assert found.exact_p_value == pytest.approx(binomtest(right, found.n, alternative="greater").pvalue, rel=1e-9)
    assert found.p_value == pytest.approx(norm.sf((found.value - 0.5) * 2 * math.sqrt(found.n)), rel=1e-9)
    assert found.null_std == 1 / (2 * math.sqrt(found.n))
    assert found.spread == pytest.approx(math.sqrt(found.value * (1 - found.value) / found.n))


def test_nobody_right_is_a_p_value_of_one():
    """Test samples whose only neighbours are the other kind's."""
    points = np.repeat(np.arange(2.0), 1)
    values = [c2st(points, points, "knn", seed, nearest_k=1) for seed in range(20)]
    worst = [f for f in values if f.value == 0]
    assert worst and all(f.exact_p_value == 1 and f.p_value > 0.9 for f in worst)


# ---- c2st: the network -----------------------------------------------------------------------------------------------


def test_the_network_is_the_one_described(monkeypatch):
    """Dense–ReLU–Dense of 20 units; Adam at 1e-3; batches of 64 of 128 training samples: 2 steps an epoch."""
    made, steps = [], []

    class Spy(mg.optim.Adam):
        def __init__(self, parameters, **settings):
            made.append((parameters := list(parameters), settings))
            super().__init__(parameters, **settings)

        def zero_grad(self):
            steps.append("zero_grad")
            super().zero_grad()

        def step(self):
            steps.append("step")
            super().step()

    monkeypatch.setattr(two_sample.optim, "Adam", Spy)
    x, y = normal(0, 128, 128, d=3)
    found = c2st(x, y, epochs=2)
    ((parameters, settings),) = made
    assert [p.shape for p in parameters] == [(3, 20), (20,), (20, 1), (1,)] and settings == {"lr": 1e-3}
    assert all(p.dtype == np.float32 for p in parameters) and steps == 4 * ["zero_grad", "step"]
    assert found.settings == {"classifier": "network", "hidden": 20, "epochs": 2}
    c2st(x, y, hidden=7, epochs=1)
    assert [p.shape for p in made[1][0]] == [(3, 7), (7,), (7, 1), (1,)]
    c2st(x, y)
    assert len(steps) == 2 * (4 + 2 + 100 * 2)


def test_the_units_of_the_features_do_not_matter_to_the_network():
    """Powers of 2 are exact; of any shift, only rounding is left."""
    x, y = normal(0, 80, 80, d=3)
    y += 0.5
    one = c2st(x, y, epochs=10)
    assert c2st(x * [2.0**30, 2.0**-30, 4], y * [2.0**30, 2.0**-30, 4], epochs=10) == one
    assert c2st(x + 1000, y + 1000, epochs=10).value == pytest.approx(one.value, abs=0.05)


@pytest.mark.parametrize("classifier", ["network", "knn"])
def test_c2st_is_reproducible_and_decided_by_the_seed(classifier):
    x, y = normal(0, 100, 90)
    one = c2st(x, y, classifier, 3, epochs=3)
    assert c2st(x, y, classifier, 3, epochs=3) == one == c2st(x.tolist(), strict_xp.asarray(y), classifier, 3, epochs=3)
    assert len({c2st(x, y, classifier, seed, epochs=3).value for seed in range(8)}) > 2
    images = c2st(x.reshape(100, 2, 1, 1), y.reshape(90, 1, 2, 1), classifier, 3, epochs=3)
    assert images == one


def test_c2st_leaves_everything_as_it_was():
    x, y = normal(0, 30, 30)
    before = x.copy(), y.copy()
    old, recording, single = np.random.get_state()[1:3], state.recording, threads.blas_is_single  # noqa: NPY002
    blas = [count() for count, _ in threads._openblas()]
    for classifier in two_sample.CLASSIFIERS:
        c2st(x, y, classifier, epochs=2)
    now = np.random.get_state()[1:3]  # noqa: NPY002
    assert np.array_equal(now[0], old[0]) and now[1] == old[1]
    assert state.recording is recording and threads.blas_is_single is single
    assert [count() for count, _ in threads._openblas()] == blas
    assert np.array_equal(x, before[0]) and np.array_equal(y, before[1])


def test_c2st_does_not_change_the_networks_made_after_it():
    before = repr(init._drawn)
    c2st(*normal(0, 8, 8), epochs=1)
    assert repr(init._drawn) == before


def test_c2st_inside_no_grad():
    x, y = normal(0, 20, 20)
    with mg.no_grad():
        found = c2st(x, y, epochs=2)
    assert found == c2st(x, y, epochs=2)


def test_bad_arguments_of_c2st():
    x = np.random.default_rng(0).random((20, 2))
    for arguments, message in [
        ({"fake": x[:1]}, "real and fake: expected at least 2 samples of each, got 20 and 1"),
        ({"fake": np.zeros((5, 3))}, "fake: expected points of 2 numbers, like real, got 3"),
        ({"real": np.full((5, 2), math.nan)}, "real: expected finite numbers"),
        ({"fake": np.full((5, 2), math.inf)}, "fake: expected finite numbers"),
        ({"classifier": "svm"}, r"classifier: expected one of \('network', 'knn'\), got 'svm'"),
        ({"hidden": 0}, "hidden: expected an integer >= 1, got 0"),
        ({"epochs": 0}, "epochs: expected an integer >= 1, got 0"),
        ({"epochs": 1.5}, "epochs: expected an integer >= 1, got 1.5"),
        ({"classifier": "knn", "nearest_k": -1}, "nearest_k: expected an integer >= 1, got -1"),
        ({"classifier": "knn", "nearest_k": 2.5}, "nearest_k: expected an integer >= 1, got 2.5"),
        ({"classifier": "knn", "nearest_k": 21}, "nearest_k: expected at most 20, the training samples, got 21"),
    ]:
        with pytest.raises(ValueError, match=f"^{message}"):
            c2st(**({"real": x, "fake": x} | arguments))
    with pytest.raises(ValueError, match=r"^real: expected an array, got a Tensor: pass its \.numpy\(\)"):
        c2st(mg.tensor(x), x)


@pytest.mark.parametrize("k", [0, False])
def test_no_neighbours_are_refused(k):
    x = np.random.default_rng(0).random((20, 2))
    with pytest.raises(ValueError, match="^nearest_k: expected an integer >= 1"):
        c2st(x, x, "knn", nearest_k=k)


def test_measuring_while_a_game_is_played_changes_nothing():
    """A classifier trained in a callback takes no random numbers, no threads and no memory from the game around it."""
    from minigan.experiment import Experiment
    from minigan.games import Metrics, play
    from minigan.metrics import mnist_features

    def played(callbacks):
        made = Experiment(
            {"data": {"name": "ring", "n": 400}, "networks": {"name": "mlp", "width": 8}, "latent_dim": 2}
        )
        columns = play(made.game, made.solver, 6, callbacks(made)).columns
        return columns, [p.numpy() for p in made.game.G.parameters() + made.game.D.parameters()]

    def measuring(made):
        data, z = made.dataset.samples[:100], made.game.latent(100)
        digit = np.where(np.arange(784).reshape(1, 28, 28, 1) % 3, -1, 1).astype(np.float32)
        functions = {"c2st": lambda g: c2st(data, g.sample(z), epochs=2)}
        return [Metrics(functions | {"seen": lambda g: mnist_features(digit).features.sum()}, every=2)]

    (with_metrics, weights), (without, same) = played(measuring), played(lambda made: [])
    assert np.isfinite(with_metrics["metric/c2st"][1::2]).all() and "metric/c2st" not in without
    for a, b in zip(weights, same):
        assert np.array_equal(a, b)
