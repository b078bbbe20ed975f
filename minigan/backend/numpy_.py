"""NumPy on the CPU: the reference primitives, and faster ones where it was measured to matter.

Three ideas serve throughout: give BLAS what it can do (sums are products with ones), work through large arrays in
blocks that stay in the cache while several passes go over them, and split large products between the cores
(`threads.split`). Convolution has a file of its own, `numpy_convolution.py`.
"""

import numpy as np

from . import threads
from .numpy_convolution import Convolution
from .threads import FEW, FOUR, SMALL_PRODUCT, split

BLOCK = 2**16  # elements of a block: 256 KiB of float32, a few of which fit into a core's second-level cache
LONG = 2**13  # NumPy adds a row to a matrix twice as fast when the row has at least so many numbers (its buffer's size)


def _blocks(size, period=1):
    """Slices that cover ``size`` numbers, each about BLOCK of them and a multiple of ``period``."""
    step = max(1, BLOCK // max(1, period)) * max(1, period)
    return [slice(first, first + step) for first in range(0, size, step)]


def _in_blocks(*arrays):
    """Contiguous arrays of one size, piece by piece: a tuple of views, as many numbers each as make a block."""
    if arrays[0].size <= BLOCK:
        return [arrays]
    flat = [a.reshape(-1) for a in arrays]
    return [tuple([a[piece] for a in flat]) for piece in _blocks(flat[0].size)]


def _repeated(row, size):
    """``row`` as often as it fits into a block (or into ``size`` numbers), one copy behind the other.

    With it, every pass over a block is one long loop: twice as fast as broadcasting a row of 64 or 128 numbers.
    """
    times = max(1, min(BLOCK, size) // max(1, row.size))
    return np.broadcast_to(row, (times, row.size)).reshape(-1)


class NumpyBackend(Convolution):
    """The CPU. Each override says what makes it faster than the definition in `reference.py`."""

    name = "numpy"
    xp = np

    def to_host(self, a):
        """The array itself: the CPU is the host."""
        return a

    def gemm(self, a, b, ta=False, tb=False):
        """BLAS; a large product's rows in as many threads as there are, when those threads are ours to give."""
        a, b = a.T if ta else a, b.T if tb else b
        if a.shape[1] == 1:  # NumPy computes an outer product without BLAS, ten times slower than this: a column of 0
            a, b = np.concatenate([a, np.zeros_like(a)], 1), np.concatenate([b, np.zeros_like(b)])
        size = a.size * b.shape[1] // 256 if b.shape[1] > 1 else 0
        if size < threads.SMALLEST or not threads.blas_is_single:
            return a @ b
        out = np.empty((a.shape[0], b.shape[1]), np.result_type(a, b))
        least = FOUR * -(-max(FEW, SMALL_PRODUCT // b.size + 1) // FOUR)  # rows of a piece
        cuts = [*range(0, len(a) - least + 1, least), len(a)] if len(a) >= least else [0, len(a)]

        def multiply(first, last):
            rows = slice(cuts[first], cuts[last])
            np.matmul(a[rows], b, out=out[rows])

        split(multiply, len(cuts) - 1, size)
        return out

    def sum_rows(self, a):
        """A matrix-vector product with ones: BLAS streams the matrix once, at memory speed."""
        return np.ones(a.shape[0], a.dtype) @ a

    def add_row(self, a, row):
        """With the row repeated until it is long, where the matrix has enough rows for that."""
        times = LONG // max(1, row.size) + 1
        whole = len(a) - len(a) % times
        if whole and row.size and a.flags.c_contiguous:
            a[:whole].reshape(-1, times * row.size)[...] += np.broadcast_to(row, (times, row.size)).reshape(-1)
            a[whole:] += row
        else:
            a += row
        return a

    def scatter_add(self, shape, index, values):
        """Assignment where no element can be named twice (basic indices, one boolean mask); ``add.at`` otherwise."""
        keys = index if isinstance(index, tuple) else (index,)
        out = np.zeros(shape, values.dtype)
        basic = all(k is None or k is Ellipsis or isinstance(k, (int, slice, np.integer)) for k in keys)
        if basic or (len(keys) == 1 and keys[0].dtype.kind == "b"):
            out[index] = values
        else:
            np.add.at(out, index, values)
        return out

    def batch_norm(self, x, gamma, beta, eps):
        """x − μ and its squares' sums block by block, then y = (x − μ)·scale + β in place, block by block."""
        m, c = x.shape
        mean, var = self.sum_rows(x) / m, np.zeros(c, x.dtype)
        out = np.empty(x.size, x.dtype)
        flat, centre = x.reshape(-1), _repeated(mean, x.size)
        for piece in _blocks(x.size, c):
            d = out[piece]
            np.subtract(flat[piece], centre[: d.size], out=d)
            d = d.reshape(-1, c)
            var += np.einsum("ij,ij->j", d, d)
        var /= m
        scale, shift = _repeated(gamma / np.sqrt(var + eps), x.size), _repeated(beta, x.size)
        for piece in _blocks(x.size, c):
            y = out[piece]
            y *= scale[: y.size]
            y += shift[: y.size]
        return out.reshape(m, c), mean, var

    def batch_norm_backward(self, g, x, gamma, mean, inv_std):
        """Σ ȳ·(x − μ) block by block, then x̄ as a combination of ȳ and x − μ, in place, block by block."""
        m, c = x.shape
        g_x, products = np.empty(x.size, x.dtype), np.zeros(c, x.dtype)
        flat_g, flat_x, centre = g.reshape(-1), x.reshape(-1), _repeated(mean, x.size)
        for piece in _blocks(x.size, c):
            d = g_x[piece]
            np.subtract(flat_x[piece], centre[: d.size], out=d)
            products += np.einsum("ij,ij->j", flat_g[piece].reshape(-1, c), d.reshape(-1, c))
        g_beta, g_gamma = self.sum_rows(g), products * inv_std
        per_channel = g_gamma * inv_std / m, g_beta / m, gamma * inv_std
        slope, level, scale = [_repeated(v, x.size) for v in per_channel]
        for piece in _blocks(x.size, c):
            d = g_x[piece]  # x − μ, from the pass before
            d *= slope[: d.size]
            d += level[: d.size]
            np.subtract(flat_g[piece], d, out=d)
            d *= scale[: d.size]
        return g_x.reshape(m, c), g_gamma, g_beta

    def scale_shift(self, x, scale, shift):
        """Block by block, the second pass in place."""
        flat, out = x.reshape(-1), np.empty(x.size, x.dtype)
        scale, shift = _repeated(scale, x.size), _repeated(shift, x.size)
        for piece in _blocks(x.size, x.shape[1]):
            y = out[piece]
            np.multiply(flat[piece], scale[: y.size], out=y)
            y += shift[: y.size]
        return out.reshape(x.shape)

    def leaky_relu(self, x, slope):
        """max(x, slope·x) in blocks, where that is the same and memory is contiguous."""
        if not (0 <= slope <= 1 and x.flags.c_contiguous):
            return super().leaky_relu(x, slope)
        out = np.empty_like(x)
        for part_x, part in _in_blocks(x, out):
            scaled = np.multiply(part_x, slope, out=part) if slope else 0.0  # 0·∞ is NaN
            np.maximum(part_x, scaled, out=part)
        return out

    def leaky_relu_backward(self, g, x, slope):
        """g·max(1 where x > 0 else 0, slope) in blocks: NumPy's `where` is several times slower than arithmetic."""
        if not (0 <= slope <= 1 and x.flags.c_contiguous and g.flags.c_contiguous and g.dtype == x.dtype):
            return super().leaky_relu_backward(g, x, slope)
        out = np.empty_like(g)
        for part_g, part_x, factor in _in_blocks(g, x, out):
            positive = (part_x > 0).view(np.int8)  # bool itself is slow to convert
            if slope:
                factor[...] = positive
                np.maximum(factor, slope, out=factor)
                factor *= part_g
            else:  # 0·∞ is NaN, so g is multiplied as if it were an integer
                bits = factor.view(f"i{x.itemsize}")
                bits[...] = positive
                bits *= part_g.view(bits.dtype)
        return out

    def adam(self, w, g, m, v, rate, beta1, beta2, eps):
        """Block by block, so that the ten passes over w, g, m and v find their numbers in the cache."""
        scratch = np.empty(min(BLOCK, w.size), w.dtype)
        for wp, gp, mp, vp in _in_blocks(w, g, m, v):
            t = np.subtract(gp, mp, out=scratch[: len(wp)])
            t *= 1 - beta1
            mp += t
            np.multiply(gp, gp, out=t)
            t -= vp
            t *= 1 - beta2
            vp += t
            np.sqrt(vp, out=t)
            t += eps
            np.divide(mp, t, out=t)
            t *= rate
            wp -= t
