"""Transport with an entropy: smooth, fast, and biased by as much as one allows (Cuturi 2013).

    OT_ε = min ⟨C, P⟩ + ε KL(P ‖ a⊗b)    over P with row sums a and column sums b,    KL(P‖Q) = Σ P log(P/Q)

has the solution Pᵢⱼ = aᵢ bⱼ exp((uᵢ + vⱼ − Cᵢⱼ)/ε). Sinkhorn's iteration makes the row sums right, then the column
sums, and again; in the logarithm, where nothing overflows for small ε (Peyré & Cuturi 2019, § 4.4):

    uᵢ = −ε log Σⱼ bⱼ exp((vⱼ − Cᵢⱼ)/ε),      vⱼ = −ε log Σᵢ aᵢ exp((uᵢ − Cᵢⱼ)/ε)

Each is a soft minimum: as ε → 0 it becomes the c-transform, and OT_ε the linear program's cost, exponentially slowly to
compute. The Sinkhorn divergence takes the entropy's bias out (Genevay, Peyré, Cuturi 2018; Feydy et al. 2019, eq. 3):

    S_ε(α, β) = OT_ε(α, β) − ½ OT_ε(α, α) − ½ OT_ε(β, β)      ≥ 0, and 0 only for α = β

for costs dᵖ, p = 1 or 2. All this is for total mass 1: another total divides the masses and multiplies the results.
"""

import warnings
from dataclasses import dataclass

import numpy as np

from .. import backend, display
from ..backend import checks
from ..backend.threads import in_charge
from .exact import distances
from .problem import cost_matrix, masses

MOST_ITERATIONS = 10_000
LARGEST = 100.0  # of |log α|, |log β|
SMALLEST = 1e-200  # of K, else 0: it would matter less than e²⁰⁰ · 1e-200 = 1e-113, and denormal numbers are slow


@dataclass(frozen=True, repr=False)
class Sinkhorn:
    """What `sinkhorn` found. ``print(result)`` says how far it came.

    value         OT_ε: the transport's cost and ε times the entropy, by the dual (a lower bound until converged)
    cost          ⟨C, P⟩ of the plan, a float
    plan          P (n, m); its column sums are b, its row sums a up to ``error``
    u, v          the potentials (n,), (m,), float64
    lower, upper  bounds of the exact cost (that without entropy), whether converged or not: the dual value of the
                  c-transforms of v, and the cost of the plan mended to have both sums right
    epsilon       ε, in units of cost
    iterations    done
    error         Σᵢ |Σⱼ Pᵢⱼ − aᵢ| / Σᵢ aᵢ: the share of the mass that is not where it should be
    converged     error ≤ tolerance?
    """

    value: float
    cost: float
    plan: np.ndarray
    u: np.ndarray
    v: np.ndarray
    lower: float
    upper: float
    epsilon: float
    iterations: int
    error: float
    converged: bool

    def __repr__(self):
        n, m = self.plan.shape
        state = "converged" if self.converged else "NOT converged"
        return (
            f"sinkhorn of {n} onto {m} atoms, ε = {self.epsilon:g}: {state} after {self.iterations} iterations "
            f"(error {self.error:.1e})\n"
            f"  OT_ε {self.value:.10g}, cost of its plan {self.cost:.10g}{'' if self.converged else ' (so far)'}\n"
            f"  exact cost between {self.lower:.10g} and {self.upper:.10g}"
        )

    def _repr_html_(self):
        """For notebooks: the same as a table, and a picture of the plan unless it is large."""
        n, m = self.plan.shape
        rows = [
            ("OT_ε", f"{self.value:.10g}"),
            ("cost of its plan", f"{self.cost:.10g}"),
            ("exact cost, at least", f"{self.lower:.10g}"),
            ("exact cost, at most", f"{self.upper:.10g}"),
            ("share of the mass that is not where it should be", f"{self.error:.1e}"),
        ]
        title = f"sinkhorn of {n} onto {m} atoms, ε = {self.epsilon:g}"
        state = f"{'converged' if self.converged else 'NOT converged'} after {self.iterations} iterations"
        return display.html_block(
            display.html_table(rows, right=[1], title=title, note=state),
            display.heat_map(backend.of(self.plan).to_host(self.plan), "plan P"),
        )


