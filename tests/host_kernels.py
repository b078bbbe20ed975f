"""CuPy's backend on a machine without a GPU: its kernels compiled by g++, its arrays `StrictArray`s.

`HostCupy` is `CupyBackend` with two things exchanged: ``xp`` is the strict stand-in for CuPy, and the text
of each kernel runs in a loop on the CPU. All else (shapes, fallbacks, the order of arguments) is the very
code that runs on a GPU. A raw array is read through a check of its bounds, the loop runs backwards (a GPU
has no order), and what CuPy refuses is refused: NumPy arrays, mixed dtypes, reserved names, outputs of
another shape.
"""

import ctypes
import functools
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from minigan import backend
from minigan.backend.cupy_ import KERNELS, CupyBackend
from tests.strict_array import StrictArray, counts, strict_xp

__all__ = ["COMPILER", "HostCupy", "HostKernel", "install"]

COMPILER = shutil.which("g++")
_C_TYPES = {"float32": "float", "float64": "double"}
_NUMBERS = {"int32": np.int32, "float32": np.float32, "float64": np.float64}

_PREAMBLE = """
#include <cmath>
using std::sqrt;
template <class T> struct Raw {
    const T *data;
    long size;
    long *outside;
    T operator[](long j) const {
        if (j >= 0 && j < size) return data[j];
        ++*outside;
        return T(0);
    }
};
"""


def parameters(text):
    """ "raw T image, int32 h" as [(raw?, type, name)], with CuPy's rules for names."""
    found = []
    for part in text.split(","):
        *raw, kind, name = part.split()
        if name in ("i", "n") or name.startswith("_") or not name.isidentifier():
            raise ValueError(f"Can not use {name!r} as a parameter name")
        found.append((raw == ["raw"], kind, name))
    return found


def _source(name, kernel):
    """C++ of one kernel: a template over T, and a C function per dtype. Scalars are arrays with stride 0."""
    lines, inputs = [], parameters(kernel.inputs)
    for j, (raw, kind, parameter) in enumerate(inputs + parameters(kernel.outputs)):
        c_type = {"int32": "int"}.get(kind, kind)
        if raw:
            lines.append(f"const Raw<{c_type}> {parameter}{{({c_type} *)data[{j}], steps[{j}], &outside}};")
        else:
            const = "const " if j < len(inputs) else ""
            lines.append(f"{const}{c_type} &{parameter} = (({c_type} *)data[{j}])[i * steps[{j}]];")
    head, body = "\n".join(lines), kernel.body
    functions = [
        f'extern "C" long {name}_{dtype}(long count, void **data, const long *steps)'
        f"{{ return {name}<{c_type}>(count, data, steps); }}"
        for dtype, c_type in _C_TYPES.items()
    ]
    return f"""
template <class T> static long {name}(long count, void **data, const long *steps) {{
    long outside = 0;
    for (long i = count - 1; i >= 0; --i) {{
        {head}
        {body};
    }}
    return outside;
}}
""" + "\n".join(functions)


def compile_kernels(kernels):
    """A shared library with all kernels for both dtypes; any warning is an error."""
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "kernels.cpp"), Path(folder, "kernels.so")
        source.write_text(_PREAMBLE + "".join(_source(*item) for item in kernels.items()), encoding="utf-8")
        flags = "-O1 -shared -fPIC -Wall -Wextra -Wshadow -Werror -ffp-contract=off".split()
        done = subprocess.run([COMPILER, *flags, "-o", library, source], capture_output=True, text=True)
        if done.returncode:
            raise ValueError(f"g++ refuses the kernels:\n{done.stderr}")
        return ctypes.CDLL(str(library))


@functools.cache
def _shipped():
    return compile_kernels(KERNELS)


class HostKernel:
    """A kernel's text as `cupy.ElementwiseKernel` would call it, on StrictArrays."""

    def __init__(self, name, kernel, library):
        self.name, self.library = name, library
        self.inputs, self.outputs = parameters(kernel.inputs), parameters(kernel.outputs)
        taken = re.findall(r"\b(?:T|int|bool)\s+(i|n|_\w+)\b", kernel.body)
        if taken:
            raise ValueError(f"{taken} are CuPy's own names")

    def __call__(self, *args):
        all_parameters = self.inputs + self.outputs
        if len(args) not in (len(self.inputs), len(all_parameters)):
            raise TypeError(f"Wrong number of arguments for {self.name!r}: {len(args)}")
        for a in args:
            if type(a) not in (int, float, StrictArray):
                raise TypeError(f"{self.name}: Unsupported type {type(a)}")
        hosts = [a._host if type(a) is StrictArray else a for a in args]
        dtype = self._dtype(hosts)
        elementwise = [a.shape for a, (raw, *_) in zip(hosts, all_parameters) if isinstance(a, np.ndarray) and not raw]
        if not elementwise:
            raise ValueError("Loop size is undecided.")
        shape = np.broadcast_shapes(*elementwise)
        given = list(args[len(self.inputs) :])
        outputs = given or [StrictArray(np.full(shape, np.nan, dtype)) for _ in self.outputs]
        if any(o.shape != shape for o in outputs):
            raise ValueError("Out shape is mismatched")
        counts.launches += 1
        self._run(hosts[: len(self.inputs)], [o._host for o in outputs], shape, dtype)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _dtype(self, hosts):
        """What T stands for."""
        kinds = [kind for _, kind, _ in self.inputs + self.outputs]
        dtypes = {a.dtype for a, kind in zip(hosts, kinds) if isinstance(a, np.ndarray) and kind == "T"}
        if len(dtypes) != 1:
            raise TypeError(f"{self.name}: Type is mismatched. T {dtypes}")
        return dtypes.pop()

    def _run(self, inputs, outputs, shape, dtype):
        buffers, steps = [], []
        for a, (raw, kind, _) in zip(inputs, self.inputs):
            if raw:
                buffers.append(np.ascontiguousarray(a))
                steps.append(a.size)
            elif isinstance(a, np.ndarray):
                buffers.append(np.ascontiguousarray(np.broadcast_to(a, shape)))
                steps.append(1)
            else:
                buffers.append(np.array([a], dtype if kind == "T" else _NUMBERS[kind]))
                steps.append(0)
        results = [np.array(o, order="C") for o in outputs]
        pointers = [a.ctypes.data for a in buffers + results]
        steps += [1] * len(results)
        function = getattr(self.library, f"{self.name}_{dtype}")
        function.restype = ctypes.c_long
        many = len(pointers)
        outside = function(
            ctypes.c_long(results[0].size),
            (ctypes.c_void_p * many)(*pointers),
            (ctypes.c_long * many)(*steps),
        )
        if outside:
            raise IndexError(f"{self.name} read {outside} elements outside a raw array")
        for o, result in zip(outputs, results):
            o[...] = result


class HostCupy(CupyBackend):
    """`CupyBackend` on StrictArrays, its kernels run by the CPU."""

    def __init__(self):
        self.xp, self.syncs, self._compiled = strict_xp, 0, {}

    def kernel(self, name):
        if name not in self._compiled:
            self._compiled[name] = HostKernel(name, KERNELS[name], _shipped())
        return self._compiled[name]

    def synchronize(self):
        pass


def install(monkeypatch):
    """Until ``monkeypatch`` is undone, device "strict" is served by a `HostCupy`; returns it."""
    hosted = HostCupy()
    monkeypatch.setitem(backend._by_type, StrictArray, hosted)
    monkeypatch.setitem(backend._by_device, "strict", hosted)
    monkeypatch.setitem(backend._device_names, hosted, "strict")
    return hosted
