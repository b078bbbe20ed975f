"""Every op, held to the same properties by its record in `tests/opinfo.py`; then its values at kinks."""

import math
from itertools import count

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import minigan as mg
from minigan import ops
from minigan.autodiff import node
from minigan.autodiff.primitive import registry
from tests.opinfo import RECORDS
from tests.strategies import examples, grid, seeds

every_op = pytest.mark.parametrize("info", RECORDS, ids=str)
SHIPPED = frozenset(registry)  # before any test adds a primitive of its own


# ---- helpers -----------------------------------------------------------------------------------------------


def leaves(arrays, dtype=np.float64):
    """Tensors over these very arrays (no copies: layout and aliasing are tested), each wanting a gradient."""
    made = [mg.Tensor(a if a.dtype == dtype else a.astype(dtype)) for a in arrays]
    for t in made:
        t.requires_grad = True
    return made


def noise(seed, shape, dtype=np.float64):
    return np.asarray(grid(np.random.default_rng(seed), shape, "nonzero")).astype(dtype)


def pull_back(info, arrays, params, cotangent, dtype=np.float64, **how):
    """The gradients of ⟨cotangent, fn(*arrays)⟩, as arrays."""
    inputs = leaves(arrays, dtype)
    found = mg.grad(info.fn(*inputs, **params), inputs, mg.Tensor(cotangent.astype(dtype)), **how)
    return [g.data for g in found]


def nodes_made_by(fn):
    """(fn(), how many nodes it made)."""
    before = next(node._counter)
    result = fn()
    return result, next(node._counter) - before - 1


def graph_of(t):
    """Every node below a Tensor."""
    seen, stack = set(), [t.node]
    while stack:
        n = stack.pop()
        if n is not None and n not in seen:
            seen.add(n)
            stack.extend(n.parents)
    return seen


def assert_close(actual, expected, rtol):
    """Equal up to ``rtol`` times the largest number expected (or 1)."""
    assert np.shape(actual) == np.shape(expected)
    assert_allclose(actual, expected, rtol=0, atol=rtol * max(1.0, np.max(np.abs(expected), initial=0.0)))


# ---- the table is complete ---------------------------------------------------------------------------------


def test_every_primitive_has_a_record():
    assert {p for info in RECORDS for p in info.primitives} == SHIPPED


def test_every_public_function_has_a_record():
    assert {info.name.partition("/")[0] for info in RECORDS} == set(ops.__all__)


@every_op
@examples(0.2)
@given(data=st.data())
def test_record_exercises_its_primitives(info, data):
    arrays, params = data.draw(info.samples)
    recorded = {n.op.name for n in graph_of(info.fn(*leaves(arrays), **params)) if n.op is not None}
    assert recorded >= set(info.primitives)


# ---- values ------------------------------------------------------------------------------------------------


@every_op
@examples(0.7)
@given(data=st.data())
def test_forward_is_the_oracle(info, data):
    arrays, params = data.draw(info.samples)
    expected = info.oracle(*arrays, **params)
    assert_close(info.fn(*leaves(arrays), **params).data, expected, 1e-12)


@every_op
@examples(0.3)
@given(data=st.data())
def test_float32_stays_float32(info, data):
    arrays, params = data.draw(info.samples)
    out = info.fn(*leaves(arrays, np.float32), **params)
    assert type(out.data) is np.ndarray and out.dtype == np.float32
    assert_close(out.data, info.oracle(*arrays, **params), max(info.steep, 1e-5))


@every_op
@examples(0.5)
@given(data=st.data())
def test_raw_path_is_the_recorded_path(info, data):
    arrays, params = data.draw(info.samples)
    raw, made = nodes_made_by(lambda: info.fn(*arrays, **params))
    assert made == 0 and not isinstance(raw, mg.Tensor)
    traced, made = nodes_made_by(lambda: info.fn(*map(mg.Tensor, arrays), **params))
    assert made == 0 and traced.node is None  # Tensors that want no gradient
    recorded = info.fn(*leaves(arrays), **params)
    assert recorded.node is not None
    assert_array_equal(raw, traced.data, strict=True)
    assert_array_equal(traced.data, recorded.data, strict=True)


# ---- derivatives -------------------------------------------------------------------------------------------


@every_op
@examples(0.5)
@given(data=st.data())
def test_derivatives_to_third_order(info, data):
    arrays, params = data.draw(info.samples)
    mg.check_grad(lambda *tensors: info.fn(*tensors, **params), *arrays, order=info.orders, directions=1)


