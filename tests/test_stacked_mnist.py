"""Stacked MNIST: the data, networks for colour and packs, experiments with them, and the benchmark."""

import hashlib

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.stats import chi2

import minigan as mg
from benchmarks import stacked_mnist as benchmark
from minigan import models
from minigan.data import MissingDataError, mnist, stacked_mnist
from minigan.experiment import Experiment
from minigan.games import Averaging, Checkpoint, Log, Run, play
from minigan.report import image_grid

# ---- the data --------------------------------------------------------------------------------------------------------


def known(split):
    """{bytes of an image: its digit} of the source's images."""
    images, labels = mnist(split)
    return {image.tobytes(): int(label) for image, label in zip(images, labels)}


@pytest.mark.parametrize("split", ["train", "test"])
def test_labels_are_the_channels_digits(split):
    digits = known(split)
    images, labels = stacked_mnist(50, split, seed=3)
    assert (images.shape, images.dtype, labels.shape, labels.dtype) == ((50, 28, 28, 3), np.float32, (50,), np.int64)
    assert images.flags.c_contiguous and images.min() == -1 and images.max() == 1
    for image, label in zip(images, labels):
        a, b, c = (digits[image[..., [channel]].tobytes()] for channel in range(3))
        assert label == 100 * a + 10 * b + c
    assert len({a.tobytes() for image in images for a in np.moveaxis(image, 2, 0)}) > 140  # of 150: hardly one twice


def test_all_are_the_images_of_both_splits():
    train, test = known("train"), known("test")
    images, labels = stacked_mnist(300, "all")
    from_test = 0
    for image, label in zip(images, labels):
        channels = [image[..., [channel]].tobytes() for channel in range(3)]
        assert [int(x) for x in f"{label:03}"] == [(train | test)[a] for a in channels]
        from_test += sum(a in test for a in channels)
    assert 110 < from_test < 190  # 150 ± 11: a sixth of the digits


def test_the_seed_says_all():
    one, same, more = stacked_mnist(20, seed=7), stacked_mnist(20, seed=7), stacked_mnist(30, seed=7)
    assert_array_equal(one.images, same.images)
    assert_array_equal(one.labels, same.labels)
    assert_array_equal(one.images, more.images[:20])
    assert_array_equal(one.labels, more.labels[:20])
    others = stacked_mnist(20, seed=8), stacked_mnist(20, "all", seed=7), stacked_mnist(20, "test", seed=7)
    assert all((one.labels != other.labels).mean() > 0.8 for other in others)


