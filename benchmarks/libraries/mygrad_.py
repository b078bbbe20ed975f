"""The toy step and the chain with MyGrad, its memory guard off (as it advises for speed); our hand-written Adam."""

import mygrad as my
import numpy as np

from benchmarks.libraries import Task
from benchmarks.libraries.numpy_ import Adam, flat
from benchmarks.workloads import SLOPE

ZERO, SLOPE = np.float32(0), np.float32(SLOPE)  # Python's floats would make everything float64


def make(workload, start, variant="", device="cpu"):
    """See `libraries`. Only the toy workload and the overhead."""
    my.turn_memory_guarding_off()
    return _toy(start) if workload.kind == "toy" else Task(_chain(workload))


def _mlp(weights, x):
    for i in range(0, len(weights), 2):
        x = my.maximum(x, SLOPE * x) if i else x
        x = x @ weights[i] + weights[i + 1]
    return x


def _softplus(x):
    return my.logaddexp(ZERO, x)


def _toy(start):
    (flat_g, G), (flat_d, D) = flat(start.G), flat(start.D)
    adam_g, adam_d = Adam(flat_g), Adam(flat_d)

    def tensors(weights):
        return [my.tensor(w, copy=False) for w in weights]

    def move(adam, weights, loss):
        loss.backward()
        adam.step(flat([w.grad for w in weights])[0])
        return loss.data

    def step():
        with my.no_autodiff:
            fake = _mlp(tensors(G), start.latent_d).data
        of_d, of_g = tensors(D), tensors(G)
        loss_d = move(adam_d, of_d, my.mean(_softplus(-_mlp(of_d, start.real))) + my.mean(_softplus(_mlp(of_d, fake))))
        loss_g = move(adam_g, of_g, my.mean(_softplus(-_mlp(D, _mlp(of_g, start.latent_g)))))
        return loss_d, loss_g

    return Task(step, lambda: [np.array(w) for w in G + D])


def _chain(workload):
    start, ones = np.linspace(-1, 1, workload.batch, dtype=np.float32), np.ones(workload.batch, np.float32)

    def forward():
        x = y = my.tensor(start)
        for _ in range(workload.count // 4):
            y = my.tanh(-(y * x) + x)
        return y

    return forward if workload.kind == "forward" else lambda: forward().backward(ones)
