"""A critic against the exact answer: what a trained critic believes the distance to be, and what it is.

    W₁ = max {E f(x) − E f(y) : f 1-Lipschitz}                       (Kantorovich–Rubinstein duality)

Any critic f gives a lower bound, E f(x) − E f(y) ≤ Lip(f) · W₁. What WGANs call the distance is the left side without
the division: weight clipping makes it far too small, a gradient penalty, which is only a penalty, may make it too large
(Korotin, Kolesov, Burnaev 2022; Stanczuk, Etmann, Kreusser, Schönlieb 2021).

The optimal critic f* falls at rate 1 along the segments on which optimal transport moves mass (transport rays), and
nowhere faster, so its gradient there is known without knowing f*: the unit vector from the generated end to the real
one (Gulrajani et al. 2017, proposition 1). This is the only module of `transport` that knows Tensors.
"""

from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np

from .. import backend, display
from ..autodiff.engine import grad
from ..autodiff.modes import enable_grad
from ..autodiff.tensor import Tensor
from ..backend import checks
from ..backend.random import stream
from ..nn import Module
from ..ops import norm, reshape
from ..ops import sum as total
from .dual import active_cone
from .exact import check_size, emd, euclidean

ROUNDING = 100  # units in the last place of the critic's outputs: differences below that are no slope


@dataclass(frozen=True, repr=False)
class CriticGap:
    """What `critic_gap` found, numbers in the units of the samples. ``print(result)`` explains them.

    exact        W₁ between the two batches, by linear programming
    estimate     E f(real) − E f(fake), what the critic believes; negative where it lags behind the generator
    lipschitz    the critic's empirical Lipschitz constant: its largest slope between a real and a generated sample, or
                 its largest gradient at the samples and on the transport rays
    lower_bound  estimate / lipschitz ≤ exact: on these batches a theorem, up to the outputs' rounding
    cosine       ⟨∇f, ∇f*⟩ / (‖∇f‖ ‖∇f*‖) over the transport rays, norms of L² (Korotin et al. 2022, § 5)
    slope_error  mean | |∇f| − 1 | over the transport rays
    n            (real, generated) samples
    """

    exact: float
    estimate: float
    lipschitz: float
    lower_bound: float
    cosine: float
    slope_error: float
    n: tuple

    def __repr__(self):
        return "\n".join([self._title(), *(f"  {words:<36}{x:>10}{more}" for words, x, more in self._rows())])

    def _title(self):
        return f"critic against exact transport, {self.n[0]} real and {self.n[1]} generated samples"

    def _rows(self):
        share = f"{self.lower_bound / self.exact:>6.0%} of the exact" if self.exact > 0 else ""
        share += " (negative: the critic has it the wrong way round)" if self.estimate < 0 else ""
        return [
            ("exact W₁ between them", f"{self.exact:.4g}", ""),
            ("the critic's estimate", f"{self.estimate:.4g}", ""),
            ("its empirical Lipschitz constant L", f"{self.lipschitz:.4g}", ""),
            ("lower bound estimate / L", f"{self.lower_bound:.4g}", share),
            ("cosine of ∇f and ∇f* on the rays", f"{self.cosine:.3f}", ""),
            ("mean ||∇f| − 1| on the rays", f"{self.slope_error:.4g}", ""),
        ]

    def _repr_html_(self):
        """For notebooks: the same table."""
        return display.html_table(self._rows(), right=[1], title=self._title())


