"""Two reports side by side: what has got slower?

    python -m benchmarks compare OLD.json NEW.json [--tolerance 0.15]

A machine is slower one day than another. So minigan's time is divided by that of a reference in the same rounds: the
first of hand-written NumPy, PyTorch, JAX, HIPS autograd, MyGrad that both reports have, else the matrix products alone
if they are the same in both; and only without any of them times are compared as they are. Ends with status 1 if a
workload takes more than 1 + tolerance times what it took.
"""

import argparse
from statistics import median
from typing import NamedTuple

from benchmarks.libraries import title
from benchmarks.report import flops, load

REFERENCES = ("numpy", "torch", "torch channels_last", "torch contiguous", "jax", "autograd", "mygrad", "floor")


class Change(NamedTuple):
    """One workload, old and new: times over those of ``reference``, or seconds if that is None."""

    workload: str
    candidate: str
    reference: str
    old: float
    new: float

    @property
    def ratio(self):
        """New over old."""
        return self.new / self.old


def changes(old, new):
    """[Change] of minigan on every workload that both reports have."""
    found = []
    for workload, before in old["workloads"].items():
        after = new["workloads"].get(workload, {})
        for candidate in ("minigan", "minigan tf32"):
            if candidate in before and candidate in after:
                reference = _reference(before, after)
                values = (_relative(results, candidate, reference) for results in (before, after))
                found.append(Change(workload, candidate, reference, *values))
    return found


def _reference(before, after):
    """The first reference that both have; the floor only if it is the same."""
    for name in REFERENCES:
        if name in before and name in after and (name != "floor" or flops(before) == flops(after)):
            return name
    return None


def _relative(results, candidate, reference):
    """A candidate's median time, or the median of its ratios to the reference's in the same round."""
    ours = results[candidate]["seconds"]
    theirs = results[reference]["seconds"] if reference else [1] * len(ours)
    return median(a / b for a, b in zip(ours, theirs))


def main(arguments=None):
    """Print the comparison; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--tolerance", type=float, default=0.15)
    args = parser.parse_args(arguments)
    try:
        old, new = load(args.old), load(args.new)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    found = changes(old, new)
    print(f"{'workload':<34} {'against':<24} {'old':>9} {'new':>9} {'new/old':>8}")
    for c in found:
        values = [f"{v:.3f}" if c.reference else f"{1e3 * v:.3f} ms" for v in (c.old, c.new)]
        name = f"{c.workload}, TF32" if c.candidate.endswith("tf32") else c.workload
        against = title(c.reference) if c.reference else "(time as it is)"
        print(f"{name:<34} {against:<24} {values[0]:>9} {values[1]:>9} {c.ratio:>8.2f}")
    if missing := [w for w in old["workloads"] if w not in new["workloads"]]:
        print(f"only in {args.old}: {', '.join(missing)}")
    slower = [c for c in found if c.ratio > 1 + args.tolerance]
    if not found:
        print("the reports have no workload in common")
    elif slower:
        print(f"SLOWER by more than {args.tolerance:.0%}:")
        print(*(f"  {c.workload}: {c.ratio:.2f} times what it took" for c in slower), sep="\n")
    else:
        print(f"nothing is slower by more than {args.tolerance:.0%}")
    return 1 if slower or not found else 0
