"""Exactness of optimal transport where it is hardest won: many sizes at once, weak solvers' gaps, rays, gradients.

Every test here was written against a planted mistake that the other tests of `transport` let through.
"""

import dataclasses
import math
import warnings

import numpy as np
import pytest
import scipy.optimize
from numpy.testing import assert_allclose, assert_array_equal

import minigan as mg
from minigan.transport import (
    OptimalCritic,
    critic_gap,
    distances,
    emd,
    linear_program,
    potentials,
    sinkhorn,
    sliced_wasserstein,
    wasserstein,
    wasserstein_1d,
)
from minigan.transport.certificate import certify


@pytest.fixture(autouse=True)
def rounds(monkeypatch):
    """The sizes of the lists that HiGHS got, of the last linear program; a loop that does not end is an error."""
    linprog, highs, rounds = scipy.optimize.linprog, linear_program._highs, []

    def counted_linprog(cost, **settings):
        rounds.append(len(cost))
        assert len(rounds) < 100, "the loop does not end"
        return linprog(cost, **settings)

    def counted_highs(*arguments):
        rounds.clear()
        return highs(*arguments)

    monkeypatch.setattr(scipy.optimize, "linprog", counted_linprog)
    monkeypatch.setattr(linear_program, "_highs", counted_highs)
    return rounds


# ---- costs and masses of all sizes -----------------------------------------------------------------------------------

COST_EXPONENTS = {
    "of all sizes": lambda rng, n, m: rng.integers(-50, 1, (n, m)),
    "rows of all sizes": lambda rng, n, m: rng.integers(-40, 1, (n, 1)) + np.zeros((n, m), int),
    "rows and columns of all sizes": lambda rng, n, m: rng.integers(-25, 1, (n, 1)) + rng.integers(-25, 1, (1, m)),
}


def dyadic_problem(kind, seed):
    """Masses over 12 decades and costs over 12 to 15, small whole numbers times powers of 2: their totals are equal."""
    rng = np.random.default_rng([seed, len(kind)])
    n, m = rng.integers(2, 8, 2)
    a, b = (rng.integers(1, 9, k) * 2.0 ** rng.integers(-40, 1, k) for k in (n, m))
    short, missing = (a, b.sum() - a.sum()) if a.sum() < b.sum() else (b, a.sum() - b.sum())
    short[short.argmax()] += missing
    return a, b, rng.integers(1, 9, (n, m)) * 2.0 ** COST_EXPONENTS[kind](rng, n, m)


def whole_numbers_cost(a, b, cost):
    """The least cost by shortest augmenting paths in whole numbers, of any length: nothing is rounded."""
    a, b = [int(x * 2.0**60) for x in a], [int(x * 2.0**60) for x in b]
    cost = [[int(x * 2.0**60) for x in row] for row in cost.tolist()]
    n, m, plan, paid = len(a), len(b), {}, 0
    assert sum(a) == sum(b)
    while any(a):
        far, before, changed = [0 if mass else math.inf for mass in a] + [math.inf] * m, {}, True
        while changed:
            changed = False
            for i in range(n):
                for j in range(n, n + m):
                    c = cost[i][j - n]
                    for start, end, length in [(i, j, c)] + [(j, i, -c)] * (plan.get((i, j), 0) > 0):
                        if far[start] + length < far[end]:
                            far[end], before[end], changed = far[start] + length, start, True
        path = [min((j for j in range(n, n + m) if b[j - n]), key=far.__getitem__)]
        length = far[path[0]]
        while path[-1] in before:
            path.append(before[path[-1]])
        path.reverse()
        steps = list(zip(path, path[1:]))
        mass = min([a[path[0]], b[path[-1] - n]] + [plan[end, start] for start, end in steps if start >= n])
        for start, end in steps:
            pair, sign = ((start, end), 1) if start < n else ((end, start), -1)
            plan[pair] = plan.get(pair, 0) + sign * mass
        a[path[0]] -= mass
        b[path[-1] - n] -= mass
        paid += mass * length
    return paid / 2**120


@pytest.mark.parametrize("kind", COST_EXPONENTS)
def test_costs_and_masses_of_all_sizes_are_solved_to_the_digits_of_the_cost_itself(kind):
    for seed in range(50):
        a, b, cost = dyadic_problem(kind, seed)
        found = emd(a, b, cost)
        assert abs(found.cost - found.dual) <= 1e-9 * found.cost, seed
        assert found.cost == pytest.approx(whole_numbers_cost(a, b, cost), rel=1e-9, abs=0), seed
        assert found.certificate.holds(1e-9), seed


