"""Layers made for GANs against naive loops: spectral norm, minibatch layers, packing, virtual batch norm."""

import copy
import math

import numpy as np
import pytest

import minigan as mg
from minigan import backend, nn
from minigan.nn.init import he, initialize
from minigan.nn.spectral import SETTLING
from tests.strict_array import StrictArray, no_sync
from tests.test_nn import naive_conv, naive_conv_transpose, naive_dense, numbers, same_state


def prepared(layer, seed=1):
    """The layer in float64, its parameters away from their initial values."""
    layer.to(dtype="float64")
    for i, p in enumerate(layer.parameters()):
        p.assign(numbers(p.shape, seed + i))
    for _, module in layer.named_modules():
        if isinstance(module, nn.SpectralNorm):
            module.settle()
    return layer


def as_function(layer):
    """(x, *parameters) → y, and the parameters' values: what check_grad takes."""
    modules, names = dict(layer.named_modules()), [name for name, _ in layer.named_parameters()]

    def forward(x, *parameters):
        for name, p in zip(names, parameters, strict=True):
            owner, _, attribute = name.rpartition(".")
            object.__setattr__(modules[owner], attribute, p)
        return layer(x)

    return forward, [p.numpy() for p in layer.parameters()]


# ---- the naive layers: loops over single numbers -----------------------------------------------------------


def naive_minibatch_discrimination(x, weight, kernels, dim):
    out = np.zeros((len(x), kernels))
    t = weight.reshape(-1, kernels, dim)
    for i, j, b in np.ndindex(len(x), len(x), kernels):
        if i != j:
            distance = sum(abs((x[i] - x[j]) @ t[:, b, c]) for c in range(dim))
            out[i, b] += math.exp(-distance)
    return np.concatenate([x, out], 1)


def naive_minibatch_std(x, group):
    out = np.zeros((*x.shape[:-1], x.shape[-1] + 1))
    for start in range(0, len(x), group):
        members, found = x[start : start + group], []
        for at in np.ndindex(x.shape[1:]):
            column = [row[at] for row in members]
            mean = sum(column) / group
            found.append(math.sqrt(sum((value - mean) ** 2 for value in column) / group + 1e-8))
        out[start : start + group, ..., :-1] = members
        out[start : start + group, ..., -1] = sum(found) / len(found)
    return out


