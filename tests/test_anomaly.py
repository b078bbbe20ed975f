"""The anomaly mode: the first number that is not finite is named, with line, operands and order; nothing else is."""

import inspect
import math
import threading
from textwrap import dedent

import numpy as np
import pytest

import minigan as mg
from minigan import models, nn
from minigan.autodiff import engine
from minigan.autodiff.primitive import Primitive, Rule
from minigan.errors import place
from minigan.inspect.anomaly import _bad
from minigan.objectives import gradient_penalty, r1
from minigan.optim import Adam
from tests.strict_array import StrictArray

ENGINE = Primitive.__call__, Rule.__call__, engine._run, nn.Module.__call__
RNG = np.random.default_rng(0)
IMAGES, OTHERS = RNG.standard_normal((2, 4, 28, 28, 1)).astype(np.float32)
EPSILON = np.full(4, 0.5, np.float32)
POLE = "keep the operand away from the pole: clip it, add an epsilon, or take the function that is defined there"
OVERFLOW = "the numbers are too large for their dtype: lower the learning rate, or scale or clip what goes in"
BACK = "follow the value back: open mg.anomaly() around whatever computes or loads it"


@pytest.fixture(autouse=True)
def off_again():
    """After every test the engine's functions are its own, and NumPy warns as before."""
    before = np.geterr()
    yield
    assert (Primitive.__call__, Rule.__call__, engine._run, nn.Module.__call__) == ENGINE
    assert np.geterr() == before


def leaf(*values, name="x", dtype="float32"):
    return mg.tensor(np.array(values), requires_grad=True, dtype=dtype, name=name)


def caught(fn, *args):
    """The AnomalyError that ``fn`` raises inside the mode."""
    with pytest.raises(mg.AnomalyError) as error, mg.anomaly():
        fn(*args)
    return error.value


def at(fn, call):
    """The three lines of a message that show ``call`` on its line in ``fn``: computed from the source."""
    lines, start = inspect.getsourcelines(fn)
    i = next(i for i, line in enumerate(lines) if call in line)
    text = lines[i].strip()
    return [
        f"  {__file__}:{start + i}, in {fn.__name__}",
        f"      {text}",
        f"      {' ' * text.index(call)}{'^' * len(call)}",
    ]


def golden(error, text, **places):
    """The message is ``text``, where a line "@name" stands for a place in the source."""
    expected = []
    for line in dedent(text).strip("\n").splitlines():
        expected += at(*places[line.strip()[1:]]) if line.strip().startswith("@") else [line]
    assert str(error).splitlines() == expected


def facts(error):
    return error.born, error.op, error.scope, error.order, error.operand


# ---- born in the forward pass ------------------------------------------------------------------------------


def negative_root(x):
    shifted = x - 2.0
    return mg.sqrt(shifted)


def test_a_root_of_a_negative_number():
    error = caught(negative_root, leaf(4.0, 0.0, 1.0))
    golden(
        error,
        f"""
        sqrt makes NaN: born here, of finite operands
            x        (out of subtract) (3,) float32  min -2  max 2  mean -0.3333
            result   (3,) float32  min 1.414  max 1.414  mean 1.414  NaN 2
            first at [1]: nan, where x = -2
          in the forward pass
        @line
          Fix: {POLE}
        """,
        line=(negative_root, "mg.sqrt(shifted)"),
    )
    assert facts(error) == (True, "sqrt", "", 0, None)
    assert place(error.site)[0] == __file__
    assert isinstance(error, mg.MiniganError) and isinstance(error, ArithmeticError)


def quotient(x, y):
    return x / y


def test_nothing_divided_by_nothing():
    error = caught(quotient, leaf([1.0, 0.0], [2.0, 3.0]), mg.tensor([1.0, 0.0], name="y"))
    golden(
        error,
        f"""
        divide makes NaN: born here, of finite operands
            x        'x' (2, 2) float32  min 0  max 3  mean 1.5  zeros 1
            y        'y' (2,) float32  min 0  max 1  mean 0.5  zeros 1
            result   (2, 2) float32  min 1  max 2  mean 1.5  NaN 1  infinite 1
            first at [0, 1]: nan, where x = 0, y = 0
          in the forward pass
        @line
          Fix: {POLE}
        """,
        line=(quotient, "x / y"),
    )


