"""Which metric notices which failure: the lesson of example 14, on fewer digits."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from minigan.data import mnist
from minigan.metrics import mnist_features

EXAMPLE = Path(__file__).parent.parent / "examples" / "14_metrics_tell_failures_apart.py"
N = 800
# More than four standard deviations of the difference of two perfect generators (measured on 14 divisions).
FAR = {"Fréchet": 1.5, "kernel": 0.06, "score": 0.7, "precision": 0.09, "recall": 0.058, "density": 0.37}
FAR |= {"coverage": 0.06, "NDB": 13, "1-NN test": 0.12}


@pytest.fixture(scope="module")
def example():
    sys.path.insert(0, str(EXAMPLE.parent))
    try:
        spec = importlib.util.spec_from_file_location("example_14", EXAMPLE)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return module


@pytest.fixture(scope="module")
def lesson(example):
    """(what a perfect generator scores, {failure: what it scores})."""
    data = mnist()
    order = np.random.default_rng(0).permutation(len(data.images))  # in the file, neighbours share a writer
    samples = {"perfect": data.images[order[N : 2 * N]]} | example.failures(data, order[:N], order[N : 3 * N], seed=0)
    assert {len(x) for x in samples.values()} == {N}
    real = mnist_features(data.images[order[:N]])
    scores = {name: example.measure(real, mnist_features(x)) for name, x in samples.items()}
    return scores.pop("perfect"), scores


def told(lesson, failure):
    """The metrics that say worse, and those that say better."""
    perfect, scores = lesson
    up = {"score", "precision", "recall", "density", "coverage"}
    worse = {m: (perfect[m] - x if m in up else x - perfect[m]) for m, x in scores[failure].items()}
    return {m for m, x in worse.items() if x > FAR[m]}, {m for m, x in worse.items() if x < -FAR[m]}


def test_the_score_does_not_see_memorisation(lesson):
    worse, better = told(lesson, "copies of the data")
    assert not worse and "score" not in better  # nobody complains; who compares with the data finds it too good
    assert {"recall", "1-NN test"} <= better
    copies = lesson[1]["copies of the data"]
    assert copies["Fréchet"] < 1e-9 and copies["precision"] == copies["recall"] == copies["coverage"] == 1


def test_precision_does_not_see_dropped_modes(lesson):
    worse, _ = told(lesson, "no 7, 8 and 9")
    assert worse.isdisjoint({"precision", "density"})
    assert worse >= {"recall", "coverage", "Fréchet", "kernel", "score", "NDB"}


def test_neither_score_nor_precision_sees_repetition(lesson):
    worse, _ = told(lesson, "forty, repeated")
    assert worse.isdisjoint({"score", "precision"})
    assert worse >= {"recall", "coverage", "Fréchet", "NDB", "1-NN test"}
    assert lesson[1]["forty, repeated"]["recall"] == 0


@pytest.mark.parametrize("failure", ["blurred", "noisy"])
def test_bad_images_are_seen(lesson, failure):
    worse, better = told(lesson, failure)
    assert worse >= {"Fréchet", "kernel", "recall", "coverage", "1-NN test"}
    assert not better


def test_what_counts_as_noticed(example):
    """Of five scores with mean 9 and standard deviation 0.1, 8.610 · 0.1 · √1.2 = 0.943 is just far enough."""
    perfect = [{"score": 9 + 0.1 * x, "Fréchet": 9 + 0.1 * x} for x in np.array([-2, -1, 0, 1, 2]) / np.sqrt(2.5)]
    for value, sign in [(9.95, 1), (9.93, 0), (8.07, 0), (8.05, -1)]:
        assert example.noticed({"score": value, "Fréchet": value}, perfect) == {"score": -sign, "Fréchet": sign}
