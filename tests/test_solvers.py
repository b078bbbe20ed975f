"""Solvers: their rates, and their trajectories against the papers' equations written out again in plain NumPy.

The references below know a game only as matrices (v(w) = J w + b) or a gradient as an array; nothing of theirs comes
from minigan.games.
"""

from functools import partial

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
    ExtraGradient,
    Game,
    NonFiniteError,
    Optimistic,
    PastExtraGradient,
    Proximal,
    QuadraticGame,
    Simultaneous,
    Solver,
    SymplecticGradientAdjustment,
    Unrolled,
    negative_momentum,
    play,
)
from minigan.models import mlp
from minigan.objectives import Regularizer, WeightClipping
from minigan.optim import SGD, Adam, RMSProp
from tests import test_games
from tests.test_games import RealToo

SGA = SymplecticGradientAdjustment


def alike(game):
    """The game with weights that follow from their places alone: two of a kind start at the same point."""
    for player, params in game.players.items():
        for i, p in enumerate(params):
            p.assign(0.7 * stream(0, f"{player}/{i}").standard_normal(p.shape).astype(p.dtype))
    return game


def small_gan(objective="non_saturating"):
    return alike(test_games.small_gan(objective))


def optimizers(game, make=SGD, **settings):
    """One optimiser for every player; a setting may be a dictionary by player."""
    pick = lambda player: {k: v[player] if isinstance(v, dict) else v for k, v in settings.items()}
    return {player: make(params, **pick(player)) for player, params in game.players.items()}


def everything(game):
    """All parameters as bytes, by player: for "nothing has moved"."""
    return {player: [p.numpy().tobytes() for p in params] for player, params in game.players.items()}


def point(game):
    """w, all players' parameters one after the other."""
    return np.concatenate([p.numpy().ravel() for params in game.players.values() for p in params])


# ---- rates on min max xy ---------------------------------------------------------------------------------------------

LEARNING_RATES = (0.1, 0.3, 0.5, 0.57, 0.58)
OGDA = (0.994936, 0.948683, 0.707107, 0.980711, 1.006861)
CONSENSUS = (0.905539, 0.761577, 0.707107, 0.714003, 0.716101)
RATES = {  # reference/gans.md, § 2.2
    "Simultaneous": (1.004988, 1.044031, 1.118034, 1.151043, 1.156028),
    "Alternating": (1.0, 1.0, 1.0, 1.0, 1.0),
    "ExtraGradient": (0.995038, 0.958175, 0.901388, 0.883550, 0.881343),
    "PastExtraGradient": OGDA,
    "Optimistic": OGDA,
    "Consensus": CONSENSUS,
    "SGA": CONSENSUS,
    "Proximal": (0.995037, 0.957826, 0.894427, 0.868777, 0.865031),
    "negative_momentum": (0.998518, 0.986609, 0.962544, 0.951181, 0.949431),
}
ON_BILINEAR = {
    "Simultaneous": lambda g, eta: Simultaneous(optimizers(g, lr=eta)),
    "Alternating": lambda g, eta: Alternating(optimizers(g, lr=eta)),
    "ExtraGradient": lambda g, eta: ExtraGradient(optimizers(g, lr=eta)),
    "PastExtraGradient": lambda g, eta: PastExtraGradient(optimizers(g, lr=eta)),
    "Optimistic": lambda g, eta: Optimistic(optimizers(g, lr=eta)),
    "Consensus": lambda g, eta: Consensus(optimizers(g, lr=eta), gamma=1.0),
    "SGA": lambda g, eta: SGA(optimizers(g, lr=eta), strength=1.0),
    "Proximal": lambda g, eta: Proximal(eta),
    "negative_momentum": lambda g, eta: negative_momentum(g, eta),
}
FORMULAS = {
    "Simultaneous": lambda eta: np.sqrt(1 + eta**2),
    "Alternating": lambda eta: 1.0,
    "ExtraGradient": lambda eta: np.sqrt(1 - eta**2 + eta**4),
    # λ² = λ + 2iηλ − iη, from w ← w + 2ηv − ηv₋₁ where v is multiplication by i
    "PastExtraGradient": lambda eta: max(abs(np.roots([1, -1 - 2j * eta, 1j * eta]))),
    "Optimistic": lambda eta: max(abs(np.roots([1, -1 - 2j * eta, 1j * eta]))),
    "Consensus": lambda eta: np.hypot(1 - eta, eta),
    "SGA": lambda eta: np.hypot(1 - eta, eta),
    "Proximal": lambda eta: 1 / np.sqrt(1 + eta**2),
    "negative_momentum": lambda eta: momentum_modulus(eta, -0.5),
}


def momentum_modulus(eta, beta):
    """Gidel et al. 2019b: alternating steps with momentum β have (λ − 1)² (λ − β)² + η² λ³ = 0."""
    polynomial = np.polymul(np.polymul([1, -1], [1, -1]), np.polymul([1, -beta], [1, -beta]))
    return max(abs(np.roots(np.polyadd(polynomial, [eta**2, 0, 0, 0]))))


def modulus(make, eta, starts=((1.0, 0.0), (0.0, 1.0), (1.0, -2.0))):
    """The largest |eigenvalue| of a solver's linear map, found from what it does.

    The state is (w_t, w_{t−1}), which holds any memory of one round; the map is fitted where trajectories reach.
    """
    now, after = [], []
    for start in starts:
        game = Bilinear(*start)
        solver, path = make(game, eta), [point(game)]
        for step in range(8):
            solver.step(game, step)
            path.append(point(game))
        states = [np.concatenate(pair) for pair in zip(path[2:], path[1:])]
        now, after = now + states[:-1], after + states[1:]
    U, S, Vt = np.linalg.svd(np.transpose(now), full_matrices=False)
    rank = np.count_nonzero(S / S[0] > 1e-10)
    return max(abs(np.linalg.eigvals(U[:, :rank].T @ np.transpose(after) @ Vt[:rank].T / S[:rank])))


@pytest.mark.parametrize("eta", LEARNING_RATES)
@pytest.mark.parametrize("name", RATES)
def test_the_rate_is_the_tables(name, eta):
    assert_allclose(modulus(ON_BILINEAR[name], eta), RATES[name][LEARNING_RATES.index(eta)], rtol=0, atol=6e-7)


@pytest.mark.parametrize("name", FORMULAS)
@given(eta=st.floats(0.05, 0.95))
def test_the_rate_is_the_formulas_for_any_learning_rate(name, eta):
    at_double_root = name in ("Optimistic", "PastExtraGradient") and abs(eta - 0.5) < 1e-4  # eigenvalues to √ε only
    assert_allclose(modulus(ON_BILINEAR[name], eta), FORMULAS[name](eta), rtol=1e-5 if at_double_root else 1e-7)