@pytest.mark.parametrize(
    "fn, op, kind, place",
    [
        (lambda x: mg.log(x), "log", "infinity", "first at [1]: -inf, where x = 0"),
        (lambda x: mg.exp(mg.multiply(x, 100.0)), "exp", "infinity", "first at [0]: inf, where x = 400"),
        (lambda x: mg.multiply(x, 3e38), "multiply", "infinity", "first at [0]: inf, where x = 4"),
        (lambda x: mg.sum(x * 8e37), "sum", "infinity", "first at the only number: inf"),
        (lambda x: mg.divide(1.0, x), "divide", "infinity", "first at [1]: inf, where y = 0"),
        (lambda x: mg.log(x - 1.0), "log", "NaN", "first at [1]: nan, where x = -1"),
        (lambda x: mg.power(x - 3.0, 0.5), "power", "NaN", "first at [1]: nan, where x = -3"),
    ],
)
@pytest.mark.parametrize("how", ["recorded", "no_grad", "constants", "arrays"])
def test_births(fn, op, kind, place, how):
    x = leaf(4.0, 0.0, 2.0)
    if how == "no_grad":
        fn = mg.no_grad()(fn)
    elif how == "constants":
        x = x.detach()
    elif how == "arrays":
        x = x.data
    error = caught(fn, x)
    lines = str(error).splitlines()
    assert lines[0] == f"{op} makes {kind}: born here, of finite operands"
    assert place in (line.strip() for line in lines) and "  in the forward pass" in lines
    fix = OVERFLOW if op in ("exp", "multiply", "sum") else POLE
    assert facts(error) == (True, op, "", 0, None) and f"  Fix: {fix}" in lines


def test_the_layer_is_named():
    class Root(nn.Module):
        def forward(self, x):
            return mg.sqrt(x)

    net = nn.Sequential(nn.Dense(2, 2), nn.Sequential(Root()), name="N")
    net.dense1.weight.assign(-np.ones((2, 2), np.float32))
    error = caught(net, np.ones((3, 2), np.float32))
    assert facts(error) == (True, "sqrt", "N.sequential1.root1", 0, None)
    text = str(error)
    assert text.startswith("sqrt in N.sequential1.root1 makes NaN: born here")
    assert "  in the forward pass, in N.sequential1.root1\n" in text and "return mg.sqrt(x)" in text


# ---- born in a derivative ----------------------------------------------------------------------------------


def length(x):
    root = mg.sqrt(x)
    return mg.sum(root)


def test_the_first_derivative_of_a_root_at_0():
    x = leaf(1.0, 0.0)
    loss = length(x)
    error = caught(loss.backward)
    golden(
        error,
        f"""
        the VJP of sqrt for 'x' gives infinity: born here
            x̄ = ȳ/(2y)   (infinite at 0; for lengths use `norm`)
            arriving (2,) float32  min 1  max 1  mean 1
            out      (2,) float32  min 0  max 1  mean 0.5  zeros 1
            result   (2,) float32  min 0.5  max 0.5  mean 0.5  infinite 1
            first at [1]: inf, where arriving = 1, out = 0
          in the first derivative
        @line
          Fix: {POLE}
        """,
        line=(length, "mg.sqrt(x)"),
    )
    assert facts(error) == (True, "sqrt", "", 1, "x")


def double_backward(x):
    first = mg.sum(mg.tanh(x))
    second = mg.sum(mg.exp(x) * x)
    third = mg.sum(x**1.5)
    (slope,) = mg.grad(first + second + third, x, create_graph=True)
    mg.sum(slope * slope).backward()


