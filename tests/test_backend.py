"""The seam to the array libraries: overrides against the definitions, the definitions against naive loops.

`CupyBackend` takes part without a GPU: `HostCupy` runs its code on the strict stand-in for CuPy, and its
kernels on the CPU. `test_gpu.py` runs the same comparisons on a GPU.
"""

import hashlib
import inspect
import itertools
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import minigan as mg
from minigan import backend
from minigan.backend import Backend, DeviceNotAvailable, cupy_, threads
from minigan.backend.numpy_ import NumpyBackend
from minigan.backend.random import stream
from tests.host_kernels import COMPILER, HostCupy
from tests.strategies import LAYOUTS, convolutions, examples, keys, seeds, shapes
from tests.strict_array import strict_backend

ROOT = Path(__file__).parent.parent
DOORS = {"asarray", "to_host", "synchronize"}


class Reference(Backend):
    """The definitions themselves, on NumPy."""

    xp = np

    def to_host(self, a):
        return a


reference = Reference()


# ---- what each primitive is given --------------------------------------------------------------------------
#
# A case draws (arguments, written): positional arguments, NumPy arrays among them, and the numbers of those
# that the primitive changes in place.


def normal(rng, *shape):
    return rng.standard_normal(shape)


@st.composite
def _gemm(draw):
    m, k, n = (draw(st.integers(0, 5)) for _ in range(3))
    ta, tb, rng = draw(st.booleans()), draw(st.booleans()), np.random.default_rng(draw(seeds))
    a, b = normal(rng, *((k, m) if ta else (m, k))), normal(rng, *((n, k) if tb else (k, n)))
    return (a, b, ta, tb), ()


@st.composite
def _matrix(draw):
    m = draw(st.integers(0, 6) | st.sampled_from((63, 64, 97, 1000, 1009)))
    return normal(np.random.default_rng(draw(seeds)), m, draw(st.integers(0, 5)))


def geometry_of(params, axes):
    """kernel, stride, padding and output size as the backends take them."""
    pairs = {name: (p, p) if isinstance(p, int) else p for name, p in params.items()}
    kernel, size = ((axes[0][k], axes[1][k]) for k in ("kernel", "out"))
    return kernel, pairs["stride"], pairs["padding"], size


@st.composite
def _im2col(draw):
    (x, *_), params, axes = draw(convolutions())
    return (x, *geometry_of(params, axes)), ()


@st.composite
def _col2im(draw):
    (x, *_), params, axes = draw(convolutions())
    kernel, stride, padding, size = geometry_of(params, axes)
    rng = np.random.default_rng(draw(seeds))
    columns = normal(rng, len(x) * size[0] * size[1], kernel[0] * kernel[1] * x.shape[3])
    return (columns, x.shape, kernel, stride, padding, size), ()


@st.composite
def _conv(draw, which):
    (x, *_), params, axes = draw(convolutions())
    kernel, stride, padding, size = geometry_of(params, axes)
    rng, o = np.random.default_rng(draw(seeds)), draw(st.integers(1, 3))
    w, g = normal(rng, *kernel, x.shape[3], o), normal(rng, len(x), *size, o)
    arguments = {
        "conv": (x, w, stride, padding, size),
        "conv_transpose": (g, w, stride, padding, x.shape[1:3]),
        "conv_weight_gradient": (x, g, kernel, stride, padding),
    }
    return arguments[which], ()


def as_arrays(index):
    """Lists in an index as arrays: `minigan.ops` makes arrays of them before a backend sees them."""
    one = lambda k: np.asarray(k) if isinstance(k, (list, np.bool_)) else k
    return tuple(map(one, index)) if isinstance(index, tuple) else one(index)


@st.composite
def _scatter_add(draw):
    shape = draw(shapes())
    index = as_arrays(draw(keys(shape)))
    values = np.asarray(normal(np.random.default_rng(draw(seeds)), *np.zeros(shape)[index].shape))
    return (shape, index, values), ()


@st.composite
def _batch_norm(draw):
    m, c = draw(st.integers(2, 6) | st.sampled_from((64, 97, 1009))), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(seeds))
    x = 3 * normal(rng, m, c) + draw(st.sampled_from((0, 5)))
    return (x, normal(rng, c), normal(rng, c), draw(st.sampled_from((1e-5, 1e-1)))), ()


