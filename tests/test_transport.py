"""Optimal transport: every exact answer against its own proof, against other solvers, and against closed forms."""

import dataclasses
import math
import re
import warnings
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp, ndtri
from scipy.stats import wasserstein_distance

from minigan import backend
from minigan.backend.random import stream
from minigan.transport import (
    c_transform,
    distances,
    dual,
    emd,
    entropic,
    exact,
    lipschitz_extension,
    potentials,
    sinkhorn,
    sinkhorn_divergence,
    sliced_wasserstein,
    wasserstein,
    wasserstein_1d,
)
from minigan.transport.certificate import certify
from tests.strategies import examples, seeds
from tests.strict_array import StrictArray, strict_xp

# ---- how problems are drawn ------------------------------------------------------------------------------------------

MASSES = {
    "equal": lambda rng, n: np.ones(n),
    "any": lambda rng, n: rng.random(n),
    "whole": lambda rng, n: rng.integers(0, 4, n) * 1.0,
    "with zeros": lambda rng, n: rng.random(n) * (rng.random(n) < 0.5),
    "of all sizes": lambda rng, n: 10 ** rng.uniform(-12, 0, n),
    "nearly one atom": lambda rng, n: np.where(np.arange(n) == n // 2, 1.0, 1e-12 * rng.random(n)),
}
COSTS = {
    "any": lambda rng, n, m: rng.random((n, m)),
    "squares": lambda rng, n, m: distances(rng.standard_normal((n, 2)), rng.standard_normal((m, 2)), 2),
    "degenerate": lambda rng, n, m: rng.integers(0, 4, (n, m)),
    "constant": lambda rng, n, m: np.full((n, m), 3.0),
    "negative": lambda rng, n, m: -rng.random((n, m)),
    "of both signs": lambda rng, n, m: 1e6 * rng.standard_normal((n, m)),
    "of all sizes": lambda rng, n, m: 10 ** rng.uniform(-15, 0, (n, m)),
}


def mass(rng, kind, n):
    a = MASSES[kind](rng, n)
    return (a if a.any() else np.ones(n)) / (a.sum() or n)


@st.composite
def problems(draw, most=25, masses=tuple(MASSES), costs=tuple(COSTS), total=None):
    """Masses a (n,), b (m,) and costs (n, m), as nasty as they come."""
    n, m = draw(st.integers(1, most)), draw(st.integers(1, most))
    kinds = draw(st.sampled_from(masses)), draw(st.sampled_from(masses)), draw(st.sampled_from(costs))
    total = draw(st.sampled_from([1.0, 1e-5, 43.0, 1e5])) if total is None else total
    rng = np.random.default_rng(draw(seeds))
    return total * mass(rng, kinds[0], n), total * mass(rng, kinds[1], m), COSTS[kinds[2]](rng, n, m)


@st.composite
def clouds(draw, count=2, most=9, most_dimensions=3, weighted=True):
    """[(points (n, d), masses (n,)), …] of one dimension."""
    d, rng = draw(st.integers(1, most_dimensions)), None
    sizes = [draw(st.integers(1, most)) for _ in range(count)]
    rng = np.random.default_rng(draw(seeds))
    return [(rng.standard_normal((n, d)), mass(rng, "any" if weighted else "equal", n)) for n in sizes]


powers = st.sampled_from([1, 2, 3, 1.5])


def rng_(seed=0):
    return np.random.default_rng(seed)


def example(n=6, m=5, seed=0):
    rng = rng_(seed)
    return mass(rng, "any", n), mass(rng, "any", m), rng.random((n, m))


# ---- exact: the proof ------------------------------------------------------------------------------------------------

P = np.array([5, 3, 2, 1, 8, 7, 5, 9, 2, 1]) / 43  # Understanding Deep Learning, notebook 15.2
Q = np.array([4, 10, 1, 1, 4, 6, 3, 2, 0, 1]) / 32
PLACES = np.arange(10) / 9
W = 0.15148578811369506


def test_the_distance_of_two_histograms_in_a_lecture():
    found = emd(P, Q, abs(PLACES[:, None] - PLACES))
    assert found.cost == pytest.approx(W, rel=1e-14)
    assert found.dual == pytest.approx(W, rel=1e-14)
    assert abs(found.gap) < 1e-12
    assert found.certificate.holds(1e-12)
    assert_allclose(found.plan.sum(axis=1), P, rtol=1e-14)
    assert_allclose(found.plan.sum(axis=0), Q, atol=1e-15)
    assert wasserstein_1d(PLACES, PLACES, a=P, b=Q) == pytest.approx(W, rel=1e-14)
    assert wasserstein(PLACES, PLACES, a=P, b=Q) == pytest.approx(W, rel=1e-14)
    assert wasserstein_distance(PLACES, PLACES, P, Q) == pytest.approx(W, rel=1e-14)


def prove(a, b, cost, found, tolerance):
    """The whole proof by hand, in units of the mass and the largest cost; nothing of `certify` is believed."""
    total, scale = a.sum(), np.abs(cost).max() or 1.0
    plan, u, v = found.plan, found.u, found.v
    assert plan.dtype == u.dtype == v.dtype == np.float64
    assert plan.shape == cost.shape and (plan >= 0).all()
    assert abs(plan.sum(axis=1) - a).max() <= tolerance * total
    assert abs(plan.sum(axis=0) - b).max() <= tolerance * total
    assert (u[:, None] + v <= cost + tolerance * scale).all()
    assert found.cost == pytest.approx((plan * cost).sum(), rel=1e-12, abs=tolerance * total * scale)
    assert found.dual == pytest.approx(u @ a + v @ b, rel=1e-12, abs=tolerance * total * scale)
    assert abs(found.cost - found.dual) <= tolerance * total * scale
    assert (plan * abs(cost - u[:, None] - v)).sum() <= tolerance * total * scale
    assert found.gap == found.certificate.gap
    assert found.certificate.holds(tolerance)


@examples(2)
@given(problem=problems())
def test_plan_and_potentials_prove_each_other(problem):
    a, b, cost = problem
    found = emd(a, b, cost)
    assert type(found.cost) is float and type(found.dual) is float and type(found.gap) is float
    prove(*problem, found, 1e-11)


@examples(0.5)
@given(problem=problems(masses=("any", "whole", "with zeros"), costs=("any", "squares", "of both signs"), total=1.0))
def test_strong_duality_holds_to_rounding_on_common_problems(problem):
    prove(*problem, emd(*problem), 1e-14)


@given(problem=problems())
def test_potentials_are_each_others_c_transform_and_balanced(problem):
    a, b, cost = problem
    found, scale = emd(a, b, cost), np.abs(cost).max()
    assert_allclose(found.v, [min(cost[i, j] - found.u[i] for i in range(len(a))) for j in range(len(b))],
                    atol=1e-13 * scale)  # fmt: skip
    assert_allclose(found.u, [min(cost[i, j] - found.v[j] for j in range(len(b))) for i in range(len(a))],
                    atol=1e-13 * scale)  # fmt: skip
    assert found.u @ a == pytest.approx(found.v @ b, abs=1e-12 * scale * a.sum())


@pytest.mark.parametrize("n, m, equal, solver", [(300, 400, False, "HiGHS"), (500, 500, True, "assignment"),
                                                 (500, 500, False, "HiGHS")])  # fmt: skip
def test_large_problems_are_proved_too(n, m, equal, solver):
    rng = rng_(n)
    a, b = (mass(rng, "equal" if equal else "any", k) for k in (n, m))
    cost = distances(rng.standard_normal((n, 2)), rng.standard_normal((m, 2)))
    found = emd(a, b, cost)
    assert found.method == solver
    prove(a, b, cost, found, 1e-13)


def test_none_means_equal_masses_of_the_total_of_the_other():
    _, b, cost = example()
    assert_allclose(emd(None, None, cost).plan.sum(axis=1), 1 / 6)
    assert_allclose(emd(None, None, cost).plan.sum(axis=0), 1 / 5)
    assert_allclose(emd(None, 7 * b, cost).plan.sum(axis=1), 7 / 6)
    assert_allclose(emd(b, None, 2 * cost.T).plan.sum(axis=0), 1 / 6)


@given(problem=problems(most=8), scale=st.sampled_from([3.0, 1e-9, 1e12]))
def test_cost_is_linear_in_mass_and_cost_and_does_not_see_the_order(problem, scale):
    a, b, cost = problem
    found, unit = emd(a, b, cost).cost, a.sum() * np.abs(cost).max()
    rows, columns = rng_().permutation(len(a)), rng_(1).permutation(len(b))
    assert emd(scale * a, scale * b, cost).cost == pytest.approx(scale * found, rel=1e-9, abs=1e-12 * scale * unit)
    assert emd(a, b, scale * cost).cost == pytest.approx(scale * found, rel=1e-9, abs=1e-12 * scale * unit)
    assert emd(a, b, cost + 1.0).cost == pytest.approx(found + a.sum(), abs=1e-11 * (unit + a.sum()))
    shuffled = emd(a[rows], b[columns], cost[np.ix_(rows, columns)]).cost
    assert shuffled == pytest.approx(found, abs=1e-11 * unit)
    assert emd(b, a, cost.T).cost == pytest.approx(found, abs=1e-11 * unit)


def test_extreme_units_change_nothing():
    a, b, cost = example()
    for mass_unit, cost_unit in [(1e-300, 1e300), (1e300, 1e-300), (1e-310, 1.0), (1.0, 1e-310)]:
        found = emd(a * mass_unit, b * mass_unit, cost * cost_unit)
        assert found.cost == pytest.approx(emd(a, b, cost).cost * mass_unit * cost_unit, rel=1e-9)
        assert found.certificate.holds()


def test_an_optimum_of_many_is_proved_by_potentials_that_are_not_unique():
    found = emd([0.5, 0.5], [0.5, 0.5], np.zeros((2, 2)))
    assert (found.cost, found.dual, found.gap) == (0.0, 0.0, 0.0)
    assert found.certificate.holds(0)


# ---- the certificate is honest ---------------------------------------------------------------------------------------

RESIDUALS = ("row_sums", "column_sums", "negative", "infeasible", "slack", "gap")


def certified(plan=0.0, u=0.0, v=0.0):
    """The certificate of the example's optimum, something added to it."""
    a, b, cost = example()
    found = emd(a, b, cost)
    return certify(found.plan + plan, found.u + u, found.v + v, a, b, cost)


def at(*entries):
    """A plan's worth of zeros, but for (i, j, value)."""
    plan = np.zeros((6, 5))
    for i, j, value in entries:
        plan[i, j] = value
    return plan


def worse():
    """What must be added to the optimal plan for that of independent masses: feasible, not optimal."""
    a, b, cost = example()
    return np.outer(a, b) - emd(a, b, cost).plan


def test_an_optimum_is_certified():
    assert certified().holds(1e-14)
    assert certified(u=0.7, v=-0.7).holds(1e-14)  # potentials are determined up to a constant


@pytest.mark.parametrize(
    "planted, residuals",
    [
        ({"plan": at((1, 2, 0.01))}, {"row_sums": 0.01, "column_sums": 0.01}),
        ({"plan": at((1, 2, 0.01), (1, 3, -0.01))}, {"column_sums": 0.01}),
        ({"plan": at((1, 2, 0.01), (3, 2, -0.01))}, {"row_sums": 0.01}),
        ({"u": 0.02}, {"infeasible": 0.02, "slack": 0.02, "gap": -0.02}),
        ({"v": 0.03}, {"infeasible": 0.03, "slack": 0.03, "gap": -0.03}),
        ({"v": -0.03}, {"slack": 0.03, "gap": 0.03}),
    ],
)
def test_a_planted_mistake_shows_in_its_residual(planted, residuals):
    broken = certified(**planted)
    for name, value in residuals.items():
        assert getattr(broken, name) == pytest.approx(value, rel=1e-9), name
    for name in {"row_sums", "column_sums", "infeasible"} - set(residuals):
        assert getattr(broken, name) < 1e-14, name
    assert not broken.holds(1e-3)
    if set(residuals) & {"row_sums", "column_sums"}:
        assert broken.holds(0.5)  # the tolerance counts


def test_a_plan_that_is_not_optimal_has_a_gap_and_moves_where_it_should_not():
    a, b, cost = example()
    broken, found = certified(plan=worse()), emd(a, b, cost)
    assert broken.gap == pytest.approx((np.outer(a, b) * cost).sum() - found.cost, rel=1e-12) and broken.gap > 0.1
    assert broken.slack == pytest.approx(broken.gap)  # the potentials are feasible: they are the same sum
    assert max(broken.row_sums, broken.column_sums, broken.negative, broken.infeasible) < 1e-15
    assert not broken.holds()


def test_a_negative_entry_shows():
    """A little mass around a cycle, whose sums are 0, that takes from an empty place."""
    plan = emd(*example()).plan
    i, j = np.argwhere(plan == 0)[0]
    k, l = (i + 1) % 6, (j + 1) % 5
    broken = certified(plan=at((i, j, -0.01), (i, l, 0.01), (k, j, 0.01), (k, l, -0.01)))
    assert broken.negative == pytest.approx(max(0.01, 0.01 - plan[k, l]))
    assert max(broken.row_sums, broken.column_sums, broken.infeasible) < 1e-15
    assert not broken.holds()


@pytest.mark.parametrize("name", RESIDUALS)
@pytest.mark.parametrize("value", [2e-9, np.nan, np.inf])
def test_each_residual_alone_breaks_the_certificate(name, value):
    whole = certified()
    assert not dataclasses.replace(whole, relative=whole.relative | {name: value}).holds()
    assert dataclasses.replace(whole, relative=whole.relative | {name: 5e-10}).holds()


@pytest.mark.parametrize("where", ["plan", "u", "v"])
def test_nan_proves_nothing(where):
    a, b, cost = example()
    found = emd(a, b, cost)
    parts = {"plan": found.plan, "u": found.u, "v": found.v}
    parts[where] = np.where(np.arange(parts[where].size).reshape(parts[where].shape) == 3, np.nan, parts[where])
    assert not certify(**parts, a=a, b=b, cost=cost).holds()


def test_residuals_are_relative_to_what_is_summed():
    a, b, cost = example()
    found = emd(a, b, cost)
    plan, u, v = found.plan + at((1, 2, 0.01)), found.u + 0.5, found.v
    ours = certify(plan, u, v, a, b, cost)
    paid = (abs(cost) * plan).sum() + abs(u) @ a + abs(v) @ b
    assert ours.relative["gap"] == pytest.approx(abs(ours.gap) / paid)
    assert ours.relative["slack"] == pytest.approx(ours.slack / paid)
    assert ours.relative["row_sums"] == pytest.approx(0.01 / a.sum())
    over = (u[:, None] + v - cost) / (abs(u)[:, None] + abs(v) + abs(cost))
    assert ours.relative["infeasible"] == pytest.approx(over.max()) and ours.infeasible == pytest.approx(0.5)
    theirs = certify(10 * plan, 100 * u, 100 * v, 10 * a, 10 * b, 100 * cost)
    assert theirs.relative == pytest.approx(ours.relative, rel=1e-12)
    assert theirs.row_sums == pytest.approx(0.1) and theirs.infeasible == pytest.approx(50)
    assert theirs.gap == pytest.approx(1000 * ours.gap)


def test_a_huge_cost_hides_nothing():
    """Costs that no mass pays: the plan must be optimal for the others, and the certificate would show if not."""
    for huge in (1e6, 1e12, 1e16, 1e200):
        cost = np.array([[huge, 0.1, 0.2], [0.5, huge, 0.3], [0.4, 0.6, huge]])
        found = emd([0.3, 0.3, 0.4], [0.4, 0.3, 0.3], cost)
        assert found.cost == pytest.approx(0.28, rel=1e-12) and found.certificate.holds(1e-12)
        u, v = found.u, found.v
        worse = certify(np.diag([0.3, 0.3, 0.3]) + at33(2, 0, 0.1), u, v, A33, B33, cost)
        assert not worse.holds()
    found = emd([0.5, 0.5, 0], [0.5, 0.5], [[0, 1], [1, 0], [1e300, 1e300]])
    assert found.cost == 0 and found.certificate.holds(1e-12)
    rng = rng_(5)
    for _ in range(20):
        a, b = np.ones(8), np.ones(8)
        a[0] = b[0] = 2  # not the assignment solver
        cost = np.where(rng.random((8, 8)) < 0.4, 1e12, rng.integers(1, 9, (8, 8)))
        cost[np.arange(8), np.arange(8)] = 9  # there is a cheap plan
        whole = np.minimum(cost, 1000)
        assert emd(a, b, cost).cost == pytest.approx(emd(a, b, whole).cost, rel=1e-12)


A33, B33 = np.array([0.3, 0.3, 0.4]), np.array([0.4, 0.3, 0.3])


def at33(i, j, mass):
    plan = np.zeros((3, 3))
    plan[i, j] = mass
    return plan


def test_where_nothing_costs_anything_wrong_potentials_show():
    broken = certify(np.eye(1), np.ones(1), np.ones(1), np.ones(1), np.ones(1), np.zeros((1, 1)))
    assert broken.infeasible == 2 and broken.gap == -2
    assert not broken.holds()


def test_printing_shows_both_problems_and_every_residual():
    found = emd(P, Q, abs(PLACES[:, None] - PLACES))
    text = str(found)
    assert repr(found.cost) in text and repr(found.dual) in text and "certificate holds" in text and "HiGHS" in text
    assert repr(found).startswith("OptimalTransport(cost=0.1514857881, gap=") and "10 x 10" in repr(found)
    values = {name: (k + 1) * 1e-3 for k, name in enumerate(RESIDUALS)}
    broken = dataclasses.replace(found, certificate=dataclasses.replace(found.certificate, **values, relative=values))
    assert "DOES NOT HOLD" in str(broken)
    words = ("row sums", "column sums", "plan", "feasibility", "slackness", "duality gap")
    lines = str(broken.certificate).splitlines()[1:]
    for line, word, value in zip(lines, words, values.values(), strict=True):
        assert line.strip().startswith(word) and f"{value:.1e}" in line


# ---- potentials of any optimal plan ----------------------------------------------------------------------------------


@given(problem=problems(most=12, masses=("equal", "any", "whole", "with zeros")))
def test_potentials_are_recovered_from_the_plan_alone(problem):
    a, b, cost = problem
    plan = emd(a, b, cost).plan
    u, v = potentials(plan, cost)
    assert certify(plan, u, v, a, b, cost).holds(1e-11)


@given(seed=seeds, n=st.integers(2, 9))
def test_potentials_of_a_permutation_prove_it_or_leave_a_gap(seed, n):
    rng = np.random.default_rng(seed)
    x, y, ones = np.sort(rng.standard_normal(n)), np.sort(rng.standard_normal(n)), np.ones(n)
    cost = (x[:, None] - y) ** 2  # sorted onto sorted is the only optimum
    u, v = potentials(np.eye(n), cost)
    assert certify(np.eye(n), u, v, ones, ones, cost).holds(1e-13)
    other = np.eye(n)[rng.permutation(n)]
    excess = (other * cost).sum() - np.trace(cost)
    u, v = potentials(other, cost)
    found = certify(other, u, v, ones, ones, cost)
    assert found.infeasible < 1e-12  # a bound from below in any case
    assert found.gap >= excess - 1e-9


def test_potentials_of_another_solvers_plan():
    ot = pytest.importorskip("ot")
    a, b, cost = example(20, 15)
    plan = ot.emd(a, b, cost)
    u, v = potentials(plan, cost)
    assert certify(plan, u, v, a, b, cost).holds(1e-13)


# ---- exact: other solvers --------------------------------------------------------------------------------------------


@given(n=st.integers(1, 4), kind=st.sampled_from(tuple(COSTS)), seed=seeds)
def test_equal_masses_are_the_best_permutation(n, kind, seed):
    cost = COSTS[kind](np.random.default_rng(seed), n, n)
    best = min(sum(cost[i, j] for i, j in enumerate(order)) for order in permutations(range(n)))
    found = emd(None, None, cost)
    assert found.cost == pytest.approx(best / n, rel=1e-13, abs=1e-15)
    assert set(np.unique(found.plan)) <= {0.0, 1 / n}


@given(units=st.integers(1, 6), n=st.integers(1, 4), m=st.integers(1, 4), seed=seeds)
def test_whole_masses_are_the_best_permutation_of_their_units(units, n, m, seed):
    rng = np.random.default_rng(seed)
    rows, columns = np.sort(rng.integers(0, n, units)), np.sort(rng.integers(0, m, units))
    cost = rng.integers(-4, 5, (n, m))
    best = min(cost[rows, columns[list(order)]].sum() for order in permutations(range(units)))
    a, b = np.bincount(rows, minlength=n), np.bincount(columns, minlength=m)
    found = emd(a, b, cost)
    assert found.cost == pytest.approx(best, abs=1e-12)
    assert found.certificate.holds(1e-13)


@given(problem=problems(masses=("any", "equal", "with zeros"), costs=("any", "squares", "degenerate"), total=1.0))
def test_pot_finds_the_same_cost_and_our_potentials_bound_its_plan(problem):
    ot = pytest.importorskip("ot")
    a, b, cost = problem
    cost = cost * 1.0
    plan, log = ot.emd(a, b, cost, log=True)
    found, scale = (
        emd(a, b, cost),
        max(1.0, cost.max()),
    )  # its tolerances are not relative, and one negative cost is 0 to it
    assert found.cost == pytest.approx(float(ot.emd2(a, b, cost)), abs=1e-9 * scale)
    assert found.dual == pytest.approx(log["u"] @ a + log["v"] @ b, abs=1e-9 * scale)
    assert abs(certify(plan, found.u, found.v, a, b, cost).gap) < 1e-9 * scale


# ---- between samples -------------------------------------------------------------------------------------------------


@given(drawn=clouds(), p=powers)
def test_distances_are_the_naive_loop(drawn, p):
    (x, _), (y, _) = drawn
    assert_allclose(distances(x, y, p), [[math.dist(s, t) ** p for t in y] for s in x], rtol=1e-12)


def test_distances_take_points_images_and_lists_and_keep_digits():
    assert distances([0, 1], [4, 2, 1]).tolist() == [[4, 2, 1], [3, 1, 0]]
    images = rng_().standard_normal((4, 2, 3, 1))
    assert_allclose(distances(images, images[:2]), distances(images.reshape(4, 6), images[:2].reshape(2, 6)))
    far = np.array([[1e8, 0.0], [1e8 + 1, 0.0]])
    assert distances(far, far).tolist() == [[0, 1], [1, 0]]  # not by |x|² − 2xy + |y|²
    assert distances(np.float32([[0, 0]]), np.float32([[3, 4]])).dtype == np.float64


@given(drawn=clouds(), p=powers)
def test_wasserstein_is_the_root_of_the_exact_cost(drawn, p):
    (x, a), (y, b) = drawn
    assert type(wasserstein(x, y, p, a, b)) is float
    assert wasserstein(x, y, p, a, b) == pytest.approx(emd(a, b, distances(x, y, p)).cost ** (1 / p), rel=1e-10)
    assert wasserstein(x, y, p) == pytest.approx(emd(None, None, distances(x, y, p)).cost ** (1 / p), rel=1e-10)


@given(drawn=clouds(1, weighted=False), p=powers, seed=seeds)
def test_a_translation_costs_its_length(drawn, p, seed):
    (x, a) = drawn[0]
    shift = np.random.default_rng(seed).standard_normal(x.shape[1])
    a = a * np.random.default_rng(seed).uniform(0.5, 1, len(a))
    for weights in (None, a / a.sum()):
        assert wasserstein(x, x + shift, p, weights, weights) == pytest.approx(np.linalg.norm(shift), rel=1e-9)


@given(drawn=clouds(), p=powers, factor=st.floats(-3, 3), seed=seeds)
def test_it_is_symmetric_and_follows_translation_and_scale(drawn, p, factor, seed):
    (x, a), (y, b) = drawn
    found = wasserstein(x, y, p, a, b)
    shift = np.random.default_rng(seed).standard_normal(x.shape[1])
    assert wasserstein(y, x, p, b, a) == pytest.approx(found, rel=1e-9)
    assert wasserstein(x + shift, y + shift, p, a, b) == pytest.approx(found, rel=1e-9)
    assert wasserstein(factor * x, factor * y, p, a, b) == pytest.approx(abs(factor) * found, rel=1e-9, abs=1e-12)


@given(drawn=clouds(3), p=st.sampled_from([1, 2]))
def test_triangle_inequality(drawn, p):
    (x, a), (y, b), (z, c) = drawn
    assert wasserstein(x, z, p, a, c) <= wasserstein(x, y, p, a, b) + wasserstein(y, z, p, b, c) + 1e-9


@given(drawn=clouds(), seed=seeds)
def test_it_grows_with_p_and_sliced_is_below(drawn, seed):
    (x, a), (y, b) = drawn
    found = [wasserstein(x, y, p, a, b) for p in (1, 1.5, 2, 3, 8)]
    assert all(low <= high + 1e-9 for low, high in zip(found, found[1:]))
    for p in (1, 2):
        assert sliced_wasserstein(x, y, p, 20, seed, a, b) <= wasserstein(x, y, p, a, b) + 1e-9


@given(drawn=clouds(1), p=powers, seed=seeds)
def test_a_permutation_costs_nothing_and_an_atom_may_be_split(drawn, p, seed):
    (x, a) = drawn[0]
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(x))
    assert wasserstein(x, x[order], p, a, a[order]) == pytest.approx(0, abs=1e-4)  # a root of rounding
    assert emd(a, a[order], distances(x, x[order], p)).cost == pytest.approx(0, abs=1e-14)
    other = rng.standard_normal(x.shape)
    parts = rng.random(len(a))
    twice, halves = np.concatenate([x, x]), np.concatenate([a * parts, a * (1 - parts)])
    assert wasserstein(twice, other, p, halves) == pytest.approx(wasserstein(x, other, p, a), rel=1e-9)


