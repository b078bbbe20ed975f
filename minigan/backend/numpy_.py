"""NumPy on the CPU: the reference primitives, and faster ones where it was measured to matter.

Three ideas serve throughout: give BLAS what it can do (sums are products with ones), work through large arrays in
blocks that stay in the cache while several passes go over them, and split large products and copies between the cores
(`threads.split`).
"""

import numpy as np

from . import threads
from .reference import Backend
from .threads import split

BLOCK = 2**16  # elements of a block: 256 KiB of float32, a few of which fit into a core's second-level cache
ROWS = 768  # of a matrix at least, in a product that is one of many: fewer would not pay for what BLAS does first
LONG = 2**13  # NumPy adds a row to a matrix twice as fast when the row has at least so many numbers (its buffer's size)

PAIRS = {np.dtype("f4"): np.dtype("c8"), np.dtype("f8"): np.dtype("c16")}  # two real numbers as a complex one


def _blocks(size, period=1):
    """Slices that cover ``size`` numbers, each about BLOCK of them and a multiple of ``period``."""
    step = max(1, BLOCK // max(1, period)) * max(1, period)
    return [slice(first, first + step) for first in range(0, size, step)]


def _in_parts(work, samples, rows, width):
    """Call ``work(slice of samples)`` for parts of a batch whose columns have ``rows`` rows of ``width`` a sample.

    The parts depend on the sizes alone, the threads (if BLAS has but one) on what there is.
    """
    each = max(1, ROWS // rows, 2 * BLOCK // (rows * width))
    parts = -(-samples // each)
    cuts = [samples * i // parts for i in range(parts + 1)]

    def several(first, last):
        for start, stop in zip(cuts[first:last], cuts[first + 1 : last + 1]):
            work(slice(start, stop))

    split(several, parts, samples * rows * width if threads.blas_is_single else 0)


def _item(run, strides):
    """The dtype to move ``run`` bytes with: 16 or 8 at once, where the steps between runs allow it; else None."""
    aligned = all(step % 8 == 0 for step in strides)
    return next((item for item in map(np.dtype, ("c16", "f8")) if aligned and run % item.itemsize == 0), None)


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


class NumpyBackend(Backend):
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
        size = a.size * b.shape[1] // 256
        if size < threads.SMALLEST or not threads.blas_is_single:
            return a @ b
        out = np.empty((a.shape[0], b.shape[1]), np.result_type(a, b))
        split(lambda start, stop: np.matmul(a[start:stop], b, out=out[start:stop]), a.shape[0], size)
        return out

    def sum_rows(self, a):
        """A matrix-vector product with ones: BLAS streams the matrix once, at memory speed."""
        return np.ones(a.shape[0], a.dtype) @ a

    def add_row(self, a, row):
        """With the row repeated until it is long, where the matrix has enough rows for that."""
        times = LONG // max(1, row.size) + 1
        whole = len(a) - len(a) % times
        if whole and a.flags.c_contiguous:
            a[:whole].reshape(-1, times * row.size)[...] += np.broadcast_to(row, (times, row.size)).reshape(-1)
            a[whole:] += row
        else:
            a += row
        return a

    def im2col(self, x, kernel, stride, padding, size):
        """Strided copies: along a row of the image (kx, c) is contiguous, so runs of kw·c numbers move at once.

        Where the run is short (one channel, say) it is copied as one large item, not number by number.
        """
        (n, h, w, c), (kh, kw), (sh, sw), (ph, pw), (oh, ow) = x.shape, kernel, stride, padding, size
        if (kh, kw) == (h, w) and (oh, ow) == (1, 1) and (ph, pw) == (0, 0):
            return x.reshape(n, h * w * c)
        padded = np.ascontiguousarray(x)
        if ph or pw:
            padded = np.zeros((n, h + 2 * ph, w + 2 * pw, c), x.dtype)
            padded[:, ph : ph + h, pw : pw + w] = x
        s0, s1, s2, _ = padded.strides
        strides = s0, s1 * sh, s2 * sw, s1
        item = _item(kw * c * x.itemsize, strides) or x.dtype
        col = np.empty((n, oh, ow, kh, kw * c), x.dtype)
        runs = col.view(item)
        runs[...] = np.ndarray(runs.shape, item, padded, 0, (*strides, item.itemsize))
        return col.reshape(n * oh * ow, kh * kw * c)

    def col2im(self, col, shape, kernel, stride, padding, size):
        """Sorted by stride phase: row sy·a + r of the image gets tap r + sy·q of window a − q, for each q.

        The first tap of a phase is copied instead of added to zeros, and taps of all phases with the same q go at once:
        runs of sw·c contiguous numbers, two at a time as one complex number, which is added like two real ones. Where
        the run is odd and short, that does not pay.
        """
        (n, h, w, c), (kh, kw), (sh, sw), (ph, pw), (oh, ow) = shape, kernel, stride, padding, size
        number = col.dtype if (sw * c) % 2 else PAIRS.get(col.dtype, col.dtype)
        if kh % sh or kw % sw or (number == col.dtype and c < 8):
            return super().col2im(col, shape, kernel, stride, padding, size)
        qh, qw = kh // sh, kw // sw
        high, wide = max(oh + qh - 1, -(-(h + ph) // sh)), max(ow + qw - 1, -(-(w + pw) // sw))
        col = np.ascontiguousarray(col)
        taps = col.reshape(n, oh, ow, qh, sh, qw, sw * c).view(number).swapaxes(3, 4).swapaxes(2, 3)
        sums = np.empty((n, high, sh, wide, taps.shape[-1]), number)
        sums[:, oh:], sums[:, :oh, :, ow:] = 0, 0
        for y in range(qh):
            for x in range(qw):
                here = sums[:, y : y + oh, :, x : x + ow]
                if x == y == 0:
                    here[...] = taps[:, :, :, :, y, x]
                else:
                    here += taps[:, :, :, :, y, x]
        return sums.view(col.dtype).reshape(n, high * sh, wide * sw, c)[:, ph : ph + h, pw : pw + w]

    def conv(self, x, w, stride, padding, size):
        """Part by part, on all threads: the columns of a part are still in the cache when they are multiplied."""
        (kh, kw, _, o), w2 = w.shape, w.reshape(-1, w.shape[3])
        out = np.empty((len(x), *size, o), np.result_type(x, w))

        def part(samples):
            columns = self.im2col(x[samples], (kh, kw), stride, padding, size)
            np.matmul(columns, w2, out=out[samples].reshape(len(columns), o))

        _in_parts(part, len(x), size[0] * size[1], len(w2))
        return out

    def conv_transpose(self, g, w, stride, padding, size):
        """Part by part, on all threads."""
        (n, oh, ow, o), (kh, kw, c, _) = g.shape, w.shape
        out, transposed = np.empty((n, *size, c), np.result_type(g, w)), w.reshape(-1, o).T

        def part(samples):
            columns = g[samples].reshape(-1, o) @ transposed
            shape = (samples.stop - samples.start, *size, c)
            out[samples] = self.col2im(columns, shape, (kh, kw), stride, padding, (oh, ow))

        _in_parts(part, n, oh * ow, kh * kw * c)
        return out

    def conv_weight_gradient(self, x, g, kernel, stride, padding):
        """A sum of products, one a part, always in the same order: the number of threads changes no bit."""
        n, oh, ow, o = g.shape
        c, products = x.shape[3], {}

        def part(samples):
            columns = self.im2col(x[samples], kernel, stride, padding, (oh, ow))
            products[samples.start] = columns.T @ g[samples].reshape(-1, o)

        _in_parts(part, n, oh * ow, kernel[0] * kernel[1] * c)
        total = products.pop(0)
        for first in sorted(products):
            total += products[first]
        return total.reshape(*kernel, c, o)

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
