"""Pairs with a known optimal critic: the proof that f* is optimal, step by step, in floating point."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq, linear_sum_assignment
from scipy.spatial.distance import cdist

from minigan.transport import Funnels

pairs = st.builds(
    Funnels,
    dimension=st.integers(2, 9),
    funnels=st.integers(1, 12),
    seed=st.integers(0, 2**32),
    degree=st.sampled_from([1, 1.5, 2, 8, 20]),
    half_width=st.sampled_from([0.1, 1, 2.5, 40]),
)
seeds = st.integers(0, 2**32)


def lengths(x):
    return np.linalg.norm(x, axis=1)


def cell(pair, z):
    """The index of the funnel that is the lowest at each point, written out."""
    return np.array([np.argmin([np.linalg.norm(p - a) + b for a, b in zip(pair.centres, pair.biases)]) for p in z])


# ---- f*: 1-Lipschitz, with a slope of 1 ------------------------------------------------------------------------------


def test_critic_by_hand():
    pair = Funnels(2, 2)
    pair.centres, pair.biases = np.array([[0.0, 0.0], [2.0, 0.0]]), np.array([0.0, 0.5])
    assert pair.critic([[0, 0], [0, 1], [2, 0], [2, 1], [-3, -4]]).tolist() == [0, 1, 0.5, 1.5, 5]
    assert pair.gradient([[0, 0], [0, 1], [2, -3], [-3, -4]]).tolist() == [[0, 0], [0, 1], [0, -1], [-0.6, -0.8]]


@given(pair=pairs, seed=seeds, spread=st.sampled_from([1e-3, 0.1, 3.0]))
def test_critic_is_1_lipschitz(pair, seed, spread):
    rng = np.random.default_rng(seed)
    x = 2 * pair.real(100, rng)  # outside of the box, too
    y = x + spread * pair.half_width * rng.standard_normal(x.shape)
    assert (abs(pair.critic(x) - pair.critic(y)) <= lengths(x - y) + 1e-12 * pair.half_width).all()


@given(pair=pairs, seed=seeds)
def test_gradient_has_length_1_and_is_that_of_the_critic(pair, seed):
    z = pair.real(60, seed)
    gradient, h = pair.gradient(z), 1e-5 * pair.half_width
    np.testing.assert_allclose(lengths(gradient), 1, rtol=1e-12)
    steps = h * np.eye(pair.dimension)
    differences = [(pair.critic(z + s) - pair.critic(z - s)) / (2 * h) for s in steps]
    heights = np.sort(cdist(z, pair.centres) + pair.biases, axis=1)
    to_edge = heights[:, 1] - heights[:, 0] if pair.funnels > 1 else np.full(len(z), np.inf)
    to_centre = cdist(z, pair.centres).min(axis=1)
    smooth = (to_edge > 4 * h) & (to_centre > 0.02 * pair.half_width)  # error ≈ h²/(6 r²) there
    assert smooth.any()
    np.testing.assert_allclose(np.stack(differences, axis=1)[smooth], gradient[smooth], atol=1e-6)


def test_gradient_at_a_centre_is_0():
    pair = Funnels(3, 5)
    assert (pair.gradient(pair.centres) == 0).all()


# ---- T: along the rays ---------------------------------------------------------------------------------------------


@given(pair=pairs, seed=seeds)
def test_push_moves_along_the_ray_within_cell_and_box(pair, seed):
    x = pair.real(60, seed)
    y = pair.push(x)
    assert abs(y).max() <= pair.half_width
    k = cell(pair, x)
    assert (cell(pair, y) == k).all()
    a = pair.centres[k]
    r, s = lengths(x - a), lengths(y - a)
    assert (s <= r * (1 + 1e-12)).all()
    np.testing.assert_allclose((x - a) * s[:, None], (y - a) * r[:, None], atol=1e-12 * pair.half_width**2)


@given(pair=pairs, seed=seeds)
def test_critic_falls_by_the_distance_moved(pair, seed):
    """This is what makes f* optimal."""
    x = pair.real(100, seed)
    y = pair.push(x)
    fall = pair.critic(x) - pair.critic(y)
    np.testing.assert_allclose(fall, lengths(x - y), atol=1e-12 * max(1, pair.half_width))


@given(pair=pairs, seed=seeds)
def test_push_knows_how_long_the_ray_is(pair, seed):
    """R, found by bisection on the ray, gives ‖T(x) − a‖ = R (r/R)^degree."""
    x = pair.real(5, seed)
    y, k = pair.push(x), cell(pair, x)
    for point, pushed, a, own in zip(x, y, pair.centres[k], k):
        r = np.linalg.norm(point - a)
        e, others = (point - a) / r, np.arange(pair.funnels) != own

        def room(s, a=a, e=e, others=others, b=pair.biases[own]):
            """Positive inside of cell and box, negative outside, decreasing along the ray where it is 0."""
            heights = np.linalg.norm(a + s * e - pair.centres, axis=1) + pair.biases
            wall = pair.half_width - abs(a + s * e).max()
            return min(wall, (heights[others] - s - b).min()) if others.any() else wall

        R = brentq(room, 0, 10 * pair.half_width * pair.dimension, xtol=1e-14 * pair.half_width)
        expected = R * (min(r / R, 1)) ** pair.degree
        assert np.linalg.norm(pushed - a) == pytest.approx(expected, rel=1e-9, abs=1e-12 * pair.half_width)


@given(pair=pairs)
def test_edges_and_centres_stay(pair):
    walls = pair.real(50, 0)
    walls[np.arange(50), np.arange(50) % pair.dimension] = pair.half_width  # the ray ends there: r = R
    np.testing.assert_allclose(pair.push(walls), walls, atol=1e-9 * pair.half_width)
    assert (pair.push(pair.centres) == pair.centres).all()


def test_degree_1_moves_nothing():
    pair = Funnels(3, 6, degree=1)
    x = pair.real(200, 0)
    np.testing.assert_allclose(pair.push(x), x, atol=1e-14)
    assert pair.distance < 1e-13


def test_float32_points_of_the_box_may_be_rounded_outwards():
    pair = Funnels(2, 3, half_width=0.1)
    assert float(np.float32(0.1)) > 0.1
    np.testing.assert_allclose(pair.push(np.full((1, 2), 0.1, np.float32)), 0.1, rtol=1e-6)


# ---- the distance ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dimension, funnels", [(1, 2), (2, 4), (2, 64), (16, 4)])
def test_no_assignment_is_cheaper_than_the_map(dimension, funnels):
    pair = Funnels(dimension, funnels, seed=1)
    x = pair.real(300, 0)
    y = pair.push(x)
    costs = cdist(x, y)
    rows, columns = linear_sum_assignment(costs)
    best, ours = costs[rows, columns].mean(), lengths(x - y).mean()
    assert ours == pytest.approx(best, rel=1e-12)
    assert pair.critic(x).mean() - pair.critic(y).mean() == pytest.approx(best, rel=1e-12)
    assert costs.trace() < costs[rows, np.roll(columns, 1)].sum()  # the test can tell another assignment


def test_distance_in_closed_form():
    """One funnel at the middle of [−h, h] has rays of length h: W₁ = h (1/2 − 1/(degree + 1)), here ½ − 1/9."""
    pair = Funnels(1, 1, half_width=1)
    pair.centres = np.zeros((1, 1))
    assert pair.distance == pytest.approx(1 / 2 - 1 / 9, abs=4 * pair.distance_error)
    assert 0 < pair.distance_error < 1e-3


@pytest.mark.parametrize("dimension, degree", [(2, 8), (5, 3)])
def test_distance_by_the_lengths_of_the_rays(dimension, degree):
    """W₁ = d (p − 1)/((d + 1)(d + p)) · E R, from points of another stream."""
    pair = Funnels(dimension, 4, seed=3, degree=degree)
    x = pair.real(40_000, 5)
    R = pair._edge(*pair._cells(x))
    share = dimension * (degree - 1) / ((dimension + 1) * (dimension + degree))
    noise = pair.distance_error + share * R.std() / np.sqrt(len(R))
    assert share * R.mean() == pytest.approx(pair.distance, abs=4 * noise)


def test_distance_scales_with_the_box():
    small, large = Funnels(2, 4), Funnels(2, 4, half_width=25)
    assert large.distance == pytest.approx(10 * small.distance, rel=1e-12)


@pytest.mark.parametrize(
    "dimension, funnels, published",
    [(2, 4, 0.817), (2, 16, 0.466), (2, 64, 0.230), (8, 4, 1.882), (8, 16, 1.585), (32, 4, 1.822), (128, 16, 1.072)],
)
def test_distances_are_those_of_the_paper(dimension, funnels, published):
    """Of other centres, hence nearly: in two dimensions 4 rays' lengths differ much, in many not at all."""
    pair = Funnels(dimension, funnels, seed=27)
    x = pair.real(3000, 0)
    assert lengths(x - pair.push(x)).mean() == pytest.approx(published, rel=0.1)


