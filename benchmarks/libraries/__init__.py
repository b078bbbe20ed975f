"""The same steps in several libraries.

A candidate is a library and perhaps a variant of it, "torch channels_last". Each file here offers

    make(workload, start, variant, device) -> Task

which builds networks and optimisers from `workloads.start` and returns the step to be timed.
"""

import importlib
import importlib.util
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

from benchmarks.workloads import start

# name in a table and on the command line → (our file, the package it needs, how a report calls it)
LIBRARIES = {
    "minigan": ("minigan_", "minigan", "minigan"),
    "floor": ("floor", "minigan", "matrix products alone"),
    "numpy": ("numpy_", "numpy", "NumPy by hand"),
    "torch": ("torch_", "torch", "PyTorch"),
    "jax": ("jax_", "jax", "JAX (jit)"),
    "autograd": ("autograd_", "autograd", "HIPS autograd"),
    "mygrad": ("mygrad_", "mygrad", "MyGrad"),
}


class Task(NamedTuple):
    """What a library has built for one workload."""

    step: Callable  # make one step; returns its losses, as the library holds them
    weights: Callable = list  # the present weights of G and D, as NumPy arrays in the order of `workloads.Start`
    wait: Callable = lambda: None  # until the device has finished
    pool: Callable = None  # bytes of device memory held; None: the process's own memory counts
    calls: Callable = dict  # make one step; {what: how many} of what was counted in it
    flops: int = None  # floating-point operations of a step, where they are known


def split_name(candidate):
    """ "torch channels_last" → ("torch", "channels_last")."""
    return candidate.partition(" ")[::2]


def title(candidate):
    """How a table calls a candidate: "PyTorch, channels_last"."""
    library, variant = split_name(candidate)
    return ", ".join(filter(None, (LIBRARIES[library][2], variant)))


def installed(library):
    """Is the package there that a library needs?"""
    return importlib.util.find_spec(LIBRARIES[library][1]) is not None


def make(candidate, workload, device="cpu", given=None):
    """The `Task` of a candidate. ``given``: what to start from, by default `workloads.start`."""
    library, variant = split_name(candidate)
    module = importlib.import_module(f"benchmarks.libraries.{LIBRARIES[library][0]}")
    return module.make(workload, start(workload) if given is None else given, variant, device)


@contextmanager
def conditions(candidate):
    """Inside, minigan works as in its training loop: it keeps freed memory, and the threads are its own.

    The NumPy step written by hand keeps freed memory as well, but leaves BLAS its threads: with one it took 1.0 to 1.1
    times as long on two cores, because by hand nobody splits the products in BLAS's place.
    """
    library = split_name(candidate)[0]
    if library not in ("minigan", "floor", "numpy"):
        yield
        return
    from minigan.backend import keep_memory
    from minigan.backend.threads import in_charge

    keep_memory()
    with nullcontext() if library == "numpy" else in_charge():
        yield
