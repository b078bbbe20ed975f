"""The ways around the plain definitions: parts of a batch, threads, blocks, rows repeated, arrays of odd strides.

`test_backend.py` holds every override against its definition on what Hypothesis draws; here stand the cases that such a
search does not reach: large arrays, more than one part or thread, memory, nothing at all, infinities.
"""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import minigan as mg
from minigan import nn
from minigan.backend import numpy_, numpy_convolution, threads
from tests.strategies import examples
from tests.test_backend import LIBRARIES, check_override, moments, normal, reference

cpu = LIBRARIES["cpu"]
KINDS = ("conv", "conv_transpose", "conv_weight_gradient")


def leaf(*shape, dtype="float32", seed=0):
    return mg.tensor(normal(np.random.default_rng(seed), *shape).astype(dtype), requires_grad=True)


def peak_of(work):
    """Bytes that ``work()`` had allocated at once, at most, above what was there before."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        result = work()
        assert result is not None
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def convolution(n, size, c, o, kernel, stride, padding, dtype="float32"):
    """{primitive: its arguments} for square images and kernels."""
    rng, out = np.random.default_rng(0), (size + 2 * padding - kernel) // stride + 1
    shapes = (n, size, size, c), (kernel, kernel, c, o), (n, out, out, o)
    x, w, g = (normal(rng, *shape).astype(dtype) for shape in shapes)
    geometry = (stride, stride), (padding, padding)
    return {
        "conv": (x, w, *geometry, (out, out)),
        "conv_transpose": (g, w, *geometry, (size, size)),
        "conv_weight_gradient": (x, g, (kernel, kernel), *geometry),
    }


# ---- a batch in parts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_in_many_parts_is_the_batch_as_a_whole(kind, number, monkeypatch):
    """Every part is done, and the weight gradient is the sum over all of them."""
    geometry = (101, 12, 8, 5, 4, 2, 1)
    monkeypatch.setattr(threads, "threads", number)
    monkeypatch.setattr(threads, "blas_is_single", number > 1)
    monkeypatch.setattr(threads, "_pool", None)
    monkeypatch.setattr(threads, "SMALLEST", 2**8)  # so that a group is a few samples
    monkeypatch.setattr(numpy_convolution, "SMALL_PRODUCT", 2**8)
    monkeypatch.setattr(numpy_convolution, "MOST", 2**14)  # three samples
    check_override(cpu, kind, convolution(*geometry, dtype="float64")[kind], (), "float64", "C")


@examples(4)
@given(
    samples=st.integers(0, 300),
    rows=st.integers(0, 9) | st.just(196),
    width=st.integers(0, 9) | st.just(1024),
    o=st.integers(0, 3) | st.just(64),
    most=st.sampled_from((1, 2**10, 2**22)),
    smallest=st.sampled_from((1, 2**10, 2**17)),
    number=st.integers(1, 5),
)
def test_the_parts_are_the_batch_each_sample_once(samples, rows, width, o, most, smallest, number):
    seen = np.zeros(samples, int)

    def work(part):
        assert part.step is None and 0 <= part.start <= part.stop <= samples
        assert part.start * rows % threads.FOUR == 0  # where BLAS rounds alike
        seen[part] += 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numpy_convolution, "MOST", most)
        patch.setattr(threads, "SMALLEST", smallest)
        patch.setattr(threads, "blas_is_single", True)
        patch.setattr(
            numpy_convolution,
            "split",
            lambda work, n, _: [work(n * i // number, n * (i + 1) // number) for i in range(number)],
        )
        numpy_convolution._over_batch(work, samples, rows, width, o)
    assert seen.tolist() == [1] * samples


@pytest.mark.parametrize("kind", KINDS)
def test_the_columns_of_a_large_batch_never_exist_as_a_whole(kind, monkeypatch):
    """5×5 windows make 25 numbers of one: 26 MB of columns for 1 MB of images, in parts of at most 1 MB."""
    monkeypatch.setattr(numpy_convolution, "MOST", 2**18)
    arguments = convolution(128, 16, 8, 8, 5, 1, 2)[kind]
    columns, image = 128 * 16 * 16 * 25 * 8 * 4, 128 * 16 * 16 * 8 * 4
    peak = peak_of(lambda: getattr(cpu, kind)(*arguments))
    assert peak < 3 * image + 4 * 2**20 < columns / 3


@pytest.mark.parametrize("kind", KINDS)
def test_the_columns_of_a_part_fit_into_4_mib(kind):
    """As shipped: 59 MB of columns, of which two or three parts exist at once."""
    assert numpy_convolution.MOST * 4 <= 2**22
    arguments = convolution(288, 16, 8, 1, 5, 1, 2)[kind]
    columns = 288 * 16 * 16 * 25 * 8 * 4
    assert peak_of(lambda: getattr(cpu, kind)(*arguments)) < 0.6 * columns


# ---- threads ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def hands(monkeypatch):
    """Our threads instead of BLAS's: ``use(number)``; ``use.parts`` grows by the rows that each split shares out."""
    monkeypatch.delenv("MINIGAN_THREADS", raising=False)
    monkeypatch.setattr(threads, "threads", threads.threads)
    monkeypatch.setattr(threads, "_pool", None)

    def use(number):
        if threads._pool is not None:
            threads._pool.shutdown()
        threads.threads, threads._pool = number, None
        use.parts = []

    def counted(work, rows, size):
        use.parts.append(min(threads.threads, rows) if size >= threads.SMALLEST else 1)
        threads.split(work, rows, size)

    for module in (numpy_, numpy_convolution):
        monkeypatch.setattr(module, "split", counted)
    with threads.in_charge():
        if not threads.blas_is_single:
            pytest.skip("NumPy does not use OpenBLAS here: nothing is split")
        yield use
        use(1)


