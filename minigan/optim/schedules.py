"""Schedules: numbers that change during training, as functions of how many steps have been taken.

An optimiser takes one in place of a learning rate, ``Adam(params, lr=cosine_decay(1e-3, until=20_000))``, a `games.GAN`
in place of a noise level. They hold no state: a resumed run goes on where it was.
"""

import math


def linear_decay(start, until, end=0.0, hold=0.0):
    """``start`` for the share ``hold`` of the way to step ``until``, then in a straight line to ``end`` there; then
    ``end``.
    """
    if not 0 <= hold < 1:
        raise ValueError(f"linear_decay: hold must be in [0, 1), got {hold}")
    return lambda step: float(end + (start - end) * min(1.0, max(0.0, 1 - step / until) / (1 - hold)))


def cosine_decay(start, until, end=0.0):
    """From ``start`` at step 0 along half a cosine to ``end`` at step ``until``: slow, fast, slow; then ``end``."""
    return lambda step: float(end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / until))))


def exponential_decay(start, until, end):
    """From ``start`` at step 0, by the same factor each step, to ``end`` > 0 at step ``until``; then ``end``."""
    if not (start > 0 and end > 0):
        raise ValueError(f"exponential_decay: start and end must be positive, got {start} and {end}")
    return lambda step: float(start * (end / start) ** min(1.0, step / until))