def naive_pack(x, m):
    out = np.zeros((len(x) // m, *x.shape[1:-1], m * x.shape[-1]))
    for at in np.ndindex(x.shape):
        pack, k = divmod(at[0], m)
        out[(pack, *at[1:-1], k * x.shape[-1] + at[-1])] = x[at]
    return out


def naive_virtual_batch_norm(x, gamma, beta, size, eps):
    """The paper's means and mean squares, one sample and channel at a time."""
    y = np.empty_like(x)
    for c in range(x.shape[-1]):
        mean, square = x[:size, ..., c].mean(), (x[:size, ..., c] ** 2).mean()
        for i in range(len(x)):
            m, q = mean, square
            if i >= size:
                m = (size * mean + x[i, ..., c].mean()) / (size + 1)
                q = (size * square + (x[i, ..., c] ** 2).mean()) / (size + 1)
            y[i, ..., c] = gamma[c] * (x[i, ..., c] - m) / math.sqrt(q - m * m + eps) + beta[c]
    return y


def naive_discrimination(x, p):
    return naive_minibatch_discrimination(x, p["weight"], 4, 2)


def naive_virtual(x, p):
    return naive_virtual_batch_norm(x, p["gamma"], p["beta"], 3, 1e-5)


# name: (layer, shape of x, naive forward, shape of y)
LAYERS = {
    "discrimination": (lambda: nn.MinibatchDiscrimination(3, 4, 2), (5, 3), naive_discrimination, (5, 7)),
    "discrimination of one": (lambda: nn.MinibatchDiscrimination(3, 4, 2), (1, 3), naive_discrimination, (1, 7)),
    "std": (lambda: nn.MinibatchStdDev(3), (6, 4), lambda x, p: naive_minibatch_std(x, 3), (6, 5)),
    "std on images": (
        lambda: nn.MinibatchStdDev(2),
        (4, 3, 2, 2),
        lambda x, p: naive_minibatch_std(x, 2),
        (4, 3, 2, 3),
    ),
    "std, whole batch": (lambda: nn.MinibatchStdDev(None), (5, 2), lambda x, p: naive_minibatch_std(x, 5), (5, 3)),
    "std, default": (nn.MinibatchStdDev, (8, 2), lambda x, p: naive_minibatch_std(x, 4), (8, 3)),
    "pack": (lambda: nn.Pack(2), (6, 3), lambda x, p: naive_pack(x, 2), (3, 6)),
    "pack images": (lambda: nn.Pack(3), (6, 2, 4, 2), lambda x, p: naive_pack(x, 3), (2, 2, 4, 6)),
    "pack of one": (lambda: nn.Pack(1), (3, 2, 2, 1), lambda x, p: x, (3, 2, 2, 1)),
    "virtual": (lambda: nn.VirtualBatchNorm(2, 3), (5, 2), naive_virtual, (5, 2)),
    "virtual on images": (lambda: nn.VirtualBatchNorm(2, 3), (5, 2, 3, 2), naive_virtual, (5, 2, 3, 2)),
}
cases = pytest.mark.parametrize("case", LAYERS.values(), ids=LAYERS)


@pytest.mark.parametrize("mode", ["train", "eval"])
@cases
def test_forward_is_the_naive_one(case, mode):
    make, x_shape, naive, y_shape = case
    layer, x = getattr(prepared(make()), mode)(), numbers(x_shape)
    y = layer(mg.tensor(x))
    assert (y.shape, y.dtype) == (y_shape, np.float64)
    expected = naive(x, {name: p.numpy() for name, p in layer.named_parameters()})
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-11, atol=1e-12)


@cases
def test_gradients_by_input_and_parameters(case):
    make, x_shape, *_ = case
    fn, parameters = as_function(prepared(make()))
    mg.check_grad(fn, numbers(x_shape, 3), *parameters, order=3, directions=1)


@cases
def test_on_a_device_in_float32_and_without_waiting(case):
    make, x_shape, *_ = case
    layer, x = make(), numbers(x_shape).astype(np.float32)
    results = []
    for device in ("cpu", "strict"):
        layer.to(device)
        t = mg.tensor(x, requires_grad=True, device=device)
        with no_sync():
            y = layer(t)
            gradients = mg.grad(mg.sum(y**2), [t, *layer.parameters()])
        assert all(a.dtype == np.float32 and a.device == device for a in (y, *gradients))
        results.append([y.numpy(), *[g.numpy() for g in gradients]])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def couplings():
    """name: (layer in training, shape of x)"""
    return {name: (make(), shape) for name, (make, shape, *_) in LAYERS.items() if shape[0] > 1} | {
        "batch_norm": (nn.BatchNorm(3), (4, 3)),
        "layer_norm": (nn.LayerNorm(3), (4, 3)),
        "spectral": (nn.SpectralNorm(nn.Dense(3, 2)).eval(), (4, 3)),
        "with reference": (with_reference(), (4, 3)),
    }


def with_reference():
    net = nn.Sequential(nn.Dense(3, 4), nn.VirtualBatchNorm(4, 5), nn.Tanh(), nn.Dense(4, 2))
    return nn.WithReference(initialize(net, he), numbers((5, 3), 7).astype(np.float32))


@pytest.mark.parametrize("layer, shape", couplings().values(), ids=couplings())
def test_what_a_layer_says_about_coupling_is_so(layer, shape):
    """One sample (or pack) of the batch changes: do the outputs of the others?"""
    prepared(layer)
    m = layer.m if isinstance(layer, nn.Pack) else 1
    x = numbers(shape, 5)
    changed = x.copy()
    changed[-m:] += 0.5  # a last one: of no reference
    before, after = layer(mg.tensor(x)).numpy(), layer(mg.tensor(changed)).numpy()
    assert not np.array_equal(before[-1], after[-1])
    couples = any(module.couples_samples for _, module in layer.named_modules())
    assert couples == (not np.array_equal(before[:-1], after[:-1]))


@pytest.mark.parametrize("layer", [nn.MinibatchDiscrimination(2, 3, 2), nn.MinibatchStdDev(4)], ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_identical_samples_have_a_finite_gradient(layer, dtype):
    layer.to(dtype=dtype)
    x = mg.tensor(np.tile(np.array([[0.3, -0.7]], dtype), (4, 1)), requires_grad=True)
    y = layer(x)
    (g,) = mg.grad(mg.sum(y**2), x, create_graph=True)
    (h,) = mg.grad(mg.sum(g**2), x)
    assert np.isfinite(g.numpy()).all() and np.isfinite(h.numpy()).all()
    np.testing.assert_allclose(g.numpy(), 2 * x.numpy(), rtol=1e-5)  # only through the copied features
    expected = 3 if isinstance(layer, nn.MinibatchDiscrimination) else 1e-4
    np.testing.assert_allclose(y.numpy()[:, 2:], expected, rtol=1e-5)


def test_far_samples_are_not_lost_next_to_the_sample_itself():
    """In float32, 1 + 1e-9 − 1 would be 0."""
    layer = nn.MinibatchDiscrimination(1, 1, 1)
    layer.weight.assign([[1.0]])
    y = layer(mg.tensor([[0.0], [20.0]])).numpy()
    np.testing.assert_allclose(y[:, 1], math.exp(-20), rtol=1e-5)


def test_discrimination_hands_its_fans_to_the_initialiser():
    asked = []
    nn.MinibatchDiscrimination(4, 3, 2, init=lambda rng, shape, *fans: asked.append((shape, fans)) or zeros(rng, shape))
    assert asked == [((4, 6), (4, 6))]


def test_minibatch_layers_take_an_empty_batch():
    x = mg.tensor(np.zeros((0, 3), np.float32))
    assert nn.MinibatchDiscrimination(3, 2, 2)(x).shape == (0, 5)
    assert nn.MinibatchStdDev(4)(x).shape == nn.MinibatchStdDev(None)(x).shape == (0, 4)
    assert nn.Pack(2)(x).shape == (0, 6)


def test_pack_puts_sample_k_into_channels_k():
    x = np.arange(2 * 2 * 1 * 3, dtype=np.float32).reshape(4, 1, 1, 3)
    packs = nn.Pack(2)(mg.tensor(x)).numpy()
    assert packs.reshape(2, 6).tolist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]


# ---- virtual batch norm ------------------------------------------------------------------------------------


def test_with_reference_returns_the_rows_after_the_reference():
    layer = prepared(with_reference())
    x, reference = numbers((4, 3), 2), layer.reference
    whole = layer.network(mg.tensor(np.concatenate([reference, x]))).numpy()
    assert whole.shape == (9, 2)
    assert np.array_equal(layer(mg.tensor(x)).numpy(), whole[5:])


def test_a_sample_counts_as_one_of_r_plus_one():
    """The sample's own statistics are those of the batch norm of the reference with it."""
    layer, x = prepared(nn.VirtualBatchNorm(2, 3)), numbers((5, 2, 2, 2))
    y = layer(mg.tensor(x)).numpy()
    gamma, beta = layer.gamma.numpy(), layer.beta.numpy()
    for i in (3, 4):
        batch = mg.batch_norm(mg.tensor(x[[0, 1, 2, i]]), gamma, beta).numpy()
        np.testing.assert_allclose(y[i], batch[3], rtol=1e-12)
    np.testing.assert_allclose(y[:3], mg.batch_norm(mg.tensor(x[:3]), gamma, beta).numpy(), rtol=1e-12)


def test_gradients_reach_the_weights_through_the_reference():
    fn, parameters = as_function(prepared(with_reference()))
    mg.check_grad(fn, numbers((2, 3)), *parameters, order=2, directions=1)
    layer = prepared(with_reference())
    x = mg.tensor(numbers((2, 3)))
    (through,) = mg.grad(mg.sum(layer(x) ** 2), layer.network.dense1.weight)
    hidden = layer.network.dense1(mg.tensor(np.concatenate([layer.reference, x.numpy()])))
    frozen = mg.concatenate([hidden[:5].detach(), hidden[5:]])  # the reference's activations as constants
    for name in ("virtualbatchnorm1", "tanh1", "dense2"):
        frozen = getattr(layer.network, name)(frozen)
    (without,) = mg.grad(mg.sum(frozen[5:] ** 2), layer.network.dense1.weight)
    assert np.abs(through.numpy() - without.numpy()).max() > 1e-3


def test_the_reference_is_a_copy_and_part_of_the_state():
    reference = numbers((5, 3), 7)
    layer = nn.WithReference(nn.Sequential(nn.Dense(3, 2).to(dtype="float64"), nn.VirtualBatchNorm(2, 5)), reference)
    kept = layer.state_dict()["reference"]
    reference[:] = 0
    assert np.array_equal(layer.reference, kept) and kept.any()
    layer.to(dtype="float32")
    assert layer.reference.dtype == np.float32 and layer(mg.tensor(np.ones((1, 3), np.float32))).dtype == np.float32
    layer.to("strict")
    assert type(layer.reference) is StrictArray
    assert type(nn.WithReference(nn.ReLU(), mg.tensor([[1.0]], device="strict")).reference) is StrictArray


def test_large_means_do_not_cancel():
    """q − m² in float32 would have nothing left of a variance of 1 beside a mean of 3000."""
    x = (3000 + numbers((40, 1))).astype(np.float32)
    y = nn.VirtualBatchNorm(1, 30)(mg.tensor(x)).numpy()
    expected = naive_virtual_batch_norm(x.astype(float), [1.0], [0.0], 30, 1e-5)
    np.testing.assert_allclose(y, expected, atol=2e-3)


# ---- spectral norm -----------------------------------------------------------------------------------------


def matrix(kind, weight):
    """The weight as the paper's matrix (out, rest), out found by hand."""
    out_axis = {"dense": 1, "conv": 3, "conv_transpose": 2}[kind]
    return np.moveaxis(weight, out_axis, 0).reshape(weight.shape[out_axis], -1)


# name: (layer, shape of x, naive forward of x and {weight, bias})
WEIGHTED = {
    "dense": (lambda: nn.Dense(4, 3), (5, 4), naive_dense),
    "conv": (
        lambda: nn.Conv(2, 3, (3, 2), stride=(2, 1), padding=(1, 0)),
        (2, 4, 3, 2),
        lambda x, p: naive_conv(x, p, (2, 1), (1, 0)),
    ),
    "conv_transpose": (
        lambda: nn.ConvTranspose(3, 2, (3, 2), stride=(2, 3), padding=(1, 0), output_padding=(1, 2)),
        (2, 3, 2, 3),
        lambda x, p: naive_conv_transpose(x, p, (2, 3), (1, 0), (1, 2)),
    ),
}
kinds = pytest.mark.parametrize("kind", WEIGHTED)


def unit(a):
    return a / np.linalg.norm(a)


@kinds
def test_sigma_becomes_the_largest_singular_value(kind):
    make, x_shape, _ = WEIGHTED[kind]
    layer = prepared(nn.SpectralNorm(make()))
    for _ in range(300):
        layer(mg.tensor(np.zeros(x_shape)))
    w = matrix(kind, layer.layer.weight.numpy())
    left, singular, right = np.linalg.svd(w)
    np.testing.assert_allclose(layer.sigma().item(), singular[0], rtol=1e-9)
    assert layer.sigma().item() <= singular[0] * (1 + 1e-12)
    np.testing.assert_allclose(np.abs([layer.u @ left[:, 0], layer.v @ right[0]]), 1, rtol=1e-9)


@kinds
def test_sigma_is_close_from_the_start(kind):
    layer = nn.SpectralNorm(WEIGHTED[kind][0]())
    largest = np.linalg.svd(matrix(kind, layer.layer.weight.numpy()))[1][0]
    assert 0.97 * largest < layer.sigma().item() < 1.0001 * largest
    assert layer.u.dtype == layer.v.dtype == np.float32
    np.testing.assert_allclose([np.linalg.norm(layer.u), np.linalg.norm(layer.v)], 1, rtol=1e-6)
    assert layer.u.shape == (len(matrix(kind, layer.layer.weight.numpy())),)


def test_u_starts_alike_for_the_same_weight():
    dense = nn.Dense(4, 3)
    assert np.array_equal(nn.SpectralNorm(dense).u, nn.SpectralNorm(dense).u)


@kinds
@pytest.mark.parametrize("iterations", [1, 3])
def test_training_follows_algorithm_1_step_by_step(kind, iterations):
    make, x_shape, naive = WEIGHTED[kind]
    layer = prepared(nn.SpectralNorm(make(), iterations=iterations))
    layer.u = u = unit(numbers(layer.u.shape, 8))  # far from converged: a step more or less would show
    weight, bias = layer.layer.weight.numpy(), layer.layer.bias.numpy()
    w, x = matrix(kind, weight), numbers(x_shape)
    for _ in range(2):
        y = layer(mg.tensor(x))
        for _ in range(iterations):
            v = unit(w.T @ u)
            u = unit(w @ v)
        np.testing.assert_allclose(layer.u, u, rtol=1e-9)
        np.testing.assert_allclose(layer.v, v, rtol=1e-9)
        expected = naive(x, {"weight": weight / (u @ w @ v), "bias": bias})
        np.testing.assert_allclose(y.numpy(), expected, rtol=1e-9, atol=1e-12)
        assert np.abs(unit(w.T @ u) - v).max() > 1e-6  # not converged yet


@kinds
def test_evaluation_leaves_u_alone_and_gives_what_training_gave(kind):
    make, x_shape, _ = WEIGHTED[kind]
    layer, x = prepared(nn.SpectralNorm(make())), mg.tensor(numbers(x_shape))
    y = layer(x).numpy()
    before = layer.state_dict()
    assert np.array_equal(layer.eval()(x).numpy(), y)
    assert np.array_equal(layer(x).numpy(), y) and same_state(layer.state_dict(), before)
    layer.train()(x)
    assert not np.array_equal(layer.u, before["u"])


@kinds
def test_gradients_with_u_and_v_fixed(kind):
    make, x_shape, _ = WEIGHTED[kind]
    layer = prepared(nn.SpectralNorm(make())).eval()
    layer.u, layer.v = unit(numbers(layer.u.shape, 8)), unit(numbers(layer.v.shape, 9))  # not the singular vectors
    layer.layer.weight.assign(layer.layer.weight.numpy() + 0.5 * back(kind, np.outer(layer.u, layer.v), layer))
    fn, parameters = as_function(layer)
    mg.check_grad(fn, numbers(x_shape), *parameters, order=3, directions=1)


def back(kind, w, layer):
    """The paper's matrix in the layout of the weight."""
    out_axis = {"dense": 1, "conv": 3, "conv_transpose": 2}[kind]
    shape = list(layer.layer.weight.shape)
    out = shape.pop(out_axis)
    return np.moveaxis(w.reshape(out, *shape), 0, out_axis)


@kinds
def test_the_weights_gradient_is_the_papers_formula(kind):
    """W̄ = (W̄' − ⟨W̄', W/σ⟩·u vᵀ)/σ, in training, where W̄' is the gradient by a plain layer's weight."""
    make, x_shape, _ = WEIGHTED[kind]
    layer, x = prepared(nn.SpectralNorm(make())), mg.tensor(numbers(x_shape))
    (found,) = mg.grad(mg.sum(layer(x) ** 2), layer.layer.weight)
    w, sigma = layer.layer.weight.numpy(), layer.sigma().item()
    plain = mg.tensor(w / sigma, requires_grad=True)
    (inner,) = mg.grad(mg.sum(layer.layer.apply(x, plain) ** 2), plain)
    direction = back(kind, np.outer(layer.u, layer.v), layer)
    expected = (inner.numpy() - (inner.numpy() * w / sigma).sum() * direction) / sigma
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-10)
    assert abs((inner.numpy() * w).sum()) > 1e-2  # the second term is there


