"""The classifier of digits, the weights that ship with minigan, and the metrics that look through it."""

import math
import os
import sys
import tracemalloc
import warnings

import numpy as np
import pytest

import minigan as mg
from minigan import models
from minigan.data import DataError, mnist
from minigan.metrics import inception_score, mnist_metrics, precision_recall
from minigan.metrics.mnist import (
    SHA256,
    WEIGHTS,
    mnist_classifier,
    mnist_features,
    mnist_frechet_distance,
    stacked_mnist_coverage,
)
from tests.strict_array import StrictArray

module = sys.modules["minigan.metrics.mnist"]
TEST = mnist("test")


def stacked(digits, rng, n):
    """n images of three digits drawn from ``digits``, and their modes 100a + 10b + c."""
    rows = rng.integers(len(digits.images), size=(n, 3))
    images = np.stack([digits.images[rows[:, i], :, :, 0] for i in range(3)], axis=-1)
    return images, digits.labels[rows] @ [100, 10, 1]


# ---- the network -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels, features, classes", [(16, 64, 10), (2, 5, 3)])
def test_the_network_has_two_parts(channels, features, classes):
    net = models.digit_classifier(channels, features, classes).eval()
    x = mg.tensor(TEST.images[:7])
    seen = net.features(x)
    assert seen.shape == (7, features) and seen.numpy().min() >= 0
    assert net(x).shape == (7, classes)
    np.testing.assert_array_equal(net(x).numpy(), net.logits(seen).numpy())
    assert list(dict(net.named_parameters()))[-2:] == ["logits.weight", "logits.bias"]
    without = [name for name, _ in net.named_parameters() if name.endswith("bias")]
    assert without == ["logits.bias"]  # batch norm would take the others away


def test_every_parameter_gets_a_gradient_and_a_seed_says_all():
    net = models.digit_classifier(2, 5)
    mg.sum(net(mg.tensor(TEST.images[:8])) ** 2).backward()
    assert all(np.any(p.grad.numpy() != 0) for p in net.parameters())
    weights = lambda seed: models.digit_classifier(2, 5, seed=seed).features.conv1.weight.numpy()
    assert np.array_equal(weights(1), weights(1)) and not np.array_equal(weights(1), weights(2))


def test_the_pool_and_relu_commute():
    pool, x = models.classifier.MaxPool(2), mg.tensor(TEST.images[:3])
    np.testing.assert_array_equal(pool(mg.relu(x)).numpy(), mg.relu(pool(x)).numpy())


# ---- the weights that ship -------------------------------------------------------------------------------------------


def test_the_shipped_classifier_knows_the_embedded_test_digits():
    found = mnist_features(TEST.images)
    assert np.mean(found.logits.argmax(axis=1) == TEST.labels) >= 0.99
    assert (found.features.max(axis=0) > 0).all()  # every feature sees something: the covariance has full rank
    assert np.linalg.matrix_rank(np.cov(found.features.T.astype(np.float64))) == 64


@pytest.mark.skipif(not os.environ.get("MINIGAN_DATA"), reason="needs MINIGAN_DATA, a folder with all of MNIST")
def test_the_stored_accuracy_is_that_on_all_test_digits():
    test = mnist("test", "full")
    accuracy = np.mean(mnist_features(test.images).logits.argmax(axis=1) == test.labels)
    with np.load(WEIGHTS) as stored:
        assert len(test.labels) == 10_000 and accuracy == stored["accuracy"][0] >= 0.992


def test_the_file_is_small_and_holds_the_networks_arrays_and_how_they_were_made():
    assert WEIGHTS.stat().st_size <= 1_500_000
    with np.load(WEIGHTS, allow_pickle=False) as stored:
        own = models.digit_classifier().state_dict()
        assert set(stored.files) == own.keys() | {"accuracy", "steps", "seed"}
        assert all(stored[name].dtype == np.float32 and stored[name].shape == a.shape for name, a in own.items())
        assert stored["accuracy"].dtype == np.float64 and stored["accuracy"].shape == (1,)
        accuracy = float(stored["accuracy"][0])
    assert f"errs on {round(10_000 * (1 - accuracy))} of the 10,000" in mnist_classifier.__doc__
    assert f"{100 * accuracy:.2f} %" in mnist_classifier.__doc__


