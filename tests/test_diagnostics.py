"""Diagnostics against what can be worked out on paper, and the game as it was before they looked."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import minigan as mg
from minigan import backend, nn, objectives
from minigan.backend.random import stream
from minigan.data import Batches
from minigan.games import (
    GAN,
    Alternating,
    Bilinear,
    DiracGAN,
    Jacobian,
    Metrics,
    QuadraticGame,
    accuracy,
    duality_gap,
    gradient_norms,
    path_angle,
    play,
    position,
    spectrum,
    vector_field,
)
from minigan.games.diagnostics import DualityGap, move_to
from minigan.games.field import parameters
from minigan.models import mlp
from minigan.objectives import R1, HistoricalAveraging
from minigan.optim import EMA, SGD, Adam
from tests.strategies import examples, seeds

numbers = st.floats(-3, 3, allow_subnormal=False)


def sgd(lr):
    return lambda params: SGD(params, lr=lr)


def smooth_gan(width=4, objective="non_saturating", regularizers=()):
    """In float64 and without kinks."""
    G = mlp(2, width, 2, activation=nn.Tanh).to(dtype="float64")
    D = mlp(2, width, width, 1, activation=nn.Tanh).to(dtype="float64")
    real = 1 + stream(0, "real").standard_normal((20, 2))
    game = GAN(G, D, Batches(real, 6, 0), 2, objective, regularizers)
    for i, p in enumerate(parameters(game)):
        p.assign(0.8 * stream(0, f"parameter {i}").standard_normal(p.shape))
    return game


def stateful_gan():
    """With all that changes while losses are computed: batch norm, spectral norm, dropout; played for three rounds."""
    G = nn.Sequential(nn.Dense(2, 6), nn.BatchNorm(6), nn.ReLU(), nn.Dense(6, 2))
    D = nn.Sequential(nn.Dense(2, 6), nn.LeakyReLU(), nn.Dropout(0.3), nn.Dense(6, 1))
    for i, net in enumerate((G, D)):
        nn.init.initialize(net, nn.init.glorot, i)
    D = nn.spectral_norm(D)
    real = stream(0, "real").standard_normal((40, 2), dtype="float32")
    game = GAN(G, D, Batches(real, 8, 0), 2, regularizers=[R1(0.1), HistoricalAveraging(0.1)], instance_noise=0.1)
    solver = Alternating({name: Adam(ps, lr=1e-2) for name, ps in game.players.items()})
    play(game, solver, 3)
    return game, solver


def everything(game):
    """All that a look could disturb, in bytes."""
    state = {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in game.state_dict().items()}
    gradients = [None if p.grad is None else (id(p.grad), p.grad.numpy().tobytes()) for p in parameters(game)]
    readings = {name: np.asarray(a).tobytes() for name, a in game.readings().items()}
    terms = {(player, n): a.tobytes() for player, ts in game.terms.items() for n, a in ts.items()}
    tracked = [p.requires_grad for p in parameters(game)]
    modes = [m.training for net in getattr(game, "networks", {}).values() for _, m in net.named_modules()]
    return state, gradients, readings, terms, tracked, modes


# ---- points ----------------------------------------------------------------------------------------------------------


def test_position_and_move_to_are_inverses():
    game = smooth_gan()
    w = position(game)
    assert w.shape == (sum(p.size for p in parameters(game)),)
    assert_array_equal(w, np.concatenate([p.numpy().ravel() for ps in game.players.values() for p in ps]))
    other = stream(0, "w").standard_normal(w.shape)
    move_to(game, other)
    assert_array_equal(position(game), other)
    assert not np.shares_memory(position(game), parameters(game)[0].data)
    two = Bilinear(1.0, -2.0)  # parameters of shape ()
    move_to(two, [3, 4])
    assert (two.x.item(), two.y.item()) == (3, 4) and two.x.shape == ()
    with pytest.raises(ValueError):
        move_to(two, [1.0, 2.0, 3.0])


# ---- duality gap -----------------------------------------------------------------------------------------------------


@given(x=numbers, y=numbers, lr=st.floats(0.01, 0.5), steps=st.integers(1, 9))
def test_the_gap_of_the_bilinear_game_after_k_steps(x, y, lr, steps):
    """x walks k steps along −y, so it gains k·η·y²; y gains k·η·x². Both walk on the same line without end."""
    gap = duality_gap(Bilinear(x, y), steps, sgd(lr))
    assert_allclose([gap.regrets["x"], gap.regrets["y"]], [steps * lr * y**2, steps * lr * x**2], atol=1e-12)
    assert_allclose(float(gap), steps * lr * (x**2 + y**2), atol=1e-12)


def test_the_gap_at_the_equilibrium_is_zero():
    assert float(duality_gap(Bilinear(0.0, 0.0), 20, sgd(0.3))) == 0
    game, _ = saddle(3, 0)
    move_to(game, game.equilibrium())
    assert float(duality_gap(game, 50, sgd(0.05))) < 1e-12
    assert float(duality_gap(DiracGAN(theta=0.0, psi=0.0), 20)) < 1e-12


def saddle(n, seed):
    """A strongly convex-concave zero-sum game f = ½ xᵀP x + xᵀB y − ½ yᵀR y, and its exact gap at its start."""
    rng = stream(seed, "saddle")
    spd = lambda: (lambda a: a @ a.T / n + np.eye(n))(rng.standard_normal((n, n)))
    P, R, B = spd(), spd(), rng.standard_normal((n, n))
    Q = np.block([[P, B], [B.T, -R]])
    x, y = rng.standard_normal((2, n))
    game = QuadraticGame({"x": Q, "y": -Q}, {"x": x, "y": y})
    value = 0.5 * x @ P @ x + x @ B @ y - 0.5 * y @ R @ y
    highest = 0.5 * x @ P @ x + 0.5 * (B.T @ x) @ np.linalg.solve(R, B.T @ x)
    lowest = -0.5 * y @ R @ y - 0.5 * (B @ y) @ np.linalg.solve(P, B @ y)
    return game, {"x": value - lowest, "y": highest - value}


@examples(0.3)
@given(n=st.integers(1, 4), seed=seeds)
def test_the_gap_converges_to_the_exact_one_from_below(n, seed):
    """In a zero-sum game it is max over y′ of f(x, y′) − min over x′ of f(x′, y): the present value drops out."""
    game, exact = saddle(n, seed)
    short, long = duality_gap(game, 3, sgd(0.02)), duality_gap(game, 300, sgd(0.2 if n == 1 else 0.1))
    for player, regret in exact.items():
        assert_allclose(long.regrets[player], regret, rtol=1e-5, atol=1e-9)
        assert 0 <= short.regrets[player] <= regret + 1e-12
    assert float(short) < float(long) or float(long) < 1e-9


@given(seed=seeds, lr=st.floats(0.1, 5.0))
def test_the_gap_is_never_negative(seed, lr):
    """Not even where the opponents overshoot and lose: they may stand still."""
    game, _ = saddle(2, seed)
    gap = duality_gap(game, 3, sgd(lr))
    assert all(regret >= 0 for regret in gap.regrets.values()) and float(gap) >= 0


def test_an_overshooting_opponent_gains_nothing():
    game = QuadraticGame({"x": np.eye(1)}, {"x": [1.0]})  # x ← (1 − 3)·x: twice as far after one step
    assert duality_gap(game, 1, sgd(3.0)).regrets == {"x": 0.0}
    assert_allclose(duality_gap(game, 1, sgd(0.5)).regrets["x"], 0.5 - 0.125)


def test_the_others_stand_still_and_constraints_hold():
    seen = []

    class Watched(Bilinear):
        def loss(self, player, batch):
            seen.append((player, self.x.item(), self.y.item()))
            return super().loss(player, batch)

        def constrain(self, player):
            if player == "x":
                self.x.assign(max(self.x.item(), 0.75))

    gap = duality_gap(Watched(1.0, 2.0), 4, sgd(0.1))
    assert {y for player, _, y in seen if player == "x"} == {2.0} and {x for p, x, _ in seen if p == "y"} == {1.0}
    assert_allclose(gap.regrets["x"], 0.25 * 2)  # from 1 to 0.75 and no further


def test_gap_by_default_and_in_words():
    gap = duality_gap(Bilinear(1.0, 0.0), steps=7)  # Adam moves y by about lr = 1e-3 a step
    assert_allclose(float(gap), 7e-3, rtol=1e-3)
    assert (
        repr(DualityGap({"x": 1.5, "y": 0.25}, 7))
        == "DualityGap(1.75: x could gain 1.5, y could gain 0.25, by 7 steps)"
    )


def test_the_gap_is_measured_on_other_draws_than_it_was_trained_on():
    asked = []

    class Spied(DiracGAN):
        def batch(self, number, player=None):
            asked.append((player, number))
            return super().batch(number, player)

    duality_gap(Spied(), steps=3, draws=2, number=50)
    per_player = [50, 51, 52, 53, 54, 50, 51]  # measure, train, measure again on the same
    assert asked == [("D", n) for n in per_player] + [("G", n) for n in per_player]
    assert all(number >= 10**9 for number in _numbers_of(duality_gap))


def _numbers_of(look):
    asked = []

    class Spied(DiracGAN):
        def batch(self, number, player=None):
            asked.append(number)
            return super().batch(number, player)

    look(Spied())
    return asked


def test_the_gap_with_averaged_weights():
    """`Metrics(average=…)` promises to measure with the average's weights."""
    game = smooth_gan()
    average = EMA(parameters(game), 0.9)
    move_to(game, position(game) + 0.1)
    trajectory = play(
        game,
        Alternating({name: SGD(ps, lr=0.01) for name, ps in game.players.items()}),
        1,
        [Metrics({"gap": lambda g: duality_gap(g, 3)}, every=1, average=average)],
    )
    assert trajectory["metric/gap"][0] > 0