def moments(x, eps):
    """What the forward pass hands to batch_norm_backward: μ and 1/√(σ² + ε)."""
    return x.mean(0), 1 / np.sqrt(x.var(0) + eps)


@st.composite
def _batch_norm_backward(draw):
    (x, gamma, beta, eps), _ = draw(_batch_norm())
    mean, inv_std = moments(x, 0.1)
    g = normal(np.random.default_rng(draw(seeds)), *x.shape)
    return (g, x, gamma, mean, inv_std), ()


@st.composite
def _adam(draw):
    rng, size = np.random.default_rng(draw(seeds)), draw(st.integers(0, 9) | st.just(1000))
    w, g, m, v = normal(rng, 4, size)
    beta1, beta2 = draw(st.sampled_from((0.0, 0.5, 0.9))), draw(st.sampled_from((0.0, 0.9, 0.999)))
    return (w, g, m, v * v, draw(st.sampled_from((1e-3, 0.5))), beta1, beta2, 1e-8), (0, 2, 3)


@st.composite
def _leaky_relu(draw):
    m, c = draw(st.integers(0, 6) | st.sampled_from((97, 1009))), draw(st.integers(1, 4))
    x = normal(np.random.default_rng(draw(seeds)), m, c)
    x[draw(st.integers(0, 6)) :: 7] = draw(st.sampled_from((0.0, np.inf, -np.inf, 1.0)))
    return (x, draw(st.sampled_from((0.0, 0.2, 1.0, -0.5, 2.0)))), ()


@st.composite
def _leaky_relu_backward(draw):
    (x, slope), _ = draw(_leaky_relu())
    return (normal(np.random.default_rng(draw(seeds)), *x.shape), x, slope), ()


CASES = {
    "gemm": _gemm(),
    "sum_rows": _matrix().map(lambda a: ((a,), ())),
    "add_row": _matrix().map(lambda a: ((a, a.sum(0)), (0,))),
    "im2col": _im2col(),
    "col2im": _col2im(),
    **{name: _conv(name) for name in ("conv", "conv_transpose", "conv_weight_gradient")},
    "scatter_add": _scatter_add(),
    "scale_shift": _batch_norm().map(lambda drawn: (drawn[0][:3], ())),
    "batch_norm": _batch_norm(),
    "batch_norm_backward": _batch_norm_backward(),
    "leaky_relu": _leaky_relu(),
    "leaky_relu_backward": _leaky_relu_backward(),
    "adam": _adam(),
}


def overrides(cls):
    """The names of the primitives that a backend class has its own version of, the doors left out."""
    mine = {name for c in cls.__mro__ if c not in (Backend, object) for name in vars(c)}
    return sorted(n for n in mine if n in vars(Backend) and callable(getattr(Backend, n)) and n[0] != "_")


def in_memory(a, layout, xp):
    """The same array otherwise in memory: backwards, in Fortran's order, or every other number."""
    if a.ndim == 0:
        return a
    if layout == "F":
        return xp.asfortranarray(a)
    if layout == "reversed":
        backwards = (slice(None, None, -1),) * a.ndim
        return xp.ascontiguousarray(a[backwards])[backwards]
    if layout == "stepped":
        every_other = (slice(None, None, 2),) * a.ndim
        roomy = xp.zeros([2 * n for n in a.shape], dtype=a.dtype)
        roomy[every_other] = a
        return roomy[every_other]
    return a


def put(argument, library, dtype, layout="C"):
    """An argument of a primitive for a backend: floats of the given dtype and layout, indices as they are."""
    if isinstance(argument, tuple):
        return tuple(put(part, library, dtype, layout) for part in argument)
    if not isinstance(argument, np.ndarray):
        return argument
    argument = argument.astype(dtype if argument.dtype.kind == "f" else argument.dtype, order="C")
    return in_memory(library.asarray(argument), layout, library.xp)


def fetch(result, library):
    """A primitive's result (an array, a tuple of them, None) on the host."""
    if isinstance(result, tuple):
        return tuple(fetch(part, library) for part in result)
    return None if result is None else np.asarray(library.to_host(result))


