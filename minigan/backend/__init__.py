"""Where arrays live: NumPy on the CPU, CuPy on a GPU, behind one seam (`Backend`).

``xp(a)`` is the array module of ``a`` and ``of(a)`` its backend: one dictionary look-up on the type. Nothing imports
CuPy until a device ``"cuda"`` is asked for.
"""

from contextlib import contextmanager

import numpy as np

from . import threads
from .memory import keep_memory
from .numpy_ import NumpyBackend
from .reference import Backend

__all__ = [
    "Backend",
    "DeviceNotAvailable",
    "device_of",
    "get",
    "is_array",
    "keep_memory",
    "of",
    "register",
    "training",
    "xp",
]

_cpu = NumpyBackend()
_by_type = {np.ndarray: _cpu}  # array type → backend
_by_device = {"cpu": _cpu}  # device name → backend
_device_names = {_cpu: "cpu"}


class DeviceNotAvailable(RuntimeError):
    """A device was asked for that this machine or installation does not have."""


def register(array_type, backend, device):
    """Make ``backend`` serve arrays of ``array_type`` and the device name ``device``."""
    _by_type[array_type] = _by_device[device] = backend
    _device_names[backend] = device


def of(a):
    """The backend of array ``a``; Python and NumPy scalars belong to the CPU's."""
    return _by_type.get(type(a), _cpu)


def xp(a):
    """The array module of ``a``: ``numpy``, ``cupy``, … ."""
    return _by_type.get(type(a), _cpu).xp


def is_array(a):
    """Is ``a`` an array of a known backend?"""
    return type(a) in _by_type


def device_of(a):
    """The device name of array ``a``: ``"cpu"`` or ``"cuda"``."""
    return _device_names[of(a)]


@contextmanager
def training():
    """Around a training loop of your own: what `games.play` does for speed on a CPU.

    Inside, freed memory is kept for the next step (`keep_memory`; it stays kept) and large products and convolutions
    are split between the cores by us instead of OpenBLAS (`threads.in_charge`): several times faster beside other busy
    processes, and the results do not depend on the number of threads. The variables ``MINIGAN_KEEP_MEMORY=0`` and
    ``MINIGAN_THREADS=blas`` switch them off; ``MINIGAN_THREADS=2`` sets the number of threads (at most the cores).

    >>> from minigan import backend
    >>> with backend.training():
    ...     pass  # for step in range(steps): ...
    """
    keep_memory()
    with threads.in_charge():
        yield


def memory_of(array):
    """The array that owns the memory which ``array`` may be a view of."""
    while getattr(array, "base", None) is not None:
        array = array.base
    return array


def get(device):
    """The backend of a device name: ``"cpu"``, ``"cuda"`` (or ``"cuda:0"``, ``"cuda:1"`` … to choose among GPUs).

    Raises `DeviceNotAvailable` when the GPU, its driver or CuPy is missing (it says which; there is no silent
    fallback), and ``ValueError`` for an unknown name.
    """
    if device is None:
        return _cpu
    if device in _by_device:
        return _by_device[device]
    if not isinstance(device, str) or device.partition(":")[0] != "cuda":
        raise ValueError(f"device must be 'cpu' or 'cuda', got {device!r}")
    from . import cupy_

    array_type, backend = cupy_.load(device, DeviceNotAvailable)
    register(array_type, backend, "cuda")
    return backend