# ---- undisturbed -----------------------------------------------------------------------------------------------------

LOOKS = {
    "duality_gap": lambda game: duality_gap(game, 3),
    "spectrum": lambda game: spectrum(game, k=2),
    "path_angle": lambda game: path_angle(game, position(game), position(game) + 1, points=3),
}


@pytest.mark.parametrize("name", LOOKS)
@pytest.mark.parametrize("make", [stateful_gan, lambda: played(smooth_gan()), lambda: played(big_quadratic())])
def test_the_game_is_left_bit_for_bit_as_it_was(name, make):
    game, solver = make()
    twin, twins_solver = make()
    before = everything(game)
    assert all(g is not None for g in before[1])  # something there that could be lost
    LOOKS[name](game)
    assert everything(game) == before
    for g, s in ((game, solver), (twin, twins_solver)):  # and it goes on as if nobody had looked
        play(g, s, 6, start=3)
    assert everything(game)[0] == everything(twin)[0]
    assert {n: a.tobytes() for n, a in solver.state_dict().items()} == {
        n: a.tobytes() for n, a in twins_solver.state_dict().items()
    }


def played(game):
    solver = Alternating({name: Adam(ps, lr=1e-2) for name, ps in game.players.items()})
    play(game, solver, 3)
    return game, solver