def test_a_network_rises_no_faster_than_a_distance():
    layers = [nn.Dense(6, 32), nn.ReLU(), nn.Dense(32, 32), nn.LeakyReLU(), nn.Dense(32, 1)]
    net = nn.spectral_norm(initialize(nn.Sequential(*layers), he)).to(dtype="float64")
    rng = np.random.default_rng(0)
    for _ in range(500):
        net(mg.tensor(np.zeros((1, 6))))
    x = mg.tensor(3 * rng.standard_normal((2000, 6)), requires_grad=True)
    (slopes,) = mg.grad(mg.sum(net.eval()(x)), x)
    steepest = np.linalg.norm(slopes.numpy(), axis=1).max()
    assert 0.05 < steepest <= 1 + 1e-6
    single = nn.SpectralNorm(nn.Dense(4, 3)).eval()
    difference = single(mg.tensor(single.v[None])) - single(mg.tensor(np.zeros((1, 4), np.float32)))
    assert 0.97 < np.linalg.norm(difference.numpy()) < 1.0001  # the bound is reached


@kinds
def test_state_dict_resumes_the_same_u(kind, tmp_path):
    make, x_shape, _ = WEIGHTED[kind]
    whole, resumed = nn.SpectralNorm(make()), nn.SpectralNorm(make())
    x = mg.tensor(numbers(x_shape).astype(np.float32))
    whole.u = unit(numbers(whole.u.shape, 8)).astype(np.float32)
    whole(x)
    np.savez(tmp_path / "state.npz", **whole.state_dict())
    with np.load(tmp_path / "state.npz", allow_pickle=False) as loaded:
        assert set(loaded) == {"layer.weight", "layer.bias", "u", "v"}
        resumed.load_state_dict(dict(loaded))
    for _ in range(2):
        assert np.array_equal(whole(x).numpy(), resumed(x).numpy())
    assert same_state(whole.state_dict(), resumed.state_dict())


