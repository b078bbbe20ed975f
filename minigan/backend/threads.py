"""Two hands for large matrix products and for laying out the columns of a convolution.

NumPy lets go of Python's global lock inside its loops and inside BLAS, so that two threads of Python can each work on
their own rows of a result. `split` does that for what is large enough. While it is in charge (`in_charge`), OpenBLAS
is told to use one thread of its own: its idle threads spin for a while after each product, in the way of the copies
that come next, and when another process wants a core they make a product ten times slower, where waiting threads of
Python only share the machine.

It pays for few, long pieces of work. Passes that go through the cache block by block (batch norm, the optimiser) were
measured slower in two threads than in one, because they spend their time handing the lock to each other.
"""

import ctypes
import os
from contextlib import contextmanager

# BLAS rounds alike wherever a matrix is cut, if the pieces begin at a multiple of FOUR rows, have FEW rows or more and
# take at least SMALL_PRODUCT multiplications (below, OpenBLAS may choose another kernel).
FOUR, FEW, SMALL_PRODUCT = 4, 16, 2**20
SMALLEST = 2**17  # numbers to move, or 2**8 multiplications each: below this a thread costs more than it brings


def _available():
    asked = os.environ.get("MINIGAN_THREADS") or os.environ.get("OMP_NUM_THREADS")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(int(asked), cores) if asked and asked.isdigit() else cores)


threads = _available()  # the number in use; MINIGAN_THREADS (or OMP_NUM_THREADS) sets it
blas_is_single = False  # has `in_charge` found an OpenBLAS and taken its threads away?
_pool = None


def _forget_pool():
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)  # a forked child has the pool, but not its threads


def split(work, rows, size):
    """Call ``work(start, stop)`` for contiguous ranges that cover ``range(rows)``, at once on the available threads.

    ``size``: how many numbers the whole work touches; little work is done in one call. ``work`` must only write to its
    own rows. Raises what ``work`` raised, after all threads have stopped.
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


@contextmanager
def in_charge():
    """Inside, OpenBLAS works with one thread and large products are split here; afterwards all is as it was.

    Where NumPy's BLAS is another library (or not to be found, outside Linux), it keeps its own threads and nothing
    changes. So it does with MINIGAN_THREADS=blas.
    """
    global blas_is_single
    found = [] if blas_is_single or os.environ.get("MINIGAN_THREADS") == "blas" else _openblas()
    before = [count() for count, _ in found]
    try:
        for _, use in found:
            use(1)
        blas_is_single = blas_is_single or bool(found)
        yield
    finally:
        for (_, use), number in zip(found, before):
            use(number)
        if found:
            blas_is_single = False


def _openblas():
    """[(get the number of threads, set it)] of the OpenBLAS libraries that this process has loaded."""
    try:
        with open("/proc/self/maps") as maps:
            paths = {line.split()[-1] for line in maps if "openblas" in line}
    except OSError:
        return []
    found = []
    for library in map(ctypes.CDLL, sorted(paths)):
        for name in ("scipy_openblas_{}_num_threads64_", "scipy_openblas_{}_num_threads", "openblas_{}_num_threads"):
            if hasattr(library, name.format("set")):
                found.append((getattr(library, name.format("get")), getattr(library, name.format("set"))))
                break
    return found
