"""What a reader of a tape should not miss, in sentences.

A leaf is *silent* if nothing but zeros is sent to it in all passes of its step. A gradient *dies* in an op that is
given one and sends nothing but zeros to an argument that gets none from elsewhere either; it is worth telling if a leaf
below is silent. Often that op is not to blame: where a *signal* has died, where all that comes out of an op is 0, no
gradient can pass any relu behind it, and none reaches the weights, w̄ = xᵀȳ. Then that op is named.

A gradient shrinks or grows *suddenly* where one op changes its length by more than a factor of 10⁴ (a mean over n
numbers divides it by √n: that is no news), a signal likewise in an op with weights. Derivatives, and what is made of
them, are left out: parts of batch_norm's are large and cancel each other, and the square of a small gradient is
smaller. Where nothing happens suddenly, the gradients of two layers' weights may still differ by orders of magnitude.
"""

from math import isfinite, prod, sqrt

from .graph import Stats, reachable, total
from .path import strongest_path

SUDDEN = 1e4
SPREAD = 1e5  # between the gradients of two layers' weights, as root mean squares
SUMMANDS = ("b", "beta")  # arguments that are added: b̄ = Σ ȳ may cancel, and if they are 0 nothing else is
PASSED_BY = 100  # so many times more on another way: what one way does is no news


def findings(tape):
    """A list of sentences about a `Tape`, pass by pass; empty if nothing is conspicuous."""
    found = []
    for one in tape.passes:
        wrong = _not_finite(tape, one.number)
        if not wrong and not one.idle:
            wrong = _deaths(tape, one) + (_jumps(tape, one) or _spread(tape, one))
        found += wrong
    return list(dict.fromkeys(found + _unreached(tape)))


def _not_finite(tape, number):
    """The oldest value and the first gradient that are not finite."""
    lines, rows = [], tape.rows(number)
    value = next((e for e in rows if (s := e.value_stats(number)) is not None and s.bad), None)
    if value is not None:
        stats = value.value_stats(number)
        of = f"{stats.bad} of {stats.size} numbers"
        lines.append(f"the first value that is not finite: {value.who}, {value.line}: {of}")
    grad = next((e for e in reversed(rows) if (s := e.stats(number)) is not None and s.bad), None)
    if grad is not None:
        of = f"{grad.stats(number).bad} of {grad.stats(number).size} numbers"
        lines.append(f"the first gradient that is not finite: of {grad.who}, {grad.line}: {of}")
    return [*lines, "run it inside mg.anomaly() to see where they are born"] if lines else []


# ---- deaths ----------------------------------------------------------------------------------------------------------


def _deaths(tape, one):
    number, sources = one.number, one.sources()
    hooked = _hooked(tape, one, sources)
    asked = [tape.entries[seq] for seq in one.asked]
    silent = {e.seq for e in asked if e.seq in hooked or _is_silent(tape, one, sources, e)}
    leads, lines = reachable(silent, sources), {}  # lines: seq of the op that is to blame → sentence
    for source, target in sorted(one.edges, reverse=True):
        entry, parent = tape.entries[source], tape.entries[target]
        arrives, found = entry.stats(number), parent.stats(number)
        if target not in leads or arrives is None or not arrives.norm or (found is not None and found.norm):
            continue
        if tape.sent(number, source, target):
            continue
        culprit = _where_signal_died(tape, entry)
        if culprit is not None:
            lines[culprit.seq] = _dead_signal(tape, number, culprit)
        elif parent.op != "leaf":  # it is in the list
            lines.setdefault(source, _dead_gradient(tape, number, entry, parent))
    lines = [*hooked.values(), *lines.values()]
    names = [e.name or f"a leaf of shape {e.shape}" for e in tape.rows(number) if e.op == "leaf" and e.seq in silent]
    return [*lines, f"gradients that are exactly 0: {', '.join(names)}"] if names else lines


def _hooked(tape, one, sources):
    """{seq: sentence} of what a hook has made 0: what was sent there is not, added as the engine does."""
    lines = {}
    for seq in sorted(one.reached, reverse=True):
        entry = tape.entries[seq]
        stats = entry.stats(one.number)
        if stats is None or stats.norm or not stats.size:
            continue
        arrived = one.given.get(seq, []) + [part for s in sources.get(seq, ()) for part in one.edges[s, seq]]
        norm = Stats(total(arrived, entry.shape)).norm if arrived else 0
        if norm:
            lines[seq] = f"a hook at {entry.who}, {entry.line}, made its gradient 0: it arrived with norm {norm:.3g}"
    return lines


def _is_silent(tape, one, sources, entry):
    """Was nothing but 0 sent here? A sum that cancels is none: of a critic's last bias, it always does. Nor is what
    another pass of the same step has reached, before the value changed: a term may be switched off, as BEGAN's k = 0.
    """
    stats, value = entry.stats(one.number), entry.value_in(one.number)
    if stats is None or stats.norm or not stats.size:
        return False
    if any(entry.stats(number).norm and _equal(entry.value_in(number), value) for number in entry.cotangents):
        return False
    for source in sources.get(entry.seq, ()):
        user = tape.entries[source]
        if tape.sent(one.number, source, entry.seq) or (user.stats(one.number).norm and _added(user, entry.seq)):
            return False
    return True


def _equal(a, b):
    return a is not None and b is not None and bool((a == b).all())


def _added(entry, seq):
    """Does this op add its argument ``seq`` to others?"""
    names = [name for name, parent in zip(entry.arguments, entry.parents, strict=False) if parent == seq]
    return entry.op in ("add", "subtract") or any(name in SUMMANDS for name in names)


