"""Callbacks of the training loop that draw."""

from contextlib import nullcontext

from ..games.callbacks import Callback
from .images import save_grid


class SampleGrid(Callback):
    """Writes a grid of samples from fixed latents to the run's samples/ every ``every`` rounds, the first and the last.

    z: (n, latent_dim). ema: an `optim.EMA` of the generator, to sample from the averaged weights.
    """

    def __init__(self, run, z, every=100, ema=None):
        self.run, self.z, self.every, self.ema, self.drawn = run, z, every, ema, None

    def after(self, moment):
        """Draw when it is time."""
        if moment.step % self.every == 0 or moment.step == 1:
            self._draw(moment)

    def finish(self, moment):
        """Draw the last."""
        if self.drawn != moment.step:
            self._draw(moment)

    def _draw(self, moment):
        with self.ema.applied() if self.ema else nullcontext():
            save_grid(self.run.path / "samples" / f"{moment.step:06d}.png", moment.game.sample(self.z))
        self.drawn = moment.step