def test_the_second_derivative_of_the_third_term():
    """f(x) = x^1.5 has a slope at 0, but no curvature: the third term is named, and which of its operands."""
    error = caught(double_backward, leaf(4.0, 0.0, 1.0))
    assert facts(error) == (True, "power", "", 2, "x")
    lines = str(error).splitlines()
    assert lines[0] == "the VJP of power for 'x' gives infinity: born here"
    assert lines[3] == "    x        (3,) float32  min 0  max 4  mean 1.667  zeros 1"
    assert lines[5].endswith(", x = 0") and lines[5].startswith("    first at [1]: inf, where arriving = ")
    assert lines[6:] == [
        "  in the second derivative",
        *at(double_backward, "mg.grad(first + second + third, x, create_graph=True)"),
        "  recorded by the VJP of power, for derivative 1; it was computed at:",
        *at(double_backward, "x**1.5"),
        f"  Fix: {POLE}",
    ]


def triple(x):
    y = mg.sum(x**2.5)
    (first,) = mg.grad(y, x, create_graph=True)
    (second,) = mg.grad(mg.sum(first), x, create_graph=True)
    mg.grad(mg.sum(second), x)


def test_the_third_derivative():
    error = caught(triple, leaf(1.0, 0.0))
    assert facts(error) == (True, "power", "", 3, "x")
    lines = str(error).splitlines()
    assert (
        lines[-13:]
        == [
            "  in the third derivative",
            *at(triple, "mg.grad(mg.sum(first), x, create_graph=True)"),
            "  recorded by the VJP of power, for derivative 2; it was computed at:",
            *at(triple, "mg.grad(y, x, create_graph=True)"),
            "  recorded by the VJP of power, for derivative 1; it was computed at:",
            *at(triple, "x**2.5"),
            f"  Fix: {POLE}",
        ][-13:]
    )


def recorded_root(x):
    root = mg.sqrt(x)
    mg.grad(mg.sum(root), x, create_graph=True)


def test_an_op_of_a_recorded_rule():
    """Recorded, the rule ȳ/(2y) is made of ops: it is the division that has no result."""
    error = caught(recorded_root, leaf(1.0, 0.0))
    golden(
        error,
        f"""
        divide makes infinity: born here, of finite operands
            x        (2,) float32  min 0.5  max 0.5  mean 0.5
            y        (out of sqrt) (2,) float32  min 0  max 1  mean 0.5  zeros 1
            result   (2,) float32  min 0.5  max 0.5  mean 0.5  infinite 1
            first at [1]: inf, where x = 0.5, y = 0
          in the first derivative
        @line
          recorded by the VJP of sqrt, for derivative 1; it was computed at:
        @root
          Fix: {POLE}
        """,
        line=(recorded_root, "mg.grad(mg.sum(root), x, create_graph=True)"),
        root=(recorded_root, "mg.sqrt(x)"),
    )
    assert facts(error) == (True, "divide", "", 1, None)


def test_a_layer_in_the_second_derivative():
    class Power(nn.Module):
        def forward(self, x):
            return x**1.5

    net = nn.Sequential(Power(), name="N")
    x = leaf(1.0, 0.0)

    def penalty():
        (g,) = mg.grad(mg.sum(net(x)), x, create_graph=True)
        mg.sum(g**2).backward()

    error = caught(penalty)
    assert facts(error) == (True, "power", "N.power1", 2, "x")
    assert "recorded by the VJP of power in N.power1, for derivative 1; it was computed at:" in str(error)


# ---- sums, hooks, cotangents -------------------------------------------------------------------------------


def two_uses(x, create_graph=False):
    y = mg.tanh(x)
    return mg.grad(mg.sum(y * 2e38) * 1e-3 + mg.sum(y * 3e38) * 1e-3, x, mg.tensor(1000.0), create_graph)


def test_a_sum_of_gradients_that_overflows_though_each_is_finite():
    x = leaf(0.01, 0.02)
    error = caught(two_uses, x)
    golden(
        error,
        f"""
        the gradients that arrive at tanh add up to infinity: born in their sum
            x̄ = ȳ·(1 − y²)
            result   (2,) float32  infinite 2
            first at [0]: inf
          in the first derivative
        @line
          Fix: {POLE}
        """,
        line=(two_uses, "mg.tanh(x)"),
    )
    assert facts(error) == (True, "tanh", "", 1, None)
    recorded = caught(two_uses, x, True)
    assert facts(recorded)[:2] == (True, "add") and recorded.order == 1
    lines = str(recorded).splitlines()
    assert lines[0] == "add makes infinity: born here, of finite operands" and "  in the first derivative" in lines
    heading = "  recorded by the VJP of multiply, for derivative 1; it was computed at:"
    assert lines[lines.index(heading) + 1 :][:3] == at(two_uses, "y * 2e38")


