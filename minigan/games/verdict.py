"""Watching a game while it is played, and saying in one line what is wrong with it."""

import math

import numpy as np

from .. import backend
from ..backend.random import stream
from ..metrics import mode_coverage
from .callbacks import Callback
from .diagnostics import accuracy, gradient_norms
from .field import parameters

SNAPSHOTS, COORDINATES = 128, 4096


class Path:
    """Where the players have been: at most 128 points, evenly spread over the whole play, of at most 4,096 of their
    coordinates. When it is full, every second point goes and the spacing doubles.
    """

    def __init__(self):
        self.points, self.spacing, self.seen, self.rows = [], 1, 0, None

    def add(self, game):
        """Look at the game; keep the point if it is due."""
        if self.seen % self.spacing == 0:
            if len(self.points) == SNAPSHOTS:
                self.points, self.spacing = self.points[::2], 2 * self.spacing
            if self.seen % self.spacing == 0:
                self.points.append(self._coordinates(game))
        self.seen += 1

    def _coordinates(self, game):
        pieces = [p.data.reshape(-1) for p in parameters(game)]
        w = np.concatenate([np.asarray(backend.of(a).to_host(a), np.float64) for a in pieces])
        if self.rows is None:
            many = len(w) > COORDINATES
            self.rows = stream(0, "path").choice(len(w), COORDINATES, replace=False) if many else slice(None)
        return w[self.rows]

    def turning(self):
        """(turns, steadiness, growth) of the later half of the path, seen in its two main directions from its middle.

        turns: how often it went round; steadiness: net angle/total angle, 1 if it always turned the same way; growth:
        mean distance from the middle, last quarter of that half against its first. None for fewer than 12 points or a
        path that does not move.
        """
        points = np.array(self.points[len(self.points) // 2 :])
        if len(points) < 12:
            return None
        centred = points - points.mean(axis=0)
        if np.abs(centred).max() <= 1e-9 * np.abs(points).max():
            return None
        _, _, axes = np.linalg.svd(centred, full_matrices=False)
        plane = centred @ axes[:2].T if len(axes) > 1 else np.column_stack([centred @ axes[0], np.zeros(len(points))])
        angle = np.unwrap(np.arctan2(plane[:, 1], plane[:, 0]))
        total, radius, quarter = np.abs(np.diff(angle)).sum(), np.hypot(*plane.T), len(plane) // 4
        growth = radius[-quarter:].mean() / max(radius[:quarter].mean(), 1e-300)
        return abs(angle[-1] - angle[0]) / (2 * math.pi), abs(angle[-1] - angle[0]) / max(total, 1e-300), growth


class Diagnostics(Callback):
    """Every ``every`` rounds: gradient lengths, the discriminator's accuracy, how the penalties compare with the
    objective, how varied the samples are, the modes they cover; all logged (``diagnostics/…``), and `verdict` at any
    time. Put it before `Log`.

    modes: (centres (K, d), std) of data whose modes are known. layers: log every parameter's gradient length too.
    samples: how many to draw for variety and modes. For games that are no GAN it watches gradients and the path.
    """

    def __init__(self, every=20, modes=None, layers=False, samples=512):
        self.every, self.modes, self.layers, self.samples = every, modes, layers, samples
        self.path, self.history, self.coverage = Path(), [], None

    def after(self, moment):
        """Look when it is time."""
        self.path.add(moment.game)
        if moment.step % self.every and moment.step != moment.steps:
            return
        found = self._look(moment.game, moment.step)
        self.history.append(found)
        moment.extra.update({f"diagnostics/{name}": value for name, value in found.items()})

    def _look(self, game, step):
        norms = {player: gradient_norms(game, player) for player in game.players}
        found = {f"gradient/{player}": math.sqrt(sum(n * n for n in ns.values())) for player, ns in norms.items()}
        if self.layers:
            found |= {f"gradient/{name}": n for ns in norms.values() for name, n in ns.items()}
        for player, terms in game.terms.items():
            values = {name: float(backend.of(a).to_host(a)) for name, a in terms.items()}
            penalties = [abs(v) for name, v in values.items() if name != "objective"]
            if penalties and values.get("objective"):
                found[f"penalty ratio/{player}"] = sum(penalties) / abs(values["objective"])
        if hasattr(game, "objective") and game.logits:
            found["accuracy/D"] = accuracy(game.objective, game.logits["real"], game.logits["fake"])
            found |= self._samples(game, step)
        return found

    def _samples(self, game, step):
        fake = game.sample(game.latent(self.samples, step, "diagnostics"))
        real = np.asarray(game.data.at(step), np.float64)
        spread = np.sqrt(real.var(axis=0).sum())
        found = {"variety": float(np.sqrt(fake.astype(np.float64).var(axis=0).sum()) / spread)} if spread else {}
        if self.modes is not None:
            self.coverage = mode_coverage(fake, *self.modes)
            found["modes"] = float(self.coverage)
            found["high quality"] = self.coverage.details["high_quality"]
            shares = np.array(self.coverage.details["counts"]) / self.samples
            found["visited modes"] = float((shares >= 0.1 / len(shares)).sum())
        return found

    def verdict(self):
        """One line in plain words about the game so far. See `verdict`."""
        return verdict(self.history, self.path, None if self.modes is None else len(self.modes[0]))


def verdict(history, path=None, modes=None):
    """The first of these that holds, at the end of ``history`` (a list of what `Diagnostics` found at each look):

    the discriminator is saturated, the generator's samples have collapsed (onto some modes, or onto a point) or are
    blurred, a penalty drowns the objective, the players rotate or spiral, the game is at rest, or nothing conspicuous.

    A mode counts as visited when it is nearest to a tenth of its fair share of the samples, near or not.
    """
    if len(history) < 3:
        return "too few rounds to tell"
    last = history[-1]
    looks = history[-max(1, len(history) // 10) :]  # the last tenth: single looks are noisy

    def recent(name):
        values = [h[name] for h in looks if name in h]
        return float(np.median(values)) if values else None

    g, peak = recent("gradient/G"), max((h.get("gradient/G", 0.0) for h in history), default=0.0)
    if (recent("accuracy/D") or 0) > 0.98 and g is not None and g <= max(1e-3 * peak, 1e-6):
        return (
            f"discriminator saturated: it is right in {recent('accuracy/D'):.0%} of cases, generator gradient {g:.0e}"
        )
    visited, quality = recent("visited modes"), recent("high quality")
    if modes and visited is not None and visited < modes:
        return f"{'collapsed to' if visited <= modes / 2 else 'covers only'} {visited:.0f} of {modes} modes"
    if quality is not None and quality < 0.5:
        return f"blurred: samples lie around all modes, but only {quality:.0%} of them within three deviations of one"
    variety = recent("variety")
    if variety is not None and variety < 0.2:
        return f"collapsed: samples vary {variety:.2g} times as much as the data"
    for name in last:
        if name.startswith("penalty ratio/") and (ratio := recent(name)) > 10:
            return f"penalty drowns the objective of {name[-1]}: {ratio:.3g} times as large; lower its weight"
    turning = path.turning() if path is not None else None
    if turning and turning[0] >= 1 and turning[1] > 0.8:
        turns, _, growth = turning
        if growth > 1.5:
            return f"spiralling outwards: {turns:.1f} turns in the later half, the distance grew {growth:.2g}-fold"
        if growth > 0.67:
            return f"rotating: {turns:.1f} turns in the later half, at a steady distance"
        return f"spiralling inwards: {turns:.1f} turns in the later half, the distance fell to {growth:.2g} of it"
    lengths = [v for name, v in last.items() if name.startswith("gradient/")]
    if lengths and max(lengths) < 1e-6:
        return f"at rest: all gradients below {max(lengths):.0e}"
    return "nothing conspicuous"