def sinkhorn(a, b, cost, epsilon, tolerance=1e-9, max_iterations=MOST_ITERATIONS, start=None):
    """Entropic optimal transport of masses a (n,) onto b (m,) at finite cost (n, m): a `Sinkhorn`.

    a, b: ≥ 0, with the same total, or None for equal masses; they may hold zeros. epsilon: > 0, in units of cost; at a
    hundredth of the typical cost the plan is close to an optimal one. tolerance: of ``error``. start: a `Sinkhorn` of a
    similar problem or a v (m,) to begin with: for small ε go down in steps, each from the last.

    float64, on the device of ``cost``; a huge ε costs ``value`` digits, ε · 1e-16. Warns where it has not converged.
    Raises ``ValueError`` naming the argument.
    """
    xp, total, a, b, cost, u, v, iterations, error = _solve(a, b, cost, epsilon, tolerance, max_iterations, start)
    _warn_unless_small(error, tolerance, iterations, epsilon, "sinkhorn")
    plan = a[:, None] * b * _gibbs(xp, u, v, cost, epsilon)
    lower, upper = _bounds(xp, plan, v, a, b, cost)
    return Sinkhorn(
        value=float(u @ a + v @ b) * total,
        cost=float((cost * plan).sum()) * total,
        plan=plan * total,
        u=u,
        v=v,
        lower=float(lower) * total,
        upper=float(upper) * total,
        epsilon=float(epsilon),
        iterations=iterations,
        error=error,
        converged=bool(error <= tolerance),
    )


def _solve(a, b, cost, epsilon, tolerance, max_iterations, start=None):
    """Check, make the total mass 1, iterate: (xp, the total, a, b, cost, u, v, iterations, error), on cost's device."""
    library, host_cost = backend.of(cost), cost_matrix(cost)
    epsilon, tolerance, limit = _settings(host_cost, epsilon, tolerance, max_iterations)
    host_a, host_b = masses(a, b, *host_cost.shape)
    total, v = float(host_a.sum()), _first_guess(start, host_cost.shape[1])
    a, b, v, cost = (library.asarray(array, np.float64) for array in (host_a / total, host_b / total, v, host_cost))
    with in_charge():  # thousands of small products: two BLAS threads beside a busy process take twenty times as long
        u, v, iterations, error = _iterate(library, a, b, cost, v, epsilon, tolerance, limit)
    return library.xp, total, a, b, cost, u, v, iterations, error


def _settings(cost, epsilon, tolerance, max_iterations):
    """Checked: (epsilon, tolerance, limit)."""
    epsilon, largest = checks.positive("epsilon", epsilon), float(abs(cost).max())
    if epsilon < 1e-300 or largest / epsilon > 1e300:
        raise ValueError(f"epsilon: expected a number that costs up to {largest:g} can be divided by, got {epsilon:g}")
    return epsilon, checks.positive("tolerance", tolerance), checks.integer("max_iterations", max_iterations, 1)


def _warn_unless_small(error, tolerance, iterations, epsilon, what):
    if not error <= tolerance:
        warnings.warn(
            f"{what}: not converged after {iterations} iterations: {error:.1e} of the mass is not where it should "
            f"be (tolerance {tolerance:g}). Take a larger epsilon than {epsilon:g}, more max_iterations, or start "
            "from the result for a larger epsilon",
            stacklevel=3,  # the line that called the public function
        )


def _first_guess(start, m):
    if start is None:
        return np.zeros(m)
    v = checks.real_array("start", getattr(start, "v", start))
    if v.shape != (m,):
        raise ValueError(f"start: expected a result of sinkhorn or a potential v of shape ({m},), got shape {v.shape}")
    return v