def test_a_wrong_plan_or_wrong_potentials_beside_a_huge_cost_do_not_hold():
    """Neither pays the huge cost: what is wrong is to be seen in units of what is paid."""
    huge, third = 1e16, np.full(3, 1 / 3)
    cost = np.array([[0.0, 1, huge], [1, 0, huge], [huge, huge, 0]])
    right, wrong, zeros = np.eye(3) / 3, np.eye(3)[[1, 0, 2]] / 3, np.zeros(3)
    assert certify(right, zeros, zeros, third, third, cost).holds(0)
    found = certify(wrong, zeros, zeros, third, third, cost)
    assert found.gap == found.slack == pytest.approx(2 / 3)
    assert found.relative["gap"] > 0.1 and found.relative["slack"] > 0.1 and not found.holds()
    found = certify(right, np.array([0.5, 0, 0]), zeros, third, third, cost)
    assert found.infeasible == 0.5 and found.relative["infeasible"] > 0.1 and not found.holds()
    found = certify(right, np.array([-0.5, 0, 0]), zeros, third, third, cost)  # admissible, but not tight
    assert found.relative["slack"] > 0.1 and found.relative["gap"] > 0.1 and found.relative["infeasible"] == 0


@pytest.mark.parametrize("where", ["row", "column", "both"])
@pytest.mark.parametrize("equal", [True, False])
def test_costs_of_atoms_without_mass_are_no_unit(where, equal):
    for seed in range(6):
        a, b, cost, known = with_atoms_without_mass(where, equal, seed, 1e300)
        found = emd(a, b, cost)
        assert found.cost == pytest.approx(known.cost, rel=1e-12)
        assert_array_equal(found.plan[a > 0][:, b > 0] > 0, known.plan > 0)
        assert found.plan[a == 0].sum() == found.plan[:, b == 0].sum() == 0
        if where == "row":
            assert found.dual == pytest.approx(known.cost, rel=1e-12) and found.certificate.holds(1e-12)


@pytest.mark.parametrize("huge", [1e10, 1e16, 1e300])
@pytest.mark.parametrize("where", ["column", "both"])
def test_costs_of_columns_without_mass_do_not_round_the_potentials(where, huge):
    for seed in range(6):
        a, b, cost, known = with_atoms_without_mass(where, False, seed, huge)
        found = emd(a, b, cost)
        assert found.dual == pytest.approx(known.cost, rel=1e-12) and found.certificate.holds(1e-12)


def with_atoms_without_mass(where, equal, seed, huge):
    """Masses, costs, and the transport without the row and the column that have no mass and huge costs."""
    rng = np.random.default_rng(seed)
    a, b, cost = rng.random(5), rng.random(5), rng.random((5, 5))
    a, b = (np.ones(5), np.ones(5)) if equal else (a / a.sum(), b / b.sum())
    known = emd(a, b, cost)
    if where != "column":
        a, cost = np.insert(a, 2, 0), np.insert(cost, 2, huge, axis=0)
    if where != "row":
        b, cost = np.insert(b, 4, 0), np.insert(cost, 4, huge, axis=1)
    return a, b, cost, known


# ---- a far atom without mass -----------------------------------------------------------------------------------------


def test_no_power_of_the_way_to_an_atom_without_mass_is_taken():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = wasserstein_1d([0, 1, 1e5], [0, 1.5], 100, [0.5, 0.5, 0], [0.5, 0.5])
        assert found == pytest.approx(0.5 * 0.5**0.01, rel=1e-12)
        found = wasserstein_1d([0, 1.5], [1e5, 0, 1], 100, [0.5, 0.5], [0, 0.5, 0.5])
        assert found == pytest.approx(0.5 * 0.5**0.01, rel=1e-12)
        x, y = np.array([[0.0, 0], [1, 0], [1e5, 1e5]]), np.array([[0.0, 0], [1.5, 0]])
        for p in (1, 2, 100):
            known = sliced_wasserstein(x[:2], y, p, 20)
            assert sliced_wasserstein(x, y, p, 20, a=[0.5, 0.5, 0], b=[0.5, 0.5]) == pytest.approx(known, rel=1e-12)
            assert sliced_wasserstein(y, x, p, 20, a=[0.5, 0.5], b=[0.5, 0.5, 0]) == pytest.approx(known, rel=1e-12)


