"""Two reports side by side: what has got slower?

    python -m benchmarks compare OLD.json NEW.json [--tolerance 0.15] [--partial]

A machine is slower one day than another, and one process slower than its neighbour for a while. So there are several
indications that minigan has got slower on a workload: its median time, and the median over rounds of its time divided
by that of each reference in the same round. References are what a change of minigan leaves as it was: hand-written
NumPy, PyTorch (each variant; not if its version has changed), and the matrix products alone if they are the same in
both. Of new/old of all indications the least is the verdict: one indication alone may be the reference's luck or the
machine's, and only if all of them rose by more than the tolerance is minigan called slower. What this cannot see: a
slower minigan on a machine that is quicker by as much.

Ends with status 1 if minigan is slower or lost on a workload: it, or its matrix products, were measured in OLD and not
in NEW, because they died or nobody asked (--partial allows whole workloads to be left out). Reports of other sizes,
threads or devices are not compared, status 2; other versions of libraries are only mentioned.
"""

import argparse
from statistics import median
from typing import NamedTuple

from benchmarks.libraries import split_name, title
from benchmarks.report import flops, load, ratio

REFERENCES = ("numpy", "torch", "torch contiguous", "torch channels_last", "floor")
CONDITIONS = ("quick", "threads", "device")  # of a whole report; sizes are compared for each workload


class Indication(NamedTuple):
    """Old and new: minigan's time over that of ``reference``, or seconds if that is None."""

    reference: str
    old: float
    new: float

    @property
    def ratio(self):
        """New over old."""
        return self.new / self.old


class Change(NamedTuple):
    """What all indications say about one candidate of ours on one workload."""

    workload: str
    candidate: str
    indications: list

    @property
    def ratio(self):
        """New over old, of the indication that rose least."""
        return min(i.ratio for i in self.indications)

    @property
    def name(self):
        """The workload as it is printed."""
        return f"{self.workload}, TF32" if self.candidate.endswith("tf32") else self.workload


# ---- what can be compared -------------------------------------------------------------------------------------------


def differences(old, new):
    """What forbids a comparison: ["threads: 2 and 1", …]. What a report does not tell is no difference."""
    pairs = [(name, old.get(name), new.get(name)) for name in CONDITIONS]
    before, after = old.get("sizes", {}), new.get("sizes", {})
    if old.get("quick") == new.get("quick"):  # else no size is the same
        pairs += [(f"size of {w}", _in_words(before[w]), _in_words(after[w])) for w in before if w in after]
    return [f"{name}: {a} and {b}" for name, a, b in pairs if None not in (a, b) and a != b]


def _in_words(size):
    return ", ".join(f"{name} {value}" for name, value in size.items())


def untold(report):
    """The conditions that a report does not tell."""
    return [name for name in (*CONDITIONS, "sizes") if name not in report]


def other_versions(old, new):
    """{package: "old and new version"} where they differ; minigan's own may."""
    before, after = old.get("versions", {}), new.get("versions", {})
    packages = [p for p in before | after if p != "minigan" and before.get(p) != after.get(p)]
    return {p: f"{before.get(p, 'none')} and {after.get(p, 'none')}" for p in packages}


# ---- what has changed -----------------------------------------------------------------------------------------------


def changes(old, new):
    """[Change] of minigan on every workload where both reports have it."""
    found, unstable = [], other_versions(old, new).keys() & {"torch"}
    for workload, before in old["workloads"].items():
        after = new["workloads"].get(workload, {})
        for candidate in ("minigan", "minigan tf32"):
            if candidate in before and candidate in after:
                seconds = [median(results[candidate]["seconds"]) for results in (before, after)]
                indications = [Indication(None, *seconds)]
                for reference in _references(before, after, candidate, unstable):
                    relative = (ratio(r[candidate]["seconds"], r[reference]["seconds"]) for r in (before, after))
                    indications.append(Indication(reference, *relative))
                found.append(Change(workload, candidate, indications))
    return found


def _references(before, after, candidate, unstable):
    """The references that both have, with TF32 for a candidate with TF32; the floor only if it is the same."""
    names = [f"{name} tf32" for name in REFERENCES] if candidate.endswith("tf32") else REFERENCES
    both = [name for name in names if name in before and name in after and split_name(name)[0] not in unstable]
    return [name for name in both if name != "floor" or flops(before) == flops(after)]


def lost(old, new):
    """[(workload, candidate)] that OLD has and NEW has not; (workload, None) if NEW has nothing of that workload."""
    found = []
    for workload, before in old["workloads"].items():
        if workload not in new["workloads"]:
            found += [(workload, None)]
        else:
            found += [(workload, candidate) for candidate in before if candidate not in new["workloads"][workload]]
    return found


# ---- what is printed ------------------------------------------------------------------------------------------------


def main(arguments=None):
    """Print the comparison; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--tolerance", type=float, default=0.15)
    parser.add_argument("--partial", action="store_true", help="NEW holds only some of the workloads, as it should")
    args = parser.parse_args(arguments)
    try:
        old, new = load(args.old), load(args.new)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if different := differences(old, new):
        parser.error("the reports were made under different conditions: " + "; ".join(different))
    for path, report in ((args.old, old), (args.new, new)):
        if names := untold(report):
            print(f"warning: {path} does not tell: {', '.join(names)}")
    if versions := other_versions(old, new):
        print("warning: other versions: " + "; ".join(f"{p} {values}" for p, values in versions.items()))
    found = changes(old, new)
    _print_table(found)
    is_lost = _print_lost(old, new, args.partial)
    slower = [c for c in found if c.ratio > 1 + args.tolerance]
    if not found:
        print("minigan was measured on no workload of both reports")
    elif slower:
        print(f"SLOWER by more than {args.tolerance:.0%}, by every indication:")
        print(*(f"  {c.name}: at least {c.ratio:.2f} times what it took" for c in slower), sep="\n")
    else:
        print(f"nothing {'that is left ' if is_lost else ''}is slower by more than {args.tolerance:.0%}")
    return 1 if slower or is_lost or not found else 0


def _print_table(found):
    print(f"{'workload':<34} {'minigan against':<28} {'old':>11} {'new':>11} {'new/old':>8}")
    for c in found:
        for i in c.indications:
            against = title(i.reference) if i.reference else "(its time)"
            old, new = (f"{v:.3f}" if i.reference else f"{1e3 * v:.3f} ms" for v in (i.old, i.new))
            print(f"{'' if i.reference else c.name:<34} {against:<28} {old:>11} {new:>11} {i.ratio:>8.2f}")
        print(f"{'':<34} {'least, the verdict':<28} {'':>11} {'':>11} {c.ratio:>8.2f}")


def _print_lost(old, new, partial):
    """Name what is only in OLD, and what died in NEW; returns whether anything of ours is lost."""
    gone, ours = lost(old, new), []
    for workload, candidate in gone:
        what = f"{title(candidate)} on {workload}" if candidate else f"{workload}, the whole workload"
        counts = not partial if candidate is None else split_name(candidate)[0] in ("minigan", "floor")
        ours += [what] if counts else []
        print(f"{'LOST' if counts else 'only in the old report'}: {what}")
    for failure in new.get("failures", []):
        print(f"FAILED in the new report: {failure}")
    return bool(ours)
