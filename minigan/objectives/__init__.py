"""What each player minimises: pure functions of logits, one small class per objective, and the regularisers.

objective                      D's optimum, as a function of p (data) and q (generator)        zero-sum
minimax                        2·JS(p, q) − 2 ln 2 is the value                                yes
non_saturating                 the same discriminator                                          no
least_squares                  D's loss is ½ Σ p q/(p + q)                                     no
wasserstein                    W₁(p, q), over 1-Lipschitz critics                              yes
hinge                          D's loss is 2·(1 − TV(p, q))                                    no
relativistic                   D's loss is ln 2 − JS(p⊗q, q⊗p)                                 no
relativistic_average           –                                                               no
f:kl f:reverse_kl f:pearson    the f-divergence D_f(p‖q) is the value                          no; FGAN(…,
f:jensen_shannon f:squared_hellinger                                                           saturating=True): yes
ebgan                          D's loss is margin·(1 − TV(p, q))                               no
began                          –                                                               no
"""

from .base import Objective
from .energy import BEGAN, EBGAN
from .f_gan import DIVERGENCES, FGAN
from .hinge import Hinge
from .least_squares import LeastSquares
from .minimax import Minimax, NonSaturating, OneSidedLabelSmoothing
from .penalties import (
    dragan,
    feature_matching,
    gradient_penalty,
    lipschitz_penalty,
    orthogonal_penalty,
    pulling_away,
    r1,
    r2,
)
from .regularizers import (
    DRAGAN,
    R1,
    R2,
    FeatureMatching,
    GradientPenalty,
    HistoricalAveraging,
    LipschitzPenalty,
    Orthogonal,
    PullingAway,
    Regularizer,
    WeightClipping,
)
from .relativistic import RelativisticAverage, RelativisticPairing
from .wasserstein import Wasserstein

__all__ = [
    "BEGAN",
    "DRAGAN",
    "EBGAN",
    "FGAN",
    "R1",
    "R2",
    "FeatureMatching",
    "GradientPenalty",
    "Hinge",
    "HistoricalAveraging",
    "LeastSquares",
    "LipschitzPenalty",
    "Minimax",
    "NonSaturating",
    "Objective",
    "OneSidedLabelSmoothing",
    "Orthogonal",
    "PullingAway",
    "Regularizer",
    "RelativisticAverage",
    "RelativisticPairing",
    "Wasserstein",
    "WeightClipping",
    "dragan",
    "feature_matching",
    "get",
    "gradient_penalty",
    "lipschitz_penalty",
    "names",
    "orthogonal_penalty",
    "pulling_away",
    "r1",
    "r2",
    "regularizer",
]

_by_name = {
    "minimax": Minimax,
    "non_saturating": NonSaturating,
    "least_squares": LeastSquares,
    "wasserstein": Wasserstein,
    "hinge": Hinge,
    "relativistic": RelativisticPairing,
    "relativistic_average": RelativisticAverage,
    "ebgan": EBGAN,
    "began": BEGAN,
} | {f"f:{name}": (lambda name=name, **settings: FGAN(name, **settings)) for name in DIVERGENCES}
_regularizers = {
    R.name: R
    for R in (
        GradientPenalty,
        LipschitzPenalty,
        R1,
        R2,
        DRAGAN,
        WeightClipping,
        Orthogonal,
        HistoricalAveraging,
        FeatureMatching,
        PullingAway,
    )
}


def names():
    """The names of all objectives, as `get` takes them."""
    return tuple(_by_name)


def get(name, **settings):
    """The objective called ``name`` (see `names`), made with ``settings``; an `Objective` is handed through.

    Raises ``ValueError`` for an unknown name.

    >>> get("f:kl", saturating=True)
    FGAN(divergence='kl', saturating=True)
    """
    if isinstance(name, Objective) and not settings:
        return name
    if not isinstance(name, str) or name not in _by_name:
        raise ValueError(f"no objective named {name!r}; there are {', '.join(_by_name)}")
    return _by_name[name](**settings)


def regularizer(name, **settings):
    """The regulariser called ``name`` (``"r1"``, ``"gradient_penalty"``, …), made with ``settings``.

    Raises ``ValueError`` for an unknown name.

    >>> regularizer("r1", gamma=0.1)
    R1(gamma=0.1)
    """
    if name not in _regularizers:
        raise ValueError(f"no regulariser named {name!r}; there are {', '.join(_regularizers)}")
    return _regularizers[name](**settings)
