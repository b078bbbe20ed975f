"""What a reader of a tape should not miss, in sentences.

A gradient *dies* in an op that is given one and sends nothing but zeros to an argument that gets none from elsewhere
either. Often that op is not to blame: where a *signal* has died, where all that comes out of an op is 0, no gradient
can pass any relu behind it, and none reaches the weights, w̄ = xᵀȳ. Then the op is named in which the signal died.

A gradient shrinks or grows *suddenly* where one op changes its length by more than a factor of 10⁴ (a mean over n
numbers divides it by √n: that is no news), a signal likewise in an op with weights. Where nothing happens suddenly, the
gradients of two layers' weights may still differ by orders of magnitude.
"""

from math import isfinite, prod, sqrt

from .path import _who, targets_of

SUDDEN = 1e4
SPREAD = 1e5  # between the gradients of two layers' weights, as root mean squares
PASSED_BY = 100  # so many times more on another way: what one way does is no news


def findings(tape):
    """A list of sentences about a `Tape`, pass by pass; empty if nothing is conspicuous."""
    found = []
    for one in tape.passes:
        found += _not_finite(tape, one.number) or _deaths(tape, one) + (_jumps(tape, one) or _spread(tape, one.number))
    return list(dict.fromkeys(found + _unreached(tape)))


def _not_finite(tape, number):
    """The oldest value and the first gradient that are not finite."""
    lines, rows = [], tape.rows(number)
    value = next((e for e in rows if (s := e.stats()) is not None and s.bad), None)
    if value is not None:
        of = f"{value.stats().bad} of {value.stats().size} numbers"
        lines.append(f"the first value that is not finite: {_who(value)}, {value.line}: {of}")
    grad = next((e for e in reversed(rows) if (s := e.stats(number)) is not None and s.bad), None)
    if grad is not None:
        of = f"{grad.stats(number).bad} of {grad.stats(number).size} numbers"
        lines.append(f"the first gradient that is not finite: of {_who(grad)}, {grad.line}: {of}")
    return [*lines, "run it inside mg.anomaly() to see where they are born"] if lines else []


# ---- deaths ----------------------------------------------------------------------------------------------------------


def _deaths(tape, one):
    lines = {}  # seq of the op that is to blame → sentence
    for source, target in sorted(one.edges, reverse=True):
        entry, parent = tape.entries[source], tape.entries[target]
        arrives, total = entry.stats(one.number), parent.stats(one.number)
        if arrives is None or not arrives.norm or not parent.shape or (total is not None and total.norm):
            continue
        if tape.sent(one.number, source, target):
            continue
        culprit = _where_signal_died(tape, entry)
        if culprit is not None:
            lines[culprit.seq] = _dead_signal(tape, culprit)
        elif parent.op != "leaf":  # to a leaf it may be a sum that cancels: of a critic's last bias, always
            lines.setdefault(source, _dead_gradient(entry, parent, arrives))
    leaves = [e for e in tape.rows(one.number) if e.op == "leaf" and (s := e.stats(one.number)) is not None and s.size]
    silent = [e for e in leaves if not e.stats(one.number).norm and not _sent_any(tape, one, e)]
    if silent and (lines or len(silent) == len(leaves)):
        names = ", ".join(e.name or f"a leaf of shape {e.shape}" for e in silent)
        return [*lines.values(), f"gradients that are exactly 0: {names}"]
    return list(lines.values())


def _dead_gradient(entry, parent, arrives):
    return (
        f"the gradient dies in {_who(entry)}, {entry.line}: it arrives with norm {arrives.norm:.3g}, and all that goes "
        f"on to {_who(parent)} is 0  ({entry.formula}){_range(parent)}"
    )


def _dead_signal(tape, entry):
    parents = [tape.entries[p] for p in entry.parents if p in tape.entries]
    weights = "".join(f"; {_who(p)} is 0" for p in parents if p.op == "leaf" and len(p.shape) > 1 and _gone(p))
    inputs = "".join(_range(p) for p in parents if p.op != "leaf")
    return (
        f"the signal dies in {_who(entry)}, {entry.line}: all that comes out of it is 0, and there the gradient ends"
        f"{weights}{inputs}"
    )


def _range(entry):
    s = entry.stats()
    return f"; its input lies in [{s.low:.3g}, {s.high:.3g}]" if s and isfinite(s.low) else ""


def _gone(entry):
    s = entry.stats()
    return s is not None and s.size > 0 and s.norm == 0


def _where_signal_died(tape, entry):
    """The oldest op, of ``entry`` and those before it, that gives nothing but zeros and is given something else."""
    culprit = entry if entry.shape and _gone(entry) else None
    while entry is not None:
        before = (tape.entries[p] for p in entry.parents if p in tape.entries)
        entry = next((e for e in before if e.op != "leaf" and e.shape and _gone(e)), None)
        culprit = entry or culprit
    return culprit