@given(eta=st.floats(0.05, 0.9), gamma=st.floats(0.05, 1.5))
def test_the_rate_of_consensus_and_sga_for_any_strength(eta, gamma):
    for make in (lambda g, e: Consensus(optimizers(g, lr=e), gamma), lambda g, e: SGA(optimizers(g, lr=e), gamma)):
        assert_allclose(modulus(make, eta), np.hypot(1 - eta * gamma, eta), rtol=1e-7)


@given(eta=st.floats(0.1, 0.9), beta=st.floats(-0.8, 0.5))
def test_the_rate_of_any_momentum(eta, beta):
    found = modulus(lambda g, e: negative_momentum(g, {"x": e, "y": e}, beta or -0.1), eta)
    assert_allclose(found, momentum_modulus(eta, beta or -0.1), rtol=1e-4)


def test_optimistic_closed_form_up_to_one_half():
    for eta in (0.05, 0.2, 0.4, 0.49):
        assert_allclose(modulus(ON_BILINEAR["Optimistic"], eta), np.sqrt((1 + np.sqrt(1 - 4 * eta**2)) / 2), rtol=1e-7)


@pytest.mark.parametrize("make", [Optimistic, PastExtraGradient])
def test_the_optimistic_step_converges_at_057_and_diverges_at_058(make):
    distance = {}
    for eta in (0.57, 0.58):
        game = Bilinear(1.0, 1.0)
        solver = make(optimizers(game, lr=eta))
        for step in range(800):
            solver.step(game, step)
        distance[eta] = np.linalg.norm(point(game))
    assert distance[0.57] < 1e-5 and distance[0.58] > 100


@pytest.mark.parametrize("leader", ["x", "y"])
@given(eta=st.floats(0.05, 0.9), inner=st.floats(0.05, 0.9), steps=st.integers(0, 4), start=st.integers(0, 9))
def test_unrolled_on_the_bilinear_game_is_the_map_derived_by_hand(leader, eta, inner, steps, start):
    """For leader x: ℓ_y = −x·y, so y⁽ᵏ⁾ = y + k·lr·x and x minimises x·y + k·lr·x²: its slope is y + 2·k·lr·x.
    For leader y: x⁽ᵏ⁾ = x − k·lr·y, y minimises −x·y + k·lr·y², with slope −x + 2·k·lr·y. The follower does not look.
    """
    game = Bilinear(*stream(start, "start").standard_normal(2))
    solver = Unrolled(optimizers(game, lr=eta), steps, lr=inner, leader=leader)
    brake = 2 * steps * inner
    slopes = np.array([[brake, 1], [-1, 0]] if leader == "x" else [[0, 1], [-1, brake]])
    w = point(game)
    for step in range(4):
        losses = solver.step(game, step)
        ahead = w[1] + steps * inner * w[0] if leader == "x" else w[0] - steps * inner * w[1]
        expected = {"x": w[0] * (ahead if leader == "x" else w[1]), "y": -w[1] * (ahead if leader == "y" else w[0])}
        assert_allclose([losses[p].item() for p in "xy"], [expected[p] for p in "xy"], rtol=1e-12, atol=1e-14)
        w = w - eta * slopes @ w
        assert_allclose(point(game), w, rtol=1e-12, atol=1e-14)


# ---- trajectories against the equations in plain NumPy ---------------------------------------------------------------


class Matrices:
    """A quadratic game as matrices alone: blocks (slices of w), J and b with v(w) = J w + b, rates e (n,)."""

    def __init__(self, Q, b, shapes, rates, order):
        sizes = [int(np.prod(shape)) for shape in shapes.values()]
        ends = np.cumsum(sizes)
        self.own = {p: slice(end - size, end) for p, end, size in zip(shapes, ends, sizes)}
        self.Q, self.linear = {p: (q + q.T) / 2 for p, q in Q.items()}, b
        n = ends[-1]
        self.J, self.b, self.e = np.zeros((n, n)), np.zeros(n), np.zeros(n)
        for p, own in self.own.items():
            self.J[own], self.b[own], self.e[own] = -self.Q[p][own], -b[p][own], rates[p]
        self.rates, self.order, self.n = rates, order, n

    def v(self, w):
        return self.J @ w + self.b

    def loss(self, player, w):
        return w @ self.Q[player] @ w / 2 + self.linear[player] @ w

    def losses(self, w):
        return {p: self.loss(p, w) for p in self.own}


def simultaneous(m, w, memory):
    return w + m.e * m.v(w), m.losses(w)


def alternating(m, w, memory):
    losses = {}
    for p in m.order:
        losses[p] = m.loss(p, w)
        step, w = m.e * m.v(w), w.copy()
        w[m.own[p]] += step[m.own[p]]
    return w, losses


def alternating_with_momentum(m, w, memory, beta):
    b, losses, w = memory.setdefault("b", np.zeros(m.n)), {}, w.copy()
    for p in m.order:
        own = m.own[p]
        losses[p] = m.loss(p, w)
        b[own] = beta * b[own] - m.v(w)[own]
        w[own] -= m.e[own] * b[own]
    return w, losses


def extragradient(m, w, memory):
    return w + m.e * m.v(w + m.e * m.v(w)), m.losses(w)


def past_extragradient(m, w, memory):
    ahead = w + memory.get("delta", 0 * w)
    memory["delta"] = m.e * m.v(ahead)
    return w + memory["delta"], m.losses(ahead)


def optimistic(m, w, memory):
    v = m.v(w)
    new = w + 2 * m.e * v - m.e * memory.get("v", 0 * v)
    memory["v"] = v
    return new, m.losses(w)


def consensus(m, w, memory, gamma):
    xi = -m.v(w)
    return w - m.e * (xi + gamma * (-m.J).T @ xi), m.losses(w)  # ∇ ½‖ξ‖² = (∂ξ)ᵀ ξ


def sga_sign(m, w):
    """⟨ξ, ∇H⟩⟨Aᵀξ, ∇H⟩/n, to which 0.1 is added before its sign is taken."""
    H, xi = -m.J, -m.v(w)
    return (xi @ H.T @ xi) * ((0.5 * (H - H.T)).T @ xi @ (H.T @ xi)) / m.n


def sga(m, w, memory, strength, alignment):
    H, xi = -m.J, -m.v(w)
    A = (H - H.T) / 2
    sign = np.sign(sga_sign(m, w) + 0.1) if alignment else 1.0
    memory.setdefault("signs", []).append(sign)
    return w - m.e * (xi + sign * strength * A.T @ xi), m.losses(w)


