"""What minigan asks of CuPy exists in CuPy, checked without a GPU by reading the source.

* Every use of an array module (`xp(x).tanh`, `self.xp.pad(…, mode=…)`, `m = xp(x); m.exp`) names something
  that CuPy has, with keywords that it takes: `cupy_names.txt` holds what those are.
* Where CuPy is installed, that list is compared with it, and every `cupy.…` in the source looked up.
* Files of ops/ and autodiff/ use NumPy for dtypes and type checks only. `np.exp(x)` works on the CPU, and
  on a GPU only by CuPy's courtesy.
"""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

from tests.cupy_names import UFUNC_KEYWORDS, describe, load, parameters, refused, resolve

MINIGAN = Path(__file__).parent.parent / "minigan"
NAMES = load()
FILES = sorted(MINIGAN.rglob("*.py"))
XP = {"xp", "_xp"}  # functions and attributes of these names are (or return) an array module


def where_is(path):
    return path.relative_to(MINIGAN.parent).as_posix()


class Uses(ast.NodeVisitor):
    """Finds the uses of array modules in one file: (line, dotted path, call or None) in `found`."""

    def __init__(self, modules=()):
        self.found, self.dynamic = [], []
        self.modules = [set(modules)]  # per enclosing function: the variables that hold an array module

    def visit_FunctionDef(self, node):
        outer = set(self.modules[-1])
        arguments = {a.arg for a in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]}
        assigned = {
            target.id
            for statement in ast.walk(node)
            if isinstance(statement, (ast.Assign, ast.NamedExpr, ast.AnnAssign))
            for target in getattr(statement, "targets", [getattr(statement, "target", None)])
            if isinstance(target, ast.Name) and statement.value and self.is_module(statement.value)
        }
        self.modules.append((outer - arguments) | assigned | (arguments & XP))
        self.generic_visit(node)
        self.modules.pop()

    visit_AsyncFunctionDef = visit_FunctionDef

    def is_module(self, node):
        """Is this expression an array module?"""
        if isinstance(node, ast.Call):
            return getattr(node.func, "id", getattr(node.func, "attr", None)) in XP
        if isinstance(node, ast.Attribute):
            return node.attr in XP
        return isinstance(node, ast.Name) and node.id in self.modules[-1]

    def path_from_module(self, node):
        """ "lib.stride_tricks" for `xp(x).lib.stride_tricks`; None where no array module is at the root."""
        names = []
        while isinstance(node, ast.Attribute) and not self.is_module(node):
            names.append(node.attr)
            node = node.value
        return ".".join(reversed(names)) if names and self.is_module(node) else None

    def visit_Call(self, node):
        path = self.path_from_module(node.func)
        if path:
            self.found.append((node.lineno, path, node))
            self.visit_root(node.func)
            for part in [*node.args, *node.keywords]:
                self.visit(part)
            return
        if getattr(node.func, "id", None) == "getattr" and self.is_module(node.args[0]):
            name = node.args[1]
            if isinstance(name, ast.Constant):
                self.found.append((node.lineno, name.value, None))
            else:
                self.dynamic.append(node.lineno)
        self.generic_visit(node)

    def visit_Attribute(self, node):
        path = self.path_from_module(node)
        if path:
            self.found.append((node.lineno, path, None))
        self.visit_root(node)

    def visit_root(self, node):
        """On to what stands left of the first dot: it may be a call with uses among its arguments."""
        while isinstance(node, ast.Attribute):
            node = node.value
        self.visit(node)