TOLERANCE = {"float32": 2e-4, "float64": 1e-10}


def check_override(library, name, arguments, written, dtype, layout):
    """``library.name(*arguments)`` is what the reference gives: values, shapes, dtypes; inputs untouched."""
    before = [put(a, reference, dtype) for a in arguments]
    expected_args = [put(a, reference, dtype) for a in arguments]
    args = [put(a, library, dtype, layout) for a in arguments]
    expected = getattr(reference, name)(*expected_args)
    found = fetch(getattr(library, name)(*args), library)
    assert type(found) is type(expected), f"{name} gives {type(found)}, the reference {type(expected)}"
    for a, b in zip(found, expected, strict=True) if isinstance(expected, tuple) else [(found, expected)]:
        if b is not None:
            assert_same(a, b, dtype)
    for i, a in enumerate(args):
        if i in written:
            assert_same(fetch(a, library), expected_args[i], dtype)
        elif backend.is_array(a):
            assert_array_equal(fetch(a, library), before[i])


def assert_same(a, b, dtype):
    assert a.shape == b.shape and a.dtype == b.dtype
    scale = max(1.0, float(np.abs(b[np.isfinite(b)]).max(initial=0.0)))
    assert_allclose(a, b, rtol=TOLERANCE[dtype], atol=scale * TOLERANCE[dtype])


LIBRARIES = {"cpu": NumpyBackend(), "cupy": HostCupy(), "strict": strict_backend}
PAIRS = [
    *[("cpu", name) for name in overrides(NumpyBackend)],
    *[("cupy", name) for name in overrides(cupy_.CupyBackend)],
    *[("strict", name) for name in CASES],  # the reference itself, on arrays that are not NumPy's
]
PAIRS = [(device, name) for device, name in PAIRS if name not in DOORS]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("device", "name"), PAIRS)
@examples(0.5)
@given(data=st.data())
def test_an_override_is_its_reference(device, name, dtype, data):
    if device == "cupy" and COMPILER is None:
        pytest.skip("g++ is not installed")
    assert name in CASES, f"{name} has no case: say above how its arguments are drawn"
    arguments, written = data.draw(CASES[name])
    check_override(LIBRARIES[device], name, arguments, written, dtype, data.draw(st.sampled_from(LAYOUTS)))


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 4, 1), (2, 4, 1, 3), (1, 4, 4, 2)])
def test_the_stride_of_an_axis_of_length_one_means_nothing(shape):
    x = np.random.default_rng(0).standard_normal(shape).astype("float32")
    strides = [24 + 4 * i if n == 1 else s for i, (n, s) in enumerate(zip(shape, x.strides))]
    odd = np.lib.stride_tricks.as_strided(x, shape, strides)
    kernel, size = (min(2, shape[1]), min(2, shape[2])), (max(1, shape[1] - 1), max(1, shape[2] - 1))
    w = np.random.default_rng(1).standard_normal((*kernel, shape[3], 3)).astype("float32")
    y, expected = (b.conv(a, w, (1, 1), (0, 0), size) for b, a in ((LIBRARIES["cpu"], odd), (reference, x)))
    assert_allclose(y, expected, rtol=1e-5)
    found, expected = (
        b.conv_weight_gradient(a, y, kernel, (1, 1), (0, 0)) for b, a in ((LIBRARIES["cpu"], odd), (reference, x))
    )
    assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def large_arguments():
    """Enough for blocks, threads and groups of rows: {primitive: (arguments, written)}."""
    rng = np.random.default_rng(0)
    x, g = 5 + normal(rng, 20_011, 8), normal(rng, 20_011, 8)
    gamma, beta, columns = normal(rng, 8), normal(rng, 8), normal(rng, 16 * 49, 256)
    geometry = (4, 4), (2, 2), (1, 1), (7, 7)
    image, weights, cotangent = normal(rng, 60, 14, 14, 16), normal(rng, 4, 4, 16, 8), normal(rng, 60, 7, 7, 8)
    w, gradient, m, v = normal(rng, 4, 150_001)
    return {
        "gemm": ((normal(rng, 600, 401), normal(rng, 301, 600), True, True), ()),
        "sum_rows": ((x,), ()),
        "add_row": ((x, gamma), (0,)),
        "im2col": ((normal(rng, 16, 14, 14, 16), *geometry), ()),
        "col2im": ((columns, (16, 14, 14, 16), *geometry), ()),
        "conv": ((image, weights, *geometry[1:]), ()),
        "conv_transpose": ((cotangent, weights, *geometry[1:3], (14, 14)), ()),
        "conv_weight_gradient": ((image, cotangent, *geometry[:3]), ()),
        "scale_shift": ((x, gamma, beta), ()),
        "scatter_add": (((1000, 8), rng.integers(0, 1000, 5000), normal(rng, 5000, 8)), ()),
        "batch_norm": ((x, gamma, beta, 1e-5), ()),
        "batch_norm_backward": ((g, x, gamma, *moments(x, 1e-5)), ()),
        "leaky_relu": ((x - 5, 0.2), ()),
        "leaky_relu_backward": ((g, x - 5, 0.2), ()),
        "adam": ((w, gradient, m, v * v, 1e-3, 0.5, 0.999, 1e-8), (0, 2, 3)),
    }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("device", "name"), PAIRS)