def test_a_second_forward_leaves_the_first_ones_graph_alone():
    layer, x = prepared(nn.SpectralNorm(nn.Dense(4, 3))), mg.tensor(numbers((2, 4)))
    layer.u = unit(numbers((3,), 8))
    loss = mg.sum(layer(x) ** 2)
    (alone,) = mg.grad(loss, layer.layer.weight, retain_graph=True)
    layer(x)
    assert np.array_equal(mg.grad(loss, layer.layer.weight)[0].numpy(), alone.numpy())


@kinds
def test_spectral_norm_on_a_device_without_waiting(kind):
    make, x_shape, _ = WEIGHTED[kind]
    layer, x = nn.SpectralNorm(make()), numbers(x_shape).astype(np.float32)
    layer.u = unit(numbers(layer.u.shape, 8)).astype(np.float32)
    state, results = layer.state_dict(), []
    for device in ("cpu", "strict"):
        layer.to(device).load_state_dict(state)
        t = mg.tensor(x, requires_grad=True, device=device)
        with no_sync():
            y = layer(t)
            gradients = mg.grad(mg.sum(y**2), [t, *layer.parameters()])
        assert backend.device_of(layer.u) == backend.device_of(layer.v) == device
        assert all(a.dtype == np.float32 for a in (y, *gradients))
        results.append([y.numpy(), *[g.numpy() for g in gradients], *layer.state_dict().values()])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert backend.device_of(nn.SpectralNorm(make().to("strict")).u) == "strict"
    assert nn.SpectralNorm(make().to(dtype="float64")).u.dtype == np.float64