def proximal(m, w, memory, lr):
    return np.linalg.solve(np.eye(m.n) - lr * m.J, w + lr * m.b), m.losses(w)


def unrolled(m, w, memory, leader, follower, steps, lr):
    """The follower's k-step answer is affine: w_f = M w + c; the leader's slope is ∂_l ℓ + (∂w_f/∂w_l)ᵀ ∂_f ℓ there."""
    l, f = m.own[leader], m.own[follower]
    M, c = np.eye(m.n), np.zeros(m.n)
    for _ in range(steps):
        S, s = np.eye(m.n), np.zeros(m.n)
        S[f] -= lr * m.Q[follower][f]
        s[f] -= lr * m.linear[follower][f]
        M, c = S @ M, S @ c + s
    there = M @ w + c
    slope = (M.T @ (m.Q[leader] @ there + m.linear[leader]))[l]
    new = w + m.e * m.v(w)
    new[l] = w[l] - m.rates[leader] * slope
    return new, {leader: m.loss(leader, there), follower: m.loss(follower, w)}


@st.composite
def quadratic_games(draw, players=(2, 3)):
    """(game, the same as Matrices, its start): shapes () to (2, 2), players' optimisers in any order."""
    names = "abc"[: draw(st.integers(*players))]
    shapes = {p: draw(st.sampled_from([(), (1,), (3,), (2, 2), (2,)])) for p in names}
    rng = stream(draw(st.integers(0, 10**6)), "game")
    n = sum(int(np.prod(shape)) for shape in shapes.values())
    Q = {p: rng.standard_normal((n, n)) for p in names}
    b = {p: rng.standard_normal(n) for p in names}
    start = {p: rng.standard_normal(shape) for p, shape in shapes.items()}
    rates = {p: float(rng.uniform(0.01, 0.2)) for p in names}
    order = draw(st.permutations(list(names)))
    matrices = Matrices(Q, b, shapes, rates, order)
    game = QuadraticGame({p: (Q[p], b[p]) for p in reversed(names)}, start)
    return game, matrices


def in_order(game, m, **settings):
    return {p: SGD(game.players[p], lr=m.rates[p], **settings) for p in m.order}


def agrees(game, m, solver, reference, rounds=6):
    w, memory = point(game), {}
    for step in range(rounds):
        losses = {p: loss.item() for p, loss in solver.step(game, step).items()}
        w, expected = reference(m, w, memory)
        scale = max(1.0, abs(w).max())
        assert_allclose(point(game) / scale, w / scale, rtol=0, atol=1e-12)
        assert set(losses) == set(expected)
        assert_allclose([losses[p] for p in expected], list(expected.values()), rtol=1e-10, atol=1e-10 * scale**2)
    return memory


@pytest.mark.parametrize(
    ("make", "reference"),
    [
        (Simultaneous, simultaneous),
        (Alternating, alternating),
        (ExtraGradient, extragradient),
        (PastExtraGradient, past_extragradient),
        (Optimistic, optimistic),
        (partial(Consensus, gamma=0.3), partial(consensus, gamma=0.3)),
        (Consensus, partial(consensus, gamma=0.1)),
        (partial(SGA, strength=0.4), partial(sga, strength=0.4, alignment=True)),
        (partial(SGA, strength=0.4, alignment=False), partial(sga, strength=0.4, alignment=False)),
        (SGA, partial(sga, strength=1.0, alignment=True)),
    ],
)
@given(case=quadratic_games())
def test_trajectories_are_those_of_the_equations(make, reference, case):
    game, m = case
    agrees(game, m, make(in_order(game, m)), reference)


@given(case=quadratic_games(), beta=st.floats(-0.9, 0.9).filter(bool))
def test_trajectories_with_momentum(case, beta):
    game, m = case
    m.order = list(game.players)
    agrees(game, m, negative_momentum(game, m.rates, beta), partial(alternating_with_momentum, beta=beta))


@given(case=quadratic_games(), lr=st.floats(0.01, 0.5))
def test_trajectories_of_the_proximal_point(case, lr):
    game, m = case
    agrees(game, m, Proximal(lr), partial(proximal, lr=lr))


@given(case=quadratic_games((2, 2)), steps=st.integers(0, 4), lr=st.floats(0.01, 0.2), swap=st.booleans())
def test_trajectories_of_unrolled(case, steps, lr, swap):
    game, m = case
    leader, follower = "ba" if swap else "ab"
    solver = Unrolled(in_order(game, m), steps, lr, leader)
    agrees(game, m, solver, partial(unrolled, leader=leader, follower=follower, steps=steps, lr=lr))


def test_unrolled_takes_the_followers_learning_rate_by_default():
    game = Bilinear(1.0, 2.0)
    solver = Unrolled({"x": SGD([game.x], lr=0.1), "y": SGD([game.y], lr=0.3)}, steps=2, leader="x")
    solver.step(game, 0)
    assert_allclose(game.x.item(), 1 - 0.1 * (2 + 2 * 2 * 0.3 * 1), rtol=1e-12)
    game = Bilinear(1.0, 2.0)
    Unrolled(optimizers(game, lr=0.1), leader="x").step(game, 0)
    assert_allclose(game.x.item(), 1 - 0.1 * (2 + 2 * 5 * 0.1 * 1), rtol=1e-12)  # Metz et al.: 5 steps


@given(case=quadratic_games())
def test_optimistic_plays_the_points_that_past_extragradient_looks_at(case):
    game, m = case
    start = {p: t.numpy() for p, [t] in game.players.items()}
    twin = QuadraticGame({p: (m.Q[p], m.linear[p]) for p in start}, start)
    seen, losses = [], twin.losses
    twin.losses = lambda batch=None: (seen.append(point(twin)), losses(batch))[1]
    ahead, solver = PastExtraGradient(in_order(twin, m)), Optimistic(in_order(game, m))
    for step in range(6):
        del seen[:]
        ahead.step(twin, step)
        assert_allclose(seen, [point(game)] * len(seen), rtol=1e-11, atol=1e-12)
        solver.step(game, step)


# ---- with Adam -------------------------------------------------------------------------------------------------------


class AdamByHand:
    """Kingma & Ba 2015, algorithm 1: the step it takes on a gradient."""

    def __init__(self, rates, beta1, beta2, eps=1e-8):
        self.rates, self.beta1, self.beta2, self.eps, self.m, self.v, self.t = rates, beta1, beta2, eps, 0, 0, 0

    def __call__(self, g):
        self.t += 1
        self.m = self.beta1 * self.m + (1 - self.beta1) * g
        self.v = self.beta2 * self.v + (1 - self.beta2) * g**2
        m, v = self.m / (1 - self.beta1**self.t), self.v / (1 - self.beta2**self.t)
        return -self.rates * m / (np.sqrt(v) + self.eps)


