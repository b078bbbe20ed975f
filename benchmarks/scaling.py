"""How the time of a step grows with the batch and with the channels.

Between two neighbouring sizes a and b the exponent is log(time_b/time_a)/log(b/a): time ~ size^exponent. In the batch
all work is linear. In the channels the matrix products grow quadratically, all else linearly; so time per FLOP, which
falls while products come to dominate, says more there.
"""

import math
from statistics import median

from benchmarks.libraries import split_name


def series(workloads, results):
    """{"batch": …, "channels": …}: for each [(size, {candidate: seconds}, FLOPs)], of what was measured, by size."""
    by_batch = [(w.batch, w) for w in workloads if w.width == workloads[0].width]
    by_channels = [(w.width, w) for w in workloads if w.batch == workloads[-1].batch]
    return {axis: _points(pairs, results) for axis, pairs in (("batch", by_batch), ("channels", by_channels))}


def _points(pairs, results):
    points = []
    for size, workload in sorted(pairs, key=lambda pair: pair[0]):
        measured = results.get(workload.name, {})
        times = {name: median(result["seconds"]) for name, result in measured.items()}
        points += [(size, times, measured.get("floor", {}).get("flops"))] if times else []
    return points


def exponents(points, candidate):
    """[(size, next size, exponent)] of one candidate."""
    known = [(size, times[candidate]) for size, times, _ in points if candidate in times]
    return [(a, b, math.log(t / s) / math.log(b / a)) for (a, s), (b, t) in zip(known, known[1:])]


def lines(workloads, results):
    """The text of it: for each axis and candidate the exponents, and picoseconds per FLOP."""
    text = []
    for axis, points in series(workloads, results).items():
        for candidate in dict.fromkeys(name for _, times, _ in points for name in times):
            grows = "  ".join(f"{a}→{b}: {e:.2f}" for a, b, e in exponents(points, candidate))
            cost = [1e12 * times[candidate] / flops for _, times, flops in points if flops and candidate in times]
            per_flop = " ".join(f"{c:.1f}" for c in cost)
            name = split_name(candidate)[0]
            text.append(f"  {axis:<9} {name:<8} exponent  {grows}    ps per FLOP  {per_flop}")
    return text