def _iterate(library, a, b, cost, v, epsilon, tolerance, limit):
    """(u, v, iterations, error). One step in the logarithm, then plain scaling of the matrix it leaves:

    with Kᵢⱼ = exp((uᵢ + vⱼ − Cᵢⱼ)/ε) the step reads αᵢ = 1/Σⱼ Kᵢⱼ bⱼ βⱼ, βⱼ = 1/Σᵢ Kᵢⱼ aᵢ αᵢ, two products instead of
    2nm exponentials; u + ε log α, v + ε log β are the potentials. Before α or β could overflow they are absorbed into u
    and v, and K is made anew (Schmitzer 2019, § 3.1).
    """
    xp, iteration = library.xp, 0
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        log_a, log_b = xp.log(a), xp.log(b)  # −∞ for atoms without mass
        while True:
            u = _soft_minimum(xp, cost - v, log_b, epsilon, axis=1)
            v = _soft_minimum(xp, cost - u[:, None], log_a[:, None], epsilon, axis=0)
            kernel, alpha, beta = _gibbs(xp, u, v, cost, epsilon), xp.ones(len(a)), xp.ones(len(b))
            kernel = xp.where(kernel < SMALLEST, 0, kernel)
            while True:
                iteration += 1
                rows = kernel @ (b * beta)
                next_alpha = 1 / rows
                next_beta = 1 / ((a * next_alpha) @ kernel)
                wrong = xp.abs(a * (alpha * rows - 1)).sum()
                largest = xp.abs(xp.log(xp.concatenate([next_alpha, next_beta]))).max()
                error, largest = library.to_host(xp.stack([wrong, largest])).tolist()  # one wait for the device
                if error <= tolerance or iteration >= limit:
                    return u + epsilon * xp.log(alpha), v + epsilon * xp.log(beta), iteration, error
                if not largest < LARGEST:
                    break
                alpha, beta = next_alpha, next_beta
            v = v + epsilon * xp.log(beta)


def _gibbs(xp, u, v, cost, epsilon):
    """exp((uᵢ + vⱼ − Cᵢⱼ)/ε); it would overflow only where aᵢ or bⱼ is 0, to which it then does not matter."""
    return xp.exp(xp.minimum((u[:, None] + v - cost) / epsilon, 700))


def _soft_minimum(xp, cost, log_mass, epsilon, axis):
    """−ε log Σ mass · exp(−cost/ε) along an axis, without overflow: the definition of a Sinkhorn step."""
    z = log_mass - cost / epsilon
    top = z.max(axis=axis, keepdims=True)
    return -epsilon * (top.squeeze(axis) + xp.log(xp.exp(z - top).sum(axis=axis)))


def _bounds(xp, plan, v, a, b, cost):
    """Bounds of the exact cost: from c-transforms of v, and from a plan with both sums right."""
    u = (cost - v).min(axis=1)
    v = (cost - u[:, None]).min(axis=0)
    return u @ a + v @ b, (cost * _mended(xp, plan, a, b)).sum()


def _mended(xp, plan, a, b):
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


def sinkhorn_divergence(x, y, epsilon, p=2, a=None, b=None, tolerance=1e-9, max_iterations=MOST_ITERATIONS):
    """S_ε between samples x (n, …) and y (m, …) with costs dᵖ, d the Euclidean distance, p = 1 or 2: a float.

    Masses as in `wasserstein`; epsilon in units of dᵖ. Zero for equal distributions and positive otherwise, whatever ε
    (Feydy et al. 2019, theorem 1); for ε → 0 it becomes Wₚᵖ, for ε → ∞ with p = 1 half the energy distance.
    Runs on the device of x. Warns and raises as `sinkhorn`.
    """
    if p not in (1, 2):
        raise ValueError(f"p: expected 1 or 2 (for others the divergence may be negative), got {p!r}")
    between, x_apart, y_apart = distances(x, y, p), distances(x, x, p), distances(y, y, p)
    a, b = masses(a, b, *between.shape)
    _, total, p, q, _, u, v, iterations, error = _solve(a, b, between, epsilon, tolerance, max_iterations)
    _warn_unless_small(error, tolerance, iterations, epsilon, "sinkhorn_divergence")
    value = float(u @ p + v @ q)
    for mass, apart in ((p, x_apart), (q, y_apart)):
        alone, iterations, error = _to_itself(mass, apart, *_settings(apart, epsilon, tolerance, max_iterations))
        _warn_unless_small(error, tolerance, iterations, epsilon, "sinkhorn_divergence, a distribution to itself")
        value -= alone / 2
    return value * total


def _to_itself(a, cost, epsilon, tolerance, limit):
    """(OT_ε(α, α), iterations, error) for total mass 1: v = u by symmetry, and the mean of u and its update converges
    fast (Feydy et al. 2019, eq. 25).
    """
    xp = backend.xp(cost)
    with np.errstate(divide="ignore"):
        log_a = xp.log(a)
    u, iterations, error = xp.zeros(len(a)), 0, np.inf
    while error > tolerance and iterations < limit:
        iterations += 1
        update = _soft_minimum(xp, cost - u, log_a, epsilon, axis=1)
        error = float(xp.abs(a * xp.expm1(xp.minimum((u - update) / epsilon, 700))).sum())
        u = (u + update) / 2
    return 2 * float(u @ a), iterations, error