def critic_gap(critic, real, fake, seed=0):
    """How far a critic is from the exact Wasserstein-1 distance of two batches: a `CriticGap`.

    critic: a Module, which is put into evaluation mode meanwhile, or a function (which is not: make one of
    ``D.eval()``), samples → (n,) or (n, 1), Tensors in and out. real (n, …), fake (m, …): arrays or Tensors; the critic
    gets them in the dtype and on the device of its parameters. seed: of the points on the transport rays, one for each
    pair that exchanges mass, weighted by it.

    The exact distance is that of the *batches*, not of the distributions they come from: in many dimensions two batches
    of the same distribution are far apart, too. For large batches `emd`'s limits hold.

    Raises ``ValueError`` for a critic without one output a sample (behind `nn.Pack`, say) or with NaN, and as `emd`.
    """
    if not callable(critic):
        raise ValueError(f"critic: expected a Module or a function, got {type(critic).__name__}")
    real, fake, like = _arrays(critic, real, fake)
    x, y, apart = _distances(real, fake)
    transport = emd(None, None, apart)
    weight, ray, points = _rays(transport, x, y, seed)
    with critic.evaluating() if isinstance(critic, Module) else nullcontext():
        f_real, slope_real = _values_and_gradients(critic, real, like)
        f_fake, slope_fake = _values_and_gradients(critic, fake, like)
        slope_ray = slope_real[:0]
        if len(points):  # else nothing is to be moved
            _, slope_ray = _values_and_gradients(critic, points.reshape(-1, *real.shape[1:]), like)

    rounding = ROUNDING * np.finfo(like.dtype).eps * max(np.abs(f_real).max(), np.abs(f_fake).max())
    steepest = (np.abs(f_real[:, None] - f_fake) - rounding)[apart > 0] / apart[apart > 0]
    lengths = [np.linalg.norm(g, axis=1) for g in (slope_real, slope_fake, slope_ray)]
    lipschitz = max(float(s.max()) for s in (steepest, *lengths) if s.size)
    estimate = float(f_real.mean() - f_fake.mean())
    inner, square = weight @ (slope_ray * ray).sum(axis=1), weight @ lengths[2] ** 2
    return CriticGap(
        exact=transport.cost,
        estimate=estimate,
        lipschitz=lipschitz,
        lower_bound=estimate / lipschitz if lipschitz > 0 else 0.0,
        cosine=float(inner / np.sqrt(square * weight.sum())) if square > 0 else 0.0,
        slope_error=float(weight @ np.abs(lengths[2] - 1) / weight.sum()) if len(points) else 0.0,
        n=(len(x), len(y)),
    )


def _distances(real, fake):
    """Both batches as points, float64 (n, d) and (m, d), and how far they are apart (n, m)."""
    x, y = checks.points("real", real), checks.points("fake", fake)
    check_size(len(x), len(y))
    return x, y, euclidean(x, y, ("real", "fake"))


def _rays(transport, x, y, seed):
    """Of every pair that exchanges mass at a distance: the mass (r,), ∇f* there (r, d), and a point between (r, d)."""
    i, j = np.nonzero(transport.plan)
    way = x[i] - y[j]
    length = np.linalg.norm(way, axis=1)
    i, j, way, length = i[length > 0], j[length > 0], way[length > 0], length[length > 0]
    points = x[i] - stream(seed, "critic_gap").random((len(i), 1)) * way
    return transport.plan[i, j], way / length[:, None], points


def _arrays(critic, *samples):
    """Samples as arrays, and an array of the dtype and device that the critic wants."""
    samples = [s.data if isinstance(s, Tensor) else s for s in samples]
    samples = [s if backend.is_array(s) else np.asarray(s) for s in samples]
    parameters = critic.parameters() if isinstance(critic, Module) else []
    like = parameters[0].data if parameters else samples[0]
    return *samples, like if like.dtype.kind == "f" else backend.of(like).asarray(like, np.float64)


def _values_and_gradients(critic, x, like):
    """f (n,) and ∇f (n, d) at x (n, …), float64 on the host; the critic gets x as an array like ``like``."""
    x = Tensor(backend.of(like).asarray(backend.of(x).to_host(x), like.dtype))
    x.requires_grad = True
    with enable_grad():
        outputs = critic(x)
        if not isinstance(outputs, Tensor) or outputs.node is None:
            got = "a constant" if isinstance(outputs, Tensor) else type(outputs).__name__
            raise ValueError(f"critic: expected a Tensor computed from its argument, to be differentiated, got {got}")
        if outputs.shape not in ((x.shape[0],), (x.shape[0], 1)):
            raise ValueError(f"critic: expected one number a sample, shape ({x.shape[0]}, 1), got {outputs.shape}")
        (slope,) = grad(total(outputs), x)
    f = checks.real_array("the critic's outputs", outputs.data)
    return f.reshape(-1), checks.points("the critic's gradients", slope.data)