def same_bits_in_any_number_of_threads(use, work):
    """Returns the largest number of parts that work was split into."""
    found, most = [], 1
    for number in (1, 2, 3, 5):
        use(number)
        found.append(work())
        most = max([most, *use.parts])
    for other in found[1:]:
        assert_array_equal(other, found[0], strict=True)
    return most


NARROW = [(64, 28, 1, 8, 4, 2, 1), (64, 14, 4, 8, 4, 2, 1), (33, 13, 8, 8, 3, 1, 1), (64, 28, 3, 5, 4, 2, 1)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("geometry", [*NARROW, (64, 14, 64, 128, 4, 2, 1)], ids=str)
def test_threads_change_no_bit_of_a_convolution(hands, geometry, kind):
    arguments = convolution(*geometry)[kind]
    parts = same_bits_in_any_number_of_threads(hands, lambda: getattr(cpu, kind)(*arguments))
    assert parts > 1 or geometry in NARROW  # the wide one is split indeed


@pytest.mark.parametrize("ta", [False, True])
@pytest.mark.parametrize("tb", [False, True])
@pytest.mark.parametrize("shape", [(1001, 300, 157), (300, 1001, 200), (700, 513, 301), (66_001, 128, 4)], ids=str)
def test_threads_change_no_bit_of_a_product(hands, shape, ta, tb):
    a, b = factors(*shape, ta, tb)
    assert same_bits_in_any_number_of_threads(hands, lambda: cpu.gemm(a, b, ta, tb)) > 1


def factors(m, k, n, ta=False, tb=False, dtype="float32"):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(s, dtype=dtype) for s in ((k, m) if ta else (m, k), (n, k) if tb else (k, n))]


@pytest.mark.parametrize("ta", [False, True])
@pytest.mark.parametrize("shape", [(30_000, 128, 1), (3001, 1000, 1), (70_000, 9, 1)], ids=str)
def test_threads_change_no_bit_of_a_product_with_one_column(hands, monkeypatch, shape, ta):
    """BLAS would round each piece of it otherwise."""
    monkeypatch.setattr(threads, "SMALLEST", 2**10)  # or these would be too small to be split in any case
    a, b = factors(*shape, ta)
    same_bits_in_any_number_of_threads(hands, lambda: cpu.gemm(a, b, ta))


