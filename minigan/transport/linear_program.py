"""The linear program of transport, solved by HiGHS on few pairs, and to rounding.

    min ⟨C, P⟩      over P ≥ 0 with row sums a and column sums b

has n·m unknowns, but an optimal plan uses at most n + m − 1 pairs, and mostly near ones. So only a shortlist is given
to the solver; the potentials it finds price all other pairs, and those that would help, Cᵢⱼ − uᵢ − vⱼ < 0, join the
list (column generation). The solver's answers are right to 1e-10 of the largest numbers, which is little where costs or
masses are of very different sizes; so the same program is solved again for what is left (iterative refinement). That
was seen to work over some thirty decades of costs; beyond, the certificate says if it did not.
"""

import numpy as np

from .one_dimensional import monotone_plan

REFINEMENTS = 6  # at most, of costs and of masses in turn; most problems need none, others one or two
GLASS = 1e4  # largest number seen under the magnifying glass: more is as good as infinite
NEAR = 8  # pairs a row and a column that join the list at a time: 5 and 20 were measured to take as long
CLOSE = 1e-15  # of what is summed: rounding


def transport_program(a, b, cost):
    """An optimal plan (n, m) and potentials u (n,), v (m,), by HiGHS, refined where its tolerances show.

    The same linear program is solved for a correction of what it has found, under a magnifying glass: with the reduced
    costs C − u − v, which have the same optimal plans, in place of C, and with missing masses in place of a and b
    (iterative refinement: Gleixner, Steffy, Wolter 2016). Units are powers of 2, so that nothing is rounded by them.
    """
    n, plan, u, v = len(a), np.zeros_like(cost), np.zeros(len(a)), np.zeros(len(b))
    mass_unit = cost_unit = 1.0
    used, spare = _shortlist(a, b, cost), n + b.argmax()
    for turn in range(1 + REFINEMENTS):
        missing = (a - plan.sum(axis=1)) / mass_unit, (b - plan.sum(axis=0)) / mass_unit
        reduced = np.minimum((cost - u[:, None] - v) / cost_unit, GLASS)
        step, du = _highs(*missing, reduced, -np.minimum(plan / mass_unit, GLASS), used, spare)
        plan = np.maximum(plan + mass_unit * step, 0)
        u = u + cost_unit * du
        v = (cost - u[:, None]).min(axis=0)
        u = (cost - v).min(axis=1)
        slack = np.where(plan > 0, cost - u[:, None] - v, 0)
        wrong = max(np.abs(a - plan.sum(axis=1)).max(), np.abs(b - plan.sum(axis=0)).max())
        paid = (plan * np.abs(cost)).sum() + np.abs(u) @ a + np.abs(v) @ b
        worst = np.unravel_index((plan * slack).argmax(), plan.shape)
        costs_off, masses_off = (plan * slack).sum() > CLOSE * paid, wrong > CLOSE * (10 + n + len(b))
        if costs_off and not (masses_off and turn % 2):
            mass_unit, cost_unit = min(1.0, _power_of_two(plan[worst])), _power_of_two(slack[worst])
        elif masses_off:
            mass_unit = _power_of_two(wrong)
        else:
            break
    return plan, u, v


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
