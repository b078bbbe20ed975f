"""What a mistake looks like: op, operands, layer, the user's own line with carets, and what to do about it.

Each case makes one mistake on one line of this file, marked ``# here``; the message must show that line, with
carets under exactly the expression that the table gives.
"""

import re

import numpy as np
import pytest

import minigan as mg

x = mg.tensor(np.ones((2, 3), "float32"), requires_grad=True, name="images")
w = mg.tensor(np.ones((4, 5), "float32"), requires_grad=True, name="D.weight")
v = mg.tensor(np.ones((2, 3)), name="latent")


def shape():
    return mg.tanh(x) @ w  # here


def broadcast():
    return 1.0 + mg.multiply(x, w)  # here


def convolution():
    image = mg.reshape(x, 1, 2, 3, 1)
    return mg.conv(image, mg.reshape(w, 4, 5, 1, 1)) + 1.0  # here


def variadic():
    return mg.concatenate([x, w], axis=1)  # here


def axis():
    return 2.0 * mg.sum(x, axis=2)  # here


def dtype():
    return mg.maximum(x * v, 0.0)  # here


def operand():
    return 1.0 - x * "two"  # here


def index():
    return mg.sum(x[5]) + 1.0  # here


def index_kind():
    return x["first"]  # here


def conversion():
    return np.asarray(x)  # here


def assignment():
    x[0] = 1.0  # here


def item():
    return 2 * x.item()  # here


def truth():
    return "yes" if x > 0 else "no"  # here


def integer_leaf():
    return mg.tensor(np.ones(3, int), requires_grad=True)  # here


def text():
    return mg.tensor(["a"])  # here


def not_scalar():
    y = x * 2.0
    y.backward()  # here


def constant():
    y = v * 2.0
    y.backward()  # here


def grad_of_constant():
    return mg.grad(mg.sum(x), v)  # here


def cotangent():
    return mg.grad(x * 2.0, x, mg.tensor([1.0]))  # here


def freed():
    y = mg.sum(x * x)
    y.backward()
    y.backward()  # here


def stale():
    a = mg.tensor([1.0, 2.0], requires_grad=True, name="G.weight")
    y = mg.sum(a * a)
    a.assign([3.0, 4.0])
    y.backward()  # here


def assigned_shape():
    w.assign(np.zeros((5, 4)))  # here


CASES = {  # case: (type, the expression the carets mark, what else the message must contain)
    shape: (
        mg.ShapeError,
        "mg.tanh(x) @ w",
        ["matmul", "(out of tanh in D.block1.conv)", "(2, 3)", "'D.weight'", "(4, 5)"],
    ),
    broadcast: (
        mg.ShapeError,
        "mg.multiply(x, w)",
        ["multiply", "'images'", "(2, 3)", "'D.weight'", "(4, 5)"],
    ),
    convolution: (
        mg.ShapeError,
        "mg.conv(image, mg.reshape(w, 4, 5, 1, 1))",
        ["conv", "(out of reshape in D.block1.conv)", "(1, 2, 3, 1)", "(4, 5, 1, 1)", "does not fit"],
    ),
    variadic: (
        mg.ShapeError,
        "mg.concatenate([x, w], axis=1)",
        ["arrays[0]", "'images'", "arrays[1]", "'D.weight'"],
    ),
    axis: (mg.ShapeError, "mg.sum(x, axis=2)", ["sum", "axis 2", "'images'"]),
    dtype: (mg.DTypeError, "x * v", ["float64", "'images'", "'latent'", "float32", "Fix: "]),
    operand: (mg.DTypeError, 'x * "two"', ["multiply", "str 'two'", "'images'", "Fix: make all operands"]),
    index: (mg.IndexingError, "x[5]", ["getitem", "index 5 is out of bounds", "'images'", "(2, 3)"]),
    index_kind: (mg.IndexingError, 'x["first"]', ["getitem", "'images'"]),
    conversion: (TypeError, "np.asarray(x)", ["NumPy was handed a Tensor", "'images'", "t.numpy()"]),
    assignment: (TypeError, "x[0]", ["not changed in place", "'images'", "mg.where", "assign"]),
    item: (mg.ShapeError, "x.item()", ["exactly one element", "'images'", "(2, 3)", ".numpy()"]),
    truth: (mg.ShapeError, "x > 0", ["exactly one element", "(2, 3)"]),
    integer_leaf: (
        mg.DTypeError,
        "mg.tensor(np.ones(3, int), requires_grad=True)",
        ["int64", "dtype='float32'"],
    ),
    text: (mg.DTypeError, 'mg.tensor(["a"])', ["real numbers", "list"]),
    not_scalar: (
        mg.ShapeError,
        "y.backward()",
        ["starts from a scalar", "(2, 3)", "(out of multiply", "mg.sum"],
    ),
    constant: (ValueError, "y.backward()", ["requires no gradient", "requires_grad=True", "no_grad()"]),
    grad_of_constant: (ValueError, "mg.grad(mg.sum(x), v)", ["input 0 ('latent') requires no gradient"]),
    cotangent: (mg.ShapeError, "mg.grad(x * 2.0, x, mg.tensor([1.0]))", ["(2, 3)", "(1,)", "cotangent"]),
    freed: (
        mg.FreedError,
        "y.backward()",
        ["used up", "freed by:", "computed at:", "mg.sum(x * x)", "retain"],
    ),
    stale: (
        mg.StaleError,
        "y.backward()",
        [
            "'G.weight' was changed in place",
            "multiply",
            "changed at:",
            "a.assign([3.0, 4.0])",
            "used at:",
            "a * a",
        ],
    ),
    assigned_shape: (mg.ShapeError, "w.assign(np.zeros((5, 4)))", ["(5, 4)", "'D.weight'", "(4, 5)"]),
}


