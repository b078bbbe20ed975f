"""Convolution with NumPy: columns laid out by strided copies, multiplied and added up again, part by part of a batch.

The columns of an image are kh·kw/(sh·sw) times as large as the image. Those of a whole batch would fill the memory (of
a DCGAN, half of it) and no cache, so they are made for some samples at a time, and again in the backward pass.
"""

import math

import numpy as np

from . import threads
from .reference import Backend
from .threads import FOUR, SMALL_PRODUCT, split

MOST = 2**20  # numbers in the columns of one part
PAIRS = {np.dtype("f4"): np.dtype("c8"), np.dtype("f8"): np.dtype("c16")}  # two real numbers as a complex one


class Convolution(Backend):
    """What `NumpyBackend` does about convolution."""

    def im2col(self, x, kernel, stride, padding, size):
        """Strided copies: along a row of the image (kx, c) is contiguous, so runs of kw·c numbers move at once."""
        return _columns(_padded(x, padding), kernel, stride, size)

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
        """Part by part, on all threads: the columns of a large batch never exist as a whole."""
        (kh, kw, c, o), rows = w.shape, math.prod(size)
        out, w2 = np.empty((len(x), *size, o), np.result_type(x, w)), w.reshape(kh * kw * c, o)

        def work(part):
            columns = self.im2col(x[part], (kh, kw), stride, padding, size)
            np.matmul(columns, w2, out=out[part].reshape(len(columns), o))

        _over_batch(work, len(x), rows, kh * kw * c, o)
        return out

    def conv_transpose(self, g, w, stride, padding, size):
        """Part by part, on all threads."""
        (n, oh, ow, o), (kh, kw, c, _) = g.shape, w.shape
        out, transposed = np.empty((n, *size, c), np.result_type(g, w)), w.reshape(kh * kw * c, o).T

        def work(part):
            samples = part.stop - part.start
            columns = g[part].reshape(samples * oh * ow, o) @ transposed
            out[part] = self.col2im(columns, (samples, *size, c), (kh, kw), stride, padding, (oh, ow))

        _over_batch(work, n, oh * ow, kh * kw * c, o)
        return out

    def conv_weight_gradient(self, x, g, kernel, stride, padding):
        """Each thread takes some rows of the kernel: it lays out these columns only, and writes sums of its own."""
        (n, oh, ow, o), (kh, kw), c = g.shape, kernel, x.shape[3]
        padded, out = _padded(x, padding), np.zeros((kh, kw * c, o), np.result_type(x, g))
        count = -(-n * oh * ow * kh * kw * c // MOST)
        parts = [slice(n * i // count, n * (i + 1) // count) for i in range(count)]

        def work(first, last):
            for part in parts:
                columns = _columns(padded[part, first:], (last - first, kw), stride, (oh, ow))
                product = columns.T @ g[part].reshape(len(columns), o)
                out[first:last] += product.reshape(last - first, kw * c, o)

        smallest = n // max(1, count) * oh * ow * kw * c * o  # multiplications for one row of the kernel
        alone = threads.blas_is_single and kw * c % FOUR == 0 and o > 1 and smallest > SMALL_PRODUCT
        split(work, kh, n * oh * ow * kh * kw * c if alone else 0)
        return out.reshape(kh, kw, c, o)


# ---- the parts of a batch -------------------------------------------------------------------------------------------


def _over_batch(work, samples, rows, width, o):
    """Call ``work(slice)`` for all parts of a batch, on all threads if BLAS has but one.

    A sample's columns are (rows, width), its product makes ``o`` numbers of a row. The batch is cut between groups of
    samples that are worth a thread and large enough for BLAS to round alike, whatever the number of threads.
    """
    unit = 1 if rows % FOUR == 0 else FOUR
    numbers = max(1, unit * rows * width)
    group = unit * max(1, threads.SMALLEST // numbers, SMALL_PRODUCT // (numbers * max(1, o)) + 1)
    groups, most = max(1, samples // group), max(1, MOST // (group * max(1, rows * width)))
    cuts = [group * i for i in range(groups)] + [samples]

    def several(first, last):
        for start in range(first, last, most):
            work(slice(cuts[start], cuts[min(start + most, last)]))

    split(several, groups, samples * rows * width if threads.blas_is_single else 0)


# ---- laying out columns ---------------------------------------------------------------------------------------------


def _padded(x, padding):
    """x (n, h, w, c) with a border of zeros, in contiguous memory."""
    (n, h, w, c), (ph, pw) = x.shape, padding
    if not (ph or pw):
        return np.ascontiguousarray(x)
    out = np.zeros((n, h + 2 * ph, w + 2 * pw, c), x.dtype)
    out[:, ph : ph + h, pw : pw + w] = x
    return out


def _columns(x, kernel, stride, size):
    """The columns of images with their border: (n, h, w, c), whose rows are contiguous → (n·oh·ow, kh·kw·c).

    A run of kw·c numbers moves as items of 16 or 8 bytes where the steps between runs allow it: one channel's runs of 4
    as one item each.
    """
    (n, _, _, c), (kh, kw), (sh, sw), (oh, ow) = x.shape, kernel, stride, size
    s0, s1, s2, _ = x.strides  # the last may be anything if there is one channel
    shape, steps = (n, oh, ow, kh, kw * c), (s0, s1 * sh, s2 * sw, s1)
    windows, out = np.lib.stride_tricks.as_strided(x, shape, (*steps, x.itemsize)), np.empty(shape, x.dtype)
    for item in map(np.dtype, ("c16", "f8")):
        if kw * c * x.itemsize % item.itemsize == 0 and all(step % 8 == 0 for step in steps):
            windows, out = windows.view(item), out.view(item)
            break
    out[...] = windows
    return out.view(x.dtype).reshape(n * oh * ow, kh * kw * c)
