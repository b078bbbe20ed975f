"""What the ops ought to compute, written the slow way: Python loops over single numbers, no minigan, and no
NumPy function that would share a mistake with the op. At the end, forward-mode differentiation by dual
numbers: the engine's independent judge.
"""

import itertools
import math

import numpy as np

# ---- shapes of loops ---------------------------------------------------------------------------------------


def elementwise(f):
    """The oracle of a function of numbers, applied to every element of its broadcast arguments."""

    def oracle(*arrays, **params):
        arrays = np.broadcast_arrays(*arrays)
        out = np.empty(arrays[0].shape)
        for i in np.ndindex(out.shape):
            out[i] = f(*(a[i].item() for a in arrays), **params)
        return out

    return oracle


def _normal_axes(axis, ndim):
    axis = range(ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    return {a % ndim for a in axis} if ndim else set()


def _groups(x, axis):
    """{index with 0 on the reduced axes: the indices that reduce to it}"""
    axes = _normal_axes(axis, x.ndim)
    kept = [1 if a in axes else n for a, n in enumerate(x.shape)]
    groups = {i: [] for i in np.ndindex(*kept)}
    for i in np.ndindex(x.shape):
        groups[tuple(0 if a in axes else p for a, p in enumerate(i))].append(i)
    return groups, kept


def reduction(f):
    """The oracle of a function of a list of numbers, over the groups that ``axis`` makes."""

    def oracle(x, axis=None, keepdims=False, **params):
        groups, kept = _groups(x, axis)
        out = np.empty(kept)
        for i, members in groups.items():
            out[i] = f([x[j].item() for j in members], **params)
        return out if keepdims else out.reshape([n for a, n in enumerate(kept) if a not in _normal_axes(axis, x.ndim)])

    return oracle


def groupwise(f):
    """The oracle of a function from a list of numbers to as many, over the groups that ``axis`` makes."""

    def oracle(x, axis=-1, **params):
        out = np.empty(x.shape)
        for members in _groups(x, axis)[0].values():
            for j, value in zip(members, f([x[j].item() for j in members], **params)):
                out[j] = value
        return out

    return oracle


# ---- numbers to numbers ------------------------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def clip(x, low=None, high=None):
    x = x if low is None or x >= low else low
    return x if high is None or x <= high else high


def mean(values):
    return math.fsum(values) / len(values) if values else math.nan


def variance(values, ddof=0):
    centre = mean(values)
    return math.fsum((v - centre) ** 2 for v in values) / (len(values) - ddof) if values else math.nan


def softmax(values):
    return [math.exp(v) / math.fsum(math.exp(u) for u in values) for v in values]


def standardize(values, eps=1e-5):
    return [(v - mean(values)) / math.sqrt(variance(values) + eps) for v in values]


# ---- moving numbers ----------------------------------------------------------------------------------------


def reshape(x, shape):
    numbers = [x[i] for i in np.ndindex(x.shape)]
    known = math.prod(n for n in shape if n != -1)
    out = np.empty([len(numbers) // known if n == -1 else n for n in shape])
    for i, value in zip(np.ndindex(out.shape), numbers):
        out[i] = value
    return out


def transpose(x, axes):
    axes = [a % x.ndim for a in axes] if axes else list(range(x.ndim))[::-1]
    out = np.empty([x.shape[a] for a in axes])
    for i in np.ndindex(out.shape):
        out[i] = x[tuple(i[axes.index(a)] for a in range(x.ndim))]
    return out


def broadcast_to(x, shape):
    out = np.empty(shape)
    for i in np.ndindex(*shape):
        tail = i[len(shape) - x.ndim :]
        out[i] = x[tuple(0 if n == 1 else p for n, p in zip(x.shape, tail))]
    return out


def sum_to(x, shape):
    out = np.zeros(shape)
    for i in np.ndindex(x.shape):
        tail = i[x.ndim - len(shape) :]
        out[tuple(0 if n == 1 else p for n, p in zip(shape, tail))] += x[i]
    return out


def concatenate(*arrays, axis):
    axis %= arrays[0].ndim
    shape = list(arrays[0].shape)
    shape[axis] = sum(a.shape[axis] for a in arrays)
    out, start = np.empty(shape), 0
    for a in arrays:
        for i in np.ndindex(a.shape):
            out[(*i[:axis], i[axis] + start, *i[axis + 1 :])] = a[i]
        start += a.shape[axis]
    return out


def stack(*arrays, axis):
    axis %= arrays[0].ndim + 1
    out = np.empty((*arrays[0].shape[:axis], len(arrays), *arrays[0].shape[axis:]))
    for k, a in enumerate(arrays):
        for i in np.ndindex(a.shape):
            out[(*i[:axis], k, *i[axis:])] = a[i]
    return out


def pad(x, width, value=0.0):
    width = [(width, width)] * x.ndim if isinstance(width, int) else width
    out = np.full([n + a + b for n, (a, b) in zip(x.shape, width)], value)
    for i in np.ndindex(x.shape):
        out[tuple(p + a for p, (a, _) in zip(i, width))] = x[i]
    return out


def _picked(shape, index):
    """For every element of a[index], its place in a.ravel(): NumPy's indexing is the definition."""
    return np.arange(math.prod(shape)).reshape(shape)[index]


def getitem(x, index):
    numbers, picked = [x[i] for i in np.ndindex(x.shape)], np.asarray(_picked(x.shape, index))
    return elementwise(lambda p: numbers[p])(picked)


def scatter(x, index, shape):
    numbers, picked = [0.0] * math.prod(shape), np.asarray(_picked(shape, index))
    for i in np.ndindex(picked.shape):
        numbers[picked[i]] += x[i]
    return reshape(np.array(numbers), shape)


def take(x, indices, axis=None):
    indices = np.asarray(indices)
    if axis is None:
        x, axis = reshape(x, (-1,)), 0
    axis %= x.ndim
    out = np.empty((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))
    for i in np.ndindex(out.shape):
        picked = indices[i[axis : axis + indices.ndim]]
        out[i] = x[(*i[:axis], picked, *i[axis + indices.ndim :])]
    return out


# ---- matrices and images -----------------------------------------------------------------------------------


def linear(x, w, b):
    """Σ_k x[…, k]·w[k, j] + b[j]."""
    y = np.zeros((*x.shape[:-1], len(b)))
    for *rows, j in np.ndindex(y.shape):
        y[(*rows, j)] = sum(x[(*rows, k)] * w[k, j] for k in range(len(w))) + b[j]
    return y


def matmul(x, y):
    a, b = x.reshape(1, -1) if x.ndim == 1 else x, y.reshape(-1, 1) if y.ndim == 1 else y
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = np.broadcast_to(a, batch + a.shape[-2:]), np.broadcast_to(b, batch + b.shape[-2:])
    out = np.zeros(batch + (a.shape[-2], b.shape[-1]))
    for *n, i, j in np.ndindex(out.shape):
        for k in range(a.shape[-1]):
            out[(*n, i, j)] += a[(*n, i, k)] * b[(*n, k, j)]
    out = out.squeeze(-2) if x.ndim == 1 else out
    return out.squeeze(-1) if y.ndim == 1 else out


def _both(value):
    return (value, value) if isinstance(value, int) else value


def _taps(image, kernel, stride, padding):
    """What a convolution joins: (output position, kernel position, image position inside the image)."""
    (h, w), (kh, kw), (sh, sw), (ph, pw) = image, kernel, _both(stride), _both(padding)
    for oy, ox in itertools.product(range((h + 2 * ph - kh) // sh + 1), range((w + 2 * pw - kw) // sw + 1)):
        for ky, kx in itertools.product(range(kh), range(kw)):
            y, x = oy * sh + ky - ph, ox * sw + kx - pw
            if 0 <= y < h and 0 <= x < w:
                yield (oy, ox), (ky, kx), (y, x)


def trilinear(x, w, g, image, kernel, stride, padding, into):
    """Σ g·w·x over all taps, batch and channels; the one that is None is left out and summed ``into``."""
    n, o = (g if x is None else x).shape[0], (g if w is None else w).shape[-1]
    c = w.shape[-2] if x is None else x.shape[-1]
    for out, k, at in _taps(image, kernel, stride, padding):
        for b, i, j in itertools.product(range(n), range(c), range(o)):
            term = 1.0
            term *= 1.0 if x is None else x[(b, *at, i)]
            term *= 1.0 if w is None else w[(*k, i, j)]
            term *= 1.0 if g is None else g[(b, *out, j)]
            into[(b, *at, i) if x is None else (*k, i, j) if w is None else (b, *out, j)] += term
    return into


def conv(x, w, stride=1, padding=0):
    (sh, sw), (ph, pw), (h, width), (kh, kw) = _both(stride), _both(padding), x.shape[1:3], w.shape[:2]
    out = np.zeros((x.shape[0], (h + 2 * ph - kh) // sh + 1, (width + 2 * pw - kw) // sw + 1, w.shape[3]))
    return trilinear(x, w, None, (h, width), (kh, kw), stride, padding, out)


def conv_transpose(x, w, stride=1, padding=0, output_padding=0):
    sides = zip(x.shape[1:3], w.shape[:2], _both(stride), _both(padding), _both(output_padding))
    image = tuple((n - 1) * s - 2 * p + k + extra for n, k, s, p, extra in sides)
    out = np.zeros((x.shape[0], *image, w.shape[2]))
    return trilinear(None, w, x, image, w.shape[:2], stride, padding, out)


def conv_weight_gradient(x, g, kernel, stride=1, padding=0):
    out = np.zeros((*_both(kernel), x.shape[3], g.shape[3]))
    return trilinear(x, None, g, x.shape[1:3], _both(kernel), stride, padding, out)


def pool(f):
    """The oracle of a pooling: ``f`` of the list of numbers in each window, the border included as None."""

    def oracle(x, kernel, stride=None, padding=0):
        stride = kernel if stride is None else stride
        (kh, kw), (sh, sw), (ph, pw) = _both(kernel), _both(stride), _both(padding)
        n, h, w, c = x.shape
        out = np.empty((n, (h + 2 * ph - kh) // sh + 1, (w + 2 * pw - kw) // sw + 1, c))
        for b, oy, ox, i in np.ndindex(out.shape):
            places = itertools.product(range(oy * sh - ph, oy * sh - ph + kh), range(ox * sw - pw, ox * sw - pw + kw))
            out[b, oy, ox, i] = f([x[b, y, z, i] if 0 <= y < h and 0 <= z < w else None for y, z in places])
        return out

    return oracle


average_pool = pool(lambda window: sum(v or 0.0 for v in window) / len(window))
max_pool = pool(lambda window: max(v for v in window if v is not None))


def upsample_nearest(x, scale=2):
    (sh, sw), (n, h, w, c) = _both(scale), x.shape
    out = np.empty((n, h * sh, w * sw, c))
    for b, y, z, i in np.ndindex(out.shape):
        out[b, y, z, i] = x[b, y // sh, z // sw, i]
    return out


def _affine(normal, gamma, beta):
    return elementwise(lambda v, a, b: v * a + b)(normal, gamma, beta)


def batch_norm(x, gamma, beta, eps=1e-5):
    return _affine(groupwise(standardize)(x, axis=tuple(range(x.ndim - 1)), eps=eps), gamma, beta)


def layer_norm(x, gamma, beta, eps=1e-5):
    return _affine(groupwise(standardize)(x, axis=tuple(range(x.ndim - gamma.ndim, x.ndim)), eps=eps), gamma, beta)


def instance_norm(x, gamma, beta, eps=1e-5):
    return _affine(groupwise(standardize)(x, axis=tuple(range(1, x.ndim - 1)), eps=eps), gamma, beta)


# ---- forward-mode differentiation --------------------------------------------------------------------------


class Dual:
    """value + ε·slope with ε² = 0, on arrays: carries a directional derivative forward through a program."""

    def __init__(self, value, slope):
        self.value, self.slope = np.asarray(value, float), np.asarray(slope, float)

    def __add__(self, other):
        return Dual(self.value + other.value, self.slope + other.slope)

    def __sub__(self, other):
        return Dual(self.value - other.value, self.slope - other.slope)

    def __mul__(self, other):
        return Dual(self.value * other.value, self.value * other.slope + self.slope * other.value)

    def __truediv__(self, other):
        inverse = 1 / other.value
        return Dual(self.value * inverse, (self.slope - self.value * other.slope * inverse) * inverse)

    def __neg__(self):
        return Dual(-self.value, -self.slope)

    def __matmul__(self, other):
        return Dual(self.value @ other.value, self.value @ other.slope + self.slope @ other.value)

    def map(self, f, derivative):
        """f of every element, its derivative given beside it."""
        return Dual(f(self.value), derivative(self.value) * self.slope)

    def move(self, f):
        """A linear movement (sum, transpose, indexing) does to the slope what it does to the value."""
        return Dual(f(self.value), f(self.slope))