def marked(text):
    """[(shown line, what the carets under it mark)] of a message."""
    lines = text.splitlines()
    pairs = [(a, b) for a, b in zip(lines, lines[1:]) if re.fullmatch(r" +\^+", b)]
    return [(a.strip(), a[b.index("^") : len(b)]) for a, b in pairs]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_message(case):
    kind, expression, words = CASES[case]
    with pytest.raises(kind) as caught, mg.scope("D.block1.conv"):
        case()
    text = str(caught.value)
    for word in words:
        assert word in text
    assert f"{__file__}:" in text and f", in {case.__name__}" in text
    here = [found for line, found in marked(text) if line.endswith("# here")]
    assert here == [expression]


@pytest.mark.parametrize(
    "case", [shape, broadcast, dtype, operand, index, freed, stale], ids=lambda case: case.__name__
)
def test_message_names_the_layer(case):
    with pytest.raises(mg.MiniganError) as outside:
        case()
    assert "D.block1" not in str(outside.value)
    with pytest.raises(mg.MiniganError) as inside, mg.scope("D.block1.conv"):
        case()
    assert " in D.block1.conv" in str(inside.value)


def test_line_numbers_are_the_users():
    with pytest.raises(mg.ShapeError) as caught:
        shape()
    assert f"{__file__}:{shape.__code__.co_firstlineno + 1}, in shape" in str(caught.value)


def test_errors_are_also_of_the_builtin_type_that_people_catch():
    pairs = [
        (mg.ShapeError, ValueError),
        (mg.IndexingError, IndexError),
        (mg.DTypeError, TypeError),
        (mg.DeviceError, TypeError),
        (mg.StaleError, RuntimeError),
        (mg.FreedError, RuntimeError),
        (mg.GradientError, AssertionError),
    ]
    assert all(issubclass(a, (mg.MiniganError, b)) and issubclass(a, b) for a, b in pairs)


def test_numpys_own_error_is_told_not_shown():
    """Its text is in ours; a second traceback above would only push the user's line out of sight."""
    with pytest.raises(mg.ShapeError, match="could not be broadcast") as caught:
        broadcast()
    assert caught.value.__suppress_context__ and isinstance(caught.value.__context__, ValueError)


def test_carets_survive_indentation_tabs_and_wide_letters():
    λ = mg.tensor([1.0, 2.0], name="λ")
    for _ in range(1):
        with pytest.raises(mg.ShapeError) as caught:
            mg.add("é" and λ, mg.multiply(λ, w))  # here
    assert marked(str(caught.value)) == [('mg.add("é" and λ, mg.multiply(λ, w))  # here', "mg.multiply(λ, w)")]


def test_an_error_in_the_backward_pass_shows_the_forward_line():
    from minigan.autodiff.primitive import primitive, registry

    try:

        @primitive
        def crooked(x):
            return x * 1.0

        @crooked.vjp("x")
        def _(g):
            return g[:1]

        with mg.scope("D.crooked"):
            y = 2.0 * crooked(x)  # here
        with pytest.raises(mg.GradientError) as caught:
            mg.sum(y).backward()
    finally:
        registry.pop("crooked")
    text = str(caught.value)
    assert ("y = 2.0 * crooked(x)  # here", "crooked(x)") in marked(text)
    assert "VJP of crooked for 'x'" in text and "in D.crooked" in text
