"""What each player minimises: pure functions of logits, one small class per objective."""

from .base import Objective
from .minimax import Minimax, NonSaturating

__all__ = ["Minimax", "NonSaturating", "Objective", "get"]

_by_name = {"minimax": Minimax, "non_saturating": NonSaturating}


def get(name):
    """The objective called ``name``: ``"minimax"`` or ``"non_saturating"``; an `Objective` is handed through.

    Raises ``ValueError`` for an unknown name.
    """
    if isinstance(name, Objective):
        return name
    if name not in _by_name:
        raise ValueError(f"no objective named {name!r}; there are {', '.join(sorted(_by_name))}")
    return _by_name[name]()
