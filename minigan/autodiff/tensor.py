"""Tensor: an array, and the node that remembers how it came about."""

import numpy as np

from .. import backend
from ..display import tensor_html
from ..errors import DTypeError, ShapeError, call_site, label, message
from .node import Node


class Version:
    """How often the memory behind a Tensor was changed in place, and by which line last.

    Parameters that share an optimiser's flat buffer share one Version.
    """

    __slots__ = ("count", "site")

    def __init__(self):
        self.count, self.site = 0, None

    def bump(self):
        """Say that the memory has just changed."""
        self.count += 1
        self.site = call_site(2)


class Tensor:
    """An array with a memory of its making. Make one with `tensor`; ops make the others.

    ``data``: the array (of NumPy or CuPy; never a NumPy scalar). ``node``: the recorded op, or None where no gradient
    is wanted. ``grad``: the gradient that `backward` left here (leaves only), a Tensor or None. ``name``: for messages.
    Operators and the methods ``sum mean var max min reshape transpose`` are those of `minigan.ops`.
    """

    __slots__ = ("__weakref__", "_version", "data", "grad", "name", "node")
    __array_ufunc__ = None  # makes ndarray * Tensor call Tensor.__rmul__ instead of building an array of objects

    def __init__(self, data, node=None, name=None, version=None):
        self.data, self.node, self.name, self._version = data, node, name, version
        self.grad = None

    shape = property(lambda self: self.data.shape, doc="The array's shape, a tuple of ints.")
    dtype = property(lambda self: self.data.dtype, doc="The array's dtype.")
    ndim = property(lambda self: self.data.ndim, doc="The number of axes.")
    size = property(lambda self: self.data.size, doc="The number of elements.")
    device = property(lambda self: backend.device_of(self.data), doc='Where the array lives: "cpu" or "cuda".')
    version = property(lambda self: self._version.count if self._version else 0, doc="In-place changes so far.")

    @property
    def requires_grad(self):
        """Is a gradient wanted for this Tensor or for something it was made of? Settable on leaves."""
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, wanted):
        if self.node is not None and self.node.op is not None:
            raise ValueError("requires_grad can be set on leaves only; use .detach() to cut a computed Tensor loose")
        if not wanted:
            self.node = None
        elif self.node is None:
            if self.data.dtype.kind != "f":
                what = f"only floating-point tensors can require a gradient, got {self.data.dtype}"
                raise DTypeError(message(what, fix="pass dtype='float32'"))
            self.node = Node.leaf(self)
            self._version = self._version or Version()  # a detached result becomes a leaf

    def backward(self, grad=None, retain_graph=False, create_graph=False):
        """Add d(self)/d(leaf), times ``grad`` if self is no scalar, to every leaf's ``.grad``. See `backward`."""
        from .engine import backward

        backward(self, grad, retain_graph, create_graph)

    def detach(self):
        """The same array, cut loose from the graph: a constant for every gradient."""
        return Tensor(self.data, name=self.name, version=self._version)

    def numpy(self):
        """The values as a NumPy array on the host: a copy, so that changing it changes no Tensor."""
        return np.array(backend.of(self.data).to_host(self.data))

    def item(self):
        """The value of a one-element Tensor as a Python number. Waits for the device."""
        if self.data.size != 1:
            raise ShapeError(message("item() needs exactly one element", operands=[("self", self)], fix="use .numpy()"))
        return backend.of(self.data).to_host(self.data).item()

    def assign(self, values):
        """Replace a leaf's values in place (shape and dtype kept) and say so to every graph that saved the old ones."""
        if self._version is None:
            what = "assign: only Tensors made by mg.tensor can change in place, not results of ops"
            raise ShapeError(message(what, operands=[("self", self)], fix="compute a new Tensor"))
        values, own = values.data if type(values) is Tensor else values, backend.of(self.data)
        new = values if type(values) is type(self.data) else own.asarray(backend.of(values).to_host(values))
        if new.shape != self.data.shape:
            who = label(self) or "this Tensor"
            raise ShapeError(message(f"assign: the new values have shape {tuple(new.shape)}, {who} has {self.shape}"))
        self.data[...] = new
        self._version.bump()

    def hook(self, fn):
        """Call ``fn(g)`` with each gradient that arrives here; a Tensor it returns replaces it. Returns the undoing."""
        node = self.node
        if node is None:
            raise ValueError("hook: this Tensor requires no gradient, none will ever arrive")
        node.hooks = hooks = node.hooks or []
        hooks.append(own := (lambda g: fn(g)))  # its own, should fn be given twice
        return lambda: hooks.remove(own) if own in hooks else None

    def to(self, device):
        """The same values on ``device`` (``"cpu"``, ``"cuda"``) as a constant Tensor; self if there already."""
        if self.device == device:
            return self
        return tensor(self, name=self.name, device=device)

    def __deepcopy__(self, memo):
        """A copy of the values; of a leaf that requires a gradient, a new leaf of its own."""
        leaf = self.node is not None and self.node.op is None
        return tensor(self, requires_grad=leaf, name=self.name)

    def __setitem__(self, key, value):
        what = "Tensors are not changed in place: the graph may still need the old values"
        fix = "build the new one with mg.where(mask, value, t); on a leaf, use t.assign(values)"
        raise TypeError(message(what, operands=[("self", self)], fix=fix))

    def __len__(self):
        if not self.data.shape:
            raise TypeError("a 0-d Tensor has no length")
        return self.data.shape[0]

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __float__(self):
        return float(self.item())

    def __int__(self):
        return int(self.item())

    def __bool__(self):
        return bool(self.item())

    def __array__(self, dtype=None, copy=None):
        raise TypeError(message("NumPy was handed a Tensor", operands=[("self", self)], fix="pass t.numpy()"))

    _repr_html_ = tensor_html  # for notebooks

    def __repr__(self):
        values = np.array2string(backend.of(self.data).to_host(self.data), precision=4, threshold=20, prefix="tensor(")
        op = self.node and self.node.op
        made = f", op={op.name}" if op else ", requires_grad=True" if self.node else ""
        name = f", name={self.name!r}" if self.name else ""
        return f"tensor({values}, shape={self.shape}, dtype={self.dtype}{made}{name})"


def tensor(array, requires_grad=False, dtype=None, name=None, device=None):
    """A new Tensor with a copy of ``array`` (numbers, nested lists, an array, or a Tensor).

    Python floats become float32; arrays keep their dtype unless ``dtype`` is given. ``requires_grad=True`` makes a
    leaf: `backward` leaves its gradient in ``.grad``. ``name`` appears in messages. ``device``: ``"cpu"`` or
    ``"cuda"``, by default where the array is.

    Raises `DTypeError` when a gradient is asked for non-floating values or the values are not numbers, and
    `backend.DeviceNotAvailable`.
    """
    source = array.data if type(array) is Tensor else array
    if not backend.is_array(source):
        host = np.asarray(source)
        if dtype is None and not isinstance(source, np.generic) and (host.dtype == np.float64 or requires_grad):
            dtype = np.float32
        source = host
    if np.dtype(source.dtype).kind not in "fiub":
        raise DTypeError(message(f"a Tensor holds real numbers, got {type(array).__name__} of dtype {source.dtype}"))
    if device is None or device == backend.device_of(source):
        data = source.astype(dtype or source.dtype, copy=True)
    else:
        data = backend.get(device).asarray(backend.of(source).to_host(source), dtype or source.dtype)
    made = Tensor(data, name=name, version=Version())
    made.requires_grad = requires_grad
    return made