def complaint(path, call):
    """What is wrong with this use of the array module, or None."""
    head, _, last = path.rpartition(".")
    if path in NAMES["host"] or path in NAMES["class"] or path in ("asnumpy", "linalg", "lib", "lib.stride_tricks"):
        return None
    if head in NAMES["ufunc"]:
        return None if last in NAMES["ufunc"][head] else f"cupy.{head} cannot {last}"
    if path not in NAMES["ufunc"] and path not in NAMES["function"]:
        return f"cupy has no {path}"
    if call is None:
        return None
    keywords = [k.arg for k in call.keywords if k.arg]  # `**options` cannot be read off the source
    if path in NAMES["ufunc"]:
        wrong = set(keywords) - UFUNC_KEYWORDS
        return f"cupy.{path} takes no {sorted(wrong)}" if wrong else None
    count = 0 if any(isinstance(a, ast.Starred) for a in call.args) else len(call.args)
    why = refused(NAMES["function"][path], count, keywords)
    return why and f"cupy.{path} {why}"


def uses(source):
    found = Uses()
    found.visit(ast.parse(source))
    return found


@pytest.mark.parametrize("file", FILES, ids=where_is)
def test_every_use_of_an_array_module_exists_in_cupy(file):
    found = uses(file.read_text(encoding="utf-8"))
    wrong = [f"{where_is(file)}:{line}: {why}" for line, p, call in found.found if (why := complaint(p, call))]
    wrong += [f"{where_is(file)}:{line}: a name computed at run time cannot be checked" for line in found.dynamic]
    assert not wrong, "\n".join(wrong)


def test_the_source_uses_array_modules_at_all():
    """If the reader above went blind, everything would pass."""
    found = {path for file in FILES for _, path, _ in uses(file.read_text(encoding="utf-8")).found}
    assert {"zeros", "tanh", "sqrt"} <= found


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("xp(x).errstate()", "no errstate"),
        ("backend.xp(x).linalg.vector_norm(x)", "no linalg.vector_norm"),
        ("xp(x).sum(x, where=y)", "unexpected keyword argument 'where'"),
        ("xp(x).exp(x, where=y)", "takes no ['where']"),
        ("def f(x):\n m = xp(x)\n return m.exp(m.vecdot(x))", "no vecdot"),
        ("def f(x):\n if (m := xp(x)):\n  return m.max(x, initial=0)", "'initial'"),
        ("def f(self, x):\n return self.xp.maximum.reduce(x)", "maximum cannot reduce"),
        ("def f(xp, x):\n return xp.insert", "no insert"),
        ("def f(x):\n return _xp(x).clip(x, 0, 1, None, 5)", "takes 4 positional arguments but 5"),
        ("xp(xp(x).insert).exp(x)", "no insert"),
        ("xp(x).exp(xp(x).insert)", "no insert"),
        ("getattr(xp(x), 'insert')", "no insert"),
        ("xp(x).lib.stride_tricks.as_strided(x, s, t, writeable=False)", "'writeable'"),
    ],
)
def test_the_reader_sees_mistakes(source, why):
    found = uses(source)
    assert any(why in (complaint(path, call) or "") for _, path, call in found.found), found.found


def test_the_reader_leaves_other_names_alone():
    source = """
def f(x):
    m = x.max()
    return m.insert, xp(x).add.at(x, i, v), xp(x).sum(x, axis=0, keepdims=True), xp(x).float32
"""
    assert [complaint(path, call) for _, path, call in uses(source).found] == [None] * 3
    assert uses("getattr(xp(x), name)").dynamic == [1]


# ---- NumPy in op code -------------------------------------------------------------------------------------

DTYPES_AND_CHECKS = set(
    """
    float16 float32 float64 int8 int16 int32 int64 uint8 intp bool_ dtype finfo floating generic iinfo inexact
    inf integer issubdtype nan ndarray newaxis number pi promote_types result_type broadcast_shapes
    """.split()
)
# What is on the host already: nested lists on their way to the device, values shown to the user.
ON_THE_HOST = {"minigan/autodiff/tensor.py": {"array", "asarray", "array2string"}}
HOST_FILES = {"minigan/autodiff/check.py"}  # the numerical checker works on the host throughout


