"""The training loop: rounds of a solver on a game, and callbacks after each.

A callback is an object with ``after(moment)``, called after every round, and ``finish(moment)``, called once at the
end, whether the rounds were all played or somebody pressed Ctrl-C. The loop itself knows no metrics, files or pictures.
"""

import signal
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field

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


@dataclass
class Trajectory:
    """What a play has left behind. records: one dict of floats a round; interrupted: ended early by Ctrl-C."""

    records: list = field(default_factory=list)
    interrupted: bool = False

    def __getitem__(self, name):
        """The column ``name`` of the records: ``trajectory["loss/D"]`` is a list of floats."""
        return [r[name] for r in self.records]


def play(game, solver, steps, callbacks=(), start=0):
    """Play rounds ``start`` … ``steps − 1`` of ``solver`` on ``game``. Returns a `Trajectory`.

    Ctrl-C (or SIGTERM) lets the round in hand finish, so that what callbacks save is a whole number of rounds; a second
    Ctrl-C stops at once.
    """
    backend.keep_memory()
    pending, moment = [], Moment(start, steps, {}, game, solver)
    with threads.in_charge(), _interruptible() as interrupted:
        for step in range(start, steps):
            losses = {player: loss.data for player, loss in solver.step(game, step).items()}
            moment = Moment(step + 1, steps, losses, game, solver, interrupted())
            pending.append(moment.numbers())
            for callback in callbacks:
                callback.after(moment)
            if moment.interrupted:
                break
        for callback in callbacks:
            callback.finish(moment)
    return Trajectory(to_floats(pending), moment.interrupted)


def to_floats(records):
    """Records of 0-d device arrays as records of floats: the only place where the loop waits for the device."""
    return [{k: v if isinstance(v, int) else float(backend.of(v).to_host(v)) for k, v in r.items()} for r in records]


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
