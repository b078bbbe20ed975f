"""Watching a game while it is played, and saying in one line what is wrong with it."""

import math
from collections import deque

import numpy as np

from .. import backend
from ..backend.random import stream
from ..metrics import mode_coverage
from .callbacks import Callback
from .diagnostics import accuracy, gradient_norms
from .field import parameters

POINTS, RARER, COORDINATES = 64, 4, 4096


class Path:
    """Where the players have been, at every scale: 64 points of the last 64 rounds, 64 of every fourth round, of every
    sixteenth, and so on, of at most 4,096 coordinates. A turn shows whether it takes six rounds or a thousand.
    """

    def __init__(self):
        self.levels, self.rounds, self.rows = [], 0, None

    def add(self, game):
        """Take in where the players are now."""
        due = [k for k in range(32) if self.rounds % RARER**k == 0] if self.rounds else [0]
        point = self._coordinates(game)
        for k in due:
            if k == len(self.levels):
                self.levels.append(deque(maxlen=POINTS))
            if k < len(self.levels):
                self.levels[k].append(point)
        self.rounds += 1

    def _coordinates(self, game):
        """The point on its device; the same coordinates each time, spread over all parameters."""
        everyone = parameters(game)
        n = sum(p.size for p in everyone)
        if self.rows is None:
            some = stream(0, "path").choice(n, COORDINATES, replace=False) if n > COORDINATES else np.arange(n)
            ends = np.cumsum([p.size for p in everyone])
            pieces = np.split(np.sort(some), np.searchsorted(np.sort(some), ends[:-1]))
            local = [rows - (end - p.size) for rows, end, p in zip(pieces, ends, everyone)]
            self.rows = [backend.of(p.data).asarray(rows) for p, rows in zip(everyone, local)]
        return [p.data.reshape(-1)[rows] for p, rows in zip(everyone, self.rows)]

    def turning(self):
        """(rounds in a turn, growth of a turn), of the finest scale on which the path keeps turning; None if on none.

        The steps between points, made unit vectors, are seen in their two main directions. The path keeps turning if
        they go round at least once and, all in all, one way (net angle/total angle > 0.8): random walks do not.
        """
        for level, kept in enumerate(self.levels):
            if len(kept) < POINTS // 2:
                continue
            points = [np.concatenate([np.asarray(backend.of(a).to_host(a), np.float64) for a in p]) for p in kept]
            steps = np.diff(np.array(points), axis=0)
            lengths = np.linalg.norm(steps, axis=1)
            if not lengths.min() > 1e-12 * np.abs(points[-1]).max() or steps.shape[1] < 2:
                continue
            _, spread, axes = np.linalg.svd(steps / lengths[:, None], full_matrices=False)
            if spread[1] < 0.01 * spread[0]:  # back and forth on a line
                continue
            angle = np.unwrap(np.arctan2(*(steps @ axes[:2].T).T))
            turns, total = abs(angle[-1] - angle[0]) / (2 * math.pi), np.abs(np.diff(angle)).sum() / (2 * math.pi)
            if turns >= 1 and turns > 0.8 * total:
                # How log lengths grow with the angle, apart from an ellipse's own rhythm, two beats a turn.
                rhythm = [np.ones_like(angle), np.abs(angle - angle[0]) / (2 * math.pi)]
                rhythm += [f(k * angle) for k in (2, 4) for f in (np.cos, np.sin)]
                slope = np.linalg.lstsq(np.array(rhythm).T, np.log(lengths), rcond=None)[0][1]
                return len(steps) * RARER**level / turns, float(np.exp(slope))
        return None