def test_an_override_is_its_reference_on_large_arrays(device, name, dtype):
    if device == "cupy" and COMPILER is None:
        pytest.skip("g++ is not installed")
    check_override(LIBRARIES[device], name, *large_arguments()[name], dtype, "C")


@pytest.mark.parametrize("name", [name for device, name in PAIRS if device == "cpu"])
def test_the_number_of_threads_changes_no_bit(name, monkeypatch):
    """`test_fast_paths.py` has more shapes of convolutions and products."""
    arguments, written = large_arguments()[name]
    found, parts = [], []

    def split(work, rows, size):
        parts.append(min(threads.threads, rows) if size >= threads.SMALLEST else 1)
        threads.split(work, rows, size)

    for module in (backend.numpy_, backend.numpy_convolution):
        monkeypatch.setattr(module, "split", split)
    monkeypatch.delenv("MINIGAN_THREADS", raising=False)
    with threads.in_charge():
        for number in (1, 2, 3, 5):
            monkeypatch.setattr(threads, "threads", number)
            monkeypatch.setattr(threads, "_pool", None)  # it has as many threads as there were to be
            args = [put(a, LIBRARIES["cpu"], "float32") for a in arguments]
            result = getattr(LIBRARIES["cpu"], name)(*args)
            found.append(result if isinstance(result, tuple) else (result, *[args[i] for i in written]))
        if threads.blas_is_single and name in ("gemm", "conv", "conv_transpose", "conv_weight_gradient"):
            assert max(parts) > 2  # it was split indeed
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert a is b is None or np.array_equal(a, b)


@pytest.mark.parametrize("cls", [NumpyBackend, cupy_.CupyBackend])
def test_signatures_are_the_references(cls):
    assert "im2col" in overrides(cls)
    for name in overrides(cls):
        ours, theirs = (inspect.signature(getattr(c, name)) for c in (cls, Backend))
        assert ours == theirs, f"{cls.__name__}.{name}{ours}, the reference has {theirs}"


class Forgetful(NumpyBackend):
    """An override that forgets to return, and one that is slightly off."""

    def sum_rows(self, a):
        super().sum_rows(a)

    def gemm(self, a, b, ta=False, tb=False):
        return super().gemm(a, b, ta, tb) * 1.001

    def adam(self, w, g, m, v, rate, beta1, beta2, eps):
        g *= 2
        super().adam(w, g / 2, m, v, rate, beta1, beta2, eps)


@pytest.mark.parametrize(
    ("name", "arguments", "written"),
    [
        ("sum_rows", (np.ones((2, 3)),), ()),
        ("gemm", (np.ones((2, 3)), np.ones((3, 2))), ()),
        ("adam", (*np.ones((4, 3)), 0.1, 0.5, 0.5, 0.1), (0, 2, 3)),
    ],
)
def test_a_wrong_override_is_caught(name, arguments, written):
    with pytest.raises(AssertionError):
        check_override(Forgetful(), name, arguments, written, "float64", "C")


