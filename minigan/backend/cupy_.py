"""CuPy on a GPU: the reference primitives, and kernels of our own where launches or memory traffic matter.

A small network on a GPU waits for Python: every kernel launch costs some 10 µs, whatever it computes. So
the kernels here are few and fused: one for all of Adam, one per activation and per movement of a
convolution, batch norm in eleven launches, forward and backward, not twenty-two. Each is the text of a
`cupy.ElementwiseKernel`: a loop body over the elements of its outputs, where ``i`` is the element's number.
`tests/test_cupy_kernels.py` compiles the same texts for the CPU and holds them against `reference.py`.

Kernels are made for float32 and float64 in arrays of less than 2³¹ elements (their index arithmetic is
int32); all else goes to the reference implementation. Matrix products are cuBLAS's, on 2-D operands only:
CuPy tells it about transposed operands instead of copying them, so `Backend.gemm` is good as it stands.
float32 is multiplied and added in float32 unless `CupyBackend.allow_tf32` says otherwise.

Nothing here imports CuPy before a device ``"cuda"`` is asked for.
"""

import functools
import os
from typing import NamedTuple

import numpy as np

from .reference import Backend

INT32_MAX = 2**31 - 1


class Kernel(NamedTuple):
    """The text of an ElementwiseKernel: parameters in and out, the loop's body. T: float or double."""

    inputs: str
    outputs: str
    body: str


# ---- convolution's two data movements ----------------------------------------------------------------------

_SIZES = ", ".join(f"int32 {name}" for name in "h w c oh ow kh kw sh sw ph pw".split())

# i numbers the columns' entries (b, oy, ox, ky, kx, c). Neighbouring threads read neighbouring channels.
IM2COL = Kernel(
    f"raw T image, {_SIZES}",
    "T col",
    """
    int rest = i;
    int channel = rest % c;  rest /= c;
    int kx = rest % kw;  rest /= kw;
    int ky = rest % kh;  rest /= kh;
    int ox = rest % ow;  rest /= ow;
    int oy = rest % oh;
    int b = rest / oh;
    int y = oy * sh + ky - ph;
    int x = ox * sw + kx - pw;
    bool inside = y >= 0 && y < h && x >= 0 && x < w;
    col = inside ? image[((b * h + y) * w + x) * c + channel] : T(0);
    """,
)

# i numbers the image's entries (b, y, x, c). Each thread gathers what overlaps at its own pixel, from the
# windows with oy·sh + ky = y + ph: no two threads write to one place, so there are no atomics, and every
# run gives the same bits. y and x are counted from the padded image's corner.
COL2IM = Kernel(
    f"raw T col, {_SIZES}",
    "T image",
    """
    int rest = i;
    int channel = rest % c;  rest /= c;
    int x = rest % w + pw;  rest /= w;
    int y = rest % h + ph;
    int b = rest / h;
    T total = 0;
    for (int ky = y % sh; ky < kh && ky <= y; ky += sh) {
        int oy = (y - ky) / sh;
        if (oy >= oh) continue;
        for (int kx = x % sw; kx < kw && kx <= x; kx += sw) {
            int ox = (x - kx) / sw;
            if (ox >= ow) continue;
            total += col[((((b * oh + oy) * ow + ox) * kh + ky) * kw + kx) * c + channel];
        }
    }
    image = total;
    """,
)

# ---- batch normalisation: x, g are (rows, c); what has one number per channel is (c,) and broadcast --------

SQUARED_DEVIATION = Kernel(
    "T x, T total, T rows",
    "T square",
    "T centred = x - total / rows;  square = centred * centred;",
)

STATISTICS = Kernel(
    "T total, T squares, T rows",
    "T mean, T var",
    "mean = total / rows;  var = squares / rows;",
)

NORMALIZE = Kernel(
    "T x, T gamma, T beta, T mean, T var, T eps",
    "T y",
    "y = (x - mean) * (gamma / sqrt(var + eps)) + beta;",
)

GRADIENT_TERMS = Kernel(
    "T g, T x, T mean, T inv_std",
    "T beta_term, T gamma_term",
    "beta_term = g;  gamma_term = g * ((x - mean) * inv_std);",
)

NORMALIZE_BACKWARD = Kernel(
    "T g, T x, T gamma, T mean, T inv_std, T g_gamma, T g_beta, T rows",
    "T g_x",
    """
    T normal = (x - mean) * inv_std;
    g_x = (g - (g_beta + normal * g_gamma) / rows) * (gamma * inv_std);
    """,
)

