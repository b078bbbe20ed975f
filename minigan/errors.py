"""One formatter for every error of the engine, ending at the user's own line with a caret under the call.

A call site is ``(code object, instruction offset)`` of the first frame outside this package: two pointers, cheap enough
to keep with every recorded op. Only when an error is printed is it resolved to a file, a line and columns.
"""

import os
import sys

_HOME = os.path.dirname(os.path.abspath(__file__)) + os.sep
_inside = {}  # file name → is it of this package?


class MiniganError(Exception):
    """Whatever minigan raises on purpose about a computation."""


class ShapeError(MiniganError, ValueError):
    """Shapes that do not go together."""


class IndexingError(MiniganError, IndexError):
    """An index outside its axis, or of a kind that cannot index."""


class DTypeError(MiniganError, TypeError):
    """Dtypes that would be promoted silently, or that the op cannot take."""


class DeviceError(MiniganError, TypeError):
    """Arrays of different devices (or of no known array library) in one op."""


class StaleError(MiniganError, RuntimeError):
    """A value was changed in place between the forward pass that used it and the backward pass that needs it."""


class FreedError(MiniganError, RuntimeError):
    """A second backward pass over a graph that the first one has used up."""


class GradientError(MiniganError, AssertionError):
    """A gradient that differs from the numerical derivative, or a VJP that returns the wrong thing."""


class AnomalyError(MiniganError, ArithmeticError):
    """The first number that is not finite, inside `inspect.anomaly`.

    born: made here from finite numbers, or inherited? op, scope: the Primitive's name and the layer (``""``: none).
    order: 0 in the forward pass, n in an n-th derivative. operand: the argument that is to blame, or whose gradient it
    is, if there is one. site: the user's call, for `show_site`.
    """

    def __init__(self, text, *, born, op, scope, order, operand, site):
        super().__init__(text)
        self.born, self.op, self.scope, self.order, self.operand, self.site = born, op, scope, order, operand, site


def call_site(depth=1):
    """(code, offset) of the nearest frame outside this package, or of the outermost one."""
    frame = sys._getframe(depth)
    while True:
        code = frame.f_code
        inside = _inside.get(code.co_filename)
        if inside is None:
            inside = _inside[code.co_filename] = code.co_filename.startswith(_HOME)
        if not inside or frame.f_back is None:
            return code, frame.f_lasti
        frame = frame.f_back


def _positions(site):
    """(first line, last line, first column, last column) of a call site; None for what is not known."""
    code, offset = site
    positions = list(code.co_positions())
    return positions[offset // 2] if 0 <= offset // 2 < len(positions) else (None,) * 4


def place(site):
    """(file, line number) of a call site."""
    code = site[0]
    return code.co_filename, _positions(site)[0] or code.co_firstlineno


def show_site(site):
    """The lines that show a call site: file, line, function, the source line and a caret under the call."""
    import linecache

    code = site[0]
    line, end_line, start, end = _positions(site)
    head = f"  {code.co_filename}:{line or code.co_firstlineno}, in {code.co_name}"
    text = linecache.getline(code.co_filename, line).rstrip("\n") if line else ""
    if not text:
        return head
    indent = len(text) - len(text.lstrip())
    shown = f"{head}\n      {text.strip()}"
    if start is None or start < indent:
        return shown
    raw = text.encode()  # columns count bytes
    start, end = len(raw[:start].decode()), len(raw[:end].decode()) if end_line == line else len(text)
    return f"{shown}\n      {' ' * (start - indent)}{'^' * max(1, end - start)}"


def describe(value):
    """One line about an operand: its name or origin, shape, dtype and device."""
    from .backend import device_of

    if not hasattr(value, "shape"):
        return f"{type(value).__name__} {value!r:.60}"
    is_tensor = hasattr(value, "node")
    name = label(value) or ("Tensor" if is_tensor else "array")
    device = device_of(value.data if is_tensor else value)
    return f"{name:<24} {tuple(value.shape)!s:<20} {value.dtype}  {device}"


def label(value):
    """What to call a Tensor: its name, else the op that made it, else nothing."""
    if name := getattr(value, "name", None):
        return repr(name)
    node = getattr(value, "node", None)
    return "" if node is None or node.op is None else f"(out of {node.op.name}{in_scope(node.scope)})"


def in_scope(scope):
    """``" in D.conv1"``, or nothing at top level."""
    return f" in {scope}" if scope else ""


def message(what, *, operands=(), scope="", site=None, fix=None, more=()):
    """The text of an error: what is wrong, the operands one a line, the layer, the user's line, and what to do.

    ``operands``: pairs (argument name, value). ``more``: further pairs (heading, call site).
    """
    lines = [what]
    lines += [f"    {name:<8} {describe(value)}" for name, value in operands]
    if scope:
        lines.append(f"  in {scope}")
    for heading, where in [(None, site or call_site(2)), *more]:
        if where is not None:
            lines += ([f"  {heading}:"] if heading else []) + [show_site(where)]
    if fix:
        lines.append(f"  Fix: {fix}")
    return "\n".join(lines)


def explained(name, error, operands, scope):
    """The error to raise for what the array library said about function ``name``: of our kind, with the operands."""
    from .backend import device_of, is_array

    arrays = [getattr(a, "data", a) if hasattr(a, "node") else a for _, a in operands]
    devices = {device_of(a) for a in arrays if is_array(a)}
    if len(devices) > 1:
        what = f"{name}: operands on different devices, {' and '.join(sorted(devices))}"
        fix = "move them to one device: mg.tensor(array, device=...), module.to(device)"
        return DeviceError(message(what, operands=operands, scope=scope, fix=fix))
    fix = "make all operands numbers, arrays or Tensors" if isinstance(error, TypeError) else None
    kinds = {TypeError: DTypeError, ValueError: ShapeError, IndexError: IndexingError}
    kind = next(kind for caught, kind in kinds.items() if isinstance(error, caught))
    return kind(message(f"{name}: {error}", operands=operands, scope=scope, fix=fix))