def test_channels_are_independent():
    labels = stacked_mnist(6000).labels
    digits = np.stack([labels // 100, labels // 10 % 10, labels % 10])
    share = np.bincount(mnist().labels, minlength=10) / 10_000
    for a in digits:
        counts = np.bincount(a, minlength=10)
        assert ((counts - 6000 * share) ** 2 / (6000 * share)).sum() < chi2(9).isf(1e-4)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        counts, expected = np.bincount(10 * digits[i] + digits[j], minlength=100), 6000 * np.outer(share, share).ravel()
        assert ((counts - expected) ** 2 / expected).sum() < chi2(99).isf(1e-4)


def test_what_the_data_refuse():
    for n in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="n: expected an integer >= 1, got"):
            stacked_mnist(n)
    with pytest.raises(ValueError, match="seed: expected an integer >= 0, got -1"):
        stacked_mnist(1, seed=-1)
    with pytest.raises(ValueError, match=r"split: expected one of \('train', 'test', 'all'\), got 'both'"):
        stacked_mnist(1, "both")
    with pytest.raises(MissingDataError, match="no such folder"):
        stacked_mnist(1, source="embeded")


# ---- networks --------------------------------------------------------------------------------------------------------


def noise(*shape):
    return mg.tensor(np.random.default_rng(0).standard_normal(shape), dtype="float32")


def test_weights_of_grey_networks_are_what_they_were():
    found = hashlib.sha256()
    for net in (models.dcgan_generator(7, 8, 3), models.dcgan_discriminator(8, True, 5)):
        for p in net.parameters():
            found.update(p.name.encode() + str(p.shape).encode() + (p.numpy() * 2**20).astype(np.int64).tobytes())
    assert found.hexdigest() == GREY


GREY = "de42e6587a1a9237d36da64f940e3309787764a47465516c91fd49b343aaf2c4"


@pytest.mark.parametrize("colours", [1, 3, 6])
@pytest.mark.parametrize(("depth", "kernel_size"), [(1, 4), (2, 4), (3, 4), (4, 5), (2, 3), (2, 2), (4, 1)])
def test_dcgans_of_every_form(colours, depth, kernel_size):
    form = {"image_channels": colours, "depth": depth, "kernel_size": kernel_size}
    G, D = models.dcgan_generator(5, 2, **form), models.dcgan_discriminator(2, **form)
    images = G(noise(3, 5))
    assert (images.shape, images.dtype) == ((3, 28, 28, colours), np.float32)
    assert D(images).shape == (3, 1)
    mg.mean(mg.softplus(-D(images))).backward()
    assert all(p.grad.shape == p.shape and np.any(p.grad.numpy() != 0) for p in G.parameters() + D.parameters())


def test_the_form_of_pacgans_networks():
    """5 × 5 convolutions of stride 2 with c, 2c, 4c, 8c channels (c = 64), 28 → 14 → 7 → 4 → 2, batch norm in both."""
    c, form = 4, {"image_channels": 3, "depth": 4, "kernel_size": 5}
    G, D = models.dcgan_generator(100, c, **form), models.dcgan_discriminator(c, **form)
    convolutions = [(5, 5, 3, c), (5, 5, c, 2 * c), (5, 5, 2 * c, 4 * c), (5, 5, 4 * c, 8 * c)]
    assert [p.shape for p in D.parameters() if p.ndim > 1] == [*convolutions, (2 * 2 * 8 * c, 1)]
    assert [p.shape for p in G.parameters() if p.ndim > 1] == [(100, 2 * 2 * 8 * c), *reversed(convolutions)]
    sizes, x = [], noise(1, 28, 28, 3)
    for layer in D:
        x = layer(x)
        sizes += [x.shape[1]] if type(layer).__name__ == "Conv" else []
    assert sizes == [14, 7, 4, 2]
    assert [p.size for p in D.parameters() if p.name.endswith("gamma")] == [2 * c, 4 * c, 8 * c]
    assert [p.size for p in G.parameters() if p.name.endswith("gamma")] == [8 * c, 4 * c, 2 * c, c]


def test_what_dcgans_refuse():
    for make in (models.dcgan_generator, models.dcgan_discriminator):
        with pytest.raises(ValueError, match="depth: expected a whole number from 1 on, got 0"):
            make(depth=0)
        with pytest.raises(ValueError, match="kernel_size: expected a whole number from 1 on, got 4.0"):
            make(kernel_size=4.0)
        with pytest.raises(ValueError, match="depth: convolutions 4 × 4 leave no pixel of 28 after 5"):
            make(depth=5)


# ---- experiments -----------------------------------------------------------------------------------------------------

TINY = {
    "data": {"name": "stacked_mnist", "n": 40},
    "networks": {"name": "dcgan", "channels": 2},
    "batch_size": 8,
    "latent_dim": 3,
    "steps": 2,
    "checkpoint_every": 1,
}


def test_the_configurations_data():
    made = Experiment(TINY | {"seed": 5})
    assert_array_equal(made.dataset.samples, stacked_mnist(40, seed=5).images)
    assert_array_equal(made.dataset.held_out, stacked_mnist(4, "test", seed=5).images)
    assert made.sample(2).shape == (2, 28, 28, 3)
    spread = Experiment(TINY | {"data": {"name": "stacked_mnist", "n": 30, "split": "all", "source": "embedded"}})
    assert_array_equal(spread.dataset.samples, stacked_mnist(30, "all").images)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"networks": {"name": "dcgan", "channels": 2, "pack": 2}},
        {"networks": {"name": "dcgan", "channels": 2, "d_channels": 3, "depth": 3, "pack": 4}, "objective": "hinge"},
        {"networks": {"name": "dcgan", "channels": 2, "batch_norm": False}, "regularizers": ["r1", "r2"]},
    ],
    ids=["plain", "packs", "depth", "penalties"],
)
def test_a_run_resumes_bit_for_bit(changes, tmp_path):
    config = TINY | changes
    straight, broken = (Run.create(config, tmp_path / name) for name in ("straight", "broken"))
    for run, stops in ((straight, [2]), (broken, [1, 2])):
        for stop in stops:
            made = Experiment(Run.open(run.path).config)
            callbacks = [Averaging(made.average), Log(run), Checkpoint(run, made.parts, 1)]
            play(made.game, made.solver, stop, callbacks, run.load(made.parts))
    for name in ("checkpoint.npz", "checkpoint.previous.npz", "metrics.jsonl"):
        assert (straight.path / name).read_bytes() == (broken.path / name).read_bytes(), name
    with np.load(straight.path / "checkpoint.npz") as last, np.load(straight.path / "checkpoint.previous.npz") as first:
        for player in "DG":
            moved = [k for k in last if k.startswith(f"game/{player}/") and (last[k] != first[k]).any()]
            assert len(moved) >= 3


