"""The kernels of `cupy_.py` without a GPU: compiled by g++ and run, and compiled by nvcc where there is one.

How the rest of `CupyBackend` behaves on such kernels is tested in `test_backend.py`, with all other backends.
"""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from minigan.backend import Backend
from minigan.backend.cupy_ import INT32_MAX, KERNELS, Kernel, _fits, _groups
from tests.host_kernels import COMPILER, HostCupy, HostKernel, compile_kernels, parameters
from tests.strict_array import StrictArray, counts, no_sync

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="g++ is not installed")
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


class Reference(Backend):
    """The definitions, on NumPy."""

    xp = np

    def to_host(self, a):
        return a


reference = Reference()


@pytest.fixture(scope="module")
def hosted():
    return HostCupy()


def numbers(*shape, dtype="float64", seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def put(*arrays):
    """Onto the "device"."""
    return [StrictArray(a) for a in arrays]


def close(actual, expected, dtype):
    assert actual.dtype == expected.dtype == dtype
    assert_allclose(actual._host, expected, **{"float32": {"rtol": 2e-4, "atol": 2e-5}}.get(dtype, {"rtol": 1e-10}))


# ---- convolution's two movements ---------------------------------------------------------------------------

# (n, h, w, c), kernel, stride, padding
GEOMETRIES = [
    ((2, 4, 4, 3), (3, 3), (1, 1), (1, 1)),
    ((2, 8, 8, 2), (4, 4), (2, 2), (1, 1)),
    ((1, 7, 5, 3), (4, 2), (2, 1), (1, 0)),  # nothing square
    ((2, 9, 6, 1), (2, 3), (3, 2), (0, 1)),  # rows left over
    ((2, 7, 8, 2), (1, 2), (3, 4), (0, 0)),  # stride > kernel: pixels that no window sees
    ((3, 6, 9, 1), (5, 5), (3, 3), (2, 2)),
    ((2, 4, 4, 4), (4, 4), (1, 1), (0, 0)),  # one window: the whole image
    ((2, 3, 5, 2), (1, 1), (1, 1), (0, 0)),
    ((1, 2, 3, 2), (4, 5), (2, 3), (3, 3)),  # mostly padding
    ((1, 1, 1, 1), (3, 1), (1, 2), (2, 3)),  # windows wholly in the padding
    ((0, 4, 4, 2), (2, 2), (2, 2), (0, 0)),
    ((2, 5, 5, 0), (3, 3), (2, 2), (1, 1)),
]


def size_of(shape, kernel, stride, padding):
    return tuple((n + 2 * p - k) // s + 1 for n, k, s, p in zip(shape[1:3], kernel, stride, padding))


@needs_compiler
@both_dtypes
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_im2col_and_col2im(hosted, geometry, dtype):
    shape, kernel, stride, padding = geometry
    size = size_of(*geometry)
    x = numbers(*shape, dtype=dtype)
    columns = reference.im2col(x, kernel, stride, padding, size)
    with no_sync():
        found = hosted.im2col(*put(x), kernel, stride, padding, size)
        g = numbers(*columns.shape, dtype=dtype, seed=1)
        back = hosted.col2im(*put(g), shape, kernel, stride, padding, size)
    assert_array_equal(found._host, columns)
    assert found.dtype == dtype and found.shape == columns.shape
    assert back.shape == shape
    close(back, reference.col2im(g, shape, kernel, stride, padding, size), dtype)


@needs_compiler
@both_dtypes
def test_movements_of_arrays_that_are_not_contiguous(hosted, dtype):
    x = numbers(5, 2, 6, 3, dtype=dtype).transpose(1, 2, 0, 3)[:, ::-1]
    g = numbers(3 * 3 * 3, 2 * 6 * 2, dtype=dtype).T[: 2 * 6]
    geometry = (2, 3), (1, 2), (0, 1)
    size = size_of(x.shape, *geometry)
    columns = reference.im2col(x, *geometry, size)
    assert_array_equal(hosted.im2col(*put(x), *geometry, size)._host, columns)
    g = np.asfortranarray(numbers(*columns.shape, dtype=dtype))
    close(hosted.col2im(*put(g), x.shape, *geometry, size), reference.col2im(g, x.shape, *geometry, size), dtype)


@needs_compiler
def test_a_movement_is_one_launch(hosted):
    (x,) = put(numbers(2, 6, 6, 2))
    before = counts.launches
    columns = hosted.im2col(x, (4, 4), (2, 2), (1, 1), (3, 3))
    hosted.col2im(columns, x.shape, (4, 4), (2, 2), (1, 1), (3, 3))
    assert counts.launches - before == 2 * 2  # the result's memory counts as one with the stand-in


# ---- batch norm and Adam -----------------------------------------------------------------------------------


@needs_compiler
@both_dtypes
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (64, 5), (98, 2), (1000, 7), (3, 64)], ids=str)
def test_batch_norm(hosted, shape, dtype):
    x, g = numbers(*shape, dtype=dtype) * 3 + 5, numbers(*shape, dtype=dtype, seed=1)
    x, gamma, beta = x.astype(dtype), numbers(shape[1], dtype=dtype), numbers(shape[1], dtype=dtype, seed=1)
    expected = reference.batch_norm(x, gamma, beta, 1e-5)
    with no_sync():
        found = hosted.batch_norm(*put(x, gamma, beta), 1e-5)
    for a, b in zip(found, expected, strict=True):
        close(a, b, dtype)
    mean, inv_std = expected[1], 1 / np.sqrt(expected[2] + x.dtype.type(1e-5))
    expected = reference.batch_norm_backward(g, x, gamma, mean, inv_std)
    with no_sync():
        found = hosted.batch_norm_backward(*put(g, x, gamma, mean, inv_std))
    scale = 1 + float(np.abs(inv_std).max())
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == dtype
        assert_allclose(a._host, b, rtol=1e-4, atol=scale * {"float32": 1e-4, "float64": 1e-11}[dtype])


