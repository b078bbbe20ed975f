"""A stand-in for CuPy that runs on the CPU and refuses what CuPy refuses, or more.

Code that works on `StrictArray` has a good chance to work on a GPU. Like CuPy's, these arrays

* never turn into NumPy arrays by themselves: `np.anything(strict)` and `strict + numpy_array` raise TypeError
  (CuPy lets `np.exp(cupy_array)` through; here a stray `np.` is an error);
* keep results of reductions on the "device": 0-d arrays, no scalars;
* know only names and keywords that CuPy has (`cupy_names.txt`): `strict_xp` stands for the module `cupy`;
* show what CuPy leaves open: `empty` holds NaN, `a[[0, 0]] = [1, 2]` stores NaN, an index out of range
  wraps silently, a ufunc's result is C-contiguous whatever its operands are, nothing ever warns.

NumPy scalars as operands are refused too: CuPy takes an `np.float64` for a float64 array and silently
promotes. So are lists as operands, and NumPy arrays as indices or assigned values, which CuPy would upload.

What makes the host wait for the device (`float()`, `if`, `.item()`, printing, boolean-mask indexing, …) is
counted in `counts.syncs`, and raises `DeviceSync` inside `with no_sync():`. `counts.uploads` counts copies to
the device, `counts.launches` results that are no views: about the number of kernels a GPU would start.
"""

import contextlib
import operator
from types import SimpleNamespace

import numpy as np

from minigan import backend
from tests.cupy_names import UFUNC_KEYWORDS, load, refused

__all__ = ["DeviceSync", "StrictArray", "StrictBackend", "counts", "no_sync", "strict_backend", "strict_xp"]

NAMES = load()
counts = SimpleNamespace(syncs=0, launches=0, uploads=0)
_forbidden = 0  # how many no_sync() blocks we are in


class DeviceSync(RuntimeError):
    """Inside `no_sync()` something asked for a value that is on the device."""


@contextlib.contextmanager
def no_sync():
    """In this block the host must not wait for the device; yields `counts`."""
    global _forbidden
    _forbidden += 1
    try:
        yield counts
    finally:
        _forbidden -= 1


def _sync(what):
    if _forbidden:
        raise DeviceSync(f"{what} copies from the device to the host and waits for it")
    counts.syncs += 1


# ---- between the two sides ---------------------------------------------------------------------------------


def _unwrap(thing, what, accepted=(np.integer,)):
    """The host's side of an argument: StrictArrays opened, also inside tuples and lists; NumPy's refused.

    ``accepted``: the NumPy types let through. Integers by default: they are sizes and axes.
    """
    if isinstance(thing, StrictArray):
        return thing._host
    if type(thing) in (tuple, list):
        return type(thing)(_unwrap(part, what, accepted) for part in thing)
    if isinstance(thing, accepted):
        return thing
    if isinstance(thing, np.generic):
        raise TypeError(f"{what}: NumPy scalar {thing!r} would promote on the GPU; use a Python number")
    if isinstance(thing, np.ndarray):
        raise TypeError(f"{what}: Unsupported type {type(thing)}")
    return thing


def _wrap(result, given=(), contiguous=False):
    """NumPy's result as the device returns it; one of the arguments ``given`` may be the result itself."""
    if isinstance(result, (tuple, list)):
        return type(result)(_wrap(part, given, contiguous) for part in result)
    if isinstance(result, np.generic):
        counts.launches += 1
        return StrictArray(np.asarray(result))
    if not isinstance(result, np.ndarray):
        return result
    for argument in given:
        if isinstance(argument, StrictArray) and argument._host is result:
            return argument
    if result.base is None:
        counts.launches += 1
        if contiguous:
            result = np.array(result, order="C", copy=None)
    return StrictArray(result)