@given(case=quadratic_games(), beta1=st.sampled_from([0.0, 0.5, 0.9]))
def test_optimistic_adam_is_daskalakis_algorithm_1(case, beta1):
    """θ ← θ − 2η m̂ₜ/(√v̂ₜ + ε) + η m̂ₜ₋₁/(√v̂ₜ₋₁ + ε)."""
    game, m = case
    solver = Optimistic({p: Adam(game.players[p], lr=m.rates[p], beta1=beta1, beta2=0.9) for p in m.order})
    adam, w, last = AdamByHand(m.e, beta1, 0.9), point(game), 0
    for step in range(6):
        solver.step(game, step)
        delta = adam(-m.v(w))
        w, last = w + 2 * delta - last, delta
        assert_allclose(point(game), w, rtol=1e-10, atol=1e-11)


@given(case=quadratic_games(), beta1=st.sampled_from([0.0, 0.5, 0.9]))
def test_extragradient_with_adam_is_gidels_extraadam(case, beta1):
    """Gidel et al. 2019a, algorithm 4: the moments see both gradients, the steps count twice a round."""
    game, m = case
    solver = ExtraGradient({p: Adam(game.players[p], lr=m.rates[p], beta1=beta1, beta2=0.9) for p in m.order})
    adam, w = AdamByHand(m.e, beta1, 0.9), point(game)
    for step in range(6):
        solver.step(game, step)
        ahead = w + adam(-m.v(w))
        w = w + adam(-m.v(ahead))
        assert_allclose(point(game), w, rtol=1e-10, atol=1e-11)
    assert [o.steps for o in solver.optimizers.values()] == [12] * len(m.order)


@given(case=quadratic_games(), beta1=st.sampled_from([0.0, 0.5]))
def test_past_extragradient_with_adam(case, beta1):
    game, m = case
    solver = PastExtraGradient({p: Adam(game.players[p], lr=m.rates[p], beta1=beta1, beta2=0.9) for p in m.order})
    adam, w, delta = AdamByHand(m.e, beta1, 0.9), point(game), 0
    for step in range(6):
        solver.step(game, step)
        delta = adam(-m.v(w + delta))
        w = w + delta
        assert_allclose(point(game), w, rtol=1e-10, atol=1e-11)


# ---- the adjustments -------------------------------------------------------------------------------------------------


def rotating(attraction, scale):
    """ξ = attraction·w + rotation by 90°, started so that the alignment's product scales with scale⁴."""
    coupling = np.array([[0.0, 1.0], [1.0, 0.0]])
    own = np.diag([1.0, 0.0]), np.diag([0.0, 1.0])
    Q = {"a": attraction * own[0] + coupling, "b": attraction * own[1] - coupling}
    zero = {p: np.zeros(2) for p in "ab"}
    m = Matrices(Q, zero, {"a": (), "b": ()}, {"a": 0.1, "b": 0.1}, "ab")
    return QuadraticGame(Q, {"a": scale, "b": 0.0}), m


@pytest.mark.parametrize(
    ("attraction", "product", "sign"),
    [(0.5, 9.0, 1), (0.0, 0.0, 1), (-0.5, -9.0, -1), (-0.5, -0.12, -1), (-0.5, -0.08, 1)],
)
def test_sga_aligns_towards_stable_points_and_away_from_unstable_ones(attraction, product, sign):
    """product = ⟨ξ, ∇H⟩⟨Aᵀξ, ∇H⟩/n, whose sign decides unless it is small (0.1 is added)."""
    _, m = rotating(attraction, 1.0)
    scale = (product / sga_sign(m, np.array([1.0, 0.0]))) ** 0.25 if attraction else 1.0
    game, m = rotating(attraction, scale)
    assert_allclose(sga_sign(m, point(game)), product, atol=1e-12)
    memory = agrees(game, m, SGA(in_order(game, m)), partial(sga, strength=1.0, alignment=True), rounds=1)
    assert memory["signs"] == [sign]
    w, plain = np.array([scale, 0.0]), rotating(attraction, scale)[0]
    SGA(optimizers(plain, lr=0.1), alignment=False).step(plain, 0)
    assert np.allclose(point(plain), point(game)) == (sign == 1)
    if sign == -1:  # away from the unstable point
        assert np.linalg.norm(point(game)) > np.linalg.norm(point(plain)) and np.linalg.norm(point(game)) > w[0]


@given(case=quadratic_games(), strength=st.floats(0.1, 3.0))
def test_sga_on_a_potential_game_is_simultaneous(case, strength):
    game, m = case
    start = {p: t.numpy() for p, [t] in game.players.items()}
    potential = dict.fromkeys(start, (m.Q["a"], m.linear["a"]))
    games = [QuadraticGame(potential, start) for _ in range(2)]
    solvers = [SGA(in_order(games[0], m), strength), Simultaneous(in_order(games[1], m))]
    for step in range(5):
        for each, solver in zip(games, solvers):
            solver.step(each, step)
        assert_allclose(point(games[0]), point(games[1]), rtol=1e-11, atol=1e-11)


class Constant(Game):
    """Slopes that depend on nothing: no Jacobian at all."""

    def __init__(self):
        self.a, self.b = (mg.tensor(np.zeros(2), requires_grad=True) for _ in range(2))
        self.players = {"a": [self.a], "b": [self.b]}

    def losses(self, batch):
        return {"a": 2.0 * mg.sum(self.a), "b": mg.sum(self.b)}


@pytest.mark.parametrize("make", [Consensus, SGA])
def test_the_adjustments_of_a_game_without_curvature_are_zero(make):
    game = Constant()
    make(optimizers(game, lr=0.1)).step(game, 0)
    assert_allclose(game.a.data, -0.2, rtol=1e-15)
    assert_allclose(game.b.data, -0.1, rtol=1e-15)


# ---- on a small GAN --------------------------------------------------------------------------------------------------

ON_GANS = {
    "Simultaneous": Simultaneous,
    "Alternating": Alternating,
    "Alternating 2": partial(Alternating, moves={"D": 2}),
    "ExtraGradient": ExtraGradient,
    "ExtraGradient fresh": partial(ExtraGradient, fresh=True),
    "PastExtraGradient": PastExtraGradient,
    "Optimistic": Optimistic,
    "Consensus": partial(Consensus, gamma=0.5),
    "SGA": SGA,
    "Unrolled": partial(Unrolled, steps=2, lr=0.1),
}
AT_ONCE = [name for name in ON_GANS if not name.startswith("Alternating")]
OPTIMIZERS = {
    "SGD": partial(SGD, lr=0.05),
    "momentum": partial(SGD, lr=0.05, momentum=0.9),
    "RMSProp": partial(RMSProp, lr=0.01),
    "Adam": partial(Adam, lr=0.01, beta1=0.5),
}