@given(drawn=clouds(1), p=powers, seed=seeds)
def test_one_atom_against_many_sends_each_its_mass(drawn, p, seed):
    (y, b) = drawn[0]
    x = np.random.default_rng(seed).standard_normal((1, y.shape[1]))
    known = sum(w * math.dist(x[0], t) ** p for w, t in zip(b, y)) ** (1 / p)
    assert wasserstein(x, y, p, b=b) == pytest.approx(known, rel=1e-10)
    assert wasserstein(x, x + 1, p) == pytest.approx(math.sqrt(x.shape[1]), rel=1e-12)  # two Dirac masses


@given(drawn=clouds(3), p=st.sampled_from([1, 2]), share=st.floats(0, 1))
def test_power_is_convex_in_mixtures(drawn, p, share):
    (x, a), (y, b), (z, c) = drawn
    mixture, weights = np.concatenate([x, y]), np.concatenate([share * a, (1 - share) * b])
    mixed = wasserstein(mixture, z, p, weights, c) ** p
    assert mixed <= share * wasserstein(x, z, p, a, c) ** p + (1 - share) * wasserstein(y, z, p, b, c) ** p + 1e-9


def test_total_mass_multiplies_the_power():
    x, y = rng_().standard_normal((2, 4, 2))
    for p in (1, 2, 3):
        for function in (wasserstein, lambda x, y, p, a, b: wasserstein_1d(x[:, 0], y[:, 0], p, a, b),
                         lambda x, y, p, a, b: sliced_wasserstein(x, y, p, a=a, b=b)):  # fmt: skip
            one, eight = (function(x, y, p, np.full(4, total / 4), None) for total in (1, 8))
            assert eight == pytest.approx(8 ** (1 / p) * one, rel=1e-12)


