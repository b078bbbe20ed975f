"""The toy step in plain NumPy, both passes written out by hand: what NumPy itself can do.

No autodiff and no graph. Real and generated points go through D together, in one batch (nothing couples the rows);
activations, gradients and Adam's moments live in buffers that are made once, and every pass writes into one of them.
"""

import numpy as np

from benchmarks.libraries import Task
from benchmarks.workloads import BETA1, BETA2, EPSILON, LEARNING_RATE, SLOPE


def make(workload, start, variant="", device="cpu"):
    """See `libraries`. Only the toy workload."""
    if workload.kind != "toy":
        raise ValueError(f"by hand there is only the toy step, not {workload.kind}")
    n = workload.batch
    G, D = MLP(start.G, 2 * n), MLP(start.D, 2 * n)
    adam_g, adam_d = Adam(G.parameters), Adam(D.parameters)
    both = np.concatenate([start.real, start.fake])
    sign_d = np.concatenate([-np.ones((n, 1), np.float32), np.ones((n, 1), np.float32)])
    sign_g = sign_d[:n]

    def step():
        both[n:] = G.forward(start.latent_d)
        loss_d, g = softplus_loss(D.forward(both), sign_d, n)
        D.backward(g, D.gradients)
        adam_d.step(D.gradient)
        loss_g, g = softplus_loss(D.forward(G.forward(start.latent_g)), sign_g, n)
        G.backward(D.backward(g, None, to_input=True), G.gradients)
        adam_g.step(G.gradient)
        return loss_d, loss_g

    return Task(step, lambda: [np.array(w) for w in G.weights + D.weights])


def softplus_loss(logits, sign, n):
    """Σ softplus(sign·logits)/n, and its gradient sign·sigmoid(sign·logits)/n by the logits."""
    t = sign * logits
    s = np.logaddexp(np.float32(0), t)
    t -= s
    g = np.exp(t, out=t)  # sigmoid(t) = exp(t − softplus(t))
    g *= sign / np.float32(n)
    return s.sum() / n, g


class MLP:
    """Dense layers with LeakyReLU between them, for up to ``rows`` rows.

    ``parameters`` and ``gradient`` are flat; ``weights`` and ``gradients`` are their pieces W, b, W, b, …
    """

    def __init__(self, weights, rows):
        self.parameters, self.weights = flat(weights)
        self.gradient, self.gradients = flat([np.zeros_like(w) for w in weights])
        widths = [weights[0].shape[0]] + [w.shape[1] for w in weights[::2]]
        self.values = [np.empty((rows, width), np.float32) for width in widths]
        self.cotangents = [np.empty_like(v) for v in self.values]
        self.scratch = [np.empty_like(v) for v in self.values]
        self.ones = np.ones(rows, np.float32)

    def forward(self, x):
        """x (n, inputs) → (n, outputs), a view of a buffer that the next call overwrites."""
        n, last = len(x), len(self.values) - 1
        self.inputs = [x]
        for i, (w, b) in enumerate(zip(self.weights[::2], self.weights[1::2]), 1):
            y = np.matmul(self.inputs[-1], w, out=self.values[i][:n])
            y += b
            if i < last:
                np.maximum(y, np.multiply(y, SLOPE, out=self.scratch[i][:n]), out=y)
            self.inputs.append(y)
        return y

    def backward(self, g, gradients, to_input=False):
        """The cotangent g of the last output → ``gradients`` (None: not wanted) and, if wanted, the input's."""
        n = len(g)
        for i in reversed(range(len(self.weights) // 2)):
            x = self.inputs[i]
            if gradients is not None:
                np.matmul(x.T, g, out=gradients[2 * i])
                np.matmul(self.ones[:n], g, out=gradients[2 * i + 1])
            if i or to_input:
                multiply = np.matmul if g.shape[1] > 1 else np.multiply  # NumPy gives no outer product to BLAS
                g = multiply(g, self.weights[2 * i].T, out=self.cotangents[i][:n])
            if i:  # LeakyReLU keeps the sign: x > 0 where what went in was
                factor = self.scratch[i][:n]
                factor[...] = x > 0
                np.maximum(factor, SLOPE, out=factor)
                g *= factor
        return g


class Adam:
    """Adam on one flat array, in place."""

    def __init__(self, parameters):
        self.w, self.t = parameters, 0
        self.m, self.v = np.zeros_like(parameters), np.zeros_like(parameters)
        self.scratch = np.empty_like(parameters)

    def step(self, g):
        """One update with the flat gradient ``g``."""
        self.t += 1
        correction = (1 - BETA2**self.t) ** 0.5
        d = np.subtract(g, self.m, out=self.scratch)
        d *= 1 - BETA1
        self.m += d
        np.multiply(g, g, out=d)
        d -= self.v
        d *= 1 - BETA2
        self.v += d
        np.sqrt(self.v, out=d)
        d += EPSILON * correction
        np.divide(self.m, d, out=d)
        d *= LEARNING_RATE * correction / (1 - BETA1**self.t)
        self.w -= d


def flat(arrays):
    """One array with the numbers of all, and views of it in their shapes."""
    whole = np.concatenate([a.ravel() for a in arrays])
    pieces = np.split(whole, np.cumsum([a.size for a in arrays])[:-1])
    return whole, [piece.reshape(a.shape) for piece, a in zip(pieces, arrays)]
