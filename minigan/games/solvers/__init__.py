"""Solvers: ways for the players of any game to move; all but `Proximal` wrap one optimiser per player.

on min max xy with learning rate η = 0.5, the distance from the equilibrium is multiplied each round by

Simultaneous 1.118      Alternating 1           negative_momentum 0.963 (β = −½)      Proximal 0.894
ExtraGradient 0.901     PastExtraGradient = Optimistic 0.707       Consensus = SGA 0.707 (γ = 1)
"""

from .alternating import Alternating, negative_momentum
from .base import Solver
from .proximal import Proximal
from .second_order import Consensus, SymplecticGradientAdjustment
from .simultaneous import ExtraGradient, Optimistic, PastExtraGradient, Simultaneous
from .unrolled import Unrolled

__all__ = [
    "Alternating",
    "Consensus",
    "ExtraGradient",
    "Optimistic",
    "PastExtraGradient",
    "Proximal",
    "Simultaneous",
    "Solver",
    "SymplecticGradientAdjustment",
    "Unrolled",
    "get",
    "negative_momentum",
]

_by_name = {
    "alternating": Alternating,
    "simultaneous": Simultaneous,
    "extragradient": ExtraGradient,
    "past_extragradient": PastExtraGradient,
    "optimistic": Optimistic,
    "consensus": Consensus,
    "sga": SymplecticGradientAdjustment,
    "unrolled": Unrolled,
}


def get(name, optimizers, **settings):
    """The solver called ``name`` (``"alternating"``, ``"extragradient"``, …) with these optimisers and settings.

    Raises ``ValueError`` for an unknown name.
    """
    if name not in _by_name:
        raise ValueError(f"no solver named {name!r}; there are {', '.join(_by_name)}")
    return _by_name[name](optimizers, **settings)
