"""minigan: a small deep-learning engine on NumPy and CuPy, and generative adversarial networks on top of it.

    tensor, Tensor, grad, no_grad, check_grad, primitive       automatic differentiation, to any order
    add … conv … batch_norm … (see minigan.ops)                functions of Tensors and arrays, each with its VJP
    nn, optim                                                  layers, initialisers; SGD, RMSProp, Adam, EMA
    data, models                                               MNIST, toy distributions; ready-made networks
    objectives, games                                          what the players minimise; how they play
    transport                                                  optimal transport with proofs; critics against it
    metrics                                                    samples in, a number and its noise floor out
    tape, verify, verify_all, anomaly, profile, on_op          look inside (see minigan.inspect)
    report                                                     image grids and plots
    experiment                                                 a whole run from a configuration
    ShapeError, DTypeError, StaleError, … (MiniganError)       errors, with the line that caused them

>>> import minigan as mg
>>> x = mg.tensor([1.0, 2.0], requires_grad=True)
>>> mg.sum(x**2).backward()
>>> x.grad.numpy().tolist()
[2.0, 4.0]
"""

from . import backend, nn, ops, optim
from .autodiff.check import check_grad
from .autodiff.engine import grad
from .autodiff.modes import enable_grad, no_grad, scope
from .autodiff.primitive import primitive
from .autodiff.tensor import Tensor, tensor
from .errors import (
    AnomalyError,
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
__all__ = ["backend", "nn", "ops", "optim"]
__all__ += ["data", "experiment", "games", "inspect", "metrics", "models", "objectives", "report", "transport"]  # noqa: F405
__all__ += ["anomaly", "on_op", "profile", "tape", "verify", "verify_all"]  # noqa: F405
_on_demand = frozenset(__all__[4:])  # loaded when first used: `import minigan` stays quick
_looking = frozenset(__all__[13:])  # of minigan.inspect
__all__ += ["Tensor", "check_grad", "enable_grad", "grad", "no_grad", "primitive", "scope", "tensor"]
__all__ += [
    "AnomalyError",
    "DTypeError",
    "DeviceError",
    "FreedError",
    "GradientError",
    "IndexingError",
    "MiniganError",
    "ShapeError",
]
__all__ += ["StaleError"]
__all__ += ops.__all__


def __getattr__(name):
    if name in _on_demand:
        from importlib import import_module

        if name in _looking:
            return getattr(import_module(f"{__name__}.inspect"), name)
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_on_demand})