def test_a_sum_at_the_leaf_itself():
    x = leaf(1.0)

    def twice():
        a, b = x * 2e38, x * 3e38
        mg.grad([a * 1e-3, b * 1e-3], x, [mg.tensor([1000.0])] * 2)

    error = caught(twice)
    assert facts(error) == (True, "leaf", "", 1, None)
    lines = str(error).splitlines()
    assert lines[0] == "the gradients that arrive at x add up to infinity: born in their sum"
    assert lines[-4:-1] == at(twice, "mg.grad([a * 1e-3, b * 1e-3], x, [mg.tensor([1000.0])] * 2)")


def test_gradients_that_are_accumulated_over_two_passes():
    x = leaf(1.0)

    def again():
        for _ in range(2):
            mg.sum(x * 2e38).backward()

    error = caught(again)
    assert facts(error)[:2] == (True, "add") and at(again, "mg.sum(x * 2e38).backward()")[0] in str(error)


@pytest.mark.parametrize("where", ["op", "leaf"])
@pytest.mark.parametrize("recorded", [False, True])
def test_a_hook_that_returns_nan(where, recorded):
    x = leaf(1.0, 2.0)
    y = mg.tanh(x)
    (x if where == "leaf" else y).hook(lambda g: mg.Tensor(g.data * np.float32(np.nan)))
    error = caught(lambda: mg.grad(mg.sum(y), x, create_graph=recorded))
    who = "x" if where == "leaf" else "tanh"
    assert str(error).startswith(
        f"the gradients that arrive at {who} add up to NaN: born in their sum, or made by a hook there"
    )
    assert facts(error) == (True, "leaf" if where == "leaf" else "tanh", "", 1, None)


def given(x, cotangent):
    y = mg.tanh(x)
    y.backward(cotangent)


def test_a_cotangent_that_is_not_finite():
    error = caught(given, leaf(1.0, 2.0), np.float32([1, np.nan]))
    golden(
        error,
        f"""
        the cotangent given for (out of tanh) is not finite
            result   (2,) float32  min 1  max 1  mean 1  NaN 1
            first at [1]: nan
          in the first derivative
        @line
          Fix: {BACK}
        """,
        line=(given, "y.backward(cotangent)"),
    )
    assert facts(error) == (False, "tanh", "", 1, None)


# ---- inherited ---------------------------------------------------------------------------------------------


def data_in(x, data):
    return x * data


def test_inherited_from_data():
    error = caught(data_in, leaf(1.0, 2.0), np.float32([3, np.nan]))
    golden(
        error,
        f"""
        multiply makes NaN: inherited from its operand 'y', which came in like that
            x        'x' (2,) float32  min 1  max 2  mean 1.5
            y        (2,) float32  min 3  max 3  mean 3  NaN 1
            result   (2,) float32  min 3  max 3  mean 3  NaN 1
            first at [1]: nan, where x = 2, y = nan
          in the forward pass
        @line
          Fix: {BACK}
        """,
        line=(data_in, "x * data"),
    )
    assert facts(error) == (False, "multiply", "", 0, "y")


@pytest.mark.parametrize("number", [math.nan, np.float32("nan")])
def test_inherited_from_a_number(number):
    error = caught(data_in, leaf(1.0, 2.0), number)
    assert facts(error) == (False, "multiply", "", 0, "y") and "    y        " in str(error)


def later(x):
    inner = x - 2.0
    logs = mg.log(inner)
    return mg.tanh(logs) + 1.0


