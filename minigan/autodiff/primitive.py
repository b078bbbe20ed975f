"""Primitive: a function on arrays, with its VJP rules beside it.

    @primitive
    def tanh(x):
        '''y = tanh x.    x̄ = ȳ (1 − y²)'''
        return xp(x).tanh(x)

    @tanh.vjp("x")
    def _(g, out):
        return g * (1 - out * out)

The names of a rule's parameters after ``g`` say what the forward pass must keep:

    x, y, …        an argument          out     the result          aux     what a fused forward computed on the way
    x_shape, …     its shape            shapes  of all arguments    needs   which targets are wanted (one bool each)
    recorded       is this a recorded pass?
    keyword-only   a parameter of the call (``*, axis``), or all of them (``**params``)

**One formula, two speeds.** A rule is written with ops. Given raw arrays, ops compute raw arrays and record nothing:
that is the ordinary backward pass. Given Tensors, they record: that is ``create_graph``, to any order. In the recorded
pass ``aux`` is None, always: an intermediate that depends on the inputs is not a constant, so the rule must compute it
again from the saved inputs.
"""

from .. import backend
from ..errors import DTypeError, GradientError, MiniganError, explained, message
from .modes import state
from .node import Node
from .tensor import Tensor

registry = {}  # name → Primitive; the tests hold every entry to its record

_HAS_ARGS, _HAS_KWARGS = 0x04, 0x08  # flags of a code object
_EXTRAS = ("out", "aux", "shapes", "needs", "recorded")  # what a rule may ask for besides arguments and their shapes


class Rule:
    """One VJP: ``fn(g, …)`` gives the gradients of the arguments numbered ``targets`` (a tuple if they are several)."""

    def __init__(self, fn, names, targets, arguments, keywords):
        code = fn.__code__
        self.fn, self.names, self.targets, self.keywords = fn, names, targets, keywords
        self.wants, self.all_keywords = code.co_varnames[1 : code.co_argcount], bool(code.co_flags & _HAS_KWARGS)
        self.saves = [name for name in self.wants if name not in ("needs", "recorded")]
        self.plain = len(self.saves) == len(self.wants) and not self.keywords and not self.all_keywords
        self.arguments = arguments

    def __call__(self, g, node, needs, recorded):
        """Run the rule for ``node`` with cotangent ``g``: raw arrays, or Tensors if ``recorded``."""
        saved = node.saved
        if self.plain and not recorded:  # the common case, without detours
            return self.fn(g, *[saved[name] for name in self.wants])
        saved = {**saved, "needs": needs, "recorded": recorded}
        values = [self._recorded(name, saved[name], node) if recorded else saved[name] for name in self.wants]
        return self.fn(g, *values, **(node.params if self.all_keywords else {k: node.params[k] for k in self.keywords}))

    def _recorded(self, name, value, node):
        """What a rule sees of a saved value when it is recorded: a Tensor where it depends on the inputs."""
        if name == "aux":
            return None
        if name != "out" and name not in self.arguments:
            return value
        parent = node if name == "out" else node.parents[self.arguments.index(name)]
        if parent is None:
            return value
        return Tensor(value, parent, version=next((v for n, v, *_ in node.versions if n == name), None))


