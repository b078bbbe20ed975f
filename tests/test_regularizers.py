"""Regularisers: gradient penalties against loops over single samples, and what every other one computes and keeps.

The oracles know nothing of double backward: a critic's gradient at one sample is a difference of its values there.
"""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import minigan as mg
from minigan import nn, objectives
from minigan.data import Batches
from minigan.errors import ShapeError, StaleError
from minigan.games import GAN, Alternating
from minigan.objectives import (
    DRAGAN,
    R1,
    R2,
    FeatureMatching,
    GradientPenalty,
    HistoricalAveraging,
    LipschitzPenalty,
    Orthogonal,
    PullingAway,
    Regularizer,
    WeightClipping,
    dragan,
    feature_matching,
    gradient_penalty,
    lipschitz_penalty,
    orthogonal_penalty,
    pulling_away,
    r1,
    r2,
)
from minigan.objectives.penalties import features, input_gradient, interpolates
from minigan.optim import SGD
from tests.strategies import examples, seeds


def f64(a, requires_grad=False):
    return mg.tensor(np.asarray(a, np.float64), requires_grad=requires_grad)


def in_float64(network, seed=0, size=0.7):
    """The network in float64, every parameter random: no bias is 0."""
    rng = np.random.default_rng(seed)
    network.to(dtype="float64")
    for p in network.parameters():
        p.assign(size * rng.standard_normal(p.shape))
    return network


def dense_critic(seed=0):
    layers = nn.Dense(3, 5), nn.Tanh(), nn.Dense(5, 4), nn.Tanh(), nn.Dense(4, 1)
    return in_float64(nn.Sequential(*layers, name="D"), seed)


def image_critic(seed=0):
    """(n, 5, 4, 2) → (n, 1); the second convolution has leftover rows."""
    first, second = nn.Conv(2, 3, 3, padding=1), nn.Conv(3, 2, 2, stride=2)
    layers = first, nn.Tanh(), second, nn.Tanh(), nn.Flatten(), nn.Dense(8, 1)
    return in_float64(nn.Sequential(*layers, name="D"), seed)


CRITICS = {"dense": (dense_critic, (3,)), "images": (image_critic, (5, 4, 2))}
# By name: (the penalty of (critic, real, fake, u), the points it looks at, what it does to a gradient's length).
# u: uniform numbers, one for each number of real.
PENALTIES = {
    "gradient_penalty": (
        lambda D, real, fake, u: gradient_penalty(D, real, fake, per_sample(u)),
        lambda real, fake, u: mixed(real, fake, u),
        lambda length: (length - 1) ** 2,
    ),
    "gradient_penalty to 0.3": (
        lambda D, real, fake, u: gradient_penalty(D, real, fake, per_sample(u), target=0.3),
        lambda real, fake, u: mixed(real, fake, u),
        lambda length: (length - 0.3) ** 2,
    ),
    "lipschitz_penalty": (
        lambda D, real, fake, u: lipschitz_penalty(D, real, fake, per_sample(u)),
        lambda real, fake, u: mixed(real, fake, u),
        lambda length: max(0.0, length - 1) ** 2,
    ),
    "r1": (lambda D, real, fake, u: r1(D, real), lambda real, fake, u: real, lambda length: length**2),
    "r2": (lambda D, real, fake, u: r2(D, fake), lambda real, fake, u: fake, lambda length: length**2),
    "dragan": (
        lambda D, real, fake, u: dragan(D, real, u),
        lambda real, fake, u: [x + 0.5 * spread(real) * noise for x, noise in zip(real, u)],
        lambda length: (length - 1) ** 2,
    ),
    "dragan to 0.3, near": (
        lambda D, real, fake, u: dragan(D, real, u, scale=0.1, target=0.3),
        lambda real, fake, u: [x + 0.1 * spread(real) * noise for x, noise in zip(real, u)],
        lambda length: (length - 0.3) ** 2,
    ),
}
every_penalty = pytest.mark.parametrize("name", PENALTIES)
every_critic = pytest.mark.parametrize("kind", CRITICS)


def per_sample(u):
    return u.reshape(len(u), -1)[:, 0]


def mixed(real, fake, u):
    return [e * x + (1 - e) * y for x, y, e in zip(real, fake, per_sample(u))]


def spread(real):
    """The standard deviation of all numbers of the batch, by its definition."""
    return (((real - real.sum() / real.size) ** 2).sum() / real.size) ** 0.5


def samples(shape, n=4, seed=5):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, *shape)), 1 + rng.standard_normal((n, *shape)), rng.random((n, *shape))


def steepness(critic, x, step=1e-3):
    """‖∇D(x)‖ at one sample: differences of D's values (five-point) along every axis of the sample."""
    squares = 0.0
    for at in np.ndindex(x.shape):
        value = {}
        for k in (-2, -1, 1, 2):
            moved = x.copy()
            moved[at] += k * step
            with mg.no_grad():
                value[k] = critic(moved[None]).item()
        squares += ((8 * (value[1] - value[-1]) - (value[2] - value[-2])) / (12 * step)) ** 2
    return squares**0.5


def slopes_by_differences(value, parameters, step=1e-4):
    """d value/d p for every number of every parameter (five-point)."""
    found = []
    for p in parameters:
        start, slope = p.numpy(), np.empty(p.shape)
        for at in np.ndindex(p.shape):
            v = {}
            for k in (-2, -1, 1, 2):
                moved = start.copy()
                moved[at] += k * step
                p.assign(moved)
                v[k] = value()
            slope[at] = (8 * (v[1] - v[-1]) - (v[2] - v[-2])) / (12 * step)
        p.assign(start)
        found.append(slope)
    return found


# ---- a linear critic: all in closed form -----------------------------------------------------------------------------

