"""Exact optimal transport of weighted point sets: a plan, Kantorovich potentials, and the proof that both are optimal.

The plan comes from SciPy: the assignment solver (Crouse 2016) for equal masses on as many atoms on either side, where
an optimal plan is a permutation (Birkhoff), else the dual simplex method of HiGHS (Huangfu & Hall 2018) on the linear
program. The first gives no potentials and the second only to its tolerance, so `potentials` reads them off the plan:

    uᵢ + vⱼ ≤ Cᵢⱼ everywhere and = where Pᵢⱼ > 0 are difference constraints, that is, lengths of shortest paths: from
    row i to column j costs Cᵢⱼ, and back from j to i, where the plan moves mass, −Cᵢⱼ. The plan is optimal if and only
    if no cycle has negative length (Ahuja, Magnanti, Orlin 1993, theorem 9.1), and then Bellman and Ford's method finds
        vⱼ = minᵢ (Cᵢⱼ − uᵢ),      uᵢ = maxⱼ {Cᵢⱼ − vⱼ : Pᵢⱼ > 0},      over and over,
    in at most as many rounds as there are atoms.
"""

import numpy as np

from . import checks
from .certificate import OptimalTransport, certify
from .one_dimensional import monotone_plan, wasserstein_1d

MOST = 4_000**2  # costs: less than a minute on two cores, and 1.2 GB
REFINEMENTS, GLASS, NEAR = 6, 1e4, 8


def emd(a, b, cost):
    """Optimal transport of masses ``a`` onto ``b`` (earth mover's distance): an `OptimalTransport`.

    a: (n,), b: (m,), masses ≥ 0 with the same total, or None for equal ones (of the other's total, else 1). cost:
    (n, m), finite; it may be negative. The result has ``.cost .dual .plan .u .v .gap .certificate``; arrays are
    float64, on the device of ``cost``; the solution is computed on the host. ``cost`` is that of all the mass: with
    total mass 1, the average.

    Atoms without mass are allowed and get potentials as well. n·m is limited to 16 million (`exact.MOST`).

    Raises ``ValueError`` naming the argument for wrong shapes, NaN or infinite numbers, negative masses, no mass,
    totals that differ (by more than 1e-9 of the total; 1e-5 if a or b is float32: b is then scaled), too large
    problems; ``RuntimeError`` if the solver fails.

    >>> result = emd([0.5, 0.5], [0.25, 0.75], [[0.0, 1.0], [1.0, 0.0]])
    >>> result.cost, result.plan.tolist()
    (0.25, [[0.25, 0.25], [0.0, 0.5]])
    """
    like, cost = cost, checks.cost_matrix(cost)
    a, b = checks.masses(a, b, *cost.shape)
    _check_size(*cost.shape)
    method = "assignment" if len(a) == len(b) and np.ptp(a) == 0 and np.ptp(b) == 0 else "HiGHS"
    # In units of the average mass and the largest cost: tolerances then mean the same for every problem.
    mass_unit, cost_unit = a.sum() / max(cost.shape), np.abs(cost).max() or 1.0
    if max(a.sum(), 1.0) * (cost_unit / 1e300) > 1:
        raise ValueError(f"cost: expected at most 1e300 times the mass, got {cost_unit:g} for mass {a.sum():g}")
    a, b, cost = a / mass_unit, b / mass_unit, cost / cost_unit
    plan, u = _assignment(cost, a) if method == "assignment" else _linear_program(a, b, cost)
    u, v = potentials(plan, cost, u)
    shift = (v @ b - u @ a) / (a.sum() + b.sum())
    u, v = u + shift, v - shift
    both = mass_unit * cost_unit
    return OptimalTransport(
        cost=float((cost * plan).sum() * both),
        dual=float((u @ a + v @ b) * both),
        plan=checks.put(plan * mass_unit, like),
        u=checks.put(u * cost_unit, like),
        v=checks.put(v * cost_unit, like),
        certificate=certify(plan, u, v, a, b, cost, mass_unit, cost_unit),
        method=method,
    )


