"""The checker is checked: planted mistakes must be caught, and right functions must pass.

Each mistake is one that a gradient library has really made, or could: see the names.
"""

import numpy as np
import pytest

import minigan as mg
from minigan.autodiff.primitive import primitive, registry
from minigan.autodiff.vector_space import sum_to
from minigan.ops.convolution import _conv_transpose
from minigan.ops.elementwise import stop
from tests.strategies import grid


@pytest.fixture(autouse=True)
def temporary():
    """Primitives made here leave the registry when their test ends."""
    before = dict(registry)
    yield
    registry.clear()
    registry.update(before)


def draw(*shape, seed=0, kind="nonzero"):
    return grid(np.random.default_rng(seed), shape, kind)


def caught(fn, *arrays, order=1, by="", **how):
    """check_grad must blame ``order`` (and pass those below) and argument ``by``; returns the message."""
    if order > 1:
        mg.check_grad(fn, *arrays, order=order - 1, **how)
    with pytest.raises(mg.GradientError, match=f"derivative {order} by argument {by}") as error:
        mg.check_grad(fn, *arrays, order=order, **how)
    return str(error.value)


def op(forward, broadcasts=False, aux=False, **rules):
    """A temporary primitive: forward, and one VJP per argument name."""
    forward.__name__ = f"planted_{len(registry)}"
    made = primitive(broadcasts=broadcasts, aux=aux)(forward)
    for name, rule in rules.items():
        made.vjp(name)(rule)
    return made


# ---- planted mistakes --------------------------------------------------------------------------------------


def test_a_factor_of_one_in_a_thousand():
    cube = op(lambda x: x**3, x=lambda g, x: 3.003 * g * x * x)
    message = caught(cube, draw(4, 3), by=r"0 \('x'\)")
    assert "relative error 0.0" in message and "along the direction" in message


@pytest.mark.parametrize("seed", range(5))
def test_a_wrong_sign_in_one_element_of_many(seed):
    signs = np.ones((10, 10))
    signs[3, 7] = -1
    caught(op(lambda x: x**3, x=lambda g, x: 3.0 * g * signs * x * x), draw(10, 10), seed=seed)


def test_a_rule_right_once_and_wrong_twice():
    """The raw output is a constant in the recorded pass: the tanh of several libraries' first double backward."""
    tanh = op(lambda x: np.tanh(x), x=lambda g, out: g * (1.0 - stop(out) ** 2))
    caught(tanh, draw(4) / 4, order=2, by="0")


def test_a_rule_right_twice_and_wrong_thrice():
    def rule(g, x):
        return 4.0 * g * x * x * stop(x)

    def inner(g, x):  # the derivative of 4x³, with its own derivative frozen
        return 12.0 * g * stop(x) ** 2

    cubed = op(lambda x: 4.0 * x**3, x=inner)

    fourth = op(lambda x: x**4, x=lambda g, x: g * cubed(x))
    caught(fourth, draw(5, kind="divisor") / 4, order=3, by="0")

    caught(op(lambda x: x**4, x=rule), draw(5, kind="divisor") / 4, order=2, by="0")


def test_batch_norm_with_a_frozen_variance():
    """Chainer's and DeZero's mistake: the forward pass's mean and 1/σ, constants in the recorded backward."""

    def forward(x):
        mean, inv = x.mean(0), 1 / np.sqrt(x.var(0) + 0.1)
        return (x - mean) * inv

    def rule(g, x):
        mean, inv = stop(x).mean(0), 1 / np.sqrt(stop(x).var(0) + 0.1)
        normal = (x - mean) * inv
        return inv * (g - mg.mean(g, 0) - normal * mg.mean(g * normal, 0))

    caught(op(forward, x=rule), draw(5, 2) / 4, order=2, by="0")


def test_a_backward_that_ignores_the_statistics_altogether():
    frozen = op(lambda x: x / np.sqrt((x * x).mean()), x=lambda g, x: g / np.sqrt((stop(x) ** 2).mean()))
    caught(frozen, draw(6), by="0")


def test_a_missing_unbroadcast_is_the_engines_to_find():
    add = op(lambda x, y: x + y, x=lambda g: g, y=lambda g: g)
    with pytest.raises(mg.GradientError, match=r"for 'y' returned shape \(2, 3\), expected \(3,\)"):
        mg.check_grad(add, draw(2, 3), draw(3))
    mg.check_grad(add, draw(2, 3), draw(2, 3))


