"""Neighbours against plain loops, bit for bit; precision, recall, density, coverage against `prdc` and theory."""

import math
import re
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigan as mg
from minigan.metrics import density_coverage, manifolds, neighbours, precision_recall
from tests.strategies import examples, seeds
from tests.strict_array import strict_xp

# ---- oracles: one pair at a time -------------------------------------------------------------------------------------


def squared(x, y):
    """All ‖xᵢ − yⱼ‖², each from its own difference."""
    return np.array([[np.square(a - b).sum() for b in y] for a in x])


def naive_radii(x, k):
    others = [np.delete(row, i) for i, row in enumerate(squared(x, x))]
    return np.array([sorted(row)[k - 1] for row in others])


def naive_scores(real, fake, k):
    """(precision, recall, density, coverage), as they are defined."""
    distance, of_real, of_fake = squared(real, fake), naive_radii(real, k), naive_radii(fake, k)
    n, m = distance.shape
    in_real = [[distance[i, j] < of_real[i] for j in range(m)] for i in range(n)]
    in_fake = [[distance[i, j] < of_fake[j] for j in range(m)] for i in range(n)]
    return (
        sum(any(in_real[i][j] for i in range(n)) for j in range(m)) / m,
        sum(any(in_fake[i]) for i in range(n)) / n,
        sum(map(sum, in_real)) / (k * m),
        sum(map(any, in_real)) / n,
    )


def scores(real, fake, k):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(real|fake): .* neighbourhoods are empty")
        pr, dc = precision_recall(real, fake, k, floor=None), density_coverage(real, fake, k)
    return pr.precision, pr.recall, dc.density, dc.coverage


KINDS = ("normal", "lattice", "copies", "far", "outlier", "small and large", "near ties")