def test_u_and_v_follow_the_dtype_and_keep_their_values():
    layer = nn.SpectralNorm(nn.Dense(4, 3))
    u, v = layer.u, layer.v
    assert layer.to(dtype="float64")(mg.tensor(np.ones((2, 4)))).dtype == np.float64  # one iteration
    layer = nn.SpectralNorm(layer.layer.to(dtype="float32")).to(dtype="float64")
    assert layer.u.dtype == layer.v.dtype == np.float64
    assert np.array_equal(layer.u, u) and np.array_equal(layer.v, v)


def test_copies_go_their_own_ways():
    layer, x = nn.SpectralNorm(nn.Dense(4, 3)), mg.tensor(np.ones((2, 4), np.float32))
    layer.u = unit(numbers((3,), 8)).astype(np.float32)
    twin, before = copy.deepcopy(layer), layer.state_dict()
    twin(x)
    assert same_state(layer.state_dict(), before) and not np.array_equal(twin.u, layer.u)


def test_no_iteration_is_recorded_and_frozen_weights_are_constants():
    layer, x = nn.SpectralNorm(nn.Dense(4, 3)), mg.tensor(np.ones((2, 4), np.float32))
    before = layer.u
    with layer.frozen():
        assert not layer(x).requires_grad
    with mg.no_grad():
        assert not layer(x).requires_grad
    assert type(layer.u) is np.ndarray and layer.u is not before