# ---- on the line -----------------------------------------------------------------------------------------------------


@given(drawn=clouds(most=20, most_dimensions=1), p=powers)
def test_the_line_is_the_linear_program(drawn, p):
    (x, a), (y, b) = drawn
    found = wasserstein_1d(x[:, 0], y[:, 0], p, a, b)
    assert type(found) is float
    assert found == pytest.approx(emd(a, b, distances(x, y, p)).cost ** (1 / p), rel=1e-9)
    assert wasserstein(x, y, p, a, b) == found
    assert wasserstein_1d(x[:, 0], y[:, 0], p) == pytest.approx(emd(None, None, distances(x, y, p)).cost ** (1 / p))


@given(drawn=clouds(most=20, most_dimensions=1))
def test_the_line_is_scipy(drawn):
    (x, a), (y, b) = drawn
    assert wasserstein_1d(x[:, 0], y[:, 0], a=a, b=b) == pytest.approx(
        wasserstein_distance(x[:, 0], y[:, 0], a, b), rel=1e-11
    )


@pytest.mark.parametrize("p", [1, 2, 3])
def test_the_line_is_the_root_of_pots_power(p):
    ot = pytest.importorskip("ot")
    x, y = rng_().standard_normal(30), rng_(1).standard_normal(20)
    a, b = mass(rng_(2), "any", 30), mass(rng_(3), "with zeros", 20)
    assert wasserstein_1d(x, y, p, a, b) ** p == pytest.approx(float(ot.wasserstein_1d(x, y, a, b, p)), rel=1e-9)
    assert wasserstein_1d(x, y, p) ** p == pytest.approx(float(ot.wasserstein_1d(x, y, p=p)), rel=1e-9)


