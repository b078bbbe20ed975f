"""Callbacks of the training loop that need no pictures: the bar, the log, the checkpoint, the weights' average."""

import sys
import time

from .loop import to_floats


class Callback:
    """Does nothing; subclasses override what they need."""

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
            shown = {k.removeprefix("loss/"): f"{v:.3f}" for k, v in numbers.items() if k != "step"}
            self.bar.set_postfix(shown, refresh=False)
            self.shown = time.monotonic()
        self.bar.update()

    def finish(self, moment):
        """Leave the bar as it stands."""
        if self.bar is not None:
            self.bar.close()

    abort = finish


class Log(Callback):
    """Writes every round's numbers to the run's metrics.jsonl, ``every`` rounds at a time (one wait for the device)."""

    def __init__(self, run, every=20):
        self.run, self.every = run, every

    def after(self, moment):
        """Keep the numbers; write them now and then."""
        self.run.pending.append(moment.numbers())
        if len(self.run.pending) >= self.every:
            self.run.flush()

    def finish(self, moment):
        """Write what is pending."""
        self.run.flush()

    abort = finish


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
                f"\nstopped after step {moment.step}, saved; go on with --resume {self.run.path}",
                file=sys.stderr,
            )

    def _save(self, moment):
        self.run.save(moment.step, self.parts)
        self.saved = moment.step


class Averaging(Callback):
    """Updates an `optim.EMA` after every round."""

    def __init__(self, ema):
        self.ema = ema

    def after(self, moment):
        """Move the average."""
        self.ema.update()