def test_settling_follows_new_weights():
    layer = nn.SpectralNorm(nn.Dense(4, 3))
    initialize(layer, he, seed=1)
    layer.layer.weight.assign(10 * layer.layer.weight.numpy())
    layer.settle()
    largest = np.linalg.svd(layer.layer.weight.numpy())[1][0]
    assert 0.97 * largest < layer.sigma().item() < 1.0001 * largest
    assert [name for name, _ in layer.named_buffers()] == ["u", "v"] and SETTLING >= 10


# ---- spectral_norm: a whole network ------------------------------------------------------------------------


def test_every_weighted_layer_is_wrapped_in_its_place():
    inner = nn.Sequential(nn.Flatten(), head=nn.Dense(27, 1))
    net = nn.Sequential(nn.Conv(1, 2, 3), nn.LeakyReLU(), nn.ConvTranspose(2, 3, 2), nn.ReLU(), rest=inner, name="D")
    parameters, x = net.parameters(), mg.tensor(numbers((2, 4, 4, 1)).astype(np.float32))
    assert nn.spectral_norm(net) is net
    assert [type(layer).__name__ for layer in net] == [
        "SpectralNorm",
        "LeakyReLU",
        "SpectralNorm",
        "ReLU",
        "Sequential",
    ]
    assert [p.name for p in net.parameters()] == [
        *["D.conv1.layer.weight", "D.conv1.layer.bias", "D.convtranspose1.layer.weight"],
        *["D.convtranspose1.layer.bias", "D.rest.head.layer.weight", "D.rest.head.layer.bias"],
    ]
    assert all(a is b for a, b in zip(net.parameters(), parameters, strict=True))
    assert net.conv1.path == "D.conv1" and net.rest.head.path == "D.rest.head"
    y = x
    for layer in (net.conv1, net.leakyrelu1, net.convtranspose1, net.relu1, net.rest.flatten1, net.rest.head):
        y = layer.eval()(y)
    assert np.array_equal(net(x).numpy(), y.numpy())
    assert "D.conv1.layer" in net.summary(x) and "(2, 2, 2, 2)" in net.summary(x)