def test_a_reference_backend_has_no_door():
    with pytest.raises(NotImplementedError, match="Backend has no door to the host"):
        Backend().to_host(np.ones(1))


# ---- the definitions against naive loops -------------------------------------------------------------------


def naive_columns(x, kernel, stride, padding, size):
    """From the definition: columns[(b, oy, ox), (ky, kx, c)] = x[b, sy·oy + ky − py, sx·ox + kx − px, c]."""
    n, h, w, c = x.shape
    col = np.zeros((n, *size, *kernel, c), x.dtype)
    for b, oy, ox, ky, kx in itertools.product(range(n), *map(range, (*size, *kernel))):
        y, z = stride[0] * oy + ky - padding[0], stride[1] * ox + kx - padding[1]
        if 0 <= y < h and 0 <= z < w:
            col[b, oy, ox, ky, kx] = x[b, y, z]
    return col.reshape(n * size[0] * size[1], kernel[0] * kernel[1] * c)


every_library = pytest.mark.parametrize(
    "library",
    [
        reference,
        LIBRARIES["cpu"],
        pytest.param(LIBRARIES["cupy"], marks=pytest.mark.skipif(COMPILER is None, reason="no g++")),
    ],
    ids=["reference", "numpy", "cupy"],
)


@every_library
@examples(0.5)
@given(drawn=_im2col())
def test_im2col_is_the_naive_loop(library, drawn):
    (x, *geometry), _ = drawn
    found = library.im2col(put(x, library, "float64"), *geometry)
    assert_array_equal(library.to_host(found), naive_columns(x, *geometry))


@every_library
@examples(0.5)
@given(drawn=_col2im(), seed=seeds)
def test_col2im_is_im2cols_adjoint(library, drawn, seed):
    """⟨im2col(x), g⟩ = ⟨x, col2im(g)⟩ for every x, the columns those of the naive loop."""
    (g, shape, *geometry), _ = drawn
    x = normal(np.random.default_rng(seed), *shape)
    back = library.to_host(library.col2im(put(g, library, "float64"), shape, *geometry))
    assert back.shape == shape
    assert_allclose(np.vdot(x, back), np.vdot(naive_columns(x, *geometry), g), atol=1e-10)


@every_library
@examples(1)
@given(drawn=_scatter_add())
def test_scatter_add_is_the_naive_loop(library, drawn):
    (shape, index, values), _ = drawn
    expected = np.zeros(shape)
    places = np.arange(expected.size).reshape(shape)[index]
    for place, value in zip(np.ravel(places), np.ravel(values), strict=True):
        expected[np.unravel_index(place, shape)] += value
    args = [put(a, library, "float64") for a in (index, values)]
    assert_allclose(library.to_host(library.scatter_add(shape, *args)), expected, atol=1e-12)


MIXED_KEYS = {
    "repeats": ((4,), np.array([1, 1, 3, 1])),
    "negative repeats": ((4,), np.array([-1, 3, -1])),
    "repeats, then a slice": ((4, 3), (np.array([2, 2]), slice(1, None))),
    "two arrays": ((4, 3), (np.array([0, 0, 3]), np.array([1, 1, 2]))),
    "two arrays apart": ((4, 2, 3), (np.array([0, 0, 3]), slice(None), np.array([1, 1, 2]))),
    "mask": ((4, 3), np.arange(12).reshape(4, 3) % 2 == 0),
    "mask of rows": ((4, 3), (np.array([True, False, True, True]),)),
    "mask, then a slice": ((4, 3), (np.array([True, False, True, True]), slice(None, 2))),
    "mask after a slice": ((3, 4), (slice(1, None), np.array([True, False, True, True]))),
    "mask and an int": ((3, 4), (1, np.array([True, False, True, True]))),
    "mask and an array": ((4, 3), (np.array([True, False, True, True]), np.array([1, 1, 0]))),
    "two masks": ((2, 3), (np.array([True, True]), np.array([True, False, True]))),
    "a mask of nothing": ((3,), np.zeros(3, bool)),
    "an empty array": ((3,), np.zeros(0, int)),
    "basic": ((4, 3, 2), (None, slice(None, None, -2), Ellipsis, 1)),
    "int": ((4, 3), 2),
    "everything": ((4, 3), ()),
}


