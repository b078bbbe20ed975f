"""How long a training step takes: minigan against PyTorch (where installed), and against the GEMMs alone.

    python -m benchmarks.train_step [toy dcgan wgan_gp] [--repeats 15] [--threads 2]

Three steps, the same in both libraries: networks, sizes, Adam, losses.

    toy       MLP GAN 2-128-128-2 against 2-128-128-1, batch 256: one discriminator and one generator step
    dcgan     the MNIST DCGAN, 64 channels, batch 64: one discriminator and one generator step
    wgan_gp   a critic step of WGAN-GP with the DCGAN's discriminator: losses, penalty, double backward

Candidates run interleaved, each in a process of its own with the same number of threads; a row gives medians, and
ratios of times measured in the same round. The floor is the time of the step's matrix products alone, with the same
shapes. The memory is what the first ten steps add to the process's peak.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
WORKLOADS = ("toy", "dcgan", "wgan_gp")


# ---- minigan --------------------------------------------------------------------------------------------------------


def minigan_step(workload):
    """A function that makes one training step with minigan."""
    import numpy as np

    import minigan as mg

    rng = np.random.default_rng(0)

    def normal(*shape):
        return mg.tensor(rng.standard_normal(shape, dtype=np.float32))

    if workload == "toy":
        G, D = mg.models.mlp(2, 128, 128, 2, name="G"), mg.models.mlp(2, 128, 128, 1, name="D")
        real, z = normal(256, 2), normal(256, 2)
    else:
        G, D = mg.models.dcgan_generator(100, 64), mg.models.dcgan_discriminator(64, batch_norm=workload == "dcgan")
        real, z = normal(64, 28, 28, 1), normal(64, 100)
    adam_d = mg.optim.Adam(D.parameters(), lr=2e-4, beta1=0.5)
    adam_g = mg.optim.Adam(G.parameters(), lr=2e-4, beta1=0.5)

    def move(optimizer, loss):
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def gan():
        with mg.no_grad():
            fake = G(z)
        move(adam_d, mg.mean(mg.softplus(-D(real))) + mg.mean(mg.softplus(D(fake))))
        with D.frozen():
            move(adam_g, mg.mean(mg.softplus(-D(G(z)))))

    fake = normal(64, 28, 28, 1)
    epsilon = mg.tensor(rng.random((64, 1, 1, 1), dtype=np.float32))

    def critic():
        between = mg.tensor(epsilon * real + (1 - epsilon) * fake, requires_grad=True)
        (g,) = mg.grad(mg.sum(D(between)), between, create_graph=True)
        penalty = mg.mean((mg.norm(g, axis=(1, 2, 3)) - 1) ** 2)
        move(adam_d, mg.mean(D(fake)) - mg.mean(D(real)) + 10 * penalty)

    return critic if workload == "wgan_gp" else gan


# ---- PyTorch --------------------------------------------------------------------------------------------------------


def torch_step(workload, layout):
    """The same step with PyTorch; ``layout`` is "contiguous" or "channels_last"."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.manual_seed(0)
    if workload == "toy":
        G = nn.Sequential(
            nn.Linear(2, 128), nn.LeakyReLU(0.2), nn.Linear(128, 128), nn.LeakyReLU(0.2), nn.Linear(128, 2)
        )
        D = nn.Sequential(
            nn.Linear(2, 128), nn.LeakyReLU(0.2), nn.Linear(128, 128), nn.LeakyReLU(0.2), nn.Linear(128, 1)
        )
        real, z = torch.randn(256, 2), torch.randn(256, 2)
    else:
        G = nn.Sequential(
            nn.Linear(100, 7 * 7 * 128, bias=False),
            nn.Unflatten(1, (128, 7, 7)),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.ConvTranspose2d(128, 64, 4, 2, 1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 1, 4, 2, 1),
            nn.Tanh(),
        )
        D = nn.Sequential(
            nn.Conv2d(1, 64, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(64, 128, 4, 2, 1, bias=workload == "wgan_gp"),
            *([] if workload == "wgan_gp" else [nn.BatchNorm2d(128)]),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(7 * 7 * 128, 1),
        )
        real, z = torch.randn(64, 1, 28, 28), torch.randn(64, 100)
        if layout == "channels_last":
            G, D = G.to(memory_format=torch.channels_last), D.to(memory_format=torch.channels_last)
            real = real.to(memory_format=torch.channels_last)
    adam_d = torch.optim.Adam(D.parameters(), lr=2e-4, betas=(0.5, 0.999))
    adam_g = torch.optim.Adam(G.parameters(), lr=2e-4, betas=(0.5, 0.999))

    def move(optimizer, loss):
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def gan():
        with torch.no_grad():
            fake = G(z)
        move(adam_d, F.softplus(-D(real)).mean() + F.softplus(D(fake)).mean())
        D.requires_grad_(False)
        move(adam_g, F.softplus(-D(G(z))).mean())
        D.requires_grad_(True)

    fake = torch.randn_like(real)
    epsilon = torch.rand(64, 1, 1, 1)

    def critic():
        between = (epsilon * real + (1 - epsilon) * fake).requires_grad_(True)
        (g,) = torch.autograd.grad(D(between).sum(), between, create_graph=True)
        penalty = ((g.flatten(1).norm(dim=1) - 1) ** 2).mean()
        move(adam_d, D(fake).mean() - D(real).mean() + 10 * penalty)

    return critic if workload == "wgan_gp" else gan


# ---- the floor ------------------------------------------------------------------------------------------------------


def gemm_floor(step):
    """A function that makes the step's matrix products alone, and their number of floating-point operations."""
    import numpy as np

    from minigan.backend.numpy_ import NumpyBackend

    calls, own = [], NumpyBackend.gemm

    def recording(self, a, b, ta=False, tb=False):
        calls.append((a.shape, b.shape, ta, tb))
        return own(self, a, b, ta, tb)

    NumpyBackend.gemm = recording
    try:
        step()
    finally:
        NumpyBackend.gemm = own
    rng, cache, library = np.random.default_rng(0), {}, NumpyBackend()

    def operand(shape):
        return cache.setdefault(shape, rng.standard_normal(shape, dtype=np.float32))

    products = []
    flops = 0
    for a, b, ta, tb in calls:
        m, k = a[::-1] if ta else a
        n = b[0] if tb else b[1]
        flops += 2 * m * k * n
        products.append((operand(a), operand(b), ta, tb))

    def floor():
        for product in products:
            library.gemm(*product)

    return floor, flops


# ---- measuring ------------------------------------------------------------------------------------------------------


def make(name, workload):
    """The step of a candidate ("minigan", "GEMMs alone", "torch contiguous", "torch channels_last"), and its FLOPs."""
    if name.startswith("torch"):
        import torch

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        return torch_step(workload, name.partition(" ")[2]), None
    step = minigan_step(workload)
    return gemm_floor(step) if name == "GEMMs alone" else (step, None)


def serve(name, workload):
    """The other end of `Candidate`: make a number of steps for each line read, and answer with the seconds."""
    from contextlib import nullcontext

    if name.startswith("torch"):
        charge = nullcontext()
    else:
        from minigan.backend import keep_memory
        from minigan.backend.threads import in_charge

        keep_memory()  # as the training loop does
        charge = in_charge()
    with charge:
        step, flops = make(name, workload)
        before = memory("VmRSS")
        for _ in range(10):
            step()
        print(json.dumps({"flops": flops, "memory": memory("VmHWM") - before}), flush=True)
        for line in sys.stdin:
            start = time.perf_counter()
            for _ in range(int(line)):
                step()
            print(time.perf_counter() - start, flush=True)


def median(values):
    """The median of a list."""
    values = sorted(values)
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


class Candidate:
    """A process of its own for one candidate: its threads and its allocator disturb nobody else's."""

    def __init__(self, name, workload, threads):
        command = [sys.executable, "-m", "benchmarks.train_step", workload, f"--threads={threads}", "--serve", name]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.name, self.seconds = name, []
        self.facts = json.loads(self.process.stdout.readline())

    def run(self, steps):
        """Seconds per step."""
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline()) / steps


