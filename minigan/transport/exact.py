"""Exact optimal transport of weighted point sets: a plan, Kantorovich potentials, and the proof that both are optimal.

The plan comes from SciPy: from the assignment solver (Crouse 2016) for equal masses on as many atoms on either side,
where an optimal plan is a permutation (Birkhoff), else from `linear_program`. The first gives no potentials, so
`potentials` reads them off the plan:

    uᵢ + vⱼ ≤ Cᵢⱼ everywhere and = where Pᵢⱼ > 0 are difference constraints, that is, lengths of shortest paths: from
    row i to column j costs Cᵢⱼ, and back from j to i, where the plan moves mass, −Cᵢⱼ. The plan is optimal if and only
    if no cycle has negative length (Ahuja, Magnanti, Orlin 1993, theorem 9.1), and then Bellman and Ford's method finds
        vⱼ = minᵢ (Cᵢⱼ − uᵢ),      uᵢ = maxⱼ {Cᵢⱼ − vⱼ : Pᵢⱼ > 0},      over and over,
    in at most as many rounds as there are atoms.
"""

import warnings

import numpy as np

from ..backend import checks
from .certificate import OptimalTransport, certify
from .linear_program import transport_program
from .one_dimensional import wasserstein_1d
from .problem import cost_matrix, masses, power

MOST = 4_000**2  # costs: about a minute on two cores, and 1.4 GB
DISTANCES = 2**27  # 1 GiB of them


def emd(a, b, cost):
    """Optimal transport of masses ``a`` onto ``b`` (earth mover's distance): an `OptimalTransport`.

    a: (n,), b: (m,), masses ≥ 0 with the same total, or None for equal ones (of the other's total, else 1). cost:
    (n, m), finite; it may be negative. The result has ``.cost .dual .plan .u .v .gap .certificate``; arrays are
    float64, on the device of ``cost``; the solution is computed on the host. ``cost`` is that of all the mass: with
    total mass 1, the average.

    Atoms without mass are allowed and get potentials as well. n·m is limited to 16 million (`exact.MOST`).

    Raises ``ValueError`` naming the argument for wrong shapes, NaN or infinite numbers, negative masses, no mass,
    totals that differ (by more than 1e-9 of the total; 1e-5 if a or b is float32, 1e-2 if float16: b is then scaled),
    too large problems; ``RuntimeError`` if the solver fails.

    >>> result = emd([0.5, 0.5], [0.25, 0.75], [[0.0, 1.0], [1.0, 0.0]])
    >>> result.cost, result.plan.tolist()
    (0.25, [[0.25, 0.25], [0.0, 0.5]])
    """
    like, cost = cost, cost_matrix(cost)
    a, b = masses(a, b, *cost.shape)
    check_size(*cost.shape)
    equal = len(a) == len(b) and np.ptp(a) == 0 and np.ptp(b) == 0
    rows, columns = a > 0, b > 0
    pairs, total, largest = np.ix_(rows, columns), a.sum(), np.abs(cost).max()
    if max(largest, total) > 1e300 or np.abs(cost[pairs]).max() * (total / 1e300) > 1:
        raise ValueError(f"cost: expected numbers up to 1e300, times the mass as well, got {largest:g}, mass {total:g}")
    plan = np.zeros_like(cost)
    plan[pairs], u = _solve(a[rows], b[columns], cost[pairs], equal)
    # Atoms without mass get what the others leave them, and must not round the others' by huge costs of their own.
    v = (cost[rows] - u[:, None]).min(axis=0)
    u = np.where(rows, (cost[:, columns] - v[columns]).min(axis=1), (cost - v).min(axis=1))
    shift = (v @ b - u @ a) / (a.sum() + b.sum())
    u, v = u + shift, v - shift
    return OptimalTransport(
        cost=float((cost * plan).sum()),
        dual=float(u @ a + v @ b),
        plan=checks.put(plan, like),
        u=checks.put(u, like),
        v=checks.put(v, like),
        certificate=certify(plan, u, v, a, b, cost),
        method="assignment" if equal else "HiGHS" if min(plan[pairs].shape) > 1 else "one atom",
    )


def _solve(a, b, cost, equal):
    """A plan and potentials u for positive masses, in units of the average mass and the largest cost: tolerances then
    mean the same for every problem.
    """
    mass_unit, cost_unit = a.sum() / max(cost.shape), np.abs(cost).max() or 1.0
    a, b, cost = a / mass_unit, b / mass_unit, cost / cost_unit
    if equal or 1 in cost.shape:
        plan = _assignment(cost) * a if equal else np.outer(a, b / a.sum())  # to or from one atom there is one way
        u, _ = potentials(plan, cost)
    else:
        plan, u, _ = transport_program(a, b, cost)
    return plan * mass_unit, u * cost_unit