def big_quadratic():
    return saddle(3, 1)[0]


class Stop(Exception):
    pass


@pytest.mark.parametrize("name", LOOKS)
@pytest.mark.parametrize("at", [1, 2])
def test_even_after_an_exception(name, at):
    """In the middle of it: after some losses have already been computed (and batch norm has moved)."""
    game, _ = stateful_gan()
    before, calls = everything(game), []

    def fail(module, inputs, output):
        calls.append(module)
        if len(calls) > at:
            raise Stop

    game.D.hooks.append(fail)
    with pytest.raises(Stop):
        LOOKS[name](game)
    game.D.hooks.clear()
    assert len(calls) == at + 1 and everything(game) == before


def test_a_look_does_move_what_it_puts_back():
    """The tests above could fail: while looking, buffers do change."""
    game, _ = stateful_gan()
    before, seen = game.state_dict(), []
    game.G.hooks.append(lambda *_: seen.append(game.state_dict()))
    duality_gap(game, 3)
    changed = {name for state in seen for name, a in state.items() if not np.array_equal(a, before[name])}
    assert {"G/batchnorm1.running_mean", "D/dropout1.calls", "D/dense1.u", "D/dense1.layer.weight"} <= changed


# ---- spectrum --------------------------------------------------------------------------------------------------------


@st.composite
def quadratic_games(draw):
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    rng, n = stream(draw(seeds), "quadratic"), sum(sizes)
    names = [f"p{i}" for i in range(len(sizes))]
    losses = {name: (rng.standard_normal((n, n)), rng.standard_normal(n)) for name in names}
    return QuadraticGame(losses, {name: rng.standard_normal(k) for name, k in zip(names, sizes)})


