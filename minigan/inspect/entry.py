"""What a tape holds: an `Entry` for each leaf and op, a `Pass` for each backward pass."""

from functools import cached_property

from ..autodiff.tensor import Tensor
from ..errors import call_site
from .graph import Stats, formula, layer, origins, where


class Entry:
    """A row of a tape: a leaf, or the result of an op.

    op        the Primitive's name, "leaf" where nothing made it
    shape, dtype, seq, site, params    as of its `Node`
    parents   the ``seq`` of each array argument, None for constants
    scope     the layer, ``"D.conv1"``; of an op that a VJP has recorded, the layer that is being differentiated
    order     0 in the forward pass, n if it belongs to an n-th derivative
    formula   the VJP, as the derivative table states it
    cotangents   {number of the backward pass: the gradient that arrived, an array}
    values    of a leaf {number of the backward pass: its value then, an array}: optimisers change it between two; of a
              result {None: its value}
    """

    __slots__ = (
        "arguments cotangents dtype formula op order params parents scope seq shape site sources values "
        "_constants _name _op _stats _tensor _version"
    ).split()

    def __init__(self, node):
        self.op = node.op.name if node.op else "leaf"
        self.arguments = node.op.arguments if node.op else ()
        self.formula = formula(node.op) if node.op else ""
        self.shape, self.dtype, self.seq, self.site = tuple(node.shape), node.dtype, node.seq, node.site
        self.params, self.parents = node.params, tuple(p and p.seq for p in node.parents)
        self.sources, self.scope = origins(node), layer(node)
        self.order = len(self.sources)
        self.values, self.cotangents, self._stats = {}, {}, {}
        self._op, self._constants, self._version = node.op, None, None
        leaf = node.tensor and node.tensor()
        self._tensor, self._name = node.tensor, leaf.name if leaf is not None else None

    @property
    def name(self):
        """The Tensor's name, if it has one (and, of a result, still exists)."""
        live = self._tensor and self._tensor()
        return (live.name if live is not None else None) or self._name

    @property
    def label(self):
        """Name or layer; ``"·"`` for what has neither."""
        return self.name or self.scope or "·"

    @property
    def who(self):
        """As sentences call it: its name, else ``"relu in D.relu1"``, ``"relu"``."""
        return self.name or (f"{self.op} in {self.scope}" if self.scope else self.op)

    @property
    def line(self):
        """``"train.py:12"``: the user's line that computed it (of a leaf: made it)."""
        return where(self.site)

    @property
    def value(self):
        """The value in the forward pass (of a leaf: the latest), a Tensor, or None if neither the tape nor the graph
        has seen it.
        """
        array = self.value_in(None)
        return None if array is None else Tensor(array, name=self.name)

    @property
    def grad(self):
        """The gradient that arrived here in the last backward pass that reached it, a Tensor, or None if none did."""
        if not self.cotangents:
            return None
        return Tensor(self.cotangents[max(self.cotangents)], name=self.name and f"gradient of {self.name}")

    def stats(self, number=None):
        """`Stats` of the gradient in backward pass ``number``, or of the value; None where it is not known."""
        return self.value_stats() if number is None else self._stats_of(self.cotangents.get(number))

    def value_stats(self, number=None):
        """`Stats` of the value in backward pass ``number`` (default: of the latest); None where it is not known."""
        return self._stats_of(self.value_in(number))

    def value_in(self, number):
        """The value in backward pass ``number`` (or, if that did not reach it, the latest), an array or None."""
        if number in self.values:
            return self.values[number]
        return next(reversed(self.values.values()), None)

    def _stats_of(self, array):
        """Counted once for each array, as all findings ask for it."""
        if array is None:
            return None
        if id(array) not in self._stats:
            self._stats[id(array)] = Stats(array), array  # kept, so that no other array gets its id
        return self._stats[id(array)][0]

    def __repr__(self):
        made = f"{self.op} in {self.scope}" if self.scope and self.op != "leaf" else self.op
        value, grad = self.stats(), self.stats(max(self.cotangents, default=0))
        known = [f"value {value.norm:.3g}"] if value else []
        known += [f"gradient {grad.norm:.3g}"] if grad else ["no gradient"]
        return f"Entry({self.name or made}, shape={self.shape}, {', '.join(known)}, {self.line})"


class Pass:
    """One backward pass.

    number    from 1                       site       whose line asked for it
    recorded  with ``create_graph``?       finished   has it come to its end?
    outputs   their ``seq``                asked      the ``seq`` of those whose gradients it returns
    reached   the ``seq`` of every node below the outputs
    given     {seq of an output: [the cotangents that it began with, arrays]}
    edges     {(from, to): [arrays]}, the gradients that each op sent to its arguments, by ``seq``, in their order
    """

    def __init__(self, number, event):
        roots, order, targets = event.args
        self.number, self.recorded, self.site = number, event.recorded, call_site(2)
        self.outputs, self.asked = [y.node.seq for y, _ in roots], [node.seq for node in targets]
        self.reached = {node.seq for node in order}
        self.given, self.edges, self.finished = {}, {}, False
        for y, g in roots:
            self.given.setdefault(y.node.seq, []).append(g.data.copy())  # the caller may change it

    @cached_property
    def idle(self):
        """Did it begin with nothing but zeros? (The product with a Jacobian is taken by such a pass.)"""
        return not any(Stats(g).norm for cotangents in self.given.values() for g in cotangents)

    def targets(self):
        """{source: [its targets]} of all that was sent, by ``seq``."""
        targets = {}
        for source, target in self.edges:
            targets.setdefault(source, []).append(target)
        return targets

    def sources(self):
        """{target: [its sources, in the order in which they sent]}, by ``seq``."""
        sources = {}
        for source, target in self.edges:
            sources.setdefault(target, []).append(source)
        return sources
