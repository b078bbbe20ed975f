"""How long transport takes, how exact it is, and POT beside it where it is installed.

    python -m benchmarks.transport --repeats 5

Median seconds of ``--repeats`` runs, the two libraries in turn. "gap" is primal minus dual as the certificate has it,
relative to mass and largest cost; "POT" the seconds of its function for the same thing and how far its value is away.
Points are uniform on the square; 64-d ones are normal.
"""

import argparse
import statistics
import time
import warnings

import numpy as np

from minigan.transport import distances, emd, sinkhorn, sliced_wasserstein, wasserstein_1d


def points(n, d, seed):
    rng = np.random.default_rng(seed)
    return rng.random((n, d)) if d < 3 else rng.standard_normal((n, d))


def masses(n, seed):
    a = np.random.default_rng(seed).random(n)
    return a / a.sum()


def exact(n, m, d, weighted):
    """A case: (label, ours, theirs(ot)), each giving a value; ours also the certificate's gap."""
    cost = distances(points(n, d, 0), points(m, d, 1))
    a, b = (masses(n, 2), masses(m, 3)) if weighted else (np.full(n, 1 / n), np.full(m, 1 / m))

    def ours():
        found = emd(a, b, cost)
        return found.cost, found.certificate.relative["gap"]

    label = f"emd, {n:,} x {m:,} {'weighted' if weighted else 'equal'} points, {d}-d"
    return label, ours, lambda ot: ot.emd2(a, b, cost, numItermax=10**7)


def entropic(n, epsilon):
    """Sinkhorn to an error of 1e-6; POT's in the logarithm to the same."""
    cost, a = distances(points(n, 2, 0), points(n, 2, 1)), np.full(n, 1 / n)

    def theirs(ot):
        plan = ot.sinkhorn(a, a, cost, epsilon, method="sinkhorn_log", numItermax=10**5, stopThr=1e-6)
        return (plan * cost).sum()

    return f"sinkhorn, {n:,} x {n:,}, ε = {epsilon}", lambda: (sinkhorn(a, a, cost, epsilon, 1e-6).cost, None), theirs


def line(n):
    """The closed form in one dimension, weighted."""
    x, y, a, b = points(n, 1, 0)[:, 0], points(n, 1, 1)[:, 0] ** 2, masses(n, 2), masses(n, 3)
    return (
        f"wasserstein_1d, {n:,} weighted points",
        lambda: (wasserstein_1d(x, y, 1, a, b), None),
        lambda ot: ot.wasserstein_1d(x, y, a, b, p=1),
    )


def sliced(n, d):
    """200 directions; POT draws others, so its value differs."""
    x, y = points(n, d, 0), points(n, d, 1) + 0.1
    label = f"sliced_wasserstein, {n:,} x {n:,}, {d}-d, 200 directions"
    return (
        label,
        lambda: (sliced_wasserstein(x, y), None),
        lambda ot: ot.sliced_wasserstein_distance(x, y, n_projections=200, seed=0),
    )


def timed(f, *arguments):
    began = time.perf_counter()
    value = f(*arguments)
    return time.perf_counter() - began, value


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import ot
    except ImportError:
        ot = None
        print("POT is not installed: its columns are empty")
    cases = [exact(256, 256, 64, False), exact(1000, 1000, 2, False), exact(1000, 1000, 64, False)]
    cases += [exact(300, 400, 2, True), exact(500, 500, 2, True), exact(500, 500, 64, True)]
    cases += [entropic(1000, 0.1), entropic(1000, 0.01), line(10**6), sliced(10_000, 64)]
    print(f"{'':<52}{'seconds':>9}{'gap':>10}{'POT':>9}{'difference':>12}")
    for label, ours, theirs in cases:
        times, peers = [], []
        for _ in range(args.repeats):
            seconds, (value, gap) = timed(ours)
            times.append(seconds)
            if ot:
                seconds, other = timed(theirs, ot)
                peers.append(seconds)
        beside = f"{statistics.median(peers):>9.3f}{value - other:>12.1e}" if ot else ""
        print(
            f"{label:<52}{statistics.median(times):>9.3f}{'' if gap is None else f'{gap:.0e}':>10}{beside}", flush=True
        )


if __name__ == "__main__":
    main()