@needs_compiler
@both_dtypes
def test_adam(hosted, dtype):
    w, g, m, v = (numbers(1000, dtype=dtype, seed=s) for s in range(4))
    v = v * v
    device = put(w.copy(), g, m.copy(), v.copy())
    for step in range(1, 4):
        rate = 1e-2 * (1 - 0.999**step) ** 0.5 / (1 - 0.5**step)
        reference.adam(w, g, m, v, rate, 0.5, 0.999, 1e-8)
        with no_sync():
            assert hosted.adam(*device, rate, 0.5, 0.999, 1e-8) is None
    for a, b in zip(device, (w, g, m, v)):
        close(a, b, dtype)


@needs_compiler
def test_the_betas_lose_no_digits_in_float32(hosted):
    w, m, v = (StrictArray(np.zeros(1, "float32")) for _ in range(3))
    hosted.adam(w, StrictArray(np.ones(1, "float32")), m, v, 0.0, 0.9, 0.9999, 1.0)
    assert_allclose(v._host, 1e-4, rtol=1e-6)  # 1 − float32(0.9999) would be 1.6e-4 off
    assert_allclose(m._host, 0.1, rtol=1e-6)


@needs_compiler
def test_adam_changes_a_piece_of_the_buffers_only(hosted):
    w, g, m, v = put(*[np.ones(6) for _ in range(4)])
    hosted.adam(w[2:4], g[2:4], m[2:4], v[2:4], 0.1, 0.5, 0.9, 0.0)
    assert_allclose(w._host, [1, 1, 0.9, 0.9, 1, 1])