CLOSED = {  # by ‖w‖: (the penalty, its derivative)
    "gradient_penalty": (lambda a: (a - 1) ** 2, lambda a: 2 * (a - 1)),
    "gradient_penalty to 0.3": (lambda a: (a - 0.3) ** 2, lambda a: 2 * (a - 0.3)),
    "lipschitz_penalty": (lambda a: max(0, a - 1) ** 2, lambda a: 2 * max(0, a - 1)),
    "r1": (lambda a: a**2, lambda a: 2 * a),
    "r2": (lambda a: a**2, lambda a: 2 * a),
    "dragan": (lambda a: (a - 1) ** 2, lambda a: 2 * (a - 1)),
    "dragan to 0.3, near": (lambda a: (a - 0.3) ** 2, lambda a: 2 * (a - 0.3)),
}


@every_penalty
@examples(1)
@given(
    shape=st.sampled_from([(1,), (3,), (2, 3, 1)]),
    n=st.integers(1, 4),
    length=st.floats(0.05, 3),
    column=st.booleans(),
    seed=seeds,
)
def test_linear_critic(name, shape, n, length, column, seed):
    """f(x) = w·x + b, outputs (n,) or (n, 1): the value, its gradient by w, and none by b."""
    real, fake, u = samples(shape, n, seed)
    w = np.random.default_rng(seed).standard_normal((real[0].size, 1))
    w = f64(length * w / np.linalg.norm(w), True)
    b = f64(0.7, True)

    def critic(x):
        y = mg.reshape(x, n, -1) @ w + b
        return y if column else mg.reshape(y, n)

    value, slope = CLOSED[name]
    penalty = PENALTIES[name][0](critic, real, fake, u)
    assert penalty.shape == () and penalty.dtype == "float64"
    assert_allclose(penalty.item(), value(length), atol=1e-12)
    by_w, by_b = mg.grad(penalty + 0 * b, (w, b))
    assert_allclose(by_w.data, slope(length) * w.data / length, atol=1e-10)
    assert by_b.item() == 0


# ---- critics that are not linear -------------------------------------------------------------------------------------


@every_critic
@every_penalty
def test_penalty_is_the_mean_of_a_loop_over_samples(name, kind):
    make, shape = CRITICS[kind]
    critic = make()
    real, fake, u = samples(shape)
    function, points, of_length = PENALTIES[name]
    lengths = [steepness(critic, np.asarray(x)) for x in points(real, fake, u)]
    assert max(lengths) > 1.2 * min(lengths) and max(lengths) > 1  # they differ, and both branches of relu occur
    assert_allclose(function(critic, real, fake, u).item(), sum(map(of_length, lengths)) / len(lengths), rtol=1e-8)


@every_critic
@every_penalty
def test_penalty_gradients_reach_every_weight(name, kind):
    make, shape = CRITICS[kind]
    critic = make(seed=3)
    real, fake, u = samples(shape, 3)
    penalty = PENALTIES[name][0]
    parameters = critic.parameters()
    found = mg.grad(penalty(critic, real, fake, u), parameters)
    expected = slopes_by_differences(lambda: penalty(critic, real, fake, u).item(), parameters)
    for p, ours, theirs in zip(parameters, found, expected):
        assert_allclose(ours.data, theirs, rtol=1e-6, atol=1e-8, err_msg=p.name)
        assert np.all(ours.data != 0) or p is parameters[-1], p.name
    # a constant added to D leaves its gradient alone
    assert not found[-1].data.any() and parameters[-1].name.endswith(".bias")