def use(y):
    return mg.exp(y)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_inherited_from_a_forward_pass_outside_the_block():
    y = later(leaf(3.0, 1.0))
    error = caught(use, y)
    golden(
        error,
        f"""
        exp makes NaN: inherited from its operand 'x'
        @use
          the result of log is the oldest value known that is not finite
            x        (2,) float32  min -1  max 1  mean 0
            result   (2,) float32  min 0  max 0  mean 0  zeros 1  NaN 1
            first at [1]: nan, where x = -1
          in the forward pass
        @log
          Fix: {BACK}
        """,
        use=(use, "mg.exp(y)"),
        log=(later, "mg.log(inner)"),
    )
    assert facts(error) == (False, "log", "", 0, "x")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_inherited_from_a_graph_that_was_used_up():
    """Nothing that the ops had kept is left, but the operand itself is there."""
    x = leaf(3.0, 1.0)
    y = mg.log(x - 2.0)
    mg.sum(y).backward()
    error = caught(use, y)
    lines = str(error).splitlines()
    assert lines[4:7] == [
        "  the result of log is the oldest value known that is not finite",
        "    result   (2,) float32  min 0  max 0  mean 0  zeros 1  NaN 1",
        "    first at [1]: nan",
    ]


def back(loss):
    loss.backward()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_is_nan():
    loss = mg.sum(later(leaf(3.0, 1.0)))
    error = caught(back, loss)
    lines = str(error).splitlines()
    assert lines[0] == "(out of sum) is not finite: there is nothing to differentiate"
    assert lines[1:4] == at(back, "loss.backward()")
    assert lines[4] == "  the result of log is the oldest value known that is not finite"
    assert lines[-4:-1] == at(later, "mg.log(inner)")
    assert facts(error) == (False, "log", "", 0, None)


def hidden(x):
    root = mg.sqrt(x - 1.0)
    logs = mg.log(root)
    return mg.sum(mg.where(x.data > 1, logs, 0.0))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_nan_hidden_by_where_comes_back_in_the_gradient():
    """0·NaN: the loss is finite, its gradient is not; what the rule has kept was not finite in the forward pass."""
    x = leaf(3.0, 0.0)
    loss = hidden(x)
    assert math.isfinite(loss.item())
    error = caught(back, loss)
    lines = str(error).splitlines()
    assert lines[0] == "the VJP of log for 'x' gives NaN: inherited from the forward pass, whose 'x' is not finite"
    assert lines[1:4] == at(hidden, "mg.log(root)")
    assert lines[4] == "  the result of sqrt is the oldest value known that is not finite"
    assert "  in the forward pass" in lines and lines[-4:-1] == at(hidden, "mg.sqrt(x - 1.0)")
    assert facts(error) == (False, "sqrt", "", 0, "x")


def bad_weight(net, name):
    p = dict(net.named_parameters())[name]
    values = p.data.copy()
    values.flat[0] = np.nan
    p.assign(values)
    return net


def step(D):
    return gradient_penalty(D, IMAGES, OTHERS, EPSILON)


def test_a_weight_of_a_critic_that_is_nan():
    D = bad_weight(models.dcgan_discriminator(2, batch_norm=False), "conv2.weight")
    error = caught(step, D)
    lines = str(error).splitlines()
    assert lines[0] == "conv in D.conv2 makes NaN: inherited from its operand 'w'"
    assert lines[1:4] == at(step, "gradient_penalty(D, IMAGES, OTHERS, EPSILON)")
    assert lines[4] == "  D.conv2.weight is a leaf, last changed in place at:"
    assert lines[5:8] == at(bad_weight, "p.assign(values)")
    assert facts(error) == (False, "leaf", "", 0, "w")

    with D.frozen():
        error = caught(D, IMAGES)
    text = str(error)
    assert text.startswith("conv in D.conv2 makes NaN: inherited from its operand 'w', which came in like that")
    assert "    w        'D.conv2.weight' (4, 4, 2, 4) float32" in text and "NaN 1\n" in text
    assert facts(error) == (False, "conv", "D.conv2", 0, "w")

    loss = step(D)
    assert "D.conv2.weight is a leaf" in str(caught(loss.backward))


def test_an_activation_of_a_critic_that_overflows():
    D = models.dcgan_discriminator(2, batch_norm=False)
    D.conv1.weight.assign(np.full((4, 4, 1, 2), 1e25, np.float32))
    D.conv2.weight.assign(np.full((4, 4, 2, 4), 1e20, np.float32))
    error = caught(step, D)
    assert facts(error) == (True, "conv", "D.conv2", 0, None)
    lines = str(error).splitlines()
    assert lines[0] == "conv in D.conv2 makes NaN: born here, of finite operands"
    assert "  in the forward pass, in D.conv2" in lines and lines[-4:-1] == at(
        step, "gradient_penalty(D, IMAGES, OTHERS, EPSILON)"
    )


