"""How long a training step takes: minigan against PyTorch (where installed), and against the GEMMs alone.

    python -m benchmarks.train_step [toy dcgan wgan_gp] [--repeats 15] [--threads 2]

Three steps, the same in both libraries: networks, sizes, Adam, losses.

    toy       MLP GAN 2-128-128-2 against 2-128-128-1, batch 256: one discriminator and one generator step
    dcgan     the MNIST DCGAN, 64 channels, batch 64: one discriminator and one generator step
    wgan_gp   a critic step of WGAN-GP with the DCGAN's discriminator: losses, penalty, double backward

All candidates run interleaved in one process with the same number of threads; a row gives medians, and ratios of times
measured in the same round. The floor is the time of the step's matrix products alone, same shapes, measured in the same
rounds. Peak memory is what a fresh process adds in ten steps.
"""

import argparse
import json
import os
import subprocess
import sys
import time

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


def measure(candidates, repeats, inner):
    """{name: [seconds per step]} of interleaved rounds: every candidate once a round, after a warm-up."""
    times = {name: [] for name in candidates}
    for round_ in range(repeats + 2):
        for name, step in candidates.items():
            start = time.perf_counter()
            for _ in range(inner):
                step()
            if round_ >= 2:
                times[name].append((time.perf_counter() - start) / inner)
    return times


def median(values):
    """The median of a list."""
    values = sorted(values)
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


def make(name, workload):
    """The step of a candidate: "minigan", "torch contiguous" or "torch channels_last"."""
    library, _, layout = name.partition(" ")
    return minigan_step(workload) if library == "minigan" else torch_step(workload, layout)


def peak_memory(name, workload, threads):
    """Bytes that ten steps add to the peak of a fresh process."""
    command = [sys.executable, "-m", "benchmarks.train_step", workload, "--threads", str(threads)]
    done = subprocess.run([*command, "--memory-of", name], capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else float("nan")


def peak_worker(name, workload):
    """Print how much the process's peak grows in ten steps."""
    step = make(name, workload)
    before = memory("VmRSS")
    for _ in range(10):
        step()
    print(json.dumps(memory("VmHWM") - before))


def memory(field):
    """A field of this process's memory in bytes: VmRSS (resident now) or VmHWM (its peak). Linux only: else NaN."""
    try:
        with open("/proc/self/status") as file:
            return next(1024 * int(line.split()[1]) for line in file if line.startswith(field))
    except OSError:
        return float("nan")


def report(workload, repeats, threads):
    """Measure one workload and print its rows."""
    from minigan.backend.threads import in_charge

    try:
        import torch

        torch.set_num_threads(threads)
        layouts = ["contiguous"] if workload == "toy" else ["contiguous", "channels_last"]
        peers = [f"torch {layout}" for layout in layouts]
    except ImportError:
        peers = []
    candidates = {name: make(name, workload) for name in ["minigan", *peers]}
    floor, flops = gemm_floor(candidates["minigan"])
    with in_charge():
        times = measure(candidates | {"GEMMs alone": floor}, repeats, 20 if workload == "toy" else 1)
    own = times["minigan"]
    print(f"\n{workload}: {flops / 1e9:.2f} GFLOP in matrix products")
    for name, values in times.items():
        ratio = median([a / b for a, b in zip(own, values)])
        low, high = 1e3 * min(values), 1e3 * max(values)
        memory = f"{peak_memory(name, workload, threads) / 2**20:6.0f} MiB" if name in candidates else " " * 10
        line = f"  {name:<20} {1e3 * median(values):8.2f} ms  [{low:.2f} … {high:.2f}]  {memory}"
        print(line + ("" if name == "minigan" else f"   minigan takes {ratio:.2f} × this"))
    if peers:
        best = [min(row) for row in zip(*[times[name] for name in peers])]
        print(f"  against the better layout of each round: {median([a / b for a, b in zip(own, best)]):.2f} ×")


def main():
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", default=list(WORKLOADS), metavar="WORKLOAD", help=" ".join(WORKLOADS))
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if unknown := set(args.workloads) - set(WORKLOADS):
        parser.error(f"unknown workload {sorted(unknown)}; choose from {', '.join(WORKLOADS)}")
    import numpy as np

    from minigan.backend import keep_memory
    from minigan.backend.threads import in_charge

    if args.memory_of:
        keep_memory()
        with in_charge():
            peak_worker(args.memory_of, args.workloads[0])
        return

    print(f"NumPy {np.__version__}, {args.threads} threads; median [min … max] of {args.repeats} interleaved rounds")
    keep_memory()  # as the training loop does; it serves both libraries
    for workload in args.workloads:
        report(workload, args.repeats, args.threads)


if __name__ == "__main__":
    threads = sys.argv[sys.argv.index("--threads") + 1] if "--threads" in sys.argv else str(os.cpu_count())
    os.environ.update(OPENBLAS_NUM_THREADS=threads, OMP_NUM_THREADS=threads, MKL_NUM_THREADS=threads)
    main()
