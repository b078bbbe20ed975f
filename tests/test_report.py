"""Pictures: where every pixel of a grid comes from, what is written to files, and walks between latent vectors."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from numpy.testing import assert_allclose, assert_array_equal

from minigan import nn
from minigan.data import Batches
from minigan.games import GAN, Alternating, Run, play
from minigan.optim import EMA, SGD
from minigan.report import (
    SampleGrid,
    SamplePoints,
    figure,
    image_grid,
    interpolation,
    plot_diagnostics,
    plot_losses,
    plot_points,
    save_grid,
    slerp,
    smooth,
)
from tests.strategies import seeds

WHITE = 255


def images_of(n, h, w, c, seed=0):
    """Images whose values in [−1, 1] are exactly the 256 grey levels."""
    return np.random.default_rng(seed).integers(0, 256, (n, h, w, c)) / 127.5 - 1


def pixels(path):
    return np.rint(255 * imread(path)[..., :3]).astype(np.uint8)


# ---- grids -----------------------------------------------------------------------------------------------------------


@given(
    n=st.integers(1, 7),
    size=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    channels=st.sampled_from((1, 3)),
    columns=st.none() | st.integers(1, 5),
    border=st.integers(0, 2),
    scale=st.integers(1, 3),
)
def test_every_pixel_of_a_grid(n, size, channels, columns, border, scale):
    (h, w), images = size, images_of(n, *size, channels)
    across = columns or math.ceil(math.sqrt(n))
    down = math.ceil(n / across)
    expected = np.full((border + down * (h + border), border + across * (w + border), 3), WHITE)
    for i, image in enumerate(images):
        top, left = border + i // across * (h + border), border + i % across * (w + border)
        expected[top : top + h, left : left + w] = np.rint((image + 1) * 127.5)
    grid = image_grid(images, columns, border, scale)
    assert grid.dtype == np.uint8 and grid.flags.writeable
    assert_array_equal(grid, np.kron(expected, np.ones((scale, scale, 1), int)))


def test_values_of_a_grid():
    values = np.array([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 7.0], np.float32).reshape(1, 1, 7, 1)
    grid = image_grid(values, border=0, scale=1)
    assert grid[0, :, 0].tolist() == [0, 0, 64, 128, 191, 255, 255]
    assert (grid == grid[..., :1]).all()


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (np.zeros((4, 4, 1)), r"got shape \(4, 4, 1\)"),
        (np.zeros((2, 4, 4, 2)), r"got shape \(2, 4, 4, 2\)"),
        (np.zeros((0, 4, 4, 1)), "n >= 1"),
        (np.full((1, 4, 4, 1), np.nan), "diverged"),
        (np.full((1, 4, 4, 1), -np.inf), "diverged"),
    ],
)
def test_what_is_no_batch_of_images_is_refused(images, reason, tmp_path):
    with pytest.raises(ValueError, match=reason):
        image_grid(images)
    with pytest.raises(ValueError, match=reason):
        save_grid(tmp_path / "grid.png", images)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("channels", [1, 3])
def test_a_saved_grid_reads_back_equal(tmp_path, channels):
    images = images_of(5, 4, 3, channels)
    save_grid(tmp_path / "grid.png", images, columns=3, border=2)
    assert_array_equal(pixels(tmp_path / "grid.png"), image_grid(images, columns=3, border=2))


def test_grids_of_samples_over_time(tmp_path):
    G = nn.Sequential(nn.Dense(2, 12), nn.Tanh(), nn.Reshape(2, 2, 3))
    D = nn.Sequential(nn.Flatten(), nn.Dense(12, 1))
    game = GAN(G, D, Batches(images_of(9, 2, 2, 3).astype(np.float32), 3, 0), latent_dim=2)
    run, z, ema = Run.create({}, tmp_path / "run"), game.latent(4, name="samples"), EMA(G.parameters(), 0.9)
    solver = Alternating({name: SGD(params, lr=1.0) for name, params in game.players.items()})
    play(game, solver, 7, [SampleGrid(run, z, every=3, ema=ema)])
    drawn = sorted((run.path / "samples").iterdir())
    assert [p.name for p in drawn] == ["000001.png", "000003.png", "000006.png", "000007.png"]
    with ema.applied():  # never updated: still the first weights, in all pictures
        first = image_grid(game.sample(z))
    assert (image_grid(game.sample(z)) != first).any()
    for path in drawn:
        assert_array_equal(pixels(path), first)
    play(game, solver, 8, [SampleGrid(run, z, every=3)], start=7)
    assert_array_equal(pixels(run.path / "samples" / "000008.png"), image_grid(game.sample(z)))


# ---- walks -----------------------------------------------------------------------------------------------------------


@given(seed=seeds, t=st.floats(0, 1), dims=st.integers(2, 9))
def test_slerp_stays_on_the_sphere_at_the_right_angle(seed, t, dims):
    a, b = np.random.default_rng(seed).standard_normal((2, dims))
    b *= np.linalg.norm(a) / np.linalg.norm(b)
    assert_array_equal(slerp(a, b, 0), a)
    assert_array_equal(slerp(a, b, 1), b)
    c, square = slerp(a, b, t), a @ a
    assert_allclose(c @ c, square, rtol=1e-7)
    angle = lambda u, v: np.arctan2(np.sqrt(max(0, (u @ u) * (v @ v) - (u @ v) ** 2)), u @ v)
    assert_allclose(angle(a, c), t * angle(a, b), atol=1e-5)
    assert_allclose(slerp(b, a, 1 - t), c, rtol=1e-6, atol=1e-9 * np.sqrt(square))


@pytest.mark.parametrize("factor", [1.0, 2.0, 1 + 1e-9, -1.0, -3.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_slerp_of_parallel_vectors_is_the_straight_line(factor, dtype):
    a = np.array([[0.6, -0.8, 1.0], [3.0, 4.0, 0.0]], dtype)
    b = (factor * a).astype(dtype)
    for t in (0, 0.25, 1):
        c = slerp(a, b, t)
        assert c.dtype == dtype and np.isfinite(c).all()
        if factor > 0 or t in (0, 1):
            assert_allclose(c, (1 - t) * a + t * b, rtol=1e-5 if dtype == "float32" else 1e-8, atol=1e-12)


def test_an_interpolation_walks_row_by_row():
    asked = []

    def sample(z):
        asked.append(z)
        return z.reshape(-1, 1, 2, 1)

    starts, ends = np.random.default_rng(0).standard_normal((2, 3, 2)).astype(np.float32)
    images = interpolation(sample, starts, ends, steps=5)
    assert images.shape == (15, 1, 2, 1) and len(asked) == 1 and asked[0].dtype == np.float32
    rows = images.reshape(3, 5, 2)
    assert_array_equal(rows[:, 0], starts)
    assert_array_equal(rows[:, -1], ends)
    for i in range(3):
        assert_allclose(rows[i, 2], slerp(starts[i], ends[i], 0.5), rtol=1e-5)


# ---- plots -----------------------------------------------------------------------------------------------------------


@given(value=st.floats(-10, 10), n=st.integers(1, 30), window=st.integers(1, 40))
def test_smoothing_keeps_constants_and_length(value, n, window):
    assert_allclose(smooth(np.full(n, value), window), np.full(n, value), rtol=1e-12, atol=1e-12)


def test_smoothing_averages_neighbours():
    assert_allclose(smooth([0.0, 3.0, 6.0, 0.0, 3.0], 3), [1.5, 3, 3, 3, 1.5])
    assert_allclose(smooth([5.0, 1.0, 2.0], 1), [5, 1, 2])
    assert np.isfinite(smooth([1.0, 2.0], 50)).all()


def gan_records(n):
    wave = lambda i, phase: 0.7 + 0.3 * math.sin(0.1 * i + phase)
    names = ("loss/D", "loss/G", "D(real)", "D(fake)")
    return [{"step": i + 1} | {name: wave(i, k) for k, name in enumerate(names)} for i in range(n)]


def losses_only(records):
    return [{k: v for k, v in r.items() if k == "step" or k.startswith("loss/")} for r in records]


def gaps(records):
    return [r if i % 3 else {k: v for k, v in r.items() if k != "D(fake)"} for i, r in enumerate(records, 1)]


@pytest.mark.parametrize("change", [list, losses_only, gaps], ids=["all", "losses only", "readings missing"])
@pytest.mark.parametrize("n", [1, 2, 41, 500])
def test_losses_are_plotted(tmp_path, n, change):
    file = tmp_path / "losses.png"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_losses(change(gan_records(n)), file, "title", {"loss/D": 2 * math.log(2), "D(real)": 0.5})
    height, width, _ = pixels(file).shape
    assert width > 900 and (height > 600) == (change is not losses_only)


def test_every_column_is_drawn_in_a_colour_of_its_own(tmp_path):
    """Of more players than a GAN has, and diverged ones."""
    records = [{"step": i, **{f"loss/{p}": k + 0.1 * i for k, p in enumerate("abcdef")}} for i in range(5)]
    records[3]["loss/a"] = math.nan
    plot_losses(records, tmp_path / "many.png")
    seen = set(map(tuple, pixels(tmp_path / "many.png").reshape(-1, 3).tolist()))
    colours = [tuple(round(255 * part) for part in to_rgb(f"C{i}")) for i in range(7)]
    assert [colour in seen for colour in colours] == [True] * 6 + [False]


def test_nothing_to_plot_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no step has been logged"):
        plot_losses([], tmp_path / "losses.png")
    assert not list(tmp_path.iterdir())


# ---- diagnostics and points ------------------------------------------------------------------------------------------


@pytest.fixture
def drawn(monkeypatch):
    """The figures that plots make, to look into."""
    made = []

    def spy(*arguments, **options):
        made.append(figure(*arguments, **options))
        return made[-1]

    monkeypatch.setattr("minigan.report.plots.figure", spy)
    return made


def curves(axis):
    return {line.get_label(): (line.get_xdata(), line.get_ydata()) for line in axis.get_lines()}


def test_diagnostics_are_plotted_a_panel_for_each_kind(tmp_path, drawn):
    records = [{"step": i, "loss/D": 1.0} for i in range(1, 9)]
    for r in records[3::4]:
        look = {
            "gradient/D": 0.1 * r["step"],
            "gradient/G": 2.0,
            "accuracy/D": 0.75,
            "modes": 5.0,
            "visited modes": 6.0,
        }
        r |= {f"diagnostics/{name}": value for name, value in look.items()} | {"metric/score": 0.5}
    records[7]["diagnostics/penalty/D"] = 0.0
    assert plot_diagnostics(records, tmp_path / "d.png", "the title") is True
    (made, axes), used = drawn[0], [a for a in drawn[0][1].flat if a.axison]
    assert made.get_suptitle() == "the title"
    assert [a.get_title() for a in used] == [
        *["gradient length", "share of right answers of D", "objective and penalties, absolute"],
        *["number of modes with a high-quality sample", "metrics"],
    ]
    lengths = curves(used[0])
    assert list(lengths) == ["D", "G"] and used[0].get_yscale() == "log"
    assert_array_equal(lengths["D"][0], [4, 8])
    assert_allclose(lengths["D"][1], [0.4, 0.8])
    assert used[2].get_yscale() == "linear"  # a zero has no logarithm
    assert [list(curves(a)) for a in used[3:]] == [["modes"], ["score"]]
    assert len(axes.flat) == 6 and pixels(tmp_path / "d.png").std() > 1


@pytest.mark.parametrize("records", [[], [{"step": 1, "loss/D": 1.0}], [{"step": 1, "diagnostics/visited modes": 1.0}]])
def test_without_diagnostics_nothing_is_drawn(tmp_path, records):
    assert plot_diagnostics(records, tmp_path / "d.png") is False
    assert not list(tmp_path.iterdir())


def test_points_are_drawn_in_the_frame_of_the_data(tmp_path, drawn):
    real = np.array([[0.0, 0.0], [4.0, 2.0]])
    fake = np.array([[1.0, 1.0], [4.9, -0.9], [5.1, 1.0], [2.0, -1.1], [99.0, 99.0]])  # a frame of 1 around the data
    plot_points(real, fake.astype(np.float32), tmp_path / "p.png", "title")
    ((_, axis),) = drawn
    assert_allclose([*axis.get_xlim(), *axis.get_ylim()], [-1, 5, -1, 3], atol=1e-6)
    assert axis.get_title() == "title\n3 of 5 outside the frame"
    grey, blue = axis.collections
    assert_allclose(grey.get_offsets(), real)
    assert_allclose(blue.get_offsets(), fake, rtol=1e-6)
    assert pixels(tmp_path / "p.png").std() > 1
    _, own = figure()
    plot_points(real, real, axis=own)
    assert own.get_title() == "" and len(drawn) == 1
    plot_points(np.ones((3, 2)), np.ones((2, 2)), axis=figure()[1])  # all in one place


def test_samples_of_points_over_time(tmp_path, monkeypatch):
    G, D = nn.Dense(2, 2), nn.Dense(2, 1)
    real = np.random.default_rng(0).standard_normal((3000, 2)).astype(np.float32)
    game, shown = GAN(G, D, Batches(real, 8, 0), latent_dim=2), []
    monkeypatch.setattr("minigan.report.callbacks.plot_points", lambda *arguments: shown.append(arguments))
    run, z, ema = Run.create({}, tmp_path / "run"), game.latent(4, name="samples"), EMA(G.parameters(), 0.9)
    first = game.sample(z)
    solver = Alternating({name: SGD(params, lr=0.1) for name, params in game.players.items()})
    play(game, solver, 5, [SamplePoints(run, z, real, every=2, ema=ema)])
    assert [(path.name, title) for _, _, path, title in shown] == [
        (f"00000{step}.png", f"step {step}") for step in (1, 2, 4, 5)
    ]
    for data, samples, path, _ in shown:
        assert_array_equal(samples, first)  # the average has not moved
        assert_array_equal(data, real[:2000])
        assert path.parent == run.path / "samples"


@pytest.mark.parametrize(("high", "label"), [(1.0, "mean probability of “real”"), (1.5, "mean output")])
def test_the_second_panel_says_what_it_shows(tmp_path, drawn, high, label):
    records = [{"step": i, "loss/D": 1.0, "D(real)": high, "D(fake)": 0.0} for i in (1, 2, 3)]
    plot_losses(records, tmp_path / "l.png")
    assert drawn[0][1][1, 0].get_ylabel() == label