def smooth_gan(seed=0, objective="non_saturating"):
    """In float64 and without kinks, so that differences can check it."""
    G = nn.Sequential(nn.Dense(2, 4), nn.BatchNorm(4), nn.Tanh(), nn.Dense(4, 2)).to(dtype="float64")
    D = mlp(2, 5, 1, activation=nn.Tanh).to(dtype="float64")
    real = stream(seed, "real").standard_normal((40, 2)) + 1.0
    return alike(GAN(G, D, Batches(real, 4, seed), latent_dim=2, objective=objective, seed=seed))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", ON_GANS)
def test_every_solver_plays_a_gan_with_every_optimiser(name, optimizer):
    game = small_gan(RealToo())
    start = everything(game)
    solver = ON_GANS[name](optimizers(game, OPTIMIZERS[optimizer]))
    trajectory = play(game, solver, 3)
    assert np.isfinite([trajectory["loss/D"], trajectory["loss/G"]]).all()
    after = everything(game)
    for player, params in game.players.items():
        assert all(p.dtype == np.float32 and p.grad.dtype == np.float32 for p in params)
        assert all(p.node.op is None and p.requires_grad and p.data.base is not None for p in params)
        weights = [i for i, p in enumerate(params) if p.ndim == 2]
        assert all(start[player][i] != after[player][i] for i in weights)
    losses = solver.step(game, 3)
    assert set(losses) == {"D", "G"} and all(loss.node is None and loss.shape == () for loss in losses.values())


def test_simultaneous_on_a_gan_by_hand():
    """Both players see the same batch and the same opponent; Alternating's G sees a new D and a new batch."""
    game, twin, by_hand = small_gan(), small_gan(), small_gan()
    Simultaneous(optimizers(game, lr=0.2)).step(game, 5)
    Alternating(optimizers(twin, lr=0.2)).step(twin, 5)
    batch = by_hand.batch(5)
    fake = by_hand.G(batch.z)
    loss_D = mg.mean(mg.softplus(-by_hand.D(batch.real))) + mg.mean(mg.softplus(by_hand.D(fake)))
    loss_G = mg.mean(mg.softplus(-by_hand.D(fake)))
    slopes = {"D": mg.grad(loss_D, by_hand.players["D"], retain_graph=True)}
    slopes["G"] = mg.grad(loss_G, by_hand.players["G"])
    differ = 0
    for player, gs in slopes.items():
        for p, before, g, other in zip(game.players[player], by_hand.players[player], gs, twin.players[player]):
            assert_allclose(p.data, before.data - 0.2 * g.data, rtol=1e-5, atol=1e-6)
            differ += not np.allclose(p.data, other.data, rtol=1e-3, atol=1e-4)
    assert differ > 2


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_unrolled_by_no_steps_is_simultaneous_bit_for_bit(optimizer):
    for make, settings in (
        (small_gan, {}),
        (lambda: QuadraticGame({p: np.arange(9.0).reshape(3, 3) for p in "GD"}, {"D": 1.0, "G": [2.0, 3.0]}), {}),
        (
            lambda: Bilinear(1.0, 2.0),
            {
                "leader": "x",
            },
        ),
    ):
        one, other = make(), make()
        solvers = (
            Unrolled(optimizers(one, OPTIMIZERS[optimizer]), steps=0, **settings),
            Simultaneous(optimizers(other, OPTIMIZERS[optimizer])),
        )
        for step in range(3):
            a, b = (solver.step(game, step) for game, solver in zip((one, other), solvers))
            assert {p: loss.item() for p, loss in a.items()} == {p: loss.item() for p, loss in b.items()}
            assert everything(one) == everything(other)
        assert {k: v.tobytes() for k, v in one.state_dict().items()} == {
            k: v.tobytes() for k, v in other.state_dict().items()
        }


def test_the_leaders_unrolled_gradient_against_central_differences():
    """d/dG of ℓ_G(G, D after 3 plain gradient steps, each with the present G): D is really retrained at G ± h."""
    game, lr, steps = smooth_gan(), 0.5, 3
    batch = game.batch(2)

    def foreseen():
        twin = smooth_gan()
        for player, params in game.players.items():
            for p, q in zip(twin.players[player], params):
                p.assign(q.data)
        for _ in range(steps):
            slopes = mg.grad(twin.loss("D", batch), twin.players["D"])
            for p, g in zip(twin.players["D"], slopes):
                p.assign(p.data - lr * g.data)
        return twin.loss("G", batch).item()

    expected, h = [], 1e-5
    for p in game.players["G"]:
        kept, slope = p.numpy().copy(), np.zeros(p.shape)
        for index in np.ndindex(p.shape):
            values = []
            for sign in (1, -1):
                moved = kept.copy()
                moved[index] += sign * h
                p.assign(moved)
                values.append(foreseen())
            slope[index] = (values[0] - values[1]) / (2 * h)
        p.assign(kept)
        expected.append(slope)
    value, start = foreseen(), everything(game)
    naive = mg.grad(game.loss("G", batch), game.players["G"])
    own = mg.grad(game.loss("D", batch), game.players["D"])
    losses = Unrolled(optimizers(game, lr=1e-3), steps, lr).step(game, 2)
    assert_allclose(losses["G"].item(), value, rtol=1e-12)
    for p, e in zip(game.players["G"], expected):
        assert_allclose(p.grad.data, e, rtol=1e-6, atol=1e-8)
    assert max(abs(p.grad.data - g.data).max() for p, g in zip(game.players["G"], naive)) > 1e-2
    for p, g in zip(game.players["D"], own):
        assert_allclose(p.grad.data, g.data, rtol=1e-12)
    assert all(a != b for a, b in zip(everything(game)["D"], start["D"]))


class Fails(Exception):
    pass


@pytest.mark.parametrize("at", [0, 1, 2])
def test_parameters_are_leaves_again_after_unrolled_even_when_it_fails(at):
    """at: which of the evaluations of `losses` in a round fails; the third is the leader's own."""
    game = small_gan()
    solver = Unrolled(optimizers(game, lr=0.1), steps=2)
    solver.step(game, 0)
    everyone = [p for params in game.players.values() for p in params]
    before = [(p.data, p.node, p._version) for p in everyone]
    kept, losses, calls = everything(game), game.losses, []

    def failing(batch):
        calls.append(1)
        if len(calls) == at + 1:
            raise Fails
        return losses(batch)

    game.losses = failing
    with pytest.raises(Fails):
        solver.step(game, 1)
    game.losses = losses
    for p, (data, node, version) in zip(everyone, before):
        assert p.data is data and p.node is node and p._version is version and node.op is None
    assert everything(game) == kept
    clean, twin = small_gan(), Unrolled
    clean.load_state_dict(game.state_dict())
    solver.step(game, 1)
    twin(optimizers(clean, lr=0.1), steps=2).step(clean, 1)
    assert everything(game) == everything(clean)
    everyone[0].assign(0 * everyone[0].data)  # and they can be set like any leaf