class Primitive:
    """A differentiable function of Tensors, arrays and numbers (some may have defaults); parameters are keyword-only.

    All raw in, raw out. A Tensor among the arguments: a Tensor out, recorded if any of them requires a gradient.
    """

    def __init__(self, forward, broadcasts=False, aux=False):
        code = forward.__code__
        self.forward, self.broadcasts, self.has_aux = forward, broadcasts, aux
        self.defaults = forward.__kwdefaults__
        self.name = self.__name__ = forward.__name__.strip("_")
        self.__doc__ = forward.__doc__
        self.__module__, self.__wrapped__ = forward.__module__, forward
        self.variadic = bool(code.co_flags & _HAS_ARGS)
        named = code.co_argcount + code.co_kwonlyargcount
        self.arguments = code.co_varnames[: code.co_argcount] or code.co_varnames[named : named + 1]
        self.rules = []
        self.plans = {}  # which parents need gradients → which rules run, what they save
        self.params = code.co_varnames[code.co_argcount : named]
        if self.name in registry and registry[self.name].__module__ != self.__module__:
            raise ValueError(f"a primitive named {self.name!r} exists already, in {registry[self.name].__module__}")
        registry[self.name] = self

    def vjp(self, *targets):
        """Decorator: register the VJP rule of the arguments named ``targets``."""

        def add(fn):
            code = fn.__code__
            keywords = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
            known = {*self.arguments, *(f"{name}_shape" for name in self.arguments), *_EXTRAS}
            wrong = {*code.co_varnames[1 : code.co_argcount]} - known | {*targets} - {*self.arguments}
            wrong |= {*keywords} - {*self.params} | {t for t in targets for r in self.rules if t in r.names}
            if wrong:
                what = f"{self.name}.vjp: {', '.join(sorted(wrong))} unknown, or registered twice. Arguments: "
                raise ValueError(f"{what}{', '.join(self.arguments)}; keyword-only: {', '.join(self.params) or 'none'}")
            numbers = None if self.variadic else tuple(self.arguments.index(name) for name in targets)
            self.rules.append(Rule(fn, targets, numbers, self.arguments, keywords))
            return fn

        return add

    def plan(self, needs):
        """For a tuple of bools, one per argument: (rules with their targets, what to save and of which argument)."""
        if needs not in self.plans:
            every = tuple(range(len(needs)))
            rules = [(rule, rule.targets or every) for rule in self.rules]
            for i in set(every) - {i for _, targets in rules for i in targets}:
                if needs[i]:
                    what = f"{self.name} has no VJP for {self.arguments[i]!r}, which requires a gradient"
                    fix = f'register one with @{self.name}.vjp("{self.arguments[i]}")'
                    raise GradientError(message(what, scope=state.scope, fix=fix))
            rules = [(rule, targets) for rule, targets in rules if any(needs[i] for i in targets if i < len(needs))]
            names = dict.fromkeys(name for rule, _ in rules for name in rule.saves)
            number = {name: i for i, a in enumerate(self.arguments) for name in (a, f"{a}_shape")}
            self.plans[needs] = rules, [(name, number.get(name)) for name in names]
        return self.plans[needs]

    def __call__(self, *args, **params):
        for a in args:
            if type(a) is Tensor:
                break
        else:
            out = self.forward(*args, **params)
            return out[0] if self.has_aux else out
        # All in one function from here: where arrays are small, a training step spends its time in these lines.
        params = {**self.defaults, **params} if self.defaults else params
        raw = [a.data if type(a) is Tensor else a for a in args]
        try:
            out = self.forward(*raw, **params)
        except MiniganError:
            raise
        except (ValueError, TypeError, IndexError) as error:
            raise explained(self.name, error, self._operands(args), state.scope) from None
        out, aux = out if self.has_aux else (out, None)
        if not backend.is_array(out):  # NumPy gives scalars where it should give 0-d arrays
            out = backend.xp(out).asarray(out)
        dtype = out.dtype
        for a in raw:
            if getattr(a, "dtype", dtype) is not dtype:
                self._check_dtype(a, out, args)
        shared = None if out.base is None else self._shared_version(args, out)
        parents = [a.node if type(a) is Tensor else None for a in args] if state.recording else ()
        needs = tuple([p is not None for p in parents])
        rules, names = self.plans.get(needs) or self.plan(needs) if True in needs else ((), ())
        if not rules:
            return Tensor(out, None, None, shared)
        saved, versions = {}, ()
        for name, i in names:
            if i is None:
                saved[name] = out if name == "out" else aux if name == "aux" else [getattr(a, "shape", ()) for a in raw]
            elif name != self.arguments[i]:
                saved[name] = getattr(raw[i], "shape", ())
            else:
                saved[name] = raw[i]
                version = args[i]._version if type(args[i]) is Tensor else None
                if version is not None:
                    versions += ((name, version, version.count, args[i].name),)
        return Tensor(out, Node(self, params, parents, saved, versions, out), None, shared)

    def _shared_version(self, args, out):
        """The Version of the argument of which ``out`` is a view (a reshaped weight, say), else None."""
        memory = backend.memory_of(out)
        shares = (a._version for a in args if type(a) is Tensor and a._version and backend.memory_of(a.data) is memory)
        return next(shares, None)

    # ---- errors ---------------------------------------------------------------------------------------------------

    def _operands(self, args):
        names = [f"{self.arguments[0]}[{i}]" for i in range(len(args))] if self.variadic else self.arguments
        return list(zip(names, args, strict=False))

    def _check_dtype(self, a, out, args):
        integer = a.dtype.kind in "iu" and out.dtype.kind == "f" and len(args) > 1
        if integer or (a.dtype.kind == "f" and a.dtype != out.dtype):
            what = f"{self.name}: the operands' dtypes would silently be promoted to {out.dtype}"
            fix = "give all operands one dtype: float(x) for NumPy scalars, array.astype('float32') for arrays"
            raise DTypeError(message(what, operands=self._operands(args), scope=state.scope, fix=fix))


def primitive(forward=None, *, broadcasts=False, aux=False):
    """Decorator: make a `Primitive` of a function on arrays. Array arguments come first, parameters are keyword-only.

    ``broadcasts``: the arguments broadcast against each other, so the engine sums each gradient back to its argument's
    shape. ``aux``: the function returns ``(out, aux)``, where aux helps the raw VJP (and is None in the recorded one).
    """
    if forward is None:
        return lambda fn: Primitive(fn, broadcasts, aux)
    return Primitive(forward)


primitive.__doc__ += __doc__.partition("\n\n")[2]  # how to write a rule