@pytest.mark.parametrize("info", [r for r in RECORDS if r.linear_in], ids=str)
@examples(0.7)
@given(data=st.data(), seed=seeds)
def test_adjoint_identity(info, data, seed):
    """⟨J u, v⟩ = ⟨u, Jᵀ v⟩; where fn is linear, J u is fn(u) − fn(0): no difference quotient is needed."""
    arrays, params = data.draw(info.samples)
    for i in info.linear_in:
        u = noise(seed, arrays[i].shape)
        at = lambda value, i=i: info.fn(*arrays[:i], value, *arrays[i + 1 :], **params)
        forward = at(u) - at(np.zeros_like(u))
        v = noise(seed + 1, forward.shape)
        back = pull_back(info, arrays, params, v)[i]
        scale = np.sum(np.abs(forward * v)) + np.sum(np.abs(u * back)) + 1.0
        assert abs(np.sum(forward * v) - np.sum(u * back)) <= 1e-12 * scale


@every_op
@examples(0.4)
@given(data=st.data(), seed=seeds)
def test_raw_vjp_is_the_recorded_vjp(info, data, seed):
    arrays, params = data.draw(info.samples)
    inputs = leaves(arrays)
    out = info.fn(*inputs, **params)
    v = mg.Tensor(noise(seed, out.shape))
    recorded = mg.grad(out, inputs, v, create_graph=True)
    raw, made = nodes_made_by(lambda: mg.grad(out, inputs, v))
    assert made == 0 and not any(g.requires_grad for g in raw)
    for a, b in zip(raw, recorded):
        assert_close(a.data, b.data, 1e-12)


@every_op
@examples(0.4)
@given(data=st.data(), seed=seeds)
def test_vjp_is_linear_in_the_cotangent(info, data, seed):
    arrays, params = data.draw(info.samples)
    shape = np.shape(info.fn(*arrays, **params))
    u, v = noise(seed, shape), noise(seed + 1, shape)
    of_u, of_v, of_both, of_none = (pull_back(info, arrays, params, c) for c in (u, v, 2 * u - 3 * v, 0 * u))
    for a, b, c, nothing in zip(of_u, of_v, of_both, of_none):
        scale = np.max(np.abs(a) + np.abs(b), initial=1.0)
        assert_allclose(c, 2 * a - 3 * b, rtol=0, atol=1e-11 * scale)
        assert not nothing.any()


@every_op
@examples(0.4)
@given(data=st.data(), seed=seeds)
def test_gradients_have_their_inputs_shape_and_dtype(info, data, seed):
    arrays, params = data.draw(info.samples)
    v = noise(seed, np.shape(info.fn(*arrays, **params)))
    double = pull_back(info, arrays, params, v)
    single = pull_back(info, arrays, params, v, np.float32)
    recorded = pull_back(info, arrays, params, v, np.float32, create_graph=True)
    scale = max(1.0, *(np.max(np.abs(g), initial=0.0) for g in double))
    for x, exact, g, h in zip(arrays, double, single, recorded):
        assert type(g) is np.ndarray and exact.dtype == np.float64 and g.dtype == h.dtype == np.float32
        assert exact.shape == g.shape == h.shape == x.shape
        assert_allclose(g, exact, rtol=0, atol=info.steep * scale)


# ---- memory and repetition ---------------------------------------------------------------------------------


@every_op
@examples(0.4)
@given(data=st.data(), seed=seeds, create_graph=st.booleans())
def test_nothing_is_mutated_or_shared(info, data, seed, create_graph):
    arrays, params = data.draw(info.samples)
    v = noise(seed, np.shape(info.fn(*arrays, **params)))
    before = [a.copy() for a in (*arrays, v)]
    for a in (*arrays, v):
        a.setflags(write=False)  # to write would raise here
    found = pull_back(info, arrays, params, v, create_graph=create_graph)
    for a, old in zip((*arrays, v), before):
        assert_array_equal(a, old, strict=True)
    for i, g in enumerate(found):
        assert g.flags.writeable and g.flags.c_contiguous
        for other in (*arrays, v, *found[:i]):
            assert not np.shares_memory(g, other)


@every_op
@examples(0.3)
@given(data=st.data(), seed=seeds)
def test_the_same_call_gives_the_same_bits(info, data, seed):
    arrays, params = data.draw(info.samples)
    once, again = (info.fn(*leaves(arrays), **params).data for _ in range(2))
    v = noise(seed, once.shape)
    assert_array_equal(once, again, strict=True)
    for a, b in zip(pull_back(info, arrays, params, v), pull_back(info, arrays, params, v)):
        assert_array_equal(a, b, strict=True)