def memory(field):
    """A field of this process's memory in bytes: VmRSS (resident now) or VmHWM (its peak). Linux only: else NaN."""
    try:
        with open("/proc/self/status") as file:
            return next(1024 * int(line.split()[1]) for line in file if line.startswith(field))
    except OSError:
        return float("nan")


def report(workload, repeats, threads):
    """Measure one workload, every candidate once a round, and print its rows."""
    layouts = ["contiguous"] if workload == "toy" else ["contiguous", "channels_last"]
    names = ["minigan", "GEMMs alone"]
    names += [f"torch {layout}" for layout in layouts] if importlib.util.find_spec("torch") else []
    candidates = [Candidate(name, workload, threads) for name in names]
    for round_ in range(repeats + 1):
        for candidate in candidates:
            seconds = candidate.run(20 if workload == "toy" else 2)
            if round_:  # the first is a warm-up
                candidate.seconds.append(seconds)
    for candidate in candidates:
        candidate.process.stdin.close()
        candidate.process.wait()
    own = candidates[0].seconds
    print(f"\n{workload}: {candidates[1].facts['flops'] / 1e9:.2f} GFLOP in matrix products")
    for candidate in candidates:
        values = candidate.seconds
        low, high = 1e3 * min(values), 1e3 * max(values)
        line = f"  {candidate.name:<20} {1e3 * median(values):8.2f} ms  [{low:7.2f} … {high:7.2f}]"
        line += f"  {candidate.facts['memory'] / 2**20:5.0f} MiB"
        ratio = median([a / b for a, b in zip(own, values)])
        print(line + ("" if candidate is candidates[0] else f"   minigan takes {ratio:.2f} × this"))
    print(
        f"  share of the step in its matrix products: {median([f / o for f, o in zip(candidates[1].seconds, own)]):.0%}"
    )
    if candidates[2:]:
        best = [min(row) for row in zip(*[c.seconds for c in candidates[2:]])]
        print(f"  against the better layout of each round: {median([a / b for a, b in zip(own, best)]):.2f} ×")


def main():
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", default=list(WORKLOADS), metavar="WORKLOAD", help=" ".join(WORKLOADS))
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=CORES)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if unknown := set(args.workloads) - set(WORKLOADS):
        parser.error(f"unknown workload {sorted(unknown)}; choose from {', '.join(WORKLOADS)}")
    if args.serve:
        serve(args.serve, args.workloads[0])
        return
    import numpy as np

    print(f"NumPy {np.__version__}, {args.threads} threads; median [min … max] of {args.repeats} interleaved rounds")
    for workload in args.workloads:
        report(workload, args.repeats, args.threads)


if __name__ == "__main__":
    first = argparse.ArgumentParser(add_help=False)  # the libraries read their threads when they are first imported
    first.add_argument("--threads", default=CORES)
    threads = str(first.parse_known_args()[0].threads)
    os.environ.update(OPENBLAS_NUM_THREADS=threads, OMP_NUM_THREADS=threads, MKL_NUM_THREADS=threads)
    main()
