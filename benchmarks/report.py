"""A report: what was measured, as one JSON file, and the ratios computed from it.

    {"versions":  {package: version},
     "threads":   of every candidate,
     "device":    "cpu" or "cuda",
     "quick":     true if the sizes are tiny,
     "sizes":     {workload: {"batch": …, "width": …, "count": …}},
     "absent":    [libraries that are not installed],
     "failures":  [message of each candidate that died],
     "workloads": {workload: {candidate: {
         "seconds": [of a step (sampling: all images; overhead: one operation), one for each round],
         "memory":  bytes that the first ten steps added at their peak, or null,
         "flops":   of the matrix products in a step; only the candidate "floor" knows, else null,
         "calls":   {what: how often in a step}, counted on a GPU only}}}}

Of candidates and workloads in the same group, the i-th number of "seconds" comes from the same round.
"""

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

from benchmarks.libraries import LIBRARIES, split_name

PACKAGES = ("numpy", "torch", "jax", "jaxlib", "autograd", "mygrad", "cupy-cuda13x", "cupy-cuda12x")


def versions():
    """{package: version} of minigan, Python and all installed packages that a time may depend on."""
    import minigan

    found = {"minigan": minigan.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def sizes(workloads):
    """{workload: its size}, of what a report holds."""
    return {w.name: {"batch": w.batch, "width": w.width, "count": w.count} for w in workloads}


def save(report, path):
    """Write a report."""
    Path(path).write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def load(path):
    """Read a report. Raises ``ValueError`` if the file is none."""
    report = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(report, dict) or not isinstance(report.get("workloads"), dict):
        raise ValueError(f"{path} is no report of python -m benchmarks: it has no 'workloads'")
    return report


def of_library(results, library, tf32=False):
    """The results of all candidates of a library, {variant: result}, with or without TF32."""
    parts = {split_name(name): result for name, result in results.items()}
    return {v: r for (lib, v), r in parts.items() if lib == library and v.endswith("tf32") == tf32}


def best(results, library, tf32=False):
    """[seconds] of a library, round by round that of its quickest variant; [] if it was not measured."""
    return [min(times) for times in zip(*(r["seconds"] for r in of_library(results, library, tf32).values()))]


def ratio(ours, theirs):
    """The median over rounds of ours/theirs in the same round; None if either is missing."""
    return median(a / b for a, b in zip(ours, theirs)) if ours and theirs else None


def memory(results, library):
    """The least memory of a library's variants, in bytes; None if unknown."""
    return min((r["memory"] for r in of_library(results, library).values() if r["memory"] is not None), default=None)


def flops(results):
    """Floating-point operations in the matrix products of a step, or None."""
    return results.get("floor", {}).get("flops")


def reached(aim, report):
    """minigan's measured ratio for an `Aim`, or None if one of the two was not measured."""
    ours = report["workloads"].get(aim.workload, {})
    theirs = report["workloads"].get(aim.other or aim.workload, {})
    if aim.quantity == "time":
        return ratio(best(ours, "minigan"), best(theirs, aim.library))
    a, b = memory(ours, "minigan"), memory(theirs, aim.library)
    return a / b if a is not None and b else None


def name_of(library):
    """How a table calls a library."""
    return LIBRARIES[library][2]
