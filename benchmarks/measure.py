"""Measuring: every candidate in a process of its own, all take turns.

Libraries in one process would disturb each other: waiting BLAS threads spin, allocators keep memory. On a machine that
others use too, single times say little; so the candidates of a group take turns, once per round, and what is compared
are times of the same round. All processes have the same number of threads.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.libraries import LIBRARIES, split_name

ROOT = Path(__file__).parent.parent
PAUSE = 0.05  # seconds before a reading: the last candidate's BLAS threads spin for a while after its last product


class CandidateError(RuntimeError):
    """A candidate's process has died."""


def environment(threads):
    """The variables that tell every library how many threads to use; NPROC and XLA_FLAGS are JAX's."""
    n = str(threads)
    eigen = f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}"
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    counts = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NPROC"), n)
    return os.environ | counts | {"XLA_FLAGS": eigen, "PYTHONPATH": path}


class Candidate:
    """A process that makes steps of one workload with one library. Raises `CandidateError` when it dies."""

    def __init__(self, workload, name, threads, device="cpu"):
        self.workload, self.name = workload, name
        request = json.dumps({"workload": asdict(workload), "candidate": name, "device": device})
        self.errors = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115 (`close` does)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.serve", request],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=environment(threads),
        )
        self.facts = self._answer()
        self.times = []

    def _answer(self):
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        status = self.process.wait()
        self.errors.seek(0)
        what = f"{self.name} on {self.workload.name} ended with status {status}; the others go on. It said:"
        raise CandidateError("\n    ".join([what, *(self.errors.read().strip() or "(nothing)").splitlines()]))

    def read(self, at_least):
        """Time as many steps as fill ``at_least`` seconds, one or more, and note the seconds of each."""
        steps = max(1, round(at_least / self.facts["seconds"]))
        try:
            self.process.stdin.write(f"{steps}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has died: there is no answer either
        self.times.append(self._answer() / steps / self.workload.parts)

    def close(self):
        """End the process."""
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()
        self.errors.close()

    def result(self):
        """What a report keeps; the first round was a warm-up."""
        return {"seconds": self.times[1:]} | {name: self.facts[name] for name in ("memory", "flops", "calls")}


def names(workload, peers, device):
    """The candidates of a workload: minigan and these peers. On a GPU with and without TF32, beside PyTorch."""
    found = [name for name in workload.candidates if split_name(name)[0] in {"minigan", "floor", *peers}]
    if device == "cpu":
        return found
    found = [name for name in found if split_name(name)[0] in ("minigan", "torch")]
    return found + [f"{name} tf32" for name in found]


def measure(workloads, peers, rounds, threads, device="cpu", at_least=0.2):
    """Time a group of workloads in the same rounds: {workload: {candidate: result}}, and what failed, as messages.

    ``at_least``: seconds of a reading. A candidate that dies is left out, with a message; the others go on.
    """
    candidates, failures = [], []

    def attempt(action):
        try:
            return action()
        except CandidateError as error:
            failures.append(str(error))
            print(error, file=sys.stderr, flush=True)
            return error

    for workload in workloads:
        for name in names(workload, peers, device):
            made = attempt(lambda workload=workload, name=name: Candidate(workload, name, threads, device))
            candidates += [made] if isinstance(made, Candidate) else []
    for _ in range(rounds + 1):
        for candidate in list(candidates):
            time.sleep(PAUSE)
            if isinstance(attempt(lambda candidate=candidate: candidate.read(at_least)), CandidateError):
                candidates.remove(candidate)
    results = {workload.name: {} for workload in workloads}
    for candidate in candidates:
        candidate.close()
        results[candidate.workload.name][candidate.name] = candidate.result()
    return results, failures


def known_peers():
    """All libraries but ours."""
    return [name for name in LIBRARIES if name not in ("minigan", "floor")]
