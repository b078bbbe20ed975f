"""One candidate in a process of its own: `measure.Candidate` is its other end.

    python -m benchmarks.serve '{"workload": {…}, "candidate": "minigan", "device": "cpu"}'

First answers with what the first steps showed, then for each line read, a number of steps, with the seconds they took,
after one that is not timed.
"""

import ctypes
import gc
import json
import os
import sys
import time

from benchmarks.libraries import conditions, make
from benchmarks.workloads import Workload, smallest

FIRST_STEPS, FIRST_SECONDS = 10, 3.0
LONG = 1.0  # seconds: shorter steps are timed after an untimed one


def resident(field):
    """A field of this process's memory in bytes: VmRSS (now) or VmHWM (its peak). None where there is no /proc."""
    try:
        with open("/proc/self/status") as file:
            return next(1024 * int(line.split()[1]) for line in file if line.startswith(field))
    except (OSError, StopIteration):
        return None


def clean_up():
    """Give free memory back, and let VmHWM begin anew at what is resident now, where the system can do that."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform.startswith("linux") else None
    if trim:
        trim(0)
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass


def seconds(task, steps):
    """How long ``steps`` steps take, the device's work included."""
    task.wait()
    begin = time.perf_counter()
    for _ in range(steps):
        task.step()
    task.wait()
    return time.perf_counter() - begin


def first_steps(task):
    """Make ten steps (or 3 seconds' worth): the memory they add at their peak, and how long the quickest takes.

    On the CPU it is resident memory: VmHWM afterwards − VmRSS before. On a GPU it is what the library's pool holds.
    """
    clean_up()
    before = task.pool() if task.pool else resident("VmRSS")
    times = [seconds(task, 1)]
    while len(times) < FIRST_STEPS and sum(times) < FIRST_SECONDS:
        times.append(seconds(task, 1))
    after = task.pool() if task.pool else resident("VmHWM")
    memory = None if before is None or after is None else after - before
    return {"memory": memory, "flops": task.flops, "seconds": min(times), "calls": task.calls()}


def main():
    """Build the step and serve until the input ends."""
    request = json.loads(sys.argv[1])
    candidate, device, workload = request["candidate"], request["device"], Workload(**request["workload"])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer

    def answer(value):
        print(json.dumps(value), file=answers, flush=True)

    with conditions(candidate):
        make(candidate, smallest(workload), device).step()
        task = make(candidate, workload, device)
        facts = first_steps(task)
        answer(facts)
        for line in sys.stdin:
            if facts["seconds"] < LONG:
                task.step()  # while others had their turn, memory and caches went cold
            answer(seconds(task, int(line)))


if __name__ == "__main__":
    main()