def test_a_runs_pictures_are_in_colour(tmp_path):
    from matplotlib.image import imread

    run = Run.create(TINY | {"steps": 1}, tmp_path / "run")
    Experiment(run.config).train(run)
    digits = imread(run.path / "digits.png")[..., :3]
    assert (digits.min(axis=2) < digits.max(axis=2)).mean() > 0.5
    assert (run.path / "interpolation.png").exists()


def test_packs_of_images_are_what_the_discriminator_sees():
    made = Experiment(TINY | {"networks": {"name": "dcgan", "channels": 2, "pack": 2, "batch_norm": False}})
    assert made.pack == 2
    x = made.dataset.samples[:8]
    outputs = made.game.outputs(x)
    assert outputs.shape == (4, 1)
    D = made.game.D.dcgan
    with mg.no_grad():
        for i, output in enumerate(outputs):
            both = np.concatenate([x[2 * i], x[2 * i + 1]], axis=-1)[None]
            np.testing.assert_allclose(D(both).numpy()[0], output, rtol=1e-4, atol=1e-6)


def test_d_channels():
    made = Experiment(TINY | {"networks": {"name": "dcgan", "channels": 4, "d_channels": 1}})
    assert made.game.G.convtranspose1.weight.shape == (4, 4, 4, 8) and made.game.D.conv2.weight.shape == (4, 4, 1, 2)
    grey = Experiment(TINY | {"data": "mnist", "networks": {"name": "dcgan", "channels": 2, "pack": 2}})
    assert play(grey.game, grey.solver, 1)["loss/D"][0] > 0 and grey.sample(1).shape == (1, 28, 28, 1)