@st.composite
def clouds(draw, largest=30):
    """(x, y): points where distances are equal, or lost in the rounding of a matrix product."""
    kind, d = draw(st.sampled_from(KINDS)), draw(st.sampled_from([1, 2, 3, 5, 8, 17, 64]))
    n, m = draw(st.integers(2, largest)), draw(st.integers(1, largest))
    rng = np.random.default_rng(draw(seeds))
    both = rng.standard_normal((n + m, d))
    if kind == "lattice":
        both = rng.integers(-1, 2, (n + m, d)).astype(float)
    elif kind == "copies":
        both = both[rng.integers(0, max(2, (n + m) // 3), n + m)]
    elif kind == "far":
        both = both + draw(st.sampled_from([1e6, 1e7, 1e8]))
    elif kind == "outlier":
        both[rng.integers(n + m)] *= 1e8 / np.linalg.norm(both[0])
    elif kind == "small and large":
        both *= 10.0 ** rng.integers(-8, 9, (n + m, 1))
    elif kind == "near ties":  # a lattice whose distances differ in the last digits
        both = rng.integers(-1, 2, (n + m, d)) * (1 + 1e-15 * rng.integers(-2, 3, (n + m, d)))
    return both[:n], both[n:]


rows_in_a_block = st.integers(1, 40)


def in_blocks(rows, width):
    patch = pytest.MonkeyPatch()
    patch.setattr(neighbours, "BLOCK", 8 * rows * width)
    return patch


# ---- neighbours ------------------------------------------------------------------------------------------------------


@examples(3)
@given(pair=clouds(), share=st.floats(0, 1), rows=rows_in_a_block)
def test_the_kth_distance_is_that_of_the_plain_loop(pair, share, rows):
    x, _ = pair
    k = 1 + round(share * (len(x) - 2))
    expected = naive_radii(x, k)
    assert np.array_equal(neighbours.kth_squared_distance(x, k), expected)  # bit for bit
    patch = in_blocks(rows, len(x))
    try:
        assert np.array_equal(neighbours.kth_squared_distance(x, k), expected)
    finally:
        patch.undo()


@examples(3)
@given(pair=clouds(), share=st.floats(0, 1), rows=rows_in_a_block)
def test_what_is_inside_balls_is_that_of_the_plain_loop(pair, share, rows):
    x, y = pair
    radii = naive_radii(x, 1 + round(share * (len(x) - 2)))
    expected = squared(x, y) < radii[:, None]
    patch = in_blocks(rows, len(y))
    try:
        found = neighbours.inside_balls(x, radii, y)
    finally:
        patch.undo()
    for got, whole, axis in zip(found, neighbours.inside_balls(x, radii, y), (1, 0)):
        assert got.dtype == np.int64
        assert np.array_equal(got, expected.sum(axis=axis)) and np.array_equal(whole, got)


@examples(2)
@given(pair=clouds(), rows=rows_in_a_block, share=st.floats(0, 1))
def test_the_nearest_points_come_in_order_the_first_of_equals_first(pair, rows, share):
    x, y = pair
    k = 1 + round(share * (len(x) - 1))
    patch = in_blocks(rows, len(x))
    try:
        assert np.array_equal(neighbours.nearest(x, y, k), np.argsort(squared(y, x), axis=1, kind="stable")[:, :k])
    finally:
        patch.undo()


def chosen_distances(x, y, k):
    found = neighbours.nearest(x, y, k)
    assert found.shape == (len(y), k) and found.dtype == np.int64
    assert all(len(set(row)) == k for row in found.tolist())
    distance = squared(y, x)
    return np.sort(np.take_along_axis(distance, found, axis=1), axis=1), np.sort(distance, axis=1)[:, :k]


@given(seed=seeds, n=st.integers(1, 30), m=st.integers(1, 30), d=st.integers(1, 20), share=st.floats(0, 1))
def test_the_nearest_points_are_those_of_the_plain_loop(seed, n, m, d, share):
    rng = np.random.default_rng(seed)
    got, expected = chosen_distances(
        rng.standard_normal((n, d)), rng.standard_normal((m, d)), 1 + round(share * (n - 1))
    )
    assert np.array_equal(got, expected)


@examples(2)
@given(pair=clouds(), share=st.floats(0, 1))
def test_the_nearest_points_where_a_product_cannot_tell(pair, share):
    x, y = pair
    got, expected = chosen_distances(x, y, 1 + round(share * (len(x) - 1)))
    assert np.array_equal(got, expected)


@given(pair=clouds())
def test_blocks_keep_their_word_on_their_error(pair):
    """‖x − y‖² in long double is within the error that is promised, also where nothing but the error is left."""
    x, y = pair
    for rows, distance, error in neighbours.blocks(x, y):
        exact = np.square(x[rows, None].astype(np.longdouble) - y).sum(axis=2)
        assert (abs(distance - exact) <= error).all()


def test_memory_is_bounded():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((20_000, 3)), rng.standard_normal((2000, 3))
    radii = np.full(len(x), 0.01)
    patch = pytest.MonkeyPatch()
    patch.setattr(neighbours, "BLOCK", 2**20)  # all distances: 320 MB
    peaks = []
    try:
        for task in (
            lambda: neighbours.inside_balls(x, radii, y),
            lambda: neighbours.kth_squared_distance(y[:1000], 5),
            lambda: neighbours.kth_squared_distance(np.ones((800, 3)), 5),  # every pair is a tie
            lambda: neighbours.inside_balls(np.ones((800, 3)), np.zeros(800), np.ones((800, 3))),
            lambda: neighbours.nearest(x, y[:100], 3),
        ):
            tracemalloc.start()
            task()
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    finally:
        patch.undo()
        tracemalloc.stop()
    assert max(peaks) < 20e6, peaks


@pytest.mark.parametrize("size", [1e155, 1e200])
def test_overflow_is_named(size):
    x = np.array([[0.0], [size], [1.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for task in (
            lambda: neighbours.kth_squared_distance(x, 1),
            lambda: neighbours.inside_balls(x, np.ones(3), x),
            lambda: precision_recall(x, x, 1),
        ):
            with pytest.raises(ValueError, match="real and fake: their squared distances overflow; scale them down"):
                task()


# ---- the definition --------------------------------------------------------------------------------------------------


@examples(2)
@given(pair=clouds(20), share=st.floats(0, 1))
def test_all_four_are_the_naive_loops(pair, share):
    real, fake = pair
    if len(fake) < 2:
        fake = np.concatenate([fake, fake + 1])
    k = 1 + round(share * (min(len(real), len(fake)) - 2))
    if not naive_radii(real, k).any():
        for metric in (precision_recall, density_coverage):
            with pytest.raises(ValueError, match=f"^real: every point occurs more than {k} times"):
                metric(real, fake, k)
        return
    assert scores(real, fake, k) == pytest.approx(naive_scores(real, fake, k), abs=1e-15)


@pytest.mark.parametrize("n, m, d, k", [(60, 60, 2, 5), (200, 70, 10, 3), (50, 150, 64, 1), (32, 40, 1, 30)])
def test_the_prdc_package_agrees(n, m, d, k):
    prdc = pytest.importorskip("prdc")
    rng = np.random.default_rng(n)
    real, fake = rng.standard_normal((n, d)), 0.9 * rng.standard_normal((m, d)) + 0.2
    theirs = prdc.compute_prdc(real, fake, nearest_k=k)
    expected = [theirs[name] for name in ("precision", "recall", "density", "coverage")]
    assert scores(real, fake, k) == pytest.approx(expected, abs=1e-6)
    assert min(expected) > 0


@pytest.mark.parametrize("n, d, k", [(300, 3, 5), (100, 40, 99)])
def test_scikit_learn_finds_the_same_neighbours(n, d, k):
    found = pytest.importorskip("sklearn.neighbors").NearestNeighbors(n_neighbors=k)
    x = np.random.default_rng(0).standard_normal((n, d))
    theirs = found.fit(x).kneighbors()[0][:, -1]  # without the points themselves
    assert np.sqrt(neighbours.kth_squared_distance(x, k)) == pytest.approx(theirs, rel=1e-6)


def test_by_hand():
    """k = 1: the balls of 0, 1, 3, 7 have radii 1, 1, 2, 4; of the samples, 0.5 lies in two of them and 10 in one."""
    real, fake = [0.0, 1.0, 3.0, 7.0], [0.5, 10.0, 11.0]
    pr, dc = precision_recall(real, fake, 1, floor=None), density_coverage(real, fake, 1)
    assert (pr.precision, dc.density, dc.coverage) == (2 / 3, 1.0, 3 / 4)  # 11 is on the ball's edge: not inside
    assert pr.recall == 1.0  # the ball of 0.5 reaches 9.5, that of 10 reaches 1
    assert pr.value == pytest.approx(0.8) and dc.value == dc.coverage
    assert pr.n == dc.n == 3 and pr.settings == dc.settings == {"n_real": 4, "nearest_k": 1}
    spreads = {"precision": math.sqrt(2 / 27), "recall": 0.0}
    assert pr.spreads == pytest.approx(spreads)
    counts = np.array([2, 1, 0])
    assert dc.spreads == pytest.approx({"density": counts.std() / math.sqrt(3)})


def test_balls_are_open():
    """A sample exactly as far as the k-th neighbour is outside; one that is a little nearer is inside."""
    real = np.array([[0.0, 0.0], [3.0, 4.0], [100.0, 0.0]])
    for y, inside in (([-5.0, 0.0], 0.0), ([-np.nextafter(5.0, 0), 0.0], 1.0), ([4.0, 3.0], 0.0)):
        per_ball, per_point = neighbours.inside_balls(real[:1], np.array([25.0]), np.array([y]))
        assert (per_ball[0], per_point[0]) == (inside, inside)
    third = np.array([[1 / 3, 1 / 7, 0.1], [0.7, 0.3, 1 / 9], [1e3, 0, 0], [1e3, 1, 0]])
    radii = neighbours.kth_squared_distance(third, 1)
    assert neighbours.inside_balls(third, radii, third)[0].tolist() == [1, 1, 1, 1]  # each but itself: on the edge


@given(seed=seeds, n=st.integers(8, 60), d=st.integers(1, 30), k=st.integers(1, 7))
def test_equal_sets_are_perfect(seed, n, d, k):
    x = np.random.default_rng(seed).standard_normal((n, d))
    assert scores(x, x, k) == scores(x, np.flipud(x), k) == (1.0, 1.0, 1.0, 1.0)


@given(seed=seeds, offset=st.sampled_from([1e2, 1e8]))
def test_sets_far_apart_have_nothing_in_common(seed, offset):
    x = np.random.default_rng(seed).random((30, 3))
    assert scores(x, x + offset, 5) == (0.0, 0.0, 0.0, 0.0)
    assert precision_recall(x, x + offset).value == 0.0


@given(seed=seeds, k=st.integers(1, 6))
def test_order_units_and_sides(seed, k):
    rng = np.random.default_rng(seed)
    real, fake = rng.standard_normal((25, 3)), rng.standard_normal((18, 3))
    whole = scores(real, fake, k)
    assert scores(rng.permutation(real), rng.permutation(fake), k) == pytest.approx(whole, abs=1e-15)
    assert scores(4 * real, 4 * fake, k) == whole
    other = precision_recall(fake, real, k, floor=None)
    assert (other.recall, other.precision) == whole[:2]
    assert (other.spreads["recall"], other.spreads["precision"]) == tuple(
        precision_recall(real, fake, k, floor=None).spreads.values()
    )


def test_dropped_modes_and_an_outlier():
    """Recall and coverage see a dropped mode; one outlier makes everything precise, density hardly moves."""
    rng = np.random.default_rng(0)
    real = rng.standard_normal((200, 2)) + np.repeat([[0, 0], [50, 0]], 100, axis=0)
    found = (
        precision_recall(real, rng.standard_normal((200, 2)), 5),
        density_coverage(real, rng.standard_normal((200, 2))),
    )
    assert found[0].precision > 0.9 and found[0].recall < 0.6 and found[1].coverage < 0.6
    garbage = rng.uniform(5, 1000, (300, 2))
    outlier = np.concatenate([real[:100], [[2000.0, 2000.0]]])
    assert precision_recall(real[:100], garbage).precision < 0.05
    assert precision_recall(outlier, garbage).precision == 1.0
    assert density_coverage(outlier, garbage).density < 0.25


# ---- copies ----------------------------------------------------------------------------------------------------------


def test_points_that_occur_more_than_k_times_have_no_ball():
    """k + 1 copies: the k-th neighbour of each is at distance 0, and the ball does not even hold the sample there."""
    rng = np.random.default_rng(0)
    real = np.concatenate([np.zeros((4, 2)), rng.standard_normal((20, 2)) + 30])
    fake = np.concatenate([np.zeros((2, 2)), rng.standard_normal((9, 2)) + 30])
    with pytest.warns(
        UserWarning, match="^real: 4 of 24 points occur more than 3 times; their neighbourhoods"
    ) as caught:
        found = density_coverage(real, fake, 3)
    assert len(caught) == 1
    assert found.coverage <= 20 / 24
    with pytest.warns(UserWarning, match="^real: 4 of 24 points occur more than 3 times") as caught:
        pr = precision_recall(real, fake, 3, floor=None)
    assert len(caught) == 1 and caught[0].filename == __file__
    assert pr.precision <= 9 / 11
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # k copies are not too many
        assert density_coverage(real[1:], fake, 3).coverage >= 3 / 23


def test_density_coverage_warns_at_the_users_line():
    real = np.concatenate([np.zeros((4, 2)), np.eye(2)])

    def users_line():
        return density_coverage(real, real, 3)

    with pytest.warns(UserWarning) as caught:
        users_line()
    assert caught[0].lineno == users_line.__code__.co_firstlineno + 1


def test_all_points_equal():
    """Of the data: refused. Of the generator: it has collapsed, and its recall is 0."""
    rng = np.random.default_rng(0)
    real, one = rng.standard_normal((20, 2)), np.zeros((10, 2))
    for metric in (precision_recall, density_coverage):
        with pytest.raises(ValueError, match="^real: every point occurs more than 5 times, there are no neigh"):
            metric(one, real)
    with pytest.warns(UserWarning, match="^fake: 10 of 10 points occur more than 5 times"):
        found = precision_recall(real, one, floor=None)
    assert (found.recall, found.value) == (0.0, 0.0) and found.precision == 1.0
    assert density_coverage(real, one).density > 0


def test_halves_with_copies_are_no_reason_to_refuse():
    """Real data of 10 copies and 3 others: some half is all copies. The scores of real and fake are well defined."""
    rng = np.random.default_rng(0)
    real = np.concatenate([np.zeros((10, 3)), rng.standard_normal((3, 3))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(10):
            precision_recall(real, rng.standard_normal((20, 3)), nearest_k=2, seed=seed)


def test_warnings_name_the_argument_they_are_about():
    x = np.random.default_rng(0).standard_normal((30, 2))
    with pytest.warns(UserWarning) as caught:
        precision_recall(x, x, floor=np.concatenate([x, np.zeros((8, 2))]))
    assert [str(w.message).split(":")[0] for w in caught] == ["floor"]


# ---- a perfect sampler -----------------------------------------------------------------------------------------------

SAMPLERS = {
    "normal": lambda rng, n: rng.standard_normal((n, 3)),
    "cauchy": lambda rng, n: rng.standard_cauchy((n, 1)),
    "clusters": lambda rng, n: rng.standard_normal((n, 2)) * 0.01 + rng.integers(0, 5, (n, 1)) * 10,
    "high-dimensional": lambda rng, n: rng.random((n, 100)),
}


@pytest.mark.parametrize("n, m, k", [(40, 60, 5), (60, 25, 2), (50, 50, 1)])
@pytest.mark.parametrize("name", SAMPLERS)
def test_expected_density_and_coverage_of_a_perfect_sampler(name, n, m, k):
    rng = np.random.default_rng([n, m, k])
    found = [density_coverage(SAMPLERS[name](rng, n), SAMPLERS[name](rng, m), k) for _ in range(200)]
    for key in ("density", "coverage"):
        values = np.array([f.details[key] for f in found])
        assert abs(values.mean() - found[0].perfect[key]) < 4 * values.std(ddof=1) / math.sqrt(len(values))
    assert found[0].perfect["density"] == 1.0 and found[0].perfect["coverage"] == found[0].floor


@given(n=st.integers(2, 60), m=st.integers(1, 60), share=st.floats(0, 1))
def test_the_formula_counts_orders(n, m, share):
    """The k nearest of n − 1 + m are all real in C(n − 1, k) of C(n − 1 + m, k) equally likely cases."""
    k = 1 + round(share * (n - 2))
    expected = 1 - math.comb(n - 1, k) / math.comb(n - 1 + m, k)
    found = density_coverage(np.arange(n), np.arange(m) + 0.3, k)
    assert found.floor == found.perfect["coverage"] == pytest.approx(expected, abs=1e-13)


def test_the_famous_number():
    assert manifolds.expected_coverage(10_000, 10_000, 5) == pytest.approx(0.96877, abs=5e-6)


def test_spreads_are_those_of_repeated_samples():
    """Real points held fixed, the density's standard error is the standard deviation over many sets of samples."""
    rng = np.random.default_rng(0)
    real = rng.standard_normal((60, 2))
    found = [density_coverage(real, rng.standard_normal((80, 2))) for _ in range(300)]
    density = np.std([f.density for f in found])
    assert np.mean([f.spreads["density"] for f in found]) == pytest.approx(density, rel=0.2)
    pr = [precision_recall(real, 2 * rng.standard_normal((80, 2)), floor=None) for _ in range(300)]
    assert np.mean([f.spreads["precision"] for f in pr]) == pytest.approx(np.std([f.precision for f in pr]), rel=0.2)


def test_floors_of_precision_and_recall():
    rng = np.random.default_rng(0)
    real, fake, more = rng.standard_normal((41, 2)), rng.standard_normal((30, 2)) + 1, rng.standard_normal((25, 2))
    none, array = (precision_recall(real, fake, floor=f) for f in (None, more))
    assert none.floor is None and none.perfect == {"precision": None, "recall": None}
    direct = precision_recall(real, more, floor=None)
    assert array.perfect == {"precision": direct.precision, "recall": direct.recall} and array.floor == direct.value
    halves = [precision_recall(real, fake, seed=s) for s in (0, 0, 1, 2)]
    assert halves[0] == halves[1] and len({h.floor for h in halves}) > 1
    assert all(h.details["precision"] == none.precision and h.value == none.value for h in halves)
    assert {h.perfect["precision"] * 21 % 1 for h in halves} == {0.0}  # of 41, the second half has 21
    assert {h.perfect["recall"] * 20 % 1 for h in halves} == {0.0}
    assert precision_recall(real[:11], fake).floor is None  # a half of 5 has no fifth neighbour
    assert precision_recall(real[:12], fake).floor is not None


# ---- arrays, errors, printing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int64"])
def test_images_of_any_type_on_any_device(dtype):
    images = np.random.default_rng(0).integers(0, 256, (2, 20, 3, 3, 1)).astype(dtype)
    before, rows = images.copy(), images.astype(np.float64).reshape(2, 20, 9)
    for metric in (precision_recall, density_coverage):
        assert metric(*images) == metric(*rows) == metric(strict_xp.asarray(images[0]), strict_xp.asarray(images[1]))
    assert np.array_equal(images, before)


def test_the_fewest_points():
    six, two = np.arange(6.0) ** 2, np.arange(2.0)
    precision_recall(six, six), density_coverage(six, two[:1])
    for arguments in ((six[:5], six), (six, six[:5])):
        with pytest.raises(ValueError, match="^(real|fake): expected at least 6 points for nearest_k=5, got 5"):
            precision_recall(*arguments)
    with pytest.raises(ValueError, match="^real: expected at least 6 points for nearest_k=5, got 5"):
        density_coverage(six[:5], six)
    assert density_coverage(six, two[:1]).spreads["density"] == 0.0


BAD = {
    "NaN": ({"real": [[0, 1], [math.nan, 1], [2, 2]]}, r"real: expected finite numbers, got nan at \[1, 0\]"),
    "infinity": ({"fake": [[0, 1], [math.inf, 1], [2, 2]]}, "fake: expected finite numbers"),
    "dimensions": ({"fake": np.eye(3)}, "fake: expected points of 2 numbers, like real, got 3"),
    "nothing": ({"real": np.zeros((0, 2))}, "real: expected at least one number"),
    "a number": ({"real": 3.0}, r"real: expected samples of shape \(n, …\)"),
    "a Tensor": ({"fake": mg.tensor(np.zeros((4, 2)))}, "fake: expected an array, got a Tensor"),
    "no neighbour": ({"nearest_k": 0}, "nearest_k: expected an integer >= 1, got 0"),
    "half a neighbour": ({"nearest_k": 1.5}, "nearest_k: expected an integer >= 1, got 1.5"),
    "too many": ({"nearest_k": 4}, "real: expected at least 5 points for nearest_k=4, got 4"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_named(case):
    good = {"real": np.arange(8.0).reshape(4, 2), "fake": np.arange(6.0).reshape(3, 2) ** 2, "nearest_k": 2}
    bad, message = BAD[case]
    for metric in (precision_recall, density_coverage):
        metric(**good)
        with pytest.raises(ValueError, match=f"^{message}"):
            metric(**(good | bad))
    with pytest.raises(ValueError, match='^floor: expected "halves"'):
        precision_recall(**good, floor="thirds")
    with pytest.raises(ValueError, match="^floor: expected points of 2 numbers"):
        precision_recall(**good, floor=np.eye(3))


def test_how_they_print():
    real, fake = [0.0, 1.0, 3.0, 7.0], [0.5, 10.0, 11.0]
    line = "precision_recall 0.8: precision 0.6667, recall 1, n=3, n real 4, nearest k 1"
    assert str(precision_recall(real, fake, 1, floor=None)) == line
    line = "density_coverage: density 1 (perfect 1), coverage 0.75 (perfect 0.5), n=3, n real 4, nearest k 1"
    assert str(density_coverage(real, fake, 1)) == line
    assert re.search(r"recall 1 \(perfect ", str(precision_recall(real, fake, 1)))
