"""How long the metrics take, how much memory they need, and prdc beside them where it is installed.

    python -m benchmarks.metrics               10,000 against 10,000 points in 64 dimensions
    python -m benchmarks.metrics --n 2000 --d 2048

Each in a process of its own; median seconds of ``--repeats`` calls after a small one, and the process's largest memory,
of which Python with NumPy and SciPy takes about 0.1 GB. All n × n distances at once would be 0.8 GB for n = 10,000.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
import warnings

import numpy as np

from minigan import metrics


def with_prdc(real, fake):
    """The same as precision_recall and density_coverage together, without their floors."""
    import prdc

    return prdc.compute_prdc(real, fake, 5)


CASES = {
    "frechet_distance": metrics.frechet_distance,
    "kernel_distance": lambda real, fake: metrics.kernel_distance(real, fake, subset_size=min(1000, len(real))),
    "mmd": metrics.mmd,
    "precision_recall": metrics.precision_recall,
    "density_coverage": metrics.density_coverage,
    "ndb": metrics.ndb,
    "c2st": metrics.c2st,
    "c2st, knn": lambda real, fake: metrics.c2st(real, fake, "knn"),
    "sliced_wasserstein": metrics.sliced_wasserstein,
    "inception_score": lambda real, fake: metrics.inception_score(fake),
    "parzen_log_likelihood": lambda real, fake: metrics.parzen_log_likelihood(real, fake, sigma=0.5),
    "prdc (all four)": with_prdc,
}


def measure(name, n, d, repeats):
    """Print median seconds and gigabytes of one case."""
    rng = np.random.default_rng(0)
    real, fake = rng.standard_normal((n, d)), rng.standard_normal((n, d))
    warnings.simplefilter("ignore")
    CASES[name](real[:1100], fake[:1100])
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        CASES[name](real, fake)
        times.append(time.perf_counter() - began)
    unit = 1 if sys.platform == "darwin" else 1024  # of the system's peak: bytes or kilobytes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
    print(f"{name:<24}{statistics.median(times):>9.2f}{peak:>10.2f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--d", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--here", action="store_true", help="in this process")
    args = parser.parse_args()
    if args.here:
        for name in args.only:
            measure(name, args.n, args.d, args.repeats)
        return
    print(f"{f'{args.n:,} × {args.n:,} × {args.d}':<24}{'seconds':>9}{'peak GB':>10}", flush=True)
    for name in args.only:
        command = [sys.executable, "-m", "benchmarks.metrics", "--here", "--only", name]
        command += ["--n", str(args.n), "--d", str(args.d), "--repeats", str(args.repeats)]
        done = subprocess.run(command, capture_output=True, text=True)
        missing = "not installed" if "ModuleNotFoundError" in done.stderr else done.stderr.strip().rpartition("\n")[2]
        said = done.stdout.splitlines()
        print(said[-1] if done.returncode == 0 else f"{name:<24}  {missing}", flush=True)


if __name__ == "__main__":
    main()