# ---- potentials at the end of long chains ----------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 10, 60, 150])
def test_potentials_reach_the_end_of_long_chains(n):
    """Of a line moved along itself all nearest points are one end: potentials come from there, atom by atom."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        line = np.sort(rng.random(n))[:, None] * [1.0, 1.0]
        order = rng.permutation(n)
        cost, plan, ones = distances(line, line[order] + 7, 2), np.eye(n)[:, order], np.ones(n)
        u, v = potentials(plan, cost)
        found = certify(plan, u, v, ones, ones, cost)
        assert found.holds(1e-13), found
        assert u.sum() + v.sum() == pytest.approx(98 * n, rel=1e-13)
        assert emd(None, None, cost).cost == pytest.approx(98, rel=1e-13)
        assert emd(None, None, cost).certificate.holds(1e-13)


# ---- column generation -----------------------------------------------------------------------------------------------


def moved_far(rng, n, m):
    """Points on a line, in no order, far from the others: the nearest are the same ones for all."""
    return (rng.random((n, 1)) - rng.random(m) - 7) ** 2


def shifted(rng, n, m):
    """Rows and columns with large costs of their own."""
    return rng.random((n, m)) + 50 * rng.random((n, 1)) + 50 * rng.random(m)


def blocks(rng, n, m):
    """Cheap within blocks that have not the same masses on both sides, and in no order."""
    return np.where(rng.integers(0, 3, (n, 1)) == rng.integers(0, 3, m), 0, 10) + rng.random((n, m))


def products(rng, n, m):
    """−xᵢ yⱼ: all want the same few."""
    return -rng.lognormal(size=(n, 1)) * rng.lognormal(size=m)


@pytest.mark.parametrize("near, refinements, digits", [(1, 6, 1e-12), (1, 0, 1e-9), (2, 0, 1e-9)])
@pytest.mark.parametrize("costs", [moved_far, shifted, blocks, products])
def test_a_short_shortlist_does_not_change_the_optimum(costs, near, refinements, digits, monkeypatch, rounds):
    """Without refinements, too: they would mend what was left undone."""
    monkeypatch.setattr(linear_program, "NEAR", near)
    monkeypatch.setattr(linear_program, "REFINEMENTS", refinements)
    for seed in range(6):
        rng = np.random.default_rng(seed)
        n, m = rng.integers(8, 15, 2)
        cost = costs(rng, n, m)
        a, b = rng.random(n), rng.random(m)
        a, b = a / a.sum(), b / b.sum()
        found = emd(a, b, cost)
        assert max(rounds) < n * m  # there was no need of all pairs
        sums = np.concatenate([np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))])
        rounds.clear()
        known = scipy.optimize.linprog(cost.ravel(), A_eq=sums[1:], b_eq=np.concatenate([a, b])[1:]).fun
        assert found.cost == pytest.approx(known, rel=1e-9)
        assert found.certificate.holds(digits)


@pytest.mark.parametrize("costs", [moved_far, products])
def test_the_shortlist_may_miss_nearly_every_pair_of_the_optimum(costs, monkeypatch):
    """The assignment solver knows the optimum, of whose pairs all but two or three must be found on the way."""
    monkeypatch.setattr(linear_program, "NEAR", 1)
    n, missed, ones = 10, 0, np.ones(10)
    for seed in range(8):
        cost = costs(np.random.default_rng(seed), n, n)
        best = emd(ones, ones, cost).plan > 0
        missed += (best & linear_program._shortlist(ones, ones, cost)).sum() <= 3
        plan, u, v = linear_program.transport_program(ones, ones, cost)
        assert_allclose(plan, best, atol=1e-14)
        assert certify(plan, u, v, ones, ones, cost).holds(1e-12)
    assert missed >= 6


# ---- Sinkhorn's lower bound ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("iterations", [1, 3, 200])
@pytest.mark.filterwarnings("ignore:sinkhorn. not converged")
def test_the_lower_bound_is_the_dual_value_of_two_c_transforms(iterations):
    second_counts = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        n, m = rng.integers(2, 9, 2)
        a, b, cost = rng.random(n), rng.random(m), rng.random((n, m))
        a, b = 3 * a / a.sum(), 3 * b / b.sum()
        found = sinkhorn(a, b, cost, [0.5, 0.05][seed % 2], max_iterations=iterations)
        u = np.array([min(cost[i, j] - found.v[j] for j in range(m)) for i in range(n)])
        v = np.array([min(cost[i, j] - u[i] for i in range(n)) for j in range(m)])
        assert found.lower == pytest.approx(u @ a + v @ b, rel=1e-12)
        assert found.lower <= emd(a, b, cost).cost + 1e-12
        second_counts += u @ a + v @ b > u @ a + found.v @ b + 1e-3
    assert second_counts >= 5  # else one transform would have been enough


# ---- the best critic teaches the gradient of the distance ------------------------------------------------------------


def slopes(f, z):
    """∇f at the points z, float64."""
    z = mg.tensor(z, requires_grad=True)
    return mg.grad(mg.sum(f(z)), z)[0].numpy().astype(float)


def rises(f, z, ways, h=1e-6):
    """How fast f(z), a number, rises along each of the ways (k, *z.shape): central differences."""
    return np.array([(f(z + h * way) - f(z - h * way)) / (2 * h) for way in ways])


@pytest.mark.parametrize("dtype, digits", [("float64", 1e-8), ("float32", 1e-6)])
@pytest.mark.parametrize("d", [2, 5])
@pytest.mark.parametrize("seed", range(5))
def test_at_the_samples_the_best_critic_has_the_gradient_of_the_distance(seed, d, dtype, digits):
    rng = np.random.default_rng([seed, d])
    real, fake = (rng.standard_normal((8, d)).astype(dtype) for _ in range(2))
    f, ways = OptimalCritic(real, fake), np.eye(8 * d).reshape(-1, 8, d)
    assert f(mg.tensor(fake)).dtype == dtype
    by_fake = rises(lambda y: wasserstein(real, y), fake.astype(float), ways)
    by_real = rises(lambda x: wasserstein(x, fake), real.astype(float), ways)
    assert_allclose(-slopes(f, fake).ravel() / 8, by_fake, atol=digits)
    assert_allclose(slopes(f, real).ravel() / 8, by_real, atol=digits)


@pytest.mark.parametrize("dtype, digits", [("float64", 1e-8), ("float32", 1e-6)])
@pytest.mark.parametrize("d", [2, 5])
@pytest.mark.parametrize("seed", range(5))
def test_so_it_has_for_masses_of_which_each_goes_one_way(seed, d, dtype, digits):
    """Each real sample's mass goes to one generated sample near it, of the same mass, in another order."""
    rng = np.random.default_rng([seed, d])
    real, order = 3 * rng.standard_normal((8, d)).astype(dtype), rng.permutation(8)
    fake, a = (real + 0.3 * rng.standard_normal((8, d)).astype(dtype))[order], rng.uniform(0.5, 1, 8)
    a /= a.sum()
    b = a[order]
    f, ways = OptimalCritic(real, fake, a, b), rng.standard_normal((4, 8, d))
    assert_array_equal(f.transport.plan.argmax(axis=0), order)
    assert_allclose(f.transport.plan.max(axis=0), b, rtol=1e-9)
    by_fake = rises(lambda y: wasserstein(real, y, a=a, b=b), fake.astype(float), ways)
    by_real = rises(lambda x: wasserstein(x, fake, a=a, b=b), real.astype(float), ways)
    assert_allclose(-(ways * slopes(f, fake) * b[:, None]).sum(axis=(1, 2)), by_fake, atol=10 * digits)
    assert_allclose((ways * slopes(f, real) * a[:, None]).sum(axis=(1, 2)), by_real, atol=10 * digits)


