"""The dual side: c-transforms, and 1-Lipschitz functions through given values.

    vⱼ = minᵢ (Cᵢⱼ − uᵢ)      the c-transform of u: the largest v with uᵢ + vⱼ ≤ Cᵢⱼ (Villani 2003, § 2.4)

For a distance, C = d, the best potentials are v = −u (Kantorovich & Rubinstein 1958): one 1-Lipschitz function f with

    W₁ = max {E f(x) − E f(y) : f 1-Lipschitz},      f(xᵢ) = uᵢ,   f(yⱼ) = −vⱼ.

Between the points it is free, as far as it stays between the smallest and the largest extension (McShane 1934):

    maxᵢ (f(pᵢ) − d(z, pᵢ))  ≤  f(z)  ≤  minᵢ (f(pᵢ) + d(z, pᵢ))
"""

import numpy as np

from ..backend import checks
from .problem import cost_matrix

BLOCK = 2**24  # bytes of distances at a time


def c_transform(cost, u):
    """vⱼ = minᵢ (Cᵢⱼ − uᵢ): cost (n, m), u (n,) → v (m,), float64 on the device of ``cost``. For v ↦ u pass ``cost.T``.

    Raises ``ValueError`` naming the argument.
    """
    like, cost, u = cost, cost_matrix(cost), checks.real_array("u", u)
    if u.shape != cost.shape[:1]:
        raise ValueError(
            f"u: expected {len(cost)} numbers, one for each row of cost {cost.shape}, got shape {u.shape}; "
            "for the transform of v pass cost.T"
        )
    return checks.put((cost - u[:, None]).min(axis=0), like)


def lipschitz_extension(points, values, z, upper=False):
    """The smallest 1-Lipschitz function through ``values`` (n,) at ``points`` (n, …), evaluated at z (k, …): (k,).

    upper: the largest one. float64, on the device of z. If the values themselves are not 1-Lipschitz on the points, the
    function is so still, and above (upper: below) some of them. Raises ``ValueError`` naming the argument.
    """
    values = checks.real_array("values", values)
    near, distance = active_cone(points, values, z, upper)
    return checks.put(values[near] + (distance if upper else -distance), z)


def active_cone(points, values, z, upper=False, names=("points", "z")):
    """Which point's cone is the extension at z (k, …): its number (k,) and distance (k,), NumPy arrays.

    The extension's gradient at z is the unit vector towards that point (upper: away from it). By blocks: the distances
    are never all in memory at once.
    """
    from scipy.spatial.distance import cdist

    points, z = checks.points("points", points), checks.points("z", z)
    checks.same_dimension(points, z, names)
    if np.shape(values) != (len(points),):
        raise ValueError(f"values: expected {len(points)} numbers, one for each point, got shape {np.shape(values)}")
    rows, near, distance = max(1, BLOCK // (8 * len(points))), [], []
    for first in range(0, len(z), rows):
        d = cdist(z[first : first + rows], points)
        best = (values + d).argmin(axis=1) if upper else (values - d).argmax(axis=1)
        near.append(best)
        distance.append(d[np.arange(len(best)), best])
    return np.concatenate(near), np.concatenate(distance)
