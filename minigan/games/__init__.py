"""Games, solvers (how players move), the training loop, diagnostics and the run folder."""

from .callbacks import Averaging, Callback, Checkpoint, Log, Progress
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