@pytest.mark.parametrize("mu, nu, sigma, tau", [(0, 3, 1, 1), (1, -2, 0.5, 2), (0, 0, 1, 4)])
def test_gaussians_on_the_line(mu, nu, sigma, tau):
    """W₂² = (μ − ν)² + (σ − τ)²: for quantile points exactly, with their own variance for 1."""
    z = ndtri((np.arange(2000) + 0.5) / 2000)
    found = wasserstein_1d(mu + sigma * z, (nu + tau * z)[::-1], 2) ** 2
    assert found == pytest.approx((mu - nu) ** 2 + (sigma - tau) ** 2 * (z**2).mean(), rel=1e-12)
    assert found == pytest.approx((mu - nu) ** 2 + (sigma - tau) ** 2, rel=2e-3)


def test_the_line_by_hand():
    assert wasserstein_1d([0, 1], [2, 7]) == 4.0
    assert wasserstein_1d([0.0], [0.0, 4.0], 2, b=[0.75, 0.25]) == 2.0
    assert wasserstein_1d([3.0, 0.0], [0.0, 3.0]) == 0.0
    assert wasserstein_1d([1e200], [-1e200]) == 2e200  # nothing need overflow


@pytest.mark.parametrize("side", [0, 1])
def test_an_atom_without_mass_does_not_matter_however_far_it_is(side):
    """Sums of masses differ by rounding: what is left over must not travel to an atom that has none."""
    for n in (3, 7, 49):
        x, a = np.arange(n) * 1.0, np.full(n, 1 / n)
        sets = [(x, a), (x + 1, a)]
        sets[side] = np.append(sets[side][0], 1e7), np.append(a, 0.0)
        (x, a), (y, b) = sets
        assert wasserstein_1d(x, y, 3, a, b) == pytest.approx(1, rel=1e-9)


def test_high_powers_do_not_vanish():
    assert wasserstein_1d([0.0], [0.1], 1000) == pytest.approx(0.1)
    assert wasserstein([[0.0, 0.0]], [[0.1, 0.0]], 1000) == pytest.approx(0.1)


# ---- sliced ----------------------------------------------------------------------------------------------------------


@given(drawn=clouds(), p=powers, seed=seeds, weighted=st.booleans())
def test_sliced_is_the_loop_over_directions(drawn, p, seed, weighted):
    (x, a), (y, b) = drawn
    weights = (a, b) if weighted else (None, None)
    directions = stream(seed, "projections").standard_normal((x.shape[1], 7))
    known = 0.0
    for direction in directions.T:
        unit = direction / np.linalg.norm(direction)
        known += wasserstein_1d(x @ unit, y @ unit, p, *weights) ** p / 7
    found = sliced_wasserstein(x, y, p, 7, seed, *weights)
    assert type(found) is float
    assert found == pytest.approx(known ** (1 / p), rel=1e-9)


@pytest.mark.parametrize("d", [2, 3, 10])
def test_sliced_sees_one_nth_of_a_translation_squared(d):
    x = rng_().standard_normal((5, d))
    shift = rng_(1).standard_normal(d)
    known = np.linalg.norm(shift) / math.sqrt(d)
    found = [sliced_wasserstein(x, x + shift, n_projections=4000, seed=seed) for seed in range(3)]
    assert found == pytest.approx([known] * 3, rel=4 / math.sqrt(4000))
    assert len(set(found)) == 3
    assert found[0] == sliced_wasserstein(x, x + shift, n_projections=4000)