@pytest.mark.parametrize("name", ON_GANS)
def test_constraints_hold_after_every_round(name):
    game = small_gan("wasserstein")
    game.regularizers = (WeightClipping(0.05),)
    for p in game.players["D"]:
        p.assign(np.clip(p.data, -0.05, 0.05))
    solver = ON_GANS[name](optimizers(game, lr=0.5))
    limit, clipped = np.float32(0.05), 0
    for step in range(4):
        solver.step(game, step)
        assert all(abs(p.data).max() <= limit for p in game.players["D"])
        clipped += sum((abs(p.data) == limit).sum() for p in game.players["D"])
    assert clipped > 0
    assert max(abs(p.data).max() for p in game.players["G"]) > 0.1


@pytest.mark.parametrize("name", [n for n in ON_GANS if n != "Unrolled"])
def test_a_player_without_an_optimiser_is_left_alone(name):
    for player, other in (("D", "G"), ("G", "D")):
        if name == "Alternating 2" and player == "G":
            continue
        game = small_gan()
        marks = [mg.tensor(np.full(p.shape, 7.0, np.float32)) for p in game.players[other]]
        for p, mark in zip(game.players[other], marks):
            p.grad = mark
        start = everything(game)
        solver = ON_GANS[name]({player: SGD(game.players[player], lr=0.1)})
        for step in range(2):
            assert set(solver.step(game, step)) == {player}
        assert everything(game)[other] == start[other] and everything(game)[player] != start[player]
        for p, mark in zip(game.players[other], marks):
            assert p.grad is mark and (mark.data == 7).all()


@pytest.mark.parametrize("name", ["Simultaneous", "Alternating"])
def test_gradients_of_the_round_are_each_players_own(name):
    game = Bilinear(3.0, 5.0)
    ON_GANS[name](optimizers(game, lr=0.1)).step(game, 0)
    x = 3.0 if name == "Simultaneous" else 3.0 - 0.1 * 5.0
    assert_allclose([game.x.grad.item(), game.y.grad.item()], [5.0, -x], rtol=1e-14)


def spy(game, method):
    """What ``method`` of the game was called with, in order."""
    calls, own = [], getattr(game, method)
    setattr(game, method, lambda *args: (calls.append(args), own(*args))[1])
    return calls


@pytest.mark.parametrize(
    ("name", "numbers"),
    [(name, [3, 4]) for name in AT_ONCE if name != "ExtraGradient fresh"] + [("ExtraGradient fresh", [6, 7, 8, 9])],
)
def test_solvers_that_move_all_at_once_draw_one_batch_for_both(name, numbers):
    game = small_gan()
    asked, rounds = spy(game, "batch"), spy(game, "after_round")
    solver = ON_GANS[name](optimizers(game, lr=0.05))
    for step in (3, 4):
        solver.step(game, step)
    assert asked == [(number,) for number in numbers] and len(rounds) == 2


def test_alternating_draws_a_batch_for_every_move():
    game = small_gan()
    asked, rounds = spy(game, "batch"), spy(game, "after_round")
    solver = ON_GANS["Alternating 2"](optimizers(game, lr=0.05))
    for step in (3, 4):
        solver.step(game, step)
    assert asked == [(6, "D"), (7, "D"), (3, "G"), (8, "D"), (9, "D"), (4, "G")] and len(rounds) == 2


@pytest.mark.parametrize("name", ON_GANS)
def test_every_move_is_followed_by_the_constraint(name):
    game = small_gan()
    solver = ON_GANS[name](optimizers(game, lr=0.05))
    calls = spy(game, "constrain")
    solver.step(game, 0)
    moves = {"Alternating 2": ["D", "D", "G"]}  # the look-ahead point is constrained, too:
    moves |= {name: ["D", "G"] * 2 for name in ("ExtraGradient", "ExtraGradient fresh", "PastExtraGradient")}
    assert [player for (player,) in calls] == moves.get(name, ["D", "G"])


def test_fresh_extragradient_uses_the_second_batch_for_the_second_gradient():
    game, by_hand = smooth_gan(), smooth_gan()
    ExtraGradient(optimizers(game, lr=0.3), fresh=True).step(game, 2)
    start = {player: [p.numpy().copy() for p in ps] for player, ps in by_hand.players.items()}
    for number in (4, 5):
        batch = by_hand.batch(number)
        slopes = {player: mg.grad(by_hand.loss(player, batch), ps) for player, ps in by_hand.players.items()}
        for player, ps in by_hand.players.items():
            for p, w, g in zip(ps, start[player], slopes[player]):
                p.assign(w - 0.3 * g.data)
    assert_allclose(point(game), point(by_hand), rtol=1e-12, atol=1e-14)


class TwoLayers(Game):
    """Two players with two parameters of one shape each, all of them coupled."""

    def __init__(self):
        draw = lambda name: mg.tensor(stream(0, name).standard_normal(3), requires_grad=True, name=name)
        self.players = {player: [draw(f"{player}1"), draw(f"{player}2")] for player in "DG"}

    def losses(self, batch):
        (a, b), (c, d) = self.players["D"], self.players["G"]
        return {"D": mg.sum(a * a * b + a * c - b * d), "G": mg.sum(c * d + d * d - a * c * d)}


@pytest.mark.parametrize("name", ON_GANS)
def test_the_order_of_an_optimisers_parameters_does_not_matter(name):
    straight, crooked = TwoLayers(), TwoLayers()
    solvers = (
        ON_GANS[name](optimizers(straight, lr=0.05)),
        ON_GANS[name]({player: SGD(params[::-1], lr=0.05) for player, params in crooked.players.items()}),
    )
    for step in range(3):
        for game, solver in zip((straight, crooked), solvers):
            solver.step(game, step)
        assert_allclose(point(crooked), point(straight), rtol=1e-12)


@pytest.mark.parametrize("name", ON_GANS)
def test_parameters_that_no_optimiser_holds_stay(name):
    game = small_gan()
    start = everything(game)
    some = {player: params[-2:] for player, params in game.players.items()}
    solver = ON_GANS[name]({player: SGD(params, lr=0.1) for player, params in some.items()})
    for step in range(2):
        solver.step(game, step)
    for player, before in start.items():
        after = everything(game)[player]
        assert after[:-2] == before[:-2] and all(a != b for a, b in zip(after[-2:], before[-2:]))