@every_critic
@pytest.mark.parametrize("name", [name for name in PENALTIES if "dragan" not in name])  # its std is of the batch
def test_a_batch_is_the_mean_of_its_samples(name, kind):
    """Values and weight gradients of the batch are the means of the single samples'."""
    make, shape = CRITICS[kind]
    critic, penalty = make(), PENALTIES[name][0]
    real, fake, u = samples(shape, 3)
    alone = [penalty(critic, real[i : i + 1], fake[i : i + 1], u[i : i + 1]) for i in range(3)]
    together = penalty(critic, real, fake, u)
    assert_allclose(together.item(), np.mean([a.item() for a in alone]), rtol=1e-12)
    singly = [mg.grad(a, critic.parameters()) for a in alone]
    for i, g in enumerate(mg.grad(together, critic.parameters())):
        assert_allclose(g.data, np.mean([one[i].data for one in singly], 0), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("shape", [(2,), (2, 1, 1), (1, 2, 1), (1, 1, 2)], ids=str)
def test_norms_are_per_sample_over_all_its_axes(shape):
    """D(x) = ‖x‖²/2 has the gradient x: of lengths 5 and 13 here; over the whole batch it would be √194."""
    x = np.array([[3.0, 4.0], [5.0, 12.0]]).reshape(2, *shape)

    def critic(t):
        return 0.5 * mg.sum(mg.reshape(t, t.shape[0], -1) ** 2, axis=1)

    none = np.zeros(2)  # ε = 0: at fake
    assert_allclose(gradient_penalty(critic, 0 * x, x, none).item(), (4**2 + 12**2) / 2)
    assert_allclose(gradient_penalty(critic, x, 0 * x, 1 - none).item(), (4**2 + 12**2) / 2)
    assert_allclose(gradient_penalty(critic, 0 * x, x, none, target=5).item(), 8**2 / 2)
    assert_allclose(lipschitz_penalty(critic, 0 * x, x / 5, none).item(), (0 + 1.6**2) / 2)
    assert_allclose(r1(critic, x).item(), (25 + 169) / 2)
    assert_allclose(r2(critic, x).item(), (25 + 169) / 2)
    assert_allclose(dragan(critic, x, 0 * x).item(), (4**2 + 12**2) / 2)
    assert_allclose(input_gradient(critic, x).data, x.reshape(2, 2))


@every_penalty
def test_derivatives_to_second_order(name):
    """By the weights (a training step on a penalty is a second derivative already; Consensus takes a third)."""
    real, fake, u = samples((2,), 3)
    rng = np.random.default_rng(0)

    def penalty(w, v):
        return PENALTIES[name][0](lambda x: mg.tanh(x @ w) @ v, real, fake, u)

    mg.check_grad(penalty, 1.5 * rng.standard_normal((2, 4)), 1.5 * rng.standard_normal((4, 1)), order=2)


def flat_critics():
    """Critics with gradient 0: everywhere, or at some samples only (dead units)."""
    zero = dense_critic()
    for p in zero.parameters():
        p.assign(np.zeros(p.shape))
    relu = in_float64(nn.Sequential(nn.Dense(3, 4), nn.ReLU(), nn.Dense(4, 1)))
    relu.dense1.bias.assign(np.full(4, -100.0))
    partly = in_float64(nn.Sequential(nn.Dense(3, 1), nn.ReLU(), nn.Dense(1, 1)))
    partly.dense1.bias.assign(np.zeros(1))
    return {"zero weights": zero, "dead": relu, "partly dead": partly}


@pytest.mark.parametrize("which", ["zero weights", "dead", "partly dead"])
@every_penalty
def test_a_flat_critic_gets_finite_gradients(name, which):
    critic = flat_critics()[which]
    real, fake, u = samples((3,), 6)
    penalty = PENALTIES[name][0](critic, real, fake, u)
    found = mg.grad(penalty, critic.parameters(), create_graph=True)
    assert np.isfinite(penalty.item()) and all(np.isfinite(g.data).all() for g in found)
    if which != "partly dead":
        assert_allclose(penalty.item(), PENALTIES[name][2](0.0))
        assert not any(g.data.any() for g in found)
    second = mg.grad(sum(mg.sum(g) for g in found), critic.parameters())
    assert all(np.isfinite(g.data).all() for g in second)


# ---- what they take --------------------------------------------------------------------------------------------------


@every_critic
@pytest.mark.parametrize("function", [gradient_penalty, lipschitz_penalty])
def test_epsilon_is_one_number_a_sample_in_any_such_shape(function, kind):
    make, shape = CRITICS[kind]
    critic, (real, fake, u) = make(), samples(shape)
    epsilon = per_sample(u)
    expected = function(critic, real, fake, epsilon).item()
    for form in (epsilon[:, None], epsilon.reshape(-1, 1, 1, 1), f64(epsilon), f64(epsilon[:, None])):
        assert function(critic, f64(real), f64(fake), form).item() == expected
    assert_allclose(interpolates(real, fake, epsilon).data, mixed(real, fake, u))
    for wrong in (epsilon[:3], epsilon[None], u.ravel()[: 2 * len(u)], 0.5):
        with pytest.raises(ShapeError, match="one epsilon for each"):
            function(critic, real, fake, wrong)
    for broken in (fake[:3], fake[..., :1]):
        with pytest.raises(ShapeError, match="as many real as generated samples"):
            function(critic, real, broken, epsilon)


def test_a_number_as_the_epsilon_of_one_sample_is_refused_as_for_many():
    with pytest.raises(ShapeError, match="one epsilon for each"):
        interpolates(np.zeros((1, 2)), np.ones((1, 2)), 0.5)


@every_penalty
def test_arrays_and_tensors_of_any_kind_give_the_same(name):
    critic, (real, fake, u) = dense_critic(), samples((3,))
    penalty = PENALTIES[name][0]
    expected = penalty(critic, real, fake, u).item()
    assert penalty(critic, f64(real), f64(fake), u).item() == expected
    leaves = f64(real, True), f64(fake, True)
    assert penalty(critic, *leaves, u).item() == expected
    assert all(t.requires_grad and t.grad is None for t in leaves)
    with mg.no_grad():
        silent = penalty(critic, real, fake, u)
    assert silent.item() == expected and not silent.requires_grad
    with critic.frozen():
        assert penalty(critic, real, fake, u).item() == expected
    constant = f64(real)
    penalty(critic, constant, f64(fake), u)
    assert not constant.requires_grad and all(p.grad is None for p in critic.parameters())


@pytest.mark.parametrize("name", ["gradient_penalty", "gradient_penalty to 0.3", "lipschitz_penalty", "r2"])
def test_the_graph_goes_on_into_the_generator(name):
    """Where fake has a graph, the penalty differentiates by the generator too (as `GAN.losses` promises)."""
    G = in_float64(nn.Sequential(nn.Dense(2, 4), nn.Tanh(), nn.Dense(4, 3)), seed=4)
    critic, (real, _, u), z = dense_critic(seed=3), samples((3,), 5), np.random.default_rng(1).standard_normal((5, 2))
    penalty = PENALTIES[name][0]
    parameters = [*G.parameters(), *critic.parameters()]
    found = mg.grad(penalty(critic, real, G(z), u), parameters)
    expected = slopes_by_differences(lambda: penalty(critic, real, G(z).detach(), u).item(), parameters)
    for p, ours, theirs in zip(parameters, found, expected):
        assert_allclose(ours.data, theirs, rtol=1e-6, atol=1e-8, err_msg=p.name)
        assert np.all(ours.data != 0) or p is parameters[-1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every_penalty
def test_the_samples_dtype_is_kept(name, dtype):
    critic = dense_critic().to(dtype=dtype)
    real, fake, u = (a.astype(dtype) for a in samples((3,)))
    penalty = PENALTIES[name][0](critic, real, fake, u.astype("float64"))  # numbers drawn in another precision
    assert penalty.dtype == dtype
    assert all(g.dtype == dtype for g in mg.grad(penalty, critic.parameters()))


def test_dragan_noise():
    """x + scale·std·noise, std one number for the whole batch (not one per feature, and biased)."""
    seen = []

    def critic(x):
        seen.append(x.numpy())
        return mg.sum(x**2, axis=1)

    rng = np.random.default_rng(0)
    real, noise = rng.standard_normal((4, 3)) * [1, 10, 100], rng.random((4, 3))
    dragan(critic, real, noise)
    dragan(critic, real, noise, scale=2.0)
    dragan(critic, f64(real), f64(noise), scale=2.0)
    for points, scale in zip(seen, (0.5, 2.0, 2.0), strict=True):
        assert_allclose(points, real + scale * spread(real) * noise)
    with pytest.raises(ShapeError, match="noise like the data"):
        dragan(critic, real, noise[:, :1])


# ---- layers that couple samples --------------------------------------------------------------------------------------


@every_penalty
def test_batch_norm_in_training_is_refused_by_name_and_accepted_in_evaluation(name):
    block = nn.Sequential(nn.Dense(3, 4), nn.BatchNorm(4), nn.Tanh())
    critic = in_float64(nn.Sequential(block, nn.Dense(4, 1), name="D"))
    critic(samples((3,), 8)[0])  # running statistics that are not trivial
    real, fake, u = samples((3,))
    function, points, of_length = PENALTIES[name]
    before = critic.state_dict()
    with pytest.raises(ValueError, match=r"D\.sequential1\.batchnorm1 normalises over the batch"):
        function(critic, real, fake, u)
    after = critic.state_dict()
    assert all(np.array_equal(before[key], after[key]) for key in before)  # refused before it ran
    critic.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value = function(critic, real, fake, u).item()
    lengths = [steepness(critic, np.asarray(x)) for x in points(real, fake, u)]
    assert_allclose(value, np.mean([of_length(a) for a in lengths]), rtol=1e-8)


def test_batch_norm_is_found_without_a_path_and_as_the_critic_itself():
    for critic, shown in ((nn.BatchNorm(3), "BatchNorm"), (nn.Sequential(nn.BatchNorm(3)), "batchnorm1")):
        with pytest.raises(ValueError, match=f"^{shown} normalises"):
            r1(critic, np.zeros((4, 3), "float32"))


@pytest.mark.parametrize("layer", [lambda: nn.LayerNorm(4), lambda: nn.Dropout(0.5)], ids=["LayerNorm", "Dropout"])
def test_layers_that_couple_no_samples_pass(layer):
    critic = in_float64(nn.Sequential(nn.Dense(3, 4), layer(), nn.Tanh(), nn.Dense(4, 1)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(r1(critic, samples((3,))[0]).item())


@pytest.mark.parametrize(
    ("layer", "shown", "width"),
    [
        (lambda: nn.MinibatchStdDev(2), r"D\.minibatchstddev1 \(MinibatchStdDev\)", 5),
        (lambda: nn.MinibatchDiscrimination(4, 3, 2), r"D\.minibatchdiscrimination1 \(MinibatchDiscrimination\)", 7),
    ],
    ids=["std", "discrimination"],
)
@every_penalty
def test_minibatch_layers_warn(name, layer, shown, width):
    critic = in_float64(nn.Sequential(nn.Dense(3, 4), nn.Tanh(), layer(), nn.Dense(width, 1), name="D"))
    assert critic[2].couples_samples
    with pytest.warns(UserWarning, match=f"^{shown} mixes the samples of a batch") as caught:
        penalty = PENALTIES[name][0](critic, *samples((3,)))
    assert len(caught) == 1
    found = mg.grad(penalty, critic.parameters())
    assert all(np.isfinite(g.data).all() for g in found)


def test_minibatch_layers_warn_in_evaluation_mode_too():
    critic = in_float64(nn.Sequential(nn.Dense(3, 4), nn.MinibatchStdDev(2), nn.Dense(5, 1), name="D")).eval()
    with pytest.warns(UserWarning, match="mixes the samples"):
        r1(critic, samples((3,))[0])


@pytest.mark.parametrize("function", [r1, lambda D, x: gradient_penalty(D, 0 * x, x, np.zeros(4), target=0)])
def test_the_sample_of_a_packing_critic_is_the_pack(function):
    """D(pack) = w·pack with ‖w‖ = 1: each pack's gradient has length 1."""
    critic = in_float64(nn.Sequential(nn.Pack(2), nn.Dense(4, 1)))
    critic.dense1.weight.assign(np.full((4, 1), 0.5))
    assert_allclose(function(critic, samples((2,))[0]).item(), 1)


def test_a_critic_of_patches_has_one_row_a_sample_or_is_refused():
    """D(x) = (w·x₁, w·x₂, …), one output for each pixel: whatever it is, it is not a sample for each pixel."""
    critic, x = in_float64(nn.Sequential(nn.Conv(1, 1, 1))), samples((2, 3, 1))[0]
    try:
        value = r1(critic, x).item()
    except (ValueError, ShapeError):
        return
    (w, _) = critic.parameters()
    assert_allclose(value, 6 * w.item() ** 2)  # ‖∇ Σ outputs‖²


@every_penalty
def test_a_spectrally_normalised_critic(name):
    """σ depends on the weight and is differentiated through, at the second derivative too (evaluation: u stays)."""
    critic = in_float64(nn.spectral_norm(nn.Sequential(nn.Dense(3, 6), nn.Tanh(), nn.Dense(6, 1)))).eval()
    real, fake, u = samples((3,), 3)
    penalty = PENALTIES[name][0]
    parameters = critic.parameters()
    found = mg.grad(penalty(critic, real, fake, u), parameters)
    expected = slopes_by_differences(lambda: penalty(critic, real, fake, u).item(), parameters)
    for ours, theirs in zip(found, expected):
        assert_allclose(ours.data, theirs, rtol=1e-6, atol=1e-8)


# ---- weights ---------------------------------------------------------------------------------------------------------


def test_weight_clipping_cuts_every_parameter_in_place_and_says_so():
    critic = in_float64(nn.Sequential(nn.Dense(3, 4), nn.LayerNorm(4), nn.Dense(4, 1), name="D"))
    before, arrays = [p.numpy() for p in critic.parameters()], [p.data for p in critic.parameters()]
    versions = [p.version for p in critic.parameters()]
    loss = mg.sum(critic(np.ones((2, 3))) ** 2)
    WeightClipping(0.3).constrain(critic)
    assert any((abs(a) > 0.3).any() for a in before)
    for p, old, array, version in zip(critic.parameters(), before, arrays, versions):
        assert_array_equal(p.data, np.minimum(np.maximum(old, -0.3), 0.3))
        assert p.data is array and p.version == version + 1
    with pytest.raises(StaleError, match="D.dense"):
        loss.backward()


def naive_orthogonal(weights, diagonal):
    value = 0.0
    for w in weights:
        columns = w.reshape(-1, w.shape[-1]).T
        for i, a in enumerate(columns):
            for j, b in enumerate(columns):
                if diagonal or i != j:
                    value += (sum(a * b) - (i == j)) ** 2
    return value


@every_critic
@pytest.mark.parametrize("diagonal", [False, True])
def test_orthogonal_penalty(kind, diagonal):
    """Convolution weights (kh, kw, in, out) are matrices of out columns, vectors left out; the gradient is exact."""
    critic = CRITICS[kind][0](2)
    matrices = [p.numpy() for p in critic.parameters() if p.ndim >= 2]
    assert len(matrices) == 3
    penalty = orthogonal_penalty(critic, diagonal)
    assert_allclose(penalty.item(), naive_orthogonal(matrices, diagonal), rtol=1e-12)
    found = mg.grad(penalty, [p for p in critic.parameters() if p.ndim >= 2])
    for g, w in zip(found, matrices):
        m = w.reshape(-1, w.shape[-1])
        gram = m.T @ m
        residual = gram - np.eye(len(gram)) if diagonal else gram * (1 - np.eye(len(gram)))
        assert_allclose(g.data, (4 * m @ residual).reshape(w.shape), rtol=1e-10, atol=1e-12)


def test_orthogonal_penalty_of_orthogonal_and_of_no_weights():
    layer = nn.Dense(4, 3).to(dtype="float64")
    q = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 3)))[0]
    layer.weight.assign(q)
    assert orthogonal_penalty(layer).item() < 1e-28 and orthogonal_penalty(layer, diagonal=True).item() < 1e-28
    layer.weight.assign(q * [1, 2, 3])  # lengths are free, or not
    assert orthogonal_penalty(layer).item() < 1e-28
    assert_allclose(orthogonal_penalty(layer, diagonal=True).item(), 0 + 3**2 + 8**2)
    with pytest.raises(ValueError, match="no weight matrix"):
        orthogonal_penalty(nn.LayerNorm(3))


def test_historical_averaging_is_a_loop_over_the_rounds():
    network, rng = dense_critic(), np.random.default_rng(0)
    history, regularizer = [], HistoricalAveraging(weight=0.3, player="D")
    assert regularizer.penalty({"D": network}, None, None, None) is None
    for _ in range(5):
        regularizer.after_round(network)
        history.append([p.numpy() for p in network.parameters()])
        for p in network.parameters():
            p.assign(p.numpy() + rng.standard_normal(p.shape))  # in place: what is remembered must be a copy
        means = [sum(past) / len(past) for past in zip(*history)]
        away = [p.numpy() - m for p, m in zip(network.parameters(), means)]
        for _ in range(2):  # asking changes nothing
            term = regularizer.penalty({"D": network, "G": None}, None, None, None)
            assert_allclose(term.item(), 0.3 * sum((a**2).sum() for a in away), rtol=1e-12)
        for g, a in zip(mg.grad(term, network.parameters()), away):
            assert_allclose(g.data, 0.6 * a, rtol=1e-12, atol=1e-14)


def test_historical_averaging_state_round_trip():
    """Resumed, it is the same to the last bit; a state of another kind is refused and changes nothing."""
    network, rng = dense_critic().to(dtype="float32"), np.random.default_rng(0)

    def moved(*regularizers):
        for p in network.parameters():
            p.assign((p.numpy() + rng.standard_normal(p.shape)).astype("float32"))
        for regularizer in regularizers:
            regularizer.after_round(network)

    one, other = (HistoricalAveraging(player="D") for _ in range(2))
    other.load_state_dict(one.state_dict())  # before the first round
    assert other.penalty({"D": network}, None, None, None) is None
    for _ in range(3):
        moved(one)
    state = one.state_dict()
    assert all(type(a) is np.ndarray for a in state.values()) and state["rounds"] == 3
    assert len(state) == 1 + len(network.parameters())
    other.load_state_dict(state)
    for _ in range(3):
        moved(one, other)
        terms = [r.penalty({"D": network}, None, None, None) for r in (one, other)]
        moved()
        terms += [r.penalty({"D": network}, None, None, None) for r in (one, other)]
        assert terms[0].item() == terms[1].item() and terms[2].item() == terms[3].item() > 0
        assert all(t.dtype == "float32" for t in terms)
    assert state["rounds"] == 3  # a copy
    before = one.state_dict()
    for wrong in ({}, {"mean0": np.zeros(3)}, {"rounds": np.array(3), "mean1": np.zeros(3)}):
        with pytest.raises(ValueError, match="HistoricalAveraging's state is rounds and means"):
            one.load_state_dict(wrong)
    assert all(np.array_equal(before[key], a) for key, a in one.state_dict().items())


def test_historical_averaging_refuses_rounds_without_means():
    with pytest.raises(ValueError, match="rounds and means"):
        HistoricalAveraging().load_state_dict({"rounds": np.array(3)})


def test_historical_averaging_refuses_a_state_of_other_shapes():
    network, regularizer = nn.Dense(2, 1), HistoricalAveraging(player="D")
    state = {"rounds": np.array(2), "mean0": np.zeros((1, 1), "float32"), "mean1": np.zeros(1, "float32")}
    with pytest.raises((ValueError, ShapeError), match="history of 'D'.*another network"):
        regularizer.load_state_dict(state)
        regularizer.penalty({"D": network}, None, None, None)


def test_historical_averaging_keeps_no_array_of_the_state():
    state = {"rounds": np.array(1), "mean0": np.zeros((2, 1), "float32"), "mean1": np.zeros(1, "float32")}
    regularizer = HistoricalAveraging(player="D")
    regularizer.load_state_dict(state)
    state["mean0"][:] = 9
    assert not regularizer.state_dict()["mean0"].any()


# ---- features --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4)], ids=str)
def test_feature_matching(shape):
    rng = np.random.default_rng(0)
    real, fake = rng.standard_normal((5, *shape)), rng.standard_normal((3, *shape))  # of different sizes
    expected = 0.0
    for at in np.ndindex(shape):
        expected += (sum(x[at] for x in real) / 5 - sum(x[at] for x in fake) / 3) ** 2
    assert_allclose(feature_matching(f64(real), f64(fake)).item(), expected)
    assert feature_matching(f64(real), f64(real[::-1].copy())).item() < 1e-30
    mg.check_grad(feature_matching, real, fake, order=2)


@pytest.mark.parametrize("shape", [(3,), (2, 1, 2)], ids=str)
def test_pulling_away(shape):
    codes = np.random.default_rng(0).standard_normal((4, *shape)) * np.arange(1, 5).reshape(-1, *[1] * len(shape))
    rows = codes.reshape(4, -1)
    cosines = [
        (sum(a * b) / (sum(a * a) * sum(b * b)) ** 0.5) ** 2
        for i, a in enumerate(rows)
        for j, b in enumerate(rows)
        if i != j
    ]
    assert len(cosines) == 12
    assert_allclose(pulling_away(f64(codes)).item(), sum(cosines) / 12, rtol=1e-9)
    mg.check_grad(pulling_away, codes, order=2)


def test_pulling_away_at_its_ends():
    same = np.array([[1.0, 2.0]] * 3)
    assert_allclose(pulling_away(f64(same)).item(), 1, rtol=1e-10)
    assert_allclose(pulling_away(f64(same * [[1], [-5], [100]])).item(), 1, rtol=1e-10)  # only directions count
    assert_allclose(pulling_away(f64(np.diag([1.0, 2.0, 3.0]))).item(), 0, atol=1e-12)
    zero = f64([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]], True)
    value = pulling_away(zero)
    assert_allclose(value.item(), 1 / 3, rtol=1e-9)
    assert np.isfinite(mg.grad(value, zero)[0].data).all()
    with pytest.raises(ShapeError, match="at least 2, got 1"):
        pulling_away(f64([[1.0, 2.0]]))


