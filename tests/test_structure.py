"""The house rules: imports point one way, importing is cheap, the core stays small, everything is explained.

Nothing here runs minigan's code, but for one `import minigan` in a fresh interpreter: the source is read as
syntax trees. A package that does not exist yet breaks no rule.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MINIGAN = ROOT / "minigan"
FILES = sorted(MINIGAN.rglob("*.py"))


def where_is(path):
    return path.relative_to(ROOT).as_posix()


# ---- (a) imports point one way only ----------------------------------------------------------------------
#
# A file may import its own package and every package on a line above its own. Packages on one line do not
# know each other: who needs two of them stands below both. Imports inside functions count as well.

LAYERS = [
    ["display"],
    ["backend"],
    ["errors"],
    ["autodiff"],
    ["ops"],
    ["nn", "optim"],
    ["models", "data", "objectives", "transport"],
    ["metrics"],
    ["games"],
    ["inspect", "report"],
    ["experiment"],
    ["__main__"],
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}

# Arrays in, numbers out: these know the array library, each other and tables, but no Tensors and nothing on top …
PLAIN_ARRAYS = {"transport", "metrics"}
# … except what compares a trained critic with the exact distance, and two metrics that are made with networks.
KNOWS_TENSORS = {
    "minigan/transport/critic_gap.py",
    "minigan/metrics/two_sample.py",
    "minigan/metrics/mnist.py",
}


def imports(source, module, is_package):
    """[(line, "nn")]: the packages of minigan that a file imports, absolutely, relatively or as `mg.nn`.

    ``module``: the file's own dotted name. The face of minigan (`import minigan as mg; mg.tanh`) offers what
    the core and ops define, so it counts as ops.
    """
    found, faces = [], set()
    package = module.split(".") if is_package else module.split(".")[:-1]

    def name_imported(line, dotted):
        parts = dotted.split(".")
        if parts[0] == "minigan":
            found.append((line, parts[1] if len(parts) > 1 and parts[1] in RANK else "ops"))
        elif parts[0] in ("tests", "examples", "benchmarks"):
            found.append((line, parts[0]))

    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for a in node.names:
                if a.name == "minigan":
                    faces.add(a.asname or a.name)
                name_imported(node.lineno, a.name)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join(base + ([node.module] if node.module else []))
            for a in node.names:  # `from minigan import nn` names a package, `from minigan.nn import Dense` a thing
                name_imported(node.lineno, f"{base}.{a.name}" if base == "minigan" else base)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in faces:
            name_imported(node.lineno, f"minigan.{node.attr}")
    return found


def forbidden(own, other, file=""):
    """Why a file of package ``own`` may not import package ``other``; None if it may."""
    if other not in RANK:
        return f"{other} is not for the package to use"
    if own == other:
        return None
    if own in PLAIN_ARRAYS and other not in PLAIN_ARRAYS | {"backend", "display"} and file not in KNOWS_TENSORS:
        return f"{own} takes plain arrays: it may not import {other}"
    if RANK[other] == RANK[own]:
        return f"{own} and {other} stand side by side and may not know each other"
    if RANK[other] > RANK[own]:
        return f"{other} stands above {own}"
    return None


@pytest.mark.parametrize("file", [f for f in FILES if f != MINIGAN / "__init__.py"], ids=where_is)
def test_imports_point_one_way(file):
    parts = file.relative_to(ROOT).with_suffix("").parts
    own = parts[1]
    assert own in RANK, f"{where_is(file)} has no place in the house: give it one in LAYERS"
    is_package = parts[-1] == "__init__"
    module = ".".join(parts[:-1] if is_package else parts)
    found = imports(file.read_text(encoding="utf-8"), module, is_package)
    wrong = [f"{where_is(file)}:{line}: {why}" for line, p in found if (why := forbidden(own, p, where_is(file)))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("source", "packages"),
    [
        ("from ..nn import Dense", ["nn"]),
        ("from .. import nn, tanh", ["nn", "ops"]),
        ("from . import relu", ["ops"]),
        ("from .shape import pad", ["ops"]),
        ("import minigan.games.play", ["games"]),
        ("from minigan.data.toy import ring", ["data"]),
        ("def f():\n    from minigan import report", ["report"]),
        ("import minigan as mg\nmg.tanh, mg.optim.Adam", ["ops", "ops", "optim"]),
        ("from tests.strict_array import x", ["tests"]),
        ("import numpy, minigan_extra", []),
    ],
)
def test_the_import_reader(source, packages):
    assert [p for _, p in imports(source, "minigan.ops.elementwise", False)] == packages


def test_the_rules_themselves():
    allowed = [
        ("ops", "backend"),
        ("games", "data"),
        ("nn", "nn"),
        ("metrics", "backend"),
        ("metrics", "display"),
        ("metrics", "transport"),
        ("__main__", "report"),
    ]
    refused = [
        ("display", "backend"),
        ("backend", "autodiff"),
        ("nn", "optim"),
        ("data", "models"),
        ("metrics", "ops"),
        ("transport", "metrics"),
        ("nn", "tests"),
    ]
    assert [pair for pair in allowed if forbidden(*pair)] == []
    assert [pair for pair in refused if not forbidden(*pair)] == []
    assert forbidden("transport", "ops", "minigan/transport/critic_gap.py") is None


# ---- (b) `import minigan` is cheap -----------------------------------------------------------------------

# Standard-library packages that are slow to import, and parts of NumPy that NumPy itself leaves for later.
# `python -m benchmarks.import_time` measures how long it takes; here we forbid what would make it long.
HEAVY = set(
    """
    asyncio concurrent doctest email html http multiprocessing pdb pydoc sqlite3 ssl tkinter unittest xml
    urllib.request numpy.f2py numpy.ma numpy.polynomial numpy.testing
    """.split()
)


def test_import_minigan_brings_only_what_it_needs():
    code = "import sys, numpy; old = set(sys.modules); import minigan; print(*sorted(set(sys.modules) - old))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    new = set(done.stdout.split())
    assert "minigan.autodiff.tensor" in new
    ours = {"minigan", "numpy"} | sys.stdlib_module_names
    assert sorted({name.split(".")[0] for name in new} - ours) == [], "imported where it is used, not before"
    assert sorted(name for name in new if any(name == h or name.startswith(h + ".") for h in HEAVY)) == []


# ---- (c) the core is read in one sitting -----------------------------------------------------------------


def test_the_core_is_at_most_900_lines():
    lengths = {f.name: len(f.read_text(encoding="utf-8").splitlines()) for f in (MINIGAN / "autodiff").rglob("*.py")}
    assert 100 < sum(lengths.values()) <= 900, lengths


# ---- (d) everything public says what it is ---------------------------------------------------------------


def undocumented(source):
    """[(line, name)] of the file itself and its public functions and classes that have no docstring."""
    tree = ast.parse(source)
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    public = [n for n in tree.body if isinstance(n, kinds) and not n.name.startswith("_")]
    missing = [(n.lineno, n.name) for n in public if not ast.get_docstring(n)]
    return missing if ast.get_docstring(tree) else [(1, "the file"), *missing]


@pytest.mark.parametrize("file", FILES, ids=where_is)
def test_everything_public_has_a_docstring(file):
    assert undocumented(file.read_text(encoding="utf-8")) == []


def test_the_docstring_reader():
    source = 'def f(): pass\ndef _g(): pass\nclass C:\n    "Yes."\n    def method(self): pass\nclass E: pass'
    assert [name for _, name in undocumented(source)] == ["the file", "f", "E"]


# ---- (e) no file knows the machine it was written on -----------------------------------------------------

# A path of the root folder, not a part of a longer path or address such as https://example.org/home/page.
MACHINE_PATH = re.compile(r"(?<![\w.~$})\]*>-])/(?:work|home|root|Users)/")


def test_no_file_holds_a_machine_path():
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    found, read = [], 0
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if not path.is_file():  # deleted, not yet committed
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:  # pictures and archives
            continue
        read += 1
        found += [
            f"{name}:{i}: {line.strip()}" for i, line in enumerate(text.splitlines(), 1) if MACHINE_PATH.search(line)
        ]
    assert read > 10
    assert not found, "\n".join(found)


def test_the_path_reader():
    slash = "/"
    for bad in ("work", "home", "root"):
        assert MACHINE_PATH.search(f'open("{slash}{bad}/data/x.npz")')
    for good in ("https://example.org/home/page", "frame/work/shop", "a/root/b", "../work/x"):
        assert not MACHINE_PATH.search(good)
