"""Layers against naive loops, and what a Module promises: names, modes, state, messages."""

import itertools
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigan as mg
from minigan import nn
from minigan.nn.init import dcgan, glorot, he, initialize, normal, orthogonal
from tests.strict_array import no_sync


def numbers(shape, seed=0):
    """Values on ±[0.1, 1]: none at a kink."""
    rng = np.random.default_rng([seed, *shape])
    return rng.choice([-1.0, 1.0], shape) * rng.uniform(0.1, 1.0, shape)


def prepared(layer, seed=1):
    """The layer in float64, its parameters (and a batch norm's statistics) away from their initial values."""
    layer.to(dtype="float64")
    for i, p in enumerate(layer.parameters()):
        p.assign(numbers(p.shape, seed + i))
    for name, a in layer.named_buffers():
        if a.dtype.kind == "f":
            setattr(layer, name, 0.5 + numbers(a.shape, seed) ** 2)
    return layer


def values(layer):
    return {name: p.numpy() for name, p in layer.named_parameters()}


# ---- the naive layers: loops over single numbers -----------------------------------------------------------


def naive_dense(x, p):
    y = np.zeros((*x.shape[:-1], p["weight"].shape[1]))
    for at in np.ndindex(y.shape):
        y[at] = p.get("bias", np.zeros(y.shape[-1]))[at[-1]]
        for i, value in enumerate(x[at[:-1]]):
            y[at] += value * p["weight"][i, at[-1]]
    return y


