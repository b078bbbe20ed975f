"""Pairs of distributions whose Wasserstein-1 distance and optimal critic are known by construction.

How near does a trained critic come to the best one? On data nobody knows, and the exact distance between two batches is
not that between the distributions. Korotin, Kolesov, Burnaev 2022 ("Kantorovich strikes back! Wasserstein GANs are not
optimal transport?", eqs. 11 and 12) turn it round: first the critic, then two distributions for which it is the best.
The critic is a minimum of K funnels (MinFunnels),

    f*(z) = minₖ ‖z − aₖ‖ + bₖ,      |f*(x) − f*(y)| ≤ ‖x − y‖,      ‖∇f*‖ = 1 almost everywhere.

It cuts space into cells, one for each centre aₖ, and in the cell of aₖ its rays, x = aₖ + r e, are straight lines from
aₖ to the cell's edge at the length R(e). P is uniform on the box [−h, h]^d, and

    T(x) = aₖ + R (r/R)^degree e

moves it along its rays towards the centres (a ray-monotone map). On a ray f* rises by exactly the way travelled, so

    f*(x) − f*(T(x)) = ‖x − T(x)‖      hence      E_P f* − E_T#P f* = E ‖x − T(x)‖.

The left side is at most W₁(P, T#P), by Kantorovich's duality; the right side is at least W₁, because T is one way of
moving P to T#P. So both are W₁, T is an optimal map and f* an optimal critic.

The edge at R is where the ray leaves the box, or where another funnel, of the centre aⱼ, takes over. With c = aⱼ − aₖ
and β = bₖ − bⱼ that is on a branch of a hyperbola:

    s + bₖ = ‖s e − c‖ + bⱼ      ⟺      s = (‖c‖² − β²) / (2 (e·c + β)),      if e·c + β > 0; else never.

Since P is uniform, r has the density d r^(d−1)/R^d on its ray, so that W₁ = d (p − 1)/((d + 1)(d + p)) · E R, with p
the degree.
"""

from functools import cached_property

import numpy as np

from ..backend.checks import generator, integer, points, positive
from ..backend.random import stream

SAMPLES = 400_000  # behind `distance`
BLOCK = 20_000  # points at a time
TRIES = 200  # to find room for one more funnel
BIAS = 0.04  # standard deviation of bₖ, in half widths of the box: 0.1 in the paper's


