"""Games, solvers (how players move), the training loop, diagnostics and the run folder."""

from . import solvers
from .callbacks import Averaging, Callback, Checkpoint, EarlyStop, Log, Metrics, Progress
from .critic import CriticWatch
from .diagnostics import accuracy, duality_gap, gradient_norms, path_angle, spectrum
from .field import Jacobian, move_to, position, vector_field
from .game import Game
from .gan import GAN
from .guard import NonFiniteError
from .loop import Moment, Trajectory, play
from .run import Run, RunError
from .solvers import (
    Alternating,
    Consensus,
    ExtraGradient,
    Optimistic,
    PastExtraGradient,
    Proximal,
    Simultaneous,
    Solver,
    SymplecticGradientAdjustment,
    Unrolled,
    negative_momentum,
)
from .toys import Bilinear, DiracGAN, QuadraticGame
from .verdict import Diagnostics, verdict

__all__ = [
    "Alternating",
    "Averaging",
    "Bilinear",
    "Callback",
    "Checkpoint",
    "Consensus",
    "CriticWatch",
    "Diagnostics",
    "DiracGAN",
    "EarlyStop",
    "ExtraGradient",
    "GAN",
    "Game",
    "Jacobian",
    "Log",
    "Metrics",
    "Moment",
    "NonFiniteError",
    "Optimistic",
    "PastExtraGradient",
    "Progress",
    "Proximal",
    "QuadraticGame",
    "Run",
    "RunError",
    "Simultaneous",
    "Solver",
    "SymplecticGradientAdjustment",
    "Trajectory",
    "Unrolled",
    "accuracy",
    "duality_gap",
    "gradient_norms",
    "move_to",
    "negative_momentum",
    "path_angle",
    "play",
    "position",
    "solvers",
    "spectrum",
    "vector_field",
    "verdict",
]
