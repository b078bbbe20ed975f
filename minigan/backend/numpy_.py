"""NumPy on the CPU: the reference primitives, and faster ones where it was measured to matter."""

import numpy as np

from .reference import Backend


class NumpyBackend(Backend):
    """The CPU. Each override says what makes it faster than the definition in `reference.py`."""

    name = "numpy"
    xp = np

    def to_host(self, a):
        """The array itself: the CPU is the host."""
        return a

    def sum_rows(self, a):
        """A matrix-vector product with ones: BLAS streams the matrix once, at memory speed."""
        return np.ones(a.shape[0], a.dtype) @ a

    def im2col(self, x, kernel, stride, padding, size):
        """One strided copy: along a row of the image (kx, c) is contiguous, so whole runs of kw·c numbers move at once."""
        (n, h, w, c), (kh, kw), (sh, sw), (ph, pw), (oh, ow) = x.shape, kernel, stride, padding, size
        if (kh, kw) == (h, w) and (oh, ow) == (1, 1) and (ph, pw) == (0, 0):
            return x.reshape(n, h * w * c)
        if ph or pw:
            padded = np.zeros((n, h + 2 * ph, w + 2 * pw, c), x.dtype)
            padded[:, ph : ph + h, pw : pw + w] = x
        else:
            padded = np.ascontiguousarray(x)
        s0, s1, s2, s3 = padded.strides
        windows = np.lib.stride_tricks.as_strided(
            padded, (n, oh, ow, kh, kw * c), (s0, s1 * sh, s2 * sw, s1, s3), writeable=False
        )
        return windows.reshape(n * oh * ow, kh * kw * c)

    def scatter_add(self, shape, index, values):
        """Assignment where no element can be named twice (basic indices, one boolean mask); ``add.at`` otherwise."""
        keys = index if isinstance(index, tuple) else (index,)
        out = np.zeros(shape, values.dtype)
        if all(k is None or k is Ellipsis or isinstance(k, (int, slice, np.integer)) for k in keys):
            out[index] = values
        elif len(keys) == 1 and keys[0].dtype == bool:
            out[index] = values
        else:
            np.add.at(out, index, values)
        return out
