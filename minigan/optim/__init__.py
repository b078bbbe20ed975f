"""Optimisers over one flat buffer, and the moving average of weights."""

from .algorithms import SGD, Adam, RMSProp
from .averages import EMA, UniformAverage
from .optimizer import Optimizer
from .schedules import cosine_decay, exponential_decay, linear_decay

__all__ = ["EMA", "SGD", "Adam", "Optimizer", "RMSProp", "UniformAverage", "cosine_decay"]
__all__ += ["exponential_decay", "linear_decay"]