def test_an_unbroadcast_over_the_wrong_axis():
    """On a square matrix the shapes cannot tell rows from columns; the numbers do."""
    wrong = op(lambda x, y: x + y, x=lambda g: g, y=lambda g: mg.sum(g, 1))
    caught(wrong, draw(3, 3), draw(3), by=r"1 \('y'\)")


def test_swapped_sides_of_a_kernel():
    def gradient(g, w):
        flipped = mg.transpose(w, 1, 0, 2, 3)  # (kw, kh, in, out): the same shape if the kernel is square
        return _conv_transpose(g, flipped, stride=(1, 1), padding=(0, 0), size=(4, 4))

    conv = op(lambda x, w: mg.conv(x, w), x=gradient, w=lambda g, x: mg.conv_weight_gradient(x, g, 3))
    x, w = draw(1, 4, 4, 2), draw(3, 3, 2, 1, seed=1)
    caught(conv, x, w, by=r"0 \('x'\)")
    symmetric = w + w.transpose(1, 0, 2, 3)
    mg.check_grad(lambda x: conv(x, symmetric), x, order=1)  # where swapping changes nothing there is nothing to find


def test_a_permutation_instead_of_its_inverse():
    turn = op(lambda x: x.transpose(1, 2, 0), x=lambda g: mg.transpose(g, 1, 2, 0))
    caught(turn, draw(3, 3, 3), by="0")
    with pytest.raises(mg.GradientError, match="returned shape"):
        mg.check_grad(turn, draw(2, 3, 4))


def test_a_rule_that_ignores_its_cotangent():
    caught(op(lambda x: x * x, x=lambda g, x: 2.0 * x), draw(4), by="0")


def test_a_missing_rule_is_an_error_not_a_zero_gradient():
    half = op(lambda x, y: x * y, x=lambda g, y: g * y)
    with pytest.raises(mg.GradientError, match="no VJP for 'y'"):
        mg.check_grad(half, draw(3), draw(3, seed=1))
    x = mg.tensor(draw(3), requires_grad=True)
    assert mg.grad(mg.sum(half(x, draw(3))), x)[0].shape == (3,)  # a constant y needs no rule


@pytest.mark.parametrize(
    "rules",
    [
        {"z": lambda g: g},  # no such argument
        {"x": lambda g, q: g * q},  # no such thing to keep
        {"x": lambda g, *, axis: g},  # no such parameter
    ],
)
def test_a_rule_that_cannot_run_is_refused_when_it_is_registered(rules):
    with pytest.raises(ValueError, match="unknown, or registered twice"):
        op(lambda x, y: x * y, **rules)


def test_a_rule_is_registered_once():
    twice = op(lambda x: x * x, x=lambda g, x: g * x)
    with pytest.raises(ValueError, match="registered twice"):
        twice.vjp("x")(lambda g, x: g * x)


def test_defaults_of_a_primitive_reach_its_rules():
    @mg.primitive
    def scaled_by(x, *, k=2.0):
        return x * k

    scaled_by.vjp("x")(lambda g, *, k: g * k)
    assert mg.check_grad(scaled_by, draw(3)) < 1e-6
    assert mg.check_grad(lambda x: scaled_by(x, k=3.0), draw(3)) < 1e-6


def test_the_second_argument_alone_is_blamed():
    divide = op(lambda x, y: x / y, x=lambda g, y: g / y, y=lambda g, x, y: -g * x / y)
    caught(divide, draw(4), draw(4, seed=1, kind="positive"), by=r"1 \('y'\)")


def test_gradients_swapped_between_arguments():
    swapped = op(lambda x, y: x - y, x=lambda g: -g, y=lambda g: g)
    caught(swapped, draw(3), draw(3), by=r"0 \('x'\)")


def test_a_mistake_in_the_aux_of_the_raw_pass():
    def rule(g, x, aux):
        return g * (mg.exp(x) if aux is None else 1.001 * aux)

    wrong = op(lambda x: (np.exp(x), np.exp(x)), aux=True, x=rule)
    caught(wrong, draw(3), by="0")


def test_a_recorded_rule_that_is_not_the_raw_one():
    """Each is consistent in itself: the recorded one with differences of itself, the raw one with differences of y."""

    def rule(g, x, aux):
        return g * mg.exp(x) * (1.5 if aux is None else 1.0)

    wrong = op(lambda x: (np.exp(x), np.exp(x)), aux=True, x=rule)
    mg.check_grad(wrong, draw(3), order=1)  # the raw rule alone
    with pytest.raises(mg.GradientError, match=r"derivative 1 by argument 0 \('x'\) is wrong.* recorded "):
        mg.check_grad(wrong, draw(3), order=2)


