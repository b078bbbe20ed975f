"""The derivative table: every differentiable function beside its VJP, and the Tensor's operators.

Functions take Tensors, arrays and Python numbers. Given no Tensor they compute plain arrays and record nothing.
"""

from .. import backend
from ..autodiff.tensor import Tensor
from ..autodiff.vector_space import broadcast_to, sum_to
from .convolution import conv, conv_transpose, conv_weight_gradient
from .elementwise import (
    abs,
    add,
    clip,
    divide,
    exp,
    leaky_relu,
    log,
    log1p,
    maximum,
    minimum,
    multiply,
    negative,
    power,
    relu,
    sigmoid,
    softplus,
    sqrt,
    square,
    stop,
    subtract,
    tanh,
    where,
)
from .linear import linear, matmul
from .normalization import batch_norm, instance_norm, layer_norm, scale_shift
from .pooling import average_pool, max_pool, upsample_nearest
from .reduction import log_softmax, logsumexp, max, mean, min, norm, softmax, sum, var
from .shape import concatenate, getitem, pad, reshape, scatter, stack, take, transpose

_not_functions = {"Tensor", "stop", "backend"}
__all__ = [n for n, f in list(globals().items()) if callable(f) and n[0] != "_" and n not in _not_functions]


def _swapped(op):
    return lambda self, other: op(other, self)


def _comparison(name):
    def compare(self, other):
        return Tensor(backend.xp(self.data).asarray(getattr(self.data, name)(stop(other))))

    return compare


for _name, _op in [
    ("add", add),
    ("sub", subtract),
    ("mul", multiply),
    ("truediv", divide),
    ("pow", power),
    ("matmul", matmul),
]:
    setattr(Tensor, f"__{_name}__", lambda self, other, op=_op: op(self, other))
    setattr(Tensor, f"__r{_name}__", _swapped(_op))
for _name in ("__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__", "__and__", "__or__"):
    setattr(Tensor, _name, _comparison(_name))
Tensor.__hash__ = object.__hash__  # __eq__ compares elements; a Tensor's identity is its hash
Tensor.__invert__ = lambda self: Tensor(~self.data)  # of a mask
Tensor.__neg__ = lambda self: negative(self)
Tensor.__abs__ = lambda self: abs(self)
Tensor.__getitem__ = getitem
Tensor.T = property(transpose, doc="The transpose: axes reversed.")
for _op in (sum, mean, var, max, min, reshape, transpose):
    setattr(Tensor, _op.__name__, _op)