# ---- what the kernels cannot have goes to the reference ----------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "int32", "complex64"])
def test_other_dtypes_use_the_reference(dtype):
    backend = HostCupy()
    backend.kernel = lambda name: pytest.fail(f"kernel {name} on {dtype}")
    x = np.arange(2 * 5 * 5 * 2).reshape(2, 5, 5, 2).astype(dtype)
    geometry = (3, 3), (2, 2), (1, 1)
    columns = reference.im2col(x, *geometry, (3, 3))
    assert_array_equal(backend.im2col(*put(x), *geometry, (3, 3))._host, columns)
    back = backend.col2im(*put(columns), x.shape, *geometry, (3, 3))
    assert_array_equal(back._host, reference.col2im(columns, x.shape, *geometry, (3, 3)))
    if dtype == "float16":
        rows, one = x.reshape(-1, 2), np.ones(2, dtype)
        found = backend.batch_norm(*put(rows, one, one), 1e-3)
        for a, b in zip(found, reference.batch_norm(rows, one, one, 1e-3), strict=True):
            assert_allclose(a._host, b, rtol=1e-2, atol=1e-2)
        found = backend.batch_norm_backward(*put(rows, rows, one, one, one))
        assert found[0].dtype == dtype and len(found) == 3
        w, g, m, v = put(*[np.ones(3, dtype) for _ in range(4)])
        backend.adam(w, g, m, v, 0.5, 0.5, 0.5, 0.0)
        assert_allclose(w._host, 0.5)


def test_too_many_elements_for_int32_use_the_reference(monkeypatch):
    assert not _fits(np.lib.stride_tricks.as_strided(np.zeros(1, "float32"), (INT32_MAX + 1,), (0,)))
    assert _fits(np.lib.stride_tricks.as_strided(np.zeros(1, "float32"), (INT32_MAX,), (0,)))
    assert not _fits(np.zeros(1, "float32"), np.zeros(1, "float64"))
    backend = HostCupy()
    backend.kernel = lambda name: pytest.fail(f"kernel {name} on too large an array")
    x = np.arange(100.0).reshape(2, 5, 5, 2)
    cases = [  # which of the 100 numbers of the image and those of the columns are too many
        (99, ((3, 3), (2, 2), (1, 1), (3, 3)), 324),
        (150, ((3, 3), (2, 2), (1, 1), (3, 3)), 324),
        (50, ((1, 1), (4, 4), (0, 0), (2, 2)), 16),
    ]
    for limit, geometry, count in cases:
        monkeypatch.setattr("minigan.backend.cupy_.INT32_MAX", limit)
        columns = reference.im2col(x, *geometry)
        assert columns.size == count
        assert_array_equal(backend.im2col(*put(x), *geometry)._host, columns)
        back = backend.col2im(*put(columns), x.shape, *geometry)
        assert_array_equal(back._host, reference.col2im(columns, x.shape, *geometry))


# ---- the split sum -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [0, 1, 31, 64, 97, 1000, 1009, 12544, 19600, 131072])
@pytest.mark.parametrize("n", [0, 1, 64, 300, 20000])
def test_groups_are_few_enough_large_enough_and_even_where_they_can(m, n):
    groups = _groups(m, n)
    assert 1 <= groups <= 512
    if groups > 1:
        assert m // groups >= 32 and groups * n <= 512 * max(n, 32)
    if n == 64 and m in (12544, 19600, 131072):
        assert m % groups == 0 and groups >= 128
    if n == 20000:
        assert groups == 1


def test_leftover_rows_are_summed_too():
    a = np.arange(1009.0 * 2).reshape(1009, 2)
    assert _groups(1009, 2) > 1
    assert_allclose(HostCupy().sum_rows(StrictArray(a))._host, a.sum(0))


# ---- the harness itself catches what it is for -------------------------------------------------------------


@needs_compiler
def test_reading_outside_an_array_is_caught():
    kernel = Kernel("raw T a, int32 shift", "T b", "b = a[i + shift];")
    library = compile_kernels({"shifted": kernel})
    run = HostKernel("shifted", kernel, library)
    a, b = put(np.arange(4.0), np.zeros(4))
    assert_array_equal(run(a, 0, b)._host, np.arange(4.0))
    for shift in (1, -1):
        with pytest.raises(IndexError, match="read 1 elements outside"):
            run(a, shift, b)


