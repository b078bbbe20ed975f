"""Elementwise functions: each line of calculus beside its function.

Bars are cotangents: for y = f(x), the rule of x gives x̄ = ȳ·f'(x). Where a function has a kink, the mask of its pieces
is a constant (its derivative is zero almost everywhere) and is taken with `stop`; the value at the kink itself is
stated, and tested.
"""

import math

from ..autodiff.primitive import primitive
from ..autodiff.tensor import Tensor
from ..autodiff.vector_space import add
from ..backend import is_array, of, xp

__all__ = [
    "abs",
    "add",
    "clip",
    "divide",
    "exp",
    "leaky_relu",
    "log",
    "log1p",
    "maximum",
    "minimum",
    "multiply",
    "negative",
    "power",
]
__all__ += ["relu", "sigmoid", "softplus", "sqrt", "square", "stop", "subtract", "tanh", "where"]


def stop(x):
    """The array of ``x``: a constant for every gradient. Legal for masks of piecewise functions, for nothing else."""
    return x.data if type(x) is Tensor else x


def _xp(*operands):
    """The array module of the first operand that is an array."""
    return xp(next((a for a in operands if is_array(a)), None))


# ---- arithmetic ---------------------------------------------------------------------------------------------------


@primitive(broadcasts=True)
def subtract(x, y):
    """z = x − y.    x̄ = z̄,  ȳ = −z̄"""
    return x - y


@subtract.vjp("x")
def _(g):
    return g


@subtract.vjp("y")
def _(g):
    return -g


@primitive(broadcasts=True)
def multiply(x, y):
    """z = x·y.    x̄ = z̄·y,  ȳ = z̄·x"""
    return x * y


@multiply.vjp("x")
def _(g, y):
    return g * y


@multiply.vjp("y")
def _(g, x):
    return g * x


@primitive(broadcasts=True)
def divide(x, y):
    """z = x/y.    x̄ = z̄/y,  ȳ = −z̄·z/y"""
    return x / y


@divide.vjp("x")
def _(g, y):
    return g / y


@divide.vjp("y")
def _(g, y, out):
    return -g * out / y


@primitive
def negative(x):
    """y = −x.    x̄ = −ȳ"""
    return -x


@negative.vjp("x")
def _(g):
    return -g


@primitive(broadcasts=True)
def power(x, p):
    """z = x^p.    x̄ = z̄·p·x^(p−1),  p̄ = z̄·z·log x  (for x > 0; 0 where x = 0)

    0^0 = 1, and its derivative by x is 0: polynomials are right at 0 to any order.
    """
    return x**p


@power.vjp("x")
def _(g, x, p):
    if isinstance(p, (int, float)):
        return g * 0.0 if p == 0 else g * p if p == 1 else g * (p * x ** (p - 1))
    harmless = (stop(p) == 0) & (stop(x) == 0)  # 0·0⁻¹, where 0 is meant
    return g * p * x ** where(harmless, 1.0, p - 1)


@power.vjp("p")
def _(g, x, out):
    if isinstance(x, (int, float)):
        return g * out * (math.log(x) if x > 0 else 0.0 if x == 0 else math.nan)
    return g * out * log(where(stop(x) == 0, 1.0, x))


@primitive
def square(x):
    """y = x².    x̄ = 2·ȳ·x"""
    return x * x


@square.vjp("x")
def _(g, x):
    return 2.0 * g * x


@primitive
def sqrt(x):
    """y = √x.    x̄ = ȳ/(2y)   (infinite at 0; for lengths use `norm`)"""
    return xp(x).sqrt(x)


@sqrt.vjp("x")
def _(g, out):
    return 0.5 * g / out


# ---- exponentials -------------------------------------------------------------------------------------------------


@primitive
def exp(x):
    """y = eˣ.    x̄ = ȳ·y"""
    return xp(x).exp(x)


@exp.vjp("x")
def _(g, out):
    return g * out


@primitive
def log(x):
    """y = ln x.    x̄ = ȳ/x"""
    return xp(x).log(x)


@log.vjp("x")
def _(g, x):
    return g / x


@primitive
def log1p(x):
    """y = ln(1 + x).    x̄ = ȳ/(1 + x)"""
    return xp(x).log1p(x)


@log1p.vjp("x")
def _(g, x):
    return g / (1.0 + x)


@primitive
def tanh(x):
    """y = tanh x.    x̄ = ȳ·(1 − y²)"""
    return xp(x).tanh(x)


@tanh.vjp("x")
def _(g, out):
    return g * (1.0 - out * out)


@primitive
def sigmoid(x):
    """y = 1/(1 + e⁻ˣ), without overflow.    x̄ = ȳ·y·(1 − y)"""
    m = xp(x)
    e = m.exp(-m.abs(x))  # in (0, 1], so that the maximum below is 1 where x ≥ 0, and e elsewhere
    return m.maximum(e, x >= 0) / (1.0 + e)