# ---- arguments -------------------------------------------------------------------------------------------------------


def test_solvers_refuse_what_cannot_be():
    game = small_gan()
    for make in (Simultaneous, Alternating, ExtraGradient, Optimistic, PastExtraGradient, Consensus, SGA):
        with pytest.raises(ValueError, match=r"takes \{player: optimiser\}, one at least; got \{\}"):
            make({})
        with pytest.raises(ValueError, match="'D' needs an optimiser, got list; make one of its parameters"):
            make(game.players)
        swapped = make({"D": SGD(game.players["G"]), "G": SGD(game.players["D"])})
        with pytest.raises(ValueError, match="the optimiser of 'D' holds other Tensors than game.players"):
            swapped.step(game, 0)
        stranger = make({"Z": SGD(game.players["D"])})
        start = everything(game)
        with pytest.raises(ValueError, match=r"unknown players \['Z'\]; the game has \['D', 'G'\]"):
            stranger.step(game, 0)
        assert everything(game) == start
    with pytest.raises(ValueError, match="optimisers for the leader 'G' and one other needed, got 'D'"):
        Unrolled({"D": SGD(game.players["D"])})
    with pytest.raises(ValueError, match="steps must be at least 0"):
        Unrolled(optimizers(game), steps=-1)
    for lr in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="lr must be positive"):
            Proximal(lr)
    with pytest.raises(TypeError, match="closed form"):
        Proximal(0.1).step(DiracGAN(), 0)
    with pytest.raises(NotImplementedError):
        Solver(optimizers(game)).step(game, 0)


def test_solvers_show_their_learning_rates():
    game = Bilinear()
    shown = repr(Optimistic({"x": SGD([game.x], lr=0.5), "y": Adam([game.y], lr=1e-4)}))
    assert shown == "Optimistic(x: SGD(lr=0.5), y: Adam(lr=0.0001))"
    assert repr(Proximal(0.5)) == "Proximal(lr=0.5)"


# ---- state -----------------------------------------------------------------------------------------------------------


def scrambled(make=small_gan):
    """A game of the same kind whose weights are something else."""
    game = make()
    for params in game.players.values():
        for p in params:
            p.assign(p.data * 0 + 0.123)
    return game


def frozen(state):
    return {name: (a.dtype, a.shape, a.tobytes()) for name, a in state.items()}


@pytest.mark.parametrize("optimizer", ["momentum", "Adam"])
@pytest.mark.parametrize("name", ON_GANS)
def test_resumed_bytes_are_the_uninterrupted_ones(name, optimizer):
    whole, stopped = small_gan(), small_gan()
    solvers = [ON_GANS[name](optimizers(game, OPTIMIZERS[optimizer])) for game in (whole, stopped)]
    play(whole, solvers[0], 5)
    play(stopped, solvers[1], 2)
    states = {"game": stopped.state_dict(), "solver": solvers[1].state_dict()}
    assert all(type(a) is np.ndarray for state in states.values() for a in state.values())
    kept = {part: frozen(state) for part, state in states.items()}
    play(stopped, solvers[1], 3, start=2)
    assert {part: frozen(state) for part, state in states.items()} == kept  # copies: going on does not change them
    fresh = scrambled()
    solver = ON_GANS[name](optimizers(fresh, OPTIMIZERS[optimizer]))
    fresh.load_state_dict(states["game"])
    solver.load_state_dict(states["solver"])
    play(fresh, solver, 5, start=2)
    assert {part: frozen(state) for part, state in states.items()} == kept  # nor does playing on from them
    assert frozen(fresh.state_dict()) == frozen(whole.state_dict())
    assert frozen(solver.state_dict()) == frozen(solvers[0].state_dict())


@pytest.mark.parametrize("name", ON_BILINEAR)
def test_resumed_bytes_on_two_numbers(name):
    whole, stopped, fresh = Bilinear(1.0, 2.0), Bilinear(1.0, 2.0), Bilinear(7.0, 7.0)
    solver = ON_BILINEAR[name](whole, 0.3)
    play(whole, solver, 6)
    first = ON_BILINEAR[name](stopped, 0.3)
    play(stopped, first, 3)
    second = ON_BILINEAR[name](fresh, 0.3)
    fresh.load_state_dict(stopped.state_dict())
    second.load_state_dict(first.state_dict())
    play(fresh, second, 6, start=3)
    assert everything(fresh) == everything(whole)
    assert frozen(second.state_dict()) == frozen(solver.state_dict())


def test_loaded_states_are_copies():
    game = Bilinear(1.0, 2.0)
    for make in (Optimistic, PastExtraGradient):
        solver = make(optimizers(game, OPTIMIZERS["Adam"]))
        solver.step(game, 0)
        state = solver.state_dict()
        kept = frozen(state)
        solver.load_state_dict(state)
        for a in state.values():
            a[...] = 99
        assert frozen(solver.state_dict()) == kept


@pytest.mark.parametrize("name", ON_GANS)
def test_foreign_states_are_refused_and_nothing_has_changed(name):
    game = small_gan()
    solver = ON_GANS[name](optimizers(game, OPTIMIZERS["Adam"]))
    play(game, solver, 2)
    own = solver.state_dict()
    remembers = name in ("Optimistic", "PastExtraGradient")
    foreign = {
        "another optimiser": Simultaneous(optimizers(small_gan(), OPTIMIZERS["momentum"])).state_dict(),
        "a player less": {k: a for k, a in own.items() if not k.startswith("G/")},
        "a player more": own | {"H/steps": np.array(1)},
        "another size": own | {"G/m": np.zeros(3, np.float32)},
        "last of all, another size": own | {list(own)[-1]: np.zeros((2, 2, 2), np.float32)},
        "nothing": {},
        "another solver": {k: a for k, a in own.items() if not k.startswith("_last/")}
        if remembers
        else Optimistic(optimizers(game, OPTIMIZERS["Adam"])).state_dict(),
    }
    changed = {k: a + 1 for k, a in own.items()}  # what fits in it must not stay either
    kept, weights = frozen(own), everything(game)
    for what, state in foreign.items():
        state = {k: changed[k] if k in own and a.shape == own[k].shape else a for k, a in state.items()}
        with pytest.raises(ValueError):
            solver.load_state_dict(state)
        assert frozen(solver.state_dict()) == kept, what
        assert everything(game) == weights, what


# ---- numbers that are not finite -------------------------------------------------------------------------------------