def distance(a, b):
    """The largest distance between two sets of numbers, each paired with its nearest still free one."""
    rest, worst = list(b), 0.0
    for value in a:
        nearest = min(rest, key=lambda other: abs(other - value))
        rest.remove(nearest)
        worst = max(worst, abs(nearest - value))
    return worst


@given(game=quadratic_games())
def test_the_spectrum_of_quadratic_games_is_that_of_their_matrix(game):
    J, _ = game.affine_field()
    values = spectrum(game)
    assert values.shape == (len(J),) and distance(values, np.linalg.eigvals(J)) < 1e-6
    assert (np.diff(values.real) <= 1e-9).all()
    assert_allclose(values.sum(), np.trace(J), atol=1e-9)


def test_the_spectrum_is_complex_even_where_nothing_turns():
    game = QuadraticGame({"x": np.eye(2), "y": np.eye(2)}, {"x": [1.0], "y": [1.0]})
    assert_array_equal(spectrum(game), [-1, -1])
    assert spectrum(game).dtype == np.complex128


def test_the_spectrum_of_a_rotation_and_of_the_dirac_gan():
    """f′(0)² = ¼ for the logistic loss: ±½ i (Mescheder et al. 2018, lemma 2.3); with R1 −γ/2 ± √(γ²/4 − ¼)."""
    values = spectrum(Bilinear(1.0, 2.0))
    assert values.dtype == np.complex128
    assert_allclose(values, [1j, -1j])
    assert_allclose(spectrum(DiracGAN(theta=0.0, psi=0.0)), [0.5j, -0.5j], atol=1e-12)
    damped = spectrum(DiracGAN(regularizers=[R1(0.6)], theta=0.0, psi=0.0))
    assert_allclose(damped, [-0.3 + 0.4j, -0.3 - 0.4j], atol=1e-12)


def by_jacobian(game, batch=None):
    J = Jacobian(game, game.batch(10**9) if batch is None else batch)
    return np.linalg.eigvals(np.stack([J.product(u).data for u in np.eye(J.size)], axis=1))


CASES = [(3, "non_saturating", ()), (6, "wasserstein", (R1(1.0),)), (9, "relativistic", (R1(0.3),))]


@pytest.mark.parametrize(("width", "objective", "regularizers"), CASES)
def test_arnoldi_finds_the_ends_of_the_dense_spectrum(width, objective, regularizers):
    game = smooth_gan(width, objective, regularizers)
    n = sum(p.size for p in parameters(game))
    assert 40 <= n <= 400
    every = by_jacobian(game)
    assert distance(spectrum(game, dense=n), every) < 1e-6
    assert len(spectrum(game, dense=n - 1)) in (6, 7)  # conjugate pairs are kept together
    for which, k in (("LM", 1), ("LM", 5), ("LR", 1), ("LR", 4), ("LI", 1)):
        found = spectrum(game, k=k, which=which)
        assert len(found) in (k, k + 1) and found.dtype == np.complex128 and distance(found, every) < 1e-6
        assert distance(found.conj(), found) < 1e-6
        assert_allclose(extent(found, which)[-k:], extent(every, which)[-k:], atol=1e-6)
        assert (np.diff(found.real) <= 1e-9).all()


def extent(values, which):
    return np.sort({"LM": np.abs(values), "LR": values.real, "LI": np.abs(values.imag)}[which])


@pytest.mark.parametrize("width", [8])
def test_arnoldi_finds_several_of_largest_imaginary_part(width):
    game = smooth_gan(width, "relativistic", (R1(0.3),))
    every = spectrum(game)
    assert_allclose(extent(spectrum(game, k=4, which="LI"), "LI")[-4:], extent(every, "LI")[-4:], atol=1e-6)


def test_the_spectrum_at_another_batch_is_another():
    game = smooth_gan()
    assert distance(spectrum(game), spectrum(game, batch=game.batch(10**9))) == 0
    assert distance(spectrum(game, batch=game.batch(1)), by_jacobian(game, game.batch(1))) < 1e-6
    assert distance(spectrum(game), spectrum(game, batch=game.batch(1))) > 1e-3


@pytest.mark.parametrize("k", [0, -1, 5, 6, 100])
def test_a_bad_number_of_eigenvalues_is_refused(k):
    with pytest.raises(ValueError, match=rf"k must be between 1 and n − 2 = 4, got {k}; leave it out for all"):
        spectrum(big_quadratic(), k=k)
    assert len(spectrum(big_quadratic(), k=4)) == 5  # two pairs and one