def _dead_gradient(tape, number, entry, parent):
    return (
        f"the gradient dies in {entry.who}, {entry.line}: it arrives with norm {entry.stats(number).norm:.3g}, and all "
        f"that goes on to {parent.who} is 0  ({entry.formula}){_zero_weights(tape, number, entry)}"
        f"{_range(parent, entry.who)}"
    )


def _dead_signal(tape, number, entry):
    inputs = [tape.entries[p] for p in entry.parents if p in tape.entries and tape.entries[p].op != "leaf"]
    return (
        f"the signal dies in {entry.who}, {entry.line}: all that comes out of it is 0, and there the gradient ends"
        f"{_zero_weights(tape, number, entry)}{''.join(map(_range, inputs))}"
    )


def _zero_weights(tape, number, entry):
    """The leaves that an op multiplies by and that are 0."""
    leaves = [tape.entries[p] for p in entry.parents if p in tape.entries and tape.entries[p].op == "leaf"]
    return "".join(f"; {p.who} is 0" for p in leaves if not _added(entry, p.seq) and _gone(p, number))


def _range(entry, of=None):
    """The range of ``entry``, as the input of the op ``of`` (None: of the one that the sentence is about)."""
    s, whose = entry.value_stats(), f"the input of {of}" if of else "its input"
    return f"; {whose} lies in [{s.low:.3g}, {s.high:.3g}]" if entry.op != "leaf" and s and isfinite(s.low) else ""


def _gone(entry, number=None):
    s = entry.value_stats(number)
    return s is not None and s.size > 0 and s.norm == 0


def _where_signal_died(tape, entry):
    """The oldest op, of ``entry`` and those before it, that gives nothing but zeros and is given something else."""
    culprit = entry if entry.shape and _gone(entry) else None
    while entry is not None:
        before = (tape.entries[p] for p in entry.parents if p in tape.entries)
        entry = next((e for e in before if e.op != "leaf" and e.shape and _gone(e)), None)
        culprit = entry or culprit
    return culprit


# ---- jumps -----------------------------------------------------------------------------------------------------------


def _jumps(tape, one):
    lines, targets, derived = [], one.targets(), _derived(tape)
    for source, target in sorted(one.edges, reverse=True):
        entry, parent = tape.entries[source], tape.entries[target]
        if entry.order or target in derived or parent.op == "leaf":  # w̄ = xᵀȳ is as large as x
            continue
        if not parent.shape:  # numbers are the weights of a sum
            continue
        arrives, leaves = entry.stats(one.number), tape.sent(one.number, source, target)
        if arrives is None or not arrives.norm or not leaves or not isfinite(leaves / arrives.norm):
            continue
        factor = leaves / arrives.norm
        if factor > SUDDEN or (factor < 1 / SUDDEN and not _passed_by(tape, one, source, target, targets)):
            what = "shrinks" if factor < 1 else "grows"
            lines.append(
                f"the gradient {what} suddenly in {entry.who}, {entry.line}, by a factor of {factor:.1e} on its way "
                f"to {parent.who}{_range(parent, entry.who)}"
            )
    return lines + _sudden_values(tape, one.number)


def _derived(tape):
    """The ``seq`` of all derivatives and of what is made of them."""
    derived = set()
    for seq, entry in sorted(tape.entries.items()):
        if entry.order or not derived.isdisjoint(entry.parents):
            derived.add(seq)
    return derived


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
        given, made = tape.argument_stats(e, 0, number), e.value_stats()
        if given is None or made is None or not _rms(given) or not _rms(made):
            continue
        factor = _rms(made) / _rms(given)
        if not 1 / SUDDEN < factor < SUDDEN:
            what = "shrink" if factor < 1 else "grow"
            lines.append(f"the values {what} suddenly in {e.who}, {e.line}, by a factor of {factor:.1e}")
    return lines


def _allowance(entry, parent):
    """What a sum or a mean, or the repetition of a number, does to a gradient's length: √n."""
    sizes = max(1, prod(entry.shape)), max(1, prod(parent.shape))
    return sqrt(max(sizes) / min(sizes))


def _rms(stats):
    return stats.norm / sqrt(max(1, stats.size))


# ---- what comes about slowly -----------------------------------------------------------------------------------------


def _spread(tape, one):
    """The weights (of two axes and more) whose gradients differ by orders of magnitude."""
    rms, number = {}, one.number
    for e in tape.rows(number):
        stats = e.stats(number)
        if e.op == "leaf" and e.name and len(e.shape) > 1 and stats is not None and stats.norm:
            rms[e.seq] = _rms(stats)  # names need not be unique
    if len(rms) < 2 or max(rms.values()) < SPREAD * min(rms.values()):
        return []
    low, high = tape.entries[min(rms, key=rms.get)], tape.entries[max(rms, key=rms.get)]
    hops = [hop for hop in strongest_path(tape, one, low, None).hops if hop.target.op != "leaf"]
    worst = min(hops, key=lambda hop: hop.factor * _allowance(hop.entry, hop.target), default=None)
    where = (
        f", most of all in {worst.entry.who}, {worst.entry.line}, by {worst.factor:.2g}"
        if worst and worst.factor < 1
        else ""
    )
    which = f", number={number}" if len(tape.passes) > 1 else ""
    shown = f"; print(t.path({low.name!r}{which})) shows all" if tape[low.name] is low else ""
    return [
        f"the gradient of {low.name} is {rms[high.seq] / rms[low.seq]:.1e} times smaller than that of {high.name} "
        f"(root mean squares): it vanishes slowly{where}{shown}"
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
    return [f"no gradient reaches {names}: what came out of {last.who}, {last.line}, was detached or is not used"]
