"""check_grad: hold a function's derivatives, to any order, against differences of its values.

Let F(x) = ⟨u, f(x)⟩ with a random u. Order 1 compares ⟨∇F, v⟩ with the slope of F along v, for each argument in turn
and a random direction v. Order k does the same to F_k(x) = ⟨∇F_{k−1}(x), v⟩, itself computed with create_graph: a wrong
first derivative shows at order 1, a rule that is right once but freezes something it should not shows at order 2 or 3.
Where the derivative is itself differentiated, the recorded pass must give what the raw one gives.
One number per direction checks all elements at once; that it is random is what makes an error in any of them show.
"""

from functools import reduce

import numpy as np

from ..errors import GradientError, message
from .engine import grad
from .tensor import Tensor
from .vector_space import add

FIX = "a large uncertainty means a kink or pole near the point; otherwise a VJP on this path is wrong"
STEP = 2e-4  # of the five-point formula: truncation ~ h⁴f⁗'/30 and rounding ~ ε/h are both near 1e-12


def check_grad(fn, *arrays, order=2, rtol=1e-6, atol=1e-8, directions=2, seed=0, step=STEP):
    """Compare the derivatives of ``fn`` up to ``order`` with numerical ones, in float64.

    fn: takes one Tensor per array and returns a Tensor (or a tuple of them), smooth near the given point. arrays: NumPy
    arrays or numbers; floating ones are cast to float64 and differentiated, others are passed on as constants. step: of
    the differences. An error is ``|analytic − numerical| / (|analytic| + |numerical| + atol/rtol)``, at most rtol.

    Returns the largest error. Raises `GradientError` naming order, argument, both values and the direction.

    >>> import minigan as mg, numpy as np
    >>> mg.check_grad(lambda x, y: mg.tanh(x @ y), np.ones((2, 3)), np.ones((3, 2)), order=3) < 1e-6
    True
    """
    rng = np.random.default_rng(seed)
    points = [np.array(a, dtype=np.float64) if np.asarray(a).dtype.kind == "f" else np.asarray(a) for a in arrays]
    free = [i for i, p in enumerate(points) if p.dtype == np.float64]
    if not free:
        raise TypeError("check_grad: no argument is floating; write 1.0 instead of 1, or pass array.astype(float)")
    names = _argument_names(fn, len(points))
    worst = 0.0
    for _ in range(directions):
        value = _projected(fn, rng)
        for k in range(1, order + 1):
            along = {i: _direction(rng, points[i].shape) for i in free}
            slopes, value = _slope(value, free, along), _Directional(value, free, along)
            for i, analytic in zip(free, slopes(points), strict=True):
                numerical, doubt = _difference(value.before, points, i, along[i], step)
                again = _Directional(value.before, [i], along)(_tensors(points, free)) if k < order else analytic
                for kind, other in (("numerical", numerical), ("recorded", float(again))):
                    error = abs(analytic - other) / (abs(analytic) + abs(other) + atol / rtol)
                    if not error <= rtol:
                        what = f"check_grad: derivative {k} by argument {names[i]} is wrong: analytic {analytic:.9g}, "
                        what += f"{kind} {other:.9g} (uncertain by {doubt:.1g}), relative error {error:.2g} > {rtol:g}"
                        what += f"\n    along the direction {np.array2string(along[i], precision=3, threshold=12)}"
                        raise GradientError(message(what, fix=FIX))
                    worst = max(worst, error)
    return worst


def _argument_names(fn, count):
    code = getattr(fn, "__code__", None)
    named = code.co_varnames[: code.co_argcount] if code else getattr(fn, "arguments", ())
    return [f"{i} ({named[i]!r})" if i < len(named) else str(i) for i in range(count)]


def _direction(rng, shape):
    """Random, with no component near 0: an error in one element cannot hide behind a small one."""
    return rng.choice([-1.0, 1.0], shape) * rng.uniform(0.25, 1.0, shape)


def _projected(fn, rng):
    """The scalar function Σ ⟨u, output⟩ with random u, drawn at the first call."""
    weights = []

    def value(tensors):
        outputs = fn(*tensors)
        outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
        if not weights:
            weights.extend(_direction(rng, y.shape) for y in outputs)
        return reduce(add, [(y * u).sum() for y, u in zip(outputs, weights, strict=True)])

    return value


class _Directional:
    """The scalar function Σ_i ⟨∂F/∂x_i, v_i⟩ of the scalar function ``before`` = F."""

    def __init__(self, before, free, along):
        self.before, self.free, self.along = before, free, along

    def __call__(self, tensors):
        inputs = [tensors[i] for i in self.free]
        slopes = grad(_recorded(self.before(tensors), inputs), inputs, create_graph=True)
        return reduce(add, [(g * self.along[i]).sum() for i, g in zip(self.free, slopes, strict=True)])


def _recorded(value, inputs):
    """``value``, made to depend on the inputs (by 0·x) if it is a constant: its derivatives are zero, not an error."""
    return value if value.requires_grad else reduce(add, [value, *[(x * 0.0).sum() for x in inputs]])


def _tensors(points, free):
    made = [Tensor(p) for p in points]
    for i in free:
        made[i].requires_grad = True
    return made


def _slope(value, free, along):
    """points → [⟨∂F/∂x_i, v_i⟩ for each free i], as floats."""

    def slopes(points):
        tensors = _tensors(points, free)
        inputs = [tensors[i] for i in free]
        gradients = grad(_recorded(value(tensors), inputs), inputs)
        return [float((g.data * along[i]).sum()) for i, g in zip(free, gradients, strict=True)]

    return slopes


def _difference(value, points, i, v, h):
    """The slope of ``value`` along v in argument i (five-point formula), and its distance from the three-point one."""
    free = [j for j, p in enumerate(points) if p.dtype == np.float64]

    def at(t):
        moved = [p + t * v if j == i else p for j, p in enumerate(points)]
        return float(value(_tensors(moved, free)).data)

    near, far = at(h) - at(-h), at(2 * h) - at(-2 * h)
    five = (8 * near - far) / (12 * h)
    return five, abs(five - near / (2 * h))