def test_a_layer_used_twice_gets_one_wrapper_and_modes_are_kept():
    shared = nn.Dense(2, 2)
    net = nn.spectral_norm(nn.Sequential(shared, nn.Tanh(), shared).eval())
    assert net.dense1 is net.dense2 and net.dense1.layer is shared
    assert not any(module.training for _, module in net.named_modules())


def test_hooks_of_the_wrapped_layer_still_see_its_calls():
    dense, seen = nn.Dense(2, 3), []
    dense.hooks.append(lambda module, inputs, output: seen.append((module, inputs[0].shape, output.shape)))
    nn.SpectralNorm(dense)(np.ones((4, 2), np.float32))
    assert seen == [(dense, (4, 2), (4, 3))]


def test_an_error_inside_names_the_layer():
    net = nn.spectral_norm(nn.Sequential(nn.Dense(2, 3), name="D"))
    with pytest.raises(mg.ShapeError, match=r"in D\.dense1\n"):
        net(np.ones((4, 5), np.float32))


# ---- training ----------------------------------------------------------------------------------------------


def critic():
    """One of each; the reference is packed as the batch is."""
    net = nn.Sequential(
        nn.Conv(2, 4, 3, stride=2, padding=1),
        nn.VirtualBatchNorm(4, 4),
        nn.LeakyReLU(),
        nn.MinibatchStdDev(4),
        nn.Flatten(),
        nn.Dense(20, 6),
        nn.MinibatchDiscrimination(6, 3, 2),
        nn.Dense(9, 1),
    )
    net = nn.spectral_norm(initialize(net, he))
    return nn.Sequential(nn.Pack(2), nn.WithReference(net, numbers((4, 4, 4, 2), 9).astype(np.float32)))


