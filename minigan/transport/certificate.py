"""What proves that a transport plan is optimal: the primal, the dual, and how far they are from meeting.

    primal   min  ⟨C, P⟩ = Σᵢⱼ Cᵢⱼ Pᵢⱼ      over P ≥ 0 with row sums a and column sums b
    dual     max  ⟨u, a⟩ + ⟨v, b⟩            over u, v with uᵢ + vⱼ ≤ Cᵢⱼ for all i, j

For every admissible pair ⟨C, P⟩ − ⟨u, a⟩ − ⟨v, b⟩ = Σᵢⱼ Pᵢⱼ (Cᵢⱼ − uᵢ − vⱼ) ≥ 0: any dual is a lower bound of any
primal (weak duality). If the two are equal, both are optimal, whoever found them; and then P moves mass only where
uᵢ + vⱼ = Cᵢⱼ (complementary slackness). (Kantorovich 1942; Peyré & Cuturi 2019, § 2.5 and 3.1.)
"""

from dataclasses import dataclass

import numpy as np

from .. import backend, display

RESIDUALS = {
    "row_sums": ("row sums", "|Σⱼ Pᵢⱼ − aᵢ|"),
    "column_sums": ("column sums", "|Σᵢ Pᵢⱼ − bⱼ|"),
    "negative": ("plan", "−Pᵢⱼ"),
    "infeasible": ("feasibility", "uᵢ + vⱼ − Cᵢⱼ"),
    "slack": ("slackness", "Σ Pᵢⱼ |Cᵢⱼ − uᵢ − vⱼ|"),
    "gap": ("duality gap", "primal − dual"),
}


@dataclass(frozen=True)
class Certificate:
    """The residuals of a plan P (n, m) and potentials u (n,), v (m,), in the units of masses and costs; 0 is perfect.

    row_sums, column_sums  largest |Σⱼ Pᵢⱼ − aᵢ|, |Σᵢ Pᵢⱼ − bⱼ|
    negative               largest −Pᵢⱼ
    infeasible             largest uᵢ + vⱼ − Cᵢⱼ
    slack                  Σᵢⱼ Pᵢⱼ |Cᵢⱼ − uᵢ − vⱼ|: what moves where it should not, times by how much
    gap                    ⟨C, P⟩ − ⟨u, a⟩ − ⟨v, b⟩
    relative               the same as shares: of the mass; of |uᵢ| + |vⱼ| + |Cᵢⱼ|; and of all that is summed,
                           ⟨|C|, P⟩ + ⟨|u|, a⟩ + ⟨|v|, b⟩. A huge cost that no mass pays hides nothing
    """

    row_sums: float
    column_sums: float
    negative: float
    infeasible: float
    slack: float
    gap: float
    relative: dict

    def holds(self, tolerance=1e-9):
        """Are all relative residuals at most ``tolerance``? Then the cost is optimal to about as much."""
        return all(residual <= tolerance for residual in self.relative.values())

    def __str__(self):
        rows = [f"  {'certificate':<38}{'residual':>10}{'relative':>11}"]
        rows += [f"  {a:<14}{b:<24}{residual:>10}{share:>11}" for a, b, residual, share in self._rows()]
        return "\n".join(rows)

    def _rows(self):
        residuals = RESIDUALS.items()
        return [(*words, f"{getattr(self, key):.1e}", f"{self.relative[key]:.1e}") for key, words in residuals]

    def _repr_html_(self):
        """For notebooks: the same table."""
        return display.html_table(self._rows(), ("certificate", "", "residual", "relative"), (2, 3))


@dataclass(frozen=True, repr=False)
class OptimalTransport:
    """An optimal plan with its proof. ``print(result)`` shows both problems and the certificate.

    cost         ⟨C, P⟩, the primal's value, a float
    dual         ⟨u, a⟩ + ⟨v, b⟩, a float
    plan         P (n, m): how much goes from atom i to atom j
    u, v         Kantorovich potentials (n,), (m,), float64; v is the c-transform of u and u that of v. They are
                 determined up to a constant (and more, where the optimum is not unique): here ⟨u, a⟩ = ⟨v, b⟩
    gap          cost − dual
    certificate  all residuals
    method       who found the plan: "assignment", "HiGHS", or nobody had to: "one atom"
    """

    cost: float
    dual: float
    plan: np.ndarray
    u: np.ndarray
    v: np.ndarray
    certificate: Certificate
    method: str

    @property
    def gap(self):
        """Primal minus dual: 0 up to rounding."""
        return self.certificate.gap

    def __repr__(self):
        n, m = self.plan.shape
        return f"OptimalTransport(cost={self.cost:.10g}, gap={self.gap:.1e}, {n} x {m}, by {self.method})"

    def __str__(self):
        n, m = self.plan.shape
        return "\n".join(
            [
                f"optimal transport of {n} onto {m} atoms, by {self.method}",
                f"  {'primal  ⟨C, P⟩':<24}{self.cost!r:>24}",
                f"  {'dual    ⟨u, a⟩ + ⟨v, b⟩':<24}{self.dual!r:>24}",
                str(self.certificate),
                f"  {self._verdict()}",
            ]
        )

    def _verdict(self):
        return f"the certificate {'holds' if self.certificate.holds() else 'DOES NOT HOLD'} to 1e-9 (relative)"

    def _repr_html_(self):
        """For notebooks: both problems, the certificate, and a picture of the plan unless it is large."""
        n, m = self.plan.shape
        title = f"optimal transport of {n} onto {m} atoms, by {self.method}"
        rows = [("primal", "⟨C, P⟩", repr(self.cost)), ("dual", "⟨u, a⟩ + ⟨v, b⟩", repr(self.dual))]
        return display.html_block(
            display.html_table(rows, right=[2], title=title, note=self._verdict()),
            self.certificate._repr_html_(),
            display.heat_map(backend.of(self.plan).to_host(self.plan), "plan P"),
        )


def certify(plan, u, v, a, b, cost):
    """The `Certificate` of a plan and potentials (float64 arrays on the host) for masses a, b and cost (n, m)."""
    reduced = cost - u[:, None] - v
    sizes = np.abs(u)[:, None] + np.abs(v) + np.abs(cost)
    mass, paid = a.sum(), (np.abs(cost) * plan).sum() + np.abs(u) @ a + np.abs(v) @ b
    found = {
        "row_sums": np.abs(plan.sum(axis=1) - a).max(),
        "column_sums": np.abs(plan.sum(axis=0) - b).max(),
        "negative": max(-plan.min(), 0.0),  # NaN stays NaN
        "infeasible": max(-reduced.min(), 0.0),
        "slack": np.abs(plan * reduced).sum(),
        "gap": (cost * plan).sum() - (u @ a + v @ b),
    }
    units = {"row_sums": mass, "column_sums": mass, "negative": mass, "slack": paid, "gap": paid}
    relative = {name: abs(found[name]) / (unit or 1.0) for name, unit in units.items()}
    relative["infeasible"] = max((-reduced / np.where(sizes > 0, sizes, 1)).max(), 0.0)
    found = {name: float(value) + 0.0 for name, value in found.items()}  # no −0.0
    return Certificate(**found, relative={name: float(relative[name]) + 0.0 for name in found})
