"""The guard against numbers that are not finite: which term, which player, which layer, in which round."""

import numpy as np

from .. import backend
from ..autodiff.tensor import Tensor
from ..errors import MiniganError

PATIENCE = 20  # rounds between two looks on a device where looking means waiting


class NonFiniteError(MiniganError):
    """A loss or a gradient is NaN or infinite. The message names round, player, terms and layers."""


def check_finite(game, player, loss, batch, step):
    """Raise `NonFiniteError` if the player's loss or the gradient in its parameters' ``.grad`` is not finite.

    On the CPU every call looks; on another device, where looking waits for it, every `PATIENCE`-th round.
    """
    library = backend.of(loss.data)
    if library is not backend.get("cpu") and step % PATIENCE != PATIENCE - 1:
        return
    xp, params = library.xp, game.players[player]
    with np.errstate(all="ignore"):  # NaN and infinity survive a sum: one number tells of them all
        probe = loss.data + sum(p.grad.data.sum() for p in params if p.grad is not None)
    if library.to_host(xp.isfinite(probe)).all():
        return
    problems = _in_terms(game, player, loss) + _in_gradients(params)
    if not problems:  # a sum of finite numbers overflowed: large, but not yet broken
        return
    lines = [f"step {step + 1}: player {player!r} cannot move, its numbers are not finite", *problems]
    late = library is not backend.get("cpu")
    bad = _bad_inputs(batch)
    lines += [f"the batch itself: {name} holds NaN or infinity" for name in bad]
    where = f"noticed up to {PATIENCE} rounds late, go back to a checkpoint" if late else "the player stays where it is"
    fix = "look at the data" if bad else "lower the learning rate, or find the logarithm or root that allows it"
    lines += [f"{where}; {fix}"]
    raise NonFiniteError("\n    ".join(lines))


def _finite(a):
    return bool(backend.of(a).to_host(backend.xp(a).isfinite(a).all()))


def _in_terms(game, player, loss):
    if _finite(loss.data):
        return []
    shown = {name: float(backend.of(a).to_host(a)) for name, a in game.terms.get(player, {}).items()}
    terms = f" (terms: {', '.join(f'{name} {value:g}' for name, value in shown.items())})" if shown else ""
    return [f"loss: {float(loss):g}{terms}"]


def _in_gradients(params):
    lines = []
    for i, p in enumerate(params):
        if p.grad is not None and not _finite(p.grad.data):
            bad = int(backend.of(p.data).to_host((~backend.xp(p.data).isfinite(p.grad.data)).sum()))
            lines.append(f"gradient of {p.name or f'parameter {i}'}: {bad} of {p.size} numbers")
    return lines


def _bad_inputs(batch):
    names = getattr(batch, "_fields", ())
    return [name for name in names if isinstance(t := getattr(batch, name), Tensor) and not _finite(t.data)]
