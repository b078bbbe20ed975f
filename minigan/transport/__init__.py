"""Optimal transport: exact with a proof, on the line, entropic, sliced; the dual side, and critics against it.

    emd                 exact: plan, cost, Kantorovich potentials, certificate        the linear program
    wasserstein         exact Wₚ between samples                                      a number
    wasserstein_1d      the same on the line, by sorting                              a number
    sliced_wasserstein  the mean over random directions of that                       a number
    sinkhorn            with entropy: plan, potentials, bounds of the exact cost      sinkhorn_divergence: a number
    c_transform         vⱼ = minᵢ (Cᵢⱼ − uᵢ)                                          lipschitz_extension
    critic_gap          a trained critic against the exact distance                   OptimalCritic: the best one
    Funnels             distributions whose best critic is known                      a benchmark

Arrays in, NumPy's or CuPy's; everything is computed in float64. Exact solvers run on the host.

>>> from minigan.transport import emd, wasserstein
>>> wasserstein([[0.0, 0.0], [1.0, 0.0]], [[0.0, 3.0], [1.0, 3.0]])
3.0
"""

from .certificate import Certificate, OptimalTransport
from .critic_gap import CriticGap, OptimalCritic, critic_gap
from .dual import c_transform, lipschitz_extension
from .entropic import Sinkhorn, sinkhorn, sinkhorn_divergence
from .exact import distances, emd, potentials, wasserstein
from .funnels import Funnels
from .one_dimensional import sliced_wasserstein, wasserstein_1d

__all__ = [
    "Certificate",
    "CriticGap",
    "Funnels",
    "OptimalCritic",
    "OptimalTransport",
    "Sinkhorn",
    "c_transform",
    "critic_gap",
    "distances",
    "emd",
    "lipschitz_extension",
    "potentials",
    "sinkhorn",
    "sinkhorn_divergence",
    "sliced_wasserstein",
    "wasserstein",
    "wasserstein_1d",
]
