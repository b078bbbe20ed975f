"""Games on paper: losses, fields and Jacobians against matrices, the Dirac-GAN against the table of Mescheder et al.

The Dirac-GAN's verdicts are simulated as in their notebook: learning rate 0.2, start (1, 1). What a GAN draws (latents,
instance noise) is here too.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import minigan as mg
from minigan import nn
from minigan.backend.random import stream
from minigan.data import Batches
from minigan.games import (
    GAN,
    Alternating,
    Bilinear,
    Consensus,
    DiracGAN,
    Game,
    Proximal,
    QuadraticGame,
    Simultaneous,
    play,
)
from minigan.games.field import Jacobian, flatten, parameters, per_player, simultaneous_gradient, vector_field
from minigan.models import mlp
from minigan.objectives import R1, R2, GradientPenalty, WeightClipping
from minigan.optim import SGD, linear_decay
from tests.test_games import small_gan


def point(game):
    return np.concatenate([p.numpy().ravel() for p in parameters(game)])


def put(game, w):
    for p, piece in zip(parameters(game), np.split(w, np.cumsum([p.size for p in parameters(game)])[:-1])):
        p.assign(piece.reshape(p.shape))


def dense(game, batch=None):
    """J column by column, by `product`; its rows by `transposed` must be the same matrix."""
    J = Jacobian(game, batch)
    unit = np.eye(J.size)
    columns = np.stack([J.product(u).data for u in unit], axis=1)
    rows = np.stack([J.transposed(u).data for u in unit])
    assert_allclose(rows, columns, rtol=1e-10, atol=1e-12)
    return columns


# ---- Bilinear --------------------------------------------------------------------------------------------------------


@given(n=st.integers(1, 4), m=st.integers(1, 4), seed=st.integers(0, 99), square=st.booleans())
def test_bilinear_with_a_matrix(n, m, seed, square):
    rng = stream(seed, "bilinear")
    x, y, A = rng.standard_normal(n), rng.standard_normal(m), rng.standard_normal((n, m))
    game = Bilinear(x, y, A)
    losses = game.losses()
    assert_allclose([losses["x"].item(), losses["y"].item()], [x @ A @ y, -x @ A @ y], rtol=1e-12, atol=1e-13)
    assert_allclose(vector_field(game), np.concatenate([-A @ y, A.T @ x]), rtol=1e-12, atol=1e-14)
    J, b = game.affine_field()
    assert_allclose(J @ point(game) + b, vector_field(game), rtol=1e-12, atol=1e-14)
    assert_allclose(dense(game), J, rtol=1e-12, atol=1e-14)
    assert_array_equal(J, -J.T)


def test_bilinear_by_default_is_x_times_y():
    game = Bilinear()
    assert (game.x.item(), game.y.item(), game.x.shape, game.x.dtype) == (1.0, 1.0, (), np.float64)
    assert Bilinear(2.0, 3.0).losses()["x"].item() == 6.0
    assert Bilinear([2.0, 1.0], [3.0, 5.0]).losses()["y"].item() == -11.0
    assert_array_equal(Bilinear(np.ones(2), np.ones(3)).A, np.eye(2, 3))
    assert [p.name for ps in game.players.values() for p in ps] == ["x", "y"]
    with pytest.raises(ValueError, match=r"A must be \(2, 3\), got \(3, 2\)"):
        Bilinear(np.ones(2), np.ones(3), np.ones((3, 2)))
    A = np.eye(2)
    game = Bilinear(np.ones(2), np.ones(2), A)
    A[0, 0] = 9
    assert game.losses()["x"].item() == 2.0


# ---- QuadraticGame ---------------------------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 999), sizes=st.lists(st.sampled_from([(), (1,), (2,), (3,), (2, 2)]), min_size=1, max_size=3)
)
def test_quadratic_games(seed, sizes):
    rng = stream(seed, "quadratic")
    start = {f"p{i}": rng.standard_normal(shape) for i, shape in enumerate(sizes)}
    w = np.concatenate([np.ravel(a) for a in start.values()])
    n = w.size
    Q = {p: rng.standard_normal((n, n)) for p in start}
    b = {p: rng.standard_normal(n) for p in start}
    bare = "p0"  # given without a linear part
    b[bare] = np.zeros(n)
    entries = {p: Q[p] if p == bare else (Q[p], b[p]) for p in reversed(start)}
    game = QuadraticGame(entries, start)
    assert_array_equal(point(game), w)
    losses = game.losses()
    assert set(losses) == set(start) == set(game.players)
    for p in start:
        assert_allclose(losses[p].item(), 0.5 * w @ Q[p] @ w + b[p] @ w, rtol=1e-10, atol=1e-11)
    at, rows, shifts = 0, [], []
    for p, a in start.items():
        own = slice(at, at + np.size(a))
        rows.append(-(Q[p] + Q[p].T)[own] / 2)
        shifts.append(-b[p][own])
        at += np.size(a)
    J, shift = game.affine_field()
    assert_allclose(J, np.concatenate(rows), rtol=1e-14)
    assert_array_equal(shift, np.concatenate(shifts))
    assert_allclose(vector_field(game), J @ w + shift, rtol=1e-11, atol=1e-11)
    assert_allclose(dense(game), J, rtol=1e-11, atol=1e-12)
    put(game, game.equilibrium())
    assert_allclose(vector_field(game), 0, atol=1e-9 * np.linalg.cond(J))


def test_what_a_quadratic_game_refuses():
    with pytest.raises(ValueError, match=r"losses for \['a'\], but players \['b'\]"):
        QuadraticGame({"a": np.eye(1)}, {"b": 1.0})
    with pytest.raises(ValueError, match=r"'a' needs Q \(2, 2\) and b \(2,\), got \(3, 3\), \(2,\)"):
        QuadraticGame({"a": np.eye(3)}, {"a": [1.0, 2.0]})
    with pytest.raises(ValueError, match=r"got \(2, 2\), \(3,\)"):
        QuadraticGame({"a": (np.eye(2), np.ones(3))}, {"a": [1.0, 2.0]})
    with pytest.raises(np.linalg.LinAlgError):
        QuadraticGame({"a": np.zeros((2, 2))}, {"a": [1.0, 2.0]}).equilibrium()


def test_states_of_toy_games():
    game, other = Bilinear([1.0, 2.0], 3.0), Bilinear([0.0, 0.0], 0.0)
    state = game.state_dict()
    assert set(state) == {"x/0", "y/0"}
    other.load_state_dict(state)
    assert_array_equal(point(other), [1, 2, 3])
    for foreign in ({}, {"x/0": state["x/0"]}, state | {"z/0": np.ones(1)}, state | {"y/0": np.ones(3)}):
        with pytest.raises(mg.ShapeError, match="does not fit Bilinear"):
            other.load_state_dict(foreign)
        assert_array_equal(point(other), [1, 2, 3])


# ---- the field and its Jacobian --------------------------------------------------------------------------------------


def test_flatten_and_back():
    tensors = [mg.tensor(np.arange(6.0).reshape(2, 3)), mg.tensor(np.array(7.0)), mg.tensor(np.array([8.0]))]
    game = Game()
    game.players = {"a": tensors[:2], "b": tensors[2:]}
    flat = flatten(tensors)
    assert_array_equal(flat.data, [0, 1, 2, 3, 4, 5, 7, 8])
    pieces = per_player(game, flat)
    assert {player: len(ts) for player, ts in pieces.items()} == {"a": 2, "b": 1}
    for back, t in zip(pieces["a"] + pieces["b"], tensors, strict=True):
        assert back.shape == t.shape
        assert_array_equal(back.data, t.data)


def smooth_gan(objective="non_saturating", regularizers=(), **settings):
    """In float64 and without kinks, batch norm in G included."""
    G = nn.Sequential(nn.Dense(2, 3), nn.BatchNorm(3), nn.Tanh(), nn.Dense(3, 2)).to(dtype="float64")
    D = mlp(2, 4, 1, activation=nn.Tanh).to(dtype="float64")
    game = GAN(
        G, D, Batches(stream(0, "real").standard_normal((20, 2)) + 1, 6, 0), 2, objective, regularizers, **settings
    )
    for i, p in enumerate(parameters(game)):
        p.assign(0.8 * stream(0, f"parameter {i}").standard_normal(p.shape))
    return game


@pytest.mark.parametrize(
    ("objective", "regularizers"),
    [("non_saturating", ()), ("relativistic", (R1(0.5), R2(0.3))), ("wasserstein", (GradientPenalty(2.0),))],
)
def test_the_jacobian_of_a_gan_against_central_differences(objective, regularizers):
    game = smooth_gan(objective, regularizers, instance_noise=0.1)
    batch, w, h = game.batch(3), point(game), 1e-5
    expected = np.empty((w.size, w.size))
    for i in range(w.size):
        ahead, behind = w.copy(), w.copy()
        ahead[i] += h
        behind[i] -= h
        put(game, ahead)
        expected[:, i] = vector_field(game, batch)
        put(game, behind)
        expected[:, i] -= vector_field(game, batch)
    put(game, w)
    assert_allclose(dense(game, batch), expected / (2 * h), rtol=1e-5, atol=1e-8)
    assert abs(expected).max() > 1e-6
    field = Jacobian(game, batch).field.data
    slopes = [mg.grad(game.loss(player, batch), params) for player, params in game.players.items()]
    assert_allclose(field, -np.concatenate([g.data.ravel() for gs in slopes for g in gs]), rtol=1e-10, atol=1e-12)
    assert_allclose(vector_field(game, batch), field, rtol=1e-10, atol=1e-14)


def test_products_with_the_jacobian_are_plain_and_leave_no_gradients():
    game = smooth_gan()
    J = Jacobian(game, game.batch(0))
    u = stream(0, "u").standard_normal(J.size)
    assert J.product(u).node is None and J.transposed(u).node is None
    assert_array_equal(J.product(u).data, J.product(u).data)  # nothing is used up
    assert all(p.grad is None for p in parameters(game))
    losses, gradients = simultaneous_gradient(game, game.batch(0))
    assert set(losses) == set(gradients) == {"D", "G"}
    assert all(g.node is None for gs in gradients.values() for g in gs)


# ---- the Dirac-GAN: a GAN like any other -----------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["minimax", "non_saturating", "wasserstein", "relativistic", "hinge"])
@given(theta=st.floats(-3, 3), psi=st.floats(-3, 3))
def test_the_dirac_gans_losses(objective, theta, psi):
    game = DiracGAN(objective, theta=theta, psi=psi)
    losses = {p: loss.item() for p, loss in game.losses(game.batch(0)).items()}
    f, t = lambda logit: np.log1p(np.exp(logit)), psi * theta
    expected = {
        "minimax": (f(0) + f(t), -f(t)),
        "non_saturating": (f(0) + f(t), f(-t)),
        "wasserstein": (t, -t),
        "relativistic": (f(t), f(-t)),
        "hinge": (1 + max(0, 1 + t), -t),
    }[objective]
    assert_allclose([losses["D"], losses["G"]], expected, rtol=1e-12, atol=1e-13)
    for player in "DG":
        assert_allclose(game.loss(player, game.batch(5, player)).item(), losses[player], rtol=1e-14, atol=1e-15)


def test_the_dirac_gan_is_a_gan():
    game = DiracGAN(theta=2.0, psi=-0.5, regularizers=[R1(3.0), WeightClipping(0.25)])
    assert isinstance(game, GAN) and (game.theta.item(), game.psi.item()) == (2.0, -0.5)
    assert game.players["G"] == [game.theta] and game.players["D"] == [game.psi]
    assert game.theta.dtype == game.psi.dtype == np.float64
    assert [p.name for p in parameters(game)] == ["D.psi", "G.theta"]
    assert game.readings() == {}
    game.losses(game.batch(0))
    readings = {name: float(a) for name, a in game.readings().items()}
    expected = {"D(real)": 0.5, "D(fake)": 1 / (1 + np.exp(1.0)), "D/r1": 1.5 * 0.25}
    assert readings == pytest.approx(expected, rel=1e-12)
    game.constrain("G")
    assert (game.theta.item(), game.psi.item()) == (2.0, -0.5)
    game.constrain("D")
    assert (game.theta.item(), game.psi.item()) == (2.0, -0.25)
    assert_array_equal(game.sample(np.array([[1.0], [2.0]])), [[3.0], [4.0]])
    state = game.state_dict()
    other = DiracGAN(regularizers=[R1(3.0), WeightClipping(0.25)])
    other.load_state_dict(state)
    assert_array_equal(point(other), point(game))
    game = DiracGAN("wasserstein")
    trajectory = play(game, Simultaneous({p: SGD(ps) for p, ps in game.players.items()}), 2)
    assert set(trajectory.columns) == {"step", "loss/D", "loss/G", "D(real)", "D(fake)"}


def test_the_dirac_gans_batches_are_all_the_same():
    for game in (DiracGAN(seed=3), DiracGAN(instance_noise=0.7, points=9)):
        n = game.cloud.size
        first = game.batch(0)
        for batch in (game.batch(0), game.batch(7), game.batch(7, "D"), game.batch(8, "G")):
            assert batch.real.shape == batch.z.shape == (n, 1) and batch.z.dtype == batch.real.dtype == np.float64
            assert_array_equal(batch.real.data, first.real.data)
            assert_array_equal(batch.z.data, first.real.data)
        assert (game.batch(7, "D").player, game.batch(7).player, game.batch(7).number) == ("D", "both", 7)
        a, b = (game.losses(game.batch(number)) for number in (0, 1))
        assert [loss.item() for loss in a.values()] == [loss.item() for loss in b.values()]


@pytest.mark.parametrize("points", [2, 9, 64])
def test_the_dirac_gans_noise_has_the_exact_variance(points):
    cloud = DiracGAN(instance_noise=0.7, points=points).cloud[:, 0]
    assert cloud.size == points and (np.diff(cloud) > 0).all()
    assert_allclose([cloud.mean(), np.mean(cloud**2)], [0, 0.49], atol=1e-14)
    assert_array_equal(DiracGAN().cloud, [[0.0]])
    if points == 64:
        from scipy.stats import norm

        assert_allclose(cloud, norm.ppf((np.arange(64) + 0.5) / 64) * 0.7, rtol=0.02)


def eigenvalues(J):
    return np.sort_complex(np.linalg.eigvals(J))


def pair(real, under_root):
    """real ± √under_root, in the order of `eigenvalues`."""
    root = np.sqrt(complex(under_root))
    return np.sort_complex(np.array([real + root, real - root]))


F1, F2 = 0.5, -0.25  # f(t) = −log(1 + e⁻ᵗ): f′(0), f″(0)
SPECTRA = {  # reference/gans.md, § 2.3: eigenvalues at (0, 0)
    "minimax": ({"objective": "minimax"}, pair(0, -(F1**2))),
    "non-saturating": ({"objective": "non_saturating"}, pair(0, -(F1**2))),
    "relativistic": ({"objective": "relativistic"}, pair(0, -(F1**2))),
    "wasserstein": ({"objective": "wasserstein"}, pair(0, -1)),
}
for _sigma in (0.3, 0.7, 1.0, 1.5, 2.0):
    SPECTRA[f"instance noise {_sigma}"] = (
        {"instance_noise": _sigma},
        pair(F2 * _sigma**2, F2**2 * _sigma**4 - F1**2),
    )
for _gamma in (0.3, 1.0, 2.0):
    for _R in (R1, R2):
        for _objective in ("minimax", "non_saturating", "relativistic"):
            SPECTRA[f"{_objective} {_R.name} {_gamma}"] = (
                {"objective": _objective, "regularizers": [_R(_gamma)]},
                pair(-_gamma / 2, _gamma**2 / 4 - F1**2),
            )
    SPECTRA[f"relativistic r1 {_gamma} r2 0.5"] = (
        {"objective": "relativistic", "regularizers": [R1(_gamma), R2(0.5)]},
        pair(-(_gamma + 0.5) / 2, (_gamma + 0.5) ** 2 / 4 - F1**2),
    )


@pytest.mark.parametrize("name", SPECTRA)
def test_the_dirac_gans_eigenvalues_are_the_tables(name):
    settings, expected = SPECTRA[name]
    game = DiracGAN(theta=0.0, psi=0.0, **settings)
    batch = game.batch(0)
    assert_allclose(vector_field(game, batch), 0, atol=1e-15)
    J = dense(game, batch)
    if abs(expected[0] - expected[1]) > 1e-6:
        assert_allclose(eigenvalues(J), expected, rtol=0, atol=1e-10)
    else:  # a double eigenvalue (γ = 2·|f′(0)|, critical damping): compare what is well conditioned
        assert_allclose([np.trace(J), np.linalg.det(J)], [expected.sum().real, expected.prod().real], atol=1e-12)


def simulate(solver, steps, start=(1.0, 1.0), lr=0.2, **settings):
    """(steps + 1, 2): the points (θ, ψ)."""
    game = DiracGAN(theta=start[0], psi=start[1], **settings)
    solver = solver({player: SGD(params, lr=lr) for player, params in game.players.items()})
    path = [start]
    for step in range(steps):
        solver.step(game, step)
        path.append((game.theta.item(), game.psi.item()))
    return np.array(path)


def distances(*args, **settings):
    return np.linalg.norm(simulate(*args, **settings), axis=1)


def linear_rate(path):
    """The modulus of the linear map that the tail of a path follows."""
    now, after = path[:-1].T, path[1:].T
    return max(abs(np.linalg.eigvals(after @ np.linalg.pinv(now))))


def test_unregularised_simultaneous_steps_diverge():
    r = distances(Simultaneous, 500)
    assert r[500] > 2 * r[0] and all(r[i + 125] > r[i] for i in (0, 125, 250, 375))
    near = simulate(Simultaneous, 150, start=(1e-3, 1e-3))
    assert_allclose(linear_rate(near), abs(1 + 0.2 * 0.5j), rtol=1e-5)
    assert np.linalg.norm(near[-1]) > 2 * np.linalg.norm(near[0])


def test_unregularised_alternating_steps_cycle():
    path = simulate(Alternating, 500)
    r = np.linalg.norm(path, axis=1)
    assert 0.9 * r[:100].min() < r[400:].min() and r[400:].max() < 1.1 * r[:100].max() and r.min() > 1.2
    turns = np.unwrap(np.arctan2(path[:, 1], path[:, 0]))
    assert abs(turns[-1] - turns[0]) > 4 * 2 * np.pi


@pytest.mark.parametrize("objective", ["non_saturating", "relativistic"])
def test_non_saturating_games_converge_sublinearly_at_best(objective):
    r = distances(Alternating, 800, objective=objective)
    window = lambda t: r[t - 60 : t + 1].mean()
    assert window(800) < window(400) < window(200) < r[0]
    assert 0.6 < window(800) / window(400) < 0.85  # like 1/√t; a linear rate squares the ratio each time
    assert window(800) / window(400) > window(400) / window(200) - 0.05
    assert r[-1] > 0.1
    r = distances(Simultaneous, 300, objective=objective)  # whose linear part even diverges
    assert r[-100:].min() > 0.5


@pytest.mark.parametrize(
    "regularizers", [[], [WeightClipping(1.0)], [GradientPenalty(0.7)]], ids=["plain", "clipping", "penalty"]
)
@pytest.mark.parametrize("solver", [Simultaneous, Alternating])
def test_wasserstein_games_do_not_converge(solver, regularizers):
    path = simulate(solver, 500, objective="wasserstein", regularizers=regularizers)
    r = np.linalg.norm(path, axis=1)
    assert r[-200:].min() > 0.5
    assert abs(np.diff(path[-200:], axis=0)).max() > 0.05  # nor does it come to rest elsewhere
    if not regularizers and solver is Simultaneous:
        assert_allclose(r[-1] / r[0], abs(1 + 0.2j) ** 500, rtol=1e-6)
    else:
        assert r.max() < 5
    if regularizers and regularizers[0].name == "weight_clipping":
        assert abs(path[:, 1]).max() == 1.0


CONVERGING = {
    "R1 0.3": ({"regularizers": [R1(0.3)]}, pair(-0.15, 0.0225 - 0.25), 600),
    "R1 1": ({"regularizers": [R1(1.0)]}, None, 500),  # critical: a double eigenvalue −½
    "R2 0.3": ({"regularizers": [R2(0.3)]}, pair(-0.15, 0.0225 - 0.25), 600),
    "RpGAN + R1": ({"objective": "relativistic", "regularizers": [R1(0.6)]}, pair(-0.3, 0.09 - 0.25), 500),
    "instance noise 0.7": ({"instance_noise": 0.7}, pair(F2 * 0.49, F2**2 * 0.49**2 - 0.25), 800),
}


@pytest.mark.parametrize("name", CONVERGING)
def test_regularised_games_converge_at_the_eigenvalues_rate(name):
    settings, spectrum, steps = CONVERGING[name]
    path = simulate(Simultaneous, steps, **settings)
    assert np.linalg.norm(path[-1]) < 1e-6
    if spectrum is not None:
        assert_allclose(linear_rate(path[-60:]), abs(1 + 0.2 * spectrum).max(), rtol=1e-5)


@pytest.mark.parametrize("name", ["R1 0.3", "RpGAN + R1"])
def test_regularised_games_converge_with_alternating_steps_too(name):
    settings, _, steps = CONVERGING[name]
    assert distances(Alternating, steps, **settings)[-1] < 1e-6


def test_consensus_converges_on_the_dirac_gan():
    """Its field is v − γ ∇H = (J − γ JᵀJ) w near rest, with J = ½ rotation: eigenvalues −γ/4 ± ½i."""
    for gamma, start, steps in ((1.0, (1.0, 1.0), 350), (0.5, (1e-3, 1e-3), 80)):
        path = simulate(lambda o, gamma=gamma: Consensus(o, gamma), steps, start)
        assert np.linalg.norm(path[-1]) < 1e-6 * np.linalg.norm(path[0]) or steps < 350
        assert_allclose(linear_rate(path[-60:]), abs(1 + 0.2 * (-gamma / 4 + 0.5j)), rtol=1e-5)


def test_a_dirac_gan_has_no_closed_form():
    with pytest.raises(TypeError, match="Proximal needs a game with a closed form"):
        Proximal(0.1).step(DiracGAN(), 0)


# ---- what a GAN draws ------------------------------------------------------------------------------------------------


def latent_gan(latent_dim=4, seed=0):
    G = mlp(latent_dim, 2)
    return GAN(G, mlp(2, 1), Batches(np.zeros((8, 2), np.float32), 4, seed), latent_dim=latent_dim, seed=seed)


@pytest.mark.parametrize("truncation", [0.05, 0.5, 1.0, 2.0, 30.0])
def test_truncated_latents_follow_the_truncated_normal_distribution(truncation):
    from scipy.stats import kstest, truncnorm

    game = latent_gan()
    z = game.latent(5000, number=3, truncation=truncation)
    assert z.shape == (5000, 4) and z.dtype == np.float32 and z.node is None
    assert abs(z.data).max() <= np.float32(truncation)
    values = z.data.astype(np.float64)
    for column in values.T:
        assert kstest(column, truncnorm(-truncation, truncation).cdf).pvalue > 1e-3
    assert kstest(values.ravel(), "norm").pvalue > 1e-3 if truncation == 30 else True
    assert abs(np.corrcoef(values.T) - np.eye(4)).max() < 0.06


def test_truncated_latents_are_the_same_quantiles_whatever_the_truncation():
    """So one draw moves towards the mean as the truncation falls; and n draws start with the draws of fewer."""
    from scipy.stats import truncnorm

    game = latent_gan()
    drawn = {t: game.latent(50, 7, "z", t).data for t in (0.5, 1.0, 2.0)}
    quantiles = [truncnorm(-t, t).cdf(z.astype(np.float64)) for t, z in drawn.items()]
    assert_allclose(quantiles[0], quantiles[1], atol=1e-6)
    assert_allclose(quantiles[0], quantiles[2], atol=1e-6)
    assert_array_equal(game.latent(50, 7, "z", 0.5).data, drawn[0.5])
    assert_array_equal(game.latent(10, 7, "z", 0.5).data, drawn[0.5][:10])
    others = [game.latent(50, 8, "z", 0.5), game.latent(50, 7, "y", 0.5), latent_gan(seed=1).latent(50, 7, "z", 0.5)]
    assert all((other.data != drawn[0.5]).mean() > 0.99 for other in others)
    assert_array_equal(game.latent(50, 7, "z").data, latent_gan().latent(50, 7, "z").data)
    for bad in (0, 0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="truncation must be positive"):
            game.latent(3, truncation=bad)


class Seen(nn.Module):
    """A discriminator that remembers what it was shown."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Dense(2, 1)
        self.shown = []

    def forward(self, x):
        self.shown.append(x.numpy().copy())
        return self.dense(x)


