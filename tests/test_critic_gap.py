"""Critics against exact transport: the best critic there is, those with known answers, and what must always hold."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import minigan as mg
from minigan import nn
from minigan.data import Batches
from minigan.games import GAN
from minigan.models import mlp
from minigan.optim import Adam
from minigan.transport import OptimalCritic, critic_gap, distances, lipschitz_extension, wasserstein
from tests.strategies import examples, seeds
from tests.strict_array import StrictArray, strict_xp

SIDES = ("lower", "middle", "upper")


def batches(seed=0, n=7, m=9, d=2, dtype="float64"):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)).astype(dtype), (1 + rng.standard_normal((m, d))).astype(dtype)


@st.composite
def pairs(draw, dtype="float64", most=12):
    """(real, fake), of any two sizes and one dimension; some of the generated may be real."""
    n, m, d = draw(st.integers(1, most)), draw(st.integers(1, most)), draw(st.integers(1, 4))
    real, fake = batches(draw(seeds), n, m, d, dtype)
    shared = draw(st.integers(0, min(n, m)))
    fake[:shared] = real[:shared]
    return real, fake


def norms(x):
    return np.linalg.norm(x.reshape(len(x), -1), axis=-1)


# ---- the best critic -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype, digits", [("float64", 1e-12), ("float32", 2e-6)])
@pytest.mark.parametrize("side", SIDES)
def test_the_best_critic_has_no_gap(side, dtype, digits):
    for seed, (n, m, d) in enumerate([(20, 20, 2), (7, 12, 3), (1, 5, 2), (30, 11, 20)]):
        real, fake = batches(seed, n, m, d, dtype)
        found = critic_gap(OptimalCritic(real, fake, side=side), real, fake, seed)
        assert found.exact == pytest.approx(wasserstein(real, fake), rel=1e-12)
        assert found.estimate == pytest.approx(found.exact, rel=digits)
        assert found.lipschitz == pytest.approx(1, rel=100 * digits)
        assert found.lower_bound == pytest.approx(found.exact, rel=100 * digits)
        assert found.cosine == pytest.approx(1, rel=digits)
        assert found.slope_error == pytest.approx(0, abs=digits)
        assert found.n == (n, m)


@examples(2)
@given(pair=pairs(), side=st.sampled_from(SIDES), seed=seeds, spread=st.sampled_from([1e-3, 0.1, 5.0]))
def test_the_best_critic_is_1_lipschitz_everywhere_and_attains_the_distance(pair, side, seed, spread):
    real, fake = pair
    f, rng = OptimalCritic(real, fake, side=side), np.random.default_rng(seed)
    z = np.concatenate([real, fake, 3 * rng.standard_normal((20, real.shape[1]))])
    near = z + spread * rng.standard_normal(z.shape)
    assert (abs(f(z) - f(near)) <= norms(z - near) + 1e-12).all()
    assert (abs(f(z)[:, None] - f(z)) <= distances(z, z) + 1e-12).all()
    assert f(real).mean() - f(fake).mean() == pytest.approx(wasserstein(real, fake), rel=1e-9, abs=1e-12)
    assert_allclose(f(real), f.transport.u, atol=1e-12)
    assert_allclose(f(fake), -f.transport.v, atol=1e-12)


@given(pair=pairs(), seed=seeds)
def test_the_sides_are_the_extensions_of_the_potentials_and_masses_count(pair, seed):
    real, fake = pair
    rng = np.random.default_rng(seed)
    a, b = rng.random(len(real)), rng.random(len(fake))
    a, b, z = a / a.sum(), b / b.sum(), 2 * rng.standard_normal((15, real.shape[1]))
    lower, middle, upper = (OptimalCritic(real, fake, a, b, side) for side in SIDES)
    u, v = middle.transport.u, middle.transport.v
    assert_allclose(lower(z), lipschitz_extension(real, u, z), atol=1e-12)
    assert_allclose(upper(z), lipschitz_extension(fake, -v, z, upper=True), atol=1e-12)
    assert_allclose(middle(z), (lower(z) + upper(z)) / 2, atol=1e-12)
    assert (lower(z) <= upper(z) + 1e-12).all()
    assert a @ middle(real) - b @ middle(fake) == pytest.approx(wasserstein(real, fake, a=a, b=b), abs=1e-11)


@pytest.mark.parametrize("side", SIDES)
def test_its_gradient_is_that_of_its_values(side):
    real, fake = batches()
    f = OptimalCritic(real, fake, side=side)
    z = 4 * np.random.default_rng(3).standard_normal((6, 2))
    assert mg.check_grad(f, z, order=2) < 1e-6
    at = mg.tensor(z, requires_grad=True)
    (slope,) = mg.grad(mg.sum(f(at)), at)
    lengths = norms(slope.data)
    assert (lengths <= 1 + 1e-12).all()
    if side != "middle":
        assert_allclose(lengths, 1, rtol=1e-12)


def test_its_gradient_points_from_generated_to_real_on_the_ray_and_is_0_at_a_peak():
    f = OptimalCritic([[3.0, 4.0]], [[0.0, 0.0]])
    z = mg.tensor(np.array([[1.5, 2.0]]), requires_grad=True)
    assert_allclose(mg.grad(mg.sum(f(z)), z)[0].data, [[0.6, 0.8]], rtol=1e-12)
    peak = OptimalCritic([[3.0, 4.0]], [[0.0, 0.0]], side="lower")
    z = mg.tensor([[3.0, 4.0]], requires_grad=True)
    assert mg.grad(mg.sum(peak(z)), z)[0].data.tolist() == [[0.0, 0.0]]


def test_tensors_and_arrays_alike():
    real, fake = batches()
    f, z = OptimalCritic(real, fake), batches(5)[0]
    assert_array_equal(f(mg.tensor(z)).data, f(z))
    assert isinstance(f(z), np.ndarray) and f(z).shape == (7,) and f(z).dtype == np.float64
    single = f(mg.tensor(z.astype("float32")))
    assert single.dtype == np.float32 and single.shape == (7,)
    assert_allclose(single.data, f(z), rtol=1e-5, atol=1e-6)
    assert f(z.astype("float32")).dtype == np.float64
    assert_array_equal(f(z.tolist()), f(z))
    assert_array_equal(OptimalCritic(mg.tensor(real), mg.tensor(fake, requires_grad=True))(z), f(z))
    images = OptimalCritic(real.reshape(7, 1, 2, 1), fake.reshape(9, 1, 2, 1))
    assert_array_equal(images(z.reshape(7, 1, 2, 1)), f(z))


def test_a_generator_trained_against_the_best_critic_moves_towards_the_data():
    rng = np.random.default_rng(0)
    real = (rng.standard_normal((24, 2)) * 0.3 + [3, -2]).astype("float32")
    z, G = rng.standard_normal((24, 2)).astype("float32"), mlp(2, 16, 2, seed=0)
    optimizer, far = Adam(G.parameters(), lr=0.03), []
    for _ in range(60):
        fake = G(mg.tensor(z))
        f = OptimalCritic(real, fake)
        far.append(f.transport.cost)
        optimizer.zero_grad()
        (-mg.mean(f(fake))).backward()
        optimizer.step()
    assert far[0] > 3
    assert far[-1] < 0.25 * far[0]


# ---- critics with known answers --------------------------------------------------------------------------------------


def linear(w):
    return lambda z: mg.sum(z * w, axis=1)


@given(seed=seeds, n=st.integers(1, 12), d=st.integers(1, 4), scale=st.sampled_from([0.1, 1.0, 30.0]))
def test_a_linear_critic_between_translated_batches(seed, n, d, scale):
    rng = np.random.default_rng(seed)
    fake, t, w = rng.standard_normal((n, d)), rng.standard_normal(d), scale * rng.standard_normal(d)
    found, size = critic_gap(linear(w), fake + t, fake), np.linalg.norm(w)
    assert found.exact == pytest.approx(np.linalg.norm(t), rel=1e-9)
    assert found.estimate == pytest.approx(w @ t, rel=1e-9, abs=1e-12)
    assert found.lipschitz == pytest.approx(size, rel=1e-9)
    assert found.lower_bound == pytest.approx(w @ t / size, rel=1e-9, abs=1e-12)
    assert found.cosine == pytest.approx(w @ t / size / np.linalg.norm(t), rel=1e-7, abs=1e-9)
    assert found.slope_error == pytest.approx(abs(size - 1), rel=1e-9, abs=1e-12)


def test_rays_are_weighted_by_the_mass_on_them():
    """0 → 1 (1/3), 0 → 2 (1/6), 10 → 2 (1/6), 10 → 13 (1/3)."""
    real, fake = np.array([[0.0], [10.0]]), np.array([[1.0], [2.0], [13.0]])
    found = critic_gap(linear(2.0), real, fake)
    assert found.exact == pytest.approx(3)
    assert found.estimate == pytest.approx(2 * (5 - 16 / 3))
    assert found.cosine == pytest.approx(-2 / 3)
    assert found.slope_error == pytest.approx(1)
    bent = critic_gap(lambda z: mg.where(z < 5, z, 3 * z), real, fake)  # slope 3 beyond 5
    assert bent.slope_error in [pytest.approx(2 / 3), pytest.approx(1)]  # where on 10 → 2 it looked


def test_a_multiple_of_the_best_critic():
    real, fake = batches()
    f = OptimalCritic(real, fake)
    for factor in (3.0, 0.01, -2.0):
        found = critic_gap(lambda z, factor=factor: f(z) * factor + 5.0, real, fake)
        assert found.estimate == pytest.approx(factor * found.exact)
        assert found.lipschitz == pytest.approx(abs(factor))
        assert found.lower_bound == pytest.approx(math.copysign(found.exact, factor))
        assert found.cosine == pytest.approx(math.copysign(1, factor))
        assert found.slope_error == pytest.approx(abs(abs(factor) - 1))


def test_the_lipschitz_constant_sees_slopes_at_samples_on_rays_and_between_pairs():
    real, fake = np.array([[0.0], [1.0]]), np.array([[3.0], [4.0]])
    assert critic_gap(lambda z: z * z, real, fake).lipschitz == pytest.approx(8)  # the gradient at a generated sample
    assert critic_gap(lambda z: z * z, fake, real).lipschitz == pytest.approx(8)  # … at a real one
    cliff = lambda z: mg.clip((z - 2.0) * 1e9, -1.0, 1.0)  # flat wherever it is looked at
    assert critic_gap(cliff, real, fake).lipschitz == pytest.approx(1)  # 2 from 1 to 3
    ramp = lambda z: mg.clip(z, 1.001, 2.999) * 7.0
    assert critic_gap(ramp, np.array([[1.0]]), np.array([[3.0]])).lipschitz == pytest.approx(7)  # on the ray


def test_a_constant_critic_knows_nothing():
    real, fake = batches()
    found = critic_gap(lambda z: mg.sum(z, axis=1) * 0 + 4.0, real, fake)
    assert (found.estimate, found.lipschitz, found.lower_bound, found.cosine) == (0, 0, 0, 0)
    assert found.slope_error == pytest.approx(1)


# ---- the lower bound -------------------------------------------------------------------------------------------------


def scaled(net, factor):
    for p in net.parameters():
        p.assign(p.data * np.float32(factor))
    return net


@examples(2)
@given(pair=pairs("float32"), seed=st.integers(0, 1000), factor=st.sampled_from([0.1, 1.0, 3.0, 10.0]))
def test_no_network_believes_in_more_than_the_exact_distance(pair, seed, factor):
    real, fake = pair
    if len(real) == len(fake) and np.array_equal(real, fake):
        fake = fake + 1
    found = critic_gap(scaled(mlp(real.shape[1], 16, 16, 1, seed=seed), factor), real, fake, seed)
    assert found.lower_bound <= found.exact * (1 + 1e-5) + 1e-6
    assert -found.lower_bound <= found.exact * (1 + 1e-5) + 1e-6  # for −f, as good a critic
    assert -1 - 1e-9 <= found.cosine <= 1 + 1e-9
    assert found.exact == pytest.approx(wasserstein(real, fake), rel=1e-9)
    assert found.n == (len(real), len(fake))


def test_steep_critics_are_cut_down_to_the_exact_distance():
    real, fake = np.array([[1.0]]), np.array([[0.0]])
    for steep in (2.0, 50.0, 1e6):
        for seed in range(4):
            found = critic_gap(lambda z, steep=steep: mg.tanh((z - 0.5) * steep), real, fake, seed)
            assert found.lower_bound <= 1 + 1e-12


def test_a_cliff_between_neighbours_is_no_distance():
    real, fake = np.array([[0.0], [1.0]]), np.array([[-1e-5], [1 - 1e-5]])
    found = critic_gap(lambda z: mg.clip((z + 0.5e-5) * 1e7, -1.0, 1.0), real, fake)
    assert found.lower_bound <= found.exact * (1 + 1e-6)


def test_images():
    rng = np.random.default_rng(0)
    real, fake = (rng.standard_normal((n, 4, 4, 1)).astype("float32") for n in (5, 8))
    net = nn.Sequential(nn.Conv(1, 3, 3, padding=1), nn.LeakyReLU(), nn.Flatten(), nn.Dense(48, 1))
    found = critic_gap(net, real, fake)
    assert found.exact == pytest.approx(wasserstein(real.reshape(5, 16), fake.reshape(8, 16)), rel=1e-12)
    assert 0 < abs(found.lower_bound) <= found.exact
    best = critic_gap(OptimalCritic(real, fake), real, fake)
    assert best.cosine == pytest.approx(1, rel=1e-5) and best.estimate == pytest.approx(best.exact, rel=1e-5)


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_real_samples_passed_for_generated_ones_have_distance_0(order):
    real, _ = batches(dtype="float32")
    for critic in (mlp(2, 8, 1, seed=0), OptimalCritic(real, real)):
        found = critic_gap(critic, real, real[order])
        assert found.exact == 0
        assert found.estimate == pytest.approx(0, abs=1e-6) and found.lower_bound == pytest.approx(0, abs=1e-6)
        assert (found.cosine, found.slope_error) == (0, 0)
        assert np.isfinite(found.lipschitz)
        assert "%" not in repr(found)


def test_printing_explains_the_numbers():
    real, fake = np.array([[0.0], [10.0]]), np.array([[1.0], [2.0], [13.0]])
    text = repr(critic_gap(linear(-2.0), real, fake))
    assert "2 real and 3 generated" in text
    values = ["3", "0.6667", "2", "0.3333", "0.667", "1"]
    for line, value in zip(text.splitlines()[1:], values, strict=True):
        assert value in line.split()
    assert "11% of the exact" in text


# ---- what is left alone ----------------------------------------------------------------------------------------------


def critics():
    norm = nn.Sequential(nn.Dense(2, 8), nn.BatchNorm(8), nn.LeakyReLU(), nn.Dropout(0.5), nn.Dense(8, 1))
    return {"batch norm and dropout": norm, "spectral norm": nn.spectral_norm(mlp(2, 8, 1, seed=0))}


def snapshot(net):
    modes = [module.training for _, module in net.named_modules()]
    state = {name: np.array(value) for name, value in net.state_dict().items()}
    return modes, state, [(p.grad, p.requires_grad, p.node) for p in net.parameters()]


def same(one, other):
    assert one[0] == other[0] and one[1].keys() == other[1].keys()
    for name in one[1]:
        assert_array_equal(one[1][name], other[1][name], err_msg=name)
    assert all(p is q for before, after in zip(one[2], other[2]) for p, q in zip(before, after))


@pytest.mark.parametrize("mode", ["training", "evaluation", "mixed"])
@pytest.mark.parametrize("name", critics())
def test_the_critic_is_left_as_it_was(name, mode):
    net = critics()[name].train(mode != "evaluation")
    list(net.named_modules())[1][1].train(mode == "training")
    real, fake = batches(dtype="float32")
    mg.sum(net(mg.tensor(real))).backward()
    before = snapshot(net)
    found = critic_gap(net, real, fake)
    same(before, snapshot(net))
    assert found == critic_gap(net, real, fake)
    assert found == critic_gap(net.eval(), real, fake)  # it had been in evaluation mode meanwhile
    with mg.no_grad():
        assert found == critic_gap(net, real, fake)


def test_the_critic_is_left_as_it_was_after_an_error():
    net = critics()["batch norm and dropout"]
    real, fake = batches(dtype="float32")
    scaled(list(net.named_modules())[-1][1], np.nan)
    before = snapshot(net)
    with pytest.raises(ValueError, match=r"critic's outputs: expected finite numbers, got nan"):
        critic_gap(net, real, fake)
    same(before, snapshot(net))


def test_batches_are_left_alone_and_tensors_are_arrays():
    real, fake = batches(dtype="float32")
    copies, net = (real.copy(), fake.copy()), mlp(2, 8, 1, seed=0)
    real.flags.writeable = fake.flags.writeable = False
    found = critic_gap(net, real, fake)
    generated = mg.tensor(fake, requires_grad=True)
    assert critic_gap(net, mg.tensor(real), generated) == found
    assert generated.grad is None
    assert_array_equal(real, copies[0])
    assert_array_equal(fake, copies[1])


def test_the_seed_chooses_the_points_on_the_rays():
    real, fake = batches()
    curved = lambda z: mg.sum(mg.tanh(z * 2.0), axis=1)
    first, again, other = (critic_gap(curved, real, fake, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert (first.cosine, first.slope_error) != (other.cosine, other.slope_error)
    assert (first.exact, first.estimate) == (other.exact, other.estimate)


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_critics_without_one_number_a_sample_are_refused():
    real, fake = batches(dtype="float32")
    with pytest.raises(ValueError, match=r"^critic: expected one number a sample, shape \(7, 1\), got \(7, 2\)"):
        critic_gap(mlp(2, 8, 2, seed=0), real, fake)
    with pytest.raises(ValueError, match=r"^critic: expected one number a sample, shape \(8, 1\), got \(4, 1\)"):
        critic_gap(nn.Sequential(nn.Pack(2), mlp(4, 8, 1, seed=0)), real[[0, 1, 2, 3, 4, 5, 6, 0]], fake[:8])
    with pytest.raises(ValueError, match=r"^critic: expected one number a sample"):
        critic_gap(lambda z: mg.sum(z), real, fake)


def test_batches_of_different_samples_are_refused():
    real, fake = batches()
    for function in (lambda x, y: critic_gap(linear(1.0), x, y), OptimalCritic):
        with pytest.raises(ValueError, match=r"expected points of 2 numbers"):
            function(real, np.ones((4, 3)))
        with pytest.raises(ValueError, match=r"expected finite numbers, got nan at \[0, 0\]"):
            function(real * np.nan, fake)
        with pytest.raises(ValueError, match=r"expected at least one number"):
            function(real, fake[:0])
    with pytest.raises(ValueError, match=r"^side: expected 'lower', 'middle' or 'upper', got 'left'"):
        OptimalCritic(real, fake, side="left")
    with pytest.raises(ValueError, match=r"^z: expected points of 2 numbers, like real, got 3"):
        OptimalCritic(real, fake)(np.ones((4, 3)))


def test_batches_of_different_samples_are_named():
    real, _ = batches()
    for function in (lambda x, y: critic_gap(linear(1.0), x, y), OptimalCritic):
        with pytest.raises(ValueError, match=r"^fake: expected points of 2 numbers, like real"):
            function(real, np.ones((4, 3)))


# ---- on a device -----------------------------------------------------------------------------------------------------


def test_on_a_device():
    real, fake = batches(dtype="float32")
    there = strict_xp.asarray(real), strict_xp.asarray(fake)
    f, host = OptimalCritic(*there), OptimalCritic(real, fake)
    assert type(f(there[0])) is StrictArray and type(f(mg.tensor(there[0])).data) is StrictArray
    assert_allclose(f(there[0]).get(), host(real), rtol=1e-12, atol=1e-12)
    net = mlp(2, 8, 1, seed=0)
    for critic, known in [
        (f, critic_gap(host, real, fake)),
        (net.to("strict"), critic_gap(mlp(2, 8, 1, seed=0), real, fake)),
    ]:
        found = critic_gap(critic, *there)
        for name in ("exact", "estimate", "lipschitz", "lower_bound", "cosine", "slope_error"):
            assert type(getattr(found, name)) is float
            assert getattr(found, name) == pytest.approx(getattr(known, name), rel=1e-5, abs=1e-6), name


# ---- Module.evaluating -----------------------------------------------------------------------------------------------


def modes(net):
    return [module.training for _, module in net.named_modules()]


def test_evaluating_is_evaluation_mode_until_it_ends_however_it_ends():
    net = critics()["batch norm and dropout"]
    dropout = next(module for _, module in net.named_modules() if isinstance(module, nn.Dropout)).eval()
    before = modes(net)
    assert True in before and False in before
    with net.evaluating() as inside:
        assert inside is net and not any(modes(net))
        with net.evaluating():
            assert not any(modes(net))
        assert not any(modes(net))  # the inner one's end is not the outer one's
        net.train()
    assert modes(net) == before and not dropout.training
    with pytest.raises(ZeroDivisionError):
        with net.evaluating():
            raise ZeroDivisionError
    assert modes(net) == before


def test_a_game_samples_and_judges_in_evaluation_mode_and_goes_back():
    G = nn.Sequential(nn.Dense(3, 8), nn.BatchNorm(8), nn.LeakyReLU(), nn.Dense(8, 2))
    D = critics()["batch norm and dropout"]
    list(D.named_modules())[2][1].eval()
    game = GAN(G, D, Batches(batches(dtype="float32")[0], 4, 0), latent_dim=3)
    z, before = np.random.default_rng(0).standard_normal((5, 3)).astype("float32"), (snapshot(G), snapshot(D))
    samples = game.sample(z)
    outputs = game.outputs(samples)
    same(before[0], snapshot(G))
    same(before[1], snapshot(D))
    assert any(modes(G)) and any(modes(D)) and not all(modes(D))
    assert_allclose(game.sample(z[:2]), samples[:2], rtol=1e-5, atol=1e-6)  # no batch statistics
    assert_array_equal(game.outputs(samples), outputs)  # no dropout
    with pytest.raises(Exception, match="inner lengths"):
        game.sample(z[:, :2])
    with pytest.raises(Exception, match="inner lengths"):
        game.outputs(samples[:, :1])
    same(before[0], snapshot(G))
    same(before[1], snapshot(D))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_at_the_samples_the_best_critic_rises_at_rate_one_along_its_gradient(dtype):
    real, fake = batches(dtype="float32")
    f = OptimalCritic(real, fake)
    for points, forward in ((fake, 1e-3), (real, -1e-3)):  # away from the pits, towards the peaks
        z = mg.tensor(points.astype(dtype), requires_grad=True)
        slope = mg.grad(mg.sum(f(z)), z)[0].numpy().astype(float)
        assert_allclose(np.linalg.norm(slope, axis=1), 1, atol=1e-5)
        assert_allclose(f(points + forward * slope) - f(points.astype(float)), forward, atol=1e-8)


def test_the_sides_are_flat_at_their_own_tips():
    real, fake = batches(dtype="float32")
    f = OptimalCritic(real, fake)
    tips = {"lower": real, "upper": fake}
    for side, points in tips.items():
        z = mg.tensor(points, requires_grad=True)
        (slope,) = mg.grad(mg.sum(OptimalCritic(real, fake, side=side)(z)), z)
        assert_allclose(slope.numpy(), 0, atol=1e-6)
    assert repr(f).startswith(f"OptimalCritic({len(real)} real, {len(fake)} generated samples, W1=")


@pytest.mark.parametrize(
    ("critic", "got"),
    [
        (lambda x: x.numpy()[:, 0], "ndarray"),
        (lambda x: [1.0] * 3, "list"),
        (lambda x: mg.sum(x, axis=1).detach(), "a constant"),
    ],
)
def test_a_critic_that_cannot_be_differentiated_is_named(critic, got):
    message = f"^critic: expected a Tensor computed from its argument, to be differentiated, got {got}$"
    with pytest.raises(ValueError, match=message):
        critic_gap(critic, np.ones((3, 2)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="^critic: expected a Module or a function, got ndarray"):
        critic_gap(np.ones((3, 2)), np.zeros((3, 2)), critic)
