"""Toy distributions: centres by hand, moments against their closed forms, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan.data import gaussian_mixture_1d, grid, grid_modes, ring, ring_modes, swiss_roll

SAMPLERS = {
    "ring": ring,
    "grid": grid,
    "swiss_roll": swiss_roll,
    "gaussian_mixture_1d": lambda n, rng: gaussian_mixture_1d(n, rng, [-1, 1], 0.1),
}
N = 40_000  # a frequency p then has a standard deviation of at most 0.0025


def nearest(points, centres):
    """For each point the index of the nearest centre and the distance to it."""
    distance = np.linalg.norm(points[:, None].astype(np.float64) - centres, axis=-1)
    return distance.argmin(axis=1), distance.min(axis=1)


@pytest.mark.parametrize("name", SAMPLERS)
@given(n=st.integers(1, 50), seed=st.integers(0, 2**32))
def test_shape_dtype_and_seed(name, n, seed):
    points = SAMPLERS[name](n, seed)
    assert points.shape == (n, 1 if name.endswith("1d") else 2)
    assert points.dtype == np.float32
    assert np.array_equal(points, SAMPLERS[name](n, np.random.default_rng(seed)))
    assert not np.array_equal(points, SAMPLERS[name](n, seed + 1))


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_generator_moves_on(name):
    rng = np.random.default_rng(0)
    assert not np.array_equal(SAMPLERS[name](10, rng), SAMPLERS[name](10, rng))


def test_ring_modes_by_hand():
    s = 3 * np.sqrt(0.5)
    expected = [(3, 0), (s, s), (0, 3), (-s, s), (-3, 0), (-s, -s), (0, -3), (s, -s)]
    np.testing.assert_allclose(ring_modes(8, 3), expected, atol=1e-12)


def test_grid_modes_by_hand():
    ticks = (-4, -2, 0, 2, 4)
    assert grid_modes().tolist() == [[x, y] for x in ticks for y in ticks]
    assert grid_modes(side=2, spacing=1).tolist() == [[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]]
    assert grid_modes(side=1).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    "sample, centres, std",
    [
        (ring, ring_modes(), 0.01),
        (grid, grid_modes(), 0.05),
        (lambda n, rng: ring(n, rng, 5, 2.0, 0.1), ring_modes(5, 2.0), 0.1),
        (lambda n, rng: grid(n, rng, 3, 1.0, 0.02), grid_modes(3, 1.0), 0.02),
    ],
    ids=["ring", "grid", "ring of 5", "grid of 3"],
)
def test_mixture_of_round_gaussians(sample, centres, std):
    points = sample(N, 1)
    mode, distance = nearest(points, centres)
    share, k = np.bincount(mode, minlength=len(centres)) / N, len(centres)
    np.testing.assert_allclose(share, 1 / k, atol=5 * np.sqrt(1 / k / N))
    # Of a round Gaussian in the plane, 1 - exp(-9/2) lies within three standard deviations.
    assert (distance < 3 * std).mean() == pytest.approx(1 - np.exp(-4.5), abs=0.003)
    np.testing.assert_allclose(np.cov((points - centres[mode]).T), std**2 * np.eye(2), atol=0.03 * std**2)


def test_zero_std_gives_the_centres():
    mode, distance = nearest(ring(100, 0, std=0), ring_modes())
    assert distance.max() < 1e-6
    assert len(set(mode)) == 8


def test_swiss_roll_without_noise_is_the_spiral():
    points = swiss_roll(N, 0, noise=0).astype(np.float64)
    t = 7.5 * np.linalg.norm(points, axis=1)
    np.testing.assert_allclose(7.5 * points, np.stack([t * np.cos(t), t * np.sin(t)], axis=1), atol=1e-4)
    u = (t / np.pi - 1.5) / 3  # uniform on [0, 1]
    assert -1e-6 < u.min() < 0.001 and 0.999 < u.max() < 1 + 1e-6
    assert np.abs(np.sort(u) - np.linspace(0, 1, N)).max() < 1.95 / np.sqrt(N)  # Kolmogorov-Smirnov, p = 0.001


def test_swiss_roll_noise_is_in_the_units_of_the_points():
    noise = swiss_roll(N, 0, noise=0.1) - swiss_roll(N, 0, noise=0)
    np.testing.assert_allclose(noise.std(axis=0), 0.1, rtol=0.02)
    np.testing.assert_allclose(noise.mean(axis=0), 0, atol=0.0025)


def test_mixture_1d_has_the_moments_of_its_formula():
    means, stds, weights = np.array([-2.0, 0.5, 3.0]), np.array([0.1, 0.5, 1.0]), np.array([0.2, 0.5, 0.3])
    x = gaussian_mixture_1d(N, 3, means, stds, weights).astype(np.float64)
    mean = weights @ means
    variance = weights @ (stds**2 + means**2) - mean**2
    assert x.mean() == pytest.approx(mean, abs=5 * np.sqrt(variance / N))
    assert x.var() == pytest.approx(variance, rel=0.03)
    assert (np.abs(x + 2) < 0.5).mean() == pytest.approx(0.2, abs=0.0125)  # the first component, nearly alone there


def test_mixture_1d_defaults_and_zero_weight():
    x = gaussian_mixture_1d(1000, 0, [-1, 1, 9], stds=0, weights=[0.5, 0.5, 0])
    assert set(x.ravel()) == {-1, 1}
    share = (gaussian_mixture_1d(N, 0, [-1, 1, 9], stds=0) == 9).mean()
    assert share == pytest.approx(1 / 3, abs=0.0125)


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: ring(0, 0), "n"),
        (lambda: grid(-1, 0), "n"),
        (lambda: swiss_roll(2.5, 0), "n"),
        (lambda: ring(True, 0), "n"),
        (lambda: ring(5, None), "rng"),
        (lambda: grid(5, -1), "rng"),
        (lambda: swiss_roll(5, np.random.RandomState(0)), "rng"),
        (lambda: ring(5, 0, modes=0), "modes"),
        (lambda: ring_modes(2.0), "modes"),
        (lambda: ring(5, 0, radius=0), "radius"),
        (lambda: ring(5, 0, std=-0.1), "std"),
        (lambda: ring(5, 0, std=float("nan")), "std"),
        (lambda: grid(5, 0, side=0), "side"),
        (lambda: grid(5, 0, spacing=float("inf")), "spacing"),
        (lambda: grid(5, 0, std="wide"), "std"),
        (lambda: swiss_roll(5, 0, noise=-1), "noise"),
        (lambda: gaussian_mixture_1d(5, 0, [], 1), "means"),
        (lambda: gaussian_mixture_1d(5, 0, 3.0, 1), "means"),
        (lambda: gaussian_mixture_1d(5, 0, [0, np.nan], 1), "means"),
        (lambda: gaussian_mixture_1d(5, 0, [0, 1], [1, 1, 1]), "stds"),
        (lambda: gaussian_mixture_1d(5, 0, [0, 1], [1, -1]), "stds"),
        (lambda: gaussian_mixture_1d(5, 0, [0, 1], 1, [0.5, 0.6]), "weights"),
        (lambda: gaussian_mixture_1d(5, 0, [0, 1], 1, [1.5, -0.5]), "weights"),
        (lambda: gaussian_mixture_1d(5, 0, [0, 1], 1, [1]), "weights"),
    ],
)
def test_bad_argument_is_named(call, name):
    with pytest.raises(ValueError, match=rf"^{name}: expected .*, got "):
        call()