def seeing(noise, objective="relativistic", n=4000, seed=0):
    """Data at (5, 5), everything generated at 0: the rest is noise."""
    G = nn.Dense(3, 2, init=nn.init.normal(0.0))
    G.bias.assign(np.zeros(2, np.float32))
    data = Batches(np.full((n, 2), 5.0, np.float32), n, 0)
    return GAN(G, Seen(), data, latent_dim=3, objective=objective, instance_noise=noise, seed=seed)


def shown(game, batch, player=None):
    """[what D saw minus the clean samples]: real, then generated."""
    del game.D.shown[:]
    game.losses(batch) if player is None else game.loss(player, batch)
    return [a - (5 if a.mean() > 2 else 0) for a in game.D.shown]


def test_instance_noise_is_normal_and_independent():
    from scipy.stats import kstest

    game = seeing(0.3)
    real, fake = shown(game, game.batch(2))
    for a in (real, fake):
        assert a.shape == (4000, 2) and a.dtype == np.float32
        assert kstest(a.ravel() / 0.3, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(real.ravel(), fake.ravel())[0, 1]) < 0.05
    assert all((a == 0).all() for a in shown(seeing(0.0), game.batch(2)))


def test_instance_noise_is_the_same_for_the_same_batch_and_else_differs():
    game = seeing(0.3, n=50)
    batches = {(number, player): game.batch(number, player) for number in (0, 1) for player in ("D", "G", None)}
    drawn = {key: shown(game, batch, key[1]) for key, batch in batches.items()}
    for key, batch in batches.items():
        again = shown(game, batch, key[1])
        same_batch = shown(seeing(0.3, n=50), seeing(0.3, n=50).batch(*key), key[1])
        for a, b, c in zip(drawn[key], again, same_batch, strict=True):
            assert_array_equal(a, b)
            assert_array_equal(a, c)
    different = [a for pair in drawn.values() for a in pair] + shown(seeing(0.3, n=50, seed=1), batches[0, None])
    assert len(different) == 14
    for i, a in enumerate(different):
        assert all((abs(a - b) > 1e-5).mean() > 0.9 for b in different[:i])
    both = batches[1, None]
    for player in ("D", "G"):  # one by one or together: the noise belongs to the batch
        for a, b in zip(shown(game, both, player), drawn[1, None]):
            assert_array_equal(a, b)


def test_instance_noise_may_decay_to_nothing():
    decay = linear_decay(0.4, 10)
    assert [decay(number) for number in (0, 5, 10, 11, 1000)] == pytest.approx([0.4, 0.2, 0, 0, 0])
    assert all(type(decay(number)) is float for number in (0, 5, 20))
    fixed, falling = seeing(0.4), seeing(decay)
    for rounds in (0, 5, 20):
        falling.rounds, batch = rounds, fixed.batch(3)
        for a, b in zip(shown(falling, batch), shown(fixed, batch)):
            assert_allclose(a, b * decay(rounds) / 0.4, atol=2e-6)
    falling.rounds = 10
    assert all((a == 0).all() for a in shown(falling, falling.batch(1)))


def test_generated_noise_lets_the_gradient_through():
    game = seeing(0.3, "non_saturating", n=50)
    game.loss("G", game.batch(0, "G")).backward()
    assert (game.G.bias.grad.data != 0).all()
    assert game.batch(0, "G").real is None  # no noise on what is not there


def test_small_gan_has_no_noise_by_default():
    game = small_gan()
    batch = game.batch(0)
    assert game.instance_noise == 0.0 and game._noisy(batch.real, batch, "real") is batch.real
