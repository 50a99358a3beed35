"""Settings of the C library's memory allocator."""

from __future__ import annotations

import sys

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # parameters of glibc's mallopt
LARGEST = 1 << 30


def keep_memory() -> bool:
    """Make the C library reuse freed memory rather than return it to the system. Returns whether it does.

    By default, glibc returns the memory of large tensors as soon as they are freed and requests it again in every
    layer, which takes a tenth to a fifth of the processor's time in training and sampling on a CPU. The setting affects
    the whole process: limner's own commands make it; a library should not, and a service may when it starts. Other C
    libraries are not changed.
    """
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(what, LARGEST) == 1 for what in (MMAP_THRESHOLD, TRIM_THRESHOLD))