def train(D, count):
    """The losses of some steps of minimax training on fixed batches."""
    real, fake = (mg.tensor((numbers((8, 4, 4, 1), i) + 0.3 * i).astype(np.float32)) for i in range(2))
    optimizer, losses = mg.optim.SGD(D.parameters(), lr=0.05), []
    for _ in range(count):
        loss = mg.mean(mg.softplus(-D(real))) + mg.mean(mg.softplus(D(fake)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_a_discriminator_of_all_of_them_learns_and_resumes_exactly():
    D, resumed = critic(), critic()
    before = D.state_dict()
    losses = train(D, 20)
    assert losses[-1] < 0.8 * losses[0]
    changed = {name for name, a in D.state_dict().items() if not np.array_equal(a, before[name])}
    last = "withreference1.network.dense2.u"  # of one number, ±1
    assert set(before) - changed == {"withreference1.reference", last}
    resumed.load_state_dict(D.state_dict())
    assert train(resumed, 3) == train(D, 3) and same_state(resumed.state_dict(), D.state_dict())


# ---- bad arguments -----------------------------------------------------------------------------------------

ROWS, IMAGES = np.ones((6, 3), np.float32), np.ones((6, 2, 2, 3), np.float32)


def wrapped_twice():
    return nn.spectral_norm(nn.spectral_norm(nn.Sequential(nn.Dense(2, 2), head=nn.Dense(2, 1))))


BAD = {  # name: (what is done, the error, what its message says)
    "discrimination, kernels 0": (lambda: nn.MinibatchDiscrimination(3, 0), ValueError, "kernels must be at least 1"),
    "discrimination, dim 0": (lambda: nn.MinibatchDiscrimination(3, 1, 0), ValueError, "dim must be at least 1"),
    "discrimination, features": (lambda: nn.MinibatchDiscrimination(4)(ROWS), mg.ShapeError, r"expects \(…, 4\)"),
    "discrimination of images": (lambda: nn.MinibatchDiscrimination(3)(IMAGES), mg.ShapeError, r"Flatten\(\) before"),
    "std, group of one": (lambda: nn.MinibatchStdDev(1), ValueError, "group_size must be at least 2"),
    "std, group 4 of 6": (lambda: nn.MinibatchStdDev(4)(ROWS), mg.ShapeError, r"multiple of group_size = 4.*\(6, 3\)"),
    "std of a vector": (lambda: nn.MinibatchStdDev(2)(ROWS[:, 0]), mg.ShapeError, r"expects \(n, …, c\)"),
    "pack 0": (lambda: nn.Pack(0), ValueError, "m must be at least 1"),
    "pack 4 of 6": (lambda: nn.Pack(4)(IMAGES), mg.ShapeError, r"Pack: .*multiple of m = 4.*\(6, 2, 2, 3\)"),
    "pack a vector": (lambda: nn.Pack(2)(ROWS[:, 0]), mg.ShapeError, r"expects \(n, …, c\)"),
    "virtual, channels": (lambda: nn.VirtualBatchNorm(4, 2)(ROWS), mg.ShapeError, "VirtualBatchNorm expects"),
    "virtual, reference 0": (lambda: nn.VirtualBatchNorm(4, 0), ValueError, "reference_size must be at least 1"),
    "virtual alone": (lambda: nn.VirtualBatchNorm(3, 6)(ROWS), mg.ShapeError, r"first 6 rows.*WithReference\("),
    "another reference": (
        lambda: nn.WithReference(nn.Sequential(nn.ReLU(), norm=nn.VirtualBatchNorm(3, 4)), ROWS),
        mg.ShapeError,
        "reference has 6 rows, norm expects 4",
    ),
    "other rows than the reference's": (
        lambda: nn.WithReference(nn.ReLU(), ROWS)(IMAGES),
        mg.ShapeError,
        "concatenate",
    ),
    "spectral norm of a function": (lambda: nn.SpectralNorm(mg.tanh), TypeError, "Dense, Conv or ConvTranspose"),
    "spectral norm of a batch norm": (lambda: nn.SpectralNorm(nn.BatchNorm(2)), TypeError, r"got BatchNorm\(2\)"),
    "spectral norm twice": (lambda: nn.SpectralNorm(nn.SpectralNorm(nn.Dense(1, 1))), TypeError, "got SpectralNorm"),
    "no iterations": (lambda: nn.SpectralNorm(nn.Dense(1, 1), 0), ValueError, "iterations must be at least 1"),
    "no direction": (lambda: nn.SpectralNorm(nn.Dense(2, 2, init=zeros)), ValueError, "the weight is 0"),
    "a network wrapped twice": (wrapped_twice, ValueError, "wrapped already: dense1, head"),
    "nothing to wrap": (lambda: nn.spectral_norm(nn.Sequential(nn.ReLU())), ValueError, "no Dense, Conv"),
    "a bare layer": (lambda: nn.spectral_norm(nn.Dense(1, 1)), ValueError, r"with SpectralNorm\(layer\)"),
}


def zeros(rng, shape, *fans):
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize("act, error, text", BAD.values(), ids=BAD)
def test_mistakes_are_named(act, error, text):
    with pytest.raises(error, match=text):
        act()


def test_a_refused_network_is_left_as_it_was():
    net = nn.Sequential(nn.Dense(2, 2), nn.SpectralNorm(nn.Dense(2, 1)))
    with pytest.raises(ValueError, match="wrapped already: spectralnorm1"):
        nn.spectral_norm(net)
    zero = nn.Sequential(nn.Dense(2, 2), nn.Dense(2, 1, init=zeros), name="D")
    with pytest.raises(ValueError, match="the weight is 0"):
        nn.spectral_norm(zero)
    assert type(net.dense1) is type(zero.dense1) is type(zero.dense2) is nn.Dense
    assert [p.name for p in zero.parameters()][0] == "D.dense1.weight"