class Funnels:
    """A pair P (real) and T#P (fake) with known optimal critic: see the top of this file.

    dimension
        d, of the space.
    funnels
        K, of f*; the more, the finer what a critic must learn, and the nearer the two distributions.
    seed
        int: draws the centres (uniform in the box) and the bₖ (normal, with a standard deviation of 0.04 half widths).
        Funnels that would have no cell of their own, |bₖ − bⱼ| ≥ ‖aₖ − aⱼ‖, are drawn anew.
    degree
        ≥ 1: how far points move towards their centre. With 1 they stay; 8 is the paper's.
    half_width
        h of the box [−h, h]^d; 2.5 is the paper's.

    Attributes: ``centres`` (K, d), ``biases`` (K,), float64.

    Everything is drawn as in the authors' code (P is uniform there), but the numbers are others. W₁ of some seeds, and
    theirs: for 4 funnels in d = 2, 8, 32, 128 dimensions 0.86–1.43 (0.82), 1.79–2.09 (1.88), 1.75–1.85 (1.82),
    1.11–1.17 (1.14); for 16 and 64 funnels in the plane 0.43–0.52 (0.47), 0.22–0.26 (0.23).

    Raises ``ValueError`` naming the argument for bad ones, and where so many funnels find no room in the box.

    >>> pair = Funnels(dimension=2, funnels=4, seed=0)
    >>> x = pair.real(5, rng=0)
    >>> np.allclose(pair.critic(x) - pair.critic(pair.push(x)), np.linalg.norm(x - pair.push(x), axis=1))
    True
    """

    def __init__(self, dimension=2, funnels=4, seed=0, degree=8, half_width=2.5):
        self.dimension, self.funnels = integer("dimension", dimension, 1), integer("funnels", funnels, 1)
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
            raise ValueError(f"seed: expected an integer, got {seed!r}")
        self.seed, self.half_width = int(seed), positive("half_width", half_width)
        self.degree = positive("degree", degree)
        if self.degree < 1:
            raise ValueError(f"degree: expected a number >= 1 (below 1 points would move outwards), got {degree!r}")
        self.centres, self.biases = self._draw()

    def __repr__(self):
        size = f"dimension={self.dimension}, funnels={self.funnels}, seed={self.seed}"
        return f"Funnels({size}, degree={self.degree:g}, half_width={self.half_width:g})"

    def _draw(self):
        """Centres and biases, one funnel after the other, without those that would swallow another or be swallowed."""
        centres, biases = np.empty((0, self.dimension)), np.empty(0)
        number = last = 0
        while len(biases) < self.funnels:
            rng = stream(self.seed, f"funnels/{self.dimension}", number)
            a = self.half_width * rng.uniform(-1, 1, self.dimension)
            b = BIAS * self.half_width * rng.standard_normal()
            number += 1
            if (abs(biases - b) < np.linalg.norm(centres - a, axis=1)).all():
                centres, biases, last = np.vstack([centres, a]), np.append(biases, b), number
            elif number - last == TRIES:
                what = f"expected so few that each has its own cell in {self.dimension} dimension(s)"
                raise ValueError(f"funnels: {what}, got {self.funnels}; after {len(biases)} there was no more room")
        return centres, biases

    # ---- the two distributions ------------------------------------------------------------------------------------

    def real(self, n, rng):
        """``n`` points of P, uniform on the box: float64 (n, d).

        ``rng``: a ``numpy.random.Generator`` (which moves on) or an int seed ≥ 0 (the same points each time).
        """
        return self.half_width * generator(rng).uniform(-1, 1, (integer("n", n, 1), self.dimension))

    def fake(self, n, rng):
        """``n`` points of T#P, float64 (n, d): as independent of `real`'s as the two ``rng`` are of each other."""
        return self.push(self.real(n, rng))

    def push(self, x):
        """T(x) of points x (n, d) of the box: float64 (n, d), on the ray of x and nearer to its centre.

        Raises ``ValueError`` for points outside of the box, where there is nothing to move.
        """
        x = self._points("x", x)
        outside = np.argwhere(abs(x) > (1 + 1e-6) * self.half_width)  # so far float32 rounds
        if len(outside):
            value = x[tuple(outside[0])]
            raise ValueError(
                f"x: expected points of the box, |x| <= {self.half_width:g}, got {value:g} in row {outside[0][0]}"
            )
        k, r, ray = self._cells(x)
        share = np.minimum(r / self._edge(k, r, ray), 1)
        return self.centres[k] + ray * share[:, None] ** (self.degree - 1)

    # ---- the optimal critic ---------------------------------------------------------------------------------------

    def critic(self, z):
        """f*(z) of points z (n, d), anywhere: float64 (n,)."""
        return self._heights(self._points("z", z)).min(axis=1)

    def gradient(self, z):
        """∇f*(z) of points z (n, d): float64 (n, d), rows of length 1, away from the centre of the cell.

        On the edge between two cells it is that of one of them; at a centre, where there is none, it is 0.
        """
        _, r, ray = self._cells(self._points("z", z))
        return ray / np.where(r > 0, r, 1)[:, None]

    # ---- the distance ---------------------------------------------------------------------------------------------

    @property
    def distance(self):
        """W₁(P, T#P), a float: the mean of ‖x − T(x)‖ over 400,000 points of a stream of its own, computed once.

        Always the same for the same pair. Its standard error is `distance_error`.
        """
        return self._distance[0]

    @property
    def distance_error(self):
        """The standard error of `distance`, about a thousandth of it."""
        return self._distance[1]

    @cached_property
    def _distance(self):
        moved = []
        for block in range(SAMPLES // BLOCK):
            x = self.real(BLOCK, stream(self.seed, "funnels/distance", block))
            moved.append(np.linalg.norm(x - self.push(x), axis=1))
        moved = np.concatenate(moved)
        return float(moved.mean()), float(moved.std(ddof=1) / np.sqrt(len(moved)))

    # ---- geometry -------------------------------------------------------------------------------------------------

    def _points(self, name, value):
        x = points(name, value)
        if x.shape[1] != self.dimension:
            raise ValueError(f"{name}: expected points of {self.dimension} numbers, got shape {np.shape(value)}")
        return x

    def _heights(self, z):
        """‖z − aₖ‖ + bₖ, (n, K): one funnel after the other, so that no array (n, K, d) is made."""
        return np.stack([np.linalg.norm(z - a, axis=1) + b for a, b in zip(self.centres, self.biases)], axis=1)

    def _cells(self, z):
        """The cell k (n,) of each point, its distance r (n,) from the centre, and z − aₖ (n, d)."""
        k = self._heights(z).argmin(axis=1)
        ray = z - self.centres[k]
        return k, np.linalg.norm(ray, axis=1), ray

    def _edge(self, k, r, ray):
        """R (n,): how long the ray through each point is, from its centre to the edge of the cell or of the box."""
        a, e = self.centres[k], ray / np.where(r > 0, r, 1)[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            walls = np.where(e == 0, np.inf, (np.copysign(self.half_width, e) - a) / e).min(axis=1)
            c = self.centres[:, None] - self.centres  # c[j, k] = aⱼ − aₖ
            beta = self.biases[k][:, None] - self.biases  # (n, K)
            squares = (c * c).sum(axis=-1).T[k] - beta**2
            approach = e @ self.centres.T - (e * a).sum(axis=1, keepdims=True) + beta
            approach[np.arange(len(k)), k] = -1  # its own funnel does not end it
            others = np.where(approach > 0, squares / (2 * approach), np.inf).min(axis=1)
        return np.minimum(walls, others)