class OptimalCritic:
    """f*: a 1-Lipschitz function on the whole space that attains W₁ between two batches: the best critic there is.

    f = OptimalCritic(real, fake), samples (n, …) and (m, …); masses a, b as in `emd`. f(z), z (k, …) → (k,), float64,
    for arrays; for a Tensor z a Tensor of its dtype, which `mg.grad` differentiates to any order: a generator can be
    trained against it. ``f.transport``: the `OptimalTransport`.

    Inside the transport rays its gradient is unique. Elsewhere ``side`` chooses among the extensions of the potentials
    (`lipschitz_extension`): "lower", a peak at every real sample; "upper", a pit at every generated one; "middle"
    (default), the mean of both, optimal as well. At the samples themselves "middle" has the gradient of the ray along
    which most of their mass goes, so that −E f(y) has that of W₁; at a peak of "lower" and a pit of "upper" it is 0.
    """

    def __init__(self, real, fake, a=None, b=None, side="middle"):
        if side not in ("lower", "middle", "upper"):
            raise ValueError(f"side: expected 'lower', 'middle' or 'upper', got {side!r}")
        real, fake, _ = _arrays(None, real, fake)
        self.side = side
        self.real, self.fake, apart = _distances(real, fake)
        self.transport = emd(a, b, apart)

    def __repr__(self):
        n, m = self.transport.plan.shape
        return f"OptimalCritic({n} real, {m} generated samples, W1={self.transport.cost:.6g}, side={self.side!r})"

    def __call__(self, z):
        """f*(z)."""
        if not isinstance(z, Tensor):
            return self(Tensor(backend.of(z).asarray(z, np.float64))).data
        u, v, plan = self.transport.u, self.transport.v, self.transport.plan
        peak, to_peak = active_cone(self.real, u, z.data, names=("real", "z"))
        pit, to_pit = active_cone(self.fake, -v, z.data, upper=True, names=("fake", "z"))
        if self.side == "lower":
            return self._cone(z, self.real, u, peak, -1)
        if self.side == "upper":
            return self._cone(z, self.fake, -v, pit, 1)
        # At a sample both agree. One has its tip there; of the other many cones may meet: take that of the mass's way.
        at_peak, at_pit = (d <= _rounding(p, z) for d, p in ((to_peak, self.real), (to_pit, self.fake)))
        only_pit, only_peak = at_pit & ~at_peak, at_peak & ~at_pit
        peak, pit = (
            np.where(only_pit & plan[:, pit].any(axis=0), plan[:, pit].argmax(axis=0), peak),
            np.where(only_peak & plan[peak].any(axis=1), plan[peak].argmax(axis=1), pit),
        )
        share = np.where(only_pit, 1.0, np.where(only_peak, 0.0, 0.5))  # of the lower side
        share = backend.of(z.data).asarray(share, z.dtype)
        return share * self._cone(z, self.real, u, peak, -1) + (1 - share) * self._cone(z, self.fake, -v, pit, 1)

    def _cone(self, z, points, values, near, sign):
        """values ± distance from points, those numbered ``near`` (k,)."""
        library = backend.of(z.data)
        points, values = (library.asarray(array[near], z.dtype) for array in (points, values))
        return values + sign * norm(reshape(z, z.shape[0], points.shape[1]) - points, axis=1)


def _rounding(points, z):
    """How near to a point z is, when only rounding to z's dtype lies between them."""
    return 4 * np.finfo(z.dtype).eps * np.abs(points).max()