# ---- what critic_gap means over the rays -----------------------------------------------------------------------------


def slope_by_place(slope):
    """A critic ⟨z, slope(z)⟩ whose gradient is ``slope`` (n, d) → (n, d), constant from place to place."""
    return lambda z: mg.sum(z * slope(z.numpy()), axis=1)


@pytest.mark.parametrize("angle", [0.0, 60.0, 150.0])
def test_the_cosine_is_that_of_functions_and_the_slopes_error_does_not_cancel(angle):
    """One ray with slope 1 along it, one with slope 3 at an angle, equal masses."""
    real, fake = np.array([[1.0, 0], [11, 0]]), np.array([[0.0, 0], [10, 0]])
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    found = critic_gap(slope_by_place(lambda z: np.where(z[:, :1] < 5, [1, 0], [3 * c, 3 * s])), real, fake)
    assert found.cosine == pytest.approx((1 + 3 * c) / 2 / math.sqrt((1 + 9) / 2), rel=1e-12)
    assert found.slope_error == pytest.approx(1, rel=1e-12)
    found = critic_gap(slope_by_place(lambda z: np.where(z[:, :1] < 5, [0.5, 0], [1.5 * c, 1.5 * s])), real, fake)
    assert found.slope_error == pytest.approx(0.5, rel=1e-12)  # slopes ½ and 1½: their mean is right