def test_the_classifier_is_made_once_frozen_and_in_evaluation_mode():
    net = mnist_classifier()
    assert net is mnist_classifier("cpu") is mnist_classifier(device="cpu")
    assert not any(p.requires_grad for p in net.parameters())
    assert not any(m.training for _, m in net.named_modules())
    x = mg.tensor(TEST.images[:2], requires_grad=True)  # gradients by the images are still to be had
    mg.sum(net(x)).backward()
    assert np.any(x.grad.numpy() != 0) and all(p.grad is None for p in net.parameters())


DAMAGED = {
    "one bit": lambda whole: whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:],
    "truncated": lambda whole: whole[:-1],
    "empty": lambda whole: b"",
}


@pytest.mark.parametrize("how", DAMAGED)
def test_a_damaged_file_is_refused(how, monkeypatch, tmp_path):
    path = tmp_path / WEIGHTS.name
    path.write_bytes(DAMAGED[how](WEIGHTS.read_bytes()))
    monkeypatch.setattr(module, "WEIGHTS", path)
    with pytest.raises(DataError, match=rf"{path.name}: damaged .*{SHA256[:8]}.* Install minigan again"):
        module._classifier.__wrapped__("cpu")


def test_a_missing_file_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "WEIGHTS", tmp_path / "gone.npz")
    with pytest.raises(FileNotFoundError, match=r"gone\.npz: missing .* Install minigan again"):
        module._classifier.__wrapped__("cpu")


# ---- features --------------------------------------------------------------------------------------------------------


def test_features_are_the_networks_whatever_the_chunk():
    images = TEST.images[:53]
    net = mnist_classifier()
    with mg.no_grad():
        features, logits = net.features(mg.tensor(images)).numpy(), net(mg.tensor(images)).numpy()
    for batch in (1, 10, 53, 500):
        found = mnist_features(images, batch)
        assert found.features.shape == (53, 64) and found.logits.shape == (53, 10)
        assert found.features.dtype == found.logits.dtype == np.float32
        np.testing.assert_allclose(found.features, features, rtol=0, atol=1e-4)
        np.testing.assert_allclose(found.logits, logits, rtol=0, atol=1e-4)


def test_features_do_not_depend_on_the_mode_or_on_the_dtype():
    images, net = TEST.images[:8], mnist_classifier()
    expected = mnist_features(images).features
    before = net.state_dict()
    net.train()
    try:
        np.testing.assert_array_equal(mnist_features(images.astype(np.float64)).features, expected)
        assert net.training
    finally:
        net.eval()
    assert all(np.array_equal(a, before[name]) for name, a in net.state_dict().items())


def test_features_of_images_on_a_device():
    images = TEST.images[:5]
    there = mg.tensor(images, device="strict").data
    assert type(there) is StrictArray
    found, expected = mnist_features(there), mnist_features(images)
    assert type(found.features) is type(found.logits) is np.ndarray
    np.testing.assert_allclose(found.logits, expected.logits, rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match="images: expected finite pixels"):
        mnist_features(mg.tensor(images * np.float32(np.nan), device="strict").data)


def test_memory_does_not_grow_with_the_number_of_images():
    def peak(n):
        images = TEST.images[:1].repeat(n, axis=0)
        tracemalloc.start()
        mnist_features(images, batch=20)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    mnist_features(TEST.images[:20])
    few, many = peak(40), peak(2000)
    # The outputs, and what threads that happen to work at the same time need. All activations at once are 110 MB.
    assert many - few < 1960 * (64 + 10) * 4 + 4e6


def changed(value):
    images = TEST.images[:3].copy()
    images[1, 2, 3, 0] = value
    return images


