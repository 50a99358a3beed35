"""How this process keeps its memory."""

from __future__ import annotations

import sys

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # of glibc's mallopt
LARGEST = 1 << 30


def keep_memory() -> bool:
    """Ask the C library to keep freed memory for what is made next; says whether it will.

    glibc hands tensors of some megabytes back to the system as soon as they are freed and asks for them anew in every
    layer, which takes a tenth to a fifth of the processor's time where a CPU paints or teaches. It is a setting of the
    whole process: limner's own commands make it, a library should not; a service may call this when it starts. Other C
    libraries are left as they are.
    """
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(what, LARGEST) == 1 for what in (MMAP_THRESHOLD, TRIM_THRESHOLD))