def _call(function, args, kwargs, what, contiguous=True, accepted=(np.integer,)):
    """``function(*args, **kwargs)`` of NumPy on StrictArrays, silently: a GPU never warns."""
    host_args = [_unwrap(a, what, accepted) for a in args]
    host_kwargs = {key: _unwrap(value, what, accepted) for key, value in kwargs.items()}
    with np.errstate(all="ignore"):
        result = function(*host_args, **host_kwargs)
    out = kwargs.get("out")
    return _wrap(result, [*args, *(out if isinstance(out, tuple) else [out])], contiguous)


def _poison(host):
    """What uninitialised memory is worth: NaN, or the smallest integer."""
    if host.dtype.kind in "fc":
        host.fill(np.nan)
    elif host.dtype.kind in "iu":
        host.fill(np.iinfo(host.dtype).min + 77)
    return host


# ---- the array ---------------------------------------------------------------------------------------------


def _host_key(key, shape):
    """A NumPy index from one of a StrictArray's, integer arrays wrapped into range as CuPy does."""
    keys = list(key) if isinstance(key, tuple) else [key]
    for i, k in enumerate(keys):
        if isinstance(k, StrictArray):
            keys[i] = k._host
        elif isinstance(k, list):
            keys[i] = np.asarray(k, dtype=None if k else np.intp)
        elif isinstance(k, slice):
            for part in (k.start, k.stop, k.step):
                if part is not None and not isinstance(part, (int, np.integer)):
                    raise TypeError(f"slice indices must be integers or None, not {type(part)}")
        elif not (k is None or k is Ellipsis or isinstance(k, (int, np.integer))):
            raise TypeError(f"index: Unsupported type {type(k)}")

    axis = 0
    named = sum(map(_axes_of, keys))
    for i, k in enumerate(keys):
        if k is Ellipsis:
            axis += len(shape) - named
        elif isinstance(k, np.ndarray) and k.dtype.kind in "iu" and axis < len(shape) and shape[axis]:
            keys[i] = k % shape[axis]
        axis += _axes_of(k)
    return tuple(keys)


def _axes_of(k):
    """How many axes of the indexed array this part of an index takes."""
    if k is None or k is Ellipsis or isinstance(k, bool):
        return 0
    return k.ndim if _is_mask(k) else 1


def _is_mask(k):
    return isinstance(k, np.ndarray) and k.dtype == bool


class Flags(SimpleNamespace):
    """CuPy's flags: three of them, and none can be set on the array."""

    def __getitem__(self, name):
        return getattr(self, name.lower())


