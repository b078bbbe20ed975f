"""Keeping freed memory, so that a training step does not pay for the same pages again and again.

A step allocates tens of megabytes for its graph and frees them at the end of the backward pass. By default glibc
returns such memory to the kernel at once, and the next step's first write to every page faults it in anew, zeroed: a
DCGAN step took 6 % longer for it, a toy step 20 % (docs/performance.md). Told to keep it, the process holds on to its
peak (the step's working set, some 40 MiB for the DCGAN of 64 channels) until it ends.
"""

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_kept = False


def keep_memory():
    """Ask glibc to keep freed memory for the next step. Called when training starts; calling it again does nothing.

    Returns whether it is in force. Other C libraries are left alone, and so is everything if MINIGAN_KEEP_MEMORY is
    "0".
    """
    global _kept
    if _kept or os.environ.get("MINIGAN_KEEP_MEMORY") == "0" or not sys.platform.startswith("linux"):
        return _kept
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    _kept = bool(mallopt(_MMAP_THRESHOLD, 2**30) and mallopt(_TRIM_THRESHOLD, 2**31 - 1))
    return _kept
