"""How fast minigan is, beside other libraries and beside its matrix products alone.

    python -m benchmarks [toy dcgan critic wgan_gp sampling overhead scaling] [--repeats 15] [--threads 2]
    python -m benchmarks toy --peers torch               minigan, its matrix products and one peer
    python -m benchmarks compare OLD.json NEW.json

Peers (PyTorch, JAX, HIPS autograd, MyGrad) take part where they are installed; none is needed. `workloads` says what is
measured, `measure` how. Prints a table and leaves benchmarks.json and scaling.png in a folder.
"""

import argparse
import os
import sys
from pathlib import Path

from benchmarks import compare
from benchmarks.libraries import installed
from benchmarks.measure import known_peers, measure
from benchmarks.plot import plot
from benchmarks.report import save, sizes, versions
from benchmarks.table import table
from benchmarks.workloads import AIMS, TOGETHER, workloads

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
ON_GPU = ("toy", "dcgan", "critic", "wgan_gp", "sampling")


def arguments(argv):
    """The command line, checked."""
    families = list(workloads())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("families", nargs="*", metavar="WORKLOAD", help=f"{' '.join(families)} (default: all)")
    parser.add_argument("--repeats", type=int, default=15, help="rounds that count (default: 15)")
    parser.add_argument("--threads", type=int, default=CORES, help="of every candidate (default: all cores)")
    parser.add_argument("--peers", nargs="*", default=known_peers(), metavar="PEER", help=" ".join(known_peers()))
    parser.add_argument("--device", default="cpu", help="cpu or cuda; on cuda the only peer is PyTorch")
    parser.add_argument("--out", type=Path, help="folder (default: runs/benchmarks, or runs/benchmarks-quick)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, two rounds: does everything run?")
    args = parser.parse_args(argv)
    if unknown := set(args.families) - set(families):
        parser.error(f"unknown workload {', '.join(sorted(unknown))}; choose from {', '.join(families)}")
    if unknown := set(args.peers) - set(known_peers()):
        parser.error(f"unknown peer {', '.join(sorted(unknown))}; choose from {', '.join(known_peers())}")
    if args.repeats < 1 or args.threads < 1:
        parser.error("--repeats and --threads must be at least 1")
    if args.device != "cpu":
        families = _with_gpu(parser, args)
    args.families = args.families or families
    args.out = args.out or Path("runs/benchmarks-quick" if args.quick else "runs/benchmarks")
    return args


def _with_gpu(parser, args):
    """What can be measured on a GPU, after a look whether there is one."""
    from minigan import backend

    try:
        backend.get(args.device)
    except (backend.DeviceNotAvailable, ValueError) as error:
        parser.error(str(error))
    if wrong := set(args.families) - set(ON_GPU):
        parser.error(f"not measured on a GPU: {', '.join(sorted(wrong))}; choose from {', '.join(ON_GPU)}")
    args.peers = [peer for peer in args.peers if peer == "torch"]
    return list(ON_GPU)


def main(argv=None):
    """Measure, print the table, write the files; the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["compare"]:
        return compare.main(argv[1:])
    args = arguments(argv)
    rounds, at_least = (2, 0.0) if args.quick else (args.repeats, 0.2)
    absent = [peer for peer in args.peers if not installed(peer)]
    peers = [peer for peer in args.peers if installed(peer)]
    report = {"versions": versions(), "threads": args.threads, "device": args.device, "absent": absent}
    chosen, groups = workloads(args.quick), {}
    report |= {"quick": args.quick, "sizes": sizes(w for family in args.families for w in chosen[family])}
    report |= {"failures": [], "workloads": {}}
    for family in args.families:
        groups.setdefault(TOGETHER.get(family, family), []).extend(chosen[family])
    for name, group in groups.items():
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        results, failures = measure(group, peers, rounds, args.threads, args.device, at_least)
        report["workloads"] |= results
        report["failures"] += failures
    args.out.mkdir(parents=True, exist_ok=True)
    save(report, args.out / "benchmarks.json")
    scaled = chosen["scaling"] if "scaling" in args.families else []
    print(table(report, scaled, () if args.quick else AIMS))
    (args.out / "scaling.png").unlink(missing_ok=True)  # an older run's
    drawn = plot(scaled, report["workloads"], args.out / "scaling.png") if scaled else False
    print(f"\nwritten: {args.out / 'benchmarks.json'}" + (f", {args.out / 'scaling.png'}" if drawn else ""))
    return 1 if report["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
