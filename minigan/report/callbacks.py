"""Callbacks of the training loop that draw."""

from contextlib import nullcontext

from ..games.callbacks import Callback
from .images import save_grid
from .plots import plot_points


class _Samples(Callback):
    """Every ``every`` rounds, the first and the last: draws samples of fixed latents into the run's samples/."""

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
            samples = moment.game.sample(self.z)
        self._save(samples, self.run.path / "samples" / f"{moment.step:06d}.png", moment.step)
        self.drawn = moment.step


class SampleGrid(_Samples):
    """Writes a grid of samples from fixed latents to the run's samples/ every ``every`` rounds, the first and the last.

    z: (n, latent_dim). ema: an `optim.EMA` of the generator, to sample from the averaged weights.
    """

    def _save(self, samples, path, step):
        save_grid(path, samples)


class SamplePoints(_Samples):
    """The same for points in the plane, over the data ``real`` (n, 2)."""

    def __init__(self, run, z, real, every=100, ema=None):
        super().__init__(run, z, every, ema)
        self.real = real[:2000]

    def _save(self, samples, path, step):
        plot_points(self.real, samples, path, f"step {step}")
