"""Looking inside: every gradient can be printed, followed, drawn, checked and caught.

tape, Tape                        a record of a graph and its gradients: print it, ask it, draw it
verify, verify_all                a real network's gradients against differences, in float64, in place
anomaly                           stop at the first number that is not finite, and say why
on_op, watching, Watcher, Event   be told of every op, VJP, backward pass and layer
profile                           time, bytes and matrix products by op and by layer
GradientFlow                      gradients and updates of every layer over a training, a callback
"""

from .anomaly import anomaly
from .drawing import draw
from .flow import GradientFlow
from .network import NetworkVerification, verify_all
from .profile import Profile, profile
from .tape import Entry, Tape, tape
from .verify import Verification, verify
from .watch import Event, Watcher, on_op, watching

__all__ = [
    "Entry",
    "Event",
    "GradientFlow",
    "NetworkVerification",
    "Profile",
    "Tape",
    "Verification",
    "Watcher",
    "anomaly",
    "draw",
    "on_op",
    "profile",
    "tape",
    "verify",
    "verify_all",
    "watching",
]
