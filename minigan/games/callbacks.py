"""Callbacks of the training loop that need no pictures: the bar, the log, checkpoints, averages, metrics, early stop.

They are called in the order of the list, so what measures goes before `Log`, and `Checkpoint` last.
"""

import math
import sys
import time
import warnings
from contextlib import nullcontext

import numpy as np

from .. import backend
from .loop import to_floats


class Callback:
    """Does nothing; subclasses override what they need."""

    def begin(self, moment):
        """Called once before the first round, also of a resumed run; ``moment.step`` rounds have been played."""

    def after(self, moment):
        """Called after every round."""

    def finish(self, moment):
        """Called once, when the loop ends."""

    def abort(self, moment):
        """Called once instead, when an error ends the loop: put away what is open, save nothing new."""


class Progress(Callback):
    """A tqdm bar with the losses, the game's readings and rounds per second, renewed every ``every`` seconds."""

    def __init__(self, every=0.2):
        self.every, self.bar, self.shown = every, None, 0.0

    def after(self, moment):
        """Advance the bar."""
        if self.bar is None:
            from tqdm import tqdm

            self.bar = tqdm(total=moment.steps, initial=moment.step - 1, unit="step", file=sys.stderr)
            self.bar.mininterval = self.every
        if time.monotonic() - self.shown > self.every or moment.step == moment.steps:
            (numbers,) = to_floats([moment.numbers()])
            short = {k.removeprefix("loss/"): v for k, v in numbers.items() if k not in moment.extra and k != "step"}
            shown = {k: f"{v:.3f}" for k, v in short.items() if "/" not in k}
            self.bar.set_postfix(shown, refresh=False)
            self.shown = time.monotonic()
        self.bar.update()

    def finish(self, moment):
        """Leave the bar as it stands."""
        if self.bar is not None:
            self.bar.close()
        if moment.stopped:
            print(f"stopped after step {moment.step}: {moment.stopped}", file=sys.stderr)

    abort = finish


class Log(Callback):
    """Writes every round's numbers to the run's metrics.jsonl, ``every`` rounds at a time (one wait for the device)."""

    def __init__(self, run, every=20):
        self.run, self.every, self.names = run, every, set()

    def after(self, moment):
        """Keep the numbers; write them now and then."""
        numbers = moment.numbers()
        self.names = set(numbers)
        self.run.pending.append(numbers)
        if len(self.run.pending) >= self.every:
            self.run.flush()

    def finish(self, moment):
        """Write what is pending; warn of what was measured too late to be in it."""
        self.run.flush()
        if late := sorted(set(moment.extra) - self.names):
            warnings.warn(
                f"Log does not hold {', '.join(late)}: put it behind what measures in the list of callbacks",
                stacklevel=2,
            )

    def abort(self, moment):
        """Write what is pending."""
        self.run.flush()


class Checkpoint(Callback):
    """Saves ``parts`` ({name: object with state_dict and load_state_dict}) to the run every ``every`` rounds and at the
    end. It goes last in the list of callbacks: what the others have done by then is saved with it.
    """

    def __init__(self, run, parts, every=100):
        self.run, self.parts, self.every, self.saved = run, parts, every, None

    def after(self, moment):
        """Save when it is time."""
        if moment.step % self.every == 0:
            self._save(moment)

    def finish(self, moment):
        """Save the last round, and say how to go on if there was an interruption."""
        if self.saved != moment.step:
            self._save(moment)
        if moment.interrupted:
            print(
                f"\nstopped after step {moment.step}, saved; go on with python -m minigan resume {self.run.path}",
                file=sys.stderr,
            )

    def abort(self, moment):
        """Save nothing: say what there is."""
        print(f"the run so far is in {self.run.path}: {self.run.checkpoints()}", file=sys.stderr)

    def _save(self, moment):
        self.run.save(moment.step, self.parts)
        self.saved = moment.step


class Averaging(Callback):
    """Updates an `optim.EMA` or `optim.UniformAverage` after every round."""

    def __init__(self, ema):
        self.ema = ema

    def after(self, moment):
        """Move the average."""
        self.ema.update()


class Metrics(Callback):
    """Measures and logs ``metric/name`` for each of ``functions``, every ``every`` rounds and in the last asked for.

    functions: {name: fn(game) → a number, or anything that ``float`` takes}; of a `MetricResult` with several numbers,
    such as precision and recall, each is logged too: ``metric/name/recall``. average: measure with an `optim.EMA`'s
    weights. They are in the `Trajectory` (NaN where nothing was measured), in the run's records if `Log` comes behind,
    and `report.plot_diagnostics` draws them.
    """

    def __init__(self, functions, every=100, average=None):
        self.functions, self.every, self.average = functions, every, average

    def after(self, moment):
        """Measure when it is time."""
        if moment.step % self.every == 0 or moment.step == moment.steps:
            with self.average.applied() if self.average else nullcontext():
                for name, fn in self.functions.items():
                    moment.extra.update(self._numbers(f"metric/{name}", fn(moment.game)))

    @staticmethod
    def _numbers(name, found):
        try:
            numbers = {name: float(found)}
        except (TypeError, ValueError):
            raise TypeError(f"{name}: expected a number, or a MetricResult, got {type(found).__name__}") from None
        rows = found.rows() if hasattr(found, "rows") else []
        return numbers | ({f"{name}/{row}": x for row, x, _, _ in rows} if len(rows) > 1 else {})


class EarlyStop(Callback):
    """Ends the play when ``name`` (``"metric/modes"``, ``"loss/D"``) has not improved for ``patience`` looks.

    A look is a round in which it was measured. mode: ``"min"`` if lower is better, ``"max"``. least: an improvement
    smaller than this counts as none. Its state belongs into the checkpoint: pass it to `Checkpoint` as a part.
    """

    def __init__(self, name, patience, mode="min", least=0.0):
        if mode not in ("min", "max"):
            raise ValueError(f"EarlyStop: mode must be 'min' or 'max', got {mode!r}")
        self.name, self.patience, self.sign, self.least = name, patience, 1 if mode == "min" else -1, least
        self.best, self.waited, self.seen = math.inf, 0, False

    def after(self, moment):
        """Look."""
        value = moment.numbers().get(self.name)
        if value is None:
            return
        self.seen = True
        value = self.sign * float(backend.of(value).to_host(value))
        if value < self.best - self.least:
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        if self.waited >= self.patience:
            moment.stop(f"{self.name} has not improved on {self.sign * self.best:.4g} in {self.waited} looks")

    def finish(self, moment):
        """Say so if there was nothing to look at."""
        if not self.seen:
            warnings.warn(f"EarlyStop never saw {self.name!r}; there are {', '.join(moment.numbers())}", stacklevel=2)

    def state_dict(self):
        """The best value and how long ago it was."""
        return {"best": np.array(self.best), "waited": np.array(self.waited)}

    def load_state_dict(self, state):
        """Take over a `state_dict`."""
        self.best, self.waited = float(state["best"]), int(state["waited"])
