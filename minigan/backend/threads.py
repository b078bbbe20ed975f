"""Two hands for laying out the columns of a convolution.

NumPy lets go of Python's global lock inside its loops, and BLAS brings its own threads to matrix products; the copies
between them run on one core unless somebody splits them. `split` does, over the batch: every number is computed by the
same operations as before, so results do not depend on the number of threads. It pays for few, long copies only: passes
that go through the cache block by block (batch norm, the optimiser) were measured slower in two threads than in one,
which spend their time handing the lock to each other.
"""

import os

SMALLEST = 2**17  # elements; below this a thread costs more than it brings


def _available():
    asked = os.environ.get("MINIGAN_THREADS") or os.environ.get("OMP_NUM_THREADS")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(int(asked), cores) if asked and asked.isdigit() else cores)


threads = _available()  # the number in use; MINIGAN_THREADS (or OMP_NUM_THREADS) sets it
_pool = None


def split(work, rows, size):
    """Call ``work(start, stop)`` for contiguous ranges that cover ``range(rows)``, at once on the available threads.

    ``size``: how many numbers the whole work touches; little work is done in one call. ``work`` must only write to its
    own rows.
    """
    global _pool
    parts = min(threads, rows)
    if parts <= 1 or size < SMALLEST:
        work(0, rows)
        return
    if _pool is None:
        from concurrent.futures import ThreadPoolExecutor

        _pool = ThreadPoolExecutor(threads - 1, "minigan")
    cuts = [rows * i // parts for i in range(parts + 1)]
    others = [_pool.submit(work, a, b) for a, b in zip(cuts[1:-1], cuts[2:])]
    try:
        work(cuts[0], cuts[1])
    finally:  # nobody writes any more when this returns, whoever failed
        failures = [other.exception() for other in others]
    for failure in filter(None, failures):
        raise failure