@every_library
@pytest.mark.parametrize(("shape", "index"), MIXED_KEYS.values(), ids=MIXED_KEYS)
def test_scatter_add_with_keys_of_all_kinds(library, shape, index):
    values = 1.0 + np.arange(np.zeros(shape)[index].size).reshape(np.zeros(shape)[index].shape)
    test_scatter_add_is_the_naive_loop.hypothesis.inner_test(library, ((shape, index, values), ()))


@pytest.mark.parametrize("m", [1, 2, 7, 100, 1009])
@pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
def test_sums_and_moments_are_the_plain_ones(library, m):
    x = 5 + normal(np.random.default_rng(m), m, 3)
    assert_allclose(fetch(library.sum_rows(put(x, library, "float64")), library), [sum(c) for c in x.T.tolist()])
    if library.name == "cupy" and COMPILER is None:
        return
    gamma, beta, eps = np.array([1.0, -2.0, 0.5]), np.array([0.0, 1.0, -1.0]), 1e-3
    args = [put(a, library, "float64") for a in (x, gamma, beta)]
    y, mean, var = fetch(library.batch_norm(*args, eps), library)
    assert_allclose(mean, x.mean(0))
    assert_allclose(var, x.var(0), atol=1e-12)
    assert_allclose(y, gamma * (x - x.mean(0)) / np.sqrt(x.var(0) + eps) + beta, atol=1e-12)


def test_the_reference_batch_norm_backward_is_the_derivative():
    rng = np.random.default_rng(0)
    x, g, gamma, beta, eps = normal(rng, 7, 2), normal(rng, 7, 2), normal(rng, 2), normal(rng, 2), 0.1
    loss = lambda x, gamma, beta: np.vdot(g, reference.batch_norm(x, gamma, beta, eps)[0])
    found = reference.batch_norm_backward(g, x, gamma, *moments(x, eps))
    for i, gradient in enumerate(found):
        args = [x, gamma, beta]
        direction = normal(rng, *args[i].shape)
        ends = [loss(*[a + e * direction if j == i else a for j, a in enumerate(args)]) for e in (1e-5, -1e-5)]
        assert_allclose(np.vdot(gradient, direction), (ends[0] - ends[1]) / 2e-5, rtol=1e-7)