def potentials(plan, cost):
    """Kantorovich potentials u (n,), v (m,) that prove ``plan`` (n, m) optimal for ``cost`` (n, m); float64 arrays.

    If the plan is not optimal there are none: the result is then c-conjugate still, and its certificate shows a gap.
    """
    plan, cost = checks.real_array("plan", plan), cost_matrix(cost)
    if plan.shape != cost.shape:
        raise ValueError(f"plan: expected the shape of cost, {cost.shape}, got {plan.shape}")
    i, j = np.nonzero(plan > 0)
    u, v, used = np.zeros(len(cost)), cost.min(axis=0), cost[i, j]
    for _ in range(sum(cost.shape)):
        raised = u.copy()
        np.maximum.at(raised, i, used - v[j])
        rows = raised > u
        # Rounding of what is in use: a huge cost that forbids a pair is not.
        scale = max(np.abs(used).max(initial=0), np.abs(v).max(), np.abs(raised).max())
        if not rows.any() or (raised - u).max() <= 4 * np.finfo(np.float64).eps * scale:
            break
        u = raised
        v = np.minimum(v, (cost[rows] - u[rows, None]).min(axis=0))  # only their minima can have changed
    return (cost - v).min(axis=1), v  # u anew: for atoms without mass, and whom rounding has left behind


def check_size(n, m):
    """Raise where an exact plan of n x m is too much."""
    if n * m > MOST:
        raise ValueError(
            f"cost: {n:,} x {m:,} numbers are too many for an exact plan (at most {MOST:,}); take fewer points, "
            "sinkhorn, sliced_wasserstein, or wasserstein_1d for points on a line"
        )


def _assignment(cost):
    """A permutation matrix."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(cost)
    plan = np.zeros_like(cost)
    plan[rows, columns] = 1
    return plan


# ---- between samples -------------------------------------------------------------------------------------------------


def distances(x, y, p=1):
    """Costs dᵢⱼᵖ, d the Euclidean distance of sample i of x (n, …) from sample j of y (m, …): float64 (n, m).

    On the device of x. Computed on the host from direct differences, so close points keep their digits. p ≥ 1.
    Raises ``ValueError`` naming the argument, also where a distance overflows.
    """
    p = power(p)
    with np.errstate(over="ignore"):
        cost = euclidean(checks.points("x", x), checks.points("y", y)) ** p
    if not np.isfinite(cost).all():
        raise ValueError(f"x and y: distances to the power {p:g} overflow; scale the points down")
    return checks.put(cost, x)


def euclidean(x, y, names=("x", "y")):
    """Distances (n, m) of points x (n, d) from y (m, d), float64 on the host."""
    from scipy.spatial.distance import cdist

    checks.same_dimension(x, y, names)
    if len(x) * len(y) > DISTANCES:
        raise ValueError(
            f"{names[0]} and {names[1]}: {len(x):,} x {len(y):,} distances are too many; take fewer points"
        )
    apart = cdist(x, y)
    if not np.isfinite(apart).all():
        raise ValueError(f"{names[0]} and {names[1]}: distances overflow; scale the points down")
    return apart


def wasserstein(x, y, p=1, a=None, b=None):
    """Wₚ between samples x (n, …) and y (m, …), each a point of weight 1/n, 1/m or of the given masses: a float.

    Wₚ = (min Σ Pᵢⱼ dᵢⱼᵖ)^(1/p), d the Euclidean distance, p ≥ 1, in the units of the points. Samples of one number are
    done in closed form (`wasserstein_1d`, any n), others by `emd`, ten times faster for as many x as y. A total mass
    other than 1 multiplies the cost.

    This is the distance of the samples. That of their distributions it overestimates: for n points in d > 2 dimensions
    by about n^(−1/d) (Fournier & Guillin 2015), so compare with two samples of one distribution. Raises as `emd`. Warns
    where the plan's certificate does not hold: with p above 30 or so costs are of too different sizes.
    """
    x, y, p = checks.points("x", x), checks.points("y", y), power(p)
    checks.same_dimension(x, y)
    if x.shape[1] == 1:
        return wasserstein_1d(x[:, 0], y[:, 0], p, a, b)
    check_size(len(x), len(y))
    apart = euclidean(x, y)
    longest = float(apart.max()) or 1.0  # the unit: powers then neither over- nor underflow
    found = emd(a, b, (apart / longest) ** p)
    if not found.certificate.holds(1e-6):
        warnings.warn(
            f"wasserstein: the distance is an upper bound only, with p = {p:g} the plan could not be proved optimal "
            f"(gap {found.certificate.relative['gap']:.1e} of the cost)",
            stacklevel=2,
        )
    return longest * max(0.0, found.cost) ** (1 / p)