def test_features_by_layer_name():
    inner = nn.Sequential(nn.Dense(5, 4), nn.Tanh())
    network = in_float64(nn.Sequential(nn.Dense(3, 5), nn.Tanh(), inner, nn.Dense(4, 1), name="D"))
    x = f64(samples((3,))[0], True)
    first = network.tanh1(network.dense1(x))
    assert_array_equal(features(network, "tanh1", x).data, first.data)
    assert_array_equal(features(network, "sequential1.dense1", x).data, inner.dense1(first).data)
    assert_array_equal(features(network, "sequential1", x).data, inner(first).data)
    assert_array_equal(features(network, "dense2", x).data, network(x).data)
    (g,) = mg.grad(mg.sum(features(network, "tanh1", x)), x)
    assert g.data.any()
    assert not any(module.hooks for _, module in network.named_modules())
    with pytest.raises(ValueError, match="no layer 'conv1' in D; there are .*tanh1.*sequential1.dense1"):
        features(network, "conv1", x)
    with pytest.raises(ValueError, match="in the network;"):
        features(nn.Sequential(nn.Tanh()), "conv1", x)


def test_features_of_a_layer_that_is_not_called():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.spare = nn.Dense(2, 1), nn.Dense(2, 1)

        def forward(self, x):
            return self.used(x)

    with pytest.raises(ValueError, match="spare"):
        features(Odd(), "spare", np.zeros((3, 2), "float32"))


