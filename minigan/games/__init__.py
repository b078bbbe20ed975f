"""Games, solvers (how players move), the training loop and the run folder."""

from .callbacks import Averaging, Callback, Checkpoint, Log, Progress
from .game import GAN, Game
from .loop import Moment, Trajectory, play
from .run import Run, RunError
from .solvers import Alternating

__all__ = [
    "GAN",
    "Alternating",
    "Averaging",
    "Callback",
    "Checkpoint",
    "Game",
    "Log",
    "Moment",
    "Progress",
    "Run",
    "RunError",
    "Trajectory",
    "play",
]
