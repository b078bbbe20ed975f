"""Gradient flow: which layers learn, and how fast, while two players train.

Two numbers per layer tell whether a network is alive from end to end. With g the gradient of the layer's n weights w,
and Δw what one round does to them,

    gradient    √(‖g‖²/n), its root mean square, so that layers of different sizes compare
    update      ‖Δw‖/‖w‖, w before the round

The first fades or grows from layer to layer where the first weights are badly scaled (Glorot & Bengio 2010), and is 0
where nothing arrives. The second is what the optimiser makes of it. Of a healthy one Karpathy writes that it "should be
somewhere around 1e-3" (CS231n notes, Neural Networks 3, "Ratio of weights:updates"): a rule of thumb, no theorem.
"""

import numpy as np

from .. import backend
from ..backend.checks import integer
from ..games.callbacks import Callback


class GradientFlow(Callback):
    """Logs for every layer, every ``every`` rounds, ``flow/gradient/D.conv1`` and ``flow/update/D.conv1``.

    Both are of the layer's weight alone (`weight_of`): a fresh bias is 0, and its ratio would say nothing.

    gradient: the root mean square of the ``.grad`` that the solver has left in this round. That is the last gradient it
    stepped on: with n_critic steps a round that of the last, with `ExtraGradient` and `PastExtraGradient` the one found
    ahead, with `Consensus` and `SymplecticGradientAdjustment` the adjusted one. A parameter that got none in this round
    is left out (`Proximal` leaves none at all).

    update: ‖Δw‖/‖w‖ of the whole round, all its steps and constraints included. A weight that was 0 altogether is
    compared with what it has become: 1 if the round moved it, 0 if not.

    The weights are copied in the round before (or in ``begin``), and nothing else is touched: a run is bit for bit the
    one without. The numbers stay on the device, where nobody waits for them. Put it before `Log`;
    `report.plot_gradient_flow` draws them. Raises ``ValueError`` where ``every`` is no whole number from 1 on.
    """

    def __init__(self, every=50):
        self.every, self.before = integer("GradientFlow: every", every, 1), {}

    def begin(self, moment):
        """Copy the weights if the first round is to be measured."""
        self._copy(moment)

    def after(self, moment):
        """Measure if there are copies; copy the weights if the next round is to be measured."""
        if self.before:
            for name, params in layers(moment.game).items():
                if params := [p for p in params if self._moved_by_gradient(p)]:
                    p = weight_of(params)
                    gradient, update = _flow(self.before[p][0], p.data, p.grad.data)
                    moment.extra |= {f"flow/gradient/{name}": gradient, f"flow/update/{name}": update}
        self._copy(moment)

    def finish(self, moment):
        """Forget the copies."""
        self.before = {}

    abort = finish

    def _copy(self, moment):
        due = moment.step < moment.steps and (moment.step + 1) % self.every == 0
        params = [p for own in moment.game.players.values() for p in own] if due else []
        self.before = {p: (p.data.copy(), p.grad) for p in params}

    def _moved_by_gradient(self, p):
        # A gradient left over from an earlier round would be missing in a resumed run.
        return p in self.before and p.size > 0 and p.grad is not None and p.grad is not self.before[p][1]


def layers(game):
    """{name: [its parameters]} of all players, in order of definition: parameters "D.conv1.weight" and "D.conv1.bias"
    are the layer "D.conv1".

    A path that does not begin with its player's name gets that put before it. A parameter without a path (nameless, or
    "x") is a layer of its own: player and number, "x.0".
    """
    found = {}
    for player, params in game.players.items():
        for i, p in enumerate(params):
            path = (p.name or "").rpartition(".")[0] or str(i)
            own = path == player or path.startswith(f"{player}.")
            found.setdefault(path if own else f"{player}.{path}", []).append(p)
    return found


def weight_of(params):
    """The one parameter of a layer that is its weight: that of most axes, then of most numbers, then the first (in
    batch norm γ, not β).
    """
    return max(params, key=lambda p: (p.ndim, p.size))


def _flow(before, after, gradient):
    """(root mean square of the gradient, ‖Δw‖/‖w‖), 0-d arrays; float64, so that no square of a float32 is lost."""
    xp = backend.xp(after)
    before, after, gradient = (a.astype("float64") for a in (before, after, gradient))
    rms, moved, size, new = (xp.sqrt((a * a).sum()) for a in (gradient, after - before, before, after))
    with np.errstate(divide="ignore", invalid="ignore"):
        update = xp.where(moved == 0, 0.0, moved / xp.where(size == 0, new, size))
    return xp.asarray(rms / gradient.size**0.5), xp.asarray(update)
