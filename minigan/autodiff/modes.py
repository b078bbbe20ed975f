"""What the engine is doing right now, in this thread: recording or not, inside which layer, on behalf of which node."""

import threading
from functools import wraps


class _State(threading.local):
    recording = True  # do ops that see a Tensor with a node make nodes?
    scope = ""  # the dotted path of the layer that is running: "D.block1.conv"
    origin = None  # the node whose VJP is running recorded: whatever is made now differentiates it


state = _State()


class _Set:
    """Set one attribute of ``state`` inside a with-block, or for every call of a decorated function."""

    def __init__(self, attribute, value):
        self.attribute, self.value, self.before = attribute, value, []

    def __enter__(self):
        self.before.append(getattr(state, self.attribute))
        setattr(state, self.attribute, self.value)

    def __exit__(self, *exc):
        setattr(state, self.attribute, self.before.pop())

    def __call__(self, fn):
        @wraps(fn)
        def inside(*args, **kwargs):
            with type(self)(self.attribute, self.value):
                return fn(*args, **kwargs)

        return inside


def no_grad():
    """Record nothing inside: results need no gradient, and cost no memory. Also a decorator.

    >>> import minigan as mg
    >>> w = mg.tensor(2.0, requires_grad=True)
    >>> with mg.no_grad():
    ...     print((w * w).requires_grad)
    False
    """
    return _Set("recording", False)


def enable_grad():
    """Record again inside a `no_grad` block. Also a decorator."""
    return _Set("recording", True)


def scope(name):
    """Name what happens inside ``name`` in messages and inspections: ``with mg.scope("D.block1"): …``."""
    return _Set("scope", name)