def potentials(plan, cost, u=None):
    """Kantorovich potentials u (n,), v (m,) that prove ``plan`` (n, m) optimal for ``cost`` (n, m); float64 arrays.

    u: a first guess. If the plan is not optimal there are none: the result is then c-conjugate still, and its
    certificate shows a gap.
    """
    plan, cost = checks.real_array("plan", plan)[0], checks.cost_matrix(cost)
    if plan.shape != cost.shape:
        raise ValueError(f"plan: expected the shape of cost, {cost.shape}, got {plan.shape}")
    i, j = np.nonzero(plan > 0)
    u, close = np.zeros(len(cost)) if u is None else u, 4 * np.finfo(np.float64).eps * np.abs(cost).max()
    used = cost[i, j]
    for _ in range(sum(cost.shape)):
        v = (cost - u[:, None]).min(axis=0)
        raised = u.copy()
        np.maximum.at(raised, i, used - v[j])
        if (raised - u).max() <= close:
            break
        u = raised
    u = (cost - v).min(axis=1)  # atoms without mass, and whom rounding has left behind
    return u, v


def _check_size(n, m):
    if n * m > MOST:
        raise ValueError(
            f"cost: {n:,} x {m:,} numbers are too many for an exact plan (at most {MOST:,}); take fewer points, "
            "sinkhorn, sliced_wasserstein, or wasserstein_1d for points on a line"
        )


def _assignment(cost, a):
    """A permutation, times the mass of an atom."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(cost)
    plan = np.zeros_like(cost)
    plan[rows, columns] = a
    return plan, None


def _linear_program(a, b, cost):
    """A plan and potentials u by HiGHS, refined where its tolerances show: masses or costs of very different sizes.

    The same linear program is solved for a correction of what it has found, under a magnifying glass: with the reduced
    costs C − u − v, which have the same optimal plans, in place of C, and with missing masses in place of a and b
    (iterative refinement: Gleixner, Steffy, Wolter 2016). Units are powers of 2, so that nothing is rounded by them.
    """
    n, plan, u, v = len(a), np.zeros_like(cost), np.zeros(len(a)), np.zeros(len(b))
    mass_unit = cost_unit = 1.0
    used, spare = _shortlist(a, b, cost), n + b.argmax()
    for _ in range(1 + REFINEMENTS):
        missing = (a - plan.sum(axis=1)) / mass_unit, (b - plan.sum(axis=0)) / mass_unit
        reduced = np.minimum((cost - u[:, None] - v) / cost_unit, GLASS)
        step, du = _highs(*missing, reduced, -np.minimum(plan / mass_unit, GLASS), used, spare)
        plan = np.maximum(plan + mass_unit * step, 0)
        u = u + cost_unit * du
        v = (cost - u[:, None]).min(axis=0)
        u = (cost - v).min(axis=1)
        slack = np.where(plan > 0, cost - u[:, None] - v, 0)
        wrong = max(np.abs(a - plan.sum(axis=1)).max(), np.abs(b - plan.sum(axis=0)).max())
        if (plan * slack).sum() > 1e-15 * (1e-1 * a.sum() + (plan * np.abs(cost)).sum()):
            mass_unit, cost_unit = 1.0, _power_of_two(slack.max())
        elif wrong > 1e-15 * (10 + n + len(b)):
            mass_unit = _power_of_two(wrong)
        else:
            break
    return plan, u


def _power_of_two(x):
    return 2.0 ** np.floor(np.log2(x))


def _shortlist(a, b, cost):
    """Pairs (n, m) that an optimal plan is likely to use, and the monotone plan's, so that there is a plan at all."""
    used = _smallest(cost - cost.min(axis=1, keepdims=True), NEAR) | _smallest(cost - cost.min(axis=0), NEAR)
    i, j, _ = monotone_plan(np, a, b)
    used[i, j] = True
    return used


def _smallest(array, k):
    """Where the k smallest numbers of every row and of every column are, (n, m) bool."""
    n, m = array.shape
    found = np.zeros(array.shape, bool)
    found[np.arange(n)[:, None], np.argpartition(array, min(k, m) - 1, axis=1)[:, :k]] = True
    found[np.argpartition(array, min(k, n) - 1, axis=0)[:k], np.arange(m)] = True
    return found