# ---- what is drawn -------------------------------------------------------------------------------------------------


def test_real_is_uniform_and_fake_its_image():
    pair = Funnels(2, 4)
    x = pair.real(40_000, 0)
    assert x.shape == (40_000, 2) and x.dtype == np.float64
    for column in x.T:
        u = np.sort(column / 2.5 + 1) / 2
        assert abs(u - np.linspace(0, 1, len(u))).max() < 1.95 / np.sqrt(len(u))  # Kolmogorov-Smirnov, p = 0.001
    assert abs(np.corrcoef(x.T)[0, 1]) < 0.025
    assert np.array_equal(pair.fake(50, 3), pair.push(pair.real(50, 3)))


def test_reproducible():
    one, two, other = Funnels(2, 4, seed=5), Funnels(2, 4, seed=5), Funnels(2, 4, seed=6)
    assert np.array_equal(one.centres, two.centres) and np.array_equal(one.biases, two.biases)
    assert not np.array_equal(one.centres, other.centres)
    assert one.distance == two.distance != other.distance
    assert np.array_equal(one.fake(5, 1), two.fake(5, np.random.default_rng(1)))
    rng = np.random.default_rng(0)
    assert not np.array_equal(one.real(5, rng), one.real(5, rng))
    more = Funnels(2, 9, seed=5)
    assert np.array_equal(more.centres[:4], one.centres)  # the next ones are added


