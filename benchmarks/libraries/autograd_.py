"""The toy step and the chain with HIPS autograd; its gradients are plain arrays, and move by our hand-written Adam."""

import autograd.numpy as np
from autograd import make_vjp, value_and_grad

from benchmarks.libraries import Task
from benchmarks.libraries.numpy_ import Adam, flat
from benchmarks.workloads import SLOPE

ZERO = np.zeros((), np.float32)


def make(workload, start, variant="", device="cpu"):
    """See `libraries`. Only the toy workload and the overhead."""
    return _toy(start) if workload.kind == "toy" else Task(_chain(workload))


def _mlp(weights, x):
    for i in range(0, len(weights), 2):
        x = np.maximum(x, SLOPE * x) if i else x
        x = x @ weights[i] + weights[i + 1]
    return x


def _softplus(x):
    return np.logaddexp(ZERO, x)


def _toy(start):
    (flat_g, G), (flat_d, D) = flat(start.G), flat(start.D)
    adam_g, adam_d = Adam(flat_g), Adam(flat_d)
    of_d = value_and_grad(lambda D, fake: np.mean(_softplus(-_mlp(D, start.real))) + np.mean(_softplus(_mlp(D, fake))))
    of_g = value_and_grad(lambda G: np.mean(_softplus(-_mlp(D, _mlp(G, start.latent_g)))))

    def step():
        loss_d, g = of_d(D, _mlp(G, start.latent_d))
        adam_d.step(flat(g)[0])
        loss_g, g = of_g(G)
        adam_g.step(flat(g)[0])
        return loss_d, loss_g

    return Task(step, lambda: [np.array(w) for w in G + D])


def _chain(workload):
    start, ones = np.linspace(-1, 1, workload.batch, dtype=np.float32), np.ones(workload.batch, np.float32)

    def chain(x):
        y = x
        for _ in range(workload.count // 4):
            y = np.tanh(-(y * x) + x)
        return y

    def forward():
        return make_vjp(chain)(start)[0]  # the graph is recorded

    return forward if workload.kind == "forward" else lambda: forward()(ones)
