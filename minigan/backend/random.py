"""Random streams that need no state: the numbers are a function of (seed, name, step).

A Philox generator (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") encrypts a counter with a key.
We put the seed and the stream's name into the key and the step into the counter's highest word, so

* two streams with other names, seeds or steps never overlap (each has 2**192 blocks to itself);
* a resumed run needs no generator state: step 1000 draws what it would have drawn anyway;
* the numbers are drawn on the host, hence the same with NumPy, with CuPy and on any number of processes.
"""

import operator

import numpy as np

_WORD = 2**64


def stream(seed, name, step=0):
    """The random generator of the stream ``name`` at ``step``.

    Parameters: ``seed`` int, ``name`` str (what the numbers are for: ``"latent"``, ``"shuffle"``,
    ``"G.dense.weight"``), ``step`` int ≥ 0. Returns a ``numpy.random.Generator``. The same arguments give the same
    numbers, for ever.

    Raises ``ValueError`` for a negative step, and for a seed that is no integer.

    >>> float(stream(0, "latent", 3).standard_normal()) == float(stream(0, "latent", 3).standard_normal())
    True
    """
    if step < 0:
        raise ValueError(f"stream({name!r}): step must be >= 0, got {step}")
    try:
        seed = operator.index(seed)
    except TypeError:
        raise ValueError(f"seed: expected an integer, got {seed!r}") from None
    import hashlib

    # Python's own hash() is salted per process; blake2b is not.
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    # As uint64 arrays: from a list of ints, some above 2**63, NumPy would make rounded floats.
    key = np.array([int(seed) % _WORD, int.from_bytes(digest, "little")], np.uint64)
    counter = np.array([0, 0, 0, int(step) % _WORD], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