class Poison(Regularizer):
    """A term that is NaN from round ``at`` on."""

    name = "poison"

    def __init__(self, player, at=0):
        self.player, self.at, self.rounds = player, at, 0

    def penalty(self, networks, real, fake, uniform):
        (weight, *_) = networks[self.player].parameters()
        return mg.mean(weight) * (float("nan") if self.rounds >= self.at else 0.5)

    def after_round(self, network):
        self.rounds += 1


def refused(game, solver, step):
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError) as caught:
        solver.step(game, step)
    assert isinstance(caught.value, mg.MiniganError)
    return str(caught.value)


@pytest.mark.parametrize("name", ON_GANS)
def test_nan_in_the_data_is_named_and_nothing_has_moved(name):
    game = small_gan()
    game.data.arrays[:] = np.nan
    solver = ON_GANS[name](optimizers(game, OPTIMIZERS["Adam"]))
    kept, state = everything(game), frozen(solver.state_dict())
    text = refused(game, solver, 6)
    assert text.startswith("step 7: player 'D' cannot move")
    assert "loss: nan (terms: objective nan)" in text and "the batch itself: real holds NaN" in text
    assert "gradient of D.dense1.weight: 16 of 16 numbers" in text and "dense2.bias" in text and "G.dense" not in text
    assert everything(game) == kept and frozen(solver.state_dict()) == state


@pytest.mark.parametrize("name", ON_GANS)
def test_nan_in_a_weight_is_named_and_nothing_has_moved(name):
    game = small_gan()
    weight = game.players["G"][0]
    solver = ON_GANS[name](optimizers(game, OPTIMIZERS["SGD"]))
    solver.step(game, 0)
    value = weight.numpy().copy()
    value[0, 0] = np.nan
    weight.assign(value)
    kept = everything(game)
    text = refused(game, solver, 1)
    assert text.startswith("step 2: player 'D'") and "loss: nan" in text and "the batch itself" not in text
    assert everything(game) == kept


@pytest.mark.parametrize("player", ["D", "G"])
@pytest.mark.parametrize("name", ON_GANS)
def test_nan_in_a_term_is_named_and_the_player_has_not_moved(name, player):
    game = small_gan()
    game.regularizers = (Poison(player, at=1),)
    solver = ON_GANS[name](optimizers(game, OPTIMIZERS["Adam"]))
    solver.step(game, 0)
    kept, state = everything(game), frozen(solver.state_dict())
    text = refused(game, solver, 1)
    assert text.startswith(f"step 2: player {player!r}") and ", poison nan)" in text and "objective nan" not in text
    assert f"gradient of {player}.dense1.weight: 16 of 16 numbers" in text
    if name not in ("Consensus", "SGA"):  # whose H mixes all gradients
        assert f"gradient of {player}.dense2.weight" not in text
    assert everything(game)[player] == kept[player]
    assert all(frozen(solver.state_dict())[k] == v for k, v in state.items() if k.startswith(f"{player}/"))
    if name in AT_ONCE:
        assert everything(game) == kept and frozen(solver.state_dict()) == state
    else:
        assert (everything(game)["D"] == kept["D"]) == (player == "D")


@pytest.mark.parametrize("name", ON_GANS)
def test_an_exploding_learning_rate_ends_in_a_named_error_and_no_move(name):
    game = small_gan("wasserstein")
    solver = ON_GANS[name](optimizers(game, lr=1e25))
    for step in range(4):
        kept, state = everything(game), frozen(solver.state_dict())
        try:
            with np.errstate(all="ignore"):
                solver.step(game, step)
        except NonFiniteError as error:
            text = str(error)
            break
    else:
        pytest.fail("nothing was noticed")
    assert text.startswith(f"step {step + 1}: player ") and ("loss: " in text or "gradient of " in text)
    player = text.split("'")[1]
    moved = [p for p in game.players if everything(game)[p] != kept[p]]
    if name in AT_ONCE:
        assert not moved
        assert frozen(solver.state_dict()) == state or name.startswith("ExtraGradient")
    elif name == "Alternating" or "nothing of this player has moved" in text:
        assert player not in moved


@pytest.mark.parametrize("name", ["ExtraGradient", "ExtraGradient fresh", "PastExtraGradient"])
def test_looking_ahead_into_nothing_leaves_everybody_where_they_were(name):
    """The gradient where the player stands is finite, the one ahead is not."""

    class Cliff(Bilinear):
        def losses(self, batch=None):
            far = abs(self.x.item()) > 1.6
            return {p: loss * (float("nan") if far else 1.0) for p, loss in super().losses().items()}

    game = Cliff(1.0, -1.0)
    solver = ON_GANS[name](optimizers(game, SGD, lr=0.5, momentum=0.5))
    steps = 0
    while True:
        kept, state = everything(game), frozen(solver.state_dict())
        try:
            solver.step(game, steps)
        except NonFiniteError:
            break
        steps += 1
        assert steps < 5
    assert abs(np.frombuffer(kept["x"][0])[0]) < 1.6
    assert everything(game) == kept
    if name == "PastExtraGradient":  # ExtraGradient's optimisers have made their first step
        assert frozen(solver.state_dict()) == state


def test_a_gradient_may_be_infinite_where_the_loss_is_not():
    class Root(Game):
        def __init__(self):
            self.x, self.y = mg.tensor(np.array([0.0, 4.0]), requires_grad=True), mg.tensor(1.0, requires_grad=True)
            self.players = {"x": [self.x], "y": [self.y]}

        def losses(self, batch):
            return {"x": mg.sum(mg.sqrt(self.x)), "y": self.y * self.y}

    game = Root()
    text = refused(game, Simultaneous(optimizers(game)), 0)
    assert "gradient of parameter 0: 1 of 2 numbers" in text and "loss" not in text
    assert_array_equal(game.x.data, [0.0, 4.0])
    assert game.y.item() == 1.0


def test_large_finite_numbers_are_played():
    """Their float32 sum overflows, they do not."""

    class Steep(Game):
        def __init__(self):
            self.x = mg.tensor(np.full(3, 1e-3, np.float32), requires_grad=True)
            self.players = {"x": [self.x]}

        def losses(self, batch):
            return {"x": mg.sum(self.x * np.full(3, 3e38, np.float32))}

    game = Steep()
    with np.errstate(all="ignore"):
        Simultaneous(optimizers(game, lr=1e-38)).step(game, 0)
    assert_allclose(game.x.data, 1e-3 - 3.0, rtol=1e-5)


def test_the_proximal_step_is_guarded_too():
    game = Bilinear(1.0, np.nan)
    refused(game, Proximal(0.1), 0)
    assert game.x.item() == 1.0
