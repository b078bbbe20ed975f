"""Node: one recorded application of a primitive, and all that the backward pass will need of it.

A Node points at its parents (the nodes of the arguments) and at the arrays its VJPs named, never at a Tensor: a Tensor
owns its node, so the graph dies with its last Tensor by reference counting alone, double backward included.
"""

import itertools
import weakref
from collections import namedtuple

from ..errors import call_site
from .modes import state

_counter = itertools.count()
Origin = namedtuple("Origin", "op scope site origin")  # of a node made by a VJP: what that VJP differentiated


class Node:
    """op, params: what was applied (None for a leaf). parents: one Node or None per array argument.

    saved: {name: array or shape} for the names the VJPs ask for; None once used up. shape, dtype: of the result. seq:
    order of creation, which is a topological order. site: the user's call. scope: the layer. origin: the node whose VJP
    made this one (a chain of n origins: derivative order n + 1). hooks: see `Tensor.hook`. versions: (name, Version,
    count) of every saved leaf. tensor: a leaf's Tensor, weakly. freed_by: who used it up.
    """

    __slots__ = ("op", "params", "parents", "saved", "shape", "dtype", "versions", "seq", "site", "scope")
    __slots__ += ("origin", "hooks", "tensor", "freed_by", "__weakref__")

    def __init__(self, op, params, parents, saved, versions, out):
        self.op, self.params, self.parents, self.saved = op, params, parents, saved
        self.versions, self.shape, self.dtype = versions, out.shape, out.dtype
        self.seq = next(_counter)
        self.site = call_site(2)
        self.scope, self.origin = state.scope, state.origin
        self.hooks = self.tensor = self.freed_by = None

    @classmethod
    def leaf(cls, tensor):
        """The node of a Tensor that nothing made: gradients end here."""
        node = cls(None, {}, (), {}, (), tensor.data)
        node.tensor = weakref.ref(tensor)
        return node

    @classmethod
    def constant(cls, data):
        """The node of a gradient that turned out not to depend on anything: its own gradients are zero."""
        return cls(None, {}, (), {}, (), data)

    def name(self):
        """For messages: a leaf's name, or op and scope."""
        if self.op is not None:
            return f"{self.op.name} in {self.scope}" if self.scope else self.op.name
        leaf = self.tensor and self.tensor()
        return (leaf is not None and leaf.name) or "an unnamed leaf"