def test_the_spectrum_in_float32():
    game = GAN(
        mlp(2, 4, 2, activation=nn.Tanh), mlp(2, 4, 1, activation=nn.Tanh), stateful_gan()[0].data, 2, "non_saturating"
    )
    for i, p in enumerate(parameters(game)):
        p.assign(0.8 * stream(0, f"parameter {i}").standard_normal(p.shape).astype(np.float32))
    single = spectrum(game)
    for net in (game.G, game.D):
        net.to(dtype="float64")
    game.players = {"D": game.D.parameters(), "G": game.G.parameters()}
    assert 0 < distance(single, spectrum(game)) < 1e-3 * np.abs(single).max()


# ---- path angle ------------------------------------------------------------------------------------------------------


@given(x=numbers, y=numbers)
def test_a_rotation_is_at_right_angles_to_the_way_home(x, y):
    """v = (−y, x) stands on the line through the equilibrium everywhere; its length is the distance from it."""
    if x * x + y * y < 1e-3:
        x += 1
    way = path_angle(Bilinear(5.0, 5.0), [x, y], [0, 0], points=14)  # 14: none at the equilibrium itself
    assert_allclose(way.alpha, np.linspace(-0.1, 1.1, 14))
    assert_allclose(way.cosine, 0, atol=1e-12)
    assert_allclose(way.norm, np.abs(1 - way.alpha) * np.hypot(x, y), atol=1e-12)


@given(seed=seeds, n=st.integers(1, 4))
def test_descent_points_to_the_minimum_before_it_and_back_behind_it(seed, n):
    rng = stream(seed, "potential")
    start, c = rng.standard_normal((2, n + 1)), 2.5
    goal = -rng.standard_normal(n + 1)
    Q = c * np.eye(n + 1)  # ½ c ‖w − goal‖² for both players
    game = QuadraticGame({"a": (Q, -c * goal), "b": (Q, -c * goal)}, {"a": start[0][:1], "b": start[0][1:]})
    before = position(game)
    way = path_angle(game, start[0], goal, points=25, low=-0.5, high=1.5, batch=None)
    inside, behind = way.alpha < 1 - 1e-9, way.alpha > 1 + 1e-9
    assert_allclose(way.cosine[inside], 1, atol=1e-9)
    assert_allclose(way.cosine[behind], -1, atol=1e-9)
    length = np.linalg.norm(goal - start[0])
    assert_allclose(way.norm, c * np.abs(1 - way.alpha) * length, atol=1e-9)
    assert_allclose(way.dot, way.cosine * way.norm * length)
    assert_allclose(way.dot, c * (1 - way.alpha) * length**2, atol=1e-9)
    assert_array_equal(position(game), before)


def test_the_path_angle_of_a_gan_by_hand():
    game = smooth_gan()
    start, batch = position(game), game.batch(3)
    end = start + stream(0, "end").standard_normal(start.shape)
    way = path_angle(game, start, end, points=4, low=0.0, high=1.0, batch=batch)
    for i, a in enumerate(np.linspace(0, 1, 4)):
        move_to(game, start + a * (end - start))
        v = vector_field(game, batch)
        assert_allclose(way.norm[i], np.linalg.norm(v))
        assert_allclose(way.dot[i], v @ (end - start))
        assert_allclose(way.cosine[i], v @ (end - start) / np.linalg.norm(v) / np.linalg.norm(end - start))
    move_to(game, start)
    other = path_angle(game, start, end, points=4, low=0.0, high=1.0)
    assert not np.allclose(other.norm, way.norm)  # by default another batch


def test_the_path_angle_where_nothing_pulls_is_zero():
    game = QuadraticGame({"x": np.zeros((2, 2))}, {"x": [1.0, 2.0]})
    way = path_angle(game, [0, 0], [1, 1], points=3)
    assert way.cosine.tolist() == way.norm.tolist() == way.dot.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("start", "end", "shapes"),
    [([1, 2], [1, 2], r"\(2,\) and \(2,\)"), ([1, 2], [1, 2, 3], r"\(2,\) and \(3,\)"), ([0, np.nan], [1, 1], "")],
)
def test_two_different_points_of_one_shape_are_needed(start, end, shapes):
    with pytest.raises(ValueError, match=rf"path_angle: needs two different points of one shape, got .*{shapes}"):
        path_angle(Bilinear(), start, end)


