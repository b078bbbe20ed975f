"""Two hands and kept memory: every row once, every error seen, the same bits with any number of threads."""

import math
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import minigan as mg
from minigan import backend
from minigan.backend import threads

ROOT = Path(__file__).parent.parent
MANY = threads.SMALLEST


@pytest.fixture
def hands():
    """Set the number of threads, whatever this machine has; afterwards all is as it was."""
    before = threads.threads, threads._pool

    def use(number):
        threads.threads, threads._pool = number, None

    yield use
    threads.threads, threads._pool = before


def fresh(code, **variables):
    """What a new interpreter prints."""
    keep = {
        k: v for k, v in os.environ.items() if k not in ("MINIGAN_THREADS", "OMP_NUM_THREADS", "MINIGAN_KEEP_MEMORY")
    }
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=keep | variables, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


# ---- split -----------------------------------------------------------------------------------------------------------


@given(rows=st.integers(1, 50), number=st.integers(1, 9), size=st.sampled_from((0, MANY - 1, MANY, 10 * MANY)))
def test_every_row_is_worked_on_once(rows, number, size):
    before = threads.threads
    threads.threads = number
    try:
        seen, ranges = np.zeros(rows, int), []

        def work(start, stop):
            ranges.append((start, stop))
            seen[start:stop] += 1

        threads.split(work, rows, size)
    finally:
        threads.threads = before
    assert seen.tolist() == [1] * rows
    assert len(ranges) == (min(rows, number) if size >= MANY else 1)
    lengths = [stop - start for start, stop in ranges]
    assert max(lengths) - min(lengths) <= 1


def test_nothing_to_do():
    calls = []
    threads.split(lambda *rows: calls.append(rows), 0, 0)
    assert calls == [(0, 0)]


def test_ranges_run_at_once_on_threads_of_their_own(hands):
    hands(3)
    together, names = threading.Barrier(3, timeout=30), set()

    def work(start, stop):
        together.wait()  # passes only when all three are here
        names.add(threading.current_thread().name)

    threads.split(work, 3, MANY)
    assert len(names) == 3 and threading.current_thread().name in names


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_an_error_in_any_range_is_passed_on_and_the_next_call_works(hands, failing):
    hands(3)

    def work(start, stop):
        if start == failing:
            raise FloatingPointError(start)

    with pytest.raises(FloatingPointError, match=str(failing)):
        threads.split(work, 3, MANY)
    rows = []
    threads.split(lambda start, stop: rows.extend(range(start, stop)), 9, MANY)
    assert sorted(rows) == list(range(9))


def test_split_returns_when_all_rows_are_done(hands):
    hands(3)
    done = []
    threads.split(lambda start, stop: (time.sleep(0.02 * start), done.append(start)), 3, MANY)
    assert sorted(done) == [0, 1, 2]


def convolution():
    rng = np.random.default_rng(0)
    x, w = (
        mg.tensor(rng.standard_normal(s), requires_grad=True, dtype="float32") for s in ((60, 24, 22, 8), (4, 4, 8, 8))
    )
    y = mg.conv(x, w, stride=2, padding=1)
    return [y, *mg.grad(mg.sum(y * y), (x, w))]