def test_a_derivative_of_a_critic_that_overflows():
    """Scaled down in front, the forward pass is harmless: it is the gradient that grows beyond all bounds."""
    D = models.dcgan_discriminator(2, batch_norm=False)
    D.conv1.weight.assign(np.full((4, 4, 1, 2), 1e25, np.float32))
    D.conv2.weight.assign(np.full((4, 4, 2, 4), 1e20, np.float32))
    x = mg.tensor(IMAGES * np.float32(1e-30), requires_grad=True)
    error = caught(lambda: mg.grad(mg.sum(D(x)), x, create_graph=True))
    assert error.born and error.order == 1 and error.scope == "D.conv1" and error.op == "conv_transpose"
    assert "recorded by the VJP of conv in D.conv1, for derivative 1; it was computed at:" in str(error)
    error = caught(lambda: mg.grad(mg.sum(D(x)), x))
    assert facts(error) == (True, "conv", "D.conv1", 1, "x")
    assert str(error).startswith("the VJP of conv for 'x' gives NaN: born here\n    x̄ = conv_transpose(ȳ, w)")


# ---- not flagged -------------------------------------------------------------------------------------------

MASKED = {
    "logsumexp": lambda y: mg.logsumexp(y, 1),
    "softmax": lambda y: mg.softmax(y),
    "exp of log_softmax": lambda y: mg.exp(mg.log_softmax(y)),
    "max": lambda y: mg.max(y, 1) ** 2,
    "exp": lambda y: mg.exp(y),
    "maximum": lambda y: mg.maximum(y, -2.0) ** 2,
    "clip": lambda y: mg.clip(y, -2.0, math.inf) ** 2,
    "reshaped, in between": lambda y: mg.exp(mg.concatenate([mg.reshape(y, 6), mg.reshape(y, 6)]) - 1.0),
}


@pytest.mark.parametrize("fn", MASKED.values(), ids=MASKED)
def test_infinities_that_were_asked_for(fn):
    mask, x = np.array([[True, False, True], [False, True, True]]), leaf([1.0, 2.0, 0.5], [0.0, 1.0, 3.0])
    with mg.anomaly():
        (g,) = mg.grad(mg.sum(fn(mg.where(mask, x, -math.inf)) * 2.0), x, create_graph=True)
        mg.grad(mg.sum(g * g + x), x)
        mg.sum(fn(mg.where(mask, x, -math.inf))).backward()
        mg.where(mask, x.data, -math.inf)
        with mg.no_grad():
            fn(mg.where(mask, x, -math.inf))


def test_more_that_is_harmless():
    with mg.anomaly():
        images = mg.tensor(IMAGES[:1, :7, :7], requires_grad=True)
        (g,) = mg.grad(mg.sum(mg.max_pool(images, 3, 2, 1) ** 2), images, create_graph=True)
        mg.sum(g * g).backward()
        nothing = mg.where(np.zeros(3, bool), leaf(1.0, 2.0, 3.0), -math.inf)
        mg.sum(mg.exp(mg.logsumexp(nothing))).backward()
        ids = mg.tensor(np.array([1, 0, 1]))
        mg.sum(mg.take(leaf(1.0, 2.0), ids, 0) * 2.0).backward()
        mg.sum(ids)
        assert mg.where(ids.data > 0, ids, 5).dtype.kind == "i"
        for extreme in (mg.sigmoid, mg.softplus, mg.tanh):
            mg.sum(extreme(leaf(1e6, -1e6))).backward()
        large = leaf(1e30, -3e38)
        mg.mean(large * 0.1).backward()  # its sum of squares overflows, no number does
        mg.sum(mg.tensor(np.zeros((0, 3), np.float32), requires_grad=True) * 2.0).backward()
        assert mg.max(mg.where(np.array([False, False]), np.float32([1, 2]), -math.inf)) == -math.inf  # arrays only