def test_the_reference_adam_is_the_papers():
    """Kingma & Ba 2015, algorithm 1, a number at a time, the bias corrections folded into rate and eps."""
    gradients, w, m, v, lr, b1, b2, eps = [0.3, -0.1, 0.2], 1.0, 0.0, 0.0, 0.1, 0.9, 0.99, 1e-3
    arrays = [np.array([a]) for a in (w, m, v)]
    for t, g in enumerate(gradients, 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        w -= lr * (m / (1 - b1**t)) / ((v / (1 - b2**t)) ** 0.5 + eps)
        c = (1 - b2**t) ** 0.5
        reference.adam(arrays[0], np.array([g]), *arrays[1:], lr * c / (1 - b1**t), b1, b2, eps * c)
    assert_allclose(np.ravel(arrays), [w, m, v], rtol=1e-12)


# ---- random streams ----------------------------------------------------------------------------------------


def draw_some(*key):
    return stream(*key).integers(0, 2**63, 64).tolist()


def test_the_same_key_gives_the_same_numbers_in_any_process():
    code = "from minigan.backend.random import stream; print(*stream(3, 'latent', 5).integers(0, 2**63, 64))"
    env = {"PYTHONHASHSEED": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert list(map(int, done.stdout.split())) == draw_some(3, "latent", 5) == draw_some(3, "latent", 5)


def test_a_stream_is_fixed_for_ever():
    """Were these numbers to change, no old run could be repeated."""
    assert stream(0, "latent", 3).integers(0, 1000, 5).tolist() == [639, 200, 594, 850, 799]


def test_other_seeds_names_and_steps_share_no_number():
    seeds, names, steps = (0, 1, -1, 2**63), ("latent", "shuffle", "", "G.weight"), (0, 1, 2, 10**9)
    found = [number for key in itertools.product(seeds, names, steps) for number in draw_some(*key)]
    assert len(set(found)) == len(found) == 64 * 4 * 4 * 4


def test_steps_do_not_run_into_each_other():
    """Each step has 2¹⁹² blocks: as many draws as one likes from step 0 come nowhere near step 1."""
    long, next_step = stream(0, "latent", 0), draw_some(0, "latent", 1)
    assert not set(long.integers(0, 2**63, 100_000).tolist()) & set(next_step)
    words = [stream(0, "latent", s).bit_generator.state["state"]["counter"].tolist() for s in (0, 1, 7)]
    assert words == [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 7]]


@pytest.mark.parametrize("name", ["latent", "", "G.dense.weight", "x"])
@pytest.mark.parametrize("seed", [0, 2**53 + 1, 2**63 + 1, 2**64 - 1, -1, 2**64])
def test_every_bit_of_the_key_counts(name, seed):
    """Rounded to a float on their way, seeds that differ in their last bits would share a stream."""
    digest = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
    state = stream(seed, name, 2**53 + 1).bit_generator.state["state"]
    assert state["key"].tolist() == [seed % 2**64, digest]
    assert state["counter"].tolist() == [0, 0, 0, 2**53 + 1]


@pytest.mark.parametrize("step", [-1, -(2**64)])
def test_a_negative_step_is_refused(step):
    with pytest.raises(ValueError, match=r"stream\('latent'\): step must be >= 0"):
        stream(0, "latent", step)


def test_numpys_integers_are_good_seeds_and_steps():
    assert draw_some(np.int64(4), "x", np.int32(2)) == draw_some(4, "x", 2)


# ---- the registry ------------------------------------------------------------------------------------------


def test_an_array_knows_its_backend():
    host, strict = np.ones(2), strict_backend.asarray(np.ones(2))
    assert backend.of(host) is backend.get("cpu") is backend.get(None) and backend.xp(host) is np
    assert backend.of(strict) is backend.get("strict") and backend.xp(strict) is strict_backend.xp
    assert (backend.device_of(host), backend.device_of(strict)) == ("cpu", "strict")
    for scalar in (1, 2.0, np.float64(3)):
        assert backend.of(scalar) is backend.get("cpu") and not backend.is_array(scalar)
    assert backend.is_array(host) and backend.is_array(strict)
    assert not backend.is_array([1.0]) and not backend.is_array(mg.tensor([1.0]))


def test_register_makes_a_device(monkeypatch):
    for registry in ("_by_type", "_by_device", "_device_names"):
        monkeypatch.setattr(backend, registry, dict(getattr(backend, registry)))

    class Array:
        pass

    library = Reference()
    backend.register(Array, library, "somewhere")
    assert backend.get("somewhere") is backend.of(Array()) is library
    assert backend.device_of(Array()) == "somewhere" and backend.is_array(Array())


@pytest.mark.parametrize("device", ["gpu", "CPU", "", "cpu:0", "mps", "cudax", 0, 1.5, ("cuda",)])
def test_an_unknown_device_is_named(device):
    with pytest.raises(ValueError, match="device must be") as caught:
        backend.get(device)
    assert repr(device) in str(caught.value)


@pytest.mark.parametrize("device", ["cuda:", "cuda:x", "cuda:-1", "cuda:1.5", "cuda:0:1", "cuda: 1"])
def test_a_malformed_number_of_a_gpu_is_named(device):
    with pytest.raises(ValueError, match="the GPU's number") as caught:
        backend.get(device)
    assert repr(device) in str(caught.value) and not isinstance(caught.value, DeviceNotAvailable)


def test_importing_minigan_imports_no_cupy():
    code = (
        "import sys, minigan, minigan.backend.cupy_, minigan.backend.random\n"
        "minigan.tensor([1.0], device='cpu')\n"
        "assert not [name for name in sys.modules if name.startswith('cupy') and 'minigan' not in name]"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


# ---- a GPU that is not there -------------------------------------------------------------------------------


@pytest.fixture
def no_gpu_yet(monkeypatch):
    """As in a new process: no GPU has been asked for."""
    for registry in ("_by_type", "_by_device", "_device_names"):
        kept = {k: v for k, v in getattr(backend, registry).items() if "cuda" not in (k, v)}
        monkeypatch.setattr(backend, registry, kept)
    monkeypatch.setattr(cupy_, "_loaded", {})
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


class FakeArray(np.ndarray):
    """What the fake CuPy below calls its array."""


def fake_cupy(devices=1, failure=None, current=0):
    """A module with what `load` asks of CuPy; ``devices``: how many GPUs, or the exception instead."""

    def count():
        if isinstance(devices, Exception):
            raise devices
        return devices

    def ones(shape, dtype):
        if failure:
            raise failure
        return np.ones(shape, dtype)

    used = []
    runtime = SimpleNamespace(getDeviceCount=count, getDevice=lambda: current)
    device = lambda index: SimpleNamespace(use=lambda: used.append(index))
    cuda = SimpleNamespace(
        runtime=runtime, is_available=lambda: isinstance(devices, int) and devices > 0, Device=device
    )
    return SimpleNamespace(cuda=cuda, ones=ones, asnumpy=np.asarray, ndarray=FakeArray, used=used)


def refusal(device="cuda"):
    """What `backend.get` says; nothing may be registered then."""
    with pytest.raises(DeviceNotAvailable) as caught:
        backend.get(device)
    assert f"device {device!r}: " in str(caught.value) and "\n" not in str(caught.value)
    assert "cuda" not in backend._by_device and not cupy_._loaded
    return str(caught.value)


def test_without_cupy_it_says_how_to_install_it(no_gpu_yet, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    for device in ("cuda", "cuda:1"):
        assert "CuPy is not installed; pip install minigan[gpu]" in refusal(device)
    with pytest.raises(DeviceNotAvailable, match="CuPy is not installed"):
        mg.tensor([1.0], device="cuda")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModuleNotFoundError("No module named 'fastrlock'", name="fastrlock"), "lacks fastrlock"),
        (
            ImportError("libcudart.so.13:\n  cannot open"),
            "cannot be imported (ImportError: libcudart.so.13: cannot",
        ),
    ],
)
def test_with_a_broken_cupy_it_says_what_is_broken(no_gpu_yet, monkeypatch, error, said):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "cupy":
                raise error

    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    assert said in refusal()