WRONG = {
    "no list": (TEST.images[:2].tolist(), "expected an array of real numbers, got list"),
    "a Tensor": (mg.tensor(TEST.images[:2]), r"got a Tensor: pass its \.numpy\(\)"),
    "complex": (TEST.images[:2] + 0j, "expected an array of real numbers, got dtype complex64"),
    "booleans": (TEST.images[:2] > 0, "expected an array of real numbers, got dtype bool"),
    "no channel": (TEST.images[:2, ..., 0], r"got \(2, 28, 28\): add the channel, images\[\.\.\., None\]"),
    "channels first": (
        TEST.images[:2].transpose(0, 3, 1, 2),
        r"\(n, 28, 28, 1\), n >= 1, got \(2, 1, 28, 28\): channels come last",
    ),
    "colour": (TEST.images[:2].repeat(3, axis=3), r"got \(2, 28, 28, 3\)"),
    "one image": (TEST.images[0], r"got \(28, 28, 1\)"),
    "none": (TEST.images[:0], r"got \(0, 28, 28, 1\)"),
    "NaN": (changed(np.nan), "expected finite pixels, got NaN or infinity"),
    "infinity": (changed(-np.inf), "expected finite pixels, got NaN or infinity"),
    "beyond": (changed(1.01), r"expected pixels in \[-1, 1\].* got -1 … 1.01; clip or rescale"),
    "below": (changed(-1.01), r"expected pixels in \[-1, 1\].* got -1.01 … 1; clip or rescale"),
    "bytes": (np.uint8(127.5 * (TEST.images[:3] + 1)), r"got 0 … 255; .* pass images / 127\.5 - 1"),
    "from 0 to 1": ((TEST.images[:3] + 1) / 2, r"got 0 … 1; .* pass 2 \* images - 1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_images_are_refused(case):
    images, message = WRONG[case]
    with pytest.raises(ValueError, match="images: .*" + message):
        mnist_features(images)


def test_a_little_beyond_the_range_is_rounding():
    mnist_features(changed(1.0005))
    mnist_features(changed(-1.0005))


@pytest.mark.parametrize("batch", [0, 2.5, True])
def test_a_wrong_batch_is_refused(batch):
    with pytest.raises(ValueError, match="batch: expected an integer >= 1"):
        mnist_features(TEST.images[:2], batch)


# ---- the Fréchet distance --------------------------------------------------------------------------------------------


def frechet(x, y):
    """By the matrix square root: ‖μ − ν‖² + tr(Σ + Τ − 2 (ΣΤ)^½)."""
    from scipy.linalg import sqrtm

    x, y = x.astype(np.float64), y.astype(np.float64)
    a, b = np.cov(x.T), np.cov(y.T)
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b - 2 * sqrtm(a @ b).real)


def test_the_distance_is_that_of_the_features():
    real, fake = TEST.images[:600], TEST.images[600:1200]
    noisy = np.clip(fake + 0.7 * np.random.default_rng(0).standard_normal(fake.shape), -1, 1).astype(np.float32)
    near, far = mnist_frechet_distance(real, fake), mnist_frechet_distance(real, noisy)
    expected = frechet(mnist_features(real).features, mnist_features(noisy).features)
    assert float(far) == pytest.approx(expected, rel=1e-3)
    assert float(far) > 3 * float(near) > 0
    assert far.name == "mnist_frechet_distance" and far.settings["mnist_classifier"] == SHA256[:8]
    assert "mnist_frechet_distance" in repr(far) and SHA256[:8] in repr(far)


def test_the_floor_of_further_images():
    real, fake, others = np.split(TEST.images[:600], 3)
    result = mnist_frechet_distance(real, fake, floor=others)
    assert result.floor == pytest.approx(float(mnist_frechet_distance(others, real)), rel=1e-6)
    assert mnist_frechet_distance(real, fake, floor=None).floor is None


@pytest.mark.parametrize("who", ["real", "fake", "floor"])
def test_the_distance_names_the_wrong_images(who):
    images = dict.fromkeys(["real", "fake", "floor"], TEST.images[:9]) | {who: TEST.images[:9] * 255}
    with pytest.raises(ValueError, match=f"^{who}: expected pixels in"):
        mnist_frechet_distance(**images)


# ---- stacked digits --------------------------------------------------------------------------------------------------


def naive(modes):
    """(modes, reverse KL, counts) of a list of numbers below 1000, by counting."""
    counts = [0] * 1000
    for m in modes:
        counts[m] += 1
    shares = [c / len(modes) for c in counts if c]
    return len(shares), sum(p * math.log(1000 * p) for p in shares), tuple(counts)


def test_coverage_counts_what_the_classifier_says():
    sure = mnist_features(TEST.images).logits.argmax(axis=1) == TEST.labels
    digits = type(TEST)(TEST.images[sure], TEST.labels[sure])
    images, labels = stacked(digits, np.random.default_rng(0), 150)
    result = stacked_mnist_coverage(images)
    modes, kl, counts = naive(labels.tolist())
    assert result.value == result.details["modes"] == modes and result.n == 150
    assert result.details["counts"] == counts
    assert result.details["reverse_kl"] == pytest.approx(kl, rel=1e-9)
    assert result.settings == {"mnist_classifier": SHA256[:8]}
    assert f"modes {modes} (perfect " in repr(result) and "n=150" in repr(result)


def test_one_mode_alone():
    images = np.concatenate([TEST.images[i : i + 1] for i in (0, 1, 3)], axis=-1).repeat(6, axis=0)  # 7, 2, 0
    assert TEST.labels[[0, 1, 3]].tolist() == [7, 2, 0]
    result = stacked_mnist_coverage(images)
    assert result.value == 1 and result.details["counts"][720] == 6
    assert result.details["reverse_kl"] == pytest.approx(math.log(1000))


@pytest.mark.parametrize("n", [1, 500, 26_000])
def test_what_a_perfect_sampler_gets(n, monkeypatch):
    rng = np.random.default_rng(1)

    class Perfect:
        def __init__(self):
            self.logits = np.eye(10)[rng.integers(10, size=n)]

    monkeypatch.setattr(module, "_look", lambda images: Perfect())
    monkeypatch.setattr(module, "_check", lambda name, images, channels: None)
    images = np.broadcast_to(np.float32(-1), (n, 28, 28, 3))
    results = [stacked_mnist_coverage(images) for _ in range(40)]
    perfect = results[0].details["perfect"]
    assert results[0].floor == perfect["modes"] == pytest.approx(1000 * (1 - 0.999**n), abs=1e-6)
    for key in ("modes", "reverse_kl"):
        found = [r.details[key] for r in results]
        assert abs(np.mean(found) - perfect[key]) <= 5 * np.std(found) / math.sqrt(40) + 1e-6, key
    if n == 26_000:
        assert perfect["reverse_kl"] == pytest.approx(999 / (2 * n), rel=0.01)


def test_real_stacked_digits_are_near_the_floor():
    n = 700
    images, labels = stacked(TEST, np.random.default_rng(2), n)
    result = stacked_mnist_coverage(images)
    perfect, (modes, kl, _) = result.details["perfect"], naive(labels.tolist())
    assert abs(result.value - perfect["modes"]) < 50 and abs(result.value - modes) < 20
    assert abs(result.details["reverse_kl"] - kl) < 0.03
    assert abs(result.details["reverse_kl"] - perfect["reverse_kl"]) < 0.1


def test_coverage_refuses_grey_images():
    with pytest.raises(ValueError, match=r"images: expected shape \(n, 28, 28, 3\)"):
        stacked_mnist_coverage(TEST.images[:4])
    with pytest.raises(ValueError, match=r"images: .* pass 2 \* images - 1"):
        stacked_mnist_coverage((TEST.images[:4].repeat(3, axis=3) + 1) / 2)


def test_the_image_checks_warn_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for value in (np.nan, np.inf):
            with pytest.raises(ValueError):
                mnist_features(changed(value))


def test_the_suite_of_digits():
    """Its floors come from halves, or from further images; every result says which classifier it looked through."""
    order = np.random.default_rng(0).permutation(2000)
    real, fake, more = np.split(TEST.images[order[:360]], 3)
    names = ["mnist_frechet_distance", "kernel_distance", "inception_score", "precision_recall", "density_coverage"]
    for floor in ("halves", more, None):
        results = mnist_metrics(real, fake, floor=floor)
        assert [r.name for r in results] == [*names, "c2st"]
        assert all(r.settings["mnist_classifier"] == SHA256[:8] for r in results)
        assert (results[3].floor is None) == (floor is None)
        assert (results[0].floor is None) == (floor is not more)  # halves of 120 have fewer images than features
    distance, _, score, shares = mnist_metrics(real, fake, floor=more)[:4]
    assert distance.floor == mnist_frechet_distance(real, more, floor=None).value
    assert score.floor == inception_score(mnist_features(real).logits).value
    found = precision_recall(mnist_features(real).features, mnist_features(more).features, floor=None)
    assert shares.perfect == {"precision": found.precision, "recall": found.recall}
    for name in ("real", "fake", "floor"):
        images = {"real": real, "fake": fake, "floor": more} | {name: real[:, :14]}
        with pytest.raises(ValueError, match=f"^{name}: expected shape"):
            mnist_metrics(**images)