def test_features_leaves_no_hook_behind_and_others_alone():
    network, calls = dense_critic(), []
    network.tanh1.hooks.append(lambda *_: calls.append(1))
    kept = list(network.tanh1.hooks)
    features(network, "tanh1", samples((3,))[0])
    with pytest.raises(ShapeError):
        features(network, "tanh1", np.zeros((2, 7)))
    assert network.tanh1.hooks == kept and calls == [1]


# ---- as parts of a game ----------------------------------------------------------------------------------------------

MAKERS = {
    "gradient_penalty": lambda: GradientPenalty(),
    "lipschitz_penalty": lambda: LipschitzPenalty(),
    "r1": lambda: R1(gamma=0.2),
    "r2": lambda: R2(gamma=0.2),
    "dragan": lambda: DRAGAN(),
    "weight_clipping": lambda: WeightClipping(0.05),
    "orthogonal": lambda: Orthogonal(0.01),
    "historical_averaging": lambda: HistoricalAveraging(),
    "feature_matching": lambda: FeatureMatching("tanh1"),
    "pulling_away": lambda: PullingAway("tanh1"),
}
SILENT = ("weight_clipping", "historical_averaging")  # with no term in the first round


def small_gan(*regularizers, objective="non_saturating", seed=0, dtype="float64"):
    D = nn.Sequential(nn.Dense(2, 6), nn.Tanh(), nn.Dense(6, 4), nn.Tanh(), nn.Dense(4, 1))
    G = nn.Sequential(nn.Dense(3, 5), nn.Tanh(), nn.Dense(5, 2))
    for i, network in enumerate((D, G)):
        in_float64(network, 2 * seed + i).to(dtype=dtype)
    data = 2 + np.random.default_rng(seed).standard_normal((40, 2))
    return GAN(G, D, Batches(data, 4, seed), 3, objective, regularizers, seed=seed)


