"""Watching a critic while it is trained: what it believes the distance to be, and what it is."""

import math

import numpy as np

from ..backend.random import stream
from ..transport import critic_gap, wasserstein
from ..transport.exact import MOST
from .callbacks import Callback


class CriticWatch(Callback):
    """Compares the critic with exact optimal transport every ``every`` rounds, in the first and in the last asked for.

    n: how many real and generated samples. 256 images cost some hundredths of a second, 1,000 about a second. Both are
    drawn afresh each time, from streams of the game's seed.

    Logs the numbers of `transport.CriticGap` as ``critic/exact``, ``critic/estimate``, ``critic/lower_bound``,
    ``critic/lipschitz``, ``critic/cosine``, ``critic/slope_error``, and ``critic/floor``: the exact distance between
    two batches of n *real* samples, that of a perfect generator (blurs may be nearer still). Put it before `Log`;
    `report.plot_critic` draws them. Raises ``ValueError`` where there are fewer than 2n data.
    """

    def __init__(self, every=100, n=256):
        for name, value in (("every", every), ("n", n)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"CriticWatch: {name} must be a whole number from 1 on, got {value!r}")
        if n * n > MOST:
            raise ValueError(f"CriticWatch: n must be at most {math.isqrt(MOST):,}, got {n:,}")
        self.every, self.n = every, n

    def after(self, moment):
        """Compare when it is time."""
        if moment.step % self.every and moment.step not in (1, moment.steps):
            return
        game = moment.game
        data = getattr(getattr(game, "data", None), "arrays", None)
        if data is None:
            raise ValueError(f"CriticWatch: needs a GAN on data.Batches(array, …), got {type(game).__name__}")
        if len(data) < 2 * self.n:
            raise ValueError(
                f"CriticWatch: n = {self.n} needs {2 * self.n} data, there are {len(data)}; take a smaller n"
            )
        rows = stream(game.seed, "critic", moment.step).choice(len(data), 2 * self.n, replace=False)
        real, other = data[rows[: self.n]], data[rows[self.n :]]
        z = game.latent(self.n, moment.step, "critic")
        gap = critic_gap(game.D, real, game.sample(z))
        names = ("exact", "estimate", "lower_bound", "lipschitz", "cosine", "slope_error")
        found = {name: getattr(gap, name) for name in names} | {"floor": wasserstein(real, other)}
        moment.extra.update({f"critic/{name}": value for name, value in found.items()})