@pytest.mark.parametrize(
    ("shape", "dtype", "number"),
    [((66_000, 128, 4), "float32", 40), ((28_000, 300, 4), "float32", 40), ((20, 4096, 500), "float64", 2)],
    ids=str,
)
def test_many_threads_change_no_bit_of_a_product(hands, shape, dtype, number):
    """Cut into 40, a piece would have less than SMALL_PRODUCT multiplications, or FEW rows."""
    a, b = factors(*shape, dtype=dtype)
    hands(1)
    expected = cpu.gemm(a, b)
    hands(number)
    assert_array_equal(cpu.gemm(a, b), expected)


# ---- blocks and repeated rows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("channels", [1, 7, 1000, numpy_.BLOCK // 2 + 1, numpy_.BLOCK + 1])
@pytest.mark.parametrize("name", ["scale_shift", "batch_norm", "batch_norm_backward"])
def test_blocks_end_where_rows_end(name, channels, dtype):
    """Few numbers of channels divide a block."""
    rng, rows = np.random.default_rng(0), max(4, 3 * numpy_.BLOCK // channels + 5)
    x, g, gamma, beta = normal(rng, rows, channels), normal(rng, rows, channels), *normal(rng, 2, channels)
    arguments = {
        "scale_shift": (x, gamma, beta),
        "batch_norm": (x, gamma, beta, 1e-2),
        "batch_norm_backward": (g, x, gamma, *moments(x, 1e-2)),
    }
    check_override(cpu, name, arguments[name], (), dtype, "C")


IN_MEMORY = {
    "as it is": lambda a: a,
    "Fortran order": np.asfortranarray,
    "rows reversed": lambda a: a[::-1].copy()[::-1],
    "columns reversed": lambda a: a[:, ::-1].copy()[:, ::-1],
    "every other column": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "every other row": lambda a: np.repeat(a, 2, axis=0)[::2],
}


@pytest.mark.parametrize("layout", IN_MEMORY)
@pytest.mark.parametrize(
    "shape", [(9000, 3), (9000, 1), (1, 9000), (9000, 0), (0, 3), (0, 0), (1, 1), (2731, 8)], ids=str
)
def test_a_row_is_added_to_every_row_however_the_matrix_lies_in_memory(layout, shape):
    rng = np.random.default_rng(0)
    values, row = normal(rng, *shape), normal(rng, shape[1])
    a = IN_MEMORY[layout](values.copy())
    assert cpu.add_row(a, row) is a
    assert_array_equal(a, values + row, strict=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1, numpy_.BLOCK // 16])  # 35 numbers, and more than two blocks
@pytest.mark.parametrize("layout", ["C", "stepped"])
def test_relu_passes_nothing_back_where_x_is_not_positive(size, dtype, layout):
    """Not even 0·∞ or 0·NaN, which are NaN; and back comes what came where x is positive."""
    cotangents, points = (np.inf, -np.inf, np.nan, 1.0, -0.0), (-1.0, 0.0, -0.0, -np.inf, 2.0, np.inf, 1e-45)
    g, x = np.array([*itertools.product(cotangents, points)], dtype).repeat(size, axis=0).T
    if layout == "C":
        g, x = g.copy(), x.copy()
    expected = np.where(x > 0, g, 0).astype(dtype)
    for found in (
        cpu.leaky_relu_backward(g, x, 0.0),
        mg.grad(mg.relu(y := mg.tensor(x, requires_grad=True)), y, mg.tensor(g))[0].data,
    ):
        assert found.dtype == dtype
        assert_array_equal(found, expected)


# ---- nothing at all, and strides that mean nothing -------------------------------------------------------------------

EMPTY = [e for e in itertools.product((0, 2), repeat=3) if 0 in e]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("n", "c", "o"), EMPTY)
def test_a_convolution_of_nothing_is_its_reference(n, c, o, stride, kind):
    check_override(cpu, kind, convolution(n, 5, c, o, 2, stride, 1)[kind], (), "float32", "C")


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize(("n", "c", "o"), EMPTY)
def test_a_convolution_of_nothing_has_gradients(n, c, o, with_bias):
    w = leaf(3, 3, c, o)
    cases = (
        (mg.conv, leaf(n, 5, 5, c), leaf(o), (n, 3, 3, o)),
        (mg.conv_transpose, leaf(n, 3, 3, o), leaf(c), (n, 5, 5, c)),
    )
    for op, x, b, shape in cases:
        y = op(x, w, stride=2, padding=1, bias=b if with_bias else None)
        assert y.shape == shape and (y.size == 0 or y.data.any() == with_bias)  # a sum of nothing is 0
        inputs = [x, w, b] if with_bias else [x, w]
        first = mg.grad(mg.sum(y * y), inputs, create_graph=True)
        second = mg.grad(sum(mg.sum(d * d) for d in first), inputs)
        for gradients in (first, second):
            assert [d.shape for d in gradients] == [t.shape for t in inputs]
            assert not any(d.data.any() for d in gradients[:2])


ONE_CHANNEL = {
    "from channels first": lambda x: np.ascontiguousarray(x.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1),
    "a new axis": lambda x: x[..., 0].copy()[..., None],
    "one of three": lambda x: np.repeat(x, 3, axis=3)[..., 1:2],
    "columns first": lambda x: x.transpose(0, 2, 1, 3).copy().transpose(0, 2, 1, 3),
    "rows reversed": lambda x: x[:, ::-1].copy()[:, ::-1],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("layout", ONE_CHANNEL)
@pytest.mark.parametrize("o", [1, 3])
def test_images_of_one_channel_may_lie_in_memory_in_any_way(layout, padding, kind, o):
    """The stride of an axis of length one may be anything."""
    image, *others = convolution(3, 8, 1 if kind != "conv_transpose" else o, o, 4, 2, padding)[kind]
    if kind == "conv_transpose":
        image = image[..., :1]
        others[0] = others[0][..., :1]
    elif kind == "conv_weight_gradient" and o == 1:
        others[0] = ONE_CHANNEL[layout](others[0])
    arguments = ONE_CHANNEL[layout](image), *others
    assert_array_equal(arguments[0], image)
    assert_allclose(getattr(cpu, kind)(*arguments), getattr(reference, kind)(image, *others), rtol=1e-5, atol=1e-5)


# ---- derivatives, whichever arguments want them ----------------------------------------------------------------------

FUSED = {
    "linear": (mg.linear, [(4, 3), (3, 2), (2,)]),
    "linear of images": (mg.linear, [(2, 2, 3), (3, 2), (2,)]),
    "linear of a vector": (mg.linear, [(3,), (3, 2), (2,)]),
    "scale_shift": (mg.scale_shift, [(4, 3), (3,), (3,)]),
    "scale_shift of images": (mg.scale_shift, [(2, 2, 2, 3), (3,), (3,)]),
    "conv": (lambda x, w, b: mg.conv(x, w, 2, 1, b), [(2, 4, 4, 2), (3, 3, 2, 2), (2,)]),
    "conv_transpose": (lambda x, w, b: mg.conv_transpose(x, w, 2, 1, 1, b), [(2, 2, 2, 2), (3, 3, 3, 2), (3,)]),
}
SOME = [some for k in (1, 2, 3) for some in itertools.combinations(range(3), k)]


@pytest.mark.parametrize("as_tensors", [False, True])
@pytest.mark.parametrize("free", SOME, ids=str)
@pytest.mark.parametrize("name", FUSED)
def test_derivatives_are_right_to_third_order_whichever_arguments_want_them(name, free, as_tensors):
    fn, shapes = FUSED[name]
    points = [normal(np.random.default_rng(i), *shape) for i, shape in enumerate(shapes)]
    constants = [mg.tensor(p) for p in points] if as_tensors else points

    def of_the_free(*arguments):
        given = dict(zip(free, arguments))
        y = fn(*[given.get(i, constants[i]) for i in range(3)])
        return y * y  # linear in each argument alone, it would have no second derivative by one of them

    mg.check_grad(of_the_free, *[points[i] for i in free], order=3, directions=1)


# ---- what is refused, and what is not --------------------------------------------------------------------------------


def of_ones(kind):
    """shape → an array of ones, or a Tensor of them."""
    made = lambda *shape, dtype="float32": np.ones(shape, dtype)
    return (
        made if kind == "arrays" else lambda *s, dtype="float32": mg.tensor(made(*s, dtype=dtype), requires_grad=True)
    )


both_kinds = pytest.mark.parametrize("kind", ["arrays", "Tensors"])

WRONG_SHAPES = {
    "linear, a longer bias": (lambda a: mg.linear(a(2, 3), a(3, 4), a(5)), r"bias must have shape \(4,\).*got \(5,\)"),
    "linear, a bias to stretch": (lambda a: mg.linear(a(2, 3), a(3, 4), a(1)), r"bias must have shape \(4,\)"),
    "linear, a matrix as bias": (lambda a: mg.linear(a(2, 3), a(3, 4), a(2, 4)), r"bias must have shape \(4,\)"),
    "linear, w a vector": (lambda a: mg.linear(a(2, 3), a(3), a(4)), r"w must be a matrix \(n, m\), got \(3,\)"),
    "linear, w a number": (lambda a: mg.linear(a(2, 3), a(), a(4)), r"w must be a matrix \(n, m\), got \(\)"),
    "linear, w a stack": (lambda a: mg.linear(a(2, 3), a(3, 4, 1), a(4)), r"w must be a matrix .*got \(3, 4, 1\)"),
    "linear, of a stack by a vector": (lambda a: mg.linear(a(2, 2, 3), a(3), a(3)), r"w must be a matrix"),
    "linear, inner lengths": (lambda a: mg.linear(a(2, 1), a(784, 4), a(4)), "the inner lengths differ: 1 and 784"),
    "linear, inner lengths of a vector": (lambda a: mg.linear(a(3), a(4, 4), a(4)), "inner lengths differ: 3 and 4"),
    "linear, images": (
        lambda a: mg.linear(a(2, 28, 28, 1), a(784, 4), a(4)),
        r"the inner lengths differ: 1 and 784[^.]*nn\.Flatten\(\)",
    ),
    "linear of a number": (lambda a: mg.linear(a(), a(3, 4), a(4)), "at least one axis"),
    "conv, bias": (lambda a: mg.conv(a(1, 4, 4, 1), a(2, 2, 1, 3), bias=a(1)), r"bias must have shape \(3,\)"),
    "conv, bias of the other side": (lambda a: mg.conv(a(1, 4, 4, 2), a(2, 2, 2, 3), bias=a(2)), r"shape \(3,\)"),
    "conv, bias with axes": (lambda a: mg.conv(a(1, 4, 4, 1), a(2, 2, 1, 3), bias=a(1, 3)), r"shape \(3,\)"),
    "conv_transpose, bias": (
        lambda a: mg.conv_transpose(a(1, 4, 4, 3), a(2, 2, 2, 3), bias=a(3)),
        r"bias must have shape \(2,\)",
    ),
    "scale_shift, scale": (lambda a: mg.scale_shift(a(2, 3), a(2), a(2)), r"scale.*shift.*\(2, 3\), \(2,\) and \(2,\)"),
    "scale_shift, to stretch": (lambda a: mg.scale_shift(a(2, 3), a(1), a(1)), r"\(1,\)"),
    "scale_shift, shift": (lambda a: mg.scale_shift(a(2, 3), a(3), a(1)), r"\(2, 3\), \(3,\) and \(1,\)"),
    "scale_shift, one x for all": (lambda a: mg.scale_shift(a(2, 1), a(3), a(3)), r"\(2, 1\), \(3,\) and \(3,\)"),
}


@both_kinds
@pytest.mark.parametrize(("call", "said"), WRONG_SHAPES.values(), ids=WRONG_SHAPES)
def test_a_wrong_shape_is_named(call, said, kind):
    with pytest.raises(ValueError, match=said) as caught:
        call(of_ones(kind))
    assert kind == "arrays" or isinstance(caught.value, mg.ShapeError)


@both_kinds
def test_a_matrix_of_the_wrong_width_is_not_told_to_flatten(kind):
    a = of_ones(kind)
    with pytest.raises(ValueError) as caught:
        mg.linear(a(2, 1), a(784, 4), a(4))
    assert "Flatten" not in str(caught.value)


def test_images_into_a_dense_layer_are_told_to_flatten_first():
    net = nn.Sequential(nn.Dense(784, 4))
    with pytest.raises(mg.ShapeError, match=r"inner lengths differ: 1 and 784[\s\S]*nn\.Flatten\(\)[\s\S]*in dense1"):
        net(mg.tensor(np.zeros((2, 28, 28, 1), "float32")))


DTYPES = {
    "linear": lambda a, b: mg.linear(a(2, 3), a(3, 2), b),
    "linear of images": lambda a, b: mg.linear(a(2, 2, 3), a(3, 2), b),
    "linear of a vector": lambda a, b: mg.linear(a(3), a(3, 2), b),
    "conv": lambda a, b: mg.conv(a(1, 4, 4, 1), a(2, 2, 1, 2), bias=b),
    "conv_transpose": lambda a, b: mg.conv_transpose(a(1, 4, 4, 1), a(2, 2, 2, 1), bias=b),
}


@both_kinds
@pytest.mark.parametrize("call", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("bias", ["float64", "int64", 1.0, 2], ids=str)
def test_a_bias_is_an_array_of_the_results_dtype(call, bias, kind):
    """Added in place, a wider one would be narrowed in silence; raw arrays and Tensors are treated alike."""
    a = of_ones(kind)
    if bias == "int64":
        bias = np.ones(2, int)
    elif bias == "float64":
        bias = a(2, dtype="float64")
    with pytest.raises(TypeError) as caught:
        call(a, bias)
    assert kind == "arrays" or isinstance(caught.value, mg.DTypeError)


@both_kinds
def test_a_dense_layers_function_takes_a_vector(kind):
    a = of_ones(kind)
    y = mg.linear(a(3), a(3, 4) * 2.0, a(4))
    assert y.shape == (4,) and np.asarray(y.data if kind == "Tensors" else y).tolist() == [7.0] * 4


def test_batch_norm_in_evaluation_takes_one_sample():
    layer = nn.BatchNorm(3).eval()
    x = np.array([1.0, -2.0, 3.0], "float32")
    layer.running_mean, layer.running_var = layer.running_mean + 1.0, layer.running_var * 4.0
    assert_allclose(layer(mg.tensor(x)).data, (x - 1) / 2, rtol=1e-4)
    assert_array_equal(layer(mg.tensor(x)).data, layer(mg.tensor(x[None])).data[0])


# ---- the mean of anything --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_tensor", [False, True])
def test_the_mean_of_narrow_numbers_does_not_overflow(as_tensor):
    make = mg.tensor if as_tensor else lambda a: a
    for dtype, value in (
        ("float16", 1),
        ("int64", 2**62),
        ("int32", 2**30),
        ("int8", 100),
        ("uint8", 200),
        ("bool", 1),
    ):
        m = mg.mean(make(np.full(70_000, value, dtype)))
        m = m.item() if as_tensor else m
        assert m == value and isinstance(m, float | np.floating), dtype
        by_column = mg.mean(make(np.full((4, 2), value, dtype)), axis=0)
        assert np.asarray(by_column.data if as_tensor else by_column).tolist() == [value] * 2


@pytest.mark.parametrize(
    ("given", "mean"), [([1.0, 2.0], 1.5), (3.0, 3.0), (3, 3.0), ([[1, 2], [3, 4]], 2.5), (np.float32(2.5), 2.5)]
)
def test_the_mean_of_python_numbers_and_lists(given, mean):
    assert mg.mean(given) == mean


@pytest.mark.parametrize("geometry", [{"stride": 0}, {"stride": -1}, {"padding": -1}], ids=str)
@pytest.mark.parametrize("kind", ["conv", "conv_transpose"])
def test_a_geometry_that_cannot_be_is_named(kind, geometry):
    x, w = mg.tensor(np.ones((2, 5, 5, 3)), dtype="float32"), mg.tensor(np.ones((3, 3, 3, 3)), dtype="float32")
    with pytest.raises(mg.ShapeError, match="stride must be at least 1 and padding at least 0|output_padding must be"):
        getattr(mg, kind)(x, w, **geometry)


def test_float64_data_in_a_float32_layer_is_not_the_biass_fault():
    with pytest.raises(mg.DTypeError, match="linear: the operands' dtypes would silently be promoted") as caught:
        mg.nn.Dense(3, 2, init=mg.nn.init.normal(1.0))(np.ones((4, 3)))
    assert "bias must be" not in str(caught.value)
