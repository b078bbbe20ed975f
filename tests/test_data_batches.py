"""Batches: a function of the step number, each epoch a permutation, nothing mixed up between arrays."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigan.data.batches as module
from minigan.backend.random import stream
from minigan.data import Batches, Images


@st.composite
def sizes(draw):
    n = draw(st.integers(1, 40))
    return n, draw(st.integers(1, n))


@given(sizes(), st.integers(0, 2**40), st.integers(0, 5))
def test_an_epoch_is_a_permutation_cut_into_batches(size, seed, epoch):
    n, batch_size = size
    batches = Batches(np.arange(n), batch_size, seed)
    got = list(batches.epoch(epoch))
    assert len(got) == batches.steps_per_epoch == n // batch_size
    assert all(batch.shape == (batch_size,) for batch in got)
    seen = np.concatenate(got)
    assert len(set(seen)) == len(seen)  # nothing twice
    assert np.array_equal(seen, stream(seed, "shuffle", epoch).permutation(n)[: len(seen)])


@given(sizes(), st.lists(st.integers(0, 200), min_size=1, max_size=8))
def test_any_step_in_any_order_gives_the_same_batch(size, steps):
    n, batch_size = size
    asked_around = Batches(np.arange(n), batch_size, seed=7)
    for step in steps:
        assert np.array_equal(asked_around.at(step), Batches(np.arange(n), batch_size, seed=7).at(step))


def test_iteration_is_endless_and_counts_steps():
    batches = Batches(np.arange(10), 3, seed=0)
    first = list(itertools.islice(batches, 8))  # two epochs and two steps
    assert all(np.array_equal(batch, batches.at(step)) for step, batch in enumerate(first))
    again = list(itertools.islice(batches, 8))
    assert np.array_equal(first, again)


def test_epochs_and_seeds_differ():
    orders = {tuple(Batches(np.arange(50), 50, seed).at(epoch)) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


def test_rows_of_several_arrays_stay_together():
    x = np.arange(20, dtype=np.float32).reshape(10, 2)
    y = np.arange(10)
    for form in ((x, y), [x, y]):
        bx, by = Batches(form, 4, seed=1).at(3)
        assert np.array_equal(bx, x[by])
        assert (bx.dtype, bx.shape) == (np.float32, (4, 2))


def test_the_form_of_the_data_is_kept():
    images, labels = np.zeros((6, 28, 28, 1), np.float32), np.arange(6)
    batch = Batches(Images(images, labels), 3, seed=0).at(0)
    assert isinstance(batch, Images)
    assert batch.images.shape == (3, 28, 28, 1)
    assert isinstance(Batches(labels, 3, seed=0).at(0), np.ndarray)
    assert isinstance(Batches((labels,), 3, seed=0).at(0), tuple)


def test_a_batch_is_a_copy():
    data = np.arange(4)
    batch = Batches(data, 4, seed=0).at(0)
    batch[:] = -1
    assert data.tolist() == [0, 1, 2, 3]


def test_the_order_is_drawn_once_an_epoch_and_cannot_be_spoilt(monkeypatch):
    drawn = []

    def counting(seed, name, step=0):
        drawn.append((seed, name, step))
        return stream(seed, name, step)

    monkeypatch.setattr(module, "stream", counting)
    batches = Batches(np.arange(10), 2, seed=5)
    list(itertools.islice(batches, 12))
    assert drawn == [(5, "shuffle", 0), (5, "shuffle", 1), (5, "shuffle", 2)]
    with pytest.raises(ValueError, match="read-only"):
        batches.order(2)[0] = 3


@pytest.mark.parametrize(
    "make, name",
    [
        (lambda: Batches([1, 2, 3], 1, 0), "arrays"),
        (lambda: Batches((), 1, 0), "arrays"),
        (lambda: Batches(np.float32(3), 1, 0), "arrays"),
        (lambda: Batches((np.array(3),), 1, 0), "arrays"),
        (lambda: Batches((np.zeros(3), np.zeros(4)), 1, 0), "arrays"),
        (lambda: Batches(np.zeros(3), 0, 0), "batch_size"),
        (lambda: Batches(np.zeros(3), 4, 0), "batch_size"),
        (lambda: Batches(np.zeros(3), 1.0, 0), "batch_size"),
        (lambda: Batches(np.zeros(3), 1, None), "seed"),
        (lambda: Batches(np.zeros(3), 1, -1), "seed"),
        (lambda: Batches(np.zeros(3), 1, 0).at(-1), "step"),
        (lambda: Batches(np.zeros(3), 1, 0).at(0.5), "step"),
        (lambda: Batches(np.zeros(3), 1, 0).epoch(-1), "epoch"),
        (lambda: Batches(np.zeros(3), 1, 0).order(-1), "epoch"),
    ],
)
def test_bad_argument_is_named(make, name):
    with pytest.raises(ValueError, match=rf"^{name}: expected .*, got "):
        make()