class StrictArray:
    """An array "on the device": wraps a NumPy array, and is none."""

    __slots__ = ("__weakref__", "_host")
    __array_priority__ = 100
    __hash__ = None

    def __init__(self, host):
        if not isinstance(host, np.ndarray) or host.dtype.kind not in "biufc" or host.dtype.itemsize > 16:
            raise ValueError(f"Unsupported dtype {getattr(host, 'dtype', type(host))}")
        self._host = host

    # what NumPy would use to get in

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        other = next((type(x) for x in inputs if not isinstance(x, StrictArray)), StrictArray)
        raise TypeError(f"numpy.{ufunc.__name__} on a device array: Unsupported type {other}")

    def __array_function__(self, function, types, args, kwargs):
        raise TypeError(f"numpy.{function.__name__} on a device array: use the array's own module, xp(array)")

    # what it is

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    strides = property(lambda self: self._host.strides)
    T = property(lambda self: _wrap(self._host.T, [self]))
    mT = property(lambda self: _wrap(self._host.mT, [self]))
    real = property(lambda self: _wrap(self._host.real, [self]))
    imag = property(lambda self: _wrap(self._host.imag, [self]))
    device = property(lambda self: "strict")

    @property
    def base(self):
        base = self._host.base
        return StrictArray(base) if isinstance(base, np.ndarray) else None

    @property
    def flags(self):
        flags = self._host.flags
        return Flags(c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous, owndata=flags.owndata)

    # what copies to the host

    def get(self, stream=None, order="C", out=None, blocking=True):
        """The door to the host: a NumPy copy."""
        _sync(".get()")
        if out is None:
            return np.array(self._host, order=order)
        out[...] = self._host
        return out

    def _value(what, convert):
        def method(self, *args):
            _sync(what)
            return convert(self._host, *args)

        method.__name__ = what
        return method

    item = _value(".item()", lambda a: a.item())
    tolist = _value(".tolist()", lambda a: a.tolist())
    tobytes = _value(".tobytes()", lambda a, *order: a.tobytes(*order))
    __float__ = _value("float()", lambda a: float(a.item()))
    __int__ = _value("int()", lambda a: int(a.item()))
    __bool__ = _value("bool()", bool)
    __complex__ = _value("complex()", lambda a: complex(a.item()))
    __str__ = _value("str()", str)
    __repr__ = _value("repr()", repr)
    __format__ = _value("format()", lambda a, spec: format(a.item() if a.ndim == 0 else a, spec))
    __reduce__ = _value("pickle", lambda a: (StrictArray, (a,)))
    del _value

    def __iter__(self):
        """Over the first axis. CuPy does not wait here, but whoever loops over a device array is about to."""
        _sync("iteration")
        return (self[i] for i in range(len(self)))

    def __len__(self):
        return len(self._host)

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, memo):
        return self.copy()

    # indexing

    def __getitem__(self, key):
        key = _host_key(key, self.shape)
        if any(map(_is_mask, key)):
            _sync("indexing with a boolean mask")
        return _wrap(self._host[key], contiguous=True)

    def __setitem__(self, key, value):
        key = _host_key(key, self.shape)
        if type(value) not in (bool, int, float, complex, StrictArray):
            raise TypeError(f"assignment: Unsupported type {type(value)}")
        value = _unwrap(value, "assignment")
        if any(map(_is_mask, key)) and np.size(value) > 1:
            _sync("assigning an array through a boolean mask")
        counts.launches += 1
        with np.errstate(all="ignore"):
            self._host[key] = value
            if np.size(value) > 1 and any(isinstance(k, np.ndarray) for k in key):
                self._poison_contested(key, value)

    def _poison_contested(self, key, value):
        """Which of several values wins at an index named twice is undefined on a GPU: nobody's does here."""
        places = np.arange(self.size).reshape(self.shape)[key]
        values = np.broadcast_to(value, places.shape).ravel()
        last, first = (np.zeros(self.size, self.dtype) for _ in range(2))
        last[places.ravel()], first[places.ravel()[::-1]] = values, values[::-1]
        contested = np.unravel_index(np.flatnonzero(last != first), self.shape)
        self._host[contested] = _poison(np.empty(contested[0].size, self.dtype))

    # methods: NumPy's, as far as CuPy has them with these parameters

    def __getattr__(self, name):
        if name not in NAMES["method"] or not hasattr(np.ndarray, name):
            raise AttributeError(f"cupy.ndarray has no attribute {name!r}, or the stand-in does not know it")

        def method(*args, **kwargs):
            what = f"cupy.ndarray.{name}()"
            why = refused(NAMES["method"][name], len(args), kwargs)
            if why:
                raise TypeError(f"{what} {why}")
            if name in _SYNCING or (name == "repeat" and isinstance(args[0], StrictArray)):
                _sync(what)
            if name == "take":
                return _take(self, *args, **kwargs)
            # as an unbound method, so that astype(copy=False) is seen to return self
            contiguous = name not in ("astype", "copy")
            return _call(getattr(np.ndarray, name), (self, *args), kwargs, what, contiguous)

        return method


# The size of these results depends on values, or CuPy reads a status after them.
_SYNCING = set(
    """
    argwhere bincount compress delete extract flatnonzero histogram histogram2d histogramdd intersect1d
    nonzero setdiff1d setxor1d tofile trim_zeros union1d unique linalg.cholesky linalg.cond linalg.det
    linalg.eig linalg.eigh linalg.eigvals linalg.eigvalsh linalg.inv linalg.lstsq linalg.matrix_rank
    linalg.pinv linalg.qr linalg.slogdet linalg.solve linalg.svd linalg.tensorinv linalg.tensorsolve
    """.split()
)