# ---- Python numbers and NumPy arrays as operands -----------------------------------------------------------

BINARY = ["add", "subtract", "multiply", "divide", "power", "maximum", "minimum"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(), (3,)], ids=str)
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", BINARY)
def test_python_numbers_take_the_tensors_dtype(name, side, shape, dtype):
    fn = getattr(mg, name)
    call = (lambda x: fn(1.5, x)) if side == "left" else (lambda x: fn(x, 1.5))
    x = np.asarray(grid(np.random.default_rng(0), shape, "positive")) + 1 / 32
    t = mg.tensor(x.astype(dtype), requires_grad=True)
    y = call(t)
    (g,) = mg.grad(mg.sum(y), t, create_graph=True)
    (raw,) = mg.grad(mg.sum(call(t)), t)
    assert y.dtype == g.dtype == raw.dtype == dtype
    assert_close(raw.data, g.data, 1e-6)
    mg.check_grad(call, x, order=3)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "truediv", "pow", "matmul"])
def test_arrays_and_tensors_mix_in_either_order(name):
    a, b = np.array([[1.0, 2.0], [3.0, 5.0]]), np.array([[0.5, 2.0], [1.5, 1.0]])
    expected = getattr(a, f"__{name}__")(b)
    for result in (getattr(mg.tensor(a), f"__{name}__")(b), getattr(mg.tensor(b), f"__r{name}__")(a)):
        assert type(result) is mg.Tensor
        assert_close(result.data, expected, 1e-15)
    assert type(a * mg.tensor(b)) is mg.Tensor and type(np.float64(2) * mg.tensor(b)) is mg.Tensor


@pytest.mark.parametrize("name", ["lt", "le", "gt", "ge", "eq", "ne"])
@pytest.mark.parametrize("shape", [(), (4,)], ids=str)
def test_comparisons_give_constant_bool_tensors(name, shape):
    a, b = (noise(seed, shape) for seed in (1, 2))
    result = getattr(mg.tensor(a, requires_grad=True), f"__{name}__")(mg.tensor(b))
    assert type(result.data) is np.ndarray and result.dtype == bool and not result.requires_grad
    assert_array_equal(result.data, getattr(np.asarray(a), f"__{name}__")(b))


def test_methods_are_the_functions():
    x = mg.tensor(noise(3, (2, 3)))
    calls = {"sum": (0,), "mean": (1, True), "var": (), "max": (-1,), "min": (), "reshape": (3, 2)}
    for name, args in calls.items():
        assert_array_equal(getattr(x, name)(*args).data, getattr(mg, name)(x, *args).data, strict=True)
    assert_array_equal(x.T.data, mg.transpose(x).data, strict=True)
    assert_array_equal(x.transpose(1, 0).data, mg.transpose(x, (1, 0)).data, strict=True)
    assert_array_equal((-x).data, mg.negative(x).data)
    assert_array_equal(abs(x).data, mg.abs(x).data)
    assert_array_equal(x[1, ::-1].data, x.data[1, ::-1])
    assert [row.shape for row in x] == [(3,), (3,)] and len(x) == 2


def test_indices_may_be_numpys_integers_and_tensors():
    x = mg.tensor(noise(4, (3, 4)), requires_grad=True)
    rows = mg.tensor([2, 0, 2])
    pairs = [(np.int64(1), 1), ((np.int64(0), 3), (0, 3)), (rows, [2, 0, 2]), ((rows, 1), ([2, 0, 2], 1))]
    for index, plain in pairs:
        assert_array_equal(x[index].data, x.data[plain])
        (g,), (expected,) = (mg.grad(mg.sum(x[i] ** 2), x) for i in (index, plain))
        assert_array_equal(g.data, expected.data)


@pytest.mark.parametrize("index", [[2, 0, 2], mg.tensor([2, 0, 2]), ([2, 0, 2],)], ids=["list", "Tensor", "tuple"])
def test_scatter_takes_the_indices_that_getitem_takes(index):
    x = mg.tensor([1.0, 2.0, 4.0], requires_grad=True)
    y = mg.scatter(x, index, (3,))
    assert y.data.tolist() == [2, 0, 5]
    assert mg.grad(mg.sum(y * np.float32([1, 2, 3])), x)[0].data.tolist() == [3, 1, 3]