def moves(game, lr=0.02, **more):
    return Alternating({player: SGD(ps, lr=lr) for player, ps in game.players.items()}, **more)


def test_every_regularizer_is_there_by_name():
    assert set(MAKERS) == set(objectives._regularizers)
    for name, make in MAKERS.items():
        made = make()
        assert made.name == name and type(objectives._regularizers[name]) is type and isinstance(made, Regularizer)
        assert made.player == ("G" if name in ("historical_averaging", "feature_matching", "pulling_away") else "D")
        assert type(made) is objectives._regularizers[name]


DRAWN = {  # the shapes of uniform numbers asked for, of real (4, 2); the term they make, by hand
    "gradient_penalty": (GradientPenalty(7.0, 0.5), (4,), lambda D, x, y, u: 7 * gradient_penalty(D, x, y, u, 0.5)),
    "lipschitz_penalty": (LipschitzPenalty(7.0), (4,), lambda D, x, y, u: 7 * lipschitz_penalty(D, x, y, u)),
    "dragan": (DRAGAN(7.0, 0.3, 0.5), (4, 2), lambda D, x, y, u: 7 * dragan(D, x, u, 0.3, 0.5)),
    "r1": (R1(3.0), None, lambda D, x, y, u: 1.5 * r1(D, x)),
    "r2": (R2(3.0), None, lambda D, x, y, u: 1.5 * r2(D, y)),
    "orthogonal": (Orthogonal(7.0), None, lambda D, x, y, u: 7 * orthogonal_penalty(D)),
    "orthogonal diagonal": (Orthogonal(7.0, diagonal=True), None, lambda D, x, y, u: 7 * orthogonal_penalty(D, True)),
    "feature_matching": (
        FeatureMatching("tanh1", 7.0),
        None,
        lambda D, x, y, u: 7 * feature_matching(features(D, "tanh1", x), features(D, "tanh1", y)),
    ),
    "pulling_away": (PullingAway("tanh2", 7.0), None, lambda D, x, y, u: 7 * pulling_away(features(D, "tanh2", y))),
}


