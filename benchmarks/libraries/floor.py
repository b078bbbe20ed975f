"""The floor: a step's matrix products alone, with the same shapes, as fast as minigan's backend makes them."""

from types import MethodType

import numpy as np

import minigan as mg
from benchmarks.libraries import Task, minigan_
from minigan.backend import Backend


def make(workload, start, variant="", device="cpu"):
    """See `libraries`. The products are recorded from a real step of minigan, then made on numbers of their own."""
    products, flops = record(minigan_.make(workload, start).step)
    gemm, rng, operands = mg.backend.get("cpu").gemm, np.random.default_rng(0), {}

    def operand(shape):
        if shape not in operands:
            operands[shape] = rng.standard_normal(shape, dtype=np.float32)
        return operands[shape]

    products = [(operand(a), operand(b), *flags) for a, b, *flags in products]

    def step():
        for product in products:
            gemm(*product)

    return Task(step, flops=flops)


def record(step):
    """[(shape, shape, transpose the first?, the second?)] of the products that ``step()`` makes, and their FLOPs.

    Convolutions are made as `backend.reference` defines them meanwhile, each with one product of whole matrices,
    however NumPy's backend cuts them up.
    """
    backend, products, flops = mg.backend.get("cpu"), [], 0
    own = backend.gemm

    def recording(a, b, ta=False, tb=False, **options):
        nonlocal flops
        out = own(a, b, ta, tb, **options)
        products.append((a.shape, b.shape, ta, tb))
        flops += 2 * out.size * a.shape[-2 if ta else -1]
        return out

    convolutions = [name for name in vars(Backend) if name.startswith("conv")]
    own_attributes = {name: MethodType(getattr(Backend, name), backend) for name in convolutions} | {"gemm": recording}
    vars(backend).update(own_attributes)  # the instance's come before its class's
    try:
        step()
    finally:
        for name in own_attributes:
            delattr(backend, name)
    return products, flops