def _is_operand(other):
    return type(other) in (bool, int, float, complex, StrictArray)


def _operate(ufunc, args, what, **kwargs):
    """A ufunc on operands; NotImplemented where the other side asks to answer (`__array_ufunc__ = None`)."""
    for a in args:
        if a is None or getattr(type(a), "__array_ufunc__", StrictArray) is None:
            return NotImplemented
        if not _is_operand(a):
            raise TypeError(f"{what}: Unsupported type {type(a)}")
    return _call(ufunc, args, kwargs, what)


_ARITHMETIC = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.true_divide, "mod": np.remainder,
    "floordiv": np.floor_divide, "pow": np.power, "and": np.bitwise_and, "or": np.bitwise_or,
    "xor": np.bitwise_xor, "lshift": np.left_shift, "rshift": np.right_shift, "matmul": np.matmul,
}  # fmt: skip
_COMPARISONS = {
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal,
    "ne": np.not_equal,
}  # fmt: skip
_UNARY = {"neg": np.negative, "pos": np.positive, "abs": np.absolute, "invert": np.invert}


def _install_operators(name, ufunc):
    """The operator methods of one name: `__add__`, `__radd__`, `__iadd__`; just `__neg__`; just `__lt__`."""
    methods = {f"__{name}__": lambda self, *other: _operate(ufunc, (self, *other), name)}
    if name in _ARITHMETIC:
        methods[f"__r{name}__"] = lambda self, other: _operate(ufunc, (other, self), name)
    if name in _ARITHMETIC and name != "matmul":  # CuPy has no `@=`
        methods[f"__i{name}__"] = lambda self, other: _operate(ufunc, (self, other), name, out=self)
    for key, method in methods.items():
        method.__name__ = key
        setattr(StrictArray, key, method)


for _name, _ufunc in {**_ARITHMETIC, **_COMPARISONS, **_UNARY}.items():
    _install_operators(_name, _ufunc)


# ---- the module --------------------------------------------------------------------------------------------


class StrictUfunc:
    """A ufunc with CuPy's keywords, and CuPy's few methods."""

    def __init__(self, name):
        self._name, self._ufunc, self._methods = f"cupy.{name}", getattr(np, name), NAMES["ufunc"][name]

    def __call__(self, *args, **kwargs):
        if not kwargs.keys() <= UFUNC_KEYWORDS:
            raise TypeError(f"{self._name}: Wrong arguments {sorted(kwargs.keys() - UFUNC_KEYWORDS)}")
        for a in args:
            if not _is_operand(a):
                raise TypeError(f"{self._name}: Unsupported type {type(a)}")
        return _call(self._ufunc, args, kwargs, self._name, accepted=())

    def __getattr__(self, method):
        if method not in ("at", "reduce", "accumulate", "reduceat", "outer"):
            raise AttributeError(f"{self._name} has no {method}")
        if method not in self._methods:
            raise NotImplementedError(f"`{self._name}.{method}` is not supported yet")
        if method == "at":
            return self._at
        reference, what = getattr(self._ufunc, method), f"{self._name}.{method}"
        return lambda *args, **kwargs: _call(reference, args, kwargs, what)

    def _at(self, array, key, value):
        kind, bits = array.dtype.kind, 8 * array.dtype.itemsize
        if kind not in "fiu" or bits < (16 if kind == "f" else 32):  # atomics exist for these only
            raise TypeError(f"{self._name}.at does not support dtype {array.dtype}")
        key = _host_key(key, array.shape)
        if any(map(_is_mask, key)):
            _sync(f"{self._name}.at with a boolean mask")
        counts.launches += 1
        self._ufunc.at(array._host, key, _unwrap(value, f"{self._name}.at", accepted=()))