@pytest.mark.parametrize("name", DRAWN)
def test_weights_factors_and_draws_of_the_classes(name):
    regularizer, shape, by_hand = DRAWN[name]
    game = small_gan()
    real, fake = f64(game.data.at(0)), game.G(game.latent(4))
    asked, rng = [], np.random.default_rng(0)

    def uniform(wanted):
        asked.append((tuple(wanted), f64(rng.random(wanted))))
        return asked[-1][1]

    term = regularizer.penalty(game.networks, real, fake, uniform)
    u = asked[0][1] if asked else None
    assert [s for s, _ in asked] == ([shape] if shape else [])
    expected = by_hand(game.D, real, fake, u).item()
    assert_allclose(term.item(), expected, rtol=1e-12)
    assert expected > 0 and term.shape == ()


def test_default_weights_are_the_papers():
    shown = "GradientPenalty(weight=10.0, target=1.0) LipschitzPenalty(weight=10.0) R1(gamma=1.0) R2(gamma=1.0)"
    shown += " DRAGAN(weight=10.0, scale=0.5, target=1.0) WeightClipping(limit=0.01)"
    made = (GradientPenalty(), LipschitzPenalty(), R1(), R2(), DRAGAN(), WeightClipping())
    assert " ".join(map(repr, made)) == shown
    assert repr(Orthogonal()) == "Orthogonal(weight=0.0001, player='D', diagonal=False)"
    assert repr(PullingAway("conv1")) == "PullingAway(layer='conv1', weight=0.1)"


@pytest.mark.parametrize("name", [name for name in MAKERS if name not in SILENT])
def test_a_term_is_part_of_its_players_loss_and_of_the_readings(name):
    regularizer = MAKERS[name]()
    game, player = small_gan(regularizer), MAKERS[name]().player
    other = {"D": "G", "G": "D"}[player]
    batch = game.batch(0, player)
    loss, terms = game.loss(player, batch), game.terms[player]
    assert set(terms) == ({name} if regularizer.replaces_objective else {"objective", name})
    assert_allclose(loss.item(), sum(terms.values()), rtol=1e-12)
    plain = small_gan()
    own = plain.loss(player, plain.batch(0, player) if player == "D" or not regularizer.uses_real else batch).item()
    assert_allclose(loss.item() - own * (not regularizer.replaces_objective), terms[name], rtol=1e-9, atol=1e-12)
    assert game.readings()[f"{player}/{name}"] == terms[name] > 0
    game.loss(other, game.batch(0, other))
    assert set(game.terms[other]) == {"objective"}
    first = float(terms[name])
    game.loss(player, game.batch(1, player))
    assert float(game.terms[player][name]) != first or name == "orthogonal"
    game.loss(player, batch)
    assert float(game.terms[player][name]) == first  # the same batch, the same draw
    both = game.losses(game.batch(3))
    single = game.loss(player, game.batch(3))
    assert_allclose(both[player].item(), single.item(), rtol=1e-12)
    for a, b in zip(*[mg.grad(x, game.players[player]) for x in (both[player], single)]):
        assert_allclose(a.data, b.data, rtol=1e-9, atol=1e-13)


def test_draws_differ_between_regularizers_and_follow_from_the_seed():
    asked = {}

    class Asking(GradientPenalty):
        def penalty(self, networks, real, fake, uniform):
            asked.setdefault(self.name, []).append(uniform((4,)).numpy())
            return super().penalty(networks, real, fake, uniform)

    class Other(Asking):
        name = "other"

    for seed in (0, 0, 1):
        game = small_gan(Asking(), Other(), seed=seed)
        game.loss("D", game.batch(5, "D"))
    a, b, c = asked["gradient_penalty"]
    assert_array_equal(a, b)
    assert not np.array_equal(a, c) and not np.array_equal(a, asked["other"][0])
    assert np.all((a >= 0) & (a < 1)) and len(set(a.tolist())) == 4