def test_rays_count_by_their_mass():
    """Two real on three generated samples: rays of masses ⅓, ⅓, ⅙, ⅙."""
    real, fake = np.array([[1.0, 0], [101, 0]]), np.array([[0.0, 0], [101, 1], [50, 0]])
    place = lambda z: [z[:, :1] < 1, z[:, :1] < 50, z[:, :1] < 101, z[:, :1] >= 101]
    slope = lambda z: np.select(place(z), np.array([[0.5, 0], [-3, 0], [0, 2], [0, -4]]))
    found = critic_gap(slope_by_place(slope), real, fake)
    inner, square = 0.5 / 3 + 3 / 6 + 0 / 6 + 4 / 3, 0.25 / 3 + 9 / 6 + 4 / 6 + 16 / 3
    assert found.cosine == pytest.approx(inner / math.sqrt(square), rel=1e-12)
    assert found.slope_error == pytest.approx(0.5 / 3 + 2 / 6 + 1 / 6 + 3 / 3, rel=1e-12)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_points_are_spread_over_the_whole_of_the_rays(seed):
    """300 rays from 0 to 1, side by side."""
    n = 300
    rows = 10.0 * np.arange(n)
    real, fake = np.stack([np.ones(n), rows], axis=1), np.stack([np.zeros(n), rows], axis=1)
    quadratic = lambda z: mg.sum(z * z * np.array([0.5, 0.0]), axis=1)  # its gradient's length is the place
    found = critic_gap(quadratic, real, fake, seed)
    mean = 1 - found.slope_error
    square = (mean / found.cosine) ** 2
    assert mean == pytest.approx(1 / 2, abs=4 * math.sqrt(1 / 12 / n))
    assert square == pytest.approx(1 / 3, abs=4 * math.sqrt(4 / 45 / n))
    for low in np.arange(5) / 5:  # a critic that rises in one fifth only tells how many points are there
        inside = lambda z, low=low: ((z >= low) & (z < low + 0.2)) * [1.0, 0.0]
        share = 1 - critic_gap(slope_by_place(inside), real, fake, seed).slope_error
        assert share == pytest.approx(1 / 5, abs=4 * math.sqrt(4 / 25 / n))


@pytest.mark.parametrize("huge", [1e6, 1e12, 1e15, 1e18, 1e200])
def test_forbidden_pairs_do_not_spoil_the_potentials_of_an_assignment(huge):
    found = emd(None, None, [[huge, 0.2, 0.9], [0.3, huge, 0.4], [0.5, 0.1, huge]])
    assert found.cost == pytest.approx((0.2 + 0.4 + 0.5) / 3, rel=1e-12)
    assert found.certificate.holds(1e-12)
    rng = np.random.default_rng(0)
    for n in (6, 40):
        cost = np.where(rng.random((n, n)) < 0.3, huge, rng.random((n, n)))
        cost[np.arange(n), rng.permutation(n)] = 1
        assert emd(None, None, cost).certificate.holds(1e-12)


@pytest.mark.parametrize("p", [8, 24, 64])
def test_high_powers_of_equal_points_are_proved(p):
    x, y = np.random.default_rng(1).standard_normal((2, 40, 2))
    found = emd(None, None, distances(x, y, p))
    assert found.certificate.holds(1e-10)
    assert wasserstein(x, y, p) == pytest.approx(found.cost ** (1 / p), rel=1e-10)


def test_a_distance_that_is_not_proved_warns(monkeypatch):
    x, y = np.random.default_rng(1).standard_normal((2, 12, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        known = wasserstein(x, y, 2)
    bad = emd(None, None, distances(x, y, 2))
    bad = dataclasses.replace(bad, certificate=dataclasses.replace(bad.certificate, relative={"gap": 1e-3}))
    monkeypatch.setattr("minigan.transport.exact.emd", lambda *arguments: bad)
    with pytest.warns(UserWarning, match=r"^wasserstein: the distance is an upper bound only, with p = 2"):
        assert wasserstein(x, y, 2) > 0 and known > 0


@pytest.mark.parametrize("a", [[1.0, 1.6e-19], [0.25, 0.75, 1e-300]])
def test_from_many_atoms_to_one_there_is_one_way(a):
    a, cost = np.array(a), np.arange(len(a))[:, None] * 1.0
    for found in (emd(a, [a.sum()], cost), emd([a.sum()], a, cost.T)):
        assert_array_equal(found.plan.ravel(), a)
        assert found.cost == pytest.approx(a @ cost[:, 0], rel=1e-12)
        assert found.certificate.holds(1e-12) and found.method == "one atom"
    assert emd([1.0], [1.0], [[3.0]]).method == "assignment"