def test_sliced_on_the_line_is_exact():
    x, y = rng_().standard_normal((6, 1)), rng_(1).standard_normal((9, 1))
    for p in (1, 2):
        assert sliced_wasserstein(x, y, p, 3) == pytest.approx(wasserstein_1d(x[:, 0], y[:, 0], p), rel=1e-12)
        assert sliced_wasserstein(x[:, 0], y[:, 0], p, 3) == pytest.approx(wasserstein(x, y, p), rel=1e-12)


def test_sliced_is_pots_within_its_error():
    ot = pytest.importorskip("ot")
    x, y = rng_().standard_normal((40, 3)), 0.5 + rng_(1).standard_normal((30, 3))
    theirs = float(ot.sliced_wasserstein_distance(x, y, n_projections=3000, p=2, seed=1))
    assert sliced_wasserstein(x, y, 2, 3000) == pytest.approx(theirs, rel=0.05)


# ---- with entropy ----------------------------------------------------------------------------------------------------


def quietly(function, *args, **kwargs):
    """Without the warning that it has not converged."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "sinkhorn.*: not converged")
        return function(*args, **kwargs)


def naive_sinkhorn(a, b, cost, epsilon, iterations, v=None):
    """(u, v) in the logarithm, with SciPy's logsumexp; for total mass 1."""
    v = np.zeros(len(b)) if v is None else v
    for _ in range(iterations):
        u = -epsilon * logsumexp((v - cost) / epsilon, b=np.broadcast_to(b, cost.shape), axis=1)
        v = -epsilon * logsumexp((u[:, None] - cost) / epsilon, b=a[:, None], axis=0)
    return u, v


GENTLE = ("any", "squares", "degenerate", "negative")
POSITIVE, ZEROS = ("equal", "any", "of all sizes", "nearly one atom"), ("whole", "with zeros")
some_without_mass = pytest.mark.parametrize("masses", [POSITIVE, ZEROS], ids=["all", "some"])


@some_without_mass
@given(data=st.data(), epsilon=st.sampled_from([10.0, 1.0, 0.1, 0.01, 1e-3]), iterations=st.integers(1, 40),
       largest=st.sampled_from([100.0, 1.0, 0.0]))  # fmt: skip
