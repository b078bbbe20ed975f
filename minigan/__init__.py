"""minigan: a small deep-learning engine on NumPy and CuPy, and generative adversarial networks on top of it.

>>> import minigan as mg
>>> x = mg.tensor([1.0, 2.0], requires_grad=True)
>>> mg.sum(x**2).backward()
>>> x.grad.numpy().tolist()
[2.0, 4.0]
"""

from . import backend, data, games, models, nn, objectives, optim
from .autodiff.check import check_grad
from .autodiff.engine import grad
from .autodiff.modes import enable_grad, no_grad, scope
from .autodiff.primitive import primitive
from .autodiff.tensor import Tensor, tensor
from .errors import (
    DeviceError,
    DTypeError,
    FreedError,
    GradientError,
    IndexingError,
    MiniganError,
    ShapeError,
    StaleError,
)
from .ops import *  # noqa: F403

__version__ = "0.1.0"