# What may be given a NumPy array or a nested list: the ways onto the device.
_UPLOADS = {"array", "asarray", "asanyarray", "ascontiguousarray", "asfortranarray"}
# These decide the order of their result themselves.
_KEEPS_ORDER = set("copy empty empty_like zeros zeros_like ones ones_like full full_like".split())
# These ask for a property, and take numbers and lists too.
_TAKES_HOST = {"ndim", "shape", "size", "min_scalar_type"}
# NumPy returns a Python bool here, CuPy a 0-d array.
_BOOL_ON_DEVICE = {"allclose", "array_equal", "array_equiv"}


def _function(name, reference):
    """CuPy's function of this name over NumPy's ``reference``."""
    names, what = NAMES["function"][name], f"cupy.{name}()"
    wants_array = bool(names) and names[0] == "a" and name not in _UPLOADS | _TAKES_HOST

    def function(*args, **kwargs):
        why = refused(names, len(args), kwargs)
        if why:
            raise TypeError(f"{what} {why}")
        if wants_array and args and not isinstance(args[0], StrictArray):
            raise TypeError(f"{what}: Unsupported type {type(args[0])}, expected a device array")
        if name in _SYNCING or (name == "where" and len(args) + len(kwargs) == 1):
            _sync(what)
        if name in _UPLOADS:
            return _upload(reference, *args, **kwargs)
        if name == "take":
            return _take(*args, **kwargs)
        result = _call(reference, args, kwargs, what, name not in _KEEPS_ORDER)
        if name in ("empty", "empty_like"):
            _poison(result._host)
        return StrictArray(np.array(result)) if name in _BOOL_ON_DEVICE else result

    function.__name__ = name
    return function


def _upload(reference, source, *args, **kwargs):
    """Host → device: always a copy, never a view of the host's memory."""
    if isinstance(source, StrictArray):
        return _call(reference, (source, *args), kwargs, "cupy.array()", contiguous=False)
    counts.uploads += 1
    host = reference(_unwrap(source, "cupy.array()", (np.ndarray, np.generic)), *args, **kwargs)
    return StrictArray(host.copy(order="K") if host is source or host.base is not None else host)


def _take(a, indices, axis=None, out=None):
    """CuPy's `take` has no `mode`: an index out of range wraps."""
    options = {"axis": axis, "mode": "wrap"} if out is None else {"axis": axis, "mode": "wrap", "out": out}
    return _call(np.take, (a, indices), options, "cupy.take()")


class StrictModule:
    """The module `cupy` (or one inside it) as far as NumPy has the same names."""

    def __init__(self, prefix=""):
        self._prefix = prefix

    def __getattr__(self, name):
        path = f"{self._prefix}.{name}".lstrip(".")
        if path in ("linalg", "lib", "lib.stride_tricks"):
            found = StrictModule(path)
        elif path == "ndarray":
            found = StrictArray
        elif path == "asnumpy":
            found = StrictArray.get
        elif path in NAMES["host"]:
            found = operator.attrgetter(path)(np)
        elif path in NAMES["ufunc"]:
            found = StrictUfunc(path)
        elif path in NAMES["function"]:
            found = _function(path, operator.attrgetter(path)(np))
        else:
            # cupy.random is there, but random numbers are drawn on the host: the same ones on every backend.
            raise AttributeError(f"cupy has no {path!r}, or the stand-in does not offer it")
        self.__dict__[name] = found
        return found


strict_xp = StrictModule()


# ---- the backend -------------------------------------------------------------------------------------------


class StrictBackend(backend.Backend):
    """The reference primitives over `strict_xp`; only the doors are its own."""

    name = "strict"
    xp = strict_xp

    def to_host(self, a):
        """The counted door from the device."""
        return a.get()


strict_backend = StrictBackend()
backend.register(StrictArray, strict_backend, "strict")
