"""Convolution as one trilinear form, and second and third derivatives where GANs need them: WGAN-GP's penalty
(Gulrajani et al. 2017, eq. 3) through every kind of layer, and the normalisations.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import minigan as mg
from tests.strategies import arrays, convolutions, examples, grid, pair


def draw(seed, *shape, kind="nonzero"):
    return grid(np.random.default_rng(seed), shape, kind)


# ---- ⟨conv(x, w), g⟩ = ⟨x, conv_transpose(g, w)⟩ = ⟨w, conv_weight_gradient(x, g)⟩ -------------------------


@examples(3)
@given(convolutions())
def test_the_three_functions_are_the_partial_derivatives_of_one_trilinear_form(drawn):
    (x, w, g), params, (rows, columns) = drawn
    y = mg.conv(x, w, **params)
    assert y.shape == g.shape
    back = mg.conv_transpose(g, w, **params, output_padding=pair(rows, columns, "left"))
    assert back.shape == x.shape
    kernel = pair(rows, columns, "kernel")
    wg = mg.conv_weight_gradient(x, g, kernel, **params)
    assert wg.shape == w.shape
    scale = 1e-13 * (1 + np.sum(np.abs(mg.conv(np.abs(x), np.abs(w), **params) * g)))
    assert_allclose([np.sum(x * back), np.sum(w * wg)], np.sum(y * g), rtol=0, atol=scale)


@examples(1)
@given(convolutions())
def test_rows_that_no_window_reaches_get_gradient_zero(drawn):
    (x, w, g), params, (rows, columns) = drawn
    t = mg.tensor(x, requires_grad=True)
    (back,) = mg.grad(mg.conv(t, np.ones_like(w), **params), t, mg.tensor(np.ones_like(g)))
    for axis, side in ((1, rows), (2, columns)):
        reached = (side["out"] - 1) * side["stride"] + side["kernel"] - side["padding"]
        unreached = [slice(None)] * 4
        unreached[axis] = slice(reached, None)
        assert reached >= side["size"] - side["left"] and not back.data[tuple(unreached)].any()


def test_shapes_of_dcgans_layers():
    image = np.zeros((2, 28, 28, 1))
    down = mg.conv(image, np.zeros((4, 4, 1, 8)), stride=2, padding=1)
    assert down.shape == (2, 14, 14, 8)
    assert mg.conv_transpose(down, np.zeros((4, 4, 1, 8)), stride=2, padding=1).shape == image.shape
    assert mg.conv_transpose(np.zeros((2, 4, 4, 8)), np.zeros((3, 3, 1, 8)), 2, 1, 1).shape == (2, 8, 8, 1)
    tall = mg.conv(np.zeros((1, 9, 5, 1)), np.zeros((3, 2, 1, 1)), stride=(4, 3), padding=(1, 0))
    assert tall.shape == (1, 3, 2, 1)


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda x: mg.conv(x, np.zeros((3, 3, 5, 1))), "channels"),
        (lambda x: mg.conv(x, np.zeros((9, 3, 2, 1))), "fit"),
        (lambda x: mg.conv(x, np.zeros((3, 3, 2))), "kh, kw, in, out"),
        (lambda x: mg.conv_transpose(x, np.zeros((3, 3, 1, 5))), "channels"),
        (lambda x: mg.conv_weight_gradient(x, np.zeros((1, 1, 1, 1)), 3), "convolves"),
        (lambda x: mg.average_pool(x, 3, padding=3), "padding"),
        (lambda x: mg.conv(x, np.zeros((3, 3, 2, 1)), stride=(1, 2, 3)), "stride"),
        (
            lambda x: mg.conv_transpose(x, np.zeros((3, 3, 1, 2)), stride=2, output_padding=2),
            "output_padding",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, word):
    with pytest.raises(ValueError, match=word):
        call(mg.tensor(np.zeros((1, 5, 5, 2)), name="image"))


# ---- WGAN-GP: a gradient of a gradient through every layer -------------------------------------------------


def penalty(critic, x):
    """E (‖∇_x critic(x)‖ − 1)², as a function of whatever the critic closes over."""
    x = mg.tensor(x, requires_grad=True)
    (g,) = mg.grad(mg.sum(critic(x)), x, create_graph=True)
    return mg.mean((mg.norm(mg.reshape(g, len(x), -1), axis=1) - 1.0) ** 2)


IMAGE, ROWS = (3, 6, 5, 2), (4, 3)
CRITICS = {  # name: (input shape, weight shapes, critic(x, *weights))
    "dense": (ROWS, [(3, 4), (4,), (4, 1)], lambda x, w, b, v: mg.tanh(x @ w + b) @ v),
    "leaky_relu": (ROWS, [(3, 4), (4,), (4, 1)], lambda x, w, b, v: mg.leaky_relu(x @ w + b) @ v),
    "conv": (IMAGE, [(3, 2, 2, 3), (3,)], lambda x, w, b: mg.tanh(mg.conv(x, w, stride=2, padding=1) + b)),
    "conv, then conv": (
        IMAGE,
        [(3, 3, 2, 2), (2, 2, 2, 1)],
        lambda x, w, v: mg.conv(mg.leaky_relu(mg.conv(x, w, (2, 1), 1)), v, 1, (0, 1)),
    ),
    "conv_transpose": (
        IMAGE,
        [(3, 2, 3, 2)],
        lambda x, w: mg.sigmoid(mg.conv_transpose(x, w, stride=2, padding=(1, 0), output_padding=1)),
    ),
    "layer_norm": (ROWS, [(3, 4), (4,), (4,)], lambda x, w, *affine: mg.tanh(mg.layer_norm(x @ w, *affine))),
    "instance_norm": (
        IMAGE,
        [(2, 2, 2, 3), (3,), (3,)],
        lambda x, w, gamma, beta: mg.tanh(mg.instance_norm(mg.conv(x, w), gamma, beta)),
    ),
    "batch_norm": (ROWS, [(3, 4), (4,), (4,)], lambda x, w, *affine: mg.tanh(mg.batch_norm(x @ w, *affine))),
    "softplus and pooling": (
        IMAGE,
        [(1, 1, 2, 2)],
        lambda x, w: mg.softplus(mg.average_pool(mg.conv(x, w), 2)),
    ),
}


@pytest.mark.parametrize("name", CRITICS)
@pytest.mark.parametrize("seed", range(4))
def test_gradient_penalty_differentiates(name, seed):
    """The penalty's first and second derivatives by the weights: second and third derivatives of the critic."""
    shape, weights, critic = CRITICS[name]
    x = draw(seed, *shape) + 0.01
    values = [draw(seed + i, *s) / 4 + 0.003 for i, s in enumerate(weights, 1)]
    mg.check_grad(lambda *w: penalty(lambda x: critic(x, *w), x), *values, order=2, directions=1)


