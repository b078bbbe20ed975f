"""What CuPy really has: names, keywords and ufunc methods, read off its wheel, kept in `cupy_names.txt`.

`cupy_names.txt` lists every public name that NumPy and CuPy share, one per line:

    host NAME                 the very object of NumPy: dtypes, constants, helpers on shapes
    function NAME PARAMETERS  takes and returns device arrays; `*name` and `**name` as in Python
    ufunc NAME METHODS        elementwise, keywords UFUNC_KEYWORDS; of at, reduce … only METHODS work
    class NAME                a type, or an object like `mgrid`
    method NAME PARAMETERS    of the array
    attribute NAME            of the array

The CuPy wheel imports on a machine without GPU or driver, so `test_cupy_names.py` compares the list with it
wherever it is installed. After a change of the CuPy version `python -m tests.cupy_names` writes it anew.
"""

import inspect
from pathlib import Path

import numpy as np

LIST = Path(__file__).with_suffix(".txt")
MODULES = ["", "linalg", "fft", "lib.stride_tricks"]
UFUNC_KEYWORDS = {"out", "dtype", "casting"}  # `where`, `order` and `subok` raise TypeError


def ufunc_methods(ufunc):
    """Which of at, reduce … a CuPy ufunc has: all five are there, most raise NotImplementedError at once."""
    arguments = {"accumulate": 1, "at": 3, "outer": 2, "reduce": 1, "reduceat": 2}
    found = []
    for method, count in arguments.items():
        try:
            getattr(ufunc, method)(*[None] * count)
        except NotImplementedError:
            continue
        except Exception:  # it got as far as looking at the arguments
            found.append(method)
    return found


def parameters(function):
    """The parameter names of a CuPy callable, `*args` and `**kwargs` with their stars.

    Cython's methods carry their signature only as the first line of the docstring:
    ``_ndarray_base.sum(self, axis=None, dtype=None, out=None, keepdims=False) -> _ndarray_base``.
    """
    try:
        found = inspect.signature(function).parameters.values()
    except ValueError:
        line = function.__doc__.splitlines()[0].split(" -> ")[0]
        inside = line[line.index("(") + 1 : line.rindex(")")]
        names = [part.split("=")[0].strip() for part in inside.split(",")]
        return [name.split()[-1] for name in names if name and name not in ("self", "*", "/")]
    star = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return [star.get(p.kind, "") + p.name for p in found if p.name != "self"]


def resolve(root, path):
    """root.a.b.c for the path "a.b.c"; raises AttributeError."""
    for name in path.split(".") if path else []:
        root = getattr(root, name)
    return root


def describe(cupy):
    """The lines of `cupy_names.txt`, from the CuPy module."""
    lines = []
    for module in MODULES:
        ours, theirs = resolve(cupy, module), resolve(np, module)
        for name in sorted(n for n in dir(theirs) if not n.startswith("_") and hasattr(ours, n)):
            thing, path = getattr(ours, name), f"{module}.{name}".lstrip(".")
            if inspect.ismodule(thing):
                continue
            if thing is getattr(theirs, name):
                lines.append(f"host {path}")
            elif isinstance(thing, cupy.ufunc):
                lines.append(" ".join(["ufunc", path, *ufunc_methods(thing)]))
            elif isinstance(thing, type) or not callable(thing):
                lines.append(f"class {path}")
            else:
                lines.append(" ".join(["function", path, *parameters(thing)]))
    for name in sorted(n for n in dir(cupy.ndarray) if not n.startswith("_")):
        thing = getattr(cupy.ndarray, name)
        if callable(thing):
            lines.append(" ".join(["method", name, *parameters(thing)]))
        else:
            lines.append(f"attribute {name}")
    return lines


def load():
    """`cupy_names.txt` as {kind: {name: parameters or methods}}."""
    table = {kind: {} for kind in ("host", "function", "ufunc", "class", "method", "attribute")}
    for line in LIST.read_text(encoding="utf-8").splitlines():
        kind, name, *rest = line.split()
        table[kind][name] = rest
    return table


def refused(names, count, keywords):
    """Why ``count`` positional arguments and these keywords do not fit the parameters; None if they do."""
    plain = [n for n in names if not n.startswith("*")]
    if not any(n.startswith("**") for n in names):
        for keyword in keywords:
            if keyword not in plain:
                return f"got an unexpected keyword argument {keyword!r} (it has {', '.join(plain) or 'none'})"
    if count > len(plain) and not any(n.startswith("*") and not n.startswith("**") for n in names):
        return f"takes {len(plain)} positional arguments but {count} were given"
    return None


if __name__ == "__main__":
    import cupy

    LIST.write_text("\n".join(describe(cupy)) + "\n", encoding="utf-8")
    print(f"{LIST.name}: {len(LIST.read_text().splitlines())} names of CuPy {cupy.__version__}")