SCALE_SHIFT = Kernel("T x, T scale, T shift", "T y", "y = x * scale + shift;")

# ---- activations -------------------------------------------------------------------------------------------

LEAKY_RELU = Kernel(
    "T x, T slope",
    "T y",
    "y = x > 0 ? x : slope == 0 && x == x ? T(0) : slope * x;",  # 0·(−∞) is NaN; a NaN stays one
)

LEAKY_RELU_BACKWARD = Kernel(
    "T g, T x, T slope",
    "T y",
    "y = x > 0 ? g : slope == 0 ? T(0) : slope * g;",
)

# ---- the optimiser's pass ----------------------------------------------------------------------------------

# rest1 = 1 − β₁ and rest2 = 1 − β₂ come from the host: 1 − 0.999 in float32 has lost three of its seven
# digits.
ADAM = Kernel(
    "T g, T rate, T rest1, T rest2, T eps",
    "T w, T m, T v",
    """
    m += rest1 * (g - m);
    v += rest2 * (g * g - v);
    w -= rate * m / (sqrt(v) + eps);
    """,
)

KERNELS = {
    "im2col": IM2COL,
    "col2im": COL2IM,
    "squared_deviation": SQUARED_DEVIATION,
    "statistics": STATISTICS,
    "normalize": NORMALIZE,
    "gradient_terms": GRADIENT_TERMS,
    "normalize_backward": NORMALIZE_BACKWARD,
    "scale_shift": SCALE_SHIFT,
    "leaky_relu": LEAKY_RELU,
    "leaky_relu_backward": LEAKY_RELU_BACKWARD,
    "adam": ADAM,
}


