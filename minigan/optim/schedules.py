"""Schedules: numbers that change during training, as functions of how many steps have been taken.

An optimiser takes one in place of a learning rate, ``Adam(params, lr=cosine_decay(1e-3, until=20_000))``, a `games.GAN`
in place of a noise level. They hold no state: a resumed run goes on where it was.
"""

import math


def linear_decay(start, until, end=0.0):
    """From ``start`` at step 0 in a straight line to ``end`` at step ``until``, and ``end`` from there on."""
    return lambda step: float(start + (end - start) * min(1.0, step / until))


def cosine_decay(start, until, end=0.0):
    """From ``start`` at step 0 along half a cosine to ``end`` at step ``until``: slow, fast, slow; then ``end``."""
    return lambda step: float(end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / until))))
