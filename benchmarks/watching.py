"""What looking costs: a training round as it is, and inside each of the tools of `minigan.inspect`.

    python -m benchmarks.watching [--repeats 15] [--only toy dcgan wgan_gp]

All in one process and interleaved, inside `backend.training`: median seconds of a round of both players, and the median
of the ratios to the plain round measured just before. Aim: a tape costs at most 2 ×. "off" is a plain round after all
tools have been used; that nothing of them is left then is what `tests/test_watch.py` asserts.
"""

import argparse
import statistics
import time
from contextlib import nullcontext

import minigan as mg
from minigan import backend
from minigan.experiment import Experiment
from minigan.inspect import Watcher, watching

ROUNDS = {
    "toy": {"data": "ring", "networks": {"name": "mlp", "width": 128}, "batch_size": 256, "latent_dim": 2},
    "dcgan": {"data": "mnist", "networks": {"name": "dcgan", "channels": 64}, "batch_size": 64},
    "wgan_gp": {
        "data": "mnist",
        "networks": {"name": "dcgan", "channels": 32, "batch_norm": False},
        "objective": "wasserstein",
        "regularizers": ["gradient_penalty"],
        "batch_size": 64,
    },
}


class _Printed:
    """A tape that is printed at the end, its norms computed."""

    def __enter__(self):
        self.tape = mg.tape()
        self.tape.__enter__()

    def __exit__(self, *error):
        self.tape.__exit__(*error)
        str(self.tape)


TOOLS = {
    "a watcher that does nothing": lambda: watching(Watcher()),
    "tape": mg.tape,
    "tape, printed": _Printed,
    "anomaly": mg.anomaly,
    "profile": mg.profile,
    "off": nullcontext,
}


def measure(name, repeats):
    """Print seconds and ratios of one kind of round."""
    experiment = Experiment(ROUNDS[name])
    solver, game, number = experiment.solver, experiment.game, 0
    many = 20 if name == "toy" else 1
    seconds, ratios = {tool: [] for tool in ["plain", *TOOLS]}, {tool: [] for tool in TOOLS}

    def rounds(context):
        nonlocal number
        began = time.perf_counter()
        with context():
            for _ in range(many):
                solver.step(game, number)
                number += 1
        return (time.perf_counter() - began) / many

    with backend.training():
        for i in range(-2, repeats):
            for tool, context in TOOLS.items():
                plain, watched = rounds(nullcontext), rounds(context)
                if i >= 0:
                    seconds["plain"].append(plain)
                    seconds[tool].append(watched)
                    ratios[tool].append(watched / plain)
    print(f"\n{name:<32}{'ms a round':>12}{'× plain':>10}")
    print(f"{'plain':<32}{1e3 * statistics.median(seconds['plain']):>12.2f}")
    for tool in TOOLS:
        print(
            f"{tool:<32}{1e3 * statistics.median(seconds[tool]):>12.2f}{statistics.median(ratios[tool]):>10.2f}",
            flush=True,
        )


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--only", nargs="+", choices=ROUNDS, default=list(ROUNDS))
    args = parser.parse_args()
    for name in args.only:
        measure(name, args.repeats)


if __name__ == "__main__":
    main()