def test_with_cupy_but_no_gpu_it_says_what_cuda_says(no_gpu_yet):
    cupy = pytest.importorskip("cupy")
    if cupy.cuda.is_available():
        pytest.skip("this machine has a GPU")
    text = refusal()
    assert "CuPy is installed, but finds no NVIDIA driver or no GPU" in text and "cudaError" in text


def test_the_number_of_gpus_is_respected(no_gpu_yet, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(devices=0))
    assert "finds no GPU (0 devices; CUDA_VISIBLE_DEVICES is '')" in refusal()
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(devices=RuntimeError("cudaErrorNoDevice:\n none")))
    assert "(RuntimeError: cudaErrorNoDevice: none; CUDA_VISIBLE_DEVICES is '')" in refusal()
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(devices=1))
    assert "no GPU number 1 here, only cuda:0" in refusal("cuda:1")
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(devices=2))
    assert "no GPU number 2 here, only cuda:0 to cuda:1" in refusal("cuda:2")


def test_a_gpu_that_cannot_compute_is_refused(no_gpu_yet, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(failure=RuntimeError("libnvrtc.so.13 not found")))
    assert "cannot compute on it (RuntimeError: libnvrtc.so.13 not found)" in refusal()


@pytest.mark.parametrize(("first", "number"), [("cuda", 0), ("cuda:1", 1)])
def test_a_process_computes_on_one_gpu(no_gpu_yet, monkeypatch, first, number):
    cupy = fake_cupy(devices=3, current=number)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    library = backend.get(first)
    assert cupy.used == [number] and library.name == "cupy" and library.xp is cupy
    assert library is backend.get("cuda") is backend.get(f"cuda:{number}") is backend._by_type[FakeArray]
    assert backend.device_of(np.ones(1).view(FakeArray)) == "cuda"
    with pytest.raises(DeviceNotAvailable, match=f"computes on cuda:{number} already, and on one GPU only"):
        backend.get("cuda:2")