@needs_compiler
def test_what_cupy_refuses_is_refused():
    kernel = Kernel("T a, T b", "T c", "c = a + b;")
    run = HostKernel("added", kernel, compile_kernels({"added": kernel}))
    a, single = put(np.ones(3), np.ones(3, "float32"))
    assert_array_equal(run(a, 2.0)._host, [3, 3, 3])
    with pytest.raises(TypeError, match="mismatched"):
        run(a, single)
    with pytest.raises(TypeError, match="Unsupported type"):
        run(a, np.ones(3))
    with pytest.raises(TypeError, match="Unsupported type"):
        run(a, np.float64(2))
    with pytest.raises(TypeError, match="Wrong number"):
        run(a)
    with pytest.raises(ValueError, match="Out shape"):
        run(a, a, StrictArray(np.ones((1, 1))))
    with pytest.raises(ValueError, match="g\\+\\+ refuses"):
        compile_kernels({"wrong": Kernel("T a, T unused", "T c", "c = a;")})
    with pytest.raises(ValueError, match="parameter name"):
        parameters("T n")
    with pytest.raises(ValueError, match="own names"):
        HostKernel("wrong", Kernel("T a", "T c", "int i = 3; c = a;"), None)


# ---- the real CuPy and the real compiler -------------------------------------------------------------------


def test_elementwise_kernels_can_be_made():
    cupy = pytest.importorskip("cupy")
    from minigan.backend.cupy_ import CupyBackend

    backend = CupyBackend()
    for name, (inputs, outputs, body) in KERNELS.items():
        kernel = backend.kernel(name)
        assert isinstance(kernel, cupy.ElementwiseKernel) and backend.kernel(name) is kernel
        assert kernel.name == f"minigan_{name}" and kernel.operation == body
        ours = [(name, raw) for raw, _, name in parameters(inputs) + parameters(outputs)]
        assert [(p.name, p.raw) for p in kernel.in_params + kernel.out_params] == ours


def test_the_switch_of_tf32():
    pytest.importorskip("cupy")
    from minigan.backend.cupy_ import CupyBackend

    backend = CupyBackend()
    before = backend.tf32
    try:
        backend.allow_tf32(False)  # to allow it asks the GPU whether it can
        assert backend.tf32 is False
    finally:
        if before:
            backend.allow_tf32(True)


def cuda_source():
    """All kernels as CuPy wraps them: its CArray and CIndexer, a grid-stride loop, references to elements."""
    scalars = {"rows", "eps", "rate", "rest1", "rest2"}
    functions = ['#include "cupy/carray.cuh"']
    for c_type in ("float", "double"):
        for name, kernel in KERNELS.items():
            signature, head = [], []
            inputs = parameters(kernel.inputs)
            for j, (raw, kind, p) in enumerate(inputs + parameters(kernel.outputs)):
                if raw:
                    signature.append(f"const CArray<{c_type}, 2, true, true> {p}")
                elif kind == "int32" or p in scalars:
                    signature.append(f"const {c_type if kind == 'T' else 'int'} {p}")
                else:
                    signature.append(f"CArray<{c_type}, 2, false, true> _raw_{p}")
                    head.append(f"{'const ' if j < len(inputs) else ''}T &{p} = _raw_{p}[_ind.get()];")
            head, signature = " ".join(head), ", ".join([*signature, "CIndexer<2, true> _ind"])
            functions.append(
                f'extern "C" __global__ void {name}_{c_type}({signature}) {{\n'
                f"typedef {c_type} T;\n"
                f"CUPY_FOR(i, _ind.size()) {{ _ind.set(i);\n{head}\n{kernel.body};\n}} }}"
            )
    return "\n".join(functions)


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")
def test_nvcc_compiles_the_kernels(tmp_path):
    cupy = pytest.importorskip("cupy")
    include = Path(cupy.__file__).parent / "_core" / "include"
    libraries = include / "cupy" / "_cccl" / "libcudacxx"
    source = tmp_path / "kernels.cu"
    source.write_text(cuda_source(), encoding="utf-8")
    includes = [f"-I{folder}" for folder in (include, libraries, libraries / "include")]
    flags = ["-std=c++17", "-arch=sm_90", "-cubin", *includes]
    done = subprocess.run(["nvcc", *flags, "-o", tmp_path / "kernels.cubin", source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr, done.stderr