def naive_conv(x, p, stride, padding):
    w, (sh, sw), (ph, pw) = p["weight"], stride, padding
    (n, h, wide, _), (kh, kw, _, out) = x.shape, w.shape
    y = np.zeros((n, (h + 2 * ph - kh) // sh + 1, (wide + 2 * pw - kw) // sw + 1, out))
    for b, oy, ox, ky, kx in itertools.product(*map(range, (*y.shape[:3], kh, kw))):
        iy, ix = oy * sh + ky - ph, ox * sw + kx - pw
        if 0 <= iy < h and 0 <= ix < wide:
            y[b, oy, ox] += x[b, iy, ix] @ w[ky, kx]
    return y + p.get("bias", 0)


def naive_conv_transpose(x, p, stride, padding, extra):
    w, (sh, sw), (ph, pw) = p["weight"], stride, padding
    (n, h, wide, _), (kh, kw, out, _) = x.shape, w.shape
    size = (h - 1) * sh - 2 * ph + kh + extra[0], (wide - 1) * sw - 2 * pw + kw + extra[1]
    y = np.zeros((n, *size, out))
    for b, iy, ix, ky, kx in itertools.product(*map(range, (n, h, wide, kh, kw))):
        oy, ox = iy * sh + ky - ph, ix * sw + kx - pw
        if 0 <= oy < size[0] and 0 <= ox < size[1]:
            y[b, oy, ox] += w[ky, kx] @ x[b, iy, ix]
    return y + p.get("bias", 0)


def naive_norm(x, p, groups):
    """``groups``: for each group of positions that is normalised together, an index into x."""
    y = np.empty_like(x)
    for group in groups:
        part = x[group]
        y[group] = (part - part.mean()) / math.sqrt(((part - part.mean()) ** 2).mean() + 1e-5)
    return y * p["gamma"] + p["beta"]


def per_channel(x, p):
    return naive_norm(x, p, [(..., c) for c in range(x.shape[-1])])


def per_sample(x, p):
    axes = x.ndim - p["gamma"].ndim
    return naive_norm(x, p, list(np.ndindex(x.shape[:axes])))


def per_sample_and_channel(x, p):
    return naive_norm(x, p, [(i, ..., c) for i in range(x.shape[0]) for c in range(x.shape[-1])])


# name: (layer, shape of x, naive forward, shape of y)
LAYERS = {
    "dense": (lambda: nn.Dense(4, 3), (5, 4), naive_dense, (5, 3)),
    "dense, no bias": (lambda: nn.Dense(4, 1, bias=False), (3, 4), naive_dense, (3, 1)),
    "dense on sequences": (lambda: nn.Dense(3, 2), (2, 4, 3), naive_dense, (2, 4, 2)),
    "conv": (
        lambda: nn.Conv(2, 3, (3, 2), stride=(2, 1), padding=(1, 0)),
        (2, 6, 5, 2),
        lambda x, p: naive_conv(x, p, (2, 1), (1, 0)),
        (2, 3, 4, 3),
    ),
    "conv, no bias, rows left over": (
        lambda: nn.Conv(1, 2, 3, stride=3, bias=False),
        (2, 5, 7, 1),
        lambda x, p: naive_conv(x, p, (3, 3), (0, 0)),
        (2, 1, 2, 2),
    ),
    "conv as large as the image": (
        lambda: nn.Conv(2, 3, 4),
        (2, 4, 4, 2),
        lambda x, p: naive_conv(x, p, (1, 1), (0, 0)),
        (2, 1, 1, 3),
    ),
    "conv_transpose": (
        lambda: nn.ConvTranspose(3, 2, (3, 2), stride=(2, 3), padding=(1, 0), output_padding=(1, 2)),
        (2, 3, 2, 3),
        lambda x, p: naive_conv_transpose(x, p, (2, 3), (1, 0), (1, 2)),
        (2, 6, 7, 2),
    ),
    "conv_transpose, no bias": (
        lambda: nn.ConvTranspose(1, 2, 4, stride=2, padding=1, bias=False),
        (2, 2, 3, 1),
        lambda x, p: naive_conv_transpose(x, p, (2, 2), (1, 1), (0, 0)),
        (2, 4, 6, 2),
    ),
    "batch_norm": (lambda: nn.BatchNorm(3), (6, 3), per_channel, (6, 3)),
    "batch_norm on images": (lambda: nn.BatchNorm(2), (2, 3, 2, 2), per_channel, (2, 3, 2, 2)),
    "layer_norm": (lambda: nn.LayerNorm(4), (3, 4), per_sample, (3, 4)),
    "layer_norm on images": (lambda: nn.LayerNorm((2, 3, 2)), (2, 2, 3, 2), per_sample, (2, 2, 3, 2)),
    "instance_norm": (lambda: nn.InstanceNorm(2), (2, 3, 2, 2), per_sample_and_channel, (2, 3, 2, 2)),
    "relu": (nn.ReLU, (3, 4), lambda x, p: np.where(x > 0, x, 0), (3, 4)),
    "leaky_relu": (lambda: nn.LeakyReLU(0.3), (3, 4), lambda x, p: np.where(x > 0, x, 0.3 * x), (3, 4)),
    "tanh": (nn.Tanh, (3, 4), lambda x, p: np.tanh(x), (3, 4)),
    "sigmoid": (nn.Sigmoid, (3, 4), lambda x, p: 1 / (1 + np.exp(-x)), (3, 4)),
    "max_pool": (
        lambda: nn.MaxPool(2),
        (2, 5, 4, 3),
        lambda x, p: x[:, :4].reshape(2, 2, 2, 2, 2, 3).max(axis=(2, 4)),
        (2, 2, 2, 3),
    ),
    "flatten": (nn.Flatten, (2, 3, 1, 2), lambda x, p: np.stack([row.ravel() for row in x]), (2, 6)),
    "reshape": (lambda: nn.Reshape(2, 1, 3), (4, 6), lambda x, p: x.reshape(4, 2, 1, 3), (4, 2, 1, 3)),
    "dropout": (
        lambda: nn.Dropout(0.4, seed=3),
        (3, 4),
        lambda x, p: x * (mg.backend.random.stream(3, "dropout", 0).random((3, 4), np.float32) >= 0.4) / 0.6,
        (3, 4),
    ),
}
cases = pytest.mark.parametrize("case", LAYERS.values(), ids=LAYERS)


@cases
def test_forward_is_the_naive_one(case):
    make, x_shape, naive, y_shape = case
    layer, x = prepared(make()), numbers(x_shape)
    y = layer(mg.tensor(x))
    assert (y.shape, y.dtype) == (y_shape, np.float64)
    np.testing.assert_allclose(y.numpy(), naive(x, values(layer)), rtol=1e-12, atol=1e-12)


@cases
def test_a_float32_layer_stays_float32(case):
    make, x_shape, naive, _ = case
    layer, x = make(), numbers(x_shape).astype(np.float32)
    y = layer(mg.tensor(x))
    assert y.dtype == np.float32
    np.testing.assert_allclose(y.numpy(), naive(x, values(layer)), rtol=1e-4, atol=1e-5)


def as_function(layer):
    """(x, *parameters) → y, and the parameters' values: what check_grad takes."""
    names = [name for name, _ in layer.named_parameters()]

    def forward(x, *parameters):
        for name, p in zip(names, parameters):
            object.__setattr__(layer, name, p)
        if isinstance(layer, nn.Dropout):
            layer.calls = np.zeros((), np.int64)  # the same mask at every call
        return layer(x)

    return forward, [p.numpy() for p in layer.parameters()]


@pytest.mark.parametrize("mode", ["train", "eval"])
@cases
def test_gradients_by_input_and_parameters(case, mode):
    make, x_shape, *_ = case
    layer = getattr(prepared(make()), mode)()
    fn, parameters = as_function(layer)
    mg.check_grad(fn, numbers(x_shape), *parameters, order=2, directions=1)


@cases
def test_every_parameter_gets_a_gradient_of_its_shape(case):
    make, x_shape, *_ = case
    layer = make()
    mg.sum(layer(mg.tensor(numbers(x_shape), dtype="float32", requires_grad=True)) ** 2).backward()
    assert all(p.grad.shape == p.shape and p.grad.dtype == np.float32 for p in layer.parameters())


# ---- embedding ---------------------------------------------------------------------------------------------


def test_embedding_looks_rows_up_and_adds_the_gradients_of_repeated_ids():
    layer = prepared(nn.Embedding(4, 3))
    ids = np.array([[2, 0, 2], [2, 2, 3]])
    y = layer(ids)
    table, upstream = layer.weight.numpy(), numbers((2, 3, 3))
    assert np.array_equal(y.numpy(), [[table[i] for i in row] for row in ids])
    y.backward(mg.tensor(upstream))
    expected = np.zeros((4, 3))
    for at in np.ndindex(ids.shape):
        expected[ids[at]] += upstream[at]
    np.testing.assert_allclose(layer.weight.grad.numpy(), expected, rtol=1e-12)
    assert not expected[1].any()
    fn, (weight,) = as_function(layer)
    mg.check_grad(lambda w: fn(ids, w) ** 2, weight)


@pytest.mark.parametrize("ids", [np.array([1, 0]), mg.tensor([1, 0]), [1, 0]], ids=["array", "tensor", "list"])
def test_embedding_takes_ids_in_any_form(ids):
    layer = nn.Embedding(3, 2)
    assert np.array_equal(layer(ids).numpy(), layer.weight.numpy()[[1, 0]])


# ---- batch norm's running statistics -----------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 3), (2, 4, 3, 3)], ids=str)
@pytest.mark.parametrize("momentum", [0.1, 0.75])
def test_running_statistics_follow_mean_and_unbiased_variance(shape, momentum):
    layer = nn.BatchNorm(3, momentum=momentum).to(dtype="float64")
    mean, var = np.zeros(3), np.ones(3)
    for step in range(4):
        x = 2 + 3 * numbers(shape, step)
        layer(mg.tensor(x))
        for c in range(3):
            mean[c] = (1 - momentum) * mean[c] + momentum * x[..., c].mean()
            var[c] = (1 - momentum) * var[c] + momentum * x[..., c].var(ddof=1)
    np.testing.assert_allclose(layer.running_mean, mean, rtol=1e-12)
    np.testing.assert_allclose(layer.running_var, var, rtol=1e-10)
    before = layer.state_dict()
    x = numbers(shape, 9)
    y = layer.eval()(mg.tensor(x)).numpy()  # evaluation: the running ones, unchanged
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(var + 1e-5), rtol=1e-10)
    assert same_state(layer.state_dict(), before)


def test_one_row_has_no_variance_but_no_infinity_either():
    layer = nn.BatchNorm(2)
    layer(mg.tensor([[1.0, 2.0]]))
    assert np.isfinite(layer.running_var).all()


def test_running_statistics_resume_through_state_dict():
    batches = [mg.tensor(numbers((4, 2), i)) for i in range(6)]
    whole, first, second = (nn.BatchNorm(2).to(dtype="float64") for _ in range(3))
    for x in batches:
        whole(x)
    for x in batches[:3]:
        first(x)
    second.load_state_dict(first.state_dict())
    for x in batches[3:]:
        second(x)
    assert same_state(second.state_dict(), whole.state_dict())


def test_running_statistics_are_never_changed_in_place():
    layer, x = prepared(nn.BatchNorm(2)), mg.tensor(numbers((4, 2)), requires_grad=True)
    mean, var = layer.running_mean, layer.running_var
    kept = mean.copy(), var.copy()
    y = mg.sum(layer.eval()(x) ** 3)
    (before,) = mg.grad(y, x, retain_graph=True)
    layer.train()(mg.tensor(5 + numbers((4, 2), 3)))
    layer.load_state_dict(layer.state_dict())
    assert np.array_equal(mean, kept[0]) and np.array_equal(var, kept[1])
    assert not np.array_equal(layer.running_mean, kept[0])
    assert np.array_equal(mg.grad(y, x)[0].numpy(), before.numpy())


def test_normalised_outputs_have_mean_beta_and_deviation_gamma():
    layer = prepared(nn.BatchNorm(3))
    y = layer(mg.tensor(7 + 5 * numbers((50, 3)))).numpy()
    np.testing.assert_allclose(y.mean(0), layer.beta.numpy(), atol=1e-12)
    np.testing.assert_allclose(y.std(0), np.abs(layer.gamma.numpy()), rtol=1e-4)


# ---- dropout -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_zeroes_a_share_p_and_scales_the_rest(p):
    n = 40_000
    y = nn.Dropout(p)(mg.tensor(np.ones(n, np.float32))).numpy()
    kept = y != 0
    assert abs(kept.mean() - (1 - p)) < 5 * math.sqrt(p * (1 - p) / n)
    np.testing.assert_allclose(y[kept], 1 / (1 - p), rtol=1e-6)


def test_dropout_masks_depend_on_seed_path_and_call_and_on_nothing_else():
    x = mg.tensor(np.ones(64, np.float32))

    def masks(seed, path):
        layer = nn.Dropout(0.5, seed).named(path)
        return [tuple(layer(x).numpy() != 0) for _ in range(3)]

    assert masks(0, "D.drop") == masks(0, "D.drop")
    assert len({m for seed in (0, 1) for path in ("D.drop", "G.drop") for m in masks(seed, path)}) == 12


def test_dropout_resumes_through_state_dict():
    x = mg.tensor(np.ones(32, np.float32))
    whole, resumed = nn.Dropout(), nn.Dropout()
    for _ in range(3):
        whole(x)
    resumed.load_state_dict(whole.state_dict())
    assert np.array_equal(whole(x).numpy(), resumed(x).numpy())


def test_dropout_does_nothing_in_evaluation_and_at_p_0():
    x = mg.tensor(numbers((3, 3)))
    for layer in (nn.Dropout(0.5).eval(), nn.Dropout(0)):
        assert layer(x) is x
        assert layer.calls == 0


def test_the_gradient_passes_the_same_mask():
    x = mg.tensor(np.ones(64, np.float32), requires_grad=True)
    y = nn.Dropout(0.5)(x)
    mg.sum(y).backward()
    assert np.array_equal(x.grad.numpy(), y.numpy())


# ---- names, paths, scopes ----------------------------------------------------------------------------------


class Block(nn.Module):
    """Two layers and a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.first = nn.Dense(2, 3)
        self.scale = mg.tensor([1.0], requires_grad=True)
        self.rest = nn.Sequential(nn.LeakyReLU(), norm=nn.BatchNorm(3), head=nn.Dense(3, 1))

    def forward(self, x):
        return self.rest(self.first(x) * self.scale)


BLOCK = "scale first.weight first.bias rest.norm.gamma rest.norm.beta rest.head.weight rest.head.bias"


def test_sequential_names_children_by_type_and_number_or_keyword():
    net = nn.Sequential(nn.Dense(2, 3), nn.ReLU(), nn.Dense(3, 3), nn.BatchNorm(3), head=nn.Dense(3, 1))
    assert [name for name, _ in net.named_modules()] == [
        "",
        "dense1",
        "relu1",
        "dense2",
        "batchnorm1",
        "head",
    ]
    assert (len(net), net[2], net[-1]) == (5, net.dense2, net.head)
    assert net.dense2.weight.name == "dense2.weight" and net.head.path == "head"


def test_sequential_composes():
    net, x = nn.Sequential(nn.Dense(2, 3), nn.Tanh(), nn.Dense(3, 1)), mg.tensor(np.ones((4, 2), np.float32))
    assert np.array_equal(net(x).numpy(), net.dense2(mg.tanh(net.dense1(x))).numpy())
    assert nn.Sequential()(x) is x


def test_nested_names_are_relative_and_full_names_follow_the_root():
    net = Block()
    assert [name for name, _ in net.named_parameters()] == BLOCK.split()
    assert [p.name for p in net.parameters()] == BLOCK.split()
    assert net.named("D") is net
    assert [name for name, _ in net.named_parameters()] == BLOCK.split()
    assert [p.name for p in net.parameters()] == [f"D.{name}" for name in BLOCK.split()]
    assert (net.path, net.rest.head.path) == ("D", "D.rest.head")
    assert [name for name, _ in net.named_buffers()] == ["rest.norm.running_mean", "rest.norm.running_var"]
    assert nn.Sequential(nn.Dense(1, 1), name="G").dense1.weight.name == "G.dense1.weight"
    outer = nn.Sequential(block=net, name="outer")
    assert outer.block.rest.head.bias.name == "outer.block.rest.head.bias"


def test_a_shared_layer_has_one_set_of_parameters():
    shared = nn.Dense(2, 2)
    net = nn.Sequential(shared, nn.Tanh(), shared)
    assert [name for name, _ in net.named_parameters()] == ["dense1.weight", "dense1.bias"]
    assert net.summary(np.ones((1, 2), np.float32)).split()[-1] == "6"
    mg.sum(net(mg.tensor([[1.0, 2.0]]))).backward()
    other = nn.Sequential(*(2 * [nn.Dense(2, 2)]))
    other.load_state_dict(net.state_dict())
    assert np.array_equal(other.dense2.weight.numpy(), shared.weight.numpy())


def test_attributes_register_replace_and_delete():
    net = Block()
    net.first = nn.Dense(2, 3, bias=False)
    assert "first.bias" not in dict(net.named_parameters())
    net.scale = None
    assert "scale" not in dict(net.named_parameters())
    net.constant = mg.tensor([1.0])  # requires no gradient: a plain attribute
    assert "constant" not in net.state_dict()
    del net.rest
    assert list(dict(net.named_parameters())) == ["first.weight"] and not hasattr(net, "rest")
    net.first = mg.tanh
    assert [name for name, _ in net.named_modules()] == [""] and not net.parameters()


@pytest.mark.parametrize("path", ["first", "rest.dense1", "rest.inner.head"])
def test_an_error_inside_a_layer_says_which_layer_and_whose_line(path):
    rest = nn.Sequential(nn.Dense(3, 3), nn.ReLU(), inner=nn.Sequential(head=nn.Dense(3, 1)))
    net = nn.Sequential(first=nn.Dense(2, 3), rest=rest, name="D")
    layer = dict(net.named_modules())[path]
    layer.weight = mg.tensor(np.ones((7, 1), np.float32), requires_grad=True)
    with pytest.raises(mg.ShapeError) as caught:
        net(mg.tensor(np.ones((4, 2), np.float32)))  # the line that the message shows
    text = str(caught.value)
    assert f"in D.{path}\n" in text and f"'D.{path}.weight'" in text and "(7, 1)" in text
    assert "the line that the message shows" in text and "test_nn.py" in text
    with pytest.raises(mg.ShapeError) as caught:  # the scope is left even by an exception
        mg.tensor([1.0, 2.0]) + mg.tensor([1.0, 2.0, 3.0])
    assert "in D." not in str(caught.value)


def test_hooks_see_every_call():
    net, seen = nn.Sequential(nn.Dense(2, 3), nn.ReLU()), []
    net.dense1.hooks.append(lambda module, inputs, output: seen.append((module, inputs[0].shape, output.shape)))
    net(mg.tensor(np.ones((4, 2), np.float32)))
    assert seen == [(net.dense1, (4, 2), (4, 3))]


# ---- modes -------------------------------------------------------------------------------------------------


def test_train_and_eval_reach_every_module():
    net = nn.Sequential(nn.Sequential(nn.Dropout(), nn.BatchNorm(2)), nn.Dropout())
    assert net.eval() is net and not any(module.training for _, module in net.named_modules())
    net.sequential1.train()
    assert [module.training for _, module in net.named_modules()] == [False, True, True, True, False]
    assert net.train() is net and all(module.training for _, module in net.named_modules())


def test_frozen_parameters_are_constants_inside_and_parameters_again_after():
    D, G = Block().named("D"), nn.Dense(1, 2).named("G")
    nodes = [p.node for p in D.parameters()]
    with D.frozen() as same:
        assert same is D and not any(p.requires_grad for p in D.parameters())
        assert not D(mg.tensor(np.ones((2, 2), np.float32))).requires_grad  # nothing to record at all
        with D.frozen():
            pass
        loss = mg.sum(D(G(mg.tensor([[1.0], [2.0]]))))
    loss.backward()
    assert all(p.grad is None for p in D.parameters()) and all(p.grad is not None for p in G.parameters())
    with pytest.raises(KeyError), D.frozen():
        raise KeyError
    assert [p.node for p in D.parameters()] == nodes
    mg.sum(D(mg.tensor([[1.0, 2.0], [2.0, 1.0]]))).backward()
    assert all(p.grad is not None for p in D.parameters())


def test_frozen_gives_the_input_the_same_gradient():
    D, x = (
        prepared(nn.Sequential(nn.Dense(3, 4), nn.Tanh(), nn.Dense(4, 1))),
        mg.tensor(numbers((2, 3)), True),
    )
    (expected,) = mg.grad(mg.sum(D(x)), x)
    with D.frozen():
        (got,) = mg.grad(mg.sum(D(x)), x)
    assert np.array_equal(got.numpy(), expected.numpy())


# ---- state -------------------------------------------------------------------------------------------------


def network():
    """A little of everything that has state."""
    layers = nn.Dense(4, 8), nn.Reshape(2, 2, 2), nn.ConvTranspose(2, 3, 2), nn.BatchNorm(3), nn.Dropout()
    return nn.Sequential(*layers, nn.Conv(3, 2, 2), nn.LayerNorm(2), nn.InstanceNorm(2), nn.Flatten())


def same_state(a, b):
    """Equal names in equal order, equal dtypes, equal bits."""
    return list(a) == list(b) and all(a[k].dtype == b[k].dtype and np.array_equal(a[k], b[k]) for k in a)


def test_state_dict_round_trip_through_a_file(tmp_path):
    a, b, x = network(), network(), np.ones((2, 4), np.float32)
    a(mg.tensor(x)), a(mg.tensor(2 * x))
    state = a.state_dict()
    np.savez(tmp_path / "state.npz", **state)
    with np.load(tmp_path / "state.npz", allow_pickle=False) as loaded:
        b.load_state_dict(dict(loaded))
    assert same_state(b.state_dict(), state)
    assert np.array_equal(a(mg.tensor(x)).numpy(), b(mg.tensor(x)).numpy())  # dropout's next mask included


def test_state_dict_is_a_copy():
    net = network()
    for array in (state := net.state_dict()).values():
        array[...] = 7
    assert not any(np.any(array == 7) for array in net.state_dict().values()) and len(state) == 15


def test_load_lists_every_problem_at_once_and_changes_nothing():
    net = network().named("G")
    before, state = net.state_dict(), {k: v + 1 for k, v in net.state_dict().items()}
    del state["dense1.bias"], state["batchnorm1.running_mean"]
    state["conv1.weight"] = state["conv1.weight"][:1]
    state["dropout1.calls"] = np.zeros(3, int)
    state |= {"dense2.weight": np.zeros((2, 5)), "epoch": 3}
    with pytest.raises(mg.ShapeError) as caught:
        net.load_state_dict(state)
    lines = [line.strip() for line in str(caught.value).splitlines()]
    assert lines[0] == "this state does not fit G:"
    assert set(lines[1:]) == {
        "missing: dense1.bias (8,)",
        "missing: batchnorm1.running_mean (3,)",
        "unexpected: dense2.weight (2, 5)",
        "unexpected: epoch ()",
        "misshapen: conv1.weight is (1, 2, 3, 2), expected (2, 2, 3, 2)",
        "misshapen: dropout1.calls is (3,), expected ()",
    }
    state = {k: v + 1 for k, v in before.items()} | {"layernorm1.beta": np.array(["a", "b"])}
    with pytest.raises(ValueError):  # the right names and shapes, but no numbers
        net.load_state_dict(state)
    assert same_state(net.state_dict(), before)


def test_loading_writes_through_the_optimisers_buffer_and_outdates_older_graphs():
    net, other = network().named("G"), network()
    optimizer = mg.optim.SGD(net.parameters())
    loss = mg.sum(net(mg.tensor(np.ones((2, 4), np.float32))) ** 2)
    net.load_state_dict(other.state_dict())  # the line that is to blame
    assert np.array_equal(optimizer.flat.data, np.concatenate([p.numpy().ravel() for p in other.parameters()]))
    assert all(np.shares_memory(p.data, optimizer.flat.data) for p in net.parameters())
    with pytest.raises(mg.StaleError) as caught:
        loss.backward()
    assert "the line that is to blame" in str(caught.value) and "'G." in str(caught.value)


def test_loading_without_an_optimiser_outdates_older_graphs_too():
    net = nn.Dense(2, 1)
    loss = mg.sum(net(mg.tensor([[1.0, 2.0]], requires_grad=True)))
    net.load_state_dict(net.state_dict())
    with pytest.raises(mg.StaleError, match="weight"):
        loss.backward()


def test_to_changes_floating_state_only_and_keeps_values():
    net = network()
    before = net.state_dict()
    mg.sum(net(mg.tensor(np.ones((2, 4), np.float32)))).backward()
    net.load_state_dict(before)
    assert net.to(dtype="float64") is net
    for name, array in net.state_dict().items():
        assert array.dtype == (np.int64 if name == "dropout1.calls" else np.float64)
        assert np.array_equal(array, before[name])
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert net(mg.tensor(np.ones((2, 4)))).dtype == np.float64
    assert net.to("cpu") is net


@cases
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_layers_move_to_a_device_and_never_wait_for_it(case, mode):
    make, x_shape, *_ = case
    layer, x = getattr(make(), mode)(), numbers(x_shape).astype(np.float32)
    state = layer.state_dict()
    x_host, x_device = (mg.tensor(x, requires_grad=True, device=device) for device in ("cpu", "strict"))
    y = layer(x_host)
    mg.sum(y**2).backward()
    gradients = [t.grad.numpy() for t in (x_host, *layer.parameters())]
    layer.to("strict").load_state_dict(state)
    with no_sync():
        z = layer(x_device)
        mg.sum(z**2).backward()
    assert all(t.device == t.grad.device == "strict" for t in (x_device, *layer.parameters()))
    np.testing.assert_allclose(z.numpy(), y.numpy(), rtol=1e-5, atol=1e-6)
    for t, expected in zip((x_device, *layer.parameters()), gradients):
        np.testing.assert_allclose(t.grad.numpy(), expected, rtol=1e-4, atol=1e-4)


def test_a_network_comes_back_from_a_device_as_it_went():
    net = network()
    state = net.state_dict()
    assert same_state(net.to("strict").state_dict(), state)
    assert net.summary(mg.tensor(np.ones((2, 4), np.float32), device="strict")).split()[-1] == "107"
    initialize(net, he)
    assert same_state(net.to("cpu").state_dict(), initialize(network(), he).state_dict())


# ---- summary and repr --------------------------------------------------------------------------------------


def test_summary_is_a_table_of_shapes_and_counts():
    net = nn.Sequential(nn.Dense(4, 8), nn.Dropout(), nn.Sequential(nn.BatchNorm(8)), head=nn.Dense(8, 250), name="D")
    assert net.summary(np.ones((5, 4), np.float32)).splitlines() == [
        "layer                     type       output shape  parameters",
        "-------------------------------------------------------------",
        "D.dense1                  Dense      (5, 8)                40",
        "D.dropout1                Dropout    (5, 8)                 0",
        "D.sequential1.batchnorm1  BatchNorm  (5, 8)                16",
        "D.head                    Dense      (5, 250)           2,250",
        "-------------------------------------------------------------",
        "total                                                   2,306",
    ]


def test_summary_counts_parameters_that_belong_to_no_layer():
    lines = Block().named("D").summary(np.ones((5, 2), np.float32)).splitlines()
    assert lines[2].split() == ["D", "Block", "(5,", "1)", "1"]
    assert lines[-1].split() == ["total", "20"] and sum(int(line.split()[-1]) for line in lines[2:-2]) == 20


def test_summary_leaves_the_module_as_it_was_even_after_a_failure():
    net = network()
    net.dropout1.eval()
    before, modes = net.state_dict(), [module.training for _, module in net.named_modules()]
    net.summary(np.ones((2, 4), np.float32))
    with pytest.raises(ValueError):
        net.summary(np.ones((2, 5), np.float32))
    assert same_state(net.state_dict(), before)
    assert [module.training for _, module in net.named_modules()] == modes
    assert not any(module.hooks for _, module in net.named_modules())


def test_repr_shows_the_tree():
    net = nn.Sequential(nn.Dense(2, 3, bias=False), nn.Sequential(nn.LeakyReLU(0.1)), body=nn.Reshape(3, 1))
    assert repr(net).splitlines() == [
        "Sequential(",
        "  dense1: Dense(2, 3, bias=False)",
        "  sequential1: Sequential(",
        "    leakyrelu1: LeakyReLU(0.1)",
        "  )",
        "  body: Reshape(3, 1)",
        ")",
    ]
    for make, *_ in LAYERS.values():
        assert re.fullmatch(r"\w+\(.*\)", repr(make()))


# ---- initialisers ------------------------------------------------------------------------------------------

# name: (initialiser, expected mean, expected standard deviation for fans 200 and 300)
STATISTICS = {
    "normal": (normal(), 0, 0.02),
    "normal with mean": (normal(0.5, mean=2.0), 2, 0.5),
    "glorot": (glorot, 0, math.sqrt(2 / 500)),
    "he": (he, 0, math.sqrt(2 / 200)),
    "dcgan": (dcgan, 0, 0.02),
}


@pytest.mark.parametrize("init, mean, std", STATISTICS.values(), ids=STATISTICS)
def test_initial_weights_have_the_promised_statistics(init, mean, std):
    w = init(np.random.default_rng(0), (200, 300), 200, 300)
    assert w.dtype == np.float32 and w.shape == (200, 300)
    n = w.size
    assert abs(w.mean(dtype=float) - mean) < 5 * std / math.sqrt(n)
    assert abs(w.std(dtype=float) - std) < 5 * std / math.sqrt(2 * n)


def test_glorot_is_uniform_within_its_bound():
    w = glorot(np.random.default_rng(1), (200, 300), 200, 300)
    bound = math.sqrt(6 / 500)
    assert 0.999 * bound < np.abs(w).max() <= np.float32(bound)
    share = np.histogram(w, 10, (-bound, bound))[0] / w.size
    assert np.abs(share - 0.1).max() < 0.01


@pytest.mark.parametrize("shape", [(30, 20), (20, 30), (7, 7), (3, 3, 4, 16), (2, 2, 3, 40)], ids=str)
def test_orthogonal_weights_are(shape):
    w = orthogonal(np.random.default_rng(0), shape, 1, 1)
    assert w.shape == shape and w.dtype == np.float32
    flat = w.reshape(-1, shape[-1]).astype(float)
    gram = flat.T @ flat if flat.shape[0] >= flat.shape[1] else flat @ flat.T
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-6)


def test_orthogonal_weights_have_no_preferred_sign():
    diagonals = [orthogonal(np.random.default_rng(i), (1, 1), 1, 1).item() for i in range(40)]
    assert set(diagonals) == {1.0, -1.0}


# name: (layer, fan_in, fan_out)
FANS = {
    "dense": (lambda **k: nn.Dense(5, 7, **k), 5, 7),
    "conv": (lambda **k: nn.Conv(2, 3, (4, 5), **k), 40, 60),
    "conv_transpose": (lambda **k: nn.ConvTranspose(6, 3, 4, stride=2, **k), 24, 48),
    "conv_transpose, stride above kernel": (lambda **k: nn.ConvTranspose(1, 3, 1, stride=2, **k), 1, 3),
    "embedding": (lambda **k: nn.Embedding(5, 7, **k), 1, 7),
}


@pytest.mark.parametrize("make, fan_in, fan_out", FANS.values(), ids=FANS)
def test_layers_hand_their_fans_to_the_initialiser(make, fan_in, fan_out):
    asked = []
    layer = make(init=lambda rng, shape, *fans: asked.append((shape, fans)) or np.full(shape, 7, np.float32))
    assert asked == [(layer.weight.shape, (fan_in, fan_out))] and np.all(layer.weight.numpy() == 7)
    if getattr(layer, "bias", None) is not None:
        assert not layer.bias.numpy().any()


def test_he_keeps_the_variance_through_a_deep_relu_network():
    net = nn.Sequential(*(layer for _ in range(10) for layer in (nn.Dense(256, 256, bias=False), nn.ReLU())))
    x = np.random.default_rng(0).standard_normal((64, 256)).astype(np.float32)
    y = initialize(net, he)(mg.tensor(x)).numpy()
    assert 0.4 < (y**2).mean() < 2.5  # half or twice the variance: 1e-3 or 1e3


@pytest.mark.parametrize("init", [normal(), glorot, he, orthogonal, dcgan], ids=lambda i: i.__name__)
def test_initialize_draws_weights_and_resets_the_rest(init):
    net = network()
    net.layernorm2 = nn.LayerNorm((3, 4))
    for i, p in enumerate(net.parameters()):
        p.assign(numbers(p.shape, i))
    assert initialize(net, init) is net
    for name, p in net.named_parameters():
        kind = name.rpartition(".")[2]
        if kind == "gamma":
            assert np.all(p.numpy() == 1) if init is not dcgan else 0 < np.abs(p.numpy() - 1).max() < 0.1
        else:
            assert np.any(p.numpy()) == (kind == "weight"), name


def test_dcgan_scales_have_the_promised_statistics():
    gamma = initialize(nn.BatchNorm(20_000), dcgan).gamma.numpy()
    assert abs(gamma.mean() - 1) < 1e-3 and abs(gamma.std() - 0.02) < 1e-3


@given(seed=st.integers(0, 2**32), extra=st.integers(0, 3))
def test_a_parameters_draw_depends_on_seed_and_name_only(seed, extra):
    small = initialize(nn.Sequential(head=nn.Dense(3, 2), name="G"), he, seed)
    big = nn.Sequential(*(nn.Dense(3, 3) for _ in range(extra)), head=nn.Dense(3, 2), name="G")
    initialize(big, he, seed)
    assert np.array_equal(small.head.weight.numpy(), big.head.weight.numpy())
    weights = [p.numpy().ravel()[0] for p in big.parameters() if p.ndim == 2]
    assert len(set(weights)) == extra + 1  # each its own stream
    other = initialize(nn.Sequential(head=nn.Dense(3, 2), name="G"), he, seed + 1)
    assert not np.array_equal(small.head.weight.numpy(), other.head.weight.numpy())


def test_two_new_layers_differ():
    assert not np.array_equal(nn.Dense(3, 3).weight.numpy(), nn.Dense(3, 3).weight.numpy())


# ---- bad arguments -----------------------------------------------------------------------------------------


class Forgetful(nn.Module):
    """Sets an attribute too early."""

    def __init__(self):
        self.width = 3


IMAGE, ROWS = mg.tensor(np.ones((2, 3, 3, 4), np.float32)), mg.tensor(np.ones((3, 1), np.float32))

BAD = {  # name: (what is done, the error, what its message says)
    "dense 0": (lambda: nn.Dense(0, 3), ValueError, "Dense: in_features must be at least 1"),
    "dense -1": (lambda: nn.Dense(3, -1), ValueError, "Dense: out_features must be at least 1"),
    "dense 2.5": (lambda: nn.Dense(2.5, 1), ValueError, "in_features must be .* whole numbers; got 2.5"),
    "conv kernel 0": (lambda: nn.Conv(1, 1, 0), ValueError, "Conv: kernel_size must be at least 1"),
    "conv kernel triple": (lambda: nn.Conv(1, 1, (1, 2, 3)), ValueError, "must be an int or a pair"),
    "conv stride 0": (lambda: nn.Conv(1, 1, 3, stride=0), ValueError, "Conv: stride must be at least 1"),
    "conv padding -1": (lambda: nn.Conv(1, 1, 3, padding=-1), ValueError, "Conv: padding must be at least 0"),
    "conv channels": (lambda: nn.Conv(0, 1, 3), ValueError, "Conv: channels must be at least 1"),
    "transpose stride 0": (
        lambda: nn.ConvTranspose(1, 1, 3, stride=0),
        ValueError,
        "stride must be at least",
    ),
    "batch_norm 0": (lambda: nn.BatchNorm(0), ValueError, "BatchNorm: channels must be at least 1"),
    "layer_norm 0": (lambda: nn.LayerNorm((3, 0)), ValueError, "LayerNorm: shape must be at least 1"),
    "embedding 0": (lambda: nn.Embedding(0, 2), ValueError, "Embedding: count must be at least 1"),
    "dropout 1": (lambda: nn.Dropout(1.0), ValueError, r"p must be in \[0, 1\), got 1.0"),
    "dropout -0.1": (lambda: nn.Dropout(-0.1), ValueError, "p must be in"),
    "a function in Sequential": (lambda: nn.Sequential(mg.tanh), TypeError, "Sequential takes layers"),
    "a class in Sequential": (lambda: nn.Sequential(nn.ReLU), TypeError, "Sequential takes layers"),
    "a taken name": (lambda: nn.Sequential(forward=nn.ReLU()), ValueError, "'forward'.* is taken"),
    "a name given twice": (
        lambda: nn.Sequential(nn.ReLU(), relu1=nn.ReLU()),
        ValueError,
        "'relu1'.* is taken",
    ),
    "no super().__init__": (Forgetful, AttributeError, r"super\(\).* in Forgetful before setting 'width'"),
    "no forward": (lambda: nn.Module()(1), NotImplementedError, "Module defines no forward"),
    "rows for images": (lambda: nn.Conv(4, 2, 3)(ROWS), mg.ShapeError, "images are"),
    "too few channels": (lambda: nn.Conv(3, 2, 3)(IMAGE), mg.ShapeError, "4 channels"),
    "a window too large": (lambda: nn.Conv(4, 2, 5)(IMAGE), mg.ShapeError, "does not fit"),
    "batch_norm channels": (lambda: nn.BatchNorm(4)(ROWS), mg.ShapeError, r"BatchNorm expects \(…, 4\)"),
    "batch_norm in eval": (lambda: nn.BatchNorm(4).eval()(ROWS), mg.ShapeError, "BatchNorm expects"),
    "layer_norm shape": (lambda: nn.LayerNorm(4)(ROWS), mg.ShapeError, "LayerNorm expects"),
    "layer_norm axes": (lambda: nn.LayerNorm((3, 3, 3, 4))(ROWS), mg.ShapeError, "LayerNorm expects"),
    "instance_norm": (lambda: nn.InstanceNorm(4)(IMAGE[..., :1]), mg.ShapeError, "InstanceNorm expects"),
    "reshape": (lambda: nn.Reshape(2, 2)(ROWS), mg.ShapeError, "reshape"),
    "an id too large": (lambda: nn.Embedding(3, 2)(np.array([0, 3])), IndexError, "index 3 is out of bounds"),
    "float ids": (lambda: nn.Embedding(3, 2)(np.array([0.0])), IndexError, "integer"),
    "float64 into float32": (lambda: nn.Dense(1, 1)(mg.tensor(np.ones((3, 1)))), mg.DTypeError, "promoted"),
}


@pytest.mark.parametrize("act, error, text", BAD.values(), ids=BAD)
def test_mistakes_are_named(act, error, text):
    with pytest.raises(error, match=text):
        act()


def test_an_activation_kept_for_later_is_no_parameter():
    class Keeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = nn.Dense(2, 2)

        def forward(self, x):
            self.hidden = self.dense(x)
            return self.hidden

    net = Keeps()
    net(np.ones((1, 2), "float32"))
    assert [name for name, _ in net.named_parameters()] == ["dense.weight", "dense.bias"]


@pytest.mark.parametrize("wrap", [list, tuple, lambda layers: dict(enumerate(layers))])
def test_layers_in_a_list_are_refused(wrap):
    net = nn.Module()
    with pytest.raises(TypeError, match="would not be trained"):
        net.layers = wrap([nn.Dense(2, 2)])


def test_a_module_makes_tensors_of_arrays():
    assert type(nn.ReLU()(np.ones(2, "float32"))) is mg.Tensor


def test_a_replaced_child_or_parameter_keeps_its_place():
    net = nn.Sequential(nn.Dense(1, 2), nn.ReLU(), nn.Dense(2, 1))
    net.dense1 = nn.Dense(1, 2)
    assert [name for name, _ in net.named_modules()][1:] == ["dense1", "relu1", "dense2"]
    net.dense2.weight = mg.tensor(np.ones((2, 1), np.float32), requires_grad=True)
    assert [name for name, _ in net.dense2.named_parameters()] == ["weight", "bias"]