def test_axes_may_be_a_list():
    x = mg.tensor(np.arange(6.0).reshape(1, 2, 3), requires_grad=True)
    assert mg.sum(x, [0, 2]).numpy().tolist() == [3, 12] and mg.grad(mg.sum(mg.mean(x, [0, 1])), x)[0].shape == x.shape


def test_an_axis_may_be_numpys_integer():
    x = mg.tensor(noise(5, (2, 3)), requires_grad=True)
    for fn in (mg.sum, mg.mean, mg.var, mg.max, mg.logsumexp, mg.norm, mg.softmax):
        (g,), (expected,) = (mg.grad(mg.sum(fn(x, axis) ** 2), x) for axis in (np.int64(1), 1))
        assert_array_equal(g.data, expected.data)


@pytest.mark.parametrize("axis", [None, -1])
def test_take_is_numpys(axis):
    x, indices = noise(6, (2, 3, 4)), [[0, 3], [1, -1]]
    assert_array_equal(mg.take(mg.tensor(x), indices, axis).data, np.take(x, indices, axis))


def test_batch_norm_reports_its_statistics():
    x, seen = noise(7, (4, 2, 3)), []
    mg.batch_norm(mg.tensor(x), mg.tensor(np.ones(3)), mg.tensor(np.zeros(3)), statistics=seen)
    assert_allclose(seen[0], x.mean((0, 1)))
    assert_allclose(seen[1], x.var((0, 1)))


# ---- far away: no overflow, no NaN -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("fn", "x", "value", "slope"),
    [
        (mg.sigmoid, [-1000, 1000], [0, 1], [0, 0]),
        (mg.softplus, [-1000, 1000], [0, 1000], [0, 1]),
        (mg.tanh, [-1000, 1000], [-1, 1], [0, 0]),
        (mg.logsumexp, [1000, 1000], 1000 + math.log(2), [0.5, 0.5]),
        (mg.logsumexp, [-math.inf, 0], 0, [0, 1]),
        (mg.logsumexp, [-math.inf, -math.inf], -math.inf, [0, 0]),
        (lambda x: mg.softmax(x)[0], [1000, 0], 1, [0, 0]),
        (lambda x: mg.log_softmax(x)[1], [1000, 0], -1000, [-1, 1]),
    ],
)
def test_large_numbers_neither_overflow_nor_turn_into_nan(fn, x, value, slope, dtype):
    t = mg.tensor(np.array(x, dtype), requires_grad=True)
    with np.errstate(over="raise", invalid="raise", divide="ignore"):
        y = fn(t)
        (g,) = mg.grad(mg.sum(y), t, create_graph=True)
        (second,) = mg.grad(mg.sum(g), t)
    assert_allclose(y.data, value, rtol=1e-6)
    assert_allclose(g.data, slope, rtol=1e-4, atol=1e-6)
    assert np.isfinite(second.data).all()


# ---- subgradients: at kinks and ties the docstrings state one value, and these tests pin it ----------------


def slopes(fn, x, order=1):
    """The first ``order`` derivatives of Σ fn(x), each as a list, one recorded and the last raw."""
    t = mg.tensor(np.array(x, float), requires_grad=True)
    y, found = mg.sum(fn(t)), []
    for k in count(1):
        (g,) = mg.grad(y, t, create_graph=k < order)
        found.append(g.data.tolist())
        if k == order:
            return found if order > 1 else found[0]
        y = mg.sum(g)