def test_results_do_not_depend_on_the_number_of_threads(hands, monkeypatch):
    results, calls = [], []
    original = threads.split

    def counting(work, rows, size):
        calls.append(min(threads.threads, rows) if size >= MANY else 1)
        original(work, rows, size)

    monkeypatch.setattr(backend.numpy_convolution, "split", counting)
    monkeypatch.setattr(threads, "blas_is_single", True)
    for number in (1, 3, 2, 7):
        hands(number)
        calls.clear()
        results.append([t.numpy() for t in convolution()])
        assert max(calls) == number  # the work was split indeed
    for others in results[1:]:
        for a, b in zip(results[0], others):
            assert_array_equal(a, b, strict=True)
            assert math.isfinite(float(a.sum()))


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, lambda cores: cores),
        ({"MINIGAN_THREADS": "1"}, lambda cores: 1),
        ({"OMP_NUM_THREADS": "1"}, lambda cores: 1),
        ({"MINIGAN_THREADS": "2", "OMP_NUM_THREADS": "1"}, lambda cores: min(2, cores)),
        ({"MINIGAN_THREADS": "999"}, lambda cores: cores),
        ({"MINIGAN_THREADS": "0"}, lambda cores: 1),
        ({"MINIGAN_THREADS": "all"}, lambda cores: cores),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_the_number_of_threads_comes_from_the_environment(monkeypatch, variables, expected):
    for name in ("MINIGAN_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert threads._available() == expected(cores)


def test_importing_starts_no_thread():
    assert fresh("import threading, minigan; print(threading.active_count())") == ["1"]


# ---- kept memory -----------------------------------------------------------------------------------------------------


def test_keeping_memory_is_harmless_twice():
    first, second = backend.keep_memory(), backend.keep_memory()
    assert type(first) is bool and first is second


ASK = "from minigan.backend import keep_memory; print(keep_memory(), keep_memory())"


def test_keeping_memory_can_be_switched_off():
    assert fresh(ASK, MINIGAN_KEEP_MEMORY="0") == ["False", "False"]


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_are_left_alone(monkeypatch, platform):
    monkeypatch.setattr(backend.memory, "_kept", False)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.delenv("MINIGAN_KEEP_MEMORY", raising=False)
    assert backend.keep_memory() is False


@pytest.mark.parametrize("library", [OSError("no C library"), AttributeError("no mallopt")])
def test_a_c_library_without_mallopt_is_no_error(monkeypatch, library):
    def missing(name):
        raise library

    monkeypatch.setattr(backend.memory, "_kept", False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("MINIGAN_KEEP_MEMORY", raising=False)
    monkeypatch.setattr(backend.memory.ctypes, "CDLL", missing)
    assert backend.keep_memory() is False


FAULTS = """
import resource, sys, numpy as np
from minigan.backend import keep_memory
keep_memory()
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step(): return [np.ones(10**6) for _ in range(4)]  # 32 MB
step(); before = faults()
for _ in range(5): step()
print(faults() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it is glibc's memory")
def test_kept_memory_is_not_faulted_in_again():
    if fresh(ASK) != ["True", "True"]:
        pytest.skip("the C library here is not glibc")
    (kept,), (returned,) = fresh(FAULTS), fresh(FAULTS, MINIGAN_KEEP_MEMORY="0")
    assert int(kept) < 0.2 * int(returned)


# ---- BLAS's threads -------------------------------------------------------------------------------------------------


def blas_threads():
    """The number of threads of every OpenBLAS in this process."""
    return [count() for count, _ in threads._openblas()]


@pytest.fixture
def openblas():
    """Each OpenBLAS with two threads of its own; skipped where NumPy has another BLAS."""
    found = threads._openblas()
    if not found:
        pytest.skip("NumPy does not use OpenBLAS here")
    before = blas_threads()
    for _, use in found:
        use(2)
    yield
    for (_, use), number in zip(found, before):
        use(number)


def test_in_charge_takes_blas_threads_away_and_gives_them_back(openblas):
    with pytest.raises(ZeroDivisionError), threads.in_charge():
        assert set(blas_threads()) == {1} and threads.blas_is_single
        with threads.in_charge():  # nested: the inner one changes nothing
            pass
        assert set(blas_threads()) == {1} and threads.blas_is_single
        raise ZeroDivisionError
    assert set(blas_threads()) == {2} and not threads.blas_is_single


def test_blas_may_keep_its_threads(openblas, monkeypatch):
    monkeypatch.setenv("MINIGAN_THREADS", "blas")
    with threads.in_charge():
        assert set(blas_threads()) == {2} and not threads.blas_is_single


@pytest.mark.parametrize("ta", [False, True])
@pytest.mark.parametrize("tb", [False, True])
def test_a_large_product_is_split_and_right(openblas, hands, monkeypatch, ta, tb):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((700, 513), dtype="float32"), rng.standard_normal((513, 301), dtype="float32")
    given = (a.T if ta else a).copy(), (b.T if tb else b).copy()
    parts = []
    original = threads.split
    monkeypatch.setattr(backend.numpy_, "split", lambda *args: (parts.append(args[2]), original(*args)))
    hands(3)
    with threads.in_charge():
        product = backend.get("cpu").gemm(*given, ta, tb)
    assert parts and parts[0] >= threads.SMALLEST
    np.testing.assert_allclose(product, a.astype(float) @ b.astype(float), rtol=1e-4, atol=1e-3)


def test_play_takes_charge_and_leaves_blas_as_it_was(openblas):
    seen = []

    class Watch(mg.games.Callback):
        def after(self, moment):
            seen.append(threads.blas_is_single)

    class Still(mg.games.Game):
        players = {}

    class Nobody:
        def step(self, game, step):
            return {}

    mg.games.play(Still(), Nobody(), 2, [Watch()])
    assert seen == [True, True] and set(blas_threads()) == {2}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_makes_threads_of_its_own():
    code = """
import os, threading
from minigan.backend import threads
threads.threads = 2
threads.split(lambda a, b: None, 4, threads.SMALLEST)
child = os.fork()
threads.split(lambda a, b: None, 4, threads.SMALLEST)
if child:
    print(os.waitpid(child, 0)[1])
else:
    os._exit(0)
"""
    assert fresh(code) == ["0"]


def test_training_takes_charge_of_the_threads_and_gives_them_back(monkeypatch):
    monkeypatch.delenv("MINIGAN_THREADS", raising=False)
    before = threads.blas_is_single
    with backend.training():
        inside = threads.blas_is_single
    assert threads.blas_is_single == before and inside == bool(threads._openblas())