class CupyBackend(Backend):
    """A GPU through CuPy. ``syncs`` counts the copies from device to host: a training step needs none."""

    name = "cupy"

    def __init__(self):
        import cupy

        self.xp, self.syncs, self._compiled = cupy, 0, {}

    def kernel(self, name):
        """The ElementwiseKernel ``name`` of `KERNELS`, made on first use and compiled on first call."""
        if name not in self._compiled:
            import cupy

            inputs, outputs, body = KERNELS[name]
            self._compiled[name] = cupy.ElementwiseKernel(inputs, outputs, body, f"minigan_{name}")
        return self._compiled[name]

    # ---- the two doors, and the device ---------------------------------------------------------------------

    def to_host(self, a):
        """A NumPy copy; waits until the device has computed ``a``, and is counted in ``syncs``."""
        self.syncs += 1
        return self.xp.asnumpy(a)

    def synchronize(self):
        """Wait until the current GPU has finished all it was given (before reading a clock, say)."""
        import cupy

        cupy.cuda.Device().synchronize()

    @property
    def tf32(self):
        """May float32 matrix products round their operands to 10 bits of mantissa (TF32)?"""
        import cupy

        return cupy._core.get_compute_type("f") == cupy._core._routines_linalg.COMPUTE_TYPE_TF32

    def allow_tf32(self, flag=True):
        """Let float32 matrix products use TF32 tensor cores (faster, relative error 1e-3), or forbid it.

        Off by default. It holds for the whole process, convolutions included, from the next product on:
        call it before the first one, so that all of a run is computed alike. CuPy's own switch, the
        environment variable ``CUPY_TF32=1``, is read only once, at the first product (`load` makes one),
        and overruled by this call.

        Raises ``RuntimeError`` when the GPU has no TF32 (compute capability below 8.0).
        """
        import cupy

        linalg = cupy._core._routines_linalg
        cupy._core.set_compute_type("f", linalg.COMPUTE_TYPE_TF32 if flag else linalg.COMPUTE_TYPE_DEFAULT)
        if self.tf32 != bool(flag):
            raise RuntimeError("this GPU has no TF32: it needs compute capability 8.0 or more")

    # ---- sums ----------------------------------------------------------------------------------------------

    def sum_rows(self, a):
        """In two steps, groups of rows first.

        CuPy gives a column sum one block of threads per 32 columns, however many rows there are: 2 blocks for
        64 channels, on a GPU that runs hundreds at once. Summing within groups of rows first keeps it busy.
        """
        m, n = a.shape
        groups = _groups(m, n)
        if groups == 1:
            return a.sum(0)
        whole = m - m % groups
        total = a[:whole].reshape(groups, whole // groups, n).sum(1).sum(0)
        return total if whole == m else total + a[whole:].sum(0)

    # ---- convolution's two data movements ------------------------------------------------------------------

    def im2col(self, x, kernel, stride, padding, size):
        """One kernel, one thread per entry of the columns."""
        (n, h, w, c), (kh, kw), (oh, ow) = x.shape, kernel, size
        shape = (n * oh * ow, kh * kw * c)
        if not _fits(x) or shape[0] * shape[1] > INT32_MAX:
            return super().im2col(x, kernel, stride, padding, size)
        col = self.xp.empty(shape, dtype=x.dtype)
        x = self.xp.ascontiguousarray(x)
        self.kernel("im2col")(x, h, w, c, *size, *kernel, *stride, *padding, col)
        return col

    def col2im(self, col, shape, kernel, stride, padding, size):
        """One kernel, one thread per pixel and channel: each gathers its own sum."""
        n, h, w, c = shape
        if not _fits(col) or n * h * w * c > INT32_MAX:
            return super().col2im(col, shape, kernel, stride, padding, size)
        image = self.xp.empty((n, h, w, c), dtype=col.dtype)
        col = self.xp.ascontiguousarray(col)
        self.kernel("col2im")(col, h, w, c, *size, *kernel, *stride, *padding, image)
        return image

    # ---- indexing's adjoint --------------------------------------------------------------------------------

    def scatter_add(self, shape, index, values):
        """Assignment where no element can be named twice; CuPy's atomic additions otherwise.

        Atomic additions to one place happen in any order, so sums of floats may differ in their last bits
        from run to run. Boolean masks become integer indices first, which makes the host wait: only the
        device knows how many there are.
        """
        keys = index if isinstance(index, tuple) else (index,)
        keys = [self.asarray(k, None if k else "int64") if isinstance(k, list) else k for k in keys]
        basic = [k is None or k is Ellipsis or isinstance(k, (int, slice, np.integer)) for k in keys]
        masks = [hasattr(k, "dtype") and k.dtype.kind == "b" and k.ndim > 0 for k in keys]
        keys = [part for k, mask in zip(keys, masks) for part in (k.nonzero() if mask else (k,))]
        out = self.xp.zeros(shape, dtype=values.dtype)
        if all(basic) or (sum(masks) == 1 and sum(basic) == len(basic) - 1):
            out[tuple(keys)] = values
        else:
            self.xp.add.at(out, tuple(keys), values)
        return out

    # ---- batch normalisation -------------------------------------------------------------------------------

    def batch_norm(self, x, gamma, beta, eps):
        """Seven launches: two column sums of two each, and three elementwise kernels."""
        if not _fits(x, gamma, beta):
            return super().batch_norm(x, gamma, beta, eps)
        rows, total = float(x.shape[0]), self.sum_rows(x)
        squares = self.sum_rows(self.kernel("squared_deviation")(x, total, rows))
        mean, var = self.kernel("statistics")(total, squares, rows)
        return self.kernel("normalize")(x, gamma, beta, mean, var, eps), mean, var

    def batch_norm_backward(self, g, x, gamma, mean, inv_std):
        """Four launches: the terms of both sums side by side in one matrix, its sums (two), and x̄."""
        if not _fits(g, x, gamma, mean, inv_std):
            return super().batch_norm_backward(g, x, gamma, mean, inv_std)
        m, c = x.shape
        terms = self.xp.empty((m, 2 * c), dtype=x.dtype)
        self.kernel("gradient_terms")(g, x, mean, inv_std, terms[:, :c], terms[:, c:])
        sums = self.sum_rows(terms)
        g_beta, g_gamma = sums[:c], sums[c:]
        g_x = self.kernel("normalize_backward")(g, x, gamma, mean, inv_std, g_gamma, g_beta, float(m))
        return g_x, g_gamma, g_beta

    def scale_shift(self, x, scale, shift):
        """One kernel instead of two."""
        if not _fits(x, scale, shift):
            return super().scale_shift(x, scale, shift)
        return self.kernel("scale_shift")(x, scale, shift)

    # ---- activations ---------------------------------------------------------------------------------------

    def leaky_relu(self, x, slope):
        """One kernel instead of three."""
        if not _fits(x):
            return super().leaky_relu(x, slope)
        return self.kernel("leaky_relu")(x, slope)

    def leaky_relu_backward(self, g, x, slope):
        """One kernel instead of three."""
        if not _fits(g, x):
            return super().leaky_relu_backward(g, x, slope)
        return self.kernel("leaky_relu_backward")(g, x, slope)

    # ---- the optimiser's pass ------------------------------------------------------------------------------

    def adam(self, w, g, m, v, rate, beta1, beta2, eps):
        """One kernel for all parameters of a network."""
        if not _fits(w, g, m, v):
            return super().adam(w, g, m, v, rate, beta1, beta2, eps)
        self.kernel("adam")(g, rate, 1 - beta1, 1 - beta2, eps, w, m, v)


def _fits(*arrays):
    """May the fused kernels have these: float32 or float64, all the same, and few enough for int32?"""
    dtype = arrays[0].dtype
    return dtype.char in "fd" and all(a.dtype == dtype and a.size <= INT32_MAX for a in arrays)


_BLOCKS = 512  # of threads, to aim for: a few for each of a large GPU's 132 processors
_ROWS = 32  # a group of fewer rows is not worth a second step


@functools.cache
def _groups(m, n):
    """In how many groups `sum_rows` takes the rows of an (m, n) matrix; a divisor of m if there is one."""
    most = min(_BLOCKS // max(1, -(-n // 32)), m // _ROWS)
    if most < 2:
        return 1
    return next((d for d in range(most, most // 2, -1) if m % d == 0), most)


# ---- finding the GPU ---------------------------------------------------------------------------------------

_loaded = {}  # GPU number → backend: at most one


def load(device, NotAvailable):
    """The array type and the backend of ``"cuda"`` (CuPy's current GPU, as a rule number 0) or ``"cuda:1"``.

    The GPU becomes CuPy's current one in this thread; another thread calls ``cupy.cuda.Device(1).use()``
    itself. A process computes on one GPU.

    Raises ``NotAvailable`` when something is missing, and says what: CuPy, the driver, any GPU, this GPU,
    or one of CUDA's libraries, for which a sum and a matrix product are tried. Raises ``ValueError`` for a
    malformed name.
    """
    number = device.removeprefix("cuda").removeprefix(":")
    if device != "cuda" and not (device.startswith("cuda:") and number.isdecimal() and number.isascii()):
        raise ValueError(f"device must be 'cpu', 'cuda' or 'cuda:' and the GPU's number, got {device!r}")
    cupy = _import(device, NotAvailable)
    count = _count(cupy, device, NotAvailable)
    index = int(number) if number else cupy.cuda.runtime.getDevice()
    if index >= count:
        those = "cuda:0" if count == 1 else f"cuda:0 to cuda:{count - 1}"
        raise NotAvailable(f"device {device!r}: there is no GPU number {index} here, only {those}")
    if _loaded and index not in _loaded:
        what = f"this process computes on cuda:{min(_loaded)} already, and on one GPU only"
        raise NotAvailable(f"device {device!r}: {what}")
    if index not in _loaded:
        try:
            cupy.cuda.Device(index).use()
            ones = cupy.ones((2, 2), dtype="float32")
            cupy.asnumpy(ones @ ones + ones)
        except Exception as error:
            what = f"device {device!r}: CuPy sees the GPU, but cannot compute on it"
            raise NotAvailable(f"{what} ({_reason(error)})") from error
        _loaded[index] = CupyBackend()
    return cupy.ndarray, _loaded[index]


def _import(device, NotAvailable):
    try:
        import cupy
    except ModuleNotFoundError as error:
        if error.name != "cupy":
            raise NotAvailable(f"device {device!r}: CuPy is installed, but lacks {error.name}") from error
        what = "CuPy is not installed; pip install minigan[gpu] (for an NVIDIA GPU with CUDA 13)"
        raise NotAvailable(f"device {device!r}: {what}") from error
    except Exception as error:
        what = "CuPy is installed, but cannot be imported"
        raise NotAvailable(f"device {device!r}: {what} ({_reason(error)})") from error
    return cupy


def _count(cupy, device, NotAvailable):
    """How many GPUs CuPy sees: at least one."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    hint = "" if visible is None else f"; CUDA_VISIBLE_DEVICES is {visible!r}"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        what = "CuPy is installed, but finds no NVIDIA driver or no GPU"
        raise NotAvailable(f"device {device!r}: {what} ({_reason(error)}{hint})") from error
    if count == 0 or not cupy.cuda.is_available():
        raise NotAvailable(f"device {device!r}: CuPy is installed, but finds no GPU ({count} devices{hint})")
    return count


def _reason(error):
    """An exception in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