def test_points_of_another_game_are_refused_and_nothing_has_moved():
    game = Bilinear(1.0, 2.0)
    with pytest.raises(ValueError):
        path_angle(game, [1, 2, 3], [0, 0, 0])
    assert position(game).tolist() == [1, 2]


# ---- gradient lengths ------------------------------------------------------------------------------------------------


def test_gradient_norms_are_numpys():
    game, _ = stateful_gan()
    norms = gradient_norms(game)
    assert list(norms) == [p.name for p in parameters(game)]
    for p in parameters(game):
        g = p.grad.numpy().astype(np.float64)
        assert type(norms[p.name]) is float
        assert_allclose(norms[p.name], np.sqrt((g**2).sum()), rtol=1e-12)
    assert gradient_norms(game, "G") == {name: n for name, n in norms.items() if name.startswith("G.")}
    with pytest.raises(KeyError):
        gradient_norms(game, "X")


def test_gradient_norms_of_what_has_none_and_of_what_has_no_name():
    game = Bilinear(3.0, 4.0)
    assert gradient_norms(game) == {}
    game.x.name, game.x.grad = None, mg.tensor(-2.0, dtype="float64")
    assert gradient_norms(game) == {"x.0": 2.0} and gradient_norms(game, "y") == {}
    large = mg.tensor(np.full(4, 3e30, np.float32))  # its square overflows in float32
    game.y.grad = large
    assert_allclose(gradient_norms(game)["y"], 6e30, rtol=1e-6)


# ---- accuracy --------------------------------------------------------------------------------------------------------


def by_pairs(real, fake):
    """O(n²): the share of pairs in which the real one is larger, ties counting half."""
    won = [(r > f) + 0.5 * (r == f) for r in real for f in fake]
    return sum(won) / len(won)


integers = st.lists(st.integers(-3, 3), min_size=1, max_size=12)


@given(real=integers, fake=integers)
def test_accuracy_against_loops(real, fake):
    r, f = np.array(real, np.float32), np.array(fake, np.float32)
    for objective in (objectives.Minimax(), objectives.LeastSquares(), objectives.get("f:kl")):
        t = objective.threshold
        right = [sum((x > t) + (x == t) / 2 for x in real) / len(real)]
        expected = (right[0] + sum((x < t) + (x == t) / 2 for x in fake) / len(fake)) / 2
        assert_allclose(accuracy(objective, r, f), expected)
    for name in ("wasserstein", "relativistic"):
        assert objectives.get(name).threshold is None
        assert_allclose(accuracy(objectives.get(name), r, f), by_pairs(real, fake))
    for name in ("began", "ebgan"):  # energies: low for real samples
        assert_allclose(accuracy(objectives.get(name), r, f), by_pairs(fake, real))


@pytest.mark.parametrize("name", objectives.names())
def test_the_ends_of_accuracy(name):
    """Perfect, perfectly wrong, and no difference, on both sides of the threshold; any shapes."""
    objective = objectives.get(name)
    middle = objective.threshold or 0.0
    high, low = np.full((5, 1), middle + 2, np.float32), np.full(3, middle - 2, np.float32)
    right, wrong = (high, low) if objective.sign > 0 else (low, high)
    assert accuracy(objective, right, wrong) == 1 and accuracy(objective, wrong, right) == 0
    assert accuracy(objective, high, high) == 0.5 and accuracy(objective, low, low) == 0.5
    assert type(accuracy(objective, high, low)) is float


@examples(0.5)
@given(seed=seeds, n=st.integers(1, 200), m=st.integers(1, 200))
def test_accuracy_of_many(seed, n, m):
    rng = np.random.default_rng(seed)
    real, fake = rng.integers(0, 9, (n, 1)) / 4, rng.integers(0, 9, (m, 1)) / 4
    assert_allclose(accuracy(objectives.get("wasserstein"), real, fake), by_pairs(real.ravel(), fake.ravel()))


def test_diagnostics_draw_numbers_that_no_training_reaches():
    assert min(_numbers_of(spectrum)) >= 10**9
    assert min(_numbers_of(lambda game: path_angle(game, [0, 0], [1, 1], points=2))) >= 10**9
    assert backend.random.stream(0, "x", 10**9 + 10**6) is not None
