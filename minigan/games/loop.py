"""The training loop: rounds of a solver on a game, and callbacks after each.

A callback is an object with ``after(moment)``, called after every round, ``finish(moment)``, called once at the end,
whether the rounds were all played or somebody pressed Ctrl-C, and ``abort(moment)``, called instead if an error ends
it. The loop itself knows no metrics, files or pictures.
"""

import signal
import threading
from array import array
from contextlib import contextmanager
from dataclasses import dataclass

from .. import backend
from ..backend import threads


@dataclass
class Moment:
    """Where the loop is. step: rounds played so far; steps: rounds asked for; losses: {player: 0-d array} of this
    round.
    """

    step: int
    steps: int
    losses: dict
    game: object
    solver: object
    interrupted: bool = False

    def numbers(self):
        """{"step": …, "loss/D": …, …, and the game's readings}, still 0-d arrays on the device (the step: an int)."""
        return {"step": self.step, **{f"loss/{p}": a for p, a in self.losses.items()}, **self.game.readings()}


class Trajectory:
    """What a play has left behind: a column of floats per number, 8 bytes a round. ``interrupted``: by Ctrl-C."""

    def __init__(self):
        self.columns, self.interrupted = {}, False

    def extend(self, records):
        """Append records, dicts of floats with the same names."""
        for record in records:
            for name, value in record.items():
                self.columns.setdefault(name, array("d")).append(value)

    def __getitem__(self, name):
        """The column ``name``: ``trajectory["loss/D"]`` is a list of floats."""
        return list(self.columns[name])

    def __len__(self):
        return len(next(iter(self.columns.values()), ()))


def play(game, solver, steps, callbacks=(), start=0):
    """Play rounds ``start`` … ``steps − 1`` of ``solver`` on ``game``. Returns a `Trajectory`.

    Ctrl-C (or SIGTERM) lets the round in hand finish, so that what callbacks save is a whole number of rounds; a second
    Ctrl-C stops at once. If a round or a callback raises, every callback's ``abort`` is called, then the error goes on.
    """
    backend.keep_memory()
    trajectory, pending, moment = Trajectory(), [], Moment(start, steps, {}, game, solver)
    with threads.in_charge(), _interruptible() as interrupted:
        try:
            for step in range(start, steps):
                losses = {player: loss.data for player, loss in solver.step(game, step).items()}
                moment = Moment(step + 1, steps, losses, game, solver, interrupted() and step + 1 < steps)
                pending.append(moment.numbers())
                if len(pending) == 100:
                    trajectory.extend(to_floats(pending))
                    pending = []
                for callback in callbacks:
                    callback.after(moment)
                if moment.interrupted:
                    break
            for callback in callbacks:
                callback.finish(moment)
        except BaseException:
            for callback in callbacks:
                callback.abort(moment)
            raise
    trajectory.extend(to_floats(pending))
    trajectory.interrupted = moment.interrupted
    return trajectory


def to_floats(records):
    """Records of 0-d device arrays as records of floats: the only place where the loop waits for the device, once."""
    arrays = [v for r in records for v in r.values() if not isinstance(v, int)]
    if not arrays:
        return [dict(r) for r in records]
    library = backend.of(arrays[0])
    column = library.xp.stack([library.xp.asarray(a).reshape(()) for a in arrays])  # losses may be (1,)
    floats = iter(library.to_host(column).tolist())
    return [{k: v if isinstance(v, int) else next(floats) for k, v in r.items()} for r in records]


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