REFUSED = {
    "packs that do not fit": ({"networks": {"name": "dcgan", "pack": 3}}, "pack 3 does not divide the batch size 8"),
    "no pack": ({"networks": {"name": "dcgan", "pack": 0}}, "Pack: m must be at least 1, in whole numbers; got 0"),
    "an energy of colours": ({"objective": "began"}, r"auto-encoder is for single grey images, got \(28, 28, 3\)"),
    "an energy of packs": (
        {"objective": "ebgan", "data": "mnist", "networks": {"name": "dcgan", "pack": 2}},
        r"auto-encoder is for single grey images, got \(28, 28, 1\) and pack 2",
    ),
    "colours for points' networks": ({"networks": "mlp"}, r"mlp is for points, the data are images \(28, 28, 3\)"),
    "points": ({"data": "ring"}, r"dcgan is for images \(28, 28, 1 or 3\), the data are \(2,\)"),
    "split": ({"data": {"name": "stacked_mnist", "split": "both"}}, "split: expected one of"),
    "setting": ({"data": {"name": "stacked_mnist", "m": 3}}, r"data 'stacked_mnist' does not take these settings.*m"),
    "batch norm under penalties": ({"regularizers": ["r1"]}, "normalises over the batch"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_experiments_refuse(name):
    changes, reason = REFUSED[name]
    with pytest.raises(ValueError, match=reason):
        Experiment(TINY | changes)


def test_grids_show_colours():
    images = np.full((4, 28, 28, 3), -1, np.float32)
    images[0, :, :, 0] = images[1, :, :, 1] = images[2, :, :, 2] = 1
    grid = image_grid(images, columns=2, border=0, scale=1)
    assert grid.shape == (56, 56, 3)
    corners = [grid[0, 0], grid[0, 28], grid[28, 0], grid[28, 28]]
    assert [c.tolist() for c in corners] == [[255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0]]


# ---- the benchmark ---------------------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(benchmark, "CHANNELS", 4)


def tiny(config, **changes):
    return config | {"data": config["data"] | {"n": 256, "source": "embedded"}} | changes


@pytest.mark.parametrize("name", benchmark.NAMES)
def test_every_row_plays(name, small):
    config = tiny(benchmark.settings(name, steps=1))
    experiment, seconds = benchmark.trial(config)
    assert seconds > 0 and experiment.game.rounds == 1
    samples = experiment.sample(70)
    assert samples.shape == (70, 28, 28, 3) and np.isfinite(samples).all()


@pytest.mark.parametrize("name", benchmark.FULL_NAMES)
def test_the_full_protocol(name):
    config, pack = benchmark.full_settings(name), int(name.removeprefix("pac").replace("plain", "1"))
    assert config["data"] == {"name": "stacked_mnist", "n": 128_000, "split": "all", "source": "full"}
    networks = {"name": "dcgan", "channels": 64, "depth": 4, "kernel_size": 5, "pack": pack}
    assert config["networks"] == networks and config["batch_size"] == 64 * pack
    assert config["steps"] == 100_000 and not config["ema"]


@pytest.mark.parametrize("pack", [1, 2])
def test_the_full_protocol_plays(pack, small):
    config = tiny(benchmark.full_settings("plain" if pack == 1 else "pac2"), steps=2)
    experiment, _ = benchmark.trial(config | {"batch_size": 8 * pack})
    assert [o.steps for o in experiment.solver.optimizers.values()] == [2, 4]  # G moves twice a round
    assert experiment.pack == pack and experiment.average is None
    assert [p.shape for p in experiment.game.D.parameters() if p.ndim > 1][0] == (5, 5, 3 * pack, 8)
    assert experiment.sample(3).shape == (3, 28, 28, 3)


def test_the_rows_differ_in_what_they_say():
    rows = {name: benchmark.settings(name) for name in benchmark.NAMES}
    assert len({row["steps"] for row in rows.values()}) == len({str(row["data"]) for row in rows.values()}) == 1
    changed = {key for key in rows["r3gan"] if rows["r3gan"][key] != rows["penalized"][key]}
    assert changed == {"objective"}
    assert {key for key in rows["plain"] if rows["plain"][key] != rows["small"][key]} == {"networks"}
    assert rows["pac2"]["batch_size"] == 2 * rows["small"]["batch_size"]
    assert benchmark.settings("plain", device="cuda")["device"] == "cuda"


def test_the_table(small, monkeypatch, tmp_path, capsys):
    settings = benchmark.settings
    monkeypatch.setattr(benchmark, "settings", lambda *arguments: tiny(settings(*arguments)))
    out = tmp_path / "grid.png"
    benchmark.main(f"--only plain --seeds 0 1 --steps 1 --samples 64 --out {out}".split())
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert [line.split("  ")[0] for line in lines[:2]] == ["setting", "DCGAN"]
    assert (
        sum(line.startswith("DCGAN  ") for line in lines) == 2 and sum(line.startswith("  mean") for line in lines) == 1
    )
    (perfect,) = (line.split() for line in lines if line.startswith("perfect sampler"))
    assert float(perfect[-2]) == pytest.approx(1000 * (1 - 0.999**64), abs=1e-3)
    assert 2 < float(perfect[-1]) < 3  # log(1000/64) = 2.75, less what falls together
    real = [line.split() for line in lines if line.startswith("real digits")]
    assert [row[2] for row in real] == ["train", "test"] and all(55 < float(row[-2]) <= 64 for row in real)
    for published in ("DCGAN (PacGAN, table 2)", "78.9 ± 6.5", "RpGAN + R1 + R2                        1000"):
        assert published in printed
    assert "Where ours differ: 1 steps" in printed
    assert out.read_bytes().startswith(b"\x89PNG") and out.stat().st_size > 10_000


def test_wrong_command_lines(capsys):
    for line, what in (
        ("--only pac4", "no pac4; there are plain, small, pac2"),
        ("--full --only r3gan", "no r3gan; there are plain, pac2, pac3, pac4"),
        ("--samples 3", "expected 64 or more, got 3"),
    ):
        with pytest.raises(SystemExit):
            benchmark.options(line.split())
        assert what in capsys.readouterr().err


def test_full_changes_the_defaults():
    args = benchmark.options(["--full", "--device", "cuda"])
    assert (args.only, args.steps, args.source, args.device) == (["plain", "pac2"], 100_000, "full", "cuda")
    args = benchmark.options([])
    assert (args.only, args.steps, args.source) == (benchmark.DEFAULT, benchmark.STEPS, "embedded")