def test_sinkhorn_is_the_plain_iteration_however_often_it_absorbs(masses, data, epsilon, iterations, largest):
    a, b, cost = data.draw(problems(9, masses, GENTLE, 1.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entropic, "LARGEST", largest)
        found = quietly(sinkhorn, a, b, cost, epsilon, 1e-300, iterations)
    with np.errstate(divide="ignore"):
        u, v = naive_sinkhorn(a, b, cost, epsilon, found.iterations)
    assert found.iterations == iterations or found.error == 0
    size = 1e-11 * (np.abs(u).max() + np.abs(v).max() + np.abs(cost).max())
    assert_allclose(found.u, u, rtol=0, atol=size)
    assert_allclose(found.v, v, rtol=0, atol=size)
    live = np.ix_(a > 0, b > 0)
    plan = np.zeros_like(found.plan)
    plan[live] = (a[:, None] * b * np.exp(np.minimum((u[:, None] + v - cost) / epsilon, 700)))[live]
    assert_allclose(found.plan, plan, rtol=1e-7, atol=1e-12)
    assert found.error == pytest.approx(abs(plan.sum(axis=1) - a).sum(), rel=1e-6, abs=1e-11)
    assert_allclose(found.plan.sum(axis=0), b, rtol=1e-10, atol=1e-15)


@given(problem=problems(12, ("equal", "any", "whole", "with zeros"), GENTLE), factor=st.sampled_from([0.2, 1.0, 10.0]))
def test_a_converged_plan_has_both_sums_and_the_right_value(problem, factor):
    a, b, cost = problem
    total, scale = a.sum(), np.abs(cost).max() or 1.0
    found = sinkhorn(a, b, cost, factor * scale)
    assert found.converged and found.error <= 1e-9
    assert abs(found.plan.sum(axis=1) - a).sum() <= 1.001e-9 * total + 1e-12 * total
    assert_allclose(found.plan.sum(axis=0), b, atol=1e-14 * total)
    assert (found.plan >= 0).all() and found.plan.dtype == np.float64
    assert found.cost == pytest.approx((found.plan * cost).sum(), rel=1e-9)
    live = found.plan > 0
    ratio = found.plan[live] / (np.outer(a, b)[live] / total)
    entropy = (found.plan[live] * np.log(ratio)).sum()
    assert found.value == pytest.approx(found.cost + found.epsilon * entropy, rel=1e-7, abs=1e-8 * total * scale)


def test_sinkhorn_of_two_onto_two_in_closed_form():
    for epsilon in (10.0, 1.0, 0.1):
        stays = 0.5 / (1 + math.exp(-1 / epsilon))
        found = sinkhorn(None, None, [[0.0, 1.0], [1.0, 0.0]], epsilon)
        assert_allclose(found.plan, [[stays, 0.5 - stays], [0.5 - stays, stays]], rtol=1e-12)
        assert found.value == pytest.approx(-epsilon * math.log((1 + math.exp(-1 / epsilon)) / 2), rel=1e-12)
        assert found.cost == pytest.approx(1 - 2 * stays, rel=1e-12)


@some_without_mass
@given(data=st.data(), exponent=st.integers(-6, 2), iterations=st.integers(1, 60))
def test_bounds_hold_whether_it_has_converged_or_not(masses, data, exponent, iterations):
    a, b, cost = data.draw(problems(15, masses))
    unit = a.sum() * np.abs(cost).max()
    found = quietly(sinkhorn, a, b, cost, (np.abs(cost).max() or 1.0) * 10.0**exponent, max_iterations=iterations)
    known = emd(a, b, cost).cost
    assert found.lower <= known + 1e-12 * unit
    assert known <= found.upper + 1e-12 * unit


def test_bounds_are_tight_for_small_epsilon():
    a, b, cost = example(12, 15)
    v, known = None, emd(a, b, cost).cost
    for epsilon in (0.1, 0.01, 1e-3, 3e-4):
        found = quietly(sinkhorn, a, b, cost, epsilon, 1e-6, start=v)
        v = found
    assert found.lower == pytest.approx(known, abs=1e-4) and found.upper == pytest.approx(known, abs=1e-4)
    assert found.cost == pytest.approx(known, abs=1e-3)
    assert abs(found.plan - emd(a, b, cost).plan).sum() < 0.02


def test_the_cost_falls_to_the_exact_one_as_epsilon_does():
    a, b, cost = example()
    found = [sinkhorn(a, b, cost, epsilon, 1e-7).cost for epsilon in (10, 1, 0.1, 0.02)]
    known = emd(a, b, cost).cost
    assert all(high > low for high, low in zip(found, found[1:]))
    assert known < found[-1] < known + 0.02


def test_without_a_bound_on_entropy_all_is_independent():
    a, b, cost = example()
    found = sinkhorn(a, b, cost, 1e5)
    assert_allclose(found.plan, np.outer(a, b), rtol=1e-4)
    assert found.value == pytest.approx(a @ cost @ b, rel=1e-5)
    assert found.cost == pytest.approx(a @ cost @ b, rel=1e-5)


@pytest.mark.parametrize("epsilon", [1e-3, 1e-6, 1e-100, 1e-300])
@pytest.mark.parametrize("kind", ["any", "whole"])
def test_a_tiny_epsilon_gives_numbers(epsilon, kind):
    rng = rng_(5)
    a, b = mass(rng, kind, 6), mass(rng, kind, 7)
    with pytest.warns(UserWarning, match="not converged"):
        found = sinkhorn(a, b, rng.random((6, 7)), epsilon, max_iterations=30)
    for value in dataclasses.astuple(found):
        assert np.isfinite(value).all()
    assert found.lower <= found.upper


def test_masses_of_zero_on_both_sides():
    """Between atoms without mass u + v − C may be anything: it must not overflow, nor make NaN of 0 · ∞."""
    found = sinkhorn([1.0, 0.0], [1.0, 0.0], [[0.0, 1.0], [1.0, 0.0]], 1e-3)
    assert found.converged
    assert_array_equal(found.plan, [[1, 0], [0, 0]])
    assert (found.cost, found.value, found.lower, found.upper) == (0, 0, 0, 0)
    a, b, cost = example()
    wider = np.zeros((8, 7))
    wider[:6, :5] = cost
    wide = sinkhorn(np.append(a, [0, 0]), np.append(b, [0, 0]), wider, 0.05)
    narrow = sinkhorn(a, b, cost, 0.05)
    assert_allclose(wide.plan[:6, :5], narrow.plan, atol=1e-9)
    assert not wide.plan[6:].any() and not wide.plan[:, 5:].any()
    assert np.isfinite(wide.u).all() and np.isfinite(wide.v).all()


def test_total_mass_multiplies_the_results():
    a, b, cost = example()
    one, many = sinkhorn(a, b, cost, 0.1), sinkhorn(40 * a, 40 * b, cost, 0.1)
    for name in ("value", "cost", "plan", "lower", "upper"):
        assert_allclose(getattr(many, name), 40 * np.array(getattr(one, name)), rtol=1e-9)
    for name in ("u", "v", "error"):
        assert_allclose(getattr(many, name), getattr(one, name), atol=1e-9)


def test_a_warm_start_saves_iterations():
    a, b, cost = example(20, 20)
    first = sinkhorn(a, b, cost, 0.02)
    assert first.iterations > 20
    again = sinkhorn(a, b, cost, 0.02, start=first)
    assert again.iterations <= 2 and again.value == pytest.approx(first.value, rel=1e-8)
    assert sinkhorn(a, b, cost, 0.02, start=first.v).iterations == again.iterations
    assert sinkhorn(a, b, cost, 0.018, start=first).iterations < sinkhorn(a, b, cost, 0.018).iterations
    assert_allclose(sinkhorn(a, b, cost, 0.018, start=first).plan, sinkhorn(a, b, cost, 0.018).plan, atol=1e-7)


def test_it_warns_when_it_has_not_converged():
    a, b, cost = example(20, 20)
    with pytest.warns(
        UserWarning, match=r"not converged after 3 iterations.*tolerance 1e-09.*epsilon than 0.01"
    ) as seen:
        found = sinkhorn(a, b, cost, 0.01, max_iterations=3)
    assert seen[0].filename == __file__
    assert not found.converged and found.error > 1e-9 and found.iterations == 3
    assert "NOT converged after 3" in repr(found)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loose = sinkhorn(a, b, cost, 0.01, tolerance=found.error * 1.01, max_iterations=3)
    assert loose.converged and "NOT" not in repr(loose)
    assert f"{loose.value:.10g}" in repr(loose) and f"{loose.upper:.10g}" in repr(loose)


def test_pots_sinkhorn_finds_the_same_plan():
    ot = pytest.importorskip("ot")
    a, b, cost = example(10, 12)
    for epsilon in (0.5, 0.02):
        theirs = ot.sinkhorn(a, b, cost, epsilon, method="sinkhorn_log", numItermax=10_000, stopThr=1e-12)
        assert_allclose(sinkhorn(a, b, cost, epsilon, 1e-12).plan, theirs, atol=1e-10)


# ---- the divergence --------------------------------------------------------------------------------------------------


@given(drawn=clouds(), p=st.sampled_from([1, 2]), epsilon=st.sampled_from([1.0, 5.0, 50.0]), seed=seeds)
def test_divergence_is_symmetric_positive_and_zero_only_for_equals(drawn, p, epsilon, seed):
    (x, a), (y, b) = drawn
    found = sinkhorn_divergence(x, y, epsilon, p, a, b)
    assert type(found) is float
    assert found == pytest.approx(sinkhorn_divergence(y, x, epsilon, p, b, a), abs=1e-7)
    assert found > 1e-7
    order = np.random.default_rng(seed).permutation(len(x))
    assert sinkhorn_divergence(x, x[order], epsilon, p, a, a[order]) == pytest.approx(0, abs=1e-5)
    assert sinkhorn_divergence(x, x, epsilon, p, a, a) == pytest.approx(0, abs=1e-5)


def test_what_has_not_converged_is_said_at_the_line_of_the_user():
    x, y = rng_().standard_normal((2, 6, 2))
    for call, what in [
        (lambda: sinkhorn(None, None, distances(x, y), 0.01, max_iterations=2), "sinkhorn:"),
        (lambda: sinkhorn_divergence(x, y, 0.01, max_iterations=2), "sinkhorn_divergence:"),
    ]:
        with pytest.warns(UserWarning, match="not converged after 2 iterations") as said:
            call()
        assert {w.filename for w in said} == {__file__}
        assert str(said[0].message).startswith(what)


def test_divergence_is_made_of_three_transports():
    x, y = rng_().standard_normal((6, 2)), rng_(1).standard_normal((5, 2))
    a, b, _ = example()
    for p in (1, 2):
        parts = [
            sinkhorn(s, t, distances(z, w, p), 1.0).value for s, z, t, w in [(a, x, b, y), (a, x, a, x), (b, y, b, y)]
        ]
        assert sinkhorn_divergence(x, y, 1.0, p, a, b) == pytest.approx(parts[0] - parts[1] / 2 - parts[2] / 2)


@given(drawn=clouds())
def test_divergence_between_transport_and_energy_distance(drawn):
    (x, a), (y, b) = drawn
    energy = a @ distances(x, y) @ b - a @ distances(x, x) @ a / 2 - b @ distances(y, y) @ b / 2
    assert sinkhorn_divergence(x, y, 1e6, 1, a, b) == pytest.approx(energy, abs=1e-5)
    means = ((a @ x - b @ y) ** 2).sum()
    assert sinkhorn_divergence(x, y, 1e6, 2, a, b) == pytest.approx(means, abs=1e-3)


def test_divergence_becomes_the_exact_cost():
    x, y = rng_().standard_normal((7, 2)), rng_(1).standard_normal((7, 2)) + 1
    for p in (1, 2):
        assert quietly(sinkhorn_divergence, x, y, 0.005, p, tolerance=1e-5) == pytest.approx(
            wasserstein(x, y, p) ** p, rel=0.01
        )


# ---- the dual side ---------------------------------------------------------------------------------------------------


@given(seed=seeds, n=st.integers(1, 7), m=st.integers(1, 7))
def test_c_transform_is_its_definition_and_closes_after_two(seed, n, m):
    rng = np.random.default_rng(seed)
    cost, u = rng.standard_normal((n, m)), rng.standard_normal(n)
    v = c_transform(cost, u)
    assert_array_equal(v, [min(cost[i, j] - u[i] for i in range(n)) for j in range(m)])
    back = c_transform(cost.T, v)
    assert (back >= u - 1e-14).all()  # the largest partner of v
    assert_allclose(c_transform(cost, back), v, atol=1e-14)


def test_c_transform_takes_lists():
    assert c_transform([[1.0, 5.0], [2.0, 3.0]], [0.0, 1.0]).tolist() == [1.0, 2.0]


@given(drawn=clouds(2, most=12), seed=seeds, upper=st.booleans())
def test_extension_interpolates_is_1_lipschitz_and_lies_between(drawn, seed, upper):
    (points, _), (z, _) = drawn
    rng = np.random.default_rng(seed)
    values = np.linalg.norm(points - rng.standard_normal(points.shape[1]), axis=1) * rng.uniform(-1, 1)
    f = lambda at: lipschitz_extension(points, values, at, upper)
    assert_allclose(f(points), values, atol=1e-12)
    d = distances(z, points)
    known = (values + d).min(axis=1) if upper else (values - d).max(axis=1)
    assert_allclose(f(z), known, atol=1e-12)
    assert (abs(f(z)[:, None] - f(z)) <= distances(z, z) + 1e-12).all()
    assert (lipschitz_extension(points, values, z) <= lipschitz_extension(points, values, z, upper=True) + 1e-12).all()


def test_extension_of_values_that_are_too_steep_is_1_lipschitz_still():
    points, values, z = [0.0, 1.0], [0.0, 5.0], np.linspace(-3, 3, 50)
    for upper in (False, True):
        found = lipschitz_extension(points, values, z, upper)
        assert (abs(np.diff(found)) <= np.diff(z) + 1e-12).all()
    assert lipschitz_extension(points, values, points).tolist() == [4, 5]
    assert lipschitz_extension(points, values, points, upper=True).tolist() == [0, 1]


@pytest.mark.parametrize("bytes_", [1, 8 * 3, 8 * 3 * 2, 8 * 3 * 5, 8 * 3 * 100])
def test_extension_is_the_same_in_blocks(monkeypatch, bytes_):
    points, z = rng_().standard_normal((3, 2)), rng_(1).standard_normal((10, 2))
    known = lipschitz_extension(points, [0.0, 0.1, 0.2], z)
    monkeypatch.setattr(dual, "BLOCK", bytes_)
    assert_array_equal(lipschitz_extension(points, [0.0, 0.1, 0.2], z), known)


# ---- what is refused -------------------------------------------------------------------------------------------------

SOLVERS = {"emd": emd, "sinkhorn": lambda a, b, cost: sinkhorn(a, b, cost, 1.0)}
BETWEEN = {
    "wasserstein": wasserstein,
    "sliced": sliced_wasserstein,
    "distances": distances,
    "divergence": lambda x, y, **masses: sinkhorn_divergence(x, y, 1.0, **masses),
}
C23 = np.ones((2, 3))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    "arguments, message",
    [
        ((None, None, np.ones((0, 3))), "cost: expected at least one number, got shape (0, 3)"),
        ((None, None, np.ones(3)), "cost: expected a matrix (n, m), got shape (3,)"),
        ((None, None, 1.0), "cost: expected a matrix (n, m), got shape ()"),
        ((None, None, [[1.0, np.nan]]), "cost: expected finite numbers, got nan at [0, 1]"),
        ((None, None, [[1.0, np.inf]]), "cost: expected finite numbers, got inf at [0, 1]"),
        ((None, None, "costs"), "cost: expected an array of real numbers, got str ('costs')"),
        ((None, None, None), "cost: expected an array of real numbers, got NoneType"),
        ((None, None, [[1.0], [1.0, 2.0]]), "cost: expected an array of real numbers, got list"),
        ((None, None, C23 * 1j), "cost: expected an array of real numbers, got ndarray (dtype complex128)"),
        ((None, None, C23 > 0), "cost: expected an array of real numbers, got ndarray (dtype bool)"),
        (([], None, C23), "a: expected at least one number"),
        (([0.5, 0.3, 0.2], None, C23), "a: expected 2 masses, shape (2,), got shape (3,)"),
        ((None, [0.5, 0.5], C23), "b: expected 3 masses, shape (3,), got shape (2,)"),
        (([[0.5], [0.5]], None, C23), "a: expected 2 masses, shape (2,), got shape (2, 1)"),
        ((0.5, None, C23), "a: expected 2 masses, shape (2,), got shape ()"),
        (([0.5, np.nan], None, C23), "a: expected finite numbers, got nan at [1]"),
        ((None, [0.5, 0.5, np.inf], C23), "b: expected finite numbers, got inf at [2]"),
        (([1.5, -0.5], None, C23), "a: expected masses >= 0, got -0.5 at [1]"),
        ((None, [0, 0, 0], C23), "b: expected some mass, got only zeros"),
        (([1e308, 1e308], None, C23), "a: expected masses with a finite sum"),
        ((["x", "y"], None, C23), "a: expected an array of real numbers, got list"),
        ((None, [True, False, True], C23), "b: expected an array of real numbers, got list"),
        (([0.5, 0.5j], None, C23), "a: expected an array of real numbers, got list"),
        (([0.5, 0.25], [0.5, 0.25, 0.125], C23), "a and b: expected the same total mass, got 0.75 and 0.875"),
    ],
)
def test_wrong_masses_and_costs_are_named(solver, arguments, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        SOLVERS[solver](*arguments)


@pytest.mark.parametrize("function", BETWEEN)
@pytest.mark.parametrize(
    "x, y, message",
    [
        (np.ones((0, 2)), np.ones((3, 2)), "x: expected at least one number, got shape (0, 2)"),
        ([], [1.0], "x: expected at least one number, got shape (0,)"),
        ([1.0], [], "y: expected at least one number, got shape (0,)"),
        (3.0, [1.0], "x: expected samples of shape (n, …), got a single number"),
        (None, [1.0], "x: expected an array of real numbers, got NoneType"),
        ([1.0], "abc", "y: expected an array of real numbers, got str"),
        ([[1.0, np.nan]], [[1.0, 2.0]], "x: expected finite numbers, got nan at [0, 1]"),
        ([[1.0, 2.0]], [[np.inf, 2.0]], "y: expected finite numbers, got inf at [0, 0]"),
        (np.ones((2, 2)), np.ones((2, 3)), "y: expected points of 2 numbers, like x, got 3"),
        (np.ones((2, 2)) * 1j, np.ones((2, 3)), "x: expected an array of real numbers, got ndarray (dtype complex128)"),
    ],
)
def test_wrong_samples_are_named(function, x, y, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        BETWEEN[function](x, y)


@pytest.mark.parametrize("function", [wasserstein, sliced_wasserstein, BETWEEN["divergence"]])
def test_wrong_masses_of_samples_are_named(function):
    x = np.ones((2, 2))
    with pytest.raises(ValueError, match=r"^a: expected 2 masses"):
        function(x, x, a=[1.0])
    with pytest.raises(ValueError, match=r"^b: expected masses >= 0"):
        function(x, x, b=[2.0, -1.0])
    with pytest.raises(ValueError, match=r"^a and b: .*got 1 and 3;"):
        function(x, x, a=[0.5, 0.5], b=[1.0, 2.0])


@pytest.mark.parametrize("p", [0.5, 0, -1, np.inf, np.nan, None, "2", [2], 1j])
def test_powers_below_1_and_no_numbers_are_refused(p):
    x = np.ones((2, 2))
    for function in (wasserstein, sliced_wasserstein, distances):
        with pytest.raises(ValueError, match=r"^p: expected "):
            function(x, x, p)
    with pytest.raises(ValueError, match=r"^p: expected "):
        wasserstein_1d([1.0], [2.0], p)
    with pytest.raises(ValueError, match=r"^p: expected 1 or 2"):
        sinkhorn_divergence(x, x, 1.0, p)


@pytest.mark.parametrize("value", [0, -1.0, np.inf, np.nan, None, "1", [1.0], 1j])
def test_epsilon_and_tolerance_must_be_positive(value):
    with pytest.raises(ValueError, match=r"^epsilon: expected a finite number > 0, got"):
        sinkhorn(None, None, C23, value)
    with pytest.raises(ValueError, match=r"^tolerance: expected a finite number > 0, got"):
        sinkhorn(None, None, C23, 1.0, value)


@pytest.mark.parametrize("value", [0, -1, 2.0, True, None, "3"])
def test_counts_must_be_whole_numbers_from_1_on(value):
    with pytest.raises(ValueError, match=r"^n_projections: expected an integer >= 1, got"):
        sliced_wasserstein(np.ones((2, 2)), np.ones((2, 2)), n_projections=value)
    with pytest.raises(ValueError, match=r"^max_iterations: expected an integer >= 1, got"):
        sinkhorn(None, None, C23, 1.0, max_iterations=value)


def test_other_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"^start: expected .* of shape \(3,\), got shape \(2,\)"):
        sinkhorn(None, None, C23, 1.0, start=[0.0, 0.0])
    with pytest.raises(ValueError, match=r"^start: expected finite numbers"):
        sinkhorn(None, None, C23, 1.0, start=[0.0, 0.0, np.nan])
    with pytest.raises(ValueError, match=r"^x: expected points on a line, shape \(n,\), got shape \(2, 3\)"):
        wasserstein_1d(C23, [1.0])
    with pytest.raises(ValueError, match=r"^y: expected points on a line"):
        wasserstein_1d([1.0], 2.0)
    for cost, u in [(C23, np.ones(3)), (C23[0], np.ones(3)), (np.ones((0, 2)), np.ones(0)), (C23, 1.0)]:
        with pytest.raises(ValueError, match=r"^(u: expected 2 numbers|cost: expected )"):
            c_transform(cost, u)
    with pytest.raises(ValueError, match=r"^values: expected 2 numbers"):
        lipschitz_extension([0.0, 1.0], [0.0], [0.5])
    with pytest.raises(ValueError, match=r"^points: expected at least one number"):
        lipschitz_extension([], [0.0], [0.5])
    with pytest.raises(ValueError, match=r"^z: expected points of 1 numbers, like points, got 2"):
        lipschitz_extension([0.0, 1.0], [0.0, 1.0], [[0.5, 0.5]])
    with pytest.raises(ValueError, match=r"^values: expected finite numbers"):
        lipschitz_extension([0.0, 1.0], [0.0, np.nan], [0.5])


OVERFLOWING = {
    "wasserstein": lambda: wasserstein([[1e200, 0.0]], [[-1e200, 0.0]], 2),
    "distances": lambda: distances([[1e200, 0.0]], [[-1e200, 0.0]], 2),
    "powers": lambda: distances([[1e90, 0.0]], [[-1e90, 0.0]], 4),
    "sliced": lambda: sliced_wasserstein([[1.7e308, 0.0]], [[-1.7e308, 0.0]], 2),
    "line": lambda: wasserstein_1d([1.7e308], [-1.7e308], 2),
}


@pytest.mark.parametrize("name", OVERFLOWING)
def test_distances_that_overflow_are_refused(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=r"^x and y: distances (to the power 4 )?overflow; scale the points down"):
            OVERFLOWING[name]()


@pytest.mark.parametrize("name", OVERFLOWING)
def test_overflow_is_an_error_and_no_warning(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="overflow"):
            OVERFLOWING[name]()


def test_a_cost_that_overflows_with_its_mass_is_refused():
    with pytest.raises(ValueError, match=r"^cost: expected numbers up to 1e300, times the mass as well"):
        emd([1e200], [1e200], [[1e200]])


def test_problems_beyond_memory_are_refused_before_anything_is_computed(monkeypatch):
    monkeypatch.setattr(exact, "MOST", 5)
    with pytest.raises(ValueError, match=r"^cost: 2 x 3 numbers are too many .*\(at most 5\)"):
        emd(None, None, C23)
    assert emd(None, None, np.ones((2, 2))).cost == 1
    assert wasserstein(np.arange(9.0), np.arange(9.0) + 1) == pytest.approx(1)  # the line has no limit
    monkeypatch.setattr(exact, "euclidean", None)
    for x, y in [(np.ones((3, 2)), np.ones((3, 2))), (np.ones((2, 2)), np.ones((3, 2)))]:
        with pytest.raises(ValueError, match="^cost: .* too many"):
            wasserstein(x, y)


def test_a_plan_of_another_shape_is_named():
    with pytest.raises(ValueError, match=r"^plan: expected the shape of cost, \(2, 3\), got \(3, 2\)"):
        potentials(np.ones((3, 2)), C23)


# ---- what is accepted ------------------------------------------------------------------------------------------------


def test_float32_masses_may_differ_by_their_rounding():
    a, b = np.full(3, 1 / 3, np.float32), np.full(7, 1 / 7, np.float32)
    assert a.sum(dtype=float) != b.sum(dtype=float)
    total = a.sum(dtype=float)
    found = emd(a, b, np.ones((3, 7)))
    assert found.cost == pytest.approx(total, rel=1e-15) and found.certificate.holds(1e-14)
    assert found.plan.dtype == np.float64
    assert emd(a, b.astype(float) * (1 + 5e-7), np.ones((3, 7))).cost == pytest.approx(total, rel=1e-15)
    assert sinkhorn(a, b, np.ones((3, 7)), 1.0).plan.sum() == pytest.approx(total, rel=1e-9)
    with pytest.raises(ValueError, match="same total mass"):
        emd(a, b * np.float32(1.0001), np.ones((3, 7)))
    fine = np.full(7, 1 / 7)
    emd(np.full(3, 1 / 3), fine * (1 + 5e-10), np.ones((3, 7)))
    with pytest.raises(ValueError, match="same total mass"):
        emd(np.full(3, 1 / 3), fine * (1 + 5e-9), np.ones((3, 7)))


def test_whole_numbers_and_lists_are_accepted():
    assert emd([1, 2], [2, 1], [[0, 1], [1, 0]]).cost == 1
    assert emd(np.array([1, 2], np.uint8), [2, 1], np.array([[0, 1], [1, 0]], np.int8)).cost == 1
    assert wasserstein([[0, 0], [1, 0]], [[0, 3], [1, 3]]) == 3
    assert sliced_wasserstein([0, 1], [3, 4]) == pytest.approx(3)
    assert sinkhorn([1, 1], [1, 1], [[0, 1], [1, 0]], 1).plan.sum() == pytest.approx(2)
    assert sinkhorn_divergence([0, 1], [0, 1], 1) == pytest.approx(0, abs=1e-9)
    assert lipschitz_extension([0, 2], [0, 1], [5]).tolist() == [-2]


def frozen(array):
    array = np.array(array)
    array.flags.writeable = False
    return array


def test_inputs_are_left_alone():
    a, b, cost = map(frozen, example())
    x, y, u = frozen(rng_().random((6, 2))), frozen(rng_(1).random((5, 2))), frozen(rng_(2).random(6))
    given_ = (a, b, cost, x, y, u)
    before = [array.copy() for array in given_]
    plan = emd(a, b, cost)
    entropic_ = sinkhorn(a, b, cost, 0.1, start=frozen(np.zeros(5)))
    potentials(frozen(plan.plan), cost)
    c_transform(cost, u), lipschitz_extension(x, u, y), distances(x, y)
    wasserstein(x, y, 2, a, b), wasserstein_1d(x[:, 0], y[:, 0], 2, a, b), sliced_wasserstein(x, y, 2, 5, 0, a, b)
    sinkhorn_divergence(x, y, 1.0, 2, a, b)
    for array, copy in zip(given_, before):
        assert_array_equal(array, copy)
    for result in (plan.plan, plan.u, plan.v, entropic_.plan, entropic_.u, entropic_.v):
        assert result.flags.writeable and not any(np.shares_memory(result, array) for array in given_)


# ---- on a device -----------------------------------------------------------------------------------------------------

DEVICE = {
    "emd": lambda xp, a, b, cost, x, y: emd(a, b, cost),
    "emd, none": lambda xp, a, b, cost, x, y: emd(None, None, cost),
    "sinkhorn": lambda xp, a, b, cost, x, y: sinkhorn(a, b, cost, 0.1),
    "sinkhorn, small": lambda xp, a, b, cost, x, y: quietly(sinkhorn, a, b, cost, 1e-3, max_iterations=50),
    "sinkhorn, start": lambda xp, a, b, cost, x, y: sinkhorn(a, b, cost, 0.1, start=sinkhorn(a, b, cost, 0.2)),
    "c_transform": lambda xp, a, b, cost, x, y: c_transform(cost, a),
    "distances": lambda xp, a, b, cost, x, y: distances(x, y, 2),
    "lipschitz_extension": lambda xp, a, b, cost, x, y: lipschitz_extension(x, a, y),
    "wasserstein": lambda xp, a, b, cost, x, y: wasserstein(x, y, 2, a, b),
    "wasserstein_1d": lambda xp, a, b, cost, x, y: wasserstein_1d(x[:, 0], y[:, 0], 2, a, b),
    "sliced": lambda xp, a, b, cost, x, y: sliced_wasserstein(x, y, 1, 9),
    "sliced, weighted": lambda xp, a, b, cost, x, y: sliced_wasserstein(x, y, 2, 9, 0, a, b),
    "divergence": lambda xp, a, b, cost, x, y: sinkhorn_divergence(x, y, 1.0, 2, a, b),
}


def parts(result):
    return {f.name: getattr(result, f.name) for f in dataclasses.fields(result)} if hasattr(
        result, "__dataclass_fields__") else {"": result}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", DEVICE)
def test_device_arrays_in_device_arrays_out(name, dtype):
    arrays = [*example(), rng_(1).random((6, 2)), rng_(2).random((5, 2))]
    arrays = [array.astype(dtype) for array in arrays]
    host = parts(DEVICE[name](np, *arrays))
    device = parts(DEVICE[name](strict_xp, *map(strict_xp.asarray, arrays)))
    assert host.keys() == device.keys()
    for key, known in host.items():
        found = device[key]
        if isinstance(known, np.ndarray):
            assert type(found) is StrictArray, key
            assert found.dtype == known.dtype, key
            assert_allclose(found.get(), known, rtol=1e-6, atol=1e-12, err_msg=key)
        elif isinstance(known, float):
            assert type(found) is float and found == pytest.approx(known, rel=1e-6, abs=1e-12), key
        else:
            assert type(found) is type(known), key


def test_results_of_device_arrays_can_be_printed():
    a, b, cost = map(strict_xp.asarray, example())
    assert "certificate holds" in str(emd(a, b, cost))
    assert backend.of(emd(a, b, cost).plan).name == "strict"
