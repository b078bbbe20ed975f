"""Optimisers over one flat buffer, and the moving average of weights."""

from .algorithms import SGD, Adam, RMSProp
from .ema import EMA
from .optimizer import Optimizer

__all__ = ["EMA", "SGD", "Adam", "Optimizer", "RMSProp"]
