"""Minibatches as a function of the step number: nothing to save, nothing to restore.

An epoch is one random order of the examples, cut into batches. With S = ⌊n / batch_size⌋ batches in an epoch,

    batch(step) = arrays[ order_e[ j·batch_size : (j+1)·batch_size ] ],    e, j = divmod(step, S)
    order_e     = a permutation of 0 … n−1 drawn from the random stream (seed, "shuffle", e)

The right side holds no state, so a run resumed at step 1000 sees the batches it would have seen, and a
training loop that takes five critic batches a step just asks for the steps 5k … 5k + 4.
"""

import numpy as np

from minigan.backend.checks import integer
from minigan.backend.random import stream


class Batches:
    """Shuffled batches of one array, or of several with one row per example each.

    arrays
        A NumPy array (n, …), or a tuple or list of them with the same n, such as what ``mnist`` returns. Not
        copied.
    batch_size
        Examples in a batch, 1 … n. The n mod ``batch_size`` examples left at the end of an epoch are dropped:
        every batch has the same size, and the next epoch's order leaves out others.
    seed
        int; same seed, same batches, at any step and in any process.

    A batch has the form of ``arrays``: an array gives an array, a tuple or list a tuple, a named tuple the
    same named tuple (so batches of ``Images`` have ``.images`` and ``.labels``). Batches are copies: writing
    to one is harmless.

    Raises ``ValueError`` naming the argument for anything else.

    >>> batches = Batches(np.arange(10), batch_size=4, seed=0)
    >>> batches.steps_per_epoch, batches.at(7).shape
    (2, (4,))
    """

    def __init__(self, arrays, batch_size, seed):
        self.arrays = arrays
        self._columns = (arrays,) if isinstance(arrays, np.ndarray) else arrays
        self.n = _common_length(self._columns)
        self.batch_size = integer("batch_size", batch_size, 1)
        if self.batch_size > self.n:
            raise ValueError(f"batch_size: expected at most n = {self.n} examples, got {batch_size}")
        self.seed = integer("seed", seed, 0)
        self._order = (None, None)  # (epoch, its permutation): drawn once an epoch rather than once a step

    @property
    def steps_per_epoch(self):
        """Whole batches in an epoch: ⌊n / batch_size⌋."""
        return self.n // self.batch_size

    def at(self, step):
        """The batch number ``step`` ≥ 0, counted from the beginning of training, not of the epoch."""
        epoch, j = divmod(integer("step", step, 0), self.steps_per_epoch)
        rows = self.order(epoch)[j * self.batch_size : (j + 1) * self.batch_size]
        batch = tuple(column[rows] for column in self._columns)
        if isinstance(self.arrays, np.ndarray):
            return batch[0]
        return self.arrays._make(batch) if hasattr(self.arrays, "_make") else batch

    def order(self, epoch):
        """The order in which ``epoch`` ≥ 0 visits the examples: int64 (n,), read-only, a permutation."""
        known, order = self._order
        if known != epoch:
            order = stream(self.seed, "shuffle", integer("epoch", epoch, 0)).permutation(self.n)
            order.flags.writeable = False
            self._order = (epoch, order)
        return order

    def epoch(self, epoch):
        """The ``steps_per_epoch`` batches of one epoch, in turn."""
        first = integer("epoch", epoch, 0) * self.steps_per_epoch
        return (self.at(step) for step in range(first, first + self.steps_per_epoch))

    def __iter__(self):
        """Every batch from step 0 on, without end: ``for step, batch in zip(range(steps), batches)``.

        Endless, because iterating over one epoch a second time would, with no state to move on, repeat its
        order.
        """
        step = 0
        while True:
            yield self.at(step)
            step += 1

    def __repr__(self):
        return f"Batches(n={self.n}, batch_size={self.batch_size}, seed={self.seed})"


def _common_length(columns):
    """The n that all arrays share."""
    is_sequence = isinstance(columns, (tuple, list)) and len(columns) > 0
    if not is_sequence or not all(isinstance(c, np.ndarray) and c.ndim > 0 for c in columns):
        got = f"{[type(c).__name__ for c in columns]}" if is_sequence else repr(columns)
        raise ValueError(f"arrays: expected a NumPy array (n, ...) or a tuple of them, got {got}")
    lengths = [len(c) for c in columns]
    if len(set(lengths)) > 1:
        raise ValueError(f"arrays: expected one row per example in each array, got {lengths} rows")
    return lengths[0]