@given(pair=pairs)
def test_every_funnel_has_a_cell(pair):
    assert cell(pair, pair.centres).tolist() == list(range(pair.funnels))
    assert abs(pair.centres).max() <= pair.half_width


def test_crowded_funnels_are_drawn_anew():
    pair = Funnels(1, 12, seed=0)  # on a line of length 5, with heights of ±0.1: most candidates are swallowed
    assert cell(pair, pair.centres).tolist() == list(range(12))


# ---- bad arguments -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: Funnels(0), "dimension: expected an integer >= 1, got 0"),
        (lambda: Funnels(2.0), "dimension: expected an integer >= 1, got 2.0"),
        (lambda: Funnels(2, 0), "funnels: expected an integer >= 1, got 0"),
        (lambda: Funnels(1, 2000), "funnels: expected so few that each has its own cell"),
        (lambda: Funnels(seed=None), "seed: expected an integer, got None"),
        (lambda: Funnels(seed=True), "seed: expected an integer, got True"),
        (lambda: Funnels(degree=0.5), "degree: expected a number >= 1"),
        (lambda: Funnels(degree=np.nan), "degree: expected"),
        (lambda: Funnels(half_width=0), "half_width: expected a finite number > 0, got 0"),
        (lambda: Funnels().real(0, 0), "n: expected an integer >= 1, got 0"),
        (lambda: Funnels().fake(3, None), "rng: expected a numpy.random.Generator or an int seed >= 0, got None"),
        (lambda: Funnels().fake(3, -1), "rng: expected a numpy.random.Generator or an int seed >= 0, got -1"),
        (lambda: Funnels().push([[0, 2.6]]), r"x: expected points of the box, \|x\| <= 2.5, got 2.6 in row 0"),
        (lambda: Funnels().push([[0, np.nan]]), "x: expected finite numbers"),
        (lambda: Funnels().critic([[1, 2, 3]]), r"z: expected points of 2 numbers, got shape \(1, 3\)"),
        (lambda: Funnels().gradient("ab"), "z: expected"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