@pytest.mark.parametrize(
    ("fn", "x", "expected"),
    [
        (mg.abs, [-2, 0, 3], [-1, 0, 1]),
        (mg.relu, [-2, 0, 3], [0, 0, 1]),
        (mg.leaky_relu, [-2, 0, 3], [0.2, 0.2, 1]),
        (lambda x: mg.leaky_relu(x, 1.5), [-2, 0, 3], [1.5, 1.5, 1]),
        (lambda x: mg.leaky_relu(x, 0.0), [-2, 0, 3], [0, 0, 1]),
        (lambda x: mg.clip(x, -1, 2), [-2, -1, 0, 2, 3], [0, 1, 1, 1, 0]),
        (lambda x: mg.clip(x, low=-1), [-2, -1, 0], [0, 1, 1]),
        (lambda x: mg.clip(x, high=2), [0, 2, 3], [1, 1, 0]),
        (lambda x: mg.maximum(x, 1.0), [0, 1, 2], [0, 0.5, 1]),
        (lambda x: mg.maximum(1.0, x), [0, 1, 2], [0, 0.5, 1]),
        (lambda x: mg.minimum(x, 1.0), [0, 1, 2], [1, 0.5, 0]),
        (lambda x: mg.minimum(1.0, x), [0, 1, 2], [1, 0.5, 0]),
        (lambda x: mg.maximum(x, x), [1, 2], [1, 1]),
        (mg.max, [1, 3, 3, 3, 3], [0, 0.25, 0.25, 0.25, 0.25]),
        (mg.min, [1, 3, 1], [0.5, 0, 0.5]),
        (lambda x: mg.max(x, axis=0), [[1, 2], [1, 1]], [[0.5, 1], [0.5, 0]]),
        (lambda x: mg.min(x, axis=1, keepdims=True), [[1, 2], [1, 1]], [[1, 0], [0.5, 0.5]]),
        (mg.norm, [0, 0], [0, 0]),
        (lambda x: mg.norm(x, axis=1), [[0, 0], [3, 4]], [[0, 0], [0.6, 0.8]]),
        (lambda x: mg.max_pool(mg.reshape(x, 1, 2, 2, 1), 2), [1, 5, 5, 0], [0, 0.5, 0.5, 0]),
    ],
)
def test_subgradient_at_the_kink(fn, x, expected):
    first, second = slopes(fn, x, order=2)
    assert_allclose(first, expected, rtol=1e-15)  # recorded
    assert_allclose(slopes(fn, x), expected, rtol=1e-15)  # and raw
    assert np.isfinite(second).all()


@pytest.mark.parametrize("target", [0.0, 1.0])
def test_gradient_penalty_of_a_zero_gradient_is_finite_to_third_order(target):
    found = slopes(lambda x: (mg.norm(x, axis=1) - target) ** 2, [[0, 0], [3, 4]], order=3)
    assert np.isfinite(found).all() and found[0][0] == [0, 0]
    if target == 0:
        assert_allclose(found[0][1], [6, 8])


@pytest.mark.parametrize("number", [int, float, np.array, lambda p: mg.tensor(float(p), dtype="float64")])
@pytest.mark.parametrize(
    ("p", "at_zero"), [(0, [0, 0, 0]), (1, [1, 0, 0]), (2, [0, 2, 0]), (3, [0, 0, 6]), (4, [0, 0, 0])]
)
def test_powers_are_polynomials_at_zero(p, at_zero, number):
    exponent = number(p) if number is not np.array else np.array(float(p))
    with np.errstate(all="raise"):
        found = slopes(lambda x: x**exponent, [0.0, 2.0], order=3)
    falling = [p, p * (p - 1), p * (p - 1) * (p - 2)]
    at_two = [c * 2.0 ** (p - k) for k, c in enumerate(falling, 1)]
    assert found == [[a, b] for a, b in zip(at_zero, at_two)]


def test_zero_to_the_zero_is_one_and_the_exponents_gradient_at_base_zero_is_zero():
    assert mg.power(mg.tensor(0.0), 0).item() == 1.0
    x, p = (mg.tensor(np.array(v), requires_grad=True) for v in ([0.0, 0.0, 2.0], [0.0, 2.0, 3.0]))
    with np.errstate(all="raise"):
        dx, dp = mg.grad(mg.sum(x**p), (x, p), create_graph=True)
        again = mg.grad(mg.sum(dp), (x, p))
    assert dx.data.tolist() == [0, 0, 12]
    assert_allclose(dp.data, [0, 0, 8 * math.log(2)])
    assert all(np.isfinite(g.data).all() for g in again)


def test_the_exponent_zero_is_no_special_case_away_from_zero():
    """p·x^(p−1) vanishes at p = 0, but its derivative by p is 1/x there."""
    mg.check_grad(mg.power, np.array([0.5, 2.0, 3.0]), np.array([0.0, 0.0, 1.0]), order=3)
    for p in (0.0, 1.0, 2.0):
        mg.check_grad(mg.power, np.array(2.5), np.array(p), order=3)
    mg.check_grad(lambda x: x**0, np.array([0.5, -2.0]), order=3)


def test_where_keeps_the_untaken_branch_out():
    x = [-1.0, 0.0, 2.0]
    with np.errstate(all="raise"):
        found = slopes(lambda t: mg.where(t > 0, mg.log(mg.where(t > 0, t, 1.0)), 0.0), x, order=3)
    assert_allclose(found, [[0, 0, 0.5], [0, 0, -0.25], [0, 0, 0.25]])
    unreachable = mg.tensor([1.0, 2.0], requires_grad=True)
    (g,) = mg.grad(mg.sum(mg.where(np.array([True, True]), 1.0, unreachable)), unreachable)
    assert g.data.tolist() == [0, 0]
