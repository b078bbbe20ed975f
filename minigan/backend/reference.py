"""The array library behind one small seam: what every backend can do, written to be read.

`Backend` holds an array module ``xp`` (NumPy, CuPy, or a stand-in), the two doors between host and device, and the
few named primitives that deserve a fast version of their own somewhere. What stands here is the definition of each;
`numpy_.py` and `cupy_.py` override some for speed, and `tests/test_backend.py` holds every override against this file.

Layout: images are N H W C, convolution weights kh kw in out. The columns of an image batch are a matrix with one row
per output position (n, oy, ox) and one column per weight entry (ky, kx, c), so that a convolution is ``columns @ w2``
with ``w2 = w.reshape(kh·kw·in, out)``: one GEMM, no transposes.
"""

import math


def _matrix(a):
    """(…, c) → (rows, c)."""
    return a.reshape(math.prod(a.shape[:-1]), a.shape[-1])


class Backend:
    """The reference implementation over an array module ``xp``; subclasses override for speed only."""

    name = "reference"
    xp = None

    # ---- the two doors --------------------------------------------------------------------------------------------

    def asarray(self, host, dtype=None):
        """Host → device, the only way in: a NumPy array (or nested list) becomes an array of this backend, copied."""
        return self.xp.array(host, dtype=dtype)

    def to_host(self, a):
        """Device → host, the only way out: an array of this backend becomes a NumPy array. Waits for the device."""
        raise NotImplementedError(f"{type(self).__name__} has no door to the host")

    def synchronize(self):
        """Wait until the device has finished (nothing to wait for on a CPU)."""

    # ---- matrix products and sums ---------------------------------------------------------------------------------

    def gemm(self, a, b, ta=False, tb=False):
        """op(a) @ op(b) of two matrices, op = transpose where the flag says so. a (m, k), b (k, n) → (m, n)."""
        return (a.T if ta else a) @ (b.T if tb else b)

    def sum_rows(self, a):
        """Sum over the rows of a matrix: (m, n) → (n,)."""
        return a.sum(0)

    def add_row(self, a, row):
        """Add ``row`` (n,) to every row of the matrix ``a`` (m, n), in place; returns ``a``."""
        a += row
        return a

    # ---- convolution's two data movements -------------------------------------------------------------------------

    def im2col(self, x, kernel, stride, padding, size):
        """Columns of x: (n, h, w, c) → (n·oh·ow, kh·kw·c), with ``size = (oh, ow)`` and zeros outside the image."""
        (n, _, _, c), (kh, kw), (sh, sw), (ph, pw), (oh, ow) = x.shape, kernel, stride, padding, size
        padded = self.xp.pad(x, ((0, 0), (ph, ph), (pw, pw), (0, 0)))
        col = self.xp.zeros((n, oh, ow, kh, kw, c), dtype=x.dtype)
        for ky in range(kh):
            for kx in range(kw):
                col[:, :, :, ky, kx] = padded[:, ky : ky + sh * oh : sh, kx : kx + sw * ow : sw][:, :oh, :ow]
        return col.reshape(n * oh * ow, kh * kw * c)

    def col2im(self, col, shape, kernel, stride, padding, size):
        """The adjoint of `im2col`: (n·oh·ow, kh·kw·c) → ``shape = (n, h, w, c)``, summing what overlaps."""
        (n, h, w, c), (kh, kw), (sh, sw), (ph, pw), (oh, ow) = shape, kernel, stride, padding, size
        col = col.reshape(n, oh, ow, kh, kw, c)
        padded = self.xp.zeros((n, h + 2 * ph + sh, w + 2 * pw + sw, c), dtype=col.dtype)
        for ky in range(kh):
            for kx in range(kw):
                padded[:, ky : ky + sh * oh : sh, kx : kx + sw * ow : sw][:, :oh, :ow] += col[:, :, :, ky, kx]
        return padded[:, ph : ph + h, pw : pw + w]

    # ---- convolution: the three partial derivatives of one trilinear form (`ops.convolution`) ----------------------

    def conv(self, x, w, stride, padding, size):
        """x (n, h, w, i), w (kh, kw, i, o) → (n, oh, ow, o), with ``size = (oh, ow)``: the columns of x times w."""
        columns = self.im2col(x, w.shape[:2], stride, padding, size)
        return self.gemm(columns, _matrix(w)).reshape(x.shape[0], *size, w.shape[3])

    def conv_transpose(self, g, w, stride, padding, size):
        """g (n, oh, ow, o), w (kh, kw, i, o) → (n, h, w, i), with ``size = (h, w)``: the columns g wᵀ, summed."""
        columns, shape = self.gemm(_matrix(g), _matrix(w), tb=True), (g.shape[0], *size, w.shape[2])
        return self.col2im(columns, shape, w.shape[:2], stride, padding, g.shape[1:3])

    def conv_weight_gradient(self, x, g, kernel, stride, padding):
        """x (n, h, w, i), g (n, oh, ow, o) → (kh, kw, i, o): the columns of x, transposed, times g."""
        columns = self.im2col(x, kernel, stride, padding, g.shape[1:3])
        return self.gemm(columns, _matrix(g), ta=True).reshape(*kernel, x.shape[3], g.shape[3])

    # ---- indexing's adjoint ---------------------------------------------------------------------------------------

    def scatter_add(self, shape, index, values):
        """The adjoint of ``a[index]``: zeros of ``shape`` with ``values`` added at ``index``, repeats included."""
        out = self.xp.zeros(shape, dtype=values.dtype)
        self.xp.add.at(out, index, values)
        return out

    # ---- batch normalisation on a matrix (m rows, c channels) -----------------------------------------------------

    def batch_norm(self, x, gamma, beta, eps):
        """y = γ·(x − μ)/√(σ² + ε) + β per column; returns (y, μ, σ²). σ² is the biased variance."""
        mean = self.sum_rows(x) / x.shape[0]
        centred = x - mean
        var = self.sum_rows(centred * centred) / x.shape[0]
        return centred * (gamma / self.xp.sqrt(var + eps)) + beta, mean, var

    def batch_norm_backward(self, g, x, gamma, mean, inv_std):
        """(x̄, γ̄, β̄) of `batch_norm`, given inv_std = 1/√(σ² + ε).

        x̄ = γ/σ·(ȳ − mean(ȳ) − x̂·mean(ȳ·x̂)), γ̄ = Σ ȳ·x̂, β̄ = Σ ȳ.
        """
        normal = (x - mean) * inv_std
        g_beta, g_gamma = self.sum_rows(g), self.sum_rows(g * normal)
        g_x = (g - (g_beta + normal * g_gamma) / x.shape[0]) * (gamma * inv_std)
        return g_x, g_gamma, g_beta

    def scale_shift(self, x, scale, shift):
        """y = x·scale + shift per column: batch normalisation with statistics that are constants."""
        return x * scale + shift

    # ---- activations ----------------------------------------------------------------------------------------------

    def leaky_relu(self, x, slope):
        """x where x > 0, else slope·x; for slope 0 max(x, 0), which is 0 at −∞ and hides no NaN."""
        return self.xp.where(x > 0, x, slope * x) if slope else self.xp.maximum(x, 0.0)

    def leaky_relu_backward(self, g, x, slope):
        """g where x > 0, else slope·g."""
        return self.xp.where(x > 0, g, slope * g if slope else 0.0)

    # ---- the optimiser's pass -------------------------------------------------------------------------------------

    def adam(self, w, g, m, v, rate, beta1, beta2, eps):
        """One Adam update of the flat arrays w, m, v in place, ``rate`` and ``eps`` holding the bias corrections:

        m ← β₁m + (1−β₁)g,  v ← β₂v + (1−β₂)g²,  w ← w − rate·m/(√v + eps).
        """
        m += (1 - beta1) * (g - m)
        v += (1 - beta2) * (g * g - v)
        w -= rate * m / (self.xp.sqrt(v) + eps)