def test_gradient_penalty_of_a_linear_critic_in_closed_form():
    x, w = draw(1, 5, 3), mg.tensor([[3.0], [0.0], [4.0]], requires_grad=True, dtype="float64")
    value = penalty(lambda x: x @ w, x)
    assert value.item() == pytest.approx((5 - 1) ** 2)
    (g,) = mg.grad(value, w)
    assert_allclose(g.data, 2 * (5 - 1) * w.data / 5)


def test_gradient_penalty_reaches_every_weight_and_adds_up_with_the_loss():
    w, v = (mg.tensor(draw(i, *s) / 4, requires_grad=True) for i, s in enumerate([(3, 2, 2, 3), (3, 1)]))
    x = draw(5, *IMAGE)

    def critic(x):
        return mg.mean(mg.leaky_relu(mg.conv(x, w, 2, 1)), axis=(1, 2)) @ v

    loss, extra = mg.mean(critic(mg.tensor(x))), penalty(critic, x)
    separate = [mg.grad(part, (w, v), create_graph=True) for part in (loss, extra)]
    (loss + 10.0 * extra).backward()
    for t, a, b in zip((w, v), *separate):
        assert np.abs(b.data).max() > 1e-3
        assert_allclose(t.grad.data, a.data + 10.0 * b.data, rtol=1e-12)


def test_zero_critic_has_a_finite_penalty_and_gradient():
    w = mg.tensor(np.zeros((3, 1)), requires_grad=True)
    value = penalty(lambda x: x @ w, draw(1, 4, 3))
    value.backward()
    assert value.item() == 1 and np.isfinite(w.grad.data).all()


# ---- normalisation: right to third order, fused or composed ------------------------------------------------

NORMS = {
    "batch": (mg.batch_norm, (0, 1)),
    "layer": (mg.layer_norm, (2,)),
    "instance": (mg.instance_norm, (1,)),
}


def composed(axes, x, gamma, beta, eps=1e-5):
    """The definition, in ops whose rules are simple."""
    centred = x - mg.mean(x, axes, keepdims=True)
    return centred / mg.sqrt(mg.mean(centred * centred, axes, keepdims=True) + eps) * gamma + beta


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("order", [1, 2, 3])
def test_norms_equal_their_definition_to_any_order(name, order):
    fused, axes = NORMS[name]
    found = []
    for norm in (fused, lambda *args: composed(axes, *args)):
        inputs = [mg.tensor(draw(i, *s), requires_grad=True) for i, s in enumerate([(3, 4, 2), (2,), (2,)])]
        value = mg.sum(mg.tanh(norm(*inputs)))
        for k in range(order):
            gradients = mg.grad(value, inputs, create_graph=k + 1 < order)  # the last pass is raw: aux is used
            value = sum((mg.sum(mg.tanh(g)) for g in gradients), start=0.0)
        found.append([g.data for g in gradients])
    for a, b in zip(*found):
        assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NORMS)
def test_norms_differentiate_to_third_order(name):
    norm = NORMS[name][0]
    mg.check_grad(lambda *args: norm(*args, eps=0.01), draw(1, 4, 3, 5), draw(2, 5), draw(3, 5), order=3)


@examples(0.5)
@given(x=arrays((4, 3)), gamma=arrays((3,)), g=arrays((4, 3)), dtype=st.sampled_from(["float32", "float64"]))
def test_fused_batch_norms_raw_vjp_is_the_recorded_one(x, gamma, g, dtype):
    inputs = [mg.tensor(a.astype(dtype), requires_grad=True) for a in (x, gamma, 0 * gamma)]
    out = mg.batch_norm(*inputs, eps=0.125)
    raw, recorded = (mg.grad(out, inputs, g.astype(dtype), retain_graph=True, create_graph=c) for c in (False, True))
    for a, b in zip(raw, recorded):
        assert_allclose(a.data, b.data, rtol=0, atol=(1e-12 if dtype == "float64" else 1e-4) * 64)
