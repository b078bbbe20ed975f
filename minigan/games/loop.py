"""The training loop: rounds of a solver on a game, and callbacks after each.

A callback is an object with ``after(moment)``, called after every round, ``finish(moment)``, called once at the end,
whether the rounds were all played or somebody pressed Ctrl-C, and ``abort(moment)``, called instead if an error ends
it. If it has ``begin(moment)``, that is called once before the first round, also of a resumed run. `callbacks.Callback`
has all four, and does nothing. The loop itself knows no metrics, files or pictures.
"""

import math
import signal
import threading
from array import array
from contextlib import contextmanager
from dataclasses import dataclass, field

from .. import backend


@dataclass
class Moment:
    """Where the loop is. step: rounds played so far; steps: rounds asked for; losses: {player: 0-d array} of this
    round; extra: {name: number} of what callbacks have measured and want logged; stopped: why the loop is to end here.
    """

    step: int
    steps: int
    losses: dict
    game: object
    solver: object
    interrupted: bool = False
    extra: dict = field(default_factory=dict)
    stopped: str | None = None
    _known: dict = field(default_factory=dict)

    def numbers(self):
        """{"step": …, "loss/D": …, …, the game's readings, extra}: Python numbers, or 0-d arrays on the device."""
        if not self._known:  # several callbacks ask
            self._known = {f"loss/{p}": a for p, a in self.losses.items()} | self.game.readings()
        return {"step": self.step, **self._known, **self.extra}

    def stop(self, reason):
        """Let this round be the last: callbacks finish as they would at the end."""
        self.stopped = reason


class Trajectory:
    """What a play has left behind: ``columns`` by name, a float per round, 8 bytes each; NaN where it was not measured.

    ``interrupted``: by Ctrl-C. ``stopped``: by a callback, its reason; else None. ``verdict``: what whoever watched the
    play had to say at the end.
    """

    def __init__(self):
        self.columns, self.rounds = {}, 0
        self.interrupted, self.stopped, self.verdict = False, None, ""

    def extend(self, records):
        """Append records, dicts of numbers."""
        for record in records:
            for name in record:
                if name not in self.columns:
                    self.columns[name] = array("d", [math.nan]) * self.rounds
            for name, column in self.columns.items():
                column.append(record.get(name, math.nan))
            self.rounds += 1

    def __getitem__(self, name):
        """The column ``name``: ``trajectory["loss/D"]`` is a list of floats."""
        if name not in self.columns:
            raise KeyError(f"no column {name!r}; there are {', '.join(self.columns)}")
        return list(self.columns[name])

    def __len__(self):
        return self.rounds


def play(game, solver, steps, callbacks=(), start=0):
    """Play rounds ``start`` … ``steps − 1`` of ``solver`` on ``game``. Returns a `Trajectory`.

    This is the loop of Goodfellow et al. 2014, algorithm 1 (with `Alternating`), and of every other solver. It runs
    inside `backend.training`: memory kept, threads of our own.

    Ctrl-C (or SIGTERM) lets the round in hand finish, so that what callbacks save is a whole number of rounds; a second
    Ctrl-C stops at once. If a round or a callback raises (`NonFiniteError`, say), every callback's ``abort`` is called,
    then the error goes on.
    """
    trajectory, pending, moment = Trajectory(), [], Moment(start, steps, {}, game, solver)
    with backend.training(), _interruptible() as interrupted:
        try:
            for callback in callbacks:
                if begin := getattr(callback, "begin", None):
                    begin(moment)
            for step in range(start, steps):
                losses = {player: loss.data for player, loss in solver.step(game, step).items()}
                moment = Moment(step + 1, steps, losses, game, solver, interrupted() and step + 1 < steps)
                for callback in callbacks:
                    callback.after(moment)
                pending.append(moment.numbers())
                if len(pending) == 100:
                    trajectory.extend(to_floats(pending))
                    pending = []
                if moment.interrupted or moment.stopped:
                    break
            for callback in callbacks:
                callback.finish(moment)
        except BaseException:
            for callback in callbacks:
                callback.abort(moment)
            raise
    trajectory.extend(to_floats(pending))
    trajectory.interrupted, trajectory.stopped = moment.interrupted, moment.stopped
    return trajectory


def to_floats(records):
    """Records of 0-d device arrays as records of floats: the only place where the loop waits for the device, once."""
    arrays = [v for r in records for v in r.values() if backend.is_array(v)]
    if not arrays:
        return [dict(r) for r in records]
    library = backend.of(arrays[0])
    column = library.xp.stack([library.xp.asarray(a).reshape(()) for a in arrays])  # losses may be (1,)
    floats = iter(library.to_host(column).tolist())
    return [{k: next(floats) if backend.is_array(v) else v for k, v in r.items()} for r in records]


@contextmanager
def _interruptible():
    """Within, the first SIGINT or SIGTERM only sets a flag (the yielded function tells); the second acts as usual."""
    pressed = []
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield lambda: False
        return
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

    def handler(number, frame):
        pressed.append(number)
        for s, old in before.items():
            signal.signal(s, old)

    for s in before:
        signal.signal(s, handler)
    try:
        yield lambda: bool(pressed)
    finally:
        for s, old in before.items():
            signal.signal(s, old)