class Diagnostics(Callback):
    """A look every ``every`` rounds and in the last one asked for: gradient lengths, the discriminator's accuracy, how
    the penalties compare with the objective, how varied the samples are, the modes they cover; all logged
    (``diagnostics/…``), and `verdict` at any time. Put it before `Log`.

    modes: (centres (K, d), std) of data whose modes are known. layers: log every parameter's gradient length too.
    samples: how many to draw for variety and modes. For games that are no GAN it watches gradients and the path. What
    it has seen is in no checkpoint: after resuming, the logged looks may be put into ``history`` (`Experiment.train`
    does), the path begins anew.
    """

    def __init__(self, every=20, modes=None, layers=False, samples=512):
        if modes is not None and (len(modes) != 2 or np.ndim(modes[1]) != 0):
            raise ValueError("Diagnostics: modes is (centres (K, d), standard deviation), like (ring_modes(), 0.01)")
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
        norms = {player: ns for player, ns in norms.items() if ns}  # some solvers, or lone players, leave no gradient
        found = {f"gradient/{player}": math.sqrt(sum(n * n for n in ns.values())) for player, ns in norms.items()}
        if self.layers:
            found |= {f"gradient/{name}": n for ns in norms.values() for name, n in ns.items()}
        for player, terms in game.terms.items():
            values = {name: float(backend.of(a).to_host(a)) for name, a in terms.items()}
            if len(values) > 1 and "objective" in values:
                found[f"objective/{player}"] = abs(values.pop("objective"))
                found[f"penalty/{player}"] = sum(map(abs, values.values()))
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
            found["visited modes"] = float(self.coverage.details["visited"])
        return found

    def verdict(self):
        """One line in plain words about the game so far. See `verdict`."""
        return verdict(self.history, self.path, None if self.modes is None else len(self.modes[0]))


def verdict(history, path=None, modes=None):
    """The first of these that holds, at the end of ``history`` (a list of what `Diagnostics` found at each look):

    the discriminator is saturated, the generator's samples have collapsed (onto some modes, or onto a point) or are
    blurred, a penalty drowns the objective, the game is at rest, the players spiral or rotate, a gradient explodes, or
    nothing conspicuous.

    A mode counts as visited when it is nearest to a tenth of its fair share of the samples, near or not.
    """
    if len(history) < 3:
        return "too few rounds to tell"
    last = history[-1]
    looks = history[-max(1, len(history) // 10) :]  # the last tenth: single looks are noisy

    def recent(name):
        values = sorted(h[name] for h in looks if name in h)
        return values[(len(values) - 1) // 2] if values else None  # the (lower) median

    g, peak = recent("gradient/G"), max((h.get("gradient/G", 0.0) for h in history), default=0.0)
    right = recent("accuracy/D") or 0.0
    if right > 0.98 and g is not None and g <= max(1e-3 * peak, 1e-6):
        return f"discriminator saturated: it is right in {right:.0%} of cases, generator gradient {g:.0e}"
    visited, quality = recent("visited modes"), recent("high quality")
    if modes and visited is not None and visited < modes:
        return f"{'collapsed to' if visited <= modes / 2 else 'covers only'} {visited:.0f} of {modes} modes"
    if quality is not None and quality < 0.5:
        return f"blurred: samples lie around all modes, but only {quality:.0%} of them within three deviations of one"
    variety = recent("variety")
    if variety is not None and variety < 0.2:
        return f"collapsed: samples vary {variety:.2g} times as much as the data"
    for name in last:
        if name.startswith("penalty/"):
            player = name.partition("/")[2]
            ratio = recent(name) / max(recent(f"objective/{player}"), 1e-12)
            if ratio > 10:
                return f"penalty drowns the objective of {player}: {ratio:.3g} times as large; lower its weight"
    lengths = [v for name, v in last.items() if name.startswith("gradient/")]
    if lengths and max(lengths) < 1e-6:
        return "at rest: all gradients below 1e-06"
    turning = path.turning() if path is not None else None
    if turning:
        rounds, growth = turning
        turn = f"a turn takes about {rounds:.0f} rounds"
        if growth > 1.05:
            return f"spiralling outwards: {turn}, each grows {growth:.3g}-fold"
        return f"rotating: {turn}" if growth > 0.95 else f"spiralling inwards: {turn}, each leaves {growth:.3g} of it"
    for name in last:
        if name.startswith("gradient/") and recent(name) > 1e6:
            return f"exploding: the gradient of {name.partition('/')[2]} has length {recent(name):.0e}"
    return "nothing conspicuous"