def test_feature_matching_beside_the_objective():
    game = small_gan(FeatureMatching("tanh1", replaces_objective=False), Orthogonal(0.1, player="G"))
    loss = game.loss("G", game.batch(0, "G"))
    assert set(game.terms["G"]) == {"objective", "feature_matching", "orthogonal"}
    assert_allclose(loss.item(), sum(game.terms["G"].values()))
    assert_allclose(game.terms["G"]["orthogonal"], 0.1 * orthogonal_penalty(game.G).item())


def test_the_same_regularizer_twice_for_one_player_is_refused():
    small_gan(Orthogonal(), Orthogonal(player="G"), R1(), R2())
    with pytest.raises(ValueError, match="listed twice for one player: D/r1, D/r1"):
        small_gan(R1(), R1(0.5))


@pytest.mark.parametrize("name", ["gradient_penalty", "dragan", "r1", "r2", "lipschitz_penalty"])
def test_a_game_with_a_penalty_refuses_a_discriminator_with_batch_norm(name):
    D = nn.Sequential(nn.Dense(2, 4), nn.BatchNorm(4), nn.Tanh(), nn.Dense(4, 1))
    game = GAN(nn.Sequential(nn.Dense(3, 2)), D, Batches(np.zeros((8, 2), "float32"), 4, 0), 3)
    game.regularizers = (MAKERS[name](),)
    with pytest.raises(ValueError, match=r"D\.batchnorm1 normalises over the batch"):
        game.loss("D", game.batch(0, "D"))


def test_weight_clipping_holds_after_every_move_and_for_the_critic_only():
    game = small_gan(WeightClipping(0.05), objective="wasserstein")
    start = [p.numpy() for p in game.players["G"]]
    seen = []
    solver = moves(game, moves={"D": 3})
    constrain = game.constrain
    game.constrain = lambda player: (constrain(player), seen.append((player, limits(game.D))))
    solver.step(game, 0)
    assert [player for player, _ in seen] == ["D", "D", "D", "G"]
    assert all(limit <= 0.05 for _, limit in seen) and seen[0][1] == 0.05
    assert limits(game.G) > 0.05
    assert any((a != p.numpy()).any() for a, p in zip(start, game.players["G"]))


def limits(network):
    return max(abs(p.data).max() for p in network.parameters())


def test_historical_averaging_over_rounds_of_a_game_and_its_state():
    game = small_gan(HistoricalAveraging(0.5), HistoricalAveraging(0.25, player="D"), seed=1)
    solver, history = moves(game), {"D": [], "G": []}
    for step in range(4):
        for player, weight in (("G", 0.5), ("D", 0.25)):
            game.loss(player, game.batch(step, player))
            past, now = history[player], [p.numpy() for p in game.players[player]]
            expected = weight * sum(((p - sum(a) / len(a)) ** 2).sum() for p, a in zip(now, zip(*past)))
            assert_allclose(game.terms[player].get("historical_averaging", 0), expected, rtol=1e-9, atol=1e-15)
        solver.step(game, step)
        for player in history:
            history[player].append([p.numpy() for p in game.players[player]])
    state = game.state_dict()
    assert state["G.historical_averaging/rounds"] == state["D.historical_averaging/rounds"] == 4
    resumed = small_gan(HistoricalAveraging(0.5), HistoricalAveraging(0.25, player="D"), seed=1)
    resumed.load_state_dict(state)
    for step in range(4, 6):
        losses = [moves(g).step(g, step) for g in (game, resumed)]
        assert all(losses[0][player].item() == losses[1][player].item() for player in ("D", "G"))
    assert all(np.array_equal(a, resumed.state_dict()[key]) for key, a in game.state_dict().items())


def test_regularizers_without_state_have_none():
    for name, make in MAKERS.items():
        if name != "historical_averaging":
            assert make().state_dict() == {}
            make().load_state_dict({})
            with pytest.raises(ValueError, match=f"{type(make()).__name__} has no state, got mean0"):
                make().load_state_dict({"mean0": np.zeros(1)})


@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
def test_weights_that_are_not_positive_are_refused(value):
    for make in (GradientPenalty, LipschitzPenalty, R1, R2, DRAGAN, WeightClipping, Orthogonal, HistoricalAveraging):
        with pytest.raises(ValueError, match=f"{make.__name__}: (weight|gamma|limit) must be positive"):
            make(value)
    for make in (FeatureMatching, PullingAway):
        with pytest.raises(ValueError, match=f"{make.__name__}: weight must be positive"):
            make("tanh1", value)


@pytest.mark.parametrize("objective", [*objectives.names(), "f:kl saturating"])
@pytest.mark.parametrize("name", MAKERS)
def test_every_objective_goes_with_every_regularizer(name, objective):
    """Two rounds of the two, from the game's factory on: everything finite, everybody moved, the term logged."""
    saturating = {"saturating": True} if objective.endswith("saturating") and objective.startswith("f:") else {}
    objective = objectives.get(objective.removesuffix(" saturating"), **saturating)
    game = small_gan(MAKERS[name](), objective=objective, dtype="float32")
    start = {player: [p.numpy() for p in ps] for player, ps in game.players.items()}
    solver = moves(game)
    for step in range(2):
        losses = solver.step(game, step)
        assert all(np.isfinite(loss.item()) for loss in losses.values())
    for player, params in game.players.items():
        assert all(np.isfinite(p.data).all() and p.dtype == "float32" for p in params)
        assert any((a != p.data).any() for a, p in zip(start[player], params))
    player = MAKERS[name]().player
    assert (f"{player}/{name}" in game.readings()) == (name != "weight_clipping")
    assert all(np.isfinite(value) for value in game.readings().values())