@sigmoid.vjp("x")
def _(g, out):
    return g * (out * (1.0 - out))


@primitive
def softplus(x):
    """y = ln(1 + eˣ) = max(x, 0) + ln(1 + e^−|x|), without overflow.    x̄ = ȳ·sigmoid(x)"""
    m = xp(x)
    return m.maximum(x, 0.0) + m.log1p(m.exp(-m.abs(x)))


@softplus.vjp("x")
def _(g, x):
    return g * sigmoid(x)


# ---- piecewise linear ---------------------------------------------------------------------------------------------


@primitive
def abs(x):
    """y = |x|.    x̄ = ȳ·sign x   (0 at 0)"""
    return xp(x).abs(x)


@abs.vjp("x")
def _(g, x):
    x = stop(x)
    return g * xp(x).sign(x)


@primitive
def relu(x):
    """y = max(x, 0).    x̄ = ȳ where x > 0, else 0   (0 at 0)"""
    return of(x).leaky_relu(x, 0.0)


@relu.vjp("x")
def _(g, out):
    return _gate(g, stop(out), slope=0.0)


@primitive
def _leaky_relu(x, *, slope):
    """y = x where x > 0, else slope·x.    x̄ = ȳ where x > 0, else slope·ȳ   (slope·ȳ at 0)"""
    return of(x).leaky_relu(x, slope)


@_leaky_relu.vjp("x")
def _(g, x, *, slope):
    return _gate(g, stop(x), slope=slope)


@primitive
def _gate(g, x, *, slope):
    """y = g where x > 0, else slope·g: linear in g, while the array x only opens and closes it.    ḡ = gate(ȳ, x)"""
    return of(g).leaky_relu_backward(g, x, slope)


@_gate.vjp("g")
def _(gy, x, *, slope):
    return _gate(gy, x, slope=slope)


def leaky_relu(x, slope=0.2):
    """x where x > 0, else slope·x (Maas et al. 2013); at 0 the derivative is ``slope``. 0.2 is DCGAN's choice."""
    return _leaky_relu(x, slope=float(slope))


@primitive(broadcasts=True)
def maximum(x, y):
    """z = max(x, y).    x̄ = z̄ where x > y; where x = y each side gets half"""
    return _xp(x, y).maximum(x, y)


@primitive(broadcasts=True)
def minimum(x, y):
    """z = min(x, y).    x̄ = z̄ where x < y; where x = y each side gets half"""
    return _xp(x, y).minimum(x, y)


def _where_larger(g, a, b):
    """g where a > b, half of it where they are equal, 0 elsewhere."""
    a, b = stop(a), stop(b)
    return where(a > b, g, where(a == b, 0.5 * g, 0.0))


@maximum.vjp("x")
def _(g, x, y):
    return _where_larger(g, x, y)


@maximum.vjp("y")
def _(g, x, y):
    return _where_larger(g, y, x)


@minimum.vjp("x")
def _(g, x, y):
    return _where_larger(g, y, x)


@minimum.vjp("y")
def _(g, x, y):
    return _where_larger(g, x, y)


@primitive
def _clip(x, *, low, high):
    """y = x kept within [low, high].    x̄ = ȳ where low ≤ x ≤ high, else 0"""
    return xp(x).clip(x, low, high)


@_clip.vjp("x")
def _(g, x, *, low, high):
    x = stop(x)
    too_low = x < low if low is not None else False
    too_high = x > high if high is not None else False
    return where(too_low | too_high, 0.0, g)


def clip(x, low=None, high=None):
    """x kept within [low, high], two numbers (None: no bound). The derivative is 1 inside and at the bounds, 0 outside.

    Raises ``ValueError`` when both bounds are None or low > high.
    """
    if low is None and high is None or low is not None and high is not None and low > high:
        raise ValueError(f"clip needs low <= high, at least one of them a number; got low={low}, high={high}")
    return _clip(x, low=low, high=high)


@primitive(broadcasts=True)
def _where(condition, x, y):
    """z = x where the condition holds, else y.    x̄ = z̄ where it holds, else 0; ȳ the other way round

    A branch that is not taken gets an exact 0, but 0·∞ = NaN further up: keep both branches finite
    (``where(x > 0, log(where(x > 0, x, 1)), 0)``).
    """
    if type(x) is type(y) is float:
        x = _xp(condition).asarray(x, dtype="float32")  # two Python numbers would make float64
    return _xp(condition, x, y).where(condition, x, y)


@_where.vjp("x")
def _(g, condition):
    return where(condition, g, 0.0)


@_where.vjp("y")
def _(g, condition):
    return where(condition, 0.0, g)


def where(condition, x, y):
    """x where ``condition`` (bool array or Tensor) holds, else y; the three broadcast."""
    made = _where(stop(condition), x, y)
    return Tensor(made) if type(condition) is Tensor and type(made) is not Tensor else made


where.__doc__ += f"\n\n    {_where.__doc__}"