def _sent_any(tape, one, leaf):
    """Was anything but 0 sent to a leaf, though it cancelled?"""
    users = [source for source, target in one.edges if target == leaf.seq]
    return any(tape.sent(one.number, source, leaf.seq) for source in users)


# ---- jumps -----------------------------------------------------------------------------------------------------------


def _jumps(tape, one):
    lines, targets = [], targets_of(one)
    for source, target in sorted(one.edges, reverse=True):
        entry, parent = tape.entries[source], tape.entries[target]
        if parent.op == "leaf" or not parent.shape:  # w̄ = xᵀȳ is as large as x; numbers are the weights of a sum
            continue
        arrives, leaves = entry.stats(one.number), tape.sent(one.number, source, target)
        if arrives is None or not arrives.norm or not leaves or not isfinite(leaves / arrives.norm):
            continue
        factor = leaves / arrives.norm
        if factor > SUDDEN or (factor < 1 / SUDDEN and not _passed_by(tape, one, source, target, targets)):
            what = "shrinks" if factor < 1 else "grows"
            lines.append(
                f"the gradient {what} suddenly in {_who(entry)}, {entry.line}, by a factor of {factor:.1e} on its way "
                f"to {_who(parent)}{_range(parent)}"
            )
    return lines + _sudden_values(tape, one.number)


def _passed_by(tape, one, source, target, targets):
    """Does most of the gradient come another way, to the target of this edge or further down (past a block, say)?"""
    while True:
        sent, total = tape.sent(one.number, source, target), tape.entries[target].stats(one.number)
        if total is not None and total.norm > PASSED_BY * sent:
            return True
        further = [t for t in targets.get(target, ()) if tape.entries[t].op != "leaf"]
        if not further:
            return False
        source, target = target, max(further, key=lambda t: (tape.sent(one.number, target, t), t))


def _sudden_values(tape, number):
    """Of ops with weights (of two axes and more), which the gradient itself does not pass if the layer is the first."""
    lines = []
    for e in tape.rows(number):
        weights = [tape.entries[p] for p in e.parents[1:] if p in tape.entries]
        if e.order or not any(w.op == "leaf" and w.name and len(w.shape) > 1 for w in weights):
            continue
        given, made = tape.argument_stats(e, 0), e.stats()
        if given is None or made is None or not _rms(given) or not _rms(made):
            continue
        factor = _rms(made) / _rms(given)
        if not 1 / SUDDEN < factor < SUDDEN:
            what = "shrink" if factor < 1 else "grow"
            lines.append(f"the values {what} suddenly in {_who(e)}, {e.line}, by a factor of {factor:.1e}")
    return lines


def _allowance(entry, parent):
    """What a sum or a mean, or the repetition of a number, does to a gradient's length: √n."""
    sizes = max(1, prod(entry.shape)), max(1, prod(parent.shape))
    return sqrt(max(sizes) / min(sizes))


def _rms(stats):
    return stats.norm / sqrt(max(1, stats.size))


# ---- what comes about slowly -----------------------------------------------------------------------------------------


def _spread(tape, number):
    """The weights (of two axes and more) whose gradients differ by orders of magnitude."""
    rms = {}
    for e in tape.rows(number):
        stats = e.stats(number)
        if e.op == "leaf" and e.name and len(e.shape) > 1 and stats is not None and stats.norm:
            rms[e.name] = stats.norm / sqrt(stats.size)
    if len(rms) < 2 or max(rms.values()) < SPREAD * min(rms.values()):
        return []
    low, high = min(rms, key=rms.get), max(rms, key=rms.get)
    hops = [hop for hop in tape.path(low, number=number).hops if hop.target.op != "leaf"]
    worst = min(hops, key=lambda hop: hop.factor * _allowance(hop.entry, hop.target), default=None)
    where = f", most of all in {_who(worst.entry)}, {worst.entry.line}, by {worst.factor:.2g}" if worst else ""
    return [
        f"the gradient of {low} is {rms[high] / rms[low]:.1e} times smaller than that of {high} (root mean squares): "
        f"it vanishes slowly{where}; print(t.path({low!r})) shows all"
    ]


def _unreached(tape):
    """Parameters that were used while the tape was open and that no pass has reached, though it has reached others of
    their network (a network of which nothing is reached was meant to be left out: D's loss on G(z).detach()).
    """
    if not tape.passes:
        return []
    reached = set().union(*(one.reached for one in tape.passes))
    network = lambda e: e.name.partition(".")[0] if "." in e.name else ""
    named = [e for e in tape.entries.values() if e.op == "leaf" and e.name]
    trained = {network(e) for e in named if e.seq in reached}
    lost = [e for e in named if e.seq not in reached and network(e) in trained]
    if not lost:
        return []
    behind = {e.seq for e in lost}
    for seq in sorted(tape.entries):
        if seq not in reached and not behind.isdisjoint(tape.entries[seq].parents):
            behind.add(seq)
    last, names = tape.entries[max(behind)], ", ".join(e.name for e in lost)
    return [f"no gradient reaches {names}: what came out of {_who(last)}, {last.line}, was detached or is not used"]
