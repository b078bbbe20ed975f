"""What `import minigan` costs beyond `import numpy`: CPU time of fresh interpreters, interleaved.

    python -m benchmarks.import_time [--runs 15]

The two are run in turn, so that a machine that gets slower slows both; the median ignores the odd run that
shared its core. Aim: at most 50 ms more than NumPy.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile

# CPU time, not the clock: other processes on the machine do not count, nor does the interpreter's own start.
TIMED = "import time; t = time.process_time(); import {}; print(time.process_time() - t)"


def cpu_seconds(module, cache):
    """CPU seconds of importing ``module`` in a fresh interpreter, its bytecode kept in ``cache``."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = cache
    command = [sys.executable, "-c", TIMED.format(module)]
    return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    modules = ("numpy", "minigan")
    with tempfile.TemporaryDirectory() as cache:
        for module in modules:  # once unmeasured: compiles the bytecode, as the first import after installing does
            cpu_seconds(module, cache)
        times = [[cpu_seconds(module, cache) for module in modules] for _ in range(runs)]
    columns = list(zip(*times, strict=True))
    for module, column in zip(modules, columns, strict=True):
        middle, least = statistics.median(column), min(column)
        print(f"import {module:8}  median {1e3 * middle:6.1f} ms   least {1e3 * least:6.1f} ms   ({runs} runs)")
    extra = statistics.median(b - a for a, b in times)
    print(f"minigan over numpy: median {1e3 * extra:.1f} ms (aim: at most 50 ms)")


if __name__ == "__main__":
    main()