def test_an_infinity_that_was_asked_for_turns_into_nan():
    x = leaf(1.0, 2.0)
    masked = lambda: mg.where(np.array([True, False]), x, -math.inf)
    error = caught(lambda: masked() - masked())
    assert facts(error) == (False, "where", "", 0, "x")
    assert str(error).startswith("subtract makes NaN: inherited from its operand 'x'")


@pytest.mark.parametrize("objective", sorted(mg.objectives.names()))
def test_healthy_steps_of_every_objective(objective):
    D, G = models.dcgan_discriminator(2), models.dcgan_generator(3, 2)
    loss, z = mg.objectives.get(objective), RNG.standard_normal((4, 3)).astype(np.float32)
    with mg.anomaly():
        real, fake = D(IMAGES), D(G(z))
        loss.discriminator_loss(real, fake).backward()
        loss.generator_loss(D(G(z)), D(IMAGES)).backward()


def test_healthy_penalties():
    D = models.dcgan_discriminator(2, batch_norm=False)
    optimiser = Adam(D.parameters(), lr=1e-3)
    with mg.anomaly():
        for _ in range(2):
            optimiser.zero_grad()
            (mg.mean(D(OTHERS)) - mg.mean(D(IMAGES)) + 10.0 * step(D) + r1(D, IMAGES)).backward()
            optimiser.step()


# ---- switched off ------------------------------------------------------------------------------------------


def test_nothing_is_left_when_it_is_off():
    here = {f.__module__.partition(".")[0]: f for f in ENGINE}
    assert set(here) == {"minigan"}
    assert [(f.__module__, f.__qualname__) for f in ENGINE] == [
        ("minigan.autodiff.primitive", "Primitive.__call__"),
        ("minigan.autodiff.primitive", "Rule.__call__"),
        ("minigan.autodiff.engine", "_run"),
        ("minigan.nn.module", "Module.__call__"),
    ]
    with mg.anomaly():
        assert Primitive.__call__ is not ENGINE[0]
        with mg.anomaly():
            pass
        assert Primitive.__call__ is not ENGINE[0]
    assert Primitive.__call__ is ENGINE[0]
    with pytest.raises(KeyError), mg.anomaly():
        raise KeyError
    with pytest.raises(mg.AnomalyError), mg.anomaly():
        leaf(1e38) * 10.0
    assert (Primitive.__call__, Rule.__call__, engine._run, nn.Module.__call__) == ENGINE


def test_numpys_own_warnings_are_as_they_were():
    with np.errstate(divide="raise", invalid="print"):
        before = np.geterr()
        with mg.anomaly():
            np.log(np.zeros(1))
            assert set(np.geterr().values()) == {"ignore"}
        assert np.geterr() == before
        caught(lambda: mg.log(leaf(0.0)))
        assert np.geterr() == before


def train(steps, watched):
    D = models.dcgan_discriminator(2, batch_norm=False)
    optimiser, losses = Adam(D.parameters(), lr=1e-3), []
    for _ in range(steps):
        optimiser.zero_grad()
        if watched:
            with mg.anomaly():
                loss = mg.mean(D(OTHERS)) - mg.mean(D(IMAGES)) + 10.0 * step(D)
                loss.backward()
        else:
            loss = mg.mean(D(OTHERS)) - mg.mean(D(IMAGES)) + 10.0 * step(D)
            loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses, [p.data.tobytes() for p in D.parameters()]


def test_training_is_bit_for_bit_the_same_inside():
    assert train(3, True) == train(3, False)


def test_other_threads_are_not_watched():
    seen = []

    def work():
        with np.errstate(all="ignore"):
            seen.append(mg.log(leaf(0.0)).item())

    with mg.anomaly():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert seen == [-math.inf]


@pytest.mark.parametrize("outer, inner", [(mg.anomaly, mg.tape), (mg.tape, mg.anomaly)])
def test_together_with_a_tape(outer, inner):
    x = leaf(1.0, 2.0)
    with outer() as a, inner() as b:
        mg.sum(mg.exp(x)).backward()
    tape = a or b
    np.testing.assert_allclose(tape["x"].grad.numpy(), np.exp([1.0, 2.0]), rtol=1e-6)
    assert sorted(e.op for e in tape.entries.values()) == ["exp", "leaf", "sum"]
    with pytest.raises(mg.AnomalyError, match="VJP of sqrt"), outer(), inner():
        y = leaf(0.0)
        mg.sum(mg.sqrt(y)).backward()