def numpy_names(source):
    """[(line, name)] of all names taken from NumPy."""
    tree, names, found = ast.parse(source), set(), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {a.asname or a.name for a in node.names if a.name.split(".")[0] == "numpy"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "numpy":
            found += [(node.lineno, a.name) for a in node.names]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in names:
            found.append((node.lineno, node.attr))
    return found


OP_FILES = [f for f in FILES if f.parent.name in ("ops", "autodiff") and where_is(f) not in HOST_FILES]


@pytest.mark.parametrize("file", OP_FILES, ids=where_is)
def test_op_code_computes_nothing_with_numpy(file):
    allowed = DTYPES_AND_CHECKS | ON_THE_HOST.get(where_is(file), set())
    found = numpy_names(file.read_text(encoding="utf-8"))
    wrong = [f"{where_is(file)}:{line}: np.{name}" for line, name in found if name not in allowed]
    assert not wrong, "\n".join(wrong)


def test_the_numpy_reader_sees_mistakes():
    source = "import numpy as np, numpy\nfrom numpy import exp\ndef f(x): return np.float32, numpy.tanh(x)"
    assert sorted(name for _, name in numpy_names(source)) == ["exp", "float32", "tanh"]
    assert len(OP_FILES) > 5


# ---- against the real CuPy --------------------------------------------------------------------------------


def test_the_list_is_what_cupy_has():
    cupy = pytest.importorskip("cupy")
    ours, theirs = (
        [" ".join([kind, n, *rest]) for kind in NAMES for n, rest in NAMES[kind].items()],
        describe(cupy),
    )
    assert sorted(ours) == sorted(theirs), "python -m tests.cupy_names writes the list anew"


def cupy_mistakes(source):
    """[(line, what)]: uses of `cupy` and `cupyx` by name that the installed CuPy does not have."""
    tree, modules, wrong = ast.parse(source), {}, []
    for node in ast.walk(tree):
        for a in node.names if isinstance(node, ast.Import) else []:
            if a.name.split(".")[0] in ("cupy", "cupyx"):
                top = a.name.split(".")[0]
                modules.setdefault(a.asname or top, []).append(a.name)
    for name, dotted in modules.items():
        pytest.importorskip("cupy")
        loaded = [importlib.import_module(d) for d in dotted]
        root = loaded[0] if name not in ("cupy", "cupyx") else importlib.import_module(name)
        reader = Uses()
        reader.is_module = lambda node, name=name: isinstance(node, ast.Name) and node.id == name
        reader.visit(tree)
        for line, path, call in reader.found:
            try:
                thing = resolve(root, path)
            except AttributeError:
                wrong.append((line, f"{name} has no {path}"))
                continue
            keywords = [k.arg for k in call.keywords if k.arg] if call else []
            if inspect.isroutine(thing) and (why := refused(parameters(thing), 0, keywords)):
                wrong.append((line, f"{name}.{path} {why}"))
    return wrong


@pytest.mark.parametrize("file", FILES, ids=where_is)
def test_what_is_taken_from_cupy_itself_exists(file):
    """`cupy.cuda.Device`, `cupy.ElementwiseKernel` … wherever a file imports CuPy by name."""
    wrong = [f"{where_is(file)}:{line}: {why}" for line, why in cupy_mistakes(file.read_text(encoding="utf-8"))]
    assert not wrong, "\n".join(wrong)


def test_the_cupy_reader_sees_mistakes():
    source = """
def f(x):
    import cupy
    import cupyx.scipy.special as special
    cupy.cuda.Device(0), cupy.ElementwiseKernel("", "", "", ""), cupy.asarray(x, dtype="f4"), special.erf(x)
    return cupy.cudnn.conv(x), cupy.zeros(3, like=x), special.no_such
"""
    assert [why.split(" ")[0:3] for _, why in cupy_mistakes(source)] == [
        ["cupy", "has", "no"],
        ["cupy.zeros", "got", "an"],
        ["special", "has", "no"],
    ]