def _highs(a, b, cost, lower, used, spare):
    """Minimise ⟨C, P⟩ over P ≥ lower with row sums a and column sums b, to 1e-10: P (n, m), the rows' duals (n,).

    Only the pairs ``used`` may move anything at first; then the most promising others, whose reduced costs are
    negative, join them (in place), until there are none: few are ever needed (Gottschlich & Schuhmacher 2014). One of
    the n + m equations follows from the others, but for rounding: number ``spare`` is left out.
    """
    from scipy.optimize import linprog
    from scipy.sparse import csr_array

    n, m = cost.shape
    kept, sides = np.delete(np.arange(n + m), spare), np.concatenate([a, b])
    while True:
        i, j = np.nonzero(used)
        ones, pair = np.ones(2 * len(i)), np.tile(np.arange(len(i)), 2)
        sums = csr_array((ones, (np.concatenate([i, n + j]), pair)), shape=(n + m, len(i)))
        found = linprog(
            cost[i, j],
            A_eq=sums[kept],
            b_eq=sides[kept],
            bounds=np.stack([lower[i, j], np.full(len(i), np.inf)], axis=1),
            method="highs-ds",
            options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
        )
        if found.x is None and used.all():
            what = "this should not happen, please report it"
            raise RuntimeError(f"emd: HiGHS found no plan ({found.message}); {what}")
        if found.x is None:
            used[:] = True
            continue
        duals = np.insert(found.eqlin.marginals, spare, 0.0)
        reduced = cost - duals[:n, None] - duals[n:]
        promising = (reduced < -1e-10) & ~used
        if not promising.any():
            break
        used |= promising & _smallest(reduced, NEAR)
    step = np.zeros_like(cost)
    step[i, j] = found.x
    return step, duals[:n]


def mended(xp, plan, a, b):
    """The ``plan`` (n, m) ≥ 0 with row sums a and column sums b, moving as little as may be: what is too much in a row,
    then a column, is scaled down; what is missing is spread over all (Altschuler, Weed, Rigollet 2017, algorithm 2).
    """
    plan = plan * _at_most_one(xp, a, plan.sum(axis=1))[:, None]
    plan = plan * _at_most_one(xp, b, plan.sum(axis=0))
    short_a, short_b = xp.maximum(a - plan.sum(axis=1), 0), xp.maximum(b - plan.sum(axis=0), 0)
    missing = short_a.sum()
    if not missing > 1e-15 * a.sum():  # rounding: a plan with zeros keeps them
        return plan
    return plan + short_a[:, None] * (short_b / missing)


def _at_most_one(xp, wanted, found):
    return xp.minimum(1, wanted / xp.where(found > 0, found, 1))


# ---- between samples -------------------------------------------------------------------------------------------------


def distances(x, y, p=1):
    """Costs dᵢⱼᵖ, d the Euclidean distance of sample i of x (n, …) from sample j of y (m, …): float64 (n, m).

    On the device of x. Computed on the host from direct differences, so close points keep their digits. p ≥ 1.
    Raises ``ValueError`` naming the argument, also where a distance overflows.
    """
    power = checks.power(p)
    with np.errstate(over="ignore"):
        cost = euclidean(checks.points("x", x), checks.points("y", y)) ** power
    if not np.isfinite(cost).all():
        raise ValueError(f"x and y: distances to the power {power:g} overflow; scale the points down")
    return checks.put(cost, x)


def euclidean(x, y, names=("x", "y")):
    """Distances (n, m) of points x (n, d) from y (m, d), float64 on the host."""
    from scipy.spatial.distance import cdist

    checks.same_dimension(x, y, names)
    apart = cdist(x, y)
    if not np.isfinite(apart).all():
        raise ValueError(f"{names[0]} and {names[1]}: distances overflow; scale the points down")
    return apart


def wasserstein(x, y, p=1, a=None, b=None):
    """Wₚ between samples x (n, …) and y (m, …), each a point of weight 1/n, 1/m or of the given masses: a float.

    Wₚ = (min Σ Pᵢⱼ dᵢⱼᵖ)^(1/p), d the Euclidean distance, p ≥ 1, in the units of the points. Samples of one number are
    done in closed form (`wasserstein_1d`, any n), others by `emd`. Total mass other than 1 multiplies the cost.

    This is the distance of the samples. That of their distributions it overestimates: for n points in d > 2 dimensions
    by about n^(−1/d) (Fournier & Guillin 2015), so compare with two samples of one distribution. Raises as `emd`.
    """
    x, y, p = checks.points("x", x), checks.points("y", y), checks.power(p)
    checks.same_dimension(x, y)
    if x.shape[1] == 1:
        return wasserstein_1d(x[:, 0], y[:, 0], p, a, b)
    _check_size(len(x), len(y))
    apart = euclidean(x, y)
    longest = float(apart.max()) or 1.0  # the unit: powers then neither over- nor underflow
    return longest * max(0.0, emd(a, b, (apart / longest) ** p).cost) ** (1 / p)
