"""The stand-in for CuPy refuses what it must: a stand-in that lets things through would prove nothing."""

import copy

import numpy as np
import pytest

from minigan import backend
from tests.strict_array import (
    DeviceSync,
    StrictArray,
    StrictBackend,
    counts,
    no_sync,
    strict_backend,
    strict_xp,
)


def device(values, dtype=np.float32):
    """An array on the stand-in's device."""
    return strict_xp.array(values, dtype=dtype)


@pytest.fixture
def a():
    return device([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


@pytest.mark.parametrize(
    "mix",
    [
        lambda a: np.asarray(a),
        lambda a: np.array(a),
        lambda a: np.exp(a),
        lambda a: np.sum(a),
        lambda a: np.concatenate([a, a]),
        lambda a: np.zeros(3, np.float32) + a,
        lambda a: a + np.zeros(3, np.float32),
        lambda a: a == np.zeros(3, np.float32),
        lambda a: strict_xp.add(a, np.zeros(3, np.float32)),
        lambda a: strict_xp.concatenate([a, np.zeros((2, 3))]),
        lambda a: strict_xp.exp(np.zeros(3)),
        lambda a: strict_xp.exp([1.0, 2.0]),
        lambda a: strict_xp.sum([1.0, 2.0]),
        lambda a: strict_xp.zeros_like(np.zeros(3)),
        lambda a: a * np.float64(2),
        lambda a: np.float64(2) * a,
        lambda a: np.float32(2) - a,
        lambda a: a + np.int64(1),
        lambda a: strict_xp.maximum(a, np.float32(0)),
        lambda a: strict_xp.where(a > 0, a, np.float64(0)),
        lambda a: strict_xp.full(3, np.float64(0)),
        lambda a: a + [1.0, 2.0, 3.0],
        lambda a: a[np.array([0, 1])],
        lambda a: a.__setitem__(0, np.zeros(3, np.float32)),
        lambda a: a.__iadd__(np.zeros(3, np.float32)),
        lambda a: a.dot(np.zeros(3, np.float32)),
        lambda a: a[: device(1, np.int64)],
        lambda a: range(device(3, np.int64)),
    ],
)
def test_nothing_crosses_between_host_and_device_by_itself(a, mix):
    with pytest.raises(TypeError):
        mix(a)


@pytest.mark.parametrize(
    "use",
    [
        lambda a: strict_xp.geomspace(1, 2, 3),
        lambda a: strict_xp.insert(a, 0, 0),
        lambda a: strict_xp.errstate(),
        lambda a: strict_xp.vecdot(a, a),
        lambda a: strict_xp.linalg.vector_norm(a),
        lambda a: strict_xp.random.normal(),
        lambda a: a.ctypes,
        lambda a: a.setflags(write=False),
        lambda a: a.__array_interface__,
        lambda a: a.flags.writeable,
    ],
)
def test_names_that_cupy_lacks(a, use):
    with pytest.raises(AttributeError):
        use(a)


@pytest.mark.parametrize(
    "call",
    [
        lambda a: strict_xp.sum(a, where=a > 0),
        lambda a: strict_xp.sum(a, initial=0),
        lambda a: a.max(initial=0),
        lambda a: strict_xp.add(a, a, where=a > 0),
        lambda a: strict_xp.exp(a, order="C"),
        lambda a: strict_xp.take(a, device([0], np.int64), mode="clip"),
        lambda a: strict_xp.clip(a, min=0, max=1),
        lambda a: strict_xp.lib.stride_tricks.as_strided(a, (1,), (4,), writeable=False),
        lambda a: a.mean(0, np.float32, None, False, 1),
    ],
)
def test_parameters_that_cupy_lacks(a, call):
    with pytest.raises(TypeError):
        call(a)


def test_ufunc_methods_that_cupy_lacks(a):
    with pytest.raises(NotImplementedError):
        strict_xp.maximum.reduce(a)
    with pytest.raises(NotImplementedError):
        strict_xp.multiply.at(a, 0, 2.0)
    with pytest.raises(TypeError, match="does not support dtype"):
        strict_xp.add.at(device([1], np.int8), 0, 1)
    assert strict_xp.add.reduce(a).get().tolist() == [5, 7, 9]


@pytest.mark.parametrize(
    "value",
    [
        lambda a: float(a[0, 0]),
        lambda a: int(a[0, 0]),
        lambda a: bool(a[0, 0]),
        lambda a: a[0, 0].item(),
        lambda a: a.tolist(),
        lambda a: a.get(),
        lambda a: strict_xp.asnumpy(a),
        lambda a: list(a),
        lambda a: 3.0 in a[0],
        lambda a: 1 if a[0, 0] > 0 else 0,
        lambda a: f"{a[0, 0]:.3f}",
        lambda a: str(a),
        lambda a: repr(a),
        lambda a: a[a > 2],
        lambda a: strict_xp.nonzero(a),
        lambda a: strict_xp.where(a > 2),
        lambda a: strict_xp.unique(a),
        lambda a: strict_xp.linalg.inv(a[:, :2]),
        lambda a: a.nonzero(),
        lambda a: a.__setitem__(a > 2, device([9.0] * 4)),
    ],
)
def test_waiting_for_the_device_is_counted_and_can_be_forbidden(a, value):
    before = counts.syncs
    value(a)
    assert counts.syncs > before
    with no_sync(), pytest.raises(DeviceSync):
        value(a)
    value(a)  # and is allowed again


def test_ordinary_work_does_not_wait(a):
    with no_sync() as counted:
        before = counted.syncs
        b = strict_xp.tanh(a @ a.T + 1.0).sum(axis=0, keepdims=True) / len(a)
        b[0, 0] = 2.0
        b[b > 1] = 0.0
        b -= 0.5 * strict_xp.where(b > 0, b, 0.0).mean()
        strict_xp.add.at(b, (0, device([0, 0], np.int64)), 1.0)
        assert b.shape == (1, 2) and b.dtype == np.float32 and b.ndim == 2
        assert counted.syncs == before


def test_reductions_stay_on_the_device(a):
    for result in (a.sum(), a.max(), strict_xp.mean(a), a[0, 0], strict_xp.array_equal(a, a), a.argmax()):
        assert type(result) is StrictArray and result.shape == ()
    total = a.sum()
    total += 1.0  # a scalar would be replaced, an array is changed
    assert type(total) is StrictArray and float(total) == 22


def test_python_numbers_are_weak(a):
    for b in (a + 1.5, 2 * a, a**2, 1 / a, strict_xp.maximum(a, 0.0), strict_xp.where(a > 1, a, 0.0)):
        assert b.dtype == np.float32


def test_views_share_memory_and_in_place_keeps_the_array(a):
    row, same = a[0], a
    row += 10.0
    a *= 2.0
    assert a is same and a.get()[0].tolist() == [22, 24, 26]
    assert row.base is not None and a.astype(np.float32, copy=False) is a
    assert copy.deepcopy(a).base is None


def test_out_returns_the_array_given(a):
    out = strict_xp.empty_like(a)
    assert strict_xp.exp(a, out=out) is out
    assert strict_xp.sum(a, axis=0, out=out[0]).shape == (3,)
    np.testing.assert_allclose(out.get()[1], np.exp([4, 5, 6]), rtol=1e-6)
    np.testing.assert_array_equal(out.get()[0], [5, 7, 9])


def test_what_cupy_leaves_open_shows():
    assert np.isnan(strict_xp.empty((2, 2)).get()).all()
    a = strict_xp.zeros(4)
    a[device([1, 1, 2], np.int64)] = device([5.0, 6.0, 7.0])
    np.testing.assert_array_equal(a.get(), [0, np.nan, 7, 0])
    a = strict_xp.arange(4)
    assert a[device([5], np.int64)].get() == [1]
    assert strict_xp.take(a, device([5], np.int64)).get() == [1]
    a = strict_xp.asfortranarray(strict_xp.ones((2, 3)))
    assert a.flags.f_contiguous and not a.flags.c_contiguous
    assert (a + a).flags.c_contiguous
    strict_xp.log(strict_xp.zeros(2)) / 0.0  # a GPU never warns; here a warning would be shown


@pytest.mark.parametrize(
    "key",
    [
        1,
        (0, -1),
        (slice(None), None, slice(None, None, 2)),
        (Ellipsis, 0),
        (slice(1, None), [0, 2]),
        ([0, 1, 1], [2, 0, -1]),
        (Ellipsis, [[0, -1], [2, 1]]),
        [True, False],
        (None, [1, 0], slice(0, 2)),
    ],
)
def test_indices_agree_with_numpy(a, key):
    def on_device(part):
        return strict_xp.array(part) if isinstance(part, list) else part

    strict_key = tuple(map(on_device, key)) if isinstance(key, tuple) else on_device(key)
    host = a.get()
    np.testing.assert_array_equal(a[strict_key].get(), host[key])
    a[strict_key], host[key] = 0.0, 0.0
    np.testing.assert_array_equal(a.get(), host)


def test_the_other_side_may_answer():
    class Answers:
        __array_ufunc__ = None

        def __radd__(self, other):
            return "mine"

    assert device([1.0]) + Answers() == "mine"
    assert device([1.0]) != None  # noqa: E711 (the operator itself is under test)


def test_the_doors():
    host = np.arange(6, dtype=np.float32).reshape(2, 3)
    uploads, syncs = counts.uploads, counts.syncs
    there = strict_backend.asarray(host)
    host[0, 0] = 99  # the device has its own memory
    back = strict_backend.to_host(there)
    assert (counts.uploads, counts.syncs) == (uploads + 1, syncs + 1)
    assert type(there) is StrictArray and type(back) is np.ndarray and back[0, 0] == 0
    assert strict_backend.asarray([[1, 2]], dtype=np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="Unsupported dtype"):
        strict_backend.asarray(["text"])


def test_the_backend_is_registered(a):
    assert backend.of(a) is strict_backend and backend.xp(a) is strict_xp and backend.is_array(a)
    assert backend.get("strict") is strict_backend and backend.device_of(a) == "strict"


def test_the_reference_primitives_run_on_it():
    """On the stand-in the definitions themselves run, as on a GPU, and agree with NumPy's fast versions."""
    cpu, rng = backend.get("cpu"), np.random.default_rng(0)
    x = rng.standard_normal((2, 5, 6, 3))
    geometry = ((3, 2), (2, 1), (1, 0), (3, 5))
    index = rng.integers(0, 4, 7)

    def results(b, door):
        there = b.asarray
        col = b.im2col(there(x), *geometry)
        m = there(x.reshape(-1, 3))
        y, mean, inv_std = b.batch_norm(m, there([1.0, 2.0, 3.0]), there([0.0, 1.0, 0.0]), 1e-5)
        backward = b.batch_norm_backward(y * y, m, there([1.0, 2.0, 3.0]), mean, inv_std)
        w, moments = there(x.ravel()), (there(0 * x.ravel()), there(0 * x.ravel()))
        b.adam(w, w * w, *moments, 1e-2, 0.5, 0.9, 1e-8)
        scattered = b.scatter_add((4, 3), there(index), m[:7])
        gemms = b.gemm(m, m, ta=True), b.gemm(m, m, tb=True)
        back = b.col2im(col, x.shape, *geometry)
        return [door(r) for r in (col, back, b.sum_rows(m), y, *backward, w, *moments, scattered, *gemms)]

    with no_sync():
        strict = results(strict_backend, lambda a: a)
    for ours, theirs in zip(strict, results(cpu, np.asarray), strict=True):
        np.testing.assert_allclose(ours.get(), theirs, rtol=1e-12, atol=1e-12)
    assert set(vars(StrictBackend)) & {"gemm", "im2col", "col2im", "sum_rows", "batch_norm"} == set()