def test_nan_is_no_gradient():
    caught(op(lambda x: x * 2.0, x=lambda g: g * np.nan), draw(3), by="0")


def test_a_kink_is_reported_with_its_uncertainty():
    message = caught(mg.abs, np.array([1e-5, 1.0]), by="0")
    doubt = float(message.split("uncertain by ")[1].split(")")[0])
    assert doubt > 1e-3 and "a large uncertainty means a kink" in message
    wrong = caught(op(lambda x: x * x, x=lambda g, x: 2.002 * g * x), draw(3), by="0")
    assert float(wrong.split("uncertain by ")[1].split(")")[0]) < 1e-8


def test_the_message_names_lambdas_and_functions_arguments():
    wrong = op(lambda x: x * 1.0, x=lambda g: g * 2.0)
    assert "1 ('beta')" in caught(lambda alpha, beta: alpha + wrong(beta), draw(2), draw(2), by="1")

    class Layer:
        def __call__(self, x):
            return wrong(x)

    assert "argument 0" in caught(Layer(), draw(2), by="0")


# ---- right functions pass ----------------------------------------------------------------------------------


def test_right_functions_pass_and_the_largest_error_is_returned():
    error = mg.check_grad(lambda x, y: mg.tanh(x @ y), draw(2, 3), draw(3, 2), order=3)
    assert isinstance(error, float) and 0 < error < 1e-6


def test_linear_and_constant_functions_pass_at_every_order():
    for fn in (lambda x: 3.0 * x, lambda x: x, lambda x: mg.tensor(np.ones(2)), lambda x: 0.0 * x):
        assert mg.check_grad(fn, draw(2), order=3) < 1e-6


def test_a_detached_argument_is_a_wrong_gradient():
    caught(lambda x: x * x.detach(), draw(3), by="0")


def test_tuples_of_outputs_are_all_checked():
    mg.check_grad(lambda x: (mg.exp(x), mg.sum(x * x), x.T), draw(2, 3), order=3)
    wrong = op(lambda x: x * 1.0, x=lambda g: g * 1.01)
    for k in range(3):
        outputs = lambda x, k=k: [wrong(x) if i == k else x * x for i in range(3)]
        caught(outputs, draw(3), by="0")


def test_integers_and_masks_are_passed_through_as_constants():
    seen = []

    def pick(x, rows, mask):
        seen.append((type(rows), rows.dtype, mask.dtype))
        return mg.where(mask, mg.take(x, rows, 0) ** 2, 0.0)

    assert mg.check_grad(pick, draw(4, 2), np.array([3, 0, 3]), np.array([[True], [False], [True]]), order=3) < 1e-6
    assert set(seen) == {(mg.Tensor, np.dtype("int64"), np.dtype(bool))}


@pytest.mark.parametrize("values", [1.5, [1.5, 2.0], np.float32([1.5, 2.0]), np.array(1.5), np.zeros((0, 3))], ids=repr)
def test_floats_of_any_kind_are_checked_in_float64(values):
    seen = set()

    def fn(x):
        seen.add(x.dtype)
        return mg.exp(x) * x

    assert mg.check_grad(fn, values, order=3) < 1e-6 and seen == {np.dtype("float64")}


def test_inputs_are_left_alone():
    x = draw(3)
    before = x.copy()
    x.setflags(write=False)
    mg.check_grad(mg.tanh, x, order=3)
    np.testing.assert_array_equal(x, before)


def test_the_seed_and_the_number_of_directions_matter():
    """The error at the worst of more directions is no smaller; the same seed gives the same error."""
    fn, x = (lambda x: mg.tanh(x) * mg.exp(x)), draw(5)
    assert mg.check_grad(fn, x, seed=3) == mg.check_grad(fn, x, seed=3) != mg.check_grad(fn, x, seed=4)
    assert mg.check_grad(fn, x, directions=8) >= mg.check_grad(fn, x, directions=1)


def test_tolerances_are_the_callers():
    off = op(lambda x: x * x, x=lambda g, x: 2.0002 * g * x)
    mg.check_grad(off, np.array([2.0]), order=1, rtol=1e-3)
    caught(off, np.array([2.0]), order=1, rtol=1e-5)
    small = op(lambda x: 1e-12 * x, x=lambda g: g * 0.0)
    mg.check_grad(small, draw(3), order=1)  # below atol


def test_sum_to_is_exported_for_rules_that_broadcast_by_hand():
    scale = op(lambda x, s: x * s, x=lambda g, s: g * s, s=lambda g, x, s_shape: sum_to(g * x, shape=s_shape))
    mg.check_grad(scale, draw(4, 3), draw(3), order=3)