def test_twice_is_as_once():
    with pytest.raises(mg.AnomalyError) as error, mg.anomaly(), mg.anomaly():
        mg.log(leaf(-1.0))
    assert facts(error.value) == (True, "log", "", 0, None)


def test_on_a_device_that_converts_nothing():
    with np.errstate(all="ignore"):
        x = mg.tensor(np.float32([4, 0, 1]), requires_grad=True, name="x", device="strict")
        assert type(x.data) is StrictArray
        host = str(caught(negative_root, leaf(4.0, 0.0, 1.0)))
        assert str(caught(negative_root, x)) == host
        errors = [caught(double_backward, t) for t in (x, leaf(4.0, 0.0, 1.0))]
        assert str(errors[0]) == str(errors[1]) and facts(errors[0]) == (True, "power", "", 2, "x")
        y = later(x)
        assert facts(caught(use, y)) == (False, "log", "", 0, "x")
        with mg.anomaly():
            mg.sum(mg.logsumexp(mg.where(x.data > 0.5, x, -math.inf))).backward()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_bad_number_is_seen_in_any_array(bad, dtype):
    a = np.full((4, 5), 3.0, dtype)
    for view in (lambda a: a, lambda a: a.T, lambda a: a[::2, 1:4], lambda a: a[:, ::-1], lambda a: a[2:3, 2]):
        assert not _bad(view(a))
        b = a.copy()
        b[2, 2] = bad
        assert _bad(view(b)) is True
    both = a.copy()
    both[0, 0], both[1, 0] = np.inf, -np.inf
    assert _bad(both) and _bad(both.T) and _bad(np.array(bad, dtype)) and _bad(both.dtype.type(bad))
    assert not _bad(np.full(100, np.finfo(dtype).max)) and not _bad(np.full((10, 10), np.finfo(dtype).max).T)
    assert not _bad(np.zeros((0, 2), dtype)) and not _bad(np.arange(3)) and not _bad(np.array([True]))


def test_a_boolean_operand_is_described():
    error = caught(lambda: mg.where(np.array([True, False]), np.float32([np.nan, 1]), leaf(1.0, 2.0)))
    assert "first at [0]: nan, where condition = 1, x = nan, y = 1" in str(error)


def test_an_operand_made_of_a_derivative_says_so():
    """√Σg² of a critic that is constant: the pole lies in the penalty, its operand in the derivative of the critic."""
    critic = models.dcgan_discriminator(2, batch_norm=False)
    critic.dense1.weight.assign(np.zeros(critic.dense1.weight.shape, np.float32))
    x = mg.tensor(IMAGES, requires_grad=True)

    def penalty():
        (g,) = mg.grad(mg.sum(critic(x)), x, create_graph=True)
        return mg.mean((mg.sqrt(mg.sum(g**2, axis=(1, 2, 3))) - 1) ** 2)

    error = caught(lambda: penalty().backward())
    assert (error.op, error.order, error.born) == ("sqrt", 1, True)
    text = str(error)
    assert "made of a derivative, that of conv in D.conv1, which was taken at:" in text
    assert text.index("(mg.sqrt(") < text.index("made of a derivative") < text.index("(g,) = mg.grad(")
    forward = caught(lambda: mg.sqrt(x - 100.0))
    assert "made of a derivative" not in str(forward)


def test_a_place_is_shown_only_where_it_means_something():
    """Row times column: the operands' numbers at the result's place have no part in it."""
    x, y = leaf(*[[1e30] * 3] * 3), np.zeros((3, 3), np.float32)
    y[2, 1] = 1e30
    assert str(caught(lambda: x @ y)).count("first at [0, 1]: inf\n") == 1
    assert "first at [0, 1]: inf, where x = 1e+30" in str(caught(lambda: x * np.eye(3, k=1, dtype="float32") * 1e30))
    assert "first at [0]: inf\n" in str(caught(lambda: mg.sum(leaf([3e38, 3e38]), axis=1)))
