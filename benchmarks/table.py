"""The one table: ours, the floor, the peers, ratios, memory; and below each workload what we aim at."""

from statistics import median

from benchmarks import scaling
from benchmarks.libraries import title
from benchmarks.report import best, flops, name_of, ratio, reached
from benchmarks.workloads import AIMS

HEAD = ("workload", "candidate", "median", "[min … max]", "minigan takes", "aim", "memory", "GFLOP/s")
WORDS = 2  # the first columns are words, flush left


def table(report, scaled=(), aims=AIMS):
    """The report as text. ``scaled``: the scaling workloads, whose growth is listed below the table."""
    packages = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    rounds = max((len(r["seconds"]) for results in report["workloads"].values() for r in results.values()), default=0)
    text = [
        f"{packages}; {report['device']}, {report['threads']} threads",
        f"medians of {rounds} interleaved rounds; a ratio is the median over rounds; memory: peak growth in ten steps;",
        "GFLOP/s: the matrix products' operations over the whole time",
        "",
    ]
    rows = [row for workload in report["workloads"] for row in _workload(report, workload, aims)]
    text += _aligned([HEAD, *rows[:-1]])  # the last is empty
    if scaled and (growth := scaling.lines(scaled, report["workloads"])):
        text += ["", "growth between neighbouring sizes, time ~ size^exponent:", *growth]
    if report["absent"]:
        text += ["", f"not installed, so left out: {', '.join(map(name_of, report['absent']))}"]
    if report["failures"]:
        text += ["", *(f"FAILED: {message}" for message in report["failures"])]
    return "\n".join(text)


def _workload(report, workload, aims):
    """The rows of one workload: its candidates, then its aims."""
    results = report["workloads"][workload]
    rows = [_candidate(results, name) for name in results]
    for aim in (aim for aim in aims if aim.workload == workload):
        value = reached(aim, report)
        if value is not None:
            verdict = f"≤ {aim.most:g} {'✓' if value <= aim.most else '✗'}"
            rows.append(("", f"  aim: {_against(aim)}", "", "", f"{value:.2f} ×", verdict, "", ""))
        if aim.other and (theirs := _own_ratio(report, aim, "torch")):
            rows.append(("", f"  PyTorch against {aim.other}, its own", "", "", f"({theirs:.2f} ×)", "", "", ""))
    return [(workload, *rows[0][1:]), *rows[1:], ("",) * len(HEAD)] if rows else []


def _candidate(results, name):
    seconds, memory, operations = results[name]["seconds"], results[name]["memory"], flops(results)
    unit, scale = ("µs", 1e6) if median(seconds) < 1e-4 else ("ms", 1e3)
    low, middle, high = (f"{scale * f(seconds):.2f}" for f in (min, median, max))
    tf32 = name.endswith("tf32")
    against = None if name.startswith("minigan") else ratio(best(results, "minigan", tf32), seconds)
    return (
        *("", title(name), f"{middle} {unit}", f"[{low} … {high}]"),
        *("" if against is None else f"{against:.2f} ×", ""),
        "" if memory is None else f"{memory / 2**20:.1f} MiB",
        f"{operations / median(seconds) / 1e9:.1f}" if operations else "",
        *(f"{count} {what}" for what, count in results[name]["calls"].items()),
    )


def _against(aim):
    """An aim in words: "PyTorch", "memory of PyTorch", "critic"."""
    if aim.other:
        return aim.other
    return name_of(aim.library) if aim.quantity == "time" else f"{aim.quantity} of {name_of(aim.library)}"


def _own_ratio(report, aim, library):
    """The ratio of an aim between two workloads, for another library."""
    ours, theirs = (report["workloads"].get(name, {}) for name in (aim.workload, aim.other))
    return ratio(best(ours, library), best(theirs, library))


def _aligned(rows):
    """Rows of cells as lines of text, in columns; cells beyond the head's are appended as they are."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:WORDS], widths)]
        cells += [cell.rjust(width) for cell, width in zip(row[WORDS:], widths[WORDS:])]
        lines.append("  ".join([*cells, *row[len(HEAD) :]]).rstrip())
    return lines
